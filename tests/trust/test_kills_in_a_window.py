"""A review in a real window that is killed at any moment: what the table showed as decided is there again."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import nibabel
import numpy as np
import pytest

from napari_uld.ct import read_scan
from napari_uld.lesions import storage
from napari_uld.lesions.annotation_file import annotation_path, lesion_to_json, read_annotations
from napari_uld.lesions.findings import Findings
from napari_uld.lesions.findings_file import read_findings, write_findings
from napari_uld.lesions.recovery import restore
from napari_uld.lesions.review_log import log_path
from napari_uld.viewer.panels.lesion_table import HEADERS, cells
from napari_uld.viewer.state.case import Case
from napari_uld.viewer.state.files import open_case
from napari_uld.viewer.state.rows import Mark

needs_kill = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs a signal that no process can catch")
ROOT = Path(__file__).parents[2]
FINDINGS = 30
# Counted in what was told, not in seconds: on a busy machine as much is reviewed as on an idle one.
MOST_TOLD = 25
MOMENTS = ("reviewing", "saving", "reviewing", "opening", "reviewing")
PATIENCE = 120.0  # seconds for what comes next in a window, on a busy machine
# What a table shows: a lesion's cells by its key; None where it is gone.
News = dict[str, list[str] | None]
Shown = dict[str, list[str]]


@dataclass
class Figures:
    """What came of the kills."""

    kills: Counter[str] = field(default_factory=Counter)
    # Kills that left a file half saved.
    torn: int = 0
    # Decisions that were shown.
    told: int = 0
    lost: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)


class Review:
    """A review in a process of its own, and what it told so far."""

    def __init__(self, scan: Path, findings: Path, seed: int) -> None:
        read, write = os.pipe()
        self._errors = scan.parent.with_name("errors.txt")
        command = [sys.executable, "-m", "tests.trust.reviewer", str(scan), str(findings), str(seed), str(write)]
        with self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                command, cwd=ROOT, pass_fds=[write], stdout=subprocess.DEVNULL, stderr=errors
            )
        os.close(write)
        self._lines: list[bytes] = []
        self._reader = threading.Thread(target=self._read, args=(read,))
        self._reader.start()

    @property
    def told(self) -> list[News]:
        """What was told: first that the scan is about to be opened, then all that is shown, then what changes."""
        return [json.loads(line) for line in self._lines if line.endswith(b"\n")]

    def wait_for_lines(self, count: int) -> None:
        """Wait until so much was told."""
        self.wait(lambda: len(self._lines) >= count, every=0.01)

    def wait(self, until: Callable[[], object], every: float) -> None:
        """Wait until something is so, looking every so many seconds."""
        end = time.monotonic() + PATIENCE
        while not until():
            self._must_go_on()
            assert time.monotonic() < end, f"nothing happens in the window:\n{self._errors.read_text()}"
            time.sleep(every)

    def kill(self) -> None:
        """Kill it, in the midst of whatever it does."""
        self._must_go_on()
        self.end()

    def end(self) -> None:
        """Let nothing of it be left."""
        self._process.kill()
        self._process.wait()
        self._reader.join()

    def _must_go_on(self) -> None:
        assert self._process.poll() is None, f"the review ended by itself:\n{self._errors.read_text()}"

    def _read(self, read: int) -> None:
        with os.fdopen(read, "rb") as told:
            self._lines.extend(told)


@contextmanager
def reviewing(scan: Path, findings: Path, seed: int) -> Iterator[Review]:
    review = Review(scan, findings, seed)
    try:
        yield review
    finally:
        review.end()


def folder_with_scan(folder: Path) -> tuple[Path, Path]:
    """A small scan of a body of water in air, and what a detector found in it: a lesion a slice."""
    folder.mkdir()
    hu = np.full((96, 96, FINDINGS), -1000, np.int16)
    hu[8:88, 8:88] = 0
    scan, findings = folder / "scan.nii.gz", folder / "found.findings.json"
    nibabel.save(nibabel.Nifti1Image(hu, np.diag([-0.8, -0.8, 2.0, 1.0])), scan)
    volume = read_scan(scan)
    found = Findings.from_rows(
        scan_id=volume.scan_id,
        scan_name=volume.name,
        method="fake",
        checkpoint="1",
        boxes=[(20.0 + i, 20.0 + i, 40.0 + i, 36.0 + i) for i in range(FINDINGS)],
        scores=np.linspace(0.6, 0.9, FINDINGS),
        key_slices=volume.slice_numbers.tolist(),
    )
    write_findings(findings, found)
    return scan, findings


def kill_one(review: Review, scan: Path, moment: str, rng: random.Random) -> None:
    """Kill a review: while the scan opens, at any time of reviewing, or in a save."""
    review.wait_for_lines(1 if moment == "opening" else rng.randint(2, MOST_TOLD))
    time.sleep(rng.uniform(0, 2 if moment == "opening" else 0.5))
    if moment == "saving":
        before = half_saved(scan)
        review.wait(lambda: half_saved(scan) not in (0, before), every=0.0002)
        time.sleep(rng.uniform(0, 0.005))
    review.kill()


def half_saved(scan: Path) -> int:
    """When the file was written that a save makes before it takes the annotation file's name; 0 where there is none."""
    annotations = annotation_path(scan)
    try:
        return annotations.with_name(f".{annotations.name}.partial").stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def opened(scan: Path) -> Case:
    """What a person gets who opens the scan again and wants back what was not saved."""
    case, _ = open_case(read_scan(scan))
    restore(case.annotations, case.unsaved)
    return case


