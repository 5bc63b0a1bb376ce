"""What the parts of a detector promise each other: a new system is a new one of these, and a recipe."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList

# Feature levels (N, C, h, w), or (N, C, d, h, w) of volumes, by name, finest first.
Features = dict[str, Tensor]
# (height, width), or (depth, height, width), of each image before padding.
ImageSizes = list[tuple[int, ...]]
# What is known of one image: ``boxes`` (n, 4) or (n, 6), edge-based, ``labels`` (n,), and what a supervision asks for;
# in training also ``thickness`` (), the mm between its scan's slices, and ``position`` () where that is known. Boxes
# ``ignored`` (k, 4), where there are any, are taught neither way, and those of ``negatives`` (k, 4) are background that
# is sampled first.
Target = dict[str, Tensor]
Detections = list[dict[str, Tensor]]
# Names of maps among the detections: of lesions, and of attention by the features that it weighs.
SEGMENTATION, ATTENTION = "segmentation", "attention "
# Name of (n, k) places in the input, along x first, that detections were told from.
PEAKS = "peaks"
# Name of () where along the body an image lies, from 0 towards the head to 1, in targets and among the detections.
POSITION = "position"
# Of a detection: how much a gate lets through of each image of the slab, (images,).
GATE = "gate"


class Fused(NamedTuple):
    """Feature levels of a batch of slabs.

    Parameters
    ----------
    key
        The key slice's: what is proposed, and what a segmentation branch sees.
    context
        For each image of the slab what a box head pools from.
    stem
        Finer stages of the key image, by which a segmentation path goes down to full resolution.
    maps
        (N, 1, h, w) maps to look at, such as attention.
    gate
        (N, images) in [0, 1], the mean weight of each image's channels, where a gate weighs them.
    """

    key: Features
    context: list[Features]
    stem: Features = {}
    maps: Features = {}
    gate: Tensor | None = None


class Backbone(Protocol):
    """Features of single images.

    Attributes
    ----------
    out_channels, strides
        Channels, and input pixels per cell, of every stage, finest first.
    imagenet_files
        Names in torchvision's cache of weights that `take_imagenet` may know.
    """

    out_channels: list[int]
    strides: tuple[int, ...]
    imagenet_files: tuple[str, ...]

    def __call__(self, images: Tensor) -> list[Tensor]:
        """(N, C, H, W) -> its stages' outputs, finest first."""

    def take_imagenet(self, state: dict[str, Tensor]) -> bool:
        """Take weights over; False where they are of another network."""


class SlabEncoder(Protocol):
    """Makes feature levels of a slab.

    `per_image` sees one image alone, so that over a whole scan its result is computed once and shared
    by all slabs that hold the image; `join` puts a slab's images together.

    Attributes
    ----------
    channels, strides
        Channels of every level of the key slice, and input pixels per cell of each.
    backbone
        What may take ImageNet's weights over.
    """

    channels: int
    strides: tuple[int, ...]
    backbone: Backbone

    def per_image(self, images: Tensor) -> Features:
        """(N, C, H, W), or (N, 1, D, H, W) -> features of each image on its own."""

    def join(self, slab: list[Features], thickness: Tensor) -> Fused:
        """Join what `per_image` gave for each image of a slab, window by window in their order along z.

        `thickness` (N,) is the distance in mm between the slices of each slab's scan.
        """


class DenseHead(Protocol):
    """Finds lesions on feature levels in one stage, and owns what it learns."""

    def __call__(self, levels: list[Tensor]) -> Any:
        """Feature levels, finest first -> raw output; its first element holds logits (N, A, h, w) by level."""

    def losses(self, raw: Any, targets: list[Target]) -> dict[str, Tensor]:
        """Losses of the raw output by name."""

    def detect(self, raw: Any, sizes: ImageSizes, calibrate: "Calibrate | None" = None) -> Detections:
        """``boxes`` (edge-based), ``scores`` and ``labels`` of each image, best first.

        `calibrate` changes the scores before anything is suppressed or ranked by them.
        """

    def diagnostics(self) -> dict[str, list[float]]:
        """Counts of the last training batch, for the log."""

    def grid_size(self, size: tuple[int, ...]) -> "GridSize":
        """See `Detector.grid_size`."""

    def taught(self, target: Target, size: tuple[int, ...]) -> "dict[str, Taught]":
        """See `Detector.taught`."""


