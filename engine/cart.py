"""Classification and regression tree with Earth Engine's semantics: a forest of one tree that saw every sample.

Without chance to hide it, the order of ties shows, so trees are grown in Smile's own order.
"""

from __future__ import annotations

import threading
from typing import Any, Mapping

import numpy as np

from .forest import forest_arrays, largest_forest, tree_texts
from .growing import SMALLEST_REGRESSION_LEAF, Grower
from .learners import CLASSIFICATION
from .models import Model
from .predictors import checker
from .progress import Progress
from .response_growing import ResponseGrower
from .scanned_growing import grow_scanned
from .training import Fit, Samples, require_sklearn
from .tree_apply import Check
from .trees import Shape
from .workers import ordered_map


def fit_cart(
    samples: Samples,
    mode: str,
    threads: int,
    progress: Progress,
    *,
    max_nodes: int | None,
    min_leaf_population: int,
) -> Fit:
    """Grow one tree on all samples and all predictors."""
    require_sklearn()
    if mode != CLASSIFICATION:
        min_leaf_population = max(SMALLEST_REGRESSION_LEAF, min_leaf_population)

    def grow(classify: bool, stop: threading.Event) -> tuple[Shape, np.ndarray, np.ndarray]:
        check = checker(stop)
        return (_classification if classify else _regression)(samples, max_nodes, min_leaf_population, check)

    [(shape, leaf_values, importance)] = ordered_map(grow, [mode == CLASSIFICATION], 1, progress)
    return Fit(forest_arrays([shape], leaf_values, [1.0], mode), importance)


def _classification(
    samples: Samples, max_nodes: int | None, min_leaf: int, check: Check
) -> tuple[Shape, np.ndarray, np.ndarray]:
    """Return shape, class counts of the leaves, and importance."""
    classes = len(samples.classes)
    shape, leaf_of_row = grow_scanned(samples.features, samples.labels, classes, min_leaf, check)
    grower = Grower(samples.features, min_leaf, max_nodes)
    tree = grower.classified(shape, leaf_of_row, samples.labels, classes, np.arange(samples.rows))
    return tree.shape, tree.leaf_values, tree.importance


def _regression(
    samples: Samples, max_nodes: int | None, min_leaf: int, check: Check
) -> tuple[Shape, np.ndarray, np.ndarray]:
    """Return shape, number and sum of the targets in the leaves, and importance."""
    grower = ResponseGrower(samples.features, min_leaf)
    tree = grower.grow(samples.labels, np.arange(samples.rows), max_nodes, check)
    population = np.bincount(tree.leaf_of_row)[tree.shape.leaves]
    sums = np.bincount(tree.leaf_of_row, weights=samples.labels)[tree.shape.leaves]
    return tree.shape, np.column_stack((population, sums)), tree.importance(len(samples.predictors))


def largest_cart(rows: int, predictors: int, classes: int, mode: str, settings: Mapping[str, Any]) -> int:
    """Return the bytes that a tree cannot exceed (reference section 8)."""
    whole = {**settings, "number_of_trees": 1, "bag_fraction": 1}
    return largest_forest(rows, predictors, classes, mode, whole)


def explain_cart(model: Model) -> dict[str, Any]:
    """Return the text of the ``tree``."""
    return {"tree": tree_texts(model)[0]}
