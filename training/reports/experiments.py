"""Experiments: recipes trained on the same phantoms with the same budget, kept and resumed by what they compute."""

import hashlib
import json
import logging
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import Any

import filelock
import torch
from pydantic import ValidationError

from napari_uld.detectors.specs.recipe import Recipe, load_recipe
from napari_uld.errors import DataError, RecipeError, UldError
from napari_uld.evaluation.froc import FP_RATES
from napari_uld.inference.checkpoint import load_checkpoint
from napari_uld.progress import Progress, Work

from ..data.key_slices import true_slices
from ..data.phantom.write import ABOUT, TABLE
from ..data.slab_dataset import SlabDataset
from ..evaluate import match_detector
from ..loop import CHECKPOINT, LOG, STATE, TrainingOptions, train
from .results import Result, load_result, write_json
from .timing import seconds_a_slice

# Raise it when what a training or its evaluation computes changes (a loss, a schema's default, the matching):
# results stored under another version are not found again.
RESULTS_VERSION = 1
RECIPE = "recipe.json"
LOCK = "lock"
TIMING = "timing.json"

logger = logging.getLogger(__name__)


class State(StrEnum):
    """How far a row's run with one seed is."""

    NEW = "not begun"
    STOPPED = "stopped"
    LOCKED = "at work in another process"
    FINISHED = "finished"
    FAILED = "failed"


@dataclass(frozen=True)
class Row:
    """One row of a table: a system.

    Parameters
    ----------
    label
        What the table calls it.
    recipe
        The recipe whose small version is trained.
    changes
        Laid over that version, table by table: ``{"supervision": {"objectness": "bmc"}}``.
    host
        Label of the row it is compared with.
    count_negatives
        Its detections of the false-positive class count as lesions ("+FP").
    init
        Row whose weights, trained with the same seed, it starts from.
    """

    label: str
    recipe: str
    changes: dict[str, dict[str, Any]] = field(default_factory=dict)
    host: str | None = None
    count_negatives: bool = False
    init: "Row | None" = None


@dataclass(frozen=True)
class Budget:
    """What every row of an experiment is given alike; None leaves it to the recipes.

    Parameters
    ----------
    train, test
        (patients, seed) of the phantoms to train and to score on.
    """

    train: tuple[int, int] = (500, 11)
    test: tuple[int, int] = (120, 12)
    epochs: int | None = None
    milestones: tuple[int, ...] | None = None
    batch: int | None = None

    def changes(self) -> dict[str, Any]:
        """What it sets in a recipe's [training]."""
        given = {"epochs": self.epochs, "milestones": self.milestones, "batch": self.batch}
        return {key: value for key, value in given.items() if value is not None}


@dataclass(frozen=True)
class Experiment:
    """One table.

    Parameters
    ----------
    name, title
        For the command line, and for the table.
    seeds
        Of the trainings.
    rates
        False positives per image at which its table reads sensitivity; averages are over `FP_RATES` in all.
    """

    name: str
    title: str
    rows: tuple[Row, ...]
    seeds: tuple[int, ...] = (0, 1)
    budget: Budget = Budget()
    rates: tuple[float, ...] = FP_RATES

    def row(self, label: str) -> Row:
        """The row of that label."""
        return next(row for row in self.rows if row.label == label)


@dataclass(frozen=True)
class Place:
    """Where runs are kept, and what they are trained on.

    Parameters
    ----------
    root
        Folder of the runs.
    phantoms
        Folder with the phantom sets ``train`` and ``test``.
    """

    root: Path
    phantoms: Path
    device: str = "auto"


@dataclass(frozen=True)
class Run:
    """A row trained with one seed.

    Parameters
    ----------
    folder
        All it leaves: log, resuming state, checkpoint, matches, result.
    recipe
        What is trained.
    data
        Which phantoms it is trained and scored on.
    init
        The run whose weights it starts from.
    """

    row: Row
    seed: int
    place: Place
    folder: Path
    recipe: Recipe
    data: dict[str, Any]
    init: "Run | None"

    @property
    def files(self) -> tuple[Path, Path]:
        """Its matches and its result."""
        stem = "_with_negatives" if self.row.count_negatives else ""
        return self.folder / f"matches{stem}.npz", self.folder / f"result{stem}.json"

    @property
    def state(self) -> State:
        """How far it is, as its files tell."""
        if self.files[1].is_file():
            return State.FINISHED
        return State.STOPPED if (self.folder / STATE).is_file() else State.NEW

    def result(self) -> Result:
        """What it reached, once it is finished."""
        return load_result(*self.files)


