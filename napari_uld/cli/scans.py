"""A detector on a scan: demo and detect."""

import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_uld.cli.common import Device, follow, print_table, say, writable
from napari_uld.errors import AmbiguousScanError, UldError

if TYPE_CHECKING:
    from napari_uld.ct.volume import CTVolume


def demo(
    screenshot: Annotated[
        Path | None, typer.Option(callback=writable, help="Write the window's picture here and close.")
    ] = None,
) -> None:
    """Open the sample study, run a detector on it and show what it found."""
    _check_window()
    from napari_uld.viewer.plugin.demo import run_demo

    rows = run_demo(screenshot)
    if rows:
        print_table("Findings", rows)
    if screenshot is not None:
        say(f"The picture is in {screenshot}")


def detect(
    scan: Annotated[Path, typer.Argument(help="DICOM, NIfTI, NRRD/MHA or DeepLesion: a file or a folder.")],
    checkpoint: Annotated[str, typer.Option(help="A file, or a bundled checkpoint's name.")] = "retinanet_dense_ag",
    series: Annotated[
        list[str] | None,
        typer.Option(
            help="Which scan, where the folder holds several; once for each phase where a detector sees phases."
        ),
    ] = None,
    device: Device = "auto",
    threshold: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Show findings from this score on; default: two false positives a key slice."),
    ] = None,
    tracing: Annotated[
        str, typer.Option(help="How slices are joined: body (one lesion is one body), or sort as the papers have it.")
    ] = "body",
    out: Annotated[
        Path | None, typer.Option("--json", callback=writable, help="Write all findings into this file.")
    ] = None,
) -> None:
    """Detect lesions on a whole scan."""
    if tracing not in ("body", "sort"):
        raise typer.BadParameter(f"{tracing!r} is none; give body or sort", param_hint="--tracing")
    from napari_uld.inference.catalogue import find_checkpoint
    from napari_uld.inference.checkpoint import load_checkpoint
    from napari_uld.inference.detect import detect as run
    from napari_uld.lesions.findings import DEFAULT_THRESHOLD
    from napari_uld.lesions.findings_file import write_findings

    detector = load_checkpoint(find_checkpoint(checkpoint), device)
    volume = _read(scan, series or [], detector.inputs.phases)
    findings = follow(run(volume, detector, tracing="sort" if tracing == "sort" else "body"))
    # First kept, then told: a terminal that is gone, or cannot print a name, loses nothing.
    if out is not None:
        write_findings(out, findings)
    for correction in volume.corrections:
        say(correction, "yellow")
    if threshold is None:
        threshold = findings.operating_point or DEFAULT_THRESHOLD
    shown = findings.above(threshold)
    rows = [
        {
            "slice": int(shown.key_slices[i]),
            "score": round(float(shown.scores[i]), 3),
            "box (x1 y1 x2 y2, px)": " ".join(f"{v:.0f}" for v in shown.boxes[i]),
            "slices": len(shown.slice_boxes[i]),
        }
        for i in range(len(shown))
    ]
    print_table(f"{volume.name}: {len(shown)} of {len(findings)} findings from a score of {threshold:g} on", rows)


def _check_window() -> None:
    """Say what is missing before Qt ends the program without a word."""
    if not any(importlib.util.find_spec(name) for name in ("PyQt6", "PySide6", "PyQt5", "PySide2")):
        raise UldError('There is no Qt for a window: pip install "napari-uld[qt]"')
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise UldError(
            "There is no display: run it under a virtual one (xvfb-run -a napari-uld demo --screenshot x.png)"
        )


def _read(scan: Path, series: list[str], phases: Sequence[str]) -> "CTVolume":
    """Read the scan that a detector shall see, with its `phases` where it sees several."""
    from napari_uld.ct import read_scan
    from napari_uld.ct.studies import read_study

    try:
        if phases:
            volume = read_study(scan, series, phases)
            taken = zip(phases, volume.phases, strict=True)
            say("; ".join(f"{phase}: {each.name}" for phase, each in taken))
            return volume
        if len(series) > 1:
            raise typer.BadParameter(f"this detector sees one scan: name one, not {len(series)}", param_hint="--series")
        return read_scan(scan, *series)
    except AmbiguousScanError as error:
        raise AmbiguousScanError(f"{error}: --series NAME") from error
