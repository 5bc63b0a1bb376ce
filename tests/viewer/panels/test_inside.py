"""The Look inside panel and its layers, with a stand-in for the detector's process."""

from pathlib import Path

import numpy as np
import pytest
from napari.utils.notifications import Notification
from pytestqt.qtbot import QtBot

from napari_uld.errors import WorkerError
from napari_uld.inference.inside_result import Rule
from napari_uld.lesions.annotations import Annotations, State
from napari_uld.viewer.layers.inside import MOST_DRAWN, OBJECTNESS, SEGMENTATION, Boxes, InsidePart, boxes_of
from napari_uld.viewer.layers.parts import Part
from napari_uld.viewer.panels.inside import report
from napari_uld.viewer.session import Session
from napari_uld.viewer.state.case import Case

from .looks import LESION, NOWHERE, FakeLooker, anchors, inside, kinds_drawn, layer_of, look, names, one_stage, panel_of

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


@pytest.fixture(autouse=True)
def on_the_slice(session: Session) -> None:
    """The slice that the stand-in looks at is shown."""
    session.show_slice(4)


def test_both_layers_lie_on_the_slice_of_the_scan(session: Session, qtbot: QtBot) -> None:
    look(panel_of(session, qtbot, FakeLooker(inside())), qtbot)
    ct = session.layer(Part.CT)
    for part in InsidePart:
        layer = layer_of(session, part)
        assert layer.axis_labels == ct.axis_labels
        assert layer.units == ct.units
        np.testing.assert_allclose(layer.scale, ct.scale)
    shown_map, boxes = (layer_of(session, part) for part in InsidePart)
    assert shown_map.data.shape == (1, 96, 96)
    np.testing.assert_allclose(shown_map.data_to_world((0, 7, 9)), ct.data_to_world((4, 7, 9)))
    np.testing.assert_allclose(boxes.data_to_world((4, 20, 10)), ct.data_to_world((4, 20, 10)))
    assert set(boxes.data[:, 0, 0]) == {4}
    ends = boxes.data.sum(axis=1)
    # The tall one is the highest, the wide one reaches furthest to the left; what is thick lies about them.
    assert ends[:, 1:].min(axis=0) == pytest.approx([10, 10], abs=1.5)


def test_two_layers_lie_over_the_scan_and_under_what_people_marked_and_nothing_else_is_taken_in_hand(
    session: Session, qtbot: QtBot
) -> None:
    session.viewer.layers.selection.active = session.layer(Part.MARKS)
    look(panel_of(session, qtbot, FakeLooker(one_stage())), qtbot)
    assert names(session) == [
        "CT study", "Mask", "Inside: map", "Inside: boxes", "Bodies", "Marks", "Mark labels", "Lesion in hand",
    ]  # fmt: skip
    assert session.viewer.layers.selection.active is session.layer(Part.MARKS)


def test_another_look_updates_the_same_layers(session: Session, qtbot: QtBot) -> None:
    looker = FakeLooker(one_stage())
    panel = panel_of(session, qtbot, looker)
    look(panel, qtbot)
    before = list(session.viewer.layers)
    session.show_slice(7)
    looker.found = one_stage(z=7, objectness=np.full((96, 96), 0.5, np.float32))
    look(panel, qtbot)
    assert list(session.viewer.layers) == before
    objectness = layer_of(session, InsidePart.MAP)
    assert objectness.data.max() == 0.5
    np.testing.assert_allclose(objectness.data_to_world((0, 0, 0)), session.layer(Part.CT).data_to_world((7, 0, 0)))
    assert set(layer_of(session, InsidePart.BOXES).data[:, 0, 0]) == {7}


def test_the_panel_chooses_which_map_and_which_boxes_are_shown(session: Session, qtbot: QtBot) -> None:
    panel = panel_of(session, qtbot, FakeLooker(inside()))
    look(panel, qtbot)
    assert (panel.map.value, panel.map.choices) == (OBJECTNESS, ("none", OBJECTNESS, SEGMENTATION))
    assert kinds_drawn(session) == {Boxes.IOU, Boxes.BM, Boxes.BMC, Boxes.DETECTIONS}
    panel.map.value = SEGMENTATION
    assert layer_of(session, InsidePart.MAP).data.max() == 0.75
    for kind in (Boxes.IOU, Boxes.DETECTIONS):
        panel.boxes[kind].setChecked(False)
    assert kinds_drawn(session) == {Boxes.BM, Boxes.BMC}
    panel.map.value = "none"
    assert not layer_of(session, InsidePart.MAP).visible
    # What was chosen holds for the next look.
    look(panel, qtbot)
    assert panel.map.value == "none"
    assert kinds_drawn(session) == {Boxes.BM, Boxes.BMC}


def test_what_is_seen_and_said_goes_with_its_slice_and_comes_back_with_it(session: Session, qtbot: QtBot) -> None:
    panel = panel_of(session, qtbot, FakeLooker(inside()))
    look(panel, qtbot)
    assert "<b>Slice 15</b> of study" in panel.status.text()
    session.show_slice(5)
    assert not any(layer_of(session, part).visible for part in InsidePart)
    assert panel.status.text().startswith("Slice 15 was looked at: go back to it")
    assert "anchors" not in panel.status.text()
    session.show_slice(4)
    assert all(layer_of(session, part).visible for part in InsidePart)
    assert "<b>Slice 15</b> of study" in panel.status.text()
    session.viewer.dims.order = (1, 0, 2)
    assert not any(layer_of(session, part).visible for part in InsidePart)


