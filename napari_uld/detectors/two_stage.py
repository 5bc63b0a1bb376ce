"""A two-stage detector: backbone -> slice fusion -> proposals -> regions."""

import torch
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList

from napari_uld.detectors.batch import pad_images, pad_maps
from napari_uld.detectors.heads.anchors import CentredAnchorGenerator
from napari_uld.detectors.heads.proposals import ProposalNetwork
from napari_uld.detectors.heads.roi import RoiStage
from napari_uld.detectors.losses.supervision import Target
from napari_uld.detectors.parts import Backbone, Features, SliceFusion

# Images of a batch are padded to one size, a multiple of this and of the coarsest stride.
SIZE_DIVISIBLE = 32


class TwoStageDetector(nn.Module):
    """Composes injected parts and keeps torchvision's detection contract.

    In training ``(images, targets) -> dict of losses``, in evaluation ``images -> list of dicts``
    with ``boxes`` (edge-based), ``scores``, ``labels`` and, where there is a branch, ``masks``.
    An image is a slab of slices [slices, H, W]: one or several images of `slices_per_image` channels.

    Parameters
    ----------
    backbone
        Images (N, C, H, W) to a dict of feature levels.
    fusion
        Joins the images of a slab.
    proposals
        First stage, on the key slice.
    regions
        Second stage.
    slices_per_image
        Slices that the backbone sees at once, as channels.
    """

    backbone: Backbone
    regions: RoiStage
    fusion: SliceFusion

    def __init__(
        self,
        *,
        backbone: Backbone,
        fusion: SliceFusion,
        proposals: ProposalNetwork,
        regions: RoiStage,
        slices_per_image: int,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.fusion = fusion
        self.proposals = proposals
        self.regions = regions
        self.slices_per_image = slices_per_image
        # The branch costs about half of a small detector's time: whoever wants boxes alone switches it off.
        self.predicts_maps = True
        self.size_divisible = max(SIZE_DIVISIBLE, *backbone.strides)

    def forward(
        self, images: list[Tensor], targets: list[Target] | None = None
    ) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        """Run on slabs [slices, H, W] that may differ in size."""
        batch = pad_images(images, self.size_divisible)
        per_slab = batch.tensors.shape[1] // self.slices_per_image
        features = self.per_image(batch.tensors.unflatten(1, (per_slab, self.slices_per_image)).flatten(0, 1))
        # Unbound all at once: the gradient of one place's slice would be as large as that of all together.
        places = {name: level.unflatten(0, (-1, per_slab)).unbind(1) for name, level in features.items()}
        slab = [{name: level[place] for name, level in places.items()} for place in range(per_slab)]
        if not self.training:
            targets = None
        elif targets is not None:
            targets = [pad_maps(t, batch.tensors.shape[-2:]) for t in targets]
        return self.from_features(slab, batch, targets)

    def per_image(self, images: Tensor) -> Features:
        """Features of images (N, slices_per_image, H, W), each on its own: what slabs of a scan share."""
        return self.fusion.per_image(self.backbone(images.contiguous(memory_format=torch.channels_last)))

    def from_features(
        self, slab: list[Features], batch: ImageList, targets: list[Target] | None = None
    ) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        """Go on from `per_image` of each image of the slabs in `batch`."""
        fused = self.fusion.join(slab)
        boxes, losses = self.proposals(batch, fused.key, targets)
        detections, region_losses = self.regions(fused, boxes, batch.image_sizes, targets, maps=self.predicts_maps)
        return {**losses, **region_losses} if self.training else detections

    @property
    def anchor_head(self) -> nn.Module:
        """What scores anchors: its output's first element holds logits (N, A, h, w) by level."""
        return self.proposals.head

    @property
    def anchor_generator(self) -> CentredAnchorGenerator:
        """The proposals' anchors."""
        return self.proposals.anchor_generator

    @property
    def strides(self) -> tuple[int, ...]:
        """Input pixels per cell of each level with anchors, finest first."""
        return self.backbone.strides

    @property
    def positives(self) -> dict[str, Tensor]:
        """Positive anchors an image on each level (levels,) in the last batch, for the log."""
        return self.proposals.positives
