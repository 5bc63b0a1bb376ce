"""Convolutions of volumes made of convolutions of images: inflated, spatio-temporal, axial-coronal-sagittal.

Cai et al., "Deep Volumetric Universal Lesion Detection using Light-Weight Pseudo 3D Convolution and Surface Point
Regression", section 2.1 and figure 2. Volumes are (N, C, D, H, W), the axial planes (H, W).
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Of the network's convolutions: axial planes alone, or one of the paper's three.
Operator = Literal["axial", "i3d", "st3d", "acs"]
State = dict[str, Tensor]


class Axial(nn.Conv3d):
    """Every axial plane on its own, (co, ci, 1, k, k)."""

    def __init__(self, channels: int, outputs: int, size: int, *, bias: bool = False) -> None:
        super().__init__(channels, outputs, (1, size, size), padding=(0, size // 2, size // 2), bias=bias)

    def of_2d(self, weight: Tensor) -> State:
        """What a 2D weight (co, ci, k, k) becomes."""
        return {"weight": weight[:, :, None]}


class Inflated(nn.Conv3d):
    """I3D: the 2D kernel as often along z as it is wide, a share of it each, (co, ci, k, k, k)."""

    def __init__(self, channels: int, outputs: int, size: int, *, bias: bool = False) -> None:
        super().__init__(channels, outputs, size, padding=size // 2, bias=bias)

    def of_2d(self, weight: Tensor) -> State:
        """What a 2D weight (co, ci, k, k) becomes."""
        size = weight.shape[-1]
        return {"weight": weight[:, :, None].repeat(1, 1, size, 1, 1) / size}


class SpatioTemporal(nn.Module):
    """ST-3D: half of the channels come of a spatial kernel (1, k, k), half of a temporal one (k, 1, 1), side by side.

    So that the width stays, the spatial one keeps half of the 2D kernel's outputs, the first ones.
    """

    def __init__(self, channels: int, outputs: int, size: int, *, bias: bool = False) -> None:
        super().__init__()
        self.spatial = Axial(channels, outputs - outputs // 2, size, bias=bias)
        self.temporal = nn.Conv3d(channels, outputs // 2, (size, 1, 1), padding=(size // 2, 0, 0), bias=bias)

    def forward(self, volumes: Tensor) -> Tensor:
        """(N, ci, D, H, W) -> (N, co, D, H, W)."""
        return torch.cat([self.spatial(volumes), self.temporal(volumes)], dim=1)

    def of_2d(self, weight: Tensor) -> State:
        """What a 2D weight (co, ci, k, k) becomes; the temporal kernel is new."""
        return {"spatial.weight": weight[: self.spatial.out_channels, :, None]}


class AxialCoronalSagittal(nn.Module):
    """ACS: a 2D kernel (co, ci, k, k) whose outputs are shared out to the three views, 8 : 1 : 1.

    It has no other weights than in 2D: axial (1, k, k), coronal (k, 1, k), sagittal (k, k, 1), in this order.
    """

    def __init__(self, channels: int, outputs: int, size: int, *, bias: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, channels, size, size))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        self.padding = size // 2
        side = max(1, outputs // 10)
        self.views = (outputs - 2 * side, side, side)

    def forward(self, volumes: Tensor) -> Tensor:
        """(N, ci, D, H, W) -> (N, co, D, H, W)."""
        biases = [None] * len(self.views) if self.bias is None else self.bias.split(self.views)
        parts = []
        for flat, (weight, bias) in enumerate(zip(self.weight.split(self.views), biases, strict=True), 2):
            padding = [0 if axis == flat else self.padding for axis in range(2, 5)]
            parts.append(F.conv3d(volumes, weight.unsqueeze(flat), bias, padding=padding))
        return torch.cat(parts, dim=1)

    def of_2d(self, weight: Tensor) -> State:
        """What a 2D weight (co, ci, k, k) becomes: it stays."""
        return {"weight": weight}


class FirstOfPlanes(nn.Conv2d):
    """The first convolution, of axial planes one by one; its channels are the phases of a study."""

    def of_2d(self, weight: Tensor) -> State:
        """What a weight (co, ci, k, k) of other channels becomes: of equal images it gives what it gave of its own.

        So the paper takes several phases: the kernel is inflated along its second dimension.
        """
        spread = weight.sum(dim=1, keepdim=True) / self.in_channels
        return {"weight": weight if weight.shape[1] == self.in_channels else spread.repeat(1, self.in_channels, 1, 1)}


Convolution = Axial | Inflated | SpatioTemporal | AxialCoronalSagittal
OPERATORS: dict[Operator, type[Convolution]] = {
    "axial": Axial,
    "i3d": Inflated,
    "st3d": SpatioTemporal,
    "acs": AxialCoronalSagittal,
}


def convolution(operator: Operator, channels: int, outputs: int, size: int = 3, *, bias: bool = False) -> Convolution:
    """Make one that keeps the volume's size; what is one voxel large has no views to share out."""
    made = OPERATORS[operator if size > 1 else "axial"](channels, outputs, size, bias=bias)
    for name, weight in made.named_parameters():
        if name.endswith("weight"):
            nn.init.kaiming_normal_(weight, nonlinearity="relu")
        else:
            nn.init.zeros_(weight)
    return made


def to_3d(block: nn.Module, operator: Operator) -> None:
    """Replace the 2D convolutions, norms and average poolings within a part of a network, under their names."""
    for name, child in list(block.named_children()):
        made: nn.Module | None = None
        if isinstance(child, nn.Conv2d):
            made = convolution(operator, child.in_channels, child.out_channels, child.kernel_size[0])
            made.load_state_dict(made.of_2d(child.weight), strict=False)
        elif isinstance(child, nn.BatchNorm2d):
            made = nn.BatchNorm3d(child.num_features)
            made.load_state_dict(child.state_dict())
        if made is None:
            to_3d(child, operator)
        else:
            setattr(block, name, made)


def from_2d(network: nn.Module, offered: State) -> State:
    """Give weights as a network of volumes has them, where they are those of the 2D convolutions it was made of.

    Parameters
    ----------
    network
        The network of volumes.
    offered
        Weights by name, of it or of the 2D network that it was made of.
    """
    taken = dict(offered)
    for name, module in network.named_modules():
        weight = offered.get(f"{name}.weight")
        if isinstance(module, Convolution | FirstOfPlanes) and weight is not None and weight.dim() == 4:
            del taken[f"{name}.weight"]
            taken |= {f"{name}.{part}": value for part, value in module.of_2d(weight).items()}
    return taken


def fold(volumes: Tensor) -> Tensor:
    """(N, C, D, H, W) -> its axial planes (N * D, C, H, W)."""
    return volumes.transpose(1, 2).flatten(0, 1)


def unfold(planes: Tensor, depth: int) -> Tensor:
    """Axial planes (N * D, C, H, W) -> (N, C, D, H, W)."""
    return planes.unflatten(0, (-1, depth)).transpose(1, 2)
