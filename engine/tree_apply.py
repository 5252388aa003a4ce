"""Which leaf each row falls into: scikit-learn's compiled trees when they are there, numpy otherwise.

Both compare float32 values with float64 thresholds, so both give the same leaves.
"""

from __future__ import annotations

from typing import Callable, Iterator, Sequence

import numpy as np

from .trees import Shape

Check = Callable[[], None]
Applier = Callable[[np.ndarray], np.ndarray]  # float32 (rows, predictors), finite -> leaf number of each row


def leaf_appliers(shapes: Sequence[Shape], predictors: int) -> Appliers:
    """Return for each tree the function that numbers the leaf of every row, leaves counted from the left."""
    return Appliers(shapes, predictors)


class Appliers:
    """Functions that are made when they are wanted, used by many threads.

    To import scikit-learn takes as long as to classify a million pixels, and boxes often spare the walk.
    """

    def __init__(self, shapes: Sequence[Shape], predictors: int) -> None:
        self._shapes, self._predictors = shapes, predictors
        self._ready: list[Applier | None] = [None] * len(shapes)

    def __iter__(self) -> Iterator[Applier]:
        return (self[number] for number in range(len(self._shapes)))

    def __getitem__(self, number: int) -> Applier:
        ready = self._ready[number]
        if ready is None:
            ready = self._ready[number] = _applier(self._shapes[number], self._predictors)
        return ready


def _applier(shape: Shape, predictors: int) -> Applier:
    try:
        from sklearn.tree._tree import Tree
    except ImportError:
        return _numpy_applier(shape)
    return _compiled_applier(Tree, shape, predictors)


def _leaf_numbers(shape: Shape) -> np.ndarray:
    return np.cumsum(shape.feature < 0) - 1


def _compiled_applier(tree_type, shape: Shape, predictors: int) -> Applier:
    """Rebuild scikit-learn's tree from its plain arrays; the nodes' type differs between its versions."""
    tree = tree_type(predictors, np.array([1], dtype=np.intp), 1)
    nodes = np.zeros(shape.right.size, dtype=tree.__getstate__()["nodes"].dtype)
    split = shape.right > 0
    nodes["left_child"] = np.where(split, np.arange(1, split.size + 1), -1)
    nodes["right_child"] = np.where(split, shape.right, -1)
    nodes["feature"] = np.where(split, shape.feature, -2)
    nodes["threshold"] = np.where(split, shape.threshold, -2)
    nodes["n_node_samples"] = nodes["weighted_n_node_samples"] = 1
    values = np.zeros((split.size, 1, 1))
    tree.__setstate__({"max_depth": 1, "node_count": split.size, "nodes": nodes, "values": values})
    numbers = _leaf_numbers(shape)
    return lambda features: numbers[tree.apply(features)]


def _numpy_applier(shape: Shape) -> Applier:
    """Walk all rows down the tree together, level by level; rows that reached a leaf drop out."""
    feature, right = shape.feature.astype(np.intp), shape.right.astype(np.intp)
    threshold = rounded_down(shape.threshold)
    numbers = _leaf_numbers(shape)

    def apply(features: np.ndarray) -> np.ndarray:
        leaves = np.zeros(len(features), dtype=np.intp)
        if feature[0] < 0:
            return leaves
        flat = features.ravel()
        active = np.arange(0, flat.size, features.shape[1])  # where each row starts in flat
        rows = np.arange(len(features))
        node = np.zeros(len(features), dtype=np.intp)
        while rows.size:
            above = flat[active + feature[node]] > threshold[node]
            node = np.where(above, right[node], node + 1)
            inside = feature[node] >= 0
            leaves[rows[~inside]] = node[~inside]
            rows, active, node = rows[inside], active[inside], node[inside]
        return numbers[leaves]

    return apply


def rounded_down(threshold: np.ndarray) -> np.ndarray:
    """Return the largest float32 not above each float64: ``x <= threshold`` stays the same for every float32 x."""
    with np.errstate(over="ignore"):
        single = threshold.astype(np.float32)
    return np.where(single > threshold, np.nextafter(single, np.float32(-np.inf)), single).astype(np.float32)
