"""MetaImage (.mha, .mhd): its header read strictly, before anything in it is followed."""

import re
from pathlib import Path

import numpy as np

from napari_uld.ct.header import (
    LONGEST_HEADER,
    ImageHeader,
    has_no_text,
    no_real_number,
    numbers,
    read_start,
    three_axes,
    unit_of,
)
from napari_uld.ct.stored import Stored, check_real, check_size, damaged, sibling
from napari_uld.errors import GeometryError, UnsupportedScanError

_TYPES = {
    **{"MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4", "MET_UINT": "u4"},
    # Four bytes in MetaImage, whatever a long is elsewhere.
    **{"MET_LONG": "i4", "MET_ULONG": "u4", "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8"},
    **{"MET_FLOAT": "f4", "MET_DOUBLE": "f8"},
}
# Names are anything: writers add what they know of a DICOM series, as "0008|0060 = CT".
_LINE = re.compile(r"\s*([^\s=:][^=:\n]*?)\s*[=:][ \t]*(.*)")
# Other names that the same field goes by.
_SAME = {
    **dict.fromkeys(("Position", "Origin"), "Offset"),
    **dict.fromkeys(("Rotation", "Orientation"), "TransformMatrix"),
    "ElementByteOrderMSB": "BinaryDataByteOrderMSB",
}
# What is read here, and so may not be given twice.
_READ = {
    *("NDims", "DimSize", "ElementType", "ElementNumberOfChannels", "BinaryData", "BinaryDataByteOrderMSB"),
    *("ElementSpacing", "ElementSize", "Offset", "TransformMatrix", "DistanceUnits", "HeaderSize", "ElementDataFile"),
    *("CompressedData", "CompressedDataSize"),
    *("ElementToIntensityFunctionSlope", "ElementToIntensityFunctionOffset"),
}


def starts_metaimage(start: bytes) -> bool:
    """Tell a MetaImage from how it begins."""
    if b"NDims" not in start and b"DimSize" not in start and b"ElementDataFile" not in start:
        return False  # what follows takes its time
    text = start.decode("latin-1")
    return bool(_LINE.match(text)) and bool(
        re.search(r"^\s*(NDims|DimSize|ElementDataFile)\s*[=:]", text, re.MULTILINE)
    )


def read_metaimage_header(file: Path) -> ImageHeader:
    """Read a MetaImage's header and check that the file can hold what it promises.

    Raises
    ------
    UnsupportedScanError
        If it is no 3D volume of real numbers, or its voxels lie elsewhere than in the same folder.
    ScanError
        If it is damaged, or its data file is missing.
    """
    fields, end = _fields(file)
    dimensions = _whole(fields, "NDims", file)
    if not 1 <= dimensions <= 10:
        raise UnsupportedScanError(f"{file}: NDims is {dimensions}; one 3D volume is required: save the scan again")
    sizes = numbers(_required(fields, "DimSize", file), int, dimensions, file, "DimSize")
    axes = three_axes(sizes, file)
    kind = _required(fields, "ElementType", file)
    if kind.endswith("_ARRAY") or _whole(fields, "ElementNumberOfChannels", file, 1) != 1:
        raise no_real_number(file)
    if kind not in _TYPES:
        raise UnsupportedScanError(f"{file}: ElementType {kind[:40]} is not supported; save the scan as MET_SHORT")
    if not _is_true(fields, "BinaryData", file, default=True):
        raise UnsupportedScanError(f"{file}: voxels written as text are not supported; save them as BinaryData = True")
    order = ">" if _is_true(fields, "BinaryDataByteOrderMSB", file) else "<"
    x, y, z = (sizes[axis] for axis in axes)
    stored = _stored(file, fields, end, (z, y, x), np.dtype(order + _TYPES[kind]))
    check_size(stored, file)
    spacing, origin, direction, said = _geometry(fields, dimensions, axes, file)
    slope, inter = (
        numbers(fields.get(f"ElementToIntensityFunction{name}", default), float, 1, file, "ElementToIntensityFunction")[
            0
        ]
        for name, default in (("Slope", "1"), ("Offset", "0"))
    )
    if (slope, inter) != (1, 0):
        said.append(f"stored values times {slope:g} plus {inter:g} taken as Hounsfield units, as the header says")
    return ImageHeader(stored, spacing, origin, direction, tuple(said), slope, inter)


