"""Boxes and points between a scan's own voxels and a network's input, along two axes and three."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_uld.lesions.axis_map import AxisMap


@st.composite
def maps(draw: st.DrawFn) -> AxisMap:
    axes = draw(st.sampled_from([2, 3]))
    offset = draw(st.tuples(*[st.floats(-100, 400)] * axes))
    return AxisMap(offset, draw(st.tuples(*[st.floats(0.2, 3)] * axes)))


def rows(draw: st.DrawFn, axes: int) -> np.ndarray:
    values = draw(st.lists(st.lists(st.floats(-50, 500), min_size=axes, max_size=axes), max_size=4))
    return np.array(values).reshape(-1, axes)


@given(st.data())
def test_boxes_go_to_the_network_and_back_unchanged(data: st.DataObject) -> None:
    axes = data.draw(maps())
    low = data.draw(st.composite(rows)(len(axes.offset)))
    boxes = np.concatenate([low, low + data.draw(st.floats(1, 100))], axis=1)
    network = axes.to_network(boxes)
    assert network.shape == boxes.shape
    assert axes.to_native(network) == pytest.approx(boxes, abs=1e-6)


@given(st.data())
def test_points_go_to_the_network_and_back_unchanged(data: st.DataObject) -> None:
    axes = data.draw(maps())
    points = data.draw(st.composite(rows)(len(axes.offset)))
    assert axes.to_native(axes.to_network(points)) == pytest.approx(points, abs=1e-6)


@given(st.data())
def test_a_boxs_corners_go_where_its_corners_as_points_go(data: st.DataObject) -> None:
    axes = data.draw(maps())
    count = len(axes.offset)
    low = data.draw(st.composite(rows)(count))
    boxes = np.concatenate([low, low + 3], axis=1)
    moved = axes.to_network(boxes)
    assert moved[:, :count] == pytest.approx(axes.to_network(boxes[:, :count]))
    assert moved[:, count:] == pytest.approx(axes.to_network(boxes[:, count:]))


def test_a_box_is_moved_by_the_crop_and_scaled_axis_by_axis() -> None:
    # Native pixel 10 is centred at 10 and begins at 9.5, half a pixel before an edge-based 10.
    axes = AxisMap((10, 20, 2), (0.5, 2.0, 3.0))
    assert axes.to_network(np.array([[10.0, 20, 2, 14, 21, 3]])).tolist() == [[0.25, 1, 1.5, 2.25, 3, 4.5]]
    assert axes.to_native(np.array([[0.0, 0, 0, 5, 2, 3]])).tolist() == [[9.5, 19.5, 1.5, 19.5, 20.5, 2.5]]


def test_a_point_on_a_voxels_centre_is_on_its_centre_in_the_network_too() -> None:
    assert AxisMap((4, 6), (2.0, 0.5)).to_network(np.array([[4.0, 6.0]])).tolist() == [[1.0, 0.25]]


def test_no_row_is_no_row() -> None:
    assert AxisMap((0, 0), (1.0, 1.0)).to_native(np.zeros((0, 4))).shape == (0, 4)
