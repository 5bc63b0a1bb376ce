"""Slices without a lesion: which there are, and how they are mixed into batches."""

from pathlib import Path

import numpy as np
import pytest
import torch

from napari_uld.ct.deeplesion import slices_on_disk
from napari_uld.detectors.specs.recipe import load_recipe
from napari_uld.errors import DataError
from napari_uld.training.data.key_slices import annotated_slices
from napari_uld.training.data.lesion_free import MixedBatches, batches_of, lesion_free_slices
from napari_uld.training.data.phantom.truth import read_truth
from napari_uld.training.data.sets import training_set
from napari_uld.training.loop import Run, TrainingOptions, _loader


def test_where_the_truth_is_known_exactly_the_slices_without_a_lesion_are_free(phantoms: Path) -> None:
    free = lesion_free_slices(phantoms, "train")
    series = {key.series for key in annotated_slices(phantoms, "train")}
    expected = {
        (name, number)
        for name in series
        for number in slices_on_disk(phantoms, name)
        if not any(number in lesion.boxes for lesion in read_truth(phantoms, name))
    }
    assert {(key.series, key.number) for key in free} == expected
    assert all(key.boxes.shape == (0, 4) for key in free)


def test_elsewhere_a_slice_is_free_that_lies_far_from_every_listed_lesion(
    phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DL_info.csv", "Images_png"):
        (tmp_path / name).symlink_to(phantoms / name)
    monkeypatch.setattr("napari_uld.training.data.lesion_free.CLEARANCE_MM", 5.0)
    free = {(key.series, key.number) for key in lesion_free_slices(tmp_path, "train")}
    keys = annotated_slices(tmp_path, "train")
    expected = set()
    for name in {key.series for key in keys}:
        of_series = [key for key in keys if key.series == name]
        for number in slices_on_disk(tmp_path, name):
            distances = [
                abs(number - key.number) * key.spacing[0] - np.ptp(box.reshape(2, 2), axis=0).max() * key.spacing[1] / 2
                for key in of_series
                for box in key.boxes
            ]
            if min(distances) > 5.0:
                expected.add((name, number))
    assert free == expected
    assert free
    monkeypatch.setattr("napari_uld.training.data.lesion_free.CLEARANCE_MM", 1e6)
    with pytest.raises(DataError, match="lesion_free must be 0"):
        lesion_free_slices(tmp_path, "train")


def batches(ordinary: int, free: int, batch: int, share: float, seed: int = 0) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    indices = list(range(ordinary)), list(range(ordinary, ordinary + free))
    return list(MixedBatches(*indices, batch=batch, share=share, generator=generator))


def test_every_ordinary_image_is_seen_once_beside_the_share_of_free_ones() -> None:
    mixed = batches(12, 50, batch=4, share=0.25)
    assert [len(batch) for batch in mixed] == [4] * 4
    assert all(sum(index >= 12 for index in batch) == 1 for batch in mixed)
    assert sorted(index for batch in mixed for index in batch if index < 12) == list(range(12))
    assert batches(12, 50, batch=4, share=0.25, seed=1) != mixed
    assert batches(12, 50, batch=4, share=0.25) == mixed


def test_a_share_that_is_no_whole_number_comes_out_on_average_and_no_batch_is_free_alone() -> None:
    mixed = batches(30, 5, batch=2, share=0.25)
    assert [sum(index >= 30 for index in batch) for batch in mixed] == [0, 1] * 10
    assert len(mixed) == batches_of(30, 2, 0.25) == 20
    assert all(any(index < 4 for index in batch) for batch in batches(4, 5, batch=1, share=0.9))
    assert batches_of(9, 2, 0.0) == 5


def test_a_recipe_mixes_them_in_and_another_trains_on_what_it_always_did(phantoms: Path, tmp_path: Path) -> None:
    plain = load_recipe("faster_rcnn", "small")
    mixed = plain.model_copy(update={"training": plain.training.model_copy(update={"lesion_free": 0.5})})
    data, _ = training_set(phantoms, plain, 0)
    more, _ = training_set(phantoms, mixed, 0)
    assert len(data.free) == 0  # type: ignore[union-attr]
    assert list(more.free) == list(range(len(data), len(more)))  # type: ignore[union-attr]
    run = Run(mixed, TrainingOptions(phantoms, tmp_path, device="cpu"))
    assert run.steps_per_epoch == len(data), "of two images one is lesion-free"
    _, targets = next(_loader(run))
    assert sorted(len(target["boxes"]) > 0 for target in targets) == [False, True]
