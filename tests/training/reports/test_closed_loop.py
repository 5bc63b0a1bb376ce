"""The loop closed by script: what the truth accepts, how it is measured, and the table that comes of it."""

from pathlib import Path

import numpy as np
import pytest

from napari_uld.ct import read_scan
from napari_uld.ct.dl_info import read_dl_info
from napari_uld.inference import mining
from napari_uld.lesions.annotations import Annotations, Source, State
from napari_uld.lesions.boxes import iou
from napari_uld.lesions.findings import Findings, SliceBoxes
from napari_uld.lesions.findings_file import write_findings
from napari_uld.progress import Work, finish
from napari_uld.training.data.key_slices import read_split
from napari_uld.training.data.phantom.truth import TrueLesion, read_truth
from napari_uld.training.reports import closed_loop
from napari_uld.training.reports.closed_loop import close_loop, decide

# Where no phantom has a lesion: a corner of the picture.
NOTHING: SliceBoxes = {30: (1.0, 1.0, 12.0, 12.0)}


def suggestions(series: str, traces: list[SliceBoxes], keys: list[int]) -> Findings:
    """Findings, each surer than the next."""
    return Findings.from_rows(
        scan_id=f"deeplesion:{series}",
        scan_name=series,
        method="m",
        checkpoint="c",
        boxes=[trace[key] for trace, key in zip(traces, keys, strict=True)],
        scores=np.linspace(0.9, 0.6, len(traces)),
        key_slices=keys,
        slice_boxes=tuple(traces),
    )


def unlisted(root: Path) -> tuple[str, list[TrueLesion]]:
    """A training series and its lesions, of which at least one is unlisted and one listed."""
    for series in sorted({key.series for key in read_split(root, "train").slices}):
        lesions = read_truth(root, series)
        if {lesion.listed for lesion in lesions} == {True, False}:
            return series, lesions
    raise AssertionError("no such phantom")


def test_a_lesion_is_accepted_once_and_measured_and_all_else_is_rejected(phantoms: Path) -> None:
    series, lesions = unlisted(phantoms)
    new, old = (next(lesion for lesion in lesions if lesion.listed is listed) for listed in (False, True))
    volume, annotations = read_scan(phantoms / "Images_png" / series), Annotations(f"deeplesion:{series}")
    findings = suggestions(
        series,
        [NOTHING, new.boxes, new.boxes, old.boxes],
        [30, new.key_slice, next(iter(new.boxes)), old.key_slice],
    )
    assert decide(volume, findings, lesions, annotations) == 1
    states = {row.parent_id: row.state for row in annotations}
    assert [states[name] for name in findings.ids] == [State.REJECTED, State.ACCEPTED, *[State.REJECTED] * 2]
    (lesion,) = (row for row in annotations if row.state is State.ACCEPTED)
    assert (lesion.source, lesion.reviewer) == (Source.EDITED, "truth")
    assert lesion.recist is not None
    assert lesion.box == lesion.recist.box()
    assert iou(np.array([lesion.box]), np.array([new.boxes[lesion.key_slice]]))[0, 0] > 0.4


def test_the_table_that_comes_of_it_is_trained_on_with_the_images(
    phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    series, lesions = unlisted(phantoms)
    new = next(lesion for lesion in lesions if not lesion.listed)
    asked: list[object] = []

    def mine(root: Path, _: object, *, out: Path, only: list[str], score: float | None) -> Work[list]:
        asked.append(only)
        folder = out / "Images_png"
        folder.mkdir(parents=True)
        findings = suggestions(series, [new.boxes, NOTHING], [new.key_slice, 30])
        write_findings(folder / f"{series}.1.2.findings.json", findings)
        yield from ()
        return [mining.MinedScan(series, suggestions=2)]

    monkeypatch.setattr(closed_loop, "mine", mine)
    before = (phantoms / "DL_info.csv").read_bytes()
    report = finish(close_loop(phantoms, None, tmp_path / "out"))  # type: ignore[arg-type]
    assert (report.decisions, report.accepted, report.lesions, report.failed) == (2, 1, 1, 0)
    assert asked == [sorted({key.series for key in read_split(phantoms, "train").slices})]
    assert (phantoms / "DL_info.csv").read_bytes() == before
    (tmp_path / "out" / "Images_png").symlink_to(phantoms / "Images_png")
    trained = read_split(tmp_path / "out", "train", tuple(Source)).slices
    assert [source for key in trained for source in key.sources].count(Source.EDITED) == 1
    assert (
        len(read_dl_info(tmp_path / "out" / "DL_info.csv").rows) == len(read_dl_info(phantoms / "DL_info.csv").rows) + 1
    )
