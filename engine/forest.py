"""Random forest with Earth Engine's semantics (Smile 1.5): bagging, growth, votes, probabilities, importance.

scikit-learn grows the trees; the draw of the samples, the leaf limit, the merging of sister leaves, leaf
statistics, out-of-bag estimates and importance are ours.  docs/differences.md lists what cannot be equal.
"""

from __future__ import annotations

import threading
from typing import Any, Callable, Mapping, NamedTuple

import numpy as np

from . import trees
from .errors import ModelFileError, SettingError
from .learners import CLASSIFICATION, MULTIPROBABILITY, PROBABILITY, RAW, RAW_REGRESSION, REGRESSION
from .models import Model
from .progress import Progress
from .training import Fit, Samples, require_sklearn
from .tree_apply import Check, leaf_appliers
from .tree_text import classification_text, regression_text
from .votes import VoteCounter
from .workers import ordered_map

SCALED_EXPONENT = 64  # predictors are scaled to about 2^64: values closer than 1e-7 would be equal to scikit-learn
NO_GAIN = 1e-12  # a split must gain more than this: Smile asks for more than 0
SORTED_ROWS = 4096  # fewer are not worth sorting
NODE_BYTES = 2 + 8 + 4  # feature, threshold, right child


class GrownTree(NamedTuple):
    """One tree with what its own samples say about it.

    leaf_values : int64 (leaves, classes) samples per class, or float64 (leaves, 2) number and sum of targets
    importance : float64 (predictors,)
    rows : the samples it did not see; predictions : its class position or value for each of them
    """

    shape: trees.Shape
    leaf_values: np.ndarray
    importance: np.ndarray
    rows: np.ndarray
    predictions: np.ndarray


def fit_random_forest(
    samples: Samples,
    mode: str,
    threads: int,
    progress: Progress,
    *,
    number_of_trees: int,
    variables_per_split: int | None,
    min_leaf_population: int,
    bag_fraction: float,
    max_nodes: int | None,
    seed: int,
) -> Fit:
    """Grow a forest; each tree's draw and splits come from (*seed*, number of the tree) alone."""
    require_sklearn()
    predictors = len(samples.predictors)
    if variables_per_split is None:
        variables_per_split = max(1, int(np.sqrt(predictors)))
    if variables_per_split > predictors:
        raise SettingError(
            f"VARIABLES_PER_SPLIT is {variables_per_split}, but there are only {predictors} predictors: give fewer."
        )
    growing = _Growing(samples, mode, variables_per_split, min_leaf_population, bag_fraction, max_nodes, seed)
    votes = _OutOfBag(samples, mode)
    grown = []
    for tree in ordered_map(growing.grow, range(number_of_trees), threads, progress):
        votes.add(tree)
        grown.append(tree._replace(rows=np.empty(0, np.intp), predictions=np.empty(0)))
        progress(len(grown), number_of_trees)
    importance = np.sum([tree.importance for tree in grown], axis=0)
    return Fit(_arrays(grown, votes.weights, mode), importance, votes.error())


