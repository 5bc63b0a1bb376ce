"""Suggestions for what nobody annotated: mine."""

from pathlib import Path
from typing import Annotated

import typer

from napari_uld.cli.common import Device, JsonFile, fillable, follow, print_table, say, write_json


def _mirror(path: Path | None) -> Path | None:
    return None if path is None else fillable(path)


def mine(
    data: Annotated[Path, typer.Argument(help="A folder of scans: in DeepLesion's layout, DICOM, NIfTI, NRRD or MHA.")],
    checkpoint: Annotated[str, typer.Option(help="A file, or a bundled checkpoint's name.")],
    second: Annotated[
        str | None, typer.Option(help="Another checkpoint: its disagreement is written beside each suggestion.")
    ] = None,
    score: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Suggest from this score on; default: two false positives a key slice."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(callback=_mirror, help="Write into the same folders below this one, not beside the scans."),
    ] = None,
    device: Device = "auto",
    json_file: JsonFile = None,
) -> None:
    """Have a detector suggest lesions that nobody annotated, on every scan of a folder; a stopped run goes on."""
    from napari_uld.inference.catalogue import find_checkpoint
    from napari_uld.inference.checkpoint import load_checkpoint
    from napari_uld.inference.mining import mine as run

    detector = load_checkpoint(find_checkpoint(checkpoint), device)
    other = None if second is None else load_checkpoint(find_checkpoint(second), device)
    scans = follow(run(data, detector, second=other, score=score, out=out))
    write_json(json_file, {"checkpoint": detector.info.detector, "scans": [scan.to_dict() for scan in scans]})
    failed = [scan for scan in scans if scan.error]
    for scan in failed:
        say(f"{scan.scan}: {scan.error}", "yellow")
    total = {
        "scans": len(scans),
        "suggestions": sum(scan.suggestions for scan in scans),
        "annotated already": sum(scan.left_out for scan in scans),
        "mined before": sum(scan.before for scan in scans),
        "failed": len(failed),
        "seconds": round(sum(scan.seconds for scan in scans), 1),
    }
    print_table(f"{data}: what {detector.info.detector} suggests", [total])
    if failed:
        raise typer.Exit(1)
