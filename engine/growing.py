"""One tree of a forest, grown as Earth Engine's library (Smile 1.5) grows it.

scikit-learn finds the splits (for CART `scanned_growing` and `response_growing` do); the leaf limit, the merging of
sister leaves, leaf statistics and importance are ours.  docs/differences.md lists what cannot be equal.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from . import trees

SCALED_EXPONENT = 64  # predictors are scaled to about 2^64: values closer than 1e-7 would be equal to scikit-learn
NO_GAIN = 1e-12  # a split must gain more than this: Smile asks for more than 0
SMALLEST_REGRESSION_LEAF = 2  # Smile's regression trees demand two samples in a leaf


class GrownTree(NamedTuple):
    """A tree and what the samples it was grown on say about it.

    values : (nodes, …) int64 samples per class, or float64 number and sum of targets, in every node
    importance : float64 (predictors,), the sum of the split scores, not weighted by the number of samples
    leaf_of_row : int64 (rows,), the leaf (a node number) of every row of the table, grown on or not
    """

    shape: trees.Shape
    values: np.ndarray
    importance: np.ndarray
    leaf_of_row: np.ndarray

    @property
    def leaf_values(self) -> np.ndarray:
        """The part of ``values`` that belongs to the leaves, from left to right."""
        return self.values[self.shape.leaves]


class Grower:
    """What all trees on one table share; used by several threads at once.

    features : float32 (rows, predictors), finite
    max_nodes : most leaves in a tree, or None
    """

    def __init__(
        self,
        features: np.ndarray,
        min_leaf_population: int,
        max_nodes: int | None = None,
        variables_per_split: int | None = None,
    ) -> None:
        self.exponents = _exponents(features)
        self.features = np.ldexp(features, self.exponents).astype(np.float32)
        self.max_nodes = max_nodes
        self.fruitless = _chances_of_constants(features.shape[1], variables_per_split)
        self.settings = {
            "max_features": variables_per_split,
            "min_samples_leaf": min_leaf_population,
            "min_samples_split": max(2, 2 * min_leaf_population),
        }

    def classification_tree(
        self, labels: np.ndarray, class_count: int, rows: np.ndarray, random_state: int
    ) -> GrownTree:
        """Grow on *rows* with repetitions; *labels* (all rows,) are positions of classes."""
        from sklearn.tree import DecisionTreeClassifier

        estimator = DecisionTreeClassifier(random_state=random_state, min_impurity_decrease=NO_GAIN, **self.settings)
        shape, leaf_of_row = self._grown(estimator, labels.astype(np.float64), rows)
        return self.classified(shape, leaf_of_row, labels, class_count, rows)

    def classified(
        self, shape: trees.Shape, leaf_of_row: np.ndarray, labels: np.ndarray, class_count: int, rows: np.ndarray
    ) -> GrownTree:
        """Count the classes of a whole tree, keep MAX_NODES leaves, merge sisters that say the same."""
        pairs = leaf_of_row[rows] * class_count + labels[rows]
        counts = np.bincount(pairs, minlength=shape.right.size * class_count).reshape(-1, class_count)
        counts = trees.node_sums(shape.right, counts[shape.leaves])
        tree = self._cut(shape, counts, trees.gini_gains(shape.right, counts), leaf_of_row)
        merged = trees.collapse(
            tree.shape, trees.single_label(tree.shape.right, tree.values.argmax(axis=1)[tree.shape.leaves])
        )
        return GrownTree(merged.shape, tree.values[merged.origins], tree.importance, merged.position[tree.leaf_of_row])

    def regression_tree(self, targets: np.ndarray, rows: np.ndarray, random_state: int) -> GrownTree:
        """Grow on *rows* with repetitions; *targets* (all rows,) float64."""
        from sklearn.tree import DecisionTreeRegressor

        # Centred and scaled targets: scikit-learn calls a node pure by an absolute 2.2e-16.
        centred = targets - targets.mean()
        centred = np.ldexp(centred, -_exponent(np.abs(centred).max()))
        shape, leaf_of_row = self._grown(
            DecisionTreeRegressor(random_state=random_state, **self.settings), centred, rows
        )
        if self.fruitless is not None:  # where Smile would have drawn only constants; scikit-learn draws on
            chances = self.fruitless[self._constant_predictors(shape, leaf_of_row[rows], rows)]
            lots = np.random.default_rng(random_state).random(shape.right.size)
            cut = trees.collapse(shape, np.flatnonzero((shape.right > 0) & (lots < chances)))
            shape, leaf_of_row = cut.shape, cut.position[leaf_of_row]
        nodes = leaf_of_row[rows]
        values = np.column_stack(
            (
                np.bincount(nodes, minlength=shape.right.size).astype(np.float64),
                np.bincount(nodes, weights=targets[rows], minlength=shape.right.size),
            )
        )
        values = trees.node_sums(shape.right, values[shape.leaves])
        return self._cut(shape, values, trees.square_scores(shape.right, values[:, 0], values[:, 1]), leaf_of_row)

    def _grown(self, estimator, targets: np.ndarray, rows: np.ndarray) -> tuple[trees.Shape, np.ndarray]:
        """Return the whole tree and the leaf of every row of the table."""
        tree = estimator.fit(self.features[rows], targets[rows], check_input=False).tree_
        return _shape(tree, self.exponents), tree.apply(self.features)

    def _constant_predictors(self, shape: trees.Shape, leaf_of_sample: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Return for every node how many predictors are constant over its samples."""
        order = np.argsort(leaf_of_sample, kind="stable")
        starts = np.searchsorted(leaf_of_sample[order], shape.leaves)
        features = self.features[rows[order]]
        lowest, highest = (
            trees.node_totals(shape.right, limit.reduceat(features, starts, axis=0), limit)
            for limit in (np.minimum, np.maximum)
        )
        return (lowest == highest).sum(axis=1)

    def _cut(self, shape: trees.Shape, values: np.ndarray, gains: np.ndarray, leaf_of_row: np.ndarray) -> GrownTree:
        """Keep the best splits only when there are more leaves than MAX_NODES."""
        if self.max_nodes is not None and shape.leaves.size > self.max_nodes:
            cut = trees.collapse(shape, trees.beyond_limit(shape.right, gains, self.max_nodes))
            shape, values, gains = cut.shape, values[cut.origins], gains[cut.origins]
            leaf_of_row = cut.position[leaf_of_row]
        splits = np.flatnonzero(shape.right)
        importance = np.bincount(shape.feature[splits], weights=gains[splits], minlength=self.features.shape[1])
        return GrownTree(shape, values, importance, leaf_of_row)


