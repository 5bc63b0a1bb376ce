"""COCO files of boxes: what is read, and what is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_uld.errors import AnnotationFileError
from napari_uld.training.data.coco import read_coco


def coco_file(folder: Path, annotations: list[dict[str, Any]], images: list[dict[str, Any]] | None = None) -> Path:
    path = folder / "boxes.json"
    first = {"id": 7, "file_name": "000001_01_01/009.png", "width": 100, "height": 60, "slice_no": 9}
    second = {"id": 3, "file_name": "000001_01_01/010.png", "width": 64, "height": 64}
    path.write_text(json.dumps({"info": {}, "images": images or [first, second], "annotations": annotations}))
    return path


def box(image: int, *xywh: float, **more: Any) -> dict[str, Any]:
    return {"id": 1, "image_id": image, "category_id": 1, "iscrowd": 0, "bbox": list(xywh), **more}


def test_each_image_gets_its_own_boxes_as_corners_in_the_files_order(tmp_path: Path) -> None:
    rows = [box(7, 10, 20, 30.5, 5, noisy=1), box(3, 1, 2, 3, 4), box(7, 0, 0, 3, 3, noisy=0)]
    first, second = read_coco(coco_file(tmp_path, rows))
    assert (first.name, first.width, first.height) == ("000001_01_01/009.png", 100, 60)
    np.testing.assert_array_equal(first.boxes, [[10, 20, 40.5, 25], [0, 0, 3, 3]])
    assert first.noisy.tolist() == [True, False]
    np.testing.assert_array_equal(second.boxes, [[1, 2, 4, 6]])
    assert second.noisy.tolist() == [False], "a file that does not say so has no noisy box"


def test_an_image_without_a_box_has_none(tmp_path: Path) -> None:
    first, second = read_coco(coco_file(tmp_path, []))
    assert first.boxes.shape == second.boxes.shape == (0, 4)
    assert first.noisy.shape == (0,)


def test_boxes_cannot_be_changed(tmp_path: Path) -> None:
    (first, _) = read_coco(coco_file(tmp_path, [box(7, 1, 2, 3, 4)]))
    with pytest.raises(ValueError, match="read-only"):
        first.boxes[0, 0] = 0


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        (box(7, 1, 2, 0, 4), "entry 1, field bbox.2: found 0"),
        (box(7, 1, 2, 3), "bbox"),
        (box(7, 1, 2, 3, float("nan")), "bbox.3"),
        (box(7, 1, 2, 3, 4, noisy=2), "noisy"),
        (box(7, 1, 2, 2.9, 4), "annotation 1: found the box .* 3 x 3 or more"),
        (box(8, 1, 2, 3, 4), "annotation 1: found no image with the id 8"),
        (box(7, 99.5, 2, 3, 4), "annotation 1: found the box .* 100 x 60 pixels"),
        (box(7, 1, -5, 3, 4.5), "annotation 1: found the box"),
        ({"bbox": [1, 2, 3, 4]}, "image_id"),
    ],
)
def test_a_bad_box_is_named(tmp_path: Path, row: dict[str, Any], sentence: str) -> None:
    with pytest.raises(AnnotationFileError, match=sentence):
        read_coco(coco_file(tmp_path, [row]))


def test_a_box_that_reaches_over_the_border_is_kept(tmp_path: Path) -> None:
    first, _ = read_coco(coco_file(tmp_path, [box(7, -3, 58, 10, 10)]))
    np.testing.assert_array_equal(first.boxes, [[-3, 58, 7, 68]])


def test_two_images_with_one_id_are_refused(tmp_path: Path) -> None:
    image = {"id": 1, "file_name": "a.png", "width": 10, "height": 10}
    with pytest.raises(AnnotationFileError, match="same id"):
        read_coco(coco_file(tmp_path, [], [image, {**image, "file_name": "b.png"}]))


def test_a_file_that_is_no_coco_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "boxes.json"
    for content in ("not JSON", "[]", '{"images": []}'):
        path.write_text(content)
        with pytest.raises(AnnotationFileError, match="boxes.json"):
            read_coco(path)
    with pytest.raises(AnnotationFileError, match="nowhere.json"):
        read_coco(tmp_path / "nowhere.json")
