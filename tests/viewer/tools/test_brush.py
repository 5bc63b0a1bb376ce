"""Correcting a mask by brush: every stroke an edit, the layer and the lesion true to each other."""

import json

import numpy as np
import pytest
from napari.components.overlays import BrushCircleOverlay
from napari.layers import Labels
from napari.utils.notifications import Notification
from pytestqt.qtbot import QtBot

from napari_uld.lesions.annotations import Annotation, Source, State
from napari_uld.lesions.findings import Findings
from napari_uld.lesions.review_log import log_path
from napari_uld.lesions.rle import decode, encode
from napari_uld.masks import MaskKind, MaskParameters, pseudo_mask
from napari_uld.masks.ellipse import ellipse_in_box
from napari_uld.viewer.layers.parts import Part
from napari_uld.viewer.panels.masks import MasksPanel
from napari_uld.viewer.session import Session
from napari_uld.viewer.state.rows import Mark
from napari_uld.viewer.tools import review
from napari_uld.viewer.tools.brush import NAME, MaskBrush
from napari_uld.viewer.tools.keys import KEYS
from napari_uld.viewer.tools.workbench import workbench_of

from ..conftest import RECIST

SQUARE = np.zeros((96, 96), bool)
SQUARE[26:30, 27:33] = True


@pytest.fixture
def brushed(session: Session, expert: Annotation) -> Session:
    """The expert's lesion in hand, its ellipse to paint on."""
    session.choose_mask(MaskKind.ELLIPSE, MaskParameters())
    session.case.select(expert.id)
    brush_of(session).start()
    return session


def brush_of(session: Session) -> MaskBrush:
    return workbench_of(session.viewer).brush


def canvas(session: Session) -> Labels:
    assert brush_of(session).layer is not None
    return brush_of(session).layer


def mask_of(session: Session, lesion_id: str) -> np.ndarray:
    mask = session.case.annotations[lesion_id].mask
    assert mask is not None
    return decode(mask)


def stroke(session: Session, *points: tuple[int, int], label: int = 1) -> None:
    """Paint along (y, x) points as one stroke of the mouse does."""
    layer = canvas(session)
    with layer.block_history():
        for y, x in points:
            layer.paint((0, y, x), label)


def test_there_is_no_layer_until_it_is_asked_for_and_it_lies_on_the_key_slice_alone(brushed: Session) -> None:
    layer = canvas(brushed)
    assert layer.name == NAME
    assert layer.data.shape == (1, 96, 96)
    assert [str(unit) for unit in layer.units] == ["millimeter"] * 3
    assert layer.axis_labels == ("z", "y", "x")
    np.testing.assert_allclose(layer.scale, (5.0, 0.5, 0.5))
    # Slice 15 is the fifth from the feet: 100 mm + 4 x 5 mm.
    np.testing.assert_allclose(layer.translate, (120.0, -20.0, -24.0))
    assert brushed.viewer.layers.selection.active is layer
    # A sixth of the box's 22 pixels.
    assert (layer.mode, layer.selected_label, layer.brush_size) == ("paint", 1, 4)
    brush_of(brushed).stop()
    assert NAME not in brushed.viewer.layers
    assert brushed.viewer.layers.selection.active is brushed.layer(Part.CT)


def test_no_box_behind_the_brush_can_stay_on_the_scan(brushed: Session) -> None:
    overlays = brushed.viewer.canvas.overlays.values()
    assert [overlay.box for overlay in overlays if isinstance(overlay, BrushCircleOverlay)] == [False]


@pytest.mark.parametrize(
    ("kind", "shape", "said"),
    [
        (MaskKind.ELLIPSE, MaskKind.ELLIPSE, "the quarter ellipses"),
        (MaskKind.GRABCUT, MaskKind.GRABCUT, "GrabCut's mask"),
        # At least one half in all of the box: nothing that a person would correct.
        (MaskKind.BM, MaskKind.GRABCUT, "GrabCut's mask"),
        (MaskKind.ABM, MaskKind.GRABCUT, "GrabCut's mask"),
    ],
)
def test_it_begins_with_the_mask_that_is_chosen_and_with_grabcut_s_where_that_is_a_soft_one(
    session: Session, expert: Annotation, kind: MaskKind, shape: MaskKind, said: str
) -> None:
    session.choose_mask(kind, MaskParameters())
    session.case.select(expert.id)
    brush_of(session).start()
    mask = pseudo_mask(shape, session.case.volume.hu[4], 1.0, [expert.box], [RECIST], (-100.0, 200.0))
    np.testing.assert_array_equal(canvas(session).data[0], mask)
    assert canvas(session).data.any()
    assert brush_of(session).note == f"The brush began with {said}."


