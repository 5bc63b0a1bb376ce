"""Over a whole scan every image goes through the backbone once, and nothing else changes."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from napari_uld.ct.volume import CTVolume
from napari_uld.detectors.build import build_detector, build_proposals, build_regions
from napari_uld.detectors.parts import Fused
from napari_uld.detectors.specs.inputs import InputSpec
from napari_uld.detectors.specs.recipe import load_recipe
from napari_uld.detectors.specs.system import System
from napari_uld.detectors.two_stage import TwoStageDetector
from napari_uld.inference.catalogue import CheckpointInfo
from napari_uld.inference.checkpoint import LoadedDetector
from napari_uld.inference.detect import detect, run_slabs, slab_detections
from napari_uld.inference.shared_features import run_grid
from napari_uld.inference.slabs import ScanGrid
from napari_uld.progress import Progress, finish

MakeDetector = Callable[[int], LoadedDetector]


@pytest.fixture
def make_detector() -> MakeDetector:
    """3DCE, an eighth as wide, on so many slices."""

    def make(slices: int) -> LoadedDetector:
        recipe = load_recipe("3dce", "small")
        inputs = recipe.input.model_copy(update={"slices": slices, "spacing_mm": 1.0, "long_side": 64})
        detector = recipe.detector.model_copy(update={"width": 0.125, "proposals_before_nms": (100, 100)})
        torch.manual_seed(0)
        model = build_detector(System(detector=detector, supervision=recipe.supervision, input=inputs)).eval()
        # Fresh weights give all regions nearly the same score, and move their boxes by nothing.
        with torch.no_grad():
            model.regions.box_predictor.logits.weight.mul_(100)
            model.regions.box_predictor.deltas.weight.mul_(50)
        info = CheckpointInfo(Path("tiny"), "0", recipe.model_dump(mode="json"), {})
        return LoadedDetector(model, inputs, info, torch.device("cpu"), mixed=False)

    return make


def scan(depth: int, dz: float) -> CTVolume:
    """Tissue, wider than high, in air, with structure on every slice."""
    rng = np.random.default_rng(0)
    hu = np.full((depth, 60, 72), -1000, np.int16)
    hu[:, 6:50, 4:68] = rng.normal(40, 60, (depth, 11, 16)).repeat(4, axis=1).repeat(4, axis=2)
    return CTVolume(hu, (dz, 1.0, 1.0), Path("scan"), "scan", np.arange(depth, 0, -1))


class Calls(nn.Module):
    """Counts the images that go through a backbone."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.images = 0

    def forward(self, images: Tensor) -> list[Tensor]:
        self.images += len(images)
        return self.backbone(images)


def counted(detector: LoadedDetector) -> Calls:
    calls = Calls(detector.model.encoder.backbone)
    detector.model.encoder.backbone = calls  # type: ignore[assignment]
    return calls


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("dz", [1.0, 2.0, 5.0])
@pytest.mark.parametrize("slices", [9, 27])
def test_shared_features_give_the_detections_of_each_window_alone(
    make_detector: MakeDetector, slices: int, dz: float, batch: int
) -> None:
    detector = make_detector(slices)
    volume = scan(round(30 / dz), dz)
    grid = ScanGrid(volume.hu, volume.spacing, detector.inputs)
    keys = np.unique(grid.nearest)
    shared = [slab_detections(*found) for found in run_grid(grid, keys, detector, batch=batch)]
    assert len(shared) == len(keys)
    for key, found in zip(keys, shared, strict=True):
        (expected,) = run_slabs([grid.window(int(key), slices)], detector)
        assert len(expected.scores) > 5
        assert expected.scores.std() > 0.05
        assert found.scores == pytest.approx(expected.scores, abs=1e-4)
        assert found.boxes == pytest.approx(expected.boxes, abs=1e-4)


def test_neighbouring_slabs_see_different_images(make_detector: MakeDetector) -> None:
    detector = make_detector(9)
    volume = scan(15, 2.0)
    grid = ScanGrid(volume.hu, volume.spacing, detector.inputs)
    first, second = run_slabs([grid.window(7, 9), grid.window(8, 9)], detector)
    assert not np.allclose(first.scores[:5], second.scores[:5], atol=1e-3)


def test_every_image_goes_through_the_backbone_once(make_detector: MakeDetector) -> None:
    detector = make_detector(9)
    calls = counted(detector)
    finish(detect(scan(20, 2.0), detector))
    # One centred on each position, and one beyond each end that holds the end slice thrice.
    assert calls.images == 22


def test_of_a_thick_scan_only_the_images_that_its_slices_need_are_seen(make_detector: MakeDetector) -> None:
    detector = make_detector(9)
    calls = counted(detector)
    # Slices at 0, 6, 12, 18, 24 mm: positions 0, 3, 6, 9, 12, each with the images of the next ones.
    finish(detect(scan(5, 6.0), detector))
    assert calls.images == 7


