"""A feature pyramid, its way down to full resolution, and the attention gates on both.

"The paper" is "Improving RetinaNet for CT lesion detection with dense masks from weak RECIST labels".
"""

import math
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

# What an untrained network says of every anchor and pixel: the loss of so many negatives must not drown the rest.
PRIOR = 0.01
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
    """Five levels: from the backbone's finest one asked for to C5 top-down, and coarser ones by strides.

    P6 comes from C5 and P7 from P6, as the RetinaNet paper has them.

    Parameters
    ----------
    in_channels
        Channels of C1 to C5.
    finest
        2 for P2 to P6, 3 for P3 to P7.
    channels
        Channels of every level.
    gated
        Whether attention gates filter the skip connections.
    """

    def __init__(self, in_channels: Sequence[int], *, finest: int, channels: int, gated: bool) -> None:
        super().__init__()
        used = in_channels[finest - 1 :]
        self.finest = finest
        self.top = nn.Conv2d(used[-1], channels, 1)
        self.skips = nn.ModuleList(Skip(nn.Conv2d(c, channels, 1), channels, gated=gated) for c in used[:-1])
        self.smooth = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in used)
        coarser = [used[-1]] + [channels] * (finest - 2)
        self.coarser = nn.ModuleList(nn.Conv2d(c, channels, 3, stride=2, padding=1) for c in coarser)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def forward(self, stages: Sequence[Tensor]) -> tuple[list[Tensor], Attention]:
        """C1 to C5 -> five levels (N, channels, h, w), finest first, and the gates' maps."""
        used = stages[self.finest - 1 :]
        attention: Attention = {}
        merged = [self.top(used[-1])]
        for number in reversed(range(len(self.skips))):
            level, gate_map = self.skips[number](used[number], merged[0])
            merged.insert(0, level)
            if gate_map is not None:
                attention[f"C{self.finest + number}"] = gate_map
        levels = [smooth(level) for smooth, level in zip(self.smooth, merged, strict=True)]
        coarse = used[-1]
        for number, stride in enumerate(self.coarser):
            coarse = stride(F.relu(coarse) if number else coarse)
            levels.append(coarse)
        return levels, attention


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
    """

    def __init__(
        self, *, pyramid_channels: int, c1_channels: int, image_channels: int, channels: int, gated: bool
    ) -> None:
        super().__init__()
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


def expect_little(conv: nn.Conv2d) -> None:
    """Make a convolution whose sigmoid is a probability say `PRIOR` everywhere."""
    nn.init.normal_(conv.weight, std=0.01)
    nn.init.constant_(conv.bias, math.log(PRIOR / (1 - PRIOR)))  # type: ignore[arg-type]


def _conv(channels: int, out: int) -> nn.Sequential:
    conv = nn.Conv2d(channels, out, 3, padding=1)
    nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    return nn.Sequential(conv, nn.ReLU(inplace=True))
