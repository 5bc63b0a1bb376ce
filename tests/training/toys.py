"""A system in twenty lines each: parts that no file of the package knows, for `test_one_house`."""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_uld.detectors.backbones.vgg import Vgg
from napari_uld.detectors.build import build_proposals, build_regions
from napari_uld.detectors.one_stage import OneStageDetector
from napari_uld.detectors.parts import Detections, Detector, Features, Fused, GridSize, ImageSizes, Target, Taught
from napari_uld.detectors.specs.family import DetectorSpec, SupervisionSpec
from napari_uld.detectors.specs.inputs import InputSpec
from napari_uld.detectors.specs.mining import MiningSpec
from napari_uld.detectors.specs.system import Family
from napari_uld.detectors.specs.two_stage import StagesSpec, TwoStageSupervision
from napari_uld.detectors.two_stage import TwoStageDetector
from napari_uld.training.miners.miner import Miner

# -- a slab encoder: three images, the outer ones weighed by how thin the scan's slices are --


class ThinSpec(StagesSpec):
    family: Literal["thin"] = "thin"
    width: float = 0.125


class ThinEncoder(nn.Module):
    def __init__(self, backbone: Vgg) -> None:
        super().__init__()
        self.backbone = backbone
        self.channels, self.strides = backbone.out_channels[-1], backbone.strides[-1:]

    def per_image(self, images: Tensor) -> Features:
        return {"0": self.backbone(images)[-1]}

    def join(self, slab: list[Features], thickness: Tensor) -> Fused:
        above, key, below = (image["0"] for image in slab)
        fused = {"0": key + (above + below) / thickness.view(-1, 1, 1, 1)}
        return Fused(fused, [fused])


def build_thin(detector: ThinSpec, supervision: TwoStageSupervision, inputs: InputSpec) -> Detector:
    backbone = Vgg(
        in_channels=3, convolutions=(1, 1, 1, 1, 1), width=detector.width, without_pools=(3, 4, 5), norm="batch"
    )
    encoder = ThinEncoder(backbone)
    return TwoStageDetector(
        encoder=encoder,
        proposals=build_proposals(encoder, detector, supervision),
        regions=build_regions(encoder, detector, supervision),
        slices_per_image=inputs.slices_per_image,
    )


# -- a one-stage head in 2D or 3D: each cell says whether a lesion's centre is in it, and how large that is --


class CentreSpec(DetectorSpec):
    family: Literal["centre", "centre_3d"]
    channels: int = 8


class CentreSupervision(SupervisionSpec):
    size_weight: float = 0.1


class CentreEncoder(nn.Module):
    """One convolution of stride 4 in the plane."""

    def __init__(self, channels: int, dims: int, slices: int) -> None:
        super().__init__()
        stride = (1, 4, 4) if dims == 3 else 4
        conv = nn.Conv3d if dims == 3 else nn.Conv2d
        self.backbone = conv(slices, channels, 5, stride=stride, padding=2)
        self.channels, self.strides = channels, (4,)

    def per_image(self, images: Tensor) -> Features:
        return {"0": F.relu(self.backbone(images / 255))}

    def join(self, slab: list[Features], thickness: Tensor) -> Fused:
        return Fused(slab[0], [slab[0]])


class CentreHead(nn.Module):
    def __init__(self, channels: int, dims: int, size_weight: float) -> None:
        super().__init__()
        self.dims, self.size_weight = dims, size_weight
        self.predict = (nn.Conv3d if dims == 3 else nn.Conv2d)(channels, 1 + dims, 1)
        # Input voxels per cell along (x, y) or (x, y, z).
        self.step = torch.tensor([4.0, 4.0, 1.0][:dims])

    def forward(self, levels: list[Tensor]) -> tuple[list[Tensor], Tensor]:
        raw = self.predict(levels[0]).float()
        return [raw[:, :1]], raw[:, 1:].exp().clamp(1, 64)

    def losses(self, raw: tuple[list[Tensor], Tensor], targets: list[Target]) -> dict[str, Tensor]:
        (logits,), sizes = raw
        wanted = torch.zeros_like(logits)
        of_size = sizes.sum() * 0
        for image, target in enumerate(targets):
            for cell, size in zip(*self._cells(target["boxes"]), strict=True):
                wanted[(image, 0, *cell.flip(0))] = 1
                of_size = of_size + F.l1_loss(sizes[(image, slice(None), *cell.flip(0))], size)
        centre = F.binary_cross_entropy_with_logits(logits, wanted)
        return {"centre": centre, "size": self.size_weight * of_size}

    def detect(self, raw: tuple[list[Tensor], Tensor], sizes: ImageSizes, calibrate: Any = None) -> Detections:
        (logits,), extents = raw
        detections = []
        for image in range(len(logits)):
            scores = logits[image, 0].sigmoid()
            best = scores.flatten().topk(5)
            cells = torch.stack(torch.unravel_index(best.indices, scores.shape), dim=1)
            centres = (cells.flip(1) + 0.5) * self.step
            half = extents[image].flatten(1)[:, best.indices].T / 2
            boxes = torch.cat([centres - half, centres + half], dim=1)
            detections.append({"boxes": boxes, "scores": best.values, "labels": torch.ones(5, dtype=torch.int64)})
        return detections

    def diagnostics(self) -> dict[str, list[float]]:
        return {}

    def grid_size(self, size: tuple[int, ...]) -> GridSize:
        return GridSize(size[-1] * size[-2] // 16, 1)

    def taught(self, target: Target, size: tuple[int, ...]) -> dict[str, Taught]:
        cells, _ = self._cells(target["boxes"])
        boxes = torch.cat([cells, cells + 1], dim=1) * self.step.repeat(2)
        ones = torch.ones(len(cells))
        return {"centre": Taught(boxes, ones, torch.arange(len(cells)), torch.zeros(len(cells), dtype=torch.int64))}

    def _cells(self, boxes: Tensor) -> tuple[Tensor, Tensor]:
        low, high = boxes[:, : self.dims], boxes[:, self.dims :]
        return ((low + high) / 2 / self.step).long(), high - low


def build_centre(detector: CentreSpec, supervision: CentreSupervision, inputs: InputSpec) -> Detector:
    dims = 3 if inputs.volume else 2
    return OneStageDetector(
        encoder=CentreEncoder(detector.channels, dims, inputs.slices_per_image),
        head=CentreHead(detector.channels, dims, supervision.size_weight),
        slices_per_image=inputs.slices_per_image,
    )


FAMILIES = {
    "thin": Family(ThinSpec, TwoStageSupervision, build_thin),
    "centre": Family(CentreSpec, CentreSupervision, build_centre),
    "centre_3d": Family(CentreSpec, CentreSupervision, build_centre),
}

# -- a miner: an average of the network's weights is what is kept --


class AverageSpec(MiningSpec):
    miner: Literal["average"] = "average"
    momentum: float = 0.5


class AverageMiner(Miner):
    spec: AverageSpec

    def __init__(self, spec: MiningSpec, run: Any) -> None:
        super().__init__(spec, run)
        self.average = torch.optim.swa_utils.AveragedModel(
            run.model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(spec.momentum), use_buffers=True
        )

    @property
    def kept(self) -> Detector:
        return self.average.module

    def after_step(self) -> None:
        self.average.update_parameters(self.run.model)

    def state(self) -> dict[str, Any]:
        return {"average": self.average.state_dict()}

    def load(self, state: dict[str, Any]) -> None:
        self.average.load_state_dict(state["average"])
