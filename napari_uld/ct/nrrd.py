"""NRRD (.nrrd, .nhdr): its header read strictly, before anything in it is followed."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from napari_uld.ct.header import (
    LONGEST_HEADER,
    ImageHeader,
    has_no_text,
    no_real_number,
    numbers,
    read_start,
    steps_of,
    three_axes,
    unit_of,
)
from napari_uld.ct.stored import Encoding, Stored, check_real, check_size, damaged, sibling
from napari_uld.errors import GeometryError, UnsupportedScanError

_VERSIONS = ("NRRD00.01", "NRRD0001", "NRRD0002", "NRRD0003", "NRRD0004", "NRRD0005")
_TYPES = {
    **dict.fromkeys(("signed char", "int8", "int8_t"), "i1"),
    **dict.fromkeys(("uchar", "unsigned char", "uint8", "uint8_t"), "u1"),
    **dict.fromkeys(("short", "short int", "signed short", "signed short int", "int16", "int16_t"), "i2"),
    **dict.fromkeys(("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"), "u2"),
    **dict.fromkeys(("int", "signed int", "int32", "int32_t"), "i4"),
    **dict.fromkeys(("uint", "unsigned int", "uint32", "uint32_t"), "u4"),
    **dict.fromkeys(("longlong", "long long", "long long int", "signed long long", "signed long long int"), "i8"),
    **dict.fromkeys(("int64", "int64_t"), "i8"),
    **dict.fromkeys(("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"), "u8"),
    **{"float": "f4", "double": "f8"},
}
_ENCODINGS: dict[str, Encoding] = {
    "raw": "raw",
    **dict.fromkeys(("gz", "gzip"), "compressed"),
    **dict.fromkeys(("txt", "text", "ascii"), "text"),
    "hex": "hex",
}
# What turns the axes of a space to left, back and head; others are taken as they are.
_TO_LPS = {
    **dict.fromkeys(("right-anterior-superior", "ras"), (-1.0, -1.0, 1.0)),
    **dict.fromkeys(("left-anterior-superior", "las"), (1.0, -1.0, 1.0)),
    **dict.fromkeys(("left-posterior-superior", "lps"), (1.0, 1.0, 1.0)),
}
_OTHER_SPACES = ("scanner-xyz", "3d-right-handed", "3d-left-handed")
# Axes of these kinds lie in space or time; those of any other hold a voxel's several numbers.
_OWN_AXIS = ("domain", "space", "time", "none", "???")
_FIELD = re.compile(r"([^:]+?)\s*: ?(.*)")
_VECTOR = re.compile(r"\([^()]*\)|none", re.IGNORECASE)


def read_nrrd_header(file: Path) -> ImageHeader:
    """Read a NRRD's header and check that the file can hold what it promises.

    Raises
    ------
    UnsupportedScanError
        If it is no 3D volume of real numbers, or its voxels lie elsewhere than in the same folder.
    ScanError
        If it is damaged, or its data file is missing.
    """
    fields, end = _fields(file)
    count = fields.whole("dimension")
    if not 1 <= count <= 16:
        raise UnsupportedScanError(f"{file} has {count} dimensions; one 3D volume is required: save it as its own file")
    sizes = numbers(fields.required("sizes"), int, count, file, "sizes")
    kinds = fields.values.get("kinds", "domain " * count).lower().split()
    vectors = _vectors(fields, count)
    no_space = [a for a in range(count) if kinds[a : a + 1] and kinds[a] not in _OWN_AXIS]
    no_space += [a for a in range(count) if vectors and vectors[a] is None]
    if any(sizes[axis] > 1 and kinds[axis : axis + 1] not in (["list"], ["time"], ["domain"]) for axis in no_space):
        raise no_real_number(file)
    axes = three_axes(sizes, file, no_space=no_space)
    x, y, z = (sizes[axis] for axis in axes)
    stored = _stored(fields, end, (z, y, x))
    check_size(stored, file)
    if vectors:
        columns, origin, said = _in_space(fields, [vectors[axis] for axis in axes])
    else:
        columns, origin, said = _by_axis(fields, count, axes)
    spacing, direction = steps_of(columns, file)
    return ImageHeader(stored, spacing, origin, direction, tuple(said))


@dataclass(frozen=True)
class _Fields:
    """A header's fields; names in lower case."""

    file: Path
    values: dict[str, str]

    def required(self, name: str) -> str:
        if name not in self.values:
            raise damaged(self.file, f"its header has no {name!r}")
        return self.values[name]

    def whole(self, name: str, default: int | None = None) -> int:
        text = self.required(name) if default is None else self.values.get(name, str(default))
        return numbers(text, int, 1, self.file, name)[0]

    def per_axis(self, name: str, count: int) -> list[float] | None:
        if name not in self.values:
            return None
        return numbers(self.values[name], float, count, self.file, name)


