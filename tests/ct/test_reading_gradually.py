"""A scan is shown before all of it is read: nothing wrong before, and the same volume in the end."""

import threading
import time

import nibabel
import numpy as np
import pytest
from pydicom.uid import JPEGLSLossless

from napari_uld.ct import dicom_reading, find_scans, read_entry, read_gradually
from napari_uld.ct.dicom_slices import ReadFile
from napari_uld.errors import ScanError, UnsupportedScanError

from .conftest import ct_dataset, pixels_of, positions_along_z, save

AIR = -1024
COUNT = 13


def entry_of(folder):
    return find_scans(folder)[0]


def steps_and_volume(reading):
    steps = []
    while True:
        try:
            steps.append(next(reading))
        except StopIteration as stop:
            return steps, stop.value


def first_shown(reading):
    """The first step that can be seen: before it, memory is filled with air."""
    return next(step for step in reading if step.volume is not None)


def check_same(one, other):
    np.testing.assert_array_equal(one.hu, other.hu)
    for name in ("spacing", "origin", "series_uid", "name", "window", "thickness", "corrections", "source"):
        assert getattr(one, name) == getattr(other, name), name
    np.testing.assert_array_equal(one.direction, other.direction)
    np.testing.assert_array_equal(one.slice_numbers, other.slice_numbers)


@pytest.mark.parametrize("down", [False, True])
@pytest.mark.parametrize("orientation", [[1, 0, 0, 0, 1, 0], [1, 0, 0, 0, -1, 0], [-1, 0, 0, 0, 1, 0]])
def test_the_grid_is_known_first_and_the_slices_are_right_as_they_arrive(write_series, tmp_path, down, orientation):
    step = -1 if down else 1
    write_series(pixels_of(COUNT) + 1, positions_along_z(COUNT)[::step], ImageOrientationPatient=orientation)
    expected = read_entry(entry_of(tmp_path))
    reading = read_gradually(entry_of(tmp_path))
    first = first_shown(reading)
    assert (first.done, first.total, first.arrived) == (0, COUNT, ())
    assert (first.volume.hu == AIR).all()
    seen = []
    for filling in reading:
        assert filling.volume is first.volume
        for z in filling.arrived:
            np.testing.assert_array_equal(filling.volume.hu[z], expected.hu[z])
        seen += filling.arrived
        assert filling.done == len(seen)
    assert sorted(seen) == list(range(COUNT))
    check_same(first.volume, expected)


def test_what_it_gives_in_the_end_has_the_voxels_that_were_shown(write_series, tmp_path):
    write_series(pixels_of(COUNT))
    steps, volume = steps_and_volume(read_gradually(entry_of(tmp_path)))
    assert np.shares_memory(steps[1].volume.hu, volume.hu)
    check_same(volume, read_entry(entry_of(tmp_path)))


@pytest.mark.parametrize(("start", "nearest"), [(None, [6, 5, 7]), (2, [2, 1, 3]), (12, [12, 11, 10])])
@pytest.mark.parametrize("down", [False, True])
def test_slices_come_from_the_middle_or_a_given_one_outwards(write_series, tmp_path, start, nearest, down):
    write_series(pixels_of(COUNT), positions_along_z(COUNT)[:: -1 if down else 1])
    steps, _ = steps_and_volume(read_gradually(entry_of(tmp_path), start))
    arrived = [z for step in steps for z in step.arrived]
    assert arrived[0] == nearest[0]
    assert sorted(arrived[:3]) == sorted(nearest)


def test_compressed_slices_come_one_by_one_as_well(tmp_path):
    for index, image in enumerate(pixels_of(5)):
        dataset = ct_dataset(image, (0, 0, 2 * index))
        dataset.compress(JPEGLSLossless)
        save(dataset, tmp_path / f"{index}.dcm")
    steps, volume = steps_and_volume(read_gradually(entry_of(tmp_path)))
    assert sorted(z for step in steps for z in step.arrived) == list(range(5))
    np.testing.assert_array_equal(volume.hu, pixels_of(5).astype(int) - 1024)


