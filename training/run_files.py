"""The files of one training run: its resuming state, its log, and what is said where a disk takes no more of them."""

import contextlib
import json
import pickle
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from napari_uld.detectors.specs.recipe import Recipe
from napari_uld.errors import TrainingError
from napari_uld.files import append_lines, replace_file
from napari_uld.lesions.annotations import Source

CHECKPOINT = "checkpoint.safetensors"
STATE = "state.pt"
LOG = "log.jsonl"
# Of the resuming state: modules had other names before.
STATE_VERSION = 2
_OF_TRAINING = ("model", "optimizer", "scaler", "epoch", "step", "best", "best_epoch", "drops", "miner")
KEYS = frozenset({"version", "recipe", "seed", "images", *_OF_TRAINING})
# How many times its first state a run's files take at least: an optimizer remembers a number a weight from the first
# step on, the state before stays until the new one is whole, and so does the checkpoint, in half precision.
ROOM = 5
# What torch and pickle say of a file that is no state, or a damaged one.
DAMAGED = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
    pickle.UnpicklingError,
    struct.error,
)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Make one sentence of what keeps a run's file from being written.

    Raises
    ------
    TrainingError
        If it cannot be; what was there before is intact.
    """
    try:
        yield
    except OSError as error:
        again = "go on with --resume" if path.with_name(STATE).exists() else "begin again"
        raise TrainingError(
            f"{path} cannot be written: {error.strerror or error}. What was there before is intact: make room, or see "
            f"that you may write there, and {again}"
        ) from error


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write what resuming needs, all at once or not at all.

    Raises
    ------
    TrainingError
        If the disk does not take it.
    """

    def write(partial: Path) -> None:
        with partial.open("wb") as file:
            try:
                torch.save({"version": STATE_VERSION, **state}, file)
            except RuntimeError as error:  # torch does not pass on what the disk said
                if isinstance(error.__context__, OSError):
                    raise error.__context__ from error
                raise

    with writing(path):
        replace_file(path, write)


def check_room(out: Path) -> None:
    """Refuse to begin where the disk will be full before the run ends.

    Raises
    ------
    TrainingError
        If there is less room than a few times the state that was just written.
    """
    required, free = ROOM * (out / STATE).stat().st_size, shutil.disk_usage(out).free
    if free < required:
        (out / STATE).unlink()
        raise TrainingError(
            f"{out} has {free / 1e6:,.0f} MB left; this run's state and checkpoint are replaced whole and need "
            f"{required / 1e6:,.0f} MB: make room, or give another folder with --out"
        )


def read_state(path: Path, recipe: Recipe, seed: int) -> dict[str, Any]:
    """Read what a stopped run left, checked to be of this recipe and seed.

    Raises
    ------
    TrainingError
        If it is missing, damaged, or another run's.
    """
    if not path.is_file():
        raise TrainingError(f"{path} is not there: nothing to resume; leave --resume out to begin")
    try:
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise TrainingError(f"{path} cannot be read: {error.strerror or error}") from error
    except DAMAGED as error:
        raise TrainingError(
            f"{path} is damaged, or was not written by napari-uld: begin again in another folder"
        ) from error
    if not isinstance(state, dict):
        raise TrainingError(f"{path} holds no state of a training run: begin again in another folder")
    if state.get("version") != STATE_VERSION:
        raise TrainingError(f"{path} was begun by another version of napari-uld: begin again in another folder")
    missing = sorted(KEYS - state.keys())
    if missing:
        raise TrainingError(f"{path} is damaged: it lacks {', '.join(missing)}; begin again in another folder")
    if _meaning(state["recipe"]) != recipe.meaning() or state["seed"] != seed:
        raise TrainingError(f"{path} is of another recipe or seed: give the same ones, or another output folder")
    if "abm" in "".join(recipe.supervision.maps.names) and not state.get("abm_in_mm"):
        raise TrainingError(
            f"{path} learnt another ABM: its areas were counted in pixels, they are in millimetres now; "
            "begin again in another folder"
        )
    return state


def require_images(path: Path, state: dict[str, Any], images: int) -> None:
    """Refuse to go on with a stopped run on another number of images.

    Raises
    ------
    TrainingError
        If it is another.
    """
    if state["images"] != images:
        raise TrainingError(
            f"{path} was trained on {state['images']} images, the data given hold {images}: "
            "give the same data, or another output folder"
        )


def resumed_sources(path: Path, state: dict[str, Any], asked: tuple[Source, ...] | None) -> tuple[Source, ...] | None:
    """Where the lesions come from that a stopped run was trained on: it goes on with them.

    Raises
    ------
    TrainingError
        If others are asked for, or the state is damaged.
    """
    kept = state.get("sources")
    try:
        begun = None if kept is None else tuple(map(Source, kept))
    except (TypeError, ValueError) as error:
        raise TrainingError(f"{path} is damaged: it names no sources; begin again in another folder") from error
    if asked is not None and asked != begun:
        named = "all that the table lists" if begun is None else ",".join(begun)
        raise TrainingError(
            f"{path} was trained on the lesions of other sources ({named}): leave --sources out to go on with them, "
            "or give another output folder"
        )
    return begun


def _meaning(stored: Any) -> dict[str, Any] | None:
    """What a stored recipe means by today's schema, None where that does not read it: keys may have come since."""
    try:
        return Recipe(**stored).meaning()
    except (ValidationError, TypeError):
        return None


def add_to_log(path: Path, row: dict[str, Any]) -> None:
    """Append a row to a run's log, whole or not at all.

    Raises
    ------
    TrainingError
        If the disk does not take it.
    """
    with writing(path):
        append_lines(path, (json.dumps(row) + "\n").encode())


def read_log(path: Path) -> list[dict[str, Any]]:
    """Read the rows of a run's log; what a killed run tore is its last line, and is passed over.

    Raises
    ------
    TrainingError
        If it cannot be read.
    """
    try:
        whole, _, _ = path.read_bytes().rpartition(b"\n")
        rows = [json.loads(line) for line in whole.splitlines()]
    except (OSError, ValueError, RecursionError) as error:
        raise TrainingError(f"{path} cannot be read as a run's log: begin again in another folder") from error
    if not all(isinstance(row, dict) for row in rows):
        raise TrainingError(f"{path} is no run's log: begin again in another folder")
    return rows


def training_notes(out: Path) -> list[str]:
    """What was said when a run began: data that were left out, weights that were not at hand, or did not fit."""
    return [note for row in read_log(out / LOG) if row.get("event") == "start" for note in row.get("notes", ())]


def trained_lesions(out: Path) -> str:
    """How many lesions a run learns from, by their source, as its log says; all that there are where the truth does."""
    starts = [row.get("lesions") or {} for row in read_log(out / LOG) if row.get("event") == "start"]
    counts = starts[-1] if starts else {}
    lesions = ", ".join(f"{count} {source}" for source, count in counts.items())
    return f"lesions by source: {lesions}" if lesions else "the whole truth"
