"""What an experiment is, and where its runs are kept: its rows, their recipes, their folders."""

import hashlib
import json
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from napari_uld.detectors.specs.recipe import Recipe, Version, load_recipe
from napari_uld.errors import DataError, RecipeError
from napari_uld.evaluation.froc import FP_RATES
from napari_uld.evaluation.protocols import PROTOCOLS, Protocol, ProtocolName

from ..data.phantom.write import ABOUT, TABLE
from ..run_files import STATE
from .results import Result, load_result
from .run_spec import RUN, RunSpec, differences, find_run, read_spec, results_version, slug


class State(StrEnum):
    """How far a row's run with one seed is."""

    NEW = "not begun"
    STOPPED = "stopped"
    LOCKED = "at work in another process"
    FINISHED = "finished"
    STALE = "of another recipe"
    FAILED = "failed"


@dataclass(frozen=True)
class Row:
    """One row of a table: a system.

    Parameters
    ----------
    label
        What the table calls it.
    recipe
        The recipe that is trained.
    changes
        Laid over that version, table by table: ``{"supervision": {"objectness": "bmc"}}``.
    host
        Label of the row it is compared with.
    count_negatives
        Its detections of the false-positive class count as lesions ("+FP").
    init
        Row whose weights, trained with the same seed, it starts from.
    seeds
        Of its trainings; default the experiment's.
    traced
        Whether it is also scored traced through whole scans, by P3D IoU.
    """

    label: str
    recipe: str
    changes: dict[str, dict[str, Any]] = field(default_factory=dict)
    host: str | None = None
    count_negatives: bool = False
    init: "Row | None" = None
    seeds: tuple[int, ...] | None = None
    traced: bool = False


@dataclass(frozen=True)
class Budget:
    """What every row of an experiment is given alike; None leaves it to the recipes.

    Parameters
    ----------
    train, test
        (patients, seed) of the phantoms to train and to score on.
    phases
        Contrast phases of each of their studies.
    """

    train: tuple[int, int] = (500, 11)
    test: tuple[int, int] = (120, 12)
    phases: int = 1
    epochs: int | None = None
    steps: int | None = None
    milestones: tuple[int, ...] | None = None
    batch: int | None = None

    def changes(self) -> dict[str, Any]:
        """What it sets in a recipe's [training]."""
        given = {"epochs": self.epochs, "steps": self.steps, "milestones": self.milestones, "batch": self.batch}
        return {key: value for key, value in given.items() if value is not None}

    def folder(self, name: str) -> str:
        """Of the phantoms "train" or "test", among those of other experiments."""
        return name if self.phases == 1 else f"{name}_{self.phases}_phases"


@dataclass(frozen=True)
class Plot:
    """One picture of an experiment's FROC curves.

    Parameters
    ----------
    name
        Of its file; default the experiment's.
    rows
        Labels of the rows that it shows; default all.
    ceilings
        Whether curves are drawn up to the sensitivity of all detections together, and that is marked.
    size_rate
        False positives per image at which sensitivity by the lesions' size is drawn beside the curves, or None.
    """

    name: str | None = None
    rows: tuple[str, ...] | None = None
    ceilings: bool = False
    size_rate: float | None = None


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
    version
        Of its recipes.
    plots
        Its pictures.
    protocol
        How its rows are judged: on key slices, "image", or in whole scans, "3d".
    by_distance
        Whether its rows are also told apart by how far the slices of a scan lie apart.
    """

    name: str
    title: str
    rows: tuple[Row, ...]
    seeds: tuple[int, ...] = (0, 1)
    budget: Budget = Budget()
    rates: tuple[float, ...] = FP_RATES
    version: Version = "small"
    plots: tuple[Plot, ...] = (Plot(),)
    protocol: ProtocolName = "image"
    by_distance: bool = False

    @property
    def judging(self) -> Protocol:
        """How its rows are judged."""
        return PROTOCOLS[self.protocol]

    def seeds_of(self, row: Row) -> tuple[int, ...]:
        """The seeds that a row is trained with: of its own those that the experiment has."""
        return self.seeds if row.seeds is None else tuple(seed for seed in row.seeds if seed in self.seeds)

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
        Folder with the phantom sets ``train`` and ``test``, and those of several phases.
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
        All it leaves: what it computes with, log, resuming state, checkpoint, matches, result.
    spec
        What it computes with.
    init
        The run whose weights it starts from.
    train, test
        The phantoms to train and to score on.
    judging
        How it is judged.
    """

    row: Row
    place: Place
    folder: Path
    spec: RunSpec
    init: "Run | None"
    train: Path
    test: Path
    judging: Protocol

    @property
    def files(self) -> tuple[Path, Path]:
        """Its matches and its result."""
        if self.judging.counts == "volumes":
            return self.folder / "volumes.npz", self.folder / "volumes.json"
        stem = "_with_negatives" if self.row.count_negatives else ""
        return self.folder / f"matches{stem}.npz", self.folder / f"result{stem}.json"

    @property
    def traced_files(self) -> tuple[Path, Path]:
        """The same, traced through whole scans."""
        return self.folder / "traced.npz", self.folder / "traced.json"

    @property
    def state(self) -> State:
        """How far it is, as its files tell."""
        if self.differs:
            return State.STALE
        if self.files[1].is_file() and (not self.row.traced or self.traced_files[1].is_file()):
            return State.FINISHED
        return State.STOPPED if (self.folder / STATE).is_file() else State.NEW

    @property
    def differs(self) -> str:
        """In what the run that its folder holds differs from it, nothing where it is the same or there is none."""
        stored = read_spec(self.folder)
        if stored is not None:
            return "; ".join(differences(stored, self.spec))
        return f"{RUN} cannot be read, or is missing" if any(self.folder.glob("*.json")) else ""

    def result(self) -> Result:
        """What it reached, once it is finished."""
        return load_result(*self.files)

    @property
    def average(self) -> float:
        """Average sensitivity that it reached, once it is finished."""
        result = self.result()
        return (result.scan_curve if self.judging.counts == "volumes" else result.curve).average

    def traced_result(self) -> Result:
        """The same, traced through whole scans, where its row asks for that."""
        return load_result(*self.traced_files)


