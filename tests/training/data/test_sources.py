"""Where the lesions that are trained on come from: the table's columns, and annotation files beside the series."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from napari_uld.ct.dl_info import COLUMNS
from napari_uld.errors import DataError
from napari_uld.lesions.annotation_file import save_annotations
from napari_uld.lesions.annotations import Annotation, Annotations, Source, State
from napari_uld.training.data.key_slices import KeySlice, annotated_slices, read_split
from napari_uld.training.data.lesion_free import clear_of

SERIES = ("000001_01_01", "000002_01_01")
EXPERT, MINED, EDITED = Source.EXPERT, Source.MINED, Source.EDITED


def row(series: str, number: int, box: str, window: str = "-175, 275", source: str = "", state: str = "") -> str:
    return (
        f'{series}_{number:03d}.png,1,1,1,{number},"NaN, NaN, NaN, NaN, NaN, NaN, NaN, NaN","{box}","NaN, NaN",'
        f'"NaN, NaN, NaN",-1,0,"1, 6","1, 1, 2","40, 40","{window}",F,62.0,1,{source},{state}\n'
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two series of six slices. The first has a lesion of each source in the table, and a rejected one."""
    for series in SERIES:
        folder = tmp_path / "Images_png" / series
        folder.mkdir(parents=True)
        for number in range(1, 7):
            cv2.imwrite(str(folder / f"{number:03d}.png"), np.full((40, 40), 32768, np.uint16))
    rows = [
        row(SERIES[0], 2, "1, 1, 11, 11"),
        row(SERIES[0], 2, "21, 21, 31, 31", source="mined"),
        row(SERIES[0], 3, "1, 1, 11, 11", source="edited"),
        row(SERIES[0], 3, "21, 21, 31, 31", source="mined", state="rejected"),
        row(SERIES[1], 5, "1, 1, 11, 11", window="-1500, 500"),
    ]
    (tmp_path / "DL_info.csv").write_text(",".join([*COLUMNS, "Source", "State"]) + "\n" + "".join(rows))
    return tmp_path


def lesion(number: int, source: Source, state: State = State.ACCEPTED, series: str = SERIES[1]) -> Annotation:
    box = (4.0 * number, 4.0, 4.0 * number + 10, 14.0)
    return Annotation(f"{number} {source}", f"deeplesion:{series}", number, box, source=source, state=state)


def save(root: Path, *lesions: Annotation, scan_id: str = f"deeplesion:{SERIES[1]}") -> None:
    annotations = Annotations(scan_id, lesions)
    path = root / "Images_png" / f"{SERIES[1]}.lesions.json"
    save_annotations(path, annotations, scan_name=SERIES[1], scan_source=SERIES[1])


def marked(slices: list[KeySlice]) -> list[tuple[str, int, tuple[Source, ...]]]:
    return [(key.series, key.number, key.sources) for key in slices]


def test_without_a_choice_all_accepted_rows_of_the_table_are_taken_and_no_file(root: Path) -> None:
    save(root, lesion(1, EDITED))
    assert marked(annotated_slices(root, "train")) == [
        (SERIES[0], 2, (EXPERT, MINED)),
        (SERIES[0], 3, (EDITED,)),
        (SERIES[1], 5, (EXPERT,)),
    ]


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        ((EXPERT,), [(SERIES[0], 2, (EXPERT,)), (SERIES[1], 5, (EXPERT,))]),
        ((MINED,), [(SERIES[0], 2, (MINED,))]),
        ((MINED, EDITED), [(SERIES[0], 2, (MINED,)), (SERIES[0], 3, (EDITED,))]),
    ],
)
def test_only_the_sources_that_were_asked_for_are_taken_and_what_is_left_out_is_said(
    root: Path, sources: tuple[Source, ...], expected: list[tuple[str, int, tuple[Source, ...]]]
) -> None:
    split = read_split(root, "train", sources)
    assert marked(split.slices) == expected
    assert len(split.slices[0].boxes) == 1
    assert "which was not asked for" in split.note
    assert "1 not accepted by a person (line 5)" in split.note


def test_an_annotation_file_beside_a_series_takes_the_tables_place(root: Path) -> None:
    save(root, lesion(1, MINED), lesion(2, EXPERT, State.REJECTED), lesion(3, EDITED, State.PENDING), lesion(6, EXPERT))
    split = read_split(root, "train", tuple(Source))
    ours = [key for key in split.slices if key.series == SERIES[1]]
    # Slices that the table does not list are key slices of their own, read as the nearest one that it does.
    assert marked(ours) == [(SERIES[1], 1, (MINED,)), (SERIES[1], 6, (EXPERT,))]
    assert [key.window for key in ours] == [(-1500.0, 500.0)] * 2
    assert ours[0].boxes.tolist() == [[4, 4, 14, 14]]
    assert ours[0].size == (40, 40)
    assert f"{SERIES[1]}.lesions.json, lesion 2" in split.note


def test_a_file_from_which_all_was_removed_leaves_nothing(root: Path) -> None:
    save(root)
    assert {key.series for key in read_split(root, "train", tuple(Source)).slices} == {SERIES[0]}


def test_a_file_of_another_scan_counts_for_nothing(root: Path) -> None:
    save(root, scan_id="deeplesion:000009_01_01")
    assert SERIES[1] in {key.series for key in read_split(root, "train", tuple(Source)).slices}


def test_slices_beside_a_lesion_that_the_table_does_not_list_are_not_free_of_lesions(root: Path) -> None:
    save(root, replace(lesion(6, MINED), box=(4.0, 4.0, 8.0, 8.0)))
    far = [key for key in read_split(root, "train", (MINED,)).slices if key.series == SERIES[1]]
    free = [replace(far[0], number=number, boxes=np.zeros((0, 4))) for number in (6 + 16, 6 - 16, 6 + 17)]
    # It may reach 30 mm and half its own 4 mm, slices lie 2 mm apart.
    assert [key.number for key in clear_of(far, free)] == [23]
    assert len(clear_of(far, [replace(free[0], series=SERIES[0])])) == 1


def test_sources_of_which_there_is_nothing_are_refused(root: Path) -> None:
    (root / "DL_info.csv").write_text(
        ",".join(COLUMNS) + "\n" + row(SERIES[1], 5, "1, 1, 11, 11").replace(",,\n", "\n")
    )
    with pytest.raises(DataError, match="1 expert, which was not asked for"):
        read_split(root, "train", (MINED,))
