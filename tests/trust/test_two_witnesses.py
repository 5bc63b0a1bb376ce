"""A header's second witness of millimetres: units are used, and what contradicts itself is refused with both values."""

import numpy as np
import pytest

from napari_uld.ct import read_scan
from napari_uld.errors import GeometryError

from .image_files import LPS_TO_RAS, SPACING, body, metaimage, nifti, nrrd, write

AFFINE = LPS_TO_RAS @ np.diag([*SPACING, 1.0])


def scaled(*factors):
    return AFFINE @ np.diag([*factors, 1.0])


@pytest.mark.parametrize(
    ("changes", "values"),
    [
        ({"sform": scaled(1, 1, 2), "qform": AFFINE}, "0.75 x 0.5 x 4 mm by the sform, of 0.75 x 0.5 x 2 mm by pixdim"),
        ({"sform": LPS_TO_RAS, "qform": AFFINE}, "1 x 1 x 1 mm by the sform, of 0.75 x 0.5 x 2 mm by pixdim"),
        (
            {"sform": AFFINE, "pixdim": (0.75, 0.75, 2)},
            "0.75 x 0.5 x 2 mm by the sform, of 0.75 x 0.75 x 2 mm by pixdim",
        ),
        ({"sform": scaled(1, 1, 1.01)}, "0.75 x 0.5 x 2.02 mm by the sform, of 0.75 x 0.5 x 2 mm by pixdim"),
    ],
)
def test_spacings_that_contradict_one_another_are_refused_with_both(tmp_path, changes, values):
    with pytest.raises(GeometryError, match=f"contradicts itself: voxels of {values}"):
        read_scan(write(tmp_path / "scan.nii", nifti(**changes)))


@pytest.mark.parametrize("pixdim", [(0, 0, 0), (1, 1, 1)])
def test_a_pixdim_that_was_never_set_is_no_witness_but_said(tmp_path, pixdim):
    volume = read_scan(write(tmp_path / "scan.nii", nifti(pixdim=pixdim)))
    assert volume.spacing == (2.0, 0.5, 0.75)
    assert "those of the sform taken" in volume.corrections[0]


def test_spacings_that_differ_by_rounding_alone_agree(tmp_path):
    volume = read_scan(write(tmp_path / "scan.nii", nifti(sform=scaled(1.0003, 1.0003, 1.0003), qform=AFFINE)))
    assert volume.corrections == ()


def test_a_mirrored_qform_is_refused(tmp_path):
    with pytest.raises(GeometryError, match="mirror image"):
        read_scan(write(tmp_path / "scan.nii", nifti(sform=AFFINE, qform=scaled(-1, 1, 1))))


def test_two_places_are_told_with_both(tmp_path):
    other = AFFINE.copy()
    other[:3, 3] = [0, 0, 30]
    volume = read_scan(write(tmp_path / "scan.nii", nifti(sform=AFFINE, qform=other)))
    (said,) = volume.corrections
    assert "30.0 mm apart (first voxel at 0 x 0 x 0 and at 0 x 0 x 30 mm): the sform taken" in said
    assert volume.origin == (0.0, 0.0, 0.0)


def test_a_qform_alone_is_taken_with_its_pixdim(tmp_path):
    volume = read_scan(write(tmp_path / "scan.nii", nifti(qform=AFFINE)))
    assert (volume.spacing, volume.corrections) == ((2.0, 0.5, 0.75), ())


@pytest.mark.parametrize(("unit", "millimetres", "name"), [(1, 1000, "metres"), (3, 1e-3, "micrometres")])
def test_a_niftis_units_are_used_and_said(tmp_path, unit, millimetres, name):
    affine = np.diag([1 / millimetres] * 3 + [1.0]) @ AFFINE
    affine[:3, 3] = np.array([10, 20, 30]) / millimetres
    pixdim = np.array(SPACING) / millimetres
    volume = read_scan(write(tmp_path / "scan.nii", nifti(sform=affine, pixdim=pixdim, unit=unit)))
    np.testing.assert_allclose(volume.spacing, (2.0, 0.5, 0.75), rtol=1e-6)
    np.testing.assert_allclose(volume.origin, (-10, -20, 30), rtol=1e-6)
    assert volume.corrections == (f"the file measures in {name}: turned to millimetres",)


@pytest.mark.parametrize("unit", [1, 3])
def test_a_unit_that_makes_no_ct_is_refused(tmp_path, unit):
    with pytest.raises(GeometryError, match="a CT has 0.01 to 50 mm"):
        read_scan(write(tmp_path / "scan.nii", nifti(unit=unit)))


def test_an_unknown_unit_is_refused(tmp_path):
    with pytest.raises(GeometryError, match="unit code 5 is unknown"):
        read_scan(write(tmp_path / "scan.nii", nifti(unit=5)))


@pytest.mark.parametrize(("unit", "millimetres"), [("um", 1e-3), ("cm", 10), ("m", 1000), ("mm", 1)])
def test_units_of_nrrd_and_metaimage_are_used_as_well(tmp_path, unit, millimetres):
    x, y, z = np.array(SPACING) / millimetres
    nrrd_file = nrrd(
        space_directions=f"({x},0,0) (0,{y},0) (0,0,{z})",
        space_origin="(0,0,0)",
        space_units=f'"{unit}" "{unit}" "{unit}"',
    )
    for name, data in {
        "scan.nrrd": nrrd_file,
        "scan.mha": metaimage(ElementSpacing=f"{x} {y} {z}", DistanceUnits=unit, Offset="0 0 0"),
    }.items():
        volume = read_scan(write(tmp_path / name, data))
        np.testing.assert_allclose(volume.spacing, (2.0, 0.5, 0.75), rtol=1e-6)
        assert bool(volume.corrections) == (unit != "mm")


def test_axis_ends_that_contradict_the_spacings_are_refused(tmp_path):
    plain = {"space": None, "space_directions": None, "space_origin": None, "axis_mins": "0 0 0"}
    file = write(tmp_path / "scan.nrrd", nrrd(**plain, spacings="0.75 0.5 2", axis_maxs="16 6 8"))
    with pytest.raises(GeometryError, match=r"tell spacings of \[1.0, 0.5, 2.0\], spacings \[0.75, 0.5, 2.0\]"):
        read_scan(file)
    assert read_scan(write(tmp_path / "b.nrrd", nrrd(**plain, spacings="0.75 0.5 2", axis_maxs="12 6 8"))).shape


def test_a_space_without_directions_is_refused(tmp_path):
    with pytest.raises(GeometryError, match="names a space but gives no space directions"):
        read_scan(write(tmp_path / "scan.nrrd", nrrd(space_directions=None, spacings="0.75 0.5 2")))


def test_a_metaimages_scaling_is_used_and_said(tmp_path):
    file = metaimage(body() + 1024, ElementToIntensityFunctionSlope="1", ElementToIntensityFunctionOffset="-1024")
    volume = read_scan(write(tmp_path / "scan.mha", file))
    np.testing.assert_array_equal(volume.hu, body())
    assert "plus -1024 taken as Hounsfield units" in volume.corrections[0]
