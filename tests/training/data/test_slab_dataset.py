"""Slabs with their targets: flips, masks, hard negatives."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import torch

from napari_uld.detectors.parts import POSITION
from napari_uld.detectors.specs.inputs import InputSpec
from napari_uld.detectors.specs.mvp import MvpSupervision
from napari_uld.detectors.specs.recipe import TrainingSpec
from napari_uld.detectors.specs.two_stage import TwoStageSupervision
from napari_uld.lesions.rle import encode
from napari_uld.training.data import cache
from napari_uld.training.data.augment import Augmentation
from napari_uld.training.data.cache import CACHE_BYTES, CACHE_SHARE
from napari_uld.training.data.key_slices import annotated_slices, read_slab
from napari_uld.training.data.slab_dataset import HardNegatives, SlabDataset
from napari_uld.training.data.true_boxes import TrueBoxes

MASKS = TwoStageSupervision(roi_branch="ellipse")
FLIPS = [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0)]


def flipping(chances: tuple[float, float]) -> TrainingSpec:
    return TrainingSpec(horizontal_flip=chances[0], vertical_flip=chances[1])


def rectangles(boxes: list[list[int]], shape: tuple[int, int] = (512, 512)) -> HardNegatives:
    """Hard negatives that fill their boxes, given as first and last pixel (x1, y1, x2, y2)."""
    masks = []
    for x1, y1, x2, y2 in boxes:
        mask = np.zeros(shape, bool)
        mask[y1 : y2 + 1, x1 : x2 + 1] = True
        masks.append(encode(mask))
    edges = np.asarray(boxes, dtype=np.float64) + [-0.5, -0.5, 0.5, 0.5]
    return HardNegatives(edges, np.linspace(0.9, 0.8, len(boxes)), tuple(masks))


def extents(mask: torch.Tensor) -> list[int]:
    """Edges (x1, y1, x2, y2) of a mask."""
    rows, columns = torch.nonzero(mask, as_tuple=True)
    return [int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1]


@pytest.mark.parametrize("flips", FLIPS)
def test_a_flipped_image_carries_its_boxes_and_masks_along(phantoms: Path, flips: tuple[float, float]) -> None:
    keys = annotated_slices(phantoms, "all")[:1]
    plain, expected = SlabDataset(phantoms, keys, InputSpec(), MASKS)[0]
    flipped, target = SlabDataset(phantoms, keys, InputSpec(), MASKS, training=flipping(flips))[0]
    axes = [axis for axis, chance in zip((2, 1), flips, strict=True) if chance]
    assert torch.equal(flipped, plain.flip(axes))
    assert torch.equal(target["masks"], expected["masks"].flip(axes))
    width, height = plain.shape[2], plain.shape[1]
    x1, y1, x2, y2 = expected["boxes"][0].tolist()
    if flips[0]:
        x1, x2 = width - x2, width - x1
    if flips[1]:
        y1, y2 = height - y2, height - y1
    assert target["boxes"][0].tolist() == pytest.approx([x1, y1, x2, y2], abs=1e-3)


def test_a_target_says_where_along_the_body_it_lies_where_that_is_known_and_teaches(phantoms: Path) -> None:
    keys = annotated_slices(phantoms, "all")[:2]
    keys[1] = replace(keys[1], position=None)
    dataset = SlabDataset(phantoms, keys, InputSpec(), MvpSupervision())
    (_, known), (_, unknown) = dataset[0], dataset[1]
    assert known[POSITION].shape == ()
    assert float(known[POSITION]) == pytest.approx(keys[0].position)
    assert POSITION not in unknown
    assert POSITION not in SlabDataset(phantoms, keys[:1], InputSpec(), TwoStageSupervision())[0][1]


@pytest.mark.parametrize("flips", FLIPS)
def test_a_lesions_mask_lies_in_its_box_less_the_margin(phantoms: Path, flips: tuple[float, float]) -> None:
    dataset = SlabDataset(phantoms, annotated_slices(phantoms, "all")[:4], InputSpec(), MASKS, training=flipping(flips))
    for index in range(len(dataset)):
        scale = dataset.slab(index).axes.scale[0]
        _, target = dataset[index]
        assert len(target["masks"]) == len(target["boxes"]) > 0
        for mask, box in zip(target["masks"], target["boxes"].tolist(), strict=True):
            # The box is 5 native px wider than the end points of the diameters, which lie half a pixel beyond centres;
            # between oblique diameters' ends an ellipse bulges.
            inwards = (np.array(extents(mask)) - box) * [1, 1, -1, -1]
            assert inwards.min() >= -0.51
            assert inwards.max() <= 6 * scale + 0.51


@pytest.mark.parametrize("flips", FLIPS)
def test_hard_negatives_are_taught_as_the_second_class_with_their_masks(
    phantoms: Path, flips: tuple[float, float]
) -> None:
    dataset = SlabDataset(phantoms, annotated_slices(phantoms, "all")[:2], InputSpec(), MASKS, training=flipping(flips))
    lesions = len(dataset[0][1]["boxes"])
    dataset.negatives = {0: rectangles([[200, 220, 239, 249], [260, 260, 290, 300]])}
    _, target = dataset[0]
    assert target["labels"].tolist() == [1] * lesions + [2, 2]
    assert len(target["masks"]) == len(target["boxes"]) == lesions + 2
    for mask, box in zip(target["masks"][lesions:], target["boxes"][lesions:].tolist(), strict=True):
        assert extents(mask) == pytest.approx(box, abs=0.51)
    assert dataset[1][1]["labels"].max() == 1, "the other image has none"


def test_a_hard_negative_outside_the_crop_is_dropped_with_its_mask_and_label(phantoms: Path) -> None:
    dataset = SlabDataset(phantoms, annotated_slices(phantoms, "all")[:1], InputSpec(), MASKS)
    lesions = len(dataset[0][1]["boxes"])
    assert dataset.slab(0).axes.offset[1] > 10, "the phantom has air above it"
    dataset.negatives = {0: rectangles([[250, 0, 260, 5], [260, 260, 290, 300]])}
    _, target = dataset[0]
    assert target["labels"].tolist() == [1] * lesions + [2]
    assert len(target["masks"]) == len(target["boxes"]) == lesions + 1
    assert extents(target["masks"][-1]) == pytest.approx(target["boxes"][-1].tolist(), abs=0.51)


def test_a_lesion_outside_the_crop_takes_its_own_label_and_mask_away(phantoms: Path) -> None:
    (key,) = annotated_slices(phantoms, "all")[:1]
    boxes = np.concatenate([[[250.0, 0, 260, 10]], key.boxes])
    dataset = SlabDataset(phantoms, [replace(key, boxes=boxes, recists=(None, *key.recists))], InputSpec(), MASKS)
    assert dataset.slab(0).axes.offset[1] > 10
    dataset.negatives = {0: rectangles([[260, 260, 290, 300]])}
    _, target = dataset[0]
    assert target["labels"].tolist() == [1] * len(key.boxes) + [2]
    assert (target["masks"].sum(dim=(1, 2)) > 0).all()


def test_without_a_mask_branch_there_are_no_masks(phantoms: Path) -> None:
    dataset = SlabDataset(phantoms, annotated_slices(phantoms, "all")[:1], InputSpec())
    assert dataset.masks(0) == ()
    assert set(dataset[0][1]) == {"boxes", "labels", "thickness"}


def test_flips_are_drawn_anew_each_epoch_and_alike_with_the_same_seed(phantoms: Path) -> None:
    keys = annotated_slices(phantoms, "all")[:6]

    def corners(seed: int, epoch: int) -> list[list[float]]:
        dataset = SlabDataset(phantoms, keys, InputSpec(), training=flipping((0.5, 0.5)), seed=seed)
        dataset.epoch = epoch
        return [dataset[index][1]["boxes"][0].tolist() for index in range(len(keys))]

    assert corners(0, 0) == corners(0, 0)
    assert corners(0, 0) != corners(0, 1)
    assert corners(0, 0) != corners(1, 0)


def test_a_slab_is_read_once(phantoms: Path) -> None:
    dataset = SlabDataset(phantoms, annotated_slices(phantoms, "all")[:1], InputSpec())
    assert dataset.slab(0) is dataset.slab(0)
    assert np.array_equal(dataset.slab(0).hu, read_slab(phantoms, dataset.slices[0], InputSpec()).hu)


def test_a_target_tells_how_far_its_scans_slices_lie_apart(phantoms: Path) -> None:
    dataset = SlabDataset(phantoms, annotated_slices(phantoms, "all"), InputSpec())
    spacings = [key.spacing[0] for key in dataset.slices]
    assert len(set(spacings)) > 1
    assert [float(dataset[index][1]["thickness"]) for index in range(len(dataset))] == pytest.approx(spacings)


def free_memory(monkeypatch: pytest.MonkeyPatch, available: float) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=int(available)))


def test_slabs_are_kept_up_to_a_share_of_the_memory_that_is_free(
    phantoms: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = annotated_slices(phantoms, "all")[:1] * 3
    size = read_slab(phantoms, keys[0], InputSpec()).hu.nbytes
    free_memory(monkeypatch, 2.5 * size / CACHE_SHARE)
    dataset = SlabDataset(phantoms, keys, InputSpec())
    # Later it does not matter what is free: what is kept counts as used itself.
    free_memory(monkeypatch, 0)
    kept = [dataset.slab(index) is dataset.slab(index) for index in range(3)]
    assert kept == [True, True, False]


def test_where_memory_abounds_slabs_are_kept_up_to_five_gib(phantoms: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free_memory(monkeypatch, 2**50)
    monkeypatch.setattr(cache, "CACHE_BYTES", 0)
    dataset = SlabDataset(phantoms, annotated_slices(phantoms, "all")[:1], InputSpec())
    assert dataset.slab(0) is not dataset.slab(0)
    assert CACHE_BYTES == 5 * 2**30


def test_an_image_may_lie_off_its_key_slice_as_far_as_its_lesion_is_thick(
    phantoms: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = annotated_slices(phantoms, "all")
    dataset = SlabDataset(phantoms, keys, InputSpec(), training=TrainingSpec(z_shift=0.5))
    reaches = {}
    for index, key in enumerate(keys):
        sides = (key.boxes[:, 2:] - key.boxes[:, :2]) * key.spacing[1]
        reaches[index] = int(0.5 * sides.min() / 2 / key.spacing[0])
        assert max(abs(dataset.away(index, u)) for u in (-1.0, -0.99, 0.0, 0.99, 1.0)) <= reaches[index]
        assert dataset.away(index, 0.0) == 0
    index = max(reaches, key=lambda each: reaches[each])
    assert reaches[index] > 0
    away = dataset.away(index, 1.0)
    assert away == reaches[index]
    beside = read_slab(phantoms, replace(keys[index], number=keys[index].number + away), InputSpec())
    assert np.array_equal(dataset.slab(index, away).hu, beside.hu)
    monkeypatch.setattr(dataset, "drawn", lambda *_: Augmentation(along_z=1.0))
    plain = SlabDataset(phantoms, keys, InputSpec())[index][1]["boxes"]
    assert dataset[index][1]["boxes"].shape == plain.shape, "its boxes stay as they are"


def test_where_the_slice_is_not_on_disk_the_key_slice_is_taken(phantoms: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = annotated_slices(phantoms, "all")
    dataset = SlabDataset(phantoms, keys, InputSpec(), training=TrainingSpec(z_shift=1.0))
    index = next(i for i in range(len(keys)) if dataset.away(i, 1.0) > 0)
    dataset = SlabDataset(phantoms, keys, InputSpec(), training=TrainingSpec(z_shift=1.0))
    monkeypatch.setattr("napari_uld.training.data.slab_dataset.slices_on_disk", lambda *_: [keys[index].number])
    assert dataset.away(index, 1.0) == 0


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_known_negatives_and_true_boxes_move_with_their_image(phantoms: Path, flip: float) -> None:
    key = annotated_slices(phantoms, "all")[0]
    dataset = SlabDataset(phantoms, [key], InputSpec(), training=TrainingSpec(horizontal_flip=flip))
    dataset.first_negatives, dataset.truth = {0: key.boxes}, TrueBoxes(phantoms)
    _, target = dataset[0]
    assert torch.equal(target["negatives"], target["boxes"])
    true = target["true_boxes"]
    assert len(true) >= len(target["boxes"])
    distance = (true[:, None] - target["boxes"]).abs().amax(dim=2)
    assert float(distance.min(dim=0).values.max()) < 0.05
    assert "true_boxes" not in SlabDataset(phantoms, [key], InputSpec())[0][1]


def test_a_negative_is_not_shown_on_a_slice_that_it_was_not_mined_on(
    phantoms: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = annotated_slices(phantoms, "all")[0]
    dataset = SlabDataset(phantoms, [key], InputSpec())
    dataset.first_negatives = {0: key.boxes}
    assert "negatives" in dataset[0][1]
    monkeypatch.setattr(dataset, "away", lambda *_: 1)
    assert "negatives" not in dataset[0][1]
