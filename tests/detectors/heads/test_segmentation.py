"""The path down to a map of lesions, and how it calibrates scores."""

import pytest
import torch
from torch import nn

from napari_uld.detectors.heads.prior import PRIOR
from napari_uld.detectors.heads.segmentation import Calibration, SegmentationPath, best_overlap, component_boxes
from napari_uld.detectors.losses.focal import PixelLoss


def path_of(*, gated: bool) -> SegmentationPath:
    loss = PixelLoss(alpha=0.25, gamma=2.0, weight=1.0)
    return SegmentationPath(pyramid_channels=16, c1_channels=4, image_channels=3, channels=8, gated=gated, loss=loss)


def test_the_segmentation_path_goes_to_full_resolution_and_expects_little() -> None:
    torch.manual_seed(0)
    path = path_of(gated=True)
    logits, attention = path(torch.randn(2, 3, 64, 48), torch.randn(2, 4, 32, 24), torch.randn(2, 16, 16, 12))
    assert logits.shape == (2, 64, 48)
    assert logits.sigmoid().mean().item() == pytest.approx(PRIOR, rel=0.3)
    assert {name: tuple(level.shape) for name, level in attention.items()} == {
        "C1": (2, 1, 32, 24),
        "input": (2, 1, 64, 48),
    }


def test_c1_joins_by_one_one_by_one_convolution_and_the_input_by_two_of_three_by_three() -> None:
    path = path_of(gated=False)
    kernels = {
        name: [m.kernel_size for m in skip.projection.modules() if isinstance(m, nn.Conv2d)]
        for name, skip in (("C1", path.c1), ("input", path.image))
    }
    assert kernels == {"C1": [(1, 1)], "input": [(3, 3), (3, 3)]}


def test_components_have_the_boxes_of_their_pixels_wider_by_the_margin_within_the_image() -> None:
    mask = torch.zeros(20, 30)
    mask[5:9, 10:16] = 0.7
    mask[18:20, 0:2] = 0.5
    mask[12, 25] = 0.49
    boxes = component_boxes(mask, 2.0)
    assert sorted(boxes.tolist()) == [[0.0, 16.0, 4.0, 20.0], [8.0, 3.0, 18.0, 11.0]]
    assert component_boxes(torch.zeros(4, 4), 5.0).shape == (0, 4)


def test_a_box_is_compared_with_the_component_that_it_fits_best() -> None:
    components = torch.tensor([[0.0, 0, 10, 10], [0.0, 0, 4, 10]])
    assert best_overlap(torch.tensor([[0.0, 0, 5, 10], [20.0, 20, 30, 30]]), components).tolist() == pytest.approx(
        [0.8, 0]
    )
    assert best_overlap(torch.ones(2, 4), torch.zeros(0, 4)).tolist() == [0, 0]


def test_a_score_is_halved_where_no_component_lies_and_kept_where_its_box_is_one() -> None:
    mask = torch.zeros(20, 30)
    mask[4:10, 10:20] = 0.6
    boxes = torch.tensor([[10.0, 4, 20, 10], [0.0, 12, 6, 18], [10.0, 4, 15, 10]])
    calibrated = Calibration(0.0)(mask, boxes, torch.tensor([0.8, 0.8, 0.8]))
    assert calibrated.tolist() == pytest.approx([0.8, 0.4, 0.8 * (1 + 0.5) / 2])
    assert Calibration(0.0)(torch.zeros(4, 4), boxes, torch.tensor([0.8, 0.6, 0.4])).tolist() == pytest.approx(
        [0.4, 0.3, 0.2]
    )
