"""Deformable DETR's transformer: attention to a few places of every level, learnt about a reference point.

Zhu et al., "Deformable DETR: Deformable Transformers for End-to-End Object Detection". Positions are shares of the
padded image, (x, y).
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Of a position's sine code.
TEMPERATURE = 10000


class Memory(NamedTuple):
    """Features of all levels in one row: (N, places, d), and each level's (h, w)."""

    features: Tensor
    shapes: tuple[tuple[int, int], ...]


class DeformableAttention(nn.Module):
    """Attends to a few places of each level about a reference point: eq. 3 of the paper.

    At first head number n looks 1, 2, ... cells away in the n-th of as many directions as there are heads, everywhere.

    Parameters
    ----------
    channels, heads, levels, points
        Of the features, how many divide them, and the places that each head looks at on each level.
    """

    def __init__(self, channels: int, *, heads: int, levels: int, points: int) -> None:
        super().__init__()
        self.heads, self.levels, self.points = heads, levels, points
        self.sampling_offsets = nn.Linear(channels, heads * levels * points * 2)
        self.weights = nn.Linear(channels, heads * levels * points)
        self.value = nn.Linear(channels, channels)
        self.output = nn.Linear(channels, channels)
        nn.init.zeros_(self.sampling_offsets.weight)
        # All but alike: from weights of 0, as in the paper's code, no gradient would reach a query's code.
        nn.init.normal_(self.weights.weight, std=0.001)
        nn.init.zeros_(self.weights.bias)
        for layer in (self.value, self.output):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
        with torch.no_grad():
            self.sampling_offsets.bias.copy_(ring(heads, levels, points).flatten())

    def forward(self, query: Tensor, reference: Tensor, memory: Memory) -> Tensor:
        """Queries (N, q, d) with reference points (N, q, 2) -> (N, q, d)."""
        shared = (*query.shape[:2], self.heads, self.levels, self.points)
        offsets = self.sampling_offsets(query).view(*shared, 2).float()
        weights = self.weights(query).view(*shared[:3], -1).float().softmax(dim=-1).view(shared)
        values = self.value(memory.features).unflatten(2, (self.heads, -1)).float()
        # An offset is in cells of its level.
        cells = torch.tensor([(width, height) for height, width in memory.shapes], device=query.device)
        places = reference[:, :, None, None, None] + offsets / cells[:, None]
        attended: Tensor = self.output(attend(values, memory.shapes, places, weights))
        return attended


def attend(values: Tensor, shapes: tuple[tuple[int, int], ...], places: Tensor, weights: Tensor) -> Tensor:
    """Weigh values between cells, 0 beyond the image.

    Parameters
    ----------
    values
        (N, cells of all levels, heads, c).
    shapes
        (h, w) of each level.
    places, weights
        (N, q, heads, levels, points, 2) and (N, q, heads, levels, points).

    Returns
    -------
    (N, q, heads * c).
    """
    heads = values.shape[2]
    sampled = []
    for number, level in enumerate(values.split([height * width for height, width in shapes], dim=1)):
        maps = level.permute(0, 2, 3, 1).flatten(0, 1).unflatten(2, shapes[number])
        grid = (2 * places[:, :, :, number] - 1).transpose(1, 2).flatten(0, 1)
        sampled.append(F.grid_sample(maps, grid, mode="bilinear", padding_mode="zeros", align_corners=False))
    # (N * heads, c, q, levels * points)
    weighed = torch.cat(sampled, dim=3) * weights.transpose(1, 2).flatten(3).flatten(0, 1)[:, None]
    return weighed.sum(dim=3).unflatten(0, (-1, heads)).permute(0, 3, 1, 2).flatten(2)


def ring(heads: int, levels: int, points: int) -> Tensor:
    """Offsets (heads, levels, points, 2) in cells: a direction for each head, a square about it, 1 cell a point."""
    angles = torch.arange(heads, device="cpu") * (2 * math.pi / heads)
    directions = torch.stack([angles.cos(), angles.sin()], dim=1)
    directions = directions / directions.abs().amax(dim=1, keepdim=True)
    away = torch.arange(1, points + 1, device="cpu")
    return (directions[:, None, None] * away[:, None]).expand(heads, levels, points, 2)


class Feed(nn.Module):
    """Two layers on each place alone, added to what went in, and a norm."""

    def __init__(self, channels: int, hidden: int, dropout: float) -> None:
        super().__init__()
        first, second = nn.Linear(channels, hidden), nn.Linear(hidden, channels)
        for layer in (first, second):
            nn.init.xavier_uniform_(layer.weight)
        self.layers = nn.Sequential(first, nn.ReLU(), nn.Dropout(dropout), second, nn.Dropout(dropout))
        self.norm = nn.LayerNorm(channels)

    def forward(self, features: Tensor) -> Tensor:
        """(N, n, d) -> (N, n, d)."""
        fed: Tensor = self.norm(features + self.layers(features))
        return fed


class EncoderLayer(nn.Module):
    """Every place of every level attends to others about it."""

    def __init__(self, attention: DeformableAttention, channels: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.attention = attention
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(channels)
        self.feed = Feed(channels, hidden, dropout)

    def forward(self, memory: Memory, code: Tensor, reference: Tensor) -> Memory:
        """Features with the code of their places (N, places, d), and these places (N, places, 2)."""
        attended = self.attention(memory.features + code, reference, memory)
        return memory._replace(features=self.feed(self.norm(memory.features + self.dropout(attended))))


class DecoderLayer(nn.Module):
    """Queries attend to one another, then to the image about their reference points."""

    def __init__(self, attention: DeformableAttention, channels: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.among = nn.MultiheadAttention(channels, attention.heads, dropout=dropout, batch_first=True)
        nn.init.xavier_uniform_(self.among.out_proj.weight)
        self.attention = attention
        self.dropout = nn.Dropout(dropout)
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(2))
        self.feed = Feed(channels, hidden, dropout)

    def forward(self, queries: Tensor, code: Tensor, reference: Tensor, memory: Memory) -> Tensor:
        """Queries (N, q, d) with their code (N, q, d) and reference points (N, q, 2) -> (N, q, d)."""
        coded = queries + code
        among, _ = self.among(coded, coded, queries, need_weights=False)
        queries = self.norms[0](queries + self.dropout(among))
        attended = self.attention(queries + code, reference, memory)
        fed: Tensor = self.feed(self.norms[1](queries + self.dropout(attended)))
        return fed


def cell_places(shapes: tuple[tuple[int, int], ...], device: torch.device) -> Tensor:
    """The centres of all levels' cells, (places, 2)."""
    places = []
    for height, width in shapes:
        rows = (torch.arange(height, device=device) + 0.5) / height
        columns = (torch.arange(width, device=device) + 0.5) / width
        places.append(torch.cartesian_prod(rows, columns).flip(1))
    return torch.cat(places)


def sine_code(places: Tensor, channels: int) -> Tensor:
    """Code (places, channels) of positions (places, 2): sines and cosines of y, then of x, at falling frequencies."""
    half = channels // 2
    frequencies = TEMPERATURE ** (-2 * (torch.arange(half, device=places.device) // 2) / half)
    angles = places.flip(1)[:, :, None] * 2 * math.pi * frequencies
    return torch.stack([angles[..., 0::2].sin(), angles[..., 1::2].cos()], dim=3).flatten(1)
