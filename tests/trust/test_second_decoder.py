"""Voxels and geometry are those of SimpleITK, for every way of storing that both read; and a fuzzer finds no other."""

import gzip
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from napari_uld.ct.images import image_kind
from napari_uld.ct.metaimage import read_metaimage_header
from napari_uld.ct.nrrd import read_nrrd_header
from napari_uld.ct.stored import load

from .image_files import body, metaimage, nrrd, write

TYPES = {
    **{"int8": ("int8", "MET_CHAR"), "uint8": ("uchar", "MET_UCHAR"), "int16": ("short", "MET_SHORT")},
    **{"uint16": ("unsigned short", "MET_USHORT"), "int32": ("int", "MET_INT"), "uint32": ("uint", "MET_UINT")},
    **{"int64": ("longlong", "MET_LONG_LONG"), "uint64": ("uint64", "MET_ULONG_LONG")},
    **{"float32": ("float", "MET_FLOAT"), "float64": ("double", "MET_DOUBLE")},
}
ORDERS = {"<": ("little", "False"), ">": ("big", "True")}
VALUES = np.random.default_rng(3).integers(0, 100, (4, 12, 16))
PLAIN = {"space": None, "space_directions": None, "space_origin": None}
HU = body().tobytes()


def check_like_simpleitk(file, kind):
    """Compare voxels, spacing, origin and direction exactly."""
    assert image_kind(file) == kind
    header = (read_nrrd_header if kind == "nrrd" else read_metaimage_header)(file)
    values, _ = load(header.stored, file)
    image = sitk.ReadImage(str(file))
    expected = sitk.GetArrayFromImage(image)
    np.testing.assert_array_equal(values, expected)
    assert values.dtype.newbyteorder("=") == expected.dtype
    np.testing.assert_array_equal(header.spacing, image.GetSpacing())
    np.testing.assert_array_equal(header.origin, image.GetOrigin())
    np.testing.assert_array_equal(header.direction, np.reshape(image.GetDirection(), (3, 3)))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("dtype", TYPES)
def test_every_element_type_in_both_byte_orders(tmp_path, dtype, order):
    data = VALUES.astype(np.dtype(dtype).newbyteorder(order)).tobytes()
    kind, met = TYPES[dtype]
    endian, is_msb = ORDERS[order]
    write(tmp_path / "x.raw", data)
    file = write(tmp_path / "a.nhdr", nrrd(type=kind, endian=endian, data_file="x.raw"))
    check_like_simpleitk(file, "nrrd")
    header = metaimage(ElementType=met, BinaryDataByteOrderMSB=is_msb, ElementDataFile="x.raw")
    check_like_simpleitk(write(tmp_path / "a.mhd", header), "mha")


@pytest.mark.parametrize(
    ("changes", "data"),
    [
        ({}, HU),
        ({"space": "RAS"}, HU),
        ({"space": "right-anterior-superior"}, HU),
        ({"space": "LAS"}, HU),
        ({"space": "scanner-xyz"}, HU),
        ({"space_origin": None}, HU),
        ({"space_directions": "(0,0.5,0) (-0.6,0,0) (0,0,-2)"}, HU),
        ({"space_directions": "(0.6,0.8,0) (-1.6,1.2,0) (0,0,5)"}, HU),
        ({**PLAIN, "spacings": "0.5 0.6 2"}, HU),
        ({**PLAIN, "spacings": "-0.5 0.6 2"}, HU),
        ({**PLAIN, "spacings": "nan 0.6 2"}, HU),
        ({**PLAIN, "spacings": "0.5 0.6 2", "axis_mins": "10 20 30"}, HU),
        ({**PLAIN, "spacings": "0.5 0.6 2", "axis_mins": "10 20 30", "centers": "node node node"}, HU),
        (PLAIN, HU),
        ({"byte_skip": "4"}, b"abcd" + HU),
        ({"byte_skip": "-1"}, b"abcdef" + HU),
        ({"line_skip": "2", "byte_skip": "2"}, b"a\nb\ncd" + HU),
        ({"encoding": "gzip"}, gzip.compress(HU)),
        ({"encoding": "gz"}, gzip.compress(HU[:100]) + gzip.compress(HU[100:])),
        ({"encoding": "gzip", "byte_skip": "4"}, gzip.compress(b"abcd" + HU)),
        ({"encoding": "gzip", "byte_skip": "-1"}, gzip.compress(b"abcd" + HU)),
        ({"encoding": "gzip", "line_skip": "1"}, b"hey\n" + gzip.compress(HU)),
        ({"encoding": "ascii"}, " ".join(map(str, body().ravel())).encode()),
        ({"encoding": "hex"}, HU.hex().encode()),
    ],
)
@pytest.mark.parametrize("detached", [False, True])
def test_nrrd_in_every_space_and_encoding(tmp_path, changes, data, detached):
    header = nrrd(**changes, data_file="x.raw")
    if detached:
        write(tmp_path / "x.raw", data)
        check_like_simpleitk(write(tmp_path / "a.nhdr", header), "nrrd")
    else:
        header = header.replace(b"data file: x.raw\n", b"")
        check_like_simpleitk(write(tmp_path / "a.nrrd", header + data), "nrrd")


