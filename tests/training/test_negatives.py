"""Hard negatives of a folder of scans: a file a scan, and what becomes of those that are there."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from napari_uld.errors import DataError, ScanError
from napari_uld.lesions.findings import Findings
from napari_uld.lesions.findings_file import read_findings, write_findings
from napari_uld.progress import Progress, Work, finish
from napari_uld.training import negatives
from napari_uld.training.negatives import mine_negatives

NAMES = ("000001_01_01", "000002_01_01", "000003_01_01")


def found(name: str, checkpoint: str = "1") -> Findings:
    return Findings.from_rows(
        scan_id=f"deeplesion:{name}",
        scan_name=name,
        method="m",
        checkpoint=checkpoint,
        boxes=[[0, 0, 9, 9]],
        scores=[0.9],
        key_slices=[1],
        negative=[True],
    )


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three scans: one with a mistake, one without, one that cannot be read."""
    (tmp_path / "truth").mkdir()
    for name in NAMES:
        (tmp_path / "truth" / f"{name}.json").write_text(json.dumps({}))

    def mine_misses(_: object, root: Path, series: list[str], *, score: float, per_slice: int) -> Work[list[Findings]]:
        yield Progress(0, 1, f"from {score:g} on")
        if series == [NAMES[2]]:
            raise ScanError("damaged")
        return [found(series[0])] if series == [NAMES[0]] else []

    monkeypatch.setattr(negatives, "mine_misses", mine_misses)
    return tmp_path


def mined(root: Path, **options: object) -> list[tuple[str, int, str, bool]]:
    detector = SimpleNamespace(info=SimpleNamespace(detector="m 1"))
    scans = finish(mine_negatives(root, detector, **options))  # type: ignore[arg-type]
    return [(scan.scan, scan.suggestions, scan.error, scan.before) for scan in scans]


def test_each_scan_has_a_file_and_one_that_fails_stops_no_other(root: Path) -> None:
    assert mined(root) == [(NAMES[0], 1, "", False), (NAMES[1], 0, "", False), (NAMES[2], 0, "damaged", False)]
    assert [path.name for path in (root / "negatives").glob("*.json")] == [f"{NAMES[0]}.findings.json"]
    assert mined(root)[0] == (NAMES[0], 0, "", True)


def test_another_checkpoints_files_are_replaced_also_where_nothing_takes_their_place(root: Path) -> None:
    folder = root / "out" / "negatives"
    folder.mkdir(parents=True)
    for name in NAMES[:2]:
        write_findings(folder / f"{name}.findings.json", found(name, "old"))
    mined(root, out=root / "out")
    (path,) = folder.glob("*.findings.json")
    assert read_findings(path).detector == "m 1"


def test_scans_of_which_no_truth_is_known_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        mined(tmp_path)
