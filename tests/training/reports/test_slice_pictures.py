"""What systems are sure of on slices: which slices are drawn, what is counted, and what is drawn on them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle

from napari_uld.errors import DataError
from napari_uld.evaluation.matching import match
from napari_uld.evaluation.overlaps import iou
from napari_uld.training.data.key_slices import KeySlice, true_slices
from napari_uld.training.evaluate import Found
from napari_uld.training.reports.slice_pictures import FOUND, TRUE, choose, draw, tally

STUDY = Path(__file__).parents[3] / "sample_data" / "phantom"
BOX = np.array([[0.0, 0, 20, 20]])
ELSEWHERE = BOX + 100


def key(number: int) -> KeySlice:
    return KeySlice("000001_01_01", number, (1, 1, 1), BOX, (None,), (-175, 275))


def found(slices: list[KeySlice], scores: list[list[tuple[float, bool]]]) -> Found:
    """On each slice its lesion, or something elsewhere, with that score."""
    boxes = [np.vstack([np.zeros((0, 4)), *(BOX if right else ELSEWHERE for _, right in each)]) for each in scores]
    sure = [np.array([score for score, _ in each]) for each in scores]
    overlaps = [iou(each, BOX) for each in boxes]
    return Found(slices, tuple(boxes), match(overlaps, sure, threshold=0.5))


SLICES = [key(number) for number in range(4)]
ONE = found(SLICES, [[(0.95, True), (0.92, False)], [(0.5, True)], [], [(0.91, False)]])
OTHER = found(SLICES, [[(0.4, True)], [(0.99, True)], [(0.89, True)], []])


def test_slices_are_drawn_where_one_of_them_is_sure() -> None:
    both = {"one": ONE, "other": OTHER}
    assert [each.number for each in choose(both, 0.9, 4, 0)] == [0, 1, 3]
    assert [each.number for each in choose({"one": ONE}, 0.9, 4, 0)] == [0, 3]
    assert len(choose(both, 0.9, 2, 0)) == 2
    with pytest.raises(DataError, match=r"score of 0\.995"):
        choose(both, 0.995, 4, 0)


def test_only_slices_that_every_system_was_judged_on_are_drawn() -> None:
    part = found(SLICES[2:], [[(0.93, True)], []])
    assert [each.number for each in choose({"one": ONE, "part": part}, 0.9, 4, 0)] == [2, 3]
    assert [each.number for each in choose({"part": part, "one": ONE}, 0.9, 4, 0)] == [2, 3]


def test_lesions_and_false_positives_are_counted_from_the_score_on() -> None:
    assert tally(ONE, 0.9) == "on all 4 slices: 1 of 4 lesions,\n2 false positives"
    assert tally(ONE, 0.91) == "on all 4 slices: 1 of 4 lesions,\n2 false positives"
    assert tally(ONE, 0.915) == "on all 4 slices: 1 of 4 lesions,\n1 false positives"


def boxes_in(axes: Axes) -> list[str]:
    return [to_hex(patch.get_edgecolor()).upper() for patch in axes.patches if isinstance(patch, Rectangle)]


def test_a_system_has_a_row_with_its_boxes_and_scores_on_the_true_ones() -> None:
    (sample,) = true_slices(STUDY, "all")[:1]
    sure = found([sample], [[]])
    lesions = len(sample.boxes)
    overlaps = [iou(sample.boxes[:1], sample.boxes)]
    right = replace(sure, boxes=(sample.boxes[:1],), matches=match(overlaps, [np.array([0.97])], threshold=0.5))
    figure = draw([sample], {"a": sure, "b": right}, STUDY, 0.9)
    first, second = figure.axes
    assert boxes_in(first) == [TRUE] * lesions
    assert boxes_in(second) == [TRUE] * lesions + [FOUND]
    assert [text.get_text() for text in second.texts if text.get_text()] == ["0.97"]
    assert second.get_ylabel().startswith("b\non all 1 slices: 1 of")
    left, right_end = second.get_xlim()
    assert right_end - left < 512, "the air about the patient is cut off"
