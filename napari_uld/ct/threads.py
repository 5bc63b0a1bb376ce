"""Work on many files, in threads where there is something to wait for."""

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from time import perf_counter
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

# Most of the work is Python's: more threads than this hinder each other, fewer do not hide a network drive's delay.
_THREADS = 3
# Two of the first so many files that take longer (s) are waited for, as on a network drive; one may be by chance. Where
# nothing is waited for, threads only hinder each other.
_TRIED, _QUICK = 8, 1e-3


def in_order(work: Callable[[Item], Result], items: Sequence[Item]) -> Generator[Result, None, None]:
    """Give the result for each item, worked out in threads if the first ones take long; closing it leaves the rest."""
    tried: list[Result] = []
    slow = 0
    while slow < 2 and len(tried) < min(_TRIED, len(items)):
        began = perf_counter()
        tried.append(work(items[len(tried)]))
        slow += perf_counter() - began > _QUICK
    rest = items[len(tried) :]
    if slow < 2:
        yield from tried
        yield from map(work, rest)
        return
    pool = ThreadPoolExecutor(_THREADS)
    try:
        yield from chain(tried, pool.map(work, rest))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
