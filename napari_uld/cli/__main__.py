"""`python -m napari_uld.cli` is `napari-uld`."""

from napari_uld.cli.app import main

main()
