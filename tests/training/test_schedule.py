"""Learning rates, and what a validation decides."""

import numpy as np
import pytest
import torch
from torch import nn

from napari_uld.detectors.specs.recipe import TrainingSpec, load_recipe
from napari_uld.errors import TrainingError
from napari_uld.evaluation.froc import Froc
from napari_uld.training.evaluate import Evaluation
from napari_uld.training.schedule import Schedule, learning_rate, make_optimizer, monitored, set_rate


def told(values: list[float], **training: object) -> tuple[list[bool], list[int], Schedule]:
    """Whether each of an epoch's values was the best, and the drops after it."""
    schedule, spec = Schedule(), TrainingSpec(**training)
    best, drops = [], []
    for epoch, value in enumerate(values, start=1):
        best.append(schedule.take(value, epoch, spec))
        drops.append(schedule.drops)
    return best, drops, schedule


def test_the_rate_warms_up_and_falls_to_a_tenth_at_each_milestone() -> None:
    spec = TrainingSpec(lr=1.0, milestones=(2, 4), warmup_steps=10)
    assert learning_rate(spec, 0, 0) == pytest.approx(0.1)
    assert learning_rate(spec, 0, 9) == 1
    assert learning_rate(spec, 2, 50) == pytest.approx(0.1)
    assert learning_rate(spec, 4, 99) == pytest.approx(0.01)


def test_the_rate_falls_to_a_tenth_with_each_drop_too() -> None:
    spec = TrainingSpec(lr=1.0, milestones=(2,))
    assert [learning_rate(spec, 0, 0, drops) for drops in range(3)] == pytest.approx([1, 0.1, 0.01])
    assert learning_rate(spec, 2, 0, drops=1) == pytest.approx(0.01)


def test_a_plateau_is_so_many_epochs_in_a_row_without_gain_and_then_counts_anew() -> None:
    best, drops, _ = told([0.5, 0.4, 0.5, 0.5, 0.3, 0.5], plateau=2)
    assert best == [True] + [False] * 5
    assert drops == [0, 0, 1, 1, 2, 2]


def test_a_gain_begins_the_count_anew() -> None:
    best, drops, schedule = told([0.5, 0.4, 0.6, 0.5, 0.7, 0.6, 0.6], plateau=2)
    assert best == [True, False, True, False, True, False, False]
    assert drops == [0] * 6 + [1]
    assert (schedule.best, schedule.best_epoch) == (0.7, 5)


def test_without_a_plateau_nothing_drops() -> None:
    assert told([0.5] * 9)[1] == [0] * 9


def test_while_nothing_is_found_the_latest_epoch_is_the_best_and_no_plateau_counts() -> None:
    best, drops, schedule = told([0.0] * 7, plateau=2)
    assert best == [True] * 7
    assert drops == [0] * 7
    assert (schedule.best, schedule.best_epoch) == (0.0, 7)


def test_from_the_first_hit_on_an_epoch_without_is_worse_and_the_plateau_counts_from_there() -> None:
    best, drops, schedule = told([0.0, 0.0, 0.1, 0.0, 0.0, 0.1, 0.1], plateau=2)
    assert best == [True, True, True, False, False, False, False]
    assert drops == [0, 0, 0, 0, 1, 1, 2]
    assert (schedule.best, schedule.best_epoch) == (0.1, 3)


@pytest.mark.parametrize(
    ("monitor", "expected"),
    [("sensitivity", ("sensitivity at 4 FP per image", 0.8)), ("ap", ("average precision", 0.3))],
)
def test_what_is_monitored_is_sensitivity_or_average_precision(monitor: str, expected: tuple[str, float]) -> None:
    curve = Froc(np.zeros(1), np.zeros(1), (0.5, 1.0, 2.0, 4.0), np.array([0.2, 0.4, 0.6, 0.8]), np.zeros(4))
    evaluation = Evaluation(curve, np.zeros(5), np.zeros(5), ap=0.3, images=1, lesions=1, patients=1)
    assert monitored(evaluation, TrainingSpec(monitor=monitor)) == expected


def test_adam_takes_the_recipes_eps() -> None:
    published = load_recipe("retinanet").training
    assert make_optimizer(nn.Linear(1, 1), published).param_groups[0]["eps"] == 1e-7  # type: ignore[arg-type]
    assert load_recipe("retinanet", "small").training.eps == 1e-8


def test_weights_whose_names_a_recipe_calls_slow_learn_at_a_tenth_of_the_rate() -> None:
    network = nn.ModuleDict({"backbone": nn.Linear(1, 1), "head": nn.Linear(1, 1, bias=False)})
    spec = TrainingSpec(optimizer="adamw", lr=1, weight_decay=0.1, slow=("backbone",))
    optimizer = make_optimizer(network, spec)  # type: ignore[arg-type]
    assert isinstance(optimizer, torch.optim.AdamW)
    set_rate(optimizer, 0.5)
    assert [(len(group["params"]), group["lr"]) for group in optimizer.param_groups] == [(1, 0.5), (2, 0.05)]
    # What a run saved before there were any: all at the full rate.
    plain = torch.optim.SGD(network.parameters(), lr=1)
    set_rate(plain, 0.5)
    assert [group["lr"] for group in plain.param_groups] == [0.5]
    with pytest.raises(TrainingError, match="'trunk'"):
        make_optimizer(network, spec.model_copy(update={"slow": ("trunk",)}))  # type: ignore[arg-type]
