import threading
from itertools import count

import pytest

from napari_uld.ct import threads
from napari_uld.ct.threads import in_order

# Seconds.
QUICK, SLOW = 0.0, 0.01


@pytest.fixture
def worker(monkeypatch):
    """Make work of which each item takes its seconds, by a clock that only it moves, and a list of who did which."""

    def make(seconds):
        now, done = 0.0, []
        monkeypatch.setattr(threads, "perf_counter", lambda: now)

        def work(item):
            nonlocal now
            now += seconds(item)
            done.append((item, threading.current_thread()))
            return item * item

        return work, done

    return make


def threads_of(done):
    return {thread for _, thread in done}


@pytest.mark.parametrize(
    "seconds",
    [lambda item: QUICK, lambda item: SLOW if item == 1 else QUICK, lambda item: SLOW if item > 7 else QUICK],
    ids=["all", "but one", "but those after the first"],
)
def test_what_is_quick_is_done_without_threads(worker, seconds):
    work, done = worker(seconds)
    assert list(in_order(work, range(50))) == [item * item for item in range(50)]
    assert threads_of(done) == {threading.current_thread()}


def test_what_is_waited_for_is_done_in_threads_and_comes_in_order(worker):
    work, done = worker(lambda item: SLOW)
    assert list(in_order(work, range(50))) == [item * item for item in range(50)]
    assert [item for item, thread in done if thread is threading.current_thread()] == [0, 1]


def test_closing_it_leaves_the_rest_undone(worker):
    work, done = worker(lambda item: QUICK)
    results = in_order(work, range(300))
    next(results)
    results.close()
    assert len(done) < 20


def test_closing_it_leaves_what_no_thread_has_begun_undone(worker):
    work, _ = worker(lambda item: SLOW)
    going, begun = threading.Event(), count()

    def held(item):
        next(begun)
        if item > 1:
            going.wait(10)
        return work(item)

    results = in_order(held, range(300))
    next(results)
    threading.Timer(0.5, going.set).start()
    results.close()
    assert next(begun) < 20


@pytest.mark.parametrize("number", [0, 1, 3])
def test_few_items_are_done_as_well(worker, number):
    assert list(in_order(worker(lambda item: SLOW)[0], range(number))) == [item * item for item in range(number)]
