"""What a recipe mines while it trains; `napari_uld.detectors.specs.mining` has the table of all there is."""
