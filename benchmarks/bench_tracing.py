"""What ways to join detections along z come to on long validation phantoms.

python benchmarks/bench_tracing.py FOLDER [--seed 31] [--checkpoint retinanet_dense_ag] [--studies 20]

Makes the first validation patients' studies of 300 mm in FOLDER and detects on every slice, both once, and prints a
line for each way: how many findings there are, how many a person is shown, from the operating point on, how many are
longer along z than three times the larger side of their widest box (one or two slices aside); how many of the lesions
that SORT holds in one trace it holds in several; and sensitivity at mean numbers of false positives per scan, each
lesion of the whole truth by its key slice (P3D IoU of .5), with the average's difference to SORT and its 95% interval
of a paired bootstrap over patients.
"""

import argparse
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count, islice, pairwise
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch

from napari_uld.ct.volume import CTVolume
from napari_uld.evaluation.average_precision import average_precision
from napari_uld.evaluation.comparison import paired_difference
from napari_uld.evaluation.froc import bootstrap_froc, froc
from napari_uld.evaluation.matching import Matches, match
from napari_uld.evaluation.overlaps import iou, p3d_iou
from napari_uld.inference import one_body
from napari_uld.inference.catalogue import find_checkpoint
from napari_uld.inference.checkpoint import LoadedDetector, load_checkpoint
from napari_uld.inference.detect import detect_on_every_slice, lowest_score
from napari_uld.inference.one_body import body_score
from napari_uld.inference.tracing import MIN_IOU, trace
from napari_uld.lesions.findings import Findings, SliceBoxes
from napari_uld.lesions.findings_file import read_findings, write_findings
from napari_uld.lesions.same_lesion import traced_iou
from napari_uld.progress import finish
from napari_uld.training.data.phantom import read_truth
from napari_uld.training.data.phantom.truth import TrueLesion
from napari_uld.training.data.phantom.write import series_name, split, write_patient, write_table
from napari_uld.training.data.volume_dataset import TrueVolume, true_volumes

EXTENT = 300.0
VALIDATION = 2
RATES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
HIT = 0.5
TOO_LONG = 3.0
# Larger sides that a body may be long, besides the product's 2.
LONGEST = (3.0, 1.5)
Scoring = Callable[[np.ndarray, float, float], float]


@dataclass(frozen=True, eq=False)
class Study:
    """A scan's geometry, detections on every slice, and lesions."""

    slice_numbers: np.ndarray
    spacing: tuple[float, float, float]
    detections: Findings
    lesions: list[TrueLesion]


def highest(scores: np.ndarray, _larger: float, _excess: float) -> float:
    """A trace is as sure as its surest slice."""
    return float(scores.max())


def best_three(scores: np.ndarray, _larger: float, _excess: float) -> float:
    """The mean of its three surest slices, of all where it has fewer."""
    return float(np.sort(scores)[-3:].mean())


def over_width(scores: np.ndarray, larger: float, _excess: float) -> float:
    """The mean of its surest slices over a share of its width, those it lacks being 0."""
    return 2 * body_score(scores, larger, 1.0) - float(scores.max())


def half_way(scores: np.ndarray, larger: float, _excess: float) -> float:
    """Half way between the surest slice and that mean."""
    return body_score(scores, larger, 1.0)


# What a body's score is; the last is the product's.
SCORINGS: dict[str, Scoring] = {
    "highest slice": highest,
    "mean of the best 3": best_three,
    "mean over a fifth of the width": over_width,
    "half way between highest and that": half_way,
    "and less where cut for length (default)": body_score,
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=31)
    parser.add_argument("--checkpoint", default="retinanet_dense_ag")
    parser.add_argument("--studies", type=int, default=20)
    arguments = parser.parse_args()
    detector = load_checkpoint(find_checkpoint(arguments.checkpoint), "cpu")
    data = arguments.folder / f"val{arguments.seed}"
    kept = arguments.folder / f"{arguments.checkpoint}-{arguments.seed}"
    kept.mkdir(parents=True, exist_ok=True)
    studies = [study(volume, detector, kept) for volume in validation_studies(data, arguments.seed, arguments.studies)]
    rates = " | ".join(f"{rate:g}" for rate in RATES)
    print(f"| joined by | score | findings (shown) | too long | longest | lesions split | {rates} | average | AP |")
    print("|---" * (8 + len(RATES)) + "|")
    by_sort = [trace(each.detections, each.slice_numbers) for each in studies]
    first = report("SORT | highest slice (the papers)", studies, by_sort, by_sort, None)
    for name, scoring in SCORINGS.items():
        with patch.object(one_body, "body_score", scoring):
            traced = [one_body.trace_bodies(each.detections, each.slice_numbers, each.spacing) for each in studies]
        report(f"bodies | {name}", studies, traced, by_sort, first)
    for longest in LONGEST:
        with patch.object(one_body, "LONGEST", longest):
            traced = [one_body.trace_bodies(each.detections, each.slice_numbers, each.spacing) for each in studies]
        report(f"bodies of at most {longest:g} sides | default", studies, traced, by_sort, first)
    tell_lesions(studies, by_sort)


def validation_studies(data: Path, seed: int, studies: int) -> list[TrueVolume]:
    """Make those of the first validation patients that are missing."""
    patients = list(islice((patient for patient in count(1) if split(seed, patient) == VALIDATION), studies))
    for name in ("Images_png", "truth"):
        (data / name).mkdir(parents=True, exist_ok=True)
    for patient in patients:
        if not (data / "truth" / f"{series_name(patient, 0)}.json").is_file():
            write_patient(data, patient, seed, 1, EXTENT)
    finish(write_table(data, patients, 1))
    wanted = {series_name(patient, 0) for patient in patients}
    return [volume for volume in true_volumes(data, "val") if volume.series in wanted]


