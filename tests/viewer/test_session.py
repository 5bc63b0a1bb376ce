import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from napari.layers import Image

from napari_uld.ct.volume import CTVolume
from napari_uld.errors import AnnotationFileError
from napari_uld.lesions.annotation_file import read_annotations
from napari_uld.lesions.annotations import Annotation, Annotations, State
from napari_uld.lesions.findings import Findings
from napari_uld.lesions.review_log import log_path
from napari_uld.masks import MaskKind, MaskParameters
from napari_uld.viewer.layers.hand import Hold
from napari_uld.viewer.layers.marks import COLOURS, Kind, Plane
from napari_uld.viewer.layers.parts import Part, case_of
from napari_uld.viewer.session import Answer, Session
from napari_uld.viewer.state.case import Case
from napari_uld.viewer.state.files import open_case
from napari_uld.viewer.state.rows import Mark
from napari_uld.viewer.tools import review

from .conftest import drag, drawn, hand, show, take_in_hand


def test_the_cross_lies_inside_its_box_in_world_millimetres(session: Session, expert: Annotation) -> None:
    box = take_in_hand(session, expert.id)
    corners = np.array([box.data_to_world(corner) for corner in box.data[0]])
    lines = take_in_hand(session, expert.id, Hold.RECIST)
    ends = np.array([lines.data_to_world(end) for line in lines.data for end in line])
    assert (ends >= corners.min(axis=0)).all()
    assert (ends <= corners.max(axis=0)).all()
    # Slice 15 is the fifth from the feet: 100 mm + 4 x 5 mm; the long diameter starts at x = 20, y = 30.
    np.testing.assert_allclose(ends[0], [120.0, -20.0 + 30 * 0.5, -24.0 + 20 * 0.5])


def test_every_layer_says_where_it_lies_in_millimetres(session: Session) -> None:
    for layer in session.viewer.layers:
        assert [str(unit) for unit in layer.units] == ["millimeter"] * 3
        assert layer.axis_labels == ("z", "y", "x")
        np.testing.assert_allclose(layer.scale, (5.0, 0.5, 0.5))
        np.testing.assert_allclose(layer.translate, (100.0, -20.0, -24.0))


def test_layers_are_named_and_ordered_from_the_scan_up(session: Session) -> None:
    names = [layer.name for layer in session.viewer.layers]
    assert names == ["CT study", "Mask", "Bodies", "Marks", "Mark labels", "Lesion in hand"]


def test_a_traced_detection_is_marked_on_each_of_its_slices(session: Session) -> None:
    traced = {}
    for z in range(10):
        session.show_slice(z)
        assert all((each.corners[:, 0] == z).all() for each in drawn(session))
        traced[z] = [each.label for each in drawn(session, Kind.DETECTIONS)]
    assert [z for z, labels in traced.items() if "0.70" in labels] == [6, 7, 8]
    assert traced[4] == ["0.90"]


def test_what_is_decided_is_drawn_in_its_new_colour_and_the_layers_stay(session: Session) -> None:
    before = [id(layer) for layer in session.viewer.layers]
    session.jump(session.case.rows[0])
    review.decide(session, State.REJECTED)
    for z in (6, 7, 8):
        session.show_slice(z)
        assert [each.colour for each in drawn(session, Kind.LESIONS)] == [COLOURS[Mark.REJECTED]]
        assert drawn(session, Kind.DETECTIONS) == []
        marks = session.layer(Part.MARKS)
        np.testing.assert_allclose(marks.edge_color[0][:3], [0xCC / 255, 0x79 / 255, 0xA7 / 255], atol=1e-6)
    assert [id(layer) for layer in session.viewer.layers] == before


def test_what_a_person_chose_for_a_detector_holds_for_the_next_scan(
    session: Session, findings: Findings, volume: CTVolume, tmp_path: Path
) -> None:
    session.case.threshold = 0.77
    following = Case(replace(volume, name="next"), Annotations("1.2.3"), tmp_path / "next.lesions.json")
    show(session.viewer, following)
    assert session.case is following
    following.set_findings(findings)
    assert following.threshold == 0.77


def test_the_threshold_filters_the_detections_that_are_drawn(session: Session) -> None:
    for threshold, labels in ((0.8, ["0.90"]), (0.99, []), (0.1, ["0.20", "0.90"])):
        session.case.threshold = threshold
        assert sorted(each.label for each in drawn(session, Kind.DETECTIONS)) == labels


def test_jumping_shows_the_key_slice_and_the_caption_names_it(session: Session) -> None:
    session.jump(session.case.rows[0])
    assert session.z == 7
    assert "slice 12 " in session.viewer.canvas.overlays.text.text
    assert "window -100 to 200 HU" in session.viewer.canvas.overlays.text.text
    session.set_window("lung")
    assert "window -1350 to 150 HU" in session.viewer.canvas.overlays.text.text


