"""Suggestions for a folder of scans: what is suggested, where it lies, and what stops a run."""

from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from napari_uld.ct import read_scan
from napari_uld.ct.volume import CTVolume
from napari_uld.errors import ScanError
from napari_uld.inference import mining
from napari_uld.inference.mining import MinedScan, disagreement, mine, unannotated
from napari_uld.lesions.annotation_file import save_annotations
from napari_uld.lesions.annotations import Annotation, Annotations, State
from napari_uld.lesions.findings import Box, Findings
from napari_uld.lesions.findings_file import read_findings
from napari_uld.progress import Progress, Work, finish

FIRST, SECOND = (4.0, 4.0, 14.0, 14.0), (20.0, 20.0, 30.0, 30.0)


@dataclass(frozen=True)
class FakeInfo:
    name: str = "fake"
    digest: str = "1"
    operating_point: float | None = 0.5

    @property
    def detector(self) -> str:
        return f"{self.name} {self.digest}"


@dataclass(frozen=True)
class FakeDetector:
    """Finds these boxes, with these scores, on the second slice of every scan and the one below it."""

    found: tuple[tuple[Box, float], ...] = ((FIRST, 0.9), (SECOND, 0.6))
    info: FakeInfo = FakeInfo()


def findings(found: tuple[tuple[Box, float], ...], native: int = 2) -> Findings:
    return Findings.from_rows(
        scan_id="s",
        scan_name="s",
        method="fake",
        checkpoint="1",
        boxes=[box for box, _ in found],
        scores=[score for _, score in found],
        key_slices=[native] * len(found),
        slice_boxes=tuple({native: box, native + 1: box} for box, _ in found),
        operating_point=0.5,
    )


