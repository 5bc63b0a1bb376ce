"""What a recipe trains on, and what it is validated on."""

from pathlib import Path

from napari_uld.detectors.specs.recipe import Recipe

from .key_slices import read_split, true_slices
from .lesion_free import lesion_free_slices
from .phantom.truth import FOLDER as TRUTH_FOLDER
from .slab_dataset import SlabDataset
from .sub_volumes import SubVolume, sub_volumes
from .volume_dataset import VolumeDataset, true_volumes

# What a network may be validated on.
ValidationSet = SlabDataset | VolumeDataset | list[SubVolume]


def training_set(root: Path, recipe: Recipe, seed: int) -> tuple[SlabDataset | VolumeDataset, str]:
    """The training split as a recipe's network sees it, and a line about what of it is left out ("" for nothing)."""
    if recipe.input.volume:
        return VolumeDataset(true_volumes(root, "train"), recipe.input, training=recipe.training, seed=seed), ""
    slices, note = read_split(root, "train")
    free = lesion_free_slices(root, "train") if recipe.training.lesion_free else []
    data = SlabDataset(root, slices + free, recipe.input, recipe.supervision, training=recipe.training, seed=seed)
    data.free = range(len(slices), len(data))
    return data, note


def validation_set(root: Path, recipe: Recipe) -> tuple[ValidationSet, str]:
    """The validation split, as it is, as the recipe wants it, and a line about what of it is left out."""
    if recipe.input.volume:
        return VolumeDataset(true_volumes(root, "val"), recipe.input), ""
    wanted = recipe.training.validate_on if (root / TRUTH_FOLDER).is_dir() else "annotated"
    if wanted == "volumes":
        return sub_volumes(root, "val"), ""
    if wanted == "truth":
        return SlabDataset(root, true_slices(root, "val"), recipe.input), ""
    slices, note = read_split(root, "val")
    return SlabDataset(root, slices, recipe.input), note
