"""Pseudo masks of a key slice's lesions, and their way into the network's input."""

from pathlib import Path

import cv2
import numpy as np

from napari_uld.ct.deeplesion import read_slices
from napari_uld.inference.slabs import Slab
from napari_uld.lesions.rle import Rle, decode, encode
from napari_uld.masks import INSIDE, MaskKind
from napari_uld.masks.lesion_mask import lesion_mask

from .key_slices import KeySlice
from .mask_store import LesionMask, MaskStore, fingerprint


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
    stored = None
    if store.slices:
        stored = store.find(fingerprint(hu, key, store.kind), len(key.boxes), (hu.shape[0], hu.shape[1]))
    generated = make_masks(hu, key, store.kind) if stored is None else stored
    return tuple(key.corrected.get(index, lesion.mask) for index, lesion in enumerate(generated))


def make_masks(hu: np.ndarray, key: KeySlice, kind: MaskKind) -> tuple[LesionMask, ...]:
    """Make the pseudo mask of each lesion of a key slice, and tell how it came about: see `lesion_mask`.

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
    made = (lesion_mask(kind, hu, box, recist, key.window) for box, recist in pairs)
    return tuple(LesionMask(encode(mask), origin, reason) for mask, origin, reason in made)


def to_slab(masks: tuple[Rle, ...], slab: Slab) -> np.ndarray:
    """Bring native masks into a slab's input, uint8 (n, H, W) of 0 and 1."""
    height, width = slab.hu.shape[1:]
    (x, y), scale = (int(edge) for edge in slab.axes.offset), slab.axes.scale
    right, bottom = x + round(width / scale[0]), y + round(height / scale[1])
    shrinking = scale[0] < 1
    brought = np.zeros((len(masks), height, width), np.uint8)
    for row, rle in zip(brought, masks, strict=True):
        part = decode(rle)[y:bottom, x:right].astype(np.float32)
        resized = cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR)
        row[:] = resized >= INSIDE
    return brought
