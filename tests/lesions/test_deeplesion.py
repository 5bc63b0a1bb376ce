import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis.extra import numpy as hnp

from napari_uld.ct.dl_info import COLUMNS, DlInfo, read_dl_info
from napari_uld.errors import AnnotationFileError, FileChangedError
from napari_uld.lesions.annotations import Annotation, Annotations, LesionType, Source, State, new_id
from napari_uld.lesions.deeplesion import PROVENANCE, annotations_from_dl_info, write_dl_info
from napari_uld.lesions.recist import Recist
from napari_uld.lesions.rle import Rle, decode, encode

REAL = Path(__file__).parents[3] / "shared" / "data" / "deeplesion" / "DL_info.csv"
HEADER = ",".join(COLUMNS)
SERIES = "000001_03_01"
ROWS = [
    '000001_03_01_088.png,1,3,1,88,"12, 13, 18, 21, 14, 19, 17, 16","7, 8, 23, 26","10, 4.24264","0.1, 0.2, 0.3",'
    '3,0,"80, 96","0.75, 0.5, 5","512, 512","-175, 275",F,62.0,3',
    '000002_01_01_010.png,2,1,1,10,"12, 13, 18, 21, 14, 19, 17, 16","7, 8, 23, 26","10, 4.24264","0.1, 0.2, 0.3",'
    '-1,1,"5, 20","0.75, 0.5, 2","512, 512","-1500, 500",M,NaN,1',
    '000001_03_01_090.png,1,3,1,90,"32, 13, 38, 21, 34, 19, 37, 16","27, 8, 43, 26","10, 4.24264","0.4, 0.2, 0.3",'
    '5,0,"80, 96","0.75, 0.5, 5","512, 512","-1500, 500",F,62.0,3',
]


@pytest.fixture
def info(tmp_path: Path) -> DlInfo:
    path = tmp_path / "DL_info.csv"
    path.write_bytes("\r\n".join([HEADER, *ROWS]).encode())  # no final newline
    return read_dl_info(path)


def lesions(info: DlInfo) -> Annotations:
    return Annotations("scan", annotations_from_dl_info(info, SERIES, "scan"))


def mined(state: State) -> Annotation:
    box = (100.25, 50.0, 120.0, 80.5)
    return Annotation(
        id=new_id("scan", 97, box, "finding:1"),
        scan_id="scan",
        key_slice=97,
        box=box,
        source=Source.MINED,
        state=state,
        parent_id="finding:1",
        score=0.875,
        detector="faster_rcnn 0123abcd",
        reviewer="Ann, MD",
        time="2026-01-02T03:04:05+00:00",
    )


def test_a_row_becomes_a_lesion_with_coordinates_from_zero(info: DlInfo) -> None:
    first, second = annotations_from_dl_info(info, SERIES, "scan")
    assert first == Annotation(
        id=new_id("scan", 88, (6.0, 7.0, 22.0, 25.0)),
        scan_id="scan",
        key_slice=88,
        box=(6.0, 7.0, 22.0, 25.0),
        recist=Recist(((11, 12), (17, 20)), ((13, 18), (16, 15))),
        lesion_type=LesionType.MEDIASTINUM,
    )
    assert (second.key_slice, second.lesion_type) == (90, LesionType.LUNG)
    (noisy,) = annotations_from_dl_info(info, "000002_01_01", "other")
    assert noisy.noisy
    assert noisy.lesion_type is LesionType.UNKNOWN
    assert annotations_from_dl_info(info, "000009_01_01", "scan") == []


def test_a_table_without_changes_is_written_byte_for_byte(info: DlInfo) -> None:
    before = info.path.read_bytes()
    write_dl_info(info.path, info, {SERIES: lesions(info)})
    assert info.path.read_bytes() == before


def test_only_the_fields_of_the_lesion_that_changed_are_written_anew(info: DlInfo) -> None:
    table = lesions(info)
    first = next(iter(table))
    table.edit(first.id, box=(5.5, 7.0, 22.123456, 25.0))
    written = write_dl_info(info.path, info, {SERIES: table})
    old, new = (row for row in (info.rows[0].fields, written.rows[0].fields))
    assert {name for name in COLUMNS if old[name] != new[name]} == {"Bounding_boxes", "Normalized_lesion_location"}
    assert new["Bounding_boxes"] == "6.5, 8, 23.1235, 26"
    assert all(map(math.isnan, written.rows[0].numbers["Normalized_lesion_location"]))
    # Its id no longer follows from its box: that is provenance. The other rows' 18 columns stay.
    assert new["Lesion_id"] == first.id
    assert [row.line.rstrip("\r\n") for row in written.rows[1:]] == [row + "," * len(PROVENANCE) for row in ROWS[1:]]
    assert annotations_from_dl_info(written, SERIES, "scan")[0].id == first.id
    assert write_dl_info(info.path, written, {SERIES: table}).to_bytes() == written.to_bytes()


