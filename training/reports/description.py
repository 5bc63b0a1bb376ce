"""What a recipe or a checkpoint is made of, for people and for programs."""

from typing import Any

from pydantic import ValidationError

from napari_uld.detectors.build import build_detector, parameter_count
from napari_uld.detectors.specs.recipe import Recipe, Version, load_recipe, problems, recipe_names
from napari_uld.errors import CheckpointError
from napari_uld.inference.catalogue import CheckpointInfo, bundled_checkpoints, find_checkpoint, read_info


def describe(subject: str, version: Version = "published") -> dict[str, Any]:
    """Title, and rows (key, value) of every setting, of a recipe or a checkpoint.

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
    model = build_detector(recipe)
    data = recipe.model_dump(mode="json")
    rows = [{"key": "parameters", "value": f"{parameter_count(model):,}"}]
    tables = {name: table for name, table in data.items() if table is not None}
    rows += [{"key": f"{name}.{key}", "value": str(tables[name][key])} for name in tables for key in tables[name]]
    return {
        "title": recipe.method.title + ("" if version == "published" else f" [{version}]"),
        "rows": rows,
        "recipe": data,
    }
