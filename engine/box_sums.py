"""Sums of leaf values over all trees of a forest for millions of rows, without walking its trees.

The rows of a block are put into small cells, and of the forest's leaves only those that touch a cell matter there: some
dozen of each tree.  They become the bits of a field.  A table per band tells for each interval of values which leaves
agree with it, so the AND of one table row per band leaves a single bit in the field: the leaf of that tree.  The
product of such a bit and a de Bruijn number has a highest byte of its own for every place, which finds the value.

The values are added tree by tree in float64, as walking the trees does: not a bit of the sum differs.
"""

from __future__ import annotations

import itertools
from typing import Callable, Iterator, Sequence

import numpy as np

from .box_bands import BITS, agreeing, edges_of_leaves, table_of_leaves
from .box_blocks import BoxBlocks, CellRows, Reached, cells_of
from .box_forest import Box, taken
from .tree_apply import Check
from .trees import Shape

BLOCK_ROWS = 2**22  # the more rows share a cell's tables the better
FEWEST_TREES = 10  # fewer are not worth tables
ROW_BYTES = 4  # its place in a cell
CELL_ROWS = 16_000  # fewer do not pay for a cell's tables, more have too many leaves
MORE_CELL_ROWS, SMALL_TREE = 32_000, 32  # where trees have fewer leaves, more rows are better
TABLE_BYTES = 700_000  # of the tables that are used together: they stay in the cache
WORDS_AT_ONCE = 60_000  # of rows that are looked up together: they stay in the cache
VALUES_AT_ONCE = 2**17  # of rows that are added up together
FEWEST_AT_ONCE = 256  # rows
BYTES = 256  # different ones

# What costs how many nanoseconds: a row that walks a tree, a field that is read, a word that is looked up, or is made.
WALK, FIELD, WORD, ENTRY = 50.0, 3.0, 0.4, 5.0

# De Bruijn numbers of 8, 16, 32 and 64 bits: the highest 3, 4, 5, 6 bits of their products with powers of two are all
# different (Leiserson, Prokop and Randall 1998, Using de Bruijn sequences to index a 1 in a computer word).
FACTORS = {
    8 * number.itemsize: number
    for number in (np.uint8(0x17), np.uint16(0x09AF), np.uint32(0x077CB531), np.uint64(0x03F79D71B4CB0A89))
}

Values = Callable[[np.ndarray], np.ndarray]
Finish = Callable[[np.ndarray], np.ndarray]
Walk = Callable[[np.ndarray, Check], np.ndarray]


def highest_bytes(width: int) -> np.ndarray:
    """Return the highest byte of the product of each power of two with the factor for *width* bits: uint8 (width,).

    None is 0, which stands for a field without a bit.
    """
    kind = FACTORS[width].dtype.type
    powers = np.left_shift(kind(1), np.arange(width, dtype=kind))
    return np.right_shift(powers * FACTORS[width], kind(width - 8)).astype(np.uint8)


HIGHEST_BYTES = {width: highest_bytes(width) for width in FACTORS}


def probabilities(counts: np.ndarray, weights: np.ndarray, ends: np.ndarray) -> Values:
    """Return the function that gives weight · (n_c + 1) / (n + k) for some leaves, float64 (numbers, classes).

    *counts* (leaves, classes) are numbers of samples, *weights* (trees,) those of trees, *ends* (trees,) the number of
    the leaf behind the last one of each.
    """

    def values(leaves: np.ndarray) -> np.ndarray:
        shares = counts.take(leaves, axis=0).astype(np.float64)
        shares += 1
        shares /= shares.sum(axis=1, keepdims=True)  # of whole numbers: exact
        shares *= weights.take(np.searchsorted(ends, leaves, side="right"))[:, np.newaxis]
        return shares

    return values


