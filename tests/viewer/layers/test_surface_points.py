"""Points on a lesion's surface: seen near the slices that they lie on, with the lesion at hand alone."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from napari.layers import Layer

from napari_uld.ct.volume import CTVolume
from napari_uld.errors import AnnotationFileError
from napari_uld.lesions.annotations import Annotations, State
from napari_uld.lesions.findings import Findings
from napari_uld.viewer.layers.marks import Kind, Plane
from napari_uld.viewer.layers.parts import find_layer
from napari_uld.viewer.layers.surface_points import NEAR_MM, PointsPart, near
from napari_uld.viewer.plugin.writer import write_lesions
from napari_uld.viewer.session import Session
from napari_uld.viewer.state.case import Case

# (x, y, number of a slice): two on slice 12, one on 13; first they lay a pixel to the left.
CLOUD = np.array([[60.0, 70, 12], [80, 70, 12], [70, 62, 13]])


@pytest.fixture
def findings(findings: Findings) -> Findings:
    """The second finding alone has points, and its slices are 5 mm apart."""
    return replace(
        findings,
        points=(None, CLOUD, None, None),
        first_points=(None, CLOUD - [1, 0, 0], None, None),
    )


def layers_of(session: Session) -> list[Layer]:
    found = [find_layer(session.viewer, session.case, part) for part in PointsPart]
    return [layer for layer in found if layer is not None]


def seen(session: Session) -> dict[str, list[list[float]]]:
    """Where points are seen, (z, y, x), by the name of their layer."""
    return {layer.name: layer.data.tolist() for layer in layers_of(session) if layer.visible}


def take(session: Session, findings: Findings, row: int) -> None:
    session.jump(session.case.row(findings.finding_id(row)))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_on_a_slice_points_fade_by_how_far_away_they_lie_in_millimetres(axis: int) -> None:
    spacing = (2.0, 2.0, 2.0)
    away = np.array([0.0, 0.5, -1.5, 2.5, 3.0])
    points = np.full((5, 3), 7.0)
    points[:, axis] = 10 + away
    places, strength = near(points, Plane(axis, 10), spacing)
    # Half a voxel is the slice's own; 4 mm beyond it are 2.5 voxels away.
    assert (NEAR_MM, len(places)) == (4.0, 4)
    np.testing.assert_allclose(strength, [1, 1, 0.6, 0.2])
    assert (places[:, axis] == 10).all()
    assert (np.delete(places, axis, axis=1) == 7).all()
    assert points[1, axis] == 10.5, "the finding's own stay where they are"


def test_where_slices_are_not_shown_all_are_seen_where_they_are() -> None:
    places, strength = near(CLOUD, None, (5.0, 0.5, 0.5))
    np.testing.assert_array_equal(places, CLOUD)
    assert strength.tolist() == [1, 1, 1]


def test_points_are_seen_while_their_lesion_is_at_hand_near_their_slices(session: Session, findings: Findings) -> None:
    take(session, findings, 0)
    assert layers_of(session) == [], "there are no such layers before there are points"
    take(session, findings, 1)
    # Slice 12 has index 7, and 13 lies a whole slice below it, 2.5 mm beyond the edge of 12.
    z = session.case.volume.z_of(12)
    assert seen(session) == {
        "First surface points": [[z, 70, 59], [z, 70, 79], [z, 62, 69]],
        "Surface points": [[z, 70, 60], [z, 70, 80], [z, 62, 70]],
    }
    strength = layers_of(session)[1].face_color[:, 3]
    np.testing.assert_allclose(strength, [1, 1, 0.5])
    session.show_native(13)
    assert len(seen(session)["Surface points"]) == 3
    session.show_native(14)
    assert len(seen(session)["Surface points"]) == 1
    session.show_native(15)
    assert seen(session) == {}
    take(session, findings, 1)
    take(session, findings, 0)
    assert seen(session) == {}
    assert len(layers_of(session)) == 2


def test_in_3d_all_points_of_the_lesion_at_hand_lie_where_they_are(session: Session, findings: Findings) -> None:
    take(session, findings, 1)
    session.viewer.dims.ndisplay = 3
    z = session.case.volume.z_of(12)
    assert seen(session)["Surface points"] == [[z, 70, 60], [z, 70, 80], [z - 1, 62, 70]]
    ct = session.viewer.layers[0]
    for layer in layers_of(session):
        np.testing.assert_allclose(layer.data_to_world((1, 2, 3)), ct.data_to_world((1, 2, 3)))
        assert (layer.units, layer.axis_labels) == (ct.units, ct.axis_labels)


def test_on_a_coronal_slice_points_near_it_are_seen(session: Session, findings: Findings) -> None:
    take(session, findings, 1)
    session.viewer.dims.order = (1, 0, 2)
    # Pixels are half a millimetre: 62 is 3.75 mm from the edge of row 70, to which the view went.
    assert {point[1] for point in seen(session)["Surface points"]} == {70}
    assert len(seen(session)["Surface points"]) == 3
    session.show_voxel({1: 72})
    assert len(seen(session)["Surface points"]) == 2


def test_an_accepted_lesion_keeps_its_points_until_its_box_is_moved(session: Session, findings: Findings) -> None:
    key = findings.finding_id(1)
    take(session, findings, 1)
    session.case.decide(key, State.ACCEPTED)
    take(session, findings, 1)
    assert len(seen(session)) == 2
    session.case.move_box(key, (50, 50, 70, 70))
    assert seen(session) == {}


def test_what_a_person_switched_off_stays_off_in_the_next_scan_and_layers_do_not_pile_up(
    session: Session, findings: Findings, volume: CTVolume, tmp_path: Path
) -> None:
    take(session, findings, 1)
    session.choose_marks(set(Kind) - {Kind.POINTS}, labels_all=False)
    assert seen(session) == {}
    for name in ("next", "again"):
        session.open(Case(volume, Annotations("1.2.3"), tmp_path / f"{name}.lesions.json"))
        session.case.set_findings(findings)
        take(session, findings, 1)
        assert seen(session) == {}
    session.choose_marks(set(Kind), labels_all=False)
    assert len(seen(session)) == 2
    names = [layer.name for layer in session.viewer.layers]
    assert [name for name in names if name.endswith("urface points")] == ["First surface points", "Surface points"]
    assert names.index("Bodies") < names.index("First surface points") < names.index("Marks")


def test_a_shut_eye_is_left_shut_from_slice_to_slice(session: Session, findings: Findings) -> None:
    take(session, findings, 1)
    first, _ = layers_of(session)
    first.visible = False
    session.show_native(13)
    assert list(seen(session)) == ["Surface points"]
    first.visible = True
    assert seen(session)["First surface points"][0][0] == session.case.volume.z_of(13)


def test_what_is_added_to_them_by_hand_goes_and_they_are_nothing_to_save(
    session: Session, findings: Findings, tmp_path: Path
) -> None:
    take(session, findings, 1)
    before = seen(session)
    for layer in layers_of(session):
        layer.add([7, 1, 1])
        session.show_native(13)
        take(session, findings, 1)
        assert seen(session) == before
        with pytest.raises(AnnotationFileError, match="holds no lesions"):
            write_lesions(str(tmp_path / "points.json"), layer.data, layer.as_layer_data_tuple()[1])


def test_a_layer_that_somebody_removed_comes_back_and_a_copy_of_it_is_nobody_s(
    session: Session, findings: Findings
) -> None:
    take(session, findings, 1)
    before, (first, refined) = seen(session), layers_of(session)
    session.viewer.layers.remove(first)
    session.viewer.add_layer(Layer.create(*refined.as_layer_data_tuple()))
    session.show_native(13)
    take(session, findings, 1)
    assert seen(session) == before
    assert refined in layers_of(session)
    take(session, findings, 0)
    assert seen(session) == {}