def study(volume: TrueVolume, detector: LoadedDetector, kept: Path) -> Study:
    """Detect on every slice, or read what was detected before."""
    scan: CTVolume = volume.read()
    path = kept / f"{volume.series}.json"
    if not path.is_file():
        floor = lowest_score(detector.info.operating_point)
        write_findings(path, finish(detect_on_every_slice(scan, detector, floor)))
    return Study(scan.slice_numbers, scan.spacing, read_findings(path), read_truth(volume.root, volume.series))


def report(
    name: str, studies: list[Study], traced: list[Findings], by_sort: list[Findings], first: Matches | None
) -> Matches:
    """Print a way's line."""
    shown = [each.above(lowest_score(each.operating_point)) for each in traced]
    lengths = [in_sides(each, found.slice_boxes) for each, found in zip(studies, shown, strict=True)]
    long = sum((slices > one_body.ALWAYS) & (sides > TOO_LONG) for each in lengths for slices, sides in each)
    longest = max(slices for each in lengths for slices, _ in each)
    total = sum(map(len, shown))
    sure = sum(len(found.above(found.operating_point or 0.0)) for found in shown)
    whole = [held(each, found) for each, found in zip(studies, by_sort, strict=True)]
    now = [held(each, found) for each, found in zip(studies, traced, strict=True)]
    ones = sum((before == 1).sum() for before in whole)
    parted = sum(((before == 1) & (after > 1)).sum() for before, after in zip(whole, now, strict=True))
    matches = matched(studies, shown)
    curve = froc(matches, RATES)
    against = ""
    if first is not None:
        patients = list(range(len(studies)))
        samples = [bootstrap_froc(each, patients, RATES)[:, -1] for each in (matches, first)]
        low, high = paired_difference([samples[0]], [samples[1]])
        against = f" ({curve.average - froc(first, RATES).average:+.3f} [{low:+.3f}, {high:+.3f}])"
    values = " | ".join(f"{value:.3f}" for value in curve.values)
    print(
        f"| {name} | {total} ({sure}) | {long} ({100 * long / total:.2f} %) | {longest} slices | "
        f"{parted} of {ones} | {values} | "
        f"{curve.average:.3f}{against} | {average_precision(matches):.3f} |",
        flush=True,
    )
    return matches


def in_sides(each: Study, found: Sequence[SliceBoxes]) -> list[tuple[int, float]]:
    """Length of each finding in slices, and in larger sides of its widest box."""
    place = {int(native): z for z, native in enumerate(each.slice_numbers)}
    lengths = []
    for boxes in found:
        slices = max(place[n] for n in boxes) - min(place[n] for n in boxes) + 1
        corners = np.asarray(list(boxes.values()))
        larger = ((corners[:, 2:] - corners[:, :2]) * (each.spacing[2], each.spacing[1])).max()
        lengths.append((slices, float(slices * each.spacing[0] / larger)))
    return lengths


def tell_lesions(studies: list[Study], by_sort: list[Findings]) -> None:
    """Print how long true lesions are, and how the boxes that SORT joins overlap inside them and where it goes on."""
    true = [sides for each in studies for _, sides in in_sides(each, [lesion.boxes for lesion in each.lesions])]
    inside, beyond = [], []
    for each, found in zip(studies, by_sort, strict=True):
        pairs = traced_iou(found.slice_boxes, [lesion.boxes for lesion in each.lesions], HIT)
        for row, lesion in pairs:
            boxes, of_lesion = found.slice_boxes[row], each.lesions[lesion].boxes
            numbers = [int(n) for n in each.slice_numbers if int(n) in boxes]
            for a, b in pairwise(numbers):
                overlap = float(iou(np.asarray([boxes[a]]), np.asarray([boxes[b]]))[0, 0])
                if a in of_lesion and b in of_lesion:
                    inside.append(overlap)
                elif a in of_lesion or b in of_lesion:
                    beyond.append(overlap)
    print(
        f"true lesions are up to {max(true):.2f} times as long as their widest box, half of them {np.median(true):.2f}"
    )
    for what, overlaps in ((f"{len(inside)} links inside", inside), (f"{len(beyond)} links out of", beyond)):
        least = ", ".join(f"{value:.2f}" for value in np.quantile(overlaps, (0, 0.01, 0.05, 0.5)))
        below = np.mean(np.asarray(overlaps) < MIN_IOU)
        print(f"{what} lesions: IoU of neighbours {least} (least, 1 %, 5 %, half), {100 * below:.1f} % below {MIN_IOU}")


def held(each: Study, found: Findings) -> np.ndarray:
    """For each lesion the number of findings that hit it on some slice."""
    pairs = traced_iou(found.slice_boxes, [lesion.boxes for lesion in each.lesions], HIT)
    counts = Counter(lesion for _, lesion in pairs)
    return np.asarray([counts[lesion] for lesion in range(len(each.lesions))])


def matched(studies: list[Study], shown: list[Findings]) -> Matches:
    """Match findings with the lesions, each known on its key slice."""
    overlaps = [
        p3d_iou(
            found.slice_boxes,
            np.asarray([lesion.boxes[lesion.key_slice] for lesion in each.lesions]),
            np.asarray([lesion.key_slice for lesion in each.lesions]),
        )
        for each, found in zip(studies, shown, strict=True)
    ]
    return match(overlaps, [found.scores for found in shown], threshold=HIT)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
