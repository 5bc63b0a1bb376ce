"""A backbone's last stages brought to one number of channels, and coarser levels of the last one."""

from torch import Tensor, nn

from napari_uld.detectors.encoders.key_image import Unfused
from napari_uld.detectors.parts import Backbone, Features


class ProjectedStages(Unfused):
    """The stages from C3 on by 1x1 convolutions, C6 and on by strided ones from the last stage; group norms behind.

    Nothing is passed from a level to another: a transformer behind them does that.
    Zhu et al., "Deformable DETR", section 4.1.

    Parameters
    ----------
    backbone
        Features of single images, C2 first.
    levels, channels
        How many levels there are, at least as many as stages that are used; channels of each.
    groups
        Of the norms.
    """

    backbone: Backbone

    def __init__(self, backbone: Backbone, *, levels: int, channels: int, groups: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.channels = channels
        stages = backbone.out_channels[1:]
        coarser = levels - len(stages)
        strides = backbone.strides[1:]
        self.strides = strides + tuple(strides[-1] * 2**n for n in range(1, coarser + 1))
        below = [stages[-1]] + [channels] * (coarser - 1)
        convolutions = [nn.Conv2d(stage, channels, 1) for stage in stages]
        convolutions += [nn.Conv2d(c, channels, 3, stride=2, padding=1) for c in below[:coarser]]
        for conv in convolutions:
            nn.init.xavier_uniform_(conv.weight)
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
        self.projections = nn.ModuleList(nn.Sequential(conv, nn.GroupNorm(groups, channels)) for conv in convolutions)

    def per_image(self, images: Tensor) -> Features:
        """(N, C, H, W) -> levels "C3" and on."""
        stages = self.backbone(images)[1:]
        levels = [projection(stage) for projection, stage in zip(self.projections, stages, strict=False)]
        below = stages[-1]
        for coarser in self.projections[len(stages) :]:
            below = coarser(below)
            levels.append(below)
        return {f"C{number}": level for number, level in enumerate(levels, start=3)}
