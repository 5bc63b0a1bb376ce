"""`napari-uld anchors`: tables, a recipe's fragment, a picture and figures from a file of boxes or a folder."""

import json
import tomllib
from pathlib import Path

import numpy as np
import pytest

from napari_uld.progress import finish
from napari_uld.training.data.phantom import generate_phantoms

from .running import run


@pytest.fixture(scope="module")
def boxes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """100 boxes of 20 to 40 px."""
    sizes = np.random.default_rng(0).uniform(20, 40, (100, 2))
    path = tmp_path_factory.mktemp("boxes") / "boxes.json"
    image = {"id": 1, "file_name": "a.png", "width": 512, "height": 512}
    rows = [{"image_id": 1, "bbox": [100, 100, width, height]} for width, height in sizes.tolist()]
    path.write_text(json.dumps({"images": [image], "annotations": rows}))
    return path


def test_anchors_are_searched_printed_written_and_drawn(tmp_path: Path, boxes: Path) -> None:
    written = ("--toml", tmp_path / "a.toml", "--plot", tmp_path / "a.png", "--json", tmp_path / "a.json")
    done = run("anchors", boxes, *written)
    assert done.returncode == 0, done.stderr
    assert "boxes.json: IoU of 100 boxes with their best anchors" in done.stdout
    content = json.loads((tmp_path / "a.json").read_text())
    found, default = content["best_iou"][:2]
    assert found["mean"] > default["mean"]
    detector = tomllib.loads((tmp_path / "a.toml").read_text())["detector"]
    assert detector["anchor_scales"] == found["scales"]
    assert detector["anchor_ratios"] == found["ratios"]
    assert f"napari-uld anchors {boxes}" in (tmp_path / "a.toml").read_text()
    assert (tmp_path / "a.png").stat().st_size > 0


def test_bounds_seed_and_the_ways_to_count_are_obeyed(tmp_path: Path, boxes: Path) -> None:
    def searched(*options: str) -> dict:
        done = run("anchors", boxes, *options, "--json", tmp_path / "a.json")
        assert done.returncode == 0, done.stderr
        return json.loads((tmp_path / "a.json").read_text())

    bounded = searched("--scales", "1.1", "1.2", "--ratios", "1.5", "1.6")["best_iou"][0]
    assert all(1.1 <= scale <= 1.2 for scale in bounded["scales"])
    assert all(1.5 <= ratio <= 1.6 for ratio in bounded["ratios"][3:])
    plain, exact, one_more, seeded = (
        searched(*options) for options in ((), ("--exact",), ("--plus-one",), ("--seed", "1"))
    )
    assert plain["search"]["bins"] < exact["search"]["bins"] == 100
    assert one_more["best_iou"][1]["mean"] > plain["best_iou"][1]["mean"]
    assert seeded["best_iou"][0]["scales"] != plain["best_iou"][0]["scales"]


def test_a_folder_in_deeplesions_layout_serves_too(tmp_path: Path) -> None:
    folder = finish(generate_phantoms(tmp_path / "p", 2, 1))
    done = run("anchors", folder, "--split", "all", "--json", tmp_path / "a.json")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "a.json").read_text())["boxes"] > 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("/no/such/boxes.json",), "boxes.json"),
        (("BOXES", "--scales", "2", "1"), "LOW < HIGH"),
        (("BOXES", "--ratios", "0.5", "2"), "LOW < HIGH"),
        ((Path(__file__).parent,), "DL_info.csv"),
    ],
)
def test_an_error_is_one_sentence_on_stderr_and_status_1(
    boxes: Path, arguments: tuple[str | Path, ...], sentence: str
) -> None:
    done = run("anchors", *(boxes if argument == "BOXES" else argument for argument in arguments))
    assert done.returncode == 1
    assert done.stderr.startswith("napari-uld: ")
    assert sentence in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
