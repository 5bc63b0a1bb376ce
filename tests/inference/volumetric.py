"""Small networks of volumes, with weights drawn by a seed, as a checkpoint would be loaded."""

from pathlib import Path

import torch
from torch import nn

from napari_uld.detectors.build import build_detector
from napari_uld.detectors.specs.recipe import Recipe, load_recipe
from napari_uld.inference.catalogue import CheckpointInfo
from napari_uld.inference.checkpoint import LoadedDetector


def unet() -> LoadedDetector:
    """A CenterNet on a narrow 3D U-Net; see `vld`."""
    recipe = load_recipe("centernet_3d", "small")
    narrow = tuple(8 for _ in recipe.detector.widths)
    changed = recipe.detector.model_copy(update={"widths": narrow, "head_channels": 8})
    return _loaded(recipe.model_copy(update={"detector": changed}))


def vld(blocks: tuple[int, int, int], operator: str = "acs") -> LoadedDetector:
    """A VLD of these blocks whose scores are spread from cell to cell, in float32 on the CPU."""
    recipe = load_recipe("vld_acs_spr", "small")
    changed = recipe.detector.model_copy(update={"blocks": blocks, "operator": operator})
    return _loaded(recipe.model_copy(update={"detector": changed}))


def _loaded(recipe: Recipe) -> LoadedDetector:
    torch.manual_seed(0)
    model = build_detector(recipe)
    with torch.no_grad():
        for norm in model.modules():
            if isinstance(norm, nn.BatchNorm2d | nn.BatchNorm3d):
                # Its statistics become those of the one volume that it sees in training.
                norm.momentum = None
        model.train()
        features = model.per_image(torch.randn(1, 1, 16, 64, 64) * 60)
        heat = model.dense_head.heat
        nn.init.normal_(heat.weight)
        heat.weight /= (model.dense_head(list(features.values())).logits[0] - heat.bias).std()
        nn.init.constant_(heat.bias, -2)
    model.predicts_maps = False
    model.eval()
    info = CheckpointInfo(Path("random"), "0", recipe.model_dump(mode="json"), {})
    return LoadedDetector(model, recipe.input, info, torch.device("cpu"), mixed=False)
