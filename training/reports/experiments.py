"""Experiments: recipes trained on the same phantoms with the same budget, kept and resumed."""

import itertools
import logging
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import filelock
import torch

from napari_uld.errors import DataError, UldError
from napari_uld.evaluation.protocols import PROTOCOLS
from napari_uld.inference.checkpoint import LoadedDetector, load_checkpoint
from napari_uld.lesions.box_table import Margin
from napari_uld.progress import Progress, Work

from ..data.key_slices import true_slices
from ..data.slab_dataset import SlabDataset
from ..data.sub_volumes import sub_volumes
from ..data.truths import true_scans
from ..evaluate import match_detector, match_traced
from ..loop import TrainingOptions, train
from ..run_files import CHECKPOINT, LOG, STATE, read_log
from ..subjects import check_margins
from ..volume_protocols import detected, match_scans
from .planning import Experiment, Place, Row, Run, State, plan
from .results import Result, scan_result, write_json
from .run_spec import read_spec
from .timing import seconds_a_slice

LOCK = "lock"
TIMING = "timing.json"

logger = logging.getLogger(__name__)


def run(planned: Run, *, renew: bool = False) -> Work[State]:
    """Train and score one row with one seed, or go on with it; what is finished is kept.

    Processes side by side may share a folder of runs: what another one holds is left to it. So is what the folder
    holds of another recipe, unless it is to be renewed: then it is deleted.

    Raises
    ------
    UldError
        If training diverges or the data cannot be read.
    """
    planned.folder.mkdir(parents=True, exist_ok=True)
    try:
        with filelock.FileLock(planned.folder / LOCK, timeout=0):
            if planned.state is State.STALE:
                if not renew:
                    return State.STALE
                _set_aside(planned.folder)
            if planned.state is not State.FINISHED:
                # The same detector may be scored a second time, with what it calls negatives, or otherwise.
                trained = any(any(planned.folder.glob(name)) for name in ("result*.json", "volumes.json"))
                checkpoint = planned.folder / CHECKPOINT if trained else (yield from _train(planned))
                if not planned.files[1].is_file():
                    yield from (_score_volumes if planned.judging.counts == "volumes" else _score)(planned, checkpoint)
                if planned.row.traced and not planned.traced_files[1].is_file():
                    yield from _score_traced(planned, checkpoint)
    except filelock.Timeout:
        return State.LOCKED
    return State.FINISHED


def _set_aside(folder: Path) -> None:
    """Move what a run left, but not the lock that is held, beside it: rows of other experiments may share it."""
    number = next(n for n in itertools.count(1) if not folder.with_name(f"{folder.name}-before{n}").exists())
    aside = folder.with_name(f"{folder.name}-before{number}")
    aside.mkdir()
    for path in folder.iterdir():
        if path.name != LOCK:
            path.rename(aside / path.name)


def _train(planned: Run) -> Work[Path]:
    resume = (planned.folder / STATE).is_file()
    if planned.init is not None and not (planned.init.folder / CHECKPOINT).is_file():
        raise DataError(
            f"it starts from {planned.init.row.label}, whose weights are not in {planned.init.folder}: "
            "train that first, in an empty folder where its result alone is there"
        )
    if not resume:
        planned.spec.write(planned.folder)
    # A row of the same meaning may have begun it under another name.
    begun = read_spec(planned.folder) or planned.spec
    options = TrainingOptions(
        planned.train,
        planned.folder,
        init=planned.init.folder / CHECKPOINT if planned.init is not None else None,
        resume=resume,
        device=planned.place.device,
        seed=planned.spec.seed,
    )
    return (yield from train(begun.recipe, options))


def _score(planned: Run, checkpoint: Path) -> Work[None]:
    slices = true_slices(planned.test, "all")
    detector = load_checkpoint(checkpoint, planned.place.device)
    dataset = SlabDataset(planned.test, slices, detector.inputs)
    matches = yield from match_detector(detector, dataset, count_negatives=planned.row.count_negatives)
    Result.of(matches, slices, _facts(planned, detector)).save(*planned.files)


def _score_traced(planned: Run, checkpoint: Path) -> Work[None]:
    """Trace what it finds in the test scans, and match by P3D IoU with their whole truth."""
    volumes = sub_volumes(planned.test, "all")
    detector = load_checkpoint(checkpoint, planned.place.device)
    matches = yield from match_traced(detector, volumes)
    facts, names = _facts(planned, detector), [volume.series for volume in volumes]
    scan_result(matches, volumes, names, facts, PROTOCOLS["p3d"]).save(*planned.traced_files)


def _score_volumes(planned: Run, checkpoint: Path) -> Work[None]:
    """Match the bodies, or traced findings, of whole test scans with their truth, whose boxes are tight."""
    truth = true_scans(planned.test, "all", planned.judging, Margin.TIGHT)
    detector = load_checkpoint(checkpoint, planned.place.device)
    table = yield from detected(detector, truth.scans, planned.test)
    said = check_margins(table.source, table.margin, truth.margin, planned.test)
    matches, scans, _ = match_scans(table, truth.scans, planned.judging)
    facts = _facts(planned, detector) | {"boxes": said}
    scan_result(matches, scans, [scan.name for scan in scans], facts, planned.judging).save(*planned.files)


