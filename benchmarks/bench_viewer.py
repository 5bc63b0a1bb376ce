"""How long a person waits in the viewer: the same scan in a bare napari, with a case's layers, with 500 findings.

xvfb-run -a -s "-screen 0 1600x1000x24" python benchmarks/bench_viewer.py [--slices 300] [--findings 500]

A synthetic scan of 512 x 512 slices; the findings are traced through seven slices each. Milliseconds from the act to
the drawn canvas, medians and largest of several, and for a slice step the ratio to the bare napari of the same run. A
gap is how long the window hears nothing: the longest time between two beats of a clock of its own.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from unittest.mock import patch

import nibabel
import numpy as np
from bench_reading import write
from napari import Viewer
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication

from napari_uld.ct import find_scans
from napari_uld.ct.volume import CTVolume
from napari_uld.lesions.annotations import Annotations, State
from napari_uld.lesions.findings import Findings
from napari_uld.viewer import view
from napari_uld.viewer.panels.cases import CasesPanel
from napari_uld.viewer.panels.detect import DetectPanel
from napari_uld.viewer.panels.opening import open_entry
from napari_uld.viewer.panels.review import ReviewPanel
from napari_uld.viewer.panels.window import workbench_in_window
from napari_uld.viewer.plugin.demo import close_window
from napari_uld.viewer.session import Session
from napari_uld.viewer.state.case import Case
from napari_uld.viewer.state.case_store import CaseStore
from napari_uld.viewer.tools import review

ROUNDS, TRACED = 12, 7
# Of a finding, and findings that are seen in 3D.
POINTS, BODIES = 16, 30
# Of the clock, in milliseconds, and how long a detector is watched, in seconds.
BEAT, WATCHED = 5, 10.0


def main() -> None:
    """Measure in a folder of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--findings", type=int, default=500)
    arguments = parser.parse_args()
    # What a detector finds is kept beside the scan.
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder), arguments.slices, arguments.findings)


def measure(folder: Path, slices: int, count: int) -> None:
    """Print a line for each act."""
    volume = scan(folder, slices)
    bare = Viewer()
    bare.add_image(volume.hu, scale=volume.spacing, contrast_limits=(-175, 275))
    base = report("bare napari, slice step", steps(bare))
    into_3d = report("bare napari, 2D to 3D", turned(bare))
    close_window(bare)

    viewer = Viewer()
    session = workbench_in_window(viewer).session
    series = folder / "series"
    series.mkdir()
    write(series, slices, compressed=True)
    settle()
    arriving(session, series, "in a fresh window")
    case = Case(volume, Annotations(volume.scan_id), folder / "scan.lesions.json", reviewer="r")
    session.open(case)
    viewer.window.add_dock_widget(ReviewPanel(viewer), name="Review")
    session.arrange()
    report("a case without findings, slice step", steps(viewer), base)
    with nothing_written(session):
        report("the same with nothing written on it", steps(viewer), base)
    found = findings(volume, count)
    with longest_gap(f"{count} findings arrive"):
        case.set_findings(found)
        settle()
    report(f"{len(case.rows)} findings, slice step", steps(viewer), base)

    def slide() -> None:
        case.threshold = 0.5 if case.threshold < 0.45 else 0.41

    report("score slider", [timed(slide) for _ in range(ROUNDS)])
    review.step(session, 1, pending_only=True)
    report("J", [timed(lambda: review.step(session, 1, pending_only=True)) for _ in range(ROUNDS)])
    report("G", [timed(lambda: review.decide(session, State.ACCEPTED)) for _ in range(ROUNDS)])
    report("N", [timed(lambda: review.decide(session, State.REJECTED)) for _ in range(ROUNDS)])
    report("U", [timed(lambda: review.undo(session)) for _ in range(ROUNDS)])
    solid(viewer, found, base, into_3d)
    linked_views(viewer, base)
    report("2D to 3D", turned(viewer), into_3d)
    report("next case", [next_case(session, folder, volume) for _ in range(ROUNDS)])
    report("next case from the browser, read ahead", from_browser(viewer, folder, volume))
    arriving(session, series, "in place of another scan")
    detecting(viewer)
    close_window(viewer)


