"""A detector over a whole scan."""

from pathlib import Path

import numpy as np

from napari_uld.ct.volume import CTVolume
from napari_uld.inference.checkpoint import load_checkpoint
from napari_uld.inference.detect import detect
from napari_uld.progress import Progress, finish


def test_findings_speak_of_native_slices_and_lie_in_the_image(checkpoint: Path, volume: CTVolume) -> None:
    steps: list[Progress] = []
    findings = finish(detect(volume, load_checkpoint(checkpoint, "cpu"), score_floor=0.0), steps.append)
    assert [s.done for s in steps] == [0, 1, 2, 3, 4, 5, 6]
    assert len(findings) > 0
    assert set(findings.key_slices) <= set(volume.slice_numbers)
    assert (np.diff(findings.scores) <= 0).all()
    assert findings.boxes.min() >= -0.5 - 1e-3
    assert findings.boxes.max() <= 95.5 + 1e-3
    assert findings.scan_id == volume.scan_id
    assert findings.method == "faster_rcnn_bmc"


def test_the_same_scan_gives_the_same_findings(checkpoint: Path, volume: CTVolume) -> None:
    detector = load_checkpoint(checkpoint, "cpu")
    first, second = (finish(detect(volume, detector, score_floor=0.0)) for _ in range(2))
    assert np.array_equal(first.boxes, second.boxes)
    assert [first.finding_id(i) for i in range(3)] == [second.finding_id(i) for i in range(3)]


def test_a_floor_that_nothing_reaches_gives_empty_findings(checkpoint: Path, volume: CTVolume) -> None:
    assert len(finish(detect(volume, load_checkpoint(checkpoint, "cpu"), score_floor=1.0))) == 0
