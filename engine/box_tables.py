"""The leaves that touch a cell as bits, and the votes of its rows as numbers of bits."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .box_bands import BITS, Edges, agreeing, edges_of_leaves, table_of_leaves
from .box_blocks import CellRows, Reached
from .box_forest import touched
from .tree_apply import Check

LAYERS = (2, 1)  # how many leaves share a column of bits: as many columns as possible of the first number, and so on
TABLE_BYTES = 1_000_000  # of the tables that are used together: they stay in the cache
WORDS_AT_ONCE = 30_000  # of rows that are looked up together: they stay in the cache
COUNTED_AT_ONCE = 16_000  # words
FEWEST_ROWS = 256  # that are looked up together
MOST_WORDS = 31  # of a class: no byte of their sum overflows
BYTES = np.uint64(0x00FF00FF00FF00FF)


class Counter:
    """Counts the votes of some trees in a cell.

    The class with most leaves has no bits: its votes are what is left.
    """

    def __init__(self, reached: Reached, cell: CellRows) -> None:
        group, _, leaves = reached
        self.trees, self.size = group.forest.trees, cell.size
        box = group.forest.box(cell.lowest, cell.highest)
        here = touched(leaves, box)
        counts = np.bincount(leaves.label.take(here))
        self.rest = int(counts.argmax())
        before = int(counts[: self.rest].sum())
        here = np.delete(here, slice(before, before + int(counts[self.rest])))
        counts[self.rest] = 0
        self.counts, self.present = counts, np.flatnonzero(counts)
        self.edges: Edges | None = None
        if not here.size:
            return
        order, self.columns = _columns(leaves.label.take(here), leaves.tree.take(here), counts.size)
        here = here.take(order)
        edges = edges_of_leaves(cell, leaves.low.take(here, axis=1), leaves.high.take(here, axis=1), group.forest, box)
        if len(edges.rows):
            self.edges = edges

    @property
    def cost(self) -> float:
        """What counting costs; 1 is what a word costs one row in one band."""
        if self.edges is None:
            return 0
        words = sum(columns.layers * columns.words for columns in self.columns)
        return words * (self.size * (len(self.edges.rows) + 2) + 6 * self.edges.size)

    def add(self, votes: np.ndarray, check: Check) -> None:
        """Add the trees' votes to *votes* (classes, rows)."""
        votes[self.rest] += self.trees
        if self.edges is None:  # every leaf fills the cell
            votes[self.present] += self.counts[self.present, np.newaxis].astype(votes.dtype)
            votes[self.rest] -= votes.dtype.type(self.counts.sum())
            return
        joined = np.empty((sum(columns.words for columns in self.columns), self.size), dtype=np.uint64)
        leaf = word = 0
        for columns in self.columns:
            self._join(self.edges, columns, leaf, joined[word : word + columns.words], check)
            leaf += columns.layers * columns.place.size
            word += columns.words
        _count_bytes(joined, max(1, COUNTED_AT_ONCE // self.size))
        found = self._ones(joined)
        votes[self.present] += found
        votes[self.rest] -= found.sum(axis=0, dtype=votes.dtype)

    def _join(self, edges: Edges, columns: _Columns, leaf: int, joined: np.ndarray, check: Check) -> None:
        """Fill *joined* (words, rows) with the columns that have a leaf of each row; *leaf* is their first leaf."""
        size = 8 * columns.layers * columns.words * edges.size
        # Tables of half the leaves have up to half the intervals, too.
        blocks = min(columns.words, int(np.ceil(np.sqrt(size / TABLE_BYTES))))
        bounds = [number * columns.words // blocks for number in range(blocks + 1)]
        for first, last in zip(bounds[:-1], bounds[1:]):
            here = slice(*np.searchsorted(columns.place, (BITS * first, BITS * last)).tolist())
            place, words = columns.place[here] - BITS * first, last - first
            tables = []
            for layer in range(columns.layers):
                start = leaf + layer * columns.place.size
                leaves = slice(start + here.start, start + here.stop)
                tables.append(table_of_leaves(edges, leaves, place, words))
            step = max(FEWEST_ROWS, WORDS_AT_ONCE // words)
            buffers = np.empty((3, min(step, self.size), words), dtype=np.uint64)
            for start in range(0, self.size, step):
                check()
                stop = min(start + step, self.size)
                agree, other, spare = buffers[:, : stop - start]
                for number, table in enumerate(tables):
                    agreeing(table, start, stop, other if number else agree, spare)
                    if number:
                        np.bitwise_or(agree, other, out=agree)
                joined[first:last, start:stop] = agree.T

    def _ones(self, counted: np.ndarray) -> np.ndarray:
        """Return the sums of the bytes in the words of every class that is present: unsigned (classes, rows)."""
        sums = np.zeros((self.present.size, self.size), dtype=np.uint64)
        words = np.sum([columns.words_of_class for columns in self.columns], axis=0)
        wide = bool(words.max() > MOST_WORDS)
        if wide:
            _add_neighbours(counted)
        first = 0
        for columns in self.columns:
            for label, row in zip(self.present.tolist(), sums):
                last = first + int(columns.words_of_class[label])
                if last > first:
                    row += np.add.reduce(counted[first:last], axis=0)
                first = last
        if not wide:
            _add_neighbours(sums)
        if self.trees >= 2**16:
            return sums.view(np.uint16).reshape(*sums.shape, 4).sum(axis=2, dtype=np.uint32)
        sums *= np.uint64(0x0001000100010001)
        return sums.view(np.uint16)[:, 3::4]


class _Columns(NamedTuple):
    """Columns of bits that *layers* leaves share: of one tree and class, one at most contains a row.

    place : the columns in use, int64, ascending; each class begins with a new word
    words : how many there are
    words_of_class : int64 (classes,)
    """

    layers: int
    place: np.ndarray
    words: int
    words_of_class: np.ndarray


def _columns(label: np.ndarray, tree: np.ndarray, classes: int) -> tuple[np.ndarray, list[_Columns]]:
    """Return an order of leaves, which are sorted by class and tree, and the columns that they fill.

    All that stand in the first layer come first, then those in the second, …
    """
    orders, columns = [], []
    left = np.arange(label.size)
    for layers in LAYERS:
        some, trees = (label, tree) if left.size == label.size else (label.take(left), tree.take(left))
        if layers == 1:
            counts = np.bincount(some, minlength=classes)
            words = -(-counts // BITS)
            shift = BITS * (np.cumsum(words) - words) - (np.cumsum(counts) - counts)
            columns.append(_Columns(1, np.arange(left.size) + np.repeat(shift, counts), int(words.sum()), words))
            orders.append(left)
            break
        # Of each class only as many columns as fill whole words.
        runs = np.append(0, np.flatnonzero((trees[1:] != trees[:-1]) | (some[1:] != some[:-1])) + 1)
        full = np.diff(runs, append=left.size) // layers
        counts = np.bincount(some.take(runs), full, classes).astype(np.intp)
        words = counts // BITS
        before = np.cumsum(full) - full - (np.cumsum(counts) - counts).take(some.take(runs))  # in its class
        full = np.clip((BITS * words).take(some.take(runs)) - before, 0, full)
        place = np.arange(BITS * int(words.sum()))
        if not place.size:
            continue
        leaf = layers * place + np.repeat(runs - layers * (np.cumsum(full) - full), full)
        columns.append(_Columns(layers, place, int(words.sum()), words))
        orders += [left.take(leaf + layer) for layer in range(layers)]
        rest = np.ones(left.size, dtype=bool)
        for layer in range(layers):
            rest[leaf + layer] = False
        left = left.take(np.flatnonzero(rest))
        if not left.size:
            break
    return np.concatenate(orders), columns


def _add_neighbours(words: np.ndarray) -> None:
    """Replace both bytes of every 16 bits of *words* by their sum."""
    low = words & BYTES
    np.right_shift(words.view(np.uint32), np.uint32(8), out=words.view(np.uint32))
    words &= BYTES
    words += low


def _count_bytes(words: np.ndarray, step: int) -> None:
    """Replace every byte of *words* by the number of its ones (Knuth, The Art of Computer Programming 4A, 7.1.3).

    *step* rows at once, so that they stay in the cache.
    """
    spare = np.empty_like(words[:step])
    for start in range(0, len(words), step):
        some = words[start : start + step]
        other = spare[: len(some)]
        halves, shifted = some.view(np.uint32), other.view(np.uint32)  # numpy shifts them faster than 64 bits
        np.right_shift(halves, np.uint32(1), out=shifted)
        np.bitwise_and(other, np.uint64(0x5555555555555555), out=other)
        np.subtract(some, other, out=some)
        np.right_shift(halves, np.uint32(2), out=shifted)
        np.bitwise_and(other, np.uint64(0x3333333333333333), out=other)
        np.bitwise_and(some, np.uint64(0x3333333333333333), out=some)
        np.add(some, other, out=some)
        np.right_shift(halves, np.uint32(4), out=shifted)
        np.add(some, other, out=some)
        np.bitwise_and(some, np.uint64(0x0F0F0F0F0F0F0F0F), out=some)
