"""The pseudo masks of a whole data set: made on all cores, stored, and the same as those made on the fly."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from napari_uld.detectors.specs.inputs import InputSpec
from napari_uld.detectors.specs.two_stage import TwoStageSupervision
from napari_uld.errors import DataError, ScanError
from napari_uld.masks import MaskKind
from napari_uld.masks.lesion_mask import Origin
from napari_uld.progress import Progress, finish
from napari_uld.training.data import masks
from napari_uld.training.data.key_slices import KeySlice, annotated_slices
from napari_uld.training.data.mask_run import store_masks
from napari_uld.training.data.mask_store import MaskStore
from napari_uld.training.data.masks import lesion_masks
from napari_uld.training.data.slab_dataset import SlabDataset


@pytest.fixture(scope="module")
def data(phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Phantoms in a folder of their own: their masks are stored in it."""
    root = tmp_path_factory.mktemp("masks") / "set"
    shutil.copytree(phantoms, root)
    return root


@pytest.fixture
def slices(data: Path) -> list[KeySlice]:
    for kind in ("grabcut", "ellipse"):
        (data / "pseudo_masks" / f"{kind}.jsonl").unlink(missing_ok=True)
    return annotated_slices(data, "all")


@pytest.mark.parametrize("kind", [MaskKind.GRABCUT, MaskKind.ELLIPSE])
def test_training_gets_the_same_masks_with_and_without_a_store(
    data: Path, slices: list[KeySlice], kind: MaskKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    supervision = TwoStageSupervision(roi_branch=kind.value)
    made = SlabDataset(data, slices, InputSpec(), supervision)
    expected = [made.masks(index) for index in range(len(slices))]
    target = made[0][1]["masks"]
    report = finish(store_masks(data, slices, kind, 2))
    assert (report.lesions, report.made, report.taken_over) == (sum(map(len, expected)), report.lesions, 0)
    # From here on nothing can be made.
    monkeypatch.delattr(masks, "make_masks")
    stored = SlabDataset(data, slices, InputSpec(), supervision)
    assert [stored.masks(index) for index in range(len(slices))] == expected
    assert np.array_equal(stored[0][1]["masks"], target)


def test_only_what_changed_is_made_again(data: Path, slices: list[KeySlice]) -> None:
    finish(store_masks(data, slices, "grabcut", 1))
    path = MaskStore(data, MaskKind.GRABCUT).path
    before = path.read_bytes()
    again = finish(store_masks(data, slices, "grabcut", 1))
    assert (again.made, again.taken_over) == (0, again.lesions)
    assert path.read_bytes() == before
    moved = [replace(slices[0], boxes=slices[0].boxes + 1), *slices[1:]]
    third = finish(store_masks(data, moved, "grabcut", 1))
    assert third.made == len(slices[0].boxes)
    assert third.taken_over == third.lesions - third.made
    assert path.read_bytes().startswith(before)
    assert lesion_masks(data, moved[0], MaskStore(data, MaskKind.GRABCUT)) == lesion_masks(
        data, moved[0], MaskStore(data.parent, MaskKind.GRABCUT)
    )


def test_a_run_that_was_cut_off_is_gone_on_with(data: Path, slices: list[KeySlice]) -> None:
    many = slices * 20
    work = store_masks(data, many, "grabcut", 1)
    step = next(work)
    while step.done == 0:
        step = next(work)
    work.close()
    assert step.done < step.total
    path = MaskStore(data, MaskKind.GRABCUT).path
    whole = path.read_bytes()
    kept = whole.splitlines(keepends=True)
    assert sum(len(json.loads(line)["lesions"]) for line in kept) >= step.done
    # The last line is torn, too.
    path.write_bytes(b"".join(kept[:-1]) + kept[-1][:-20])
    report = finish(store_masks(data, slices, "grabcut", 1))
    assert report.taken_over > 0
    assert report.made >= len(json.loads(kept[-1])["lesions"])
    assert report.made + report.taken_over == report.lesions
    finish(store_masks(data, slices, "grabcut", 1))
    assert set(MaskStore(data, MaskKind.GRABCUT).slices) >= {json.loads(line)["hash"] for line in kept}


def test_progress_counts_lesions(data: Path, slices: list[KeySlice]) -> None:
    steps: list[Progress] = []
    report = finish(store_masks(data, slices, "ellipse"), steps.append)
    assert steps[0] == Progress(0, report.lesions, "masks")
    assert steps[-1] == Progress(report.lesions, report.lesions, "masks")
    assert all(a.done <= b.done for a, b in zip(steps, steps[1:], strict=False))


def test_the_report_counts_what_fell_back_and_why(data: Path, slices: list[KeySlice]) -> None:
    (key, *_) = slices
    outside = np.array([[-50.0, -50, -10, -10]])
    odd = replace(
        key, boxes=np.concatenate([key.boxes[:1], key.boxes[:1], outside]), recists=(key.recists[0], None, None)
    )
    assert finish(store_masks(data, [odd], "grabcut", 1)).to_dict()["run"] | {"seconds": 0} == {
        "key slices": 1,
        "lesions": 3,
        "made now": 3,
        "taken over": 0,
        "seconds": 0,
    }
    again = finish(store_masks(data, [odd], "grabcut", 1))
    assert again.origins == {
        (Origin.GRABCUT, ""): 1,
        (Origin.ELLIPSE_IN_BOX, "no measurement"): 1,
        (Origin.NONE, "no measurement, and no ellipse in the box"): 1,
    }
    assert again.of_origins()[0] == {"mask": "grabcut", "because of": "", "lesions": 1}


def test_an_unreadable_image_is_named_and_the_masks_of_all_others_are_stored(
    data: Path, slices: list[KeySlice]
) -> None:
    gone = replace(slices[0], number=999)
    with pytest.raises(ScanError, match=r"1 of 3 key slices cannot be read.*999\.png"):
        finish(store_masks(data, [gone, *slices[:2]], "grabcut", 1))
    assert len(MaskStore(data, MaskKind.GRABCUT).slices) == 2


@pytest.mark.parametrize("kind", ["bm", "abm", "magic"])
def test_kinds_that_are_not_stored_are_refused(data: Path, slices: list[KeySlice], kind: str) -> None:
    with pytest.raises(DataError, match="choose grabcut or ellipse"):
        finish(store_masks(data, slices, kind))
