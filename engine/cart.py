"""Classification and regression tree with Earth Engine's semantics: a forest of one tree that saw every sample.

Without chance to hide it, the order of ties shows, so a classification tree is grown in Smile's own order.
"""

from __future__ import annotations

import threading
from typing import Any, Mapping

import numpy as np

from .errors import Canceled
from .forest import forest_arrays, largest_forest, tree_texts
from .growing import SMALLEST_REGRESSION_LEAF, Grower, GrownTree
from .learners import CLASSIFICATION
from .models import Model
from .progress import Progress
from .scanned_growing import grow_scanned
from .training import Fit, Samples, require_sklearn
from .workers import ordered_map

RANDOM_STATE = 0  # scikit-learn draws among predictors that split a regression equally well


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
    grower = Grower(samples.features, min_leaf_population, max_nodes)
    rows = np.arange(samples.rows)

    def grow(classify: bool, stop: threading.Event) -> GrownTree:
        if not classify:
            return grower.regression_tree(samples.labels, rows, RANDOM_STATE)

        def check() -> None:
            if stop.is_set():
                raise Canceled()

        classes = len(samples.classes)
        shape, leaf_of_row = grow_scanned(samples.features, samples.labels, classes, min_leaf_population, check)
        return grower.classified(shape, leaf_of_row, samples.labels, classes, rows)

    [tree] = ordered_map(grow, [mode == CLASSIFICATION], 1, progress)
    return Fit(forest_arrays([tree.shape], tree.leaf_values, [1.0], mode), tree.importance)


def largest_cart(rows: int, predictors: int, classes: int, mode: str, settings: Mapping[str, Any]) -> int:
    """Return the bytes that a tree cannot exceed (reference section 8)."""
    whole = {**settings, "number_of_trees": 1, "bag_fraction": 1}
    return largest_forest(rows, predictors, classes, mode, whole)


def explain_cart(model: Model) -> dict[str, Any]:
    """Return the text of the ``tree``."""
    return {"tree": tree_texts(model)[0]}
