"""Exact votes of a whole forest for millions of rows without walking its trees: box bitsets.

The rows of a block are put into small cells; of the forest's boxes only those that touch a cell's own box matter there,
and each becomes a bit.  A table per band tells for each interval of values which leaves agree with it, so the leaves of
a row are the AND of one table row per band, and its votes are numbers of bits.
"""

from __future__ import annotations

from typing import Callable, Sequence

import numpy as np

from .box_blocks import BoxBlocks, CellRows, Reached
from .box_tables import Counter
from .tree_apply import Check
from .trees import Shape

CELL_ROWS = 8_000
WALK = 60  # what a row costs in one tree, where one in one band of one word of bits costs 1
WORTH_LEAVING = 0.9  # of a cell's rows that stay: a larger share is not worth taking the others out

Vote = Callable[[np.ndarray, Check], np.ndarray]


class BoxVoter:
    """Finds the label that most trees give; used by many threads."""

    def __init__(
        self, shapes: Sequence[Shape], labels: np.ndarray, predictors: int, classes: int, check: Check
    ) -> None:
        """*labels* (all leaves,) are class positions, trees end to end."""
        self.trees, self.classes = len(shapes), classes
        self.boxes = BoxBlocks(shapes, labels, predictors, check)

    def cell_tree(self, features: np.ndarray, check: Check) -> Shape:
        """Return the tree of the cells of *features*, float32 (rows, predictors), finite, for `winners`."""
        return self.boxes.cell_tree(features, CELL_ROWS, check)

    def winners(self, features: np.ndarray, sizes: Sequence[int], walk: Vote, check: Check) -> np.ndarray:
        """Return the position of the class with most votes for each row, the lowest of equal ones: uint16 (rows,).

        *features* is float32 (rows, predictors), finite, cell by cell with *sizes* rows each; *walk* returns the same
        for some rows, tree by tree: it is asked where a cell has too many leaves.
        """
        result = np.empty(len(features), dtype=np.uint16)
        for rows, cell, reached in self.boxes.reached(features, sizes, check):
            result[rows] = self._winners(cell, reached, walk, check)
        return result

    def _winners(self, cell: CellRows, reached: list[Reached], walk: Vote, check: Check) -> np.ndarray:
        """Return the winner of each row; a row that the trees to come cannot change leaves the cell early."""
        winners = np.empty(cell.size, dtype=np.uint16)
        left = np.arange(cell.size)  # the rows that are still counted
        votes = np.zeros((self.classes, left.size), dtype=np.uint16 if self.trees < 2**16 else np.uint32)
        counted = 0
        for part in reached:
            check()
            counter = Counter(part, cell)
            if not counted and counter.cost > WALK * counter.trees * left.size:
                return walk(np.ascontiguousarray(cell.values.T), check)
            counter.add(votes, check)
            counted += counter.trees
            if self.trees // 2 < counted < self.trees:
                is_open = _leads(votes) <= self.trees - counted
                if np.count_nonzero(is_open) < WORTH_LEAVING * left.size:
                    winners[left] = _first_highest(votes)
                    still = np.flatnonzero(is_open)
                    left, votes = left.take(still), votes.take(still, axis=1)
                    if not left.size:
                        return winners
                    cell = CellRows(cell.values.take(still, axis=1))
        winners[left] = _first_highest(votes)
        return winners


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
