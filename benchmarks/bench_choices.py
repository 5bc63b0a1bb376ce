"""What choices of a recipe reach on validation phantoms, which no table is made of.

python benchmarks/bench_choices.py CHOICE [PHANTOMS] [--only LABEL] [--device cpu]

Trains each way on the phantoms' training split (seed 0), or goes on where it stopped, in runs/choices, and scores it on
the validation split: against the whole truth, and against the lesions that DL_info.csv lists. Differences are to the
first way, with the 95% interval of a paired bootstrap over patients.
"""

import argparse
from pathlib import Path

from napari_uld.evaluation.comparison import paired_difference
from napari_uld.evaluation.froc import bootstrap_froc
from napari_uld.evaluation.matching import Matches
from napari_uld.inference.checkpoint import load_checkpoint
from napari_uld.progress import finish
from napari_uld.training.data.key_slices import KeySlice, annotated_slices, true_slices
from napari_uld.training.data.slab_dataset import SlabDataset
from napari_uld.training.evaluate import match_detector, score
from napari_uld.training.loop import TrainingOptions, train
from napari_uld.training.reports.planning import Budget, Row, row_recipe
from napari_uld.training.reports.run_spec import slug
from napari_uld.training.run_files import STATE

RUNS = Path("runs/choices")
BMC = {"objectness": "bmc", "regression": "bmc"}
# By name: the version that is trained, and the ways. Of a pyramid's host the branch is left out, as BMC alone differs.
CHOICES = {
    "bmc_levels": (
        "small",
        (
            Row("every level", "mask_rcnn_no_mask", {"supervision": BMC}),
            Row("every level, IoU .1", "mask_rcnn_no_mask", {"supervision": BMC | {"anchor_iou": 0.1}}),
            Row("by size", "mask_rcnn_no_mask", {"supervision": BMC | {"bmc_levels": "by_size"}}),
            Row("IoU (no BMC)", "mask_rcnn_no_mask"),
        ),
    ),
    "trained_out": (
        "bundled",
        (
            Row("flips and affine", "faster_rcnn", {"training": {"z_shift": 0.0}}),
            Row("noise and window", "faster_rcnn", {"training": {"z_shift": 0.0, "noise_hu": 20, "window_shift": 0.1}}),
            Row("off the key slice", "faster_rcnn", {"training": {"z_shift": 0.5}}),
            Row("twice as long", "faster_rcnn", {"training": {"epochs": 28, "milestones": (18, 24)}}),
            Row("wider window", "faster_rcnn", {"input": {"window": (-450, 550)}}),
        ),
    ),
    "retinanet_trained_out": (
        "bundled",
        (
            Row("flips and affine", "retinanet_dense_ag"),
            Row("off the key slice", "retinanet_dense_ag", {"training": {"z_shift": 0.5}}),
        ),
    ),
}


def main() -> None:
    """Print a line for each way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("choice", choices=CHOICES)
    parser.add_argument("phantoms", nargs="?", type=Path, default=Path("runs/phantoms/train"))
    parser.add_argument("--only", action="append", help="Label of a way; may be given again.")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    version, rows = CHOICES[arguments.choice]
    first: dict[str, Matches] = {}
    for row in rows:
        if arguments.only and row.label not in arguments.only:
            continue
        recipe = row_recipe(row, Budget(), version)
        out = RUNS / arguments.choice / slug(row.label)
        options = TrainingOptions(arguments.phantoms, out, resume=(out / STATE).is_file(), device=arguments.device)
        checkpoint = finish(train(recipe, options))
        for truth, read in (("whole truth", true_slices), ("listed", annotated_slices)):
            slices = read(arguments.phantoms, "val")
            detector = load_checkpoint(checkpoint, arguments.device)
            matches = finish(match_detector(detector, SlabDataset(arguments.phantoms, slices, detector.inputs)))
            evaluation = score(matches, slices)
            values = " ".join(f"{value:.3f}" for value in evaluation.curve.values)
            against = difference(matches, first.setdefault(truth, matches), slices)
            print(
                f"{row.label}, {truth}: {values}, average {evaluation.curve.average:.3f} ({against} to the first), "
                f"{evaluation.lesions} lesions on {evaluation.images} images",
                flush=True,
            )


def difference(ours: Matches, first: Matches, slices: list[KeySlice]) -> str:
    """Our average less the first way's, with its interval."""
    samples = [bootstrap_froc(matches, [key.patient for key in slices])[:, -1] for matches in (ours, first)]
    low, high = paired_difference([samples[0]], [samples[1]])
    gap = score(ours, slices).curve.average - score(first, slices).curve.average
    return f"{gap:+.3f} [{low:+.3f}, {high:+.3f}]"


if __name__ == "__main__":
    main()
