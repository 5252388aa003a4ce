"""The leaves that touch a cell as bits, and the votes of its rows as numbers of bits."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .box_bands import BITS, Band, agreeing, ends_of_leaves, tables_of_bits
from .box_blocks import CellRows, Reached
from .box_forest import Leaves
from .tree_apply import Check

LAYERS = 2  # leaves that share a column of bits
TABLE_BYTES = 1_500_000  # of the tables that are used together: they stay in the cache
MOST_WORDS = 31  # of a layer in a block: no byte of their sum overflows
WORDS_AT_ONCE = 60_000  # of rows that are counted together: they stay in the cache
FEWEST_ROWS = 256  # that are counted together
BYTES = np.uint64(0x00FF00FF00FF00FF)


class Counter:
    """Counts the votes of some trees in a cell.

    The class with most leaves has no bits: its votes are what is left.
    """

    def __init__(self, reached: Reached, cell: CellRows) -> None:
        (group, _, leaves), box = reached.within(cell)
        self.trees, self.size = group.forest.trees, cell.size
        counts = np.bincount(leaves.label)
        self.rest = int(counts.argmax())
        before = int(counts[: self.rest].sum())
        rest = slice(before, before + int(counts[self.rest]))
        leaves = Leaves(*(np.delete(part, rest, axis=-1) for part in leaves))
        counts[self.rest] = 0
        self.counts, self.present = counts, np.flatnonzero(counts)
        self.bands: list[Band] = []
        if not self.present.size:
            return
        self.bits = _bits(leaves)
        for values, low, high, thresholds, first, last in zip(cell.values, *leaves[:2], group.forest.thresholds, *box):
            band = ends_of_leaves(values, low, high, thresholds[first:last], first)
            if band.intervals > 1:
                self.bands.append(band)

    @property
    def cost(self) -> float:
        """What counting costs; 1 is what a word costs one row in one band."""
        if not self.bands:
            return 0
        making = 6 * self._intervals / self._blocks
        return LAYERS * self.bits.words * (self.size * (len(self.bands) + 1) + making)

    @property
    def _intervals(self) -> int:
        return sum(band.intervals for band in self.bands)

    @property
    def _blocks(self) -> int:
        """In how many parts the words are counted: tables of half the leaves have up to half the intervals, too."""
        size = 8 * LAYERS * self.bits.words * self._intervals
        fewest = -(-self.bits.words // MOST_WORDS)
        return min(self.bits.words, max(fewest, int(np.ceil(np.sqrt(size / TABLE_BYTES)))))

    def add(self, votes: np.ndarray, check: Check) -> None:
        """Add the trees' votes to *votes* (classes, rows)."""
        votes[self.rest] += self.trees
        if not self.bands:  # every leaf fills the cell
            votes[self.present] += self.counts[self.present, np.newaxis].astype(votes.dtype)
            votes[self.rest] -= votes.dtype.type(self.counts.sum())
            return
        blocks = self._blocks
        bounds = np.arange(blocks + 1) * self.bits.words // blocks
        for first, last in zip(bounds[:-1], bounds[1:]):
            self._add_block(int(first), int(last), votes, check)

    def _add_block(self, first: int, last: int, votes: np.ndarray, check: Check) -> None:
        """Add the votes in the words from *first* to *last*."""
        leaves = slice(*np.searchsorted(self.bits.column, (BITS * first, BITS * last)))
        words = (last - first) * LAYERS
        place = self.bits.column[leaves] + (self.bits.layer[leaves] * (last - first) - first) * BITS
        tables = tables_of_bits(self.bands, leaves, place, words)
        firsts = self.bits.firsts
        here = slice(np.searchsorted(firsts, first, "right") - 1, np.searchsorted(firsts, last))
        firsts, present = np.maximum(firsts[here] - first, 0), self.present[here]
        step = max(FEWEST_ROWS, WORDS_AT_ONCE // words)
        agree = np.empty((min(step, self.size), words), dtype=np.uint64)
        other = np.empty_like(agree)
        for start in range(0, self.size, step):
            check()
            stop = min(start + step, self.size)
            a, b = agree[: stop - start], other[: stop - start]
            agreeing(tables, start, stop, a, b)
            found = _ones(a, b, firsts).astype(votes.dtype)
            votes[present, start:stop] += found
            votes[self.rest, start:stop] -= found.sum(axis=0, dtype=votes.dtype)


class _Bits(NamedTuple):
    """Where the leaves of a cell stand as bits; they are sorted by class and tree.

    Of all leaves of one tree and class one at most contains a row, so `LAYERS` of them share a column: the layers are
    joined by OR before the ones are counted.

    column : the column of every leaf, int64 (leaves,); each class begins with a new word
    layer : int64 (leaves,)
    words : number of words of a layer
    firsts : the first word of every class
    """

    column: np.ndarray
    layer: np.ndarray
    words: int
    firsts: np.ndarray


def _bits(leaves: Leaves) -> _Bits:
    new_class = leaves.label[1:] != leaves.label[:-1]
    new_run = new_class | (leaves.tree[1:] != leaves.tree[:-1])
    starts = np.concatenate(([0], np.flatnonzero(new_run) + 1))  # of runs of one class and tree
    lengths = np.diff(starts, append=leaves.label.size)
    columns = -(-lengths // LAYERS)
    before = np.cumsum(columns) - columns
    runs = np.searchsorted(starts, np.concatenate(([0], np.flatnonzero(new_class) + 1)))  # the first of each class
    words = -(-np.add.reduceat(columns, runs) // BITS)
    firsts = np.cumsum(words) - words
    before += np.repeat(BITS * firsts - before[runs], np.diff(runs, append=starts.size))
    within = np.arange(leaves.label.size) - np.repeat(starts, lengths)
    return _Bits(np.repeat(before, lengths) + within // LAYERS, within % LAYERS, int(words.sum()), firsts)


def _ones(agree: np.ndarray, buffer: np.ndarray, firsts: np.ndarray) -> np.ndarray:
    """Return (classes, rows), the number of ones in the words (rows, words) of each class, all layers joined."""
    words = agree.shape[1] // LAYERS
    joined = buffer.ravel()[: len(agree) * words].reshape(-1, words)
    joined[:] = agree[:, :words]
    for start in range(words, agree.shape[1], words):
        np.bitwise_or(joined, agree[:, start : start + words], out=joined)
    _count_bytes(joined, agree.ravel()[: joined.size].reshape(joined.shape))
    found = np.add.reduceat(joined, firsts, axis=1)
    found = (found & BYTES) + ((found >> np.uint64(8)) & BYTES)
    found *= np.uint64(0x0001000100010001)
    found >>= np.uint64(48)
    return found.T


def _count_bytes(words: np.ndarray, buffer: np.ndarray) -> None:
    """Replace every byte of *words* by the number of its ones (Knuth, The Art of Computer Programming 4A, 7.1.3)."""
    np.right_shift(words, np.uint64(1), out=buffer)
    np.bitwise_and(buffer, np.uint64(0x5555555555555555), out=buffer)
    np.subtract(words, buffer, out=words)
    np.right_shift(words, np.uint64(2), out=buffer)
    np.bitwise_and(buffer, np.uint64(0x3333333333333333), out=buffer)
    np.bitwise_and(words, np.uint64(0x3333333333333333), out=words)
    np.add(words, buffer, out=words)
    np.right_shift(words, np.uint64(4), out=buffer)
    np.add(words, buffer, out=words)
    np.bitwise_and(words, np.uint64(0x0F0F0F0F0F0F0F0F), out=words)
