"""Studies of phantoms: the series of one patient in several contrast phases, on one grid."""

from collections.abc import Sequence
from pathlib import Path

from napari_uld.ct.deeplesion import read_slices, slices_on_disk
from napari_uld.ct.phases import with_phases
from napari_uld.ct.volume import CTVolume
from napari_uld.errors import DataError

from .key_slices import Split, split_series
from .phantom.truth import read_phase, truth_series


def split_studies(root: Path, split: Split) -> list[tuple[str, ...]]:
    """The series of each of a split's studies, in order: the first (portal venous) is the one that truth is told of.

    Raises
    ------
    DataError
        If there is none.
    """
    studies: dict[str, list[str]] = {}
    for series in split_series(root, split):
        studies.setdefault(_study(series), []).append(series)
    return [tuple(each) for each in studies.values()]


def phase_series(root: Path, study: Sequence[str], phases: Sequence[str]) -> tuple[str, ...]:
    """The series of a study that show the phases of these names, in their order.

    Raises
    ------
    DataError
        If one is missing.
    """
    if not phases:
        return ()
    by_phase = {read_phase(root, series): series for series in study}
    if missing := [name for name in phases if name not in by_phase]:
        raise DataError(
            f"Study {_study(study[0])} of {root} has the phases {', '.join(by_phase)}, and {', '.join(missing)} is "
            f"needed, too: make phantoms with `napari-uld phantom --phases`, or take a system of one phase"
        )
    return tuple(by_phase[name] for name in phases)


def read_with_phases(volume: CTVolume, root: Path, series: Sequence[str]) -> CTVolume:
    """Give a scan the phases that these series of its study are.

    Raises
    ------
    ScanError
        If one cannot be read, or does not lie on the scan's grid.
    """
    read = [volume if each == volume.name else read_slices(root, each, slices_on_disk(root, each)) for each in series]
    return with_phases(volume, read)


def of_scan(volume: CTVolume, root: Path, series: str, phases: Sequence[str]) -> CTVolume:
    """Give a scan of a phantom the phases that a detector sees, by their names.

    Raises
    ------
    DataError
        If one is missing.
    ScanError
        If one cannot be read, or does not lie on the scan's grid.
    """
    if not phases:
        return volume
    study = [each for each in truth_series(root) if _study(each) == _study(series)]
    return read_with_phases(volume, root, phase_series(root, study or [series], phases))


def _study(series: str) -> str:
    """'000001_01' of '000001_01_02'."""
    return series.rpartition("_")[0]
