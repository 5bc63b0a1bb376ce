"""Recipes are validated at the door and say only what differs."""

from pathlib import Path
from typing import get_args

import pytest

from napari_uld.detectors.specs.mining import HardNegativesSpec
from napari_uld.detectors.specs.recipe import Recipe, Version, load_recipe, recipe_names
from napari_uld.errors import RecipeError

TWO_CLASSES = "[detector]\nclasses = ['lesion', 'false_positive']\n[mining]\nminer = 'hard_negatives'\n"
METHOD = '[method]\nname = "x"\ntitle = "X"\npaper = "P"\n'


@pytest.mark.parametrize("name", recipe_names())
@pytest.mark.parametrize("version", get_args(Version))
def test_every_bundled_recipe_is_valid_and_carries_its_own_name(name: str, version: Version) -> None:
    assert load_recipe(name, version).method.name == name


def test_the_published_rows_are_the_papers() -> None:
    assert list(load_recipe("faster_rcnn").method.published.values()) == [57.17, 68.82, 74.97, 82.43]
    assert list(load_recipe("faster_rcnn_bmc").method.published.values()) == [65.37, 76.31, 81.03, 87.98]


def test_a_recipe_builds_on_its_host_and_shares_its_small_version() -> None:
    host, recipe = load_recipe("faster_rcnn", "small"), load_recipe("faster_rcnn_bmc", "small")
    assert recipe.detector == host.detector
    assert recipe.training == host.training
    assert (recipe.supervision.objectness, recipe.supervision.regression, recipe.supervision.roi_branch) == (
        "bmc",
        "bmc",
        "abm",
    )
    assert host.supervision.objectness == "iou"


def test_a_host_may_have_a_host() -> None:
    host, recipe = load_recipe("mask_rcnn_no_mask"), load_recipe("uldor")
    changed = {"classes": ("lesion", "false_positive")}
    assert recipe.detector == host.detector.model_copy(update=changed)
    assert recipe.supervision == host.supervision.model_copy(update={"roi_branch": "ellipse"})
    assert recipe.mining == HardNegativesSpec(overlap=0.3, score=0.7, per_image=3)
    assert (recipe.training, recipe.input) == (host.training, host.input)


def test_bm_and_bmc_of_a_host_differ_in_their_supervision_alone() -> None:
    for host in ("faster_rcnn", "3dce"):
        plain = load_recipe(host)
        for added in ("bm", "bmc"):
            recipe = load_recipe(f"{host}_{added}")
            assert recipe.supervision != plain.supervision
            changed = {"method": recipe.method, "supervision": recipe.supervision}
            assert plain.model_copy(update=changed) == recipe


