"""Coronal and sagittal views that are linked to the main one."""

import gc
import weakref
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from napari.layers import Image, Vectors

from napari_uld.lesions.annotations import Annotations
from napari_uld.viewer.layers.cross_hair import GAP, NAME
from napari_uld.viewer.layers.marks import Kind
from napari_uld.viewer.layers.parts import Part
from napari_uld.viewer.layers.planes import PlaneView
from napari_uld.viewer.session import Session
from napari_uld.viewer.state.case import Case
from napari_uld.viewer.tools.linked import LinkedViews


@pytest.fixture
def linked(session: Session) -> LinkedViews:
    return LinkedViews(session)


def image(view: PlaneView) -> Image:
    return view.layers[0]


def marks(view: PlaneView) -> Vectors:
    return view.layers[1]


def middle(layer: Vectors) -> list[float]:
    """Where a cross-hair is, in mm down and along the slice: in the middle of its gap."""
    across, down = (layer.data[np.isclose(layer.data[:, 1, axis], 0)] for axis in (0, 1))
    return [across[0, 0, 0], down[0, 0, 1]]


def place(view: PlaneView) -> list[float]:
    """Where a view's cross-hair is."""
    return middle(view.layers[2])


def main_cross_hair(session: Session) -> Vectors:
    return next(layer for layer in session.viewer.layers if layer.name == NAME)


def world(session: Session) -> np.ndarray:
    volume = session.case.volume
    return np.array(volume.origin[::-1]) + np.array(session.voxel) * volume.spacing


def turn(view: PlaneView, notches: float, *modifiers: str, at: tuple[float, float] = (0.0, 0.0)) -> None:
    event = SimpleNamespace(delta=(0.0, notches), modifiers=modifiers, handled=False, position=at)
    for act in list(view.model.mouse_wheel_callbacks):
        act(view.model, event)
    assert event.handled


def drag(model: object, callbacks: list, *positions: tuple[float, ...], button: int = 1, modifiers: tuple = ()) -> None:
    """Press at the first position, move to the others, let go."""
    event = SimpleNamespace(button=button, modifiers=modifiers, type="mouse_press", handled=False)
    event.position, event.pos = positions[0], positions[0]
    going = [act(model, event) for act in callbacks]
    for each in going:
        next(each, None)
    for position in positions[1:]:
        event.type, event.position, event.pos = "mouse_move", position, position
        for each in going:
            next(each, None)
    event.type = "mouse_release"
    for each in going:
        next(each, None)


def test_each_view_shows_the_slice_through_the_place_that_the_main_view_is_at(
    session: Session, linked: LinkedViews
) -> None:
    session.show_voxel({0: 4, 1: 30, 2: 22})
    hu = session.case.volume.hu
    np.testing.assert_array_equal(image(linked.coronal).data, hu[:, 30])
    np.testing.assert_array_equal(image(linked.sagittal).data, hu[:, :, 22])
    assert np.shares_memory(image(linked.coronal).data, hu)
    assert linked.coronal.model.canvas.overlays.text.text == "coronal 31 of 96"


def test_the_cross_hair_lies_on_the_same_place_in_all_views(session: Session, linked: LinkedViews) -> None:
    session.show_voxel({0: 3, 1: 30, 2: 22})
    z, y, x = world(session)
    assert place(linked.coronal) == pytest.approx([z, x])
    assert place(linked.sagittal) == pytest.approx([z, y])
    assert middle(main_cross_hair(session)) == pytest.approx([y, x])


def test_the_cross_hair_leaves_its_middle_free(session: Session, linked: LinkedViews) -> None:
    session.show_voxel({0: 5, 1: 48, 2: 48})
    lines = linked.sagittal.layers[2].data
    ends = np.concatenate([lines[:, 0], lines.sum(axis=1)])
    assert np.linalg.norm(ends - place(linked.sagittal), axis=1).min() == pytest.approx(GAP)