@contextmanager
def nothing_written(session: Session) -> Iterator[None]:
    """Neither caption nor letters nor scale bar: what the layers alone cost."""
    hooks = session.shows_letters, session.shows_scale_bar
    session.shows_letters = session.shows_scale_bar = lambda: False
    caption = session.viewer.canvas.overlays.text
    with patch.object(view, "write_caption"):
        caption.visible = False
        session.show_caption()
        yield
    session.shows_letters, session.shows_scale_bar = hooks
    session.show_caption()


def turned(viewer: Viewer) -> list[float]:
    """Milliseconds from slices to 3D, a few times, after a first that is not counted."""
    taken = []
    for _ in range(4):
        taken.append(timed(lambda: setattr(viewer.dims, "ndisplay", 3)))
        timed(lambda: setattr(viewer.dims, "ndisplay", 2))
    return taken[1:]


def solid(viewer: Viewer, found: Findings, base: float, into_3d: float) -> None:
    """Steps near the surface points of the lesion at hand, and into 3D with bodies about such points."""
    session = workbench_in_window(viewer).session
    case, middle = session.case, viewer.dims.nsteps[0] // 2
    if case is None:
        return
    case.set_findings(with_points(found))
    case.select(min(case.rows, key=lambda row: abs(row.native - 1 - middle - TRACED)).key)
    report(f"{len(case.rows)} findings, the points of one on these slices, slice step", steps(viewer), base)
    case.set_findings(with_points(found.take(np.arange(BODIES))))
    report(f"2D to 3D with {len(case.rows)} bodies", turned(viewer), into_3d)


def next_case(session: Session, folder: Path, volume: CTVolume) -> float:
    """Milliseconds until another scan, read already, is shown in place of the one that is open."""
    case = Case(volume, Annotations(volume.scan_id), folder / "next.lesions.json", reviewer="r")
    return timed(lambda: (session.open(case), session.arrange()))


def linked_views(viewer: Viewer, base: float) -> None:
    """Steps with what is written on the canvas, and with coronal and sagittal views beside the main one."""
    case = workbench_in_window(viewer).session.case
    if case is None:
        return
    for detector in list(case.findings):
        case.remove_findings(detector)
    alone = report("caption, letters and scale bar, slice step", steps(viewer), base)
    viewer.window.add_plugin_dock_widget("napari-uld", "Views")
    for _ in range(20):
        settle()
    taken = steps(viewer)
    report("three linked views, axial step", taken, base)
    print(f"  {statistics.median(taken) / alone:.2f}x one view's own step")


def from_browser(viewer: Viewer, folder: Path, volume: CTVolume) -> list[float]:
    """Milliseconds until the next scan of a list is shown, once it is read ahead; the first is not counted."""
    listed = folder / "listed"
    listed.mkdir()
    first = listed / "00.nii"
    dz, dy, dx = volume.spacing
    nibabel.save(nibabel.Nifti1Image(volume.hu.T, np.diag([-dx, -dy, dz, 1.0])), first)
    for i in range(1, ROUNDS + 1):
        os.link(first, listed / f"{i:02d}.nii")
    panel = CasesPanel(viewer, CaseStore(folder / "cases.json"))
    viewer.window.add_dock_widget(panel, name="Cases")
    panel.show_scans(listed, find_scans(listed))
    taken = []
    for _ in range(ROUNDS + 1):
        # Looked at for two seconds: pictures are made meanwhile, and the next is read.
        until = time.monotonic() + 2.0
        while time.monotonic() < until or panel.ahead.busy:
            QApplication.processEvents()
            time.sleep(0.01)
        taken.append(timed(lambda: panel.turn_to(1)))
    return taken[1:]


def arriving(session: Session, series: Path, where: str) -> None:
    """A series of compressed slices: when the first is seen, and the longest gap until all of them are."""
    seen: list[float] = []
    session.filled.connect(lambda: seen.append(time.perf_counter()))
    (entry,) = find_scans(series)
    with longest_gap(f"{entry.slices} JPEG-LS slices arrive {where}"):
        started = time.perf_counter()
        open_entry(session, entry)
        settle()
        ended = time.perf_counter()
    print(
        f"  headers known, the first is seen after {1000 * (seen[0] - started):.0f} ms, "
        f"all after {1000 * (ended - started):.0f}",
        flush=True,
    )