def test_a_changed_measurement_renews_its_diameters_and_nothing_else(info: DlInfo) -> None:
    table = lesions(info)
    first = next(iter(table))
    table.edit(first.id, recist=Recist(((0, 0), (3, 4)), ((0, 4), (1, 4.5))))
    written = write_dl_info(info.path, info, {SERIES: table})
    assert written.columns == tuple(COLUMNS)
    assert written.rows[0].fields["Measurement_coordinates"] == "1, 1, 4, 5, 1, 5, 2, 5.5"
    assert written.rows[0].fields["Lesion_diameters_Pixel_"] == "5, 1.11803"
    assert [row.line for row in written.rows[1:]] == [row.line for row in info.rows[1:]]


def test_a_changed_type_is_written_into_a_line_that_differs_in_nothing_else(info: DlInfo) -> None:
    table = lesions(info)
    table.edit(next(iter(table)).id, lesion_type=LesionType.LIVER)
    write_dl_info(info.path, info, {SERIES: table})
    expected = "\r\n".join([HEADER, ROWS[0].replace(",3,0,", ",4,0,"), *ROWS[1:]])
    assert info.path.read_bytes() == expected.encode()


def test_an_accepted_finding_is_written_with_its_provenance_and_read_back(info: DlInfo) -> None:
    table = lesions(info)
    new = table.add(mined(State.ACCEPTED))
    written = write_dl_info(info.path, info, {SERIES: table})
    assert read_dl_info(info.path).to_bytes() == written.to_bytes()
    assert annotations_from_dl_info(written, SERIES, "scan") == [*lesions(info), new]
    row = written.rows[3]
    assert row.file_name == "000001_03_01_097.png"
    assert row.slice_range == (80, 97)
    assert row.window == (-1500, 500)  # of the nearest lesion
    assert row.numbers["Bounding_boxes"] == (101.25, 51.0, 121.0, 81.5)
    assert row.fields["Measurement_coordinates"] == ", ".join(["NaN"] * 8)
    assert row.fields["Parent_id"] == "finding:1"
    assert not info.rows[-1].line.endswith("\n")
    assert written.rows[2].line.endswith("\r\n")


@pytest.mark.parametrize("state", [State.REJECTED, State.PENDING])
def test_what_a_machine_found_and_nobody_accepted_is_not_written(info: DlInfo, state: State) -> None:
    table = lesions(info)
    table.add(mined(state))
    write_dl_info(info.path, info, {SERIES: table})
    assert info.path.read_bytes() == "\r\n".join([HEADER, *ROWS]).encode()


def test_a_removed_or_rejected_lesion_leaves_the_table(info: DlInfo) -> None:
    table = lesions(info)
    first, second = table
    table.remove(first.id)
    table.set_state(second.id, State.REJECTED)
    write_dl_info(info.path, info, {SERIES: table})
    assert info.path.read_bytes() == f"{HEADER}\r\n{ROWS[1]}\r\n".encode()


def test_two_equal_rows_are_two_lesions(tmp_path: Path) -> None:
    path = tmp_path / "DL_info.csv"
    path.write_text("\n".join([HEADER, ROWS[0], ROWS[0], ""]))
    info = read_dl_info(path)
    table = lesions(info)
    assert len(table) == 2
    write_dl_info(path, info, {SERIES: table})
    assert path.read_text() == "\n".join([HEADER, ROWS[0], ROWS[0], ""])


def test_a_corrected_mask_has_a_column_after_the_others_and_is_read_back(info: DlInfo) -> None:
    table = lesions(info)
    first = table.edit(next(iter(table)).id, mask=Rle((3, 4), (2, 3, 7)))
    written = write_dl_info(info.path, info, {SERIES: table})
    assert written.columns == (*COLUMNS, *PROVENANCE)
    assert PROVENANCE[-2:] == ("Corrected_mask", "Comment")
    lines = info.path.read_bytes().decode().split("\r\n")
    assert lines[1:] == [
        ROWS[0] + "," * (len(PROVENANCE) - 1) + "3 4 2 3 7,",
        *(row + "," * len(PROVENANCE) for row in ROWS[1:]),
    ]
    again = annotations_from_dl_info(read_dl_info(info.path), SERIES, "scan")
    assert [lesion.mask for lesion in again] == [first.mask, None]
    assert again == list(table)


