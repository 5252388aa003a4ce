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
from .cells import Cells
from .tree_apply import Check
from .trees import Shape

CELL_ROWS = 8_000
WALK = 60  # what a row costs in one tree, where one in one band of one word of bits costs 1

Vote = Callable[[np.ndarray, Check], np.ndarray]


class BoxVoter:
    """Finds the label that most trees give; used by many threads."""

    def __init__(
        self, shapes: Sequence[Shape], labels: np.ndarray, predictors: int, classes: int, check: Check
    ) -> None:
        """*labels* (all leaves,) are class positions, trees end to end."""
        self.trees, self.classes = len(shapes), classes
        self.boxes = BoxBlocks(shapes, labels, predictors, check)

    def cells(self, features: np.ndarray, threads: int, check: Check) -> Cells:
        """Put *features*, float32 (rows, predictors), finite, into cells for `winners`."""
        return self.boxes.cells(features, CELL_ROWS, threads, check)

    def winners(self, features: np.ndarray, sizes: Sequence[int], walk: Vote, check: Check) -> np.ndarray:
        """Return the position of the class with most votes for each row, the lowest of equal ones: uint16 (rows,).

        *features* is float32 (rows, predictors), finite, cell by cell with *sizes* rows each; *walk* returns the same
        for some rows, tree by tree: it is asked where a cell has too many leaves.
        """
        result = np.empty(len(features), dtype=np.uint16)
        for cell, reached in self.boxes.reached(features, sizes, check):
            result[cell.rows] = self._winners(cell, reached, walk, check)
        return result

    def _winners(self, cell: CellRows, reached: list[Reached], walk: Vote, check: Check) -> np.ndarray:
        counters = []
        for part in reached:
            check()
            counters.append(Counter(part, cell))
        if sum(counter.cost for counter in counters) > WALK * self.trees * cell.size:
            return walk(np.ascontiguousarray(cell.values.T), check)
        votes = np.zeros((self.classes, cell.size), dtype=np.uint16 if self.trees < 2**16 else np.uint32)
        for counter in counters:
            counter.add(votes, check)
        return _first_highest(votes)


def _first_highest(votes: np.ndarray) -> np.ndarray:
    """Return the first row with the highest of *votes* (classes, rows) in every column."""
    classes = np.uint32(len(votes))
    best = np.zeros(votes.shape[1], dtype=np.uint32)
    for number, row in enumerate(votes, 1):
        score = np.multiply(row, classes, dtype=np.uint32)
        score += classes - np.uint32(number)
        np.maximum(best, score, out=best)
    return classes - np.uint32(1) - best % classes
