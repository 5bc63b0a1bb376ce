"""A day's work in one window: scan after scan, tool after tool, panel after panel, and nothing is left behind."""

import ctypes
import gc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from napari import Viewer
from pytestqt.qtbot import QtBot

from napari_uld.ct.volume import CTVolume
from napari_uld.lesions.annotations import Annotation, Annotations
from napari_uld.lesions.findings import Findings
from napari_uld.viewer.panels.docking import BELOW, TABBED
from napari_uld.viewer.panels.window import workbench_in_window
from napari_uld.viewer.state import case_store
from napari_uld.viewer.state.case import Case
from napari_uld.viewer.tools import review
from napari_uld.viewer.tools.measuring import measure

STATUS = Path("/proc/self/statm")
PAGE = 4096
CHANGES = 200
PANELS = (*TABBED, BELOW)
# A scan of this test is 19 MiB large.
MOST_GROWTH = 30 * 2**20


def resident() -> int:
    """Bytes of memory in use, without what the C library keeps of what was freed.

    Volumes of several sizes come and go: it raises by itself what it would give back at once, and keeps the holes.
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    return int(STATUS.read_text().split()[1]) * PAGE


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(not STATUS.exists(), reason="only Linux tells what memory is in use")
def test_200_scans_tools_and_panels_in_one_window_leave_nothing_behind(
    make_napari_viewer: Callable[..., Viewer],
    volume: CTVolume,
    expert: Annotation,
    findings: Findings,
    tmp_path: Path,
    qtbot: QtBot,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(case_store, "data_folder", lambda: tmp_path / "data")
    viewer = make_napari_viewer(show=True)
    workbench = workbench_in_window(viewer)
    session = workbench.session

    def next_scan(i: int) -> None:
        # Scans of two sizes take turns.
        hu = np.repeat(np.tile(volume.hu, (1, 4, 4)), 4 + i % 2, axis=0)
        numbers = np.arange(len(hu))
        scan = replace(volume, hu=hu, name=f"scan {i}", slice_numbers=numbers)
        lesion = replace(expert, key_slice=17)
        case = Case(scan, Annotations("1.2.3", [lesion]), tmp_path / f"{i}.lesions.json", reviewer="r")
        session.open(case)
        session.arrange()
        case.set_findings(replace(findings))
        qtbot.wait(1)

    def tools(i: int) -> None:
        session.jump(session.case.row(expert.id))
        tool = (workbench.brush, workbench.comparison)[i % 2]
        tool.start()
        qtbot.wait(1)
        tool.stop()
        review.edit_box(session)
        measure(session)
        review.draw_lesion(session)
        review.put_down(session)
        dock, _panel = viewer.window.add_plugin_dock_widget("napari-uld", PANELS[i % len(PANELS)])
        qtbot.wait(1)
        dock.destroyOnClose()
        viewer.dims.ndisplay = 3 if i % 100 == 10 else 2
        qtbot.wait(1)
        viewer.dims.ndisplay = 2

    for i in range(20):
        next_scan(i)
        tools(i)
    layers, before = len(viewer.layers), resident()
    for i in range(CHANGES):
        next_scan(i)
        tools(i)
    assert len(viewer.layers) == layers
    assert resident() - before < MOST_GROWTH
