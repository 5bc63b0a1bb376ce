"""What a network costs: its parameters, and the floating-point operations of looking at a volume."""

from collections import Counter
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from napari_uld.detectors.build import build_detector
from napari_uld.detectors.parts import Detector
from napari_uld.detectors.specs.recipe import Recipe

# Slices, rows and columns of the volume that VLD's paper counts for.
VOLUME = (32, 256, 256)
PARTS = ("trunk", "pyramid", "heads")


def cost_of(recipe: Recipe) -> dict[str, dict[str, int]]:
    """Count a recipe's ``parameters`` and ``flops``, in all (``total``) and by part.

    An operation is a multiplication or an addition, so that a convolution has two for each weight and place. They are
    counted for a volume of 32 x 256 x 256; a network of slabs looks at each of its slices in turn. The trunk is the
    backbone, the pyramid what else encodes; of the heads that is counted which looks everywhere: what a second stage
    costs depends on what there is to see.
    """
    model = build_detector(recipe)
    module: Any = model
    module.to("meta").eval()
    parameters = Counter(dict.fromkeys(PARTS, 0))
    for name, weight in module.named_parameters():
        parameters[_part(name)] += weight.numel()
    flops = _flops(model, module, recipe)
    return {
        name: {"total": sum(counts.values()), **counts}
        for name, counts in (("parameters", parameters), ("flops", flops))
    }


def _flops(model: Detector, module: nn.Module, recipe: Recipe) -> Counter[str]:
    counted = Counter(dict.fromkeys(PARTS, 0))
    begun: list[int] = []
    slices, *size = VOLUME
    inputs = recipe.input
    with FlopCounterMode(display=False) as counter:
        for name, leaf in module.named_modules():
            if not list(leaf.children()):

                def ended(*_: object, part: str = _part(name)) -> None:
                    counted[part] += counter.get_total_flops() - begun.pop()

                leaf.register_forward_pre_hook(lambda *_: begun.append(counter.get_total_flops()))
                leaf.register_forward_hook(ended)
        deep = [inputs.channels, slices] if inputs.volume else [inputs.channels]
        images = torch.zeros(inputs.images, *deep, *size, device="meta")
        with torch.no_grad():
            features = model.per_image(images)
            slab = [{key: level[[image]] for key, level in features.items()} for image in range(inputs.images)]
            fused = model.encoder.join(slab, torch.ones(1, device="meta"))
            model.dense_head(list(fused.key.values()))
    times = 1 if inputs.volume else slices
    return Counter({part: count * times for part, count in counted.items()})


def _part(name: str) -> str:
    return "trunk" if name.startswith("encoder.backbone.") else "pyramid" if name.startswith("encoder.") else "heads"
