"""GrabCut on a crop about the lesion against cv2.grabCut on the whole slice, same trimap, same run.

    python benchmarks/bench_grabcut.py [PHANTOMS]

Lesions are the listed ones of phantom studies (made in a temporary folder where no folder is
given). Prints the median time of each, their ratio, and the mean Dice against the true masks of
both and of the quarter ellipse. Ends with status 1 where the crop is not at least 8 times as fast.
"""

import argparse
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
from napari_uld.lesions.boxes import iou
from napari_uld.lesions.deeplesion import annotations_from_dl_info
from napari_uld.lesions.findings import Box
from napari_uld.lesions.recist import Recist
from napari_uld.lesions.rle import decode
from napari_uld.masks.ellipse import quarter_ellipse_mask
from napari_uld.masks.grabcut import ITERATIONS, grabcut_mask, trimap
from napari_uld.progress import finish
from napari_uld.training.data.phantom import generate_phantoms, read_truth, truth_series

PATIENTS, SEED = 8, 20260
REQUIRED_RATIO = 8.0


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


def shape_of(case: Case) -> tuple[int, int]:
    """(height, width) of the slice."""
    return case.hu.shape[0], case.hu.shape[1]


def on_whole_slice(case: Case) -> np.ndarray:
    """What the crop is compared with: cv2.grabCut as it comes, on all pixels."""
    labels = trimap(case.recist, case.box, shape_of(case))
    grey = cv2.cvtColor(to_uint8(case.hu, case.window), cv2.COLOR_GRAY2BGR)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.setRNGSeed(0)
    cv2.grabCut(grey, labels, (0, 0, 0, 0), *models, ITERATIONS, cv2.GC_INIT_WITH_MASK)
    return (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)


METHODS: dict[str, Callable[[Case], np.ndarray]] = {
    "GrabCut, crop": lambda case: grabcut_mask(case.hu, case.recist, case.box, case.window),
    "GrabCut, whole slice": on_whole_slice,
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


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("phantoms", type=Path, nargs="?", help="a folder made by `napari-uld phantom`")
    given = parser.parse_args().phantoms
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        ratio = measure(given or finish(generate_phantoms(Path(folder), PATIENTS, SEED)))
    return 0 if ratio >= REQUIRED_RATIO else 1


if __name__ == "__main__":
    raise SystemExit(main())
