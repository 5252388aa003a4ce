"""Arrays that a thread uses again for its next tile, since memory that is new to a process is slow."""

from __future__ import annotations

import math
import threading
from typing import Sequence

import numpy as np


class Scratch:
    """Hands out arrays by name: to each thread its own, which holds anything and is the last one's of that name."""

    def __init__(self) -> None:
        self._local = threading.local()

    def __reduce__(self) -> tuple:
        return Scratch, ()

    def array(self, name: str, shape: Sequence[int], dtype: np.typing.DTypeLike) -> np.ndarray:
        size = math.prod(shape) * np.dtype(dtype).itemsize
        memory = getattr(self._local, name, None)
        if memory is None or memory.size < size:
            memory = np.empty(size, dtype=np.uint8)
            setattr(self._local, name, memory)
        return memory[:size].view(dtype).reshape(shape)
