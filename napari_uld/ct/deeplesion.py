"""DeepLesion: 16-bit PNG slices in ``Images_png/<series>/NNN.png`` beside ``DL_info.csv``.

Slices are numbered towards the feet and HU = png - 32768 (Yan et al., "DeepLesion: automated mining of
large-scale lesion annotations and universal lesion detection with deep learning", 2018). Only what is
on disk is offered: most people have a part of the download.
"""

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from napari_uld.ct.dl_info import DlInfo, read_dl_info
from napari_uld.ct.entries import FoundScans, ScanEntry, group_by_reason
from napari_uld.ct.geometry import Stack, to_volume
from napari_uld.ct.volume import CTVolume
from napari_uld.errors import MissingSlicesError, MixedSlicesError, ScanError, UnevenSpacingError, UnsupportedScanError

CSV_NAME = "DL_info.csv"
IMAGES_NAME = "Images_png"
# Where no DL_info.csv tells the spacing (z, y, x) mm: the commonest slice distance and a usual pixel size.
ASSUMED_SPACING = (5.0, 0.8, 0.8)
_SERIES_NAME = re.compile(r"\d{6}_\d{2}_\d{2}")
_SLICE_NAME = re.compile(r"\d{3}\.png")
_KEY_SLICE_NAME = re.compile(r"\d{6}_\d{2}_\d{2}_\d{3}\.png")


def is_deeplesion(path: Path) -> bool:
    """Tell whether a file or folder is (part of) a DeepLesion download."""
    if path.is_file():
        is_named = _SLICE_NAME.fullmatch(path.name) or _KEY_SLICE_NAME.fullmatch(path.name)
        return path.name == CSV_NAME or bool(is_named and _is_png(path))
    if is_named_download(path):
        return True
    return any(_is_16_bit(one) for one in sorted(one for one in path.iterdir() if _SLICE_NAME.fullmatch(one.name)))


def is_named_download(folder: Path) -> bool:
    """Tell whether names speak for DeepLesion: of the folder, its table, its series or its key slices."""
    if (folder / IMAGES_NAME).is_dir() or (folder / CSV_NAME).is_file():
        return True
    if _SERIES_NAME.fullmatch(folder.name) and any(_SLICE_NAME.fullmatch(one.name) for one in folder.iterdir()):
        return True
    return any(
        (_SERIES_NAME.fullmatch(one.name) and one.is_dir()) or _KEY_SLICE_NAME.fullmatch(one.name)
        for one in folder.iterdir()
    )


def is_slice_name(name: str) -> bool:
    """Tell whether a file is called as a slice: NNN.png."""
    return bool(_SLICE_NAME.fullmatch(name))


def _is_png(file: Path) -> bool:
    with file.open("rb") as stream:
        return stream.read(8) == b"\x89PNG\r\n\x1a\n"


def _is_16_bit(png: Path) -> bool:
    """Tell slices from the 8-bit previews that some programs put beside DICOM files."""
    if not png.is_file():
        return False
    with png.open("rb") as stream:
        # The bit depth follows signature, chunk length and name, width and height.
        return stream.read(25)[24:] == b"\x10"


def find_deeplesion(path: Path) -> FoundScans:
    """List the contiguous runs of slices on disk, one scan each.

    Parameters
    ----------
    path
        The root folder, its ``Images_png``, one series folder, one slice of it, or ``DL_info.csv``.

    Raises
    ------
    ScanError
        If there is no slice on disk.
    """
    scans: list[ScanEntry] = []
    left_out: dict[Path, str] = {}
    for folder in _series_folders(path):
        numbers: list[int] = []
        for file in sorted(folder.iterdir()):
            if _SLICE_NAME.fullmatch(file.name):
                numbers.append(int(file.stem))
            elif not file.name.startswith("."):
                left_out[file] = "no DeepLesion slice (a slice is called NNN.png)"
        runs = _contiguous(numbers)
        for run in runs:
            name = folder.name if len(runs) == 1 else f"{folder.name}_{run[0]:03d}-{run[-1]:03d}"
            note = f"slices {run[0]} to {run[-1]}"
            files = tuple(folder / f"{number:03d}.png" for number in run)
            scans.append(ScanEntry(name, "deeplesion", folder, len(run), note, files))
    if not scans:
        raise ScanError(_nothing_there(path))
    return FoundScans(tuple(scans), group_by_reason(left_out))


def _series_folders(path: Path) -> list[Path]:
    """Find the folders that hold slices: `path` itself or those below its ``Images_png``."""
    folder = path.parent if path.is_file() else path
    if (folder / IMAGES_NAME).is_dir():
        folder = folder / IMAGES_NAME
    if any(_SLICE_NAME.fullmatch(child.name) for child in folder.iterdir()):
        return [folder]
    return sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))


def _nothing_there(path: Path) -> str:
    """Say why there is nothing to open."""
    folder = path.parent if path.is_file() else path
    if any(_KEY_SLICE_NAME.fullmatch(child.name) for child in folder.iterdir()):
        return (
            f"{folder} holds DeepLesion's key slices, 8-bit illustrations without Hounsfield units; "
            "open the 16-bit slices of its Images_png folder"
        )
    return (
        f"{path} holds no DeepLesion slice; required is {IMAGES_NAME}/<series>/NNN.png beside {CSV_NAME}: "
        "unpack at least one of the Images_png archives there"
    )


