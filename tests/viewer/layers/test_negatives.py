"""Mined negatives as lines: boxes with scores, masks as outlines, each on its slice."""

import numpy as np
from napari.components import ViewerModel

from napari_uld.lesions.findings import Findings
from napari_uld.lesions.rle import encode
from napari_uld.viewer.layers.marks import COLOURS
from napari_uld.viewer.layers.negatives import COLOUR, drawn_negatives, negatives_layers
from napari_uld.viewer.state.case import Case


def negatives(**changes: object) -> Findings:
    mask = np.zeros((96, 96), bool)
    mask[20:30, 40:55] = True
    columns = {
        "boxes": [[38, 18, 57, 32], [5, 6, 20, 30], [1, 1, 9, 9]],
        "scores": [0.91, 0.5, 0.8],
        "key_slices": [15, 12, 99],
        "labels": [2, 2, 2],
        "negative": [True] * 3,
        "masks": (encode(mask), None, None),
    }
    return Findings.from_rows(scan_id="1.2.3", scan_name="study", method="m", checkpoint="c", **(columns | changes))  # type: ignore[arg-type]


def test_each_negative_is_a_box_with_its_score_on_its_slice_and_one_beyond_the_scan_is_left_out(case: Case) -> None:
    boxes = [each for each in drawn_negatives(case, negatives()) if each.label]
    assert [(each.label, each.corners.tolist()) for each in boxes] == [
        ("0.91", [[4, 18, 38], [4, 18, 57], [4, 32, 57], [4, 32, 38]]),
        ("0.50", [[7, 6, 5], [7, 6, 20], [7, 30, 20], [7, 30, 5]]),
    ]
    assert COLOUR not in COLOURS.values()


def test_a_mask_is_outlined_along_its_pixels_outer_edges(case: Case) -> None:
    (outline,) = [each.corners for each in drawn_negatives(case, negatives()) if not each.label]
    # Pixels 20-29 and 40-54 reach half a pixel beyond their centres.
    assert outline.min(axis=0).tolist() == [4, 19.5, 39.5]
    assert outline.max(axis=0).tolist() == [4, 29.5, 54.5]


def test_a_mask_at_the_slices_border_is_closed_and_two_parts_are_two_outlines(case: Case) -> None:
    mask = np.zeros((96, 96), bool)
    mask[:5, :5] = mask[90:, 90:] = True
    found = drawn_negatives(case, negatives(masks=(encode(mask), None, None)))
    outlines = [each.corners for each in found if not each.label]
    assert [(o[:, 1].min(), o[:, 1].max()) for o in outlines] == [(-0.5, 4.5), (89.5, 95.5)]


def test_napari_shows_lines_and_scores_where_the_scan_is(case: Case, viewer: ViewerModel) -> None:
    lines, scores = (
        getattr(viewer, f"add_{kind}")(data, **look) for data, look, kind in negatives_layers(case, negatives(), 2.0)
    )
    assert lines.axis_labels == scores.axis_labels == ("z", "y", "x")
    assert set(lines.data[:, 0, 0]) == {4, 7}
    # A voxel is half a millimetre and a millimetre two pixels: 1.3 pixels are 1.3 voxels.
    assert lines.edge_width == 1.3
    assert scores.text.values.tolist() == ["0.91", "0.50"]
    np.testing.assert_allclose(scores.data_to_world(scores.data[0]), [120, -11, -5])


def test_negatives_that_all_lie_beyond_the_scan_are_empty_layers(case: Case, viewer: ViewerModel) -> None:
    beyond = negatives(key_slices=[97, 98, 99])
    for data, look, kind in negatives_layers(case, beyond, 1.0):
        assert len(getattr(viewer, f"add_{kind}")(data, **look).data) == 0
