"""RetinaNet's head: every anchor of every level is classified and regressed."""

from typing import Literal, NamedTuple, Unpack

from torch import Tensor, nn

from napari_uld.detectors.anchors import Grid
from napari_uld.detectors.heads.grid_head import GridHead, GridSettings, by_guess, tower
from napari_uld.detectors.heads.prior import expect_little
from napari_uld.detectors.losses.focal import AnchorLoss


class AnchorOutput(NamedTuple):
    """Logits (N, A, h, w) and deltas (N, 4A, h, w) of each level."""

    logits: list[Tensor]
    deltas: list[Tensor]


class AnchorHead(GridHead):
    """Two towers of 3x3 convolutions on every level: one classifies its anchors, the other regresses boxes.

    Parameters
    ----------
    in_channels, channels
        Of the pyramid and of the towers.
    layers
        Hidden convolutions of each tower.
    tower_std
        Standard deviation of the towers' initial weights, or He's.
    loss
        What anchors learn.
    settings
        As in `GridHead`; its generator has one size on each level.
    """

    rule, counted = "iou", "anchors"

    def __init__(
        self,
        in_channels: int,
        *,
        channels: int,
        layers: int,
        tower_std: float | Literal["kaiming"] = "kaiming",
        loss: AnchorLoss,
        **settings: Unpack[GridSettings],
    ) -> None:
        super().__init__(loss=loss, **settings)
        self.coder = loss.coder
        anchors = self.anchor_generator.num_anchors_per_location()[0]
        classify = nn.Conv2d(channels, anchors, 3, padding=1)
        regress = nn.Conv2d(channels, 4 * anchors, 3, padding=1)
        self.classification = nn.Sequential(*tower(in_channels, channels, layers), classify)
        self.regression = nn.Sequential(*tower(in_channels, channels, layers), regress)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                if tower_std == "kaiming":
                    nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                else:
                    nn.init.normal_(module.weight, std=tower_std)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
        nn.init.normal_(regress.weight, std=0.01)
        expect_little(classify)

    def forward(self, levels: list[Tensor]) -> AnchorOutput:
        """Feature levels, finest first -> logits and deltas."""
        return AnchorOutput(
            [self.classification(level) for level in levels], [self.regression(level) for level in levels]
        )

    def flat(self, raw: AnchorOutput) -> tuple[Tensor, Tensor]:
        """Logits (N, anchors) and deltas (N, anchors, 4)."""
        return by_guess(raw.logits, 1)[..., 0], by_guess(raw.deltas, 4)

    def decode(self, grid: Grid, likely: Tensor, scores: Tensor, said: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """Boxes that are so far from their anchors; the scores stay."""
        (deltas,) = said
        return self.coder.decode_single(deltas, grid.anchors[likely]), scores
