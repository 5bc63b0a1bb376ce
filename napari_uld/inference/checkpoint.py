"""Checkpoints: one safetensors file that describes itself, no pickle."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as serialize
from torch import Tensor

from napari_uld.detectors.backbones.pseudo_3d import from_2d
from napari_uld.detectors.build import build_detector
from napari_uld.detectors.earlier_names import renamed
from napari_uld.detectors.parts import Detector
from napari_uld.detectors.specs.inputs import InputSpec
from napari_uld.detectors.specs.recipe import problems
from napari_uld.detectors.specs.system import System, system_of
from napari_uld.errors import CheckpointError
from napari_uld.files import replace_file
from napari_uld.inference.catalogue import FORMAT, RENAMED_IN, VERSION, CheckpointInfo, read_info
from napari_uld.inference.device import pick_device, place
from napari_uld.inference.probing import bytes_per_voxel, reach_along_z


@dataclass(frozen=True, eq=False)
class LoadedDetector:
    """A network ready to run, and what it expects.

    Parameters
    ----------
    model
        In evaluation mode, on `device`.
    inputs
        How slices become its input.
    info
        The checkpoint's description.
    mixed
        Whether it may run in half precision where the hardware does.
    """

    model: Detector
    inputs: InputSpec
    info: CheckpointInfo
    device: torch.device
    mixed: bool = True

    @property
    def tight(self) -> bool:
        """Whether its boxes lie about the voxels of what they hold; else they have DeepLesion's margin."""
        return self.info.tight

    @cached_property
    def reach(self) -> int:
        """Slices to each side that a volumetric network's scores depend on."""
        return reach_along_z(self.model, self.inputs.channels)

    @cached_property
    def bytes_per_voxel(self) -> float:
        """Memory that a volumetric network takes for each voxel it sees, of whatever many phases."""
        return bytes_per_voxel(self.model, self.inputs.channels)


def save_checkpoint(path: Path, model: Detector, recipe: dict[str, Any], evaluation: dict[str, Any]) -> None:
    """Write a model in half precision with its full recipe and the evaluation it got.

    Weights beyond half precision's range stay in single precision.

    Raises
    ------
    OSError
        If the disk does not take it; what was there before is intact.
    """
    # One key alone: safetensors writes several in any order, and the same training shall give the same file.
    metadata = {FORMAT: json.dumps({"version": VERSION, "recipe": recipe, "evaluation": evaluation})}
    tensors = {name: _halve(tensor) for name, tensor in model.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    # Through our own hands: what the disk says is passed on.
    data = serialize(tensors, metadata=metadata)
    replace_file(path, lambda partial: partial.write_bytes(data))


def load_checkpoint(path: Path, device: str = "auto") -> LoadedDetector:
    """Build the network that a checkpoint describes and fill in its weights.

    Raises
    ------
    CheckpointError
        If the file is damaged or its weights do not fit its recipe.
    DeviceError
        If the device is not there.
    """
    where = pick_device(device)
    info = read_info(path)
    # Of the weights that are read now: training may put others there before these have found anything.
    _ = info.digest
    try:
        system = system_of(info.recipe)
    except ValidationError as error:
        raise CheckpointError(f"{path}: its recipe is damaged ({problems(error, info.recipe, System)})") from error
    try:
        model = build_detector(system)
        model.load_state_dict(read_weights(path, info, model))
    except (KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(f"{path}: its weights do not fit its recipe; copy or train it again") from error
    if not all(bool(value.isfinite().all()) for value in model.state_dict().values()):
        # It would find nothing, which looks like a healthy scan.
        raise CheckpointError(f"{path} holds weights that are no numbers: the file is damaged, or training diverged")
    # Findings are boxes and scores.
    model.predicts_maps = False
    place(model, where)
    model.eval()
    return LoadedDetector(model, system.input, info, where)


def initialise(model: Detector, path: Path) -> list[str]:
    """Take over from a checkpoint every weight that fits, or that became one of volumes from one of images.

    Returns
    -------
    list of str
        Names of the model's weights that it has none for.
    """
    offered = from_2d(model, read_weights(path, read_info(path), model))  # type: ignore[arg-type]
    current = model.state_dict()
    fitting = {
        name: offered[name] for name, value in current.items() if name in offered and offered[name].shape == value.shape
    }
    model.load_state_dict(fitting, strict=False)
    return [name for name in current if name not in fitting]


def read_weights(path: Path, info: CheckpointInfo, model: Detector) -> dict[str, Tensor]:
    """Read a checkpoint's weights in single precision, under the names that a model has for them."""
    weights = {name: _widen(tensor) for name, tensor in load_file(path).items()}
    return weights if info.version >= RENAMED_IN else renamed(weights, model)


def _halve(tensor: Tensor) -> Tensor:
    tensor = tensor.detach().cpu().contiguous()
    if not tensor.is_floating_point():
        return tensor
    half = tensor.half()
    return half if torch.isfinite(half).all() else tensor


def _widen(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor
