"""What a recipe mines while it trains."""
