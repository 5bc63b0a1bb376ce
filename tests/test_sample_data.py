"""What comes with the package: a study to open and detectors to run on it."""

import re
from pathlib import Path

import numpy as np
import pytest

from napari_uld.ct import read_scan
from napari_uld.detectors.specs.recipe import Recipe, recipe_names
from napari_uld.inference.catalogue import bundled_checkpoints, read_info
from napari_uld.inference.checkpoint import load_checkpoint
from napari_uld.inference.detect import detect
from napari_uld.progress import finish
from napari_uld.training.data.key_slices import annotated_slices
from napari_uld.training.data.phantom import generate_phantoms, read_truth
from napari_uld.training.evaluate import evaluate_subject

ROOT = Path(__file__).parents[1]
STUDY = ROOT / "sample_data" / "phantom"
# The test set of the README's table: the detectors were trained on another seed.
TEST_PATIENTS, TEST_SEED = 120, 12


def test_nine_recipes_have_a_checkpoint_to_run() -> None:
    two_stage = {"faster_rcnn", "faster_rcnn_bmc", "3dce_bmc", "mask_rcnn", "uldor"}
    assert set(bundled_checkpoints()) == two_stage | {
        "retinanet_dense_ag",
        "mining_labels_only",
        "mining_add",
        "vld_acs_spr",
    }
    assert set(bundled_checkpoints()) <= set(recipe_names())


@pytest.mark.parametrize("name", sorted(bundled_checkpoints()))
def test_every_bundled_checkpoint_is_small_loads_and_says_what_it_reached(name: str) -> None:
    path = bundled_checkpoints()[name]
    assert path.stat().st_size <= 4_000_000
    info = read_info(path)
    assert info.name == name
    Recipe(**info.recipe)
    assert info.evaluation["average"] > 0
    assert info.operating_point is not None
    load_checkpoint(path, "cpu")


def test_the_study_opens_with_listed_lesions_and_others_left_to_find() -> None:
    volume = read_scan(STUDY)
    truth = read_truth(STUDY, volume.name)
    listed = sum(len(key.boxes) for key in annotated_slices(STUDY, "all"))
    assert listed == sum(lesion.listed for lesion in truth)
    assert 0 < listed < len(truth)
    size = sum(path.stat().st_size for path in STUDY.rglob("*") if path.is_file())
    assert size < 6_000_000


@pytest.mark.parametrize("name", ["faster_rcnn_bmc", "retinanet_dense_ag", "vld_acs_spr"])
def test_a_bundled_detector_finds_something_on_the_study(name: str) -> None:
    volume = read_scan(STUDY)
    findings = finish(detect(volume, load_checkpoint(bundled_checkpoints()[name], "cpu")))
    assert len(findings.above(findings.operating_point)) > 0
    assert np.isin(findings.key_slices, volume.slice_numbers).all()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_readmes_figures_are_what_the_checkpoints_reach(tmp_path: Path) -> None:
    data = finish(generate_phantoms(tmp_path / "test", TEST_PATIENTS, TEST_SEED))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in bundled_checkpoints():
        evaluation = finish(evaluate_subject(name, data, "all", device="cpu"))
        # Whole scans, or their key slices.
        assert evaluation.images == 120 if name == "vld_acs_spr" else evaluation.images >= 600
        row = next(line for line in readme.splitlines() if line.startswith(f"| `{name}`"))
        said = [float(value) for value in re.findall(r"(\.\d{3}) \[", row)]
        assert said == pytest.approx([*evaluation.curve.values, evaluation.curve.average], abs=0.005)
        if name == "faster_rcnn":
            assert 0.5 <= evaluation.curve.values[-1] <= 0.9
