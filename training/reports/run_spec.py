"""What a run computes with, in full: what tells one run from another, and a stored result from what it would be now."""

import hashlib
import json
import re
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from napari_uld.detectors.specs.base import Spec
from napari_uld.detectors.specs.recipe import Recipe

from .results import write_json

# Raise it when what a training or its evaluation computes changes otherwise than by a key of the recipe (a loss, the
# matching): results of another version are of another run.
RESULTS_VERSION = 1
# The same where the ABM is learnt: its areas were counted in pixels of each input before, in millimetres now.
ABM_RESULTS_VERSION = 2
RUN = "run.json"


class RunSpec(Spec):
    """All that a run computes with.

    Parameters
    ----------
    recipe
        What is trained, every default spelled out.
    data
        Which phantoms it is trained and scored on.
    seed
        Of the training.
    init
        The run whose weights it starts from.
    results
        `results_version` of the code.
    """

    recipe: Recipe
    data: dict[str, Any]
    seed: int
    init: "RunSpec | None" = None
    results: int = RESULTS_VERSION

    def meaning(self) -> dict[str, Any]:
        """Everything that changes what is computed, as JSON has it."""
        rest = self.model_dump(mode="json", exclude={"recipe", "init"})
        init = self.init.meaning() if self.init else None
        return rest | {"recipe": self.recipe.meaning(), "init": init}

    @cached_property
    def key(self) -> str:
        """Hash of its meaning: runs of one key are one run, whatever they are called."""
        return hashlib.sha256(json.dumps(self.meaning(), sort_keys=True).encode()).hexdigest()[:16]

    def write(self, folder: Path) -> None:
        """Say in a run's folder what it computes with."""
        write_json(folder / RUN, self.model_dump(mode="json"))


def results_version(recipe: Recipe) -> int:
    """Version of what the code makes of a recipe."""
    return ABM_RESULTS_VERSION if recipe.supervision.maps.names & {"abm", "lesion_abms"} else RESULTS_VERSION


def read_spec(folder: Path) -> RunSpec | None:
    """What the run in a folder computes with, by today's schema; None where nothing or nothing readable says so.

    It is stored in full, so that a default that changed since is told from it, and a key that the schema gained
    since means what it always did.
    """
    path = folder / RUN
    return _parsed(path.read_bytes()) if path.is_file() else None


@lru_cache(maxsize=1024)
def _parsed(data: bytes) -> RunSpec | None:
    try:
        return RunSpec.model_validate_json(data)
    except ValidationError:
        return None


def differences(stored: RunSpec, planned: RunSpec) -> list[str]:
    """What a stored run computes with otherwise than a planned one, key path by key path."""
    before, now = _flat(stored.meaning()), _flat(planned.meaning())
    absent = "nothing"
    return [
        f"{path} is {now.get(path, absent)}, was {before.get(path, absent)}"
        for path in sorted(before.keys() | now.keys())
        if now.get(path, absent) != before.get(path, absent)
    ]


def _flat(table: dict[str, Any], above: str = "") -> dict[str, Any]:
    """A nested table's values by their key paths ("recipe.training.lr")."""
    flat: dict[str, Any] = {}
    for key, value in table.items():
        path = f"{above}{key}"
        flat |= _flat(value, f"{path}.") if isinstance(value, dict) else {path: value}
    return flat


def slug(label: str) -> str:
    """A row's label as part of a folder's name: small letters, digits, _ and +."""
    return re.sub(r"[^a-z0-9+]+", "_", label.lower()).strip("_")


def find_run(spec: RunSpec, home: Path) -> Path:
    """Where the run is kept: at its home, unless a row of another name or experiment has the same one already.

    Parameters
    ----------
    home
        <root>/<experiment>/<row>-seed<k>.
    """
    elsewhere = sorted(path.parent for path in home.parents[1].glob(f"*/*/{RUN}"))
    for folder in (home, *elsewhere):
        stored = read_spec(folder)
        if stored is not None and stored.key == spec.key:
            return folder
    return home
