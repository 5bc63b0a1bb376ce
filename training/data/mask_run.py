"""Making the pseudo masks of a whole data set on all cores, and storing them as they come."""

import os
import signal
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any

import cv2

from napari_uld.ct.deeplesion import read_slices
from napari_uld.errors import DataError, ScanError
from napari_uld.masks import MaskKind
from napari_uld.masks.lesion_mask import Origin
from napari_uld.progress import Progress, Work

from ..cores import worker_count
from .key_slices import KeySlice
from .mask_store import KINDS, LesionMask, MaskStore, StoredSlice, append, fingerprint
from .masks import make_masks

_TICK = 0.4  # s between two reports
# Key slices that a process takes at a time: about a tenth of a second.
_BATCH = 8


@dataclass(frozen=True)
class MaskReport:
    """What storing masks came to.

    Parameters
    ----------
    slices, lesions
        Key slices and lesions of the data set.
    made, taken_over
        Lesions whose masks were made now, and that were stored already.
    seconds
        How long it took.
    origins
        Number of lesions by how their masks came about and why that is not the kind asked for.
    """

    slices: int
    lesions: int
    made: int
    taken_over: int
    seconds: float
    origins: Mapping[tuple[Origin, str], int]

    def of_run(self) -> dict[str, Any]:
        """The row of the run."""
        return {
            "key slices": self.slices,
            "lesions": self.lesions,
            "made now": self.made,
            "taken over": self.taken_over,
            "seconds": round(self.seconds, 1),
        }

    def of_origins(self) -> list[dict[str, Any]]:
        """A row for each way in which masks came about, the commonest first."""
        common = sorted(self.origins.items(), key=lambda item: -item[1])
        return [{"mask": origin.value, "because of": why, "lesions": count} for (origin, why), count in common]

    def to_dict(self) -> dict[str, Any]:
        """The same for programs."""
        return {"run": self.of_run(), "masks": self.of_origins()}


def store_masks(root: Path, slices: list[KeySlice], kind: str, processes: int | None = None) -> Work[MaskReport]:
    """Make the pseudo mask of every lesion that is not stored yet, and store it in the data set's folder.

    What is finished is on the disk within half a second or so: a break loses little, and the next run goes on there.

    Parameters
    ----------
    root
        Folder in DeepLesion's layout.
    slices
        The key slices.
    kind
        "grabcut" or "ellipse".
    processes
        How many to use; as many as there are cores where None.

    Raises
    ------
    DataError
        If the kind is none of these, the store is damaged or cannot be written, or a process dies.
    FileLockedError
        If another program is writing the store.
    ScanError
        If key slices are unreadable; the masks of all others are stored before.
    """
    if kind not in KINDS:
        raise DataError(f"There are no stored masks of the kind {kind!r}: choose {' or '.join(KINDS)}")
    start = time.perf_counter()
    store = MaskStore(root, MaskKind(kind))
    total = sum(len(key.boxes) for key in slices)
    origins: Counter[tuple[Origin, str]] = Counter()
    made = taken_over = 0
    unreadable: list[str] = []
    yield Progress(0, total, "masks")
    for outcomes in _in_parallel(Path(root), slices, store, processes or worker_count()):
        new = []
        for key, outcome in outcomes:
            if outcome.problem:
                unreadable.append(outcome.problem)
                continue
            lesions = outcome.made or store.find(outcome.fingerprint, len(key.boxes), outcome.shape) or ()
            if outcome.made is not None:
                new.append(StoredSlice(key.series, key.number, outcome.fingerprint, outcome.made))
                made += len(lesions)
            else:
                taken_over += len(lesions)
            origins.update((lesion.origin, lesion.reason) for lesion in lesions)
        append(store.path, new)
        yield Progress(made + taken_over, total, "masks")
    if unreadable:
        raise ScanError(
            f"{len(unreadable)} of {len(slices)} key slices cannot be read, the masks of all others are stored. "
            f"One of them: {unreadable[0]}"
        )
    return MaskReport(len(slices), total, made, taken_over, time.perf_counter() - start, origins)


@dataclass(frozen=True)
class _Outcome:
    """What a process says about a key slice: its fingerprint and size, and the masks where none were stored."""

    fingerprint: str
    shape: tuple[int, int]
    made: tuple[LesionMask, ...] | None
    # Why the key slice cannot be read, or "".
    problem: str = ""


def _in_parallel(
    root: Path, slices: list[KeySlice], store: MaskStore, processes: int
) -> Iterator[list[tuple[KeySlice, _Outcome]]]:
    """Give outcomes as they come, at least every tick, if only an empty list."""
    known: dict[tuple[str, int], set[str]] = defaultdict(set)
    for stored in store.slices.values():
        known[stored.series, stored.number].add(stored.fingerprint)
    tasks = [(key, frozenset(known.get((key.series, key.number), ()))) for key in slices]
    batches = [tasks[first : first + _BATCH] for first in range(0, len(tasks), _BATCH)]
    pool = ProcessPoolExecutor(
        max(1, min(processes, len(batches))), mp_context=get_context("spawn"), initializer=_begin_process
    )
    try:
        waiting = {pool.submit(_work, root, store.kind, batch): batch for batch in batches}
        while waiting:
            finished, _ = wait(waiting, timeout=_TICK, return_when=FIRST_COMPLETED)
            yield [
                (key, outcome)
                for future in finished
                for (key, _), outcome in zip(waiting.pop(future), future.result(), strict=True)
            ]
    except BrokenProcessPool as error:
        raise DataError(
            f"A process that was making masks for {root} died, perhaps for want of memory; "
            "run it again, what is stored is kept"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _begin_process() -> None:
    cv2.setNumThreads(1)
    # The process that started this one hears the interrupt too, and ends the work in order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Where that one is killed, nobody would tell this one to end.
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(root: Path, kind: MaskKind, tasks: list[tuple[KeySlice, frozenset[str]]]) -> list[_Outcome]:
    outcomes = []
    for key, known in tasks:
        try:
            hu = read_slices(root, key.series, [key.number]).hu[0]
        except ScanError as error:
            outcomes.append(_Outcome("", (0, 0), None, str(error)))
            continue
        name = fingerprint(hu, key, kind)
        made = None if name in known else make_masks(hu, key, kind)
        outcomes.append(_Outcome(name, (hu.shape[0], hu.shape[1]), made))
    return outcomes
