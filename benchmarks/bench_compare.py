"""How long a step of the slider of Compare methods takes to work out, and how long it takes to match before it.

python benchmarks/bench_compare.py [--methods 3] [--findings 200] [--lesions 30]

Nothing is drawn; findings are traced through five slices each, a third of them near a lesion.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np

from napari_uld.evaluation.one_scan import OnScan, on_scan
from napari_uld.lesions.findings import SliceBoxes

SLICES, REACH = 300, 5
STEPS = 200


def main() -> None:
    """Print both times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", type=int, default=3)
    parser.add_argument("--findings", type=int, default=200)
    parser.add_argument("--lesions", type=int, default=30)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    places = [(rng.integers(SLICES), *rng.uniform(50, 450, 2)) for _ in range(options.lesions)]
    lesions = [{int(z): (x - 10, y - 10, x + 10, y + 10)} for z, x, y in places]
    found = [_found(rng, places, options.findings) for _ in range(options.methods)]
    scores = [rng.random(options.findings) for _ in found]
    methods: list[OnScan] = []
    matching = _milliseconds(
        lambda: methods.extend(on_scan(lesions, *each) for each in zip(found, scores, strict=True)), 1
    )
    most = max(method.all_false for method in methods)

    def step(allowed: int) -> None:
        for method in methods:
            point = method.at(allowed)
            _ = method.counts(point), method.lesion_scores >= point.score

    steps = [
        _milliseconds(lambda allowed=allowed: step(allowed), 5) for allowed in np.linspace(0, most, STEPS, dtype=int)
    ]
    print(f"{options.methods} methods, {options.findings} findings each, {options.lesions} lesions")
    print(f"matching, once: {matching:.1f} ms")
    print(f"a step of the slider: {np.mean(steps):.3f} ms, at most {np.max(steps):.3f} ms")


def _found(rng: np.random.Generator, places: list, count: int) -> list[SliceBoxes]:
    found = []
    for i in range(count):
        near = places[i % len(places)] if i % 3 == 0 else (rng.integers(SLICES), *rng.uniform(50, 450, 2))
        z, x, y = near[0], *(np.array(near[1:]) + rng.normal(0, 2, 2))
        half = rng.uniform(6, 14)
        box = (x - half, y - half, x + half, y + half)
        found.append({int(each): box for each in range(z - REACH // 2, z + REACH // 2 + 1)})
    return found


def _milliseconds(act: Callable[[], object], times: int) -> float:
    started = time.perf_counter()
    for _ in range(times):
        act()
    return 1000 * (time.perf_counter() - started) / times


if __name__ == "__main__":
    main()
