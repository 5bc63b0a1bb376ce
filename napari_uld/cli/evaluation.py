"""Saying how good a detector is, and showing it: evaluate, figure."""

from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from napari_uld.cli.common import (
    Device,
    JsonFile,
    SplitName,
    follow,
    positive_numbers,
    print_table,
    say,
    writable,
    writable_folder,
    write_json,
)
from napari_uld.evaluation.protocols import PROTOCOLS
from napari_uld.lesions.box_table import Margin

ProtocolChoice = StrEnum("ProtocolChoice", {name: name for name in PROTOCOLS})  # type: ignore[misc]

# Key slices in a picture.
SLICES = 4


class OverlapChoice(StrEnum):
    """How much of two boxes on an image is measured."""

    IOU = "iou"
    IOBB = "iobb"


def evaluate(
    subject: Annotated[
        str,
        typer.Argument(
            help="A checkpoint (file or bundled name), findings (a file or a folder of them), COCO results, or a "
            "pickle of Lesion Harvester's or the manual 1K's kind."
        ),
    ],
    data: Annotated[
        Path,
        typer.Option(
            help="Folder in DeepLesion's layout, a COCO file of true boxes, or a pickle of fully annotated sub-volumes."
        ),
    ],
    protocol: Annotated[
        ProtocolChoice | None, typer.Option(help="How to judge; default image, or 3d for a detector of bodies.")
    ] = None,
    split: SplitName = "test",
    annotated: Annotated[
        bool, typer.Option("--annotated", help="Score phantoms by DL_info.csv alone, not by the whole truth.")
    ] = False,
    count_negatives: Annotated[
        bool, typer.Option("--count-negatives", help="Count detections of the false-positive class as lesions (+FP).")
    ] = False,
    lesion_free: Annotated[
        bool, typer.Option("--lesion-free", help="Score on slices without a lesion, too: false positives on any.")
    ] = False,
    overlap: Annotated[
        OverlapChoice, typer.Option(help="On images: IoU, or the share of the detected box (iobb).")
    ] = OverlapChoice.IOU,
    plus_one: Annotated[
        bool,
        typer.Option("--plus-one", help="On images: sides a pixel longer, as DeepLesion's code has them."),
    ] = False,
    boxes: Annotated[
        Margin | None, typer.Option(help="What SUBJECT's boxes are, where its file's kind does not say it.")
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Folder of the scans that a DATA file is about, for a checkpoint.")
    ] = None,
    rates: Annotated[
        str | None,
        typer.Option(
            help="False positives per image or volume to read sensitivity at, and to average over; default the "
            "protocol's."
        ),
    ] = None,
    against: Annotated[
        str | None, typer.Option(help="Another subject, to give the difference with a paired bootstrap over patients.")
    ] = None,
    gallery: Annotated[
        Path | None,
        typer.Option(callback=writable_folder, help="Draw examples of what is found and missed into this folder."),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(callback=writable_folder, help="Write Markdown, CSV, JSON and the curve into this folder."),
    ] = None,
    device: Device = "auto",
    out: JsonFile = None,
) -> None:
    """Sensitivity at mean numbers of false positives, with 95% bootstrap intervals, and average precision."""
    from napari_uld.evaluation import overlaps
    from napari_uld.training.evaluate import evaluate_subject
    from napari_uld.training.reports.evaluation import tables, to_dict, write_report
    from napari_uld.training.reports.gallery import open_gallery
    from napari_uld.training.scoring import difference

    if against == subject:
        raise typer.BadParameter("give another subject", param_hint="--against")
    as_usual = overlap is OverlapChoice.IOU and not plus_one
    judge = partial(
        evaluate_subject,
        data=data,
        split=split,
        protocol=None if protocol is None else protocol.value,
        annotated=annotated,
        count_negatives=count_negatives,
        lesion_free=lesion_free,
        measure=None if as_usual else partial(getattr(overlaps, overlap.value), pixel_inclusive=plus_one),
        margin=boxes,
        images=images,
        rates=None if rates is None else positive_numbers(rates, "--rates"),
        device=device,
    )
    reached = {subject: follow(judge(subject, show=open_gallery(gallery, data) if gallery is not None else None))}
    found = None
    if against is not None:
        reached[against] = follow(judge(against))
        found = difference(*reached.values())
    write_json(out, to_dict(reached[subject], reached.get(against or ""), found))
    if report is not None:
        write_report(report, reached, found)
    for note in filter(None, (evaluation.left_out for evaluation in reached.values())):
        say(note, "yellow")
    for title, rows in tables(reached, found):
        print_table(title, rows)
    for folder, what in ((gallery, "Examples of what is found and missed are"), (report, "The report is")):
        if folder is not None:
            say(f"{what} in {folder}")


def figure(
    subjects: Annotated[
        list[str],
        typer.Argument(
            help="Systems to set side by side: checkpoints (files or bundled names), or findings (a file or a folder "
            "of them)."
        ),
    ],
    data: Annotated[
        Path,
        typer.Option(help="Folder of phantoms, whose whole truth is known; with --above any in DeepLesion's layout."),
    ],
    out: Annotated[Path, typer.Option(callback=writable, help="The picture, a PNG file.")],
    series: Annotated[str | None, typer.Option(help="Draw a lesion of this series in 3D and on three slices.")] = None,
    lesion: Annotated[str | None, typer.Option(help="Which of its lesions, by its id; default the largest.")] = None,
    above: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Draw key slices, with what is found there from this score on."),
    ] = None,
    slices: Annotated[
        int | None, typer.Option(min=1, max=12, help=f"With --above: how many, drawn at random; default {SLICES}.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="With --above: of train, val, test or all; default test.")] = None,
    device: Device = "auto",
) -> None:
    """Draw what several systems find: one lesion in 3D and on three slices, or key slices with all they are sure of."""
    from napari_uld.training.reports.body_pictures import draw_bodies
    from napari_uld.training.reports.slice_pictures import draw_sure

    of_lesion, of_slices = series is not None, above is not None
    if of_lesion == of_slices:
        raise typer.BadParameter("give one of them", param_hint="--series, --above")
    if (lesion is not None and not of_lesion) or ((slices or split) and not of_slices):
        raise typer.BadParameter(
            "--lesion belongs to --series, --slices and --split to --above", param_hint="--series, --above"
        )
    if series is not None:
        follow(draw_bodies(subjects, data, series, out, lesion, device))
    elif above is not None:
        follow(
            draw_sure(subjects, data, out, split=split or "test", above=above, count=slices or SLICES, device=device)
        )
    say(f"The picture is in {out}")
