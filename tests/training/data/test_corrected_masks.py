"""A mask that a person corrected, all the way from the annotation to what the network is taught."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from napari_uld.ct.deeplesion import read_slices
from napari_uld.ct.dl_info import read_dl_info
from napari_uld.detectors.specs.inputs import InputSpec
from napari_uld.detectors.specs.two_stage import TwoStageSupervision
from napari_uld.errors import DataError
from napari_uld.lesions.annotations import Annotations, Source
from napari_uld.lesions.deeplesion import annotations_from_dl_info, write_dl_info
from napari_uld.lesions.rle import Rle, encode
from napari_uld.masks import MaskKind
from napari_uld.progress import finish
from napari_uld.training.data.key_slices import KeySlice, annotated_slices
from napari_uld.training.data.mask_run import store_masks
from napari_uld.training.data.mask_store import MaskStore
from napari_uld.training.data.masks import lesion_masks, to_slab
from napari_uld.training.data.slab_dataset import SlabDataset


@pytest.fixture
def data(phantoms: Path, tmp_path: Path) -> Path:
    root = tmp_path / "set"
    root.mkdir()
    shutil.copy(phantoms / "DL_info.csv", root)
    (root / "Images_png").symlink_to(phantoms / "Images_png", target_is_directory=True)
    return root


def correct(root: Path, key: KeySlice, mask: Rle, source: Source = Source.EXPERT) -> None:
    """Give the first lesion of a key slice a mask, as a person in the viewer would, and write the table."""
    info = read_dl_info(root / "DL_info.csv")
    table = Annotations(key.series, annotations_from_dl_info(info, key.series, key.series))
    first = next(lesion for lesion in table if lesion.key_slice == key.number)
    table.remove(first.id)
    table.add(replace(first, mask=mask, source=source))
    write_dl_info(info.path, info, {key.series: table})


def painted(root: Path, key: KeySlice) -> Rle:
    """A rectangle about the first lesion's middle, three pixels off."""
    mask = np.zeros(read_slices(root, key.series, [key.number]).hu.shape[1:], bool)
    x1, y1, x2, y2 = np.rint(key.boxes[0]).astype(int)
    mask[y1 + 3 : (y1 + y2) // 2, x1 : x2 - 3] = True
    return encode(mask)


@pytest.mark.parametrize("kind", [MaskKind.ELLIPSE, MaskKind.GRABCUT])
@pytest.mark.parametrize("stored", [False, True])
def test_an_annotators_mask_is_taught_instead_of_the_generated_one(data: Path, kind: MaskKind, stored: bool) -> None:
    keys = annotated_slices(data, "all")
    supervision = TwoStageSupervision(roi_branch=kind.value)
    before = SlabDataset(data, keys, InputSpec(), supervision)
    if stored:
        finish(store_masks(data, keys[:1], kind, 1))
    mask = painted(data, keys[0])
    correct(data, keys[0], mask)
    now = annotated_slices(data, "all")
    assert [dict(key.corrected) for key in now] == [{0: mask}] + [{}] * (len(keys) - 1)
    after = SlabDataset(data, now, InputSpec(), supervision)
    assert after.masks(0) == (mask, *before.masks(0)[1:])
    assert after.masks(1) == before.masks(1)
    target, old = after[0][1]["masks"], before[0][1]["masks"]
    assert np.array_equal(target[0], to_slab((mask,), after.slab(0))[0])
    assert not np.array_equal(target[0], old[0])
    assert np.array_equal(target[1:], old[1:])


def test_correcting_a_mask_makes_nothing_again(data: Path) -> None:
    key = annotated_slices(data, "all")[0]
    finish(store_masks(data, [key], "grabcut", 1))
    correct(data, key, painted(data, key))
    report = finish(store_masks(data, annotated_slices(data, "all")[:1], "grabcut", 1))
    assert report.made == 0


def test_the_mask_that_a_machines_lesion_came_with_is_not_taught(data: Path) -> None:
    key = annotated_slices(data, "all")[0]
    correct(data, key, painted(data, key), Source.MINED)
    (now, *_) = annotated_slices(data, "all")
    assert now.corrected == {}
    empty = MaskStore(data, MaskKind.ELLIPSE)
    assert lesion_masks(data, now, empty) == lesion_masks(data, key, empty)


def test_a_mask_of_another_size_than_its_image_is_refused_at_reading(data: Path) -> None:
    key = annotated_slices(data, "all")[0]
    correct(data, key, encode(np.ones((7, 9), bool)))
    with pytest.raises(DataError) as refused:
        annotated_slices(data, "all")
    assert f"{data / 'DL_info.csv'}, {key.series}_{key.number:03d}.png" in str(refused.value)
    assert "9 x 7 pixels" in str(refused.value)
    assert "512 x 512" in str(refused.value)