def test_what_is_found_after_the_person_went_on_is_not_laid_over_another_slice(session: Session, qtbot: QtBot) -> None:
    looker = FakeLooker(inside(), waits=True)
    panel = panel_of(session, qtbot, looker)
    panel.run_button.native.click()
    session.show_slice(6)
    looker.waits = False
    qtbot.waitUntil(lambda: not panel.running, timeout=5000)
    assert not any(layer_of(session, part).visible for part in InsidePart)
    assert panel.status.text().startswith("Slice 15 was looked at")


def test_what_is_said_goes_with_the_scan(session: Session, qtbot: QtBot, case: Case) -> None:
    panel = panel_of(session, qtbot, FakeLooker(inside()))
    look(panel, qtbot)
    session.open(Case(case.volume, Annotations("1.2.3"), case.path))
    session.show_slice(4)
    assert "Slice 15" not in panel.status.text()
    assert not [name for name in names(session) if name.startswith("Inside")]
    session.viewer.layers.remove(session.layer(Part.CT))
    assert panel.status.text().startswith("Open a CT scan first")


def test_lines_are_as_thin_on_the_screen_whatever_the_zoom(session: Session, qtbot: QtBot) -> None:
    look(panel_of(session, qtbot, FakeLooker(inside())), qtbot)
    layer, camera = layer_of(session, InsidePart.BOXES), session.viewer.scene.camera
    before, zoom = layer.edge_width, camera.zoom
    camera.zoom = 4 * zoom
    qtbot.waitUntil(lambda: layer.edge_width == pytest.approx(before / 4), timeout=5000)


def test_maps_of_a_checkpoint_are_gone_when_a_recipe_is_looked_at(session: Session, qtbot: QtBot) -> None:
    looker = FakeLooker(inside())
    panel = panel_of(session, qtbot, looker)
    look(panel, qtbot)
    before = names(session)
    looker.found = inside(objectness=None, branch=None)
    look(panel, qtbot)
    assert not layer_of(session, InsidePart.MAP).visible
    assert panel.map.choices == ("none",)
    # With another checkpoint they are back where they were, under the boxes.
    looker.found = inside()
    look(panel, qtbot)
    assert layer_of(session, InsidePart.MAP).visible
    assert names(session) == before


def test_a_recipe_has_anchors_alone(session: Session, qtbot: QtBot) -> None:
    recipe = {"objectness": None, "branch": None, "boxes": np.zeros((0, 4)), "scores": np.zeros(0)}
    panel = panel_of(session, qtbot, FakeLooker(inside(**recipe)))
    look(panel, qtbot)
    assert [name for name in names(session) if name.startswith("Inside")] == ["Inside: boxes"]
    assert [kind for kind, box in panel.boxes.items() if not box.isHidden()] == [Boxes.IOU, Boxes.BM, Boxes.BMC]
    assert panel.status.text().endswith("A recipe has no weights: no maps, no detections.")
    assert session.layer(Part.MASK).visible


def test_all_anchors_by_iou_and_bm_are_drawn_and_of_bmc_the_best_of_each_cell(case: Case) -> None:
    drawn = boxes_of(case, inside())
    assert {kind: len(boxes) for kind, boxes in drawn.items()} == {
        Boxes.IOU: 1, Boxes.BM: 2, Boxes.BMC: 2, Boxes.DETECTIONS: 1,
    }  # fmt: skip
    # Of the lesion's 768 px the wide one shares 640, the tall one 480 of its 800 moved by 4 px.
    assert drawn[Boxes.BMC].tolist() == [[10, 20, 50, 40], [24, 14, 44, 54]]


def test_no_more_are_drawn_than_a_person_can_tell_apart(case: Case) -> None:
    many = anchors(*([x, 10, x + 20, 30] for x in range(MOST_DRAWN + 50)))
    drawn = boxes_of(case, inside(anchors={Rule.IOU: anchors(), Rule.BM: many, Rule.BMC: many}))
    assert [len(drawn[kind]) for kind in (Boxes.IOU, Boxes.BM, Boxes.BMC)] == [0, MOST_DRAWN, MOST_DRAWN]


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


def test_where_a_slice_lies_and_what_a_gate_lets_through_of_its_windows_are_quoted(case: Case) -> None:
    assert report(case, inside(position=0.4349)).endswith("Position along the body, from 0 towards the head to 1: 0.43")
    gated = report(case, inside(windows={(-174, 274): 0.514, (-1493.5, 484): 0.25}))
    assert gated.endswith("of each window, from 0 to 1: -174 to 274 HU 0.51, -1493.5 to 484 HU 0.25")
    assert "Position" not in report(case, inside())


def test_without_a_lesion_the_panel_says_so_and_shows_the_maps_all_the_same(session: Session, qtbot: QtBot) -> None:
    panel = panel_of(session, qtbot, FakeLooker(NOWHERE))
    look(panel, qtbot)
    assert "No accepted lesion here" in panel.status.text()
    assert panel.status.text().endswith("Detections: none")
    assert layer_of(session, InsidePart.MAP).data.max() == 0.25
    assert kinds_drawn(session) == set()


def test_the_reviews_keys_work_while_one_of_the_layers_is_active(session: Session, qtbot: QtBot) -> None:
    look(panel_of(session, qtbot, FakeLooker(inside())), qtbot)
    assert all("G" in {str(key) for key in layer_of(session, part).keymap} for part in InsidePart)


# -- how it ends --


def test_the_layers_go_with_the_scan(session: Session, qtbot: QtBot) -> None:
    look(panel_of(session, qtbot, FakeLooker(inside())), qtbot)
    session.viewer.layers.remove(session.layer(Part.CT))
    qtbot.waitUntil(lambda: len(session.viewer.layers) == 0, timeout=5000)


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
    assert panel.map.choices == ("none", OBJECTNESS)