def test_a_mask_that_is_taken_back_leaves_its_field_blank(info: DlInfo) -> None:
    table = lesions(info)
    first = table.edit(next(iter(table)).id, mask=Rle((2, 2), (1, 3)))
    written = write_dl_info(info.path, info, {SERIES: table})
    table.edit(first.id, mask=None)
    assert write_dl_info(info.path, written, {SERIES: table}).rows[0].fields["Corrected_mask"] == ""


def test_the_mask_that_a_machine_gave_its_lesion_is_not_written(info: DlInfo) -> None:
    table = lesions(info)
    new = table.add(replace(mined(State.ACCEPTED), mask=Rle((2, 2), (1, 3))))
    written = write_dl_info(info.path, info, {SERIES: table})
    assert written.rows[-1].fields["Corrected_mask"] == ""
    assert annotations_from_dl_info(written, SERIES, "scan")[-1] == replace(new, mask=None)
    assert write_dl_info(info.path, written, {SERIES: table}).to_bytes() == written.to_bytes()
    # Once a person painted it, it is.
    table.edit(new.id, mask=Rle((2, 2), (0, 4)))
    again = write_dl_info(info.path, written, {SERIES: table})
    assert again.rows[-1].fields["Corrected_mask"] == "2 2 0 4"


def test_a_table_with_older_provenance_gets_the_mask_column_only_with_a_mask(tmp_path: Path) -> None:
    path, older = tmp_path / "DL_info.csv", PROVENANCE[: PROVENANCE.index("Corrected_mask")]
    blank = "," * len(older)
    path.write_text("\n".join([",".join([HEADER, *older]), ROWS[0] + blank, ROWS[1] + blank, ""]))
    info = read_dl_info(path)
    table = lesions(info)
    (lesion,) = table
    table.edit(lesion.id, reviewer="Ann")
    written = write_dl_info(path, info, {SERIES: table})
    assert written.columns == (*COLUMNS, *older)
    assert written.rows[1].line == info.rows[1].line
    table.edit(lesion.id, mask=Rle((2, 2), (0, 4)))
    written = write_dl_info(path, written, {SERIES: table})
    assert written.columns == (*COLUMNS, *PROVENANCE)
    assert written.rows[0].line == f"{ROWS[0]},,,,,,,Ann,,2 2 0 4,\n"
    assert written.rows[1].line == f"{ROWS[1]}{blank},,\n"


def test_a_comment_has_a_column_after_the_others_and_is_read_back(info: DlInfo) -> None:
    table = lesions(info)
    first = table.edit(next(iter(table)).id, comment='calcified, "old"; same as in 2019')
    written = write_dl_info(info.path, info, {SERIES: table})
    assert written.columns == (*COLUMNS, *PROVENANCE)
    assert annotations_from_dl_info(read_dl_info(info.path), SERIES, "scan")[0] == first
    # Whoever knows the 18 columns alone sees what was there.
    assert written.rows[0].line.startswith(ROWS[0] + ",")


def test_a_mask_of_more_runs_than_a_field_may_hold_is_refused(info: DlInfo) -> None:
    table = lesions(info)
    table.edit(next(iter(table)).id, mask=Rle((300, 300), (1,) * 90_000))
    with pytest.raises(AnnotationFileError, match="90000 runs"):
        write_dl_info(info.path, info, {SERIES: table})
    assert info.path.read_bytes() == "\r\n".join([HEADER, *ROWS]).encode()


@given(mask=hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12)))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_mask_comes_back_as_it_was_written(tmp_path: Path, mask: np.ndarray) -> None:
    path = tmp_path / "DL_info.csv"
    path.write_text(f"{HEADER}\n{ROWS[0]}\n")
    table = lesions(read_dl_info(path))
    table.edit(next(iter(table)).id, mask=encode(mask))
    write_dl_info(path, read_dl_info(path), {SERIES: table})
    (lesion,) = annotations_from_dl_info(read_dl_info(path), SERIES, "scan")
    assert lesion.mask is not None
    assert np.array_equal(decode(lesion.mask), mask)


