"""A feature pyramid, with attention gates or without.

"The paper" is "Improving RetinaNet for CT lesion detection with dense masks from weak RECIST labels".
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from napari_uld.detectors.parts import ATTENTION, Backbone, Features, Fused

# What begins the names of stages below the pyramid.
STEM = "stem "
# Attention maps (N, 1, h, w) by the name of the level that they gate.
Attention = dict[str, Tensor]


class AttentionGate(nn.Module):
    """Weighs the features of a skip connection by what the coarser level says (section 2.3 of the paper).

    1x1 convolutions alone; one map for all channels. Its hidden width, half the features', is ours.

    Parameters
    ----------
    channels
        Channels of the skip's features and of the gate's.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(1, channels // 2)
        self.of_skip = nn.Conv2d(channels, hidden, 1)
        self.of_gate = nn.Conv2d(channels, hidden, 1)
        self.to_map = nn.Conv2d(hidden, 1, 1)

    def forward(self, skip: Tensor, gate: Tensor) -> tuple[Tensor, Tensor]:
        """Features (N, C, h, w) and the gating signal of that size -> gated features, and the map (N, 1, h, w)."""
        attention = self.to_map(F.relu(self.of_skip(skip) + self.of_gate(gate))).sigmoid()
        return skip * attention, attention


class Skip(nn.Module):
    """Joins what comes up from a coarser level with a skip connection, gated or not.

    Parameters
    ----------
    projection
        Brings the skip's features to `channels`.
    channels
        Channels of both.
    gated
        Whether an attention gate filters the skip, with the coarser level as its signal.
    """

    def __init__(self, projection: nn.Module, channels: int, *, gated: bool) -> None:
        super().__init__()
        self.projection = projection
        self.gate = AttentionGate(channels) if gated else None

    def forward(self, finer: Tensor, coarser: Tensor) -> tuple[Tensor, Tensor | None]:
        """The sum at the skip's size, and the gate's map where there is one."""
        skip = self.projection(finer)
        coarser = F.interpolate(coarser, size=skip.shape[-2:], mode="nearest")
        if self.gate is None:
            return skip + coarser, None
        skip, attention = self.gate(skip, coarser)
        return skip + coarser, attention


class Pyramid(nn.Module):
    """Levels from the backbone's finest one asked for to the coarsest top-down, and coarser ones below those.

    Parameters
    ----------
    in_channels
        Channels of the backbone's stages that are used, finest first.
    finest
        Number of the first of them: 2 for P2 and on.
    channels
        Channels of every level.
    gated
        Whether attention gates filter the skip connections.
    coarser
        How many levels more there are.
    strided
        Whether these come by convolutions, P6 from C5 and P7 from P6, as the RetinaNet paper has them; else P6 is
        P5 at every second cell, as in Mask R-CNN.
    """

    def __init__(
        self, in_channels: Sequence[int], *, finest: int, channels: int, gated: bool, coarser: int, strided: bool
    ) -> None:
        super().__init__()
        self.finest = finest
        self.channels = channels
        self.count = coarser
        self.top = nn.Conv2d(in_channels[-1], channels, 1)
        self.skips = nn.ModuleList(Skip(nn.Conv2d(c, channels, 1), channels, gated=gated) for c in in_channels[:-1])
        self.smooth = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in in_channels)
        below = [in_channels[-1]] + [channels] * (coarser - 1) if strided else []
        self.coarser = nn.ModuleList(nn.Conv2d(c, channels, 3, stride=2, padding=1) for c in below)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def forward(self, stages: Sequence[Tensor]) -> tuple[list[Tensor], Attention]:
        """The stages that are used -> levels (N, channels, h, w), finest first, and the gates' maps."""
        attention: Attention = {}
        merged = [self.top(stages[-1])]
        for number in reversed(range(len(self.skips))):
            level, gate_map = self.skips[number](stages[number], merged[0])
            merged.insert(0, level)
            if gate_map is not None:
                attention[f"C{self.finest + number}"] = gate_map
        levels = [smooth(level) for smooth, level in zip(self.smooth, merged, strict=True)]
        return levels + self._coarser_levels(stages[-1], levels[-1]), attention

    def _coarser_levels(self, last_stage: Tensor, last_level: Tensor) -> list[Tensor]:
        if not self.coarser:
            return [F.max_pool2d(last_level, 1, stride=2**n) for n in range(1, self.count + 1)]
        levels = []
        coarse = last_stage
        for number, stride in enumerate(self.coarser):
            coarse = stride(F.relu(coarse) if number else coarse)
            levels.append(coarse)
        return levels


class PyramidEncoder(nn.Module):
    """A backbone and the pyramid on it, of the key image alone.

    Parameters
    ----------
    backbone
        Features of single images, stage by stage.
    pyramid
        Made of the backbone's last stages.
    """

    backbone: Backbone

    def __init__(self, backbone: Backbone, pyramid: Pyramid) -> None:
        super().__init__()
        self.backbone = backbone
        self.pyramid = pyramid
        self.channels = pyramid.channels
        self.used = len(pyramid.smooth)
        strides = backbone.strides[-self.used :]
        self.strides = strides + tuple(strides[-1] * 2**n for n in range(1, pyramid.count + 1))

    def per_image(self, images: Tensor) -> Features:
        """(N, C, H, W) -> levels "P2" and on, the stages "C1" and on below them, and the gates' maps."""
        stages = self.backbone(images)
        levels, attention = self.pyramid(stages[-self.used :])
        first = self.pyramid.finest
        features = {f"P{first + n}": level for n, level in enumerate(levels)}
        stem = stages[: -self.used]
        features |= {f"{STEM}C{first - len(stem) + n}": stage for n, stage in enumerate(stem)}
        return features | {ATTENTION + name: gate_map for name, gate_map in attention.items()}

    def join(self, slab: list[Features], thickness: Tensor) -> Fused:
        """Give the key image's features of a slab's."""
        features = slab[len(slab) // 2]
        levels = {name: level for name, level in features.items() if name.startswith("P")}
        return Fused(levels, [levels], _named(features, STEM), _named(features, ATTENTION))


def _named(features: Features, prefix: str) -> Features:
    """Features whose names begin with a prefix, by what follows it."""
    return {name.removeprefix(prefix): level for name, level in features.items() if name.startswith(prefix)}
