"""The anchor search, on boxes whose best IoU can be computed by hand and on DeepLesion's."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_uld.ct.dl_info import read_dl_info
from napari_uld.errors import AnchorError, AnnotationFileError, DataError
from napari_uld.training.anchor_search import (
    BIN,
    PUBLISHED,
    PUBLISHED_SQUARED,
    RETINANET,
    AnchorSet,
    SearchBounds,
    best_ious,
    bin_sizes,
    keep_sizes,
    mean_best_ious,
    read_box_sizes,
    search_anchors,
    with_reciprocals,
)

REAL = Path(__file__).parents[3] / "shared" / "data" / "annotations" / "deeplesion_val.json"
WIDE = SearchBounds((0.2, 2.0), ((1.0, 4.0), (1.0, 4.0)))
# Sides are a property of lesions: from a few pixels to the whole image.
SIDES = st.floats(4, 512)
BOXES = st.lists(st.tuples(SIDES, SIDES), min_size=1, max_size=60).map(np.asarray)
CANDIDATES = st.tuples(*[st.floats(0.2, 2)] * 3, *[st.floats(1, 4)] * 2)


@pytest.fixture(scope="module")
def real() -> np.ndarray:
    if not REAL.is_file():
        pytest.skip("DeepLesion's validation boxes are not here")
    return read_box_sizes(REAL)


def lesions(n: int, seed: int = 0) -> np.ndarray:
    """Sizes distributed about as DeepLesion's are."""
    rng = np.random.default_rng(seed)
    side, ratio = rng.normal(np.log(29), 0.46, n), rng.normal(0, 0.23, n)
    return np.exp(np.stack([side - ratio / 2, side + ratio / 2], axis=1))


def set_of(candidate: tuple[float, ...]) -> AnchorSet:
    return AnchorSet(candidate[:3], with_reciprocals(candidate[3:]))


def objective(sizes: np.ndarray, candidate: tuple[float, ...], *, plus_one: bool = False) -> float:
    return float(mean_best_ious(bin_sizes(sizes), np.asarray(candidate)[:, None], plus_one=plus_one)[0])


def test_anchors_keep_their_area_and_have_height_over_width_as_ratio() -> None:
    shapes = AnchorSet(scales=(0.5, 1.0), ratios=(0.25, 1.0, 4.0), sizes=(32.0,)).shapes()
    np.testing.assert_allclose(shapes, [[32, 8], [16, 16], [8, 32], [64, 16], [32, 32], [16, 64]])


@pytest.mark.parametrize(
    ("box", "anchor", "expected"),
    [
        ((20, 10), (20, 10), 1.0),
        # Box inside anchor: 200 of 800.
        ((20, 10), (40, 20), 0.25),
        # Crossed: 10 x 10 shared, 200 + 200 - 100 in all.
        ((20, 10), (10, 20), 1 / 3),
        # 20 x 10 shared, 300 + 400 - 200 in all.
        ((30, 10), (20, 20), 0.4),
    ],
)
def test_the_iou_on_one_centre(box: tuple[int, int], anchor: tuple[int, int], expected: float) -> None:
    assert best_ious(np.array([box]), np.array([anchor])) == pytest.approx(expected)


def test_each_box_has_its_best_anchor() -> None:
    ious = best_ious(np.array([[20.0, 10.0], [10.0, 20.0], [40.0, 40.0]]), np.array([[20.0, 10.0], [40.0, 20.0]]))
    np.testing.assert_allclose(ious, [1, 1 / 3, 0.5])


def test_a_pixel_more_along_every_side_is_counted_where_asked() -> None:
    # 9 x 4 of 9 x 9 px, and with the pixel 10 x 5 of 10 x 10.
    assert best_ious(np.array([[9.0, 4.0]]), np.array([[9.0, 9.0]]), plus_one=True) == pytest.approx(0.5)
    assert best_ious(np.array([[9.0, 4.0]]), np.array([[9.0, 9.0]])) == pytest.approx(4 / 9)


def test_the_objective_of_hand_computed_boxes() -> None:
    # Of 32 px, scale 1 and ratio 4 is 16 x 64: the first box. The second fills half of the same on its side.
    boxes = np.array([[16.0, 64.0], [64.0, 8.0]])
    found = objective(boxes, (1, 2, 2, 1, 4))
    assert found == pytest.approx((1 + 0.5) / 2, abs=1e-5)


def test_bins_keep_every_box_and_its_mean() -> None:
    # Upright or on its side is the same; 100 and 102 differ by 2% and lie in one bin of 4%, 120 in another.
    bins = bin_sizes(np.array([[100.0, 200.0], [202.0, 102.0], [120.0, 200.0]]), width=0.04)
    order = np.argsort(bins.short)
    np.testing.assert_allclose(bins.short[order], [101, 120])
    np.testing.assert_allclose(bins.long[order], [201, 200])
    np.testing.assert_array_equal(bins.counts[order], [2, 1])


