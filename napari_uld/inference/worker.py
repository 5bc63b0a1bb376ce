"""Inference in a process of its own: a crash there is a message here. No torch on this side."""

import multiprocessing as mp
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from multiprocessing.shared_memory import SharedMemory
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import numpy as np

from napari_uld.ct.volume import CTVolume
from napari_uld.errors import CancelledError, UldError, WorkerError
from napari_uld.inference.inside_result import Inside
from napari_uld.lesions.findings import Findings
from napari_uld.progress import Progress, Work

# A cancel that is not heard within this time ends the process.
CANCEL_SECONDS = 0.5
POLL_SECONDS = 0.1
SHUTDOWN_SECONDS = 2.0
# Where Linux keeps shared memory.
SHARED_FOLDER = Path("/dev/shm")


@dataclass(frozen=True)
class Detection:
    """A task: detect lesions on the whole scan."""

    checkpoint: Path


@dataclass(frozen=True, eq=False)
class Look:
    """A task: look inside a detector on one slice.

    Parameters
    ----------
    z
        Index of the slice.
    boxes
        (n, 4) pixel-centre boxes of its lesions.
    detector
        A checkpoint's path, or (as text) a recipe's name or its TOML file's: then there are no weights.
    """

    z: int
    boxes: np.ndarray
    detector: Path | str


@dataclass(frozen=True, eq=False)
class Request:
    """A task on one scan: its voxels are in shared memory, the rest travels with the request.

    Parameters
    ----------
    memory
        Name of the shared memory.
    shape
        (n, z, y, x) of the voxels in it.
    places
        Which of the n are the scan's, and which its phases'.
    scan, task, device
        The scan without voxels, and what is asked of whom.
    """

    memory: str
    shape: tuple[int, int, int, int]
    places: tuple[int, ...]
    scan: CTVolume
    task: Detection | Look
    device: str


@dataclass(frozen=True)
class Failure:
    """An error on its way from the other process: whatever arguments its type is made with, it arrives as itself."""

    kind: type[UldError]
    args: tuple[Any, ...]
    attributes: dict[str, Any]

    @classmethod
    def of(cls, error: UldError) -> "Failure":
        """Pack an error."""
        return cls(type(error), error.args, vars(error))

    def unpack(self) -> UldError:
        """Give the error again."""
        # Pickled as it is, an error is made anew from its message alone, which some types refuse.
        error = self.kind.__new__(self.kind, *self.args)
        vars(error).update(self.attributes)
        return error


class DetectionWorker:
    """A long-lived process that detects; started when it is first needed."""

    def __init__(self) -> None:
        self._process: mp.process.BaseProcess | None = None
        self._connection: Connection | None = None
        self._cancel: Event | None = None
        # From a run's first step to its end; a cancel belongs to the run in progress and to no other.
        self._running = False
        self._cancelled_at: float | None = None
        self._lock = threading.Lock()

    def detect(self, volume: CTVolume, checkpoint: Path, device: str = "auto") -> Work[Findings]:
        """Detect lesions on a scan.

        Raises
        ------
        CancelledError
            After `cancel`.
        WorkerError
            If the process died, or failed for a reason that is no error of ours.
        UldError
            If the checkpoint or the device is at fault.
        """
        return (yield from self._ask(volume, Detection(checkpoint), device))

    def look_inside(self, volume: CTVolume, look: Look, device: str = "auto") -> Work[Inside]:
        """Look inside a detector on one slice of a scan.

        Raises
        ------
        CancelledError
            After `cancel`.
        WorkerError
            If the process died, or failed for a reason that is no error of ours.
        UldError
            If the checkpoint, the recipe or the device is at fault.
        """
        return (yield from self._ask(volume, look, device))

    def _ask(self, volume: CTVolume, task: Detection | Look, device: str) -> Work[Any]:
        with self._lock:
            if self._running:
                raise WorkerError("The detector is at work already: wait for it, or cancel it")
            self._running, self._cancelled_at = True, None
        try:
            scans = (volume, *volume.phases)
            # A scan that is one of its phases goes over once.
            voxels = {id(each.hu): each.hu for each in scans}
            places = tuple(list(voxels).index(id(each.hu)) for each in scans)
            with _shared(list(voxels.values())) as memory:
                # The id may be a hash of the voxels: it has to be known before they are left out.
                empty, *phases = (replace(each, hu=np.zeros((0, 0, 0), np.int16)) for each in scans)
                empty = replace(empty, series_uid=volume.scan_id, phases=tuple(phases))
                shape = (len(voxels), *volume.shape)
                return (yield from self._follow(Request(memory.name, shape, places, empty, task, device)))
        finally:
            with self._lock:
                self._running = False

    def cancel(self) -> None:
        """Ask the run in progress to stop, where there is one; safe from any thread."""
        with self._lock:
            if self._running and self._cancelled_at is None:
                self._cancelled_at = time.monotonic()
                if self._cancel is not None:
                    self._cancel.set()

    @property
    def pid(self) -> int | None:
        """The process's number, None while it is not running."""
        return self._process.pid if self._process is not None else None

    def close(self) -> None:
        """End the process."""
        if self._connection is not None and self._process is not None and self._process.is_alive():
            try:
                self._connection.send(None)
                self._process.join(SHUTDOWN_SECONDS)
            except OSError:
                pass
        self._end()

    def _start(self) -> Connection:
        if self._connection is None or self._process is None or not self._process.is_alive():
            self._end()
            context = mp.get_context("spawn")
            self._connection, theirs = context.Pipe()
            self._cancel = context.Event()
            self._process = context.Process(target=serve, args=(theirs, self._cancel), daemon=True)
            self._process.start()
            theirs.close()
        with self._lock:
            # It may have come while the process was starting.
            if self._cancel is not None and self._cancelled_at is not None:
                self._cancel.set()
            elif self._cancel is not None:
                self._cancel.clear()
        return self._connection

    def _follow(self, request: Request) -> Work[Any]:
        """Hand a request to the process and follow it; a process that is left without an answer is ended."""
        connection, answered = self._start(), False
        try:
            connection.send(request)
            step = Progress(0, 0, "Starting the detector")
            while True:
                yield step
                if self._cancelled_at is not None and time.monotonic() - self._cancelled_at > CANCEL_SECONDS:
                    raise CancelledError("Cancelled")
                if not connection.poll(POLL_SECONDS):
                    continue
                message = connection.recv()
                if isinstance(message, Progress):
                    step = message
                    continue
                answered = True
                if isinstance(message, Failure):
                    raise message.unpack()
                return message
        except (BrokenPipeError, EOFError, ConnectionResetError) as error:
            raise WorkerError(self._post_mortem()) from error
        finally:
            if not answered:
                self._end()

    def _post_mortem(self) -> str:
        code = None
        if self._process is not None:
            self._process.join(SHUTDOWN_SECONDS)
            code = self._process.exitcode
        return (
            f"The detector's process ended unexpectedly (exit code {code}; negative means a signal, -9 often "
            "means too little memory). Nothing else is affected; run it again, or choose the device cpu"
        )

    def _end(self) -> None:
        if self._process is not None and self._process.is_alive():
            self._process.kill()
            self._process.join(SHUTDOWN_SECONDS)
        if self._connection is not None:
            self._connection.close()
        self._process = self._connection = self._cancel = None


