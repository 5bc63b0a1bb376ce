"""How well the overlap of two markings tells that they are the same lesion, by the least overlap that counts.

python benchmarks/bench_same_lesion.py PHANTOMS

All bundled detectors run on every phantom study; what they find above their operating points is the lesion that it
overlaps with an IoU of .5. Compared are all pairs of two detectors' findings that share a slice, and every lesion,
known on its key slice alone as tables list it, with every finding.
"""

import argparse
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import torch

from napari_uld.ct import read_scan
from napari_uld.ct.volume import CTVolume
from napari_uld.inference.catalogue import bundled_checkpoints
from napari_uld.inference.checkpoint import LoadedDetector, load_checkpoint
from napari_uld.inference.detect import detect
from napari_uld.lesions.findings import SliceBoxes
from napari_uld.lesions.same_lesion import traced_iou
from napari_uld.progress import finish
from napari_uld.training.data.phantom.truth import read_truth, truth_series

LEASTS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
# Whatever overlaps at all.
ANY = 1e-9
HIT = 0.5
Pair = tuple[float, int | None, int | None]


def main() -> None:
    """Print a line for each least overlap."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    folder = parser.parse_args().data
    loaded = [load_checkpoint(path, "cpu") for path in bundled_checkpoints().values()]
    # Bodies are tight: boxes with a margin are another kind.
    detectors = [detector for detector in loaded if not detector.inputs.volume]
    between: list[Pair] = []
    listed: list[Pair] = []
    for series in truth_series(folder):
        lesions = read_truth(folder, series)
        found = [found_by(detector, read_scan(folder / "Images_png" / series)) for detector in detectors]
        own = [lesions_of(each, [lesion.boxes for lesion in lesions]) for each in found]
        for a, b in combinations(range(len(found)), 2):
            between += pairs(found[a], found[b], own[a], own[b])
        for each, theirs in zip(found, own, strict=True):
            keys = [{lesion.key_slice: lesion.boxes[lesion.key_slice]} for lesion in lesions]
            listed += pairs(keys, each, range(len(lesions)), theirs)
    tell("two detectors", between)
    tell("listed lesion and detector", listed)


def found_by(detector: LoadedDetector, scan: CTVolume) -> list[SliceBoxes]:
    """Traced boxes of what a detector finds above its operating point."""
    found = finish(detect(scan, detector))
    point = found.operating_point
    return list(found.above(0.0 if point is None else point).slice_boxes)


def lesions_of(found: Sequence[SliceBoxes], lesions: Sequence[SliceBoxes]) -> list[int | None]:
    """For each finding the lesion that it hits, None where that is none."""
    hits = traced_iou(found, lesions, HIT)
    best = {i: max((overlap, j) for (k, j), overlap in hits.items() if k == i)[1] for i, _ in hits}
    return [best.get(i) for i in range(len(found))]


def pairs(
    a: Sequence[SliceBoxes], b: Sequence[SliceBoxes], own_a: Sequence[int | None], own_b: Sequence[int | None]
) -> list[Pair]:
    """Overlap of everything that meets, with the lesion that either is."""
    return [(overlap, own_a[i], own_b[j]) for (i, j), overlap in traced_iou(a, b, ANY).items()]


def tell(what: str, found: Sequence[Pair]) -> None:
    """Print what each least overlap joins."""
    same = np.array([overlap for overlap, a, b in found if a is not None and a == b])
    other = np.array([overlap for overlap, a, b in found if a is not None and b is not None and a != b])
    nothing = np.array([overlap for overlap, a, b in found if (a is None) != (b is None)])
    print(f"{what}: {len(same)} pairs of one lesion that meet")
    for least in LEASTS:
        counts = f"{(other >= least).sum()} of two lesions, {(nothing >= least).sum()} of a lesion and something else"
        print(f"  {least}: joins {(same >= least).mean():.3f} of them, {counts}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