def plan(row: Row, seed: int, budget: Budget, place: Place) -> Run:
    """Where a row's run with a seed is kept.

    The folder's name is a hash of all that the run computes from: rows that mean the same share a run.

    Raises
    ------
    UldError
        If there is no such recipe, or the phantoms are not those of the budget.
    """
    recipe = row_recipe(row, budget)
    data = {name: _phantoms(place.phantoms / name, *getattr(budget, name)) for name in ("train", "test")}
    # Neither a recipe's name nor a key that the schema gains later, at its default, changes what is computed.
    meaning = recipe.model_dump(mode="json", exclude={"method"}, exclude_defaults=True)
    init = plan(row.init, seed, budget, place) if row.init else None
    content = [RESULTS_VERSION, meaning, data, seed] + ([init.folder.name] if init else [])
    folder = place.root / hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
    return Run(row, seed, place, folder, recipe, data, init)


def row_recipe(row: Row, budget: Budget) -> Recipe:
    """The full recipe that a row trains: its small version, its changes, the budget.

    Raises
    ------
    RecipeError
        If there is no such recipe, or it does not allow the changes.
    """
    tables = load_recipe(row.recipe, small=True).model_dump()
    for changes in (row.changes, {"training": budget.changes()}):
        tables |= {name: tables.get(name, {}) | table for name, table in changes.items()}
    try:
        return Recipe(**tables)
    except ValidationError as error:
        raise RecipeError(f"{row.label}: the recipe {row.recipe} does not allow its changes ({error})") from error


def _phantoms(root: Path, patients: int, seed: int) -> dict[str, Any]:
    """What a phantom set is, for keys and tables."""
    make = f"napari-uld phantom {root} --patients {patients} --seed {seed}"
    if not (root / TABLE).is_file() or not (root / ABOUT).is_file():
        raise DataError(f"{root} holds no complete phantoms: {make}")
    about = json.loads((root / ABOUT).read_text(encoding="utf-8"))
    if (about["patients"], about["seed"]) != (patients, seed):
        raise DataError(
            f"{root} holds phantoms of {about['patients']} patients, seed {about['seed']}, instead of "
            f"{patients}, seed {seed}: move them away, then {make}"
        )
    return about | {"table": hashlib.sha256((root / TABLE).read_bytes()).hexdigest()}


def run(it: Run) -> Work[State]:
    """Train and score one row with one seed, or go on with it; what is finished is kept.

    Processes side by side may share a folder of runs: what another one holds is left to it.

    Raises
    ------
    UldError
        If training diverges or the data cannot be read.
    """
    it.folder.mkdir(parents=True, exist_ok=True)
    try:
        with filelock.FileLock(it.folder / LOCK, timeout=0):
            if it.state is not State.FINISHED:
                # The same detector may be scored a second time, with what it calls negatives.
                trained = any(it.folder.glob("result*.json"))
                yield from _score(it, it.folder / CHECKPOINT if trained else (yield from _train(it)))
    except filelock.Timeout:
        return State.LOCKED
    return State.FINISHED


def _train(it: Run) -> Work[Path]:
    resume = (it.folder / STATE).is_file()
    if it.init is not None and it.init.state is not State.FINISHED:
        raise DataError(f"it starts from {it.init.row.label}, which is not trained yet: run that first")
    if not resume:
        write_json(it.folder / RECIPE, it.recipe.model_dump(mode="json"))
    recipe = _begun(it.folder / RECIPE)
    data, device = it.place.phantoms / "train", it.place.device
    init = it.init.folder / CHECKPOINT if it.init is not None else None
    options = TrainingOptions(data, it.folder, init=init, resume=resume, device=device, seed=it.seed)
    return (yield from train(recipe, options))


