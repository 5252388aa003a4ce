"""The order in which Smile scans a predictor: an unstable quicksort, so equal values come in an order of their own.

A classification tree depends on it, since thresholds are tried only between neighbours of unlike class (reference
2.6).  The sort is the quicksort of Press et al., Numerical Recipes (1992), §8.2, on all ranges of one depth at once.
"""

from __future__ import annotations

import numpy as np

LARGEST_INSERTION = 7  # elements that are sorted by straight insertion, which keeps the order of equal values


def scan_order(values: np.ndarray) -> np.ndarray:
    """Return the row numbers of *values* (rows,) in Smile's order."""
    values, rows = values.copy(), np.arange(values.size)
    first, last = np.array([0]), np.array([values.size - 1])
    while True:
        large = last - first >= LARGEST_INSERTION
        if not large.any():
            return rows[np.argsort(values, kind="stable")]
        first, last = _partition(values, rows, first[large], last[large])


def _partition(
    values: np.ndarray, rows: np.ndarray, first: np.ndarray, last: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Partition the ranges *first* to *last* in place; return the ranges that are left to sort."""

    def swap(left: np.ndarray, right: np.ndarray) -> None:
        for array in (values, rows):
            array[left], array[right] = array[right], array[left]

    def exchange(left: np.ndarray, right: np.ndarray) -> None:
        wrong = values[left] > values[right]
        swap(left[wrong], right[wrong])

    swap((first + last) // 2, first + 1)
    exchange(first, last)
    exchange(first + 1, last)
    exchange(first, first + 1)
    pivot = values[first + 1]
    # Two scans move inwards and stop at each value that is not on its side; the stops are swapped pair by pair.
    rising, number = _places(first + 2, last)
    ups = _Stops(rising, number, values[rising] >= pivot[number], first.size)
    falling, number = (part[::-1] for part in _places(first + 1, last - 1))
    downs = _Stops(falling, number, values[falling] <= pivot[number], first.size)
    pair, number = _places(np.zeros_like(first), np.minimum(ups.counts, downs.counts) - 1)
    up, down = ups.places[ups.starts[number] + pair], downs.places[downs.starts[number] + pair]
    swapped = up <= down
    swaps = np.bincount(number[swapped], minlength=first.size)
    swap(up[swapped], down[swapped])
    upper, lower = ups.at(swaps, last + 1), downs.at(swaps, first)
    # Each scan also stops at what the other one has brought over; both may have met in one place, which counts once.
    met = (swaps > 0) & (ups.at(swaps - 1, last + 1) == downs.at(swaps - 1, first))
    latest = swaps - 1 - met
    upper = np.minimum(upper, downs.at(latest, last + 1))
    lower = np.maximum(lower, ups.at(latest, first))
    swap(first + 1, lower)
    return np.column_stack((first, upper)).ravel(), np.column_stack((lower - 1, last)).ravel()


class _Stops:
    """Where a scan stops in each range, in the order of the scan."""

    def __init__(self, places: np.ndarray, number: np.ndarray, stops: np.ndarray, ranges: int) -> None:
        order = np.argsort(number[stops], kind="stable")
        self.places = places[stops][order]
        self.counts = np.bincount(number[stops], minlength=ranges)
        self.starts = np.cumsum(self.counts) - self.counts

    def at(self, rank: np.ndarray, otherwise: np.ndarray) -> np.ndarray:
        """Return the stop of that *rank* (from 0) in each range, or *otherwise* where there is none."""
        there = (rank >= 0) & (rank < self.counts)
        return np.where(there, self.places[np.where(there, self.starts + rank, 0)], otherwise)


def _places(first: np.ndarray, last: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return all places of the ranges, one range after the other, and the number of the range of each."""
    sizes = last - first + 1
    number = np.repeat(np.arange(first.size), sizes)
    return np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes) + first[number], number
