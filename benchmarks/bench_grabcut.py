"""GrabCut on a crop about the lesion against cv2.grabCut on the whole slice, same trimap, same run.

    python benchmarks/bench_grabcut.py [PHANTOMS]
    python benchmarks/bench_grabcut.py --set PHANTOMS

Lesions are the listed ones of phantom studies (made in a temporary folder where no folder is
given). Prints the median time of each, their ratio, and the mean Dice against the true masks of
both and of the quarter ellipse. Ends with status 1 where the crop is not at least 8 times as fast.

With --set: what `napari-uld masks` does to 1,000 lesions with two processes, starting them, reading
the PNGs and storing the masks included, against one process that reads the same PNGs and runs
cv2.grabCut on the whole slices. The latter is timed on about 100 lesions spread over the set and
scaled up. OpenCV has one thread in every process. Both take turns; medians of three rounds. Ends
with status 1 where the command is not at least 10 times as fast.
"""

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from napari_uld.ct.deeplesion import read_slices
from napari_uld.ct.dl_info import read_dl_info
from napari_uld.ct.windows import Window, to_uint8
from napari_uld.evaluation.overlaps import iou
from napari_uld.lesions.deeplesion import annotations_from_dl_info
from napari_uld.lesions.findings import Box
from napari_uld.lesions.recist import Recist
from napari_uld.lesions.rle import decode
from napari_uld.masks.ellipse import quarter_ellipse_mask
from napari_uld.masks.grabcut import ITERATIONS, grabcut_or_ellipse, trimap
from napari_uld.progress import finish
from napari_uld.training.data.key_slices import KeySlice, annotated_slices
from napari_uld.training.data.mask_run import store_masks
from napari_uld.training.data.mask_store import FOLDER
from napari_uld.training.data.phantom import generate_phantoms, read_truth, truth_series

PATIENTS, SEED = 8, 20260
REQUIRED_RATIO = 8.0
LESIONS, SAMPLE, ROUNDS, PROCESSES = 1000, 100, 3, 2
REQUIRED_SET_RATIO = 10.0


@dataclass(frozen=True)
class Case:
    """A lesion on its key slice with its true mask."""

    hu: np.ndarray
    recist: Recist
    box: Box
    window: Window
    truth: np.ndarray


def cases(root: Path) -> Iterator[Case]:
    """Every measured lesion of the phantoms."""
    info = read_dl_info(root / "DL_info.csv")
    for series in truth_series(root):
        known = read_truth(root, series)
        rows = info.by_series.get(series, ())
        for row, lesion in zip(rows, annotations_from_dl_info(info, series, series), strict=True):
            if lesion.recist is None:
                continue
            on_slice = [true for true in known if true.listed and lesion.key_slice in true.boxes]
            overlaps = iou(np.array([lesion.box]), np.array([true.boxes[lesion.key_slice] for true in on_slice]))
            truth = on_slice[int(overlaps.argmax())].masks[lesion.key_slice]
            hu = read_slices(root, series, [lesion.key_slice]).hu[0]
            yield Case(hu, lesion.recist, lesion.box, row.window, decode(truth))


def whole_slice(hu: np.ndarray, recist: Recist, box: object, window: Window) -> np.ndarray:
    """What the crop is compared with: cv2.grabCut as it comes, on all pixels."""
    labels = trimap(recist, box, (hu.shape[0], hu.shape[1]))
    grey = cv2.cvtColor(to_uint8(hu, window), cv2.COLOR_GRAY2BGR)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.setRNGSeed(0)
    cv2.grabCut(grey, labels, (0, 0, 0, 0), *models, ITERATIONS, cv2.GC_INIT_WITH_MASK)
    return (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)


def shape_of(case: Case) -> tuple[int, int]:
    """(height, width) of the slice."""
    return case.hu.shape[0], case.hu.shape[1]


METHODS: dict[str, Callable[[Case], np.ndarray]] = {
    "GrabCut, crop": lambda case: grabcut_or_ellipse(case.hu, case.recist, case.box, case.window)[0],
    "GrabCut, whole slice": lambda case: whole_slice(case.hu, case.recist, case.box, case.window),
    "quarter ellipse": lambda case: quarter_ellipse_mask(case.recist, shape_of(case)),
}