def test_from_the_side_the_caption_and_a_jump_follow_the_view(session: Session, findings: Findings) -> None:
    session.viewer.dims.order = (1, 0, 2)
    session.jump(session.case.row(findings.finding_id(1)))
    assert session.plane == Plane(1, 70)
    assert "coronal   (71 of 96)" in session.viewer.canvas.overlays.text.text
    session.viewer.dims.order = (2, 0, 1)
    assert session.plane == Plane(2, 70)
    assert "sagittal   (71 of 96)" in session.viewer.canvas.overlays.text.text
    session.viewer.dims.ndisplay = 3
    assert "10 slices in 3D" in session.viewer.canvas.overlays.text.text


def test_a_jump_moves_a_view_that_the_lesion_is_out_of_and_no_other(session: Session) -> None:
    camera, row = session.viewer.scene.camera, session.case.rows[0]
    camera.zoom, camera.center = 4.0, (0.0, 30.0, 30.0)
    session.jump(row)
    assert camera.center == (0.0, 30.0, 30.0)
    camera.zoom, camera.center = 40.0, (0.0, 4.0, 4.0)
    session.jump(row)
    ct, (x1, y1, x2, y2) = session.layer(Part.CT), row.box
    middle = np.array(((y1 + y2) / 2, (x1 + x2) / 2)) * ct.scale[1:] + ct.translate[1:]
    np.testing.assert_allclose(camera.center[1:], middle)
    assert camera.zoom == 40


def test_dragging_a_box_is_an_edit_that_undo_takes_back(session: Session, expert: Annotation) -> None:
    layer = take_in_hand(session, expert.id)
    drag(layer, 0, (2.0, -3.0))
    x1, y1, x2, y2 = expert.box
    assert session.case.annotations[expert.id].box == (x1 - 3, y1 + 2, x2 - 3, y2 + 2)
    review.undo(session)
    assert session.case.annotations[expert.id].box == expert.box
    np.testing.assert_allclose(layer.data[0][:, 1].min(), y1)
    review.redo(session)
    np.testing.assert_allclose(layer.data[0][:, 1].min(), y1 + 2)


def test_dragging_a_diameter_measures_the_lesion_anew(session: Session, expert: Annotation) -> None:
    drag(take_in_hand(session, expert.id, Hold.RECIST), 0, (0.0, 10.0))
    lesion = session.case.annotations[expert.id]
    assert lesion.recist.long == ((30.0, 30.0), (50.0, 30.0))
    assert lesion.box == lesion.recist.box()
    (box,) = drawn(session, Kind.LESIONS)
    np.testing.assert_allclose(box.corners[:, 2].max(), 55.0)


def test_dragging_a_detection_accepts_it_where_it_was_dragged_to(session: Session, findings: Findings) -> None:
    drag(take_in_hand(session, findings.finding_id(0)), 0, (1.0, 1.0))
    row = session.case.row(findings.finding_id(0))
    assert (row.mark, row.box) == (Mark.ACCEPTED, (15.0, 49.0, 47.0, 73.0))


def test_what_is_in_hand_is_seen_on_its_key_slice_alone(session: Session, findings: Findings) -> None:
    layer = take_in_hand(session, findings.finding_id(1))
    key_slice = session.z
    for z in range(10):
        session.show_slice(z)
        assert layer.visible is (z == key_slice)
        marked = [each.key for each in drawn(session)].count(findings.finding_id(1))
        assert marked == (z in (6, 7, 8))
    session.show_slice(key_slice)
    assert layer.mode == "select"


def test_another_lesion_or_escape_puts_down_what_is_in_hand(session: Session, findings: Findings) -> None:
    layer = take_in_hand(session, findings.finding_id(1))
    review.put_down(session)
    assert (layer.visible, layer.nshapes) == (False, 0)
    assert session.viewer.layers.selection.active is session.layer(Part.CT)
    take_in_hand(session, findings.finding_id(1))
    session.jump(session.case.row(findings.finding_id(0)))
    assert (layer.visible, layer.nshapes) == (False, 0)


def test_a_rectangle_that_is_drawn_is_a_new_lesion(session: Session) -> None:
    session.show_slice(2)
    review.draw_lesion(session)
    hand(session).add_rectangles(np.array([[2, 10, 20], [2, 10, 40], [2, 30, 40], [2, 30, 20]]))
    assert session.case.current.native == 17
    assert session.case.current.box == (20.0, 10.0, 40.0, 30.0)
    assert session.case.current.key in [each.key for each in drawn(session, Kind.LESIONS)]