def _begun(path: Path) -> Recipe:
    """The recipe that a run began with: a row of the same meaning may have begun it under another name."""
    try:
        return Recipe(**json.loads(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        raise RecipeError(f"{path} is of another version of the recipes: delete its folder and begin again") from error


def _score(it: Run, checkpoint: Path) -> Work[None]:
    slices = true_slices(it.place.phantoms / "test", "all")
    detector = load_checkpoint(checkpoint, it.place.device)
    dataset = SlabDataset(it.place.phantoms / "test", slices, detector.inputs)
    matches = yield from match_detector(detector, dataset, count_negatives=it.row.count_negatives)
    seconds = yield from seconds_a_slice(detector, dataset)
    facts = {
        "recipe": it.recipe.model_dump(mode="json"),
        "seed": it.seed,
        "data": it.data,
        "seconds_trained": _seconds_trained(it.folder / LOG),
        "seconds_a_slice": seconds["without maps"],
        "device": str(detector.device),
        "threads": torch.get_num_threads(),
        "versions": {"results": RESULTS_VERSION, "python": platform.python_version()}
        | {name: version(name) for name in ("napari-uld", "torch", "torchvision", "numpy")},
    }
    Result.of(matches, slices, facts).save(*it.files)


def _seconds_trained(log: Path) -> float:
    """Seconds of all optimizer steps: an epoch's last logged mean, over the epochs, times the steps."""
    rows = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    steps = [row for row in rows if row["event"] == "step"]
    by_epoch = {row["epoch"]: row["seconds"] for row in steps}
    return round(sum(by_epoch.values()) / len(by_epoch) * max(row["step"] for row in steps), 1) if steps else 0.0


@dataclass(frozen=True)
class Outcome:
    """What became of one row with one seed; `note` is a finished one's average sensitivity, or why it failed."""

    experiment: str
    label: str
    seed: int
    state: State
    note: str = ""


def run_all(experiments: Sequence[Experiment], place: Place) -> Work[list[Outcome]]:
    """Run every row with the first seed, then every row with the next; a failing row does not stop the others."""
    outcomes = []
    for experiment, row, seed in in_order(experiments):
        try:
            it = plan(row, seed, experiment.budget, place)
            state = yield from _named(run(it), f"{row.label}, seed {seed}: ")
            note = f"{it.result().curve.average:.3f}" if state is State.FINISHED else ""
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
            it = plan(row, seed, experiment.budget, place)
            state, note = it.state, it.folder.name
        except UldError as error:
            state, note = State.FAILED, str(error)
        outcomes.append(Outcome(experiment.name, row.label, seed, state, note))
    return outcomes


def time_all(experiments: Sequence[Experiment], place: Place) -> Work[None]:
    """Measure every finished run's inference with and without predicting maps, alone on a quiet machine."""
    measured = set()
    for experiment, row, seed in in_order(experiments):
        try:
            it = plan(row, seed, experiment.budget, place)
        except UldError:
            continue
        # Of runs made elsewhere the results alone may be here.
        if it.state is not State.FINISHED or it.folder in measured or not (it.folder / CHECKPOINT).is_file():
            continue
        measured.add(it.folder)
        detector = load_checkpoint(it.folder / CHECKPOINT, place.device)
        test = place.phantoms / "test"
        dataset = SlabDataset(test, true_slices(test, "all"), detector.inputs)
        seconds = yield from _named(seconds_a_slice(detector, dataset), f"{row.label}, seed {seed}: ")
        write_json(it.folder / TIMING, seconds | {"threads": torch.get_num_threads(), "device": str(detector.device)})


def in_order(experiments: Sequence[Experiment]) -> list[tuple[Experiment, Row, int]]:
    """All rows with the first seed, then all with the next: what is stopped early has whole tables."""
    seeds = sorted({seed for experiment in experiments for seed in experiment.seeds})
    return [
        (experiment, row, seed)
        for seed in seeds
        for experiment in experiments
        if seed in experiment.seeds
        for row in experiment.rows
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
