"""What systems are made of, as validated descriptions: no torch."""
