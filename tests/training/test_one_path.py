"""What is measured on a data set's key slices is what a person gets on the scan."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from napari_uld.ct.reading import read_scan
from napari_uld.inference import candidates as candidates_module
from napari_uld.inference import detect as detect_module
from napari_uld.inference.candidates import SlabDetections
from napari_uld.inference.catalogue import bundled_checkpoints, read_info
from napari_uld.inference.checkpoint import LoadedDetector, load_checkpoint
from napari_uld.inference.detect import detect
from napari_uld.progress import finish
from napari_uld.training import evaluate
from napari_uld.training.data.key_slices import KeySlice, true_slices
from napari_uld.training.data.slab_dataset import SlabDataset
from napari_uld.training.evaluate import evaluate_detector

STUDY = Path(__file__).parents[2] / "sample_data" / "phantom"
# Pixels, and probability.
BOX_TOLERANCE, SCORE_TOLERANCE = 1e-3, 1e-4
# A volume is evaluated as it is detected in.
ON_SLICES = {
    name: path for name, path in bundled_checkpoints().items() if not read_info(path).recipe["input"].get("volume")
}


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[SlabDetections]:
    """All raw candidates that detecting and evaluating are given, one after the other."""
    kept: list[SlabDetections] = []

    def watched(*arguments: object, **options: object) -> Iterator[SlabDetections]:
        for found in candidates_module.candidates(*arguments, **options):  # type: ignore[arg-type]
            kept.append(found)
            yield found

    for module in (detect_module, evaluate):
        monkeypatch.setattr(module, "candidates", watched)
    return kept


def both_ways(
    detector: LoadedDetector, root: Path, slices: list[KeySlice], given: list[SlabDetections]
) -> Iterator[tuple[KeySlice, SlabDetections, SlabDetections]]:
    """Each of a data set's key slices with what evaluating it and detecting on its whole scan are given."""
    dataset = SlabDataset(root, slices, detector.inputs)
    finish(evaluate_detector(detector, dataset))
    evaluated = list(given)
    assert len(evaluated) == len(dataset)
    for series in sorted({key.series for key in dataset.slices}):
        given.clear()
        volume = read_scan(root, series)
        finish(detect(volume, detector))
        assert len(given) == len(volume.hu)
        for key, found in zip(dataset.slices, evaluated, strict=True):
            if key.series == series:
                yield key, found, given[volume.z_of(key.number)]


@pytest.mark.parametrize(("name", "path"), ON_SLICES.items(), ids=ON_SLICES)
def test_a_key_slice_has_the_same_candidates_evaluated_and_detected_on(
    name: str, path: Path, given: list[SlabDetections]
) -> None:
    detector = replace(load_checkpoint(path, "cpu"), mixed=False)
    compared = 0
    for key, evaluated, detected in both_ways(detector, STUDY, true_slices(STUDY, "all"), given):
        where = f"{name}, slice {key.number}"
        assert len(evaluated.scores) == len(detected.scores), where
        assert np.abs(evaluated.boxes - detected.boxes).max(initial=0) <= BOX_TOLERANCE, where
        assert np.abs(evaluated.scores - detected.scores).max(initial=0) <= SCORE_TOLERANCE, where
        compared += len(evaluated.scores)
    assert compared > 50


def test_so_it_is_in_scans_of_any_thickness_where_slabs_share_their_images(
    phantoms: Path, given: list[SlabDetections]
) -> None:
    detector = replace(load_checkpoint(bundled_checkpoints()["3dce_bmc"], "cpu"), mixed=False)
    detector = replace(detector, inputs=detector.inputs.model_copy(update={"share_images": True}))
    first_of = {key.spacing[0]: key.series for key in reversed(true_slices(phantoms, "all"))}
    assert len(first_of) > 1
    chosen = [key for key in true_slices(phantoms, "all") if key.series in first_of.values()]
    for _, evaluated, detected in both_ways(detector, phantoms, chosen, given):
        assert evaluated.boxes == pytest.approx(detected.boxes, abs=BOX_TOLERANCE)
        assert evaluated.scores == pytest.approx(detected.scores, abs=SCORE_TOLERANCE)
