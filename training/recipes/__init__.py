"""One TOML file for each published system."""
