"""The study that comes with the package."""

from importlib import resources
from pathlib import Path

from napari_uld.errors import DataError
from napari_uld.viewer.layers import LayerTuple
from napari_uld.viewer.reader import read_volume


def phantom_path() -> Path:
    """Folder of the bundled phantom study, laid out like a DeepLesion download.

    Raises
    ------
    DataError
        If it is missing from this installation.
    """
    folder = Path(str(resources.files("napari_uld.sample_data"))) / "phantom"
    if not folder.is_dir():
        raise DataError(f"{folder} is missing from this installation; install napari-uld again")
    return folder


def phantom() -> list[LayerTuple]:
    """Open the bundled phantom study."""
    return read_volume(str(phantom_path()))
