"""The study that comes with the package."""

import hashlib
import shutil
import tempfile
from importlib import resources
from pathlib import Path

from napari_uld.ct.deeplesion import CSV_NAME
from napari_uld.errors import DataError


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


def own_copy(folder: Path) -> Path:
    """Give a person's own copy of the bundled study, with what was decided about it.

    Nothing is ever written into the installed package. A study that another version brings along
    gets a copy of its own.

    Parameters
    ----------
    folder
        Where the copies lie; made where it is missing.

    Raises
    ------
    DataError
        If the study is missing, or the folder cannot be written to.
    """
    study = phantom_path()
    version = hashlib.sha256((study / "phantom.json").read_bytes() + (study / CSV_NAME).read_bytes()).hexdigest()[:8]
    copy = folder / f"phantom-{version}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not copy.is_dir():
            # Under its name only once it is whole.
            with tempfile.TemporaryDirectory(dir=folder) as unfinished:
                shutil.copytree(study, Path(unfinished) / "phantom").rename(copy)
    except OSError as error:
        raise DataError(
            f"The bundled study cannot be copied to {copy} ({error.strerror or error}); "
            "make room there, or make the folder one you may write to"
        ) from error
    return copy
