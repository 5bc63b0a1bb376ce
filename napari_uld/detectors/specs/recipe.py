"""Recipes: TOML files that say what a published system is made of."""

import math
import tomllib
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, PositiveFloat, PositiveInt, ValidationError, model_validator

from napari_uld.detectors.specs.base import Fraction, Spec
from napari_uld.detectors.specs.mining import MINERS, Mining, MiningSpec
from napari_uld.detectors.specs.system import DEFAULT_FAMILY, FAMILIES, System
from napari_uld.errors import RecipeError
from napari_uld.words import nearest, quoted, required, table_at

# The keys of [method] that only describe; whatever else stands there changes what is computed.
DESCRIPTIVE = {"name", "title", "paper", "published"}
# How deep a recipe may build on others.
MOST_HOSTS = 5
# A system at its published scale; as small as the tables compare it, on minutes of two cores; and that trained out, as
# it comes with the package.
Version = Literal["published", "small", "bundled"]
LAID_OVER: dict[Version, tuple[str, ...]] = {"published": (), "small": ("small",), "bundled": ("small", "bundled")}


class MethodSpec(Spec):
    """Which published system a recipe describes."""

    name: str = Field(pattern=r"^[a-z0-9_]+$")
    title: str
    paper: str
    # The recipe whose trained weights it starts from; "none" for ImageNet's, or what the detector says.
    init: str = "none"
    # Sensitivity in % by false positives per image, as published; per scan where the paper counts so.
    published: dict[str, float] = {}


class TrainingSpec(Spec):
    """How a system is trained."""

    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    lr: PositiveFloat = 1e-3
    momentum: Fraction = 0.9
    # Weights that learn at a tenth of the rate: those whose names hold any of these words.
    slow: tuple[str, ...] = ()
    weight_decay: float = Field(default=5e-4, ge=0)
    batch: PositiveInt = 2
    epochs: PositiveInt = 6
    # A run's length in optimizer steps instead of epochs; the last epoch may then be a part of one.
    steps: PositiveInt | None = None
    # Epochs after which the learning rate falls to a tenth.
    milestones: tuple[PositiveInt, ...] = (4, 5)
    warmup_steps: int = Field(default=0, ge=0)
    clip_norm: PositiveFloat = 5.0
    # Adam's: behind a small clip_norm it decides how large a step is.
    eps: PositiveFloat = 1e-8
    # What is watched on the validation split: it picks the best epoch, and both keys below count from there.
    monitor: Literal["sensitivity", "ap"] = "sensitivity"
    # Where: on the key slices of the validation split's listed lesions; or, where the whole truth is known, on the key
    # slices of all lesions, or traced through whole scans, by P3D IoU. Elsewhere all three are the first.
    validate_on: Literal["annotated", "truth", "volumes"] = "annotated"
    # Epochs from one validation to the next; the last epoch always has one.
    validate_every: PositiveInt = 1
    # Share of the images of a batch that show no lesion at all: slices that the whole truth calls free, or, where it is
    # not known, that lie far from every listed lesion.
    lesion_free: float = Field(default=0.0, ge=0, lt=1)
    # Epochs in a row without a better monitored value after which the learning rate falls to a tenth; None never.
    plateau: PositiveInt | None = None
    # Epochs in a row without a better monitored value after which training stops; None never.
    patience: PositiveInt | None = None
    # Chances of flipping an image.
    horizontal_flip: Fraction = 0.0
    vertical_flip: Fraction = 0.0
    # A random affine map of each image: each is drawn from plus or minus this much, along both axes for the last three.
    # Radians, radians, share of the size (a factor about 1), share of the image.
    rotation: float = Field(default=0.0, ge=0, le=math.pi)
    shear: float = Field(default=0.0, ge=0, lt=math.pi / 4)
    scale: float = Field(default=0.0, ge=0, lt=1)
    translation: Fraction = 0.0
    # Noise on the HU, its standard deviation drawn from 0 to this much, and how far each bound of the window moves at
    # most, in shares of its width.
    noise_hu: float = Field(default=0.0, ge=0)
    window_shift: float = Field(default=0.0, ge=0, lt=0.5)
    # How far from the key slice an image may lie, in shares of half the shortest side of its boxes, which stay as they
    # are: a lesion is seen where it is cut, too.
    z_shift: Fraction = 0.0


class Recipe(System):
    """A whole recipe."""

    method: MethodSpec
    training: TrainingSpec = TrainingSpec()
    mining: Mining = MiningSpec()

    def meaning(self) -> dict[str, Any]:
        """Everything in it that changes what is computed, every default spelled out, as JSON has it."""
        return self.model_dump(mode="json", exclude={"method": DESCRIPTIVE})

    @model_validator(mode="after")
    def _check_mining(self) -> "Recipe":
        self.mining.check_fit(self)
        drawn = self.training
        if self.input.volume and drawn.z_shift:
            raise ValueError("crops of volumes lie anywhere along z: z_shift must be 0")
        if self.supervision.boxes == "tight" and not self.input.volume:
            if drawn.validate_on != "truth":
                raise ValueError('tight boxes are validated on the truth\'s slices: validate_on must be "truth"')
            if drawn.z_shift:
                raise ValueError("tight boxes hold on their own slices, of which each is seen: z_shift must be 0")
        every = drawn.validate_every
        if any(epochs is not None and epochs % every for epochs in (drawn.patience, drawn.plateau)):
            raise ValueError(f"patience and plateau end at a validation: both must be multiples of {every} epochs")
        if self.input.volume and drawn.lesion_free:
            raise ValueError("crops of volumes are not mixed with slices: lesion_free must be 0")
        return self