@settings(max_examples=60)
@given(BOXES, CANDIDATES, st.booleans())
def test_one_box_a_bin_is_exact(boxes: np.ndarray, candidate: tuple[float, ...], plus_one: bool) -> None:
    exact = best_ious(boxes, set_of(candidate).shapes(), plus_one=plus_one).mean()
    (found,) = mean_best_ious(keep_sizes(boxes), np.asarray(candidate)[:, None], plus_one=plus_one)
    assert found == pytest.approx(exact, abs=1e-4)


@settings(max_examples=60)
@given(BOXES, CANDIDATES, st.booleans())
def test_bins_change_the_objective_no_more_than_their_width_allows(
    boxes: np.ndarray, candidate: tuple[float, ...], plus_one: bool
) -> None:
    exact = best_ious(boxes, set_of(candidate).shapes(), plus_one=plus_one).mean()
    # 1 - IoU is a metric, and a box's IoU with its bin's mean is at least exp(-2 * BIN).
    assert objective(boxes, candidate, plus_one=plus_one) == pytest.approx(exact, abs=1 - np.exp(-2 * BIN))


@pytest.mark.parametrize("seed", range(5))
def test_bins_of_many_boxes_change_it_by_a_thousandth(seed: int) -> None:
    boxes = lesions(3000, seed)
    rng = np.random.default_rng(seed)
    for candidate in rng.uniform([0.4] * 3 + [1, 2], [1.6] * 3 + [2, 4], (20, 5)):
        exact = best_ious(boxes, set_of(tuple(candidate)).shapes()).mean()
        assert objective(boxes, tuple(candidate)) == pytest.approx(exact, abs=1e-3)


@settings(max_examples=40)
@given(BOXES, CANDIDATES)
def test_width_and_height_may_be_swapped_where_ratios_are_reciprocal(
    boxes: np.ndarray, candidate: tuple[float, ...]
) -> None:
    shapes = set_of(candidate).shapes()
    np.testing.assert_allclose(best_ious(boxes, shapes), best_ious(boxes[:, ::-1], shapes))
    assert objective(boxes, candidate) == objective(boxes[:, ::-1], candidate)


@settings(max_examples=40)
@given(BOXES, CANDIDATES, CANDIDATES)
def test_more_anchors_never_fit_worse(
    boxes: np.ndarray, candidate: tuple[float, ...], other: tuple[float, ...]
) -> None:
    few, more = set_of(candidate).shapes(), set_of(other).shapes()
    both = best_ious(boxes, np.concatenate([few, more]))
    np.testing.assert_array_equal(both, np.maximum(best_ious(boxes, few), best_ious(boxes, more)))
    pair = np.asarray(candidate)[:, None]
    fewer = mean_best_ious(bin_sizes(boxes), pair, sizes=(32.0, 64.0))
    assert mean_best_ious(bin_sizes(boxes), pair, sizes=(32.0, 64.0, 128.0)) >= fewer


def test_many_sets_are_judged_at_once_as_one_by_one() -> None:
    boxes = bin_sizes(lesions(200))
    candidates = np.random.default_rng(0).uniform([0.4] * 3 + [1, 2], [1.6] * 3 + [2, 4], (7, 5)).T
    alone = [mean_best_ious(boxes, column[:, None])[0] for column in candidates.T]
    np.testing.assert_allclose(mean_best_ious(boxes, candidates), alone, rtol=1e-6)


def test_a_seed_gives_the_same_set_twice() -> None:
    boxes = lesions(500)
    first, second = search_anchors(boxes, seed=3), search_anchors(boxes, seed=3)
    assert (first.anchors, first.objective, first.evaluations) == (second.anchors, second.objective, second.evaluations)
    assert search_anchors(boxes, seed=4).anchors != first.anchors


def test_the_search_finds_the_anchors_that_boxes_were_made_from() -> None:
    made = AnchorSet((0.5, 0.8, 1.3), with_reciprocals((1.5, 3.0)))
    found = search_anchors(made.shapes())
    assert best_ious(made.shapes(), found.anchors.shapes()).mean() > 0.98
    np.testing.assert_allclose(found.anchors.scales, made.scales, rtol=0.02)
    np.testing.assert_allclose(found.anchors.ratios, made.ratios, rtol=0.03)


def test_what_is_found_lies_within_its_bounds() -> None:
    anchors = search_anchors(lesions(300), SearchBounds((0.7, 0.9), ((1.4, 1.6), (3.0, 3.5)))).anchors
    assert all(0.7 <= scale <= 0.9 for scale in anchors.scales)
    assert anchors.ratios[2] == 1
    assert 1.4 <= anchors.ratios[3] <= 1.6
    assert 3.0 <= anchors.ratios[4] <= 3.5
    np.testing.assert_allclose(anchors.ratios, 1 / np.asarray(anchors.ratios[::-1]), rtol=1e-3)


