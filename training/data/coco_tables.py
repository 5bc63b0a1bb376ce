"""COCO files as what is scored and what it is scored against: true boxes as key slices, results as a table of boxes."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from napari_uld.errors import AnnotationFileError
from napari_uld.files import text_of
from napari_uld.lesions.box_table import BoxTable, Extent, ScanBoxes
from napari_uld.lesions.findings import Box
from napari_uld.lesions.json_models import Model, parse

from .coco import CocoImage
from .key_slices import SOFT_TISSUE, KeySlice, Spacing

# Nobody says it in a COCO file.
UNKNOWN: Spacing = (np.nan, np.nan, np.nan)


class ResultModel(Model, extra="ignore"):
    """One detection of a results file."""

    image_id: int
    bbox: tuple[float, float, float, float]
    score: float


class ResultsModel(Model):
    """A results file's list, under a name."""

    results: tuple[ResultModel, ...]


def slices_of(path: Path, images: Sequence[CocoImage]) -> list[KeySlice]:
    """Every image of a COCO file as a key slice, also those without a lesion; possibly noisy boxes are left out.

    Raises
    ------
    AnnotationFileError
        If two images are the same slice.
    """
    slices: dict[tuple[str, int], KeySlice] = {}
    # COCO's own evaluation takes images by their number.
    for image in sorted(images, key=lambda image: image.number):
        place = place_of(image.name)
        if place in slices:
            raise AnnotationFileError(f"{path}: found several images {image.name}, required one for each slice")
        boxes = image.boxes[~image.noisy]
        size = (image.width, image.height)
        slices[place] = KeySlice(*place, UNKNOWN, boxes, (None,) * len(boxes), SOFT_TISSUE, size=size)
    return list(slices.values())


def place_of(name: str) -> tuple[str, int]:
    """Series and native slice of DeepLesion's "000001_01_01/103.png"; any other name is a scan of one slice."""
    deeplesion = re.search(r"(?:^|/)(\d{6}_\d{2}_\d{2})[/_](\d{3,})\.png$", name)
    return (deeplesion[1], int(deeplesion[2])) if deeplesion else (name, 0)


def table_of_images(path: Path, images: Sequence[CocoImage]) -> BoxTable:
    """Every box of a COCO file of true boxes, as if somebody had found them; possibly noisy ones are left out."""
    rows = [(image, box, 1.0) for image in images for box in image.boxes[~image.noisy]]
    return _table(path, images, rows)


def read_results(path: Path, images: Sequence[CocoImage]) -> BoxTable:
    """Read COCO results, `[{"image_id", "category_id", "bbox", "score"}]`, of images that a COCO file numbers.

    Raises
    ------
    AnnotationFileError
        If it cannot be read or is none, or names an image that the file of true boxes does not have.
    """
    try:
        text = text_of(path.read_bytes())
    except OSError as error:
        raise AnnotationFileError(f"Cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise AnnotationFileError(f"{path} is no JSON file: it holds bytes that are no text") from error
    model = parse(ResultsModel, f'{{"results": {text}}}'.encode(), str(path), "result")
    by_number = {image.number: image for image in images}
    rows = []
    for position, row in enumerate(model.results, 1):
        image = by_number.get(row.image_id)
        if image is None:
            raise AnnotationFileError(
                f"{path}, result {position}: found the image {row.image_id}, required one of the {len(images)} that "
                "the file given with --data numbers"
            )
        x, y, width, height = row.bbox
        if min(width, height) < 0:
            raise AnnotationFileError(
                f"{path}, result {position}: found the box {list(row.bbox)}, required x, y, width and height"
            )
        rows.append((image, np.asarray([x, y, x + width, y + height]), row.score))
    return _table(path, images, rows)


def _table(path: Path, images: Sequence[CocoImage], rows: Sequence[tuple[CocoImage, np.ndarray, float]]) -> BoxTable:
    found: dict[str, tuple[list[dict[int, Box]], list[float]]] = {place_of(image.name)[0]: ([], []) for image in images}
    for image, box, score in rows:
        series, number = place_of(image.name)
        x1, y1, x2, y2 = (float(v) for v in box)
        found[series][0].append({number: (x1, y1, x2, y2)})
        found[series][1].append(score)
    scans = {series: ScanBoxes.traced(boxes, scores) for series, (boxes, scores) in found.items()}
    return BoxTable(path.name, scans, None, Extent.ONE_SLICE)
