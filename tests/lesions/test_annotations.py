from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_uld.errors import AnnotationError, BoxError
from napari_uld.lesions.annotations import Annotation, Annotations, LesionType, Source, State
from napari_uld.lesions.edits import Edit
from napari_uld.lesions.findings import Findings
from napari_uld.lesions.recist import Recist
from napari_uld.lesions.rle import Rle


def lesion(number: int) -> Annotation:
    return Annotation(f"lesion:{number}", "scan", number, (1.0, 2.0, 3.0, 4.0))


FINDINGS = Findings.from_rows(
    scan_id="scan",
    scan_name="",
    method="m",
    checkpoint="c",
    boxes=[[i, 0, i + 2, 2] for i in range(3)],
    scores=[0.2, 0.9, 0.5],
    key_slices=[5, 6, 7],
)
START = tuple(lesion(n) for n in range(3))
MASK, OTHER = Rle((2, 3), (0, 2, 4)), Rle((2, 3), (1, 3, 2))
RECIST = Recist(((2.0, 3.0), (8.0, 3.0)), ((5.0, 1.0), (5.0, 5.0)))


def apply(table: Annotations, kind: str, number: int) -> None:
    """Do one edit, on one of the lesions there are where it needs one."""
    ids = [row.id for row in table]
    if kind == "add":
        new = lesion(100 + number)
        if new.id not in table:
            table.add(new)
    elif kind == "decide":
        table.decide(FINDINGS, number % 3, list(State)[number % 2 + 1])
    elif kind == "edit finding":
        table.edit_finding(FINDINGS, number % 3, box=(0.0, 0.0, 2.0 + number, 1.0))
    elif ids:
        chosen = ids[number % len(ids)]
        edits: dict[str, Callable[[], object]] = {
            "remove": lambda: table.remove(chosen),
            "state": lambda: table.set_state(chosen, list(State)[number % 3], f"reviewer {number}"),
            "move": lambda: table.edit(chosen, box=(0.0, 0.0, 1.0 + number, 1.0)),
            "edit": lambda: table.edit(chosen, lesion_type=list(LesionType)[number % 9]),
        }
        edits[kind]()


KINDS = ["add", "decide", "edit finding", "remove", "state", "move", "edit"]
edits = st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 9)), max_size=25)


@settings(max_examples=60)
@given(steps=edits)
def test_undoing_all_gives_the_beginning_and_redoing_all_the_end(steps: list[tuple[str, int]]) -> None:
    table = Annotations("scan", START)
    states = [tuple(table)]
    for kind, number in steps:
        before = tuple(table)
        apply(table, kind, number)
        if tuple(table) != before:
            states.append(tuple(table))
    for state in reversed(states[:-1]):
        table.undo()
        assert tuple(table) == state
    assert not table.can_undo
    assert table.undo() is None
    for state in states[1:]:
        table.redo()
        assert tuple(table) == state
    assert not table.can_redo
    assert table.redo() is None


walk = st.lists(st.tuples(st.sampled_from([*KINDS, "undo", "undo", "redo", "save"]), st.integers(0, 9)), max_size=30)


@settings(max_examples=60)
@given(steps=walk)
def test_whatever_is_not_on_disk_counts_as_unsaved(steps: list[tuple[str, int]]) -> None:
    table = Annotations("scan", START)
    saved = tuple(table)
    for kind, number in steps:
        if kind == "save":
            table.mark_saved()
            saved = tuple(table)
        elif kind in ("undo", "redo"):
            getattr(table, kind)()
        else:
            apply(table, kind, number)
        # It may warn without need (an edit and its contrary), never keep silent.
        if tuple(table) != saved:
            assert table.unsaved


def test_undo_and_redo_to_the_saved_point_leave_nothing_unsaved() -> None:
    table = Annotations("scan", START)
    assert not table.unsaved
    table.remove("lesion:1")
    table.mark_saved()
    table.remove("lesion:0")
    assert table.unsaved
    table.undo()
    assert not table.unsaved
    table.undo()
    assert table.unsaved
    table.redo()
    assert not table.unsaved


def test_a_lesion_brought_back_stands_where_it_stood() -> None:
    table = Annotations("scan", START)
    table.remove("lesion:1")
    table.undo()
    assert tuple(table) == START


def test_an_edit_after_undo_forgets_what_was_undone() -> None:
    table = Annotations("scan", START)
    table.remove("lesion:1")
    table.undo()
    table.remove("lesion:2")
    assert table.redo() is None


