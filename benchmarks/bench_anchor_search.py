"""The anchor search on bins of box sizes against the same search on all boxes, in one run.

    python benchmarks/bench_anchor_search.py [BOXES]

BOXES is a COCO JSON file, DeepLesion's validation boxes for example. Without one, 4,889 boxes are drawn with a seed:
the side of the square of equal area and the ratio of height to width are log-normal with DeepLesion's means and
deviations. Searched are these boxes and 32,735, DeepLesion's number, drawn from them with a seed; each drawn box is
made up to a few per cent larger or smaller, as a box that occurs several times would give too few bins.

The peer is plain numpy on float64 columns of all boxes, anchor by anchor, for one anchor set after the other. Both
searches have the same settings and seed and try the same number of sets. Ends with status 1 where the search on bins
is not at least 10 times as fast on the boxes and 50 times on the drawn ones, takes more than a second, or its set is
worse or better than the peer's by more than .002 of mean best IoU.
"""

import argparse
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import differential_evolution

from napari_uld.training.anchor_search import (
    SCALES,
    SETTINGS,
    AnchorSet,
    Found,
    SearchBounds,
    best_ious,
    read_box_sizes,
    search_anchors,
    with_reciprocals,
)

BOXES, DEEPLESION, SEED = 4889, 32735, 20261
REPEATS = 7
MOST_SECONDS, AGREEMENT = 1.0, 0.002
# Means and deviations of log sqrt(width * height) and of log(height / width) over DeepLesion's validation boxes.
LOG_SIDE, LOG_RATIO = (3.38, 0.456), (0.0, 0.231)
JITTER = 0.05


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Parameters
    ----------
    name
        What was searched.
    ratio, required
        How many times faster than the peer, and how many it should be.
    seconds
        Median of the search on bins.
    difference
        Its mean best IoU on all boxes less the peer's.
    """

    name: str
    ratio: float
    required: float
    seconds: float
    difference: float

    @property
    def passed(self) -> bool:
        """Whether it is as fast and as good as required."""
        good = abs(self.difference) <= AGREEMENT
        return good and self.ratio >= self.required and self.seconds <= MOST_SECONDS


def like_deeplesion(rng: np.random.Generator) -> np.ndarray:
    """Draw widths and heights (n, 2)."""
    side, ratio = rng.normal(*LOG_SIDE, BOXES), rng.normal(*LOG_RATIO, BOXES)
    return np.clip(np.exp(np.stack([side - ratio / 2, side + ratio / 2], axis=1)), 8, 400)


def drawn(sizes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """As many sizes as DeepLesion has boxes, drawn with replacement, each side a little changed."""
    return rng.choice(sizes, DEEPLESION) * np.exp(rng.uniform(-JITTER, JITTER, (DEEPLESION, 2)))


def anchors_of(variables: np.ndarray) -> AnchorSet:
    """Give the set that five variables of the search stand for."""
    return AnchorSet(tuple(variables[:SCALES]), with_reciprocals(tuple(variables[SCALES:])))


def peer(sizes: np.ndarray, generations: int) -> tuple[float, float, int]:
    """Search on all boxes; give the seconds, the mean best IoU found and how many sets were tried."""

    def loss(candidates: np.ndarray) -> np.ndarray:
        return -np.array([best_ious(sizes, anchors_of(column).shapes()).mean() for column in candidates.T])

    # No tolerance, so that it tries as many sets as the other.
    settings = {**SETTINGS, "maxiter": generations, "tol": 0}
    started = time.perf_counter()
    result = differential_evolution(loss, SearchBounds().variables(), seed=np.random.default_rng(0), **settings)
    return time.perf_counter() - started, -result.fun, result.nfev * len(result.population)


def measure(name: str, sizes: np.ndarray, required: float) -> Row:
    """Search both ways and print what was measured."""
    found: list[Found] = [search_anchors(sizes) for _ in range(REPEATS)]
    own = statistics.median(search.seconds for search in found)
    mean = best_ious(sizes, found[0].anchors.shapes()).mean()
    seconds, other, tried = peer(sizes, found[0].generations)
    exact = search_anchors(sizes, exact=True)
    print(f"{name}: {len(sizes):,} boxes in {found[0].bins:,} bins, differential evolution of 5 variables")
    print(f"  {'':22}{'s':>8}{'sets tried':>12}{'mean best IoU':>15}")
    print(f"  {'on bins':22}{own:8.3f}{found[0].evaluations:12,}{mean:15.4f}")
    print(f"  {'plain numpy, all boxes':22}{seconds:8.3f}{tried:12,}{other:15.4f}")
    by_exact = best_ious(sizes, exact.anchors.shapes()).mean()
    print(f"  {'--exact, all boxes':22}{exact.seconds:8.3f}{exact.evaluations:12,}{by_exact:15.4f}")
    row = Row(name, seconds / own, required, own, float(mean - other))
    print(f"  {row.ratio:.0f} times as fast (required {required:g}); {row.difference:+.4f} of IoU")
    return row


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("boxes", type=Path, nargs="?", help="a COCO JSON file")
    path = parser.parse_args().boxes
    rng = np.random.default_rng(SEED)
    sizes = read_box_sizes(path) if path else like_deeplesion(rng)
    rows = [
        measure(path.name if path else "drawn boxes", sizes, required=10),
        measure("as many as DeepLesion has", drawn(sizes, rng), required=50),
    ]
    return 0 if all(row.passed for row in rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
