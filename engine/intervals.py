"""Which of the intervals between thresholds each value lies in, for all bands at once."""

from __future__ import annotations

import numpy as np

MOST_WHOLE = 8192  # whole numbers in a band's range that are looked up one by one
FEWEST_BINS = 1024  # of a band's range where values are no whole numbers
STEPS = 4  # thresholds that a value in a bin is compared with one by one

COLUMN = np.s_[:, np.newaxis]


def intervals(
    values: np.ndarray, lowest: np.ndarray, highest: np.ndarray, thresholds: np.ndarray, counts: np.ndarray
) -> np.ndarray:
    """Return the number of its band's thresholds below each value, plus that of all thresholds of the bands before.

    Parameters
    ----------
    values : float32 (bands, rows), finite, with the *lowest* and the *highest*, which differ, of every band
    thresholds : float32, *counts* of each band, ascending, not below the lowest value and below the highest

    Returns
    -------
    int64 (bands, rows)
    """
    lengths = highest.astype(np.float64) - lowest
    if lengths.max() < MOST_WHOLE and np.array_equal(np.rint(values), values):
        sizes = lengths.astype(np.intp) + 1
        first = np.cumsum(sizes) - sizes
        above = (np.floor(thresholds) - np.repeat(lowest, counts)).astype(np.intp) + np.repeat(first + 1, counts)
        table = np.cumsum(np.bincount(above, minlength=int(sizes.sum())))
        places = (values - lowest[COLUMN]).astype(np.intp)
        places += first[COLUMN]
        return table.take(places)
    bins = max(FEWEST_BINS, 2 * int(counts.max()))
    if not ((lengths > bins * 2.0**-100) & (lengths < bins * 2.0**100)).all():  # far from what float32 can scale
        return _searched(values, thresholds, counts)
    return _binned(values, lowest, (bins / lengths).astype(np.float32), thresholds, counts, bins)


def _binned(
    values: np.ndarray, lowest: np.ndarray, scale: np.ndarray, thresholds: np.ndarray, counts: np.ndarray, bins: int
) -> np.ndarray:
    """Look all values up in equal bins.

    Rounding keeps order: only with the thresholds in its own bin must a value be compared.
    """
    first = (bins + 2) * np.arange(counts.size)
    where = ((thresholds - np.repeat(lowest, counts)) * np.repeat(scale, counts)).astype(np.intp)
    inside = np.bincount(where + np.repeat(first, counts), minlength=(bins + 2) * counts.size)
    below = np.cumsum(inside) - inside
    below[inside > 0] -= thresholds.size + 1  # negative: to be compared
    scaled = values - lowest[COLUMN]
    scaled *= scale[COLUMN]
    places = scaled.astype(np.intp)
    places += first[COLUMN]
    found = below.take(places)
    flat, numbers = found.ravel(), values.ravel()
    unsure = np.flatnonzero(flat < 0)
    flat[unsure] += thresholds.size + 1
    ends = np.cumsum(counts)
    guarded = np.insert(thresholds, ends, np.float32(np.inf))
    band = unsure // values.shape[1]
    for _ in range(STEPS):
        above = np.flatnonzero(numbers.take(unsure) > guarded.take(flat.take(unsure) + band))
        unsure, band = unsure.take(above), band.take(above)
        flat[unsure] += 1
    for number, (start, end) in enumerate(zip((ends - counts).tolist(), ends.tolist())):
        some = unsure[band == number]
        if some.size:
            flat[some] = np.searchsorted(thresholds[start:end], numbers.take(some)) + start
    return found


def _searched(values: np.ndarray, thresholds: np.ndarray, counts: np.ndarray) -> np.ndarray:
    ends = np.cumsum(counts)
    parts = zip(values, (ends - counts).tolist(), ends.tolist())
    return np.array([np.searchsorted(thresholds[first:last], row) + first for row, first, last in parts])
