"""A volumetric detector over whole scans: boxes end where bodies are, whatever tile, spacing or numbering."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from napari_uld.ct.phases import with_phases
from napari_uld.ct.volume import CTVolume
from napari_uld.detectors.parts import Features, Fused
from napari_uld.detectors.specs.inputs import InputSpec
from napari_uld.errors import PhaseError, RecipeError
from napari_uld.inference.catalogue import CheckpointInfo
from napari_uld.inference.checkpoint import LoadedDetector
from napari_uld.inference.detect import detect
from napari_uld.inference.inside import look_inside
from napari_uld.inference.sliding import Tiling
from napari_uld.inference.volumes import VolumeDetections, run_volume, seen, suppress
from napari_uld.progress import finish
from tests.inference.volumetric import vld

INPUTS = InputSpec(
    volume=True, slices=8, slices_per_image=1, interval_mm=2.0, spacing_mm=1.0, crop_to_body=False, long_side=32
)
INFO = CheckpointInfo(Path("bright"), "0", {"method": {"name": "bright", "title": "Bright"}}, {})


class FindsBright(nn.Module):
    """Gives the box about all that is brighter than fat, surer the more slices of it are seen."""

    size_divisible = 1

    def __init__(self) -> None:
        super().__init__()
        self.depths: list[int] = []
        self.encoder = SimpleNamespace(join=lambda slab, thickness: Fused(slab[0], slab))

    def per_image(self, images: Tensor) -> Features:
        return {"0": images}

    def dense_head(self, levels: list[Tensor]) -> tuple[list[Tensor]]:
        # It says that it sees two slices to each side.
        return ([F.max_pool3d(levels[0], (5, 1, 1), stride=1, padding=(2, 0, 0))],)

    def forward(self, images: list[Tensor], thickness: Tensor) -> list[dict[str, Tensor]]:
        (image,) = images
        self.depths.append(image.shape[1])
        # 0 HU in the window's [0, 255] less 50.
        z, y, x = torch.nonzero(image[0] > 255 * 1024 / 4095 - 50 + 3, as_tuple=True)
        if not len(z):
            empty = torch.zeros(0)
            return [{"boxes": empty.view(0, 6), "scores": empty, "labels": empty.long()}]
        box = [x.min(), y.min(), z.min(), x.max() + 1, y.max() + 1, z.max() + 1]
        boxes = torch.stack(box)[None].float()
        score = (z.max() - z.min() + 1) / 10
        return [
            {
                "boxes": boxes.repeat(2, 1),
                "scores": torch.stack([score, score]),
                "labels": torch.tensor([1, 2]),
                "points": boxes.view(1, 2, 3).repeat(2, 1, 1),
                "first_points": boxes.view(1, 2, 3).repeat(2, 1, 1) + 1,
            }
        ]


def detector() -> LoadedDetector:
    return LoadedDetector(FindsBright(), INPUTS, INFO, torch.device("cpu"), mixed=False)  # type: ignore[arg-type]


def scan(depth: int, z: slice, spacing_z: float = 2.0, numbers: np.ndarray | None = None) -> CTVolume:
    """Air with a bright body at rows 10 to 13, columns 20 to 25, of pixels of 1 mm."""
    hu = np.full((depth, 32, 40), -1000, np.int16)
    hu[z, 10:14, 20:26] = 500
    numbers = np.arange(depth, 0, -1) if numbers is None else numbers
    return CTVolume(hu, (spacing_z, 1.0, 1.0), Path("scan"), "scan", numbers, series_uid="1.2.3")


@given(st.integers(1, 40), st.data())
def test_the_box_is_about_the_body_wherever_it_lies_in_scans_of_any_depth(depth: int, data: st.DataObject) -> None:
    first = data.draw(st.integers(0, depth - 1))
    last = data.draw(st.integers(first, min(first + 2, depth - 1)))
    halo = data.draw(st.integers(3, 5))
    tiling = Tiling(data.draw(st.integers(2 * halo + 4, 20)), halo)
    found = finish(run_volume(scan(depth, slice(first, last + 1)), detector(), tiling))
    assert found.boxes == pytest.approx(np.array([[19.5, 9.5, first - 0.5, 25.5, 13.5, last + 0.5]]))
    assert found.points is not None
    assert found.points[0] == pytest.approx(np.array([[19.5, 9.5, first - 0.5], [25.5, 13.5, last + 0.5]]))


def test_slices_at_another_distance_are_brought_to_the_networks_and_boxes_back() -> None:
    # Slices 4 to 6 of 5 mm: the network's, at 2 mm, between 3.6 and 6.4 of them have a share of the body.
    found = finish(run_volume(scan(12, slice(4, 7), 5.0), detector()))
    (low, high) = found.boxes[0, [2, 5]]
    assert 3.0 <= low < 4.0
    assert 6.0 < high <= 7.0
    whole = seen(scan(12, slice(4, 7), 5.0), INPUTS)
    assert len(whole.hu) == 28
    # The centre of native slice 4 is that of the network's tenth.
    (network,) = whole.axes.to_network(np.array([[0.0, 0.0, 4.0]]))
    assert network[2] == pytest.approx(10.5)


def test_a_scan_with_fewer_slices_than_a_tile_is_filled_with_air() -> None:
    model = detector()
    finish(run_volume(scan(3, slice(1, 2)), model))
    assert model.model.depths == [8]  # type: ignore[attr-defined]


class TakesPhases(nn.Module):
    """Keeps what it is shown, and finds nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.images: list[Tensor] = []

    def forward(self, images: list[Tensor], thickness: Tensor) -> list[dict[str, Tensor]]:
        self.images += images
        return [{"boxes": torch.zeros(0, 6), "scores": torch.zeros(0), "labels": torch.zeros(0).long()}]


