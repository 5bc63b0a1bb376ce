"""Which way a scan lies on the canvas."""

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_uld.viewer.layers.directions import UPRIGHT, letters_of
from napari_uld.viewer.layers.parts import Part
from napari_uld.viewer.session import Session

AXIAL, CORONAL, SAGITTAL = UPRIGHT
OBLIQUE = np.array([[0.6, -0.8, 0.0], [0.8, 0.6, 0.0], [0.0, 0.0, 1.0]])


def letters(viewer: ViewerModel) -> str:
    """What stands at the left, right, top and bottom edge of the canvas."""
    overlays = (viewer.canvas.overlays[f"letter_{edge}"] for edge in ("left", "right", "top", "bottom"))
    return "".join(overlay.text if overlay.visible else "-" for overlay in overlays)


@pytest.mark.parametrize(("order", "expected"), [(AXIAL, "RLAP"), (CORONAL, "RLHF"), (SAGITTAL, "APHF")])
def test_the_head_is_up_right_and_front_are_on_the_left_and_letters_say_so(
    session: Session, order: tuple[int, ...], expected: str
) -> None:
    session.viewer.dims.order = order
    assert letters(session.viewer) == expected


def test_back_from_a_side_view_axial_slices_lie_as_before(session: Session) -> None:
    viewer = session.viewer
    before = tuple(viewer.scene.camera.orientation)
    viewer.dims.order = CORONAL
    assert tuple(viewer.scene.camera.orientation) != before
    viewer.dims.order = AXIAL
    assert tuple(viewer.scene.camera.orientation) == before
    assert letters(viewer) == "RLAP"


def test_rolling_the_axes_goes_through_all_three_views_upright_and_comes_back(session: Session) -> None:
    orders = []
    for _ in range(6):
        session.viewer.dims.roll()
        orders.append(session.viewer.dims.order)
    assert orders == [SAGITTAL, CORONAL, AXIAL] * 2


@pytest.mark.parametrize("order", UPRIGHT)
def test_transposing_the_axes_lays_nobody_on_the_side(session: Session, order: tuple[int, ...]) -> None:
    session.viewer.dims.order = order
    session.viewer.dims.transpose()
    assert session.viewer.dims.order == order


def test_letters_follow_the_camera(session: Session) -> None:
    session.viewer.scene.camera.orientation2d = ("up", "left")
    assert letters(session.viewer) == "LRPA"


def test_in_3d_and_without_a_scan_there_are_no_letters(session: Session) -> None:
    session.viewer.dims.ndisplay = 3
    assert letters(session.viewer) == "----"
    session.viewer.dims.ndisplay = 2
    assert letters(session.viewer) == "RLAP"
    session.viewer.layers.remove(session.layer(Part.CT))
    assert letters(session.viewer) == "----"
    assert not session.viewer.canvas.overlays.scale_bar.visible


def test_an_axis_between_two_of_the_patient_s_has_no_letter(viewer: ViewerModel) -> None:
    assert letters_of(viewer, 0, OBLIQUE) == {}
    assert letters_of(viewer, 1, OBLIQUE) == {"top": "F", "bottom": "H"}


def test_letters_and_scale_bar_take_the_theme_s_colours_and_can_be_switched_off(session: Session) -> None:
    overlays = session.viewer.canvas.overlays
    assert overlays.scale_bar.visible
    assert not overlays.scale_bar.colored
    assert all(overlays[f"letter_{edge}"].color is None for edge in ("left", "right", "top", "bottom"))
    session.shows_letters = session.shows_scale_bar = lambda: False
    session.show_slice(2)
    assert letters(session.viewer) == "----"
    assert not overlays.scale_bar.visible


def test_a_viewer_without_a_scan_keeps_napari_s_orientation(viewer: ViewerModel) -> None:
    before = tuple(viewer.scene.camera.orientation)
    Session(viewer)
    viewer.add_image(np.zeros((3, 4, 5)))
    viewer.dims.roll()
    assert tuple(viewer.scene.camera.orientation) == before
