"""Lesion Harvester's and the manual 1K's pickles in one convention: native slices, pixels from 0, halves."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from napari_uld.errors import AnnotationFileError
from napari_uld.lesions.box_table import BoxTable, Extent, Margin, ScanName
from napari_uld.lesions.harvester import read_box_pickle

VOLUME = "000001_01_01_103-115"
DATA = Path(__file__).parents[3] / "shared" / "data" / "annotations"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="needs the released annotations in ../shared/data")


def read(tmp_path: Path, content: object, split: str = "test") -> BoxTable:
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps(content))
    return read_box_pickle(path, split)


def test_lesions_on_one_slice_count_slices_from_the_volumes_first_and_pixels_from_one(tmp_path: Path) -> None:
    content = {f"{VOLUME}.annot": {6: [[11.0, 21.0, 31.0, 41.0, 6.0, 6.0]]}, "000001_01_01_001-002.annot": {}}
    table = read(tmp_path, content)
    assert (table.margin, table.extent, len(table.scans), len(table)) == (Margin.PADDED, Extent.ONE_SLICE, 2, 1)
    boxes = table.of(VOLUME)
    assert boxes is not None
    assert boxes.slice_boxes == ({109: (10.0, 20.0, 30.0, 40.0)},)
    assert boxes.boxes.tolist() == [[10, 20, 108.5, 30, 40, 109.5]]


def test_bodies_are_tight_count_pixels_from_zero_and_halves_are_edges_of_a_slice(tmp_path: Path) -> None:
    rows = [[11.5, 21, 31, 41, 5, 6], [0, 0, 9, 9, 4.5, 5.5], [0, 0, 9, 9, -0.49999999999999717, 0.5]]
    table = read(tmp_path, {VOLUME: [*rows, [0, 0, 9, 9, 11.5, 12.5], [0, 0, 9, 9, 2 - 1e-15, 3.0]]})
    assert (table.margin, table.extent) == (Margin.TIGHT, Extent.BODIES)
    boxes = table.of(VOLUME)
    assert boxes is not None
    assert [[*row] for row in boxes.slice_boxes] == [[108, 109], [108], [103], [115], [105, 106]]
    assert boxes.boxes[:, [2, 5]].tolist() == [
        [107.5, 109.5],
        [107.5, 108.5],
        [102.5, 103.5],
        [114.5, 115.5],
        [104.5, 106.5],
    ]
    assert boxes.boxes[0].tolist()[:2] == [11.5, 21]


def test_the_manual_1k_counts_native_slices_and_is_padded(tmp_path: Path) -> None:
    row = np.array([[10.0, 20, 103, 30, 40, 105]])
    content = {
        "val": {VOLUME: row},
        "test": {"000002_01_01_001-030": np.zeros((0, 6)), "000003_01_01_001-009": row - 100},
    }
    table = read(tmp_path, {"val": content["val"], "test": {"000002_01_01_001-030": np.zeros((0, 6))}}, "val")
    assert (table.margin, table.extent) == (Margin.PADDED, Extent.BODIES)
    boxes = table.of(VOLUME)
    assert boxes is not None
    assert boxes.boxes.tolist() == [[10, 20, 102.5, 30, 40, 105.5]]
    assert [*boxes.slice_boxes[0]] == [103, 104, 105]
    empty = read(tmp_path, {"test": {"000002_01_01_001-030": np.zeros((0, 6))}})
    assert (len(empty.scans), len(empty)) == (1, 0)


def test_a_split_that_the_manual_1k_file_lacks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AnnotationFileError, match="choose one with --split"):
        read(tmp_path, {"val": {VOLUME: np.zeros((0, 6))}}, "test")


def test_detections_are_read_by_slice_as_pairs_and_as_tracklets(tmp_path: Path) -> None:
    one, other = [11.0, 21.0, 31.0, 41.0, 0.5], [12.0, 22.0, 32.0, 42.0, 0.75]
    by_slice = read(tmp_path, {VOLUME: {0: [one], 1: [other]}}).of(VOLUME)
    pairs = read(tmp_path, {VOLUME: [(0, one), (1, other)]}).of(VOLUME)
    traced = read(tmp_path, {VOLUME: [[(0, one), (1, other)]]})
    assert by_slice is not None
    assert pairs is not None
    assert by_slice.slice_boxes == pairs.slice_boxes == ({103: (10, 20, 30, 40)}, {104: (11, 21, 31, 41)})
    assert by_slice.scores.tolist() == pairs.scores.tolist() == [0.5, 0.75]
    tracklets = traced.of(VOLUME)
    assert traced.extent is Extent.TRACED
    assert tracklets is not None
    # A tracklet's score is its highest slice's.
    assert (len(tracklets), tracklets.scores.tolist()) == (1, [0.75])
    assert tracklets.boxes.tolist() == [[10, 20, 102.5, 31, 41, 104.5]]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ([], "required Lesion Harvester's"),
        ({"scan": {}}, "which says its slices"),
        ({VOLUME: {13: [[1, 1, 9, 9, 13, 13]]}}, "the slices 116 to 116 of a volume that has 103 to 115"),
        ({VOLUME: [[0, 0, 9, 9, 12, 13]]}, "103 to 115"),
        ({"test": {VOLUME: np.array([[0.0, 0, 5, 9, 9, 6]])}}, "103 to 115"),
        ({VOLUME: {0: [[9, 1, 1, 9, 0, 0]]}}, "low corner"),
        ({VOLUME: {0: [[1, 2, 3]]}}, "for a box"),
        ({VOLUME: {0: [[1, 1, 9, 9, float("nan")]]}}, "finite"),
        ({VOLUME: 7}, VOLUME),
    ],
)
def test_what_fits_none_of_them_names_the_volume_and_what_is_required(
    tmp_path: Path, content: object, sentence: str
) -> None:
    with pytest.raises(AnnotationFileError, match=r"x\.pkl") as caught:
        read(tmp_path, content)
    assert sentence in str(caught.value)


# -- the files themselves --

COUNTS = {
    "Revised-Test1071": (1071, 3665),
    "Revised-Train744": (744, 3033),
    "Revised-Train100": (100, 420),
    "RECIST-Box-Valid": (3001, 4885),
    "RECIST-Box-Test": (3005, 4912),
    "3D-Box": (272, 874),
}


@needs_data
@pytest.mark.parametrize("name", COUNTS)
def test_the_released_files_hold_what_is_known_of_them(name: str) -> None:
    table = read_box_pickle(DATA / f"{name}.pkl")
    assert (len(table.scans), len(table)) == COUNTS[name]
    bodies = name == "3D-Box"
    assert table.margin is (Margin.TIGHT if bodies else Margin.PADDED)
    assert table.extent is (Extent.BODIES if bodies else Extent.ONE_SLICE)
    if bodies:
        halves = sum(len(row) == 1 for boxes in table.scans.values() for row in boxes.slice_boxes)
        assert halves == 70
        whole = {ScanName.of(each) for each in read_box_pickle(DATA / "Revised-Test1071.pkl").scans}
        assert {ScanName.of(each) for each in table.scans} <= whole


@needs_data
def test_the_manual_1k_file_holds_what_is_known_of_it() -> None:
    path = DATA / "DeepLesion_manual_1K_test_release.pkl"
    val, test, both = (read_box_pickle(path, split) for split in ("val", "test", "all"))
    assert (len(val.scans), len(val), len(test.scans), len(test)) == (200, 1292, 800, 4155)
    assert sum(not len(boxes) for boxes in test.scans.values()) == 31
    harvester = {ScanName.of(name) for name in read_box_pickle(DATA / "Revised-Test1071.pkl").scans}
    assert len({ScanName.of(name) for name in both.scans} & harvester) == 879
