"""Prepared images in memory, as far as there is room: small runs then read each file once."""

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

import psutil
import torch

# Up to this size, or this share of what is free.
CACHE_BYTES, CACHE_SHARE = 5 * 2**30, 0.25

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class BoundedCache(Generic[K, T]):
    """Keeps what was made for an index until its room is full; what came first stays."""

    def __init__(self) -> None:
        self._kept: dict[K, T] = {}
        self._left = min(CACHE_BYTES, int(CACHE_SHARE * psutil.virtual_memory().available))

    def get(self, index: K, make: Callable[[], T], size_of: Callable[[T], int]) -> T:
        """Give what is kept for an index, else what `make` makes; `size_of` says how many bytes that takes."""
        if index in self._kept:
            return self._kept[index]
        made = make()
        # A loader's own process lives for one epoch: nothing it kept would be asked for again.
        if torch.utils.data.get_worker_info() is None and size_of(made) <= self._left:
            self._kept[index] = made
            self._left -= size_of(made)
        return made