def test_without_a_recist_it_begins_with_the_ellipse_in_the_box(session: Session, findings: Findings) -> None:
    session.case.select(findings.finding_id(0))
    brush_of(session).start()
    row = session.case.row(findings.finding_id(0))
    np.testing.assert_array_equal(canvas(session).data[0], ellipse_in_box(row.box, (96, 96)))
    assert brush_of(session).note.startswith("The brush began with the ellipse in the box (no measurement).")


def test_it_begins_with_a_mask_that_was_corrected_before(session: Session, expert: Annotation) -> None:
    session.case.paint_mask(expert.id, encode(SQUARE))
    session.case.select(expert.id)
    brush_of(session).start()
    np.testing.assert_array_equal(canvas(session).data[0], SQUARE)


def test_a_stroke_is_one_edit_that_undo_and_redo_take_back_and_do_again(brushed: Session, expert: Annotation) -> None:
    layer = canvas(brushed)
    generated = layer.data[0].copy()
    edits: list[str] = []
    brushed.case.edited.connect(lambda edit: edits.append(edit.action))
    stroke(brushed, (50, 50), (50, 52), (50, 54))
    assert edits == ["paint mask"]
    painted = layer.data[0].copy()
    assert painted[50, 50:55].all()
    np.testing.assert_array_equal(mask_of(brushed, expert.id), painted)
    stroke(brushed, (30, 30), label=0)
    assert not mask_of(brushed, expert.id)[30, 30]
    review.undo(brushed)
    np.testing.assert_array_equal(layer.data[0], painted)
    review.undo(brushed)
    np.testing.assert_array_equal(layer.data[0], generated)
    assert brushed.case.annotations[expert.id] == expert
    review.redo(brushed)
    np.testing.assert_array_equal(layer.data[0], painted)
    assert canvas(brushed) is layer


def test_filling_and_polygons_are_edits_too(brushed: Session, expert: Annotation) -> None:
    inside = canvas(brushed).data[0].astype(bool)
    canvas(brushed).fill((0, 0, 0), 1)
    assert mask_of(brushed, expert.id).all()
    canvas(brushed).paint_polygon([[0, 40, 40], [0, 40, 60], [0, 60, 60], [0, 60, 40]], 0)
    assert not mask_of(brushed, expert.id)[41:60, 41:60].any()
    review.undo(brushed)
    review.undo(brushed)
    np.testing.assert_array_equal(canvas(brushed).data[0], inside)


FAR = "The mask now reaches far beyond the lesion's box. Key U takes that back."


def test_one_click_of_the_fill_tool_beside_the_mask_is_warned_of_and_one_undo_takes_it_back(
    brushed: Session, expert: Annotation, shown: list[Notification]
) -> None:
    canvas(brushed).fill((0, 0, 0), 1)
    assert mask_of(brushed, expert.id).all()
    assert [(str(told.severity), told.message) for told in shown] == [("warning", FAR)]
    assert next(key.title for key in KEYS if key.key == "U") == "undo"
    review.undo(brushed)
    assert brushed.case.annotations[expert.id] == expert


def test_a_mask_that_reaches_far_is_warned_of_when_it_begins_to_and_not_at_every_stroke(
    brushed: Session, shown: list[Notification]
) -> None:
    canvas(brushed).brush_size = 1
    # The box, x 15 to 45 and y 19 to 41, grown by its own 30 x 22 pixels ends at x = 75, y = 63.
    stroke(brushed, (63, 75))
    assert shown == []
    stroke(brushed, (64, 30))
    stroke(brushed, (90, 30))
    assert [told.message for told in shown] == [FAR]
    review.undo(brushed)
    review.undo(brushed)
    stroke(brushed, (30, 76))
    assert [told.message for told in shown] == [FAR, FAR]


