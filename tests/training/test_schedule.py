"""Learning rates, and what a validation decides."""

import numpy as np
import pytest

from napari_uld.detectors.specs.recipe import TrainingSpec
from napari_uld.evaluation.froc import Froc
from napari_uld.training.evaluate import Evaluation
from napari_uld.training.schedule import Standing, learning_rate, monitored


def told(values: list[float], **training: object) -> tuple[list[bool], list[int], Standing]:
    """Whether each of an epoch's values was the best, and the drops after it."""
    standing, spec = Standing(), TrainingSpec(**training)
    best, drops = [], []
    for epoch, value in enumerate(values, start=1):
        best.append(standing.take(value, epoch, spec))
        drops.append(standing.drops)
    return best, drops, standing


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
    best, drops, standing = told([0.5, 0.4, 0.6, 0.5, 0.7, 0.6, 0.6], plateau=2)
    assert best == [True, False, True, False, True, False, False]
    assert drops == [0] * 6 + [1]
    assert (standing.best, standing.best_epoch) == (0.7, 5)


def test_without_a_plateau_nothing_drops() -> None:
    assert told([0.5] * 9)[1] == [0] * 9


def test_an_epoch_without_any_hit_is_the_best_until_another_has_one() -> None:
    assert told([0.0, 0.0, 0.1])[0] == [True, False, True]


@pytest.mark.parametrize(
    ("monitor", "expected"),
    [("sensitivity", ("sensitivity at 4 FP per image", 0.8)), ("ap", ("average precision", 0.3))],
)
def test_what_is_monitored_is_sensitivity_or_average_precision(monitor: str, expected: tuple[str, float]) -> None:
    curve = Froc(np.zeros(1), np.zeros(1), (0.5, 1.0, 2.0, 4.0), np.array([0.2, 0.4, 0.6, 0.8]), np.zeros(4))
    evaluation = Evaluation(curve, np.zeros(5), np.zeros(5), ap=0.3, images=1, lesions=1, patients=1)
    assert monitored(evaluation, TrainingSpec(monitor=monitor)) == expected
