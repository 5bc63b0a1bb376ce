"""Twenty suggestions over four scans by keys in a real window that ends all of a sudden: what was decided is there."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from napari.components import ViewerModel

from napari_uld.ct import read_entry
from napari_uld.viewer.state.files import open_case
from napari_uld.viewer.state.rows import Mark
from napari_uld.viewer.tools.workbench import workbench_of

from .queued import EACH, SCANS, folder_of_scans, suggest

ROOT = Path(__file__).parents[2]
FIRST = 12


def decide(folder: Path, count: int) -> list[list[object]]:
    """Decide on so many suggestions in a window that is killed then; give what it knew of all of them."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.viewer.a_queue", str(folder), str(count)],
        cwd=ROOT, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr
    told: list[list[object]] = json.loads(done.stdout.splitlines()[-1])
    return sorted(told, key=str)


@pytest.mark.window
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs a signal that no process can catch")
def test_what_was_decided_in_a_queue_outlives_the_sudden_end_of_the_program(tmp_path: Path) -> None:
    folder = folder_of_scans(tmp_path / "scans")
    entries = suggest(folder)
    before = decide(folder, FIRST)
    assert len(before) == FIRST
    after = decide(folder, SCANS * EACH - FIRST)
    assert len(after) == SCANS * EACH
    assert [each for each in after if each in before] == before

    session = workbench_of(ViewerModel()).session
    session.ask_restore = lambda case: True
    there = []
    for entry in entries:
        case, _ = open_case(read_entry(entry))
        session.open(case)
        session.offer_restore()
        decided = [row for row in case.rows if row.mark is not Mark.PENDING]
        there += [[entry.name, row.key, row.mark.value, row.recist is not None] for row in decided]
    assert sorted(there, key=str) == after
