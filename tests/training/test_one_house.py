"""A new system is one part and one recipe: toy parts train, save, load and detect, and no other file knows them."""

from pathlib import Path

import numpy as np
import pytest
import torch

from napari_uld.ct.deeplesion import read_slices, slices_on_disk
from napari_uld.ct.volume import CTVolume
from napari_uld.detectors.specs import mining, system
from napari_uld.detectors.specs.recipe import Recipe, load_recipe
from napari_uld.inference.checkpoint import load_checkpoint
from napari_uld.inference.detect import detect
from napari_uld.inference.inside import look_inside
from napari_uld.lesions.findings import Findings
from napari_uld.lesions.findings_file import read_findings, write_findings
from napari_uld.progress import finish
from napari_uld.training.data.phantom.truth import truth_series
from napari_uld.training.loop import TrainingOptions, train

from . import toys

METHOD = '[method]\nname = "toy"\ntitle = "A toy"\npaper = "none"\n'
TRAINING = '[training]\noptimizer = "adam"\nepochs = 2\nmilestones = []\nbatch = 2\n'
SLAB = "[input]\nlong_side = 64\nspacing_mm = 6.4\nslices = {slices}\n"
VOLUME = "[input]\nvolume = true\nslices = 8\nslices_per_image = 1\nlong_side = 32\nspacing_mm = 6.4\ninterval_mm = 6\n"
THIN = (
    '[detector]\nfamily = "thin"\npretrained = "none"\nanchor_sizes = [2, 4, 8]\nrpn_min_size = 1\nhead_channels = 16\n'
)
RECIPES = {
    "slab encoder": SLAB.format(slices=9) + THIN,
    "head in 2D": SLAB.format(slices=3) + '[detector]\nfamily = "centre"\npretrained = "none"\n',
    "head in 3D": VOLUME + '[detector]\nfamily = "centre_3d"\npretrained = "none"\n',
    "miner": SLAB.format(slices=9) + THIN + '[mining]\nminer = "average"\n',
}


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, family in toys.FAMILIES.items():
        monkeypatch.setitem(system.FAMILIES, name, family)
    monkeypatch.setitem(mining.MINERS, "average", mining.MinerEntry(toys.AverageSpec, toys.AverageMiner))


def recipe_of(kind: str, folder: Path) -> Recipe:
    path = folder / "toy.toml"
    path.write_text(METHOD + TRAINING + RECIPES[kind])
    return load_recipe(path)


def first_scan(phantoms: Path) -> CTVolume:
    series = truth_series(phantoms)[0]
    return read_slices(phantoms, series, slices_on_disk(phantoms, series))


@pytest.mark.parametrize("kind", RECIPES)
def test_a_toy_part_trains_saves_loads_and_detects(kind: str, phantoms: Path, tmp_path: Path) -> None:
    recipe = recipe_of(kind, tmp_path)
    checkpoint = finish(train(recipe, TrainingOptions(phantoms, tmp_path / "run", device="cpu")))
    detector = load_checkpoint(checkpoint, "cpu")
    assert detector.info.recipe == recipe.model_dump(mode="json")
    scan = first_scan(phantoms)
    findings: Findings = finish(detect(scan, detector, score_floor=0))
    assert len(findings)
    assert set(findings.key_slices.tolist()) <= set(scan.slice_numbers.tolist())
    assert (findings.depths is not None) == recipe.input.volume
    write_findings(tmp_path / "x.findings.json", findings)
    assert np.array_equal(read_findings(tmp_path / "x.findings.json").boxes, findings.boxes)


def test_a_toys_stopped_run_goes_on_to_the_same_weights(phantoms: Path, tmp_path: Path) -> None:
    recipe = recipe_of("miner", tmp_path)
    whole = finish(train(recipe, TrainingOptions(phantoms, tmp_path / "whole", device="cpu")))
    stopped = TrainingOptions(phantoms, tmp_path / "stopped", device="cpu")
    work = train(recipe, stopped)
    for step in work:
        if step.message.startswith("Epoch 2"):
            work.close()
            break
    resumed = TrainingOptions(phantoms, tmp_path / "stopped", device="cpu", resume=True)
    again = finish(train(recipe, resumed))
    expected, reached = (load_checkpoint(path, "cpu").model.state_dict() for path in (whole, again))
    assert all(torch.equal(expected[name], reached[name]) for name in expected)


def test_what_a_miner_keeps_is_what_is_saved(phantoms: Path, tmp_path: Path) -> None:
    averaged = finish(train(recipe_of("miner", tmp_path), TrainingOptions(phantoms, tmp_path / "a", device="cpu")))
    plain = recipe_of("slab encoder", tmp_path)
    trained = finish(train(plain, TrainingOptions(phantoms, tmp_path / "b", device="cpu")))
    first, second = (load_checkpoint(path, "cpu").model.state_dict() for path in (averaged, trained))
    assert any(not torch.equal(first[name], second[name]) for name in first)


def test_a_slabs_thickness_reaches_the_encoder(phantoms: Path, tmp_path: Path) -> None:
    detector = toys.build_thin(
        toys.ThinSpec(anchor_sizes=(2, 4, 8), rpn_min_size=1, head_channels=16),
        toys.TwoStageSupervision(family="thin"),
        recipe_of("slab encoder", tmp_path).input,
    )
    detector.eval()
    image = torch.randn(9, 64, 64)
    thin, thick = (detector([image], thickness=torch.tensor([mm]))[0]["scores"] for mm in (1.0, 5.0))
    assert not torch.equal(thin, thick)


def test_a_toy_can_be_looked_into(phantoms: Path, tmp_path: Path) -> None:
    recipe = recipe_of("head in 2D", tmp_path)
    checkpoint = finish(train(recipe, TrainingOptions(phantoms, tmp_path / "run", device="cpu")))
    scan = first_scan(phantoms)
    inside = look_inside(scan, 3, np.array([[200.0, 200, 240, 240]]), load_checkpoint(checkpoint, "cpu"))
    assert list(inside.anchors) == ["centre"]
    assert inside.objectness is not None
