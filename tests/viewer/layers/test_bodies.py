"""Lesions as bodies: closed surfaces about their boxes, seen in 3D alone."""

from types import SimpleNamespace

import numpy as np
import pytest

from napari_uld.lesions.annotations import State
from napari_uld.lesions.findings import Findings
from napari_uld.viewer.layers.bodies import EDGE_MM, MARKS, bodies, bodies_colours
from napari_uld.viewer.layers.parts import Part
from napari_uld.viewer.session import Session
from napari_uld.viewer.state.rows import Mark

BOXES = {
    "one slice": {5: (10.0, 20.0, 30.0, 60.0)},
    "two": {5: (10.0, 20.0, 30.0, 60.0), 6: (12.0, 22.0, 28.0, 58.0)},
    "a gap": {3: (0.0, 0.0, 8.0, 8.0), 5: (2.0, 2.0, 6.0, 6.0), 9: (1.0, 1.0, 7.0, 7.0)},
}
POSITION = {native: native for native in range(20)}
SPACING = (2.0, 0.5, 0.5)
# Corners of a box's twelve edges, eight each.
EDGES = 96


def volume_of(vertices: np.ndarray, faces: np.ndarray) -> float:
    """Volume of a closed surface whose faces look outwards, by the divergence theorem."""
    a, b, c = (vertices[faces[:, i]].astype(float) for i in range(3))
    return float((a * np.cross(b, c)).sum() / 6)


def row(boxes: dict, mark: Mark = Mark.PENDING, points: np.ndarray | None = None, key: str = "") -> SimpleNamespace:
    surface = None if points is None else SimpleNamespace(points=points, first_points=None)
    return SimpleNamespace(key=key, boxes=boxes, mark=mark, surface=surface)


def body_of(rows: list, position: dict = POSITION) -> tuple[np.ndarray, np.ndarray]:
    """The first body alone, without its box's edges, which come behind it."""
    vertices, faces, _ = bodies(rows, position, SPACING)
    count = len(vertices) - EDGES
    return vertices[:count], faces[(faces < count).all(axis=1)]


@pytest.mark.parametrize("boxes", BOXES.values(), ids=BOXES.keys())
def test_a_body_is_closed_and_ends_half_a_slice_beyond_its_boxes(boxes: dict) -> None:
    vertices, faces = body_of([row(boxes)])
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    _, shared = np.unique(edges, axis=0, return_counts=True)
    assert set(shared) == {2}, "each edge is that of two faces"
    sides = np.array(list(boxes.values()))
    np.testing.assert_allclose(vertices.min(axis=0), [min(boxes) - 0.5, sides[:, 1].min(), sides[:, 0].min()])
    np.testing.assert_allclose(vertices.max(axis=0), [max(boxes) + 0.5, sides[:, 3].max(), sides[:, 2].max()])


def test_a_body_of_one_slice_has_the_volume_of_its_ellipse() -> None:
    vertices, faces = body_of([row(BOXES["one slice"])])
    # A polygon of 16 corners covers 97.4% of its ellipse.
    assert volume_of(vertices, faces) == pytest.approx(0.974 * np.pi * 10 * 20, rel=0.01)


@pytest.mark.parametrize("downwards", [False, True], ids=["to the head", "to the feet"])
def test_through_the_points_of_its_surface_a_body_is_their_hull(downwards: bool) -> None:
    corners = np.array([[x, y, z] for x in (10, 30) for y in (20, 60) for z in (3, 7)], float)
    inside = np.array([[20.0, 40.0, 5.0]])
    position = {native: (19 - native if downwards else native) for native in range(20)}
    vertices, faces = body_of([row(BOXES["two"], points=np.vstack([inside, corners]))], position)
    z = (12, 16) if downwards else (3, 7)
    assert {tuple(vertex) for vertex in vertices} == {(float(at), y, x) for at in z for y in (20, 60) for x in (10, 30)}
    assert volume_of(vertices, faces) == pytest.approx(20 * 40 * 4)


