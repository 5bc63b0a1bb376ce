"""Weights of checkpoints written before version 3, under the names that modules had then."""

import re

from torch import Tensor

from napari_uld.detectors.parts import Detector

# How a name began, and how it begins now.
PREFIXES = (
    ("backbone.body.", "encoder.backbone."),
    ("backbone.", "encoder.backbone."),
    ("fusion.", "encoder."),
    ("pyramid.", "encoder.pyramid."),
    ("anchor_head.", "head."),
)


def renamed(state: dict[str, Tensor], model: Detector) -> dict[str, Tensor]:
    """Weights of version 2 under today's names.

    Parameters
    ----------
    state
        Weights by their names in the file.
    model
        The network that they are for.
    """
    return {_renamed(name, model): weights for name, weights in state.items()}


def _renamed(name: str, model: Detector) -> str:
    if match := re.fullmatch(r"backbone\.features\.(\d+)\.(\w+)", name):
        stage, layer = _in_stages(int(match[1]), model)
        return f"encoder.backbone.stages.{stage}.{layer}.{match[2]}"
    if match := re.fullmatch(r"backbone\.fpn\.(inner|layer)_blocks\.(\d+)\.0\.(\w+)", name):
        number = int(match[2])
        if match[1] == "layer":
            return f"encoder.pyramid.smooth.{number}.{match[3]}"
        last = len(model.encoder.backbone.out_channels) - 1
        place = "top" if number == last else f"skips.{number}.projection"
        return f"encoder.pyramid.{place}.{match[3]}"
    for before, now in PREFIXES:
        if name.startswith(before):
            return now + name.removeprefix(before)
    return name


def _in_stages(number: int, model: Detector) -> tuple[int, int]:
    """Stage of a VGG and layer in it, of a layer's number in one row."""
    stages = getattr(model.encoder.backbone, "stages", ())
    for stage, layers in enumerate(stages):
        if number < len(layers):
            return stage, number
        number -= len(layers)
    return len(stages), number