def test_a_table_that_another_program_changed_is_not_overwritten(info: DlInfo) -> None:
    info.path.write_text(HEADER + "\n")
    with pytest.raises(FileChangedError):
        write_dl_info(info.path, info, {SERIES: lesions(info)})
    assert info.path.read_text() == HEADER + "\n"


def test_a_lesion_of_a_series_without_a_row_is_refused(info: DlInfo) -> None:
    table = Annotations("scan", [mined(State.ACCEPTED)])
    with pytest.raises(AnnotationFileError, match="no row of the series 000007_01_01"):
        write_dl_info(info.path, info, {"000007_01_01": table})


def test_a_line_break_in_a_name_is_refused(info: DlInfo) -> None:
    table = lesions(info)
    table.add(replace(mined(State.ACCEPTED), reviewer="a\nb"))
    with pytest.raises(AnnotationFileError, match="line break"):
        write_dl_info(info.path, info, {SERIES: table})


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('"7, 8, 23, 26"', '"23, 8, 7, 26"', "Bounding_boxes: found '23, 8, 7, 26', required x1 <= x2"),
        (",3,0,", ",9,0,", "Coarse_lesion_type: found '9', required -1 or 1 to 8"),
        (",3,0,", ",3,2,", "Possibly_noisy: found '2', required 0 or 1"),
    ],
)
def test_a_value_that_cannot_be_is_refused_by_line_and_column(tmp_path: Path, old: str, new: str, told: str) -> None:
    path = tmp_path / "DL_info.csv"
    path.write_text(f"{HEADER}\n{ROWS[0].replace(old, new)}\n")
    with pytest.raises(AnnotationFileError) as refused:
        annotations_from_dl_info(read_dl_info(path), SERIES, "scan")
    assert f"{path}, line 2, column {told}" in str(refused.value)


@pytest.mark.parametrize(
    ("column", "value"),
    [("Source", "oracle"), ("State", "maybe"), ("Score", "high"), ("Score", "nan"), ("Review_time", "noon")]
    + [("Corrected_mask", text) for text in ("2", "2 2 3", "2 2 5 -1", "2 2 1.5 2.5", "none", "2 2 1 x", "-2 -2 4")],
)
def test_damaged_provenance_is_refused_by_column(tmp_path: Path, column: str, value: str) -> None:
    path = tmp_path / "DL_info.csv"
    path.write_text(f"{HEADER},{column}\n{ROWS[0]},{value}\n")
    with pytest.raises(AnnotationFileError, match=f"column {column}: found '{value}'"):
        annotations_from_dl_info(read_dl_info(path), SERIES, "scan")


@pytest.mark.skipif(not REAL.exists(), reason="DeepLesion's DL_info.csv is not here")
def test_the_real_table_is_written_byte_for_byte_where_nothing_changed(tmp_path: Path) -> None:
    info = read_dl_info(REAL)
    tables = {s: Annotations(s, annotations_from_dl_info(info, s, s)) for s in info.by_series}
    assert sum(map(len, tables.values())) == 4927
    write_dl_info(tmp_path / "DL_info.csv", info, tables)
    assert (tmp_path / "DL_info.csv").read_bytes() == REAL.read_bytes()


@pytest.mark.skipif(not REAL.exists(), reason="DeepLesion's DL_info.csv is not here")
def test_recomputing_every_field_of_the_real_table_gives_its_numbers(tmp_path: Path) -> None:
    """Lesions written as if they were new get the measurement, box and diameters they came with."""
    info = read_dl_info(REAL)
    tables = {}
    for series in info.by_series:
        table = Annotations(series, annotations_from_dl_info(info, series, series))
        for lesion in list(table):
            table.remove(lesion.id)
            table.add(replace(lesion, id=f"again {lesion.id}"))
        tables[series] = table
    written = write_dl_info(tmp_path / "DL_info.csv", info, tables)
    for series, rows in info.by_series.items():
        for old, new in zip(rows, written.by_series[series], strict=True):
            for name in ("File_name", "Measurement_coordinates", "Bounding_boxes", "Coarse_lesion_type"):
                assert new.fields[name] == old.fields[name]
            diameters = new.numbers["Lesion_diameters_Pixel_"]
            # DeepLesion computed them before it rounded the end points.
            assert diameters == pytest.approx(old.numbers["Lesion_diameters_Pixel_"], abs=2e-3)
