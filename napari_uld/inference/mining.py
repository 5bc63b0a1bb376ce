"""Suggestions for a whole folder of scans: what a detector finds there and nobody has annotated.

A suggestion is a finding that lies where a viewer keeps what a detector found, so that a scan that is opened shows it
as a lesion to decide on. A scan that has a file of the same checkpoint is passed over: a stopped run goes on.
"""

import os
import time
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from napari_uld.ct import find_scans
from napari_uld.ct.entries import ScanEntry
from napari_uld.ct.reading import read_gradually
from napari_uld.ct.volume import CTVolume
from napari_uld.errors import AnnotationFileError, UldError
from napari_uld.inference.checkpoint import LoadedDetector
from napari_uld.inference.detect import detect, lowest_score
from napari_uld.inference.finding_masks import with_masks
from napari_uld.lesions.annotation_file import annotation_path
from napari_uld.lesions.annotations import Annotations
from napari_uld.lesions.beside import FilesBeside, Mirror, findings_path, known_id
from napari_uld.lesions.findings import DEFAULT_THRESHOLD, Findings, joined
from napari_uld.lesions.findings_file import write_findings
from napari_uld.lesions.same_lesion import traced_iou
from napari_uld.progress import Progress, Work, within

# The findings' column of a second checkpoint's disagreement.
DISAGREEMENT = "disagreement"


@dataclass(frozen=True)
class MinedScan:
    """What became of one scan.

    Parameters
    ----------
    scan
        Its name.
    file
        The suggestions' file; "" where there is none.
    suggestions, left_out
        Findings that were written, and those that are the same lesion as an annotation.
    seconds
        It took, reading included.
    error
        Why there is no file, or "".
    before
        Whether an earlier run, or somebody in the viewer, had this checkpoint look at it.
    """

    scan: str
    file: str = ""
    suggestions: int = 0
    left_out: int = 0
    seconds: float = 0.0
    error: str = ""
    before: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def mine(
    root: Path,
    detector: LoadedDetector,
    *,
    second: LoadedDetector | None = None,
    score: float | None = None,
    out: Path | None = None,
    only: Collection[str] | None = None,
) -> Work[list[MinedScan]]:
    """Run a detector over every scan of a folder and write what nobody annotated as suggestions.

    Annotations are those saved beside a scan, else its rows of DL_info.csv, whatever was decided about them. Closing
    the generator cancels and leaves whole files alone.

    Parameters
    ----------
    root
        A folder of scans, or one scan.
    second
        A detector that looks at the scans with suggestions, too; see `disagreement`.
    score
        Suggestions have this one at least; None for the detector's operating point.
    out
        Where the files go that would otherwise lie beside the scans; it gets the folders of `root` over again.
    only
        Names of the scans to look at; None for all.

    Returns
    -------
    One for each scan. What cannot be read or detected on has an error, and the others go on.

    Raises
    ------
    UldError
        If there is no scan, or suggestions cannot be written.
    """
    mirror = None if out is None else Mirror(root, out)
    scans = [parts for parts in _scans(root) if only is None or _name(parts) in only]
    beside, mined = FilesBeside(mirror), []
    for number, parts in enumerate(scans):
        name = _name(parts)
        yield Progress(number, len(scans), name)
        if any(known.detector == detector.info.detector for known in beside.findings(parts[0]).values()):
            mined.append(MinedScan(name, before=True))
            continue
        _check_room(parts[0], mirror)
        work = _mine_scan(parts, _suggest(parts, detector, second, score, beside), mirror)
        mined.append((yield from within(work, number, len(scans), name)))
    yield Progress(len(scans), len(scans), "Mined")
    return mined


def _mine_scan(parts: Sequence[ScanEntry], work: Work[tuple[Findings, int]], mirror: Mirror | None) -> Work[MinedScan]:
    """Write what is suggested on one scan, or say why nothing is."""
    started = time.monotonic()
    try:
        findings, left_out = yield from work
    except (UldError, OSError, RuntimeError, MemoryError) as error:
        return MinedScan(_name(parts), error=sentence_of(error))
    path = findings_path(parts[0].path, findings.scan_id, findings.detector)
    if mirror is not None:
        path = mirror.place(path)
        path.parent.mkdir(parents=True, exist_ok=True)
    write_findings(path, findings)
    return MinedScan(_name(parts), str(path), len(findings), left_out, round(time.monotonic() - started, 2))