def detecting(viewer: Viewer) -> None:
    """The longest gap while a detector runs on the open scan, from the click on; it is cancelled after a while."""
    panel = DetectPanel(viewer)
    viewer.window.add_dock_widget(panel, name="Detect")
    settle()
    panel.device.value = "cpu"
    with longest_gap("a detector runs"):
        panel.run()
        until = time.monotonic() + WATCHED
        while panel.running and time.monotonic() < until:
            QApplication.processEvents()
            time.sleep(0.001)
    panel.cancel()
    while panel.running:
        QApplication.processEvents()


@contextmanager
def longest_gap(name: str) -> Iterator[None]:
    """Print for how long at most the window heard nothing."""
    beats = [time.perf_counter()]
    clock = QTimer()
    clock.timeout.connect(lambda: beats.append(time.perf_counter()))
    clock.start(BEAT)
    yield
    clock.stop()
    beats.append(time.perf_counter())
    gaps = [1000 * (later - sooner) for sooner, later in pairwise(beats)]
    print(f"{name}: {1000 * (beats[-1] - beats[0]):.0f} ms, the longest gap {max(gaps):.0f}", flush=True)


def scan(folder: Path, slices: int) -> CTVolume:
    """Noise about water in air."""
    rng = np.random.default_rng(0)
    hu = np.full((slices, 512, 512), -1000, np.int16)
    hu[:, 60:450, 60:450] = rng.integers(-30, 60, (slices, 390, 390), dtype=np.int16)
    return CTVolume(
        hu=hu,
        spacing=(1.0, 0.8, 0.8),
        source=folder / "scan.nii.gz",
        name="scan",
        slice_numbers=np.arange(1, slices + 1),
        series_uid="1.2.3",
        window=(-175.0, 275.0),
    )


def findings(volume: CTVolume, count: int) -> Findings:
    """Boxes all over the scan, each on its slice and three on either side."""
    rng = np.random.default_rng(1)
    corners, sizes = rng.uniform(60, 400, (count, 2)), rng.uniform(12, 40, (count, 2))
    boxes = np.hstack([corners, corners + sizes])
    keys = rng.integers(TRACED, len(volume.hu) - TRACED, count)
    half = TRACED // 2
    traces = tuple(
        {int(key) + away: tuple(box.tolist()) for away in range(-half, half + 1)}
        for key, box in zip(keys, boxes, strict=True)
    )
    return Findings.from_rows(
        scan_id=volume.scan_id,
        scan_name=volume.name,
        method="random",
        checkpoint="0",
        boxes=boxes,
        scores=rng.uniform(0.41, 0.99, count),
        key_slices=keys,
        slice_boxes=traces,
    )


def with_points(found: Findings) -> Findings:
    """The same with points on an ellipsoid in each box, and where they lay before."""
    rng = np.random.default_rng(2)
    outwards = rng.normal(size=(len(found), POINTS, 3))
    outwards /= np.linalg.norm(outwards, axis=2, keepdims=True)
    low, high = found.boxes[:, :2], found.boxes[:, 2:]
    half = np.column_stack([(high - low) / 2, np.full(len(found), TRACED / 2)])
    middle = np.column_stack([(low + high) / 2, found.key_slices])
    first, points = (tuple(middle[:, None] + share * outwards * half[:, None]) for share in (0.7, 1.0))
    return replace(found, points=points, first_points=first)


def steps(viewer: Viewer) -> list[float]:
    """Milliseconds of steps from slice to slice, after a few that are not counted."""
    middle = viewer.dims.nsteps[0] // 2
    taken = [timed(lambda z=z: viewer.dims.set_current_step(0, z)) for z in range(middle, middle + ROUNDS + 4)]
    return taken[4:]


def timed(act: Callable[[], object]) -> float:
    """Milliseconds from an act until what it changed is drawn."""
    started = time.perf_counter()
    act()
    settle()
    return 1000 * (time.perf_counter() - started)


def settle() -> None:
    """Let Qt draw."""
    for _ in range(3):
        QApplication.processEvents()


def report(name: str, taken: Sequence[float], base: float | None = None) -> float:
    """Print and give the median."""
    median = statistics.median(taken)
    ratio = "" if base is None else f", {median / base:.2f}x bare napari"
    print(f"{name}: {median:.0f} ms, {max(taken):.0f} at most{ratio}", flush=True)
    return median


if __name__ == "__main__":
    main()
