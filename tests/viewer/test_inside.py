"""The Look inside panel and its layers, with a stand-in for the detector's process."""

from collections.abc import Generator
from pathlib import Path

import numpy as np
import pytest
from napari.layers import Layer
from napari.utils.notifications import Notification
from pytestqt.qtbot import QtBot

from napari_uld.ct.volume import CTVolume
from napari_uld.errors import CancelledError, WorkerError
from napari_uld.inference.inside_result import Inside, PositiveAnchors, Rule
from napari_uld.inference.worker import Look
from napari_uld.lesions.annotations import State
from napari_uld.progress import Progress
from napari_uld.viewer.inside_layers import ATTENTION, MOST_DRAWN, InsidePart, inside_layer, show_inside
from napari_uld.viewer.layers import Part
from napari_uld.viewer.panels import checkpoints as checkpoints_module
from napari_uld.viewer.panels.inside import InsidePanel
from napari_uld.viewer.session import Session

LESION = np.array([[14.0, 18, 46, 42]])


def anchors(*boxes: list[float]) -> PositiveAnchors:
    rows = np.array(boxes, dtype=np.float64).reshape(-1, 4)
    n = len(rows)
    return PositiveAnchors(rows, np.zeros(n, int), np.ones(n, np.float32), np.zeros(n, int))


def inside(z: int = 4, lesions: np.ndarray = LESION, **changes: object) -> Inside:
    """One lesion with 1, 2 and 4 positive anchors, the four in pairs on two cells."""
    wide, tall, small = [10.0, 20, 50, 40], [20.0, 10, 40, 50], [25.0, 25, 35, 35]
    moved = [x + 4 for x in small]
    found: dict[str, object] = {
        "z": z,
        "lesions": lesions,
        "anchors": {
            Rule.IOU: anchors(wide),
            Rule.BM: anchors(wide, tall),
            Rule.BMC: anchors(small, wide, moved, [x + 4 for x in tall]),
        },
        "cells": 64,
        "per_cell": 2,
        "objectness": np.full((96, 96), 0.25, np.float32),
        "branch": np.full((96, 96), 0.75, np.float32),
        "attention": {},
        "boxes": LESION,
        "scores": np.array([0.81]),
    }
    return Inside(**(found | changes))  # type: ignore[arg-type]


def one_stage(**changes: object) -> Inside:
    """What a one-stage detector with a segmentation path and gates shows of the same lesion."""
    maps = {features: np.full((96, 96), 0.1 * i, np.float32) for i, features in enumerate(ATTENTION, start=1)}
    own: dict[str, object] = {"anchors": {Rule.IOU: anchors([10.0, 20, 50, 40])}, "attention": maps}
    return inside(**(own | changes))


def names(session: Session) -> list[str]:
    return [layer.name for layer in session.viewer.layers]


NOWHERE = inside(
    lesions=np.zeros((0, 4)), anchors={rule: anchors() for rule in Rule}, boxes=np.zeros((0, 4)), scores=np.zeros(0)
)


class FakeLooker:
    """Stands in for the detector's process: gives what it was made with, fails, or waits to be cancelled."""

    def __init__(self, found: Inside | None = None, error: Exception | None = None, waits: bool = False) -> None:
        self.found, self.error, self.waits = found, error, waits
        self.cancelled = self.closed = False
        self.looks: list[Look] = []

    def look_inside(self, volume: CTVolume, look: Look, device: str = "auto") -> Generator[Progress, None, Inside]:
        self.looks.append(look)
        yield Progress(0, 1, "Looking")
        while self.waits:
            yield Progress(0, 1, "Looking")
            if self.cancelled:
                raise CancelledError("Cancelled")
        if self.error is not None:
            raise self.error
        assert self.found is not None
        return self.found

    def cancel(self) -> None:
        self.cancelled = True

    def close(self) -> None:
        self.closed = True


@pytest.fixture(autouse=True)
def checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "tiny.safetensors"
    monkeypatch.setattr(checkpoints_module, "bundled_checkpoints", lambda: {"tiny": path})
    monkeypatch.setattr(checkpoints_module, "find_checkpoint", lambda name: path)
    return path


def panel_of(session: Session, qtbot: QtBot, looker: FakeLooker) -> InsidePanel:
    panel = InsidePanel(session.viewer, looker)
    qtbot.addWidget(panel)
    return panel


def look(panel: InsidePanel, qtbot: QtBot) -> None:
    panel.run_button.native.click()
    qtbot.waitUntil(lambda: not panel.running, timeout=5000)


def layer_of(session: Session, part: InsidePart) -> Layer:
    layer = inside_layer(session.viewer, session.case, part)
    assert layer is not None
    return layer


# -- what is asked --


def test_a_checkpoint_is_asked_about_the_slice_in_view_and_the_lesions_that_a_person_holds_for_true(
    session: Session, checkpoint: Path, qtbot: QtBot
) -> None:
    looker = FakeLooker(inside())
    panel = panel_of(session, qtbot, looker)
    session.show_slice(session.case.volume.z_of(15))
    look(panel, qtbot)
    (asked,) = looker.looks
    assert (asked.z, asked.detector) == (4, checkpoint)
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
    for part in set(InsidePart) - set(ATTENTION.values()):
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
    session.viewer.layers.selection.active = session.layer(Part.LESIONS)
    look(panel_of(session, qtbot, FakeLooker(inside())), qtbot)
    assert names(session) == [
        "CT study", "Mask", "Inside: objectness", "Inside: segmentation", "Inside: anchors BMC", "Inside: anchors BM",
        "Inside: anchors IoU", "Inside: detections", "RECIST", "Lesions", "Detections",
    ]  # fmt: skip
    assert session.viewer.layers.selection.active is session.layer(Part.LESIONS)


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
    assert inside_layer(session.viewer, session.case, InsidePart.OBJECTNESS) is None
    assert inside_layer(session.viewer, session.case, InsidePart.SEGMENTATION) is None
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
    assert "Detections: 1 of 1 drawn, from 0.40 on as in the review; the best 0.81" in text


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


