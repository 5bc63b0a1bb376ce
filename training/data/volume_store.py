"""Scans at a network's spacing, kept on disk: each is resampled once, and processes share the pages that they read."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from napari_uld.detectors.specs.inputs import InputSpec
from napari_uld.inference.volumes import Crop
from napari_uld.lesions.axis_map import AxisMap

FOLDER = "resampled"
# Raise it when the same scan and spacing give other voxels than before.
STORE_VERSION = 1
# All stores of a data set together take no more, and leave so much of the disk free.
STORE_BYTES, FREE_BYTES = 20 * 2**30, 5 * 2**30


class VolumeStore:
    """The resampled scans of a data set, as ``resampled/<spacing>/<series>.npy`` of int16 HU in its folder.

    What there is no room for, or where nothing can be written, is made anew whenever it is asked for.

    Parameters
    ----------
    root
        Folder in DeepLesion's layout.
    inputs
        What the network sees; the size of its crops does not matter here.
    """

    def __init__(self, root: Path, inputs: InputSpec) -> None:
        self.root = root
        self.folder = root / FOLDER / _key(inputs)
        self._open: dict[str, Crop] = {}
        self._left = STORE_BYTES - sum(path.stat().st_size for path in (root / FOLDER).glob("*/*.npy"))

    def get(self, series: Sequence[str], make: Callable[[], Crop]) -> Crop:
        """Give what is kept of a scan, unless its images have changed; else what `make` makes, and keep that.

        Parameters
        ----------
        series
            Of the scan, or of its phases.
        """
        name = "+".join(series)
        if name in self._open:
            return self._open[name]
        images = _fingerprint([self.root / "Images_png" / each for each in series])
        crop = self._read(name, images)
        if crop is None:
            made = make()
            crop = self._write(name, images, made)
            if crop is None:
                return made
        self._open[name] = crop
        return crop

    def _read(self, name: str, images: str) -> Crop | None:
        try:
            about = json.loads((self.folder / f"{name}.json").read_bytes())
            if about["images"] != images:
                return None
            hu = np.load(self.folder / f"{name}.npy", mmap_mode="r")
            return Crop(hu, AxisMap(tuple(about["offset"]), tuple(about["scale"])), about["thickness"])
        except (OSError, ValueError, LookupError, TypeError):
            return None

    def _write(self, name: str, images: str, crop: Crop) -> Crop | None:
        """Keep a scan and give it as it is kept; None where there is no room."""
        hu = np.rint(crop.hu).astype(np.int16)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if hu.nbytes > min(self._left, shutil.disk_usage(self.folder).free - FREE_BYTES):
                return None
            self._replace(f"{name}.npy", lambda file: np.save(file, hu))
            about = {"images": images, "thickness": crop.thickness}
            about |= {"offset": crop.axes.offset, "scale": crop.axes.scale}
            # Last: where it is, the voxels are whole.
            self._replace(f"{name}.json", lambda file: file.write(json.dumps(about).encode()))
        except OSError:
            return None
        self._left -= hu.nbytes
        return self._read(name, images)

    def _replace(self, name: str, write: Callable[[Any], object]) -> None:
        """Write a file whole or not at all; several processes may write the same."""
        with tempfile.NamedTemporaryFile(dir=self.folder, prefix=f".{name}.", delete=False) as file:
            try:
                write(file)
                file.close()
                os.replace(file.name, self.folder / name)
            except BaseException:
                os.unlink(file.name)
                raise


def _key(inputs: InputSpec) -> str:
    seen = inputs.model_dump(mode="json", include={"interval_mm", "interpolate_thick", "spacing_mm", "crop_to_body"})
    return hashlib.sha256(json.dumps([STORE_VERSION, seen], sort_keys=True).encode()).hexdigest()[:16]


def _fingerprint(folders: Sequence[Path]) -> str:
    """Of images: their names, sizes and when each was written."""
    paths = [path for folder in folders for path in sorted(folder.iterdir())]
    files = [(path.parent.name, path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    return hashlib.sha256(json.dumps(files).encode()).hexdigest()
