"""Headers that steer the reader: followed nowhere but to a plain file beside them, believed by its size."""

import gzip
import os
import time

import numpy as np
import pytest

from napari_uld.ct import find_scans, read_scan
from napari_uld.errors import ScanError, UnsupportedScanError

from .image_files import body, metaimage, nifti, nrrd, write

RAW = body().tobytes()


def header(tmp_path, kind, name):
    """A detached header that names its data file `name`."""
    data = metaimage(ElementDataFile=name) if kind == "mhd" else nrrd(data_file=name)
    return write(tmp_path / f"scan.{kind}", data)


@pytest.mark.parametrize("kind", ["mhd", "nhdr"])
@pytest.mark.parametrize(
    "name",
    [
        "../secret/x.raw",
        "/etc/passwd",
        "secret/x.raw",
        "..",
        "C:\\x.raw",
        "\\\\server\\x.raw",
        "file:x.raw",
        "./../x.raw",
    ],
)
def test_a_data_file_elsewhere_is_not_opened(tmp_path, kind, name):
    for folder in ("secret", "scans"):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder / "x.raw", RAW)
    (tmp_path / "scans" / "secret").mkdir()
    write(tmp_path / "scans" / "secret" / "x.raw", RAW)
    with pytest.raises(UnsupportedScanError, match="plain file name in the same folder"):
        read_scan(header(tmp_path / "scans", kind, name))


@pytest.mark.parametrize("kind", ["mhd", "nhdr"])
@pytest.mark.parametrize("name", ["%s", "slice%03d.raw 1 4 1", "%n%n.raw", "LIST", "LIST 2"])
def test_patterns_and_lists_of_files_are_refused_by_name(tmp_path, kind, name):
    write(tmp_path / "slice001.raw", RAW)
    with pytest.raises(UnsupportedScanError, match="several files"):
        read_scan(header(tmp_path, kind, name))


@pytest.mark.parametrize("kind", ["mhd", "nhdr"])
@pytest.mark.parametrize("name", ["x.raw", "./x.raw", "two words.raw"])
def test_a_plain_file_beside_the_header_is_read_and_no_file_is_left_over(tmp_path, kind, name):
    write(tmp_path / name, RAW)
    found = find_scans(header(tmp_path, kind, name).parent)
    assert (len(found), found.left_out) == (1, ())
    np.testing.assert_array_equal(read_scan(tmp_path).hu, body())


@pytest.mark.parametrize("kind", ["mhd", "nhdr"])
def test_a_missing_an_empty_and_a_fetched_later_data_file_are_told_apart(tmp_path, kind):
    file = header(tmp_path, kind, "x.raw")
    with pytest.raises(ScanError, match=r"its data file x\.raw is missing"):
        read_scan(file)
    write(tmp_path / "x.raw", b"")
    with pytest.raises(ScanError, match=r"x\.raw is empty"):
        read_scan(file)
    write(tmp_path / "x.raw", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12345\n")
    with pytest.raises(ScanError, match=r"x\.raw is a Git LFS pointer"):
        read_scan(file)
    (tmp_path / "x.raw").unlink()
    (tmp_path / "x.raw").mkdir()
    with pytest.raises(ScanError, match="is not a file of voxels"):
        read_scan(file)


@pytest.mark.parametrize("kind", ["mhd", "nhdr"])
def test_a_header_that_names_itself_or_a_pipe_is_refused(tmp_path, kind):
    with pytest.raises(ScanError, match="is not a file of voxels"):
        read_scan(header(tmp_path, kind, f"scan.{kind}"))
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ScanError, match="is not a file of voxels"):
        read_scan(header(tmp_path, kind, "pipe"))


def test_a_pipe_in_a_folder_holds_nobody_up(tmp_path):
    os.mkfifo(tmp_path / "a.nii")
    write(tmp_path / "scan.nrrd", nrrd())
    assert read_scan(tmp_path).shape == body().shape
    with pytest.raises(ScanError, match="neither a file nor a folder"):
        read_scan(tmp_path / "a.nii")