def plan(experiment: Experiment, row: Row, seed: int, place: Place) -> Run:
    """What a row's run with a seed computes with, and where it is kept; rows that mean the same share a run.

    Raises
    ------
    UldError
        If there is no such recipe, or the phantoms are not those of the budget.
    """
    budget = experiment.budget
    recipe = row_recipe(row, budget, experiment.version)
    if recipe.input.volume and experiment.judging.counts == "images":
        raise RecipeError(f"{row.label}: the table is of key slices, the recipe {row.recipe} is of volumes")
    folders = {name: place.phantoms / budget.folder(name) for name in ("train", "test")}
    data = {name: _phantoms(folder, getattr(budget, name), budget.phases) for name, folder in folders.items()}
    init = plan(experiment, row.init, seed, place) if row.init else None
    spec = RunSpec(
        recipe=recipe, data=data, seed=seed, init=init.spec if init else None, results=results_version(recipe)
    )
    home = place.root / experiment.name / f"{slug(row.label)}-seed{seed}"
    return Run(row, place, find_run(spec, home), spec, init, **folders, judging=experiment.judging)


def row_recipe(row: Row, budget: Budget, version: Version = "small") -> Recipe:
    """The full recipe that a row trains: a version of its own, its changes, the budget.

    Raises
    ------
    RecipeError
        If there is no such recipe, or it does not allow the changes.
    """
    tables = load_recipe(row.recipe, version).model_dump()
    for changes in (row.changes, {"training": budget.changes()}):
        tables |= {name: tables.get(name, {}) | table for name, table in changes.items()}
    try:
        recipe = Recipe(**tables)
    except ValidationError as error:
        raise RecipeError(f"{row.label}: the recipe {row.recipe} does not allow its changes ({error})") from error
    return recipe


def _phantoms(root: Path, drawn: tuple[int, int], phases: int) -> dict[str, Any]:
    """What a phantom set of (patients, seed) is, for keys and tables."""
    patients, seed = drawn
    make = f"napari-uld phantom {root} --patients {patients} --seed {seed}"
    make += f" --phases {phases}" if phases > 1 else ""
    if not (root / TABLE).is_file() or not (root / ABOUT).is_file():
        raise DataError(f"{root} holds no complete phantoms: {make}")
    about = json.loads((root / ABOUT).read_bytes())
    wanted = {"patients": patients, "seed": seed, "phases": phases}
    if any(about.get(name) != value for name, value in wanted.items()):
        found, asked = (
            f"{each.get('patients')} patients, seed {each.get('seed')}"
            + (f", {each.get('phases')} phases" if about.get("phases") != phases else "")
            for each in (about, wanted)
        )
        raise DataError(f"{root} holds phantoms of {found}, instead of {asked}: move them away, then {make}")
    return about | {"table": hashlib.sha256((root / TABLE).read_bytes()).hexdigest()}
