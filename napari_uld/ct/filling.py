"""A scan that is being read: what can be shown of it before all of it has been read and checked."""

from collections.abc import Generator
from dataclasses import dataclass

from napari_uld.ct.volume import CTVolume


@dataclass(frozen=True, eq=False)
class Filling:
    """How far a scan is read.

    Parameters
    ----------
    done, total
        Files read, and files in all.
    volume
        The scan's grid as its headers tell it, the same object in every step, with voxels that fill in: air at first,
        then as the slices arrive. None until there is room for it, and where a grid is known only once all pixels are
        read.
    arrived
        Slices (z) of `volume` that are there since the last step and will not change; others may be half written.
    """

    done: int
    total: int
    volume: CTVolume | None = None
    arrived: tuple[int, ...] = ()


# The first step comes before any pixels are read. Closing the generator ends the reading.
Reading = Generator[Filling, None, CTVolume]
