"""The mean teacher: how its weights follow, what it mines, and what the student is taught of it."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from napari_uld.detectors.specs.mining import MeanTeacherSpec
from napari_uld.detectors.specs.recipe import Recipe, load_recipe
from napari_uld.errors import RecipeError
from napari_uld.inference.checkpoint import load_checkpoint
from napari_uld.masks.bounding_map import bounding_map
from napari_uld.progress import finish
from napari_uld.training.data.slab_dataset import SlabDataset
from napari_uld.training.loop import Run, TrainingOptions, train
from napari_uld.training.miners.mean_teacher import Average, Found, MeanTeacher, choose, draw_masks, momentum
from napari_uld.training.miners.tally import Tally
from napari_uld.training.run_files import LOG, read_log

ANNOTATED = np.array([[0.0, 0, 10, 10]])


def test_the_teacher_is_a_copy_at_first_and_follows_more_and_more_slowly() -> None:
    assert [momentum(step, 0.9) for step in (0, 1, 3, 9, 99)] == [0.0, 0.5, 0.75, 0.9, 0.9]


def test_weights_and_buffers_are_averaged_and_counters_copied() -> None:
    teacher, student = nn.BatchNorm1d(1), nn.BatchNorm1d(1)
    for module, value in ((teacher, 1.0), (student, 3.0)):
        for tensor in (*module.parameters(), module.running_mean, module.running_var):
            tensor.data.fill_(value)
    student.num_batches_tracked.fill_(7)
    Average(teacher, student).update(0.75)  # type: ignore[arg-type]
    values = [teacher.weight, teacher.bias, teacher.running_mean, teacher.running_var]
    assert [value.item() for value in values] == [1.5] * 4
    assert int(teacher.num_batches_tracked) == 7
    assert student.weight.item() == 3.0


def mined(boxes: list[list[float]], scores: list[float], **changes: object) -> tuple[list[int], list[bool]]:
    found = Found(np.array(boxes, np.float32), np.array(scores, np.float32))
    rows, fresh = choose(found, ANNOTATED, MeanTeacherSpec(**changes))  # type: ignore[arg-type]
    return rows.tolist(), fresh.tolist()


def test_a_detection_that_overlaps_an_annotated_lesion_by_more_is_that_lesion() -> None:
    # IoU .8, .7 and 0; none is more than .7 but the first.
    boxes = [[0, 0, 10, 8.0], [0, 0, 10, 7.0], [20, 20, 30, 30.0]]
    assert mined(boxes, [0.99, 0.95, 0.9]) == ([1, 2], [False, True, True])
    assert mined(boxes, [0.99, 0.95, 0.9], overlap=0.3) == ([2], [False, False, True])
    # A small box inside the lesion: an IoU of .16, all of it the lesion's.
    assert mined([[2, 2, 6, 6.0]], [0.95]) == ([0], [True])
    assert mined([[2, 2, 6, 6.0]], [0.95], overlap_by="iobb") == ([], [False])


def test_only_what_it_is_sure_of_is_mined_and_no_more_than_asked_for() -> None:
    boxes = [[20.0, 20, 30, 30], [40.0, 20, 50, 30], [60.0, 20, 70, 30]]
    assert mined(boxes, [0.95, 0.9, 0.899])[0] == [0, 1]
    assert mined(boxes, [0.95, 0.9, 0.899], score=0.8, per_image=2)[0] == [0, 1]
    assert mined(boxes, [0.85, 0.82, 0.81], score=0.8)[0] == [0, 1, 2]


def test_without_annotated_lesions_everything_is_fresh() -> None:
    rows, fresh = choose(Found(ANNOTATED, np.array([0.95])), np.zeros((0, 4)), MeanTeacherSpec())
    assert (rows.tolist(), fresh.tolist()) == ([0], [True])
    nothing = choose(Found(np.zeros((0, 4)), np.zeros(0)), ANNOTATED, MeanTeacherSpec())
    assert [len(part) for part in nothing] == [0, 0]


def test_precision_is_of_what_was_mined_and_recall_of_what_is_not_listed() -> None:
    tally = Tally()
    true = np.array([[0.0, 0, 10, 10], [20, 20, 30, 30], [50, 50, 60, 60], [80, 80, 90, 90]])
    found = np.array([[20.0, 20, 30, 29], [0, 0, 10, 6], [70, 70, 75, 75], [50, 50, 60, 60]])
    # One unlisted lesion, the annotated one again, nothing, and one unlisted lesion; of three unlisted two are found.
    tally.add(
        np.array([0.99, 0.95, 0.92, 0.91, 0.2]), np.array([False, True, True, True, True]), found, ANNOTATED, true
    )
    tally.add(np.array([0.5]), np.array([True]), np.zeros((0, 4)), np.zeros((0, 4)), np.zeros((0, 4)))
    row = tally.row()
    assert (row["images"], row["mined"], row["precision"], row["again"]) == (2, 4, 0.75, 1)
    assert (row["recall"], row["unlisted"]) == (round(2 / 3, 4), 3)
    assert row["top_scores"] == {"mean": 0.745, "q0.5": 0.745, "q0.9": 0.941, "q0.99": 0.9851, "q1": 0.99}
    assert row["fresh_scores"]["q1"] == 0.95


def test_an_epoch_without_truth_or_without_anything_mined_has_no_precision() -> None:
    tally = Tally()
    assert tally.row() == {"images": 0, "mined": 0, "top_scores": {}, "fresh_scores": {}}
    tally.add(np.zeros(0), np.zeros(0, bool), np.zeros((0, 4)), ANNOTATED, None)
    assert "precision" not in tally.row()
    assert tally.row()["top_scores"]["q1"] == 0
    tally.add(np.zeros(0), np.zeros(0, bool), np.zeros((0, 4)), ANNOTATED, ANNOTATED)
    assert (tally.row()["precision"], tally.row()["recall"]) == (None, None)


# -- what the student sees --

HOST = """
[method]
name = "toy"
title = "Toy"
paper = "none"
host = "{host}"