def _fields(file: Path) -> tuple[_Fields, int]:
    """Read the lines up to the empty one; give them and where the next byte is."""
    start = read_start(file, LONGEST_HEADER)
    check_real(file, start)
    version = start[:16].split(b"\n")[0].decode("latin-1").strip()
    if not version.startswith("NRRD"):
        raise damaged(file, "it does not begin as a NRRD does")
    if version not in _VERSIONS:
        raise UnsupportedScanError(
            f"{file}: {version[:16]} is not supported, NRRD0001 to NRRD0005 are; save the scan again"
        )
    values: dict[str, str] = {}
    end = start.find(b"\n") + 1
    while 0 < end < len(start):
        line_end = start.find(b"\n", end)
        raw = start[end:] if line_end < 0 else start[end:line_end]
        end = len(start) if line_end < 0 else line_end + 1
        line = raw.decode("latin-1").rstrip("\r")
        if not line.strip():
            return _Fields(file, values), end
        if line.startswith("#") or ":=" in line:
            continue
        match = _FIELD.fullmatch(line)
        if has_no_text(line):
            raise damaged(file, f"{raw[:40]!r} in its header holds bytes that are no text")
        if not match:
            raise damaged(file, f"{line[:40]!r} in its header is no 'field: value'")
        name = match[1].lower().replace("axismins", "axis mins").replace("axismaxs", "axis maxs")
        name = {"datafile": "data file", "lineskip": "line skip", "byteskip": "byte skip"}.get(name, name)
        if name in values:
            raise damaged(file, f"its header gives {name!r} twice, {values[name][:60]} and {match[2][:60]}")
        values[name] = match[2].strip()
    # Only a header whose voxels lie in another file may end without an empty line.
    if "data file" not in values:
        raise damaged(file, "its header does not end with an empty line")
    return _Fields(file, values), end


def _stored(fields: _Fields, end: int, shape: tuple[int, int, int]) -> Stored:
    """Tell where the voxels are."""
    file = fields.file
    kind, encoding = fields.required("type").lower(), fields.required("encoding").lower()
    if kind not in _TYPES:
        raise UnsupportedScanError(f"{file}: voxels of type {kind[:40]!r} are not supported; save the scan as short")
    if encoding not in _ENCODINGS:
        raise UnsupportedScanError(f"{file}: encoding {encoding[:40]!r} is not supported; save the scan as raw or gzip")
    way = _ENCODINGS[encoding]
    dtype = np.dtype(_TYPES[kind])
    endian = fields.values.get("endian", "").lower()
    if dtype.itemsize > 1 and way != "text":
        if endian not in ("little", "big"):
            raise damaged(file, f"endian is {endian[:40]!r}, little or big required")
        dtype = dtype.newbyteorder("<" if endian == "little" else ">")
    where = sibling(file, fields.values["data file"]) if "data file" in fields.values else file
    offset = _after_lines(where, end if where == file else 0, fields.whole("line skip", 0))
    skip = fields.whole("byte skip", 0)
    if skip < -1 or (skip and way in ("text", "hex")):
        raise UnsupportedScanError(f"{file}: byte skip {skip} is not supported here; save the scan again")
    if way == "raw":
        return Stored(where, shape, dtype, way, None if skip == -1 else offset + skip)
    # Bytes are skipped in what a stream gives, lines before it begins.
    return Stored(where, shape, dtype, way, offset, skipped=None if skip == -1 else skip)


def _after_lines(file: Path, offset: int, lines: int) -> int:
    """Give the offset after so many more lines."""
    if not 0 <= lines <= 10_000:
        raise UnsupportedScanError(f"{file}: line skip {lines} is not supported; save the scan again")
    with file.open("rb") as stream:
        stream.seek(offset)
        for _ in range(lines):
            stream.readline(LONGEST_HEADER)
        return stream.tell()


def _vectors(fields: _Fields, count: int) -> list[np.ndarray | None]:
    """Give each axis' step in space, None for an axis that has none; empty where the header gives no steps."""
    if "space directions" not in fields.values:
        return []
    text = fields.values["space directions"]
    words = _VECTOR.findall(text)
    if len(words) != count or _VECTOR.sub("", text).strip():
        raise damaged(fields.file, f"space directions are {text[:80]!r}, {count} vectors required")
    return [None if word.lower() == "none" else _vector(word, fields, "space directions") for word in words]