@pytest.mark.parametrize("dimensions", ["-1", "0", "99999999999999999999", "2", "three", "3 3", "1_0", ""])
def test_a_senseless_number_of_dimensions_is_refused_at_once(tmp_path, dimensions):
    begun = time.monotonic()
    for file in (
        write(tmp_path / "scan.mha", metaimage(NDims=dimensions)),
        write(tmp_path / "scan.nrrd", nrrd(dimension=dimensions)),
    ):
        with pytest.raises(ScanError, match="scan"):
            read_scan(file)
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize("sizes", ["60000 60000 60000", "4294967297 1 1", "-16 12 4", "16 12 0", "16 -12 -4"])
def test_sizes_that_the_file_cannot_hold_are_refused_before_room_is_made(tmp_path, sizes):
    for name, data in {
        "a.mha": metaimage(DimSize=sizes),
        "b.mha": metaimage(packed=True, DimSize=sizes),
        "a.nrrd": nrrd(sizes=sizes),
        "b.nrrd": nrrd(sizes=sizes, encoding="gzip"),
    }.items():
        with pytest.raises(ScanError, match=r"promises|dimensions"):
            find_scans(write(tmp_path / name, data))


@pytest.mark.parametrize("packed", [False, True])
def test_a_nifti_that_promises_gigabytes_is_refused_by_the_size_of_its_file(tmp_path, packed):
    data = bytearray(nifti())
    data[42:48] = np.array([2000, 2000, 1200], "<i2").tobytes()  # dim[1..3]
    file = write(tmp_path / "scan.nii.gz", gzip.compress(data) if packed else bytes(data))
    with pytest.raises(ScanError, match="promises 2000 x 2000 x 1200 voxels, 9600000000 bytes"):
        find_scans(file)


@pytest.mark.parametrize("name", ["scan.mha", "scan.nrrd", "scan.nii", "scan.nii.gz", "scan.dcm"])
@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12345\n", "Git LFS pointer"),
        (b"/annex/objects/MD5E-s12--abc.nii.gz\n", "git-annex pointer"),
        (b"<!DOCTYPE html><html>Please log in</html>", "web page"),
        (b"", "empty"),
        (b"PK\x03\x04rest of an archive", "ZIP archive"),
    ],
)
def test_what_stands_in_the_place_of_a_file_is_told(tmp_path, name, data, reason):
    with pytest.raises(ScanError, match=f"{name} is .*{reason}"):
        read_scan(write(tmp_path / name, data))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (nrrd().replace(b"NRRD0005", b"NRRD1004"), "NRRD1004 is not supported"),
        (nrrd().replace(b"NRRD0005", b"NRRD0006"), "NRRD0006 is not supported"),
        (nrrd(encoding="bzip2"), "encoding 'bzip2' is not supported"),
        (nrrd(type="block"), "type 'block' are not supported"),
        (nrrd(endian=None), "endian is '', little or big required"),
        (nrrd(sizes="16 12 4 2", dimension="4", space_directions=None, space=None, kinds=None), "4 dimensions"),
        (
            nrrd(dimension="4", sizes="16 12 4 2", space_directions="(1,0,0) (0,1,0) (0,0,1) none", kinds=None),
            "4 dimen",
        ),
        (nrrd().replace(b"kinds", b"sizes"), "gives 'sizes' twice"),
        (nrrd(space_directions="(1,0) (0,1) (0,0)"), "three numbers required"),
        (nrrd(space="over-the-rainbow"), "space 'over-the-rainbow' is unknown"),
        (metaimage(DimSize="16 12 4\nDimSize = 12 16 4"), "gives DimSize twice"),
        (metaimage(ElementType="MET_OTHER"), "ElementType MET_OTHER is not supported"),
        (metaimage(ElementNumberOfChannels="3"), "colour, vector or complex"),
        (metaimage(NDims="4", DimSize="16 12 2 2"), "4 dimensions"),
        (metaimage(BinaryData="False"), "written as text are not supported"),
        # Python takes some control characters for blanks, and 9_2 for a number.
        (metaimage(Offset="\x1e-10 -20 30"), "bytes that are no text"),
        (metaimage(DimSize="16 12\x1f4"), "bytes that are no text"),
        (metaimage().replace(b"CompressedData =", b"CompressedData\0\0\0 ="), "bytes that are no text"),
        (nrrd(space_origin="(-10,-20,\x1c30)"), "bytes that are no text"),
        (nrrd(sizes="16\x0012 4"), "bytes that are no text"),
        (nrrd(encoding="text") + b"9_2 " * 768, "an underscore stands among its numbers"),
    ],
)
def test_the_reason_is_the_true_one(tmp_path, data, reason):
    with pytest.raises(ScanError, match=reason):
        read_scan(write(tmp_path / ("scan.nrrd" if data.startswith(b"NRRD") else "scan.mha"), data))
