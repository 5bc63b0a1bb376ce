"""What the anchor search's bins cost: the same search on bins of several widths, judged on all boxes.

    python benchmarks/bench_anchor_bins.py BOXES

BOXES is a COCO JSON file. Ten seeds each, in the paper's bounds and with scales in [.2, 2] and ratios in [1, 4]; what
a search saw on its bins is compared with the mean best IoU of the set it found on all boxes.
"""

import argparse
import statistics
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np

from napari_uld.training import anchor_search
from napari_uld.training.anchor_search import SearchBounds, best_ious, bin_sizes, read_box_sizes, search_anchors

WIDTHS = (None, 0.02, 0.04, 0.05, 0.10)
SEEDS = range(10)
BOUNDS = {"the paper's": SearchBounds(), "wider": SearchBounds((0.2, 2.0), ((1.0, 4.0), (1.0, 4.0)))}


def main() -> None:
    """Print a line for each width and bounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("boxes", type=Path)
    sizes = read_box_sizes(parser.parse_args().boxes)
    for name, bounds in BOUNDS.items():
        for width in WIDTHS:
            print(f"{name:12} {measure(sizes, bounds, width)}")


def measure(sizes: np.ndarray, bounds: SearchBounds, width: float | None) -> str:
    """Search with every seed on bins of that width, or on all boxes where it is None; give the line to print."""
    with patch.object(anchor_search, "bin_sizes", partial(bin_sizes, width=width)):
        searches = [search_anchors(sizes, bounds, seed=seed, exact=width is None) for seed in SEEDS]
    means = [best_ious(sizes, found.anchors.shapes()).mean() for found in searches]
    excess = statistics.mean(found.objective - mean for found, mean in zip(searches, means, strict=True))
    seconds = statistics.median(found.seconds for found in searches)
    bins = "all boxes" if width is None else f"{width:.0%}"
    return (
        f"{bins:9} {searches[0].bins:6,} bins  mean best IoU {min(means):.4f}-{max(means):.4f}  "
        f"seen on the bins {excess:+.4f}  {seconds:.2f} s"
    )


if __name__ == "__main__":
    main()
