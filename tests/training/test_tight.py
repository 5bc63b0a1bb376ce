"""What learnt tight boxes says so, and is measured on tight boxes alone."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from napari_uld.detectors.specs.inputs import InputSpec
from napari_uld.detectors.specs.recipe import load_recipe
from napari_uld.errors import DataError
from napari_uld.evaluation.protocols import PROTOCOLS
from napari_uld.inference.candidates import SlabDetections
from napari_uld.inference.catalogue import CheckpointInfo
from napari_uld.lesions.box_table import Margin
from napari_uld.lesions.findings import Findings
from napari_uld.lesions.findings_file import read_findings, write_findings
from napari_uld.progress import Work, finish
from napari_uld.training import evaluate, volume_protocols
from napari_uld.training.data.tight_slices import tight_slices
from napari_uld.training.data.truths import true_scans
from napari_uld.training.evaluate import evaluate_subject
from napari_uld.training.loop import Run, TrainingOptions, train
from napari_uld.training.run_files import LOG, read_log
from napari_uld.training.subjects import read_subject
from napari_uld.training.volume_protocols import detected


def findings(*, tight: bool, **columns: object) -> Findings:
    return Findings.from_rows(
        scan_id="a",
        scan_name="a",
        method="toy",
        checkpoint="none",
        boxes=[[1, 2, 9, 8]],
        scores=[0.5],
        key_slices=[3],
        tight=tight,
        **columns,  # type: ignore[arg-type]
    )


def test_findings_keep_in_their_file_that_they_are_tight_and_bodies_always_are(tmp_path: Path) -> None:
    for tight in (True, False):
        write_findings(tmp_path / "x.findings.json", findings(tight=tight))
        assert read_findings(tmp_path / "x.findings.json").tight is tight
        table = read_subject(tmp_path / "x.findings.json", tmp_path, "all")
        assert table.margin is (Margin.TIGHT if tight else Margin.PADDED)
    assert findings(tight=False, depths=[[2, 4]]).tight


def test_findings_written_before_they_said_so_are_padded(tmp_path: Path) -> None:
    path = tmp_path / "x.findings.json"
    write_findings(path, findings(tight=False))
    assert '"tight"' not in path.read_text()
    assert not read_findings(path).tight


def test_tight_findings_and_padded_ones_are_scored_apart(tmp_path: Path) -> None:
    write_findings(tmp_path / "a.findings.json", findings(tight=True))
    write_findings(tmp_path / "b.findings.json", findings(tight=False))
    with pytest.raises(DataError, match="padded and some that are tight: score them apart"):
        read_subject(tmp_path, tmp_path, "all")


@pytest.mark.parametrize(
    ("name", "tight"), [("faster_rcnn_densenet", True), ("mining_labels_only", False), ("vld_acs", True)]
)
def test_a_checkpoint_says_how_closely_its_boxes_lie(name: str, tight: bool) -> None:
    recipe = load_recipe(name).model_dump(mode="json")
    assert CheckpointInfo(Path("x"), "", recipe, {}).tight is tight
    del recipe["supervision"]["boxes"]
    # As before recipes said so.
    assert CheckpointInfo(Path("x"), "", recipe, {}).tight is (name == "vld_acs")


def toy(*, tight: bool) -> SimpleNamespace:
    info = SimpleNamespace(name="toy", digest="none", operating_point=None, volume=False, tight=tight, path=Path("toy"))
    return SimpleNamespace(inputs=InputSpec(), tight=tight, info=info)


def read_a_toy(monkeypatch: pytest.MonkeyPatch, *, tight: bool) -> None:
    """Whatever checkpoint is asked for, have the toy read."""
    monkeypatch.setattr(evaluate, "load_checkpoint", lambda *_: toy(tight=tight))
    monkeypatch.setattr(evaluate, "read_info", lambda _: toy(tight=tight).info)


def test_a_tight_detector_is_scored_on_the_tight_boxes_of_key_slices(
    phantoms: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    boxes = iter([key.boxes for key in tight_slices(phantoms, "all")])
    read_a_toy(monkeypatch, tight=True)

    def perfect(_slabs: object, _detector: object, **_: object) -> list[SlabDetections]:
        found = next(boxes)
        return [SlabDetections(found, np.full(len(found), 0.5), np.ones(len(found), int), None, {})]

    monkeypatch.setattr(evaluate, "candidates", perfect)
    evaluation = finish(evaluate_subject("faster_rcnn", phantoms, "all"))
    assert (evaluation.curve.values.tolist()[0], evaluation.ap, evaluation.boxes) == (1, 1, "tight boxes")


def test_saved_tight_boxes_are_measured_on_the_tight_boxes_of_key_slices(phantoms: Path, tmp_path: Path) -> None:
    keys = tight_slices(phantoms, "all")
    for series in {key.series for key in keys}:
        of_series = [(key.number, box) for key in keys if key.series == series for box in key.boxes]
        found = Findings.from_rows(
            scan_id=series,
            scan_name=series,
            method="perfect",
            checkpoint="none",
            boxes=[box for _, box in of_series],
            scores=[0.5] * len(of_series),
            key_slices=[number for number, _ in of_series],
            tight=True,
        )
        write_findings(tmp_path / f"{series}.findings.json", found)
    evaluation = finish(evaluate_subject(str(tmp_path), phantoms, "all"))
    assert (evaluation.curve.values.tolist()[0], evaluation.ap, evaluation.boxes) == (1, 1, "tight boxes")


def test_what_the_table_lists_is_padded_and_no_truth_of_a_tight_detector(
    phantoms: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_a_toy(monkeypatch, tight=True)
    with pytest.raises(DataError, match="are tight, those of .* padded"):
        finish(evaluate_subject("faster_rcnn", phantoms, "all", annotated=True))


@pytest.mark.parametrize("tight", [True, False])
def test_in_volumes_it_is_measured_on_boxes_of_its_kind(
    phantoms: Path, monkeypatch: pytest.MonkeyPatch, tight: bool
) -> None:
    def nothing(*_: object, **__: object) -> Work[Findings]:
        yield from ()
        return findings(tight=tight).take(np.zeros(0, int))

    monkeypatch.setattr(volume_protocols, "detect", nothing)
    read_a_toy(monkeypatch, tight=tight)
    margin = Margin.TIGHT if tight else Margin.PADDED
    scans = true_scans(phantoms, "test", PROTOCOLS["3d"], margin).scans
    assert finish(detected(toy(tight=tight), scans, phantoms)).margin is margin  # type: ignore[arg-type]
    evaluation = finish(evaluate_subject("faster_rcnn", phantoms, "test", protocol="3d"))
    assert evaluation.boxes == f"{margin} boxes"


def test_a_tight_recipe_trains_on_a_slice_of_each_lesion_and_its_checkpoint_is_tight(
    phantoms: Path, tmp_path: Path, tiny_recipe: Callable[..., object]
) -> None:
    recipe = tiny_recipe("faster_rcnn", epochs=1, milestones=(), validate_on="truth")
    tight = recipe.supervision.model_copy(update={"boxes": "tight"})  # type: ignore[attr-defined]
    recipe = recipe.model_copy(update={"supervision": tight})  # type: ignore[attr-defined]
    options = TrainingOptions(phantoms, tmp_path / "run", device="cpu")
    run = Run(recipe, options)
    assert run.steps == -(-len(run.train_set.by_lesion) // recipe.training.batch)  # type: ignore[union-attr]
    assert run.detector().tight
    finish(train(recipe, options))
    (row,) = [row for row in read_log(tmp_path / "run" / LOG) if row["event"] == "validation"]
    assert row["boxes"] == "tight boxes"
