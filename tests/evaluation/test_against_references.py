"""Every protocol, on generated data sets, against the plain loops of `references`."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_uld.evaluation.average_precision import average_precision
from napari_uld.evaluation.coco import RECALLS, THRESHOLDS, coco_ap
from napari_uld.evaluation.froc import froc
from napari_uld.evaluation.matching import match
from napari_uld.evaluation.overlaps import iobb, iou, p3d_iou
from napari_uld.evaluation.protocols import PROTOCOLS

from . import references
from .references import Unit

thousand = settings(max_examples=1000)
# Quarters: sums and products of them are exact, so that no threshold is missed by a rounding.
side = st.sampled_from([2.0, 2.5, 3.0, 4.0, 6.0])
place = st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.0, 5.0])
score = st.sampled_from([0.1, 0.2, 0.4, 0.6, 0.8, 0.9])
rates = st.lists(st.sampled_from([0.125, 0.25, 0.3, 0.5, 1.0, 1.7, 2.0, 4.0, 8.0]), min_size=1, max_size=4)


def boxes(dims: int) -> st.SearchStrategy[tuple[float, ...]]:
    return st.tuples(*[place] * dims, *[side] * dims).map(
        lambda v: (*v[:dims], *(low + long for low, long in zip(v[:dims], v[dims:], strict=True)))
    )


def scenes(detected: st.SearchStrategy, truth: st.SearchStrategy) -> st.SearchStrategy:
    """A few images or volumes: what was detected with its scores, and what is there."""
    return st.lists(
        st.tuples(st.lists(st.tuples(score, detected), max_size=5), st.lists(truth, max_size=3)), min_size=1, max_size=4
    )


def rows(of: list[tuple[float, ...]], dims: int) -> np.ndarray:
    return np.asarray(of, float).reshape(-1, 2 * dims)


def check(scene: list, overlaps: list[np.ndarray], overlap_of, protocol: str, rates: list[float]) -> None:
    """FROC and average precision of a scene, ours and the reference's."""
    judge = PROTOCOLS[protocol]
    units = [
        Unit(
            [s for s, _ in found],
            [{i for i, lesion in enumerate(truth) if overlap_of(d, lesion) >= judge.threshold} for _, d in found],
            len(truth),
        )
        for found, truth in scene
    ]
    matches = match(overlaps, [np.asarray([s for s, _ in found]) for found, _ in scene], threshold=judge.threshold)
    curve = froc(matches, rates, from_origin=judge.from_origin)
    expected = references.froc(units, rates, from_origin=judge.from_origin)
    assert curve.values == pytest.approx([float(value) for value in expected], abs=1e-12)
    expected_ap = references.ap(units, by_lesion=judge.by_lesion)
    assert average_precision(matches, by_lesion=judge.by_lesion) == pytest.approx(float(expected_ap), abs=1e-12)
    for point, threshold in enumerate(curve.scores):
        found = sum(references.found(unit, threshold) for unit in units)
        false = sum(references.false(unit, threshold) for unit in units)
        assert (curve.found[point], curve.false[point]) == (found, false)
        assert curve.missed[point] == sum(unit.lesions for unit in units) - found
        assert false <= rates[point] * len(units)


@thousand
@given(scenes(boxes(2), boxes(2)), rates, st.booleans(), st.booleans())
def test_image_by_image(scene: list, rates: list[float], inclusive: bool, of_detected: bool) -> None:
    ours, plainly = (iobb, references.iobb) if of_detected else (iou, references.iou)
    overlaps = [
        ours(rows([d for _, d in found], 2), rows(truth, 2), pixel_inclusive=inclusive) for found, truth in scene
    ]
    check(scene, overlaps, lambda a, b: plainly(a, b, inclusive), "image", rates)


@thousand
@given(
    scenes(
        st.dictionaries(st.integers(0, 3), boxes(2), min_size=1, max_size=3), st.tuples(st.integers(0, 3), boxes(2))
    ),
    rates,
)
def test_traced_by_p3d_iou(scene: list, rates: list[float]) -> None:
    overlaps = [
        p3d_iou([d for _, d in found], rows([box for _, box in truth], 2), np.asarray([z for z, _ in truth], int))
        for found, truth in scene
    ]
    check(scene, overlaps, references.p3d, "p3d", rates)


@thousand
@given(scenes(boxes(3), boxes(3)), rates)
def test_bodies_by_3d_iou(scene: list, rates: list[float]) -> None:
    overlaps = [iou(rows([d for _, d in found], 3), rows(truth, 3)) for found, truth in scene]
    # .3 is no binary fraction: ours and the reference's are compared as floats.
    check(scene, overlaps, lambda a, b: float(references.iou(a, b)), "3d", rates)


@thousand
@given(scenes(boxes(3), boxes(3)), rates)
def test_bodies_by_the_share_of_the_detected_box(scene: list, rates: list[float]) -> None:
    overlaps = [iobb(rows([d for _, d in found], 3), rows(truth, 3), pixel_inclusive=True) for found, truth in scene]
    check(scene, overlaps, lambda a, b: float(references.iobb(a, b, 1)), "lens", rates)


@thousand
@given(scenes(boxes(2), boxes(2)))
def test_cocos_average_precision(scene: list) -> None:
    images = [([s for s, _ in found], [d for _, d in found], truth) for found, truth in scene]
    overlaps = [iou(rows(detected, 2), rows(truth, 2)) for _, detected, truth in images]
    reached = coco_ap(overlaps, [np.asarray(scores) for scores, _, _ in images])
    expected = [references.coco_ap(images, threshold, RECALLS.tolist()) for threshold in THRESHOLDS.tolist()]
    assert (reached.ap, reached.ap50, reached.ap75) == pytest.approx(
        (np.mean(expected), expected[0], expected[5]), abs=1e-12
    )