@pytest.mark.parametrize(
    "change", [(b"\n", b"\r\n"), (b"NRRD0005", b"NRRD00.01"), (b"type", b"# said\nkey:=value\nTYPE")]
)
def test_nrrd_with_other_line_ends_versions_and_comments(tmp_path, change):
    header = nrrd(data_file="x").replace(b"data file: x\n", b"").replace(*change)
    check_like_simpleitk(write(tmp_path / "a.nrrd", header + HU), "nrrd")


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"packed": True},
        {"TransformMatrix": "0 1 0 -1 0 0 0 0 1"},
        {"TransformMatrix": None, "Orientation": "0 1 0 -1 0 0 0 0 1", "CenterOfRotation": "5 5 5"},
        {"Offset": None, "Position": "1 2 3"},
        {"Offset": None, "Origin": "1 2 3"},
        {"ElementSpacing": None, "ElementSize": "0.5 0.6 2"},
        {"ElementSize": "0.5 0.6 3"},
        {"ElementSpacing": "-0.7 0.7 3"},
        {"AnatomicalOrientation": "RAI", "ElementMin": "-1024", "Comment": "a = b : c"},
        {"0008|0060": "CT", "my own": "words"},
        {"ElementSpacing": None, "Offset": None, "TransformMatrix": None, "ElementNumberOfChannels": "1"},
    ],
)
def test_metaimage_in_every_form(tmp_path, changes):
    check_like_simpleitk(write(tmp_path / "a.mha", metaimage(**changes)), "mha")


@pytest.mark.parametrize(("skip", "before"), [("3", b"abc"), ("-1", b"abcde"), ("0", b"")])
def test_metaimage_beside_its_voxels(tmp_path, skip, before):
    write(tmp_path / "x.raw", before + HU)
    check_like_simpleitk(write(tmp_path / "a.mhd", metaimage(HeaderSize=skip, ElementDataFile="x.raw")), "mha")


@pytest.mark.parametrize("extension", ["mha", "mhd", "nrrd", "nhdr"])
@pytest.mark.parametrize("packed", [False, True])
def test_what_simpleitk_writes_with_all_that_it_knows(tmp_path, extension, packed):
    image = sitk.GetImageFromArray(body())
    image.SetSpacing((0.7, 0.8, 2.5))
    image.SetOrigin((-1.5, 2.25, 1e-9))
    image.SetDirection((0.8, -0.6, 0, 0.6, 0.8, 0, 0, 0, 1))
    for key, value in {"0008|0060": "CT", "0010|0010": "A^B = C: D", "note": "two words"}.items():
        image.SetMetaData(key, value)
    sitk.WriteImage(image, str(tmp_path / f"a.{extension}"), packed)
    check_like_simpleitk(tmp_path / f"a.{extension}", "nrrd" if extension in ("nrrd", "nhdr") else "mha")


@pytest.mark.skipif(sys.platform != "linux", reason="the fuzzer holds its processes' memory down as Linux does")
def test_the_fuzzer_finds_nothing_in_three_seconds():
    command = [sys.executable, "-m", "tests.trust.fuzz_readers", "--seconds", "3", "--seed", "0"]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "opened alike" in done.stdout
    assert "typed ScanError" in done.stdout
