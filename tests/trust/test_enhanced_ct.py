"""Enhanced multi-frame CT opens like classic series, each stack a scan."""

from pathlib import Path

import numpy as np
import pytest
from pydicom.uid import JPEGLSLossless

from napari_uld.ct import find_scans, read_scan
from napari_uld.errors import DuplicateSlicesError, MissingSlicesError, ScanError, UnsupportedScanError

from .dicom_series import body, enhanced, save

HU = body()
DOWN = [-5.0 * index for index in range(12)]


def test_frames_are_read_with_their_geometry_and_window(tmp_path: Path) -> None:
    volume = read_scan(save(enhanced(HU, DOWN), tmp_path / "e.dcm"))
    np.testing.assert_array_equal(volume.hu[::-1], HU)
    assert volume.spacing == (5.0, 0.8, 0.7)
    assert volume.origin == (-10.0, -10.0, -55.0)
    assert (volume.thickness, volume.window) == (4.0, (-160.0, 240.0))
    assert volume.slice_numbers.tolist() == list(range(12, 0, -1))
    assert volume.corrections == ()


def test_every_frame_has_its_own_rescaling_and_may_be_compressed(tmp_path: Path) -> None:
    dataset = enhanced(HU, DOWN, intercepts=[-1024 - 100 * (i % 3) for i in range(12)])
    dataset.compress(JPEGLSLossless, generate_instance_uid=False)
    np.testing.assert_array_equal(read_scan(save(dataset, tmp_path / "e.dcm")).hu[::-1], HU)


def test_frames_in_any_order_are_sorted(tmp_path: Path) -> None:
    order = np.random.default_rng(1).permutation(12)
    file = save(enhanced(HU[order], [DOWN[i] for i in order]), tmp_path / "e.dcm")
    np.testing.assert_array_equal(read_scan(file).hu[::-1], HU)


@pytest.mark.parametrize("second", [DOWN[:6], [z - 2.5 for z in DOWN[:6]], [z - 200 for z in DOWN[:6]]])
def test_each_stack_of_a_file_is_a_scan(tmp_path: Path, second: list[float]) -> None:
    file = save(enhanced(HU, [*DOWN[:6], *second], stacks=["1"] * 6 + ["2"] * 6), tmp_path / "e.dcm")
    assert [(entry.name, entry.slices) for entry in find_scans(file)] == [
        ("Abdomen, stack 1", 6),
        ("Abdomen, stack 2", 6),
    ]
    np.testing.assert_array_equal(read_scan(file, "Abdomen, stack 2").hu[::-1], HU[6:])


def test_a_missing_frame_is_missed(tmp_path: Path) -> None:
    with pytest.raises(MissingSlicesError):
        read_scan(save(enhanced(np.delete(HU, 5, 0), [*DOWN[:5], *DOWN[6:]]), tmp_path / "e.dcm"))


def test_two_frames_at_one_place_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DuplicateSlicesError):
        read_scan(save(enhanced(HU, [*DOWN[:11], DOWN[3]]), tmp_path / "e.dcm"))


def test_a_file_with_too_few_frames_is_refused(tmp_path: Path) -> None:
    dataset = enhanced(HU, DOWN)
    dataset.PixelData = dataset.PixelData[: 11 * 32 * 32 * 2]
    with pytest.raises(ScanError, match="bytes of pixels found"):
        read_scan(save(dataset, tmp_path / "e.dcm"))


def test_a_file_that_counts_its_frames_wrongly_is_refused(tmp_path: Path) -> None:
    dataset = enhanced(HU, DOWN)
    dataset.NumberOfFrames = 13
    with pytest.raises(UnsupportedScanError, match="12 items of functional groups for 13 frames"):
        read_scan(save(dataset, tmp_path / "e.dcm"))
