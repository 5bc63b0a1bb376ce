"""Data to train on: phantom, collect and masks."""

from pathlib import Path
from typing import Annotated

import typer

from napari_uld.cli.common import JsonFile, fillable, follow, print_table, say, write_json


def phantom(
    out: Annotated[Path, typer.Argument(callback=fillable, help="A new folder.")],
    patients: Annotated[int, typer.Option(min=1)] = 10,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    phases: Annotated[int, typer.Option(min=1, help="Contrast phases of a study.")] = 1,
    extent: Annotated[float, typer.Option(min=60, help="mm that a study covers along the body.")] = 60.0,
) -> None:
    """Generate CT-like studies with lesions, in DeepLesion's layout, and the whole truth beside them."""
    from napari_uld.training.data.phantom import generate_phantoms

    say(f"Phantoms are in {follow(generate_phantoms(out, patients, seed, phases=phases, extent=extent))}")


def collect(
    archive: Annotated[Path, typer.Argument(help="A folder of DICOM, NIfTI, NRRD or MHA scans that were reviewed.")],
    out: Annotated[Path, typer.Option(callback=fillable, help="A folder to train on; more can be collected into it.")],
    annotations: Annotated[
        Path | None, typer.Option(help="Where annotation files lie that are not beside the scans.")
    ] = None,
) -> None:
    """Bring an archive's scans and the lesions that were accepted on them into DeepLesion's layout, to train on."""
    from napari_uld.training.data.collect import collect as run

    collection = follow(run(archive, out, annotations=annotations))
    for scan, why in collection.left_out.items():
        say(f"{scan} is left out: {why}", "yellow")
    say(f"{collection.lesions} lesions of {collection.scans} scans are in {out}: napari-uld train RECIPE --data {out}")


def masks(
    data: Annotated[Path, typer.Argument(help="Folder in DeepLesion's layout: DL_info.csv and Images_png.")],
    kind: Annotated[str, typer.Option(help="grabcut or ellipse.")] = "grabcut",
    processes: Annotated[int | None, typer.Option(min=1, help="Default as many as there are cores.")] = None,
    out: JsonFile = None,
) -> None:
    """Make the pseudo masks of a data set's lesions once and store them in its folder; training then takes them."""
    from napari_uld.training.data.key_slices import annotated_slices
    from napari_uld.training.data.mask_run import store_masks

    report = follow(store_masks(data, annotated_slices(data, "all"), kind, processes))
    write_json(out, report.to_dict())
    print_table(f"{data}: {kind} masks", [report.of_run()])
    print_table("How they came about", report.of_origins())
