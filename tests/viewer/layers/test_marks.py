"""Marks as line segments: on every plane where they belong, as wide on the screen whatever the zoom and the voxels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_uld.lesions.annotations import Annotation
from napari_uld.lesions.findings import Findings
from napari_uld.viewer.layers.marks import (
    COLOURS,
    RECIST_COLOUR,
    THICK,
    THIN,
    Drawn,
    Kind,
    Plane,
    drawn_on,
    line_width,
    rectangle,
    segments,
)
from napari_uld.viewer.layers.parts import Part
from napari_uld.viewer.session import Session
from napari_uld.viewer.state.rows import Mark

from ..conftest import drawn, take_in_hand

SPACING = (5.0, 0.5, 0.5)


def band(vectors: np.ndarray, width: float, normal: int, spacing: tuple[float, ...], zoom: float) -> float:
    """Width on the screen, in pixels, of what parallel segments cover together across axis `normal`."""
    places = vectors[:, 0, normal]
    return float(np.ptp(places) + width) * spacing[normal] * zoom


def test_a_box_is_four_sides_about_its_corners() -> None:
    box = Drawn("a", Kind.LESIONS, rectangle(3, (10, 20, 30, 50)), "#FF0000")
    vectors, colours = segments([box], Plane(0, 3), SPACING, 1.0)
    ends = vectors[:, 0] + vectors[:, 1]
    assert len(vectors) == 4
    assert {tuple(start) for start in vectors[:, 0]} == {tuple(end) for end in ends} == {
        (3, 20, 10), (3, 20, 30), (3, 50, 30), (3, 50, 10)
    }  # fmt: skip
    np.testing.assert_array_equal(colours, np.tile([1, 0, 0, 1], (4, 1)))


def test_a_line_of_no_length_is_not_drawn() -> None:
    point = Drawn("a", Kind.RECIST, np.array([[3.0, 5, 5], [3, 5, 5]]), "#FF0000")
    for drawn_ in ([], [point]):
        vectors, colours = segments(drawn_, Plane(0, 3), SPACING, 1.0)
        assert vectors.shape == (0, 2, 3)
        assert colours.shape == (0, 4)


@given(
    zoom=st.floats(0.1, 40),
    spacing=st.tuples(st.floats(0.5, 7.5), st.floats(0.3, 1.2), st.floats(0.3, 1.2)),
    axis=st.sampled_from([0, 1, 2]),
    thick=st.booleans(),
)
def test_lines_are_as_wide_on_the_screen_in_both_directions(
    zoom: float, spacing: tuple[float, float, float], axis: int, thick: bool
) -> None:
    plane = Plane(axis, 0)
    first, second = (each for each in range(3) if each != axis)
    width = line_width(spacing, plane, zoom)
    wanted = THICK if thick else THIN
    for along, normal in ((first, second), (second, first)):
        corners = np.zeros((2, 3))
        corners[1, along] = 9
        vectors, _ = segments([Drawn("a", Kind.RECIST, corners, "#FF0000", thick)], plane, spacing, zoom)
        # Lines side by side neither leave gaps nor make a line much thinner or thicker.
        assert wanted * 0.6 <= band(vectors, width, normal, spacing, zoom) <= wanted * 1.7
        gaps = np.diff(np.sort(vectors[:, 0, normal]))
        assert (gaps <= width * 1.51).all()


def test_the_lesion_at_hand_is_drawn_thicker_and_each_kind_in_its_colour(session: Session, expert: Annotation) -> None:
    session.jump(session.case.row(expert.id))
    looks = {(each.kind, each.colour, each.thick) for each in drawn(session)}
    assert looks == {
        (Kind.LESIONS, COLOURS[Mark.EXPERT], True),
        (Kind.RECIST, RECIST_COLOUR, False),
        (Kind.DETECTIONS, COLOURS[Mark.PENDING], False),
    }


@pytest.mark.parametrize(
    ("plane", "rows", "columns"),
    [
        # Slices 11, 12, 13 are the indices 8, 7, 6; the boxes are 60..80, 61..79 and 62..78 wide and high.
        (Plane(0, 7), (60, 80), (60, 80)),
        (Plane(0, 6), (62, 78), (62, 78)),
        (Plane(1, 70), (5.5, 8.5), (60, 80)),
        (Plane(2, 70), (5.5, 8.5), (60, 80)),
        # Near the rim the key slice's box alone is cut.
        (Plane(1, 60), (6.5, 7.5), (60, 80)),
        (Plane(2, 79), (6.5, 8.5), (60, 80)),
    ],
)
def test_from_every_side_the_boxes_of_a_trace_are_one_outline(
    session: Session, findings: Findings, plane: Plane, rows: tuple[float, float], columns: tuple[float, float]
) -> None:
    (outline,) = [each.corners for each in drawn_on(session.case, plane) if each.key == findings.finding_id(1)]
    first, second = (axis for axis in range(3) if axis != plane.axis)
    assert set(outline[:, plane.axis]) == {plane.index}
    assert (outline[:, first].min(), outline[:, first].max()) == rows
    assert (outline[:, second].min(), outline[:, second].max()) == columns


def test_beside_a_trace_there_is_no_outline(session: Session, findings: Findings) -> None:
    for plane in (Plane(0, 5), Plane(1, 59), Plane(2, 81), None):
        assert findings.finding_id(1) not in [each.key for each in drawn_on(session.case, plane)]


def test_what_a_person_does_not_want_to_see_is_left_out(session: Session, expert: Annotation) -> None:
    session.jump(session.case.row(expert.id))
    session.marking.choose(frozenset({Kind.RECIST}), labels_all=False)
    assert {each.kind for each in drawn(session)} == {Kind.RECIST}
    session.marking.choose(frozenset(), labels_all=False)
    assert not session.layer(Part.MARKS).visible


def test_the_layer_holds_what_is_drawn_and_is_hidden_where_there_is_nothing(session: Session) -> None:
    layer = session.layer(Part.MARKS)
    for z in range(10):
        session.show_slice(z)
        assert layer.visible is bool(drawn(session))
        if layer.visible:
            assert set(layer.data[:, 0, 0]) == {z}


def test_zooming_keeps_the_lines_as_wide(session: Session, expert: Annotation) -> None:
    session.jump(session.case.row(expert.id))
    layer, camera = session.layer(Part.MARKS), session.viewer.scene.camera
    for zoom in (0.5, 8.0):
        camera.zoom = zoom
        assert layer.edge_width * 0.5 * zoom == pytest.approx(THIN)


def test_a_layer_that_a_person_hid_stays_hidden_until_it_is_opened(session: Session, expert: Annotation) -> None:
    session.jump(session.case.row(expert.id))
    layer = session.layer(Part.MARKS)
    layer.visible = False
    session.show_slice(6)
    session.jump(session.case.row(expert.id))
    assert not layer.visible
    layer.visible = True
    assert set(layer.data[:, 0, 0]) == {session.z}, "it shows the slice that is shown now"
    session.show_slice(7)
    assert layer.visible


def test_the_lesion_at_hand_and_the_one_pointed_at_are_labelled(
    session: Session, expert: Annotation, findings: Findings
) -> None:
    labels = session.layer(Part.LABELS)
    session.show_slice(4)
    session.case.select(None)
    assert not labels.visible
    session.case.select(findings.finding_id(0))
    assert list(labels.features["label"]) == ["0.90"]
    session.marking.point(expert.id)
    assert sorted(labels.features["label"]) == ["0.90", "10.0 mm"]
    session.marking.point(None)
    session.case.select(None)
    assert not labels.visible
    session.marking.choose(frozenset(Kind), labels_all=True)
    assert sorted(labels.features["label"]) == ["0.90", "10.0 mm"]


def test_what_is_in_hand_is_not_drawn_twice(session: Session, expert: Annotation) -> None:
    session.jump(session.case.row(expert.id))
    before = len(session.layer(Part.MARKS).data)
    take_in_hand(session, expert.id)
    # Four sides, each of two lines.
    assert len(session.layer(Part.MARKS).data) == before - 8
