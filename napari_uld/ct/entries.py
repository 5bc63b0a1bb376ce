"""What a path holds: the scans that can be read from it, and what was left out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, overload

from napari_uld.ct.dicom_headers import PlainHeader

Kind = Literal["dicom", "nifti", "nrrd", "mha", "deeplesion"]


@dataclass(frozen=True)
class ScanEntry:
    """One scan that a path holds, known from its headers only.

    Parameters
    ----------
    name
        What `read_scan` calls it; unique within one `FoundScans`.
    kind
        The format.
    path
        The file, or the folder that holds all its files.
    slices
        How many slices there are.
    note
        One line for a person (size, date, what was assumed).
    files
        The files it is made of.
    frames
        Where files hold several images: which ones it is made of, each a file and the image's index in it.
    series_uid
        DICOM SeriesInstanceUID of all its files, or "".
    label
        What tells it from other scans of one series ("acquisition 2"), or "".
    said
        What a person must know of its files, one sentence each: it goes with the volume.
    headers
        Of those files that need not be looked at again before their pixels are read.
    """

    name: str
    kind: Kind
    path: Path
    slices: int
    note: str = ""
    files: tuple[Path, ...] = field(default=(), repr=False)
    frames: tuple[tuple[Path, int], ...] = field(default=(), repr=False)
    series_uid: str = ""
    label: str = ""
    said: tuple[str, ...] = ()
    headers: Mapping[Path, PlainHeader] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True)
class LeftOut:
    """Files that are not part of any scan, and the one reason they share."""

    reason: str
    files: tuple[Path, ...]

    def __str__(self) -> str:
        """Name the first files and the reason."""
        names = ", ".join(file.name for file in self.files[:3])
        more = f" and {len(self.files) - 3} more" if len(self.files) > 3 else ""
        return f"{names}{more}: {self.reason}"


@dataclass(frozen=True)
class FoundScans(Sequence[ScanEntry]):
    """The scans of a path, in order of name; a sequence of `ScanEntry`.

    Parameters
    ----------
    scans
        What can be read.
    left_out
        What cannot, grouped by reason.
    """

    scans: tuple[ScanEntry, ...]
    left_out: tuple[LeftOut, ...] = ()

    def __len__(self) -> int:
        """Count the scans."""
        return len(self.scans)

    @overload
    def __getitem__(self, index: int) -> ScanEntry: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[ScanEntry]: ...

    def __getitem__(self, index: int | slice) -> ScanEntry | Sequence[ScanEntry]:
        """Give one scan, or several."""
        return self.scans[index]


def group_by_reason(reasons: dict[Path, str]) -> tuple[LeftOut, ...]:
    """Turn "this file was left out for that reason" into one `LeftOut` a reason."""
    groups: dict[str, list[Path]] = {}
    for file in sorted(reasons):
        groups.setdefault(reasons[file], []).append(file)
    return tuple(LeftOut(reason, tuple(files)) for reason, files in groups.items())
