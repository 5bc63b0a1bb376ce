"""What cannot be Hounsfield units is refused by its name, in DICOM and image files alike; what may be is opened."""

from pathlib import Path

import numpy as np
import pytest

from napari_uld.ct import find_scans, read_entry, read_scan
from napari_uld.ct.plausibility import check_hu
from napari_uld.errors import UnsupportedScanError

from .image_files import body, ct_series, metaimage, nifti, nrrd, write

DATA = Path(__file__).parents[2].parent / "shared" / "data"
SHAPE = (12, 64, 64)
RNG = np.random.default_rng(0)
LEFT = np.arange(64) < 20
CT = np.where(LEFT, -1000, 40) + RNG.normal(0, 12, SHAPE)
MASK = np.zeros(SHAPE)
MASK[3:8, 10:40, 10:30] = 1
ORGANS = np.add.outer(np.add.outer(np.arange(12) // 3 * 16, np.arange(64) // 16 * 4), np.arange(64) // 16)
WINDOWED = ((CT + 160) * 255 / 400).clip(0, 255)
ACTIVE = np.zeros(SHAPE)
ACTIVE[4:8, 20:30, 20:30] = 12


def hu(values):
    return np.rint(values).clip(-32768, 32767).astype(np.int16)


NO_CT = {
    "noise over the whole range": (RNG.integers(-32768, 32768, SHAPE), "noise"),
    "broad noise": (RNG.normal(0, 9000, SHAPE), "noise"),
    "a CT in the wrong byte order": (hu(CT).byteswap(), "wrong byte order"),
    "a mask of 0 and 255": (MASK * 255, "label mask"),
    "a mask of 0 and 1": (MASK, "label mask"),
    "a mask of -1 and 1": (MASK * 2 - 1, "label mask"),
    "a mask with an intercept": (MASK * 255 - 1024, "label mask"),
    "many organs": (ORGANS, "label mask"),
    "many organs with an intercept": (ORGANS - 1024, "label mask"),
    "organs without background": (ORGANS % 6 + 1, "label mask"),
    "organs beyond 8 bits": (ORGANS * 100, "label mask"),
    "nothing": (np.zeros(SHAPE), "empty image"),
    "a statistics map": ((RNG.normal(0, 1.5, SHAPE) + ACTIVE).clip(-9, 19), "statistics map"),
    "a broader statistics map": ((RNG.normal(0, 3, SHAPE) + ACTIVE).clip(-9, 19), "statistics map"),
    "statistics within a brain": (np.where(LEFT, 0, RNG.normal(0, 4, SHAPE)).clip(-9, 19), "statistics map"),
    "evenly spread numbers": (RNG.uniform(-9, 19, SHAPE), "statistics map"),
    "z scores": (RNG.normal(0, 1, SHAPE), "statistics map"),
    "a windowed CT": (WINDOWED, "8-bit grey image"),
    "a windowed CT with an intercept": (WINDOWED - 1024, "8-bit grey image"),
    "a photograph": (
        128 + 127 * np.sin(np.add.outer(np.arange(12), np.add.outer(np.arange(64), np.arange(64)) / 9)),
        "grey",
    ),
    "a 16-bit picture": (RNG.normal(30000, 1000, SHAPE), "grey image"),
}
MAY_BE_CT = {
    "air and tissue": CT,
    "a piece of liver": RNG.normal(55, 12, SHAPE),
    "a piece of liver in thick slices": RNG.normal(55, 4, SHAPE),
    "a piece in steps of ten": np.rint(RNG.normal(50, 15, SHAPE) / 10) * 10,
    "fat and tissue in steps of 25": np.rint((np.where(LEFT, -100, 40) + RNG.normal(0, 30, SHAPE)) / 25) * 25,
    "a piece of tissue beside a cyst": np.where(LEFT, 6, 36) + RNG.normal(0, 4, SHAPE),
    "a cyst": RNG.normal(8, 8, SHAPE),
    "a water phantom": RNG.normal(0, 4, SHAPE),
    "a noisy water phantom": RNG.normal(-2, 12, SHAPE),
    "air alone": RNG.normal(-1000, 15, SHAPE).clip(-1024),
    "air without noise": np.full(SHAPE, -1000),
    "lung": RNG.normal(-850, 60, SHAPE),
    "a phantom without noise": np.where(LEFT, -1000, 0) * np.ones(SHAPE),
    "padding at -3024": np.where(np.arange(64) > 50, -3024, CT),
    "padding at the lowest number": np.where(np.arange(64) > 50, -32768, CT),
    "padding of two kinds": np.where(np.arange(64) > 50, -3024, np.where(np.arange(64) > 45, -2000, CT)),
    "metal": CT + ACTIVE * 1500,
    "metal's streaks": np.where(RNG.random(SHAPE) < 0.02, -3000, CT),
    "twelve bits without intercept": CT + 1024,
}


@pytest.mark.parametrize("name", NO_CT)
def test_what_cannot_be_hounsfield_units_is_called_by_its_name(name):
    values, what = NO_CT[name]
    with pytest.raises(UnsupportedScanError, match=f"scan looks like .*{what}.*; a CT in Hounsfield units is required"):
        check_hu(hu(values), Path("scan"))


@pytest.mark.parametrize("name", MAY_BE_CT)
def test_what_may_be_hounsfield_units_is_let_through(name):
    check_hu(hu(MAY_BE_CT[name]), Path("scan"))


@pytest.mark.parametrize("name", ["a mask of 0 and 255", "a windowed CT", "many organs"])
def test_dicom_and_image_files_are_judged_alike(tmp_path, name):
    values, what = hu(NO_CT[name][0]), NO_CT[name][1]
    paths = [
        ct_series(tmp_path / "dicom", values.astype(np.uint16), intercept=0),
        write(tmp_path / "scan.nii", nifti(values)),
        write(tmp_path / "scan.nrrd", nrrd(values)),
        write(tmp_path / "scan.mha", metaimage(values.astype(np.uint8))),
    ]
    for path in paths:
        with pytest.raises(UnsupportedScanError, match=what):
            read_scan(path)


def test_noise_with_modality_ct_is_refused(tmp_path):
    noise = RNG.integers(0, 65536, (4, 32, 32)).astype(np.uint16)
    with pytest.raises(UnsupportedScanError, match="noise"):
        read_scan(ct_series(tmp_path, noise, intercept=-32768))


@pytest.mark.parametrize(("intent", "what"), [(3, "statistics map"), (5, "statistics map"), (1002, "label mask")])
def test_a_nifti_that_says_itself_that_it_is_no_scan_is_believed(tmp_path, intent, what):
    with pytest.raises(UnsupportedScanError, match=f"says that it is a {what}"):
        read_scan(write(tmp_path / "scan.nii", nifti(intent=intent)))


def test_voxels_without_a_value_are_no_witness_of_air(tmp_path):
    values = np.where(LEFT, np.nan, RNG.normal(0, 1, SHAPE)).astype(np.float32)
    with pytest.raises(UnsupportedScanError, match="statistics map"):
        read_scan(write(tmp_path / "scan.nii", nifti(values)))
    with pytest.raises(UnsupportedScanError, match="no voxel has a value"):
        read_scan(write(tmp_path / "empty.nii", nifti(np.full(SHAPE, np.nan, np.float32))))


def test_a_mask_in_a_corner_of_a_large_volume_is_found(tmp_path):
    values = np.zeros((40, 160, 160), np.int16)
    values[1, 3:5, 3:5] = 1
    with pytest.raises(UnsupportedScanError, match="label mask"):
        check_hu(values, Path("scan"))


def test_a_few_voxels_of_tissue_in_a_large_flat_volume_are_enough(tmp_path):
    values = np.full((40, 160, 160), -1000, np.int16)
    values[1, 3:5, 3:5] = 40
    check_hu(values, Path("scan"))


@pytest.mark.skipif(not DATA.is_dir(), reason=f"the real data is not at {DATA}")
def test_pieces_of_real_scans_are_let_through():
    rng = np.random.default_rng(0)
    for entry in [*find_scans(DATA / "deeplesion")][:2] + [*find_scans(DATA / "ct" / "totalseg_small.nii.gz")]:
        whole = read_entry(entry).hu
        for size in (8, 16, 32) * 30:
            start = [int(rng.integers(max(1, length - size))) for length in whole.shape]
            piece = whole[tuple(slice(at, at + size) for at in start)]
            check_hu(np.ascontiguousarray(piece), entry.path)


def test_the_builders_body_is_a_ct():
    check_hu(body(), Path("scan"))
