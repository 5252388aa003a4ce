"""A forest as boxes: each leaf is a box with a label, and in every tree exactly one box contains a row.

All comparisons are between whole numbers: a value's rank is the number of its band's thresholds that lie below it, so
``value <= threshold number k`` is ``rank <= k``, exactly.
"""

from __future__ import annotations

from typing import Mapping, NamedTuple, Sequence

import numpy as np

from .shared_arrays import SharedArrays
from .tree_apply import rounded_down
from .trees import Shape


class Box(NamedTuple):
    """Lowest and highest rank in every band, both included: int64 (bands,)."""

    low: np.ndarray
    high: np.ndarray


class Leaves(NamedTuple):
    """Leaves of many trees, class by class, within a class tree by tree.

    low, high : lowest and highest rank in every band, both included: uint16 or uint32 (bands, leaves)
    label : position of the class, uint16 (leaves,)
    tree : number of the tree, int32 (leaves,)
    """

    low: np.ndarray
    high: np.ndarray
    label: np.ndarray
    tree: np.ndarray


class BoxForest:
    """Some trees as boxes; another process of this program can be sent them without a copy.

    trees : their number
    leaves : all of them
    thresholds : for every band, ascending float32
    all_thresholds, starts : the same in one row, and where each band begins in it
    splits_below : for every band, the number of splits whose threshold is one of the first 0, 1, …
    """

    def __init__(self, trees: int, arrays: Mapping[str, np.ndarray]) -> None:
        """*arrays* are those that `of` makes."""
        self.trees, self._arrays = trees, SharedArrays.of(arrays)
        self.leaves = Leaves(*(self._arrays[name] for name in Leaves._fields))
        self.all_thresholds = self._arrays["threshold"]
        ends = np.cumsum(self._arrays["sizes"])
        self.starts = ends - self._arrays["sizes"]
        self.thresholds = np.split(self.all_thresholds, ends[:-1])
        self.splits_below = np.split(self._arrays["below"], ends[:-1] + np.arange(1, ends.size))

    def __reduce__(self) -> tuple:
        return BoxForest, (self.trees, self._arrays.sent)

    @staticmethod
    def of(shapes: Sequence[Shape], labels: np.ndarray, predictors: int) -> BoxForest:
        """Return the trees *shapes* as boxes; *labels* (all leaves,) are class positions, trees end to end."""
        feature = np.concatenate([shape.feature for shape in shapes])
        threshold = rounded_down(np.concatenate([shape.threshold for shape in shapes]))
        rank = np.zeros(feature.size, dtype=np.int32)
        thresholds, below = [], []
        for band in range(predictors):
            nodes = np.flatnonzero(feature == band)
            values, rank[nodes], counts = np.unique(threshold[nodes], return_inverse=True, return_counts=True)
            thresholds.append(values)
            below.append(np.concatenate(([0], np.cumsum(counts))))
        sizes = np.array([values.size for values in thresholds])
        labels = labels.astype(np.uint16)  # of 16 bits, which numpy sorts fastest
        order = np.argsort(labels, kind="stable")
        boxes = _leaf_boxes(shapes, feature, rank, sizes).take(order, axis=0)
        tree = np.repeat(np.arange(len(shapes), dtype=np.int32), [shape.leaves.size for shape in shapes])
        arrays = {
            **Leaves(boxes[:, 0].T, boxes[:, 1].T, labels[order], tree[order])._asdict(),
            "threshold": np.concatenate(thresholds),
            "below": np.concatenate(below),
            "sizes": sizes,
        }
        return BoxForest(len(shapes), arrays)

    def box(self, lowest: np.ndarray, highest: np.ndarray) -> Box:
        """Return the box between two rows of values (bands,)."""
        return Box(
            *(
                np.array([np.searchsorted(values, end) for values, end in zip(self.thresholds, ends)])
                for ends in (lowest, highest)
            )
        )


def _leaf_boxes(shapes: Sequence[Shape], feature: np.ndarray, rank: np.ndarray, highest: np.ndarray) -> np.ndarray:
    """Return lowest and highest ranks (leaves, 2, bands), walking down all trees together, level by level.

    *feature*, *rank* (nodes,): the splits, trees end to end; *highest* (bands,): the highest rank there is.
    """
    bands = highest.size
    sizes = np.array([shape.right.size for shape in shapes])
    nodes = np.cumsum(sizes) - sizes
    right = np.concatenate([shape.right for shape in shapes]) + np.repeat(nodes, sizes)
    kind = np.uint16 if highest.max(initial=0) < np.iinfo(np.uint16).max else np.uint32
    is_leaf = feature < 0
    number = np.cumsum(is_leaf) - 1
    leaves = np.empty((int(number[-1]) + 1, 2, bands), dtype=kind)
    boxes = np.zeros((nodes.size, 2, bands), dtype=kind)
    boxes[:, 1] = highest
    while nodes.size:
        ended = is_leaf.take(nodes)
        leaves[number.take(nodes[ended])] = boxes[ended]
        split = np.flatnonzero(~ended)
        nodes = nodes.take(split)
        boxes = boxes.take(np.repeat(split, 2), axis=0)  # those of the left and the right child, in turn
        ends = boxes.reshape(-1)
        upper = 4 * bands * np.arange(nodes.size) + feature.take(nodes) + bands  # the left child's end, in all numbers
        lower, border = upper + bands, rank.take(nodes).astype(kind)
        ends[upper] = np.minimum(ends.take(upper), border)
        ends[lower] = np.maximum(ends.take(lower), border + kind(1))
        nodes = np.column_stack((nodes + 1, right.take(nodes))).ravel()
    leaves[np.greater(leaves[:, 0], leaves[:, 1]).any(axis=1), 0] = np.iinfo(kind).max  # no row, so no box gets there
    return leaves


def touched(leaves: Leaves, box: Box) -> np.ndarray:
    """Return the numbers of the leaves that have a point in common with *box*, ascending."""
    inside = np.ones(leaves.label.size, dtype=bool)
    kind = leaves.low.dtype
    for low, high, first, last in zip(leaves.low, leaves.high, box.low.astype(kind), box.high.astype(kind)):
        inside &= high >= first
        inside &= low <= last
    return np.flatnonzero(inside)


def taken(leaves: Leaves, numbers: np.ndarray) -> Leaves:
    """Return some of *leaves*."""
    low, high, label, tree = leaves
    return Leaves(low.take(numbers, axis=1), high.take(numbers, axis=1), label.take(numbers), tree.take(numbers))
