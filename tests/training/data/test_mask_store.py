"""Stored pseudo masks: what is taken, what is made again, and what a damaged store says."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from napari_uld.errors import DataError
from napari_uld.lesions.recist import Recist
from napari_uld.lesions.rle import Rle, encode
from napari_uld.masks import MaskKind
from napari_uld.masks.lesion_mask import Origin
from napari_uld.training.data import mask_store
from napari_uld.training.data.key_slices import KeySlice
from napari_uld.training.data.mask_store import LesionMask, MaskStore, StoredSlice, append, fingerprint

HU = np.arange(48, dtype=np.int16).reshape(6, 8)
MEASURED = Recist.from_points([1, 2, 5, 2, 3, 1, 3, 4])
KEY = KeySlice("000001_01_01", 5, (2.0, 0.8, 0.8), np.array([[0.0, 0, 6, 5]]), (MEASURED,), (-160.0, 240.0))
NAME = fingerprint(HU, KEY, MaskKind.GRABCUT)


def stored(name: str = NAME) -> StoredSlice:
    mask = np.zeros((6, 8), bool)
    mask[2:4, 1:5] = True
    return StoredSlice("000001_01_01", 5, name, (LesionMask(encode(mask), Origin.ELLIPSE, "nothing left by GrabCut"),))


@pytest.fixture
def store(tmp_path: Path) -> MaskStore:
    append(mask_store.store_path(tmp_path, MaskKind.GRABCUT), [stored()])
    return MaskStore(tmp_path, MaskKind.GRABCUT)


def test_what_is_stored_is_found_by_what_it_was_made_from(store: MaskStore) -> None:
    assert store.slices == {NAME: stored()}
    assert store.find(NAME, 1, (6, 8)) == stored().lesions
    assert store.find("0" * 64, 1, (6, 8)) is None


def test_a_data_set_without_a_store_has_an_empty_one(tmp_path: Path) -> None:
    assert MaskStore(tmp_path, MaskKind.ELLIPSE).slices == {}
    assert list(tmp_path.iterdir()) == [], "reading makes nothing"


@pytest.mark.parametrize(
    "changed",
    [
        replace(KEY, boxes=KEY.boxes + 0.001),
        replace(KEY, recists=(None,)),
        replace(KEY, recists=(Recist.from_points([1, 2, 5, 2, 3, 1, 3, 4.001]),)),
        replace(KEY, window=(-160.0, 241.0)),
        replace(KEY, boxes=np.tile(KEY.boxes, (2, 1)), recists=(MEASURED, MEASURED)),
    ],
)
def test_whatever_changes_about_the_lesions_changes_the_fingerprint(changed: KeySlice) -> None:
    assert fingerprint(HU, changed, MaskKind.GRABCUT) != NAME


@pytest.mark.parametrize("constant", ["MASK_VERSION", "ITERATIONS", "MARGIN"])
def test_the_algorithm_its_parameters_and_the_pixels_are_part_of_the_fingerprint(
    constant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    brighter = HU.copy()
    brighter[5, 7] += 1
    assert fingerprint(brighter, KEY, MaskKind.GRABCUT) != NAME
    assert fingerprint(HU.reshape(8, 6), KEY, MaskKind.GRABCUT) != NAME
    assert fingerprint(HU, KEY, MaskKind.ELLIPSE) != NAME
    monkeypatch.setattr(mask_store, constant, 99)
    assert fingerprint(HU, KEY, MaskKind.GRABCUT) != NAME


def test_names_and_corrections_are_no_part_of_the_fingerprint() -> None:
    other = replace(KEY, series="000009_01_01", number=7, corrected={0: Rle((6, 8), (48,))})
    assert fingerprint(HU, other, MaskKind.GRABCUT) == NAME


@pytest.mark.parametrize("length", [1, 40, -1])
def test_a_torn_last_line_is_passed_over_and_removed_by_the_next(store: MaskStore, length: int) -> None:
    whole = store.path.read_bytes()
    store.path.write_bytes(whole + whole[:length])
    again = MaskStore(store.path.parents[1], MaskKind.GRABCUT)
    assert again.slices == store.slices
    other = stored("a" * 64)
    append(store.path, [other])
    assert MaskStore(store.path.parents[1], MaskKind.GRABCUT).slices == {NAME: stored(), "a" * 64: other}
    assert store.path.read_bytes().startswith(whole)
    assert store.path.read_bytes().count(b"\n") == 2


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('"counts":[', '"counts":[1,', "sum to 6 x 8"),
        ('"shape":[6,8]', '"shape":[6,-8]', "non-negative"),
        ('"origin":"ellipse"', '"origin":"oracle"', "origin"),
        (f'"hash":"{NAME}"', '"hash":"123"', "hash"),
        ('"slice":5', '"slice":"5"', "slice"),
        ('"reason"', '"because"', "reason"),
        ("{", "[", "JSON"),
        ("ellipse", "\x00\xff", "JSON"),
    ],
)
def test_a_damaged_line_is_named_with_the_file_and_what_to_do(store: MaskStore, old: str, new: str, told: str) -> None:
    whole = store.path.read_bytes()
    assert old.encode() in whole
    store.path.write_bytes(whole + whole.replace(old.encode(), new.encode("latin-1"), 1))
    with pytest.raises(DataError) as refused:
        MaskStore(store.path.parents[1], MaskKind.GRABCUT)
    sentence = str(refused.value)
    assert f"{store.path}, line 2" in sentence
    assert told in sentence
    assert f"run `napari-uld masks {store.path.parents[1]} --kind grabcut` again" in sentence


@pytest.mark.parametrize(("lesions", "shape"), [(2, (6, 8)), (0, (6, 8)), (1, (8, 6))])
def test_masks_that_do_not_fit_their_slice_are_refused(store: MaskStore, lesions: int, shape: tuple[int, int]) -> None:
    with pytest.raises(DataError, match="line of 000001_01_01 slice 5: found masks of"):
        store.find(NAME, lesions, shape)


def test_a_store_that_cannot_be_read_or_written_says_so(tmp_path: Path) -> None:
    path = mask_store.store_path(tmp_path, MaskKind.GRABCUT)
    path.mkdir(parents=True)
    with pytest.raises(DataError, match=r"grabcut\.jsonl cannot be read"):
        MaskStore(tmp_path, MaskKind.GRABCUT)
    with pytest.raises(DataError, match=r"Cannot write .*grabcut\.jsonl"):
        append(path, [stored()])
