"""Sliding along a scan of any size: tiles of whole slices with a halo, as deep as there is memory for."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import psutil
import torch

from napari_uld.errors import TileMemoryError
from napari_uld.inference.checkpoint import LoadedDetector
from napari_uld.inference.probing import POOLED_SLICES
from napari_uld.progress import Progress, Work

# Of the slices to each side that a score depends on so many are seen. The furthest are there by one of very many paths
# through the layers and hardly matter: `benchmarks/bench_sliding.py` prints what other halos change.
HALO_SHARE = 0.5
# A peak is compared with the scores next to it: these must be right as well.
NEXT_TO_A_PEAK = 1
# Of the free memory a tile may take so much: convolutions work in memory of their own, and other programs live, too.
FREE_SHARE = 0.5
# A tile is no deeper than so many halos: two of them are then a sixth of the work. Deeper ones save little, and more is
# lost on a CPU, where memory for large tensors is slow to come.
MOST_HALOS = 12

Found = TypeVar("Found")


@dataclass(frozen=True)
class Tiling:
    """How a scan is cut along z.

    Parameters
    ----------
    depth
        Slices of a tile, its halos among them.
    halo
        Slices at each end of a tile that are seen and do not count; at the scan's own ends there are none.
    """

    depth: int
    halo: int

    @property
    def least(self) -> int:
        """Slices of the shallowest tile: one counts, wherever the tile has to begin."""
        return 2 * self.halo + POOLED_SLICES


@dataclass(frozen=True)
class Tile:
    """Slices that are run together.

    Parameters
    ----------
    first, count
        Which they are.
    low, high
        What is found in slices [low, high) of the scan counts.
    """

    first: int
    count: int
    low: int
    high: int


def plan(detector: LoadedDetector, slices: int, size: tuple[int, int]) -> Tiling:
    """Choose a halo by how far the network sees, and the deepest tiles that there is memory for.

    Parameters
    ----------
    slices, size
        Of the resampled scan: how many, their (height, width).

    Raises
    ------
    TileMemoryError
        If not even the shallowest tile fits.
    """
    halo = math.ceil(HALO_SHARE * detector.reach) + NEXT_TO_A_PEAK
    divisible = detector.model.size_divisible
    height, width = (-(-side // divisible) * divisible for side in size)
    per_slice = detector.bytes_per_voxel * height * width
    free = free_bytes(detector.device)
    least = min(Tiling(1, halo).least, slices)
    if least * per_slice > free:
        raise TileMemoryError(
            f"{least} slices of {height} x {width} voxels need {_gib(least * per_slice)} on the device "
            f"{detector.device}, which has {_gib(free)} free: close other programs, or choose another device"
        )
    return Tiling(max(min(int(FREE_SHARE * free / per_slice), MOST_HALOS * halo), least), halo)


def free_bytes(device: torch.device) -> int:
    """Memory that a device has for tensors at the moment."""
    if device.type != "cuda":
        return int(psutil.virtual_memory().available)
    free, _ = torch.cuda.mem_get_info(device)
    # What PyTorch has set aside already and does not use is free as well.
    return int(free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))


def slide(slices: int, tiling: Tiling, look: Callable[[Tile], Found], what: str) -> Work[list[Found]]:
    """Look at a scan tile by tile, from its first slice to its last; every slice counts in one of them.

    Where a GPU's memory is too small for a tile, this and the following ones are half as deep. Yields progress with the
    time left after every tile; closing the generator cancels.

    Parameters
    ----------
    slices
        How many the scan has.
    look
        Gives what is found in the tile's slices that count.
    what
        Is being done.

    Raises
    ------
    TileMemoryError
        If the memory is too small for the shallowest tile.
    """
    parts: list[Found] = []
    depth, done, started = tiling.depth, 0, time.monotonic()
    yield Progress(0, slices, what)
    while done < slices:
        tile = next_tile(done, depth, tiling.halo, slices)
        found = _looked(look, tile)
        if found is None:
            if tile.count <= tiling.least:
                raise TileMemoryError(
                    f"The GPU's memory is too small for {tile.count} slices at a time, of which {tile.high - tile.low} "
                    "would count: close other programs that use it, or choose the device cpu"
                )
            depth = max(tile.count // 2, tiling.least)
            yield Progress(done, slices, f"Too little memory for {tile.count} slices at a time: going on with {depth}")
            continue
        parts.append(found[0])
        done = tile.high
        left = (time.monotonic() - started) / done * (slices - done)
        yield Progress(done, slices, f"Slice {done} of {slices}, {left:.0f} s left")
    return parts


def next_tile(done: int, depth: int, halo: int, slices: int) -> Tile:
    """Give the tile whose first slice that counts is the one after those that are done."""
    first = max(done - halo, 0) // POOLED_SLICES * POOLED_SLICES
    last = min(first + depth, slices)
    return Tile(first, last - first, done, slices if last == slices else last - halo)


def _looked(look: Callable[[Tile], Found], tile: Tile) -> tuple[Found] | None:
    """What is found, None where there is too little memory."""
    try:
        return (look(tile),)
    except torch.OutOfMemoryError:
        pass
    # Not before the error is gone, which holds on to what was computed.
    torch.cuda.empty_cache()
    return None


def _gib(size: float) -> str:
    return f"{size / 2**30:.1f} GiB"
