"""Exact votes of a whole forest for millions of rows without walking its trees: box bitsets.

The rows of a block are put into small cells; of the forest's boxes only those that touch a cell's own box matter there,
and each becomes a bit.  A table per band tells for each interval of values which leaves agree with it, so the leaves of
a row are the AND of one table row per band, and its votes are numbers of bits.
"""

from __future__ import annotations

from typing import Callable, Sequence

import numpy as np

from .box_blocks import BoxBlocks, CellRows, Reached, cells_of
from .box_tables import Counter
from .tree_apply import Check
from .trees import Shape

CELL_ROWS = 8_000
WALK = 150  # what a row costs in one tree, where one in one band of one word of bits costs 1
MOST_CLASSES = 256  # whose votes of a piece's cells take some tens of megabytes
WORTH_LEAVING = 0.9  # of a cell's rows that stay: a larger share is not worth taking the others out

Vote = Callable[[np.ndarray, Check], np.ndarray]


class BoxVoter:
    """Finds the label that most trees give; used by many threads."""

    def __init__(self, boxes: BoxBlocks, classes: int) -> None:
        """The labels of *boxes* are positions among so many *classes*."""
        self.boxes, self.trees, self.classes = boxes, boxes.trees, classes

    def cell_tree(self, features: np.ndarray, check: Check) -> Shape:
        """Return the tree of the cells of *features*, float32 (rows, predictors), finite, for `winners`."""
        return self.boxes.cell_tree(features, CELL_ROWS, check)

    def winners(self, features: np.ndarray, sizes: Sequence[int], walk: Vote, check: Check) -> np.ndarray:
        """Return the position of the class with most votes for each row, the lowest of equal ones: uint16 (rows,).

        *features* is float32 (rows, predictors), finite, cell by cell with *sizes* rows each; *walk* returns the same
        for some rows, tree by tree: it is asked where a cell has too many leaves.
        """
        result = np.empty(len(features), dtype=np.uint16)
        counts = [_Count(cell, self, result[rows]) for rows, cell in cells_of(features, sizes)]
        for reached in self.boxes.reached(features, check) if counts else []:
            for count in counts:
                check()
                count.add(reached, walk, check)
        return result


class _Count:
    """The votes of the rows of one cell; a row that the trees to come cannot change leaves the cell early."""

    def __init__(self, cell: CellRows, voter: BoxVoter, winners: np.ndarray) -> None:
        """*winners* (rows,) hears who wins."""
        self._cell, self._trees, self._winners = cell, voter.trees, winners
        self._left = np.arange(cell.size)  # the rows that are still counted
        self._votes = np.zeros((voter.classes, cell.size), dtype=np.uint16 if voter.trees < 2**16 else np.uint32)
        self._counted = 0

    def add(self, reached: Reached, walk: Vote, check: Check) -> None:
        """Count the votes of some more trees; *walk* does all where there are too many leaves."""
        if not self._left.size:
            return
        counter = Counter(reached, self._cell)
        if not self._counted and counter.cost > WALK * counter.trees * self._left.size:
            self._winners[:] = walk(np.ascontiguousarray(self._cell.values.T), check)
            self._keep(np.empty(0, dtype=np.intp))
            return
        counter.add(self._votes, check)
        self._counted += counter.trees
        if self._counted == self._trees:
            self._winners[self._left] = _first_highest(self._votes)
        elif self._counted > self._trees // 2:
            is_open = _leads(self._votes) <= self._trees - self._counted
            if np.count_nonzero(is_open) < WORTH_LEAVING * self._left.size:
                self._winners[self._left] = _first_highest(self._votes)
                self._keep(np.flatnonzero(is_open))

    def _keep(self, rows: np.ndarray) -> None:
        """Go on with these of the *rows* that are left."""
        self._left, self._votes = self._left.take(rows), self._votes.take(rows, axis=1)
        if rows.size:
            self._cell = CellRows(self._cell.values.take(rows, axis=1))


def _leads(votes: np.ndarray) -> np.ndarray:
    """Return how many votes the first class has more than the second one in every column of *votes* (classes, rows)."""
    first, second = np.zeros((2, votes.shape[1]), dtype=votes.dtype)
    for row in votes:
        np.maximum(second, np.minimum(first, row), out=second)
        np.maximum(first, row, out=first)
    return first - second


def _first_highest(votes: np.ndarray) -> np.ndarray:
    """Return the first row with the highest of *votes* (classes, rows) in every column."""
    classes = np.uint32(len(votes))
    best = np.zeros(votes.shape[1], dtype=np.uint32)
    for number, row in enumerate(votes, 1):
        score = np.multiply(row, classes, dtype=np.uint32)
        score += classes - np.uint32(number)
        np.maximum(best, score, out=best)
    return classes - np.uint32(1) - best % classes