def sentence_of(error: Exception) -> str:
    """What an error says, on one line."""
    return " ".join(str(error).split()) or type(error).__name__


def disagreement(findings: Findings, second: Findings) -> np.ndarray:
    """How much a second detector disagrees about each finding, (n,): |p1 - p2| where it found the same lesion, else p1.

    Scores are taken as they are: two checkpoints of one recipe mean much the same by them, others may not.
    """
    other = np.zeros(len(findings))
    best: dict[int, float] = {}
    for (row, theirs), overlap in traced_iou(findings.with_margin, second.with_margin).items():
        if overlap > best.get(row, 0.0):
            best[row], other[row] = overlap, second.scores[theirs]
    return np.abs(findings.scores - other)


def unannotated(findings: Findings, annotations: Annotations | None, known: Sequence[Findings] = ()) -> Findings:
    """Leave out what is the same lesion as an annotation, whatever was decided about it.

    Parameters
    ----------
    known
        What detectors found before: an accepted lesion has the trace of its finding there.
    """
    if annotations is None or not len(annotations):
        return findings
    parents = {name: (one, row) for one in known for row, name in enumerate(one.ids)}
    marked = [lesion.with_margin(*parents.get(lesion.parent_id or "", (None, 0))) for lesion in annotations]
    same = {row for _, row in traced_iou(marked, findings.with_margin)}
    return findings.take(np.array([row not in same for row in range(len(findings))], dtype=bool))


def _suggest(
    parts: Sequence[ScanEntry],
    detector: LoadedDetector,
    second: LoadedDetector | None,
    score: float | None,
    beside: FilesBeside,
) -> Work[tuple[Findings, int]]:
    """What is to be suggested on a scan, and how many findings an annotation has already."""
    point = detector.info.operating_point
    least = score if score is not None else DEFAULT_THRESHOLD if point is None else point
    volumes = []
    for part in parts:
        volumes.append((yield from _read(part)))
    found = (yield from _detect(volumes, parts, detector, min(least, lowest_score(point)))).above(least)
    annotations = beside.annotations(parts[0])
    if annotations is not None and annotations.scan_id != found.scan_id:
        annotations = None
    known = list(beside.findings(parts[0], found.scan_id).values())
    suggested = unannotated(found, annotations, known)
    if second is not None and len(suggested):
        theirs = yield from _detect(volumes, parts, second, None)
        suggested = replace(suggested, columns={DISAGREEMENT: disagreement(suggested, theirs)})
    for volume in volumes:
        suggested = yield from with_masks(suggested, volume, detector)
    return suggested, len(found) - len(suggested)


def _detect(
    volumes: Sequence[CTVolume], parts: Sequence[ScanEntry], detector: LoadedDetector, floor: float | None
) -> Work[Findings]:
    found = []
    for volume in volumes:
        found.append((yield from detect(volume, detector, score_floor=floor)))
    return joined(found, _name(parts))


def _read(entry: ScanEntry) -> Work[CTVolume]:
    reading = read_gradually(entry)
    while True:
        try:
            filling = next(reading)
        except StopIteration as done:
            return done.value
        yield Progress(filling.done, filling.total, "reading")


def _scans(root: Path) -> list[list[ScanEntry]]:
    """The scans of a folder; a DeepLesion series of which slices lack is one scan in several parts."""
    scans: dict[tuple[Path, str], list[ScanEntry]] = {}
    for entry in find_scans(root):
        scans.setdefault((entry.path, known_id(entry) or entry.name), []).append(entry)
    return list(scans.values())


def _name(parts: Sequence[ScanEntry]) -> str:
    return parts[0].name if len(parts) == 1 else parts[0].path.name


def _check_room(entry: ScanEntry, mirror: Mirror | None) -> None:
    """Refuse a folder that takes no suggestions before a detector works for them."""
    folder = annotation_path(entry.path).parent
    if mirror is None and not os.access(folder, os.W_OK):
        raise AnnotationFileError(
            f"Nothing may be written in {folder}, where the suggestions for {entry.name} would lie: "
            "give another folder for them with --out"
        )