def test_an_axial_step_moves_the_cross_hair_and_draws_no_slice_or_mark_anew(
    session: Session, linked: LinkedViews
) -> None:
    drawn = []
    for view in linked.views:
        for layer in view.layers[:2]:
            layer.events.data.connect(lambda event: drawn.append(event.source))
    before = place(linked.coronal)
    session.show_slice(session.z + 1)
    assert drawn == []
    assert place(linked.coronal)[0] == pytest.approx(before[0] + session.case.volume.spacing[0])


def test_the_head_is_up_in_both_views(linked: LinkedViews) -> None:
    for view, expected in zip(linked.views, ("RLHF", "APHF"), strict=True):
        overlays = view.model.canvas.overlays
        shown = (overlays[f"letter_{edge}"] for edge in ("left", "right", "top", "bottom"))
        assert "".join(overlay.text for overlay in shown if overlay.visible) == expected
        assert view.model.scene.camera.orientation2d == ("up", "right")


def test_a_jump_to_a_lesion_moves_every_view(session: Session, linked: LinkedViews) -> None:
    row = next(row for row in session.case.rows if row.native == 12)
    session.jump(row)
    x1, y1, x2, y2 = row.box
    assert session.voxel == (session.case.volume.z_of(12), round((y1 + y2) / 2), round((x1 + x2) / 2))
    assert linked.coronal.plane.index == session.voxel[1]
    assert linked.sagittal.plane.index == session.voxel[2]


def test_the_wheel_turns_a_view_s_own_slices_in_the_main_viewer_too_and_stops_at_the_end(
    session: Session, linked: LinkedViews
) -> None:
    session.show_voxel({0: 3, 1: 30, 2: 22})
    turn(linked.coronal, 1)
    turn(linked.sagittal, -1)
    turn(linked.sagittal, -0.5)
    assert session.voxel == (3, 31, 21)
    for _ in range(100):
        turn(linked.coronal, 3)
    assert session.voxel[1] == 95


def test_ctrl_and_wheel_zoom_one_view_alone_or_the_other_way_round_where_it_is_set_so(
    session: Session, linked: LinkedViews
) -> None:
    before, zoom, other = session.voxel, linked.coronal.model.scene.camera.zoom, linked.sagittal.model.scene.camera.zoom
    turn(linked.coronal, 1, "Control", at=(100.0, 0.0))
    assert linked.coronal.model.scene.camera.zoom > zoom
    assert linked.sagittal.model.scene.camera.zoom == other
    session.wheel_turns_slices = lambda: False
    turn(linked.sagittal, 1)
    assert linked.sagittal.model.scene.camera.zoom > other
    assert session.voxel == before


def test_a_click_and_a_drag_in_a_view_move_the_cross_hair_and_stay_inside_the_scan(
    session: Session, linked: LinkedViews
) -> None:
    session.show_voxel({0: 3, 1: 30, 2: 22})
    view = linked.coronal
    # z = 100 + 5 * 6, x = -24 + .5 * 40
    drag(view.model, view.model.mouse_drag_callbacks, (130.4, -4.1))
    assert session.voxel == (6, 30, 40)
    drag(view.model, view.model.mouse_drag_callbacks, (130.0, -4.0), (105.0, 999.0))
    assert session.voxel == (1, 30, 95)


def test_in_the_main_view_shift_and_drag_move_it_and_a_plain_drag_does_not(
    session: Session, linked: LinkedViews
) -> None:
    session.show_voxel({0: 3, 1: 30, 2: 22})
    session.viewer.layers.selection.active = session.layer(Part.CT)
    at = (115.0, -20.0 + 0.5 * 50, -24.0 + 0.5 * 60)
    drag(session.viewer, [linked.shift_drag], at)
    assert session.voxel == (3, 30, 22)
    drag(session.viewer, [linked.shift_drag], at, modifiers=("Shift",))
    assert session.voxel == (3, 50, 60)
    assert linked.coronal.plane.index == 50


