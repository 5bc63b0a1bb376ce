"""A two-stage detector: slab encoder -> proposals -> regions."""

from typing import Any

from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList

from napari_uld.detectors.heads.proposals import ProposalNetwork
from napari_uld.detectors.heads.roi import RoiStage
from napari_uld.detectors.parts import GATE, Detections, Features, Fused, GridSize, SlabEncoder, Target, Taught
from napari_uld.detectors.slab_detector import SlabDetector


class TwoStageDetector(SlabDetector):
    """Composes injected parts; where there is a branch, detections have ``masks`` (n, 1, 28, 28).

    Parameters
    ----------
    encoder, slices_per_image
        As in `SlabDetector`.
    proposals
        First stage, on the key slice.
    regions
        Second stage.
    auxiliary
        Further heads by name, (features of the slab, targets) -> losses by name; they serve training alone. What they
        ``tell`` of the features, (N, ...) by name, joins the detections with the maps, as does an encoder's gate.
    """

    regions: RoiStage
    auxiliary: Any

    def __init__(
        self,
        *,
        encoder: SlabEncoder,
        proposals: ProposalNetwork,
        regions: RoiStage,
        slices_per_image: int,
        auxiliary: dict[str, nn.Module] | None = None,
    ) -> None:
        super().__init__(encoder=encoder, slices_per_image=slices_per_image)
        self.proposals = proposals
        self.regions = regions
        self.auxiliary = nn.ModuleDict(auxiliary or {})

    def on_features(
        self, slab: list[Features], batch: ImageList, thickness: Tensor, targets: list[Target] | None
    ) -> dict[str, Tensor] | Detections:
        """Losses where there are targets, else detections."""
        fused = self.encoder.join(slab, thickness)
        boxes, losses = self.proposals(batch, fused.key, targets)
        # The branch costs about half of a small detector's time: it is left out where boxes are all that is wanted.
        detections, region_losses = self.regions(fused, boxes, batch.image_sizes, targets, maps=self.predicts_maps)
        if targets is None:
            return self._with_what_else_is_seen(detections, fused) if self.predicts_maps else detections
        return {**losses, **region_losses, **self._auxiliary_losses(fused, targets)}

    def _with_what_else_is_seen(self, detections: Detections, fused: Fused) -> Detections:
        seen = {} if fused.gate is None else {GATE: fused.gate}
        for head in self.auxiliary.values():
            seen |= head.tell(fused)
        for name, values in seen.items():
            detections = [result | {name: value} for result, value in zip(detections, values, strict=True)]
        return detections

    def _auxiliary_losses(self, fused: Fused, targets: list[Target]) -> dict[str, Tensor]:
        losses: dict[str, Tensor] = {}
        for head in self.auxiliary.values():
            losses |= head(fused, targets)
        return losses

    @property
    def dense_head(self) -> nn.Module:
        """The proposals' head."""
        return self.proposals.head

    def diagnostics(self) -> dict[str, list[float]]:
        """Positive anchors an image on each level in the last training batch, of objectness and of regression."""
        return self.proposals.positives

    def grid_size(self, size: tuple[int, ...]) -> GridSize:
        """How many cells proposals have, and anchors on each."""
        return self.proposals.grid(size).grid_size

    def taught(self, target: Target, size: tuple[int, ...]) -> dict[str, Taught]:
        """The anchors that each rule of `ProposalNetwork.taught` makes positive."""
        return self.proposals.taught(target, size)
