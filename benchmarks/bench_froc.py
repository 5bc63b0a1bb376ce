"""FROC of 30,000 images with 3 million detections, in how much less time than by plain loops, in the same run.

    python benchmarks/bench_froc.py [--images 30000] [--detections 100]

All get each image's overlaps and scores as arrays, and must give the same values. One loop goes in plain Python
through the images, best first through their detections and through their lesions; the other takes a detection's
overlaps at once, as DeepLesion's public code does. Times are of the processor, whatever else the machine does.
"""

import argparse
import time
from collections.abc import Callable, Sequence

import numpy as np

from napari_uld.evaluation.froc import FP_RATES, froc
from napari_uld.evaluation.matching import match

THRESHOLD = 0.5
AT_MOST = "1/20"
Data = tuple[list[np.ndarray], list[np.ndarray]]


def main() -> None:
    """Print both times, and their ratio beside what it should be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=30_000)
    parser.add_argument("--detections", type=int, default=100)
    asked = parser.parse_args()
    overlaps, scores = generated(asked.images, asked.detections)
    print(f"{asked.images:,} images, {asked.images * asked.detections:,} detections")
    # Before and after the loops, so that a busy machine slows both.
    rounds = [timed(lambda: ours(overlaps, scores)) for _ in range(3)]
    looped = {hits.__name__: timed(lambda hits=hits: by_loops(overlaps, scores, hits)) for hits in (plainly, at_once)}
    rounds += [timed(lambda: ours(overlaps, scores)) for _ in range(3)]
    seconds = min(each for each, _ in rounds)
    for name, (elapsed, values) in looped.items():
        np.testing.assert_allclose(rounds[0][1], values, atol=1e-12)
        print(f"ours {seconds:.2f} s   loop {name} {elapsed:.1f} s   1/{elapsed / seconds:.0f} (at most {AT_MOST})")


def generated(images: int, detections: int) -> Data:
    """Overlaps and scores of detections, of which two an image lie about a lesion."""
    rng = np.random.default_rng(0)
    overlaps = []
    for _ in range(images):
        overlap = rng.random((detections, rng.integers(1, 4))) * 0.3
        overlap[rng.integers(detections, size=2)] += 0.4
        overlaps.append(overlap)
    # Networks score in single precision.
    return overlaps, [rng.random(detections, np.float32).astype(float) for _ in range(images)]


def timed(run: Callable[[], np.ndarray]) -> tuple[float, np.ndarray]:
    """Seconds that it takes, and what it gives."""
    start = time.process_time()
    values = run()
    return time.process_time() - start, values


def ours(overlaps: Sequence[np.ndarray], scores: Sequence[np.ndarray]) -> np.ndarray:
    """The package's."""
    return froc(match(overlaps, scores, threshold=THRESHOLD)).values


def plainly(overlap: np.ndarray, row: int) -> set[int]:
    """The lesions that a detection overlaps enough, one after the other."""
    return {lesion for lesion in range(overlap.shape[1]) if overlap[row, lesion] >= THRESHOLD}


def at_once(overlap: np.ndarray, row: int) -> set[int]:
    """The same from an array operation a detection."""
    return set(np.flatnonzero(overlap[row] >= THRESHOLD).tolist())


def by_loops(
    overlaps: Sequence[np.ndarray], scores: Sequence[np.ndarray], over_of: Callable[[np.ndarray, int], set[int]]
) -> np.ndarray:
    """The same by loops over images and detections."""
    detections: list[tuple[float, int, bool]] = []
    lesions = 0
    for overlap, of_image in zip(overlaps, scores, strict=True):
        lesions += overlap.shape[1]
        hit: set[int] = set()
        for row in sorted(range(len(of_image)), key=lambda row: -of_image[row]):  # noqa: B023
            over = over_of(overlap, row)
            detections.append((of_image[row], len(over - hit), not over))
            hit |= over
    detections.sort(key=lambda detection: -detection[0])
    found, false = 0, 0
    curve = [(0.0, 0.0)]
    for place, (score, first_hits, is_false) in enumerate(detections):
        found += first_hits
        false += is_false
        if place + 1 == len(detections) or detections[place + 1][0] != score:
            curve.append((false / len(scores), found / lesions))
    return np.asarray([read(curve, rate) for rate in FP_RATES])


def read(curve: list[tuple[float, float]], rate: float) -> float:
    """Sensitivity at a rate, interpolated."""
    for (fp, sensitivity), (next_fp, next_sensitivity) in zip(curve, curve[1:], strict=False):
        if fp <= rate < next_fp:
            return sensitivity + (rate - fp) / (next_fp - fp) * (next_sensitivity - sensitivity)
    return curve[-1][1]


if __name__ == "__main__":
    main()
