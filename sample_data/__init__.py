"""One phantom study with its annotations, and small trained checkpoints."""
