"""Threads for what may take long and waits for nothing: they hold nobody up who asks for a thread later."""

from collections.abc import Iterator
from contextlib import contextmanager

from qtpy.QtCore import QThreadPool


@contextmanager
def in_background() -> Iterator[None]:
    """While a worker is in here it does not count among the threads that Qt runs at once, which are as many as cores.

    A detector that is started meanwhile would wait for the last picture otherwise.
    """
    pool = QThreadPool.globalInstance()
    if pool is None:
        yield
        return
    pool.releaseThread()
    try:
        yield
    finally:
        pool.reserveThread()
