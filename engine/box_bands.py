"""Which leaves agree with a value: for one band of one cell, a table of bits."""

from __future__ import annotations

from typing import NamedTuple, Sequence, Tuple

import numpy as np

from .intervals import intervals

BITS = 64  # of a word
Table = Tuple[np.ndarray, np.ndarray]  # of bits, uint64 (intervals, words), and the interval of each row
POWERS = np.ldexp(1.0, np.arange(32))


class Band(NamedTuple):
    """Where leaves begin and end in one band, counted in the intervals that these ends make of a cell's values.

    begins, begin_rows : the leaves whose lower end lies in the cell, ascending, and their first intervals
    ends, end_rows : the leaves whose upper end lies in the cell, ascending, and the first intervals behind them
    intervals : how many there are
    rows : the interval of every row's value
    """

    begins: np.ndarray
    begin_rows: np.ndarray
    ends: np.ndarray
    end_rows: np.ndarray
    intervals: int
    rows: np.ndarray


def ends_of_leaves(values: np.ndarray, low: np.ndarray, high: np.ndarray, thresholds: np.ndarray, lowest: int) -> Band:
    """Return the ends of leaves among the *thresholds* that lie between a cell's *values*.

    *low*, *high* (leaves,) are ranks; the first of *thresholds* has the rank *lowest*.
    """
    begins, ends = np.flatnonzero(low > lowest), np.flatnonzero(high < lowest + thresholds.size)
    begin, end = low.take(begins) - np.intp(lowest), high.take(ends) - np.intp(lowest - 1)
    used = np.zeros(thresholds.size + 1, dtype=bool)
    used[begin] = used[end] = True
    row = np.cumsum(used)
    rows = intervals(values, thresholds.take(np.flatnonzero(used) - 1))
    return Band(begins, row.take(begin), ends, row.take(end), int(row[-1]) + 1, rows)


def table_of_bits(band: Band, leaves: slice, place: np.ndarray, words: int) -> Table:
    """Return which of some *leaves* agree with each interval, and the interval of each row.

    *place* (leaves,) are their bits.  The table is uint64 (intervals, *words*); what is one interval to the leaves has
    one row.
    """
    begins = slice(*np.searchsorted(band.begins, (leaves.start, leaves.stop)))
    ends = slice(*np.searchsorted(band.ends, (leaves.start, leaves.stop)))
    begin_place = place.take(band.begins[begins] - leaves.start)
    places = np.concatenate((begin_place, place.take(band.ends[ends] - leaves.start)))
    rows = np.concatenate((band.begin_rows[begins], band.end_rows[ends]))
    used = np.zeros(band.intervals, dtype=bool)
    used[rows] = True
    row = np.cumsum(used)
    size = int(row[-1]) + 1
    # Every bit changes where its leaf begins and where it ends, so that sums of powers of two are exact.
    index = row.take(rows) * (2 * words) + (places >> 5)
    toggles = np.bincount(index, POWERS.take(places & 31), size * 2 * words)
    table = toggles.astype(np.uint32).view(np.uint64).reshape(size, words)
    agree = np.zeros(words * BITS, dtype=bool)
    agree[place] = True
    agree[begin_place] = False
    table[0] = np.packbits(agree, bitorder="little").view(np.uint64)
    np.bitwise_xor.accumulate(table, axis=0, out=table)
    return table, row.take(band.rows)


def tables_of_bits(bands: Sequence[Band], leaves: slice, place: np.ndarray, words: int) -> list[Table]:
    """Return `table_of_bits` of every band in which the leaves differ; of one band where they differ in none."""
    tables = [table_of_bits(band, leaves, place, words) for band in bands]
    return [pair for pair in tables if len(pair[0]) > 1] or tables[:1]


def agreeing(tables: Sequence[Table], start: int, stop: int, found: np.ndarray, spare: np.ndarray) -> None:
    """Fill *found* (rows, words) with the leaves that the rows from *start* to *stop* agree with in all bands."""
    for number, (table, rows) in enumerate(tables):
        table.take(rows[start:stop], axis=0, out=spare if number else found, mode="clip")
        if number:
            np.bitwise_and(found, spare, out=found)
