"""Where every scan comes in: what a path holds, and the one volume that was chosen from it."""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from napari_uld.ct.deeplesion import find_deeplesion, is_deeplesion, read_deeplesion
from napari_uld.ct.dicom import find_dicom, read_dicom
from napari_uld.ct.entries import FoundScans, Kind, LeftOut, ScanEntry, group_by_reason
from napari_uld.ct.images import find_image, image_kind, read_image
from napari_uld.ct.volume import CTVolume
from napari_uld.errors import AmbiguousScanError, ScanError, UnsupportedScanError

_READERS: dict[Kind, Callable[[ScanEntry], CTVolume]] = {
    "dicom": read_dicom,
    "deeplesion": read_deeplesion,
    "nifti": read_image,
    "nrrd": read_image,
    "mha": read_image,
}


def find_scans(path: Path | str) -> FoundScans:
    """List the CT scans a file or folder holds, without reading pixels.

    Parameters
    ----------
    path
        A NIfTI, NRRD or MetaImage file; a DICOM file (its series is looked for in the same folder); a
        folder of these, subfolders included; a DeepLesion root, ``Images_png``, series folder or
        ``DL_info.csv``.

    Returns
    -------
    The scans, a sequence of `ScanEntry` with unique names, and what was left out and why.

    Raises
    ------
    ScanError
        If the path does not exist or holds nothing that can be read.
    UnsupportedScanError
        If all it holds is something else than a CT volume.
    """
    path = Path(path)
    if not path.exists():
        raise ScanError(f"{path} does not exist; give a scan's file or folder")
    try:
        if is_deeplesion(path):
            return find_deeplesion(path)
        if path.is_file():
            return _find_in_file(path)
        return _find_in_folder(path)
    except PermissionError as error:
        raise ScanError(f"{path} may not be read ({error}); ask for permission or copy it") from error


def read_scan(path: Path | str, name: str | None = None) -> CTVolume:
    """Read the one scan at `path`, or the one that is called `name`.

    Parameters
    ----------
    path
        As for `find_scans`.
    name
        Which scan, as `find_scans` calls it; needed only where there are several.

    Raises
    ------
    AmbiguousScanError
        If there are several scans and no name was given.
    ScanError
        If there is no such scan, or it is damaged, no CT, or no regular grid: see its subclasses.
    """
    scans = find_scans(path)
    names = [entry.name for entry in scans]
    if name is None and len(scans) > 1:
        raise AmbiguousScanError(
            f"{path} holds {len(scans)} scans: {_listed(names)}; choose one by its name{_why(scans)}"
        )
    if name is not None and name not in names:
        raise ScanError(f"{path} has no scan called {name!r}; it holds {_listed(names)}")
    return read_entry(scans[0] if name is None else scans[names.index(name)])


def read_entry(entry: ScanEntry) -> CTVolume:
    """Read a scan that `find_scans` found.

    Raises
    ------
    ScanError
        If it is damaged, no CT, or no regular grid: see its subclasses.
    """
    return _READERS[entry.kind](entry)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")


def _why(scans: FoundScans) -> str:
    """Say what all scans say of themselves: why they are several, where that is not meant to be."""
    shared = [sentence for sentence in scans[0].said if all(sentence in entry.said for entry in scans)]
    return "".join(f"; {sentence}" for sentence in shared)


def _find_in_file(file: Path) -> FoundScans:
    """Find the scan of one file; a DICOM slice brings its whole series."""
    if image_kind(file):
        return FoundScans((find_image(file),))
    siblings = [child for child in sorted(file.parent.iterdir()) if child.is_file() and not image_kind(child)]
    entries, left_out = find_dicom(siblings, file.parent)
    mine = tuple(entry for entry in entries if file in entry.files)
    if not mine:
        raise UnsupportedScanError(f"{file} is {left_out[file]}; {_REQUIRED}")
    return FoundScans(tuple(_with_unique_names(list(mine))), group_by_reason(left_out))


_REQUIRED = "required is a CT as DICOM, NIfTI, NRRD, MetaImage or DeepLesion's 16-bit PNG: open the scan itself"


def _find_in_folder(folder: Path) -> FoundScans:
    """Find all scans in a folder and its subfolders."""
    entries: list[ScanEntry] = []
    left_out: dict[Path, str] = {}
    others: list[Path] = []
    for file in _files_below(folder):
        if not image_kind(file):
            others.append(file)
            continue
        try:
            entries.append(find_image(file))
        except ScanError as error:
            left_out[file] = str(error)
    in_dicom, no_slices = find_dicom(others, folder)
    left_out |= no_slices
    if not entries and not in_dicom:
        raise _nothing_found(folder, group_by_reason(left_out))
    scans = sorted(_with_unique_names([*entries, *in_dicom]), key=lambda entry: entry.name)
    return FoundScans(tuple(scans), group_by_reason(left_out))


def _files_below(folder: Path) -> list[Path]:
    """List all files but hidden ones, in order."""
    files: list[Path] = []
    for where, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        files += [Path(where, name) for name in sorted(names) if not name.startswith(".")]
    return files


def _nothing_found(folder: Path, left_out: tuple[LeftOut, ...]) -> ScanError:
    """Say that a folder is empty, or what it holds instead of a CT."""
    if not left_out:
        return ScanError(f"{folder} is empty; {_REQUIRED}")
    reasons = "; ".join(str(one) for one in left_out[:5])
    return UnsupportedScanError(f"{folder} holds no CT ({reasons}); {_REQUIRED}")


def _with_unique_names(entries: list[ScanEntry]) -> list[ScanEntry]:
    """Append a count to names that several scans share."""
    totals = Counter(entry.name for entry in entries)
    seen: Counter[str] = Counter()
    unique = []
    for entry in entries:
        seen[entry.name] += 1
        unique.append(replace(entry, name=f"{entry.name} ({seen[entry.name]})") if totals[entry.name] > 1 else entry)
    return unique
