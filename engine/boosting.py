"""Gradient tree boosting with Earth Engine's semantics (Smile 1.5): each tree mends what those before it left.

Friedman (2001), Greedy function approximation, algorithms 2 to 6.  Splits that are equally good abound, and the last
bit decides between them: so sums, residuals and exponentials are those of Smile.  docs/differences.md lists the rest.
"""

from __future__ import annotations

import math
import threading
from typing import Any, Callable, Mapping, NamedTuple, Sequence

import numpy as np

from . import box_sums
from .box_blocks import BoxBlocks, bytes_of_boxes
from .errors import ModelFileError
from .forest import NODE_BYTES, draw_bag
from .learners import CLASSIFICATION, MULTIPROBABILITY, PROBABILITY
from .models import Model
from .predictors import checker, never_stop
from .progress import Progress
from .response_growing import ResponseGrower, ResponseTree
from .training import Fit, Samples, require_sklearn
from .tree_apply import Check, leaf_appliers
from .tree_arrays import check_forest, end_to_end, forest_shapes
from .tree_text import bare_text
from .trees import Shape
from .workers import ordered_map

LEAST_SQUARES, LEAST_ABSOLUTE_DEVIATION, HUBER = LOSSES = ("LeastSquares", "LeastAbsoluteDeviation", "Huber")
SMALLEST_LEAF = 5  # samples; Smile 1.5 has no setting for it
HUBER_SHARE = 0.9  # of the residuals are not clipped
NO_CURVATURE = 1e-10  # below it a leaf of a classification takes the mean of its responses, as in Smile
LARGEST_POWER = 709.0  # of e that is a float64


class Step(NamedTuple):
    """What one tree learns.

    response : float64 (all rows,), the targets of its splits
    leaf_values : function (leaf numbers of the drawn rows, number of leaves) -> float64 (leaves,), or None: the mean
        response of each leaf
    """

    response: np.ndarray
    leaf_values: Callable[[np.ndarray, int], np.ndarray] | None = None


class Objective(NamedTuple):
    """A loss: where the scores start, and what the trees of an iteration learn.

    start : float64 (columns,)
    excess : float64 (columns, all rows), what the trees' values are added to: the scores, or in regression the scores
        less the targets
    steps : function (excess, drawn rows) -> one `Step` per column
    """

    start: np.ndarray
    excess: np.ndarray
    steps: Callable[[np.ndarray, np.ndarray], list[Step]]


def fit_gradient_tree_boost(
    samples: Samples,
    mode: str,
    threads: int,
    progress: Progress,
    *,
    number_of_trees: int,
    shrinkage: float,
    sampling_rate: float,
    max_nodes: int | None,
    loss: str,
    seed: int,
) -> Fit:
    """Grow *number_of_trees* trees, times the classes when there are more than two; *loss* is for regression."""
    require_sklearn()
    classes = len(samples.classes)
    if mode != CLASSIFICATION:
        objective = REGRESSIONS[loss](samples.labels)
        groups = [np.arange(samples.rows)]
    else:
        objective = _two_classes(samples.labels) if classes == 2 else _many_classes(samples.labels, classes)
        groups = [np.flatnonzero(samples.labels == label) for label in range(classes)]
    grower = ResponseGrower(samples.features, SMALLEST_LEAF)
    excess = objective.excess
    shapes, leaf_values, importance = [], [], np.zeros(len(samples.predictors))
    for iteration in range(number_of_trees):
        rows = _drawn(groups, sampling_rate, np.random.default_rng((seed, iteration)))
        steps = objective.steps(excess, rows)

        def grow(step: Step, stop: threading.Event, rows: np.ndarray = rows) -> ResponseTree:
            check = checker(stop)
            return grower.grow(step.response, rows, max_nodes, check)

        for column, (step, tree) in enumerate(zip(steps, ordered_map(grow, steps, threads, progress))):
            leaf_of_row = (np.cumsum(tree.shape.right == 0) - 1)[tree.leaf_of_row]
            leaves = tree.shape.leaves
            values = step.leaf_values(leaf_of_row[rows], leaves.size) if step.leaf_values else tree.means[leaves]
            values = shrinkage * values
            excess[column] += values[leaf_of_row]
            shapes.append(tree.shape)
            leaf_values.append(values)
            importance += tree.importance(importance.size)
        progress(iteration + 1, number_of_trees)
    arrays = {**end_to_end(shapes), "leaf_value": np.concatenate(leaf_values), "start": objective.start}
    return Fit(arrays, importance)


