"""The loop of mining closed once by script: the truth decides as a careful person would.

What a detector suggests on phantoms is accepted where it is a lesion that nobody has marked yet, measured as by one
key, and put into a DL_info.csv with where it came from. The rest is rejected.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_uld.ct import read_scan
from napari_uld.ct.dl_info import read_dl_info
from napari_uld.ct.volume import CTVolume
from napari_uld.evaluation.overlaps import p3d_iou
from napari_uld.inference.checkpoint import LoadedDetector
from napari_uld.inference.mining import mine
from napari_uld.lesions.annotations import Annotations, Source, State
from napari_uld.lesions.deeplesion import annotations_from_dl_info, write_dl_info
from napari_uld.lesions.findings import Findings
from napari_uld.lesions.findings_file import read_findings
from napari_uld.masks.from_box import measured
from napari_uld.progress import Progress, Work

from ..data.key_slices import SOFT_TISSUE, SPLITS
from ..data.phantom.truth import TrueLesion, read_truth, truth_series

# A suggestion is a lesion from this pseudo-3D IoU on, as the paper counts hits.
TRUE_IOU = 0.5
REVIEWER = "truth"
SUGGESTIONS = "suggestions"
ALL = slice(None)


@dataclass(frozen=True)
class LoopReport:
    """What one turn of the loop took and gave.

    Parameters
    ----------
    scans
        Training scans that the table lists, and that were mined.
    listed, unlisted
        Lesions of these scans in the table before, and true ones that it lacks.
    decisions, accepted
        Suggestions that were decided on, and those of them that were accepted.
    lesions
        True lesions that the table lacked and that were accepted: one suggestion may hold two.
    failed
        Scans that could not be mined.
    """

    scans: int
    listed: int
    unlisted: int
    decisions: int
    accepted: int
    lesions: int
    failed: int

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, for JSON."""
        return asdict(self)


def close_loop(
    data: Path, detector: LoadedDetector, out: Path, *, score: float | None = None, patients: slice = ALL
) -> Work[LoopReport]:
    """Mine the training phantoms, decide by their truth, and write the table to train on; `data` stays as it is.

    Parameters
    ----------
    data
        Phantoms.
    out
        A folder: ``DL_info.csv`` goes there, and the suggestions into a folder of their own. Those that are there stay.
    score
        As `mine` takes it.
    patients
        Which of the training patients, in order.

    Raises
    ------
    UldError
        If the phantoms cannot be read, or `out` cannot be written.
    """
    info = read_dl_info(data / "DL_info.csv")
    known = set(truth_series(data))
    series = [name for name, rows in sorted(info.by_series.items()) if rows[0].split == SPLITS["train"]]
    chosen = sorted({name.split("_")[0] for name in series})[patients]
    series = [name for name in series if name in known and name.split("_")[0] in chosen]
    out.mkdir(parents=True, exist_ok=True)
    mined = yield from mine(data, detector, score=score, out=out / SUGGESTIONS, only=series)
    files = {path.name.split(".")[0]: path for path in (out / SUGGESTIONS).rglob("*.findings.json")}
    decided: dict[str, Annotations] = {}
    reached = 0
    truths = {name: read_truth(data, name) for name in series}
    for number, name in enumerate(series):
        yield Progress(number, len(series), f"Deciding on {name}")
        if name in files:
            volume, findings = read_scan(data / "Images_png" / name), read_findings(files[name])
            annotations = Annotations(volume.scan_id, annotations_from_dl_info(info, name, volume.scan_id))
            reached += decide(volume, findings, truths[name], annotations)
            decided[name] = annotations
    write_dl_info(out / "DL_info.csv", info, decided)
    fresh = [row for annotations in decided.values() for row in annotations if row.source is not Source.EXPERT]
    return LoopReport(
        scans=len(series),
        listed=sum(len(info.by_series[name]) for name in series),
        unlisted=sum(not lesion.listed for lesions in truths.values() for lesion in lesions),
        decisions=len(fresh),
        accepted=sum(row.state is State.ACCEPTED for row in fresh),
        lesions=reached,
        failed=sum(bool(scan.error) for scan in mined),
    )


def decide(volume: CTVolume, findings: Findings, lesions: Sequence[TrueLesion], annotations: Annotations) -> int:
    """Decide on every finding of a scan, the surest first; give how many unlisted lesions were accepted.

    A finding is accepted where it is a lesion that is neither listed nor accepted before, and measured then, which may
    move it to another slice.
    """
    boxes = np.array([lesion.boxes[lesion.key_slice] for lesion in lesions]).reshape(-1, 4)
    keys = np.array([lesion.key_slice for lesion in lesions], dtype=int)
    marked = np.array([lesion.listed for lesion in lesions], dtype=bool)
    before = marked.sum()
    hits = p3d_iou(findings.slice_boxes, boxes, keys) >= TRUE_IOU
    for row in range(len(findings)):
        if not (hits[row] & ~marked).any():
            annotations.decide(findings, row, State.REJECTED, REVIEWER)
            continue
        marked |= hits[row]
        native, recist, _ = measured(
            volume,
            int(findings.key_slices[row]),
            findings.slice_boxes[row],
            findings.masks[row],
            volume.window or SOFT_TISSUE,
            tight=findings.tight,
        )
        annotations.edit_finding(
            findings, row, action="measure", key_slice=native, recist=recist, box=recist.box(), reviewer=REVIEWER
        )
    return int(marked.sum() - before)
