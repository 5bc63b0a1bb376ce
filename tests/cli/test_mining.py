"""`napari-uld mine` on a real scan with a bundled detector, and `napari-uld merge`."""

import json
import shutil
from dataclasses import replace
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from napari_uld.ct import read_scan
from napari_uld.lesions.annotation_file import read_annotations, save_annotations
from napari_uld.lesions.annotations import Annotation, Annotations, State
from napari_uld.lesions.boxes import intersection
from napari_uld.lesions.findings_file import read_findings
from napari_uld.training.data.key_slices import annotated_slices
from napari_uld.training.data.true_boxes import TrueBoxes

from .running import run


@pytest.fixture
def phantom(tmp_path: Path) -> Path:
    return Path(shutil.copytree(Path(str(resources.files("napari_uld.sample_data"))) / "phantom", tmp_path / "phantom"))


def test_suggestions_come_with_masks_and_what_a_second_detector_says_and_are_summed_up(phantom: Path) -> None:
    out, told = phantom.parent / "out", phantom.parent / "mined.json"
    options = ("--out", out, "--json", told, "--device", "cpu")
    done = run("mine", phantom, "--checkpoint", "uldor", "--second", "mask_rcnn", *options)
    assert done.returncode == 0, done.stderr
    (scan,) = json.loads(told.read_text())["scans"]
    suggested = read_findings(Path(scan["file"]))
    assert Path(scan["file"]).parent == out / "Images_png"
    assert len(suggested) == scan["suggestions"] > 0
    assert scan["left_out"] > 0, "the listed lesions are not suggested"
    assert all(mask is not None for mask in suggested.masks)
    assert 0 < suggested.columns["disagreement"].max() < 1
    assert f" {scan['suggestions']} " in done.stdout
    again = run("mine", phantom, "--checkpoint", "uldor", *options)
    assert json.loads(told.read_text())["scans"][0]["before"], again.stdout


def test_a_scan_that_fails_is_named_and_the_status_says_so(phantom: Path) -> None:
    next((phantom / "Images_png" / "000001_01_01").iterdir()).write_bytes(b"no picture")
    done = run("mine", phantom, "--checkpoint", "uldor", "--device", "cpu")
    assert done.returncode == 1
    assert "000001_01_01: " in done.stdout
    assert "cannot be read as PNG" in " ".join(done.stdout.split())


def test_hard_negatives_of_a_scan_whose_truth_is_known_are_written_for_training_to_take(phantom: Path) -> None:
    options = ("--checkpoint", "uldor", "--negatives", "--device", "cpu", "--score", "0.3")
    done = run("mine", phantom, *options, "--json", phantom / "mined.json")
    assert done.returncode == 0, done.stderr
    (scan,) = json.loads((phantom / "mined.json").read_text())["scans"]
    found = read_findings(phantom / "negatives" / "000001_01_01.findings.json")
    assert found.negative.all()
    assert len(found) == scan["suggestions"] > 0
    assert found.scores.min() >= 0.3
    true = TrueBoxes(phantom)
    for box, number in zip(found.boxes, found.key_slices.tolist(), strict=True):
        assert not intersection(box[None], true.on("000001_01_01", number)).any()
    assert run("mine", phantom, *options, "--json", phantom / "mined.json").returncode == 0
    assert json.loads((phantom / "mined.json").read_text())["scans"][0]["before"]


def test_hard_negatives_need_scans_whose_truth_is_known(phantom: Path) -> None:
    shutil.rmtree(phantom / "truth")
    done = run("mine", phantom, "--checkpoint", "uldor", "--negatives", "--device", "cpu")
    assert done.returncode == 1
    assert "truth" in done.stderr


def test_two_reviewers_files_become_one_and_what_they_differ_on_is_printed(tmp_path: Path) -> None:
    lesion = Annotation(id="x", scan_id="s", key_slice=5, box=(0.0, 0.0, 9.0, 9.0))
    for reviewer, state in (("ann", State.ACCEPTED), ("bob", State.REJECTED)):
        (tmp_path / reviewer).mkdir()
        rows = [replace(lesion, state=state, reviewer=reviewer)]
        path = tmp_path / reviewer / "ct.lesions.json"
        save_annotations(path, Annotations("s", rows), scan_name="ct", scan_source="ct.nii.gz")
    done = run("merge", tmp_path / "ann", tmp_path / "bob", "--out", tmp_path / "both", "--json", tmp_path / "c.json")
    assert done.returncode == 0, done.stderr
    (conflict,) = json.loads((tmp_path / "c.json").read_text())["conflicts"]
    assert conflict["about"] == "state"
    assert "accepted" in done.stdout
    assert "rejected" in done.stdout
    saved = read_annotations(tmp_path / "both" / "ct.lesions.json")
    assert [row.state for row in saved.annotations] == [State.PENDING]
    assert (saved.scan_name, saved.scan_source) == ("ct", "ct.nii.gz")
    files = [tmp_path / reviewer / "ct.lesions.json" for reviewer in ("ann", "bob")]
    assert run("merge", *files, "--out", tmp_path / "one.lesions.json").returncode == 0
    assert len(read_annotations(tmp_path / "one.lesions.json").annotations) == 1
    again = run("merge", tmp_path / "ann", tmp_path / "bob", "--out", tmp_path / "ann")
    assert again.returncode == 1
    assert "what was decided in it would go" in " ".join(again.stderr.split())
    assert [row.state for row in read_annotations(files[0]).annotations] == [State.ACCEPTED]


def test_an_archive_is_collected_to_train_on_and_what_is_left_out_is_said(tmp_path: Path) -> None:
    for name in ("a", "b"):
        body = np.full((6, 48, 48), -1000, np.int16)
        body[:, 8:40, 8:40] = np.random.default_rng(ord(name)).normal(40, 20, (6, 32, 32))
        (tmp_path / "archive").mkdir(exist_ok=True)
        sitk.WriteImage(sitk.GetImageFromArray(body), str(tmp_path / "archive" / f"{name}.nii.gz"))
    scan = read_scan(tmp_path / "archive" / "a.nii.gz")
    lesion = Annotation(id="x", scan_id=scan.scan_id, key_slice=scan.native_slice(2), box=(10.0, 10.0, 30.0, 30.0))
    # The scans may not be written beside.
    (tmp_path / "marked").mkdir()
    path, rows = tmp_path / "marked" / "a.lesions.json", Annotations(scan.scan_id, [lesion])
    save_annotations(path, rows, scan_name="a", scan_source="a.nii.gz")
    done = run("collect", tmp_path / "archive", "--out", tmp_path / "out", "--annotations", tmp_path / "marked")
    assert done.returncode == 0, done.stderr
    told = " ".join(done.stdout.split())
    assert "1 lesions of 1 scans" in told
    assert "b is left out: no accepted lesion" in told
    (key,) = annotated_slices(tmp_path / "out", "train")
    assert key.boxes.tolist() == [[10.0, 10.0, 30.0, 30.0]]