def unreadable(case: Case) -> Iterator[str]:
    """Name every file of the review that cannot be read as it is."""
    annotations = case.path
    readers: dict[Path, Callable[[Path], object]] = {
        annotations: read_annotations,
        storage.backup_path(annotations): read_annotations,
        **{path: read_findings for paths in case.kept.values() for path in paths},
        log_path(annotations): lambda path: [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]],
    }
    for path, read in readers.items():
        try:
            # The backup is a file of its own here: a good one must not hide a damaged other.
            if path.exists() and getattr(read(path), "recovered_from", None):
                yield f"{path.name}: its backup was read"
        except Exception as error:  # noqa: BLE001
            yield f"{path.name}: {error}"
    if annotations.with_name(annotations.name + ".damaged").exists():
        yield f"{annotations.name}: a damaged one was put aside"


def last_edit(case: Case) -> tuple[str, bool]:
    """Key of the lesion that the log's last edit changed, and whether it is as that edit made it."""
    log = log_path(case.path)
    lines = log.read_bytes().split(b"\n")[:-1] if log.exists() else []
    edits = ((entry["before"], entry["after"]) for entry in map(json.loads, reversed(lines)))
    before, after = next(((before, after) for before, after in edits if before or after), (None, None))
    row = after or before
    if row is None:
        return "", True
    stands = lesion_to_json(case.annotations[row["id"]]) if row["id"] in case.annotations else None
    return row["parent_id"] or row["id"], stands == after


def shown_in(case: Case) -> Shown:
    return {row.key: list(cells(row)) for row in case.rows}


def decided(row: list[str] | None) -> bool:
    return row is not None and row[HEADERS.index("State")] != Mark.PENDING


def kill_reviews(folder: Path, count: int, seed: int) -> Figures:
    """Kill one review after another, each going on where the last one was killed."""
    rng, figures = random.Random(seed), Figures()
    scan, findings = folder_with_scan(folder)
    standing: Shown = {}
    for number in range(count):
        moment, before = MOMENTS[number % len(MOMENTS)], half_saved(scan)
        with reviewing(scan, findings, seed * 1000 + number) as review:
            kill_one(review, scan, moment, rng)
            told = review.told
        figures.kills[moment] += 1
        figures.torn += half_saved(scan) not in (0, before)
        # The first that a window shows is all of what stood after the kill before.
        if len(told) > 1 and told[1] != standing:
            figures.lost.append(f"kill {number}: the window shows {told[1]}, not {standing}")
        known: News = dict(standing)
        for news in told[2:]:
            known |= news
            figures.told += sum(map(decided, news.values()))
        case = opened(scan)
        standing, (last, stands) = shown_in(case), last_edit(case)
        figures.unreadable += [f"kill {number}: {file}" for file in unreadable(case)]
        # The log's last edit may not have been shown yet: it stands, and all others are as they were shown.
        figures.lost += [
            f"kill {number}: {key} was shown as {row}, is {standing.get(key)}"
            for key, row in known.items()
            if standing.get(key) != row and not (key == last and stands)
        ]
    return figures


@needs_kill
@pytest.mark.window
@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("seed", [1, 2])
def test_no_kill_of_20_in_a_window_loses_a_decision(tmp_path: Path, seed: int) -> None:
    figures = kill_reviews(tmp_path / "scan", 20, seed)
    assert (figures.lost, figures.unreadable) == ([], [])
    assert figures.told > 50, "decisions were shown"
    assert figures.torn, "kills met saves"
