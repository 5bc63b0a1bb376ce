"""Detection in a process of its own: results, errors, cancel, crash."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from napari_uld.ct.volume import CTVolume
from napari_uld.errors import CancelledError, CheckpointError, RecipeError, WorkerError
from napari_uld.inference.checkpoint import load_checkpoint
from napari_uld.inference.detect import detect
from napari_uld.inference.inside import look_inside
from napari_uld.inference.inside_result import Rule
from napari_uld.inference.worker import DetectionWorker, Look
from napari_uld.progress import finish


@pytest.fixture(scope="module")
def worker() -> Iterator[DetectionWorker]:
    worker = DetectionWorker()
    yield worker
    worker.close()


def test_the_worker_finds_what_the_same_detector_finds_here(
    worker: DetectionWorker, checkpoint: Path, volume: CTVolume
) -> None:
    there = finish(worker.detect(volume, checkpoint, "cpu"))
    here = finish(detect(volume, load_checkpoint(checkpoint, "cpu")))
    assert there.scan_id == volume.scan_id
    assert np.allclose(there.boxes, here.boxes, atol=1e-3)
    assert np.array_equal(there.key_slices, here.key_slices)


def test_an_error_over_there_is_the_same_typed_error_here_and_the_process_lives_on(
    worker: DetectionWorker, checkpoint: Path, volume: CTVolume, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="bad"):
        finish(worker.detect(volume, bad, "cpu"))
    assert finish(worker.detect(volume, checkpoint, "cpu")).scan_id == volume.scan_id


def test_cancel_ends_a_run_within_a_second_and_the_next_run_works(
    worker: DetectionWorker, checkpoint: Path, volume: CTVolume
) -> None:
    long = CTVolume(np.tile(volume.hu, (200, 1, 1)), volume.spacing, Path("long"), "long", np.arange(1200))
    run = worker.detect(long, checkpoint, "cpu")
    while next(run).done < 1:
        pass
    worker.cancel()
    started = time.monotonic()
    with pytest.raises(CancelledError):
        finish(run)
    assert time.monotonic() - started < 1.5
    assert finish(worker.detect(volume, checkpoint, "cpu")).scan_id == volume.scan_id


def test_a_killed_process_is_a_message_and_the_next_run_works(
    worker: DetectionWorker, checkpoint: Path, volume: CTVolume
) -> None:
    long = CTVolume(np.tile(volume.hu, (200, 1, 1)), volume.spacing, Path("long"), "long", np.arange(1200))
    run = worker.detect(long, checkpoint, "cpu")
    while next(run).done < 1:
        pass
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    with pytest.raises(WorkerError, match="ended unexpectedly"):
        finish(run)
    assert finish(worker.detect(volume, checkpoint, "cpu")).scan_id == volume.scan_id


def test_two_runs_at_once_are_refused(worker: DetectionWorker, checkpoint: Path, volume: CTVolume) -> None:
    first = worker.detect(volume, checkpoint, "cpu")
    next(first)
    with pytest.raises(WorkerError, match="at work already"):
        next(worker.detect(volume, checkpoint, "cpu"))
    assert finish(first).scan_id == volume.scan_id


def test_too_little_shared_memory_is_a_message_and_the_next_run_works(
    worker: DetectionWorker, checkpoint: Path, volume: CTVolume, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "posix_fallocate", refuse)
        with pytest.raises(WorkerError, match="shared memory"):
            finish(worker.detect(volume, checkpoint, "cpu"))
    assert finish(worker.detect(volume, checkpoint, "cpu")).scan_id == volume.scan_id


LESION = np.array([[40.0, 40, 55, 55]])


def test_a_look_inside_a_checkpoint_is_the_same_as_here(
    worker: DetectionWorker, checkpoint: Path, volume: CTVolume
) -> None:
    there = finish(worker.look_inside(volume, Look(3, LESION, checkpoint), "cpu"))
    here = look_inside(volume, 3, LESION, load_checkpoint(checkpoint, "cpu"))
    assert there.z == 3
    for rule in Rule:
        assert np.array_equal(there.anchors[rule].boxes, here.anchors[rule].boxes)
    assert there.objectness is not None
    assert there.branch is not None
    assert np.allclose(there.objectness, here.objectness, atol=1e-3)
    assert np.allclose(there.branch, here.branch, atol=1e-3)


def test_a_look_at_a_recipe_needs_no_weights_and_an_unknown_one_is_the_same_typed_error(
    worker: DetectionWorker, volume: CTVolume
) -> None:
    found = finish(worker.look_inside(volume, Look(3, LESION, "faster_rcnn"), "cpu"))
    assert found.objectness is None
    assert len(found.anchors[Rule.BMC].boxes) > 0
    with pytest.raises(RecipeError, match="no recipe nowhere"):
        finish(worker.look_inside(volume, Look(3, LESION, "nowhere"), "cpu"))
