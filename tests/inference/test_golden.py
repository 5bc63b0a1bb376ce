"""Bundled checkpoints find what they found before their modules had today's names.

`golden/bundled.json` holds, by each file's digest, the first five detections of `candidates` on two slices of the
sample phantom, or of `run_volume` in the whole of it, in single precision: boxes in native pixels to three decimals,
scores to five.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from napari_uld.ct import read_scan
from napari_uld.ct.volume import CTVolume
from napari_uld.inference.candidates import SlabDetections, candidates
from napari_uld.inference.catalogue import bundled_checkpoints
from napari_uld.inference.checkpoint import load_checkpoint
from napari_uld.inference.slabs import extract_slab
from napari_uld.inference.volumes import VolumeDetections, run_volume
from napari_uld.progress import finish

GOLDEN = json.loads((Path(__file__).parent / "golden" / "bundled.json").read_text(encoding="utf-8"))
STUDY = Path(__file__).parents[2] / "sample_data" / "phantom"
# Pixels, and probability.
BOX_TOLERANCE, SCORE_TOLERANCE = 1e-3, 1e-4


def seen_in(entry: dict[str, Any]) -> dict[str, Any]:
    """What is stored of a checkpoint, by slice or under "whole"."""
    return {"whole": entry["whole"]} if "whole" in entry else entry["slices"]


@pytest.fixture(scope="module")
def study() -> CTVolume:
    return read_scan(STUDY)


@pytest.fixture
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("_one_thread")
@pytest.mark.parametrize(("name", "path"), bundled_checkpoints().items(), ids=bundled_checkpoints())
def test_a_bundled_checkpoint_finds_what_it_always_found(name: str, path: Path, study: CTVolume) -> None:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    assert digest in GOLDEN, f"{name} was trained anew: put what it finds into golden/bundled.json"
    detector = replace(load_checkpoint(path, "cpu"), mixed=False)
    for place, expected in seen_in(GOLDEN[digest]).items():
        if place == "whole":
            found: SlabDetections | VolumeDetections = finish(run_volume(study, detector))
        else:
            (found,) = candidates([extract_slab(study.hu, study.spacing, int(place), detector.inputs)], detector)
        count = len(expected["scores"])
        # The file's own rounding comes on top of what is allowed.
        assert np.abs(found.boxes[:count] - expected["boxes"]).max() < BOX_TOLERANCE + 5e-4
        assert np.abs(found.scores[:count] - expected["scores"]).max() < SCORE_TOLERANCE + 5e-6


def test_every_detection_it_holds_is_one_to_tell_apart_from_the_next() -> None:
    assert {entry["checkpoint"] for entry in GOLDEN.values()} == set(bundled_checkpoints())
    for entry in GOLDEN.values():
        for found in seen_in(entry).values():
            assert len(found["boxes"]) == len(found["scores"]) == 5
            assert min(-np.diff(found["scores"])) > 10 * SCORE_TOLERANCE, "on another machine they might swap places"