def of_phases(*names: str) -> LoadedDetector:
    inputs = INPUTS.model_copy(update={"phases": names})
    return LoadedDetector(TakesPhases(), inputs, INFO, torch.device("cpu"), mixed=False)  # type: ignore[arg-type]


def test_the_phases_of_a_study_are_the_channels_of_every_tile_in_their_order() -> None:
    portal, arterial = scan(11, slice(2, 4)), replace(scan(11, slice(7, 9)), name="arterial")
    model = of_phases("arterial", "portal venous")
    finish(run_volume(with_phases(portal, (arterial, portal)), model, Tiling(8, 2)))
    shown = model.model.images  # type: ignore[attr-defined]
    assert [each.shape for each in shown] == [(2, 8, 32, 40), (2, 7, 32, 40)]
    bright = [[int(z) for z in torch.nonzero(phase.amax((1, 2)) > 40)] for phase in shown[0]]
    assert bright == [[7], [2, 3]]


def test_a_scan_that_comes_without_a_detectors_phases_is_refused() -> None:
    with pytest.raises(PhaseError, match=r"sees 2 phases together \(arterial, delayed\), and scan comes with no other"):
        finish(run_volume(scan(11, slice(2, 4)), of_phases("arterial", "delayed")))


def test_a_detector_of_one_series_sees_of_a_study_the_scan_itself() -> None:
    portal, arterial = scan(10, slice(2, 4)), scan(10, slice(7, 9))
    found = finish(run_volume(with_phases(portal, (arterial, portal)), detector()))
    assert found.boxes[:, [2, 5]].tolist() == [[1.5, 3.5]]


@pytest.mark.parametrize("numbers", [np.arange(1, 11), np.arange(10, 0, -1)], ids=["to the head", "to the feet"])
def test_a_findings_depth_is_told_in_the_files_numbers(numbers: np.ndarray) -> None:
    findings = finish(detect(scan(10, slice(0, 2), numbers=numbers), detector(), score_floor=0))
    covered = numbers[:2]
    assert findings.depths is not None
    assert findings.depths.tolist() == [[covered.min() - 0.5, covered.max() + 0.5]]
    assert set(findings.slice_boxes[0]) == set(covered.tolist())
    assert findings.key_slices[0] in covered
    assert findings.boxes.tolist() == [[19.5, 9.5, 25.5, 13.5]]
    assert findings.points[0] is not None
    assert sorted(findings.points[0][:, 2]) == [covered.min() - 0.5, covered.max() + 0.5]
    # A voxel beyond each along every axis, before they were refined.
    assert findings.first_points is not None
    np.testing.assert_allclose(findings.first_points[0][:, :2], findings.points[0][:, :2] + 1)
    towards_the_head = np.sign(numbers[1] - numbers[0])
    np.testing.assert_allclose(findings.first_points[0][1, 2], findings.points[0][1, 2] + towards_the_head)


def test_of_boxes_that_overlap_the_surest_stays() -> None:
    boxes = np.array([[0.0, 0, 0, 10, 10, 10], [0, 0, 2, 10, 10, 12], [0, 0, 9, 10, 10, 19]])
    kept = suppress(VolumeDetections(boxes, np.array([0.5, 0.9, 0.7]), None))
    # The first shares 8 of 12 with the second, the third 3 of 17.
    assert kept.scores.tolist() == [0.9, 0.7]


