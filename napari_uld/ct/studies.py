"""Which series a study has, and which of them is which contrast phase, as far as names and headers tell."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from napari_uld.ct.deeplesion import find_deeplesion
from napari_uld.ct.entries import ScanEntry
from napari_uld.ct.phases import with_phases
from napari_uld.ct.reading import find_scans, read_entry
from napari_uld.ct.volume import CTVolume
from napari_uld.errors import AmbiguousScanError, PhaseError, ScanError

# What DICOM series of one grid have in common, besides their slices' positions.
SHARED = ("StudyInstanceUID", "FrameOfReferenceUID", "Rows", "Columns")
# Numbers that may be written with another rounding, and by how much they may differ; positions by these mm.
NUMBERS, ROUNDING, ROUNDING_MM = ("ImageOrientationPatient", "PixelSpacing"), 1e-3, 0.05


def of_study(entry: ScanEntry, among: Sequence[ScanEntry] = ()) -> tuple[ScanEntry, ...]:
    """All series of a scan's study that lie on its grid, by their headers; itself among them, in order of name.

    Parameters
    ----------
    entry
        A scan. Of DeepLesion's the series beside it are looked at.
    among
        Other scans that were found with it.
    """
    if entry.kind == "deeplesion":
        among = _beside(entry)
    others = (other for other in among if other.files != entry.files and _on_grid(entry, other))
    return tuple(sorted((entry, *others), key=lambda each: each.name))


def in_order(entries: Sequence[ScanEntry], phases: Sequence[str]) -> list[ScanEntry]:
    """The series of one study that are these phases, in their order; [] where names do not say which is which.

    A phase's series has its name in its own; DeepLesion's are in the phases' order.
    """
    named = [[each for each in entries if phase.casefold() in each.name.casefold()] for phase in phases]
    if all(len(found) == 1 for found in named):
        return [each for (each,) in named]
    studies = {study_name(each) for each in entries}
    if len(studies) != 1 or "" in studies or len(entries) < len(phases):
        return []
    return sorted(entries, key=lambda each: each.name)[: len(phases)]


def study_name(entry: ScanEntry) -> str:
    """What a series' name says of its study ("000001_01" of "000001_01_02"), "" where it says nothing."""
    return entry.name.rpartition("_")[0] if entry.kind == "deeplesion" and entry.name.count("_") == 2 else ""


def read_study(path: Path | str, series: Sequence[str], phases: Sequence[str]) -> CTVolume:
    """Read those scans at a path that are a study's phases.

    Parameters
    ----------
    path
        As for `find_scans`.
    series
        The scans of the phases by name, in the detector's order. Where names tell which is which (see `in_order`), one
        of DeepLesion's study is enough, or none if the path holds one study.
    phases
        What the detector calls its phases.

    Returns
    -------
    CTVolume
        The first of the study's series, or the one that was named, with its `phases`.

    Raises
    ------
    AmbiguousScanError
        If nothing says which series is which phase.
    ScanError
        If one is not there or cannot be read.
    PhaseError
        If they do not lie on one grid.
    """
    scans = find_scans(path)
    by_name = {entry.name: entry for entry in scans}
    if unknown := [name for name in series if name not in by_name]:
        raise ScanError(f"{path} has no scan called {unknown[0]!r}; it holds {', '.join(list(by_name)[:20])}")
    if len(scans) < len(phases):
        raise PhaseError(
            f"{path} holds no more than {', '.join(by_name)}, and the detector sees {len(phases)} phases together "
            f"({', '.join(phases)}): give the folder that holds all series of the study"
        )
    chosen = [by_name[name] for name in series]
    if len(chosen) < 2:
        studies = {study_name(entry) for entry in chosen or scans}
        chosen = in_order([entry for entry in scans if {study_name(entry)} == studies], phases)
    if len(chosen) != len(phases) or len(set(series)) != len(series):
        raise AmbiguousScanError(
            f"{path} holds {len(scans)} scans ({', '.join(list(by_name)[:20])}), and the detector sees {len(phases)} "
            f"phases together: name the scan of each, in this order: {', '.join(phases)}"
        )
    read = [read_entry(entry) for entry in chosen]
    named = [each for entry, each in zip(chosen, read, strict=True) if entry.name in series]
    return with_phases((named or read)[0], read)


def _beside(entry: ScanEntry) -> list[ScanEntry]:
    """Find the series of DeepLesion's that are called as of the same study."""
    study = study_name(entry)
    folders = [] if not study else [each for each in entry.path.parent.glob(f"{study}_*") if each.is_dir()]
    found: list[ScanEntry] = []
    for folder in folders:
        try:
            found += find_deeplesion(folder)
        except ScanError:
            # No series: said when somebody opens it.
            continue
    return found


def _on_grid(entry: ScanEntry, other: ScanEntry) -> bool:
    """Whether another scan is of the same study, and its slices lie where this one's do."""
    if other.kind != entry.kind or other.slices != entry.slices:
        return False
    if entry.kind == "deeplesion":
        alike = [file.name for file in other.files] == [file.name for file in entry.files]
        return alike and study_name(other) == study_name(entry) != ""
    if not len(entry.headers) == len(other.headers) == entry.slices:
        return False
    one, another = (next(iter(each.headers.values())) for each in (entry, other))
    if one.get("StudyInstanceUID") is None or any(one.get(key) != another.get(key) for key in SHARED):
        return False
    pairs = [(one.get(key), another.get(key)) for key in NUMBERS]
    if any(a is None or b is None or not np.allclose(a, b, atol=ROUNDING) for a, b in pairs):
        return False
    places, others = _positions(entry), _positions(other)
    return len(places) == len(others) == entry.slices and np.allclose(places, others, atol=ROUNDING_MM)


def _positions(entry: ScanEntry) -> np.ndarray:
    """(n, 3) where a DICOM series' slices lie, in order, mm; fewer than there are slices where one does not say it."""
    known = [header.position for header in entry.headers.values() if header.position is not None]
    places = np.asarray(known, float).reshape(-1, 3)
    return places[np.lexsort(np.round(places, 1).T)]
