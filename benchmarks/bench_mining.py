"""How long a person waits in the Mining panel between a key and the next suggestion.

xvfb-run -a -s "-screen 0 1600x1000x24" python benchmarks/bench_mining.py [--slices 300] [--findings 60] [--scans 8]

Synthetic scans of 512 x 512 slices, compressed NIfTI. Milliseconds from the key to the drawn canvas, medians and
largest: into the same scan, as a ratio to a slice step there; into the next scan, which was read ahead, as a ratio to
opening that scan.
"""

import argparse
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
from bench_viewer import findings, report, scan, settle, steps, timed
from napari import Viewer
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from napari_uld.ct import ScanEntry, find_scans, read_entry
from napari_uld.lesions.beside import findings_path
from napari_uld.lesions.findings_file import write_findings
from napari_uld.viewer.panels.cases import CasesPanel
from napari_uld.viewer.panels.mining import MiningPanel
from napari_uld.viewer.panels.opening import open_entry
from napari_uld.viewer.plugin.demo import close_window
from napari_uld.viewer.state.case_store import CaseStore

# Seconds that a person looks at a suggestion: the next scan is read meanwhile.
LOOKED_AT = 1.0
IN_ONE_SCAN = 12


def main() -> None:
    """Measure in a folder of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--findings", type=int, default=60)
    parser.add_argument("--scans", type=int, default=8)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder), arguments.slices, arguments.findings, arguments.scans)


def measure(folder: Path, slices: int, count: int, scans: int) -> None:
    """Print a line for each way to wait."""
    entries = written(folder / "scans", slices, count, scans)
    viewer = Viewer()
    viewer.window.resize(1300, 850)
    cases = CasesPanel(viewer, CaseStore(folder / "cases.json"))
    panel = MiningPanel(viewer)
    viewer.window.add_dock_widget(cases, name="Cases")
    viewer.window.add_dock_widget(panel, name="Mining", tabify=True)
    cases.show_scans(folder / "scans", entries)
    while panel.queue is None or panel.reading:
        look(panel, 0.1)
    panel.start_or_stop()
    look(panel)
    canvas = viewer.window._qt_viewer.canvas.native

    def key() -> None:
        QTest.keyClick(canvas, Qt.Key.Key_N)

    within = []
    for number in range(IN_ONE_SCAN):
        within.append(timed(key))
        look(panel, LOOKED_AT if number == 0 else 0.1)
    step = report(f"slice step with {count} suggestions", steps(viewer))
    taken = report("key to the next one in the same scan", within)
    print(f"  {taken / step:.2f}x a slice step", flush=True)
    into, opening = [], []
    for at in range(1, scans):
        key()
        for item in [item for item in panel.queue.pending if item.at < at]:
            panel.queue.skip(item.key)
        look(panel)
        into.append(timed(key))
        assert panel.walk.at == at
        look(panel)
        open_entry(panel.session, entries[at - 1])
        look(panel)
        opening.append(timed(lambda at=at: open_entry(panel.session, entries[at])))
        look(panel)
    median = report("opening a scan", opening)
    taken = report("key to the next scan, read ahead", into)
    print(f"  {taken / median:.2f}x opening it")
    close_window(viewer)


def written(folder: Path, slices: int, count: int, scans: int) -> list[ScanEntry]:
    """One scan under several names, with suggestions beside each."""
    folder.mkdir()
    volume = scan(folder, slices)
    first = folder / "00.nii.gz"
    dz, dy, dx = volume.spacing
    nibabel.save(nibabel.Nifti1Image(volume.hu.T, np.diag([-dx, -dy, dz, 1.0])), first)
    for i in range(1, scans):
        os.link(first, folder / f"{i:02d}.nii.gz")
    entries = sorted(find_scans(folder), key=lambda entry: entry.name)
    scan_id = read_entry(entries[0]).scan_id
    for entry in entries:
        found = replace(findings(volume, count), scan_id=scan_id, scan_name=entry.name)
        write_findings(findings_path(entry.path, scan_id, found.detector), found)
    return entries


def look(panel: MiningPanel, seconds: float = LOOKED_AT) -> None:
    """Let time pass, and the next scan be read."""
    until = time.monotonic() + seconds
    while time.monotonic() < until or panel.session.opening or panel._ahead.busy:
        QApplication.processEvents()
        time.sleep(0.01)
    settle()


if __name__ == "__main__":
    main()
