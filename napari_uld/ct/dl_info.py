"""DeepLesion's table, DL_info.csv, read without losing a byte of it.

Every row keeps the exact text of its line, so that a writer can give back unchanged rows as they
were found: quoting, line ends, a byte order mark, a missing final newline. Numbers are those of the
file: coordinates are 1-based here (`napari_uld.lesions.deeplesion` converts them).
"""

import csv
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from napari_uld.errors import AnnotationFileError

# How many numbers each column holds; 0 marks a column of text.
COLUMNS: Mapping[str, int] = {
    "File_name": 0,
    "Patient_index": 1,
    "Study_index": 1,
    "Series_ID": 1,
    "Key_slice_index": 1,
    "Measurement_coordinates": 8,
    "Bounding_boxes": 4,
    "Lesion_diameters_Pixel_": 2,
    "Normalized_lesion_location": 3,
    "Coarse_lesion_type": 1,
    "Possibly_noisy": 1,
    "Slice_range": 2,
    "Spacing_mm_px_": 3,
    "Image_size": 2,
    "DICOM_windows": 2,
    "Patient_gender": 0,
    "Patient_age": 1,
    "Train_Val_Test": 1,
}
WHOLE_NUMBERS = frozenset(
    {
        "Patient_index",
        "Study_index",
        "Series_ID",
        "Key_slice_index",
        "Coarse_lesion_type",
        "Possibly_noisy",
        "Slice_range",
        "Image_size",
        "Train_Val_Test",
    }
)
# DeepLesion leaves ages out; lesions found by a machine have a box but nobody measured them.
MAY_BE_NAN = frozenset(
    {"Measurement_coordinates", "Lesion_diameters_Pixel_", "Normalized_lesion_location", "Patient_age"}
)

BOM = "\ufeff"
# No folder may hide in a file name: it becomes part of a path.
_FILE_NAME = re.compile(r"(?P<series>[^/\\:]+)_(?P<slice>\d+)\.png", re.ASCII)


@dataclass(frozen=True, slots=True)
class DlInfoRow:
    """One lesion as DL_info.csv has it.

    Parameters
    ----------
    line
        The exact text of its line, line end included.
    line_number
        1-based; the header is line 1.
    fields
        The text of each column, extra columns included, unquoted.
    numbers
        The numbers of each of DeepLesion's numeric columns, 1-based coordinates as in the file.
    """

    line: str
    line_number: int
    fields: Mapping[str, str]
    numbers: Mapping[str, tuple[float, ...]]

    @property
    def file_name(self) -> str:
        """File_name, "000001_01_01_109.png"."""
        return self.fields["File_name"]

    @property
    def series(self) -> str:
        """The folder of its series, "000001_01_01"."""
        return self.file_name.rpartition("_")[0]

    @property
    def key_slice(self) -> int:
        """Number of the key slice."""
        return int(self.numbers["Key_slice_index"][0])

    @property
    def slice_range(self) -> tuple[int, int]:
        """First and last slice that DeepLesion offers around the key slice."""
        first, last = self.numbers["Slice_range"]
        return int(first), int(last)

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Millimetres between voxel centres along (z, y, x)."""
        x, y, z = self.numbers["Spacing_mm_px_"]
        return z, y, x

    @property
    def image_size(self) -> tuple[int, int]:
        """Image_size as the file has it: pixels across and down."""
        width, height = self.numbers["Image_size"]
        return int(width), int(height)

    @property
    def window(self) -> tuple[float, float]:
        """The window (low, high) in HU that the radiologist read it with."""
        low, high = self.numbers["DICOM_windows"]
        return low, high

    @property
    def split(self) -> int:
        """1 training, 2 validation, 3 test."""
        return int(self.numbers["Train_Val_Test"][0])


@dataclass(frozen=True)
class DlInfo:
    """A whole DL_info.csv.

    Parameters
    ----------
    path
        Where it was read.
    header
        The exact text of the header line, byte order mark and line end included.
    columns
        Names of all columns in the file's order.
    rows
        The lesions in the file's order.
    tail
        Blank lines after the last row.
    """

    path: Path
    header: str
    columns: tuple[str, ...]
    rows: tuple[DlInfoRow, ...]
    tail: str = ""

    @cached_property
    def by_series(self) -> Mapping[str, tuple[DlInfoRow, ...]]:
        """The rows of every series, in the file's order."""
        groups: dict[str, list[DlInfoRow]] = {}
        for row in self.rows:
            groups.setdefault(row.series, []).append(row)
        return {series: tuple(rows) for series, rows in groups.items()}

    @property
    def line_end(self) -> str:
        r"""The header's line end, "\r\n" or "\n"."""
        return "\r\n" if self.header.endswith("\r\n") else "\n"

    def to_bytes(self) -> bytes:
        """Give the file's bytes as they were found."""
        text = self.header + "".join(row.line for row in self.rows) + self.tail
        return text.encode("utf-8", "surrogateescape")


