"""What a miner may do while a recipe trains; this one does nothing."""

from typing import TYPE_CHECKING, Any

from torch import Tensor

from napari_uld.detectors.parts import Detector, Target
from napari_uld.detectors.specs.mining import MiningSpec
from napari_uld.progress import Work

if TYPE_CHECKING:
    from ..loop import Run


class Miner:
    """Mines nothing: miners override what they need of it.

    Parameters
    ----------
    spec
        The recipe's [mining].
    run
        The training that it serves.
    """

    def __init__(self, spec: MiningSpec, run: "Run") -> None:
        self.spec = spec
        self.run = run

    @property
    def kept(self) -> Detector:
        """The network that is validated and saved."""
        return self.run.model

    def before_step(self, images: list[Tensor], targets: list[Target]) -> tuple[list[Tensor], list[Target]]:
        """Give what a step trains on instead of a batch of the training set, on the run's device."""
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
