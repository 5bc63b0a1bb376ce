"""Series are one study's phases where their voxels lie in one place, and are refused where they do not."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest

from napari_uld.ct.phases import phases_as, with_phases
from napari_uld.ct.studies import read_study
from napari_uld.ct.volume import CTVolume
from napari_uld.errors import AmbiguousScanError, PhaseError, ScanError

PHASES = ("portal venous", "arterial")
TILTED = np.array([[1.0, 0, 0], [0, 0.9, -0.4], [0, 0.4, 0.9]])


def series(name: str = "portal", shape: tuple[int, int, int] = (4, 6, 8)) -> CTVolume:
    return CTVolume(np.zeros(shape, np.int16), (2.0, 1.0, 1.0), Path(name), name, np.arange(shape[0]))


def test_a_scan_has_its_phases_in_the_detectors_order() -> None:
    portal, arterial = series(), series("arterial")
    study = with_phases(portal, (arterial, portal))
    assert [each.name for each in phases_as(study, PHASES)] == ["arterial", "portal"]
    assert (study.name, phases_as(study, ())) == ("portal", (study,))


@pytest.mark.parametrize(
    ("other", "difference"),
    [
        (series("other", (5, 6, 8)), "it has 5 x 6 x 8 voxels (z, y, x), required are 4 x 6 x 8"),
        (replace(series("other"), spacing=(2.5, 1.0, 1.0)), "its voxels are 2.5 x 1 x 1 mm (z, y, x)"),
        (replace(series("other"), origin=(0.0, -3.0, 1.0)), "it begins 0 -3 1 mm (x, y, z) away"),
        (replace(series("other"), direction=TILTED), "its axes point elsewhere"),
    ],
    ids=["shape", "spacing", "origin", "direction"],
)
def test_a_series_on_another_grid_is_refused_by_name(other: CTVolume, difference: str) -> None:
    with pytest.raises(PhaseError, match="other .* does not lie on the grid of portal") as refused:
        with_phases(series(), (series(), other))
    assert difference in str(refused.value)
    assert "register and resample it" in str(refused.value)


def test_what_headers_round_does_not_make_another_grid() -> None:
    rounded = replace(series("other"), spacing=(2.0, 1.001, 1.001), origin=(0.0004, 0.0, 0.0))
    assert len(with_phases(series(), (series(), rounded)).phases) == 2


def test_a_scan_with_too_few_phases_is_refused_with_what_is_there() -> None:
    with pytest.raises(
        PhaseError, match=r"sees 2 phases together \(portal venous, arterial\), and portal comes with a"
    ):
        phases_as(with_phases(series(), [series("a")]), PHASES)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    for name, hu in (("a.nii", 10), ("p.nii", 50), ("u.nii", 0)):
        voxels = np.full((40, 40, 12), -1000, np.int16)
        voxels[8:32, 8:32] = hu
        nibabel.save(nibabel.Nifti1Image(voxels, np.diag([-1.0, -1, 2, 1])), tmp_path / name)
    return tmp_path


def values(study: CTVolume) -> list[int]:
    return [int(each.hu.max()) for each in study.phases]


def test_files_are_the_phases_that_they_are_named_as(files: Path) -> None:
    study = read_study(files, ["p", "a"], PHASES)
    assert (study.name, values(study)) == ("p", [50, 10])


@pytest.mark.parametrize("named", [(), ("p",), ("p", "a", "u"), ("p", "p")])
def test_where_no_name_says_which_file_is_which_phase_a_person_is_asked(files: Path, named: Sequence[str]) -> None:
    with pytest.raises(AmbiguousScanError, match="a, p, u.* in this order: portal venous, arterial"):
        read_study(files, named, PHASES)


def test_a_series_that_is_not_there_is_told_with_those_that_are(files: Path) -> None:
    with pytest.raises(ScanError, match=r"no scan called 'x'; it holds a, p, u"):
        read_study(files, ["p", "x"], PHASES)


def test_one_series_is_no_study(files: Path) -> None:
    with pytest.raises(PhaseError, match=r"p\.nii holds no more than p, and the detector sees 2 phases"):
        read_study(files / "p.nii", [], PHASES)