def recipe_names() -> list[str]:
    """Names of the recipes that come with the package."""
    folder = Path(str(resources.files("napari_uld.training.recipes")))
    return sorted(path.stem for path in folder.glob("*.toml"))


def load_recipe(name_or_path: str | Path, version: Version = "published") -> Recipe:
    """Read one version of a recipe by name or path.

    A recipe's ``[method] host`` names another one that it builds on: only differences are written. Its ``[small]``
    lies over the published tables, its ``[bundled]`` over both.

    Raises
    ------
    RecipeError
        If there is none, or it says something the schema does not know.
    """
    path = _find(name_or_path)
    try:
        data = _read(path)
        overrides = {name: data.pop(name, {}) for name in ("small", "bundled")}
        for name, table in overrides.items():
            if not isinstance(table, dict):
                raise RecipeError(f"{path}: [{name}] must be a table of overrides; found {quoted(table)}")
        for name in LAID_OVER[version]:
            data = _merge(data, overrides[name])
        return Recipe(**data)
    except ValidationError as error:
        raise RecipeError(f"{path}: {problems(error, data)}") from error


def problems(error: ValidationError, data: dict[str, Any], model: type[BaseModel] = Recipe) -> str:
    """Say what a schema refused of a recipe's `data`: each key, what was found and what was required."""
    return "; ".join(_problem(one, _table(one["loc"][:-1], data, model)) for one in error.errors(include_url=False))


def _table(location: tuple[int | str, ...], data: dict[str, Any], model: type[BaseModel]) -> type[BaseModel]:
    """Give the schema of one of a recipe's tables; that of some is their family's."""
    detector = data.get("detector")
    family = FAMILIES.get(str(detector.get("family", DEFAULT_FAMILY)) if isinstance(detector, dict) else DEFAULT_FAMILY)
    if family is not None and location and location[0] in ("detector", "supervision"):
        return table_at(getattr(family, str(location[0])), location[1:])
    mining = data.get("mining")
    if location == ("mining",) and isinstance(mining, dict) and str(mining.get("miner")) in MINERS:
        return MINERS[str(mining["miner"])].spec
    return table_at(model, location)


def _problem(error: Any, table: type[BaseModel]) -> str:
    location = error["loc"]
    where = ".".join(map(str, location)) or "the whole recipe"
    if error["type"] == "extra_forbidden":
        key, known = str(location[-1]), list(table.model_fields)
        within = ".".join(map(str, location[:-1]))
        if within:
            return f"{where} is no key of [{within}], which has {', '.join(known)}{nearest(key, known)}"
        known += ["small", "bundled"]
        return f"[{key}] is no table of a recipe, which has {', '.join(known)}{nearest(key, known)}"
    if error["type"] == "missing":
        return f"{where} is missing; it is required"
    if error["type"] == "value_error" and isinstance(error["input"], dict | BaseModel):
        return f"[{where}] {required(error)}" if location else required(error)
    return f"{where}: found {quoted(error['input'])}, required {required(error)}"


def _find(name_or_path: str | Path) -> Path:
    if str(name_or_path) in recipe_names():
        return Path(str(resources.files("napari_uld.training.recipes"))) / f"{name_or_path}.toml"
    path = Path(name_or_path)
    if not path.is_file():
        names = recipe_names()
        meant = nearest(str(name_or_path), names)
        raise RecipeError(f"There is no recipe {name_or_path}: give a TOML file or one of {', '.join(names)}{meant}")
    return path


def _read(path: Path, depth: int = 0) -> dict[str, Any]:
    """A recipe's tables with its host's beneath them."""
    if depth > MOST_HOSTS:
        raise RecipeError(f"{path}: its hosts refer to one another in a circle")
    try:
        data = tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except (OSError, UnicodeDecodeError, RecursionError, tomllib.TOMLDecodeError) as error:
        raise RecipeError(f"{path} is no readable TOML file: {error}") from error
    method = data.get("method")
    host = method.pop("host", None) if isinstance(method, dict) else None
    if host is None:
        return data
    if host not in recipe_names():
        raise RecipeError(
            f"{path}: its host {host!r} is none of {', '.join(recipe_names())}{nearest(str(host), recipe_names())}"
        )
    return _merge({k: v for k, v in _read(_find(host), depth + 1).items() if k != "method"}, data)


def _merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Tables of `above` laid over those of `below`, key by key."""
    merged = dict(below)
    for key, value in above.items():
        lower = merged.get(key)
        merged[key] = _merge(lower, value) if isinstance(lower, dict) and isinstance(value, dict) else value
    return merged
