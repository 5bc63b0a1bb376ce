"""The reading room: layers, panels and keys in napari."""
