"""What happens: lanes, dataflows, steps, policy, store and edges."""
