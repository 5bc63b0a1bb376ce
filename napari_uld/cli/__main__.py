"""`python -m napari_uld.cli` is `napari-uld`."""

from napari_uld.cli.app import main

if __name__ == "__main__":
    main()
