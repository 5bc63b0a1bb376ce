"""What is found out about a volumetric network by trying it: how far it sees along z, and the memory that it takes."""

import copy
import weakref
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from napari_uld.detectors.parts import Detector

# Slices of the first volume that is tried, and of the deepest.
SHALLOWEST, DEEPEST = 32, 512
# Slices that a network may pool into one: tiles begin on multiples of it, as the whole scan does.
POOLED_SLICES = 4
# Slices of the volume whose memory is counted: it grows with them, and with the area, in proportion.
COUNTED_SLICES = 2 * POOLED_SLICES
# Beside what the network holds of a voxel: its HU in each phase, and its number in the window, as float32.
INPUT_BYTES = 8


def reach_along_z(model: Detector, channels: int) -> int:
    """Count the slices to each side of a cell's own that its score depends on, whatever the weights are.

    A slice that is no number makes none of all that depends on it. It is tried on the CPU: a GPU's faster convolutions
    spread it further; with each of the slices that may be pooled together, since they reach differently far.
    """
    tried: Any = copy.deepcopy(model)
    tried.to("cpu", torch.float32)
    depth = SHALLOWEST
    while True:
        images = torch.zeros(POOLED_SLICES, channels, depth, model.size_divisible, model.size_divisible)
        tries = torch.arange(POOLED_SLICES)
        places = depth // 2 + tries
        images[tries, :, places] = torch.nan
        image, _, z, *_ = _logits(tried, images).isnan().nonzero().unbind(1)
        if depth >= DEEPEST or (z.min() > 0 and z.max() < depth - 1):
            return int((z - places[image]).abs().max())
        depth *= 2


def bytes_per_voxel(model: Detector, channels: int) -> float:
    """Count the bytes that the network holds at most at a time, in float32, for each voxel of its padded input.

    Counted on tensors without contents. What libraries take for a convolution comes on top; half precision takes less.
    """
    tried: Any = copy.deepcopy(model)
    tried.to("meta", torch.float32)
    side = 2 * model.size_divisible
    with _MostHeld(tried) as counted:
        _logits(tried, torch.zeros(1, channels, COUNTED_SLICES, side, side, device="meta"))
    return counted.most / (COUNTED_SLICES * side**2) + INPUT_BYTES * channels


@torch.no_grad()
def _logits(model: Any, volume: Tensor) -> Tensor:
    features = model.eval().per_image(volume)
    fused = model.encoder.join([features], torch.ones(len(volume), device=volume.device))
    logits: Tensor = model.dense_head(list(fused.key.values()))[0][0]
    return logits


class _MostHeld(TorchDispatchMode):
    """Counts the bytes of tensors that are made while it is entered and are still there, and the most at a time.

    Parameters
    ----------
    network
        Its weights do not count.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.held = self.most = 0
        self._weights = [weight.untyped_storage() for weight in network.state_dict(keep_vars=True).values()]
        self._known = {id(storage) for storage in self._weights}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor):
                self._hold(tensor.untyped_storage())
        return made

    def _hold(self, storage: torch.UntypedStorage) -> None:
        """Views and what is changed in place share a storage."""
        if id(storage) not in self._known:
            self._known.add(id(storage))
            self.held += storage.nbytes()
            self.most = max(self.most, self.held)
            weakref.finalize(storage, self._let_go, id(storage), storage.nbytes())

    def _let_go(self, number: int, size: int) -> None:
        self._known.discard(number)
        self.held -= size
