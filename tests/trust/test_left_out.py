"""A box is checked against its image, and what a table lists and nobody can use is told with counts."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from napari_uld.ct.dl_info import COLUMNS, parse_dl_info
from napari_uld.errors import AnnotationFileError, BoxError, DataError
from napari_uld.lesions.annotations import Annotations
from napari_uld.lesions.boxes import in_image
from napari_uld.lesions.deeplesion import annotations_from_dl_info, write_dl_info
from napari_uld.training.data.key_slices import read_split

GOOD = "10, 10, 30, 30"


def line(number: int, box: str = GOOD, noisy: int = 0) -> str:
    return (
        f'000001_01_01_{number:03d}.png,1,1,1,{number},"10, 20, 40, 60, 20, 30, 30, 20","{box}","50, 14",'
        f'"0.4, 0.5, 0.6",3,{noisy},"1, 9","0.8, 0.8, 5","64, 48","-175, 275",F,62,3'
    )


def data(root: Path, *lines: str, missing: tuple[int, ...] = (), damaged: tuple[int, ...] = ()) -> Path:
    """A series of six images, 64 x 48, and a table with these lines; the first is line 2."""
    folder = root / "Images_png" / "000001_01_01"
    folder.mkdir(parents=True)
    for number in range(1, 7):
        if number not in missing:
            cv2.imwrite(str(folder / f"{number:03d}.png"), np.full((48, 64), 32768, np.uint16))
        if number in damaged:
            (folder / f"{number:03d}.png").write_bytes(b"")
    (root / "DL_info.csv").write_text("\n".join([",".join(COLUMNS), *lines, ""]))
    return root


def test_what_is_all_there_needs_no_word(tmp_path: Path) -> None:
    slices, note = read_split(data(tmp_path, line(1), line(2)), "all")
    assert [key.number for key in slices] == [1, 2]
    assert note == ""


def test_rows_that_are_left_out_are_counted_by_reason_with_their_lines(tmp_path: Path) -> None:
    rows = [line(1), line(2), line(3), line(4, noisy=1), line(5), line(6, "900, 900, 950, 950"), line(6, "9, 9, 9, 30")]
    slices, note = read_split(data(tmp_path, *rows, missing=(2, 3), damaged=(5,)), "test")
    assert [key.number for key in slices] == [1]
    assert "6 of 7 rows are left out" in note
    assert "2 without their image on disk (line 3, line 4)" in note
    assert "1 marked as possibly noisy (line 5)" in note
    assert "1 whose image is damaged (line 6)" in note
    assert "line 7: the box [899, 899, 949, 949] lies outside its image of 64 x 48 pixels" in note
    assert "line 8: the box [8, 8, 8, 29] is 0 x 21 pixels" in note
    assert "\n" not in note


def test_where_nothing_is_left_the_reason_is_the_true_one(tmp_path: Path) -> None:
    root = data(tmp_path, line(1, noisy=1), line(2, noisy=1))
    with pytest.raises(DataError, match="2 of 2 rows are left out: 2 marked as possibly noisy"):
        read_split(root, "all")
    with pytest.raises(DataError, match="lists none"):
        read_split(root, "train")


def test_a_box_that_reaches_far_beyond_its_image_is_cut_and_told(tmp_path: Path) -> None:
    slices, note = read_split(data(tmp_path, line(1, "10, 10, 300, 30"), line(2, "-2, 10, 20, 30")), "all")
    assert slices[0].boxes.tolist() == [[9, 9, 63.5, 29]]
    assert slices[1].boxes.tolist() == [[-3, 9, 19, 29]], "DeepLesion's margin may reach beyond the edge"
    assert note.endswith("1 boxes are cut at their image's edge (line 2)")


@pytest.mark.parametrize(
    ("box", "why"),
    [
        ((-300, -300, -200, -200), "outside"),
        ((64, 10, 80, 20), "outside"),
        ((10, 47.6, 20, 60), "outside"),
        ((10, 10, 10, 20), "0 x 10"),
        ((10, 10, 12.9, 20), "2.9 x 10"),
        ((20, 10, 10, 20), "must not exceed"),
        ((float("nan"), 1, 2, 3), "finite"),
    ],
)
def test_a_box_that_is_none_on_its_image_is_refused(box: tuple[float, float, float, float], why: str) -> None:
    with pytest.raises(BoxError, match=why):
        in_image(box, (64, 48))


def test_a_box_is_cut_at_the_edge_of_the_outermost_pixels() -> None:
    assert in_image((-10, 5, 100, 20), (64, 48)) == (-0.5, 5, 63.5, 20)
    assert in_image((1, 1, 4, 4), (64, 48)) == (1, 1, 4, 4)


def test_a_box_outside_its_image_is_not_exported(tmp_path: Path) -> None:
    path = tmp_path / "DL_info.csv"
    info = parse_dl_info(path, "\n".join([",".join(COLUMNS), line(1), ""]).encode())
    lesions = Annotations("scan", annotations_from_dl_info(info, "000001_01_01", "scan"))
    lesions.edit(next(iter(lesions)).id, box=(900.0, 900.0, 950.0, 950.0))
    with pytest.raises(AnnotationFileError, match=r"on slice 1 of 000001_01_01 cannot go into DL_info.csv.*64 x 48"):
        write_dl_info(path, info, {"000001_01_01": lesions})
    assert not path.exists()
