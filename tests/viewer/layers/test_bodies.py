"""Lesions as bodies: closed surfaces about their boxes, seen in 3D alone."""

from types import SimpleNamespace

import numpy as np
import pytest

from napari_uld.lesions.annotations import State
from napari_uld.lesions.findings import Findings
from napari_uld.viewer.layers.bodies import MARKS, bodies
from napari_uld.viewer.layers.parts import Part
from napari_uld.viewer.session import Session
from napari_uld.viewer.state.rows import Mark

BOXES = {
    "one slice": {5: (10.0, 20.0, 30.0, 60.0)},
    "two": {5: (10.0, 20.0, 30.0, 60.0), 6: (12.0, 22.0, 28.0, 58.0)},
    "a gap": {3: (0.0, 0.0, 8.0, 8.0), 5: (2.0, 2.0, 6.0, 6.0), 9: (1.0, 1.0, 7.0, 7.0)},
}
POSITION = {native: native for native in range(20)}


def volume_of(vertices: np.ndarray, faces: np.ndarray) -> float:
    """Volume of a closed surface whose faces look outwards, by the divergence theorem."""
    a, b, c = (vertices[faces[:, i]].astype(float) for i in range(3))
    return float((a * np.cross(b, c)).sum() / 6)


def row(boxes: dict, mark: Mark = Mark.PENDING, points: np.ndarray | None = None) -> SimpleNamespace:
    return SimpleNamespace(boxes=boxes, mark=mark, annotation=None, finding=SimpleNamespace(points=points))


@pytest.mark.parametrize("boxes", BOXES.values(), ids=BOXES.keys())
def test_a_body_is_closed_and_ends_half_a_slice_beyond_its_boxes(boxes: dict) -> None:
    vertices, faces, _ = bodies([row(boxes)], POSITION)
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    _, shared = np.unique(edges, axis=0, return_counts=True)
    assert set(shared) == {2}, "each edge is that of two faces"
    sides = np.array(list(boxes.values()))
    np.testing.assert_allclose(vertices.min(axis=0), [min(boxes) - 0.5, sides[:, 1].min(), sides[:, 0].min()])
    np.testing.assert_allclose(vertices.max(axis=0), [max(boxes) + 0.5, sides[:, 3].max(), sides[:, 2].max()])


def test_a_body_of_one_slice_has_the_volume_of_its_ellipse() -> None:
    vertices, faces, _ = bodies([row(BOXES["one slice"])], POSITION)
    # A polygon of 16 corners covers 97.4% of its ellipse.
    assert abs(volume_of(vertices, faces)) == pytest.approx(0.974 * np.pi * 10 * 20, rel=0.01)


@pytest.mark.parametrize("downwards", [False, True], ids=["to the head", "to the feet"])
def test_through_the_points_of_its_surface_a_body_is_their_hull(downwards: bool) -> None:
    corners = np.array([[x, y, z] for x in (10, 30) for y in (20, 60) for z in (3, 7)], float)
    inside = np.array([[20.0, 40.0, 5.0]])
    position = {native: (19 - native if downwards else native) for native in range(20)}
    vertices, faces, _ = bodies([row(BOXES["two"], points=np.vstack([inside, corners]))], position)
    z = (12, 16) if downwards else (3, 7)
    assert {tuple(vertex) for vertex in vertices} == {(float(at), y, x) for at in z for y in (20, 60) for x in (10, 30)}
    assert volume_of(vertices, faces) == pytest.approx(20 * 40 * 4)


def test_points_without_a_volume_make_no_body_but_the_boxes_do() -> None:
    flat = np.array([[0.0, 0, 5], [9, 0, 5], [0, 9, 5], [9, 9, 5], [4, 4, 5]])
    by_box = bodies([row(BOXES["two"])], POSITION)
    for part, wanted in zip(bodies([row(BOXES["two"], points=flat)], POSITION), by_box, strict=True):
        np.testing.assert_array_equal(part, wanted)


def test_each_body_has_the_colour_of_its_mark_and_slices_not_on_disk_are_left_out() -> None:
    rows = [row(BOXES["two"], Mark.REJECTED), row({99: (0.0, 0.0, 5.0, 5.0)}), row(BOXES["one slice"], Mark.EXPERT)]
    _, faces, values = bodies(rows, POSITION)
    assert faces.max() == len(values) - 1
    assert list(dict.fromkeys(values.tolist())) == [MARKS.index(mark) + 0.5 for mark in (Mark.REJECTED, Mark.EXPERT)]


def test_bodies_are_seen_in_3d_alone_and_follow_the_case(session: Session, findings: Findings) -> None:
    layer, dims = session.layer(Part.BODIES), session.viewer.dims
    assert not layer.visible
    dims.ndisplay = 3
    assert layer.visible
    assert not session.layer(Part.MARKS).visible
    assert not session.layer(Part.MASK).visible
    before = len(layer.data[0])
    session.case.threshold = 0.1
    assert len(layer.data[0]) > before
    session.case.decide(findings.finding_id(1), State.REJECTED)
    assert MARKS.index(Mark.REJECTED) + 0.5 in layer.data[2]
    dims.ndisplay = 2
    assert not layer.visible