[training]
milestones = []

[mining]
miner = "mean_teacher"

[small.input]
long_side = 64
spacing_mm = 6.4

[small.detector]
width = 0.125
rpn_min_size = 1
anchor_sizes = {sizes}
proposals_after_nms = [50, 50]

[small.method]
init = "none"

[small.training]
steps = {steps}
milestones = []
warmup_steps = 0
validate_every = {every}
{more}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Callable[..., Recipe]:
    """A small host with a mean teacher, smaller still."""

    def make(host: str = "faster_rcnn", steps: int = 4, every: int = 1, more: str = "", **mining: object) -> Recipe:
        path = tmp_path / "toy.toml"
        sizes = [2, 4, 8, 16, 32] if host == "mask_rcnn" else [2, 4, 8]
        path.write_text(HOST.format(host=host, sizes=sizes, steps=steps, every=every, more=more))
        loaded = load_recipe(path, "small")
        return loaded.model_copy(update={"mining": loaded.mining.model_copy(update=mining)})

    return make


class Says(nn.Module):
    """A teacher that finds the same on every image."""

    def __init__(self, boxes: list[list[float]], scores: list[float]) -> None:
        super().__init__()
        self.found = {
            "boxes": torch.tensor(boxes),
            "scores": torch.tensor(scores),
            "labels": torch.ones(len(boxes), dtype=torch.int64),
        }

    def forward(self, images: list[Tensor], thickness: Tensor) -> list[dict[str, Tensor]]:
        return [self.found for _ in images]


