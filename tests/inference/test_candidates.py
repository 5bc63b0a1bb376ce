"""A slab gives the same detections alone and in a scan, over which every image goes through the backbone once."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from napari_uld.ct.volume import CTVolume
from napari_uld.detectors.build import build_detector, build_proposals, build_regions
from napari_uld.detectors.parts import Fused
from napari_uld.detectors.specs.recipe import load_recipe
from napari_uld.detectors.specs.system import System
from napari_uld.detectors.two_stage import TwoStageDetector
from napari_uld.inference import candidates as candidates_module
from napari_uld.inference.candidates import Seen, SlabDetections, candidates
from napari_uld.inference.catalogue import CheckpointInfo
from napari_uld.inference.checkpoint import LoadedDetector
from napari_uld.inference.detect import detect
from napari_uld.inference.slabs import Slab, extract_slab
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


def all_slabs(volume: CTVolume, detector: LoadedDetector) -> list[Slab]:
    return [extract_slab(volume.hu, volume.spacing, z, detector.inputs) for z in range(len(volume.hu))]


def one_by_one(volume: CTVolume, detector: LoadedDetector) -> list[SlabDetections]:
    """What each slab gives alone, nothing shared: as a data set's key slice is seen."""
    return [found for slab in all_slabs(volume, detector) for found in candidates([slab], detector)]


def assert_alike(found: list[SlabDetections], expected: list[SlabDetections], spread: float) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert len(other.scores) > 5
        assert other.scores.std() > spread
        assert one.scores == pytest.approx(other.scores, abs=1e-4)
        assert one.boxes == pytest.approx(other.boxes, abs=1e-3)


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("dz", [1.0, 2.0, 2.5, 5.0])
@pytest.mark.parametrize("slices", [9, 27])
def test_over_a_scan_shared_images_give_the_detections_of_each_slab_alone(
    make_detector: MakeDetector, monkeypatch: pytest.MonkeyPatch, slices: int, dz: float, batch: int
) -> None:
    detector = make_detector(slices)
    volume = scan(round(20 / dz), dz)
    expected = one_by_one(volume, detector)
    in_batches_of(batch, monkeypatch)
    assert_alike(list(candidates(all_slabs(volume, detector), detector)), expected, 0.05)


