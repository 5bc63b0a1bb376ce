import os
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest

from napari_uld.ct import find_scans
from napari_uld.ct.entries import ScanEntry
from napari_uld.ct.reading import read_entry
from napari_uld.lesions.annotations import State
from napari_uld.lesions.findings import Findings
from napari_uld.viewer.state.beside import Beside
from napari_uld.viewer.state.case import Case, Counts
from napari_uld.viewer.state.case_store import CaseStore
from napari_uld.viewer.state.cases import CaseList, Which
from napari_uld.viewer.state.files import keep_findings, open_case, save_case

MakeList = Callable[..., CaseList]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three small CTs as NIfTI, one of them in a subfolder."""
    root = tmp_path / "study"
    (root / "later").mkdir(parents=True)
    for seed, name in enumerate(("arterial", "portal", "later/portal")):
        hu = np.random.default_rng(seed).integers(-200, 200, (40, 44, 6), dtype=np.int16)
        nibabel.save(nibabel.Nifti1Image(hu, np.diag([-0.8, -0.8, 2.0, 1.0])), root / f"{name}.nii.gz")
    return root


@pytest.fixture
def listed(root: Path, tmp_path: Path) -> MakeList:
    """A list of the folder as a window makes it, from the files that are there now."""

    def make(warn: Callable[[str], None] = pytest.fail) -> CaseList:
        return CaseList(root, find_scans(root), CaseStore(tmp_path / "cases.json"), warn)

    return make


def opened(entry: ScanEntry) -> Case:
    case, _ = open_case(read_entry(entry))
    case.entry = entry
    return case


def places(cases: CaseList, text: str = "", which: Which = Which.ALL) -> list[int]:
    return [i for i in range(len(cases.scans)) if cases.shows(i, text, which)]


def test_scans_of_one_name_are_told_apart_by_where_they_lie(listed: MakeList) -> None:
    cases = listed()
    assert [scan.where for scan in cases.scans] == ["", "later", ""]
    assert len({scan.key for scan in cases.scans}) == 3


def test_how_far_a_scan_is_and_what_was_open_survives_a_restart(listed: MakeList) -> None:
    cases = listed()
    cases.open(1)
    cases.count(1, Counts(3, 20, 12))
    cases.mark_done(2, True)
    again = listed()
    assert again.last == 1
    assert again.scans[1].said() == "3 annotated, 12 of 20 decided"
    assert [scan.done for scan in again.scans] == [False, False, True]
    assert again.scans[0].said() == "not opened yet"


def test_a_scan_stays_known_when_others_come_and_go(listed: MakeList, root: Path) -> None:
    listed().mark_done(2, True)
    (root / "arterial.nii.gz").unlink()
    assert [scan.done for scan in listed().scans] == [False, True]


def test_an_opened_scan_without_lesions_says_so(listed: MakeList) -> None:
    cases = listed()
    cases.open(0)
    cases.count(0, Counts(0, 0, 0))
    assert cases.scans[0].said() == "no lesions yet"


def test_words_and_what_is_done_choose_what_is_shown(listed: MakeList) -> None:
    cases = listed()
    cases.mark_done(0, True)
    assert places(cases, "PORTAL") == [1, 2]
    assert places(cases, "portal later") == [1]
    assert places(cases, which=Which.TO_DO) == [1, 2]
    assert places(cases, which=Which.DONE) == [0]


@pytest.mark.parametrize(
    ("at", "by", "shown", "expected"),
    [
        (0, 1, [0, 1, 2], 1),
        (2, 1, [0, 1, 2], None),
        (1, -1, [0, 1, 2], 0),
        (0, -1, [0, 1, 2], None),
        # It was marked as done, and only those to do are shown.
        (1, 1, [0, 2], 2),
        (1, -1, [0, 2], 0),
        (None, 1, [1, 2], 1),
        (None, -1, [1, 2], 2),
        (None, 1, [], None),
    ],
)
def test_the_next_scan_is_the_next_of_those_that_are_shown(
    listed: MakeList, at: int | None, by: int, shown: list[int], expected: int | None
) -> None:
    assert listed().step(at, by, shown) == expected


def test_the_open_scan_is_found_whichever_folder_it_was_opened_from(listed: MakeList, root: Path) -> None:
    cases = listed()
    (entry,) = find_scans(root / "later" / "portal.nii.gz")
    assert cases.find(opened(entry)) == 1
    assert cases.find(None) is None


def test_a_scan_of_elsewhere_is_not_of_the_list(listed: MakeList, root: Path, tmp_path: Path) -> None:
    copy = tmp_path / "portal.nii.gz"
    copy.write_bytes((root / "portal.nii.gz").read_bytes())
    (entry,) = find_scans(copy)
    assert listed().find(opened(entry)) is None


def test_a_scan_that_was_never_opened_here_is_counted_from_the_files_beside_it(listed: MakeList) -> None:
    cases = listed()
    case = opened(cases.scans[1].entry)
    case.add(2, (1.0, 2.0, 9.0, 9.0))
    findings = Findings.from_rows(
        scan_id=case.volume.scan_id,
        scan_name=case.volume.name,
        method="fake",
        checkpoint="f00",
        boxes=[[20, 20, 30, 30], [1, 20, 12, 30], [20, 2, 30, 12], [1, 2, 9, 9]],
        scores=[0.9, 0.8, 0.7, 0.95],
        key_slices=[3, 3, 3, case.volume.native_slice(2)],
    )
    case.set_findings(findings)
    keep_findings(case, findings.detector)
    case.decide(findings.finding_id(0), State.REJECTED)
    save_case(case)
    # The last finding is the annotated lesion: nobody is asked about it.
    assert case.counts == Counts(annotated=1, found=3, decided=1)
    assert list(cases.count_from_files(Beside())) == [(1, case.counts)]


def test_a_scan_is_counted_anew_when_its_files_changed_since(listed: MakeList) -> None:
    cases = listed()
    case = opened(cases.scans[0].entry)
    case.add(2, (1.0, 2.0, 9.0, 9.0))
    path = save_case(case)
    cases.count(0, Counts(5, 0, 0))
    assert list(listed().count_from_files(Beside())) == []
    os.utime(path, (path.stat().st_atime, path.stat().st_mtime + 60))
    assert list(listed().count_from_files(Beside())) == [(0, Counts(1, 0, 0))]


def test_what_files_say_of_a_scan_that_is_open_here_comes_too_late(listed: MakeList) -> None:
    cases = listed()
    cases.count(0, Counts(5, 0, 0))
    cases.take_counts(0, Counts(1, 0, 0))
    cases.take_counts(1, Counts(1, 0, 0))
    assert [scan.counts for scan in cases.scans[:2]] == [Counts(5, 0, 0), Counts(1, 0, 0)]


def test_a_damaged_annotation_file_spoils_no_list(listed: MakeList, root: Path) -> None:
    (root / "arterial.lesions.json").write_text("{")
    assert list(listed().count_from_files(Beside())) == []


def test_a_deeplesion_series_is_counted_from_its_table(deeplesion: Path, tmp_path: Path) -> None:
    cases = CaseList(deeplesion, find_scans(deeplesion), CaseStore(tmp_path / "cases.json"), pytest.fail)
    ((_, counts),) = cases.count_from_files(Beside())
    assert counts == Counts(annotated=1, found=0, decided=0)
    assert opened(cases.scans[0].entry).counts == counts


def test_that_nothing_can_be_kept_is_said_once_and_the_list_goes_on(root: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said: list[str] = []
    cases = CaseList(root, find_scans(root), CaseStore(tmp_path / "file" / "cases.json"), said.append)
    cases.mark_done(0, True)
    cases.open(1)
    assert len(said) == 1
    assert cases.scans[0].done