def test_shift_and_drag_are_the_drawing_s_while_a_person_draws(session: Session, linked: LinkedViews) -> None:
    before = session.voxel
    session.viewer.layers.selection.active = layer = session.viewer.add_labels(np.zeros((10, 96, 96), int))
    layer.mode = "paint"
    drag(session.viewer, [linked.shift_drag], (115.0, 5.0, 6.0), modifiers=("Shift",))
    assert session.voxel == before


def test_a_middle_drag_moves_the_view_alone(session: Session, linked: LinkedViews) -> None:
    before, view = session.voxel, linked.coronal
    centre = np.array(view.model.scene.camera.center[-2:])
    drag(view.model, view.model.mouse_drag_callbacks, (120.0, 0.0), (121.0, 2.0), button=3)
    np.testing.assert_allclose(view.model.scene.camera.center[-2:], centre - (1.0, 2.0))
    assert session.voxel == before


def test_the_window_is_shared_both_ways(session: Session, linked: LinkedViews) -> None:
    session.set_window("lung")
    assert tuple(image(linked.sagittal).contrast_limits) == session.window
    view = linked.coronal
    drag(view.model, view.model.mouse_drag_callbacks, (0.0, 0.0), (20.0, 0.0), button=2)
    assert session.window != session.windows["lung"]
    assert tuple(image(linked.sagittal).contrast_limits) == session.window


def test_marks_of_a_view_follow_the_case_the_threshold_and_what_is_shown(session: Session, linked: LinkedViews) -> None:
    # Through the middle of the finding that was traced over three slices.
    session.show_voxel({0: 8, 1: 76, 2: 70})
    layer = marks(linked.coronal)
    assert layer.visible
    z = layer.data[:, 0, 0]
    position = session.case.volume.z_of
    assert (z.min(), z.max()) == pytest.approx((position(13) - 0.5, position(11) + 0.5), abs=0.5)
    session.case.threshold = 0.95
    assert not layer.visible
    session.case.threshold = 0.0
    assert layer.visible
    session.marking.choose(frozenset({Kind.LESIONS}), labels_all=False)
    assert not layer.visible


def test_a_scan_opens_in_the_middle_where_nothing_is_marked_whole_in_every_view(
    session: Session, linked: LinkedViews, tmp_path: Path
) -> None:
    hu = np.full((20, 96, 96), -1000, np.int16)
    hu[:, 8:88, 8:88] = 0
    volume = replace(session.case.volume, hu=hu, slice_numbers=np.arange(20), series_uid="2", name="next")
    session.open(Case(volume, Annotations("2"), tmp_path / "next.lesions.json", reviewer="r"))
    session.arrange()
    assert session.voxel == (9, 47, 47)
    for model, low, high in (
        (session.viewer, (-16.0, -20.0), (24.0, 20.0)),
        (linked.coronal.model, (100.0, -20.0), (195.0, 20.0)),
        (linked.sagittal.model, (100.0, -16.0), (195.0, 24.0)),
    ):
        half = np.array(model.canvas.size) / model.scene.camera.zoom / 2
        centre = np.array(model.scene.camera.center[-2:])
        assert (centre - half <= low).all()
        assert (centre + half >= high).all()
        # And no smaller than that takes.
        assert (half / (np.array(high) - low)).min() < 0.6


def test_both_legs_are_the_body_and_the_table_is_not(session: Session) -> None:
    hu = session.case.volume.hu
    hu[:] = -1000
    hu[:, 20:50, 5:30] = 0
    hu[:, 20:50, 60:90] = 0
    hu[:, 94, 40:60] = 0
    session.fit_body()
    camera = session.viewer.scene.camera
    assert camera.center[-2:] == pytest.approx((-20.0 + 0.5 * 35, -24.0 + 0.5 * 47.5))


def test_where_a_zoomed_view_does_not_hold_the_place_it_moves_there(session: Session, linked: LinkedViews) -> None:
    camera = linked.sagittal.model.scene.camera
    session.show_voxel({0: 1, 1: 10})
    camera.zoom *= 50
    session.show_voxel({0: 9, 1: 80})
    assert camera.center[-2:] == pytest.approx(world(session)[:2])


