"""What a recipe or a checkpoint is made of, for people and for programs."""

from typing import Any

from pydantic import ValidationError

from napari_uld.detectors.specs.recipe import Recipe, Version, load_recipe, problems, recipe_names
from napari_uld.errors import CheckpointError
from napari_uld.inference.catalogue import CheckpointInfo, bundled_checkpoints, find_checkpoint, read_info

from .cost import VOLUME, cost_of


def describe(subject: str, version: Version = "published") -> dict[str, Any]:
    """Title, rows (key, value) of every setting, and what it costs (see `cost_of`), of a recipe or a checkpoint.

    A name that is both means the recipe; a checkpoint's file, or a bundled one's name ending in
    ``.safetensors``, the checkpoint.

    Raises
    ------
    UldError
        If there is neither.
    """
    if subject in recipe_names() or subject.endswith(".toml"):
        result = _describe_recipe(load_recipe(subject, version), version)
        if subject in bundled_checkpoints():
            result["rows"].insert(0, {"key": "its checkpoint", "value": f"napari-uld info {subject}.safetensors"})
        return result
    name = subject.removesuffix(".safetensors")
    checkpoint = read_info(find_checkpoint(name if name in bundled_checkpoints() else subject))
    result = _describe_recipe(_recipe_of(checkpoint), "published")
    reached = [{"key": f"evaluation.{k}", "value": str(v)} for k, v in checkpoint.evaluation.items()]
    rows = [{"key": "checkpoint", "value": f"{checkpoint.path.name} ({checkpoint.digest})"}, *reached, *result["rows"]]
    return {**result, "rows": rows, "evaluation": checkpoint.evaluation}


def _recipe_of(checkpoint: CheckpointInfo) -> Recipe:
    try:
        return Recipe(**checkpoint.recipe)
    except (ValidationError, TypeError) as error:
        why = f" ({problems(error, checkpoint.recipe)})" if isinstance(error, ValidationError) else ""
        raise CheckpointError(f"{checkpoint.path}: its recipe is damaged{why}") from error


def _describe_recipe(recipe: Recipe, version: Version) -> dict[str, Any]:
    cost = cost_of(recipe)
    data = recipe.model_dump(mode="json")
    volume = " x ".join(map(str, VOLUME))
    rows = [
        {"key": "parameters", "value": _by_part(cost["parameters"], 1e6, "M")},
        {"key": f"operations on {volume}", "value": _by_part(cost["flops"], 1e9, "G")},
    ]
    tables = {name: table for name, table in data.items() if table is not None}
    rows += [{"key": f"{name}.{key}", "value": str(tables[name][key])} for name in tables for key in tables[name]]
    return {
        "title": recipe.method.title + ("" if version == "published" else f" [{version}]"),
        "rows": rows,
        "recipe": data,
        **cost,
    }


def _by_part(counts: dict[str, int], unit: float, letter: str) -> str:
    total, *parts = (f"{name} {count / unit:,.2f} {letter}" for name, count in counts.items())
    return f"{total.removeprefix('total ')} ({', '.join(parts)})"
