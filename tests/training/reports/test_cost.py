"""What networks cost: by hand for one convolution of each kind, and for every recipe."""

import pytest

from napari_uld.detectors.build import build_detector, parameter_count
from napari_uld.detectors.specs.recipe import load_recipe, recipe_names
from napari_uld.training.reports.cost import VOLUME, cost_of


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_says_what_its_parts_cost(name: str) -> None:
    recipe = load_recipe(name, "small")
    cost = cost_of(recipe)
    for counts in cost.values():
        assert counts["total"] == counts["trunk"] + counts["pyramid"] + counts["heads"]
    # Those of a detector that a rescorer looks at count, too: they are not trained any more.
    assert cost["parameters"]["total"] == parameter_count(build_detector(recipe).requires_grad_())
    assert cost["flops"]["trunk"] > 0
    assert cost["flops"]["heads"] > 0


def test_the_heads_of_vld_cost_what_their_convolutions_do() -> None:
    depth, height, width = VOLUME
    cells = depth * height // 4 * width // 4
    # Two ACS layers with 3 x 3 weights a view, and the heat map of one channel; two operations a weight and cell.
    wanted = 2 * cells * (2 * 9 * 512 * 256 + 256)
    assert cost_of(load_recipe("vld_acs_spr"))["flops"]["heads"] == wanted
    three_times = 2 * cells * (2 * 27 * 512 * 256 + 256)
    assert cost_of(load_recipe("vld_i3d"))["flops"]["heads"] == three_times


def test_a_network_of_slabs_looks_at_every_slice_in_turn() -> None:
    # The proposal network of Faster R-CNN on one level at a sixteenth or, by its pooling, an eighth of the size.
    recipe = load_recipe("faster_rcnn")
    stride = build_detector(recipe).strides[0]
    channels = recipe.detector.rpn_channels
    anchors = len(recipe.detector.anchor_sizes) * len(recipe.detector.anchor_ratios)
    cells = VOLUME[0] * VOLUME[1] // stride * VOLUME[2] // stride
    assert cost_of(recipe)["flops"]["heads"] == 2 * cells * (9 * 512 * channels + channels * anchors * 5)