def test_points_without_a_volume_make_no_body_but_the_boxes_do() -> None:
    flat = np.array([[0.0, 0, 5], [9, 0, 5], [0, 9, 5], [9, 9, 5], [4, 4, 5]])
    by_box = bodies([row(BOXES["two"])], POSITION, SPACING)
    for part, wanted in zip(bodies([row(BOXES["two"], points=flat)], POSITION, SPACING), by_box, strict=True):
        np.testing.assert_array_equal(part, wanted)


def test_each_body_has_the_colour_of_its_mark_and_slices_not_on_disk_are_left_out() -> None:
    rows = [row(BOXES["two"], Mark.REJECTED), row({99: (0.0, 0.0, 5.0, 5.0)}), row(BOXES["one slice"], Mark.EXPERT)]
    _, faces, values = bodies(rows, POSITION, SPACING)
    assert faces.max() == len(values) - 1
    places = np.floor(values).astype(int).tolist()
    assert list(dict.fromkeys(places)) == [MARKS.index(mark) for mark in (Mark.REJECTED, Mark.EXPERT)]


def test_the_lesion_at_hand_has_the_brighter_colours_of_its_mark() -> None:
    rows = [row(BOXES["two"], key="a"), row(BOXES["one slice"], key="b")]
    _, _, values = bodies(rows, POSITION, SPACING, at_hand="b")
    pending = MARKS.index(Mark.PENDING)
    assert list(dict.fromkeys(np.floor(values).tolist())) == [pending, pending + len(MARKS)]
    colours = bodies_colours()
    for shade in (0.1, 0.9):
        plain, at_hand = colours.map(np.array([pending + shade, pending + len(MARKS) + shade]) / (2 * len(MARKS)))
        assert at_hand[:3].sum() > plain[:3].sum() + 0.2


@pytest.mark.parametrize("mark", list(Mark))
def test_what_light_falls_on_is_brighter_and_still_of_the_marks_colour(mark: Mark) -> None:
    cube = np.array([[x, y, z] for x in (10, 30) for y in (20, 40) for z in (3, 7)], float)
    vertices, _, values = bodies([row(BOXES["two"], mark, points=cube)], POSITION, SPACING)
    light = dict(zip(map(tuple, vertices[:8].tolist()), values[:8].tolist(), strict=True))
    towards, away = light[(7, 20, 10)], light[(3, 40, 30)]
    assert MARKS.index(mark) < away < towards - 0.5 < MARKS.index(mark) + 0.5
    dark, bright = bodies_colours().map(np.array([away, towards]) / (2 * len(MARKS)))[:, :3]
    assert dark.max() < bright.max() / 1.5
    np.testing.assert_allclose(dark / dark.max(), bright / bright.max(), atol=0.03)


def test_the_edges_of_a_box_are_bars_as_thick_in_millimetres_along_every_axis() -> None:
    vertices, faces, _ = bodies([row(BOXES["two"])], POSITION, SPACING)
    frame, faces = vertices[-EDGES:], faces[faces[:, 0] >= len(vertices) - EDGES] - (len(vertices) - EDGES)
    half = EDGE_MM / 2 / np.array(SPACING)
    np.testing.assert_allclose(frame.min(axis=0), np.array([4.5, 20, 10]) - half, atol=1e-5)
    np.testing.assert_allclose(frame.max(axis=0), np.array([6.5, 60, 30]) + half, atol=1e-5)
    # Bars of a length along z, y and x, four of each, which end where the box does and half a thickness beyond.
    sides = np.array([2.0, 40, 20])
    bars = sum(4 * np.prod(np.where(np.arange(3) == axis, sides + 2 * half, 2 * half)) for axis in range(3))
    assert volume_of(frame, faces) == pytest.approx(bars, rel=1e-3)


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
    assert MARKS.index(Mark.REJECTED) in np.floor(layer.data[2]) % len(MARKS)
    dims.ndisplay = 2
    assert not layer.visible