def read_dl_info(path: Path) -> DlInfo:
    """Read DeepLesion's DL_info.csv, or a file laid out like it.

    Raises
    ------
    AnnotationFileError
        If the file cannot be read, lacks one of the 18 columns, or a row has a wrong number of
        fields or a number that cannot be read.
    """
    try:
        return parse_dl_info(path, path.read_bytes())
    except OSError as error:
        raise AnnotationFileError(
            f"Cannot read {path}: {error.strerror or error}; DeepLesion's DL_info.csv is required"
        ) from error


def parse_dl_info(path: Path, data: bytes) -> DlInfo:
    """Parse the bytes of a DL_info.csv; `path` is for the errors' sentences.

    Raises
    ------
    AnnotationFileError
        As `read_dl_info` does.
    """
    # Bytes that are no UTF-8 survive as surrogates: they are given back as they were.
    text = data.decode("utf-8", "surrogateescape")
    lines = text.split("\n")
    lines = [line + "\n" for line in lines[:-1]] + ([lines[-1]] if lines[-1] else [])
    count = len(lines)
    while count > 1 and not lines[count - 1].strip():
        count -= 1
    header = lines[0] if lines else ""
    columns = _columns(path, header)
    rows = tuple(_row(path, i + 1, lines[i], columns) for i in range(1, count))
    return DlInfo(path, header, columns, rows, "".join(lines[count:]))


def _columns(path: Path, header: str) -> tuple[str, ...]:
    columns = tuple(name.strip() for name in _split(path, 1, header.removeprefix(BOM)))
    missing = [name for name in COLUMNS if name not in columns]
    if missing:
        raise AnnotationFileError(
            f"{path}, line 1: the columns {', '.join(missing)} are missing; DeepLesion's 18 columns are required, "
            f"found {', '.join(columns) or 'none'}"
        )
    double = sorted({name for name in columns if columns.count(name) > 1})
    if double:
        raise AnnotationFileError(f"{path}, line 1: each column may occur once; found {', '.join(double)} again")
    return columns


def _row(path: Path, line_number: int, line: str, columns: tuple[str, ...]) -> DlInfoRow:
    values = _split(path, line_number, line)
    if len(values) != len(columns):
        raise AnnotationFileError(
            f"{path}, line {line_number}: found {len(values)} fields, the header names {len(columns)}; "
            'a field with several numbers must be quoted ("a, b")'
        )
    fields = dict(zip(columns, values, strict=True))
    if not _FILE_NAME.fullmatch(fields["File_name"]):
        raise AnnotationFileError(
            f"{path}, line {line_number}, column File_name: found {fields['File_name']!r}, "
            "required a name like 000001_01_01_109.png"
        )
    numbers = {name: _numbers(path, line_number, name, fields[name], count) for name, count in COLUMNS.items() if count}
    return DlInfoRow(line, line_number, fields, numbers)


def _numbers(path: Path, line_number: int, name: str, text: str, count: int) -> tuple[float, ...]:
    values = _parse(name, text)
    if values is None:
        kind = "whole number" if name in WHOLE_NUMBERS else "number"
        raise AnnotationFileError(
            f"{path}, line {line_number}, column {name}: found {text!r}, "
            f"required {count} {kind}{'s' if count > 1 else ''}{' or NaN' if name in MAY_BE_NAN else ''}"
        )
    return values


@lru_cache(maxsize=8192)  # most columns repeat from row to row: half of the time to read a table
def _parse(name: str, text: str) -> tuple[float, ...] | None:
    """Give the numbers of a field, or None where they are not what the column requires."""
    count = COLUMNS[name]
    if not text and name in MAY_BE_NAN:
        # DeepLesion writes a missing age as NaN; tables saved again by other programs leave it empty.
        return (math.nan,) * count
    try:
        values = tuple(map(float, text.split(",")))
    except ValueError:
        return None
    if len(values) != count:
        return None
    if name in MAY_BE_NAN and all(map(math.isnan, values)):
        return values
    # NaN and infinity carry over to the sum.
    if not math.isfinite(sum(values)) or (name in WHOLE_NUMBERS and not all(map(float.is_integer, values))):
        return None
    return values


def _split(path: Path, line_number: int, line: str) -> list[str]:
    try:
        # csv wants no line end of its own inside a field: a quote left open would run into it.
        return next(csv.reader([line.rstrip("\r\n")]), [])
    except csv.Error as error:
        raise AnnotationFileError(
            f"{path}, line {line_number}: found no fields that can be told apart ({error}); "
            f"required are fields of up to {csv.field_size_limit()} characters without line breaks"
        ) from error
