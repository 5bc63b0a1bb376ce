"""Slices with boxes tight about the voxels: which there are, and one a lesion in an epoch."""

from pathlib import Path

import numpy as np
import pytest

from napari_uld.detectors.specs.recipe import Recipe, load_recipe
from napari_uld.errors import DataError
from napari_uld.lesions.annotations import Source
from napari_uld.lesions.rle import decode
from napari_uld.training.data.key_slices import split_series, true_slices
from napari_uld.training.data.phantom.truth import read_truth
from napari_uld.training.data.sets import training_set, validation_set
from napari_uld.training.data.slab_dataset import SlabDataset
from napari_uld.training.data.tight_slices import shown_slices, tight_slices


@pytest.fixture
def recipe() -> Recipe:
    return load_recipe("faster_rcnn_densenet", "small")


def about(mask: np.ndarray) -> list[float]:
    y, x = np.nonzero(mask)
    return [x.min() - 0.5, y.min() - 0.5, x.max() + 0.5, y.max() + 0.5]


def true_boxes(root: Path, series: str, number: int) -> list[list[float]]:
    return [about(decode(lesion.masks[number])) for lesion in read_truth(root, series) if number in lesion.masks]


def test_key_slices_have_the_boxes_of_the_voxels_of_every_lesion_on_them(phantoms: Path) -> None:
    tight, padded = tight_slices(phantoms, "val"), true_slices(phantoms, "val")
    assert [(key.series, key.number) for key in tight] == [(key.series, key.number) for key in padded]
    for key in tight:
        assert key.boxes.tolist() == true_boxes(phantoms, key.series, key.number)


def test_every_slice_that_shows_a_lesion_is_there_and_known_by_each_lesion_on_it(phantoms: Path) -> None:
    slices, by_lesion = shown_slices(phantoms, "train")
    lesions = [(name, each) for name in split_series(phantoms, "train") for each in read_truth(phantoms, name)]
    assert len(by_lesion) == len(lesions)
    for (series, lesion), images in zip(lesions, by_lesion, strict=True):
        assert {slices[image].series for image in images} == {series}
        assert {slices[image].number for image in images} == set(lesion.masks)
    assert len(slices) == len({(key.series, key.number) for key in slices}) == len(set(np.concatenate(by_lesion)))
    for key in slices[::7]:
        assert key.boxes.tolist() == true_boxes(phantoms, key.series, key.number)


def test_an_epoch_sees_one_slice_a_lesion_and_another_epoch_others(phantoms: Path, recipe: Recipe) -> None:
    (data, note), (again, _) = training_set(phantoms, recipe, 5), training_set(phantoms, recipe, 5)
    assert isinstance(data, SlabDataset)
    assert isinstance(again, SlabDataset)
    first = data.of_epoch()
    assert (note, first) == ("", again.of_epoch())
    assert all(image in images for image, images in zip(first, data.by_lesion, strict=True))
    again.epoch = 1
    assert again.of_epoch() != first
    # What a miner adds is seen in every epoch.
    data.slices = [*data.slices, data.slices[0]]
    assert data.of_epoch() == [*first, len(data) - 1]


def test_free_slices_and_what_a_miner_adds_are_no_lesions(phantoms: Path, recipe: Recipe) -> None:
    drawn = recipe.training.model_copy(update={"lesion_free": 0.5})
    data, _ = training_set(phantoms, recipe.model_copy(update={"training": drawn}), 5)
    assert isinstance(data, SlabDataset)
    assert data.free
    assert not any(len(data.slices[image].boxes) for image in data.free)
    assert len(data.of_epoch()) == len(data.by_lesion)
    assert set(data.of_epoch()).isdisjoint(data.free)


def test_an_example_has_the_tight_boxes_where_the_lesions_are(phantoms: Path, recipe: Recipe) -> None:
    still = recipe.training.model_copy(update={"horizontal_flip": 0, "vertical_flip": 0})
    data, _ = training_set(phantoms, recipe.model_copy(update={"training": still}), 5)
    assert isinstance(data, SlabDataset)
    image = data.of_epoch()[0]
    _, target = data[image]
    native = data.slab(image).axes.to_native(target["boxes"].numpy().astype(float))
    np.testing.assert_allclose(native, data.slices[image].boxes, atol=1e-3)


def test_it_is_validated_on_tight_boxes(phantoms: Path, recipe: Recipe) -> None:
    data, note = validation_set(phantoms, recipe)
    assert isinstance(data, SlabDataset)
    assert [key.boxes.tolist() for key in data.slices] == [key.boxes.tolist() for key in tight_slices(phantoms, "val")]
    assert note == ""


def test_data_that_do_not_know_every_voxel_are_refused_and_so_are_sources(
    phantoms: Path, recipe: Recipe, tmp_path: Path
) -> None:
    for name in ("DL_info.csv", "Images_png"):
        (tmp_path / name).symlink_to(phantoms / name)
    for read in (lambda: training_set(tmp_path, recipe, 0), lambda: validation_set(tmp_path, recipe)):
        with pytest.raises(DataError, match='no folder truth that knows these: give phantoms, or .* = "padded"'):
            read()
    with pytest.raises(DataError, match="leave --sources out"):
        training_set(phantoms, recipe, 0, [Source.EXPERT])