def largest_forest(rows: int, predictors: int, classes: int, mode: str, settings: Mapping[str, Any]) -> int:
    """Return the bytes that a forest cannot exceed (reference section 8): every tree at its bound of leaves."""
    bag = max(1, rows * settings["bag_fraction"])
    leaf = settings["min_leaf_population"] if mode == CLASSIFICATION else max(2, settings["min_leaf_population"])
    leaves = max(1, int(bag // leaf))
    if settings["max_nodes"] is not None:
        leaves = min(leaves, settings["max_nodes"])
    leaf_bytes = 4 * classes if mode == CLASSIFICATION else 4 + 8
    return int(settings["number_of_trees"] * ((2 * leaves - 1) * NODE_BYTES + leaves * leaf_bytes))


def explain_forest(model: Model) -> dict[str, Any]:
    """Return ``numberOfTrees``, ``outOfBagErrorEstimate`` and the text of the ``trees``."""
    arrays, start, texts = model.arrays, 0, []
    for shape in forest_shapes(model):
        leaves = slice(start, start + shape.leaves.size)
        start = leaves.stop
        if model.mode == CLASSIFICATION:
            values = [item.value for item in model.classes]
            texts.append(classification_text(shape, arrays["leaf_counts"][leaves], model.predictors, values))
        else:
            population, mean = arrays["leaf_population"][leaves], arrays["leaf_mean"][leaves]
            texts.append(regression_text(shape, population, mean, model.predictors))
    return {
        "numberOfTrees": len(texts),
        "outOfBagErrorEstimate": model.training.get("out_of_bag_error"),
        "trees": texts,
    }


class _Growing:
    """What all trees of one forest share; `grow` runs in several threads at once."""

    def __init__(
        self,
        samples: Samples,
        mode: str,
        variables_per_split: int,
        min_leaf_population: int,
        bag_fraction: float,
        max_nodes: int | None,
        seed: int,
    ) -> None:
        self.classify = mode == CLASSIFICATION
        self.class_count = len(samples.classes)
        self.exponents = _exponents(samples.features)
        self.features = np.ldexp(samples.features, self.exponents).astype(np.float32)
        self.labels = samples.labels
        # Centred and scaled targets: scikit-learn calls a node pure by an absolute 2.2e-16.
        self.targets = samples.labels.astype(np.float64)
        if not self.classify:
            self.targets = self.targets - self.targets.mean()
            self.targets = np.ldexp(self.targets, -_exponent(np.abs(self.targets).max()))
        self.groups = (
            [np.flatnonzero(samples.labels == label) for label in range(self.class_count)]
            if self.classify
            else [np.arange(samples.rows)]
        )
        self.bag_fraction = bag_fraction
        self.max_nodes = max_nodes
        self.seed = seed
        # Smile's regression trees demand two samples in a leaf.
        leaf = min_leaf_population if self.classify else max(2, min_leaf_population)
        self.settings = {
            "max_features": variables_per_split,
            "min_samples_leaf": leaf,
            "min_samples_split": max(2, 2 * leaf),
            "min_impurity_decrease": NO_GAIN if self.classify else 0.0,
        }

    def grow(self, number: int, stop: threading.Event) -> GrownTree:
        generator = np.random.default_rng((self.seed, number))
        bag = draw_bag(self.groups, self.bag_fraction, generator)
        tree = self._grown(bag, int(generator.integers(2**31 - 1)))
        shape = _shape(tree, self.exponents)
        leaf_of_row = tree.apply(self.features)
        if self.classify:
            return self._finish_classification(shape, bag, leaf_of_row)
        return self._finish_regression(shape, bag, leaf_of_row)

    def _grown(self, bag: np.ndarray, random_state: int):
        from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

        kind = DecisionTreeClassifier if self.classify else DecisionTreeRegressor
        estimator = kind(random_state=random_state, **self.settings)
        return estimator.fit(self.features[bag], self.targets[bag], check_input=False).tree_

    def _finish_classification(self, shape: trees.Shape, bag: np.ndarray, leaf_of_row: np.ndarray) -> GrownTree:
        pairs = leaf_of_row[bag] * self.class_count + self.labels[bag]
        counts = np.bincount(pairs, minlength=shape.right.size * self.class_count).reshape(-1, self.class_count)
        counts = trees.node_sums(shape.right, counts[shape.leaves])
        gains = trees.gini_gains(shape.right, counts)
        shape, counts, gains, leaf_of_row = self._cut(shape, counts, gains, leaf_of_row)
        importance = _importance(shape, gains, self.features.shape[1])
        labels = counts.argmax(axis=1)
        merged = trees.collapse(shape, trees.single_label(shape.right, labels[shape.leaves]))
        leaves = merged.shape.leaves
        unseen = _unseen(bag, self.labels.size)
        predictions = labels[merged.origins][merged.position[leaf_of_row[unseen]]]
        return GrownTree(merged.shape, counts[merged.origins][leaves], importance, unseen, predictions)

    def _finish_regression(self, shape: trees.Shape, bag: np.ndarray, leaf_of_row: np.ndarray) -> GrownTree:
        nodes = leaf_of_row[bag]
        values = np.column_stack(
            (
                np.bincount(nodes, minlength=shape.right.size).astype(np.float64),
                np.bincount(nodes, weights=self.labels[bag], minlength=shape.right.size),
            )
        )
        values = trees.node_sums(shape.right, values[shape.leaves])
        scores = trees.square_scores(shape.right, values[:, 0], values[:, 1])
        shape, values, scores, leaf_of_row = self._cut(shape, values, scores, leaf_of_row)
        importance = _importance(shape, scores, self.features.shape[1])
        unseen = _unseen(bag, self.labels.size)
        means = values[:, 1] / values[:, 0]
        return GrownTree(shape, values[shape.leaves], importance, unseen, means[leaf_of_row[unseen]])

    def _cut(self, shape: trees.Shape, values: np.ndarray, gains: np.ndarray, leaf_of_row: np.ndarray):
        """Keep the best splits only when there are more leaves than MAX_NODES."""
        if self.max_nodes is None or shape.leaves.size <= self.max_nodes:
            return shape, values, gains, leaf_of_row
        cut = trees.collapse(shape, trees.beyond_limit(shape.right, gains, self.max_nodes))
        return cut.shape, values[cut.origins], gains[cut.origins], cut.position[leaf_of_row]


def draw_bag(groups: list[np.ndarray], bag_fraction: float, generator: np.random.Generator) -> np.ndarray:
    """Return the rows of one bag: ⌊n·f + ½⌋ of each group without replacement, or n with replacement for f = 1.

    A class with one row stays in every bag.
    """
    drawn = []
    for rows in groups:
        if bag_fraction == 1:
            drawn.append(rows[generator.integers(rows.size, size=rows.size)])
        else:
            size = max(1, int(np.floor(rows.size * bag_fraction + 0.5)))
            drawn.append(generator.choice(rows, size, replace=False))
    return np.concatenate(drawn)


def _unseen(bag: np.ndarray, rows: int) -> np.ndarray:
    unseen = np.ones(rows, dtype=bool)
    unseen[bag] = False
    return np.flatnonzero(unseen)


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


def _importance(shape: trees.Shape, gains: np.ndarray, predictors: int) -> np.ndarray:
    splits = np.flatnonzero(shape.right)
    return np.bincount(shape.feature[splits], weights=gains[splits], minlength=predictors)


class _OutOfBag:
    """Adds up what every tree says of the samples it did not see."""

    def __init__(self, samples: Samples, mode: str) -> None:
        self.classify = mode == CLASSIFICATION
        self.labels = samples.labels
        self.weights: list[float] = []
        shape = (samples.rows, len(samples.classes)) if self.classify else (samples.rows,)
        self.sums = np.zeros(shape, dtype=np.uint32 if self.classify else np.float64)
        self.counts = np.zeros(samples.rows, dtype=np.int64)

    def add(self, tree: GrownTree) -> None:
        rows, predictions = tree.rows, tree.predictions
        self.counts[rows] += 1
        if self.classify:
            self.sums[rows, predictions] += 1
            self.weights.append(float((predictions == self.labels[rows]).mean()) if rows.size else 1.0)
        else:
            self.sums[rows] += predictions
            self.weights.append(1.0)

    def error(self) -> float | None:
        """Misclassification rate of the majority votes, or root mean squared error; None when all were seen."""
        rows = np.flatnonzero(self.counts)
        if not rows.size:
            return None
        if self.classify:
            return float((self.sums[rows].argmax(axis=1) != self.labels[rows]).mean())
        residuals = np.divide(self.sums[rows], self.counts[rows]) - self.labels[rows]
        return float(np.sqrt(np.square(residuals).mean()))


def _arrays(grown: list[GrownTree], weights: list[float], mode: str) -> dict[str, np.ndarray]:
    """Lay all trees end to end; child numbers stay relative to their tree's root."""
    values = np.concatenate([tree.leaf_values for tree in grown])
    arrays = {
        "tree_start": np.cumsum([0] + [tree.shape.right.size for tree in grown]).astype(np.int64),
        "feature": _compact(np.concatenate([tree.shape.feature for tree in grown]), np.int16),
        "threshold": np.concatenate([tree.shape.threshold for tree in grown]),
        "right": np.concatenate([tree.shape.right for tree in grown]).astype(np.int32),
    }
    if mode == CLASSIFICATION:
        return {**arrays, "leaf_counts": _compact(values, np.uint16, np.uint32), "tree_weight": np.array(weights)}
    return {**arrays, "leaf_population": values[:, 0].astype(np.uint32), "leaf_mean": values[:, 1] / values[:, 0]}


def _compact(values: np.ndarray, small: type, large: type = np.int32) -> np.ndarray:
    return values.astype(small if values.max(initial=0) <= np.iinfo(small).max else large)


class ForestPredictor:
    """Applies a forest to rows of predictors with numpy alone, or with scikit-learn's trees when it is there.

    Both give the same leaves, hence the same bits.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self.shapes = forest_shapes(model)
        self.appliers = leaf_appliers(self.shapes, len(model.predictors))
        self.leaf_starts = np.cumsum([0] + [shape.leaves.size for shape in self.shapes])
        self.class_values = np.array([item.value for item in model.classes], dtype=np.int32)
        if model.mode == CLASSIFICATION:
            self.leaf_labels = model.arrays["leaf_counts"].argmax(axis=1)
            weights = model.arrays["tree_weight"]
            self.tree_weights = (
                weights / weights.sum() if weights.sum() > 0 else np.full(weights.size, 1 / weights.size)
            )

    def bands(self, mode: str) -> tuple[str, ...]:
        """Names of the output bands of *mode*."""
        if mode == MULTIPROBABILITY:
            return tuple(item.name for item in self.model.classes)
        if mode in (RAW, RAW_REGRESSION):
            return tuple(f"tree_{number + 1}" for number in range(len(self.shapes)))
        return ("probability",) if mode == PROBABILITY else ("classification",)

    def gives_classes(self, mode: str) -> bool:
        return mode in (CLASSIFICATION, RAW)

    def predict(self, features: np.ndarray, mode: str, check: Check) -> np.ndarray:
        """Return (bands, rows): int32 class values for CLASSIFICATION and RAW, float32 otherwise."""
        if len(features) < SORTED_ROWS:
            return self._predict(features, mode, check)
        # Rows that take the same path through two trees mostly take the same path through all: fewer cache misses.
        first, second = (apply(features) for apply in (self.appliers[0], self.appliers[-1]))
        order = np.lexsort((second, first))
        result = self._predict(features[order], mode, check)
        unsorted = np.empty_like(result)
        unsorted[:, order] = result
        return unsorted

    def _predict(self, features: np.ndarray, mode: str, check: Check) -> np.ndarray:
        if mode == CLASSIFICATION:
            return self.class_values[self._votes(features, check)][np.newaxis]
        if mode == RAW:
            return self._each_tree(features, self.class_values[self.leaf_labels], np.int32, check)
        if mode == RAW_REGRESSION:
            return self._each_tree(features, self.model.arrays["leaf_mean"], np.float32, check)
        if mode == REGRESSION:
            return (self._sum(features, self._means, 1, check)[:, 0] / len(self.shapes)).astype(np.float32)[np.newaxis]
        probabilities = self._sum(features, self._weighted, self.class_values.size, check)
        if mode == MULTIPROBABILITY:
            return probabilities.astype(np.float32).T
        # Two classes: the probability of the larger label; more: of the most probable one (reference 3.2).
        one = probabilities[:, 1] if probabilities.shape[1] == 2 else probabilities.max(axis=1)
        return one.astype(np.float32)[np.newaxis]

    def _leaf_values(self, number: int, values: np.ndarray) -> np.ndarray:
        """Return the part of *values* (all leaves, …) that belongs to tree *number*."""
        return values[self.leaf_starts[number] : self.leaf_starts[number + 1]]

    def _weighted(self, number: int) -> np.ndarray:
        return self.tree_weights[number] * smoothed(self._leaf_values(number, self.model.arrays["leaf_counts"]))

    def _means(self, number: int) -> np.ndarray:
        return self._leaf_values(number, self.model.arrays["leaf_mean"])[:, np.newaxis]

    def _votes(self, features: np.ndarray, check: Check) -> np.ndarray:
        counter = VoteCounter(len(features), self.class_values.size)
        for number, apply in enumerate(self.appliers):
            check()
            counter.add(self._leaf_values(number, self.leaf_labels), apply(features))
        return counter.winners()

    def _sum(self, features: np.ndarray, leaf_table: Callable, columns: int, check: Check) -> np.ndarray:
        """Add up ``leaf_table(tree)`` (leaves, columns) over all trees, in their order."""
        total = np.zeros((len(features), columns))
        for number, apply in enumerate(self.appliers):
            check()
            total += leaf_table(number)[apply(features)]
        return total

    def _each_tree(self, features: np.ndarray, leaf_values: np.ndarray, kind: type, check: Check) -> np.ndarray:
        out: np.ndarray = np.empty((len(self.shapes), len(features)), dtype=kind)
        for number, apply in enumerate(self.appliers):
            check()
            out[number] = self._leaf_values(number, leaf_values)[apply(features)]
        return out

    @staticmethod
    def check(model: Model) -> None:
        """Raise `ModelFileError` unless the arrays are a forest: prediction must not leave them."""
        arrays = model.arrays
        wanted = {"tree_start", "feature", "threshold", "right"}
        wanted |= {"leaf_counts", "tree_weight"} if model.mode == CLASSIFICATION else {"leaf_population", "leaf_mean"}
        if set(arrays) != wanted:
            raise ModelFileError(f"a forest needs the arrays {', '.join(sorted(wanted))}")
        start, feature, threshold, right = (arrays[name] for name in ("tree_start", "feature", "threshold", "right"))
        nodes = feature.size
        if any(array.ndim != 1 for array in (start, feature, threshold, right)) or not (
            nodes == threshold.size == right.size
            and start.size >= 2
            and start.dtype.kind == right.dtype.kind == feature.dtype.kind == "i"
            and threshold.dtype == np.float64
        ):
            raise ModelFileError("the forest's arrays do not belong together")
        if start[0] != 0 or start[-1] != nodes or (np.diff(start) < 1).any():
            raise ModelFileError("the forest's trees do not cover its nodes")
        if not np.isfinite(threshold).all() or (feature < -1).any() or (feature >= len(model.predictors)).any():
            raise ModelFileError("a split of the forest names a predictor or threshold that is not there")
        if ((feature < 0) != (right == 0)).any():
            raise ModelFileError("a node of the forest is both a leaf and a split")
        for first, last in zip(start[:-1], start[1:]):
            if not trees.is_preorder(right[first:last]):
                raise ModelFileError("a tree of the forest is not in preorder")
        leaves = int((feature < 0).sum())
        if model.mode == CLASSIFICATION:
            counts, weights = arrays["leaf_counts"], arrays["tree_weight"]
            if counts.dtype.kind != "u" or counts.shape != (leaves, len(model.classes)) or not counts.any(axis=1).all():
                raise ModelFileError("the forest's leaf counts do not fit its leaves and classes")
            if (
                weights.dtype != np.float64
                or weights.shape != (start.size - 1,)
                or not ((weights >= 0) & (weights <= 1)).all()
            ):
                raise ModelFileError("the forest's tree weights do not fit its trees")
        else:
            population, mean = arrays["leaf_population"], arrays["leaf_mean"]
            if population.dtype.kind != "u" or population.shape != (leaves,) or not population.all():
                raise ModelFileError("the forest's leaf populations do not fit its leaves")
            if mean.dtype != np.float64 or mean.shape != (leaves,) or not np.isfinite(mean).all():
                raise ModelFileError("the forest's leaf means do not fit its leaves")


def smoothed(counts: np.ndarray) -> np.ndarray:
    """Return the add-one smoothed class probabilities (n_c + 1) / (n + k) of *counts* (leaves, classes)."""
    counts = counts.astype(np.float64)
    return (counts + 1) / (counts.sum(axis=1, keepdims=True) + counts.shape[1])


def forest_shapes(model: Model) -> list[trees.Shape]:
    """Return the trees of a forest model, one by one."""
    start = model.arrays["tree_start"]
    parts = [model.arrays[name] for name in ("feature", "threshold", "right")]
    return [trees.Shape(*(part[first:last] for part in parts)) for first, last in zip(start[:-1], start[1:])]