class BoxSums:
    """Adds up the values of the leaves that rows fall into; used by many threads."""

    def __init__(self, boxes: BoxBlocks, leaf_values: Values, start: np.ndarray | None = None) -> None:
        """Take *boxes* whose leaves all have the same label.

        Parameters
        ----------
        leaf_values : function (numbers of leaves, all trees end to end) -> float64 (numbers,) or (numbers, classes)
        start : float64 (columns,), what is there before the first tree; trees take turns over the columns
        """
        self.boxes, self.trees, self.leaf_values = boxes, boxes.trees, leaf_values
        self.start = np.zeros(1) if start is None else start
        self.cell_rows = max(CELL_ROWS, min(MORE_CELL_ROWS, CELL_ROWS * SMALL_TREE * boxes.trees // boxes.leaves))

    def cell_tree(self, features: np.ndarray, check: Check) -> Shape:
        """Return the tree of the cells of *features*, float32 (rows, predictors), finite, for `fill`."""
        return self.boxes.cell_tree(features, self.cell_rows, check)

    def fill(
        self,
        result: np.ndarray,
        features: np.ndarray,
        sizes: Sequence[int],
        finish: Finish,
        walk: Walk,
        check: Check,
    ) -> np.ndarray:
        """Fill *result* (bands, rows) with what *finish* makes of the sums of *features*, and return it.

        Parameters
        ----------
        features : float32 (rows, predictors), finite, cell by cell with *sizes* rows each
        finish : function (sums (columns, some rows) or (columns, some rows, classes)) -> (bands, some rows)
        walk : function (some features, check) -> (bands, some rows), the same tree by tree: it is asked where a cell
            has too many leaves
        """
        reached = list(self.boxes.reached(features, check)) if len(features) else []
        for rows, cell in cells_of(features, sizes):
            sums = self._sums(cell, reached, check)
            result[:, rows] = walk(features[rows], check) if sums is None else finish(sums)
        return result

    def _sums(self, cell: CellRows, reached: list[Reached], check: Check) -> np.ndarray | None:
        """Return the sums of a cell, or None where walking the trees is faster."""
        parts = []
        for part in reached:
            check()
            parts.append(_Fields(*part.within(cell), cell))
        if sum(fields.cost for fields in parts) > WALK * self.trees * cell.size:
            return None
        sums = np.empty((0,))
        for fields in parts:
            check()
            values = self.leaf_values(fields.numbers)
            if not sums.size:
                sums = np.empty((self.start.size, cell.size, *values.shape[1:]))
                sums[:] = self.start.reshape(-1, *[1] * values.ndim)
            fields.add(sums, values, check)
        return sums


class _Fields:
    """The leaves of some trees that touch a cell as bits: each tree has as many fields of *width* bits as it needs.

    A tree with one leaf there has none: it adds the same to all rows.

    numbers : of the leaves among all of the forest
    counts, fields : leaves and fields of each tree, int64 (trees,)
    open : the leaves of trees with fields; place : their bits: int64, ascending
    cost : nanoseconds for all rows, roughly
    """

    def __init__(self, reached: Reached, box: Box, cell: CellRows) -> None:
        (forest, self.first_tree, first_leaf), numbers, leaves = reached
        self.numbers, self.size = numbers + first_leaf, cell.size
        self.counts = np.bincount(leaves.tree, minlength=forest.trees)
        is_open = self.counts > 1
        counts = self.counts[is_open]
        self.width = min(FACTORS, key=lambda width: _reading(counts, width, len(cell.values)))
        fields = -(-counts // self.width)
        self.fields = np.zeros_like(self.counts)
        self.fields[is_open] = fields
        self.words = -(-int(fields.sum()) * self.width // BITS)
        self.open = np.flatnonzero(np.repeat(is_open, self.counts))
        if self.open.size < numbers.size:
            leaves = taken(leaves, self.open)
        shift = (np.cumsum(fields) - fields) * self.width - (np.cumsum(counts) - counts)
        self.place = np.arange(self.open.size) + np.repeat(shift, counts)
        self.edges = edges_of_leaves(cell, leaves.low, leaves.high, forest, box)
        self.entries = self.words * self.edges.size
        self.cost = self.size * _reading(counts, self.width, len(self.edges.rows)) + ENTRY * self.entries

    def add(self, sums: np.ndarray, values: np.ndarray, check: Check) -> None:
        """Add *values* (leaves, …) of each row's leaves to *sums* (columns, rows, …), tree by tree."""
        bytes_of_rows = self._bytes(check)
        leaf = np.full((len(bytes_of_rows), BYTES), len(values))  # of rows whose leaf is in another field: adds nothing
        field, bit = np.divmod(self.place, self.width)
        leaf[field, HIGHEST_BYTES[self.width].take(bit)] = self.open
        values = np.concatenate((values, np.full((1, *values.shape[1:]), -0.0)))  # -0.0 is all that changes no number
        step = max(FEWEST_AT_ONCE, VALUES_AT_ONCE * len(values) // values.size)
        for start in range(0, self.size, step):
            check()
            rows = slice(start, min(start + step, self.size))
            self._add(sums[:, rows], bytes_of_rows[:, rows], leaf, values)

    def _add(self, sums: np.ndarray, bytes_of_rows: np.ndarray, leaf: np.ndarray, values: np.ndarray) -> None:
        found = np.empty(sums.shape[1:])
        pairs = zip(_tables(leaf, values), bytes_of_rows)
        first_leaves = np.cumsum(self.counts) - self.counts
        for tree, (first, fields) in enumerate(zip(first_leaves.tolist(), self.fields.tolist()), self.first_tree):
            column = sums[tree % len(sums)]
            if not fields:
                column += values[first]
            for table, places in itertools.islice(pairs, fields):
                table.take(places, axis=0, out=found, mode="clip")
                column += found

    def _bytes(self, check: Check) -> np.ndarray:
        """Return for each field the byte that tells the leaf of each row: uint8 (fields, rows)."""
        per_word = BITS // self.width
        found = np.empty((self.words * per_word, self.size), dtype=np.uint8)
        blocks = min(self.words, max(1, int(np.ceil(np.sqrt(8 * self.entries / TABLE_BYTES)))))
        bounds = [number * self.words // blocks for number in range(blocks + 1)] if blocks else []
        for first, last in zip(bounds[:-1], bounds[1:]):
            self._read(first, last, found[first * per_word : last * per_word], check)
        return found

    def _read(self, first: int, last: int, found: np.ndarray, check: Check) -> None:
        """Find the bytes of the fields in the words from *first* to *last*."""
        leaves = slice(*np.searchsorted(self.place, (BITS * first, BITS * last)).tolist())
        place, words = self.place[leaves] - BITS * first, last - first
        table = table_of_leaves(self.edges, leaves, place, words)
        factor = FACTORS[self.width]
        step = max(FEWEST_AT_ONCE, WORDS_AT_ONCE // words)
        agree = np.empty((min(step, self.size), words), dtype=np.uint64)
        other = np.empty_like(agree)
        for start in range(0, self.size, step):
            check()
            stop = min(start + step, self.size)
            a, b = agree[: stop - start], other[: stop - start]
            agreeing(table, start, stop, a, b)
            fields = a.view(factor.dtype)
            np.multiply(fields, factor, out=fields)
            found[:, start:stop] = fields.view(np.uint8)[:, factor.itemsize - 1 :: factor.itemsize].T


def _tables(leaf: np.ndarray, values: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the values (bytes, …) of each field's bytes; *leaf* (fields, bytes) are places in *values*."""
    step = max(1, VALUES_AT_ONCE * len(values) // (BYTES * values.size))  # a call for each would stop other threads
    for first in range(0, len(leaf), step):
        yield from values.take(leaf[first : first + step], axis=0)


def _reading(counts: np.ndarray, width: int, bands: int) -> float:
    """Return how many nanoseconds a row takes in trees with *counts* leaves, with fields of *width* bits."""
    return int((-(-counts // width)).sum()) * (FIELD + WORD * bands * width / BITS)
