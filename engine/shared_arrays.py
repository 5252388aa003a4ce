"""Arrays that another process of this program can read without a copy: memory that no file stands for.

Only Linux has such memory; elsewhere an array is copied on its way.
"""

from __future__ import annotations

import functools
import itertools
import math
import mmap
import os
import sys
import weakref
from pathlib import Path
from typing import Sequence

import numpy as np


class SharedArray:
    """An array as ``values``; where it ``is_shared``, a process it is sent to has the same memory."""

    def __init__(self, values: np.ndarray, memory: _Memory | None = None) -> None:
        self.values, self._memory = values, memory

    @staticmethod
    def empty(shape: Sequence[int], dtype: np.typing.DTypeLike) -> SharedArray:
        """Return an array that holds anything, shared where that can be had."""
        kind, size = np.dtype(dtype), math.prod(shape)
        memory = _memory(max(1, size * kind.itemsize))
        if memory is None:
            return SharedArray(np.empty(shape, kind))
        return SharedArray(np.frombuffer(memory.mapped, kind, size).reshape(shape), memory)

    @property
    def is_shared(self) -> bool:
        return self._memory is not None

    def first(self, rows: int) -> SharedArray:
        """Return the first *rows* of the same array."""
        return SharedArray(self.values[:rows], self._memory)

    def __len__(self) -> int:
        return len(self.values)

    def __reduce__(self) -> tuple:
        if self._memory is None:
            return SharedArray, (self.values,)
        return _attached, (os.getpid(), *self._memory.name, self.values.shape, self.values.dtype.str)


class _Memory:
    """So many bytes, which go back once nobody has them any more; ``name`` is their descriptor and a number."""

    _numbers = itertools.count()  # descriptors are used again

    def __init__(self, descriptor: int, size: int) -> None:
        weakref.finalize(self, os.close, descriptor)
        os.ftruncate(descriptor, size)
        self.mapped = mmap.mmap(descriptor, size)
        self.name = descriptor, next(self._numbers)


def _memory(size: int) -> _Memory | None:
    if sys.platform != "linux":
        return None
    try:
        return _Memory(os.memfd_create(__name__), size)
    except OSError:
        return None


@functools.lru_cache(maxsize=1)  # pieces of one array follow each other, and an older array's memory is wanted back
def _attached(process: int, descriptor: int, number: int, shape: tuple[int, ...], dtype: str) -> SharedArray:
    with Path(f"/proc/{process}/fd/{descriptor}").open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)  # who writes here does not change it there
    return SharedArray(np.frombuffer(mapped, dtype, math.prod(shape)).reshape(shape))