def test_painting_leaves_the_box_the_recist_and_an_experts_mark_alone(brushed: Session, expert: Annotation) -> None:
    stroke(brushed, (60, 60))
    lesion = brushed.case.annotations[expert.id]
    assert (lesion.box, lesion.recist, lesion.source) == (expert.box, RECIST, Source.EXPERT)
    assert lesion.reviewer == "reader"


def test_painting_on_a_finding_accepts_it_as_an_edited_lesion_in_one_edit(session: Session, findings: Findings) -> None:
    key = findings.finding_id(0)
    session.case.select(key)
    brush_of(session).start()
    layer, before = canvas(session), canvas(session).data[0].copy()
    stroke(session, (60, 30), label=0)
    painted = layer.data[0].copy()
    assert session.case.row(key).mark is Mark.ACCEPTED
    review.undo(session)
    row = session.case.row(key)
    assert (row.mark, row.source, row.corrected_mask) == (Mark.PENDING, "detector", None)
    assert canvas(session) is layer
    np.testing.assert_array_equal(layer.data[0], before)
    review.redo(session)
    row = session.case.row(key)
    assert (row.mark, row.source) == (Mark.ACCEPTED, "edited")
    np.testing.assert_array_equal(layer.data[0], painted)
    edits = [json.loads(line) for line in log_path(session.case.path).read_text().splitlines()]
    assert [edit["action"] for edit in edits] == ["paint mask", "undo paint mask", "redo paint mask"]
    assert (edits[0]["before"], edits[0]["after"]["id"]) == (None, row.annotation.id)


def test_painting_on_a_rejected_finding_accepts_it_and_the_panel_says_so(session: Session, findings: Findings) -> None:
    key = findings.finding_id(0)
    session.case.select(key)
    session.case.decide(key, State.REJECTED)
    brush_of(session).start()
    assert "is rejected: painting on it accepts it" in brush_of(session).note
    stroke(session, (50, 50))
    assert (session.case.row(key).mark, session.case.row(key).source) == (Mark.ACCEPTED, "edited")
    assert "rejected" not in brush_of(session).note
    review.undo(session)
    assert session.case.row(key).mark is Mark.REJECTED
    assert session.case.row(key).corrected_mask is None


def test_erasing_a_corrected_mask_takes_the_correction_away_says_so_and_begins_again(
    brushed: Session, expert: Annotation, shown: list[Notification]
) -> None:
    generated = canvas(brushed).data[0].copy()
    stroke(brushed, (50, 50))
    painted = canvas(brushed).data[0].copy()
    canvas(brushed).brush_size = 200
    stroke(brushed, (48, 48), label=0)
    assert brushed.case.annotations[expert.id].mask is None
    assert shown[-1].message == "Nothing was left of the mask. The brush begins again with the quarter ellipses."
    np.testing.assert_array_equal(canvas(brushed).data[0], generated)
    review.undo(brushed)
    np.testing.assert_array_equal(canvas(brushed).data[0], painted)


def test_erasing_a_mask_that_nobody_corrected_is_no_edit_and_begins_again(
    brushed: Session, expert: Annotation, shown: list[Notification]
) -> None:
    generated = canvas(brushed).data[0].copy()
    canvas(brushed).brush_size = 200
    stroke(brushed, (48, 48), label=0)
    assert brushed.case.annotations[expert.id] == expert
    assert shown[-1].message.startswith("Nothing was left of the mask.")
    np.testing.assert_array_equal(canvas(brushed).data[0], generated)
    canvas(brushed).brush_size = 1
    stroke(brushed, (60, 60))
    assert mask_of(brushed, expert.id).sum() == generated.sum() + 1


def test_the_generated_mask_comes_back_when_asked_for_and_the_painted_one_by_undo(
    brushed: Session, expert: Annotation
) -> None:
    generated = canvas(brushed).data[0].copy()
    stroke(brushed, (50, 50))
    painted = canvas(brushed).data[0].copy()
    brush_of(brushed).use_generated()
    assert brushed.case.annotations[expert.id].mask is None
    np.testing.assert_array_equal(canvas(brushed).data[0], generated)
    review.undo(brushed)
    np.testing.assert_array_equal(canvas(brushed).data[0], painted)


