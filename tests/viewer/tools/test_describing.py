"""Keys about the chosen lesions: their type, doubt, a comment; decisions on several at once."""

import json

from napari_uld.lesions.annotations import LesionType
from napari_uld.lesions.recovery import unsaved_lesions
from napari_uld.lesions.review_log import log_path
from napari_uld.viewer.session import Session
from napari_uld.viewer.state.rows import Mark
from napari_uld.viewer.tools.keys import KEYS


def press(session: Session, key: str) -> None:
    next(each for each in KEYS if each.key == key).act(session)


def choose_all(session: Session) -> list[str]:
    keys = [row.key for row in session.case.rows]
    session.case.choose(keys[0], keys)
    return keys


def test_a_key_asks_for_the_type_of_all_that_are_chosen(session: Session) -> None:
    choose_all(session)
    session.ask_type = lambda: LesionType.BONE
    press(session, "T")
    assert {row.lesion_type for row in session.case.rows} == {LesionType.BONE}
    press(session, "U")
    assert sorted(row.lesion_type for row in session.case.rows) == [-1, -1, LesionType.LIVER]


def test_where_nobody_answers_nothing_is_said(session: Session) -> None:
    choose_all(session)
    press(session, "T")
    press(session, "C")
    assert not session.case.annotations.can_undo


def test_noisy_is_turned_on_for_all_and_off_where_all_have_it(session: Session) -> None:
    keys = choose_all(session)
    session.case.set_noisy(keys[:1], True)
    press(session, "Y")
    assert all(row.noisy for row in session.case.rows)
    press(session, "Y")
    assert not any(row.noisy for row in session.case.rows)


def test_a_comment_begins_with_the_one_that_all_have(session: Session) -> None:
    keys = choose_all(session)
    begun: list[str] = []
    session.ask_comment = lambda written: begun.append(written) or "calcified"
    session.case.set_comment(keys[:1], "old")
    press(session, "C")
    press(session, "C")
    assert begun == ["", "calcified"]
    assert {row.comment for row in session.case.rows} == {"calcified"}


def test_a_decision_is_about_all_that_are_chosen_and_is_undone_as_one(session: Session) -> None:
    choose_all(session)
    before = list(session.case.annotations)
    press(session, "N")
    assert {row.mark for row in session.case.rows} == {Mark.REJECTED}
    press(session, "U")
    assert list(session.case.annotations) == before
    assert not session.case.annotations.can_undo


def test_an_action_on_several_is_logged_at_once_and_comes_back_after_a_crash(session: Session) -> None:
    choose_all(session)
    press(session, "Y")
    log = log_path(session.case.path)
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    assert [entry["part"] for entry in entries] == [[1, 3], [2, 3], [3, 3]]
    start = type(session.case.annotations)("1.2.3")
    assert {lesion.noisy for lesion in unsaved_lesions([log], start, "").values()} == {True}
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:2]))
    assert unsaved_lesions([log], start, "") == {}
