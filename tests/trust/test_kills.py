"""A review that is killed at any moment: what was acknowledged is in the file or in its log, and both can be read."""

import json
import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from napari_uld.ct.volume import CTVolume
from napari_uld.lesions import storage
from napari_uld.lesions.annotation_file import has_annotations, read_annotations
from napari_uld.lesions.annotations import Annotations, State
from napari_uld.lesions.edits import Edit
from napari_uld.lesions.findings import Findings
from napari_uld.lesions.recovery import restore, unsaved_lesions
from napari_uld.lesions.review_log import SAVED, append_log, log_path
from napari_uld.viewer.state import files
from napari_uld.viewer.state.case import Case
from napari_uld.viewer.state.files import save_case

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork to kill a process in mid-review")
SCAN = "1.2.3"
FINDINGS = 40
Told = dict[str, str]


def volume(folder: Path) -> CTVolume:
    hu = np.zeros((FINDINGS, 8, 8), np.int16)
    numbers = np.arange(FINDINGS)
    source = folder / "case.nii.gz"
    return CTVolume(hu=hu, spacing=(5, 1, 1), source=source, name="case", slice_numbers=numbers, series_uid=SCAN)


def findings() -> Findings:
    return Findings.from_rows(
        scan_id=SCAN,
        scan_name="case",
        method="faster_rcnn",
        checkpoint="1",
        boxes=[(1.0, 1.0, 5.0, 5.0)] * FINDINGS,
        scores=np.linspace(0.5, 0.9, FINDINGS),
        key_slices=list(range(FINDINGS)),
    )


def reopened(path: Path) -> tuple[Annotations, str]:
    """What a person gets who opens the scan again and wants back what was not saved, and the file's fingerprint."""
    annotations, fingerprint = Annotations(SCAN), storage.ABSENT
    if has_annotations(path):
        file = read_annotations(path)
        annotations, fingerprint = file.annotations, file.fingerprint
    restore(annotations, unsaved_lesions([log_path(path)], annotations, fingerprint))
    return annotations, fingerprint


def review(path: Path, seed: int, told: int) -> None:
    """Review as the window does: every edit into the log, a save now and then; tell each decision once it stands."""
    rng = random.Random(seed)
    annotations, fingerprint = reopened(path)
    case = Case(volume(path.parent), annotations, path, reviewer="r")
    case.fingerprint = fingerprint
    case.set_findings(findings())
    case.threshold = 0.0

    def log(edit: Edit) -> None:
        append_log(log_path(path), [edit], case.reviewer)
        row = edit.after or edit.before
        assert row is not None
        told_row = [row.id, edit.after.state.value if edit.after is not None else "gone"]
        os.write(told, (json.dumps(told_row) + "\n").encode())

    case.edited.connect(log)
    while True:
        row = rng.choice(case.rows)
        draw = rng.random()
        if draw < 0.1:
            case.annotations.undo()
        elif draw < 0.3:
            save_case(case)
        elif draw < 0.4:
            case.add(rng.randrange(FINDINGS), (1.0, 1.0, 4.0 + rng.random(), 6.0))
        elif draw < 0.45:
            case.remove(row.key)
        else:
            case.decide(row.key, rng.choice([State.ACCEPTED, State.REJECTED]))


def killed(path: Path, seed: int, after: float) -> Iterator[tuple[str, str]]:
    """Review in another process, kill it `after` seconds of reviewing, and give what it had told by then."""
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(read)
        with suppress(BaseException):
            review(path, seed, write)
        os.write(write, b"ended\n")
        os._exit(1)
    os.close(write)
    with os.fdopen(read, "rb") as told:
        lines = told.readline()
        time.sleep(after)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        lines += told.read()
    assert not lines.endswith(b"ended\n"), "a review ended by itself"
    for line in lines.splitlines():
        yield tuple(json.loads(line))


def check_kills(tmp_path: Path, count: int, seed: int) -> None:
    """Kill one review after another, each going on where the last one was killed."""
    rng = random.Random(seed)
    path = tmp_path / "case.lesions.json"
    known: Told = {}
    for number in range(count):
        known |= dict(killed(path, seed * 1000 + number, rng.uniform(0, 0.06)))
        rows = {row.id: row for row in reopened(path)[0]}
        for key, state in known.items():
            found = rows[key].state.value if key in rows else "gone"
            # The last edit may stand in the log and not be told yet: nothing that was told is older than what stands.
            assert found == state or (key == _last_logged(path)), f"kill {number}: {key} was told {state}, is {found}"
        known = {key: rows[key].state.value if key in rows else "gone" for key in known}
    assert len(known) > 2, "something was decided"


def _last_logged(path: Path) -> str:
    whole, _, _ = log_path(path).read_bytes().rpartition(b"\n")
    entries = map(json.loads, reversed(whole.splitlines()))
    rows = (entry["after"] or entry["before"] for entry in entries)
    return next(str(row["id"]) for row in rows if row is not None)


@needs_fork
def test_a_killed_review_loses_no_decision_that_was_told(tmp_path: Path) -> None:
    check_kills(tmp_path, 6, 1)


@needs_fork
def test_a_kill_between_the_first_file_and_its_mark_loses_nothing_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "case.lesions.json"
    case = Case(volume(tmp_path), Annotations(SCAN), path, reviewer="r")
    case.edited.connect(lambda edit: append_log(log_path(path), [edit], "r"))
    first = case.add(3, (1.0, 1.0, 5.0, 5.0))
    mark = files.append_mark

    def killed_then(log: Path, action: str, *rest: str) -> None:
        if action == SAVED:
            raise KeyboardInterrupt
        mark(log, action, *rest)

    monkeypatch.setattr(files, "append_mark", killed_then)
    with pytest.raises(KeyboardInterrupt):
        save_case(case)
    second = case.add(4, (1.0, 1.0, 6.0, 6.0))
    assert {row.id for row in reopened(path)[0]} == {first.id, second.id}


@needs_fork
@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 8))
def test_no_kill_of_180_loses_a_decision(tmp_path: Path, seed: int) -> None:
    check_kills(tmp_path, 30, seed)
