"""Threads that work in order and stop when told."""

from __future__ import annotations

import sys
import threading
import time

import pytest
from rasterml.engine.errors import Canceled
from rasterml.engine.progress import Part, Progress
from rasterml.engine.workers import one_blas_thread, ordered_map


class CanceledAfter(Progress):
    def __init__(self, seconds: float) -> None:
        self.end = time.monotonic() + seconds

    def is_canceled(self) -> bool:
        return time.monotonic() > self.end


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_results_keep_the_order_of_the_items(threads):
    def slow_first(item, stop):
        time.sleep(0.02 if item == 0 else 0)
        return item * item

    assert list(ordered_map(slow_first, range(20), threads, Progress())) == [item * item for item in range(20)]


def test_no_items_give_no_results():
    assert list(ordered_map(lambda item, stop: item, [], 2, Progress())) == []


def test_items_are_taken_no_further_ahead_than_allowed():
    taken = []

    def items():
        for item in range(100):
            taken.append(item)
            yield item

    results = ordered_map(lambda item, stop: item, items(), 2, Progress(), ahead=3)
    next(results)

    assert len(taken) <= 2 * 3 + 1
    results.close()


def test_error_is_raised_at_its_turn():
    def fail_at_three(item, stop):
        if item == 3:
            raise ValueError("three")
        return item

    results = ordered_map(fail_at_three, range(10), 2, Progress())

    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="three"):
        next(results)


def test_cancel_is_noticed_while_an_item_takes_long_and_tells_it_to_stop():
    stopped = threading.Event()

    def endless(item, stop):
        stop.wait(30)
        stopped.set()

    start = time.monotonic()
    with pytest.raises(Canceled):
        list(ordered_map(endless, range(4), 2, CanceledAfter(0.2)))

    assert time.monotonic() - start < 5
    assert stopped.wait(5)


def test_abandoned_map_ends_its_threads():
    before = threading.active_count()
    results = ordered_map(lambda item, stop: item, range(100), 3, Progress())
    next(results)
    results.close()

    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= before


def test_blas_has_one_thread_until_the_last_of_overlapping_runs_ends():
    threadpoolctl = pytest.importorskip("threadpoolctl")

    def threads() -> list[int]:
        return [pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]

    with threadpoolctl.threadpool_limits(2, "blas"):
        before = threads()
        one_blas_thread.__enter__()
        with one_blas_thread:
            assert set(threads()) <= {1}
        one_blas_thread.__enter__()
        one_blas_thread.__exit__(None, None, None)
        assert set(threads()) <= {1}
        one_blas_thread.__exit__(None, None, None)
        assert threads() == before


def test_runs_go_on_without_threadpoolctl(monkeypatch):
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    with one_blas_thread:
        assert list(ordered_map(lambda item, stop: item, range(3), 2, Progress())) == [0, 1, 2]


def test_part_maps_its_share_into_the_whole():
    seen = []

    class Whole(Progress):
        def share(self, share: float) -> None:
            seen.append(share)

    Part(Whole(), 0.5, 0.75)(1, 2)

    assert seen == [0.625]
