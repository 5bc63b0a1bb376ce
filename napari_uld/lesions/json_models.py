"""What the JSON files of this package hold, field by field, and how they are checked and written."""

import contextlib
import json
import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, ClassVar, Literal, TypeVar

import pydantic
from pydantic import AfterValidator, Field

from napari_uld.errors import AnnotationFileError, UldError
from napari_uld.files import text_of
from napari_uld.lesions.annotations import Source, State
from napari_uld.lesions.boxes import as_boxes
from napari_uld.lesions.recist import Point, Recist
from napari_uld.lesions.rle import Rle
from napari_uld.words import quoted, required

BoxTuple = tuple[float, float, float, float]


class NewerVersionError(AnnotationFileError):
    """The file was written by a newer version of this package."""


class Model(pydantic.BaseModel):
    """Base: nothing is converted, nothing unknown is passed over, NaN and infinity are no numbers."""

    model_config = pydantic.ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


def _ordered(box: BoxTuple) -> BoxTuple:
    # Most are in order; a file of findings has thousands.
    if box[0] <= box[2] and box[1] <= box[3]:
        return box
    try:
        as_boxes([box])
    except UldError as error:
        raise ValueError(str(error)) from error
    return box


def _low_high(depth: tuple[float, float]) -> tuple[float, float]:
    if depth[0] > depth[1]:
        raise ValueError("the low slice number must not exceed the high one")
    return depth


def _iso_time(text: str) -> str:
    if text:
        datetime.fromisoformat(text)
    return text


BoxField = Annotated[BoxTuple, AfterValidator(_ordered), Field(description="x1, y1, x2, y2 in pixels, 0-based centres")]
DepthField = Annotated[
    tuple[float, float],
    AfterValidator(_low_high),
    Field(description="low, high slice numbers of a 3D box, slice centres at integers"),
]
TimeField = Annotated[str, AfterValidator(_iso_time), Field(description='ISO 8601, UTC, or ""')]
# Whatever a file calls its slices, it is a number of at most 32 bits.
SliceNumber = Annotated[int, Field(ge=-(2**31), lt=2**31)]
_ENCODE = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode
AnyModel = TypeVar("AnyModel", bound=Model)


class RecistModel(Model):
    """A RECIST measurement: end points (x, y) of both diameters."""

    long: tuple[Point, Point]
    short: tuple[Point, Point]

    def decoded(self) -> Recist:
        """Give it as the type the package works with."""
        return Recist(self.long, self.short)


class MaskModel(Model):
    """A mask as COCO's uncompressed, column-major run lengths."""

    shape: tuple[int, int] = Field(description="height, width")
    counts: tuple[int, ...]

    @pydantic.model_validator(mode="after")
    def _fills_its_shape(self) -> "MaskModel":
        try:
            self.decoded()
        except UldError as error:
            raise ValueError(str(error)) from error
        return self

    def decoded(self) -> Rle:
        """Give it as the type the package works with."""
        return Rle(self.shape, self.counts)


class ScanModel(Model):
    """The scan that lesions or findings lie in."""

    id: str = Field(min_length=1, description="SeriesInstanceUID, the name of a DeepLesion series, or a hash")
    name: str


class SourcedScanModel(ScanModel):
    """The scan, and where it came from."""

    source: str = Field(description="name of the file or folder it was read from")


class LesionModel(Model):
    """One lesion."""

    id: str = Field(min_length=1)
    key_slice: SliceNumber = Field(description="the file's own slice number")
    box: BoxField
    recist: RecistModel | None
    mask: MaskModel | None
    lesion_type: Literal[
        "unknown", "bone", "abdomen", "mediastinum", "liver", "lung", "kidney", "soft_tissue", "pelvis"
    ]
    noisy: bool
    source: Source
    state: State
    parent_id: str | None = Field(description="id of the finding it came from")
    score: float | None = Field(description="that finding's score")
    detector: str = Field(description="what found it: method and checkpoint hash, or empty")
    reviewer: str
    time: TimeField
    comment: str = Field(default="", description="what a person wrote about it; files with a comment are of version 2")


class FileModel(Model):
    """Base of whole files, which name their format and its version."""

    FORMAT: ClassVar[str]
    VERSION: ClassVar[int]


File = TypeVar("File", bound=FileModel)


class LesionFileModel(FileModel):
    """`<scan>.lesions.json`: what people decided about the lesions of one scan."""

    FORMAT = "napari-uld lesions"
    VERSION = 2
    format: Literal["napari-uld lesions"]
    version: Literal[1, 2]
    scan: SourcedScanModel
    lesions: tuple[LesionModel, ...]


class SliceBoxModel(Model):
    """A finding's box on one slice it was traced through."""

    slice: SliceNumber
    box: BoxField


def _each_slice_once(boxes: tuple[SliceBoxModel, ...]) -> tuple[SliceBoxModel, ...]:
    if len({box.slice for box in boxes}) < len(boxes):
        raise ValueError("each slice may occur once")
    return boxes


