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
from typing import Iterator, Mapping, Sequence

import numpy as np

ALIGNMENT = 64  # bytes, for the processor's widest registers


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


class SharedArrays(Mapping[str, np.ndarray]):
    """Arrays by name in one piece of memory.

    They are pickled like any other arrays, for they may go to another machine; ``sent`` goes to a process of this one,
    and they must live until it has them.
    """

    def __init__(self, memory: SharedArray, places: Mapping[str, tuple[int, tuple[int, ...], str]]) -> None:
        """*memory* is uint8; *places* are offset, shape and dtype of every array."""
        self._memory, self._places = memory, places
        self._arrays = {}
        for name, (start, shape, kind) in places.items():
            stop = start + math.prod(shape) * np.dtype(kind).itemsize
            self._arrays[name] = memory.values[start:stop].view(kind).reshape(shape)

    @staticmethod
    def empty(kinds: Mapping[str, tuple[Sequence[int], str]]) -> SharedArrays:
        """Return arrays that hold anything; *kinds* are their shapes and dtypes."""
        places, size = {}, 0
        for name, (shape, kind) in kinds.items():
            places[name] = size, tuple(shape), kind
            size += -(-math.prod(shape) * np.dtype(kind).itemsize // ALIGNMENT) * ALIGNMENT
        return SharedArrays(SharedArray.empty((size,), np.uint8), places)

    @staticmethod
    def of(arrays: Mapping[str, np.ndarray]) -> SharedArrays:
        """Return *arrays* if they are such, else a copy."""
        if isinstance(arrays, SharedArrays):
            return arrays
        copies = SharedArrays.empty({name: (array.shape, array.dtype.str) for name, array in arrays.items()})
        for name, array in arrays.items():
            copies[name][...] = array
        return copies

    @property
    def sent(self) -> _Sent:
        """What becomes these arrays again where it is unpickled."""
        return _Sent(self._memory, self._places)

    def __getitem__(self, name: str) -> np.ndarray:
        return self._arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def __reduce__(self) -> tuple:
        return dict, (dict(self._arrays),)


class _Sent:
    def __init__(self, *arguments) -> None:
        self._arguments = arguments

    def __reduce__(self) -> tuple:
        return SharedArrays, self._arguments


class _Memory:
    """So many bytes, which go back once nobody has them any more; ``name`` is their descriptor and a number."""

    _numbers = itertools.count()  # descriptors are used again

    def __init__(self, descriptor: int, size: int) -> None:
        weakref.finalize(self, os.close, descriptor)
        os.ftruncate(descriptor, size)
        self.mapped = mmap.mmap(descriptor, size)
        self.name = descriptor, next(self._numbers)


def can_be_shared() -> bool:
    """Tell whether this system has such memory."""
    return sys.platform == "linux"


def _memory(size: int) -> _Memory | None:
    if not can_be_shared():
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
