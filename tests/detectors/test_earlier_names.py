"""Checkpoints of version 2 hold the same networks under the names that their modules had then."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from napari_uld.detectors.build import build_detector
from napari_uld.detectors.earlier_names import renamed
from napari_uld.detectors.parts import Detector
from napari_uld.detectors.specs.recipe import load_recipe
from napari_uld.detectors.specs.system import System, system_of
from napari_uld.inference.catalogue import VERSION, bundled_checkpoints, read_info

# A checkpoint of version 2, as it once came with the package.
KEPT = Path(__file__).parent / "version_2" / "3dce_bmc.safetensors"


def network(system: System) -> Detector:
    """Without memory for its weights."""
    with torch.device("meta"):
        return build_detector(system)


# By recipe: some names of version 2, and what they are called today.
NAMES = {
    # A convolution with batch norm, ReLU and pooling are four layers, two of them without a pooling six.
    "faster_rcnn": {
        "backbone.features.0.weight": "encoder.backbone.stages.0.0.weight",
        "backbone.features.1.running_var": "encoder.backbone.stages.0.1.running_var",
        "backbone.features.4.weight": "encoder.backbone.stages.1.0.weight",
        "backbone.features.8.weight": "encoder.backbone.stages.2.0.weight",
        "backbone.features.14.weight": "encoder.backbone.stages.3.0.weight",
        "proposals.head.conv.bias": "proposals.head.conv.bias",
        "regions.box_predictor.logits.weight": "regions.box_predictor.logits.weight",
    },
    "3dce_bmc": {
        "backbone.features.0.weight": "encoder.backbone.stages.0.0.weight",
        "fusion.conv.weight": "encoder.conv.weight",
        "fusion.conv.bias": "encoder.conv.bias",
    },
    "mask_rcnn": {
        "backbone.body.layer1.0.conv1.weight": "encoder.backbone.layer1.0.conv1.weight",
        "backbone.fpn.inner_blocks.0.0.weight": "encoder.pyramid.skips.0.projection.weight",
        "backbone.fpn.inner_blocks.2.0.bias": "encoder.pyramid.skips.2.projection.bias",
        "backbone.fpn.inner_blocks.3.0.bias": "encoder.pyramid.top.bias",
        "backbone.fpn.layer_blocks.3.0.weight": "encoder.pyramid.smooth.3.weight",
        "regions.branch.layers.0.0.0.weight": "regions.branch.layers.0.0.0.weight",
    },
    "retinanet_dense_ag": {
        "backbone.stages.1.0.weight": "encoder.backbone.stages.1.0.weight",
        "pyramid.top.weight": "encoder.pyramid.top.weight",
        "pyramid.skips.0.gate.to_map.bias": "encoder.pyramid.skips.0.gate.to_map.bias",
        "anchor_head.classification.0.weight": "head.classification.0.weight",
        "segmentation.reduce.weight": "segmentation.reduce.weight",
    },
}


@pytest.mark.parametrize("name", NAMES)
def test_a_weight_has_its_name_of_today(name: str) -> None:
    model = network(load_recipe(name, "small"))
    state = {before: torch.zeros(0) for before in NAMES[name]}
    assert list(renamed(state, model)) == list(NAMES[name].values())
    assert set(NAMES[name].values()) <= set(model.state_dict())


def test_a_layer_that_the_network_has_not_keeps_a_name_that_fits_none() -> None:
    model = network(load_recipe("faster_rcnn", "small"))
    (name,) = renamed({"backbone.features.99.weight": torch.zeros(0)}, model)
    assert name not in model.state_dict()
    # A network of another kind has none either.
    (name,) = renamed({"backbone.features.0.weight": torch.zeros(0)}, network(load_recipe("mask_rcnn", "small")))
    assert name.startswith("encoder.backbone.")


@pytest.mark.parametrize("path", [KEPT, *bundled_checkpoints().values()], ids=["version 2", *bundled_checkpoints()])
def test_a_checkpoints_weights_are_all_of_its_network_and_no_others(path: Path) -> None:
    info = read_info(path)
    assert info.name == path.stem
    assert info.version == (2 if path == KEPT else VERSION)
    model = network(system_of(info.recipe))
    stored = load_file(path)
    shapes = {
        key: tuple(weights.shape) for key, weights in (renamed(stored, model) if info.version == 2 else stored).items()
    }
    assert shapes == {key: tuple(weights.shape) for key, weights in model.state_dict().items()}
