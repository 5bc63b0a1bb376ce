"""Which lesions the experiments' detectors find: those on their own key slice, or those that it cuts besides.

python benchmarks/bench_own_key_slices.py [RUNS] [PHANTOMS]

Training sees a lesion on its key slice alone, where it is largest; where another lesion's key slice cuts it, it is
listed nowhere. The tables count both. RUNS holds the experiments' results (benchmarks/results), PHANTOMS the sets train
and test. Printed is the mean sensitivity at .5, 1, 2 and 4 false positives an image, the mean over seeds.
"""

import argparse
from pathlib import Path

import numpy as np

from napari_uld.training.data.phantom.truth import read_truth
from napari_uld.training.reports.experiment_list import EXPERIMENTS
from napari_uld.training.reports.planning import Place
from napari_uld.training.reports.results import Result
from napari_uld.training.reports.tables import collect


def main() -> None:
    """Print a line for each row of each experiment."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="?", default=Path("benchmarks/results"))
    parser.add_argument("phantoms", type=Path, nargs="?", default=Path("runs/phantoms"))
    arguments = parser.parse_args()
    own: np.ndarray | None = None
    for experiment in EXPERIMENTS.values():
        results, _ = collect(experiment, Place(arguments.runs, arguments.phantoms))
        for label, by_seed in results.items():
            for result in list(by_seed.values())[:1]:
                own = on_own_key_slice(result, arguments.phantoms / "test") if own is None else own
            if by_seed and own is not None:
                means = [np.mean([found(r, which) for r in by_seed.values()]) for which in (own, ~own)]
                print(
                    f"{experiment.name:10} {label:42} own key slice ({own.sum()}): {means[0]:.3f}   "
                    f"cut besides ({(~own).sum()}): {means[1]:.3f}   seeds {len(by_seed)}"
                )


def on_own_key_slice(result: Result, data: Path) -> np.ndarray:
    """Whether each lesion of the test slices, in the matches' order, is on its key slice: (lesions,) bool."""
    own: list[bool] = []
    for series, number in zip(result.series, result.numbers, strict=True):
        own += [each.key_slice == number for each in read_truth(data, str(series)) if int(number) in each.boxes]
    return np.asarray(own)


def found(result: Result, which: np.ndarray) -> float:
    """Mean share of some lesions that are found at the usual rates of false positives."""
    scores = np.concatenate(result.matches.lesion_scores)[which]
    return float(np.mean([(scores >= lowest).mean() for lowest in result.curve.scores]))


if __name__ == "__main__":
    main()
