"""Detection in a process of its own: results, errors, cancel, crash."""

import multiprocessing as mp
import os
import pickle
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_uld.ct.phases import with_phases
from napari_uld.ct.volume import CTVolume
from napari_uld.detectors.build import build_detector
from napari_uld.detectors.specs.recipe import load_recipe
from napari_uld.errors import (
    CancelledError,
    CheckpointError,
    NoMaskError,
    PhaseError,
    RecipeError,
    UldError,
    WorkerError,
)
from napari_uld.inference import worker as worker_module
from napari_uld.inference.checkpoint import load_checkpoint, save_checkpoint
from napari_uld.inference.detect import detect
from napari_uld.inference.inside import look_inside
from napari_uld.inference.inside_result import Rule
from napari_uld.inference.inside_volume import look_inside_volume
from napari_uld.inference.worker import DetectionWorker, Failure, Look, serve
from napari_uld.lesions.json_models import NewerVersionError
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


def test_a_studys_phases_arrive_there_in_their_order(worker: DetectionWorker, volume: CTVolume, tmp_path: Path) -> None:
    recipe = load_recipe("vld_acs_phases", "small")
    shallow = {"blocks": (1, 1, 1), "pyramid_channels": 8, "head_channels": 16}
    recipe = recipe.model_copy(update={"detector": recipe.detector.model_copy(update=shallow)})
    torch.manual_seed(0)
    checkpoint = tmp_path / "phases.safetensors"
    save_checkpoint(checkpoint, build_detector(recipe), recipe.model_dump(mode="json"), {})
    arterial, plain = (replace(volume, hu=volume.hu[::step], name=name) for step, name in ((-1, "a"), (1, "u")))
    studies = [with_phases(volume, phases) for phases in ((volume, arterial, plain), (arterial, volume, plain))]
    found = []
    for study in studies:
        there = finish(worker.detect(study, checkpoint, "cpu"))
        here = finish(detect(study, load_checkpoint(checkpoint, "cpu")))
        assert there.scan_id == volume.scan_id
        assert np.allclose(there.boxes, here.boxes, atol=1e-3)
        assert np.allclose(there.scores, here.scores, atol=1e-4)
        found.append(here.scores)
    assert len(found[0])
    assert not np.array_equal(*found), "the order says what the network sees"
    with pytest.raises(PhaseError, match="sees 3 phases together"):
        finish(worker.detect(volume, checkpoint, "cpu"))


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


def test_a_cancel_between_two_runs_is_nobody_s(
    worker: DetectionWorker, checkpoint: Path, volume: CTVolume, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish(worker.detect(volume, checkpoint, "cpu"))
    worker.cancel()
    # Long ago: a run that took it for its own would be ended at once.
    monkeypatch.setattr(worker_module, "CANCEL_SECONDS", 0.0)
    assert finish(worker.detect(volume, checkpoint, "cpu")).scan_id == volume.scan_id


def test_a_cancel_while_the_process_starts_is_heard(checkpoint: Path, volume: CTVolume) -> None:
    starting = DetectionWorker()
    run = starting.detect(volume, checkpoint, "cpu")
    assert next(run).message == "Starting the detector"
    starting.cancel()
    with pytest.raises(CancelledError):
        finish(run)
    # A process that starts fast enough hears it and stays; another one is ended.
    starting.close()


def test_a_second_cancel_does_not_put_off_the_end(checkpoint: Path, volume: CTVolume) -> None:
    deaf = DetectionWorker()
    run = deaf.detect(volume, checkpoint, "cpu")
    next(run)
    assert deaf.pid is not None
    os.kill(deaf.pid, signal.SIGSTOP)
    deaf.cancel()
    ended = time.monotonic() + 5
    with pytest.raises(CancelledError):
        finish(run, lambda _: deaf.cancel() if time.monotonic() < ended else pytest.fail("it still runs"))


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


def test_a_look_inside_a_volumetric_checkpoint_gives_its_heat_map_and_inside_its_recipe_is_refused(
    worker: DetectionWorker, volume: CTVolume, tmp_path: Path
) -> None:
    recipe = load_recipe("vld_acs_spr", "small")
    path = tmp_path / "vld.safetensors"
    save_checkpoint(path, build_detector(recipe), recipe.model_dump(mode="json"), {})
    there = finish(worker.look_inside(volume, Look(3, LESION, path), "cpu")).centres
    here = finish(look_inside_volume(volume, 3, LESION, load_checkpoint(path, "cpu"))).centres
    assert there is not None
    assert here is not None
    assert (there.axes, there.slices) == (here.axes, here.slices)
    assert np.allclose(there.values, here.values, atol=1e-3)
    with pytest.raises(RecipeError, match="choose a checkpoint"):
        finish(worker.look_inside(volume, Look(3, LESION, "vld_acs_spr"), "cpu"))


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


# -- errors on their way from the process --


class FileFoundError(UldError):
    """Its message is no argument of its own."""

    def __init__(self, path: Path, *, version: int) -> None:
        super().__init__(f"{path} has version {version}")
        self.path, self.version = path, version


def every_error(kind: type[UldError] = UldError) -> list[type[UldError]]:
    ours = [kind] if kind.__module__.startswith("napari_uld.") else []
    return ours + [error for below in kind.__subclasses__() for error in every_error(below)]


def arrived(error: UldError) -> UldError:
    """What an error is on the other side of a pipe."""
    return pickle.loads(pickle.dumps(Failure.of(error))).unpack()


def test_every_error_of_ours_arrives_as_itself() -> None:
    assert {NewerVersionError, NoMaskError, CheckpointError} <= set(every_error())
    for kind in every_error():
        error = arrived(kind("ct.json has version 9"))
        assert (type(error), str(error)) == (kind, "ct.json has version 9")


def test_an_error_arrives_with_all_that_it_carries() -> None:
    error = arrived(FileFoundError(Path("ct.json"), version=9))
    assert isinstance(error, FileFoundError)
    assert (str(error), error.path, error.version) == ("ct.json has version 9", Path("ct.json"), 9)
    reason = arrived(NoMaskError("No mask at x 3", "parallel diameters"))
    assert isinstance(reason, NoMaskError)
    assert reason.reason == "parallel diameters"


def test_a_file_of_a_newer_version_is_told_of_as_such_by_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise NewerVersionError("found version 9")

    monkeypatch.setattr(worker_module, "_answer", refuse)
    here, there = mp.Pipe()
    here.send("a request")
    here.send(None)
    serve(there, mp.Event())
    failure = here.recv()
    with pytest.raises(NewerVersionError, match="found version 9"):
        raise failure.unpack()
