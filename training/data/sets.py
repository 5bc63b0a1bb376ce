"""What a recipe trains on, and what it is validated on."""

from collections import Counter
from collections.abc import Collection
from pathlib import Path

from napari_uld.detectors.specs.recipe import Recipe
from napari_uld.errors import DataError
from napari_uld.lesions.annotations import Source

from .key_slices import read_split, true_slices
from .lesion_free import clear_of, lesion_free_slices
from .phantom.truth import FOLDER as TRUTH_FOLDER
from .slab_dataset import SlabDataset
from .sub_volumes import SubVolume, sub_volumes
from .tight_slices import shown_slices, tight_slices
from .volume_dataset import VolumeDataset, negative_bodies, true_volumes

# Of a data set, findings with negative rows.
NEGATIVES = "negatives"
# What a network may be validated on.
ValidationSet = SlabDataset | VolumeDataset | list[SubVolume]


def training_set(
    root: Path, recipe: Recipe, seed: int, sources: Collection[Source] | None = None
) -> tuple[SlabDataset | VolumeDataset, str]:
    """The training split as a recipe's network sees it, and a line about what is peculiar about it ("" for nothing).

    Parameters
    ----------
    sources
        Where its lesions shall come from, see `read_split`.

    Raises
    ------
    DataError
        If there is nothing to train on, or what is learnt from a whole truth shall come from somewhere else.
    """
    if recipe.input.volume:
        if sources is not None:
            raise DataError(f"{recipe.method.name} learns from the whole truth of volumes: leave --sources out")
        volumes = true_volumes(root, "train", recipe.input.phases)
        negatives = negative_bodies(root / NEGATIVES, volumes)
        note = f"{sum(map(len, negatives.values()))} hard negatives in {len(negatives)} scans" if negatives else ""
        spec = recipe.training
        return VolumeDataset(volumes, recipe.input, negatives=negatives, training=spec, seed=seed), note
    if recipe.supervision.boxes == "tight":
        return _tight_set(root, recipe, seed, sources), ""
    slices, note = read_split(root, "train", sources)
    free = lesion_free_slices(root, "train") if recipe.training.lesion_free else []
    if sources is not None and not (root / TRUTH_FOLDER).is_dir():
        # The table alone said that they are free.
        free = clear_of(slices, free)
    data = SlabDataset(root, slices + free, recipe.input, recipe.supervision, training=recipe.training, seed=seed)
    data.free = range(len(slices), len(data))
    return data, note


def _tight_set(root: Path, recipe: Recipe, seed: int, sources: Collection[Source] | None) -> SlabDataset:
    """Slices of the training split that show a lesion, listed or not, one for each lesion in an epoch."""
    _require_truth(root, recipe)
    if sources is not None:
        raise DataError(f"{recipe.method.name} learns from the whole truth of phantoms: leave --sources out")
    slices, by_lesion = shown_slices(root, "train")
    free = lesion_free_slices(root, "train") if recipe.training.lesion_free else []
    data = SlabDataset(root, slices + free, recipe.input, recipe.supervision, training=recipe.training, seed=seed)
    data.free, data.by_lesion = range(len(slices), len(data)), by_lesion
    return data


def _require_truth(root: Path, recipe: Recipe) -> None:
    if not (root / TRUTH_FOLDER).is_dir():
        raise DataError(
            f"{recipe.method.name} learns from boxes tight about the voxels of every lesion, and {root} has no folder "
            f'{TRUTH_FOLDER} that knows these: give phantoms, or a recipe with supervision.boxes = "padded"'
        )


def lesions_by_source(data: SlabDataset | VolumeDataset) -> dict[str, int]:
    """How many lesions of a training set were marked by whom; none where the truth is."""
    slices = data.slices if isinstance(data, SlabDataset) else []
    return dict(Counter(source.value for key in slices for source in key.sources))


def validation_set(root: Path, recipe: Recipe) -> tuple[ValidationSet, str]:
    """The validation split, as it is, as the recipe wants it, and a line about what of it is left out."""
    if recipe.input.volume:
        return VolumeDataset(true_volumes(root, "val", recipe.input.phases), recipe.input), ""
    if recipe.supervision.boxes == "tight":
        _require_truth(root, recipe)
        return SlabDataset(root, tight_slices(root, "val"), recipe.input), ""
    wanted = recipe.training.validate_on if (root / TRUTH_FOLDER).is_dir() else "annotated"
    if wanted == "volumes":
        return sub_volumes(root, "val"), ""
    if wanted == "truth":
        return SlabDataset(root, true_slices(root, "val"), recipe.input), ""
    slices, note = read_split(root, "val")
    return SlabDataset(root, slices, recipe.input), note
