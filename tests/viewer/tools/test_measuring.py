from dataclasses import replace

import numpy as np
import pytest

from napari_uld.lesions.annotations import Annotation, State
from napari_uld.lesions.findings import Findings
from napari_uld.lesions.rle import encode
from napari_uld.viewer.session import Session
from napari_uld.viewer.tools import review
from napari_uld.viewer.tools.keys import KEYS
from napari_uld.viewer.tools.measuring import measure

from ..conftest import hand


def take(session: Session, score: float) -> str:
    row = next(row for row in session.case.rows if row.score == score)
    session.jump(row)
    return row.key


def test_one_key_measures_a_finding_accepts_it_and_takes_its_ends_in_hand(session: Session) -> None:
    key = take(session, 0.9)
    next(each for each in KEYS if each.key == "M").act(session)
    row = session.case.current
    assert row.key == key
    assert row.annotation.state is State.ACCEPTED
    # The bright block of the scan: 21 pixels wide and 13 high, .5 mm each, its longest chord from corner to corner.
    long, _ = row.recist.millimetres(session.case.volume.spacing)
    assert long == pytest.approx(np.hypot(21, 13) / 2, abs=0.6)
    assert row.diameter == long
    lines = hand(session)
    assert session.viewer.layers.selection.active is lines
    assert lines.mode == "direct"
    assert {lines.features["key"][i] for i in lines.selected_data} == {key}


def test_what_is_measured_already_is_taken_in_hand_and_stays_as_it_is(session: Session, expert: Annotation) -> None:
    session.jump(session.case.row(expert.id))
    measure(session)
    assert session.case.annotations[expert.id] == expert
    assert not session.case.annotations.can_undo
    assert session.viewer.layers.selection.active is hand(session)


def test_measuring_a_rejected_finding_accepts_it(session: Session) -> None:
    key = take(session, 0.9)
    session.case.decide(key, State.REJECTED)
    session.jump(session.case.row(key))
    measure(session)
    assert session.case.row(key).annotation.state is State.ACCEPTED


def test_measuring_is_one_edit(session: Session) -> None:
    key = take(session, 0.9)
    before = session.case.row(key)
    measure(session)
    assert session.case.annotations.can_undo
    review.undo(session)
    after = session.case.row(key)
    assert (after.annotation, after.recist, after.boxes) == (None, None, before.boxes)


def test_a_traced_finding_moves_to_the_slice_where_it_is_longest(session: Session, findings: Findings) -> None:
    big, small = (18.0, 52.0, 42.0, 69.0), (26.0, 56.0, 36.0, 66.0)
    traced = list(findings.slice_boxes)
    traced[0] = {16: small, 15: big}
    boxes, keys = findings.boxes.copy(), findings.key_slices.copy()
    boxes[0], keys[0] = small, 16
    moved = replace(findings, boxes=boxes, key_slices=keys, slice_boxes=tuple(traced))
    session.case.set_findings(moved)
    session.jump(session.case.row(moved.finding_id(0)))
    measure(session)
    assert session.case.current.native == 15
    assert session.case.volume.native_slice(session.z) == 15


def test_a_detectors_mask_is_measured_where_there_is_one(session: Session, findings: Findings) -> None:
    mask = np.zeros((96, 96), bool)
    mask[30:40, 20:50] = True
    session.case.set_findings(replace(findings, masks=(encode(mask), *findings.masks[1:])))
    session.jump(session.case.row(findings.finding_id(0)))
    measure(session)
    assert session.case.current.recist.diameters[0] == pytest.approx(np.hypot(30, 10), abs=0.8)


def test_a_drawn_box_is_measured_and_stays_the_persons(session: Session) -> None:
    drawn = session.case.add(4, (18.0, 22.0, 42.0, 39.0))
    session.jump(session.case.row(drawn.id))
    measure(session)
    lesion: Annotation = session.case.annotations[drawn.id]
    assert lesion.recist is not None
    assert lesion.source is drawn.source
    assert lesion.box == lesion.recist.box()


def test_with_nothing_in_hand_it_says_so_and_changes_nothing(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    told = []
    monkeypatch.setattr("napari_uld.viewer.tools.measuring.show_info", told.append)
    session.case.select(None)
    measure(session)
    assert told == ["Choose a lesion first."]
    assert not session.case.annotations.can_undo
