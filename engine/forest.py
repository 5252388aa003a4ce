"""Random forest with Earth Engine's semantics (Smile 1.5): bagging, votes, probabilities, out-of-bag estimates.

`growing` grows the trees.  docs/differences.md lists what cannot be equal.
"""

from __future__ import annotations

import functools
import threading
from typing import Any, Callable, Mapping, NamedTuple, Sequence

import numpy as np

from . import box_sums, trees
from .box_blocks import BoxBlocks, bytes_of_boxes
from .box_votes import MOST_CLASSES, BoxVoter
from .errors import ModelFileError, SettingError
from .growing import SMALLEST_REGRESSION_LEAF, Grower
from .learners import CLASSIFICATION, MULTIPROBABILITY, PROBABILITY, RAW, RAW_REGRESSION, REGRESSION
from .models import Model
from .predictors import never_stop
from .progress import Progress
from .training import Fit, Samples, require_sklearn
from .tree_apply import Check, leaf_appliers
from .tree_arrays import check_forest, compact, end_to_end, forest_shapes
from .tree_text import classification_text, regression_text
from .votes import VoteCounter
from .workers import ordered_map

IN_BLOCKS = (CLASSIFICATION, REGRESSION, PROBABILITY, MULTIPROBABILITY)  # modes that many rows at once make faster
SORTED_ROWS = 4096  # fewer are not worth sorting
NODE_BYTES = 2 + 8 + 4  # feature, threshold, right child
TREE_BYTES = 8 + 8  # start, weight


class BaggedTree(NamedTuple):
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
    if mode != CLASSIFICATION:
        min_leaf_population = max(SMALLEST_REGRESSION_LEAF, min_leaf_population)
    grower = Grower(samples.features, min_leaf_population, max_nodes, variables_per_split)
    growing = _Growing(samples, mode, bag_fraction, seed, grower)
    votes = _OutOfBag(samples, mode)
    grown = []
    for tree in ordered_map(growing.grow, range(number_of_trees), threads, progress):
        votes.add(tree)
        grown.append(tree._replace(rows=np.empty(0, np.intp), predictions=np.empty(0)))
        progress(len(grown), number_of_trees)
    importance = np.sum([tree.importance for tree in grown], axis=0)
    shapes, values = [tree.shape for tree in grown], np.concatenate([tree.leaf_values for tree in grown])
    return Fit(forest_arrays(shapes, values, votes.weights, mode), importance, votes.error())


def forest_arrays(
    shapes: Sequence[trees.Shape], leaf_values: np.ndarray, weights: Sequence[float], mode: str
) -> dict[str, np.ndarray]:
    """Return the arrays of a model; *leaf_values* (all leaves, …) as in `growing.GrownTree`, *weights* one a tree."""
    arrays = end_to_end(shapes)
    if mode == CLASSIFICATION:
        counts = compact(leaf_values, np.uint16, np.uint32)
        return {**arrays, "leaf_counts": counts, "tree_weight": np.array(weights, dtype=np.float64)}
    population, sums = leaf_values.T
    return {**arrays, "leaf_population": population.astype(np.uint32), "leaf_mean": sums / population}