@contextmanager
def _shared(voxels: Sequence[np.ndarray]) -> Iterator[SharedMemory]:
    """Copy voxels of scans of one shape into shared memory, which goes when they are no longer needed.

    Raises
    ------
    WorkerError
        If there is too little of it.
    """
    memory, size = None, sum(hu.nbytes for hu in voxels)
    try:
        memory = SharedMemory(create=True, size=max(size, 1))
        if hasattr(os, "posix_fallocate") and SHARED_FOLDER.is_dir():
            # Without its pages the copy would end this program by a bus error, unsaved edits and all.
            descriptor = os.open(SHARED_FOLDER / memory.name.lstrip("/"), os.O_RDWR)
            try:
                os.posix_fallocate(descriptor, 0, memory.size)
            finally:
                os.close(descriptor)
    except OSError as error:
        if memory is not None:
            memory.close()
            memory.unlink()
        raise WorkerError(
            f"The scan needs {size / 2**20:.0f} MiB of shared memory and cannot have it ({error}): "
            f"free memory, or give the machine (or container) a larger {SHARED_FOLDER}"
        ) from error
    try:
        np.stack(voxels, out=np.ndarray((len(voxels), *voxels[0].shape), np.int16, buffer=memory.buf))
        yield memory
    finally:
        memory.close()
        memory.unlink()


def serve(connection: Connection, cancel: Event) -> None:
    """Answer requests until None comes; the other process's entry point."""
    try:
        while (request := connection.recv()) is not None:
            try:
                connection.send(_answer(request, connection, cancel))
            except UldError as error:
                connection.send(Failure.of(error))
            except (RuntimeError, ValueError, MemoryError, OSError) as error:
                connection.send(Failure.of(WorkerError(f"The detector failed: {error}")))
    except (EOFError, BrokenPipeError, KeyboardInterrupt):
        return


def _answer(request: Request, connection: Connection, cancel: Event) -> Findings | Inside:
    task = request.task
    work: Work[Any] = _look(request, task) if isinstance(task, Look) else _detect(request, task)
    while not cancel.is_set():
        try:
            connection.send(next(work))
        except StopIteration as stop:
            return stop.value
    raise CancelledError("Cancelled")


def _detect(request: Request, task: Detection) -> Work[Findings]:
    from napari_uld.inference.checkpoint import load_checkpoint
    from napari_uld.inference.detect import detect

    yield Progress(0, request.shape[1], f"Loading {task.checkpoint.stem}")
    detector = load_checkpoint(task.checkpoint, request.device)
    return (yield from detect(_scan(request), detector))


def _look(request: Request, task: Look) -> Work[Inside]:
    from napari_uld.detectors.specs.recipe import load_recipe
    from napari_uld.inference.checkpoint import load_checkpoint
    from napari_uld.inference.inside import look_inside, look_inside_recipe
    from napari_uld.inference.inside_volume import look_inside_volume

    yield Progress(0, 1, "Looking inside")
    if isinstance(task.detector, Path):
        detector = load_checkpoint(task.detector, request.device)
        if detector.inputs.volume:
            return (yield from look_inside_volume(_scan(request), task.z, task.boxes, detector))
        return look_inside(_scan(request), task.z, task.boxes, detector)
    return look_inside_recipe(_scan(request), task.z, task.boxes, load_recipe(task.detector))


def _scan(request: Request) -> CTVolume:
    """Copy the scan out of shared memory, its phases with it."""
    memory = SharedMemory(request.memory)
    voxels = np.ndarray(request.shape, np.int16, buffer=memory.buf).copy()
    memory.close()
    own, *others = (voxels[place] for place in request.places)
    phases = (replace(phase, hu=hu) for phase, hu in zip(request.scan.phases, others, strict=True))
    return replace(request.scan, hu=own, phases=tuple(phases))
