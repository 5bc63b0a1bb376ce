"""The command line: tables for people, JSON for programs, one sentence for errors."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from napari_uld.cli.app import app
from napari_uld.cli.common import positive_numbers
from napari_uld.lesions.findings import Findings
from napari_uld.lesions.findings_file import write_findings
from napari_uld.progress import Progress, Work, finish
from napari_uld.training.data.key_slices import true_slices
from napari_uld.training.data.phantom import generate_phantoms
from napari_uld.training.reports import experiments, plots
from napari_uld.training.reports.experiments import Outcome
from napari_uld.training.reports.planning import Experiment, Place, State

from .running import run


def test_recipes_are_listed_for_people_and_for_programs(tmp_path: Path) -> None:
    done = run("recipes", "--json", tmp_path / "r.json")
    assert done.returncode == 0
    assert "faster_rcnn_bmc" in done.stdout
    published = {row["recipe"]: row["published, %"] for row in json.loads((tmp_path / "r.json").read_text())}
    assert published["faster_rcnn"] == "57.17  68.82  74.97  82.43"
    assert published["mining_add"].endswith("63.47  70.67  (.125 to 8 per volume)")
    assert published["vld_acs_spr"].endswith("43.6  45.1  (.25 to 2 per volume)")


def test_info_tells_what_a_recipe_is_made_of(tmp_path: Path) -> None:
    done = run("info", "faster_rcnn_bmc", "--small", "--json", tmp_path / "i.json")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "i.json").read_text())["recipe"]["supervision"]["roi_branch"] == "abm"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("info", "no_such_thing"), "no checkpoint no_such_thing"),
        (("experiments", "nothing"), "no experiment nothing"),
        (("detect", "/no/such/scan", "--checkpoint", "nothing"), "nothing"),
        (("train", "faster_rcnn", "--data", "/no/such/folder"), "DL_info.csv"),
        (("evaluate", "nothing", "--data", "/no/such/folder"), "no checkpoint nothing"),
        (("evaluate", "faster_rcnn", "--data", "/no/such/folder"), "DL_info.csv"),
        (("positives", "/no/such/boxes.json"), "boxes.json"),
        (("masks", "/no/such/folder"), "DL_info.csv"),
    ],
)
def test_an_error_is_one_sentence_on_stderr_and_status_1(arguments: tuple[str, ...], sentence: str) -> None:
    done = run(*arguments)
    assert done.returncode == 1
    assert done.stderr.startswith("napari-uld: ")
    assert sentence in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere there is a display")
def test_a_demo_without_a_display_says_so() -> None:
    environment = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")}
    command = [sys.executable, "-m", "napari_uld.cli", "demo"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 1
    assert "no display" in done.stderr


@pytest.mark.parametrize("renew", [False, True])
def test_experiments_of_another_recipe_are_told_and_renewed_only_where_asked(
    monkeypatch: pytest.MonkeyPatch, renew: bool
) -> None:
    def run_all(*_: object, renew: bool) -> Work[list[Outcome]]:
        yield Progress(0, 1)
        state = State.FINISHED if renew else State.STALE
        return [Outcome("two_stage", "3dce", 0, state, "" if renew else "recipe.training.lr is 0.1, was 0.2")]

    monkeypatch.setattr(experiments, "run_all", run_all)
    done = CliRunner().invoke(app, ["experiments", *(["--renew"] if renew else [])])
    assert done.exit_code == (0 if renew else 1)
    assert ("was 0.2" in done.output) is not renew


def test_plots_are_drawn_and_nothing_is_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write_plots(folder: Path, chosen: list[Experiment], place: Place) -> Work[dict[Path, list[str]]]:
        yield Progress(0, 0)
        assert (place.root, place.phantoms) == (tmp_path / "r", tmp_path / "p")
        return {folder / f"{experiment.name}.png": ["+ attention gates"] for experiment in chosen}

    monkeypatch.setattr(plots, "write_plots", write_plots)
    monkeypatch.setattr(experiments, "run_all", None)
    place = ("--root", tmp_path / "r", "--phantoms", tmp_path / "p")
    done = run("experiments", "retinanet", *place, "--plots", tmp_path / "x")
    assert done.returncode == 0, done.stderr
    # A path that is too long for a line is broken anywhere.
    assert "retinanet.png;nottrainedyet:+attentiongates" in "".join(done.stdout.split())


def test_wrong_usage_is_status_2(tmp_path: Path) -> None:
    assert run("train").returncode == 2
    assert run("no-such-command").returncode == 2
    assert run("detect", "/no/such/scan", "--tracing", "kalman").returncode == 2
    assert run("recipes", "--json", "/no/such/folder/x.json").returncode == 2
    assert run("experiments", "--plots", "/no/such/folder/plots").returncode == 2
    (tmp_path / "file").touch()
    assert run("experiments", "--plots", tmp_path / "file").returncode == 2
    assert run("evaluate", "x", "--data", "/no/such/folder", "--gallery", "/no/such/folder/g").returncode == 2
    assert run("evaluate", "x.findings.json", "--data", "/no/such/folder", "--rates", "0").returncode == 2


@pytest.mark.parametrize("rates", ["", "1,,2", "0,1", "-1", "one", "inf", "nan"])
def test_rates_that_are_no_positive_numbers_are_refused(rates: str) -> None:
    with pytest.raises(typer.BadParameter, match="positive numbers"):
        positive_numbers(rates, "--rates")


def test_a_source_that_there_is_not_is_refused(tmp_path: Path) -> None:
    done = run("train", "faster_rcnn", "--small", "--data", tmp_path, "--sources", "expert,guessed")
    assert done.returncode == 2
    assert "'guessed'" in done.stderr
    assert "mined" in done.stderr


def test_findings_are_scored_at_the_rates_asked_for_and_drawn(tmp_path: Path) -> None:
    keys = true_slices(finish(generate_phantoms(tmp_path / "p", 1, 1)), "all")
    key = keys[0]
    findings = Findings.from_rows(
        scan_id=key.series,
        scan_name=key.series,
        method="perfect",
        checkpoint="none",
        boxes=key.boxes,
        scores=np.ones(len(key.boxes)),
        key_slices=[key.number] * len(key.boxes),
    )
    write_findings(tmp_path / "x.findings.json", findings)
    asked = ("--data", tmp_path / "p", "--split", "all", "--rates", "0.125,8", "--json", tmp_path / "e.json")
    asked = (*asked, "--gallery", tmp_path / "g")
    done = run("evaluate", tmp_path / "x.findings.json", *asked)
    assert done.returncode == 0, done.stderr
    assert "0.125 FP" in done.stdout
    scored = json.loads((tmp_path / "e.json").read_text())
    assert scored["fp_per_image"] == [0.125, 8]
    assert scored["average"] == pytest.approx(sum(scored["sensitivity"]) / 2, abs=1e-4)
    names = {lesion_type.name.lower() for key in keys for lesion_type in key.types}
    assert {path.name for path in (tmp_path / "g").iterdir()} == {f"{name}.png" for name in names}


def test_a_phantom_study_is_generated_and_a_full_folder_is_left_alone(tmp_path: Path) -> None:
    done = run("phantom", tmp_path / "p", "--patients", "1", "--seed", "1")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "p" / "DL_info.csv").is_file()
    (tmp_path / "q").mkdir()
    (tmp_path / "q" / "mine.txt").write_text("keep")
    assert run("phantom", tmp_path / "q").returncode == 1


def test_masks_are_made_once_and_then_taken_over(tmp_path: Path) -> None:
    assert run("phantom", tmp_path / "p", "--patients", "1", "--seed", "1").returncode == 0
    first = run("masks", tmp_path / "p", "--processes", "1", "--json", tmp_path / "1.json")
    assert first.returncode == 0, first.stderr
    assert "How they came about" in first.stdout
    assert (tmp_path / "p" / "pseudo_masks" / "grabcut.jsonl").is_file()
    second = run("masks", tmp_path / "p", "--processes", "1", "--json", tmp_path / "2.json")
    assert second.returncode == 0, second.stderr
    one, two = (json.loads((tmp_path / name).read_text()) for name in ("1.json", "2.json"))
    assert one["run"]["made now"] == two["run"]["taken over"] == one["run"]["lesions"] > 0
    assert two["run"]["made now"] == 0
    assert one["masks"] == two["masks"]
    unknown = run("masks", tmp_path / "p", "--kind", "abm")
    assert unknown.returncode == 1
    assert "choose grabcut or ellipse" in unknown.stderr


def test_positive_anchors_are_counted_printed_and_drawn(tmp_path: Path) -> None:
    image = {"id": 1, "file_name": "a.png", "width": 512, "height": 512}
    # Edges at 52 and 84: one anchor of 32 px on a cell of stride 8.
    box = {"id": 1, "image_id": 1, "bbox": [51.5, 51.5, 32, 32]}
    (tmp_path / "boxes.json").write_text(json.dumps({"images": [image], "annotations": [box]}))
    done = run("positives", tmp_path / "boxes.json", "--json", tmp_path / "p.json", "--plot", tmp_path / "p.png")
    assert done.returncode == 0, done.stderr
    assert "positive anchors of 1 boxes" in done.stdout
    rows = json.loads((tmp_path / "p.json").read_text())["positives_a_box"]
    found = {(row["stride"], row["rule"]): row["mean"] for row in rows}
    assert found[8, "IoU .7"] == 1
    assert found[8, "BM .5"] == 12
    assert (tmp_path / "p.png").stat().st_size > 0