def _chances_of_constants(predictors: int, drawn: int | None) -> np.ndarray | None:
    """Return for 0, 1, … constant predictors the probability that all *drawn* are constant; None if all are drawn."""
    if drawn is None or drawn == predictors:
        return None
    return np.array([math.comb(constant, drawn) / math.comb(predictors, drawn) for constant in range(predictors + 1)])


def _exponent(largest: float) -> int:
    return int(np.frexp(largest)[1]) if largest > 0 else 0


def _exponents(features: np.ndarray) -> np.ndarray:
    """Return the power of two that brings each predictor near 2^64: exact, and far from scikit-learn's 1e-7."""
    largest = np.abs(features).max(axis=0)
    return np.where(largest > 0, SCALED_EXPONENT - np.frexp(largest)[1], 0).astype(np.int32)


def _shape(tree, exponents: np.ndarray) -> trees.Shape:
    """Return scikit-learn's tree as our arrays, thresholds in the units of the predictors."""
    splits = np.flatnonzero(tree.children_left >= 0)
    if not np.array_equal(tree.children_left[splits], splits + 1):
        raise RuntimeError("scikit-learn grew a tree that is not in preorder")
    feature = np.full(tree.node_count, -1, dtype=np.int32)
    feature[splits] = tree.feature[splits]
    threshold = np.zeros(tree.node_count)
    threshold[splits] = np.ldexp(tree.threshold[splits], -exponents[feature[splits]])
    right = np.zeros(tree.node_count, dtype=np.int32)
    right[splits] = tree.children_right[splits]
    return trees.Shape(feature, threshold, right)