def test_one_slice_of_a_volumetric_detector_shows_nothing() -> None:
    with pytest.raises(RecipeError, match="sees volumes"):
        look_inside(scan(10, slice(4, 6)), 4, np.zeros((0, 4)), detector())


class MarksEveryTenth(nn.Module):
    """Finds a cube about each of a tile's brightest voxels, told from a slice beside it."""

    def __init__(self, beside: int) -> None:
        super().__init__()
        self.beside = beside

    def forward(self, images: list[Tensor], thickness: Tensor) -> list[dict[str, Tensor]]:
        z, y, x = torch.nonzero(images[0][0] > 200, as_tuple=True)
        cells = torch.stack([x, y, z], dim=1).float()
        return [
            {
                "boxes": torch.cat([cells - 1, cells + 2], dim=1),
                "scores": torch.full((len(cells),), 0.5),
                "labels": torch.ones(len(cells), dtype=torch.int64),
                "peaks": cells + torch.tensor([0.5, 0.5, 0.5 + self.beside]),
            }
        ]


@pytest.mark.parametrize("beside", [-2, 0, 2])
def test_what_was_told_from_a_slice_counts_in_the_tile_where_that_slice_does(beside: int) -> None:
    hu = np.full((60, 32, 40), -1000, np.int16)
    hu[2:57:6, 10, 20] = 3071
    tiles: list[int] = []
    marks = LoadedDetector(MarksEveryTenth(beside), INPUTS, INFO, torch.device("cpu"), mixed=False)  # type: ignore[arg-type]
    bright = CTVolume(hu, (2.0, 1.0, 1.0), Path("scan"), "scan", np.arange(60), series_uid="1.2.3")
    found = finish(run_volume(bright, marks, Tiling(12, 3)), lambda step: tiles.append(step.done))
    assert len(tiles) > 10
    assert sorted(found.boxes[:, [2, 5]].mean(axis=1)) == pytest.approx(np.arange(2, 57, 6))


def test_a_body_longer_than_a_tiles_halo_is_not_cut_off_at_the_tile_but_at_the_scans_end() -> None:
    bright = scan(30, slice(0, 30))
    model = vld((2, 2, 3))
    nn.init.zeros_(model.model.dense_head.extent.refine.weight)
    # Points 40 slices before and behind the centre.
    points = torch.zeros(16, 3)
    points[:2, 2] = torch.tensor([-40.0, 40.0])
    model.model.dense_head.extent.points.bias.data = points.flatten()
    nn.init.zeros_(model.model.dense_head.extent.points.weight)
    found = finish(run_volume(bright, model, Tiling(12, 4)))
    assert len(found.boxes)
    assert found.boxes[:, [2, 5]] == pytest.approx(np.tile([-0.5, 29.5], (len(found.boxes), 1)))


LONG = """
import gc, sys, threading, psutil, torch, numpy as np
from pathlib import Path
from napari_uld.ct.volume import CTVolume
from napari_uld.inference.sliding import Tiling
from napari_uld.inference.volumes import run_volume
from napari_uld.progress import finish
from tests.inference.volumetric import vld
from tests.inference.volumetric import vld
depth, side, process = 24, 128, psutil.Process()
detector, most, stop = vld((2, 2, 3)), 0, threading.Event()
def scan(slices):
    hu = np.random.default_rng(0).integers(-160, 240, (slices, side, side), dtype=np.int16)
    spacing = (detector.inputs.interval_mm, *[detector.inputs.spacing_mm] * 2)
    return CTVolume(hu, spacing, Path("scan"), "scan", np.arange(slices), series_uid="1.2.3")
def watch():
    global most
    while not stop.wait(0.002):
        most = max(most, process.memory_info().rss)
finish(run_volume(scan(4), detector, Tiling(depth, 3)))
long = scan(int(sys.argv[1]))
before = process.memory_info().rss
watcher = threading.Thread(target=watch)
watcher.start()
finish(run_volume(long, detector, Tiling(depth, 3)))
stop.set()
watcher.join()
print((most - before) / (detector.bytes_per_voxel * depth * side * side))
"""


def test_a_long_scan_takes_no_more_memory_than_one_tile_of_it() -> None:
    # Without it the C library would keep much of what was freed.
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}
    done = subprocess.run(
        [sys.executable, "-c", LONG, "300"], check=True, capture_output=True, text=True, env=environment
    )
    # In tiles; as float32 the whole scan would be half of one beside it.
    assert 0.5 < float(done.stdout) < 1.4
