"""Which key slices a data set has, and the slabs around them."""

import csv
from pathlib import Path

import numpy as np
import pytest

from napari_uld.ct.dl_info import read_dl_info
from napari_uld.detectors.specs.inputs import InputSpec
from napari_uld.errors import DataError
from napari_uld.lesions.annotations import LesionType
from napari_uld.lesions.recist import Recist
from napari_uld.training.data.key_slices import KeySlice, annotated_slices, read_slab, true_slices
from napari_uld.training.data.phantom import read_truth

REAL = Path(__file__).parents[4] / "shared" / "data" / "deeplesion"


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


def test_lesions_have_the_types_of_the_truth_and_those_of_the_table(phantoms: Path) -> None:
    for key in true_slices(phantoms, "all"):
        cut = [lesion for lesion in read_truth(phantoms, key.series) if key.number in lesion.boxes]
        assert key.types == tuple(lesion.lesion_type for lesion in cut)
    # DeepLesion's table knows no types of what is there for training.
    types = {split: {t for key in annotated_slices(phantoms, split) for t in key.types} for split in ("train", "test")}
    assert types["train"] == {LesionType.UNKNOWN}
    assert LesionType.UNKNOWN not in types["test"]


def test_a_slice_lies_where_the_table_says_along_the_body(phantoms: Path) -> None:
    info = read_dl_info(phantoms / "DL_info.csv")
    along = {(row.series, row.key_slice): row.numbers["Normalized_lesion_location"][2] for row in info.rows}
    keys = annotated_slices(phantoms, "all")
    assert {key.position for key in keys} == set(along.values())
    assert all(key.position == along[key.series, key.number] for key in keys)


def test_where_the_table_leaves_the_location_blank_nothing_is_known_of_it(tmp_path: Path, phantoms: Path) -> None:
    (tmp_path / "Images_png").symlink_to(phantoms / "Images_png")
    header, *rows = (phantoms / "DL_info.csv").read_text().splitlines()
    location = list(csv.reader([rows[0]]))[0][header.split(",").index("Normalized_lesion_location")]
    text = "\n".join([header, rows[0].replace(location, "NaN, NaN, NaN"), *rows[1:]])
    (tmp_path / "DL_info.csv").write_text(text)
    first = read_dl_info(tmp_path / "DL_info.csv").rows[0]
    positions = {(key.series, key.number): key.position for key in annotated_slices(tmp_path, "all")}
    assert positions[first.series, first.key_slice] is None
    assert None not in [positions[place] for place in positions if place != (first.series, first.key_slice)]


def test_reading_only_the_slices_needed_gives_the_slab_of_the_whole_scan(phantoms: Path) -> None:
    from napari_uld.ct import read_scan
    from napari_uld.inference.slabs import extract_slab

    key = annotated_slices(phantoms, "all")[0]
    spec = InputSpec(slices=9)
    volume = read_scan(phantoms / "Images_png" / key.series)
    whole = extract_slab(volume.hu, volume.spacing, volume.z_of(key.number), spec)
    part = read_slab(phantoms, key, spec)
    assert np.array_equal(part.hu, whole.hu)
    assert part.axes == whole.axes


@pytest.mark.parametrize("interpolate", [True, False])
def test_of_a_thick_scan_too_all_slices_that_a_slab_needs_are_read(phantoms: Path, interpolate: bool) -> None:
    from napari_uld.ct import read_scan
    from napari_uld.inference.slabs import extract_slab

    # Where thick slices are not interpolated four to either side are needed; else two are enough.
    key = next(key for key in annotated_slices(phantoms, "all") if key.spacing[0] >= 4)
    spec = InputSpec(slices=9, interpolate_thick=interpolate)
    volume = read_scan(phantoms / "Images_png" / key.series)
    whole = extract_slab(volume.hu, volume.spacing, volume.z_of(key.number), spec)
    assert np.allclose(read_slab(phantoms, key, spec).hu, whole.hu, atol=0.01)


def test_a_diameter_is_the_measured_one_in_millimetres_and_nan_where_nobody_measured() -> None:
    measured = Recist.from_points([0, 0, 30, 40, 10, 0, 10, 20])
    key = KeySlice("000007_01_02", 5, (2.0, 0.8, 0.8), np.zeros((2, 4)), (measured, None), (-175.0, 275.0))
    assert key.diameters == pytest.approx([40, np.nan], nan_ok=True)
    assert key.patient == "000007"


def test_every_lesion_of_phantoms_is_measured_and_its_box_is_the_measurements(phantoms: Path) -> None:
    for key in annotated_slices(phantoms, "all"):
        assert len(key.recists) == len(key.boxes)
        for recist, box in zip(key.recists, key.boxes, strict=True):
            assert recist is not None
            assert recist.box() == pytest.approx(box, abs=0.01)


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
    ((x1, y1, x2, y2),) = slab.axes.to_network(keys[3].boxes)
    assert 0 <= x1 < x2 <= slab.hu.shape[2]
    assert 0 <= y1 < y2 <= slab.hu.shape[1]
