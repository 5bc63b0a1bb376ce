import math
import time
from pathlib import Path

import pytest

from napari_uld.ct.dl_info import COLUMNS, read_dl_info
from napari_uld.errors import AnnotationFileError

REAL = Path(__file__).parents[3] / "shared" / "data" / "deeplesion" / "DL_info.csv"
HEADER = ",".join(COLUMNS)
ROW = (
    '000001_03_01_088.png,1,3,1,88,"2, 3, 8, 11, 4, 9, 7, 6","1.5, 2, 9, 12","10, 4.24264","0.1, 0.2, 0.3",'
    '3,0,"58, 118","0.75, 0.5, 5","512, 256","-175, 275",F,62.0,3'
)


def write(folder: Path, *lines: str, end: str = "\r\n", last: str | None = None, bom: bytes = b"") -> Path:
    path = folder / "DL_info.csv"
    path.write_bytes(bom + (end.join(lines) + (end if last is None else last)).encode())
    return path


def test_a_row_offers_its_fields_with_their_types(tmp_path: Path) -> None:
    (row,) = read_dl_info(write(tmp_path, HEADER, ROW)).rows
    assert row.file_name == "000001_03_01_088.png"
    assert row.series == "000001_03_01"
    assert (row.key_slice, row.slice_range, row.image_size, row.split) == (88, (58, 118), (512, 256), 3)
    assert row.spacing == (5.0, 0.5, 0.75)
    assert row.window == (-175.0, 275.0)
    assert row.numbers["Bounding_boxes"] == (1.5, 2.0, 9.0, 12.0)
    assert row.line_number == 2


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("last", [None, "", "\n\n", "  \r\n"])
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
def test_the_text_is_kept_byte_for_byte(tmp_path: Path, end: str, last: str | None, bom: bytes) -> None:
    quoted = ROW.replace(",88,", ',"88",').replace("62.0", "NaN")
    path = write(tmp_path, HEADER, ROW, quoted, end=end, last=last, bom=bom)
    info = read_dl_info(path)
    assert len(info.rows) == 2
    assert info.columns == tuple(COLUMNS)
    assert info.line_end == end
    assert info.to_bytes() == path.read_bytes()


def test_bytes_that_are_no_utf8_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "DL_info.csv"
    path.write_bytes(f"{HEADER},note\n{ROW},".encode() + b"\xe9\xff\n")
    assert read_dl_info(path).to_bytes() == path.read_bytes()


def test_extra_columns_after_the_eighteen_are_kept(tmp_path: Path) -> None:
    info = read_dl_info(write(tmp_path, HEADER + ",note", ROW + ',"a ""b"", c"'))
    assert info.rows[0].fields["note"] == 'a "b", c'


def test_rows_are_grouped_by_series(tmp_path: Path) -> None:
    other = ROW.replace("000001_03_01", "000002_01_01")
    info = read_dl_info(write(tmp_path, HEADER, ROW, other, ROW))
    assert {series: [r.line_number for r in rows] for series, rows in info.by_series.items()} == {
        "000001_03_01": [2, 4],
        "000002_01_01": [3],
    }


def test_a_missing_age_is_no_error(tmp_path: Path) -> None:
    (row,) = read_dl_info(write(tmp_path, HEADER, ROW.replace("62.0", "NaN"))).rows
    assert math.isnan(row.numbers["Patient_age"][0])


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ((HEADER.replace("Bounding_boxes,", ""), ROW), ["line 1", "Bounding_boxes", "18 columns"]),
        ((HEADER + ",Series_ID", ROW + ",1"), ["line 1", "Series_ID"]),
        ((HEADER, ROW + ",7"), ["line 2", "19 fields", "18"]),
        ((HEADER, ROW, ROW.replace('"', "")), ["line 3", "fields", "quoted"]),
        ((HEADER, ROW, "", ROW), ["line 3", "found 0 fields"]),
        ((HEADER, ROW.replace("1.5, 2", "1.5; 2")), ["line 2", "Bounding_boxes", "'1.5; 2, 9, 12'", "4 numbers"]),
        ((HEADER, ROW.replace("1.5, 2", "nan, 2")), ["line 2", "Bounding_boxes", "4 numbers"]),
        ((HEADER, ROW.replace("1.5, 2", "inf, 2")), ["line 2", "Bounding_boxes", "4 numbers"]),
        ((HEADER, ROW.replace(",1,88,", ",1,88.5,")), ["line 2", "Key_slice_index", "'88.5'", "whole number"]),
        ((HEADER, ROW.replace("62.0", "old")), ["line 2", "Patient_age", "'old'"]),
        ((HEADER, ROW.replace("000001_03_01_088.png", "../088.png")), ["line 2", "File_name", "'../088.png'"]),
        ((HEADER, ROW.replace("000001_03_01_088.png", "088.png")), ["line 2", "File_name"]),
        (("",), ["line 1", "File_name"]),
    ],
)
def test_a_malformed_file_is_refused_by_line_and_column(
    tmp_path: Path, lines: tuple[str, ...], told: list[str]
) -> None:
    path = write(tmp_path, *lines)
    with pytest.raises(AnnotationFileError) as refused:
        read_dl_info(path)
    for part in [str(path), *told]:
        assert part in str(refused.value)


@pytest.mark.parametrize("extra", ["1 " * 70_000, "a\rb"])
def test_a_line_whose_fields_cannot_be_told_apart_is_refused(tmp_path: Path, extra: str) -> None:
    path = write(tmp_path, HEADER + ",note", f"{ROW},{extra}")
    with pytest.raises(AnnotationFileError, match="line 2: found no fields that can be told apart"):
        read_dl_info(path)


def test_an_absent_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(AnnotationFileError, match=r"nowhere\.csv"):
        read_dl_info(tmp_path / "nowhere.csv")


def test_as_many_rows_as_deeplesion_has_are_read_within_two_seconds(tmp_path: Path) -> None:
    # Coordinates differ from row to row, as they do in the real table.
    rows = [ROW.replace("2, 3, 8", f"2, 3.{i}, 8").replace("1.5, 2", f"1.5, 1.{i}") for i in range(32_735)]
    path = write(tmp_path, HEADER, *rows)

    def seconds() -> float:
        start = time.process_time()
        assert len(read_dl_info(path).rows) == 32_735
        return time.process_time() - start

    # A busy machine may slow down one try.
    assert any(seconds() < 2.0 for _ in range(3))


@pytest.mark.skipif(not REAL.exists(), reason="DeepLesion's DL_info.csv is not here")
def test_the_real_table_is_kept_byte_for_byte() -> None:
    info = read_dl_info(REAL)
    assert len(info.rows) == 4927
    assert info.to_bytes() == REAL.read_bytes()
    assert info.rows[0].spacing == (5.0, 0.488281, 0.488281)
