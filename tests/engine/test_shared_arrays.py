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
from rasterml.engine.shared_arrays import ALIGNMENT, SharedArray, SharedArrays

ROOT = Path(__file__).resolve().parents[2]
OTHER = """
import importlib.util, pickle, sys
root = sys.argv[1]
spec = importlib.util.spec_from_file_location("rasterml", root + "/__init__.py", submodule_search_locations=[root])
module = sys.modules["rasterml"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
import rasterml.engine.shared_arrays
for line in sys.stdin:
    sent = pickle.loads(bytes.fromhex(line))
    values = sent.values if isinstance(sent, module.engine.shared_arrays.SharedArray) else sent["low"]
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


def several() -> dict[str, np.ndarray]:
    return {
        "low": np.arange(12, dtype=np.uint16).reshape(3, 4).T,
        "none": np.empty((0, 7)),
        "one": np.array(2.5),
        "tree": np.arange(-5, 6, dtype=np.int32),
    }


def same(arrays, others) -> bool:
    return list(arrays) == list(others) and all(
        arrays[name].dtype == others[name].dtype and np.array_equal(arrays[name], others[name]) for name in others
    )


def test_several_arrays_are_copied_into_one_memory():
    arrays = several()
    copies = SharedArrays.of(arrays)
    addresses = [array.ctypes.data for array in copies.values()]

    assert same(copies, arrays) and len(copies) == 4
    assert not any((address - addresses[0]) % ALIGNMENT for address in addresses)
    arrays["low"][:] = 0
    assert copies["low"].sum() == 66
    assert SharedArrays.of(copies) is copies


def test_several_arrays_are_sent_without_a_copy_or_pickled_for_another_machine(shared):
    copies = SharedArrays.of({**several(), "low": np.arange(30_000.0).reshape(2, -1)})
    command = [sys.executable, "-c", OTHER, str(ROOT)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert sum_elsewhere(process, copies.sent) == "(2, 15000) float64 449985000.0"
        assert copies["low"][1, -1] == 29_999  # the other one overwrote a copy
        process.stdin.close()

    assert len(pickle.dumps(copies.sent)) < 500
    plain = pickle.loads(pickle.dumps(copies))
    assert type(plain) is dict and same(plain, copies)


def test_elsewhere_several_arrays_are_copied(monkeypatch):
    monkeypatch.setattr(shared_arrays.sys, "platform", "win32")
    arrays = SharedArrays.of(several())

    assert same(pickle.loads(pickle.dumps(arrays.sent)), several())
