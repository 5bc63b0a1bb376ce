"""Positive anchors per box, on boxes whose anchors can be counted by hand."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_uld.errors import DataError
from napari_uld.progress import finish
from napari_uld.training.data.coco import CocoImage, read_coco
from napari_uld.training.reports.positives import (
    RULES,
    RuleCount,
    anchor_grid,
    at_512,
    bmc_target,
    count_anchors,
    count_cells,
    count_positives,
    neighbourhood,
    plot_positives,
)

REAL = Path(__file__).parents[4] / "shared" / "data" / "annotations" / "deeplesion_val.json"
# 32 px wide and centred on a cell of stride 8: exactly one of the anchors.
ONE_ANCHOR = [52.0, 52.0, 84.0, 84.0]


def image_of(boxes: list[list[float]], noisy: list[bool] | None = None, side: int = 512) -> CocoImage:
    """An image with these edge-based boxes."""
    centred = np.asarray(boxes, dtype=np.float64).reshape(-1, 4) - 0.5
    return CocoImage("a.png", side, side, centred, np.asarray(noisy or [False] * len(boxes), dtype=bool))


def counts_of(boxes: list[list[float]], stride: int) -> dict[str, list[int]]:
    shape = (128, 128)
    counted = count_anchors(anchor_grid(shape, stride), bmc_target(np.asarray(boxes), shape))
    return {rule: per_box.tolist() for rule, (per_box, _) in counted.items()}


def test_a_box_that_is_an_anchor_matches_it_alone() -> None:
    counts = counts_of([ONE_ANCHOR], 8)
    # The same anchor on the next cell shares 24 of 32 px: 768 / 1280 = .6.
    assert counts["IoU .7"] == counts["IoU .7 + best"] == [1]
    # That one and its 4 neighbours; 46 x 22 and 22 x 46 here (.53) and a cell further along their length (.504);
    # the 24 px square here (.5625).
    assert counts["BM .5"] == [5 + 2 * 3 + 1]


def test_a_box_between_the_anchors_is_matched_only_by_force() -> None:
    # Its centre is a corner of four cells: the 32 px squares around it share 28 x 28 px, 784 / 1264 = .62.
    counts = counts_of([[48, 48, 80, 80]], 8)
    assert counts["IoU .7"] == [0]
    assert counts["IoU .7 + best"] == [4]


def test_bmc_takes_all_anchors_of_the_cells_that_the_map_fills() -> None:
    # The middle of 4 x 4 cells: 1 at the centre, .5 at the border. Antialiasing mixes about a cell of outside
    # into each outer cell: along an outer row .5 is kept, in the four corners it is not.
    counts = counts_of([[48, 48, 80, 80]], 8)
    assert counts["BMC objectness"] == [15 * 12]
    assert counts["BMC regression"] == [15 * 16], "16 cells of area: from .25 on"


def test_a_lesion_within_a_cell_is_no_foreground_but_is_regressed() -> None:
    counts = counts_of([[65.0, 65.0, 68.0, 68.0]], 8)
    assert counts["BMC objectness"] == [0]
    assert counts["BMC regression"] == [15]


def test_each_box_is_counted_for_itself() -> None:
    small = [100.0, 100.0, 103.0, 103.0]
    for boxes, order in (([ONE_ANCHOR, small], (0, 1)), ([small, ONE_ANCHOR], (1, 0))):
        counts = counts_of(boxes, 8)
        assert [counts["IoU .7"][i] for i in order] == [1, 0]
        assert [counts["BMC regression"][i] for i in order] == [counts_of([ONE_ANCHOR], 8)["BMC regression"][0], 15]


def test_every_anchor_of_an_image_is_positive_negative_or_between() -> None:
    grid = anchor_grid((128, 128), 8)
    assert len(grid.anchors) == 16 * 16 * 15
    counted = count_anchors(grid, bmc_target(np.asarray([ONE_ANCHOR]), (128, 128)))
    per_box, negatives = counted["BMC objectness"]
    assert per_box.sum() + negatives == len(grid.anchors)
    per_box, negatives = counted["IoU .7"]
    assert 0 < negatives < len(grid.anchors) - per_box.sum()


@st.composite
def lesions(draw: st.DrawFn) -> np.ndarray:
    """One to three boxes of whole quarters of a pixel, 11 to 120 px long, in 256 x 192 px."""
    rows = []
    for _ in range(draw(st.integers(1, 3))):
        width, height = draw(st.integers(44, 480)), draw(st.integers(44, 480))
        x, y = draw(st.integers(0, 4 * 192 - width)), draw(st.integers(0, 4 * 256 - height))
        rows.append([x, y, x + width, y + height])
    return np.asarray(rows) / 4


@settings(max_examples=40, derandomize=True)
@given(lesions(), st.sampled_from([4, 8]))
def test_the_part_of_an_image_around_its_boxes_says_all(boxes: np.ndarray, stride: int) -> None:
    shape = (256, 192)
    whole = count_anchors(anchor_grid(shape, stride), bmc_target(boxes, shape))
    moved, window = neighbourhood(boxes, shape)
    part = count_anchors(anchor_grid(window, stride), bmc_target(moved, window))
    elsewhere = 15 * (shape[0] * shape[1] - window[0] * window[1]) // stride**2
    for rule in ("IoU .7", "BM .5", "BMC objectness", "BMC regression"):
        np.testing.assert_array_equal(part[rule][0], whole[rule][0], err_msg=rule)
        assert part[rule][1] + elsewhere == whole[rule][1], rule


def test_boxes_of_a_larger_image_are_scaled_to_512_and_noisy_ones_go() -> None:
    boxes, shape = at_512(image_of([[10, 20, 30, 60], [100, 100, 200, 200]], [False, True], side=1024))
    np.testing.assert_array_equal(boxes, [[5, 10, 15, 30]])
    assert shape == (512, 512)


def test_a_box_over_the_border_is_cut_off_there() -> None:
    boxes, _ = at_512(image_of([[500, -4, 520, 20]]))
    np.testing.assert_array_equal(boxes, [[500, 0, 512, 20]])


def test_the_report_counts_boxes_images_and_all_anchors() -> None:
    images = [image_of([ONE_ANCHOR]), image_of([ONE_ANCHOR, [252.0, 252.0, 284.0, 284.0]]), image_of([])]
    report = finish(count_positives(images))
    assert (report.images, report.boxes) == (2, 3)
    assert [(count.stride, count.rule) for count in report.rules] == [(s, r) for s in (4, 8) for r in RULES]
    iou, bm = (next(c for c in report.rules if (c.rule, c.stride) == (rule, 8)) for rule in (RULES[0], RULES[2]))
    assert iou.per_box.tolist() == [1, 1, 1]
    assert iou.per_image.tolist() == [1, 2]
    assert bm.per_image.tolist() == [12, 24]
    foreground = next(c for c in report.rules if (c.rule, c.stride) == ("BMC objectness", 8))
    np.testing.assert_array_equal(foreground.per_image + foreground.negatives, 64 * 64 * 15)
    antialiased = next(c for c in report.cells if (c.resizing, c.stride) == ("antialiased", 8))
    np.testing.assert_array_equal(antialiased.half * 15, foreground.per_image)


def test_nothing_to_count_is_an_error() -> None:
    with pytest.raises(DataError, match="nothing to count"):
        finish(count_positives([image_of([]), image_of([ONE_ANCHOR], [True])]))


def test_a_rule_is_summed_up_in_shares_and_bins() -> None:
    numbers = np.asarray([0, 4, 5, 33])
    count = RuleCount("BMC regression", 8, numbers, np.asarray([4, 38]), np.asarray([40, 44]))
    boxes = {"stride": 8, "rule": "BMC regression", "<= 4, %": 50, "median": 4.5, "mean": 10.5, "most": 33}
    assert count.of_boxes() == boxes
    images = count.of_images()
    assert (images["<= 4, %"], images["median"], images["negatives a positive"]) == (50, 21, 2)
    binned = count.histogram()
    assert {name for name, value in binned.items() if value == 25} == {"0", "4", "5-8", ">32"}


def test_plain_resizing_reads_the_cells_middle_and_antialiased_all_of_it() -> None:
    bm = torch.zeros(8, 8)
    bm[3:5, 3:5] = 1
    assert count_cells(bm, (1, 1)) == {"antialiased": (0, 0), "plain bilinear": (1, 1)}


def test_the_picture_is_the_same_png_every_time(tmp_path: Path) -> None:
    report = finish(count_positives([image_of([ONE_ANCHOR])]))
    for name in ("a.png", "b"):
        plot_positives(report, tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b").read_bytes()
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.skipif(not REAL.is_file(), reason="DeepLesion's validation boxes are not here")
def test_most_real_boxes_match_no_more_than_four_anchors() -> None:
    report = finish(count_positives(read_coco(REAL)[:300]))
    for count in report.rules[0], report.rules[len(RULES)]:
        assert count.of_boxes()["<= 4, %"] > 70
