"""Pseudo masks of a key slice's lesions, and their way into the network's input."""

from pathlib import Path

import cv2
import numpy as np

from napari_uld.ct.deeplesion import read_slices
from napari_uld.ct.windows import Window
from napari_uld.errors import BoxError, NoMaskError, RecistError
from napari_uld.inference.slabs import Slab
from napari_uld.lesions.recist import Recist
from napari_uld.lesions.rle import Rle, decode, encode
from napari_uld.masks import MaskKind
from napari_uld.masks.ellipse import ellipse_in_box, quarter_ellipse_mask
from napari_uld.masks.grabcut import grabcut_or_ellipse

from .key_slices import KeySlice
from .mask_store import LesionMask, MaskStore, Origin, fingerprint


def lesion_masks(root: Path, key: KeySlice, store: MaskStore) -> tuple[Rle, ...]:
    """Give the mask of each lesion of a key slice, in native pixels: corrected, stored or made now.

    What is stored is what would be made now: it only saves time.

    Parameters
    ----------
    root
        Folder in DeepLesion's layout.
    key
        The key slice.
    store
        What is stored of the kind of mask that is wanted.

    Raises
    ------
    ScanError
        If the key slice is unreadable.
    DataError
        If what is stored does not fit the lesions.
    """
    hu = read_slices(root, key.series, [key.number]).hu[0]
    found = None
    if store.slices:
        found = store.find(fingerprint(hu, key, store.kind), len(key.boxes), (hu.shape[0], hu.shape[1]))
    generated = make_masks(hu, key, store.kind) if found is None else found
    return tuple(key.corrected.get(index, lesion.mask) for index, lesion in enumerate(generated))


def make_masks(hu: np.ndarray, key: KeySlice, kind: MaskKind) -> tuple[LesionMask, ...]:
    """Make the pseudo mask of each lesion of a key slice, and tell how it came about.

    A lesion without a RECIST that a mask can be made from gets the ellipse in its box, and none where
    that lies outside the image: one odd row stops nothing.

    Parameters
    ----------
    hu
        (height, width) pixels of the key slice in Hounsfield units.
    key
        Its lesions.
    kind
        GrabCut or ellipse.
    """
    pairs = zip(key.boxes, key.recists, strict=True)
    return tuple(_make_mask(hu, box, recist, key.window, kind) for box, recist in pairs)


def _make_mask(hu: np.ndarray, box: np.ndarray, recist: Recist | None, window: Window, kind: MaskKind) -> LesionMask:
    shape = (hu.shape[0], hu.shape[1])
    reason = "no measurement"
    try:
        if recist is not None and kind is MaskKind.ELLIPSE:
            return LesionMask(encode(quarter_ellipse_mask(recist, shape)), Origin.ELLIPSE)
        if recist is not None:
            mask, reason = grabcut_or_ellipse(hu, recist, box, window)
            return LesionMask(encode(mask), Origin.ELLIPSE if reason else Origin.GRABCUT, reason)
    except NoMaskError as error:
        reason = error.reason
    except BoxError:
        reason = "malformed box"
    try:
        in_box = ellipse_in_box(box, shape)
    except (RecistError, BoxError):
        return LesionMask(encode(np.zeros(shape)), Origin.NONE, f"{reason}, and no ellipse in the box")
    return LesionMask(encode(in_box), Origin.ELLIPSE_IN_BOX, reason)


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
