"""The Look inside panel and its layers, with a stand-in for the detector's process."""

from pathlib import Path

import numpy as np
import pytest
from napari.utils.notifications import Notification
from pytestqt.qtbot import QtBot

from napari_uld.errors import WorkerError
from napari_uld.inference.inside_result import Rule
from napari_uld.lesions.annotations import State
from napari_uld.viewer.layers.inside import ATTENTION, MOST_DRAWN, InsidePart, show_inside
from napari_uld.viewer.layers.parts import Part, find_layer
from napari_uld.viewer.session import Session

from .looks import LESION, NOWHERE, FakeLooker, anchors, inside, layer_of, look, names, one_stage, panel_of

pytestmark = pytest.mark.usefixtures("tiny_checkpoint")

# -- what is asked --


def test_a_checkpoint_is_asked_about_the_slice_in_view_and_the_lesions_that_a_person_holds_for_true(
    session: Session, tiny_checkpoint: Path, qtbot: QtBot
) -> None:
    looker = FakeLooker(inside())
    panel = panel_of(session, qtbot, looker)
    session.show_slice(session.case.volume.z_of(15))
    look(panel, qtbot)
    (asked,) = looker.looks
    assert (asked.z, asked.detector) == (4, tiny_checkpoint)
    # The expert's; the detector's two findings on this slice wait for a decision.
    (expert,) = session.case.annotations
    assert asked.boxes.tolist() == [list(expert.box)]


def test_an_accepted_finding_counts_on_every_slice_it_was_traced_through_and_a_rejected_one_on_none(
    session: Session, qtbot: QtBot
) -> None:
    looker = FakeLooker(NOWHERE)
    panel = panel_of(session, qtbot, looker)
    key = session.case.rows[0].key
    session.show_slice(session.case.volume.z_of(13))
    for state in (State.ACCEPTED, State.REJECTED):
        session.case.decide(key, state)
        look(panel, qtbot)
    assert [asked.boxes.tolist() for asked in looker.looks] == [[[62, 62, 78, 78]], []]


def test_a_recipe_is_asked_by_its_name_and_the_checkpoint_cannot_be_chosen_meanwhile(
    session: Session, qtbot: QtBot
) -> None:
    looker = FakeLooker(inside(objectness=None, branch=None))
    panel = panel_of(session, qtbot, looker)
    assert panel.checkpoints.names.enabled
    panel.recipe.value = "faster_rcnn_bmc"
    assert not panel.checkpoints.names.enabled
    look(panel, qtbot)
    assert looker.looks[0].detector == "faster_rcnn_bmc"
    assert "A recipe has no weights" in panel.status.text()


# -- what is shown --


def test_each_layer_lies_on_its_slice_of_the_scan(session: Session, qtbot: QtBot) -> None:
    look(panel_of(session, qtbot, FakeLooker(inside())), qtbot)
    ct = session.layer(Part.CT)
    for part in set(InsidePart) - {*ATTENTION.values(), InsidePart.AT_OTHERS, InsidePart.POSITIVE}:
        layer = layer_of(session, part)
        assert layer.axis_labels == ct.axis_labels
        assert layer.units == ct.units
        np.testing.assert_allclose(layer.scale, ct.scale)
    for part in (InsidePart.OBJECTNESS, InsidePart.SEGMENTATION):
        layer = layer_of(session, part)
        assert layer.data.shape == (1, 96, 96)
        np.testing.assert_allclose(layer.data_to_world((0, 7, 9)), ct.data_to_world((4, 7, 9)))
    boxes = layer_of(session, InsidePart.IOU)
    np.testing.assert_allclose(boxes.data_to_world(boxes.data[0][0]), ct.data_to_world((4, 20, 10)))


