"""Scoring saved findings and checkpoints on a data set."""

from pathlib import Path

import numpy as np
import pytest
import torch

from napari_uld.detectors.build import build_detector
from napari_uld.detectors.specs.inputs import InputSpec
from napari_uld.detectors.specs.recipe import load_recipe
from napari_uld.detectors.two_stage import TwoStageDetector
from napari_uld.errors import DataError
from napari_uld.inference.checkpoint import save_checkpoint
from napari_uld.inference.detect import SlabDetections
from napari_uld.lesions.findings import Findings
from napari_uld.lesions.findings_file import write_findings
from napari_uld.progress import Work, finish
from napari_uld.training.data.key_slices import read_slab, true_slices
from napari_uld.training.data.slab_dataset import SlabDataset
from napari_uld.training.evaluate import Found, evaluate_subject, match_detector


def findings_on(series: str, boxes: np.ndarray, numbers: list[int], scores: tuple[float, float] = (1, 0.5)) -> Findings:
    """Findings whose scores go from the one to the other."""
    return Findings.from_rows(
        scan_id=series,
        scan_name=series,
        method="perfect",
        checkpoint="none",
        boxes=boxes,
        scores=np.linspace(*scores, len(boxes)),
        key_slices=numbers,
    )


def test_findings_that_are_the_truth_reach_full_sensitivity(phantoms: Path, tmp_path: Path) -> None:
    series = true_slices(phantoms, "all")[0].series
    keys = [key for key in true_slices(phantoms, "all") if key.series == series]
    boxes = np.concatenate([key.boxes for key in keys])
    numbers = [key.number for key in keys for _ in key.boxes]
    path = tmp_path / "x.findings.json"
    write_findings(path, findings_on(series, boxes, numbers))
    evaluation = finish(evaluate_subject(str(path), phantoms, "all"))
    assert evaluation.images == len(keys)
    assert evaluation.curve.values.tolist() == [1, 1, 1, 1]
    assert evaluation.to_dict()["ap"] == 1
    assert evaluation.to_dict()["scores"] == [0.5] * 4


def test_sensitivity_is_read_and_averaged_at_the_rates_that_were_asked_for(phantoms: Path, tmp_path: Path) -> None:
    key = true_slices(phantoms, "all")[0]
    # A false positive before every lesion of the slice: nothing is found below one a slice.
    boxes = np.concatenate([[[0.0, 0.0, 1.0, 1.0]], key.boxes])
    findings = findings_on(f"{key.series}_{key.number:03d}-{key.number:03d}", boxes, [key.number] * len(boxes))
    path = tmp_path / "x.findings.json"
    write_findings(path, findings)
    evaluation = finish(evaluate_subject(str(path), phantoms, "all", rates=(0.25, 1.0, 8.0)))
    assert evaluation.curve.values.tolist() == [0, 1, 1]
    assert evaluation.curve.average == pytest.approx(2 / 3)
    assert len(evaluation.low) == len(evaluation.high) == 4
    assert evaluation.to_dict()["fp_per_image"] == [0.25, 1, 8]


def test_findings_of_a_part_of_a_series_are_scored_on_its_own_key_slices(phantoms: Path, tmp_path: Path) -> None:
    keys = true_slices(phantoms, "all")
    keys = [key for key in keys if key.series == keys[0].series]
    number = keys[0].number
    findings = findings_on(f"{keys[0].series}_{number:03d}-{number:03d}", keys[0].boxes, [number] * len(keys[0].boxes))
    path = tmp_path / "x.findings.json"
    write_findings(path, findings)
    assert finish(evaluate_subject(str(path), phantoms, "all")).images == 1


def test_findings_of_a_scan_the_data_do_not_hold_are_refused(phantoms: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.findings.json"
    write_findings(path, findings_on("999999_01_01", np.array([[1.0, 1, 9, 9]]), [5]))
    with pytest.raises(DataError, match="999999_01_01"):
        finish(evaluate_subject(str(path), phantoms, "all"))


def test_detections_of_the_false_positive_class_count_only_where_they_are_asked_for(
    phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A detector that finds every lesion, and calls each a false positive."""
    recipe = load_recipe("uldor", "small")
    small = recipe.detector.model_copy(update={"width": 0.125})
    recipe = recipe.model_copy(update={"detector": small})
    model = build_detector(recipe)
    path = tmp_path / "uldor.safetensors"
    save_checkpoint(path, model, recipe.model_dump(mode="json"), {})
    keys = true_slices(phantoms, "val")
    number = iter(())

    def from_features(self: TwoStageDetector, *_: object) -> list[dict[str, torch.Tensor]]:
        key = keys[next(number)]
        boxes = torch.from_numpy(read_slab(phantoms, key, recipe.input).axes.to_network(key.boxes)).float()
        return [{"boxes": boxes, "scores": torch.ones(len(boxes)), "labels": torch.full((len(boxes),), 2)}]

    monkeypatch.setattr(TwoStageDetector, "from_features", from_features)
    for count_negatives, sensitivity in ((False, 0.0), (True, 1.0)):
        number = iter(range(len(keys)))
        work = evaluate_subject(str(path), phantoms, "val", count_negatives=count_negatives, device="cpu")
        assert finish(work).curve.values.tolist() == [sensitivity] * 4


def test_findings_have_no_false_positive_class_to_count(phantoms: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="false-positive class"):
        finish(evaluate_subject("x.findings.json", phantoms, "all", count_negatives=True))


def test_the_false_positive_class_comes_after_every_lesion(phantoms: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = SlabDetections(np.array([[0.0, 0, 1, 1], [2.0, 2, 3, 3]]), np.array([0.2, 0.9]), np.array([1, 2]), None, {})
    monkeypatch.setattr("napari_uld.training.evaluate.candidates", lambda *_, **__: [found])
    dataset = SlabDataset(phantoms, true_slices(phantoms, "val")[:1], InputSpec())
    matches = finish(match_detector(None, dataset, count_negatives=True))  # type: ignore[arg-type]
    assert matches.scores.tolist() == pytest.approx([0.2, -0.1])


def test_what_is_scored_can_be_shown_best_first(phantoms: Path, tmp_path: Path) -> None:
    key = true_slices(phantoms, "all")[0]
    # The least sure one comes first; it lies where no lesion is.
    boxes = np.concatenate([[[0.0, 0.0, 1.0, 1.0]], key.boxes])
    name, numbers = f"{key.series}_{key.number:03d}-{key.number:03d}", [key.number] * len(boxes)
    findings = findings_on(name, boxes, numbers, scores=(0.5, 1))
    path = tmp_path / "x.findings.json"
    write_findings(path, findings)
    shown: list[Found] = []

    def show(found: Found) -> Work[None]:
        shown.append(found)
        yield from ()

    evaluation = finish(evaluate_subject(str(path), phantoms, "all", show=show))
    assert evaluation.to_dict() == finish(evaluate_subject(str(path), phantoms, "all")).to_dict()
    (found,) = shown
    assert [key.number for key in found.slices] == [key.number]
    on_slice, scores, false = found.on_slice(0)
    np.testing.assert_array_equal(on_slice, boxes[::-1])
    np.testing.assert_allclose(scores, np.linspace(1, 0.5, len(boxes)))
    assert false.tolist() == [False] * len(key.boxes) + [True]


def test_what_is_found_in_volumes_cannot_be_shown(phantoms: Path) -> None:
    work = evaluate_subject("vld_acs_spr", phantoms, "all", show=lambda _: iter(()))  # type: ignore[arg-type, return-value]
    with pytest.raises(DataError, match="leave out what is about key slices"):
        next(work)