def test_listeners_hear_the_reverse_of_what_is_undone() -> None:
    table, heard = Annotations("scan", START), []
    table.on_change(heard.append)
    table.remove("lesion:1")
    table.undo()
    assert heard == [Edit("remove", START[1], None), Edit("undo remove", None, START[1])]


def test_a_decided_finding_is_a_lesion_that_names_it() -> None:
    table = Annotations("scan")
    made = table.decide(FINDINGS, 1, State.ACCEPTED, "Ann")
    assert (made.source, made.state, made.score, made.key_slice) == (Source.MINED, State.ACCEPTED, 0.9, 6)
    assert made.parent_id == FINDINGS.finding_id(1)
    assert made.detector == f"{FINDINGS.method} {FINDINGS.checkpoint}"
    assert table.from_finding(FINDINGS, 1) == made
    assert table.from_finding(FINDINGS, 0) is None
    # Deciding again changes that lesion; moving it makes it a person's work.
    assert table.decide(FINDINGS, 1, State.REJECTED).id == made.id
    assert len(table) == 1
    assert table.edit(made.id, box=(0.0, 0.0, 5.0, 5.0)).source is Source.EDITED


@pytest.mark.parametrize("changes", [{"box": (0.0, 0.0, 5.0, 5.0)}, {"mask": OTHER}, {"recist": RECIST}])
def test_a_finding_that_a_person_marks_anew_is_accepted_and_changed_in_one_edit(changes: dict[str, object]) -> None:
    plain = Annotations("scan").decide(FINDINGS, 1, State.ACCEPTED, "Ann")
    table, heard = Annotations("scan"), []
    table.on_change(heard.append)
    made = table.edit_finding(FINDINGS, 1, action="mark", reviewer="Ann", time=plain.time, **changes)
    # All that tells where it comes from is as after a plain decision.
    assert made == replace(plain, source=Source.EDITED, **changes)
    table.undo()
    assert tuple(table) == ()
    assert table.from_finding(FINDINGS, 1) is None
    assert not table.can_undo
    table.redo()
    assert tuple(table) == (made,)
    assert heard == [Edit("mark", None, made), Edit("undo mark", made, None), Edit("redo mark", None, made)]


def test_a_finding_whose_box_a_person_moves_loses_the_machines_mask() -> None:
    own, table = replace(FINDINGS, masks=(MASK, None, None)), Annotations("scan")
    assert table.edit_finding(own, 0, box=(0.0, 0.0, 3.0, 3.0)).mask is None


def test_editing_a_finding_that_was_decided_edits_that_lesion_and_keeps_its_state() -> None:
    table = Annotations("scan")
    rejected = table.decide(FINDINGS, 0, State.REJECTED)
    assert table.edit_finding(FINDINGS, 0, noisy=True) == replace(rejected, noisy=True)
    assert len(table) == 1


def test_an_edit_without_effect_is_no_edit() -> None:
    table = Annotations("scan", START)
    table.edit("lesion:1", noisy=False)
    assert not table.can_undo


@pytest.mark.parametrize(
    "wrong",
    [
        lambda table: table.add(START[0]),
        lambda table: table.add(Annotation("lesion:9", "other", 1, (0.0, 0.0, 1.0, 1.0))),
        lambda table: table.remove("lesion:9"),
        lambda table: table.set_state("lesion:9", State.ACCEPTED),
        lambda table: table.edit("lesion:9", box=(0.0, 0.0, 1.0, 1.0)),
        lambda table: table.edit("lesion:1", id="lesion:9"),
        lambda table: table.edit("lesion:1", scan_id="other"),
        lambda table: Annotations("scan", [START[0], START[0]]),
        lambda table: Annotations("other", START),
        lambda table: Annotations("other").decide(FINDINGS, 0, State.ACCEPTED),
        lambda table: Annotations("other").edit_finding(FINDINGS, 0, noisy=True),
        lambda table: table.edit_finding(FINDINGS, 0, id="lesion:9"),
        lambda table: table.edit_finding(FINDINGS, 0, scan_id="other"),
    ],
)
def test_an_impossible_edit_is_refused_and_changes_nothing(wrong: Callable[[Annotations], object]) -> None:
    table = Annotations("scan", START)
    with pytest.raises(AnnotationError):
        wrong(table)
    assert tuple(table) == START
    assert not table.can_undo


def test_a_malformed_box_is_refused() -> None:
    table = Annotations("scan", START)
    with pytest.raises(BoxError):
        table.edit("lesion:1", box=(5.0, 0.0, 1.0, 1.0))
    with pytest.raises(BoxError):
        table.edit_finding(FINDINGS, 0, box=(5.0, 0.0, 1.0, 1.0))
    assert tuple(table) == START
    assert not table.can_undo


