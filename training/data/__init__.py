"""Data sets to train and to evaluate on."""
