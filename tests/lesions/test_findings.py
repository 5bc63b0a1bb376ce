import numpy as np
import pytest

from napari_uld.errors import BoxError
from napari_uld.lesions.findings import Findings, in_voxels, joined


def make(scores: object = (0.2, 0.9, 0.5), **columns: object) -> Findings:
    rows = {"boxes": [[i, 0, i + 2, 2] for i in range(3)], "key_slices": [5, 6, 7], "scores": scores} | columns
    return Findings.from_rows(scan_id="s", scan_name="", method="m", checkpoint="c", **rows)  # type: ignore[arg-type]


def test_what_an_untraced_detector_does_not_give_is_filled_in() -> None:
    findings = make()
    assert findings.labels.tolist() == [1, 1, 1]
    assert not findings.negative.any()
    assert findings.slice_boxes[1] == {6: (1.0, 0.0, 3.0, 2.0)}
    assert findings.masks == (None, None, None)


def test_above_a_threshold_comes_best_first_with_every_column() -> None:
    best = make().above(0.5)
    assert best.scores.tolist() == [0.9, 0.5]
    assert best.key_slices.tolist() == [6, 7]
    assert [list(boxes) for boxes in best.slice_boxes] == [[6], [7]]


def test_score_columns_go_with_their_rows() -> None:
    assert make(columns={"s2": [0.2, 0.3, 0.4]}).above(0.5).columns["s2"].tolist() == [0.3, 0.4]
    assert make().columns == {}


def test_columns_are_frozen_but_the_callers_arrays_are_not() -> None:
    boxes, scores = np.array([[0.0, 0, 1, 1]]), np.array([0.5])
    findings = make(scores, boxes=boxes, key_slices=[1])
    with pytest.raises(ValueError, match="read-only"):
        findings.boxes[0, 0] = 9
    boxes[0, 0], scores[0] = 0.5, 0.7
    assert (findings.boxes[0, 0], findings.scores[0]) == (0.0, 0.5)


def test_no_row_can_be_taken_from_no_rows() -> None:
    empty = make([], boxes=[], key_slices=[])
    assert len(empty.above(0.5)) == len(empty.take(np.array([]))) == 0


@pytest.mark.parametrize(
    "columns",
    [
        {"key_slices": [5, 6]},
        {"scores": [0.1]},
        {"scores": [0.1, np.nan, 0.2]},
        {"columns": {"s2": [0.1]}},
        {"columns": {"s2": [0.1, np.inf, 0.2]}},
    ],
)
def test_columns_of_different_lengths_or_scores_that_are_no_numbers_are_refused(columns: dict[str, object]) -> None:
    with pytest.raises(BoxError):
        make(**columns)


def test_a_2d_detector_gives_neither_depths_nor_points() -> None:
    assert make().depths is None
    assert make().points == (None, None, None)


def test_depths_and_points_stay_with_their_rows() -> None:
    points = [None, [[0, 1, 2], [3, 4, 5]], []]
    findings = make(depths=[[1, 2], [3, 4.5], [5, 6]], points=points, first_points=points[::-1])
    best = findings.above(0.5)
    assert best.depths is not None
    assert best.depths.tolist() == [[3, 4.5], [5, 6]]
    assert [points.tolist() for points in best.points if points is not None] == [[[0, 1, 2], [3, 4, 5]], []]
    assert [None if first is None else len(first) for first in best.first_points or ()] == [2, None]
    assert findings.take(np.array([0])).points == (None,)


def test_first_points_stay_with_their_rows_where_parts_are_joined_of_which_some_have_none() -> None:
    parts = [make(), make(first_points=[[[0, 1, 2]], None, [[3, 4, 5]]])]
    whole = joined(parts, "both")
    assert whole.first_points is not None
    given = [first for first in whole.first_points if first is not None]
    assert sorted(first.tolist()[0] for first in given) == [[0, 1, 2], [3, 4, 5]]
    assert joined([make(), make()], "neither").first_points is None


def test_depths_and_points_are_frozen_but_the_callers_arrays_are_not() -> None:
    depths, points = np.zeros((3, 2)), np.zeros((4, 3))
    findings = make(depths=depths, points=[points, None, None])
    for column in (findings.depths, findings.points[0]):
        assert column is not None
        with pytest.raises(ValueError, match="read-only"):
            column[0, 0] = 9
    depths[0, 0] = points[0, 0] = 7
    assert findings.depths is not None
    assert findings.depths[0, 0] == 0


@pytest.mark.parametrize(
    "columns",
    [
        {"depths": [[1, 2]]},
        {"depths": [[2, 1]] * 3},
        {"depths": [[1, np.inf]] * 3},
        {"depths": [[1, 2, 3]] * 3},
        {"points": [None]},
        {"points": [[[1, 2]], None, None]},
        {"points": [[[1, 2, np.nan]], None, None]},
        {"points": [[[1, 2, 3], [4]], None, None]},
    ],
)
def test_malformed_depths_and_points_are_refused(columns: dict[str, object]) -> None:
    with pytest.raises(BoxError):
        make(**columns)


def test_an_id_follows_from_scan_checkpoint_slice_and_box() -> None:
    first, again, other = make(), make([0.1, 0.1, 0.1]), make(key_slices=[4, 6, 7])
    assert first.finding_id(0) == again.finding_id(0)
    assert len({first.finding_id(0), first.finding_id(1), other.finding_id(0)}) == 3


def test_an_id_of_a_2d_row_is_what_it_has_always_been() -> None:
    # Annotations on disk name the finding they came from by this id.
    assert make().finding_id(1) == "finding:2945d3050360c268"
    assert make(points=[None, [[1, 2, 3]], None]).finding_id(1) == make().finding_id(1)


def test_an_id_of_a_3d_row_follows_from_its_depth_too() -> None:
    flat, thick, thicker = (make(depths=depths) for depths in (None, [[5, 7]] * 3, [[5, 8]] * 3))
    assert len({findings.finding_id(0) for findings in (flat, thick, thicker)}) == 3


@pytest.mark.parametrize("downwards", [False, True], ids=["to the head", "to the feet"])
def test_numbers_of_slices_become_places_also_beyond_the_first_and_the_last(downwards: bool) -> None:
    position = {native: (4 - native if downwards else native) for native in range(5)}
    z = in_voxels(np.array([[1.0, 2, -0.5], [1, 2, 2.25], [1, 2, 4.5]]), position)[:, 0]
    assert z.tolist() == ([4.5, 1.75, -0.5] if downwards else [-0.5, 2.25, 4.5])


@pytest.mark.parametrize(("tight", "margin"), [(False, 0.0), (True, 5.0)])
def test_tight_boxes_get_the_margin_that_annotations_have_on_every_slice(tight: bool, margin: float) -> None:
    findings = Findings.from_rows(
        scan_id="a",
        scan_name="a",
        method="m",
        checkpoint="c",
        boxes=[[10, 20, 30, 40]],
        scores=[0.5],
        key_slices=[7],
        slice_boxes=({7: (10.0, 20.0, 30.0, 40.0), 8: (11.0, 21.0, 29.0, 39.0)},),
        tight=tight,
    )
    m = margin
    assert findings.with_margin == (
        {7: (10.0 - m, 20.0 - m, 30.0 + m, 40.0 + m), 8: (11.0 - m, 21.0 - m, 29.0 + m, 39.0 + m)},
    )
