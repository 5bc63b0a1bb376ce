"""How good a detector is: overlaps, matching, FROC and AP, numpy only."""
