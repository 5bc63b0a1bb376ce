"""The queue of suggestions over the scans of a folder: what is in it, its order, and what becomes of each."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from napari_uld.ct.entries import ScanEntry
from napari_uld.lesions.annotation_file import save_annotations
from napari_uld.lesions.annotations import Annotation, Annotations, State
from napari_uld.lesions.beside import Mirror, findings_path
from napari_uld.lesions.findings import Findings
from napari_uld.lesions.findings_file import write_findings
from napari_uld.viewer.state.queue import BY_SCORE, Asked, Fate, Queue, QueueCounts

SCORES = {"a": (0.9, 0.6, 0.2), "b": (0.8, 0.7)}


def found(name: str, scores: Iterable[float], **columns: Iterable[float]) -> Findings:
    """Findings far from one another, on slices 1, 2, ..."""
    scores = list(scores)
    return Findings.from_rows(
        scan_id=f"sha256:{name}",
        scan_name=name,
        method="m",
        checkpoint="c",
        boxes=[[20 * i, 0, 20 * i + 10, 10] for i in range(len(scores))],
        scores=scores,
        key_slices=range(1, len(scores) + 1),
        operating_point=0.5,
        columns={column: list(values) for column, values in columns.items()},
    )


def written(entry: ScanEntry, findings: Findings) -> Path:
    path = findings_path(entry.path, findings.scan_id, findings.detector)
    write_findings(path, findings)
    return path


@pytest.fixture
def entries(tmp_path: Path) -> list[ScanEntry]:
    """Two scans with suggestions, and one that nobody looked at."""
    entries = []
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.nii.gz").touch()
        entries.append(ScanEntry(name, "nifti", tmp_path / f"{name}.nii.gz", 5))
    for entry in entries[:2]:
        written(entry, found(entry.name, SCORES[entry.name]))
    return entries


def read(queue: Queue) -> Queue:
    for at, scan in queue.read():
        queue.take(at, scan)
    return queue


def scores(queue: Queue) -> list[tuple[int, float]]:
    return [(item.at, item.scores[BY_SCORE]) for item in queue.items]


def decided(findings: Findings, *states: State) -> Annotations:
    annotations = Annotations(findings.scan_id)
    for row, state in enumerate(states):
        annotations.decide(findings, row, state, "me")
    return annotations


def save(entry: ScanEntry, annotations: Annotations) -> None:
    path = entry.path.with_name(f"{entry.name}.lesions.json")
    save_annotations(path, annotations, scan_name=entry.name, scan_source=entry.path.name)


def test_all_that_is_above_the_operating_point_is_queued_scan_by_scan(entries: list[ScanEntry]) -> None:
    queue = read(Queue(entries))
    assert scores(queue) == [(0, 0.9), (0, 0.6), (1, 0.8), (1, 0.7)]
    assert [item.entry.name for item in queue.items] == ["a", "a", "b", "b"]
    assert queue.items[1].row.native == 2
    assert queue.counts == QueueCounts(4, 0, 0, 0, 3, 3)
    assert len(read(Queue(entries, least=0.1)).items) == 5


def test_by_a_score_the_highest_of_all_scans_comes_first_and_those_without_it_last(entries: list[ScanEntry]) -> None:
    written(entries[1], found("b", SCORES["b"], disagreement=(0.1, 0.4)))
    queue = read(Queue(entries))
    queue.order = BY_SCORE
    assert scores(queue) == [(0, 0.9), (1, 0.8), (1, 0.7), (0, 0.6)]
    assert queue.scores == (BY_SCORE, "disagreement")
    queue.order = "disagreement"
    assert scores(queue) == [(1, 0.7), (1, 0.8), (0, 0.9), (0, 0.6)]


def test_scans_are_read_one_by_one_and_what_is_there_can_be_worked_on(entries: list[ScanEntry]) -> None:
    queue = Queue(entries)
    reading = queue.read()
    first = next(reading)
    assert queue.items == (), "reading alone changes nothing"
    queue.take(*first)
    assert scores(queue) == [(0, 0.9), (0, 0.6)]
    assert (queue.counts.read, queue.counts.scans) == (1, 3)


def test_what_was_decided_in_an_earlier_session_is_known_from_the_files(entries: list[ScanEntry]) -> None:
    save(entries[0], decided(found("a", SCORES["a"]), State.REJECTED, State.ACCEPTED))
    queue = read(Queue(entries))
    assert sorted((item.scores[BY_SCORE], item.fate) for item in queue.items) == [
        (0.6, Fate.ACCEPTED),
        (0.7, Fate.PENDING),
        (0.8, Fate.PENDING),
        (0.9, Fate.REJECTED),
    ]
    assert queue.counts == QueueCounts(2, 1, 1, 0, 3, 3)
    assert [item.at for item in queue.pending] == [1, 1]


def test_what_is_the_same_lesion_as_an_annotation_is_not_queued(entries: list[ScanEntry]) -> None:
    known = Annotation(id="x", scan_id="sha256:a", key_slice=1, box=(0.0, 0.0, 10.0, 9.0))
    save(entries[0], Annotations("sha256:a", [known]))
    assert scores(read(Queue(entries[:1]))) == [(0, 0.6)]


def test_two_detectors_one_lesion_is_asked_once(entries: list[ScanEntry]) -> None:
    written(entries[0], replace(found("a", (0.95, 0.55)), checkpoint="other"))
    assert scores(read(Queue(entries[:1]))) == [(0, 0.95), (0, 0.6)]


def test_decisions_on_the_open_scan_count_before_they_are_saved(entries: list[ScanEntry]) -> None:
    queue = Queue(entries)
    findings = found("a", SCORES["a"])
    told: list[None] = []
    queue.changed.connect(lambda: told.append(None))
    queue.update(0, decided(findings, State.ACCEPTED))
    read(queue)
    assert [item.fate for item in queue.items if item.at == 0] == [Fate.ACCEPTED, Fate.PENDING]
    assert told
    queue.reread(0)
    assert queue.counts.accepted == 0, "nothing was saved"


def test_what_was_written_meanwhile_is_there_when_a_scan_is_read_again(entries: list[ScanEntry]) -> None:
    queue = read(Queue(entries))
    written(entries[2], found("c", (0.9,)))
    save(entries[0], decided(found("a", SCORES["a"]), State.ACCEPTED))
    queue.reread(2)
    queue.reread(0)
    assert queue.counts == QueueCounts(4, 1, 0, 0, 3, 3)


def test_stepping_goes_on_over_scans_and_from_the_end_to_what_still_waits(entries: list[ScanEntry]) -> None:
    queue = read(Queue(entries))
    visited = []
    for _ in range(5):
        item = queue.step()
        assert item is not None
        visited.append(item.scores[BY_SCORE])
    assert visited == [0.9, 0.6, 0.8, 0.7, 0.9]
    assert queue.current is not None
    assert queue.current.scores[BY_SCORE] == 0.9
    queue.update(0, decided(found("a", SCORES["a"]), State.ACCEPTED, State.REJECTED))
    assert queue.current.fate is Fate.ACCEPTED, "it stays at hand"
    ahead = queue.peek()
    assert ahead is not None
    assert (ahead.at, ahead.scores[BY_SCORE]) == (1, 0.8)
    assert queue.current.at == 0, "looking ahead takes nothing in hand"
    back = queue.step(-1, pending_only=False)
    assert back is not None
    assert back.scores[BY_SCORE] == 0.7


def test_stepping_gives_nothing_where_nothing_else_waits(entries: list[ScanEntry]) -> None:
    assert read(Queue(entries[2:])).step() is None
    queue = read(Queue(entries[:1]))
    queue.update(0, decided(found("a", SCORES["a"]), State.ACCEPTED))
    only = queue.step()
    assert only is not None
    assert queue.step() is None
    assert queue.current is not None


def test_what_is_skipped_waits_no_longer_and_may_wait_again(entries: list[ScanEntry]) -> None:
    queue = read(Queue(entries))
    first = queue.step()
    assert first is not None
    queue.skip(first.key)
    assert queue.counts == QueueCounts(3, 0, 0, 1, 3, 3)
    queue.reread(0)
    assert queue.counts.skipped == 1, "as long as the queue is there"
    again = queue.find(first.key)
    assert again is not None
    assert again.fate is Fate.SKIPPED
    assert first.key not in [item.key for item in queue.pending]
    queue.skip(first.key, skipped=False)
    assert queue.counts.pending == 4
    queue.skip(first.key)
    queue.update(0, decided(found("a", SCORES["a"]), State.REJECTED))
    assert (queue.counts.skipped, queue.counts.rejected) == (0, 1), "a decision is more than a skip"


def test_the_parts_of_a_series_have_each_the_suggestions_of_their_slices(tmp_path: Path) -> None:
    series = tmp_path / "000001_01_01"
    series.mkdir()
    parts = [ScanEntry(f"part {n}", "deeplesion", series, 1, files=(series / f"{n:03d}.png",)) for n in (1, 2)]
    written(parts[0], replace(found("000001_01_01", (0.9, 0.8)), scan_id="deeplesion:000001_01_01"))
    assert scores(read(Queue(parts))) == [(0, 0.9), (1, 0.8)]


def test_mined_negatives_are_queued_from_a_folder_of_their_own_with_both_scores(
    entries: list[ScanEntry], tmp_path: Path
) -> None:
    mined = tmp_path / "epoch_3"
    mined.mkdir()
    negatives = replace(found("a", (0.3, 0.2), s2=(0.1, 0.25)), checkpoint="epoch_3", negative=np.array([True, True]))
    write_findings(mined / "a.findings.json", negatives)
    assert len(read(Queue(entries, mirror=Mirror(tmp_path, mined))).items) == 4, "no lesions are they otherwise"
    queue = read(Queue(entries, mirror=Mirror(tmp_path, mined), asked=Asked.NEGATIVES))
    queue.order = "s2"
    assert [item.scores for item in queue.items] == [{BY_SCORE: 0.2, "s2": 0.25}, {BY_SCORE: 0.3, "s2": 0.1}]
    queue.update(0, decided(negatives, State.REJECTED))
    assert queue.counts.rejected == 1
