"""Which leaves agree with a value: the intervals of all bands of one cell, one table of bits for all."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .box_blocks import CellRows
from .box_forest import Box, BoxForest
from .intervals import COLUMN, intervals

BITS = 64  # of a word
NARROW = 3  # times as many words as values: then a table is worth to be made smaller
POWERS = np.ldexp(1.0, np.arange(32))  # of the bits of an int32, which numpy makes of float64 faster than a uint32
POWERS[31] *= -1


class Table(NamedTuple):
    """Which leaves *agree* with each interval, uint64 (intervals, words); the interval of every value (bands, rows)."""

    agree: np.ndarray
    rows: np.ndarray


class Edges(NamedTuple):
    """Where leaves begin and end, counted in the intervals that these ends make of a cell's values.

    The intervals of all bands are numbered in one row; the last one of a band lies above all values.

    begins, ends : the first interval of every leaf, and the first one behind it: int64 (bands, leaves)
    rows : the interval of every value, int64 (bands, rows)
    starts : the first interval of every band, and the number of all: int64 (bands + 1,)
    """

    begins: np.ndarray
    ends: np.ndarray
    rows: np.ndarray
    starts: np.ndarray

    @property
    def size(self) -> int:
        """The number of intervals."""
        return int(self.starts[-1])

    def of(self, leaves: slice) -> Edges:
        """Return the edges of some *leaves*."""
        return Edges(self.begins[:, leaves], self.ends[:, leaves], self.rows, self.starts)

    def narrowed(self) -> Edges:
        """Return the same without intervals where nothing begins or ends, and without bands where nothing does.

        One band stays at least.
        """
        used = np.zeros(self.size, dtype=bool)
        used[self.begins] = used[self.ends] = used[self.starts[:-1]] = used[self.starts[1:] - 1] = True
        row = np.cumsum(used) - 1
        starts = np.append(row.take(self.starts[:-1]), row[-1] + 1)
        lengths = np.diff(starts)
        bands = np.flatnonzero(lengths > 2)
        if not bands.size:
            bands = np.zeros(1, dtype=np.intp)
        kept = np.append(0, np.cumsum(lengths[bands]))
        shift = (starts[bands] - kept[:-1])[COLUMN]
        begins, ends, rows = (row.take(part[bands]) for part in (self.begins, self.ends, self.rows))
        if bands.size < lengths.size:
            begins, ends, rows = (part - shift for part in (begins, ends, rows))
        return Edges(begins, ends, rows, kept)


def edges_of_leaves(cell: CellRows, low: np.ndarray, high: np.ndarray, forest: BoxForest, box: Box) -> Edges:
    """Return the edges of leaves that touch *box*, the box of *cell*; *low*, *high* (bands, leaves) are their ranks.

    A band without a threshold in the box is left out.
    """
    bands = np.flatnonzero(box.high > box.low)
    first, last = box.low[bands], box.high[bands]
    lengths = last - first + 2
    starts = np.append(0, np.cumsum(lengths))
    above = (starts[1:] - 1)[COLUMN]
    begins = np.maximum(low[bands], first[COLUMN].astype(low.dtype)).astype(np.intp)
    begins += (starts[:-1] - first)[COLUMN]
    ends = np.minimum(high[bands], last[COLUMN].astype(low.dtype)).astype(np.intp)
    ends += above - last[COLUMN]
    used = np.zeros(int(starts[-1]), dtype=bool)
    used[begins] = used[ends] = True
    used[starts[:-1]] = used[starts[1:] - 1] = False
    places = np.flatnonzero(used)
    counts = np.diff(np.searchsorted(places, starts))
    numbers = places + np.repeat(forest.starts[bands] + first - starts[:-1] - 1, counts)
    used[starts[:-1]] = used[starts[1:] - 1] = True
    row = np.cumsum(used) - 1
    rows = np.empty((0, cell.size), dtype=np.intp)
    if bands.size:
        values, lowest, highest = cell.values[bands], cell.lowest[bands], cell.highest[bands]
        rows = intervals(values, lowest, highest, forest.all_thresholds.take(numbers), counts)
        rows += 2 * np.arange(bands.size)[COLUMN]
    return Edges(row.take(begins), row.take(ends), rows, np.append(row.take(starts[:-1]), np.count_nonzero(used)))


def table_of_leaves(edges: Edges, leaves: slice, place: np.ndarray, words: int) -> Table:
    """Return which of some *leaves* agree with each interval; *place* (leaves,) are their bits."""
    edges = edges.of(leaves)
    if edges.size * words > NARROW * edges.rows.size:
        edges = edges.narrowed()
    index = np.concatenate((edges.begins, edges.ends))
    index *= 2 * words
    index += place >> 5
    weights = np.broadcast_to(POWERS.take(place & 31), index.shape)
    # A bit changes where its leaf begins and where it ends, once in a row: sums of powers of two are exact.  Behind
    # the last interval of a band no leaf is left, so the next band begins with zeros.
    toggles = np.bincount(index.ravel(), weights.ravel(), edges.size * 2 * words)
    agree = toggles.astype(np.int32).view(np.uint64).reshape(edges.size, words)
    return Table(np.bitwise_xor.accumulate(agree, axis=0, out=agree), edges.rows)


def agreeing(table: Table, start: int, stop: int, found: np.ndarray, spare: np.ndarray) -> None:
    """Fill *found* (rows, words) with the leaves that the rows from *start* to *stop* agree with in all bands."""
    for number, rows in enumerate(table.rows):
        table.agree.take(rows[start:stop], axis=0, out=spare if number else found, mode="clip")
        if number:
            np.bitwise_and(found, spare, out=found)
