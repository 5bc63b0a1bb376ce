"""What a recipe's optimizer does when: learning rates, and what a validation decides."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from napari_uld.detectors.parts import Detector
from napari_uld.detectors.specs.recipe import TrainingSpec
from napari_uld.errors import TrainingError

from .evaluate import Evaluation

# False positives per image that the monitored sensitivity is read at.
SENSITIVITY_AT = 4.0
# Of the learning rate for weights that a recipe calls slow.
SLOW = 0.1


@dataclass
class Schedule:
    """How the epochs so far compare by the monitored value, and what follows from it.

    Attributes
    ----------
    best, best_epoch
        The best value, and the epoch (from 1) that reached it first.
    drops
        How often the plateau has made the learning rate fall.
    """

    best: float = -math.inf
    best_epoch: int = 0
    drops: int = 0

    def take(self, value: float, epoch: int, spec: TrainingSpec) -> bool:
        """Take an epoch's value in; give whether it is the best so far. Every `plateau` epochs without are a drop.

        While nothing is found at all no epoch is better than another: the latest is kept, and none is waited for.
        """
        if value > self.best or value <= 0 >= self.best:
            self.best, self.best_epoch = value, epoch
            return True
        if spec.plateau is not None and (epoch - self.best_epoch) % spec.plateau == 0:
            self.drops += 1
        return False


def monitored(evaluation: Evaluation, spec: TrainingSpec, counted: str = "image") -> tuple[str, float]:
    """What the recipe watches on the validation split: its name and its value; `counted` is what FPs are counted by."""
    if spec.monitor == "ap":
        return "average precision", evaluation.ap
    value = float(np.interp(SENSITIVITY_AT, evaluation.curve.rates, evaluation.curve.values))
    return f"sensitivity at {SENSITIVITY_AT:g} FP per {counted}", value


def learning_rate(spec: TrainingSpec, epoch: int, step: int, drops: int = 0) -> float:
    """Rate of a step: linear warm-up, then a tenth from each milestone on, and with each drop on a plateau."""
    rate = spec.lr * 0.1 ** (sum(epoch >= milestone for milestone in spec.milestones) + drops)
    return rate * min(1.0, (step + 1) / spec.warmup_steps) if spec.warmup_steps else rate


def make_optimizer(model: Detector, spec: TrainingSpec) -> torch.optim.Optimizer:
    """The optimizer a recipe asks for; weights that are to learn slowly are a group of their own.

    Raises
    ------
    TrainingError
        If no weight's name holds one of the words that say which are slow.
    """
    named = [(name, weight) for name, weight in model.named_parameters() if weight.requires_grad]
    for word in spec.slow:
        # Of a frozen backbone, or a detector that gets a rescorer, there may be none left to learn.
        if not any(word in name for name, _ in model.named_parameters()):
            raise TrainingError(f"training.slow: no weight of this network has {word!r} in its name")
    slow = [weight for name, weight in named if any(word in name for word in spec.slow)]
    fast = [weight for name, weight in named if not any(word in name for word in spec.slow)]
    groups: list[dict[str, Any]] = [{"params": fast}]
    groups += [{"params": slow, "share": SLOW}] if slow else []
    if spec.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=spec.lr, momentum=spec.momentum, weight_decay=spec.weight_decay)
    kind = torch.optim.AdamW if spec.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, lr=spec.lr, weight_decay=spec.weight_decay, eps=spec.eps)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every group its share of a learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("share", 1.0)