def mined(mask: Rle | None) -> Annotations:
    """One accepted finding with the mask that its detector made."""
    table = Annotations("scan")
    table.decide(replace(FINDINGS, masks=(mask, None, None)), 0, State.ACCEPTED)
    return table


def test_a_detectors_mask_is_kept_and_is_no_correction() -> None:
    (row,) = mined(MASK)
    assert (row.source, row.mask, row.corrected_mask) == (Source.MINED, MASK, None)


@pytest.mark.parametrize("machines", [None, MASK])
def test_a_mined_lesion_whose_mask_a_person_painted_is_an_edited_one_until_that_is_undone(machines: Rle | None) -> None:
    table = mined(machines)
    (before,) = table
    after = table.edit(before.id, action="paint mask", mask=OTHER)
    assert (after.source, after.corrected_mask) == (Source.EDITED, OTHER)
    table.undo()
    assert tuple(table) == (before,)


def test_a_detectors_mask_goes_when_a_person_moves_the_box_and_a_persons_own_stays() -> None:
    table = mined(MASK)
    (row,) = table
    assert table.edit(row.id, box=(0.0, 0.0, 3.0, 3.0)).mask is None
    table.edit(row.id, mask=OTHER)
    assert table.edit(row.id, box=(0.0, 0.0, 4.0, 4.0)).corrected_mask == OTHER


def test_a_painted_mask_of_an_experts_lesion_is_a_correction() -> None:
    table = Annotations("scan", START)
    after = table.edit("lesion:1", mask=MASK)
    assert (after.source, after.corrected_mask) == (Source.EXPERT, MASK)


# -- several edits as one action --


def test_edits_made_as_one_are_undone_and_done_again_in_one_step() -> None:
    table = Annotations("scan", START)
    table.remove("lesion:0")
    with table.as_one():
        table.decide(FINDINGS, 1, State.REJECTED)
        table.edit("lesion:1", noisy=True)
        table.remove("lesion:2")
    after = tuple(table)
    table.undo()
    assert tuple(table) == START[1:]
    table.redo()
    assert tuple(table) == after
    table.undo()
    table.undo()
    assert tuple(table) == START


def test_edits_made_as_one_are_heard_of_once_all_are_made_each_with_its_part() -> None:
    table, heard = Annotations("scan", START), []
    table.on_change(lambda edit: heard.append((edit.action, edit.part, edit.is_last, len(table))))
    with table.as_one():
        table.remove("lesion:1")
        table.remove("lesion:2")
    assert heard == [("remove", (1, 2), False, 1), ("remove", (2, 2), True, 1)]
    heard.clear()
    undone = table.undo()
    assert undone is not None
    assert undone.row.id == "lesion:1"
    assert heard == [("undo remove", (1, 2), False, 3), ("undo remove", (2, 2), True, 3)]


def test_where_one_of_several_edits_is_refused_none_is_made() -> None:
    table, heard = Annotations("scan", START), []
    table.on_change(heard.append)

    def change() -> None:
        with table.as_one():
            table.edit("lesion:1", noisy=True)
            table.remove("lesion:9")

    with pytest.raises(AnnotationError):
        change()
    assert tuple(table) == START
    assert heard == []
    assert not table.can_undo
    assert not table.unsaved


def test_an_action_within_another_is_part_of_it_and_one_without_edits_is_none() -> None:
    table = Annotations("scan", START)
    with table.as_one():
        pass
    assert not table.can_undo
    with table.as_one():
        table.remove("lesion:1")
        with table.as_one():
            table.remove("lesion:2")
    table.undo()
    assert tuple(table) == START


def test_edits_of_before_a_file_was_read_are_taken_back_and_done_again() -> None:
    before = Annotations(FINDINGS.scan_id)
    edits: list[Edit[Annotation]] = []
    before.on_change(edits.append)
    with before.as_one():
        for row in (0, 1):
            before.decide(FINDINGS, row, State.ACCEPTED)
    read = Annotations(FINDINGS.scan_id, before)
    assert read.take_back(edits).before == edits[0].after
    assert len(read) == 0
    assert read.unsaved
    read.mark_saved()
    assert not read.unsaved
    assert not read.can_undo
    read.redo()
    assert list(read) == list(before)
    assert read.unsaved
    with pytest.raises(AnnotationError, match="changed since"):
        read.take_back(edits)
