"""ImageNet's weights for a backbone: from a file, from torchvision's cache, or fetched into it."""

from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
from torch import Tensor
from torchvision.models import DenseNet121_Weights, ResNet50_Weights, ResNet101_Weights, VGG16_Weights, VGG19_Weights

from napari_uld.detectors.parts import Backbone
from napari_uld.errors import TrainingError

from .run_files import DAMAGED

# Where torchvision has the files that backbones name.
URLS = {
    Path(weights.url).name: weights.url
    for weights in (
        VGG16_Weights.IMAGENET1K_FEATURES,
        VGG19_Weights.IMAGENET1K_V1,
        ResNet50_Weights.IMAGENET1K_V1,
        ResNet50_Weights.IMAGENET1K_V2,
        ResNet101_Weights.IMAGENET1K_V1,
        ResNet101_Weights.IMAGENET1K_V2,
        DenseNet121_Weights.IMAGENET1K_V1,
    )
}
REMEDY = "put it there, give it with --weights FILE, or train with --from-scratch"


def take_imagenet(backbone: Backbone, file: Path | None = None) -> Path:
    """Take ImageNet's weights over.

    Parameters
    ----------
    backbone
        What takes them; it names the files of torchvision's cache that it may know, the first of which is fetched
        where none is there.
    file
        A file to take instead.

    Returns
    -------
    Path
        The file that was taken.

    Raises
    ------
    TrainingError
        If there is none and none can be fetched, or it is of another network.
    """
    path = file or _cached(backbone)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, *DAMAGED) as error:
        raise TrainingError(f"{path} cannot be read as weights ({error}): give torchvision's file") from error
    if not _is_state(state) or not backbone.take_imagenet(state):
        raise TrainingError(
            f"{path} holds weights of another network than this backbone: give torchvision's file of the published one "
            "(they fit its width, on three slices), or train with --from-scratch"
        )
    return path


def _cached(backbone: Backbone) -> Path:
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    if not backbone.imagenet_files:
        raise TrainingError("There are no ImageNet weights for this backbone: train with --from-scratch")
    for name in backbone.imagenet_files:
        if (folder / name).is_file():
            return folder / name
    wanted = backbone.imagenet_files[0]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(URLS[wanted], str(folder / wanted), hash_prefix=_hash_in(wanted))
    except (URLError, OSError, RuntimeError) as error:
        raise TrainingError(
            f"ImageNet weights are needed and {wanted} is not in {folder}, nor could it be fetched ({error}): {REMEDY}"
        ) from error
    return folder / wanted


def _hash_in(name: str) -> str:
    """The beginning of a file's hash, which torchvision's names end with."""
    return Path(name).stem.rpartition("-")[2]


def _is_state(state: Any) -> bool:
    return isinstance(state, dict) and all(isinstance(value, Tensor) for value in state.values())
