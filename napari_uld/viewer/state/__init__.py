"""What is open and what was decided about it: no Qt."""
