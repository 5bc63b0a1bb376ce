"""What a hand does on the canvas."""
