"""Hard negatives: which detections are drawn from, what is mined of an image, and how it is kept."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList

from napari_uld.detectors.specs.inputs import InputSpec
from napari_uld.detectors.specs.mining import HardNegativesSpec
from napari_uld.errors import TrainingError
from napari_uld.inference.catalogue import CheckpointInfo
from napari_uld.inference.checkpoint import LoadedDetector
from napari_uld.inference.slabs import Slab, SlabImage
from napari_uld.lesions.axis_map import AxisMap
from napari_uld.lesions.findings_file import read_findings
from napari_uld.lesions.rle import decode, encode
from napari_uld.progress import Progress, finish
from napari_uld.training.data.key_slices import KeySlice
from napari_uld.training.data.slab_dataset import HardNegatives
from napari_uld.training.miners.hard_negatives import minable, mine, read_mined, write_mined

SPEC = HardNegativesSpec()
SHAPE = (60, 60)
# First and last pixels of the lesion's mask, and of boxes on nothing.
LESION = (10, 10, 19, 19)
ELSEWHERE = [(30, 30, 39, 39), (45, 45, 54, 54), (30, 45, 39, 54), (45, 30, 54, 39), (1, 45, 9, 54)]


def pool(scores: list[float], overlaps: list[float]) -> list[int]:
    return minable(np.array(scores), lambda index: overlaps[index], SPEC).tolist()


def test_with_a_good_detection_all_that_are_surer_are_candidates() -> None:
    assert pool([0.9, 0.8, 0.6, 0.5], [0.0, 0.1, 0.4, 0.0]) == [0, 1], "whatever their score, and nothing less sure"
    assert pool([0.5, 0.4, 0.3], [0.3, 0.0, 0.31]) == [0, 1], "an overlap of .3 is not more than .3"


def test_the_surest_good_detection_is_the_one_compared_with_and_no_good_one_is_a_candidate() -> None:
    assert pool([0.95, 0.9, 0.8, 0.7], [0.0, 0.4, 0.0, 0.9]) == [0]
    assert pool([0.95, 0.9], [0.5, 0.0]) == []
    assert pool([0.9, 0.9], [0.0, 0.5]) == [], "as sure is not surer"


def test_without_a_good_detection_those_above_the_score_are_candidates() -> None:
    assert pool([0.9, 0.71, 0.7, 0.2], [0.0, 0.3, 0.0, 0.0]) == [0, 1]
    assert pool([0.6], [0.0]) == []
    assert pool([], []) == []


def test_overlaps_are_asked_for_only_until_a_good_one_is_found() -> None:
    asked: list[int] = []

    def overlap(index: int) -> float:
        asked.append(index)
        return 0.9 if index == 1 else 0.0

    minable(np.array([0.9, 0.8, 0.7]), overlap, SPEC)
    assert asked == [0, 1]


class FakeModel(nn.Module):
    """Gives the same detections on every image: (first and last pixels, score, share of the box that its map fills)."""

    def __init__(self, found: list[tuple[tuple[int, int, int, int], float, float]], scale: float) -> None:
        super().__init__()
        self.found = found
        self.scale = scale
        self.predicts_maps = False
        self.size_divisible = 1

    def per_image(self, images: Tensor) -> dict[str, Tensor]:
        return {"0": images}

    def from_features(self, slab: list[dict[str, Tensor]], batch: ImageList, thickness: Tensor) -> list[dict]:
        boxes = torch.tensor([[x1, y1, x2 + 1, y2 + 1] for (x1, y1, x2, y2), _, _ in self.found]).reshape(-1, 4)
        found = {
            "boxes": boxes * self.scale,
            "scores": torch.tensor([score for _, score, _ in self.found]),
            "labels": torch.ones(len(self.found), dtype=torch.int64),
        }
        if self.predicts_maps:
            found["masks"] = torch.zeros(len(self.found), 1, 20, 20)
            for mask, (_, _, share) in zip(found["masks"], self.found, strict=True):
                mask[0, :, : round(20 * share)] = 1
        return [found for _ in batch.image_sizes]


class FakeSet:
    """One image with the lesion, seen by the network at half its size; its mask is its box."""

    def __init__(self, scale: float = 0.5) -> None:
        x1, y1, x2, y2 = LESION
        boxes = np.array([[x1 - 0.5, y1 - 0.5, x2 + 0.5, y2 + 0.5]])
        self.slices = [KeySlice("000001_01_01", 7, (2.0, 1.0, 1.0), boxes, (None,), (-160.0, 240.0))]
        self.scale = scale

    def __len__(self) -> int:
        return len(self.slices)

    def slab(self, index: int) -> Slab:
        side = round(SHAPE[0] * self.scale)
        return Slab(
            np.zeros((3, side, side), np.float32),
            AxisMap((0, 0), (self.scale, self.scale)),
            (1.0, 1.0, 1.0),
            (SlabImage((0, SHAPE[0], 0, SHAPE[1]), (0.0,) * 3),),
        )

    def masks(self, index: int) -> tuple:
        x1, y1, x2, y2 = LESION
        mask = np.zeros(SHAPE, bool)
        mask[y1 : y2 + 1, x1 : x2 + 1] = True
        return (encode(mask),)


def mined(found: list[tuple[tuple[int, int, int, int], float, float]], seed: int = 0) -> HardNegatives | None:
    """What is mined of the fake set with these detections."""
    data = FakeSet()
    info = CheckpointInfo(Path("fake"), "0", {"method": {"name": "fake"}}, {})
    model = FakeModel(found, data.scale)
    detector = LoadedDetector(model, InputSpec(), info, torch.device("cpu"), mixed=False)  # type: ignore[arg-type]
    result = finish(mine(detector, data, SPEC, seed))  # type: ignore[arg-type]
    assert not model.predicts_maps, "it is left as it was"
    return result.get(0)


def corners(negatives: HardNegatives | None) -> list[tuple[int, int, int, int]]:
    """First and last pixels of what was mined."""
    if negatives is None:
        return []
    inner = negatives.boxes + [0.5, 0.5, -0.5, -0.5]
    return [tuple(int(round(v)) for v in box) for box in inner]


def test_what_is_surer_than_the_lesions_detection_is_mined_in_native_pixels_with_its_mask() -> None:
    first, second, third, *_ = ELSEWHERE
    # Given out of order: the detector's order does not count.
    negatives = mined([(third, 0.3, 1.0), (LESION, 0.5, 1.0), (second, 0.6, 0.5), (first, 0.9, 1.0)])
    assert negatives is not None
    assert corners(negatives) == [first, second]
    assert negatives.scores.tolist() == pytest.approx([0.9, 0.6])
    whole, half = (decode(mask) for mask in negatives.masks)
    assert whole.shape == SHAPE
    assert whole.sum() == whole[30:40, 30:40].sum() == 100
    assert half.sum() == half[45:55, 45:50].sum() == 50


def test_a_detection_on_the_lesion_counts_by_its_mask_not_by_its_box() -> None:
    # The box is the lesion's, but its mask fills a quarter of it: no good detection, and itself not sure enough.
    assert corners(mined([(LESION, 0.65, 0.25), (ELSEWHERE[0], 0.75, 1.0), (ELSEWHERE[1], 0.69, 1.0)])) == [
        ELSEWHERE[0]
    ]
    # With a third of it the lesion is found, and both others are candidates if they are surer.
    assert corners(mined([(LESION, 0.65, 0.35), (ELSEWHERE[0], 0.75, 1.0), (ELSEWHERE[1], 0.69, 1.0)])) == ELSEWHERE[:2]


def test_a_sure_detection_whose_mask_misses_its_lesion_is_mined_itself() -> None:
    negatives = mined([(LESION, 0.9, 0.2), (ELSEWHERE[0], 0.8, 1.0)])
    assert corners(negatives) == [LESION, ELSEWHERE[0]]
    assert negatives is not None
    assert negatives.overlaps is not None
    assert negatives.overlaps.tolist() == pytest.approx([0.2, 0.0]), "S2 says which of them lies on a lesion"


def test_of_many_candidates_three_are_drawn_by_the_seed() -> None:
    found = [(box, 0.9 - 0.01 * k, 1.0) for k, box in enumerate(ELSEWHERE)]
    draws = [corners(mined(found, seed)) for seed in range(8)]
    assert all(len(set(draw)) == SPEC.per_image for draw in draws)
    assert len({tuple(draw) for draw in draws}) > 1
    assert draws[0] == corners(mined(found, 0))
    assert {box for draw in draws for box in draw} == set(ELSEWHERE), "the less sure ones are drawn too"


def test_images_without_a_candidate_are_left_out() -> None:
    assert mined([]) is None
    assert mined([(LESION, 0.9, 1.0), (ELSEWHERE[0], 0.8, 1.0)]) is None


def test_progress_counts_images() -> None:
    steps: list[Progress] = []
    info = CheckpointInfo(Path("fake"), "0", {"method": {"name": "fake"}}, {})
    detector = LoadedDetector(FakeModel([], 0.5), InputSpec(), info, torch.device("cpu"), mixed=False)  # type: ignore[arg-type]
    finish(mine(detector, FakeSet(), SPEC, 0), steps.append)  # type: ignore[arg-type]
    assert [(step.done, step.total) for step in steps] == [(0, 1), (1, 1)]


def negatives(count: int, first: int) -> HardNegatives:
    """Distinct boxes, scores and masks; the scores grow, so that nothing may rely on an order."""
    boxes = np.array([[first + k, 2.0, first + k + 3, 8] for k in range(count)])
    masks = []
    for k in range(count):
        mask = np.zeros(SHAPE, bool)
        mask[3:7, first + k : first + k + 2] = True
        masks.append(encode(mask))
    return HardNegatives(boxes, np.linspace(0.5, 0.9, count), tuple(masks), np.linspace(0.1, 0.3, count))


def test_what_was_mined_is_read_back_as_it_was_by_series_and_slice(tmp_path: Path) -> None:
    slices = [
        KeySlice(series, number, (2.0, 1.0, 1.0), np.zeros((1, 4)), (None,), (-160.0, 240.0))
        for series, number in (("000001_01_01", 7), ("000001_01_01", 3), ("000002_01_01", 7), ("000003_01_01", 1))
    ]
    given = {0: negatives(2, 10), 1: negatives(3, 20), 2: negatives(1, 30)}
    write_mined(tmp_path / "epoch_1", slices, given, "uldor")
    assert sorted(path.name for path in (tmp_path / "epoch_1").glob("*.json")) == [
        "000001_01_01.findings.json",
        "000002_01_01.findings.json",
    ]
    back = read_mined(tmp_path / "epoch_1", slices)
    assert set(back) == set(given)
    for index, expected in given.items():
        assert np.allclose(back[index].boxes, expected.boxes)
        assert np.allclose(back[index].scores, expected.scores)
        assert back[index].masks == expected.masks
        assert np.allclose(back[index].overlaps, expected.overlaps)


def test_what_was_mined_before_overlaps_were_kept_is_read(tmp_path: Path) -> None:
    slices = [KeySlice("000001_01_01", 7, (2.0, 1.0, 1.0), np.zeros((1, 4)), (None,), (-160.0, 240.0))]
    write_mined(tmp_path / "epoch_1", slices, {0: replace(negatives(2, 10), overlaps=None)}, "uldor")
    assert read_mined(tmp_path / "epoch_1", slices)[0].overlaps is None


def test_what_was_mined_is_flagged_as_negative_in_its_findings(tmp_path: Path) -> None:
    slices = [KeySlice("000001_01_01", 7, (2.0, 1.0, 1.0), np.zeros((1, 4)), (None,), (-160.0, 240.0))]
    write_mined(tmp_path, slices, {0: negatives(2, 10)}, "uldor")
    findings = read_findings(tmp_path / "000001_01_01.findings.json")
    assert findings.negative.tolist() == [True, True]
    assert findings.labels.tolist() == [2, 2]
    assert findings.key_slices.tolist() == [7, 7]
    assert findings.method == "uldor"


def test_what_an_earlier_run_mined_there_is_gone(tmp_path: Path) -> None:
    parts = ((2.0, 1.0, 1.0), np.zeros((1, 4)), (None,), (-160.0, 240.0))
    slices = [KeySlice("000001_01_01", 7, *parts), KeySlice("000002_01_01", 3, *parts)]
    write_mined(tmp_path / "epoch_1", slices, {0: negatives(1, 10), 1: negatives(1, 10)}, "uldor")
    write_mined(tmp_path / "epoch_1", slices, {1: negatives(1, 20)}, "uldor")
    assert set(read_mined(tmp_path / "epoch_1", slices)) == {1}


def test_a_missing_folder_or_an_unknown_slice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="epoch_1 is not there"):
        read_mined(tmp_path / "epoch_1", [])
    known = KeySlice("000001_01_01", 7, (2.0, 1.0, 1.0), np.zeros((1, 4)), (None,), (-160.0, 240.0))
    write_mined(tmp_path / "epoch_1", [known], {0: negatives(1, 10)}, "uldor")
    with pytest.raises(TrainingError, match="slice 7"):
        read_mined(tmp_path / "epoch_1", [])


def test_nothing_mined_is_nothing_read(tmp_path: Path) -> None:
    write_mined(tmp_path / "epoch_1", [], {}, "uldor")
    assert read_mined(tmp_path / "epoch_1", []) == {}
