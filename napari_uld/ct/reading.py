"""Where every scan comes in: what a path holds, and the one volume that was chosen from it."""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from napari_uld.ct.deeplesion import (
    IMAGES_NAME,
    find_deeplesion,
    is_deeplesion,
    is_named_download,
    is_slice_name,
    read_deeplesion,
)
from napari_uld.ct.dicom import find_dicom
from napari_uld.ct.dicom_headers import start_of
from napari_uld.ct.dicom_images import Image, NoImage, images_in, unreadable
from napari_uld.ct.dicom_reading import read_dicom
from napari_uld.ct.entries import FoundScans, Kind, LeftOut, ScanEntry, group_by_reason
from napari_uld.ct.filling import Filling, Reading
from napari_uld.ct.header import read_start
from napari_uld.ct.images import START, find_image, image_kind, kind_of, read_image
from napari_uld.ct.stored import check_real, damaged
from napari_uld.ct.threads import in_order
from napari_uld.ct.volume import CTVolume
from napari_uld.errors import AmbiguousScanError, ScanError, UnsupportedScanError

# Of those that are read as a whole.
_READERS: dict[Kind, Callable[[ScanEntry], CTVolume]] = {
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
        if path.is_file():
            return find_deeplesion(path) if is_deeplesion(path) else _find_in_file(path)
        if not path.is_dir():
            raise ScanError(f"{path} is neither a file nor a folder; give a scan's file or folder")
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
    reading = _reading(entry, None, shown=False)
    while True:
        try:
            next(reading)
        except StopIteration as done:
            return done.value


def read_gradually(entry: ScanEntry, start: int | None = None) -> Reading:
    """Read a scan that `find_scans` found, and tell how far it is, so that it can be shown before it is whole.

    Parameters
    ----------
    entry
        The scan.
    start
        The slice (z) to begin with, or None for the middle one; others follow from there outwards.

    Yields
    ------
    `Filling`, the first before any pixels are read. It has a volume where the files' headers alone tell its grid: a
    DICOM series of axial slices, one a file, evenly spaced. Nothing of it has been checked yet.

    Returns
    -------
    The volume, all checks passed. It takes the place of the one that was shown, whose voxels it shares unless a file
    changed in the meantime.

    Raises
    ------
    ScanError
        If it is damaged, no CT, or no regular grid: see its subclasses. What was shown is to be taken away.
    """
    return (yield from _reading(entry, start, shown=True))


def _reading(entry: ScanEntry, start: int | None, *, shown: bool) -> Reading:
    if entry.kind == "dicom":
        return (yield from read_dicom(entry, start, shown=shown))
    yield Filling(0, len(entry.files))
    return _READERS[entry.kind](entry)


def _looked_at(file: Path) -> Kind | list[Image] | NoImage | OSError:
    """Open a file once: give its format if it is an image, else what it holds as DICOM."""
    try:
        with file.open("rb", buffering=0) as stream:
            start = start_of(stream)
            return kind_of(start.data[:START], file.name) or images_in(stream, start, file)
    except OSError as error:
        return error


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")


def _why(scans: FoundScans) -> str:
    """Say what all scans say of themselves: why they are several, where that is not meant to be."""
    shared = [sentence for sentence in scans[0].said if all(sentence in entry.said for entry in scans)]
    return "".join(f"; {sentence}" for sentence in shared)


def _find_in_file(file: Path) -> FoundScans:
    """Find the scan of one file; a DICOM slice brings its whole series."""
    if kind := image_kind(file):
        return FoundScans((find_image(file, kind),))
    check_real(file, read_start(file, 512))
    siblings = [child for child in sorted(file.parent.iterdir()) if child.is_file()]
    looked_at = dict(zip(siblings, in_order(_looked_at, siblings), strict=True))
    no_images = {child: unreadable(one) if isinstance(one, OSError) else one for child, one in looked_at.items()}
    entries, left_out = find_dicom(
        {child: one for child, one in no_images.items() if not isinstance(one, str)}, file.parent
    )
    mine = tuple(entry for entry in entries if file in entry.files)
    if not mine:
        raise UnsupportedScanError(f"{file} is {left_out[file]}; {_REQUIRED}")
    return FoundScans(tuple(_with_unique_names(list(mine))), group_by_reason(left_out))


_REQUIRED = "required is a CT as DICOM, NIfTI, NRRD, MetaImage or DeepLesion's 16-bit PNG: open the scan itself"


def _find_in_folder(folder: Path) -> FoundScans:
    """Find all scans in a folder and its subfolders; no kind of file hides another."""
    downloads = [folder] if is_deeplesion(folder) else _downloads_below(folder)
    slices, no_slices_because = _deeplesion_in(downloads)
    series = {file.parent for entry in slices for file in entry.files}
    files = [file for file in _files_below(folder) if not (is_slice_name(file.name) and file.parent in series)]
    entries, left_out = _find_single(files, folder)
    if slices and entries and downloads == [folder] and not is_named_download(folder):
        # Pictures that somebody saved beside a scan: nothing but their numbers speaks for DeepLesion.
        left_out |= {file: _PICTURE for entry in slices for file in entry.files}
        slices = FoundScans(())
    if slices:
        own = {file: one.reason for one in slices.left_out for file in one.files}
        left_out = {
            file: own.get(file, why)
            for file, why in left_out.items()
            if file in own or why != _NOT_DICOM or not any(file.is_relative_to(one) for one in downloads)
        }
    if not slices and not entries:
        raise no_slices_because or _nothing_found(folder, group_by_reason(left_out))
    scans = sorted(_with_unique_names([*entries, *slices]), key=lambda entry: entry.name)
    return FoundScans(tuple(scans), group_by_reason(left_out))


# What `find_dicom` says of files that are none: beside DeepLesion's download they are its own tables and archives.
_NOT_DICOM = "not DICOM"
_PICTURE = (
    "a numbered picture beside a scan; DeepLesion's slices are looked for in a folder of their own, named as its series"
)


def _downloads_below(folder: Path) -> list[Path]:
    """Find the downloads of DeepLesion among a folder's subfolders, by the name that their slices' folder has."""
    found = []
    for where, folders, _ in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if IMAGES_NAME in folders:
            found.append(Path(where))
            folders.clear()
    return found


def _deeplesion_in(downloads: Sequence[Path]) -> tuple[FoundScans, ScanError | None]:
    """Find DeepLesion's slices, or say why there are none where there should be."""
    scans: list[ScanEntry] = []
    left_out: list[LeftOut] = []
    why = None
    for download in downloads:
        try:
            found = find_deeplesion(download)
        except ScanError as error:
            why = error
        else:
            scans += found
            left_out += found.left_out
    return FoundScans(tuple(scans), tuple(left_out)), why


def _find_single(files: list[Path], folder: Path) -> tuple[list[ScanEntry], dict[Path, str]]:
    """Find the images and DICOM series among `files`, and why each other file is none."""
    entries: list[ScanEntry] = []
    left_out: dict[Path, str] = {}
    others: dict[Path, list[Image] | NoImage] = {}
    for file, found in zip(files, in_order(_looked_at, files), strict=True):
        if isinstance(found, list | NoImage):
            others[file] = found
        elif isinstance(found, OSError):
            left_out[file] = str(damaged(file, found))
        else:
            try:
                entries.append(find_image(file, found))
            except ScanError as error:
                left_out[file] = str(error)
    # The voxels of a detached header are part of its scan.
    held = {file for entry in entries for file in entry.files}
    in_dicom, no_dicom = find_dicom({file: found for file, found in others.items() if file not in held}, folder)
    return [*entries, *in_dicom], left_out | no_dicom


def _files_below(folder: Path) -> list[Path]:
    """List all files but hidden ones, in order; what is neither file nor folder, a pipe say, is not read."""
    files: list[Path] = []
    for where, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        below = [Path(where, name) for name in sorted(names) if not name.startswith(".")]
        files += [file for file in below if file.is_file()]
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
