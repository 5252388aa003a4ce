"""Arrays that a thread uses again."""

from __future__ import annotations

import pickle
import threading

import numpy as np
from rasterml.engine.scratch import Scratch


def test_an_array_takes_the_memory_of_the_last_one_of_its_name():
    scratch = Scratch()
    first = scratch.array("sums", (3, 4), np.float64)
    smaller = scratch.array("sums", (5,), np.int16)
    larger = scratch.array("sums", (30,), np.float64)

    assert (first.shape, smaller.dtype, larger.size) == ((3, 4), np.dtype(np.int16), 30)
    assert np.shares_memory(first, smaller)
    assert not np.shares_memory(first, larger)
    assert not np.shares_memory(larger, scratch.array("others", (30,), np.float64))


def test_each_thread_has_its_own():
    scratch, arrays = Scratch(), [None, None]
    started = threading.Barrier(2)

    def work(number):
        arrays[number] = scratch.array("sums", (4,), np.int32)
        started.wait(timeout=10)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert not np.shares_memory(*arrays)


def test_it_travels_empty():
    scratch = Scratch()
    scratch.array("sums", (1000,), np.float64)

    assert len(pickle.dumps(scratch)) < 200
    assert pickle.loads(pickle.dumps(scratch)).array("sums", (2,), np.int8).shape == (2,)
