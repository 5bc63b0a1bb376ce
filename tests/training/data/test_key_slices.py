"""Which key slices a data set has, and the slabs and targets made of them."""

from pathlib import Path

import numpy as np
import pytest
import torch

from napari_uld.detectors.spec import InputSpec, SupervisionSpec
from napari_uld.errors import DataError
from napari_uld.training.data.key_slices import SlabDataset, annotated_slices, inside, read_slab, true_slices
from napari_uld.training.data.phantom import read_truth
from napari_uld.training.data.targets import make_target

REAL = Path(__file__).parents[4] / "shared" / "data" / "deeplesion"
BMC = SupervisionSpec(objectness="bmc", regression="bmc", roi_branch="abm")


def test_the_splits_share_no_patient_and_make_up_the_whole(phantoms: Path) -> None:
    parts = {split: annotated_slices(phantoms, split) for split in ("train", "val", "test")}
    patients = [{key.patient for key in keys} for keys in parts.values()]
    assert not patients[0] & patients[1] | patients[0] & patients[2] | patients[1] & patients[2]
    assert sum(len(keys) for keys in parts.values()) == len(annotated_slices(phantoms, "all"))


def test_the_whole_truth_holds_every_lesion_and_more_than_the_table(phantoms: Path) -> None:
    true, listed = true_slices(phantoms, "all"), annotated_slices(phantoms, "all")
    count = sum(len(read_truth(phantoms, series)) for series in {key.series for key in true})
    hit = {(key.series, key.number) for key in true}
    assert sum(len(key.boxes) for key in true) >= count
    assert {(key.series, key.number) for key in listed} <= hit
    assert sum(len(k.boxes) for k in listed) < count


def test_a_listed_lesion_has_the_same_box_in_the_table_and_in_the_truth(phantoms: Path) -> None:
    true = {(key.series, key.number): key.boxes for key in true_slices(phantoms, "all")}
    for key in annotated_slices(phantoms, "all"):
        distance = np.abs(key.boxes[:, None] - true[key.series, key.number][None]).max(axis=2).min(axis=1)
        assert (distance < 0.01).all()


def test_reading_only_the_slices_needed_gives_the_slab_of_the_whole_scan(phantoms: Path) -> None:
    from napari_uld.ct import read_scan
    from napari_uld.inference.slabs import extract_slab

    key = annotated_slices(phantoms, "all")[0]
    spec = InputSpec(slices=5)
    volume = read_scan(phantoms / "Images_png" / key.series)
    whole = extract_slab(volume.hu, volume.spacing, volume.z_of(key.number), spec)
    part = read_slab(phantoms, key, spec)
    assert np.array_equal(part.hu, whole.hu)
    assert part.offset == whole.offset


def test_a_flipped_image_carries_its_box_along(phantoms: Path) -> None:
    keys = annotated_slices(phantoms, "all")[:1]
    plain, plain_target = SlabDataset(phantoms, keys, InputSpec())[0]
    flipped, target = SlabDataset(phantoms, keys, InputSpec(), flips=(1.0, 1.0))[0]
    assert torch.equal(flipped, plain.flip(1, 2))
    width, height = plain.shape[2], plain.shape[1]
    x1, y1, x2, y2 = plain_target["boxes"][0].tolist()
    assert target["boxes"][0].tolist() == pytest.approx([width - x2, height - y2, width - x1, height - y1], abs=1e-3)


def test_targets_carry_only_the_maps_that_the_supervision_asks_for() -> None:
    boxes, spec = np.array([[10.0, 10, 30, 20]]), InputSpec(long_side=256)
    assert set(make_target(boxes, (40, 50), spec, SupervisionSpec())) == {"boxes", "labels"}
    target = make_target(boxes, (40, 50), spec, BMC)
    assert set(target) == {"boxes", "labels", "bm", "lesion_bms", "abm"}
    assert target["bm"].shape == (40, 50)
    # 20 x 10 px at 256 px is 800 px^2 at 512 px: between 250 and 1000, so the ABM is the BM.
    assert torch.equal(target["abm"], target["bm"])
    # At 512 px it is 200 px^2: small, so the ABM is flat.
    flat = make_target(boxes, (40, 50), InputSpec(), BMC)["abm"]
    assert set(flat.unique().tolist()) == {0.0, 1.0}


def test_folders_without_data_and_unknown_splits_are_refused(phantoms: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"DL_info\.csv"):
        annotated_slices(tmp_path, "all")
    with pytest.raises(DataError, match="split"):
        annotated_slices(phantoms, "holiday")  # type: ignore[arg-type]


@pytest.mark.skipif(not REAL.is_dir(), reason="the real DeepLesion series are not here")
def test_only_real_key_slices_on_disk_are_offered() -> None:
    keys = annotated_slices(REAL, "test")
    assert [(key.series, key.number) for key in keys] == [
        ("000001_01_01", 109),
        ("000001_02_01", 14),
        ("000001_02_01", 17),
        ("000001_03_01", 88),
    ]
    assert keys[3].diameters[0] == pytest.approx(24.1998 * 0.732422, abs=0.01)
    slab = read_slab(REAL, keys[3], InputSpec())
    ((x1, y1, x2, y2),) = slab.to_network(keys[3].boxes)
    assert 0 <= x1 < x2 <= slab.hu.shape[2]
    assert 0 <= y1 < y2 <= slab.hu.shape[1]


def test_boxes_are_cut_off_at_the_border_and_dropped_outside_it() -> None:
    boxes = np.array([[-5.0, 2, 10, 8], [30, 30, 40, 40], [60, 0, 70, 10]])
    assert inside(boxes, (35, 50)).tolist() == [[0, 2, 10, 8], [30, 30, 40, 35]]
