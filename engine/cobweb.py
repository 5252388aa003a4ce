"""Cobweb, Weka's incremental tree of concepts, as a clusterer (reference 5.4)."""

from __future__ import annotations

from typing import Callable

import numpy as np

from .cobweb_tree import NORMAL, Concepts, as_text, children_of, grow, in_order, inverse_deviations
from .errors import ModelFileError
from .models import Model
from .progress import Progress
from .spans import row_spans
from .training import Fit, Samples


def fit_cobweb(
    samples: Samples, mode: str, threads: int, progress: Progress, *, acuity: float, cutoff: float, seed: int
) -> Fit:
    """Grow a tree of concepts; every node, the root and inner ones too, is a cluster."""
    features = samples.features.astype(np.float64)
    tree = grow(features, acuity, cutoff, seed, progress)
    predicted = assign(tree, features, acuity, progress.check)
    nodes = len(tree.size)
    if nodes == 1:
        progress.warn(
            f"Cobweb found one cluster only: give an ACUITY (now {acuity:g}) well below the spread of the predictors, "
            f"in their units, or a smaller CUTOFF (now {cutoff:g})."
        )
    arrays = {"parent": tree.parent, "size": tree.size, "mean": tree.mean, "spread": tree.spread}
    statistics = {
        "clusterSizes": np.bincount(predicted, minlength=nodes).tolist(),
        "centres": tree.mean.tolist(),
        "merges": tree.merges,
        "splits": tree.splits,
        "nodes": nodes,
        "text": as_text(tree),
    }
    return Fit(arrays, statistics=statistics, predicted=predicted, clusters=nodes)


def assign(tree: Concepts, features: np.ndarray, acuity: float, check: Callable[[], None]) -> np.ndarray:
    """Return the node (int32) where each row of *features* ends: a leaf, or where a child of its own is worth more."""
    children = children_of(tree.parent)
    inverse = inverse_deviations(tree.spread, tree.size[:, np.newaxis], acuity)
    found = np.zeros(len(features), dtype=np.int32)
    waiting = [(0, np.arange(len(features)))]
    while waiting:
        node, rows = waiting.pop()
        found[rows] = node
        if children[node].size:
            choices = np.empty(rows.size, dtype=np.intp)
            for span in row_spans(rows.size, children[node].size):
                check()
                columns = np.ascontiguousarray(features[rows[span]].T, dtype=np.float64)
                choices[span] = _choices(tree, inverse, node, children[node], columns, acuity)
            waiting += [(child, rows[choices == place]) for place, child in enumerate(children[node].tolist())]
    return found


class CobwebPredictor:
    """Sends every row down the tree, which stays as it is."""

    def __init__(self, model: Model) -> None:
        arrays = model.arrays
        self.acuity = model.settings["acuity"]
        self.tree = Concepts(arrays["parent"], arrays["size"], arrays["mean"], arrays["spread"], 0, 0)

    def bands(self, mode: str) -> tuple[str, ...]:
        return ("cluster",)

    def gives_classes(self, mode: str) -> bool:
        return True

    def predict(self, features: np.ndarray, mode: str, check: Callable[[], None]) -> np.ndarray:
        """Return the node of every row, int32 (1, rows)."""
        return assign(self.tree, features, self.acuity, check)[np.newaxis]

    @staticmethod
    def check(model: Model) -> None:
        """Raise `ModelFileError` unless the arrays are a tree of nodes with their moments."""
        arrays = model.arrays
        if set(arrays) != {"parent", "size", "mean", "spread"}:
            raise ModelFileError("a Cobweb tree needs the arrays mean, parent, size, spread")
        parent, size, moments = arrays["parent"], arrays["size"], (arrays["mean"], arrays["spread"])
        nodes = len(parent) if parent.ndim == 1 else 0
        if parent.dtype != np.int32 or not nodes or parent[0] != -1:
            raise ModelFileError("its tree has no root")
        if ((parent < 0) | (parent >= np.arange(nodes)))[1:].any():
            raise ModelFileError("one of its nodes stands before its parent")
        if size.shape != (nodes,) or any(array.shape != (nodes, len(model.predictors)) for array in moments):
            raise ModelFileError("its moments do not fit its nodes and predictors")
        if any(array.dtype != np.float64 or not np.isfinite(array).all() for array in (size, *moments)):
            raise ModelFileError("its moments are not finite numbers")
        if (size < 1).any():
            raise ModelFileError("one of its nodes has no rows")


def _choices(
    tree: Concepts, inverse: np.ndarray, node: int, children: np.ndarray, columns: np.ndarray, acuity: float
) -> np.ndarray:
    """Return the place of each row's best child among *children*, or -1 where the row stays at *node*.

    columns : float64 (predictors, rows)
    """
    size = tree.size[children, np.newaxis]
    without = tree.size[children] / tree.size[node] * in_order(inverse[children] - inverse[node])
    alone = 1.0 / tree.size[node] * in_order(NORMAL / acuity - inverse[node])
    sums = np.zeros((len(children), columns.shape[1]))
    for place, column in enumerate(columns):
        mean, spread = tree.mean[children, place, np.newaxis], tree.spread[children, place, np.newaxis]
        difference = column - mean
        spread = spread + difference * (column - (mean + difference / (size + 1)))
        sums += inverse_deviations(spread, size + 1, acuity) - inverse[node, place]
    joined = (size + 1) / tree.size[node] * sums
    utilities = np.zeros_like(sums)
    for place in range(len(children)):
        utilities[:place] += without[place]
        utilities[place] += joined[place]
        utilities[place + 1 :] += without[place]
    utilities /= len(children)
    best = utilities.argmax(axis=0)
    best_utility = utilities.max(axis=0)
    return np.where(best_utility > (in_order(without) + alone) / (len(children) + 1), best, -1)
