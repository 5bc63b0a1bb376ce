"""Studies of several phases: one scan a patient, told by its first series."""

import shutil
from pathlib import Path

import pytest

from napari_uld.ct.deeplesion import read_slices, slices_on_disk
from napari_uld.errors import DataError, PhaseError
from napari_uld.evaluation.protocols import PROTOCOLS
from napari_uld.training.data.studies import of_scan, phase_series, split_studies
from napari_uld.training.data.sub_volumes import sub_volumes
from napari_uld.training.data.truths import true_scans
from napari_uld.training.data.volume_dataset import true_volumes

FIRST = ["000001_01_01", "000002_01_01"]


def test_whatever_phases_there_are_each_patients_lesions_are_counted_once(phases: Path) -> None:
    assert [study[0] for study in split_studies(phases, "all")] == FIRST
    assert [each.series for each in true_volumes(phases, "all")] == FIRST
    assert [each.series for each in sub_volumes(phases, "all")] == FIRST
    for protocol in ("p3d", "3d", "lens"):
        scans = true_scans(phases, "all", PROTOCOLS[protocol], None).scans
        assert [each.name for each in scans] == FIRST


def test_phases_are_found_by_what_the_truth_calls_them(phases: Path) -> None:
    (study, _) = split_studies(phases, "all")
    wanted = ("unenhanced", "portal venous")
    assert phase_series(phases, study, wanted) == ("000001_01_03", "000001_01_01")
    volume = read_slices(phases, study[0], slices_on_disk(phases, study[0]))
    seen = of_scan(volume, phases, study[0], wanted)
    assert (seen.name, [each.name for each in seen.phases]) == ("000001_01_01", ["000001_01_03", "000001_01_01"])


def test_a_phase_that_was_not_made_is_told_with_those_that_were(phases: Path) -> None:
    with pytest.raises(DataError, match="has the phases portal venous, arterial, unenhanced, and delayed is needed"):
        true_volumes(phases, "all", ("arterial", "delayed"))


def test_phases_of_which_one_lost_slices_are_refused(phases: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(phases, tmp_path / "copy")
    images = sorted((copy / "Images_png" / "000001_01_02").iterdir())
    images[-1].unlink()
    (study, *_) = true_volumes(copy, "val", ("portal venous", "arterial"))
    with pytest.raises(PhaseError, match="000001_01_02 .* does not lie on the grid of 000001_01_01"):
        study.read()
