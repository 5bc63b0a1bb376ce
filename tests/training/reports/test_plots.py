"""FROC curves of constructed results."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from napari_uld.errors import DataError
from napari_uld.evaluation.matching import match
from napari_uld.progress import finish
from napari_uld.training.reports import plots
from napari_uld.training.reports.experiment_list import EXPERIMENTS
from napari_uld.training.reports.planning import Experiment, Place, Plot, Row
from napari_uld.training.reports.plots import draw_plot, mean_curve, size_sensitivities, write_plots
from napari_uld.training.reports.results import Result

IMAGES = 4
# One image has one lesion of each size, the others none.
DIAMETERS = (np.array([5.0, 20.0, 40.0]), *(np.zeros(0) for _ in range(IMAGES - 1)))
ROWS = tuple(Row(label, label) for label in ("a", "b", "c"))


def result(*ranking: str) -> Result:
    """What detections of this order reach: "s", "m" or "l" for the lesion that one hits, "x" for a false one."""
    overlap = np.array([[size == letter for size in "sml"] for letter in ranking], float).reshape(-1, 3)
    rest = [np.zeros((0, 0))] * (IMAGES - 1)
    scores = [np.linspace(0.9, 0.1, len(ranking)), *[np.zeros(0)] * (IMAGES - 1)]
    names = np.asarray(["1"] * IMAGES)
    return Result(match([overlap, *rest], scores, threshold=0.5), names, np.arange(IMAGES), names, DIAMETERS, {})


def test_a_curve_is_the_mean_of_the_seeds_between_the_lowest_and_the_highest() -> None:
    # A false positive is a quarter of one an image. The first seed has 1, 1, 3 lesions at 0, 1/4 and 1/2; the second
    # all at 0.
    mean, low, high = mean_curve([result("m", "x", "x", "s", "l"), result("m", "s", "l")], [0.25, 0.5, 8.0])
    np.testing.assert_allclose(low, [1 / 3, 1, 1])
    np.testing.assert_allclose(high, [1, 1, 1])
    np.testing.assert_allclose(mean, [2 / 3, 1, 1])


def test_sensitivity_by_size_is_read_at_its_rate_seed_by_seed() -> None:
    results = [result("m", "x", "x", "s", "l"), result("s")]
    np.testing.assert_allclose(size_sensitivities(results, 0.25), [[0, 1, 0], [1, 0, 0]])
    np.testing.assert_allclose(size_sensitivities(results, 0.5), [[1, 1, 1], [1, 0, 0]])


def test_every_plot_of_the_list_is_of_rows_that_there_are() -> None:
    for experiment in EXPERIMENTS.values():
        names = [plot.name for plot in experiment.plots]
        assert len(set(names)) == len(names)
        for plot in experiment.plots:
            assert set(plot.rows or ()) <= {row.label for row in experiment.rows}


def test_each_plot_is_a_file_and_says_which_rows_it_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of_two, of_none = Plot("two", ("a", "c"), ceilings=True), Plot("none", ("c",))
    experiment = Experiment("x", "An experiment", ROWS, plots=(Plot(size_rate=4.0), of_two, of_none))
    results = {"a": {0: result("m", "x"), 1: result("x", "s")}, "b": {0: result("l")}, "c": {}}
    monkeypatch.setattr(plots, "collect_all", lambda *_: [(experiment, results, {})])
    drawn = finish(write_plots(tmp_path / "p", [experiment], Place(tmp_path, tmp_path)))
    assert drawn == {tmp_path / "p" / "x.png": ["c"], tmp_path / "p" / "two.png": ["c"]}
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in drawn)
    assert set((tmp_path / "p").iterdir()) == set(drawn)


def test_a_detector_that_finds_nothing_can_be_drawn_and_the_picture_is_the_same_every_time(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        draw_plot(tmp_path / name, "Nothing", Plot(ceilings=True, size_rate=4.0), {"none": [result()]})
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_the_curve_ends_with_the_detections_and_the_ceiling_is_marked_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = {}
    monkeypatch.setattr(plots.Figure, "savefig", lambda figure, *_, **__: seen.update(axes=figure.axes[0]))
    # Eight false positives on four images; two of three lesions.
    shown = {"a": [result("m", *"xxxxxxx", "s", "x")]}
    for ceilings, lines in ((False, 1), (True, 2)):
        draw_plot(tmp_path / "x.png", "x", Plot(ceilings=ceilings), shown)
        assert len(seen["axes"].lines) == lines
        x, y = seen["axes"].lines[-1].get_data()
        assert (x[-1], y[-1]) == pytest.approx((2, 2 / 3))
    assert seen["axes"].lines[0].get_marker() == "o"


def test_no_finished_run_is_a_sentence(tmp_path: Path) -> None:
    experiment = replace(EXPERIMENTS["retinanet"], seeds=(0,))
    with pytest.raises(DataError, match="no finished run of retinanet"):
        finish(write_plots(tmp_path / "p", [experiment], Place(tmp_path, tmp_path)))
