"""What is thought: one file per detector; no input, output or clock."""
