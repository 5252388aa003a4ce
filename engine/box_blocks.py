"""A forest as boxes, group of trees by group, cut to the cells that the rows of a block are put into."""

from __future__ import annotations

from typing import Iterator, NamedTuple, Sequence

import numpy as np

from .box_forest import Box, BoxForest, Leaves, taken, touched
from .cells import MOST_CELLS, SAMPLE, grow_cells
from .models import Model
from .tree_apply import Check
from .trees import Shape

LEAVES_AT_ONCE = 500_000  # bounds the memory of turning trees into boxes
LEAF_BYTES = 2 + 4 + 8  # label, tree and place, besides low and high ranks


def bytes_of_boxes(shapes: Sequence[Shape], model: Model) -> int:
    """Return how many bytes *model* and its trees as boxes take."""
    leaves = sum(shape.leaves.size for shape in shapes)
    return sum(array.nbytes for array in model.arrays.values()) + leaves * (8 * len(model.predictors) + LEAF_BYTES)


class CellRows:
    """The rows of one cell: their number, values (bands, rows), and the lowest and the highest of every band."""

    def __init__(self, values: np.ndarray) -> None:
        self.values, self.size = np.ascontiguousarray(values), values.shape[1]
        self.lowest, self.highest = self.values.min(axis=1), self.values.max(axis=1)


def cells_of(features: np.ndarray, sizes: Sequence[int]) -> Iterator[tuple[slice, CellRows]]:
    """Yield where each cell of *features* (rows, predictors) stands, and its rows; *sizes* are their numbers."""
    end = 0
    for size in sizes:
        rows, end = slice(end, end + size), end + size
        if size:
            yield rows, CellRows(features[rows].T)


class Group(NamedTuple):
    """Some consecutive trees: the number of the first one, and of its first leaf among all, trees end to end."""

    forest: BoxForest
    first_tree: int
    first_leaf: int


class Reached(NamedTuple):
    """What some rows can reach of a group: *leaves*, and their *numbers* among all leaves of the group (int64)."""

    group: Group
    numbers: np.ndarray
    leaves: Leaves

    def within(self, cell: CellRows) -> tuple[Reached, Box]:
        """Return what the rows of *cell* can reach, and their box."""
        box = self.group.forest.box(cell.lowest, cell.highest)
        here = touched(self.leaves, box)
        return Reached(self.group, self.numbers.take(here), taken(self.leaves, here)), box


class BoxBlocks:
    """All trees of a forest; used by many threads, and by other processes of this program, which are sent it.

    trees, leaves : their numbers
    """

    def __init__(self, shapes: Sequence[Shape], labels: np.ndarray, predictors: int, check: Check) -> None:
        """*labels* (all leaves,) are class positions, trees end to end; a group's leaves are sorted by them."""
        self.groups: list[Group] = []
        self.trees = self.leaves = 0
        for group in _grouped(shapes):
            check()
            end = self.leaves + sum(shape.leaves.size for shape in group)
            forest = BoxForest.of(group, labels[self.leaves : end], predictors)
            self.groups.append(Group(forest, self.trees, self.leaves))
            self.trees, self.leaves = self.trees + len(group), end

    def cell_tree(self, features: np.ndarray, cell_rows: int, check: Check) -> Shape:
        """Return the tree whose leaves are cells of about *cell_rows* of *features*, float32 (rows, predictors)."""
        size = min(SAMPLE, len(features))
        sample = np.ascontiguousarray(features[np.arange(size) * len(features) // size].T)
        positions = np.zeros(sample.shape)
        for forest, _, _ in self.groups:
            for band, (thresholds, below) in enumerate(zip(forest.thresholds, forest.splits_below)):
                check()
                positions[band] += below[np.searchsorted(thresholds, sample[band])]
        return grow_cells(sample, positions, min(MOST_CELLS, -(-len(features) // cell_rows)), check)

    def reached(self, features: np.ndarray, check: Check) -> Iterator[Reached]:
        """Yield of each group what any of *features* (rows, predictors) may reach: a forest's all leaves are many."""
        lowest, highest = features.min(axis=0), features.max(axis=0)
        for group in self.groups:
            check()
            leaves = group.forest.leaves
            numbers = touched(leaves, group.forest.box(lowest, highest))
            yield Reached(group, numbers, taken(leaves, numbers))


def _grouped(shapes: Sequence[Shape]) -> Iterator[list[Shape]]:
    """Yield the trees in groups of about `LEAVES_AT_ONCE` leaves."""
    group: list[Shape] = []
    leaves = 0
    for shape in shapes:
        group.append(shape)
        leaves += shape.leaves.size
        if leaves >= LEAVES_AT_ONCE:
            yield group
            group, leaves = [], 0
    if group:
        yield group
