"""What systems are sure of on slices: which slices are drawn, what is counted, and what is drawn on them."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle

from napari_uld.errors import DataError
from napari_uld.evaluation.matching import match
from napari_uld.evaluation.overlaps import iou
from napari_uld.progress import finish
from napari_uld.training.data.key_slices import KeySlice, true_slices
from napari_uld.training.data.tight_slices import tight_slices
from napari_uld.training.evaluate import Found, OnSlices
from napari_uld.training.reports.slice_pictures import FOUND, TRUE, Sure, choose, draw, draw_sure

STUDY = Path(__file__).parents[3] / "sample_data" / "phantom"
BOX = np.array([[0.0, 0, 20, 20]])
ELSEWHERE = BOX + 100


def key(number: int) -> KeySlice:
    return KeySlice("000001_01_01", number, (1, 1, 1), BOX, (None,), (-175, 275))


def sure(slices: list[KeySlice], scores: list[list[tuple[float, bool]]], above: float = 0.9) -> Sure:
    """On each slice its first lesion, or something elsewhere, with that score."""
    boxes = [
        np.vstack([np.zeros((0, 4)), *(each.boxes[:1] if right else ELSEWHERE for _, right in found)])
        for each, found in zip(slices, scores, strict=True)
    ]
    overlaps = [iou(found, each.boxes) for found, each in zip(boxes, slices, strict=True)]
    matches = match(overlaps, [np.array([score for score, _ in found]) for found in scores], threshold=0.5)
    return Sure(OnSlices(Found(slices, tuple(boxes), matches), "", ""), above)


SLICES = [key(number) for number in range(4)]
ONE = [[(0.95, True), (0.92, False)], [(0.5, True)], [], [(0.91, False)]]
OTHER = [[(0.4, True)], [(0.99, True)], [(0.89, True)], []]


def numbers(systems: list[Sure], count: int = 4) -> list[int]:
    return [number for _, number in choose(systems, count, 0)]


def test_slices_are_drawn_where_one_of_them_is_sure() -> None:
    both = [sure(SLICES, ONE), sure(SLICES, OTHER)]
    assert numbers(both) == [0, 1, 3]
    assert numbers(both[:1]) == [0, 3]
    assert len(numbers(both, count=2)) == 2
    with pytest.raises(DataError, match=r"score of 0\.995: give a lower one"):
        choose([sure(SLICES, ONE, 0.995)], 4, 0)


def test_only_slices_that_every_system_was_judged_on_are_drawn() -> None:
    one, part = sure(SLICES, ONE), sure(SLICES[2:], [[(0.93, True)], []])
    assert numbers([one, part]) == numbers([part, one]) == [2, 3]
    with pytest.raises(DataError, match="no slice in common"):
        choose([sure(SLICES[:1], ONE[:1]), part], 4, 0)


@pytest.mark.parametrize(
    ("above", "tally"),
    [
        (0.9, "1 of 4 lesions on 4 slices,\n2 false positives"),
        (0.915, "1 of 4 lesions on 4 slices,\n1 false positive"),
        (0.5, "2 of 4 lesions on 4 slices,\n2 false positives"),
    ],
)
def test_lesions_and_false_positives_are_counted_from_the_score_on(above: float, tally: str) -> None:
    assert sure(SLICES, ONE, above).tally == tally


def boxes_in(axes: Axes) -> list[tuple[str, float]]:
    """Colour and width of each box."""
    frames = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    return [(to_hex(frame.get_edgecolor()).upper(), frame.get_width()) for frame in frames]


def test_a_system_has_a_row_with_its_boxes_and_scores_on_the_true_ones_that_it_is_judged_on() -> None:
    (padded,), (tight,) = true_slices(STUDY, "all")[:1], tight_slices(STUDY, "all")[:1]
    assert (padded.series, padded.number) == (tight.series, tight.number)
    systems = {"a": sure([padded], [[]]), "b": sure([tight], [[(0.97, True)]])}
    first, second = draw([(padded.series, padded.number)], systems, STUDY).axes
    assert boxes_in(first) == [(TRUE, box[2] - box[0]) for box in padded.boxes]
    widths = [box[2] - box[0] for box in tight.boxes]
    assert boxes_in(second) == [*((TRUE, width) for width in widths), (FOUND, widths[0])]
    assert [text.get_text() for text in second.texts if text.get_text()] == ["0.97"]
    assert second.get_ylabel().startswith("b\n1 of ")
    left, right = second.get_xlim()
    assert right - left < 512, "the air about the patient is cut off"


def test_what_is_found_beside_the_patient_is_seen() -> None:
    (sample,) = true_slices(STUDY, "all")[:1]
    aside = KeySlice(sample.series, sample.number, sample.spacing, np.array([[1.0, 1, 9, 9]]), (None,), sample.window)
    (axes,) = draw([(sample.series, sample.number)], {"a": sure([aside], [[(0.9, True)]])}, STUDY).axes
    assert (axes.get_xlim()[0], axes.get_ylim()[1]) == (0.5, 0.5)


def test_a_file_of_boxes_has_nothing_to_draw(tmp_path: Path) -> None:
    file = tmp_path / "coco.json"
    file.write_text("{}")
    with pytest.raises(DataError, match="holds no slices to draw"):
        finish(draw_sure(["faster_rcnn"], file, tmp_path / "out.png", split="test", above=0.9, count=4))
