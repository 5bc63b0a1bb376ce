"""CT series in DICOM files: read into Hounsfield units slice by slice, and checked as a whole."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from threading import Event

import numpy as np

from napari_uld.ct.dicom_hu import check_rescales, notes_of
from napari_uld.ct.dicom_plan import plan_of, volume_of
from napari_uld.ct.dicom_slices import ReadFile, read_images
from napari_uld.ct.entries import ScanEntry
from napari_uld.ct.filling import Filling, Reading
from napari_uld.ct.geometry import stack_slices
from napari_uld.ct.plausibility import check_hu
from napari_uld.ct.threads import in_order
from napari_uld.ct.volume import CTVolume
from napari_uld.ct.windows import AIR_HU
from napari_uld.errors import MissingSlicesError, ScanError

# Slices that are filled with air at a time.
PART = 32


def read_dicom(entry: ScanEntry, start: int | None, *, shown: bool) -> Reading:
    """Read one scan, from slice `start` of the volume outwards, or from its middle.

    What it tells on the way has a volume only where this is to be `shown`.

    Raises
    ------
    ScanError
        If a file is damaged or lacks what CT images must have.
    GeometryError
        If the slices do not form one regular grid.
    UnsupportedScanError
        If the values cannot be Hounsfield units.
    """
    wanted: dict[Path, list[int]] = {}
    for file, frame in entry.frames:
        wanted.setdefault(file, []).append(frame)
    plan = plan_of(entry, shown=shown)

    def read(index: int) -> ReadFile:
        file = entry.files[index]
        return read_images(file, wanted.get(file), entry.headers.get(file), plan.rooms.get(file))

    places = [plan.places.get(file, index) for index, file in enumerate(entry.files)]
    middle = len(places) // 2 if start is None else start
    order = sorted(range(len(places)), key=lambda index: abs(places[index] - middle))
    files: dict[int, ReadFile] = {}
    if plan.volume is not None and plan.room is not None:
        for _ in _fill(plan.room):
            yield Filling(0, len(order))
    yield Filling(0, len(order), plan.volume)
    for index, one in _in_threads(read, order):
        files[index] = one
        yield Filling(len(files), len(order), plan.volume, () if plan.volume is None else (places[index],))
    return _checked(entry, [files[index] for index in range(len(order))], plan.room)


def _fill(room: np.ndarray) -> Iterator[None]:
    """Fill a volume with air, part by part: to touch so much memory for the first time keeps one waiting."""
    for first in range(0, len(room), PART):
        yield
        room[first : first + PART] = AIR_HU


def _in_threads(read: Callable[[int], ReadFile], order: Sequence[int]) -> Iterator[tuple[int, ReadFile]]:
    """Read files in an order, as `in_order`; of several that cannot be read the first one in the scan has its say.

    While what has arrived is looked at, no other file is begun: a decoder holds Python's lock from a slice's beginning
    to its end, and whoever draws would wait for it at every call of the graphics library.
    """
    failed: tuple[int, ScanError] | None = None
    awaited = Event()

    def attempt(index: int) -> ReadFile | ScanError | None:
        awaited.wait()
        if failed is not None and failed[0] < index:
            return None
        try:
            return read(index)
        except ScanError as error:
            return error

    try:
        with closing(in_order(attempt, order)) as attempts:
            awaited.set()
            for index, one in zip(order, attempts, strict=True):
                if isinstance(one, ReadFile):
                    awaited.clear()
                    yield index, one
                    awaited.set()
                elif one is not None and (failed is None or index < failed[0]):
                    failed = index, one
    finally:
        awaited.set()
    if failed is not None:
        raise failed[1]


def _checked(entry: ScanEntry, read: Sequence[ReadFile], room: np.ndarray | None) -> CTVolume:
    """Put the slices together and check them as a whole."""
    slices = [one for file in read for one in file.slices]
    check_rescales(slices, entry.path)
    said = (*entry.said, *notes_of(slices))
    try:
        stack = stack_slices(
            [one.slice for one in slices], source=entry.path, single_spacing=read[0].thickness, said=said, room=room
        )
    except MissingSlicesError as error:
        raise MissingSlicesError("; ".join((str(error), *entry.said))) from error
    check_hu(stack.hu, entry.path)
    return volume_of(entry, stack, thickness=read[0].thickness, window=read[0].window)