def taught(recipe: Recipe, teacher: nn.Module, target: dict[str, Tensor], step: int = 0) -> tuple[Tensor, Any]:
    """What the student gets of an image of 40 x 60 pixels."""
    data = SlabDataset(Path(), [], recipe.input)
    model = nn.Linear(1, 1)
    run = SimpleNamespace(recipe=recipe, model=model, train_set=data, data=Path("nowhere"), step=step)
    miner = MeanTeacher(recipe.mining, run)  # type: ignore[arg-type]
    miner.teacher = teacher  # type: ignore[assignment]
    image = torch.arange(60.0).repeat(3, 40, 1)
    (image,), (made,) = miner.before_step([image], [target | {"thickness": torch.tensor(2.0)}])
    return image, made


def target_of(*boxes: list[float], **more: Tensor) -> dict[str, Tensor]:
    labels = torch.ones(len(boxes), dtype=torch.int64)
    return {"boxes": torch.tensor(boxes).reshape(-1, 4), "labels": labels, **more}


TEACHER = Says([[30.0, 10, 42, 20], [2.0, 2, 12, 12]], [0.95, 0.93])
LESION = [2.0, 2, 12, 12]


def test_the_students_image_is_resized_and_both_kinds_of_boxes_with_it(recipe: Callable[..., Recipe]) -> None:
    image, made = taught(recipe(resize=(0.5, 0.5)), TEACHER, target_of(LESION))
    assert image.shape == (3, 20, 30)
    assert image[0, 0, 1:-1].tolist() == [2 * n + 0.5 for n in range(1, 29)], "each pixel is the mean of two"
    assert made["boxes"].tolist() == [[1.0, 1, 6, 6], [15.0, 5, 21, 10]]
    assert made["labels"].tolist() == [1, 1]
    assert float(made["thickness"]) == 2.0
    assert "ignored" not in made


def test_where_along_the_body_an_image_lies_goes_with_it(recipe: Callable[..., Recipe]) -> None:
    known = target_of(LESION, position=torch.tensor(0.4))
    assert float(taught(recipe(), TEACHER, known)[1]["position"]) == pytest.approx(0.4)
    assert "position" not in taught(recipe(), TEACHER, target_of(LESION))[1]


def test_boxes_are_mapped_by_what_an_image_was_resized_by_in_truth(recipe: Callable[..., Recipe]) -> None:
    image, made = taught(recipe(resize=(0.81, 0.81)), TEACHER, target_of(LESION))
    assert image.shape == (3, 32, 49)
    assert torch.allclose(made["boxes"][0], torch.tensor([2 * 49 / 60, 2 * 32 / 40, 12 * 49 / 60, 12 * 32 / 40]))


def test_the_size_is_drawn_between_the_two_for_each_image(recipe: Callable[..., Recipe]) -> None:
    torch.manual_seed(0)
    heights = {taught(recipe(), TEACHER, target_of(LESION))[0].shape[1] for _ in range(30)}
    assert min(heights) >= 32
    assert max(heights) <= 48
    assert len(heights) > 8


@pytest.mark.parametrize(
    ("changes", "step", "boxes", "ignored"),
    [
        ({"policy": "add"}, 0, 2, None),
        ({"policy": "ignore"}, 0, 1, [[30.0, 10, 42, 20]]),
        ({"policy": "none"}, 0, 1, None),
        ({"warmup_steps": 5}, 4, 1, None),
        ({"warmup_steps": 5}, 5, 2, None),
        ({"policy": "ignore", "score": 0.96}, 0, 1, None),
    ],
)
def test_mined_lesions_are_added_or_ignored_from_the_warm_up_on(
    recipe: Callable[..., Recipe], changes: dict, step: int, boxes: int, ignored: list | None
) -> None:
    _, made = taught(recipe(resize=(1.0, 1.0), **changes), TEACHER, target_of(LESION), step)
    assert len(made["boxes"]) == len(made["labels"]) == boxes
    assert made["boxes"][0].tolist() == LESION
    assert ("ignored" in made) == (ignored is not None)
    if ignored is not None:
        assert made["ignored"].tolist() == ignored