def test_deleting_a_detections_box_rejects_it(session: Session, findings: Findings) -> None:
    take_in_hand(session, findings.finding_id(0)).remove_selected()
    assert session.case.row(findings.finding_id(0)).mark is Mark.REJECTED
    assert not hand(session).visible


def test_of_diameters_that_are_deleted_nothing_is_lost(session: Session, expert: Annotation) -> None:
    take_in_hand(session, expert.id, Hold.RECIST).remove_selected()
    assert session.case.annotations[expert.id] == expert
    assert len(drawn(session, Kind.RECIST)) == 2


def test_masks_are_painted_on_the_key_slice_and_follow_a_dragged_box(session: Session, expert: Annotation) -> None:
    mask = session.layer(Part.MASK)
    session.jump(session.case.row(expert.id))
    assert mask.data[4, 30, 30] == 255
    assert mask.data[4, 60, 60] == 0
    drag(take_in_hand(session, expert.id), 0, (40.0, 40.0))
    assert mask.data[4, 70, 70] == 255
    assert mask.data[4, 30, 30] == 0


@pytest.mark.parametrize("kind", list(MaskKind))
def test_every_kind_of_mask_covers_the_crossing_and_spares_the_corner(
    session: Session, expert: Annotation, kind: MaskKind
) -> None:
    session.jump(session.case.row(expert.id))
    session.choose_mask(kind, MaskParameters())
    assert session.layer(Part.MASK).data[4, 30, 30] >= 127
    assert session.layer(Part.MASK).data[4, 5, 5] == 0


def test_a_mask_that_needs_a_recist_says_who_has_none(session: Session, findings: Findings) -> None:
    session.jump(session.case.row(findings.finding_id(1)))
    session.choose_mask(MaskKind.ELLIPSE, MaskParameters())
    assert "1 on this slice without RECIST" in session.painter.problem


def test_rejected_lesions_have_no_mask(session: Session, findings: Findings) -> None:
    session.case.decide(findings.finding_id(1), State.ACCEPTED)
    session.show_slice(7)
    assert session.layer(Part.MASK).data[7].any()
    session.case.decide(findings.finding_id(1), State.REJECTED)
    assert not session.layer(Part.MASK).data[7].any()


def test_every_decision_is_in_the_review_log(session: Session, findings: Findings) -> None:
    session.jump(session.case.row(findings.finding_id(0)))
    review.decide(session, State.ACCEPTED)
    review.undo(session)
    entries = [json.loads(line) for line in log_path(session.case.path).read_text().splitlines()]
    assert [(entry["action"], entry["reviewer"]) for entry in entries] == [
        ("accept", "reader"),
        ("undo accept", "reader"),
    ]


def test_saving_writes_the_annotations_once(session: Session, findings: Findings) -> None:
    session.case.decide(findings.finding_id(0), State.ACCEPTED)
    assert session.save()
    assert not session.case.annotations.unsaved
    assert session.case.path.is_file()


def test_a_folder_that_cannot_be_written_to_asks_for_another(session: Session, findings: Findings, tmp_path) -> None:
    session.case.path = tmp_path / "absent" / "study.lesions.json"
    session.case.decide(findings.finding_id(0), State.ACCEPTED)
    assert not session.save()
    assert session.case.annotations.unsaved
    elsewhere = tmp_path / "elsewhere.lesions.json"
    session.ask_path = lambda case: elsewhere
    assert session.save()
    assert session.case.path == elsewhere


@pytest.mark.parametrize(
    ("answer", "closes", "saved"),
    [(Answer.SAVE, True, True), (Answer.DISCARD, True, False), (Answer.KEEP_OPEN, False, False)],
)
def test_unsaved_edits_are_asked_about(session: Session, findings: Findings, answer, closes, saved) -> None:
    assert session.may_close()
    session.case.decide(findings.finding_id(0), State.ACCEPTED)
    session.ask_unsaved = lambda case: answer
    assert session.may_close() is closes
    assert session.case.path.exists() is saved


def test_a_scan_with_unsaved_edits_comes_back_when_its_layer_is_deleted(session: Session, findings: Findings) -> None:
    session.case.decide(findings.finding_id(0), State.ACCEPTED)
    session.in_window, session.ask_unsaved = True, lambda case: Answer.KEEP_OPEN
    case, viewer = session.case, session.viewer
    viewer.layers.remove(session.layer(Part.CT))
    assert session.case is case
    assert len(viewer.layers) == 6


