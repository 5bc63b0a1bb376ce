"""A comparison on the slice that is shown: a layer a method, hits solid, false positives dashed, misses written."""

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Points, Vectors
from napari.utils.color import ColorValue

from napari_uld.lesions.findings import Findings
from napari_uld.viewer.layers.compared import (
    LINE,
    PLACES,
    ComparedLayers,
    ComparedPart,
    Written,
    dashed,
    drawn_of,
    laid_out,
)
from napari_uld.viewer.layers.marks import COLOURS, Drawn, Kind, rectangle
from napari_uld.viewer.layers.parts import find_layer
from napari_uld.viewer.session import Session
from napari_uld.viewer.state.compared import ANNOTATION, Compared, compare

from ..conftest import drawn

PLACE = {"fake f00": ComparedPart.FIRST, "second abc": ComparedPart.SECOND}
# On slice 15.
EXPERT_Z, OTHER_Z = 4, 7


@pytest.fixture
def compared(session: Session) -> Compared:
    """The fake detector, which misses the expert's lesion, and one that finds nothing but it."""
    second = Findings.from_rows(
        scan_id="1.2.3",
        scan_name="study",
        method="second",
        checkpoint="abc",
        boxes=[[16, 20, 44, 40]],
        scores=[0.625],
        key_slices=[15],
    )
    session.case.set_findings(second)
    return compare(session.case, ANNOTATION, list(PLACE))


@pytest.fixture
def layers(viewer: ViewerModel) -> ComparedLayers:
    return ComparedLayers(viewer, lambda act: act())


def show(session: Session, layers: ComparedLayers, compared: Compared, z: int, allowed: int = 9) -> None:
    session.show_slice(z)
    layers.show(session.case, compared, compared.points(allowed), PLACE, z)


def seen(session: Session) -> set[ComparedPart]:
    found = {part: find_layer(session.viewer, session.case, part) for part in ComparedPart}
    return {part for part, layer in found.items() if layer is not None and layer.visible}


def texts(session: Session) -> dict[str, str]:
    """What is written, by its colour."""
    layer = find_layer(session.viewer, session.case, ComparedPart.LABELS)
    assert isinstance(layer, Points)
    return dict(zip(layer.features["colour"], layer.features["label"], strict=True))


def test_a_hit_is_solid_and_a_false_positive_dashed_in_the_methods_own_colour(
    session: Session, layers: ComparedLayers, compared: Compared
) -> None:
    fake, second = compared.methods
    points = dict(zip(PLACE, compared.points(9), strict=True))
    (solid,) = drawn_of(second, points[second.name], 15, EXPERT_Z, "#123456")
    assert (len(solid.corners), solid.thick, solid.colour) == (4, True, "#123456")
    dashes = drawn_of(fake, points[fake.name], 15, EXPERT_Z, "#123456")
    assert {len(each.corners) for each in dashes} == {2}
    show(session, layers, compared, EXPERT_Z)
    for name, part in PLACE.items():
        layer = find_layer(session.viewer, session.case, part)
        assert isinstance(layer, Vectors)
        assert np.allclose(layer.edge_color, np.asarray(ColorValue(PLACES[part]))), name


def test_dashes_lie_on_the_line_and_there_is_one_at_each_corner() -> None:
    solid = Drawn("", Kind.DETECTIONS, rectangle(4, (0.0, 0.0, 10.0, 20.0)), "red")
    dashes = np.array([each.corners for each in dashed(solid)])
    assert {tuple(corner) for corner in solid.corners} <= {tuple(end) for end in dashes.reshape(-1, 3)}
    assert np.linalg.norm(dashes[:, 1] - dashes[:, 0], axis=1).sum() == pytest.approx(60 * 3 / 5)


def test_beside_a_lesion_each_method_says_its_score_or_that_it_missed(
    session: Session, layers: ComparedLayers, compared: Compared
) -> None:
    show(session, layers, compared, EXPERT_Z, allowed=0)
    assert texts(session) == {PLACES[ComparedPart.FIRST]: "missed", PLACES[ComparedPart.SECOND]: "0.62"}