def test_each_slice_takes_the_detections_of_the_nearest_position(make_detector: MakeDetector) -> None:
    detector = make_detector(9)
    volume = scan(6, 1.5)
    grid = ScanGrid(volume.hu, volume.spacing, detector.inputs)
    # At 0, 1.5, 3, 4.5, 6, 7.5 mm; 3 mm lies halfway between positions 1 and 2.
    assert grid.nearest.tolist() == [0, 1, 2, 2, 3, 4]
    findings = finish(detect(volume, detector, score_floor=0.0))
    for row in range(len(findings)):
        z = volume.z_of(int(findings.key_slices[row]))
        (expected,) = run_slabs([grid.window(int(grid.nearest[z]), 9)], detector)
        gaps = np.abs(expected.boxes - findings.boxes[row]).max(axis=1)
        assert gaps.min() < 1e-3
        assert expected.scores[gaps.argmin()] == pytest.approx(findings.scores[row], abs=1e-4)


def test_progress_counts_slices_and_closing_stops_the_network(make_detector: MakeDetector) -> None:
    detector = make_detector(9)
    steps: list[Progress] = []
    finish(detect(scan(6, 1.0), detector), steps.append)
    # Slices at 1 and 3 mm lie halfway between positions; they fall to the even one.
    assert [step.done for step in steps] == [0, 2, 3, 6]
    calls = counted(detector)
    work = detect(scan(20, 2.0), detector)
    next(work), next(work)
    work.close()
    # The first slab alone: one image beyond the end, its own, and the next.
    assert calls.images == 3


def test_a_single_slice_is_a_scan(make_detector: MakeDetector) -> None:
    assert len(finish(detect(scan(1, 5.0), make_detector(27), score_floor=0.0))) > 0


def test_images_wholly_beyond_an_end_share_one_centre() -> None:
    spec = InputSpec(slices=9)
    grid = ScanGrid(np.zeros((5, 8, 8), np.int16), (2.0, 1.0, 1.0), spec)
    assert grid.image_centres(np.array([0, 2, 4])).tolist() == [[-1, 0, 3], [-1, 2, 5], [1, 4, 5]]


class WindowsAndThickness(nn.Module):
    """An encoder of slabs seen in several windows: each image has weights of its own by its place, and a scan's
    thickness a weight too, so that an image in the wrong place or another scan's thickness gives other levels.
    """

    channels = 8
    strides = (8,)

    def __init__(self, images: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 8, stride=8)
        self.places = nn.Conv2d(8 * images, 8, 1)
        self.backbone = None

    def per_image(self, images: Tensor) -> dict[str, Tensor]:
        return {"0": self.conv(images)}

    def join(self, slab: list[dict[str, Tensor]], thickness: Tensor) -> Fused:
        joined = self.places(torch.cat([image["0"] for image in slab], dim=1)) * thickness[:, None, None, None]
        return Fused({"0": joined}, [{"0": joined}])


def windowed(windows: tuple[tuple[float, float], ...]) -> LoadedDetector:
    """Both stages on `WindowsAndThickness`, on slabs of nine slices."""
    recipe = load_recipe("faster_rcnn", "small")
    changes = {"slices": 9, "spacing_mm": 1.0, "long_side": 64, "more_windows": windows}
    inputs = recipe.input.model_copy(update=changes)
    torch.manual_seed(0)
    encoder = WindowsAndThickness(inputs.images)
    parts = encoder, recipe.detector, recipe.supervision
    model = TwoStageDetector(
        encoder=encoder,
        proposals=build_proposals(*parts),  # type: ignore[arg-type]
        regions=build_regions(*parts),  # type: ignore[arg-type]
        slices_per_image=3,
    ).eval()
    with torch.no_grad():
        model.regions.box_predictor.logits.weight.mul_(10)
        model.regions.box_predictor.deltas.weight.mul_(50)
    info = CheckpointInfo(Path("tiny"), "0", recipe.model_dump(mode="json"), {})
    return LoadedDetector(model, inputs, info, torch.device("cpu"), mixed=False)


@pytest.mark.parametrize("batch", [1, 4])
def test_of_several_windows_too_shared_features_give_the_detections_of_each_slab_alone(batch: int) -> None:
    detector = windowed(((-1350.0, 150.0), (-500.0, 1300.0)))
    volume = scan(8, 5.0)
    grid = ScanGrid(volume.hu, volume.spacing, detector.inputs)
    keys = np.unique(grid.nearest)
    shared = [slab_detections(*found) for found in run_grid(grid, keys, detector, batch=batch)]
    assert len(shared) == len(keys)
    for key, found in zip(keys, shared, strict=True):
        (expected,) = run_slabs([grid.window(int(key), 9)], detector)
        assert len(expected.scores) > 5
        assert expected.scores.std() > 0.01
        assert found.scores == pytest.approx(expected.scores, abs=1e-4)
        assert found.boxes == pytest.approx(expected.boxes, abs=1e-3)


def test_windows_and_thickness_change_what_such_a_detector_finds() -> None:
    detector = windowed(((-1350.0, 150.0), (-500.0, 1300.0)))
    swapped = replace(
        detector, inputs=detector.inputs.model_copy(update={"more_windows": detector.inputs.more_windows[::-1]})
    )
    volume = scan(8, 5.0)
    slab = ScanGrid(volume.hu, volume.spacing, detector.inputs).window(4, 9)
    (found,) = run_slabs([slab], detector)
    for other in (run_slabs([slab], swapped), run_slabs([replace(slab, spacing=(1.0, *slab.spacing[1:]))], detector)):
        count = min(len(found.scores), len(other[0].scores))
        assert not np.allclose(found.scores[:count], other[0].scores[:count], atol=1e-4)