def _contiguous(numbers: Sequence[int]) -> list[list[int]]:
    """Split sorted numbers into runs without gaps."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return runs


def read_deeplesion(entry: ScanEntry) -> CTVolume:
    """Read one run of slices.

    Raises
    ------
    ScanError
        If a slice is unreadable, not 16-bit, or differs in size from the others.
    """
    return _read(entry.path, [int(file.stem) for file in entry.files], entry.name)


def slices_on_disk(folder: Path, series: str) -> tuple[int, ...]:
    """Give the native numbers of a series' slices that are there, ascending (towards the feet).

    Raises
    ------
    ScanError
        If the series has no folder.
    """
    where = _series_folder(Path(folder), series)
    return tuple(sorted(int(file.stem) for file in where.iterdir() if _SLICE_NAME.fullmatch(file.name)))


def read_slices(folder: Path, series: str, numbers: Sequence[int]) -> CTVolume:
    """Read just a few native slices of a series, in the geometry the whole series would have.

    Parameters
    ----------
    folder
        The DeepLesion root or its ``Images_png``.
    series
        "000001_01_01".
    numbers
        Native slice numbers in any order, evenly spaced; a step of more than one widens the z spacing.

    Returns
    -------
    A volume of ``len(numbers)`` slices, z growing to the head (so native numbers fall).

    Raises
    ------
    MissingSlicesError
        If one is not on disk.
    UnevenSpacingError
        If the numbers are empty, repeat or are not evenly spaced.
    """
    wanted = sorted(numbers)
    if not wanted or len(set(np.diff(wanted).tolist())) > 1 or len(set(wanted)) < len(wanted):
        raise UnevenSpacingError(f"{series}: slices {list(numbers)} asked for; a volume needs even steps")
    return _read(_series_folder(Path(folder), series), wanted, series)


def _series_folder(folder: Path, series: str) -> Path:
    """Find a series below the root or below ``Images_png``."""
    for candidate in (folder / IMAGES_NAME / series, folder / series):
        if candidate.is_dir():
            return candidate
    raise ScanError(f"{folder} has no series {series}; required is the folder {IMAGES_NAME}/{series}: download it")


def _read(folder: Path, numbers: list[int], name: str) -> CTVolume:
    """Read ascending native slices of one folder and turn them to the head."""
    (dz, dy, dx), window, corrections = _row_facts(folder, numbers)
    if len(numbers) > 1:
        dz *= numbers[1] - numbers[0]
    files = [folder / f"{number:03d}.png" for number in reversed(numbers)]
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise MissingSlicesError(f"{folder}: {', '.join(sorted(missing))} not on disk; ask for slices that are there")
    with ThreadPoolExecutor() as pool:
        slices = list(pool.map(_read_png, files))
    for file, hu in zip(files, slices, strict=True):
        if hu.shape != slices[0].shape:
            raise MixedSlicesError(
                f"{file} has {hu.shape} pixels but {files[0].name} has {slices[0].shape}; "
                "slices of one series must have one size: download the series again"
            )
    step = 1 if len(numbers) == 1 else numbers[1] - numbers[0]
    stack = Stack(
        hu=np.stack(slices),
        spacing=(dz, dy, dx),
        # The world's z = 0 is native slice 0, so that parts of one series share one world.
        origin=np.array([0.0, 0.0, -numbers[-1] * dz / step]),
        direction=np.eye(3),
        slice_numbers=np.array(numbers[::-1], dtype=np.int64),
        corrections=corrections,
    )
    # Not the pixels: somebody who unpacks more slices later still has the same series.
    return replace(to_volume(stack, source=folder, name=name, window=window), series_name=series_id(folder))


def series_id(folder: Path) -> str:
    """What identifies a series where its folder's name does ("deeplesion:000001_03_01"), or ""."""
    return f"deeplesion:{folder.name}" if _SERIES_NAME.fullmatch(folder.name) else ""


def _read_png(file: Path) -> np.ndarray:
    """Read one 16-bit PNG as int16 HU."""
    png = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
    if png is None:
        raise ScanError(f"{file} cannot be read as PNG; it may be damaged or cut short: download it again")
    if png.dtype != np.uint16 or png.ndim != 2:
        raise UnsupportedScanError(
            f"{file} is a {png.dtype} image of shape {png.shape}; DeepLesion's CT slices are 16-bit grey PNG: "
            "open those of Images_png, not 8-bit illustrations"
        )
    # Flipping the top bit of a uint16 subtracts 32768 once it is read as two's complement int16.
    return np.bitwise_xor(png, 0x8000).view(np.int16)


Facts = tuple[tuple[float, float, float], tuple[float, float] | None, tuple[str, ...]]


def _row_facts(folder: Path, numbers: Sequence[int]) -> Facts:
    """Give spacing (z, y, x) mm, window and what was assumed, from the rows of DL_info.csv."""
    y, x = ASSUMED_SPACING[1:]
    assumed = f"spacing assumed to be {ASSUMED_SPACING[0]:g} mm between slices and {y:g} x {x:g} mm within"
    csv = next((parent / CSV_NAME for parent in [folder, *folder.parents][:3] if (parent / CSV_NAME).is_file()), None)
    if csv is None:
        return ASSUMED_SPACING, None, (f"no {CSV_NAME} beside the series: {assumed}",)
    rows = _table(csv, csv.stat().st_mtime_ns).by_series.get(folder.name, ())
    if not rows:
        return ASSUMED_SPACING, None, (f"{CSV_NAME} has no row of series {folder.name}: {assumed}",)
    row = next((one for one in rows if one.key_slice in numbers), rows[0])
    low, high = row.window
    if low >= high:
        return (
            row.spacing,
            None,
            (f"{csv.name}, line {row.line_number}: {low:g} to {high:g} HU is no window",),
        )
    return row.spacing, row.window, ()


@lru_cache(maxsize=4)
def _table(csv: Path, _mtime_ns: int) -> DlInfo:
    """Read DL_info.csv once and keep it until the file changes: training reads thousands of key slices."""
    return read_dl_info(csv)
