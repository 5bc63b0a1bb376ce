"""A volumetric detector over whole scans: boxes end where bodies are, whatever tile, spacing or numbering."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from napari_uld.ct.phases import with_phases
from napari_uld.ct.volume import CTVolume
from napari_uld.detectors.specs.inputs import InputSpec
from napari_uld.errors import PhaseError, RecipeError
from napari_uld.inference.catalogue import CheckpointInfo
from napari_uld.inference.checkpoint import LoadedDetector
from napari_uld.inference.detect import detect
from napari_uld.inference.inside import look_inside
from napari_uld.inference.volumes import VolumeDetections, resample, run_volume, suppress
from napari_uld.progress import finish

INPUTS = InputSpec(
    volume=True, slices=8, slices_per_image=1, interval_mm=2.0, spacing_mm=1.0, crop_to_body=False, long_side=32
)
INFO = CheckpointInfo(Path("bright"), "0", {"method": {"name": "bright", "title": "Bright"}}, {})


class FindsBright(nn.Module):
    """Gives the box about all that is brighter than fat, surer the more slices of it are seen."""

    def __init__(self) -> None:
        super().__init__()
        self.depths: list[int] = []

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
    found = finish(run_volume(scan(depth, slice(first, last + 1)), detector()))
    assert found.boxes == pytest.approx(np.array([[19.5, 9.5, first - 0.5, 25.5, 13.5, last + 0.5]]))
    assert found.points is not None
    assert found.points[0] == pytest.approx(np.array([[19.5, 9.5, first - 0.5], [25.5, 13.5, last + 0.5]]))


def test_slices_at_another_distance_are_brought_to_the_networks_and_boxes_back() -> None:
    # Slices 4 to 6 of 5 mm: the network's, at 2 mm, between 3.6 and 6.4 of them have a share of the body.
    found = finish(run_volume(scan(12, slice(4, 7), 5.0), detector()))
    (low, high) = found.boxes[0, [2, 5]]
    assert 3.0 <= low < 4.0
    assert 6.0 < high <= 7.0
    whole = resample(scan(12, slice(4, 7), 5.0).hu, (5.0, 1.0, 1.0), INPUTS)
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
    finish(run_volume(with_phases(portal, (arterial, portal)), model))
    shown = model.model.images  # type: ignore[attr-defined]
    assert [each.shape for each in shown] == [(2, 8, 32, 40)] * 2
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
