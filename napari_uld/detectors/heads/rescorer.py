"""A second look at what a trained detector found: crops of the key image about its detections, scored on their own."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import box_iou, roi_align

from napari_uld.detectors.parts import Detections, Target


class CropRescorer(nn.Module):
    """Convolutions, each followed by a pooling, then the mean of all cells.

    Parameters
    ----------
    in_channels
        Slices of a crop.
    channels
        Of the first convolution; each further one has twice as many.
    convolutions
        How many there are.
    crop
        Cells of a crop on a side.
    context
        How many times as long as a detection's longer side a crop is.
    iou
        A detection is a lesion from this IoU on.
    samples
        Detections of an image that it learns from, the surest first; the lesions' own boxes come beside them.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        channels: int,
        convolutions: int,
        crop: int,
        context: float,
        iou: float,
        samples: int,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.BatchNorm2d(in_channels)]
        before = in_channels
        for number in range(convolutions):
            out = channels * 2**number
            layers += [nn.Conv2d(before, out, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2, ceil_mode=True)]
            before = out
        self.in_channels = in_channels
        self.features = nn.Sequential(*layers)
        self.logit = nn.Linear(before, 1)
        self.crop = crop
        self.context = context
        self.iou = iou
        self.samples = samples

    def forward(self, crops: Tensor) -> Tensor:
        """(n, C, h, w) crops -> (n,) logits of being a lesion."""
        return self.logit(self.features(crops).mean(dim=(2, 3))).float()[:, 0]

    def crops(self, images: Tensor, boxes: list[Tensor]) -> Tensor:
        """Square crops (sum of n, C, crop, crop) of the middle slices of images (N, slices, H, W) about boxes."""
        first = (images.shape[1] - self.in_channels) // 2
        centres = [(each[:, :2] + each[:, 2:]) / 2 for each in boxes]
        halves = [(each[:, 2:] - each[:, :2]).amax(dim=1, keepdim=True) * self.context / 2 for each in boxes]
        squares = [torch.cat([c - h, c + h], dim=1) for c, h in zip(centres, halves, strict=True)]
        key = images[:, first : first + self.in_channels].float().contiguous()
        return roi_align(key, squares, self.crop, sampling_ratio=2, aligned=True)

    def loss(self, images: Tensor, detections: Detections, targets: list[Target]) -> Tensor:
        """Mean binary cross entropy of the surest detections and of the lesions' own boxes."""
        boxes, labels = [], []
        for detected, target in zip(detections, targets, strict=True):
            lesions = target["boxes"][target["labels"] == 1]
            seen = torch.cat([detected["boxes"][: self.samples], lesions])
            hits = box_iou(seen, lesions) >= self.iou
            boxes.append(seen)
            labels.append(hits.any(dim=1).to(seen))
        if not sum(len(each) for each in boxes):
            return torch.stack([weights.sum() for weights in self.parameters()]).sum() * 0
        return F.binary_cross_entropy_with_logits(self(self.crops(images, boxes)), torch.cat(labels))

    def rescore(self, images: Tensor, detections: Detections) -> Detections:
        """The same detections, each with the mean of its score and this one's, best first."""
        if not sum(len(detected["scores"]) for detected in detections):
            return detections
        logits = self(self.crops(images, [detected["boxes"] for detected in detections]))
        seconds = logits.sigmoid().split([len(detected["scores"]) for detected in detections])
        return [
            _ordered(detected | {"scores": (detected["scores"] + second) / 2})
            for detected, second in zip(detections, seconds, strict=True)
        ]


def _ordered(detected: dict[str, Tensor]) -> dict[str, Tensor]:
    order = detected["scores"].argsort(descending=True, stable=True)
    of_detections = ("boxes", "scores", "labels", "masks", "points")
    return {name: value[order] if name in of_detections else value for name, value in detected.items()}
