"""What a process tells about itself: metrics, health, logs. None of it reaches a result."""
