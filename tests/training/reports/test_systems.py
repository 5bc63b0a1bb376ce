"""One table and one picture of all systems: what stands in them, of stored results and small scans."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from napari_uld.ct.volume import CTVolume
from napari_uld.evaluation.matching import match
from napari_uld.progress import finish
from napari_uld.training.reports.experiment_list import EXPERIMENTS
from napari_uld.training.reports.planning import Experiment, Place, Row, State
from napari_uld.training.reports.results import Result
from napari_uld.training.reports.system_costs import costs_of
from napari_uld.training.reports.systems import Reached, draw_systems, reached_by

NAMES = ["centernet_2d", "vld_acs_phases"]


class FakeRun:
    """A finished run of a row and a seed."""

    state = State.FINISHED

    def __init__(self, row: Row, seed: int) -> None:
        self.says = f"{row.label} {seed}"

    def result(self) -> str:
        return self.says

    def traced_result(self) -> str:
        return f"{self.says} traced"


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setattr(
        "napari_uld.training.reports.systems.plan", lambda experiment, row, seed, place: FakeRun(row, seed)
    )
    return Place(Path(), Path())


def result(score: float) -> Result:
    """A key slice of one lesion, found with a score."""
    matches = match([np.array([[1.0]])], [np.array([score])], threshold=0.5)
    return Result(matches, np.array(["a"]), np.array([1]), np.array(["p"]), (np.array([9.0]),), {})


def test_what_a_recipe_reached_is_of_the_first_row_that_trains_it_as_it_is(planned: Place) -> None:
    changed = Row("a, wider", "a", {"detector": {"width": 1.0}})
    with_negatives = Row("a +FP", "a", count_negatives=True)
    first = Experiment("x", "X", (changed, with_negatives, Row("b", "b")))
    bundled = Experiment("y", "Y", (Row("a, trained out", "a"),), version="bundled")
    second = Experiment("z", "Z", (Row("the a", "a", traced=True), Row("a, twice as long", "a")), seeds=(0, 1))
    found = reached_by("a", [first, bundled, second], planned)
    traced = ["the a 0 traced", "the a 1 traced"]
    assert found == Reached(["the a 0", "the a 1"], traced, "2 seeds")  # type: ignore[list-item, arg-type]
    assert reached_by("nobody's", [first, second], planned) == Reached([], [])


def test_what_goes_on_from_a_trained_host_says_so_where_its_recipe_does_not_ask_for_that(planned: Place) -> None:
    hosts, mining = EXPERIMENTS["hosts"], EXPERIMENTS["mining"]
    gone_on = reached_by("mulan_no_recist_bmc", [hosts], planned)
    assert gone_on == Reached(["mulan_no_recist_bmc 0"], [], "1 seed, from `mulan_no_recist`")  # type: ignore[list-item]
    # What was trained as it is comes first, and is never what the host became in twice the time.
    as_it_is = Experiment("x", "X", (Row("by itself", "mulan_no_recist_bmc"),), seeds=(0,))
    assert reached_by("mulan_no_recist_bmc", [hosts, as_it_is], planned).on_slices == ["by itself 0"]
    longer = Experiment("x", "X", hosts.rows[4:5], seeds=(0,))
    assert longer.rows[0].label == "mulan_no_recist, twice as long"
    assert reached_by("mulan_no_recist", [longer], planned) == Reached([], [])
    assert reached_by("mining_hard_negatives", [mining], planned).on_slices == ["mining_hard_negatives 0"]


def test_what_saw_something_else_says_so_and_gives_way_to_what_was_trained_as_it_is(planned: Place) -> None:
    hosts = EXPERIMENTS["hosts"]
    changed = reached_by("mvp_bmc", [hosts], planned)
    assert changed == Reached(["mvp_3_bmc 0"], [], "1 seed, with slices = 3, from `mvp_3`")  # type: ignore[list-item]
    as_it_is = Experiment("x", "X", (Row("on nine", "mvp_bmc"),), seeds=(0,))
    assert reached_by("mvp_bmc", [hosts, as_it_is], planned).on_slices == ["on nine 0"]


def test_what_was_trained_on_other_patients_says_so(planned: Place) -> None:
    assert reached_by("vld_acs_phases", [EXPERIMENTS["phases"]], planned).trained == "1 seed, on 200 other patients"


def test_a_system_of_volumes_reached_what_it_did_in_whole_scans(planned: Place) -> None:
    bodies = Experiment("x", "X", (Row("v", "v"),), seeds=(0,), protocol="3d")
    assert reached_by("v", [bodies], planned) == Reached([], ["v 0"], "1 seed")  # type: ignore[list-item]


def test_time_and_memory_are_of_a_slice_or_of_a_scan_in_all_its_phases_and_of_one_thread() -> None:
    rng = np.random.default_rng(0)
    hu = rng.integers(-100, 100, (3, 64, 64)).astype(np.int16)
    work = costs_of(NAMES, CTVolume(hu, (5.0, 2.0, 2.0), Path("scan"), "scan", np.arange(3)))
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        next(work)
        assert torch.get_num_threads() == 1
        costs = finish(work)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert list(costs) == NAMES
    for cost in costs.values():
        assert 0 < cost.seconds < 30
        # More than the pixels, less than a tenth of a gibibyte.
        assert hu[0].size < cost.peak < 2**27


def test_a_panel_a_paper_is_drawn_and_one_of_nothing_trained_is_not(tmp_path: Path) -> None:
    alone = {"one paper": {"a": Reached([result(0.9)], [])}, "another": {"b": Reached([], [])}}
    both = alone | {"another": {"b": Reached([], [result(0.5)])}, "third": {"c": Reached([result(0.1)], [])}}
    heights = []
    for name, papers in (("alone.png", alone), ("both.png", both)):
        draw_systems(tmp_path / name, papers)
        heights.append(cv2.imread(str(tmp_path / name)).shape[0])
    # Two panels a row.
    assert heights[1] == pytest.approx(2 * heights[0], abs=2)