def test_what_hits_a_lesion_that_is_known_on_another_slice_says_its_score_itself(
    session: Session, layers: ComparedLayers
) -> None:
    traced = Findings.from_rows(
        scan_id="1.2.3",
        scan_name="study",
        method="second",
        checkpoint="abc",
        boxes=[[16, 20, 44, 40]],
        scores=[0.625],
        key_slices=[15],
        slice_boxes=({15: (16.0, 20.0, 44.0, 40.0), 14: (16.0, 20.0, 44.0, 40.0)},),
    )
    session.case.set_findings(traced)
    compared = compare(session.case, ANNOTATION, [traced.detector])
    for z in (EXPERT_Z, EXPERT_Z + 1):
        show(session, layers, compared, z)
        assert texts(session) == {PLACES[ComparedPart.SECOND]: "0.62"}


def test_layers_are_seen_where_there_is_something_on_their_slice_and_go_with_the_comparison(
    session: Session, layers: ComparedLayers, compared: Compared
) -> None:
    show(session, layers, compared, EXPERT_Z)
    both = {ComparedPart.FIRST, ComparedPart.SECOND}
    assert seen(session) == {ComparedPart.REFERENCE, *both, ComparedPart.LABELS}
    show(session, layers, compared, OTHER_Z)
    assert seen(session) == {ComparedPart.FIRST, ComparedPart.LABELS}
    # The finding on slice 12 is the second surest of the false ones.
    show(session, layers, compared, OTHER_Z, allowed=1)
    assert seen(session) == set()
    show(session, layers, compared, EXPERT_Z)
    layers.hide()
    assert seen(session) == set()
    layers.release()
    assert not any(find_layer(session.viewer, session.case, part) for part in ComparedPart)


def test_what_is_written_stands_one_below_the_other_at_every_zoom(
    session: Session, layers: ComparedLayers, compared: Compared
) -> None:
    show(session, layers, compared, EXPERT_Z)
    spacing = np.array(session.case.volume.spacing)
    for zoom in (2.0, 20.0):
        session.viewer.scene.camera.zoom = zoom
        layer = find_layer(session.viewer, session.case, ComparedPart.LABELS)
        first, second, *_ = layer.data * spacing * zoom
        assert second - first == pytest.approx([0, LINE, 0], abs=1e-3)


def test_texts_of_boxes_that_crowd_find_room_of_their_own() -> None:
    crowd = [Written((0.0, float(y), 10.0, 30.0), "0.50", "red") for y in (3, 1, 2, 1, 40)]
    places = np.array([each.place for each in laid_out(crowd, 4, (5.0, 0.7, 0.7), 1.3)])
    apart = np.abs(places[:, None, 1] - places[None, :, 1])[~np.eye(len(crowd), dtype=bool)]
    assert (apart * 0.7 * 1.3 > LINE - 1e-6).all()


def test_what_the_review_draws_of_findings_can_be_left_out_meanwhile(session: Session) -> None:
    session.show_native(15)
    assert drawn(session, Kind.DETECTIONS)
    session.marking.leave_out(frozenset({"second abc"}))
    assert drawn(session, Kind.DETECTIONS)
    session.marking.leave_out(frozenset({"fake f00"}))
    assert not drawn(session, Kind.DETECTIONS)
    # Who is asked about one sees it.
    session.case.select(next(row.key for row in session.case.rows if row.native == 15 and row.annotation is None))
    assert len(drawn(session, Kind.DETECTIONS)) == 1
    session.case.select(None)
    assert not drawn(session, Kind.DETECTIONS)
    assert drawn(session, Kind.LESIONS)
    assert session.kinds == set(Kind)
    session.marking.leave_out(frozenset())
    assert drawn(session, Kind.DETECTIONS)


def test_no_method_has_the_colour_of_what_the_review_draws_or_of_another() -> None:
    assert len(set(PLACES.values())) == len(PLACES)
    assert not {colour.lower() for colour in PLACES.values()} & {colour.lower() for colour in COLOURS.values()}
