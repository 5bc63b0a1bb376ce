"""Hard negatives of scans whose truth is known: what is a miss, and what becomes of it."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from napari_uld.ct.deeplesion import slices_on_disk
from napari_uld.detectors.specs.mining import KnownNegativesSpec, MeanTeacherNegativesSpec
from napari_uld.detectors.specs.recipe import Recipe, load_recipe
from napari_uld.detectors.specs.system import System
from napari_uld.errors import TrainingError
from napari_uld.inference.candidates import SlabDetections
from napari_uld.inference.slabs import Slab
from napari_uld.inference.volumes import VolumeDetections
from napari_uld.lesions.findings_file import read_findings
from napari_uld.progress import Progress, Work, finish
from napari_uld.training.data.phantom.truth import read_truth, truth_series
from napari_uld.training.data.true_boxes import TrueBoxes
from napari_uld.training.data.volume_dataset import true_bodies
from napari_uld.training.loop import Run, TrainingOptions, train
from napari_uld.training.miners import misses as module
from napari_uld.training.miners.known_negatives import MeanTeacherWithNegatives
from napari_uld.training.miners.misses import is_known, mine_misses, misses, near, read_misses, write_misses
from napari_uld.training.run_files import LOG, read_log

TRUE = np.array([[0.0, 0, 10, 10]])


def test_a_miss_is_sure_and_touches_no_lesion_and_the_surest_come_first() -> None:
    boxes = np.array([[20.0, 20, 30, 30], [9, 9, 12, 12], [40, 40, 50, 50], [60, 60, 70, 70], [10, 0, 20, 10]])
    scores = np.array([0.6, 0.99, 0.8, 0.4, 0.7])
    # The second overlaps the lesion by a corner; the last shares its edge alone.
    assert misses(boxes, scores, TRUE, score=0.5).tolist() == [2, 4, 0]
    assert misses(boxes, scores, np.zeros((0, 4)), score=0.9).tolist() == [1]
    assert misses(boxes[:0], scores[:0], TRUE, score=0.5).tolist() == []


def test_lesions_on_the_slices_beside_count_too() -> None:
    true = {4: TRUE, 6: TRUE + 50}
    assert [len(near(true, number)) for number in range(2, 9)] == [0, 1, 1, 2, 1, 1, 0]


def test_about_a_tenth_of_the_patients_are_known_and_always_the_same_ones() -> None:
    patients = [f"{number:06d}" for number in range(3000)]
    known = [patient for patient in patients if is_known(patient, 0.1)]
    assert 250 < len(known) < 350
    assert set(known) <= {patient for patient in patients if is_known(patient, 0.2)}
    assert not any(is_known(patient, 0.0) for patient in patients)
    assert all(is_known(patient, 1.0) for patient in patients)


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    """A small host, smaller still, whose training patients are all known."""
    path = tmp_path / "toy.toml"
    path.write_text(
        '[method]\nname = "toy"\ntitle = "Toy"\npaper = "none"\nhost = "faster_rcnn"\n'
        '[mining]\nminer = "mean_teacher_negatives"\nknown = 1.0\nnegative_score = 0.6\nnegatives_per_slice = 1\n'
        "[small.input]\nlong_side = 64\nspacing_mm = 6.4\n"
        "[small.detector]\nwidth = 0.125\nrpn_min_size = 1\nanchor_sizes = [2, 4, 8]\nproposals_after_nms = [50, 50]\n"
        "[small.training]\nsteps = 3\nmilestones = []\nwarmup_steps = 0\n"
    )
    return load_recipe(path, "small")


@pytest.fixture
def sees_corners(monkeypatch: pytest.MonkeyPatch) -> None:
    """On every slice a detector is sure of two places outside the body."""

    def found(slabs: Iterator[Slab], *_: object) -> Iterator[SlabDetections]:
        for _ in slabs:
            boxes = np.array([[0.0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]])
            yield SlabDetections(boxes, np.array([0.7, 0.9, 0.5]), np.ones(3, int), None, {})

    monkeypatch.setattr(module, "candidates", found)


@pytest.mark.usefixtures("sees_corners")
def test_every_slice_of_a_scan_is_searched_and_kept_as_negative_findings(
    recipe: Recipe, phantoms: Path, tmp_path: Path
) -> None:
    run = Run(recipe, TrainingOptions(phantoms, tmp_path / "run", device="cpu"))
    series = run.train_set.slices[0].series  # type: ignore[union-attr]
    found = finish(mine_misses(run.detector(), phantoms, [series], score=0.6, per_slice=1))
    assert [findings.scan_name for findings in found] == [series]
    assert sorted(found[0].key_slices.tolist()) == sorted(slices_on_disk(phantoms, series))
    assert found[0].negative.all()
    assert np.allclose(found[0].boxes, [20, 0, 30, 10])
    write_misses(tmp_path / "negatives", found)
    assert read_findings(tmp_path / "negatives" / f"{series}.findings.json").negative.all()
    back = read_misses(tmp_path / "negatives")
    assert set(back) == {(series, number) for number in slices_on_disk(phantoms, series)}
    with pytest.raises(TrainingError, match="no negative rows"):
        read_misses(tmp_path)


@pytest.mark.usefixtures("sees_corners")
def test_they_join_their_images_and_slices_without_a_lesion_join_the_training_set(
    recipe: Recipe, phantoms: Path, tmp_path: Path
) -> None:
    options = TrainingOptions(phantoms, tmp_path / "run", device="cpu")
    run = Run(recipe, options)
    run.out.mkdir()
    before: Any = run.train_set
    key_slices = {(key.series, key.number) for key in before.slices}
    finish(run.miner.before_training())
    data: Any = run.train_set
    extra = data.slices[len(key_slices) :]
    truth = TrueBoxes(phantoms)
    assert extra
    assert all(not len(truth.on(key.series, key.number)) and not len(key.boxes) for key in extra)
    free = {
        (series, number)
        for series in {key.series for key in before.slices}
        for number in slices_on_disk(phantoms, series)
        if not any(number in lesion.boxes for lesion in read_truth(phantoms, series))
    }
    assert {(key.series, key.number) for key in extra} == free - key_slices
    assert set(data.first_negatives) == set(range(len(data)))


@pytest.mark.usefixtures("sees_corners")
def test_a_run_mines_once_and_goes_on_with_what_it_mined(
    recipe: Recipe, phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = TrainingOptions(phantoms, tmp_path / "run", device="cpu")
    finish(train(recipe, options))
    (row,) = [row for row in read_log(options.out / LOG) if row["event"] == "negatives"]
    assert row["images"] == row["boxes"] > row["added_images"] > 0

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("it mined again")

    monkeypatch.setattr("napari_uld.training.miners.known_negatives.mine_misses", fail)
    finish(train(recipe, TrainingOptions(phantoms, options.out, device="cpu", resume=True)))
    assert torch.load(options.out / "state.pt", weights_only=True)["step"] == 3


@pytest.mark.usefixtures("sees_corners")
def test_findings_beside_the_data_are_taken_instead(recipe: Recipe, phantoms: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for path in phantoms.iterdir():
        (data / path.name).symlink_to(path)
    options = TrainingOptions(data, tmp_path / "run", device="cpu")
    run = Run(recipe, options)
    (tmp_path / "run").mkdir()
    key: Any = run.train_set.slices[0]  # type: ignore[union-attr]
    found = finish(mine_misses(run.detector(), data, [key.series], score=0.6, per_slice=2))
    write_misses(data / "negatives", found)
    finish(run.miner.before_training())
    assert isinstance(run.miner, MeanTeacherWithNegatives)
    assert not (run.out / "negatives").exists()
    assert {len(boxes) for boxes in run.train_set.first_negatives.values()} == {2}  # type: ignore[union-attr]


@pytest.mark.usefixtures("sees_corners")
def test_of_findings_beside_the_data_those_of_patients_who_count_as_listed_alone_are_left(
    recipe: Recipe, phantoms: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for path in phantoms.iterdir():
        (data / path.name).symlink_to(path)
    nobody = recipe.model_copy(update={"mining": recipe.mining.model_copy(update={"known": 0.0})})
    run = Run(nobody, TrainingOptions(data, tmp_path / "run", device="cpu"))
    (tmp_path / "run").mkdir()
    key: Any = run.train_set.slices[0]  # type: ignore[union-attr]
    write_misses(data / "negatives", finish(mine_misses(run.detector(), data, [key.series], score=0.6, per_slice=2)))
    finish(run.miner.before_training())
    assert run.train_set.first_negatives == {}  # type: ignore[union-attr]


def test_without_the_truth_or_findings_nobody_knows_what_is_a_miss(
    recipe: Recipe, phantoms: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for name in ("DL_info.csv", "Images_png"):
        (data / name).symlink_to(phantoms / name)
    run = Run(recipe, TrainingOptions(data, tmp_path / "run", device="cpu"))
    with pytest.raises(TrainingError, match="no whole truth to tell misses by"):
        finish(run.miner.before_training())


def test_the_published_recipe_takes_a_tenth() -> None:
    spec = load_recipe("mining_hard_negatives").mining
    assert isinstance(spec, MeanTeacherNegativesSpec)
    assert (spec.known, spec.policy) == (0.1, "add")


def test_bodies_that_touch_no_lesion_are_missed_bodies(phantoms: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    series = truth_series(phantoms)[0]
    true = true_bodies(phantoms, series)
    high = true[:, 3:].max(axis=0)
    elsewhere = np.array([[*(high + 1), *(high + 4)]])
    found_boxes, scores = np.concatenate([true[:1] + 0.5, elsewhere, elsewhere]), np.array([0.9, 0.8, 0.3])

    def run_volume(*_: object) -> Work[VolumeDetections]:
        yield Progress(0, 1, "Detecting")
        return VolumeDetections(found_boxes, scores, None)

    monkeypatch.setattr(module, "run_volume", run_volume)
    detector: Any = SimpleNamespace(
        inputs=SimpleNamespace(volume=True, phases=()), info=SimpleNamespace(name="m", digest="1", operating_point=None)
    )
    (found,) = finish(mine_misses(detector, phantoms, [series], score=0.5, per_slice=1))
    assert found.scores.tolist() == [0.8]
    assert found.negative.tolist() == [True]
    assert found.depths is not None
    assert found.boxes.tolist() == elsewhere[:, [0, 1, 3, 4]].tolist()


@pytest.fixture
def of_centres(tmp_path: Path) -> Recipe:
    """A tiny CenterNet that learns tight boxes and its own mistakes on every training patient."""
    path = tmp_path / "centres.toml"
    path.write_text(
        '[method]\nname = "toy"\ntitle = "Toy"\npaper = "none"\nhost = "centernet_2d"\n'
        '[mining]\nminer = "known_negatives"\nknown = 1.0\nnegative_score = 0.6\nnegatives_per_slice = 1\n'
        "[small.input]\nlong_side = 64\nspacing_mm = 6.4\n"
        "[small.detector]\nblocks = [1, 1, 1]\npyramid_channels = 8\nhead_channels = 8\n"
        "[small.training]\nsteps = 3\nmilestones = []\nhorizontal_flip = 0\nvertical_flip = 0\n"
    )
    return load_recipe(path, "small")


@pytest.mark.usefixtures("sees_corners")
def test_a_network_that_is_trained_alone_learns_them_too_and_is_what_is_kept(
    of_centres: Recipe, phantoms: Path, tmp_path: Path
) -> None:
    run = Run(of_centres, TrainingOptions(phantoms, tmp_path / "run", device="cpu"))
    run.out.mkdir()
    data: Any = run.train_set
    lesions, shown = len(data.by_lesion), len(data)
    finish(run.miner.before_training())
    assert run.miner.kept is run.model
    # The slices that show a lesion have theirs; those that show none have joined, and are seen in every epoch.
    added = range(shown, len(data))
    assert set(data.first_negatives) == set(range(len(data)))
    assert data.of_epoch()[lesions:] == [*added]
    assert all("negatives" in data[index][1] for index in (0, shown))
    assert run.steps_per_epoch == -(-(lesions + len(added)) // of_centres.training.batch)


@pytest.mark.usefixtures("sees_corners")
def test_its_run_trains_and_goes_on_where_it_stopped(of_centres: Recipe, phantoms: Path, tmp_path: Path) -> None:
    options = TrainingOptions(phantoms, tmp_path / "run", device="cpu")
    finish(train(of_centres, options))
    (row,) = [row for row in read_log(options.out / LOG) if row["event"] == "negatives"]
    assert row["boxes"] == row["images"] > row["added_images"] > 0
    Run(of_centres, TrainingOptions(phantoms, options.out, device="cpu", resume=True))


def test_in_volumes_nothing_is_mined_slice_by_slice() -> None:
    inputs = {"volume": True, "slices": 8, "slices_per_image": 1}
    volumes = System(input=inputs, detector={"family": "centernet_3d"})
    with pytest.raises(ValueError, match="slice by slice: input.volume must be false"):
        KnownNegativesSpec().check_fit(volumes)