def test_mined_lesions_have_the_maps_that_a_supervision_asks_for(recipe: Callable[..., Recipe]) -> None:
    target = target_of(LESION, pixel_area=torch.tensor(0.64, dtype=torch.float64))
    _, made = taught(recipe("faster_rcnn_bmc", resize=(0.5, 0.5)), TEACHER, target)
    assert made["lesion_bms"].shape == (2, 20, 30)
    both = np.array([[1.0, 1, 6, 6], [15.0, 5, 21, 10]])
    assert np.allclose(made["bm"].numpy(), bounding_map(both - 0.5, (20, 30)))
    assert made["abm"].shape == (20, 30)


def test_mined_lesions_have_the_ellipse_in_their_box_as_mask(recipe: Callable[..., Recipe]) -> None:
    mask = torch.zeros(1, 40, 60, dtype=torch.uint8)
    mask[0, 4:10, 4:10] = 1
    target = target_of(LESION, masks=mask, scale=torch.tensor(0.4, dtype=torch.float64))
    _, made = taught(recipe("mask_rcnn", resize=(0.5, 0.5)), TEACHER, target)
    assert made["masks"].shape == (2, 20, 30)
    assert made["masks"].dtype == torch.uint8
    own = torch.zeros(20, 30, dtype=torch.uint8)
    own[2:5, 2:5] = 1
    assert torch.equal(made["masks"][0], own)
    # A margin of five native pixels, each .4 and then .2 wide, is left out on every side of the box of 6 x 5.
    assert torch.equal(made["masks"][1], draw_masks(np.array([[15.0, 5, 21, 10]]), (20, 30), 1.0)[0])
    inside = torch.nonzero(made["masks"][1])
    assert inside.min(dim=0).values.tolist() == [6, 16]
    assert inside.max(dim=0).values.tolist() == [8, 19]


def test_the_false_positive_class_is_never_mined(recipe: Callable[..., Recipe]) -> None:
    teacher = Says([[30.0, 10, 42, 20]], [0.95])
    teacher.found["labels"][:] = 2
    assert len(taught(recipe(), teacher, target_of(LESION))[1]["boxes"]) == 1


def test_hard_negatives_that_come_first_are_resized_too(recipe: Callable[..., Recipe]) -> None:
    target = target_of(LESION, negatives=torch.tensor([[10.0, 20, 30, 40]]))
    assert taught(recipe(resize=(0.5, 0.5)), TEACHER, target)[1]["negatives"].tolist() == [[5.0, 10, 15, 20]]


def test_a_mean_teacher_mines_no_volumes() -> None:
    with pytest.raises(ValueError, match=r"resize must be \(least, most\)"):
        Recipe(
            method={"name": "x", "title": "x", "paper": "x"},
            mining={"miner": "mean_teacher", "resize": (1.2, 0.8)},
        )
    volume = {"volume": True, "slices_per_image": 1}
    with pytest.raises(ValueError, match="input.volume must be false|sees one window"):
        Recipe(method={"name": "x", "title": "x", "paper": "x"}, input=volume, mining={"miner": "mean_teacher"})


# -- a run --


@pytest.fixture
def sure(recipe: Callable[..., Recipe]) -> Recipe:
    """It mines whatever it finds: a teacher in miniature is sure of nothing."""
    return recipe(steps=7, every=2, score=0.0, per_image=2, momentum=0.9)


def rows_of(out: Path, event: str) -> list[dict]:
    return [row for row in read_log(out / LOG) if row["event"] == event]


