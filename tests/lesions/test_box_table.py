"""Boxes of many scans: which belong to a scan, to a part of it, to a slice."""

import numpy as np
import pytest

from napari_uld.errors import BoxError
from napari_uld.lesions.box_table import BoxTable, Extent, Margin, ScanBoxes, ScanName, from_findings
from napari_uld.lesions.findings import Findings

BOX = (1.0, 2.0, 9.0, 8.0)


def table(**scans: ScanBoxes) -> BoxTable:
    return BoxTable(
        "x", {name.replace("__", "-"): boxes for name, boxes in scans.items()}, Margin.PADDED, Extent.TRACED
    )


def test_a_name_says_the_series_its_slices_and_the_patient() -> None:
    part = ScanName.of("000012_03_01_103-115.annot")
    assert part == ("000012_03_01", 103, 115)
    assert part == ScanName.of("000012_03_01_103-115")
    assert (part.patient, ScanName.of("000012_03_01").patient, ScanName.of("thorax").patient) == (
        "000012",
        "000012",
        "thorax",
    )
    assert (part.holds(103), part.holds(115), part.holds(116)) == (True, True, False)
    assert ScanName.of("thorax").holds(7)


def test_a_traced_row_reaches_half_a_slice_beyond_its_outermost_ones() -> None:
    boxes = ScanBoxes.traced([{5: BOX, 7: (0.0, 3.0, 8.0, 9.0)}], [0.5])
    assert boxes.boxes.tolist() == [[0, 2, 4.5, 9, 9, 7.5]]
    assert ScanBoxes.traced([{5: BOX}]).scores.tolist() == [1]


def test_a_body_has_its_box_on_each_of_its_slices() -> None:
    boxes = ScanBoxes.bodies([[1, 2, 5, 9, 8, 7]])
    assert boxes.boxes.tolist() == [[1, 2, 4.5, 9, 8, 7.5]]
    assert boxes.slice_boxes == ({5: BOX, 6: BOX, 7: BOX},)


def test_a_row_without_a_slice_and_columns_of_different_length_are_refused() -> None:
    with pytest.raises(BoxError, match="on none"):
        ScanBoxes.traced([{}])
    with pytest.raises(BoxError, match="one length"):
        ScanBoxes.bodies([[1, 2, 5, 9, 8, 7]], [0.5, 0.5])


def test_a_part_of_a_scan_has_what_reaches_into_it_cut_off_there() -> None:
    whole = table(a=ScanBoxes.traced([dict.fromkeys(range(3, 8), BOX), {9: BOX}], [0.5, 0.7]))
    part = whole.of("a_006-008")
    assert part is not None
    assert part.boxes.tolist() == [[1, 2, 5.5, 9, 8, 7.5]]
    assert [*part.slice_boxes[0]] == [6, 7]
    assert part.scores.tolist() == [0.5]


def test_the_scan_of_that_very_name_comes_before_whatever_shares_its_slices() -> None:
    found = table(a_001__005=ScanBoxes.traced([{2: BOX}]), a_004__009=ScanBoxes.traced([{4: BOX}, {5: BOX}]))
    exact, whole, other = found.of("a_001-005"), found.of("a"), found.of("a_005-006")
    assert exact is not None
    assert whole is not None
    assert other is not None
    assert (len(exact), len(whole)) == (1, 3)
    assert [[*row] for row in other.slice_boxes] == [[5]]
    assert found.of("a_020-030") is None
    assert found.of("b") is None


def test_a_slice_has_the_boxes_of_every_scan_that_holds_it() -> None:
    found = table(a_001__005=ScanBoxes.traced([{2: BOX}], [0.3]), a_004__009=ScanBoxes.traced([{4: BOX}, {5: BOX}]))
    on_it = found.on_slice("a", 2)
    assert on_it is not None
    np.testing.assert_array_equal(on_it[0], [BOX])
    assert on_it[1].tolist() == [0.3]
    without = found.on_slice("a", 8)
    assert without is not None
    assert without[0].shape == (0, 4)
    assert found.on_slice("a", 10) is None


def test_findings_lose_what_they_call_false_and_keep_their_depths() -> None:
    findings = Findings.from_rows(
        scan_id="a",
        scan_name="a",
        method="m",
        checkpoint="c",
        boxes=[BOX, BOX],
        scores=[0.5, 0.9],
        key_slices=[5, 6],
        negative=[False, True],
        depths=[[4.25, 6.5], [5, 7]],
    )
    assert from_findings(findings).boxes.tolist() == [[1, 2, 4.25, 9, 8, 6.5]]
