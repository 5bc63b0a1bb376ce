"""Many files, one after the other: in threads where a drive lets them wait."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import TypeVar

Item, Result = TypeVar("Item"), TypeVar("Result")

# Most of the work is Python's: more threads than this hinder each other, fewer do not hide a network drive's delay.
_THREADS = 3
# Where so many files take less each (s), nothing is waited for, and threads would only hinder each other.
_TRIED, _QUICK = 8, 1e-3


def in_order(work: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """Give the result for each item; closing it leaves the rest undone.

    The first ones are done without threads, and so are the others where these were quick.
    """
    tried, rest = items[:_TRIED], items[_TRIED:]
    taken = 0.0
    for item in tried:
        began = perf_counter()
        result = work(item)
        taken += perf_counter() - began
        yield result
    if taken < len(tried) * _QUICK:
        yield from map(work, rest)
    else:
        with ThreadPoolExecutor(_THREADS) as pool:
            yield from pool.map(work, rest)