# -- detections --


def test_detections_are_drawn_with_their_scores_from_the_reviews_threshold_on(session: Session, qtbot: QtBot) -> None:
    boxes = np.array([[14.0, 18, 46, 42], [60, 60, 80, 80], [50, 20, 70, 34]])
    looker = FakeLooker(inside(boxes=boxes, scores=np.array([0.81, 0.4, 0.39])))
    panel = panel_of(session, qtbot, looker)
    look(panel, qtbot)
    layer = layer_of(session, InsidePart.DETECTIONS)
    assert [corners[0, 1:].tolist() for corners in layer.data] == [[18, 14], [60, 60]]
    assert layer.text.values.tolist() == ["0.81", "0.40"]
    assert "Detections: 2 of 3 drawn" in panel.status.text()
    session.case.threshold = 0.39
    look(panel, qtbot)
    assert layer.text.values.tolist() == ["0.81", "0.40", "0.39"]
    session.case.threshold = 0.9
    look(panel, qtbot)
    assert len(layer.data) == 0
    assert "Detections: 0 of 3 drawn, from 0.90 on as in the review; the best 0.81" in panel.status.text()
    # From none to some again.
    session.case.threshold = 0.5
    look(panel, qtbot)
    assert layer.text.values.tolist() == ["0.81"]


# -- one stage --


def test_of_a_one_stage_detector_there_is_one_rule_and_the_others_layers_go(session: Session, qtbot: QtBot) -> None:
    looker = FakeLooker(inside())
    panel = panel_of(session, qtbot, looker)
    look(panel, qtbot)
    assert "BMC" in panel.status.text()
    looker.found = one_stage()
    look(panel, qtbot)
    assert inside_layer(session.viewer, session.case, InsidePart.BM) is None
    assert inside_layer(session.viewer, session.case, InsidePart.BMC) is None
    assert len(layer_of(session, InsidePart.IOU).data) == 1
    text = panel.status.text()
    assert "IoU&nbsp;</td><td>1</td><td>1&nbsp;</td><td>1</td>" in text
    assert "BM" not in text


def test_attention_maps_lie_under_the_other_maps_hidden_and_go_with_their_detector(
    session: Session, qtbot: QtBot
) -> None:
    looker = FakeLooker(one_stage())
    panel = panel_of(session, qtbot, looker)
    look(panel, qtbot)
    assert names(session)[2:9] == [
        "Inside: attention C4", "Inside: attention C3", "Inside: attention C2", "Inside: attention C1",
        "Inside: attention input", "Inside: objectness", "Inside: segmentation",
    ]  # fmt: skip
    layers = [layer_of(session, part) for part in ATTENTION.values()]
    assert not any(layer.visible for layer in layers)
    assert [layer.data.max() for layer in layers] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    assert {tuple(layer.contrast_limits) for layer in layers} == {(0, 1)}
    assert "C4 to P4 0.10, C3 to P3 0.20, C2 to P2 0.30, C1 to P1 0.40, input to P0 0.50" in panel.status.text()
    looker.found = one_stage(attention={"C4": np.ones((96, 96), np.float32)})
    layers[0].visible = True
    look(panel, qtbot)
    assert [name for name in names(session) if "attention" in name] == ["Inside: attention C4"]
    assert layers[0].visible, "who chose to see it sees the next one too"
    looker.found = inside()
    look(panel, qtbot)
    assert not [name for name in names(session) if "attention" in name]
    assert "Attention" not in panel.status.text()


def test_heat_is_seen_through_where_the_map_is_0_and_hides_the_mask_that_looks_like_it_once(session: Session) -> None:
    mask = session.layer(Part.MASK)
    show_inside(session.viewer, session.case, one_stage())
    nothing, high = layer_of(session, InsidePart.SEGMENTATION).colormap.map(np.array([0.0, 1.0]))
    assert nothing[3] == 0
    assert high[0] > high[1] > high[2], "hot"
    assert not mask.visible
    mask.visible = True
    show_inside(session.viewer, session.case, one_stage())
    assert mask.visible


@pytest.mark.parametrize(
    ("found", "calibrated"), [(one_stage(), True), (one_stage(branch=None), False), (inside(), False)]
)
def test_it_is_said_what_a_score_is_where_the_map_calibrates_it(
    session: Session, qtbot: QtBot, found: Inside, calibrated: bool
) -> None:
    panel = panel_of(session, qtbot, FakeLooker(found))
    look(panel, qtbot)
    assert ("p (1 + IoU) / 2" in panel.status.text()) == calibrated


def test_it_is_said_that_no_anchor_is_forced_where_a_lesion_has_none(session: Session, qtbot: QtBot) -> None:
    looker = FakeLooker(one_stage(lesions=np.concatenate([LESION, LESION + 50])))
    panel = panel_of(session, qtbot, looker)
    look(panel, qtbot)
    assert "1, 0&nbsp;</td>" in panel.status.text()
    assert "No anchor is forced" in panel.status.text()
    looker.found = one_stage()
    look(panel, qtbot)
    assert "No anchor is forced" not in panel.status.text()


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
    assert len(session.viewer.layers) == 5


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
    assert inside_layer(session.viewer, session.case, InsidePart.SEGMENTATION) is None
