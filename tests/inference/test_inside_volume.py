"""What a volumetric detector takes for centres about a slice, where it lies in the scan."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from napari_uld.ct.volume import CTVolume
from napari_uld.detectors.batch import pad_images
from napari_uld.detectors.specs.inputs import InputSpec
from napari_uld.inference import inside_volume
from napari_uld.inference.catalogue import CheckpointInfo
from napari_uld.inference.checkpoint import LoadedDetector
from napari_uld.inference.inside_result import Inside
from napari_uld.inference.inside_volume import look_inside_volume
from napari_uld.inference.sliding import Tiling
from napari_uld.progress import finish
from tests.inference.volumetric import unet, vld

INPUTS = InputSpec(
    volume=True, slices=8, slices_per_image=1, interval_mm=2.0, spacing_mm=1.0, crop_to_body=False, long_side=32
)
INFO = CheckpointInfo(Path("bright"), "0", {"method": {"name": "bright", "title": "Bright"}}, {})
# Air, and a body of rows 16 to 23 and columns 24 to 31, in the network's window.
AIR, BODY = -1000, 500
NOWHERE = np.zeros((0, 4))


class BrightCells(nn.Module):
    """As logits the brightness of cells of 4 x 4 pixels of a slice."""

    def forward(self, levels: list[Tensor]) -> tuple[list[Tensor], None]:
        (images,) = levels
        return [torch.nn.functional.avg_pool3d(images, (1, 4, 4)) / 20], None


class FindsCells(nn.Module):
    """Every cell that is bright is a detection, its slice and pixels the box."""

    size_divisible = 16

    def __init__(self) -> None:
        super().__init__()
        self.dense_head = BrightCells()

    def forward(self, images: list[Tensor], thickness: Tensor) -> list[dict[str, Tensor]]:
        (logits,), _ = self.dense_head([pad_images(images, self.size_divisible).tensors])
        cells = torch.nonzero(logits[0, 0] > 1).flip(1).float() * torch.tensor([4.0, 4, 1])
        boxes = torch.cat([cells, cells + torch.tensor([4.0, 4, 1])], dim=1)
        scores = torch.linspace(0.9, 0.8, len(cells))
        return [{"boxes": boxes, "scores": scores, "labels": torch.ones(len(cells), dtype=torch.int64)}]


@pytest.fixture
def halo(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two slices at each end are run and do not count; the stand-in has no layers to be asked how far they see."""
    monkeypatch.setattr(inside_volume, "plan", lambda *_: Tiling(100, 2))


def look(volume: CTVolume, z: int) -> Inside:
    detector = LoadedDetector(FindsCells(), INPUTS, INFO, torch.device("cpu"), mixed=False)  # type: ignore[arg-type]
    return finish(look_inside_volume(volume, z, NOWHERE, detector))


def scan(depth: int, bright: int, spacing: float = 2.0) -> CTVolume:
    """Forty by fifty pixels of 1 mm, which are no multiple of what the network pads to; one slice has the body."""
    hu = np.full((depth, 40, 50), AIR, np.int16)
    hu[bright, 16:24, 24:32] = BODY
    return CTVolume(hu, (spacing, 1.0, 1.0), Path("scan"), "scan", np.arange(depth, 0, -1), series_uid="1.2.3")


def where_bright(seen: Inside) -> np.ndarray:
    """Native places (n, 3) of the middles of bright cells, (z, y, x)."""
    assert seen.centres is not None
    heat = seen.centres
    cells = np.argwhere(heat.values > 0.9)
    return np.array(heat.middle) + cells * heat.step


@pytest.mark.parametrize(("z", "depth"), [(0, 10), (3, 10), (10, 8), (19, 8)])
@pytest.mark.usefixtures("halo")
def test_the_heat_map_lies_where_the_body_does_about_every_slice(z: int, depth: int) -> None:
    seen = look(scan(20, z), z)
    places = where_bright(seen)
    assert set(places[:, 0]) == {z}
    # Two cells of four pixels along y and x each, their middles between pixels.
    assert {tuple(place) for place in places[:, 1:]} == {(y, x) for y in (17.5, 21.5) for x in (25.5, 29.5)}
    assert seen.centres is not None
    # As deep as in training, more at the scan's end; no cell of what was padded: 40 and 50 pixels, the last beyond.
    assert seen.centres.values.shape == (depth, 10, 13)
    assert len(seen.centres.slices) == depth
    assert z in seen.centres.slices


@pytest.mark.usefixtures("halo")
def test_slices_at_another_distance_than_the_networks_are_covered_where_they_lie() -> None:
    seen = look(scan(12, 6, spacing=5.0), 6)
    assert seen.centres is not None
    # Eight of 2 mm are 16 mm: three or four of 5 mm.
    assert 6 in seen.centres.slices
    assert len(seen.centres.slices) in (3, 4)
    places = where_bright(seen)
    np.testing.assert_allclose(places[:, 0].mean(), 6, atol=0.2)


@pytest.mark.usefixtures("halo")
def test_a_scan_of_fewer_slices_than_the_network_saw_in_training_is_all_there_is() -> None:
    seen = look(scan(3, 1), 1)
    assert seen.centres is not None
    assert seen.centres.slices == range(3)
    assert set(where_bright(seen)[:, 0]) == {1}


@pytest.mark.usefixtures("halo")
def test_detections_are_those_whose_middles_lie_on_these_slices_best_first() -> None:
    volume = scan(40, 20)
    seen = look(volume, 20)
    assert seen.boxes.shape == (4, 6)
    assert seen.boxes[:, [2, 5]].tolist() == [[19.5, 20.5]] * 4
    assert (np.diff(seen.scores) < 0).all()
    assert seen.detector == "bright 0"
    # It was run on some slices more, two on each side, and what is found there does not count.
    beside = look(volume, 20 - 5)
    assert beside.centres is not None
    assert 20 not in beside.centres.slices
    assert len(beside.boxes) == 0


@pytest.mark.usefixtures("halo")
def test_it_says_how_far_it_is() -> None:
    detector = LoadedDetector(FindsCells(), INPUTS, INFO, torch.device("cpu"), mixed=False)  # type: ignore[arg-type]
    steps = [(step.done, step.total) for step in look_inside_volume(scan(20, 3), 3, NOWHERE, detector)]
    assert steps == [(0, 2), (1, 2), (2, 2)]


@pytest.mark.parametrize("network", [partial(vld, (1, 1, 1)), unet], ids=["pseudo-3D", "U-Net"])
def test_a_networks_best_detection_is_the_highest_cell(network: Callable[[], LoadedDetector], volume: CTVolume) -> None:
    seen = finish(look_inside_volume(volume, 3, NOWHERE, network()))
    assert seen.centres is not None
    assert 3 in seen.centres.slices
    assert seen.scores[0] == pytest.approx(seen.centres.values.max(), abs=1e-5)
    # The cell is one of the box's middle or beside it, and lies in the scan.
    place = np.array(seen.centres.middle) + np.unravel_index(
        seen.centres.values.argmax(), seen.centres.values.shape
    ) * np.array(seen.centres.step)
    assert (place > -1).all()
    assert (place < np.array(volume.shape) + seen.centres.step).all()