def test_another_kind_is_painted_on_as_long_as_nothing_is_corrected(brushed: Session) -> None:
    ellipse = canvas(brushed).data[0].copy()
    brushed.choose_mask(MaskKind.GRABCUT, MaskParameters())
    grabcut = canvas(brushed).data[0].copy()
    assert not np.array_equal(grabcut, ellipse)
    canvas(brushed).brush_size = 1
    stroke(brushed, (60, 60))
    brushed.choose_mask(MaskKind.ELLIPSE, MaskParameters())
    np.testing.assert_array_equal(np.argwhere(canvas(brushed).data[0] != grabcut), [[60, 60]])


def test_there_is_one_label_only(brushed: Session) -> None:
    layer = canvas(brushed)
    for label in (0, 2, 200):
        layer.selected_label = label
        assert layer.selected_label == 1


def test_the_layer_goes_with_its_slice_and_with_its_lesion_and_nothing_is_lost(
    brushed: Session, expert: Annotation, findings: Findings
) -> None:
    stroke(brushed, (50, 50))
    brushed.show_slice(3)
    assert NAME not in brushed.viewer.layers
    brush_of(brushed).start()
    assert brushed.z == 4
    brushed.case.select(findings.finding_id(0))
    assert not brush_of(brushed).on
    assert mask_of(brushed, expert.id)[50, 50]


def test_a_stroke_that_the_next_slice_cuts_short_is_saved(brushed: Session, expert: Annotation) -> None:
    canvas(brushed).data[0, 60, 60] = 1
    brushed.show_slice(3)
    assert mask_of(brushed, expert.id)[60, 60]


def test_the_layer_goes_with_a_lesion_that_is_taken_off_the_table(brushed: Session, expert: Annotation) -> None:
    brushed.case.remove(expert.id)
    assert not brush_of(brushed).on
    assert len(brushed.case.annotations) == 0


def test_the_layer_goes_with_its_scan_and_may_be_thrown_away(brushed: Session) -> None:
    brushed.viewer.layers.remove(canvas(brushed))
    assert not brush_of(brushed).on
    brush_of(brushed).start()
    brushed.viewer.layers.remove(brushed.layer(Part.CT))
    assert not brush_of(brushed).on
    assert len(brushed.viewer.layers) == 0


def test_the_reviews_keys_and_napari_s_own_undo_work_on_the_layer(brushed: Session, expert: Annotation) -> None:
    layer = canvas(brushed)
    bound = {str(key) for key in layer.keymap}
    assert {key.key.upper() for key in KEYS} <= {key.upper() for key in bound}
    stroke(brushed, (50, 50))
    undo = next(act for key, act in layer.keymap.items() if str(key) == "Ctrl+Z")
    undo(layer)
    assert brushed.case.annotations[expert.id].mask is None
    assert layer.data[0, 50, 50] == 0


def test_without_a_lesion_at_hand_it_asks_for_one(session: Session, shown: list[Notification]) -> None:
    brush_of(session).start()
    assert not brush_of(session).on
    assert shown[-1].message == "Choose a lesion first."


# -- beside the mask layer, in the panel --


def test_a_lesion_that_is_painted_on_is_left_to_the_brushs_layer(brushed: Session) -> None:
    mask = brushed.layer(Part.MASK)
    stroke(brushed, (50, 50))
    assert not mask.data[4].any()
    brush_of(brushed).stop()
    assert mask.data[4, 50, 50] == 255


def test_the_panel_says_that_a_mask_is_corrected_and_where_it_leaves_the_box(
    session: Session, expert: Annotation, qtbot: QtBot
) -> None:
    panel = MasksPanel(session.viewer)
    qtbot.addWidget(panel)
    assert not panel.brush.isEnabled()
    session.jump(session.case.row(expert.id))
    assert (panel.note.text(), panel.generated.isEnabled()) == ("", False)
    panel.brush.click()
    assert brush_of(session).on
    stroke(session, (30, 30), label=0)
    assert panel.note.text().endswith("Mask corrected by hand.")
    stroke(session, (80, 80))
    assert "reaches beyond the lesion's box" in panel.note.text()
    panel.generated.click()
    assert "corrected" not in panel.note.text()
    review.undo(session)
    review.step(session, 1)
    assert not panel.brush.isChecked()
    assert panel.note.text() == ""
