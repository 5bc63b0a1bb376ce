"""Boxes from COCO JSON files, as DeepLesion's public annotation files have them.

A box there is (x, y, width, height) from 0-based pixel centres; here it is (x, y, x + width, y + height),
pixel centres too. Categories, segmentations and what else a file holds are passed over.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import Field, PositiveFloat, PositiveInt

from napari_uld.errors import AnnotationFileError, BoxError
from napari_uld.lesions.boxes import MIN_SIDE, in_image
from napari_uld.lesions.json_models import Model, parse


class CocoImageModel(Model, extra="ignore"):
    """One image of the file."""

    id: int
    file_name: str = Field(min_length=1)
    width: PositiveInt
    height: PositiveInt


class CocoBoxModel(Model, extra="ignore"):
    """One box of the file; DeepLesion's files mark possibly noisy ones."""

    image_id: int
    bbox: tuple[float, float, PositiveFloat, PositiveFloat]
    noisy: int = Field(default=0, ge=0, le=1)


class CocoFileModel(Model, extra="ignore"):
    """The parts of the file that are read."""

    images: tuple[CocoImageModel, ...]
    annotations: tuple[CocoBoxModel, ...]


@dataclass(frozen=True, eq=False)
class CocoImage:
    """An image's boxes.

    Parameters
    ----------
    name
        The file's name for it, "000002_01_01/162.png".
    width, height
        In pixels.
    boxes
        (n, 4) pixel-centre boxes in the image's own pixels, read-only.
    noisy
        (n,) whether a box is possibly noisy, read-only.
    number
        The file's number for it, by which results name it.
    """

    name: str
    width: int
    height: int
    boxes: np.ndarray
    noisy: np.ndarray
    number: int = 0

    def __post_init__(self) -> None:
        for column in (self.boxes, self.noisy):
            column.setflags(write=False)


def read_coco(path: Path) -> list[CocoImage]:
    """Read every image of a COCO file with its boxes, in the file's order.

    Raises
    ------
    AnnotationFileError
        If it cannot be read or does not fit, or a box belongs to no image or lies outside its own.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise AnnotationFileError(f"Cannot read {path}: {error.strerror or error}") from error
    model = parse(CocoFileModel, data, str(path), "entry")
    images = {image.id: image for image in model.images}
    if len(images) < len(model.images):
        raise AnnotationFileError(f"{path}: found several images with the same id, required one for each id")
    rows: dict[int, list[CocoBoxModel]] = {number: [] for number in images}
    for position, row in enumerate(model.annotations, 1):
        image = images.get(row.image_id)
        if image is None:
            raise AnnotationFileError(f"{path}, annotation {position}: found no image with the id {row.image_id}")
        x, y, width, height = row.bbox
        try:
            in_image((x, y, x + width, y + height), (image.width, image.height))
        except BoxError as error:
            raise AnnotationFileError(
                f"{path}, annotation {position}: found the box {list(row.bbox)}, required one of {MIN_SIDE:g} x "
                f"{MIN_SIDE:g} or more in its image of {image.width} x {image.height} pixels: mend or remove it"
            ) from error
        rows[row.image_id].append(row)
    return [_image(image, rows[number]) for number, image in images.items()]


def _image(image: CocoImageModel, rows: list[CocoBoxModel]) -> CocoImage:
    corner_and_size = np.asarray([row.bbox for row in rows], dtype=np.float64).reshape(-1, 4)
    corner, size = corner_and_size[:, :2], corner_and_size[:, 2:]
    return CocoImage(
        name=image.file_name,
        width=image.width,
        height=image.height,
        boxes=np.concatenate([corner, corner + size], axis=1),
        noisy=np.asarray([row.noisy for row in rows], dtype=bool),
        number=image.id,
    )
