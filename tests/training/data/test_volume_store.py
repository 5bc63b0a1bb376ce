"""A resampled scan is kept as long as its images stay, and made anew where it cannot be kept."""

import os
from pathlib import Path

import numpy as np
import pytest

from napari_uld.detectors.specs.inputs import InputSpec
from napari_uld.inference.volumes import Crop
from napari_uld.lesions.axis_map import AxisMap
from napari_uld.training.data import volume_store
from napari_uld.training.data.volume_store import VolumeStore

INPUTS = InputSpec(volume=True, slices=8, slices_per_image=1, interval_mm=2, spacing_mm=1.6, long_side=64)
SERIES = "000001_01_01"


class Maker:
    """Makes a crop, and counts how often."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> Crop:
        self.calls += 1
        hu = np.linspace(-1000, 1000, 2 * 3 * 4, dtype=np.float32).reshape(2, 3, 4)
        return Crop(hu, AxisMap((1.5, 2.0, -0.25), (0.5, 0.5, 1.25)), 5.0)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "Images_png" / SERIES
    folder.mkdir(parents=True)
    (folder / "001.png").write_bytes(b"a picture")
    return tmp_path


def test_a_scan_is_made_once_and_read_by_the_next_process(root: Path) -> None:
    make = Maker()
    first = VolumeStore(root, INPUTS).get([SERIES], make)
    again = VolumeStore(root, INPUTS).get([SERIES], make)
    assert make.calls == 1
    assert isinstance(again.hu, np.memmap)
    assert again.hu.tolist() == np.rint(make().hu).tolist() == first.hu.tolist()
    assert (again.axes, again.thickness) == (first.axes, 5.0)


def test_changed_images_are_resampled_anew(root: Path) -> None:
    make = Maker()
    VolumeStore(root, INPUTS).get([SERIES], make)
    picture = root / "Images_png" / SERIES / "001.png"
    os.utime(picture, ns=(1, 1))
    VolumeStore(root, INPUTS).get([SERIES], make)
    assert make.calls == 2


def test_another_spacing_is_kept_beside_it_and_another_crop_size_is_the_same(root: Path) -> None:
    make = Maker()
    for inputs in (INPUTS, INPUTS.model_copy(update={"slices": 16, "long_side": 32})):
        VolumeStore(root, inputs).get([SERIES], make)
    assert make.calls == 1
    VolumeStore(root, INPUTS.model_copy(update={"spacing_mm": 0.8})).get([SERIES], make)
    assert make.calls == 2
    assert len(list((root / "resampled").iterdir())) == 2


@pytest.mark.parametrize("limit", ["STORE_BYTES", "FREE_BYTES"])
def test_where_there_is_no_room_it_is_made_every_time(root: Path, monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    monkeypatch.setattr(volume_store, limit, {"STORE_BYTES": 10, "FREE_BYTES": 2**60}[limit])
    make, store = Maker(), VolumeStore(root, INPUTS)
    assert store.get([SERIES], make).hu.dtype == np.float32
    store.get([SERIES], make)
    assert make.calls == 2


def test_a_torn_file_is_made_again(root: Path) -> None:
    make = Maker()
    VolumeStore(root, INPUTS).get([SERIES], make)
    (kept,) = (root / "resampled").glob("*/*.npy")
    kept.write_bytes(kept.read_bytes()[:60])
    assert VolumeStore(root, INPUTS).get([SERIES], make).hu.shape == (2, 3, 4)
    assert make.calls == 2


def test_a_folder_that_takes_nothing_costs_nothing_but_time(root: Path) -> None:
    (root / "resampled").write_text("a file where the folder should be")
    assert VolumeStore(root, INPUTS).get([SERIES], Maker()).hu.shape == (2, 3, 4)
