"""What napari itself lets a person do to layers neither makes lesions nobody wanted nor takes the scan away."""

from collections.abc import Iterator

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Layer, Shapes, _layer_actions
from napari.utils.key_bindings import coerce_keybinding
from napari.utils.notifications import Notification, notification_manager

from napari_uld.lesions.annotations import State
from napari_uld.viewer.layers.marks import Kind
from napari_uld.viewer.layers.parts import Part, case_of
from napari_uld.viewer.session import Session
from napari_uld.viewer.tools import review
from napari_uld.viewer.tools.workbench import workbench_of

from ..viewer.conftest import drawn, hand, take_in_hand


@pytest.fixture
def told() -> Iterator[list[str]]:
    messages: list[str] = []

    def hear(notification: Notification) -> None:
        messages.append(notification.message)

    notification_manager.notification_ready.connect(hear)
    yield messages
    notification_manager.notification_ready.disconnect(hear)


def jump_to_the_expert(session: Session) -> None:
    """Slice 15 is the fifth from the feet."""
    session.jump(next(row for row in session.case.rows if row.native == 15))


def rectangle(z: float, low: float, high: float) -> list[list[float]]:
    return [[z, low, low], [z, low, high], [z, high, high], [z, high, low]]


def press(session: Session, key: str, *, on: Layer) -> None:
    """What napari does when a key is pressed: the active layer's own keys come first."""
    assert on is session.viewer.layers.selection.active
    on.keymap[coerce_keybinding(key)](on)


def copy_and_paste_the_experts(session: Session, native: int) -> None:
    layer = take_in_hand(session, next(iter(session.case.annotations)).id)
    press(session, "Ctrl+C", on=layer)
    session.show_native(native)
    press(session, "Ctrl+V", on=layer)


def test_a_pasted_box_is_a_lesion_on_the_slice_it_is_pasted_on(session: Session) -> None:
    copy_and_paste_the_experts(session, 13)
    assert [each.key_slice for each in session.case.annotations] == [15, 13]
    assert len({each.id for each in session.case.annotations}) == 2
    assert session.case.annotations.unsaved
    for native in (15, 13):
        session.show_native(native)
        assert len(drawn(session, Kind.LESIONS)) == 1, "what is seen is what there is"
    review.undo(session)
    assert [each.key_slice for each in session.case.annotations] == [15]


def test_a_pasted_box_takes_nothing_from_the_lesion_that_it_was_copied_from(session: Session) -> None:
    copy_and_paste_the_experts(session, 13)
    first, second = session.case.annotations
    assert second.recist is None
    assert second.box == pytest.approx(first.box)
    assert second.reviewer == "reader"
    assert drawn(session, Kind.RECIST) == []
    jump_to_the_expert(session)
    assert len(drawn(session, Kind.RECIST)) == 2


def duplicate(viewer: ViewerModel, layer: Layer) -> Layer:
    viewer.layers.selection = {layer}
    viewer.layers.selection.active = layer
    known = set(viewer.layers)
    _layer_actions._duplicate_layer(viewer.layers)
    return next(each for each in viewer.layers if each not in known)


def project(viewer: ViewerModel, layer: Layer) -> Layer:
    viewer.layers.selection = {layer}
    viewer.layers.selection.active = layer
    known = set(viewer.layers)
    _layer_actions._project(viewer.layers, axis=0, mode="max")
    return next(each for each in viewer.layers if each not in known)


@pytest.mark.parametrize("make", [duplicate, project])
def test_a_copy_of_the_ct_is_no_ct(session: Session, make) -> None:  # noqa: ANN001
    case, ct = session.case, session.layer(Part.CT)
    copy = make(session.viewer, ct)
    assert case_of(copy) is None
    session.viewer.layers.remove(copy)
    assert session.case is case
    assert session.layer(Part.CT) is ct
    assert session.layer(Part.MARKS) is not None


@pytest.mark.parametrize("part", [Part.MARKS, Part.HAND, Part.LABELS, Part.BODIES, Part.MASK])
def test_a_copy_of_another_layer_is_a_layer_like_any_other(session: Session, part: Part) -> None:
    own = session.layer(part)
    assert own is not None
    copy = duplicate(session.viewer, own)
    before = list(session.case.annotations)
    if isinstance(copy, Shapes):
        copy.add_rectangles(rectangle(4, 5, 25))
    assert list(session.case.annotations) == before
    session.viewer.layers.remove(own)
    assert session.layer(part) is None


def test_the_ct_may_be_moved_and_renamed(session: Session) -> None:
    ct = session.layer(Part.CT)
    assert ct is not None
    ct.name = "x"
    session.viewer.layers.move(session.viewer.layers.index(ct), len(session.viewer.layers))
    jump_to_the_expert(session)
    assert session.z == 4