def dice(a: np.ndarray, b: np.ndarray) -> float:
    """Dice coefficient of two masks."""
    return 2 * float((a & b).sum()) / float(a.sum() + b.sum())


def measure(root: Path) -> float:
    """Print the table and give how many times faster the crop is."""
    seconds: dict[str, list[float]] = {name: [] for name in METHODS}
    overlap: dict[str, list[float]] = {name: [] for name in METHODS}
    agreement = []
    for case in cases(root):
        masks = {}
        for name, method in METHODS.items():
            start = time.perf_counter()
            masks[name] = method(case)
            seconds[name].append(time.perf_counter() - start)
            overlap[name].append(dice(masks[name], case.truth))
        agreement.append(dice(masks["GrabCut, crop"], masks["GrabCut, whole slice"]))
    print(f"{len(agreement)} lesions")
    print(f"{'':22}{'median ms':>10}{'mean Dice':>11}{'lowest':>8}")
    for name in METHODS:
        print(
            f"{name:22}{1e3 * np.median(seconds[name]):10.2f}{np.mean(overlap[name]):11.3f}{np.min(overlap[name]):8.3f}"
        )
    ratio = float(np.median(seconds["GrabCut, whole slice"]) / np.median(seconds["GrabCut, crop"]))
    print(f"crop against whole slice: {ratio:.1f} times as fast, mean Dice with each other {np.mean(agreement):.3f}")
    return ratio


def measure_set(root: Path) -> float:
    """Print what a set's masks take and give how many times faster the command is."""
    slices: list[KeySlice] = []
    for key in annotated_slices(root, "all"):
        if lesions_of(slices) < LESIONS:
            slices.append(key)
    seconds: dict[str, list[float]] = {"command": [], "whole slices": []}
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        shutil.copy(root / "DL_info.csv", copy)
        (copy / "Images_png").symlink_to((root / "Images_png").resolve(), target_is_directory=True)
        step = max(1, len(slices) // SAMPLE)
        for turn in range(ROUNDS):
            report = finish(store_masks(copy, slices, "grabcut", PROCESSES))
            shutil.rmtree(copy / FOLDER)
            seconds["command"].append(report.seconds)
            sample = slices[turn * step // ROUNDS :: step]
            seconds["whole slices"].append(time_whole_slices(root, sample) * report.made / lesions_of(sample))
            print(f"round {turn + 1}: " + ", ".join(f"{name} {values[-1]:.1f} s" for name, values in seconds.items()))
    print(f"{lesions_of(slices)} lesions on {len(slices)} key slices; whole slices from {lesions_of(sample)} lesions")
    ratio = float(np.median(seconds["whole slices"]) / np.median(seconds["command"]))
    print(f"the command with {PROCESSES} processes: {ratio:.1f} times as fast as one process on whole slices")
    return ratio


def time_whole_slices(root: Path, slices: list[KeySlice]) -> float:
    """Seconds that one process takes to read the slices and to run cv2.grabCut on them, once for each lesion."""
    read_slices(root, slices[0].series, [slices[0].number])  # the table is read once whatever the number of slices
    start = time.perf_counter()
    for key in slices:
        hu = read_slices(root, key.series, [key.number]).hu[0]
        for box, recist in zip(key.boxes, key.recists, strict=True):
            if recist is not None:
                whole_slice(hu, recist, box, key.window)
    return time.perf_counter() - start


def lesions_of(slices: list[KeySlice]) -> int:
    """Lesions with a measurement."""
    return sum(recist is not None for key in slices for recist in key.recists)


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("phantoms", type=Path, nargs="?", help="a folder made by `napari-uld phantom`")
    parser.add_argument("--set", action="store_true", help="measure the masks of a whole set")
    arguments = parser.parse_args()
    given = arguments.phantoms
    cv2.setNumThreads(1)
    if arguments.set:
        if given is None:
            parser.error("--set needs a folder of phantoms with about 1,000 lesions")
        return 0 if measure_set(given) >= REQUIRED_SET_RATIO else 1
    with tempfile.TemporaryDirectory() as folder:
        ratio = measure(given or finish(generate_phantoms(Path(folder), PATIENTS, SEED)))
    return 0 if ratio >= REQUIRED_RATIO else 1


if __name__ == "__main__":
    raise SystemExit(main())