def test_a_run_of_so_many_steps_keeps_its_teacher_and_logs_what_it_mined(
    sure: Recipe, phantoms: Path, tmp_path: Path
) -> None:
    options = TrainingOptions(phantoms, tmp_path / "run", device="cpu")
    run = Run(sure, options)
    batches = run.steps_per_epoch
    assert run.epochs == -(-7 // batches)
    checkpoint = finish(train(sure, options))
    state = torch.load(tmp_path / "run" / "state.pt", weights_only=True)
    assert state["step"] == 7
    rows = rows_of(tmp_path / "run", "mining")
    assert len(rows) == run.epochs
    assert sum(row["images"] for row in rows) <= 7 * sure.training.batch
    assert all(row["mined"] > 0 and 0 <= row["precision"] <= 1 for row in rows)
    assert rows[0]["top_scores"]["q1"] >= rows[0]["top_scores"]["mean"] > 0
    # Every second epoch is validated, and the last.
    expected = sorted({*range(2, run.epochs + 1, 2), run.epochs})
    assert [row["epoch"] for row in rows_of(tmp_path / "run", "validation")] == expected
    kept, teacher = load_checkpoint(checkpoint, "cpu").model.state_dict(), state["miner"]["teacher"]
    last_is_best = state["best_epoch"] == run.epochs
    same = all(torch.allclose(kept[name].float(), teacher[name].float(), rtol=1e-3, atol=1e-6) for name in kept)
    assert same or not last_is_best
    assert any(not torch.equal(teacher[name], state["model"][name]) for name in teacher)


def test_a_stopped_and_resumed_run_has_the_same_student_and_teacher(
    sure: Recipe, phantoms: Path, tmp_path: Path
) -> None:
    for name in ("whole", "stopped"):
        options = TrainingOptions(phantoms, tmp_path / name, device="cpu")
        work = train(sure, options)
        for _ in work:
            if name == "stopped" and (tmp_path / name / LOG).exists() and rows_of(tmp_path / name, "mining"):
                next(work)
                break
        work.close()
    finish(train(sure, TrainingOptions(phantoms, tmp_path / "stopped", device="cpu", resume=True)))
    one, other = (torch.load(tmp_path / n / "state.pt", weights_only=True) for n in ("whole", "stopped"))
    assert one["step"] == other["step"] == 7
    for first, second in ((one["model"], other["model"]), (one["miner"]["teacher"], other["miner"]["teacher"])):
        assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_recipe_that_ignores_or_mines_nothing_trains_too(
    recipe: Callable[..., Recipe], phantoms: Path, tmp_path: Path
) -> None:
    for policy in ("ignore", "none"):
        toy = recipe(steps=2, policy=policy, score=0.0)
        finish(train(toy, TrainingOptions(phantoms, tmp_path / policy, device="cpu")))


@pytest.mark.parametrize("where", ["truth", "volumes"])
def test_the_teacher_is_validated_on_the_whole_truth(
    recipe: Callable[..., Recipe], phantoms: Path, tmp_path: Path, where: str
) -> None:
    toy = recipe(steps=1, more=f'validate_on = "{where}"')
    run = Run(toy, TrainingOptions(phantoms, tmp_path / "x", device="cpu"))
    finish(train(toy, TrainingOptions(phantoms, tmp_path / "run", device="cpu")))
    (row,) = rows_of(tmp_path / "run", "validation")
    if where == "volumes":
        assert row["fp_per_scan"] == [0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0]
        assert row["volumes"] == len(run.val_set)
        assert "fp_per_image" not in row
    else:
        listed = Run(recipe(steps=1), TrainingOptions(phantoms, tmp_path / "y", device="cpu")).val_set
        assert row["lesions"] > sum(len(key.boxes) for key in listed.slices)  # type: ignore[union-attr]


def test_a_published_recipe_keeps_the_papers_numbers() -> None:
    published = load_recipe("mining_add")
    spec = published.mining
    assert isinstance(spec, MeanTeacherSpec)
    assert (spec.policy, spec.score, spec.overlap, spec.momentum, spec.resize) == ("add", 0.9, 0.7, 0.999, (0.8, 1.2))
    assert (published.training.lr, published.training.steps, published.training.milestones) == (0.02, 80000, ())
    assert load_recipe("mining_labels_only").mining.policy == "none"  # type: ignore[attr-defined]


def test_a_policy_nobody_knows_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text(
        '[method]\nname = "x"\ntitle = "x"\npaper = "x"\n[mining]\nminer = "mean_teacher"\npolicy = "maybe"\n'
    )
    with pytest.raises(RecipeError, match="policy"):
        load_recipe(path)