def test_a_viewer_that_is_closed_without_a_window_loses_nothing(session: Session, findings: Findings) -> None:
    case, viewer = session.case, session.viewer
    case.decide(findings.finding_id(0), State.ACCEPTED)
    # What napari does when a viewer is closed by a script.
    viewer.layers.clear()
    assert session.case is None
    assert len(viewer.layers) == 0
    assert not case.annotations.unsaved
    assert {lesion.state for lesion in read_annotations(case.path).annotations} == {State.ACCEPTED}


def test_what_cannot_be_saved_when_such_a_viewer_is_closed_is_offered_when_the_scan_opens_again(
    session: Session, findings: Findings, volume: CTVolume, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AnnotationFileError("the disk is full")

    before = open_case(volume)[0]
    session.open(before)
    before.set_findings(findings)
    before.decide(findings.finding_id(0), State.ACCEPTED)
    monkeypatch.setattr("napari_uld.viewer.session.save_case", refuse)
    session.viewer.layers.clear()
    assert len(session.viewer.layers) == 0
    case, _ = open_case(volume)
    assert len(case.unsaved) == 1


def test_all_layers_are_deleted_at_once_and_napari_misses_none(session: Session) -> None:
    later = []
    session.later = later.append
    session.viewer.layers.select_all()
    session.viewer.layers.remove_selected()
    for act in later:
        act()
    assert session.case is None
    assert len(session.viewer.layers) == 0


def test_all_layers_come_back_when_all_are_deleted_and_the_person_says_keep(
    session: Session, findings: Findings
) -> None:
    session.case.decide(findings.finding_id(0), State.ACCEPTED)
    case, viewer = session.case, session.viewer
    names = [layer.name for layer in viewer.layers]
    later = []
    session.later = later.append
    session.in_window, session.ask_unsaved = True, lambda case: Answer.KEEP_OPEN
    viewer.layers.select_all()
    viewer.layers.remove_selected()
    for act in later:
        act()
    assert session.case is case
    assert [layer.name for layer in viewer.layers] == names
    key = findings.finding_id(0)
    drag(take_in_hand(session, key), 0, (2.0, 0.0))
    assert session.case.row(key).box == (14, 50, 46, 74)
    review.undo(session)
    assert session.layer(Part.MASK) is session.painter.layer


def test_a_second_scan_takes_the_place_and_the_layers_of_the_first(
    session: Session, volume: CTVolume, expert: Annotation, tmp_path: Path
) -> None:
    take_in_hand(session, expert.id)
    layers = [id(layer) for layer in session.viewer.layers]
    longer = replace(
        volume,
        hu=np.full((12, 64, 48), 7, np.int16),
        spacing=(2.5, 0.8, 0.8),
        origin=(1.0, 2.0, 3.0),
        slice_numbers=np.arange(12),
        window=(0.0, 100.0),
    )
    other = Case(longer, Annotations("1.2.3"), tmp_path / "other.lesions.json")
    show(session.viewer, other)
    assert session.case is other
    assert [id(layer) for layer in session.viewer.layers] == layers
    assert [case_of(layer) for layer in session.viewer.layers] == [other] * 6
    assert session.layer(Part.CT).data is longer.hu
    assert session.layer(Part.CT).contrast_limits == [0, 100]
    for layer in session.viewer.layers:
        np.testing.assert_allclose(layer.scale, longer.spacing)
        np.testing.assert_allclose(layer.translate, (3.0, 2.0, 1.0))
    assert [layer.visible for layer in session.viewer.layers] == [True] + [False] * 5
    assert drawn(session) == []
    other.add(5, (10.0, 10.0, 30.0, 30.0))
    session.show_slice(5)
    assert len(drawn(session, Kind.LESIONS)) == 1
    assert session.layer(Part.MASK).data[5].any()


def test_a_scan_that_was_left_is_heard_no_more(session: Session, volume: CTVolume, tmp_path: Path) -> None:
    left, key = session.case, session.case.rows[0].key
    show(session.viewer, Case(volume, Annotations("1.2.3"), tmp_path / "other.lesions.json"))
    left.decide(key, State.ACCEPTED)
    assert len(session.case.rows) == 0
    assert drawn(session) == []


def test_layers_that_are_not_ours_are_left_alone(session: Session) -> None:
    mine = session.viewer.add_image(np.zeros((4, 4)), name="mine")
    session.viewer.layers.remove(session.layer(Part.CT))
    assert list(session.viewer.layers) == [mine]
    assert session.case is None


def test_the_body_is_zoomed_to(session: Session) -> None:
    session.viewer.canvas.size = (800, 800)
    session.arrange()
    np.testing.assert_allclose(session.viewer.scene.camera.center[1:], (-20 + 24, -24 + 24))
    assert session.viewer.scene.camera.zoom == pytest.approx(0.95 * 800 / 40)
    assert isinstance(session.viewer.layers.selection.active, Image)
