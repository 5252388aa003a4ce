"""Arrays that other processes have without a copy, and their memory when nobody needs them any more."""

from __future__ import annotations

import gc
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rasterml.engine import shared_arrays
from rasterml.engine.shared_arrays import SharedArray

ROOT = Path(__file__).resolve().parents[2]
OTHER = """
import importlib.util, pickle, sys
root = sys.argv[1]
spec = importlib.util.spec_from_file_location("rasterml", root + "/__init__.py", submodule_search_locations=[root])
module = sys.modules["rasterml"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
for line in sys.stdin:
    values = pickle.loads(bytes.fromhex(line)).values
    total = float(values.sum())
    values[:] = 99
    print(values.shape, values.dtype, total, flush=True)
"""


@pytest.fixture
def shared() -> SharedArray:
    array = SharedArray.empty((1000, 3), np.float32)
    if not array.is_shared:
        pytest.skip("this system has no memory to share")
    array.values[:] = np.arange(3000).reshape(1000, 3)
    return array


def sum_elsewhere(process, array: SharedArray) -> str:
    process.stdin.write(pickle.dumps(array).hex() + "\n")
    process.stdin.flush()
    return process.stdout.readline().strip()


def test_another_process_sees_what_is_written_and_cannot_change_it(shared):
    command = [sys.executable, "-c", OTHER, str(ROOT)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert sum_elsewhere(process, shared.first(2)) == "(2, 3) float32 15.0"
        assert shared.values[:2].ravel().tolist() == [0, 1, 2, 3, 4, 5]

        shared.values[0] = 10
        assert sum_elsewhere(process, shared.first(1)) == "(1, 3) float32 30.0"

        descriptor = shared._memory.name[0]
        del shared._memory.mapped  # the next array gets the same descriptor
        shared._memory = None
        gc.collect()
        other = SharedArray.empty((1, 2), np.float64)
        other.values[:] = 0.25
        assert other._memory.name[0] == descriptor
        assert sum_elsewhere(process, other) == "(1, 2) float64 0.5"
        process.stdin.close()


def test_little_is_sent(shared):
    assert len(pickle.dumps(shared)) < 300 < shared.values.nbytes


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_memory_is_given_back_with_the_last_array():
    if sys.platform != "linux":
        pytest.skip("this system has no memory to share")
    before = open_files()
    arrays = [SharedArray.empty((10,), np.uint8) for _ in range(20)]
    part = arrays[3].first(2)
    part.values[:] = 7
    del arrays
    gc.collect()

    assert part.values.tolist() == [7, 7]
    assert open_files() <= before + 2
    del part
    gc.collect()
    assert open_files() <= before


@pytest.mark.parametrize("why", ["other system", "no memory"])
def test_elsewhere_arrays_are_copied(why, monkeypatch):
    def fail(*_):
        raise OSError("no memory")

    if why == "other system":
        monkeypatch.setattr(shared_arrays.sys, "platform", "win32")
    else:
        monkeypatch.setattr(shared_arrays.os, "memfd_create", fail, raising=False)
    array = SharedArray.empty((2, 2), np.int32)
    array.values[:] = [[1, 2], [3, 4]]
    copy = pickle.loads(pickle.dumps(array))
    array.values[:] = 0

    assert not array.is_shared
    assert copy.values.tolist() == [[1, 2], [3, 4]] and copy.values.dtype == np.int32
