"""How good a detector is: matching and FROC, numpy only."""
