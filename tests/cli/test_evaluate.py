"""`napari-uld evaluate` on what other programs saved."""

import json
import pickle
from pathlib import Path

import pytest

from .running import run

VOLUME = "000001_01_01_001-009"


@pytest.fixture
def lesions(tmp_path: Path) -> Path:
    path = tmp_path / "lesions.pkl"
    path.write_bytes(pickle.dumps({f"{VOLUME}.annot": {2: [[11, 11, 31, 31, 2, 2], [51, 51, 71, 71, 2, 2]]}}))
    return path


def test_a_pickle_that_names_anything_but_plain_values_is_refused_in_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "x.pkl"
    # On reading it would call os.system.
    path.write_bytes(b"cos\nsystem\n(S'touch " + str(tmp_path / "trace").encode() + b"'\ntR.")
    for subject, data in ((path, tmp_path), (tmp_path / "none.pkl", path)):
        done = run("evaluate", subject, "--data", data, "--protocol", "p3d")
        assert done.returncode == 1
        assert done.stderr.startswith("napari-uld: ")
        assert len(done.stderr.strip().splitlines()) == 1
    assert "os.system" in run("evaluate", path, "--data", tmp_path, "--protocol", "p3d").stderr
    assert not (tmp_path / "trace").exists()


def test_a_pickle_is_scored_on_a_pickle_and_the_numbers_are_kept(tmp_path: Path, lesions: Path) -> None:
    found = tmp_path / "found.pkl"
    found.write_bytes(pickle.dumps({VOLUME: [[(2, [11, 11, 31, 31, 0.75]), (3, [11, 11, 31, 31, 0.5])]]}))
    asked = ("--data", lesions, "--protocol", "p3d", "--rates", "1,2", "--json", tmp_path / "e.json")
    done = run("evaluate", found, *asked, "--report", tmp_path / "r", "--against", lesions)
    assert done.returncode == 0, done.stderr
    content = json.loads((tmp_path / "e.json").read_text())
    assert {key: content[key] for key in ("protocol", "volumes", "lesions", "average", "ap", "fp_per_image")} == {
        "protocol": "p3d",
        "volumes": 1,
        "lesions": 2,
        "average": 0.5,
        "ap": 0.5,
        "fp_per_image": [1, 2],
    }
    assert (content["scores"], content["true_positives"], content["false_negatives"]) == ([0.75] * 2, [1, 1], [1, 1])
    assert content["difference"]["values"] == [-0.5] * 4
    assert "padded boxes" in " ".join(done.stdout.split())
    assert (tmp_path / "r" / "froc.png").is_file()


def test_image_by_image_the_share_of_the_detected_box_and_a_pixel_more_can_be_asked_for(
    tmp_path: Path, lesions: Path
) -> None:
    found = tmp_path / "found.pkl"
    # 9 x 20 of 20 x 20: IoU .45, all of it inside; with a pixel more 10 x 21 of 21 x 21.
    found.write_bytes(pickle.dumps({VOLUME: {2: [[11, 11, 20, 31, 0.75]]}}))
    reached = {}
    for options in ((), ("--overlap", "iobb"), ("--plus-one",)):
        asked = ("--data", lesions, "--protocol", "image", "--json", tmp_path / "e.json")
        assert run("evaluate", found, *asked, *options).returncode == 0
        reached[options] = json.loads((tmp_path / "e.json").read_text())["average"]
    assert [*reached.values()] == [0, 0.5, 0]
    done = run("evaluate", found, "--data", lesions, "--protocol", "p3d", "--plus-one")
    assert done.returncode == 1
    assert "leave out what is about key slices" in " ".join(done.stderr.split())
    assert run("evaluate", found, "--data", lesions, "--against", found).returncode == 2


def test_tight_boxes_on_padded_ones_are_refused_unless_a_person_says_what_they_are(
    tmp_path: Path, lesions: Path
) -> None:
    tight = tmp_path / "tight.pkl"
    tight.write_bytes(pickle.dumps({VOLUME: [[10, 10, 30, 30, 2, 2], [50, 50, 70, 70, 2, 2]]}))
    done = run("evaluate", tight, "--data", lesions, "--protocol", "p3d")
    assert done.returncode == 1
    assert "tight" in done.stderr
    done = run("evaluate", tight, "--data", lesions, "--protocol", "p3d", "--boxes", "padded", "--json", tmp_path / "e")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "e").read_text())["average"] == 1
