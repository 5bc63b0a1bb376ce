"""Mined negatives as shapes: boxes with scores, masks as outlines, each on its slice."""

import numpy as np
from napari.components import ViewerModel

from napari_uld.lesions.findings import Findings
from napari_uld.lesions.rle import encode
from napari_uld.viewer.layers.marks import COLOURS
from napari_uld.viewer.layers.negatives import COLOUR, negatives_layer
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
    shapes, look, _ = negatives_layer(case, negatives())
    boxes = [s for s, kind in zip(shapes, look["shape_type"], strict=True) if kind == "rectangle"]
    assert [b.tolist() for b in boxes] == [
        [[4, 18, 38], [4, 18, 57], [4, 32, 57], [4, 32, 38]],
        [[7, 6, 5], [7, 6, 20], [7, 30, 20], [7, 30, 5]],
    ]
    assert list(look["features"]["label"]) == ["0.91", "", "0.50"]
    assert COLOUR not in COLOURS.values()


def test_a_mask_is_outlined_along_its_pixels_outer_edges(case: Case) -> None:
    shapes, look, _ = negatives_layer(case, negatives())
    (outline,) = [s for s, kind in zip(shapes, look["shape_type"], strict=True) if kind == "polygon"]
    # Pixels 20-29 and 40-54 reach half a pixel beyond their centres.
    assert outline.min(axis=0).tolist() == [4, 19.5, 39.5]
    assert outline.max(axis=0).tolist() == [4, 29.5, 54.5]


def test_a_mask_at_the_slices_border_is_closed_and_two_parts_are_two_outlines(case: Case) -> None:
    mask = np.zeros((96, 96), bool)
    mask[:5, :5] = mask[90:, 90:] = True
    shapes, look, _ = negatives_layer(case, negatives(masks=(encode(mask), None, None)))
    outlines = [s for s, kind in zip(shapes, look["shape_type"], strict=True) if kind == "polygon"]
    assert [(o[:, 1].min(), o[:, 1].max()) for o in outlines] == [(-0.5, 4.5), (89.5, 95.5)]


def test_napari_shows_it_where_the_scan_is(case: Case, viewer: ViewerModel) -> None:
    shapes, look, kind = negatives_layer(case, negatives())
    layer = getattr(viewer, f"add_{kind}")(shapes, **look)
    assert layer.shape_type == look["shape_type"]
    assert layer.axis_labels == ("z", "y", "x")
    np.testing.assert_allclose(layer.data_to_world((4, 18, 38)), [120, -11, -5])