def test_the_exact_search_uses_every_box() -> None:
    boxes = lesions(400)
    binned, exact = search_anchors(boxes), search_anchors(boxes, exact=True)
    assert binned.bins < exact.bins == 400
    assert exact.objective == pytest.approx(best_ious(boxes, exact.anchors.shapes()).mean(), abs=1e-4)


@pytest.mark.parametrize(
    "bounds",
    [
        {"scales": (1.6, 0.4)},
        {"scales": (1.0, 1.0)},
        {"scales": (0.0, 1.0)},
        {"scales": (-1.0, 1.0)},
        {"scales": (0.4, float("nan"))},
        {"ratios": ((1.0, 2.0), (4.0, 2.0))},
        {"ratios": ((0.5, 2.0), (2.0, 4.0))},
        {"ratios": ((1.0, float("inf")), (2.0, 4.0))},
    ],
)
def test_senseless_bounds_are_an_error(bounds: dict[str, tuple]) -> None:
    with pytest.raises(AnchorError, match="LOW < HIGH"):
        SearchBounds(**bounds)


@pytest.mark.parametrize("change", [{"scales": ()}, {"ratios": (1.0, 0.0)}, {"sizes": (-32.0,)}])
def test_a_senseless_anchor_set_is_an_error(change: dict[str, tuple[float, ...]]) -> None:
    with pytest.raises(AnchorError, match=f"positive {next(iter(change))}"):
        AnchorSet(**{"scales": (1.0,), "ratios": (1.0,), **change})


def test_no_boxes_and_boxes_without_a_size_are_errors() -> None:
    with pytest.raises(DataError, match="no box"):
        search_anchors(np.zeros((0, 2)))
    for side in (0.0, np.nan, np.inf):
        with pytest.raises(DataError, match="positive finite"):
            search_anchors(np.array([[20.0, 10.0], [5.0, side]]))


def test_coco_boxes_are_scaled_so_that_their_image_is_512_px_long(tmp_path: Path) -> None:
    images = [
        {"id": 1, "file_name": "a.png", "width": 1024, "height": 768},
        {"id": 2, "file_name": "b.png", "width": 128, "height": 256},
        {"id": 3, "file_name": "c.png", "width": 512, "height": 512},
    ]
    boxes = [{"image_id": 1, "bbox": [10, 10, 30, 50]}, {"image_id": 2, "bbox": [10, 10, 30, 50], "noisy": 1}]
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps({"images": images, "annotations": boxes}))
    np.testing.assert_array_equal(read_box_sizes(path), [[15, 25], [60, 100]])
    path.write_text(json.dumps({"images": images, "annotations": []}))
    with pytest.raises(DataError, match="no box"):
        read_box_sizes(path)
    with pytest.raises(AnnotationFileError, match="Cannot read"):
        read_box_sizes(tmp_path / "nothing.json")


def test_a_folders_boxes_are_its_splits_rows(phantoms: Path) -> None:
    rows = [row for row in read_dl_info(phantoms / "DL_info.csv").rows if row.split == 2]
    corners = np.asarray([row.numbers["Bounding_boxes"] for row in rows])
    expected = (corners[:, 2:] - corners[:, :2]) * [[512 / max(row.image_size)] for row in rows]
    found = read_box_sizes(phantoms)
    np.testing.assert_allclose(np.sort(found, axis=0), np.sort(expected, axis=0), atol=1e-3)
    assert len(read_box_sizes(phantoms, "all")) > len(found) > 0
    with pytest.raises(DataError, match="split"):
        read_box_sizes(phantoms, "nothing")  # type: ignore[arg-type]


@pytest.mark.parametrize(("anchors", "mean"), [(RETINANET, 0.636), (PUBLISHED, 0.851), (PUBLISHED_SQUARED, 0.8785)])
def test_known_sets_fit_deeplesion_as_published(real: np.ndarray, anchors: AnchorSet, mean: float) -> None:
    assert len(real) == 4889
    assert best_ious(real, anchors.shapes()).mean() == pytest.approx(mean, abs=0.002)


@pytest.mark.parametrize(("bounds", "least"), [(SearchBounds(), 0.879), (WIDE, 0.884)])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_search_fits_deeplesion_better(real: np.ndarray, bounds: SearchBounds, least: float, seed: int) -> None:
    found = search_anchors(real, bounds, seed=seed)
    mean = best_ious(real, found.anchors.shapes()).mean()
    assert mean >= least
    assert found.objective == pytest.approx(mean, abs=0.001)
