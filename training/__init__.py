"""Make a detector: data, recipes, the training loop, and reports."""
