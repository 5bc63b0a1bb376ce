"""The released annotation files against themselves, and against themselves with known faults."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_uld.errors import DataError
from napari_uld.evaluation.average_precision import average_precision
from napari_uld.evaluation.froc import froc
from napari_uld.evaluation.matching import Matches
from napari_uld.evaluation.overlaps import p3d_iou
from napari_uld.evaluation.protocols import PROTOCOLS
from napari_uld.lesions.box_table import ScanBoxes
from napari_uld.lesions.harvester import read_box_pickle
from napari_uld.lesions.plain_pickle import read_plain_pickle
from napari_uld.progress import finish
from napari_uld.training.data.truths import true_scans
from napari_uld.training.evaluate import evaluate_subject
from napari_uld.training.volume_protocols import match_scans

DATA = Path(__file__).parents[3] / "shared" / "data" / "annotations"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="needs the released annotations in ../shared/data")
MANUAL = "DeepLesion_manual_1K_test_release"
ON_SLICES, BODIES = ("Revised-Test1071", "Revised-Train744"), ("3D-Box",)
Box = list[float]


def matched(subject: Path, name: str, protocol: str) -> Matches:
    truth = true_scans(DATA / f"{name}.pkl", "test", PROTOCOLS[protocol], None)
    matches, scans, _ = match_scans(read_box_pickle(subject), truth.scans, PROTOCOLS[protocol])
    assert len(scans) == len(truth.scans)
    return matches


def reached(matches: Matches, protocol: str) -> tuple[float, float, float]:
    """Sensitivity and mean false positives of all detections, and average precision."""
    curve = froc(matches, PROTOCOLS[protocol].rates)
    ap = average_precision(matches, by_lesion=PROTOCOLS[protocol].by_lesion)
    return float(curve.sensitivity[-1]), float(curve.fp_per_image[-1]), ap


def changed(tmp_path: Path, name: str, change: Callable[[str, int, Box], list[tuple[int, Box]]]) -> Path:
    """A copy of a file of lesions on slices whose every (volume, z, box) became what `change` gives."""
    content = read_plain_pickle(DATA / f"{name}.pkl")
    new: dict[str, dict[int, list[Box]]] = {volume: {} for volume in content}
    for volume, by_slice in content.items():
        for z, boxes in by_slice.items():
            for box in boxes:
                for place, moved in change(volume, z, box):
                    new[volume].setdefault(place, []).append(moved)
    path = tmp_path / "changed.pkl"
    path.write_bytes(pickle.dumps(new))
    return path


@pytest.mark.parametrize(
    ("name", "protocol"), [*((name, "p3d") for name in ON_SLICES), *((name, "3d") for name in BODIES)]
)
def test_a_file_against_itself_finds_every_lesion_and_nothing_else(name: str, protocol: str) -> None:
    path = DATA / f"{name}.pkl"
    matches = matched(path, name, protocol)
    assert reached(matches, protocol) == (1, 0, 1)
    assert froc(matches, PROTOCOLS[protocol].rates).values.tolist() == [1] * len(PROTOCOLS[protocol].rates)


def test_the_manual_1k_against_itself_finds_every_lesion_and_nothing_else() -> None:
    sensitivity, false, _ = reached(matched(DATA / f"{MANUAL}.pkl", MANUAL, "lens"), "lens")
    assert (sensitivity, false) == (1, 0)


def test_a_file_of_lesions_against_itself_image_by_image_counts_images() -> None:
    path = DATA / "Revised-Train100.pkl"
    evaluation = finish(evaluate_subject(str(path), path, "test", protocol="image"))
    slices = sum(len(volume) for volume in read_plain_pickle(path).values())
    assert (evaluation.curve.values.tolist(), evaluation.curve.false.tolist()) == ([1] * 4, [0] * 4)
    assert (evaluation.images, evaluation.lesions) == (slices, 420)


@pytest.mark.parametrize("name", ON_SLICES)
def test_one_slice_off_nothing_is_found_but_what_lies_there(tmp_path: Path, name: str) -> None:
    content = read_plain_pickle(DATA / f"{name}.pkl")
    last = {volume: int(volume.split("-")[1][:3]) - int(volume.split("_")[3][:3]) for volume in content}

    def off(volume: str, z: int, box: Box) -> list[tuple[int, Box]]:
        return [(z + 1 if z < last[volume] else z - 1, box)]

    lesions = sum(len(boxes) for volume in content.values() for boxes in volume.values())
    # By hand: a moved box is right only where another lesion of the volume has its box on the very slice.
    lucky, hit = 0, 0
    for volume, by_slice in content.items():
        moved = [(off(volume, z, box)[0][0], box) for z, boxes in by_slice.items() for box in boxes]
        lucky += sum(any(overlap(box, other) >= 0.5 for other in by_slice.get(z, [])) for z, box in moved)
        hit += sum(
            any(place == z and overlap(box, other) >= 0.5 for place, other in moved)
            for z, boxes in by_slice.items()
            for box in boxes
        )
    sensitivity, false, _ = reached(matched(changed(tmp_path, name, off), name, "p3d"), "p3d")
    assert sensitivity == pytest.approx(hit / lesions, abs=1e-12)
    assert false == pytest.approx((lesions - lucky) / len(content), abs=1e-12)
    # Neighbouring slices are seldom both annotated.
    assert hit <= 0.01 * lesions


def test_one_pixel_off_every_padded_box_still_hits(tmp_path: Path) -> None:
    # By hand: of a box w wide (w - 1) / (w + 1) is left, a half from 3 pixels on; the narrowest has 11.
    name = "Revised-Test1071"
    narrowest = min(
        box[2] - box[0] for v in read_plain_pickle(DATA / f"{name}.pkl").values() for rows in v.values() for box in rows
    )
    assert narrowest >= 3

    def off(_: str, z: int, box: Box) -> list[tuple[int, Box]]:
        return [(z, [box[0] + 1, box[1], box[2] + 1, *box[3:]])]

    path = changed(tmp_path, name, off)
    assert reached(matched(path, name, "p3d"), "p3d") == (1, 0, 1)
    (before,), (after,) = (
        [table.scans[volume] for volume in list(table.scans)[:1]]
        for table in (read_box_pickle(DATA / f"{name}.pkl"), read_box_pickle(path))
    )
    (box,) = before.slice_boxes[0].values()
    left = p3d_iou(after.slice_boxes[:1], np.array([box]), np.array(list(before.slice_boxes[0])))[0, 0]
    width = box[2] - box[0]
    assert left == pytest.approx((width - 1) / (width + 1))


@pytest.mark.parametrize("name", ON_SLICES)
def test_with_half_of_them_removed_half_is_found_with_full_precision(tmp_path: Path, name: str) -> None:
    number = iter(range(10**6))
    path = changed(tmp_path, name, lambda _, z, box: [(z, box)] if next(number) % 2 == 0 else [])
    lesions = next(number)
    share = -(-lesions // 2) / lesions
    assert reached(matched(path, name, "p3d"), "p3d") == pytest.approx((share, 0, share), abs=1e-12)


def test_bodies_one_slice_off_are_found_where_enough_of_them_is_left(tmp_path: Path) -> None:
    # By hand: of a body n slices deep (n - 1) / (n + 1) is left, .3 from two slices on; one slice alone is lost.
    content = read_plain_pickle(DATA / "3D-Box.pkl")
    table = read_box_pickle(DATA / "3D-Box.pkl")
    deep = [len(row) for boxes in table.scans.values() for row in boxes.slice_boxes]
    moved = {name: moved_along_z(boxes) for name, boxes in table.scans.items()}
    truth = true_scans(DATA / "3D-Box.pkl", "test", PROTOCOLS["3d"], None)
    matches, _, _ = match_scans(type(table)("moved", moved, table.margin, table.extent), truth.scans, PROTOCOLS["3d"])
    sensitivity, _, _ = reached(matches, "3d")
    found = sum(depth >= 2 for depth in deep)
    assert len(deep) == sum(map(len, content.values()))
    # What lies where another one was may be hit by luck.
    assert found / len(deep) <= sensitivity <= found / len(deep) + 0.01


def test_padded_boxes_are_not_measured_on_tight_ones() -> None:
    padded, tight = DATA / f"{MANUAL}.pkl", DATA / "3D-Box.pkl"
    with pytest.raises(DataError, match="are padded, those of .*3D-Box.pkl tight"):
        finish(evaluate_subject(str(padded), tight, "test", protocol="3d"))


def moved_along_z(boxes: ScanBoxes) -> ScanBoxes:
    return ScanBoxes.bodies(boxes.boxes + np.array([0, 0, 1.5, 0, 0, 0.5]))


def overlap(a: Any, b: Any) -> float:
    """IoU of two rectangles."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)