def _fields(file: Path) -> tuple[dict[str, str], int]:
    """Read the lines up to ElementDataFile; give them and where the next byte is."""
    start = read_start(file, LONGEST_HEADER)
    check_real(file, start)
    fields: dict[str, str] = {}
    end = 0
    while "ElementDataFile" not in fields:
        line_end = start.find(b"\n", end)
        raw = start[end:] if line_end < 0 else start[end:line_end]
        end = len(start) if line_end < 0 else line_end + 1
        line = raw.decode("latin-1").rstrip("\r\n\t ")
        match = _LINE.fullmatch(line)
        if match:
            name, value = _SAME.get(match[1], match[1]), match[2].strip()
            # Values that are not read here may hold anything: writers pad those of DICOM with zeros.
            if has_no_text(name) or (name in _READ and has_no_text(line)):
                raise damaged(file, f"{raw[:40]!r} in its header holds bytes that are no text")
            if fields.setdefault(name, value) != value and name in _READ:
                raise damaged(file, f"its header gives {name} twice, {fields[name][:60]} and {value[:60]}")
        elif raw.strip():
            raise damaged(file, f"{raw[:40]!r} in its header is no 'name = value'")
        if line_end < 0 and "ElementDataFile" not in fields:
            raise damaged(file, "its header has no ElementDataFile")
    return fields, end


def _required(fields: dict[str, str], name: str, file: Path) -> str:
    if name not in fields:
        raise damaged(file, f"its header has no {name}")
    return fields[name]


def _whole(fields: dict[str, str], name: str, file: Path, default: int | None = None) -> int:
    if name not in fields and default is not None:
        return default
    return numbers(_required(fields, name, file), int, 1, file, name)[0]


def _is_true(fields: dict[str, str], name: str, file: Path, *, default: bool = False) -> bool:
    value = fields.get(name, str(default)).lower()
    if value not in ("true", "false", "1", "0"):
        raise damaged(file, f"{name} is {value[:40]!r}, True or False required")
    return value in ("true", "1")


def _stored(file: Path, fields: dict[str, str], end: int, shape: tuple[int, int, int], dtype: np.dtype) -> Stored:
    """Tell where the voxels are."""
    name = fields["ElementDataFile"]
    local = name.lower() == "local"
    where = file if local else sibling(file, name)
    skip = _whole(fields, "HeaderSize", file, 0)
    if skip < -1 or (local and skip > 0):
        raise UnsupportedScanError(f"{file}: HeaderSize {skip} is not supported; save the scan again")
    if _is_true(fields, "CompressedData", file):
        # 0 means that the writer did not know.
        length = _whole(fields, "CompressedDataSize", file, 0) or None
        if length is not None and length < 0:
            raise damaged(file, f"CompressedDataSize is {length}")
        return Stored(where, shape, dtype, "compressed", end if local else max(skip, 0), length)
    return Stored(where, shape, dtype, "raw", None if skip == -1 else end if local else skip)


def _geometry(
    fields: dict[str, str], dimensions: int, axes: list[int], file: Path
) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]:
    """Give spacing, origin and direction of the three axes in mm, and what was assumed."""
    unit, said = unit_of(fields.get("DistanceUnits", ""))
    steps = fields.get("ElementSpacing", fields.get("ElementSize"))
    if steps is None:
        said.append("the file does not tell its spacing: 1 mm assumed, so check measures")
        steps = " ".join(["1"] * dimensions)
    spacing = np.array(numbers(steps, float, dimensions, file, "ElementSpacing"))
    origin = np.array(numbers(fields.get("Offset", "0 " * dimensions), float, dimensions, file, "Offset"))
    direction = np.eye(dimensions)
    if "TransformMatrix" in fields:
        # A row is where an axis of the file points.
        matrix = numbers(fields["TransformMatrix"], float, dimensions**2, file, "TransformMatrix")
        direction = np.array(matrix).reshape(dimensions, dimensions).T
    if axes != [0, 1, 2] or np.abs(direction[3:, :3]).any() or np.abs(direction[:3, 3:]).any():
        raise GeometryError(f"{file}: its axes lie in more than three dimensions; save the 3D volume as its own file")
    # A negative step is a step the other way.
    return np.abs(spacing[:3]) * unit, origin[:3] * unit, (direction * np.sign(spacing))[:3, :3], said