def _vector(word: str, fields: _Fields, name: str) -> np.ndarray:
    """Parse "(x,y,z)"."""
    inner = word.strip().removeprefix("(").removesuffix(")").replace(",", " ")
    values = numbers(inner, float, len(inner.split()), fields.file, name)
    if len(values) not in (3, 4):
        raise GeometryError(f"{fields.file}: {name} {word[:80]} found, three numbers required; save the scan again")
    return np.array(values)


def _in_space(fields: _Fields, vectors: list[np.ndarray | None]) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Give the steps (columns) and the origin in LPS mm of three axes that lie in space."""
    file = fields.file
    steps = [vector for vector in vectors if vector is not None]
    origin = _vector(fields.values.get("space origin", "(0,0,0)"), fields, "space origin")
    if len(steps) != 3 or any(vector[3:].any() for vector in steps):
        raise GeometryError(f"{file}: its axes do not lie in three dimensions; save the 3D volume as its own file")
    if "spacings" in fields.values:
        raise GeometryError(f"{file} gives both spacings and space directions; one of them is required: correct it")
    space = fields.values.get("space", "").lower().removesuffix("-time").removesuffix("t" if len(origin) == 4 else "")
    said = []
    if space not in _TO_LPS:
        if space and space not in _OTHER_SPACES:
            raise GeometryError(f"{file}: space {space[:40]!r} is unknown; save the scan as left-posterior-superior")
        said.append("the file stores no orientation: left to right and head are assumed, check them")
    flip = np.array(_TO_LPS.get(space, (1.0, 1.0, 1.0)))
    unit, about_unit = _one_unit(fields, "space units")
    return np.column_stack([vector[:3] * flip for vector in steps]) * unit, origin[:3] * flip * unit, said + about_unit


def _by_axis(fields: _Fields, count: int, axes: list[int]) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Give steps and origin of a header that knows spacings only, as it knows nothing of the patient."""
    if "space" in fields.values:
        raise GeometryError(
            f"{fields.file} names a space but gives no space directions, so its axes are not known; "
            "save the scan again with its orientation"
        )
    said = ["the file stores no orientation: left to right and head are assumed, check them"]
    spacings = fields.per_axis("spacings", count)
    if spacings is None or np.isnan([spacings[axis] for axis in axes]).any():
        said.append("the file does not tell its spacing: 1 mm assumed, so check measures")
    known = np.ones(count) if spacings is None else np.nan_to_num(np.array(spacings), nan=1.0)
    steps = known[axes]
    mins, maxs = fields.per_axis("axis mins", count), fields.per_axis("axis maxs", count)
    centers = fields.values.get("centers", fields.values.get("centerings", "cell")).lower().split()
    centers += ["cell"] * (count - len(centers))
    halves = np.array([0.0 if centers[axis] == "node" else 0.5 for axis in axes])
    low = np.zeros(3) if mins is None else np.array(mins)[axes]
    if mins is not None and maxs is not None:
        sizes = np.array(numbers(fields.required("sizes"), int, count, fields.file, "sizes"))[axes]
        implied = (np.array(maxs)[axes] - low) / (sizes - 1 + 2 * halves)
        if not np.allclose(implied, steps, rtol=1e-3, atol=1e-3, equal_nan=True):
            raise GeometryError(
                f"{fields.file}: axis mins and maxs tell spacings of {np.round(implied, 4).tolist()}, "
                f"spacings {np.round(steps, 4).tolist()}; correct the header"
            )
    # NaN stands for an unknown place; part of one is none, and refused as such.
    origin = np.zeros(3) if mins is None or np.isnan(low).all() else low + halves * steps
    unit, about_unit = _one_unit(fields, "units")
    return np.diag(steps) * unit, origin * unit, said + about_unit


def _one_unit(fields: _Fields, name: str) -> tuple[float, list[str]]:
    """Give the one unit that a header measures in, in millimetres."""
    units = dict.fromkeys(re.findall(r'"([^"]*)"', fields.values.get(name, "")))
    known = [unit for unit in units if unit.strip() not in ("", "???", "s", "ms")]
    if len(known) > 1:
        raise GeometryError(f"{fields.file} measures in {', '.join(known)[:80]}; one unit is required: save it in mm")
    return unit_of(known[0] if known else "")
