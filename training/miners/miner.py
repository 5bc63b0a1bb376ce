"""What a miner may do while a recipe trains; this one does nothing."""

from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from napari_uld.detectors.parts import Detector, Target
from napari_uld.detectors.specs.mining import MiningSpec
from napari_uld.detectors.specs.recipe import Recipe
from napari_uld.inference.checkpoint import LoadedDetector
from napari_uld.progress import Work

from ..data.slab_dataset import SlabDataset
from ..data.volume_dataset import VolumeDataset


class Training(Protocol):
    """What a miner may ask of the run that it serves.

    Attributes
    ----------
    recipe, model, train_set
        What is trained, and on what.
    out
        The run's folder.
    seed
        Of all that is drawn.
    data
        Folder of the data set.
    epoch, step
        Epochs and optimizer steps that are finished.
    epochs
        Of the whole run.
    """

    recipe: Recipe
    model: Detector
    train_set: SlabDataset | VolumeDataset
    data: Path
    out: Path
    seed: int
    epoch: int
    step: int

    @property
    def epochs(self) -> int:
        """See above."""

    def detector(self) -> LoadedDetector:
        """The network that is kept, as it is now, ready to detect."""

    def log(self, **row: Any) -> None:
        """Append a row to the log."""


class Miner:
    """Mines nothing: miners override what they need of it.

    Parameters
    ----------
    spec
        The recipe's [mining].
    run
        The training that it serves.
    """

    def __init__(self, spec: MiningSpec, run: Training) -> None:
        self.spec = spec
        self.run = run

    @property
    def kept(self) -> Detector:
        """The network that is validated and saved."""
        return self.run.model

    def before_training(self) -> Work[None]:
        """Go on before the first step of a run, or of what is left of one, yielding progress."""
        yield from ()

    def before_step(self, images: list[Tensor], targets: list[Target]) -> tuple[list[Tensor], list[Target]]:
        """Give what a step trains on instead of a batch of the training set, on the run's device.

        Targets have what the training set's have, ``thickness`` included.
        """
        return images, targets

    def after_step(self) -> None:
        """Go on after an optimizer step."""

    def after_epoch(self) -> Work[None]:
        """Go on after an epoch and its validation, yielding progress."""
        yield from ()

    def state(self) -> dict[str, Any]:
        """What resuming needs beside the network: tensors and plain numbers."""
        return {}

    def load(self, state: dict[str, Any]) -> None:
        """Take up what `state` gave after the run's last finished epoch."""