def _facts(planned: Run, detector: LoadedDetector) -> dict[str, Any]:
    """What a result was made of; what was mined epoch by epoch, too, since logs are not kept."""
    mined = [row for row in read_log(planned.folder / LOG) if row["event"] == "mining"]
    return ({"mining": mined} if mined else {}) | {
        "recipe": planned.spec.recipe.model_dump(mode="json"),
        "seed": planned.spec.seed,
        "data": planned.spec.data,
        "seconds_trained": _seconds_trained(planned.folder / LOG),
        "device": str(detector.device),
        "threads": torch.get_num_threads(),
        "versions": {"results": planned.spec.results, "python": platform.python_version()}
        | {name: version(name) for name in ("napari-uld", "torch", "torchvision", "numpy")},
    }


def _seconds_trained(log: Path) -> float:
    """Seconds of all optimizer steps: an epoch's last logged mean, over the epochs, times the steps."""
    steps = [row for row in read_log(log) if row["event"] == "step"]
    by_epoch = {row["epoch"]: row["seconds"] for row in steps}
    return round(sum(by_epoch.values()) / len(by_epoch) * max(row["step"] for row in steps), 1) if steps else 0.0


@dataclass(frozen=True)
class Outcome:
    """What became of one row with one seed.

    Parameters
    ----------
    note
        A finished one's average sensitivity, in what a stale one differs, or why one failed.
    """

    experiment: str
    label: str
    seed: int
    state: State
    note: str = ""


def run_all(experiments: Sequence[Experiment], place: Place, *, renew: bool = False) -> Work[list[Outcome]]:
    """Run every row with the first seed, then every row with the next; a failing row does not stop the others.

    `renew` trains what is of another recipe anew (see `run`).
    """
    outcomes = []
    for experiment, row, seed in in_order(experiments):
        try:
            planned = plan(experiment, row, seed, place)
            state = yield from _named(run(planned, renew=renew), f"{row.label}, seed {seed}: ")
            note = f"{planned.average:.3f}" if state is State.FINISHED else planned.differs
        # PyTorch says RuntimeError when memory ends or shapes do not fit.
        except (UldError, RuntimeError) as error:
            logger.warning("%s, seed %d: %s", row.label, seed, error)
            state, note = State.FAILED, str(error)
        outcomes.append(Outcome(experiment.name, row.label, seed, state, note))
    return outcomes


def survey(experiments: Sequence[Experiment], place: Place) -> list[Outcome]:
    """How far every run is, without doing anything."""
    outcomes = []
    for experiment, row, seed in in_order(experiments):
        try:
            planned = plan(experiment, row, seed, place)
            state, note = planned.state, planned.differs or planned.folder.relative_to(place.root).as_posix()
        except UldError as error:
            # What it needs is not there yet.
            state, note = State.NEW, str(error)
        outcomes.append(Outcome(experiment.name, row.label, seed, state, note))
    return outcomes


def time_all(experiments: Sequence[Experiment], place: Place) -> Work[None]:
    """Measure every finished run's inference with and without predicting maps, alone on a quiet machine."""
    measured = set()
    for experiment, row, seed in in_order(experiments):
        try:
            planned = plan(experiment, row, seed, place)
        except UldError:
            continue
        # Of runs made elsewhere the results alone may be here. Volumes have no maps to predict.
        if (
            planned.judging.counts == "volumes"
            or planned.state is not State.FINISHED
            or planned.folder in measured
            or not (planned.folder / CHECKPOINT).is_file()
        ):
            continue
        measured.add(planned.folder)
        detector = load_checkpoint(planned.folder / CHECKPOINT, place.device)
        dataset = SlabDataset(planned.test, true_slices(planned.test, "all"), detector.inputs)
        seconds = yield from _named(seconds_a_slice(detector, dataset), f"{row.label}, seed {seed}: ")
        write_json(
            planned.folder / TIMING, seconds | {"threads": torch.get_num_threads(), "device": str(detector.device)}
        )


def in_order(experiments: Sequence[Experiment]) -> list[tuple[Experiment, Row, int]]:
    """All rows with the first seed, then all with the next: what is stopped early has whole tables."""
    seeds = sorted({seed for experiment in experiments for seed in experiment.seeds})
    return [
        (experiment, row, seed)
        for seed in seeds
        for experiment in experiments
        for row in experiment.rows
        if seed in experiment.seeds_of(row)
    ]


def _named(work: Work[Any], name: str) -> Work[Any]:
    """The same work, its messages preceded by what it is about."""
    try:
        while True:
            step = next(work)
            yield Progress(step.done, step.total, name + step.message)
    except StopIteration as stop:
        return stop.value
    finally:
        work.close()
