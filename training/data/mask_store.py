"""Pseudo masks made once for a data set: ``pseudo_masks/<kind>.jsonl`` in its folder, a line for each key slice.

A line names its key slice for people to read; it is found by a hash of everything that its masks are
made from. Where any of that changed nobody asks for the line any more, and the masks are made again.
Lines are only added. One that a killed run tore is the last, has no end, and is passed over.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from napari_uld.errors import AnnotationFileError, DataError
from napari_uld.files import append_lines
from napari_uld.lesions import json_models, storage
from napari_uld.lesions.rle import Rle
from napari_uld.masks import MaskKind
from napari_uld.masks.grabcut import ITERATIONS, MARGIN
from napari_uld.masks.lesion_mask import Origin

from .key_slices import KeySlice

FOLDER = "pseudo_masks"
KINDS = (MaskKind.GRABCUT, MaskKind.ELLIPSE)
# Raise it when the same slice, lesions and parameters give another mask than before: what is stored is then made again.
MASK_VERSION = 1


@dataclass(frozen=True)
class LesionMask:
    """A lesion's pseudo mask.

    Parameters
    ----------
    mask
        In native pixels.
    origin
        How it came about.
    reason
        Why that is not the kind asked for; "" where it is.
    """

    mask: Rle
    origin: Origin
    reason: str = ""


@dataclass(frozen=True)
class StoredSlice:
    """The masks of a key slice's lesions, and what they were made from.

    Parameters
    ----------
    series, number
        The key slice.
    fingerprint
        See `fingerprint`.
    lesions
        The masks, in the order of the lesions.
    """

    series: str
    number: int
    fingerprint: str
    lesions: tuple[LesionMask, ...]


class _LesionModel(json_models.Model):
    origin: Origin
    reason: str
    mask: json_models.MaskModel


class _SliceModel(json_models.Model):
    series: str
    slice: int
    hash: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    lesions: tuple[_LesionModel, ...]


class MaskStore:
    """The stored masks of one kind.

    Parameters
    ----------
    root
        Folder in DeepLesion's layout; a store that is not there is empty.
    kind
        Which masks.

    Attributes
    ----------
    kind
        Which masks.
    path
        The file.
    slices
        What is stored, by fingerprint.

    Raises
    ------
    DataError
        If the file cannot be read, or a line is damaged.
    """

    def __init__(self, root: Path, kind: MaskKind) -> None:
        self.kind = kind
        self.path = store_path(root, kind)
        self._remedy = f"delete it, or the file, and run `napari-uld masks {root} --kind {kind.value}` again"
        self.slices: Mapping[str, StoredSlice] = {slice_.fingerprint: slice_ for slice_ in self._read()}

    def find(self, fingerprint: str, lesions: int, shape: tuple[int, int]) -> tuple[LesionMask, ...] | None:
        """Give the masks that were made from this, or None where there are none.

        Raises
        ------
        DataError
            If what is stored is not one mask of `shape` for each of so many lesions.
        """
        stored = self.slices.get(fingerprint)
        if stored is None:
            return None
        shapes = [lesion.mask.shape for lesion in stored.lesions]
        if shapes != [shape] * lesions:
            raise DataError(
                f"{self.path}, line of {stored.series} slice {stored.number}: found masks of {shapes} pixels, required "
                f"{lesions} of {shape}; {self._remedy}"
            )
        return stored.lesions

    def _read(self) -> list[StoredSlice]:
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise DataError(f"{self.path} cannot be read: {error.strerror or error}; {self._remedy}") from error
        return [self._line(text, number) for number, text in enumerate(data.split(b"\n")[:-1], start=1)]

    def _line(self, text: bytes, number: int) -> StoredSlice:
        try:
            model = json_models.parse(_SliceModel, text, f"{self.path}, line {number}", "lesion")
        except AnnotationFileError as error:
            raise DataError(f"{error}; {self._remedy}") from error
        lesions = tuple(LesionMask(row.mask.decoded(), row.origin, row.reason) for row in model.lesions)
        return StoredSlice(model.series, model.slice, model.hash, lesions)


def store_path(root: Path, kind: MaskKind) -> Path:
    """Where the masks of a kind are stored in a data set's folder."""
    return Path(root) / FOLDER / f"{kind.value}.jsonl"


def fingerprint(hu: np.ndarray, key: KeySlice, kind: MaskKind) -> str:
    """Give the hash of everything that the pseudo masks of a key slice's lesions are made from.

    Parameters
    ----------
    hu
        (height, width) pixels of the key slice in Hounsfield units.
    key
        Its boxes, RECISTs and window; corrected masks are laid over what is stored.
    kind
        Which masks.
    """
    made_from = {
        "version": MASK_VERSION,
        "kind": kind.value,
        "iterations": ITERATIONS,
        "margin": MARGIN,
        "window": key.window,
        "boxes": key.boxes.tolist(),
        "recists": [None if recist is None else recist.points.tolist() for recist in key.recists],
        "shape": hu.shape,
    }
    digest = hashlib.sha256(json.dumps(made_from).encode())
    digest.update(hu.astype("<i2").tobytes())
    return digest.hexdigest()


def append(path: Path, slices: Iterable[StoredSlice]) -> None:
    """Add lines to a store and flush them to the disk; a torn last line is removed first.

    Raises
    ------
    FileLockedError
        If another program is writing it.
    DataError, AnnotationFileError
        If it cannot be written, or not be locked.
    """
    lines = b"".join(_to_line(slice_) for slice_ in slices)
    if not lines:
        return
    try:
        path.parent.mkdir(exist_ok=True)
        with storage.locked(path):
            append_lines(path, lines)
    except OSError as error:
        raise DataError(
            f"Cannot write {path}: {error.strerror or error}; what was stored before is kept. "
            "Make room or see that you may write there, and run it again"
        ) from error


def _to_line(stored: StoredSlice) -> bytes:
    lesions = [
        {"origin": lesion.origin, "reason": lesion.reason, "mask": json_models.mask_to_json(lesion.mask)}
        for lesion in stored.lesions
    ]
    content = {"series": stored.series, "slice": stored.number, "hash": stored.fingerprint, "lesions": lesions}
    return (json.dumps(content, separators=(",", ":")) + "\n").encode()