def test_they_lie_over_the_scan_and_under_what_people_marked_and_nothing_else_is_taken_in_hand(
    session: Session, qtbot: QtBot
) -> None:
    session.viewer.layers.selection.active = session.layer(Part.MARKS)
    look(panel_of(session, qtbot, FakeLooker(inside())), qtbot)
    assert names(session) == [
        "CT study", "Mask", "Inside: objectness", "Inside: segmentation", "Inside: anchors BMC", "Inside: anchors BM",
        "Inside: anchors IoU", "Inside: detections", "Bodies", "Marks", "Mark labels", "Lesion in hand",
    ]  # fmt: skip
    assert session.viewer.layers.selection.active is session.layer(Part.MARKS)


def test_another_look_updates_the_same_layers(session: Session, qtbot: QtBot) -> None:
    looker = FakeLooker(one_stage())
    panel = panel_of(session, qtbot, looker)
    look(panel, qtbot)
    before = list(session.viewer.layers)
    looker.found = one_stage(z=7, objectness=np.full((96, 96), 0.5, np.float32))
    look(panel, qtbot)
    assert list(session.viewer.layers) == before
    objectness = layer_of(session, InsidePart.OBJECTNESS)
    assert objectness.data.max() == 0.5
    np.testing.assert_allclose(objectness.data_to_world((0, 0, 0)), session.layer(Part.CT).data_to_world((7, 0, 0)))
    for part in (InsidePart.IOU, InsidePart.DETECTIONS):
        assert {corners[0, 0] for corners in layer_of(session, part).data} == {7}


def test_maps_of_a_checkpoint_are_gone_when_a_recipe_is_looked_at(session: Session, qtbot: QtBot) -> None:
    looker = FakeLooker(inside())
    panel = panel_of(session, qtbot, looker)
    look(panel, qtbot)
    before = names(session)
    session.viewer.layers.selection.active = layer_of(session, InsidePart.SEGMENTATION)
    looker.found = inside(objectness=None, branch=None)
    look(panel, qtbot)
    assert find_layer(session.viewer, session.case, InsidePart.OBJECTNESS) is None
    assert find_layer(session.viewer, session.case, InsidePart.SEGMENTATION) is None
    # With another checkpoint they are back where they were, under the anchors.
    looker.found = inside()
    look(panel, qtbot)
    assert names(session) == before


def test_a_recipe_has_anchors_alone(session: Session, qtbot: QtBot) -> None:
    recipe = {"objectness": None, "branch": None, "boxes": np.zeros((0, 4)), "scores": np.zeros(0)}
    panel = panel_of(session, qtbot, FakeLooker(inside(**recipe)))
    look(panel, qtbot)
    assert [name for name in names(session) if name.startswith("Inside")] == [
        "Inside: anchors BMC", "Inside: anchors BM", "Inside: anchors IoU",
    ]  # fmt: skip
    assert panel.status.text().endswith("A recipe has no weights: no maps, no detections.")
    assert session.layer(Part.MASK).visible


def test_all_anchors_by_iou_and_bm_are_drawn_and_of_bmc_the_best_of_each_cell(session: Session) -> None:
    drawn = show_inside(session.viewer, session.case, inside())
    assert drawn == {InsidePart.IOU: 1, InsidePart.BM: 2, InsidePart.BMC: 2, InsidePart.DETECTIONS: 1}
    # Of the lesion's 768 px the wide one shares 640, the tall one 480 of its 800 moved by 4 px.
    boxes = [[*corners[0, :0:-1], *corners[2, :0:-1]] for corners in layer_of(session, InsidePart.BMC).data]
    assert boxes == [[10, 20, 50, 40], [24, 14, 44, 54]]


def test_no_more_are_drawn_than_a_person_can_tell_apart(session: Session) -> None:
    many = anchors(*([x, 10, x + 20, 30] for x in range(MOST_DRAWN + 50)))
    found = inside(anchors={Rule.IOU: anchors(), Rule.BM: many, Rule.BMC: many})
    drawn = show_inside(session.viewer, session.case, found)
    assert [drawn[part] for part in (InsidePart.IOU, InsidePart.BM, InsidePart.BMC)] == [0, MOST_DRAWN, MOST_DRAWN]
    assert len(layer_of(session, InsidePart.BM).data) == MOST_DRAWN
    (many_width,), (few_width,) = (
        set(layer_of(session, part).edge_width) for part in (InsidePart.BM, InsidePart.DETECTIONS)
    )
    assert many_width < few_width
    assert len(layer_of(session, InsidePart.IOU).data) == 0


