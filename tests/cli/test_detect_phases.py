"""A detector of several phases, from training to a study's findings, on the command line."""

import json
import shutil
from pathlib import Path

import pytest

from napari_uld.lesions.findings_file import read_findings
from napari_uld.progress import finish
from napari_uld.training.data.phantom import generate_phantoms

from .running import run

RECIPE = """
[method]
name = "tiny_phases"
title = "Tiny"
paper = "none"
host = "vld_acs_phases"

[small.input]
slices = 8
interval_mm = 5.0
spacing_mm = 2.5
long_side = 64

[small.detector]
blocks = [1, 1, 1]
pyramid_channels = 8
head_channels = 16

[small.training]
steps = 4
"""


@pytest.fixture(scope="module")
def phases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two patients, one to validate on and one to train on, in three contrast phases each."""
    return finish(generate_phantoms(tmp_path_factory.mktemp("phases") / "set", 2, 3, phases=3))


@pytest.fixture(scope="module")
def trained(phases: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    (folder / "tiny.toml").write_text(RECIPE)
    done = run("train", folder / "tiny.toml", "--small", "--data", phases, "--out", folder / "run")
    assert done.returncode == 0, done.stderr
    return folder / "run" / "checkpoint.safetensors"


@pytest.mark.parametrize("protocol", [(), ("--protocol", "3d")])
def test_it_is_scored_once_a_study_and_by_size(
    phases: Path, trained: Path, tmp_path: Path, protocol: tuple[str, ...]
) -> None:
    report = tmp_path / "reached.json"
    done = run("evaluate", trained, "--data", phases, "--split", "all", *protocol, "--json", report)
    assert done.returncode == 0, done.stderr
    reached = json.loads(report.read_text())
    assert (reached["volumes"], reached["patients"]) == (2, 2)
    assert sum(part["lesions"] for part in reached["by_size"].values()) == reached["lesions"]


def test_it_finds_a_studys_phases_by_the_name_of_one(phases: Path, trained: Path, tmp_path: Path) -> None:
    report = tmp_path / "found.json"
    done = run("detect", phases, "--checkpoint", trained, "--series", "000002_01_01", "--json", report)
    assert done.returncode == 0, done.stderr
    assert "portal venous: 000002_01_01; arterial: 000002_01_02; unenhanced: 000002_01_03" in done.stdout
    assert read_findings(report).scan_name == "000002_01_01"


def test_it_takes_the_phases_in_the_order_in_which_they_are_named(phases: Path, trained: Path) -> None:
    named = [f"--series=000001_01_0{number}" for number in (3, 1, 2)]
    done = run("detect", phases, "--checkpoint", trained, *named)
    assert done.returncode == 0, done.stderr
    assert "portal venous: 000001_01_03; arterial: 000001_01_01; unenhanced: 000001_01_02" in done.stdout


def test_one_study_in_a_folder_needs_no_name(phases: Path, trained: Path, tmp_path: Path) -> None:
    shutil.copy(phases / "DL_info.csv", tmp_path)
    for number in (1, 2, 3):
        name = f"000001_01_0{number}"
        shutil.copytree(phases / "Images_png" / name, tmp_path / "Images_png" / name)
    assert run("detect", tmp_path, "--checkpoint", trained).returncode == 0


def test_a_single_series_is_refused_with_the_phases_it_lacks(phases: Path, trained: Path) -> None:
    done = run("detect", phases / "Images_png" / "000001_01_02", "--checkpoint", trained)
    assert done.returncode == 1
    assert "sees 3 phases together (portal venous, arterial, unenhanced)" in done.stderr


def test_several_studies_without_a_name_are_refused_with_the_option_that_tells(phases: Path, trained: Path) -> None:
    done = run("detect", phases, "--checkpoint", trained)
    assert done.returncode == 1
    assert done.stderr.strip().endswith("in this order: portal venous, arterial, unenhanced: --series NAME")


def test_a_detector_of_one_series_takes_no_more_than_one(phases: Path) -> None:
    done = run("detect", phases, "--series", "000001_01_01", "--series", "000001_01_02")
    assert done.returncode == 2
    assert "this detector sees one scan: name one, not 2" in " ".join(done.stderr.split())
