"""What napari's manifest names."""
