"""A detector over a whole scan, and on single slabs."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.models.detection.image_list import ImageList

from napari_uld.ct.volume import CTVolume
from napari_uld.inference.candidates import candidates, slab_detections
from napari_uld.inference.checkpoint import load_checkpoint
from napari_uld.inference.detect import detect, lowest_score
from napari_uld.inference.slabs import Slab, extract_slab
from napari_uld.lesions.axis_map import AxisMap
from napari_uld.progress import Progress, finish


def test_findings_speak_of_native_slices_and_lie_in_the_image(checkpoint: Path, volume: CTVolume) -> None:
    steps: list[Progress] = []
    findings = finish(detect(volume, load_checkpoint(checkpoint, "cpu"), score_floor=0.0), steps.append)
    assert [s.done for s in steps] == [0, 1, 2, 3, 4, 5, 6]
    assert len(findings) > 0
    assert set(findings.key_slices) <= set(volume.slice_numbers)
    assert (np.diff(findings.scores) <= 0).all()
    assert findings.boxes.min() >= -0.5 - 1e-3
    assert findings.boxes.max() <= 95.5 + 1e-3
    assert findings.scan_id == volume.scan_id
    assert findings.method == "faster_rcnn_bmc"


def test_the_same_scan_gives_the_same_findings(checkpoint: Path, volume: CTVolume) -> None:
    detector = load_checkpoint(checkpoint, "cpu")
    first, second = (finish(detect(volume, detector, score_floor=0.0)) for _ in range(2))
    assert np.array_equal(first.boxes, second.boxes)
    assert [first.finding_id(i) for i in range(3)] == [second.finding_id(i) for i in range(3)]


def test_a_floor_that_nothing_reaches_gives_empty_findings(checkpoint: Path, volume: CTVolume) -> None:
    assert len(finish(detect(volume, load_checkpoint(checkpoint, "cpu"), score_floor=1.0))) == 0


# A crop that begins at native pixel (10, 20), at half the resolution.
SLAB = Slab(np.zeros((3, 32, 32), np.float32), AxisMap((10, 20), (0.5, 0.5)), (5.0, 1.0, 1.0), ())


def output() -> dict[str, Tensor]:
    """A lesion, a false positive, a lesion."""
    return {
        "boxes": torch.tensor([[0.0, 0, 4, 6], [1.0, 1, 2, 2], [8.0, 8, 16, 16]]),
        "scores": torch.tensor([0.9, 0.8, 0.7]),
        "labels": torch.tensor([1, 2, 1]),
        "masks": torch.arange(3.0).reshape(3, 1, 1, 1).expand(3, 1, 28, 28),
    }


def test_a_networks_output_is_brought_into_native_pixels() -> None:
    found = slab_detections(SLAB, output())
    # Edge 0 of the slab is edge 10 of the native slice, pixel-centre coordinate 9.5; a slab's pixel is two native ones.
    assert found.boxes.tolist() == [[9.5, 19.5, 17.5, 31.5], [25.5, 35.5, 41.5, 51.5]]
    assert found.scores == pytest.approx([0.9, 0.7])
    assert found.labels.tolist() == [1, 1]
    assert found.maps is not None
    assert found.maps.shape == (2, 28, 28)
    assert found.maps[:, 0, 0].tolist() == [0, 2]


def test_the_false_positive_class_is_dropped_unless_it_is_to_be_counted() -> None:
    assert slab_detections(SLAB, output()).scores == pytest.approx([0.9, 0.7])
    found = slab_detections(SLAB, output(), count_negatives=True)
    assert found.labels.tolist() == [1, 2, 1]
    assert found.scores == pytest.approx([0.9, 0.8, 0.7])
    assert found.maps is not None
    assert found.maps[:, 0, 0].tolist() == [0, 1, 2]


def test_without_maps_there_are_none() -> None:
    boxes_alone = {name: value for name, value in output().items() if name != "masks"}
    assert slab_detections(SLAB, boxes_alone).maps is None


def test_a_slab_is_run_beside_a_smaller_one_as_it_is_alone(checkpoint: Path, volume: CTVolume) -> None:
    detector = load_checkpoint(checkpoint, "cpu")
    scans = (volume.hu, np.ascontiguousarray(volume.hu[:, :64]))
    slabs = [extract_slab(hu, volume.spacing, 2, detector.inputs) for hu in scans]
    assert slabs[0].hu.shape != slabs[1].hu.shape
    beside, smaller = candidates(slabs, detector)
    (alone,) = candidates(slabs[:1], detector)
    assert len(alone.scores) > 0
    assert beside.boxes == pytest.approx(alone.boxes, abs=0.05)
    assert beside.scores == pytest.approx(alone.scores, abs=1e-3)
    assert smaller.boxes[:, 3].max() <= 63.5 + 1e-3


def test_maps_are_predicted_where_they_are_asked_for(checkpoint: Path, volume: CTVolume) -> None:
    detector = load_checkpoint(checkpoint, "cpu")
    slab = extract_slab(volume.hu, volume.spacing, 2, detector.inputs)
    assert next(candidates([slab], detector)).maps is None, "findings are boxes: a checkpoint is loaded without them"
    detector.model.predicts_maps = True
    (found,) = candidates([slab], detector)
    assert found.maps is not None
    assert found.maps.shape == (len(found.boxes), 28, 28)
    assert found.maps.min() >= 0
    assert found.maps.max() <= 1


@pytest.mark.parametrize(("point", "lowest"), [(None, 0.05), (0.4, 0.05), (0.06, 0.03)])
def test_detections_are_kept_well_below_where_a_review_begins(point: float | None, lowest: float) -> None:
    assert lowest_score(point) == lowest


def test_of_boxes_about_one_lesion_the_surest_becomes_a_finding(checkpoint: Path, volume: CTVolume) -> None:
    boxes = torch.tensor([[10.0, 10, 30, 30], [10, 10, 30, 42], [60, 60, 80, 80]])

    class Sees(torch.nn.Module):
        size_divisible = 32

        def per_image(self, images: Tensor) -> dict[str, Tensor]:
            return {"0": images}

        def from_features(self, _slab: object, batch: ImageList, thickness: Tensor) -> list[dict[str, Tensor]]:
            assert thickness.tolist() == [volume.spacing[0]] * len(batch.image_sizes)
            scores = torch.tensor([0.6, 0.9, 0.5])
            return [{"boxes": boxes, "scores": scores, "labels": torch.ones(3)} for _ in batch.image_sizes]

    detector = replace(load_checkpoint(checkpoint, "cpu"), model=Sees())
    findings = finish(detect(volume, detector))
    assert findings.scores.tolist() == pytest.approx([0.9, 0.5])
    assert [len(each) for each in findings.slice_boxes] == [6, 6]


def test_a_scan_is_joined_into_bodies_unless_the_papers_way_is_asked_for(checkpoint: Path, volume: CTVolume) -> None:
    class Sees(torch.nn.Module):
        """A box of 8 px on every slice, less sure from one to the next."""

        size_divisible = 32
        score = 0.9

        def per_image(self, images: Tensor) -> dict[str, Tensor]:
            return {"0": images}

        def from_features(self, _slab: object, batch: ImageList, thickness: Tensor) -> list[dict[str, Tensor]]:
            found = []
            for _ in batch.image_sizes:
                boxes, scores = torch.tensor([[10.0, 10, 18, 18]]), torch.tensor([self.score])
                found.append({"boxes": boxes, "scores": scores, "labels": torch.ones(1)})
                self.score -= 0.1
            return found

    loaded = load_checkpoint(checkpoint, "cpu")
    by_sort = finish(detect(volume, replace(loaded, model=Sees()), tracing="sort"))
    assert [len(boxes) for boxes in by_sort.slice_boxes] == [6]
    assert by_sort.scores == pytest.approx([0.9])
    # Six slices are more than twice as long as 8 px are wide.
    bodies = finish(detect(volume, replace(loaded, model=Sees())))
    assert sorted(len(boxes) for boxes in bodies.slice_boxes) == [3, 3]
    assert (bodies.scores < 0.9).all()
