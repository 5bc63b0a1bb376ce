"""What every detector does with images before its own business begins: batch them and encode them."""

from abc import ABC, abstractmethod
from typing import Self

import torch
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList

from napari_uld.detectors.batch import pad_images, pad_maps
from napari_uld.detectors.parts import Detections, Features, Rescorer, SlabEncoder, Target

# By default images of a batch are padded to one size, a multiple of this and of the coarsest stride.
SIZE_DIVISIBLE = 32


class SlabDetector(nn.Module, ABC):
    """Keeps torchvision's detection contract; what is detected on the encoder's features, subclasses say.

    In training ``(images, targets) -> dict of losses``, in evaluation ``images -> list of dicts``
    with ``boxes`` (edge-based), ``scores``, ``labels`` and maps. An image is a slab of slices [slices, H, W], one
    or several images of `slices_per_image` channels, or a volume [phases, D, H, W].

    Parameters
    ----------
    encoder
        Makes feature levels of a slab.
    slices_per_image
        Slices that the encoder sees at once, as channels; of a volume its phases.
    size_divisible
        Images are padded to a multiple of it; by default no level has a cell that reaches beyond them.
    """

    encoder: SlabEncoder

    def __init__(self, *, encoder: SlabEncoder, slices_per_image: int, size_divisible: int | None = None) -> None:
        super().__init__()
        self.encoder = encoder
        self.slices_per_image = slices_per_image
        self.rescorer: Rescorer | None = None
        self.norms_are_frozen = False
        self.predicts_maps = True
        self.size_divisible = size_divisible or max(SIZE_DIVISIBLE, *encoder.strides)

    @property
    def strides(self) -> tuple[int, ...]:
        """Input pixels per cell of each of the key slice's levels, finest first."""
        return self.encoder.strides

    def forward(
        self, images: list[Tensor], targets: list[Target] | None = None, *, thickness: Tensor | None = None
    ) -> dict[str, Tensor] | Detections:
        """Run on images that may differ in size.

        `thickness` (N,) is the distance in mm between the slices of each image's scan, without which it is 1.
        """
        batch = pad_images(images, self.size_divisible)
        per_slab = batch.tensors.shape[1] // self.slices_per_image
        features = self.per_image(batch.tensors.unflatten(1, (per_slab, self.slices_per_image)).flatten(0, 1))
        # Unbound all at once: the gradient of one place's slice would be as large as that of all together.
        places = {name: level.unflatten(0, (-1, per_slab)).unbind(1) for name, level in features.items()}
        slab = [{name: level[place] for name, level in places.items()} for place in range(per_slab)]
        if thickness is None:
            thickness = torch.ones(len(images), device=batch.tensors.device)
        if not self.training:
            targets = None
        elif targets is not None:
            targets = [pad_maps(target, batch.tensors.shape[2:]) for target in targets]
        return self.from_features(slab, batch, thickness, targets)

    def per_image(self, images: Tensor) -> Features:
        """Features of images (N, slices_per_image, H, W), each on its own: what slabs of a scan share."""
        layout = torch.channels_last_3d if images.dim() == 5 else torch.channels_last
        return self.encoder.per_image(images.contiguous(memory_format=layout))

    def from_features(
        self, slab: list[Features], batch: ImageList, thickness: Tensor, targets: list[Target] | None = None
    ) -> dict[str, Tensor] | Detections:
        """Go on from `per_image` of each image of the slabs in `batch`."""
        if self.rescorer is None:
            return self.on_features(slab, batch, thickness, targets)
        with torch.no_grad():
            detections = self.on_features(slab, batch, thickness, None)
        if targets is not None:
            return {"rescoring": self.rescorer.loss(batch.tensors, detections, targets)}  # type: ignore[arg-type]
        return self.rescorer.rescore(batch.tensors, detections)  # type: ignore[arg-type]

    @abstractmethod
    def on_features(
        self, slab: list[Features], batch: ImageList, thickness: Tensor, targets: list[Target] | None
    ) -> dict[str, Tensor] | Detections:
        """Losses where there are targets, else detections."""

    def attach(self, rescorer: Rescorer) -> None:
        """Score detections by `rescorer` from now on; it alone is trained, the rest stays as it was."""
        self.requires_grad_(requires_grad=False)
        self.rescorer = rescorer

    def freeze_norms(self) -> None:
        """Keep the statistics that the backbone's batch norms have, and their scales, from now on.

        Those of a batch of two slabs are noise beside what ImageNet's weights bring with them.
        """
        self.norms_are_frozen = True
        for norm in self._norms():
            norm.requires_grad_(requires_grad=False)
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Prepare for training, or for evaluation."""
        super().train(mode)
        if self.norms_are_frozen:
            for norm in self._norms():
                norm.eval()
        if self.rescorer is not None:
            for part in self.children():
                part.train(mode and part is self.rescorer)
        return self

    def _norms(self) -> list[nn.Module]:
        backbone: nn.Module = self.encoder.backbone  # type: ignore[assignment]
        return [module for module in backbone.modules() if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d)]
