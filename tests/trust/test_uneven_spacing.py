"""Why slices are no even grid: the distance changes, or slices are missing."""

from pathlib import Path

import numpy as np
import pytest

from napari_uld.ct import read_scan
from napari_uld.errors import MissingSlicesError, UnevenSpacingError

from .dicom_series import body, setting, write

UNEVEN = {
    "1.08, 4 and 7 mm": [1.08, *[4.0] * 5, *[7.0] * 5],
    "2.5, then 5 mm": [2.5] * 5 + [5.0] * 6,
    "5, then 2.5 mm": [5.0] * 3 + [2.5] * 8,
    "1 mm between 5 mm": [5.0] * 4 + [1.0] * 3 + [5.0] * 4,
    "4, then 7 mm": [4.0] * 5 + [7.0] * 6,
}


@pytest.mark.parametrize("steps", UNEVEN.values(), ids=UNEVEN)
@pytest.mark.parametrize("counted_down", [False, True])
def test_a_distance_that_changes_between_consecutive_slices_is_uneven(
    tmp_path: Path, steps: list[float], counted_down: bool
) -> None:
    numbers = setting(InstanceNumber=lambda i: 50 - i) if counted_down else None
    write(tmp_path, along=np.cumsum([0.0, *steps]).tolist(), change=numbers)
    with pytest.raises(UnevenSpacingError, match=r"reconstruct or export the series evenly") as error:
        read_scan(tmp_path)
    assert "missing" not in str(error.value)


def test_slices_that_the_numbers_say_are_missing_are_missing(tmp_path: Path) -> None:
    files = write(tmp_path, body(16))
    for index in (6, 8, 10, 12):
        files[index].unlink()
    with pytest.raises(MissingSlicesError, match="1 between slice 14 and slice 12"):
        read_scan(tmp_path)


def test_a_gap_that_the_numbers_do_not_show_says_so(tmp_path: Path) -> None:
    write(tmp_path, body(5), along=[0, 2, 4, 8, 10])
    with pytest.raises(MissingSlicesError, match="though their numbers follow on"):
        read_scan(tmp_path)
