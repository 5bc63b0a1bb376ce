"""The anchors' report: figures that can be checked by hand, a recipe's fragment, the same picture every time."""

import tomllib
from pathlib import Path

import numpy as np
import pytest

from napari_uld.training.anchor_search import AnchorSet, Found, search_anchors
from napari_uld.training.reports.anchors import AnchorFit, plot_anchors, recipe_fragment, report_anchors

FOUND = Found(AnchorSet((0.5,), (1.0,)), objective=0.75, bins=2, evaluations=80, generations=1, seconds=0.1234)
# With 16 px squares: the anchor itself, half of it and a quarter.
SIZES = np.array([[16.0, 16.0], [16.0, 8.0], [8.0, 8.0]])


def test_a_fit_is_summed_up_in_mean_percentiles_and_the_share_below_a_half() -> None:
    ious = np.array([0.2, 0.4, 0.6, 0.8, 1.0])
    row = AnchorFit("mine", AnchorSet((1.0,), (1.0,)), ious).of_boxes()
    expected = {"anchors": "mine", "mean": 0.6, "min": 0.2, "5%": 0.24, "25%": 0.4, "50%": 0.6, "< 0.5, %": 40}
    assert row == pytest.approx(expected)


def test_the_found_set_is_judged_on_all_boxes_beside_the_known_ones() -> None:
    report = report_anchors(SIZES, FOUND)
    names = [fit.name for fit in report.fits]
    assert names == ["found", "RetinaNet's default", "published, as h/w", "published, as (h/w)^2"]
    np.testing.assert_allclose(report.fits[0].ious, [1, 0.5, 0.25])
    # The default's smallest are 32 px squares and, of the same area, 22.6 x 45.3 px.
    np.testing.assert_allclose(report.fits[1].ious, [256 / 1024, 128 / 1024, 64 / 1024])
    assert "80 anchor sets on 2 bins of 3 boxes" in report.search
    assert "0.7500 on the bins, 0.5833 on all boxes" in report.search


def test_the_published_ratios_are_given_in_both_readings() -> None:
    literal, squared = (fit.of_anchors() for fit in report_anchors(SIZES, FOUND).fits[2:])
    assert literal["scales"] == squared["scales"] == "0.425 0.54 0.68"
    assert literal["ratios (height / width)"] == "0.306 0.562 1 1.78 3.27"
    assert squared["ratios (height / width)"] == "0.553 0.75 1 1.33 1.81"


def test_the_pixel_more_reaches_every_figure() -> None:
    with_it = report_anchors(SIZES, FOUND, plus_one=True)
    np.testing.assert_allclose(with_it.fits[0].ious, [1, 17 * 9 / 17**2, 9**2 / 17**2])


def test_programs_get_the_sets_in_full() -> None:
    content = report_anchors(SIZES, FOUND).to_dict()
    assert content["boxes"] == 3
    assert content["search"]["evaluations"] == 80
    default = content["best_iou"][1]
    assert default["scales"] == (1.0, 2 ** (1 / 3), 2 ** (2 / 3))
    assert default["< 0.5, %"] == 100


def test_the_fragment_reads_back_as_the_found_set() -> None:
    sizes = np.exp(np.random.default_rng(0).normal(3.4, 0.4, (200, 2)))
    report = report_anchors(sizes, search_anchors(sizes))
    text = recipe_fragment(report, "boxes.json", "napari-uld anchors 'a\nb\udc80.json'")
    anchors = report.found.anchors
    assert tomllib.loads(text) == {
        "detector": {
            "anchor_sizes": list(anchors.sizes),
            "anchor_scales": list(anchors.scales),
            "anchor_ratios": list(anchors.ratios),
        }
    }
    assert list(anchors.ratios) == sorted(anchors.ratios)
    comment = text.splitlines()[0]
    assert comment.startswith("# 200 boxes of boxes.json: mean best IoU 0.")
    assert comment.endswith("by napari-uld anchors 'a?b?.json'")


@pytest.mark.parametrize("sizes", [SIZES, np.array([[300.0, 300.0]])], ids=["three boxes", "one box"])
def test_the_picture_is_the_same_png_every_time(tmp_path: Path, sizes: np.ndarray) -> None:
    report = report_anchors(sizes, FOUND)
    for name in ("a.png", "b"):
        plot_anchors(report, tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b").read_bytes()
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