@pytest.mark.parametrize(
    ("axis", "tags"),
    [(0, {"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]}), (2, {"SeriesInstanceUID": ""})],
    ids=["sagittal", "no UID"],
)
def test_nothing_is_shown_of_slices_that_are_no_z_or_of_a_scan_that_only_its_pixels_name(
    write_series, tmp_path, axis, tags
):
    write_series(pixels_of(4), np.arange(4)[:, None] * 2.0 * np.eye(3)[axis], **tags)
    steps, volume = steps_and_volume(read_gradually(entry_of(tmp_path)))
    assert all(step.volume is None and not step.arrived for step in steps)
    assert steps[-1].done == steps[-1].total == 4
    check_same(volume, read_entry(entry_of(tmp_path)))


def test_nothing_is_shown_where_a_slice_will_be_dropped(write_series, tmp_path):
    files = write_series(pixels_of(3))
    (tmp_path / "copy.dcm").write_bytes(files[1].read_bytes())
    steps, volume = steps_and_volume(read_gradually(entry_of(tmp_path)))
    assert all(step.volume is None for step in steps)
    assert volume.shape[0] == 3


def test_an_image_file_comes_whole(tmp_path):
    hu = np.random.default_rng(0).normal(40, 12, (5, 20, 20)).astype(np.int16)
    hu[:, :5] = -1000
    nibabel.save(nibabel.Nifti1Image(hu.T, np.diag([-1, -1, 2, 1])), tmp_path / "scan.nii.gz")
    steps, volume = steps_and_volume(read_gradually(entry_of(tmp_path)))
    assert [(step.done, step.volume) for step in steps] == [(0, None)]
    np.testing.assert_array_equal(volume.hu, hu)


def test_of_several_damaged_files_the_first_is_named(write_series, tmp_path):
    for file in sorted(write_series(pixels_of(COUNT)))[3::4]:
        file.write_bytes(file.read_bytes()[:-20])
    damaged = sorted(tmp_path.iterdir())[3].name
    with pytest.raises(ScanError, match=damaged):
        read_entry(entry_of(tmp_path))


def test_what_is_no_ct_is_refused_in_the_end(write_series, tmp_path):
    write_series(np.full((4, 6, 8), 1025, np.uint16))
    reading = read_gradually(entry_of(tmp_path))
    assert first_shown(reading).volume is not None
    with pytest.raises(UnsupportedScanError, match="label mask"):
        steps_and_volume(reading)


def test_a_large_volume_becomes_air_part_by_part_before_it_is_seen(write_series, tmp_path):
    write_series(pixels_of(80))
    reading = read_gradually(entry_of(tmp_path))
    steps = [next(reading) for _ in range(4)]
    # Of 32 slices each.
    assert [step.volume is not None for step in steps] == [False, False, False, True]
    assert {(step.done, step.total) for step in steps} == {(0, 80)}
    assert (steps[-1].volume.hu == AIR).all()


def test_closing_it_leaves_the_rest_unread(write_series, tmp_path, monkeypatch):
    write_series(pixels_of(200))
    read = []

    def counted(file, *rest, original=dicom_reading.read_images):
        read.append(file)
        return original(file, *rest)

    monkeypatch.setattr(dicom_reading, "read_images", counted)
    reading = read_gradually(entry_of(tmp_path))
    next(reading)
    reading.close()
    assert not read
    reading = read_gradually(entry_of(tmp_path))
    next(reading)
    next(reading)
    reading.close()
    assert len(read) < 200


def test_while_what_arrived_is_looked_at_no_file_is_begun():
    begun = []

    def read(index):
        begun.append(index)
        time.sleep(0.01)
        return ReadFile([], None, None)

    reading = dicom_reading._in_threads(read, range(40))
    next(reading)
    # Those that waited when the first was asked for are read.
    time.sleep(0.1)
    count = len(begun)
    assert count < 40
    time.sleep(0.1)
    assert len(begun) == count
    assert [index for index, _ in reading] == list(range(1, 40))


def test_closing_it_while_files_are_waited_for_leaves_no_thread_behind():
    begun, before = [], set(threading.enumerate())

    def read(index):
        begun.append(index)
        time.sleep(0.01)
        return ReadFile([], None, None)

    reading = dicom_reading._in_threads(read, range(400))
    next(reading)
    time.sleep(0.1)  # by now each waits to begin another
    reading.close()
    for thread in set(threading.enumerate()) - before:
        thread.join(2)
        assert not thread.is_alive()
    assert len(begun) < 40
