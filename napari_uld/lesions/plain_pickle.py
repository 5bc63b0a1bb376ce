"""Pickles that hold nothing but numbers, text, containers and numpy arrays of numbers.

A pickle is a program: unpickled as usual it may run anything. Here what it may name is numpy's reconstruction of
arrays, numbers and their types, and none of numpy's code runs for it either: plain values are made in its place. What
a file asks for beyond that, or more than so much of it, is refused.
"""

import io
import math
import pickle
import pickletools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from napari_uld.errors import AnnotationFileError

# A released file has 1.8 MB and 300,000 values; a pickle that says one thing often may stand for far more values.
MAX_BYTES, MAX_VALUES, MAX_DEPTH = 256 << 20, 20_000_000, 32
# Steps of a pickle's program that make objects of classes or ask its reader for more.
_REFUSED_STEPS = frozenset(
    (
        "INST",
        "OBJ",
        "NEWOBJ",
        "NEWOBJ_EX",
        "EXT1",
        "EXT2",
        "EXT4",
        "PERSID",
        "BINPERSID",
        "NEXT_BUFFER",
        "READONLY_BUFFER",
    )
)
# Types of numbers by numpy's short names.
_NUMBERS = {
    f"{kind}{size}" for kind, sizes in (("f", "248"), ("i", "1248"), ("u", "1248"), ("b", "1")) for size in sizes
}
# What a broken program ends with.
_BROKEN = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
    pickle.UnpicklingError,
)


@dataclass
class _NumberType:
    """A numpy type of numbers in the making."""

    name: str
    order: str = "<"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = state[1]

    def numbers(self, data: object) -> np.ndarray:
        """Read numbers from their bytes."""
        if not isinstance(data, bytes | bytearray) or self.order not in ("<", ">", "|", "="):
            raise ValueError("numbers are no bytes")
        return np.frombuffer(bytes(data), self.order + self.name)


@dataclass
class _Array:
    """A numpy array in the making."""

    values: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, number_type, by_columns, data = state
        self.fill(shape, number_type, by_columns, data)

    def fill(self, shape: tuple[Any, ...], number_type: object, by_columns: bool, data: object) -> None:
        """Take the numbers from their bytes."""
        if not isinstance(number_type, _NumberType) or not all(type(side) is int and side >= 0 for side in shape):
            raise ValueError("an array's shape or type is none")
        numbers = number_type.numbers(data)
        if math.prod(shape) != len(numbers):
            raise ValueError(f"an array of the shape {shape} has {len(numbers)} numbers")
        self.values = numbers.reshape(shape, order="F" if by_columns else "C")


def _number_type(name: object, *_: object) -> _NumberType:
    text = name.decode("ascii") if isinstance(name, bytes) else name
    if not isinstance(text, str) or text.lstrip("<>|=") not in _NUMBERS:
        raise pickle.UnpicklingError(f"it names {text!r}, which is no type of numbers")
    return _NumberType(text.lstrip("<>|="))


def _scalar(number_type: object, data: object) -> int | float | bool:
    if not isinstance(number_type, _NumberType):
        raise TypeError("a number without a type")
    (number,) = number_type.numbers(data)
    return number.item()


def _array(*_: object) -> _Array:
    return _Array()


def _array_of(data: object, number_type: object, shape: tuple[Any, ...], order: object) -> _Array:
    array = _Array()
    array.fill(shape, number_type, order == "F", data)
    return array


def _no_bytes() -> bytes:
    """How the oldest pickles say that there are none."""
    return b""


def _bytes(text: object, encoding: object) -> bytes:
    """What Python 2's strings of bytes became."""
    if encoding != "latin1" or not isinstance(text, str):
        raise pickle.UnpicklingError("it encodes text")
    return text.encode("latin1")


# What pickles of numpy's arrays and numbers name, in its older and newer versions.
_NAMES: dict[tuple[str, str], Callable[..., object] | type] = {
    ("numpy", "dtype"): _number_type,
    ("numpy", "ndarray"): _Array,
    ("_codecs", "encode"): _bytes,
    ("__builtin__", "bytes"): _no_bytes,
}
for _core in ("numpy.core", "numpy._core"):
    _NAMES[f"{_core}.multiarray", "scalar"] = _scalar
    _NAMES[f"{_core}.multiarray", "_reconstruct"] = _array
    _NAMES[f"{_core}.numeric", "_frombuffer"] = _array_of


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Give what stands for one of numpy's names; nothing else is ever looked up."""
        try:
            return _NAMES[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it names {module}.{name}") from None


def read_plain_pickle(path: Path) -> Any:
    """Read a pickle of plain containers, numbers, text and numpy's arrays of numbers.

    Returns
    -------
    object
        Dictionaries, lists, tuples, text, numbers, None and read-only arrays; numpy's single numbers are Python's.

    Raises
    ------
    AnnotationFileError
        If it cannot be read, names anything else, or holds more than a file of annotations does.
    """
    try:
        size = path.stat().st_size
        data = path.read_bytes() if size <= MAX_BYTES else b""
    except OSError as error:
        raise AnnotationFileError(f"Cannot read {path}: {error.strerror or error}") from error
    if size > MAX_BYTES:
        raise AnnotationFileError(f"{path}: found {size:,} bytes, required at most {MAX_BYTES:,} of a pickle")
    try:
        _check_steps(data)
        return _Plain().of(_PlainUnpickler(io.BytesIO(data)).load(), 0)
    except _BROKEN as error:
        reason = str(error) or type(error).__name__
        raise AnnotationFileError(
            f"{path}: found a pickle that is refused, since {reason}; required one of plain containers, numbers and "
            "numpy's arrays, which runs nothing when it is read"
        ) from error


def _check_steps(data: bytes) -> None:
    """Refuse a program that makes objects, or counts on more memory than its own length."""
    for step, argument, _ in pickletools.genops(data):
        if step.name in _REFUSED_STEPS:
            raise pickle.UnpicklingError(f"it makes an object by {step.name}")
        # A memo's places are reserved up to the highest: each takes at least a byte to fill.
        if isinstance(argument, int) and step.name.endswith("PUT") and argument > len(data):
            raise pickle.UnpicklingError(f"it asks for {argument:,} places")


class _Plain:
    """Takes the values out of what was unpickled, and counts them."""

    def __init__(self) -> None:
        self.count = 0

    def of(self, value: object, depth: int) -> object:
        """The value with arrays in the place of those in the making."""
        self.count += 1
        if self.count > MAX_VALUES or depth > MAX_DEPTH:
            raise ValueError(f"it holds more than {MAX_VALUES:,} values, or is nested more than {MAX_DEPTH} deep")
        if isinstance(value, dict):
            return {key: self.of(each, depth + 1) for key, each in value.items()}
        if isinstance(value, list):
            return [self.of(each, depth + 1) for each in value]
        if isinstance(value, tuple):
            return tuple(self.of(each, depth + 1) for each in value)
        if isinstance(value, _Array):
            return value.values
        if value is None or isinstance(value, bool | int | float | str | bytes):
            return value
        raise ValueError(f"it holds a {type(value).__name__}")
