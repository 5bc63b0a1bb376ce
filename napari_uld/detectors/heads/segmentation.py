"""From a pyramid down to a map of lesions at full resolution, and scores calibrated by it.

"The paper" is "Improving RetinaNet for CT lesion detection with dense masks from weak RECIST labels".
"""

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torchvision.ops import box_iou, clip_boxes_to_image

from napari_uld.detectors.encoders.pyramid import Attention, Skip
from napari_uld.detectors.heads.prior import expect_little
from napari_uld.detectors.losses.focal import PixelLoss
from napari_uld.masks import INSIDE

# Of a map's components the largest are looked at: an untrained path's noise has thousands.
MOST_COMPONENTS = 100


class SegmentationPath(nn.Module):
    """From P2 over P1 to a map of lesions at full resolution (section 2.2 and figure 1 of the paper).

    C1 joins through a 1x1 convolution, the input through two of 3x3. The paper gives no width: the recipe's
    default is 32 channels at both resolutions, with which the path is an eighth of the baseline's work; 256 as
    in the pyramid would more than double it.

    Parameters
    ----------
    pyramid_channels, c1_channels, image_channels
        Channels of P2, C1 and the input.
    channels
        Channels of P1 and of full resolution.
    gated
        Whether attention gates filter the skip connections.
    loss
        Of its pixels.
    """

    def __init__(
        self,
        *,
        pyramid_channels: int,
        c1_channels: int,
        image_channels: int,
        channels: int,
        gated: bool,
        loss: PixelLoss,
    ) -> None:
        super().__init__()
        self.loss = loss
        self.reduce = nn.Conv2d(pyramid_channels, channels, 1)
        self.c1 = Skip(nn.Conv2d(c1_channels, channels, 1), channels, gated=gated)
        self.p1 = _conv(channels, channels)
        self.image = Skip(
            nn.Sequential(_conv(image_channels, channels), _conv(channels, channels)), channels, gated=gated
        )
        self.p0 = _conv(channels, channels)
        self.predict = nn.Conv2d(channels, 1, 1)
        expect_little(self.predict)

    def forward(self, images: Tensor, c1: Tensor, p2: Tensor) -> tuple[Tensor, Attention]:
        """Images (N, C, H, W), C1 and P2 -> logits (N, H, W), and the gates' maps."""
        merged, at_c1 = self.c1(c1, self.reduce(p2))
        merged, at_image = self.image(images, self.p1(merged))
        maps = {"C1": at_c1, "input": at_image}
        return self.predict(self.p0(merged))[:, 0], {name: m for name, m in maps.items() if m is not None}


class Calibration:
    """p~ / 2 = p (1 + IoU) / 2 with the box about the predicted component that a box fits best (section 2.2).

    Parameters
    ----------
    margin
        Annotated boxes are wider than what they hold: so much is added to a component's box on each side, in input
        pixels (5 of the slice's own, which are as many where it has 512).
    """

    def __init__(self, margin: float) -> None:
        self.margin = margin

    def __call__(self, mask: Tensor, boxes: Tensor, scores: Tensor) -> Tensor:
        """Calibrate scores (n,) of boxes (n, 4) by a map (H, W) of probabilities."""
        return scores * (1 + best_overlap(boxes, component_boxes(mask, self.margin))) / 2


def component_boxes(mask: Tensor, margin: float) -> Tensor:
    """Edge-based boxes (k, 4) about the largest components of a map (H, W) of probabilities, wider by `margin`."""
    inside = (mask >= INSIDE).cpu().numpy().astype(np.uint8)
    _, _, stats, _ = cv2.connectedComponentsWithStats(inside)
    largest = np.argsort(-stats[1:, cv2.CC_STAT_AREA], kind="stable")[:MOST_COMPONENTS]
    x, y, width, height = stats[1:][largest, :4].T
    boxes = np.stack([x - margin, y - margin, x + width + margin, y + height + margin], axis=1).astype(np.float32)
    return clip_boxes_to_image(torch.from_numpy(boxes).to(mask.device), inside.shape)


def best_overlap(boxes: Tensor, components: Tensor) -> Tensor:
    """IoU (n,) of each box with the component's box that it fits best, 0 where there is none."""
    if not len(components):
        return boxes.new_zeros(len(boxes))
    return box_iou(boxes, components).amax(dim=1)


def _conv(channels: int, out: int) -> nn.Sequential:
    conv = nn.Conv2d(channels, out, 3, padding=1)
    nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    return nn.Sequential(conv, nn.ReLU(inplace=True))
