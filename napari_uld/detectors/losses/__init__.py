"""What each head learns from: targets and losses."""
