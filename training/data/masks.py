"""Pseudo masks of a key slice's lesions, and their way into the network's input."""

from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np

from napari_uld.ct.deeplesion import read_slices
from napari_uld.errors import RecistError
from napari_uld.inference.slabs import Slab
from napari_uld.lesions.boxes import RECIST_MARGIN
from napari_uld.lesions.recist import Recist
from napari_uld.lesions.rle import Rle, decode, encode
from napari_uld.masks import MaskKind, pseudo_mask

from .key_slices import KeySlice


def lesion_masks(root: Path, key: KeySlice, kind: MaskKind) -> tuple[Rle, ...]:
    """Give the pseudo mask of each lesion of a key slice, in native pixels.

    A lesion without a RECIST that a mask can be made from gets the ellipse in its box, and none where
    that lies outside the image.

    Raises
    ------
    ScanError
        If the key slice is unreadable.
    """
    hu = read_slices(root, key.series, [key.number]).hu[0]
    masks = []
    for box, recist in zip(key.boxes, key.recists, strict=True):
        mask = np.zeros(hu.shape)
        for chosen, measured in ((kind, recist), (MaskKind.ELLIPSE, _recist_in(box))):
            with suppress(RecistError):
                mask = pseudo_mask(chosen, hu, box[None], [measured], key.window)
                break
        masks.append(encode(mask))
    return tuple(masks)


def to_slab(masks: tuple[Rle, ...], slab: Slab) -> np.ndarray:
    """Bring native masks into a slab's input, uint8 (n, H, W) of 0 and 1."""
    height, width = slab.hu.shape[1:]
    x, y = slab.offset
    right, bottom = x + round(width / slab.scale[0]), y + round(height / slab.scale[1])
    shrinking = slab.scale[0] < 1
    brought = np.zeros((len(masks), height, width), np.uint8)
    for row, rle in zip(brought, masks, strict=True):
        part = decode(rle)[y:bottom, x:right].astype(np.float32)
        resized = cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR)
        row[:] = resized >= 0.5
    return brought


def _recist_in(box: np.ndarray) -> Recist:
    """Two diameters at right angles that would be given this box."""
    x1, y1, x2, y2 = box
    margin = min(RECIST_MARGIN, (x2 - x1) / 4, (y2 - y1) / 4)
    x, y = (x1 + x2) / 2, (y1 + y2) / 2
    return Recist.from_points([x1 + margin, y, x2 - margin, y, x, y1 + margin, x, y2 - margin])