@pytest.fixture
def floors(monkeypatch: pytest.MonkeyPatch) -> list[float | None]:
    """Detection made of what a fake detector says it finds; gives the floors that were asked for."""
    asked: list[float | None] = []

    def detect(volume: CTVolume, detector: FakeDetector, *, score_floor: float | None) -> Work[Findings]:
        asked.append(score_floor)
        yield Progress(1, 2, "half")
        found = findings(detector.found, volume.native_slice(1))
        info = detector.info
        return replace(found, scan_id=volume.scan_id, scan_name=volume.name, method=info.name, checkpoint=info.digest)

    def with_masks(found: Findings, volume: CTVolume, detector: FakeDetector) -> Work[Findings]:
        yield from ()
        return found

    monkeypatch.setattr(mining, "detect", detect)
    monkeypatch.setattr(mining, "with_masks", with_masks)
    return asked


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Two series of three slices, the second one cut short in the middle, and no table."""
    for series, numbers in (("000001_01_01", (1, 2, 3)), ("000002_01_01", (1, 2, 3, 7, 8, 9))):
        folder = tmp_path / "data" / "Images_png" / series
        folder.mkdir(parents=True)
        for number in numbers:
            cv2.imwrite(str(folder / f"{number:03d}.png"), np.full((40, 40), 32768, np.uint16))
    return tmp_path / "data"


def run(root: Path, detector: FakeDetector | None = None, **options: object) -> list[MinedScan]:
    return finish(mine(root, detector or FakeDetector(), **options))  # type: ignore[arg-type]


def written(folder: Path) -> dict[str, Findings]:
    return {path.name.split(".")[0]: read_findings(path) for path in folder.rglob("*.findings.json")}


@pytest.mark.usefixtures("floors")
def test_suggestions_lie_beside_the_scans_and_parts_of_a_series_share_a_file(archive: Path) -> None:
    mined = run(archive)
    assert [(scan.scan, scan.suggestions, scan.left_out) for scan in mined] == [
        ("000001_01_01", 2, 0),
        ("000002_01_01", 4, 0),
    ]
    files = written(archive / "Images_png")
    assert files["000002_01_01"].scan_name == "000002_01_01"
    assert files["000002_01_01"].scan_id == "deeplesion:000002_01_01"
    assert files["000002_01_01"].key_slices.tolist() == [2, 8, 2, 8]
    assert files["000002_01_01"].slice_boxes[1] == {8: FIRST, 9: FIRST}


@pytest.mark.usefixtures("floors")
def test_with_a_folder_nothing_lies_beside_the_scans(archive: Path, tmp_path: Path) -> None:
    before = sorted(archive.rglob("*"))
    mined = run(archive, out=tmp_path / "out")
    assert sorted(archive.rglob("*")) == before
    assert {Path(scan.file).parent for scan in mined} == {tmp_path / "out" / "Images_png"}
    assert len(written(tmp_path / "out")) == 2
    assert all(scan.before for scan in run(archive, out=tmp_path / "out")), "it is known there, too"


@pytest.mark.parametrize(
    ("given", "point", "suggested", "floor"),
    [(None, 0.7, 1, 0.05), (None, None, 2, 0.05), (0.6, 0.7, 2, 0.05), (0.01, 0.7, 2, 0.01), (0.95, 0.7, 0, 0.05)],
)
def test_suggestions_begin_at_the_operating_point_or_the_score_asked_for(
    archive: Path, floors: list[float | None], given: float | None, point: float | None, suggested: int, floor: float
) -> None:
    # Traced is what is less sure, too: a lesion's outer slices are.
    mined = run(
        archive / "Images_png" / "000001_01_01", FakeDetector(info=FakeInfo(operating_point=point)), score=given
    )
    assert [scan.suggestions for scan in mined] == [suggested]
    assert floors == [floor]


def lesion(scan_id: str, native: int, box: Box, **fields: object) -> Annotation:
    return Annotation(id=f"lesion:{native}", scan_id=scan_id, key_slice=native, box=box, **fields)  # type: ignore[arg-type]


@pytest.mark.usefixtures("floors")
@pytest.mark.parametrize("state", list(State))
def test_what_is_annotated_is_left_out_whatever_was_decided(archive: Path, state: State) -> None:
    scan = read_scan(archive / "Images_png" / "000001_01_01")
    # On the slice below the key slice, a little aside.
    rows = [lesion(scan.scan_id, 3, (21.0, 20.0, 31.0, 30.0), state=state)]
    save_annotations(
        archive / "Images_png" / "000001_01_01.lesions.json",
        Annotations(scan.scan_id, rows),
        scan_name=scan.name,
        scan_source=scan.source.name,
    )
    first, second = run(archive)
    assert (first.suggestions, first.left_out) == (1, 1)
    assert (second.suggestions, second.left_out) == (4, 0)
    assert written(archive)["000001_01_01"].boxes.tolist() == [list(FIRST)]


def test_an_accepted_lesion_has_its_findings_trace() -> None:
    known = findings(((FIRST, 0.9),))
    annotations = Annotations("s")
    annotations.decide(known, 0, State.ACCEPTED)
    # Another detector finds it on the slice below alone.
    below = replace(findings(((FIRST, 0.8),), 3), slice_boxes=({3: FIRST},), checkpoint="2")
    assert len(unannotated(below, annotations)) == 1
    assert len(unannotated(below, annotations, [known])) == 0
    assert len(unannotated(below, None)) == 1


@pytest.mark.usefixtures("floors")
def test_a_stopped_run_goes_on_and_another_checkpoint_begins_anew(archive: Path) -> None:
    work = mine(archive, FakeDetector())  # type: ignore[arg-type]
    assert any(step.message == "000002_01_01: half" for step in work), "it stops there"
    work.close()
    assert list(written(archive)) == ["000001_01_01"]
    assert [(scan.before, scan.suggestions) for scan in run(archive)] == [(True, 0), (False, 4)]
    assert not any(scan.before for scan in run(archive, FakeDetector(info=FakeInfo(digest="2"))))


@pytest.mark.usefixtures("floors")
def test_a_scan_that_cannot_be_read_is_said_and_the_others_go_on(archive: Path) -> None:
    (archive / "Images_png" / "000001_01_01" / "002.png").write_bytes(b"no picture")
    first, second = run(archive)
    assert "002.png" in first.error
    assert (first.suggestions, first.file) == (0, "")
    assert second.suggestions == 4


def test_a_detector_that_fails_on_a_scan_fails_on_that_scan_alone(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def detect(volume: CTVolume, *_: object, **__: object) -> Work[Findings]:
        yield Progress(0, 1)
        raise RuntimeError("out of memory,\nsays CUDA")

    monkeypatch.setattr(mining, "detect", detect)
    assert [scan.error for scan in run(archive)] == ["out of memory, says CUDA"] * 2


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ScanError):
        run(tmp_path)


def test_disagreement_is_the_difference_on_one_lesion_and_the_score_where_there_is_none() -> None:
    ours = findings(((FIRST, 0.9), (SECOND, 0.6)))
    # The nearer of two that overlap counts.
    theirs = findings((((4.0, 4.0, 14.0, 12.0), 0.7), ((4.0, 4.0, 14.0, 9.0), 0.1)))
    assert disagreement(ours, theirs).tolist() == pytest.approx([0.2, 0.6])
    assert disagreement(ours, theirs.take(np.array([], int))).tolist() == [0.9, 0.6]


@pytest.mark.usefixtures("floors")
def test_a_second_detectors_disagreement_is_a_column_of_what_is_suggested(archive: Path) -> None:
    second = FakeDetector(((SECOND, 0.9),), FakeInfo(digest="2"))
    run(archive / "Images_png" / "000001_01_01", second=second)
    (suggested,) = written(archive).values()
    assert suggested.columns["disagreement"].tolist() == pytest.approx([0.9, 0.3])
