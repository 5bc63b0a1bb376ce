"""Suggestions for what nobody annotated, and what several people decided about them: mine and merge."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_uld.cli.common import Device, JsonFile, fillable, follow, print_table, say, writable, write_json

if TYPE_CHECKING:
    from napari_uld.inference.mining import MinedScan


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
    negatives: Annotated[
        bool,
        typer.Option(
            "--negatives", help="The surest misses, as hard negatives, on scans whose whole truth is known (phantoms)."
        ),
    ] = False,
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

    if negatives and second is not None:
        raise typer.BadParameter("hard negatives are one detector's", param_hint="--second, --negatives")
    detector = load_checkpoint(find_checkpoint(checkpoint), device)
    other = None if second is None else load_checkpoint(find_checkpoint(second), device)
    if negatives:
        from napari_uld.training.negatives import mine_negatives

        scans = follow(mine_negatives(data, detector, score=score, out=out))
    else:
        scans = follow(run(data, detector, second=other, score=score, out=out))
    write_json(json_file, {"checkpoint": detector.info.detector, "scans": [scan.to_dict() for scan in scans]})
    _tell(f"{data}: {'mistakes of' if negatives else 'suggestions by'} {detector.info.detector}", scans, negatives)


def _tell(title: str, scans: "list[MinedScan]", negatives: bool) -> None:
    """Print what became of the scans; the exit status is 1 where any failed."""
    failed = [scan for scan in scans if scan.error]
    for scan in failed:
        say(f"{scan.scan}: {scan.error}", "yellow")
    total = {
        "scans": len(scans),
        "hard negatives" if negatives else "suggestions": sum(scan.suggestions for scan in scans),
        **({} if negatives else {"annotated already": sum(scan.left_out for scan in scans)}),
        "mined before": sum(scan.before for scan in scans),
        "failed": len(failed),
        "seconds": round(sum(scan.seconds for scan in scans), 1),
    }
    print_table(title, [total])
    if not negatives and any(scan.suggestions for scan in scans):
        say("To decide on them: napari, Plugins > napari-uld > Cases for the folder, then Mining")
    if failed:
        raise typer.Exit(1)


def merge(
    given: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="<scan>.lesions.json files of one scan, or folders of them.")
    ],
    out: Annotated[Path, typer.Option(help="A file; a new folder where folders are given.")],
    json_file: JsonFile = None,
) -> None:
    """Make one of several people's annotation files; what they differ on waits for a decision and is listed."""
    from napari_uld.errors import AnnotationFileError
    from napari_uld.lesions.annotation_file import save_annotations
    from napari_uld.lesions.merging import files_by_scan
    from napari_uld.lesions.merging import merge as run

    folders = any(path.is_dir() for path in given)
    fillable(out) if folders else writable(out)
    scans = {out / place if folders else out: files for place, files in files_by_scan(given).items()}
    # Whoever merges again may have decided on what was merged before, or named a folder that was given.
    if there := [path for path in scans if path.exists()]:
        raise AnnotationFileError(f"{there[0]} is there, and what was decided in it would go: give another --out")
    merged = {path: (files[0], *run(files)) for path, files in scans.items()}
    conflicts = []
    for path, (first, annotations, found) in merged.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        save_annotations(path, annotations, scan_name=first.scan_name, scan_source=first.scan_source)
        conflicts += found
    write_json(json_file, {"conflicts": [asdict(conflict) for conflict in conflicts]})
    rows = [
        {"scan": one.scan, "lesion": one.lesion, "slice": one.key_slice, "about": one.about, **_views(one.views)}
        for one in conflicts
    ]
    print_table("What people differ on; these lesions are pending", rows)
    count = sum(len(annotations) for _, annotations, _ in merged.values())
    say(f"{count} lesions of {len(merged)} scans are in {out}")
    if conflicts:
        say("To decide on them: napari, Plugins > napari-uld > Mining, Go through: Conflicts of merged files")


def _views(views: Mapping[str, str]) -> dict[str, str]:
    return {"who says what": "; ".join(f"{who}: {view}" for who, view in views.items())}