def in_batches_of(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a CPU run as many slabs at once as a GPU does."""
    by_one = candidates_module._batches
    for_gpu = SimpleNamespace(type="cuda")
    monkeypatch.setattr(candidates_module, "GPU_BATCH", most)
    monkeypatch.setattr(
        candidates_module,
        "_batches",
        lambda slabs, detector: by_one(slabs, SimpleNamespace(model=detector.model, device=for_gpu)),
    )


def test_neighbouring_slabs_see_different_images(make_detector: MakeDetector) -> None:
    detector = make_detector(9)
    first, second = one_by_one(scan(3, 2.0), detector)[1:]
    assert not np.allclose(first.scores[:5], second.scores[:5], atol=1e-3)


@pytest.mark.parametrize(
    ("dz", "images"),
    [
        # The middle image stands on each slice, the others 6 mm before and after: on slices too.
        (1.0, 24),
        (2.0, 22),
        # The slices nearest to 6 mm away; an image beyond the end holds the end slice thrice.
        (5.0, 22),
        (2.5, 22),
    ],
)
def test_every_image_goes_through_the_backbone_once(make_detector: MakeDetector, dz: float, images: int) -> None:
    detector = make_detector(9)
    calls = counted(detector)
    finish(detect(scan(20, dz), detector))
    # One on each slice, and those beyond an end that are not wholly the end slice.
    assert calls.images == images


def test_images_that_stand_exactly_where_the_interval_says_are_shared_where_they_coincide(
    make_detector: MakeDetector,
) -> None:
    seen = {}
    for dz in (2.0, 5.0):
        detector = make_detector(9)
        exact = replace(detector, inputs=detector.inputs.model_copy(update={"share_images": False}))
        calls = counted(exact)
        finish(detect(scan(8, dz), exact))
        seen[dz] = calls.images
    assert seen[2.0] == 10
    # 6 mm from a slice there is none: nothing is shared but what lies beyond the ends.
    assert seen[5.0] == 3 * 8 - 0


def test_a_slab_whose_crop_differs_shares_no_image(make_detector: MakeDetector) -> None:
    detector = make_detector(9)
    volume = scan(12, 2.0)
    volume.hu[6:, :, 40:] = -1000
    crops = {slab.images[0].crop for slab in all_slabs(volume, detector)}
    assert len(crops) == 2
    assert_alike(list(candidates(all_slabs(volume, detector), detector)), one_by_one(volume, detector), 0.01)


def test_each_slice_takes_the_detections_of_its_own_slab(make_detector: MakeDetector) -> None:
    detector = make_detector(9)
    volume = scan(6, 1.5)
    expected = one_by_one(volume, detector)
    findings = finish(detect(volume, detector, score_floor=0.0, tracing="sort"))
    for row in range(len(findings)):
        own = expected[volume.z_of(int(findings.key_slices[row]))]
        gaps = np.abs(own.boxes - findings.boxes[row]).max(axis=1)
        assert gaps.min() < 1e-3
        assert own.scores[gaps.argmin()] == pytest.approx(findings.scores[row], abs=1e-4)


def test_progress_counts_slices_and_closing_stops_the_network(make_detector: MakeDetector) -> None:
    detector = make_detector(9)
    steps: list[Progress] = []
    finish(detect(scan(4, 1.0), detector), steps.append)
    assert [step.done for step in steps] == [0, 1, 2, 3, 4]
    calls = counted(detector)
    work = detect(scan(20, 2.0), detector)
    next(work), next(work)
    work.close()
    # The first slab alone: one image beyond the end, its own, and the next.
    assert calls.images == 3


def test_a_single_slice_is_a_scan(make_detector: MakeDetector) -> None:
    assert len(finish(detect(scan(1, 5.0), make_detector(27), score_floor=0.0))) > 0


def test_what_no_later_slab_holds_is_forgotten(make_detector: MakeDetector, monkeypatch: pytest.MonkeyPatch) -> None:
    detector = make_detector(9)
    held: list[int] = []
    run = candidates_module._run

    def watched(batch: list[Slab], seen: Seen, detector: LoadedDetector) -> list[dict[str, Tensor]]:
        outputs = run(batch, seen, detector)
        held.append(len(seen))
        return outputs

    monkeypatch.setattr(candidates_module, "_run", watched)
    list(candidates(all_slabs(scan(20, 2.0), detector), detector))
    # From 6 mm before to 6 mm after the key slice; at the scan's beginning there is one that lies before it, too.
    assert held[4:-3] == [7] * 13
    assert max(held) == 8


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
    changes = {"slices": 9, "spacing_mm": 1.0, "long_side": 64, "more_windows": windows, "share_images": True}
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
def test_of_several_windows_too_shared_images_give_the_detections_of_each_slab_alone(
    monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    detector = windowed(((-1350.0, 150.0), (-500.0, 1300.0)))
    volume = scan(8, 5.0)
    expected = one_by_one(volume, detector)
    in_batches_of(batch, monkeypatch)
    assert_alike(list(candidates(all_slabs(volume, detector), detector)), expected, 0.01)


def test_windows_and_thickness_change_what_such_a_detector_finds() -> None:
    detector = windowed(((-1350.0, 150.0), (-500.0, 1300.0)))
    swapped = replace(
        detector, inputs=detector.inputs.model_copy(update={"more_windows": detector.inputs.more_windows[::-1]})
    )
    slab = all_slabs(scan(8, 5.0), detector)[4]
    (found,) = candidates([slab], detector)
    thin = replace(slab, spacing=(1.0, *slab.spacing[1:]))
    for (other,) in (candidates([slab], swapped), candidates([thin], detector)):
        count = min(len(found.scores), len(other.scores))
        assert not np.allclose(found.scores[:count], other.scores[:count], atol=1e-4)
