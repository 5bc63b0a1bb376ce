"""Universal lesion detection in CT: run a detector and show it."""
