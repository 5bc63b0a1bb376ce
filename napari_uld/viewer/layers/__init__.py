"""What is shown, as napari layers."""
