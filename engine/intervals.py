"""Which of the intervals between thresholds each value lies in."""

from __future__ import annotations

import numpy as np

BINS = 8192  # of the values' range
FEWEST = 2048  # fewer values are not worth a table


def intervals(values: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Return the number of *thresholds* below each of *values*, int64.

    Both are finite float32; *thresholds* ascend and lie between the lowest of *values* and the highest, which it is
    not.
    """
    low, high = values.min(), values.max()
    length = float(high) - float(low)
    if values.size < FEWEST or not thresholds.size:
        return np.searchsorted(thresholds, values)
    if length < BINS and np.array_equal(np.rint(values), values):
        below = np.bincount((np.floor(thresholds) - low).astype(np.intp) + 1, minlength=int(length) + 1)
        return np.cumsum(below).take((values - low).astype(np.intp))
    if not BINS * 2.0**-100 < length < BINS * 2.0**100:  # far from what float32 can scale
        return np.searchsorted(thresholds, values)
    scale = np.float32(BINS / length)
    # Rounding keeps order: only a value in one bin with a threshold must be compared with it.
    places = ((thresholds - low) * scale).astype(np.intp)
    below = np.cumsum(np.bincount(places, minlength=BINS + 2))
    below[places] = -1
    found = below.take(((values - low) * scale).astype(np.intp))
    unsure = np.flatnonzero(found < 0)
    found[unsure] = np.searchsorted(thresholds, values[unsure])
    return found