def largest_boosting(rows: int, predictors: int, classes: int, mode: str, settings: Mapping[str, Any]) -> int:
    """Return the bytes that a model cannot exceed (reference section 8): every tree at its bound of leaves."""
    drawn = rows * settings["sampling_rate"] + classes  # each class rounds up by itself
    leaves = max(1, int(drawn // SMALLEST_LEAF))
    if settings["max_nodes"] is not None:
        leaves = min(leaves, settings["max_nodes"])
    trees = settings["number_of_trees"] * (classes if mode == CLASSIFICATION and classes > 2 else 1)
    return int(trees * ((2 * leaves - 1) * NODE_BYTES + 8 * leaves))


def explain_boosting(model: Model) -> dict[str, Any]:
    """Return ``numberOfTrees``, where the scores start, and as ``trees`` what each leaf adds to them."""
    shapes, texts, start = forest_shapes(model), [], 0
    for shape in shapes:
        end = start + shape.leaves.size
        texts.append(bare_text(shape, model.arrays["leaf_value"][start:end], model.predictors))
        start = end
    return {"numberOfTrees": len(texts), "startScores": model.arrays["start"].tolist(), "trees": texts}


def _drawn(groups: list[np.ndarray], sampling_rate: float, generator: np.random.Generator) -> np.ndarray:
    """Return the rows of one iteration, without replacement: a share of each group, or all."""
    if sampling_rate == 1:
        return np.sort(np.concatenate(groups))
    return np.sort(draw_bag(groups, sampling_rate, generator))


def _least_squares(targets: np.ndarray) -> Objective:
    def steps(excess: np.ndarray, rows: np.ndarray) -> list[Step]:
        return [Step(-excess[0])]

    return _regression(targets, np.cumsum(targets)[-1] / targets.size, steps)


def _least_absolute_deviation(targets: np.ndarray) -> Objective:
    def steps(excess: np.ndarray, rows: np.ndarray) -> list[Step]:
        residuals = -excess[0]
        return [Step(np.sign(residuals), lambda leaf, leaves: _medians(residuals[rows], leaf, leaves))]

    return _regression(targets, _quantile(targets, 0.5), steps)


def _huber(targets: np.ndarray) -> Objective:
    def steps(excess: np.ndarray, rows: np.ndarray) -> list[Step]:
        residuals = -excess[0]
        largest = _quantile(np.abs(residuals[rows]), HUBER_SHARE)

        def leaf_values(leaf: np.ndarray, leaves: int) -> np.ndarray:
            middle = _medians(residuals[rows], leaf, leaves)
            return middle + _means(np.clip(residuals[rows] - middle[leaf], -largest, largest), leaf, leaves)

        return [Step(np.clip(residuals, -largest, largest), leaf_values)]

    return _regression(targets, _quantile(targets, 0.5), steps)


def _regression(targets: np.ndarray, start: float, steps: Callable) -> Objective:
    return Objective(np.array([start]), (start - targets)[np.newaxis], steps)


REGRESSIONS = {LEAST_SQUARES: _least_squares, LEAST_ABSOLUTE_DEVIATION: _least_absolute_deviation, HUBER: _huber}


def _two_classes(labels: np.ndarray) -> Objective:
    """Logistic boosting; the score is half the logarithm of the odds of the second class."""
    signs = 2.0 * labels - 1

    def steps(scores: np.ndarray, rows: np.ndarray) -> list[Step]:
        response = 2 * signs / (1 + _exponential(2 * signs * scores[0]))
        size = np.abs(response[rows])
        return [Step(response, lambda leaf, leaves: _newton(response[rows], size * (2 - size), leaf, leaves))]

    mean = signs.mean()
    start = np.array([0.5 * math.log((1 + mean) / (1 - mean))])
    return Objective(start, np.repeat(start[:, np.newaxis], labels.size, axis=1), steps)


def _many_classes(labels: np.ndarray, classes: int) -> Objective:
    """One tree per class and iteration, on what the probabilities (softmax of the scores) lack."""
    factor = (classes - 1) / classes

    def step(response: np.ndarray, rows: np.ndarray) -> Step:
        size = np.abs(response[rows])
        return Step(response, lambda leaf, leaves: _newton(response[rows], size * (1 - size), leaf, leaves, factor))

    def steps(scores: np.ndarray, rows: np.ndarray) -> list[Step]:
        lacking = (labels == np.arange(classes)[:, np.newaxis]) - softmax(scores, _exponential)
        return [step(response, rows) for response in lacking]

    return Objective(np.zeros(classes), np.zeros((classes, labels.size)), steps)


def _exponential(powers: np.ndarray) -> np.ndarray:
    """Return e to *powers*, nearly always right to the last bit: numpy's own differs between processors."""
    exponentials = [math.exp(power) for power in np.minimum(powers, LARGEST_POWER).ravel().tolist()]
    return np.array(exponentials).reshape(powers.shape)


def softmax(scores: np.ndarray, exponential: Callable[[np.ndarray], np.ndarray] = np.exp) -> np.ndarray:
    """Return the probabilities of *scores* (classes, rows); a row's never depend on how many rows there are."""
    powers = exponential(scores - scores.max(axis=0))
    total = np.zeros(scores.shape[1])
    for power in powers:  # numpy's own sum adds in another order when there is one row
        total += power
    return powers / total


def _quantile(values: np.ndarray, share: float) -> float:
    """Return the value at place ⌊n · share⌋, counted from 0, of the sorted *values*: Smile takes no means."""
    return float(np.sort(values)[int(values.size * share)])


def _means(values: np.ndarray, leaf: np.ndarray, leaves: int) -> np.ndarray:
    return np.bincount(leaf, weights=values, minlength=leaves) / np.bincount(leaf, minlength=leaves)


def _medians(values: np.ndarray, leaf: np.ndarray, leaves: int) -> np.ndarray:
    counts = np.bincount(leaf, minlength=leaves)
    starts = np.cumsum(counts) - counts
    return values[np.lexsort((values, leaf))[starts + counts // 2]]


def _newton(
    responses: np.ndarray, curvature: np.ndarray, leaf: np.ndarray, leaves: int, factor: float = 1.0
) -> np.ndarray:
    """Return factor · Σ response / Σ curvature of each leaf."""
    sums, curvatures = (np.bincount(leaf, weights=values, minlength=leaves) for values in (responses, curvature))
    flat = curvatures < NO_CURVATURE
    counts = np.bincount(leaf, minlength=leaves)
    return np.where(flat, sums / counts, factor * sums / np.where(flat, 1, curvatures))


class BoostingPredictor:
    """Adds up what the trees say; trees take turns over the columns of scores."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.shapes = forest_shapes(model)
        self.appliers = leaf_appliers(self.shapes, len(model.predictors))
        ends = np.cumsum([shape.leaves.size for shape in self.shapes])
        self.leaf_values = np.split(model.arrays["leaf_value"], ends[:-1])
        self.start = model.arrays["start"]
        self.class_values = np.array([item.value for item in model.classes], dtype=np.int32)
        self._made: BoxBlocks | None = None
        self._lock = threading.Lock()

    def bands(self, mode: str) -> tuple[str, ...]:
        """Names of the output bands of *mode*."""
        if mode == MULTIPROBABILITY:
            return tuple(item.name for item in self.model.classes)
        return ("probability",) if mode == PROBABILITY else ("classification",)

    def gives_classes(self, mode: str) -> bool:
        return mode == CLASSIFICATION

    def predict(self, features: np.ndarray, mode: str, check: Check) -> np.ndarray:
        """Return (bands, rows): int32 class values for CLASSIFICATION, float32 otherwise."""
        return self._outputs(self._scores(features, check), mode)

    def block_rows(self, mode: str) -> int:
        """Return how many rows a block should have at best, 0 where ``predict`` is as good."""
        return box_sums.BLOCK_ROWS if len(self.shapes) >= box_sums.FEWEST_TREES else 0

    def block_bytes(self, mode: str) -> int:
        """Return the bytes a row takes in a block besides features and result."""
        return box_sums.ROW_BYTES

    def model_bytes(self) -> int:
        """Return the bytes that the model and its boxes take."""
        return bytes_of_boxes(self.shapes, self.model)

    def prepare(self, mode: str, check: Check = never_stop, ready: BoxBlocks | None = None) -> BoxBlocks:
        """Return the boxes that `cell_tree` and `predict_cells` need: made once, or taken from *ready*."""
        with self._lock:
            if self._made is None:
                values = self.model.arrays["leaf_value"]
                self._made = ready or BoxBlocks(
                    self.shapes, np.zeros(values.size, np.uint16), len(self.model.predictors), check
                )
            return self._made

    def cell_tree(self, features: np.ndarray, mode: str, check: Check) -> Shape:
        """Return the tree whose leaves are cells of rows with like values, for `predict_cells`."""
        return self._sums(mode, check).cell_tree(features, check)

    def predict_cells(self, features: np.ndarray, sizes: Sequence[int], mode: str, check: Check) -> np.ndarray:
        """Return what `predict` does for *features*, cell by cell with *sizes* rows each."""
        kind = np.int32 if self.gives_classes(mode) else np.float32
        return self._sums(mode, check).fill(
            np.empty((len(self.bands(mode)), len(features)), dtype=kind),
            features,
            sizes,
            lambda scores: self._outputs(scores, mode),
            lambda some, check: self.predict(some, mode, check),
            check,
        )

    def _sums(self, mode: str, check: Check) -> box_sums.BoxSums:
        return box_sums.BoxSums(self.prepare(mode, check), self.model.arrays["leaf_value"].take, self.start)

    def _outputs(self, scores: np.ndarray, mode: str) -> np.ndarray:
        """Return the bands of *mode* from *scores* (columns, rows)."""
        if self.model.mode != CLASSIFICATION:
            return scores.astype(np.float32)
        if mode == CLASSIFICATION:
            winners = scores.argmax(axis=0) if len(scores) > 1 else (scores[0] > 0).astype(np.intp)
            return self.class_values[winners][np.newaxis]
        if len(scores) > 1:
            probabilities = softmax(scores)
            one = probabilities.max(axis=0)
        else:
            with np.errstate(over="ignore"):
                one = 1 / (1 + np.exp(-2 * scores[0]))  # of the larger label (reference 3.2)
            probabilities = np.stack((1 - one, one))
        return (probabilities if mode == MULTIPROBABILITY else one[np.newaxis]).astype(np.float32)

    def _scores(self, features: np.ndarray, check: Check) -> np.ndarray:
        scores = np.repeat(self.start[:, np.newaxis], len(features), axis=1)
        for number, (apply, values) in enumerate(zip(self.appliers, self.leaf_values)):
            check()
            scores[number % len(scores)] += values[apply(features)]
        return scores

    @staticmethod
    def check(model: Model) -> None:
        """Raise `ModelFileError` unless the arrays are trees that belong to the classes."""
        leaves = check_forest(model, {"leaf_value", "start"})
        values, start = model.arrays["leaf_value"], model.arrays["start"]
        if values.dtype != np.float64 or values.shape != (leaves,) or not np.isfinite(values).all():
            raise ModelFileError("the values of the boosted trees do not fit their leaves")
        columns = len(model.classes) if model.mode == CLASSIFICATION and len(model.classes) > 2 else 1
        if start.dtype != np.float64 or start.shape != (columns,) or not np.isfinite(start).all():
            raise ModelFileError("the start of the boosted trees does not fit the classes")
        if (model.arrays["tree_start"].size - 1) % columns:
            raise ModelFileError("the boosted trees are not equally many for each class")
