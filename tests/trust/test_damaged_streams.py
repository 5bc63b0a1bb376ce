"""Damaged pixels that still decode: what a checksum, an end marker or a length can show is never opened."""

import gzip
import zlib

import numpy as np
import pytest

from napari_uld.ct import find_scans, read_scan
from napari_uld.errors import ScanError

from .image_files import body, metaimage, nifti, nrrd, write

NOISE = np.random.default_rng(1).normal(40, 200, (8, 32, 32)).clip(-1024, 3000).astype(np.int16)
PACKED = {
    "scan.mha": metaimage(NOISE, packed=True),
    "scan.nrrd": nrrd(NOISE, encoding="gzip"),
    "scan.nii.gz": gzip.compress(nifti(NOISE), mtime=0),
}
RAW = {"scan.mha": metaimage(NOISE), "scan.nrrd": nrrd(NOISE), "scan.nii": nifti(NOISE)}


def flip(data, at):
    return data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]


@pytest.mark.parametrize("name", PACKED)
@pytest.mark.parametrize("share", np.linspace(0.2, 0.99, 12).round(2))
def test_one_flipped_byte_in_a_compressed_file_is_reported(tmp_path, name, share):
    whole = PACKED[name]
    np.testing.assert_array_equal(read_scan(write(tmp_path / name, whole)).hu, NOISE)
    write(tmp_path / name, flip(whole, int(len(whole) * share)))
    with pytest.raises(ScanError, match=f"{name} cannot be read"):
        read_scan(tmp_path / name)


@pytest.mark.parametrize("name", PACKED)
@pytest.mark.parametrize("left", [1, 4, 8, 500])
def test_a_compressed_file_without_its_end_is_reported(tmp_path, name, left):
    write(tmp_path / name, PACKED[name][:-left])
    with pytest.raises(ScanError, match="cut short"):
        read_scan(tmp_path / name)


@pytest.mark.parametrize("name", PACKED)
def test_a_download_whose_end_was_never_written_is_reported(tmp_path, name):
    whole = PACKED[name]
    write(tmp_path / name, whole[: len(whole) // 2] + bytes(len(whole) - len(whole) // 2))
    with pytest.raises(ScanError, match="compressed data"):
        read_scan(tmp_path / name)


@pytest.mark.parametrize("name", PACKED)
def test_bytes_after_a_stream_that_belong_to_nothing_are_reported(tmp_path, name):
    write(tmp_path / name, PACKED[name] + b"rubbish")
    if name == "scan.mha":
        # Its header tells where the stream ends.
        np.testing.assert_array_equal(read_scan(tmp_path / name).hu, NOISE)
        return
    with pytest.raises(ScanError, match="7 bytes follow the end"):
        read_scan(tmp_path / name)


@pytest.mark.parametrize("name", RAW)
def test_a_lost_and_an_added_byte_in_raw_voxels_are_reported(tmp_path, name):
    whole = RAW[name]
    middle = len(whole) // 2
    write(tmp_path / name, whole[:middle] + whole[middle + 1 :])
    with pytest.raises(ScanError, match="cut short"):
        read_scan(tmp_path / name)
    write(tmp_path / name, whole[:middle] + b"x" + whole[middle:])
    with pytest.raises(ScanError, match="1 bytes after the voxels"):
        read_scan(tmp_path / name)


@pytest.mark.parametrize("name", RAW)
def test_padding_after_the_voxels_is_left_out_and_said(tmp_path, name):
    volume = read_scan(write(tmp_path / name, RAW[name] + bytes(100)))
    np.testing.assert_array_equal(volume.hu, NOISE)
    assert "100 bytes of padding after the voxels left out" in volume.corrections


def test_a_compressed_metaimage_opens_without_its_compressed_size(tmp_path):
    volume = read_scan(write(tmp_path / "scan.mha", metaimage(NOISE, packed=True, CompressedDataSize=None)))
    np.testing.assert_array_equal(volume.hu, NOISE)


def test_a_gzip_stream_of_several_parts_is_read_whole(tmp_path):
    whole = nifti(NOISE)
    write(tmp_path / "scan.nii.gz", gzip.compress(whole[:5000]) + gzip.compress(whole[5000:]))
    np.testing.assert_array_equal(read_scan(tmp_path / "scan.nii.gz").hu, NOISE)


def test_a_stream_that_unpacks_to_more_than_promised_is_not_followed(tmp_path):
    header = (
        metaimage(ElementDataFile="LOCAL")
        .split(b"LOCAL\n")[0]
        .replace(b"CompressedData = False", b"CompressedData = True")
    )
    write(tmp_path / "scan.mha", header + b"LOCAL\n" + zlib.compress(bytes(200_000_000)))
    with pytest.raises(ScanError, match="decompresses to more than the 1536 bytes"):
        read_scan(tmp_path / "scan.mha")


def test_one_damaged_file_does_not_block_its_neighbours(tmp_path):
    for name, whole in PACKED.items():
        write(tmp_path / name, whole)
    write(tmp_path / "cut.mha", RAW["scan.mha"][:-10])
    write(tmp_path / "scan.nrrd", b"NRRD0004\ntype")
    found = find_scans(tmp_path)
    assert [entry.name for entry in found] == ["scan (1)", "scan (2)"]
    assert sorted(file.name for left in found.left_out for file in left.files) == ["cut.mha", "scan.nrrd"]
    np.testing.assert_array_equal(read_scan(tmp_path, "scan (1)").hu, NOISE)


def test_the_whole_files_are_as_they_were_written(tmp_path):
    for name, data in {"a.mha": metaimage(), "b.nrrd": nrrd(), "c.nii": nifti()}.items():
        volume = read_scan(write(tmp_path / name, data))
        np.testing.assert_array_equal(volume.hu, body())
        assert (volume.spacing, volume.corrections) == ((2.0, 0.5, 0.75), ())