# (number of the image, boxes (n, 4), scores (n,)) -> scores (n,).
Calibrate = Callable[[int, Tensor, Tensor], Tensor]


class Taught(NamedTuple):
    """What one rule calls positive in an image: where it is, what it learns, and which lesion from.

    Parameters
    ----------
    boxes
        (k, 4) or (k, 6) edge-based boxes in the network's input.
    labels
        (k,) in [0, 1].
    lesions
        (k,) index of the lesion.
    levels
        (k,) index of the feature level.
    """

    boxes: Tensor
    labels: Tensor
    lesions: Tensor
    levels: Tensor


class GridSize(NamedTuple):
    """How finely a network looks at an image: how many cells it has, and how many guesses on each."""

    cells: int
    per_cell: int


class Detector(Protocol):
    """What training, inference and looking inside need of any network.

    It keeps torchvision's contract: in training ``(images, targets) -> losses by name``, in evaluation
    ``images -> list of dicts`` with ``boxes`` (edge-based), ``scores``, ``labels``, and maps where it has them.

    Attributes
    ----------
    size_divisible
        Images are padded to a multiple of it.
    predicts_maps
        Whether to give maps beside boxes: whoever wants boxes alone switches it off.
    encoder
        Its slab encoder.
    norms_are_frozen
        Whether the backbone's batch norms stay as they are.
    """

    size_divisible: int
    predicts_maps: bool
    norms_are_frozen: bool
    encoder: SlabEncoder

    @property
    def dense_head(self) -> nn.Module:
        """What scores every cell: its output's first element holds logits (N, A, h, w) by level."""

    @property
    def strides(self) -> tuple[int, ...]:
        """Input pixels per cell of each of these levels, finest first."""

    def __call__(
        self, images: list[Tensor], targets: list[Target] | None = None, *, thickness: Tensor | None = None
    ) -> Any:
        """Run on slabs [C, H, W] or volumes [1, D, H, W] that may differ in size; thickness as in `SlabEncoder`."""

    def per_image(self, images: Tensor) -> Features:
        """Features of images, each on its own: what slabs of a scan share."""

    def from_features(
        self,
        slab: list[Features],
        batch: ImageList,
        thickness: Tensor,
        targets: list[Target] | None = None,
    ) -> Any:
        """Go on from `per_image` of each image of the slabs in `batch`."""

    def freeze_norms(self) -> None:
        """Keep the statistics of the backbone's batch norms as they are."""

    def diagnostics(self) -> dict[str, list[float]]:
        """Counts of the last training batch, such as positive anchors an image on each level, for the log."""

    def grid_size(self, size: tuple[int, ...]) -> GridSize:
        """How finely it looks at an image of that padded size."""

    def taught(self, target: Target, size: tuple[int, ...]) -> dict[str, Taught]:
        """What each rule calls positive in an image of that padded size, all of it: training draws from these.

        A rule that is not followed is given as published. The target holds ``bm`` and ``lesion_bms`` too.
        """

    def attach(self, rescorer: "Rescorer") -> None:
        """Score detections by a rescorer from now on; it alone is trained."""

    # What any module has.

    def parameters(self) -> Iterator[nn.Parameter]:
        """See `torch.nn.Module`."""

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """See `torch.nn.Module`."""

    def state_dict(self) -> dict[str, Any]:
        """See `torch.nn.Module`."""

    def load_state_dict(self, state_dict: dict[str, Any], strict: bool = True) -> Any:
        """See `torch.nn.Module`."""

    def train(self, mode: bool = True) -> Any:
        """See `torch.nn.Module`."""

    def eval(self) -> Any:
        """See `torch.nn.Module`."""

    def to(self, device: torch.device) -> Any:
        """See `torch.nn.Module`."""


class Rescorer(Protocol):
    """Scores what a trained detector found a second time."""

    def loss(self, images: Tensor, detections: Detections, targets: list[Target]) -> Tensor:
        """What it learns on padded images (N, slices, H, W) from detections and lesions."""

    def rescore(self, images: Tensor, detections: Detections) -> Detections:
        """The same detections with scores that both say, best first."""