def test_small_must_be_a_table(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text('small = 3\n[method]\nname = "r"\ntitle = "R"\npaper = "P"\n')
    with pytest.raises(RecipeError, match="small"):
        load_recipe(path, "small")


def test_an_unknown_key_is_named(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text(METHOD + "[training]\nlearning_rate = 1\n")
    with pytest.raises(RecipeError, match=r"training\.learning_rate"):
        load_recipe(path)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[training]\nlr = -1\n", "training.lr"),
        ("[training]\nscale = 1\n", "training.scale"),
        ("[training]\nshear = 0.8\n", "training.shear"),
        ('[training]\nmonitor = "loss"\n', "training.monitor"),
        ("[input]\nslices = 4\n", "odd"),
        ("[input]\nwindow = [100, -100]\n", "low < high"),
        ("[supervision]\nobjectness = 'magic'\n", "supervision.objectness"),
        ("[small.detector]\nwidth = 0\n", "detector.width"),
        ("[mining]\nhard_negatives = true\n", "need the class 'false_positive'"),
        ("[mining]\nminer = 'hard_negatives'\n", "need the class 'false_positive'"),
        ("[mining]\nminer = 'gold'\n", "give one of none, hard_negatives"),
        ("[detector]\nfamily = 'yolo'\n", "give one of two_stage, retinanet"),
        ("[detector]\nwidht = 1\n", r"detector\.widht is no key of \[detector\].*did you mean width\?"),
        ("[detector]\nclasses = ['lesion', 'false_positive']\n", "which this recipe does not mine"),
        (TWO_CLASSES + "[supervision]\nroi_branch = 'abm'\n", "roi_branch must be ellipse or grabcut"),
        (TWO_CLASSES + "per_image = 0\n", "mining.per_image"),
        ("[input]\nslices = 9\n", "fusion must be position_sensitive"),
        ("[detector]\nbackbone = 'resnet_fpn'\nroi_pool = 'align'\nanchor_sizes = [8]\n", "5 levels"),
    ],
)
def test_a_value_that_cannot_be_is_refused(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "r.toml"
    path.write_text(METHOD + text)
    with pytest.raises(RecipeError, match=sentence):
        load_recipe(path, "small")


def test_no_toml_a_missing_file_and_an_unknown_host_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text("[method\n")
    with pytest.raises(RecipeError, match="TOML"):
        load_recipe(path)
    with pytest.raises(RecipeError, match="faster_rcnn_bmc"):
        load_recipe("no_such_recipe")
    path.write_text(METHOD + 'host = "../../etc/passwd"\n')
    with pytest.raises(RecipeError, match="host"):
        load_recipe(path)


def test_a_recipe_of_before_mines_as_it_did(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    older = TWO_CLASSES.replace("miner = 'hard_negatives'", "hard_negatives = true\nper_image = 2")
    assert older != TWO_CLASSES
    path.write_text(METHOD + older + "[supervision]\nroi_branch = 'ellipse'\n")
    assert load_recipe(path).mining == HardNegativesSpec(per_image=2)


def test_a_recipe_writes_out_every_key_and_comes_back_from_it() -> None:
    recipe = load_recipe("uldor", "small")
    dumped = recipe.model_dump(mode="json")
    assert dumped["mining"] == {"miner": "hard_negatives", "overlap": 0.3, "score": 0.7, "per_image": 3}
    assert dumped["detector"]["family"] == dumped["supervision"]["family"] == "two_stage"
    assert Recipe(**dumped) == recipe


def test_what_a_recipe_means_is_every_value_that_it_computes_with_written_or_not() -> None:
    recipe = load_recipe("faster_rcnn_bmc", "small")
    tables = recipe.meaning()
    assert set(tables) == set(type(recipe).model_fields)
    for name in ("input", "detector", "supervision", "training", "mining"):
        assert set(tables[name]) == set(type(getattr(recipe, name)).model_fields)
    # Keys that no recipe file of this system writes.
    assert tables["training"]["clip_norm"] == 5.0
    assert tables["supervision"]["branch_map"] == "all"
    assert tables["mining"]["miner"] == "none"
    renamed = recipe.model_copy(update={"method": recipe.method.model_copy(update={"title": "Another title"})})
    assert renamed.meaning() == tables
    assert load_recipe("faster_rcnn_bmc").meaning() != tables


def test_the_bundled_version_is_the_small_one_trained_longer_and_on_more_varied_images() -> None:
    small, bundled = load_recipe("3dce_bmc", "small"), load_recipe("3dce_bmc", "bundled")
    assert bundled.detector == small.detector
    assert bundled.supervision == small.supervision
    assert bundled.input == small.input
    assert bundled.training.epochs > small.training.epochs
    assert bundled.training.rotation > 0


def test_bundled_must_be_a_table(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text("bundled = 1\n" + METHOD, encoding="utf-8")
    with pytest.raises(RecipeError, match=r"\[bundled\] must be a table of overrides; found 1"):
        load_recipe(tmp_path / "x.toml")


def test_a_length_in_steps_and_lesion_free_slices_are_off_unless_asked_for(tmp_path: Path) -> None:
    plain = load_recipe("faster_rcnn", "small").training
    assert (plain.steps, plain.lesion_free, plain.validate_on, plain.validate_every) == (None, 0.0, "annotated", 1)
    path = tmp_path / "r.toml"
    volume = "[input]\nvolume = true\nslices_per_image = 1\n"
    path.write_text(METHOD + volume + "[training]\nlesion_free = 0.2\n")
    with pytest.raises(RecipeError, match=r"lesion_free must be 0|sees one window"):
        load_recipe(path)
    path.write_text(METHOD + "[training]\nlesion_free = 1.0\n")
    with pytest.raises(RecipeError, match="training.lesion_free: found 1.0"):
        load_recipe(path)


def test_tight_boxes_are_validated_on_the_truth_and_on_the_slice_they_are_of(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    for training, sentence in (
        ("", 'validate_on must be "truth"'),
        ('validate_on = "volumes"\n', 'validate_on must be "truth"'),
        ('validate_on = "truth"\nz_shift = 0.5\n', "z_shift must be 0"),
    ):
        path.write_text(METHOD + '[supervision]\nboxes = "tight"\n[training]\n' + training)
        with pytest.raises(RecipeError, match=sentence):
            load_recipe(path)
    assert {load_recipe(name).supervision.boxes for name in ("faster_rcnn", "mask_rcnn", "retinanet")} == {"padded"}
    assert {load_recipe(name).supervision.boxes for name in ("vld_acs_spr", "faster_rcnn_densenet")} == {"tight"}


@pytest.mark.parametrize("key", ["patience", "plateau"])
def test_patience_and_plateau_end_where_there_is_a_validation(tmp_path: Path, key: str) -> None:
    path = tmp_path / "r.toml"
    path.write_text(METHOD + f"[training]\nvalidate_every = 3\n{key} = 2\n")
    with pytest.raises(RecipeError, match="both must be multiples of 3 epochs"):
        load_recipe(path)
    path.write_text(METHOD + f"[training]\nvalidate_every = 3\n{key} = 6\n")
    assert getattr(load_recipe(path).training, key) == 6
