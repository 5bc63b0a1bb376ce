"""What a recipe trains on, and what it is validated on."""

from pathlib import Path

from napari_uld.detectors.specs.recipe import Recipe

from .key_slices import annotated_slices
from .slab_dataset import SlabDataset
from .volume_dataset import VolumeDataset, true_volumes


def training_set(root: Path, recipe: Recipe, seed: int) -> SlabDataset | VolumeDataset:
    """The training split as a recipe's network sees it."""
    if recipe.input.volume:
        return VolumeDataset(true_volumes(root, "train"), recipe.input, training=recipe.training, seed=seed)
    slices = annotated_slices(root, "train")
    return SlabDataset(root, slices, recipe.input, recipe.supervision, training=recipe.training, seed=seed)


def validation_set(root: Path, recipe: Recipe) -> SlabDataset | VolumeDataset:
    """The validation split, as it is."""
    if recipe.input.volume:
        return VolumeDataset(true_volumes(root, "val"), recipe.input)
    return SlabDataset(root, annotated_slices(root, "val"), recipe.input)