def test_the_panel_counts_anchors_for_each_lesion(session: Session, qtbot: QtBot) -> None:
    panel = panel_of(session, qtbot, FakeLooker(inside(lesions=np.concatenate([LESION, LESION + 50]))))
    look(panel, qtbot)
    text = panel.status.text()
    assert "<b>Slice 15</b>" in text
    assert "BM&nbsp;</td><td>2</td><td>2, 0&nbsp;</td><td>2</td>" in text
    assert "BMC&nbsp;</td><td>4</td><td>4, 0&nbsp;</td><td>2</td>" in text
    assert "128 anchors in all, 2 on each of 64 cells" in text
    assert "Objectness: at most 0.25" in text
    assert "Segmentation on each detection: at most 0.75" in text
    assert "Detections: 1 of 1 drawn, from 0.400 on as in the review; the best 0.81" in text


def test_without_a_lesion_the_panel_says_so_and_shows_the_maps_all_the_same(session: Session, qtbot: QtBot) -> None:
    panel = panel_of(session, qtbot, FakeLooker(NOWHERE))
    look(panel, qtbot)
    assert "No accepted lesion here" in panel.status.text()
    assert panel.status.text().endswith("Detections: none")
    assert layer_of(session, InsidePart.OBJECTNESS).data.max() == 0.25
    assert len(layer_of(session, InsidePart.BMC).data) == 0


def test_the_reviews_keys_work_while_one_of_the_layers_is_active(session: Session) -> None:
    show_inside(session.viewer, session.case, inside())
    assert "G" in {str(key) for key in layer_of(session, InsidePart.OBJECTNESS).keymap}


# -- how it ends --


def test_the_layers_go_with_the_scan(session: Session) -> None:
    show_inside(session.viewer, session.case, inside())
    session.viewer.layers.remove(session.layer(Part.CT))
    assert len(session.viewer.layers) == 0


def test_what_was_found_for_a_scan_that_was_closed_meanwhile_is_not_shown(session: Session, qtbot: QtBot) -> None:
    looker = FakeLooker(inside(), waits=True)
    panel = panel_of(session, qtbot, looker)
    panel.run_button.native.click()
    session.viewer.layers.remove(session.layer(Part.CT))
    looker.waits = False
    qtbot.waitUntil(lambda: not panel.running, timeout=5000)
    assert len(session.viewer.layers) == 0
    assert not panel.run_button.enabled


def test_cancelling_changes_nothing(session: Session, qtbot: QtBot) -> None:
    panel = panel_of(session, qtbot, FakeLooker(waits=True))
    panel.run_button.native.click()
    assert not panel.run_button.enabled
    panel.cancel_button.native.click()
    qtbot.waitUntil(lambda: not panel.running, timeout=5000)
    assert panel.status.text() == "Cancelled; nothing changed."
    assert len(session.viewer.layers) == 6


def test_a_crash_is_a_message(session: Session, qtbot: QtBot, shown: list[Notification]) -> None:
    panel = panel_of(session, qtbot, FakeLooker(error=WorkerError("The detector's process ended")))
    look(panel, qtbot)
    assert "process ended" in shown[-1].message
    assert "process ended" in panel.status.text()
    assert panel.run_button.enabled


def test_the_process_ends_with_the_window(session: Session, qtbot: QtBot) -> None:
    looker = FakeLooker()
    panel_of(session, qtbot, looker)
    session.closed.emit()
    assert looker.closed


def test_a_detector_without_a_branch_is_said_to_have_none(session: Session, qtbot: QtBot) -> None:
    panel = panel_of(session, qtbot, FakeLooker(inside(branch=None)))
    look(panel, qtbot)
    assert "Segmentation: this detector has none" in panel.status.text()
    assert find_layer(session.viewer, session.case, InsidePart.SEGMENTATION) is None
