"""Which values of a table are numbers: a text counts when it reads as one."""

from __future__ import annotations

import math
from typing import Any, Sequence

import numpy as np


def as_number(value: Any) -> float | None:
    """Return the finite number that *value* is or reads as, else None.

    Python would read the text "3_17" as 317: in a table it is a name.
    """
    if isinstance(value, str) and "_" in value:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def as_numbers(values: Sequence[Any]) -> np.ndarray | None:
    """Return *values* as float64 when every one is or reads as a finite number, else None."""
    try:
        numbers = np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        return None
    if not np.isfinite(numbers).all() or any(isinstance(value, str) and "_" in value for value in values):
        return None
    return numbers