def test_a_layer_deleted_by_hand_comes_back_where_it_is_needed(session: Session) -> None:
    names = [layer.name for layer in session.viewer.layers]
    session.viewer.layers.remove(hand(session))
    review.draw_lesion(session)
    assert [layer.name for layer in session.viewer.layers] == names
    hand(session).add_rectangles(rectangle(3, 40, 60))
    assert len(session.case.annotations) == 2
    session.viewer.layers.remove(hand(session))
    session.case.select(next(row.key for row in session.case.rows if row.annotation is None))
    review.edit_box(session)
    assert hand(session) is session.viewer.layers.selection.active


def four_axes(viewer: ViewerModel) -> None:
    data = np.zeros((2, 10, 96, 96), np.float32)
    viewer.add_image(data, scale=(1, 5, 0.5, 0.5), translate=(0, 100, -20, -24), name="perfusion")


def five_axes(viewer: ViewerModel) -> None:
    viewer.add_image(np.zeros((2, 3, 4, 8, 8), np.float32))


@pytest.mark.parametrize("add", [four_axes, five_axes])
def test_beside_an_image_of_more_axes_slices_are_counted_along_the_cts(session: Session, add) -> None:  # noqa: ANN001
    add(session.viewer)
    axis = session.viewer.dims.ndim - 3
    jump_to_the_expert(session)
    assert session.z == 4
    assert session.viewer.dims.point[axis] == 120
    assert session.viewer.dims.point[:axis] == (0,) * axis
    session.viewer.dims.set_point(axis, 105.0)
    assert session.z == 1
    assert "slice 18" in session.viewer.canvas.overlays.text.text
    jump_to_the_expert(session)
    brush = workbench_of(session.viewer).brush
    brush.start()
    assert brush.on


def test_drawing_ends_with_the_box_which_is_in_hand_then(session: Session) -> None:
    review.draw_lesion(session)
    layer = hand(session)
    assert layer.mode == "add_rectangle"
    session.show_slice(3)
    layer.add_rectangles(rectangle(3, 40, 60))
    assert layer.mode == "select"
    assert session.case.current is not None
    (chosen,) = layer.selected_data
    assert layer.features["key"][chosen] == session.case.current.key


def test_drawing_ends_with_escape_and_leaves_no_lesion(session: Session) -> None:
    review.draw_lesion(session)
    review.put_down(session)
    assert hand(session).mode == "pan_zoom"
    assert not hand(session).visible
    assert len(session.case.annotations) == 1


@pytest.mark.parametrize("look", ["coronal", "3D"])
def test_where_a_box_would_lie_on_no_slice_drawing_does_not_begin(session: Session, told: list[str], look: str) -> None:
    if look == "3D":
        session.viewer.dims.ndisplay = 3
    else:
        session.viewer.dims.order = (1, 0, 2)
    review.draw_lesion(session)
    assert hand(session).mode == "pan_zoom"
    assert "Only on axial slices in 2D" in told[-1]


def test_a_box_drawn_from_the_side_is_refused_with_a_word(session: Session, told: list[str]) -> None:
    review.draw_lesion(session)
    session.viewer.dims.order = (1, 0, 2)
    hand(session).add_rectangles([[3, 40, 30], [3, 40, 50], [7, 40, 50], [7, 40, 30]])
    assert len(session.case.annotations) == 1
    assert len(hand(session).data) == 0
    assert "lies on one slice" in told[-1]


def test_a_rejected_detection_stays_one_whatever_napari_does(session: Session) -> None:
    session.jump(session.case.rows[0])
    review.decide(session, State.REJECTED)
    duplicate(session.viewer, hand(session))
    assert [each.state for each in session.case.annotations].count(State.REJECTED) == 1


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [(-300, -200, "outside its image of 96 x 96"), (97, 140, "outside its image"), (40, 41, "3 or more are required")],
)
def test_a_box_outside_the_slice_or_no_larger_than_a_click_is_no_lesion(
    session: Session, told: list[str], low: float, high: float, word: str
) -> None:
    review.draw_lesion(session)
    hand(session).add_rectangles(rectangle(5, low, high))
    assert len(session.case.annotations) == 1
    assert len(hand(session).data) == 0
    assert word in told[-1]


def test_of_a_box_that_reaches_beyond_the_slice_what_lies_in_it_is_the_lesion(session: Session) -> None:
    review.draw_lesion(session)
    hand(session).add_rectangles(rectangle(5, 80, 120))
    *_, drawn = session.case.annotations
    assert drawn.box == (80, 80, 95.5, 95.5)


def test_a_lesions_box_is_not_dragged_out_of_its_slice(session: Session, told: list[str]) -> None:
    before = [row.box for row in session.case.annotations]
    layer = take_in_hand(session, next(iter(session.case.annotations)).id)
    layer.data = [(corners + [0, 300, 300], "rectangle") for corners in layer.data]
    assert [row.box for row in session.case.annotations] == before
    assert "outside its image" in told[-1]
    assert np.array(layer.data[0])[:, 1].max() < 96, "it is seen where it is"