class FindingModel(Model):
    """One finding."""

    box: BoxField
    score: float
    label: SliceNumber
    key_slice: SliceNumber
    negative: bool
    slice_boxes: Annotated[tuple[SliceBoxModel, ...], Field(min_length=1), AfterValidator(_each_slice_once)]
    mask: MaskModel | None
    depth: DepthField | None = None
    points: tuple[tuple[float, float, float], ...] | None = Field(
        default=None, description="x, y in pixels and the slice number of points on the surface"
    )
    first_points: tuple[tuple[float, float, float], ...] | None = Field(
        default=None, description="the same before the detector refined them"
    )
    columns: Mapping[str, float] = Field(default_factory=dict, description="more scores by name")


def _all_or_none_have_a_depth(findings: tuple[FindingModel, ...]) -> tuple[FindingModel, ...]:
    if len({finding.depth is None for finding in findings}) > 1:
        raise ValueError("all findings have a depth or none has")
    return findings


def _all_have_the_same_columns(findings: tuple[FindingModel, ...]) -> tuple[FindingModel, ...]:
    if len({frozenset(finding.columns) for finding in findings}) > 1:
        raise ValueError("all findings have the same columns")
    return findings


class FindingFileModel(FileModel):
    """`*.findings.json`: what one detector said about one scan."""

    FORMAT = "napari-uld findings"
    VERSION = 1
    format: Literal["napari-uld findings"]
    version: Literal[1]
    scan: ScanModel
    method: str
    checkpoint: str
    operating_point: float | None = Field(
        default=None, ge=0, le=1, description="score from which on the detector gave two false positives a key slice"
    )
    tight: bool = Field(default=False, description="whether boxes lie about the voxels, without DeepLesion's margin")
    findings: Annotated[
        tuple[FindingModel, ...],
        AfterValidator(_all_or_none_have_a_depth),
        AfterValidator(_all_have_the_same_columns),
    ]


class _Head(pydantic.BaseModel):
    format: str = ""
    version: int = 0


def parse_file(model: type[File], data: bytes, path: Path, row_name: str) -> File:
    """Check a whole file against `model`, whose version must not be older than the file's.

    Raises
    ------
    NewerVersionError
        If the file's version is newer than the one this package knows.
    AnnotationFileError
        If it does not fit, see `parse`.
    """
    with contextlib.suppress(pydantic.ValidationError):
        head = _Head.model_validate_json(_text(data, path))
        if head.format == model.FORMAT and head.version > model.VERSION:
            raise NewerVersionError(
                f"{path}: found version {head.version} of the format, required {model.VERSION} or older; "
                "open it with a newer napari-uld"
            )
    return parse(model, data, str(path), row_name)


def parse(model: type[AnyModel], data: bytes, where: str, row_name: str) -> AnyModel:
    """Check JSON against `model`.

    Parameters
    ----------
    where
        The file, for the error's sentence.
    row_name
        What a member of the file's list is called in that sentence ("lesion").

    Raises
    ------
    AnnotationFileError
        If it does not fit, naming the row, the field, what was found and what was required.
    """
    try:
        return model.model_validate_json(_text(data, where))
    except pydantic.ValidationError as error:
        raise AnnotationFileError(f"{where}{_sentence(error, row_name)}") from error


def _text(data: bytes, where: str | Path) -> str:
    try:
        return text_of(data)
    except UnicodeDecodeError as error:
        raise AnnotationFileError(f"{where} is no JSON file: it holds bytes that are no text") from error


def _sentence(error: pydantic.ValidationError, row_name: str) -> str:
    errors = error.errors(include_url=False)
    location, place = list(errors[0]["loc"]), ""
    if len(location) > 1 and isinstance(location[1], int):
        place, location = f", {row_name} {location[1] + 1}", location[2:]
    if location:
        place += f", field {'.'.join(map(str, location))}"
    found = "nothing" if errors[0]["type"] == "missing" else quoted(errors[0]["input"])
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return f"{place}: found {found}, required: {required(errors[0])}{more}"


def unicode_of(name: str) -> str:
    """Give the name of a file or scan with a mark for whatever in it is no Unicode: such a name loses nobody a file."""
    return re.sub("[\ud800-\udfff]", "\ufffd", name)


def dump(content: object, path: Path) -> bytes:
    """Give a file's text: two spaces a level, lists of numbers on one line, the same bytes every time.

    Raises
    ------
    AnnotationFileError
        If a number is NaN or infinite, or a text is no Unicode.
    """
    try:
        return f"{_indented(content)}\n".encode()
    except ValueError as error:
        raise AnnotationFileError(f"Cannot write {path}: {error}; finite numbers and Unicode are required") from error


def _indented(value: object, margin: str = "\n") -> str:
    inner = f"{margin}  "
    if isinstance(value, dict) and value:
        members = (f"{inner}{_ENCODE(key)}: {_indented(item, inner)}" for key, item in value.items())
        return f"{{{','.join(members)}{margin}}}"
    if isinstance(value, list | tuple) and any(type(item) not in (int, float) for item in value):
        return f"[{','.join(inner + _indented(item, inner) for item in value)}{margin}]"
    return _ENCODE(value)


def mask_to_json(mask: Rle | None) -> dict[str, object] | None:
    """Give a mask as JSON has it."""
    return None if mask is None else {"shape": mask.shape, "counts": mask.counts}