def test_the_main_view_s_cross_hair_follows_it_to_other_views_and_hides_in_3d(
    session: Session, linked: LinkedViews
) -> None:
    ranges = session.viewer.dims.range
    session.viewer.dims.order = (1, 0, 2)
    session.show_voxel({0: 3, 1: 31, 2: 22})
    layer = main_cross_hair(session)
    assert layer.ndim == 3
    assert np.unique(layer.data[:, 0, 1]) == pytest.approx([world(session)[1]])
    assert layer.visible
    session.viewer.dims.ndisplay = 3
    assert not layer.visible
    session.viewer.dims.ndisplay = 2
    session.viewer.dims.order = (0, 1, 2)
    assert main_cross_hair(session).ndim == 2
    np.testing.assert_allclose(session.viewer.dims.range, ranges)


def test_a_cross_hair_that_a_person_hides_or_takes_away_stays_away(session: Session, linked: LinkedViews) -> None:
    layer = main_cross_hair(session)
    layer.visible = False
    session.show_slice(2)
    assert not layer.visible
    session.viewer.layers.remove(layer)
    session.show_slice(3)
    assert NAME not in session.viewer.layers


def test_closing_the_scan_empties_the_views_and_the_next_one_fills_them(
    session: Session, linked: LinkedViews, case: Case
) -> None:
    session.saves_itself = lambda: False
    session.viewer.layers.remove(session.layer(Part.CT))
    assert session.case is None
    assert not any(layer.visible for view in linked.views for layer in view.layers)
    assert NAME not in session.viewer.layers
    session.open(case)
    assert all(image(view).visible for view in linked.views)
    assert NAME in session.viewer.layers


def test_fifty_scans_later_there_are_as_many_layers_and_none_of_the_old_scans(
    session: Session, linked: LinkedViews, tmp_path: Path
) -> None:
    names = [layer.name for layer in session.viewer.layers]
    gone = []
    for i in range(50):
        size = 40 + i % 3
        volume = replace(
            session.case.volume,
            hu=np.zeros((6, size, size), np.int16),
            slice_numbers=np.arange(6),
            series_uid=f"9.{i}",
            name="study",
        )
        gone.append(weakref.ref(volume))
        session.open(Case(volume, Annotations(volume.scan_id), tmp_path / f"{i}.lesions.json", reviewer="r"))
        session.arrange()
        assert image(linked.coronal).data.shape == (6, size)
    assert [layer.name for layer in session.viewer.layers] == names
    assert all(len(view.model.layers) == 3 for view in linked.views)
    del volume
    gc.collect()
    assert sum(ref() is not None for ref in gone) == 1


def test_released_views_follow_nothing_and_take_their_cross_hair_along(session: Session, linked: LinkedViews) -> None:
    waiting = []
    session.later = waiting.append
    session.viewer.scene.camera.zoom *= 2
    callbacks = len(session.viewer.mouse_drag_callbacks)
    linked.release()
    before = image(linked.coronal).data
    assert not np.shares_memory(before, session.case.volume.hu)
    assert len(session.viewer.mouse_drag_callbacks) == callbacks - 1
    assert NAME not in session.viewer.layers
    session.show_voxel({1: session.voxel[1] + 3})
    for act in waiting:
        act()
    assert image(linked.coronal).data is before
    assert NAME not in session.viewer.layers


def test_released_views_follow_again_when_they_are_asked_to(session: Session, linked: LinkedViews) -> None:
    callbacks = len(session.viewer.mouse_drag_callbacks)
    linked.release()
    session.show_voxel({1: 40, 2: 50})
    linked.follow()
    assert len(session.viewer.mouse_drag_callbacks) == callbacks
    np.testing.assert_array_equal(image(linked.coronal).data, session.case.volume.hu[:, 40])
    session.show_voxel({1: 41})
    np.testing.assert_array_equal(image(linked.coronal).data, session.case.volume.hu[:, 41])
    assert sum(layer.name == NAME for layer in session.viewer.layers) == 1
