"""A whole day by hand in a real window, killed at its end: all that was shown as decided is there again."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
from napari.components import ViewerModel

from napari_uld.ct import find_scans, read_entry, read_scan
from napari_uld.viewer.panels.lesion_table import cells
from napari_uld.viewer.plugin.samples import own_copy
from napari_uld.viewer.state.files import open_case
from napari_uld.viewer.tools.workbench import workbench_of

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four scans of one body, each with a noise of its own."""
    volume = read_scan(own_copy(tmp_path / "sample"))
    folder = tmp_path / "scans"
    folder.mkdir()
    dz, dy, dx = volume.spacing
    for i in range(4):
        hu = volume.hu + np.random.default_rng(i).integers(-3, 4, volume.hu.shape, dtype=np.int16)
        image = nibabel.Nifti1Image(hu.transpose(2, 1, 0), np.diag([-dx, -dy, dz, 1.0]))
        nibabel.save(image, folder / f"scan {i}.nii.gz")
    return folder


@pytest.mark.window
@pytest.mark.trains
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs a signal that no process can catch")
def test_what_was_decided_in_a_day_by_hand_outlives_its_sudden_end(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.viewer.a_day", str(folder)],
        cwd=ROOT, capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr
    shown: dict[str, dict[str, list[str]]] = json.loads(done.stdout.splitlines()[-1])
    assert [name for name, rows in shown.items() if rows] == ["scan 1", "scan 2"]
    assert len(shown["scan 1"]) == 2
    assert len(shown["scan 2"]) == 1

    viewer = ViewerModel()
    session = workbench_of(viewer).session
    session.ask_restore = lambda case: True
    for entry in find_scans(folder):
        case, _ = open_case(read_entry(entry))
        session.open(case)
        session.offer_restore()
        there = {row.key: list(cells(row)) for row in case.rows if row.annotation is not None}
        assert there == shown.get(entry.name, {}), entry.name
