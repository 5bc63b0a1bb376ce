"""What is refused is said in the words of whoever wrote the file."""

import json
from pathlib import Path

import pytest

from napari_uld.detectors.specs.recipe import load_recipe
from napari_uld.errors import AnnotationFileError, CheckpointError, RecipeError
from napari_uld.inference.catalogue import read_info
from napari_uld.lesions.findings_file import read_findings
from napari_uld.training.data.coco import read_coco

HEAD = '[method]\nname = "x"\ntitle = "X"\npaper = "ours"\n'
JARGON = ("Extra inputs", "Input should", "validation error", "pydantic", "type=", "Value error", "{'", "header")


def recipe(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "r.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            HEAD + "[training]\nlearning_rate = 1",
            "is no key of [training], which has optimizer, lr, momentum",
        ),
        (HEAD + "[training]\nepoch = 1", "did you mean epochs?"),
        (HEAD + "[training]\nmomentun = 1", "did you mean momentum?"),
        (HEAD + "[detector]\nbackbon = 'vgg16'", "detector.backbon is no key of [detector], which has family"),
        (HEAD + "[detector]\nbackbon = 'vgg16'", "did you mean backbone?"),
        (HEAD + "[detector]\nfamily = 'retinanet'\nfinest_leve = 2", "did you mean finest_level?"),
        (HEAD + "[supervision]\nroi_branc = 'abm'", "did you mean roi_branch?"),
        (HEAD + "[mining]\nmine = 'none'", "did you mean miner?"),
        (HEAD + "[input]\nslicez = 3", "did you mean slices?"),
        (HEAD + "[trainig]\nlr = 1", "[trainig] is no table of a recipe, which has"),
        (HEAD + "[trainig]\nlr = 1", "did you mean training?"),
        (HEAD + "[training]\nlr = -1", "training.lr: found -1, required more than 0"),
        (HEAD + "[training]\noptimizer = 'adm'", "found 'adm', required 'sgd', 'adam' or 'adamw'"),
        (HEAD + "[training]\nepochs = 1.5", "found 1.5, required a whole number"),
        (HEAD + "[training]\nmomentum = {a = 1}", "found a table of a, required a number"),
        (HEAD + "[training]\nmilestones = 3", "found 3, required a list"),
        (HEAD + "[input]\nslices = 2", "slices must be odd"),
        (HEAD + "[[small]]\nlr = 1", "[small] must be a table of overrides; found"),
        ('[method]\nname = "x"\n', "method.title is missing"),
        ("training = 3\n" + HEAD, "training: found 3, required a table"),
    ],
)
def test_a_recipe_is_refused_by_key_neighbours_and_nearest_spelling(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(RecipeError) as refused:
        load_recipe(recipe(tmp_path, text))
    sentence = str(refused.value)
    assert told in sentence
    assert str(tmp_path / "r.toml") in sentence
    assert "\n" not in sentence
    assert not [word for word in JARGON if word in sentence]


def test_a_misspelt_recipe_is_asked_about() -> None:
    with pytest.raises(RecipeError, match="did you mean faster_rcnn_bmc?"):
        load_recipe("faster_rcn_bmc")


@pytest.mark.parametrize("mark", [b"\xef\xbb\xbf"])
def test_a_recipe_may_begin_with_a_byte_order_mark(tmp_path: Path, mark: bytes) -> None:
    path = recipe(tmp_path, HEAD)
    path.write_bytes(mark + path.read_bytes())
    assert load_recipe(path).method.title == "X"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_json_may_begin_with_a_byte_order_mark(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "boxes.json"
    image = {"id": 1, "file_name": "ä.png", "width": 50, "height": 50}
    content = {"images": [image], "annotations": [{"image_id": 1, "bbox": [1, 2, 10, 10]}]}
    path.write_text(json.dumps(content, ensure_ascii=False), encoding=encoding)
    assert read_coco(path)[0].name == "ä.png"
    findings = {"format": "napari-uld findings", "version": 1, "scan": {"id": "ä", "name": "n"}}
    path.write_text(json.dumps({**findings, "method": "m", "checkpoint": "c", "findings": []}), encoding=encoding)
    assert read_findings(path).scan_id == "ä"


@pytest.mark.parametrize(
    "content", ["{}", '{"format": {"a": 1}}', "[]", "", '{"findings": [{}]}', "\x00", '{"a": {"b": 1}}']
)
def test_json_is_refused_without_jargon(tmp_path: Path, content: str) -> None:
    path = tmp_path / "x.findings.json"
    path.write_text(content)
    with pytest.raises(AnnotationFileError) as refused:
        read_findings(path)
    assert not [word for word in JARGON if word in str(refused.value)]
    assert str(path) in str(refused.value)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "it is empty"),
        (b"abc", "cut short at 3 bytes"),
        ((1000).to_bytes(8, "little") + b"{", "cut short at 9 bytes"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 5\n", "Git LFS pointer"),
        (b"PK\x03\x04" + b"x" * 50, "pickle of torch"),
        (b"\x89PNG" + b"x" * 50, "damaged or cut short, or was not written by"),
    ],
)
def test_a_checkpoint_that_is_none_is_told_by_what_it_is(tmp_path: Path, content: bytes, told: str) -> None:
    path = tmp_path / "c.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError) as refused:
        read_info(path)
    assert told in str(refused.value)
    assert not [word for word in JARGON if word in str(refused.value)]