def largest_forest(rows: int, predictors: int, classes: int, mode: str, settings: Mapping[str, Any]) -> int:
    """Return the bytes that a forest cannot exceed (reference section 8): every tree at its bound of leaves."""
    bag = max(1, rows * settings["bag_fraction"])
    leaf = settings["min_leaf_population"] if mode == CLASSIFICATION else max(2, settings["min_leaf_population"])
    leaves = max(1, int(bag // leaf))
    if settings["max_nodes"] is not None:
        leaves = min(leaves, settings["max_nodes"])
    leaf_bytes = 4 * classes if mode == CLASSIFICATION else 4 + 8
    return int(settings["number_of_trees"] * (TREE_BYTES + (2 * leaves - 1) * NODE_BYTES + leaves * leaf_bytes))


def explain_forest(model: Model) -> dict[str, Any]:
    """Return ``numberOfTrees``, ``outOfBagErrorEstimate`` and the text of the ``trees``."""
    texts = tree_texts(model)
    return {
        "numberOfTrees": len(texts),
        "outOfBagErrorEstimate": model.training.get("out_of_bag_error"),
        "trees": texts,
    }


def tree_texts(model: Model) -> list[str]:
    """Return every tree as Earth Engine prints it."""
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
    return texts


class _Growing:
    """What all trees of one forest share; `grow` runs in several threads at once."""

    def __init__(self, samples: Samples, mode: str, bag_fraction: float, seed: int, grower: Grower) -> None:
        self.classify = mode == CLASSIFICATION
        self.class_count = len(samples.classes)
        self.labels = samples.labels
        self.groups = (
            [np.flatnonzero(samples.labels == label) for label in range(self.class_count)]
            if self.classify
            else [np.arange(samples.rows)]
        )
        self.bag_fraction = bag_fraction
        self.seed = seed
        self.grower = grower

    def grow(self, number: int, stop: threading.Event) -> BaggedTree:
        generator = np.random.default_rng((self.seed, number))
        bag = draw_bag(self.groups, self.bag_fraction, generator)
        random_state = int(generator.integers(2**31 - 1))
        unseen = _unseen(bag, self.labels.size)
        if self.classify:
            tree = self.grower.classification_tree(self.labels, self.class_count, bag, random_state)
            predictions = tree.values.argmax(axis=1)[tree.leaf_of_row[unseen]]
        else:
            tree = self.grower.regression_tree(self.labels, bag, random_state)
            predictions = (tree.values[:, 1] / tree.values[:, 0])[tree.leaf_of_row[unseen]]
        return BaggedTree(tree.shape, tree.leaf_values, tree.importance, unseen, predictions)


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


class _OutOfBag:
    """Adds up what every tree says of the samples it did not see."""

    def __init__(self, samples: Samples, mode: str) -> None:
        self.classify = mode == CLASSIFICATION
        self.labels = samples.labels
        self.weights: list[float] = []
        shape = (samples.rows, len(samples.classes)) if self.classify else (samples.rows,)
        self.sums = np.zeros(shape, dtype=np.uint32 if self.classify else np.float64)
        self.counts = np.zeros(samples.rows, dtype=np.int64)

    def add(self, tree: BaggedTree) -> None:
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
        self._made: dict[bool, BoxBlocks] = {}
        self._lock = threading.Lock()

    @functools.cached_property
    def leaf_labels(self) -> np.ndarray:
        """The position of the class of every leaf (leaves,)."""
        return compact(self.model.arrays["leaf_counts"].argmax(axis=1), np.uint16)

    @property
    def leaf_means(self) -> np.ndarray:
        return self.model.arrays["leaf_mean"]

    @functools.cached_property
    def tree_weights(self) -> np.ndarray:
        weights = self.model.arrays["tree_weight"]
        return weights / weights.sum() if weights.sum() > 0 else np.full(weights.size, 1 / weights.size)

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

    def block_rows(self, mode: str) -> int:
        """Return how many rows a block should have at best, 0 where ``predict`` is as good."""
        if mode not in IN_BLOCKS or (mode == CLASSIFICATION and self.class_values.size > MOST_CLASSES):
            return 0
        return box_sums.BLOCK_ROWS if len(self.shapes) >= box_sums.FEWEST_TREES else 0

    def block_bytes(self, mode: str) -> int:
        """Return the bytes a row takes in a block besides features and result."""
        return box_sums.ROW_BYTES

    def model_bytes(self) -> int:
        """Return the bytes that the model and its boxes take."""
        return bytes_of_boxes(self.shapes, self.model)

    def prepare(self, mode: str, check: Check = never_stop, ready: BoxBlocks | None = None) -> BoxBlocks:
        """Return the boxes that `cell_tree` and `predict_cells` need: made once, or taken from *ready*."""
        votes = mode == CLASSIFICATION
        with self._lock:
            if votes not in self._made:
                self._made[votes] = ready or self._make(votes, check)
            return self._made[votes]

    def _make(self, votes: bool, check: Check) -> BoxBlocks:
        labels = self.leaf_labels if votes else np.zeros(self.leaf_starts[-1], np.uint16)
        return BoxBlocks(self.shapes, labels, len(self.model.predictors), check)

    def cell_tree(self, features: np.ndarray, mode: str, check: Check) -> trees.Shape:
        """Return the tree whose leaves are cells of rows with like values, for `predict_cells`."""
        return self._boxes(mode, check).cell_tree(features, check)

    def predict_cells(self, features: np.ndarray, sizes: Sequence[int], mode: str, check: Check) -> np.ndarray:
        """Return what `predict` does for *features*, cell by cell with *sizes* rows each."""
        boxes = self._boxes(mode, check)
        if isinstance(boxes, BoxVoter):
            winners = boxes.winners(features, sizes, self._votes, check)
            return self.class_values[winners][np.newaxis]
        return boxes.fill(
            np.empty((len(self.bands(mode)), len(features)), dtype=np.float32),
            features,
            sizes,
            lambda sums: self._of_sums(sums[0].reshape(sums.shape[1], -1), mode),
            lambda some, check: self.predict(some, mode, check),
            check,
        )

    def _boxes(self, mode: str, check: Check) -> BoxVoter | box_sums.BoxSums:
        """Return what counts votes or adds up leaf values in blocks."""
        boxes = self.prepare(mode, check)
        if mode == CLASSIFICATION:
            return BoxVoter(boxes, self.class_values.size)
        if self.model.mode != CLASSIFICATION:
            return box_sums.BoxSums(boxes, self.leaf_means.take)
        counts, ends = self.model.arrays["leaf_counts"], self.leaf_starts[1:]
        return box_sums.BoxSums(boxes, box_sums.probabilities(counts, self.tree_weights, ends))

    def _predict(self, features: np.ndarray, mode: str, check: Check) -> np.ndarray:
        if mode == CLASSIFICATION:
            return self.class_values[self._votes(features, check)][np.newaxis]
        if mode == RAW:
            return self._each_tree(features, self.class_values[self.leaf_labels], np.int32, check)
        if mode == RAW_REGRESSION:
            return self._each_tree(features, self.leaf_means, np.float32, check)
        if mode == REGRESSION:
            return self._of_sums(self._walked_sums(features, self._means, 1, check), mode)
        return self._of_sums(self._walked_sums(features, self._weighted, self.class_values.size, check), mode)

    def _of_sums(self, sums: np.ndarray, mode: str) -> np.ndarray:
        """Return the bands of *mode* from *sums* (rows, columns) over all trees: means, or weighted probabilities."""
        if mode == REGRESSION:
            return (sums[:, 0] / len(self.shapes)).astype(np.float32)[np.newaxis]
        if mode == MULTIPROBABILITY:
            return sums.astype(np.float32).T
        # Two classes: the probability of the larger label; more: of the most probable one (reference 3.2).
        one = sums[:, 1] if sums.shape[1] == 2 else sums.max(axis=1)
        return one.astype(np.float32)[np.newaxis]

    def _leaf_values(self, number: int, values: np.ndarray) -> np.ndarray:
        """Return the part of *values* (all leaves, …) that belongs to tree *number*."""
        return values[self.leaf_starts[number] : self.leaf_starts[number + 1]]

    def _weighted(self, number: int) -> np.ndarray:
        return self.tree_weights[number] * smoothed(self._leaf_values(number, self.model.arrays["leaf_counts"]))

    def _means(self, number: int) -> np.ndarray:
        return self._leaf_values(number, self.leaf_means)[:, np.newaxis]

    def _votes(self, features: np.ndarray, check: Check) -> np.ndarray:
        counter = VoteCounter(len(features), self.class_values.size)
        for number, apply in enumerate(self.appliers):
            check()
            counter.add(self._leaf_values(number, self.leaf_labels), apply(features))
        return counter.winners()

    def _walked_sums(self, features: np.ndarray, leaf_table: Callable, columns: int, check: Check) -> np.ndarray:
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
        arrays, classify = model.arrays, model.mode == CLASSIFICATION
        leaves = check_forest(model, {"leaf_counts", "tree_weight"} if classify else {"leaf_population", "leaf_mean"})
        if classify:
            counts, weights = arrays["leaf_counts"], arrays["tree_weight"]
            if counts.dtype.kind != "u" or counts.shape != (leaves, len(model.classes)) or not counts.any(axis=1).all():
                raise ModelFileError("the forest's leaf counts do not fit its leaves and classes")
            if (
                weights.dtype != np.float64
                or weights.shape != (arrays["tree_start"].size - 1,)
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
