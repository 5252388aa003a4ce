"""K nearest neighbours with Earth Engine's semantics (Smile 1.5, reference 2.8).

The model holds the samples.  scipy's tree, where it is there, only finds candidates: distances are always ours, so
that the same neighbours come out with and without it.
"""

from __future__ import annotations

from typing import Any, Callable, Mapping

import numpy as np

from .distances import bray_curtis, columns, manhattan, squared_euclidean
from .errors import ModelFileError, SettingError
from .learners import CLASSIFICATION
from .models import Model
from .probabilities import single_probability
from .progress import Progress
from .spans import row_spans
from .training import Fit, Samples
from .whitening import Whitening, whitening_matrix

AUTO, KD_TREE = "AUTO", "KD_TREE"  # and LINEAR_SEARCH, COVER_TREE, which know every metric
EUCLIDEAN, MAHALANOBIS, MANHATTAN, BRAYCURTIS = METRICS = ("EUCLIDEAN", "MAHALANOBIS", "MANHATTAN", "BRAYCURTIS")
TREE_DIMENSIONS = 10  # from here on AUTO is a cover tree
MEASURES = {
    EUCLIDEAN: squared_euclidean,
    MAHALANOBIS: squared_euclidean,  # of whitened rows
    MANHATTAN: manhattan,
    BRAYCURTIS: bray_curtis,
}
TREE_ROWS = 512  # asked at once: a tree of many predictors takes a millisecond for each
MORE_CANDIDATES = 8  # than neighbours, for equal distances
SURELY_FARTHER = 1 + 1e-9  # times the distance: beyond what rounding can turn round


def fit_knn(
    samples: Samples, mode: str, threads: int, progress: Progress, *, k: int, search_method: str, metric: str
) -> Fit:
    """Keep the samples; of equal ones the first *k*, since no more can be among the neighbours."""
    if k > samples.rows:
        raise SettingError(f"K is {k}, but there are only {samples.rows} samples: give fewer neighbours.")
    used = metric_used(search_method, metric, len(samples.predictors))
    if used != metric:
        progress.warn(
            f"METRIC {metric} is ignored: SEARCH_METHOD {search_method} with {len(samples.predictors)} predictors is "
            "a k-d tree, which is Euclidean in Earth Engine; choose LINEAR_SEARCH or COVER_TREE to use it."
        )
    kept = _first_of_equal(samples.features, k)
    kind = np.min_scalar_type(len(samples.classes) - 1)
    arrays = {"sample": samples.features[kept], "sample_class": samples.labels[kept].astype(kind)}
    if used == MAHALANOBIS:
        covariance = np.cov(samples.features, rowvar=False, dtype=np.float64).reshape(2 * samples.features.shape[1:])
        arrays["whitening"] = whitening_matrix(covariance)[0]
    return Fit(arrays)


def metric_used(search_method: str, metric: str, predictors: int) -> str:
    """Return the metric that counts: a k-d tree knows only the Euclidean one."""
    tree = search_method == KD_TREE or (search_method == AUTO and predictors < TREE_DIMENSIONS)
    return EUCLIDEAN if tree else metric


def largest_knn(rows: int, predictors: int, classes: int, mode: str, settings: Mapping[str, Any]) -> int:
    """Return the bytes of all samples, their classes and a matrix."""
    return rows * (4 * predictors + np.min_scalar_type(classes - 1).itemsize) + 8 * predictors**2


def explain_knn(model: Model) -> dict[str, Any]:
    """Return the ``metricUsed`` and how many samples the model keeps."""
    settings = model.settings
    used = metric_used(settings["search_method"], settings["metric"], len(model.predictors))
    return {"metricUsed": used, "storedSamples": len(model.arrays["sample"])}


def _first_of_equal(features: np.ndarray, k: int) -> np.ndarray:
    """Return which rows are among the first *k* of those equal to them."""
    group = np.unique(features, axis=0, return_inverse=True)[1].ravel()
    order = np.argsort(group, kind="stable")
    sizes = np.bincount(group)
    rank = np.empty(len(group), dtype=np.intp)
    rank[order] = np.arange(len(group)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return rank < k


class KnnPredictor:
    """Asks the nearest samples of every row; of equally near ones those that come first in the table."""

    def __init__(self, model: Model) -> None:
        settings, arrays = model.settings, model.arrays
        self.class_values = np.array([item.value for item in model.classes], dtype=np.int32)
        self.k, self.labels = settings["k"], arrays["sample_class"].astype(np.intp)
        metric = metric_used(settings["search_method"], settings["metric"], len(model.predictors))
        self.measure = MEASURES[metric]
        self.whitening = None
        points = arrays["sample"].astype(np.float64)
        if metric == MAHALANOBIS:
            self.whitening = Whitening(points.mean(axis=0), arrays["whitening"])
            points = self.whitening.apply(points)
        self.columns = columns(points)
        self.power = 1 if metric == MANHATTAN else 2
        # The neighbours are the same by any search, so a linear one is not worth waiting for.
        few = len(points) <= 2 * self.k + MORE_CANDIDATES
        self.tree: Any = None if few or metric == BRAYCURTIS else _tree(points)

    def bands(self, mode: str) -> tuple[str, ...]:
        """Names of the output bands of *mode*."""
        return ("classification",) if mode == CLASSIFICATION else ("probability",)

    def gives_classes(self, mode: str) -> bool:
        return mode == CLASSIFICATION

    def predict(self, features: np.ndarray, mode: str, check: Callable[[], None]) -> np.ndarray:
        """Return (1, rows): the int32 class of most neighbours, the lowest of equal ones, or a float32 share."""
        result = np.empty((1, len(features)), dtype=np.int32 if mode == CLASSIFICATION else np.float32)
        classes = self.class_values.size
        for span in row_spans(len(features), max(self.k, classes), TREE_ROWS):
            neighbours = self.labels[self.neighbours(features[span], check)]
            cells = neighbours + classes * np.arange(len(neighbours))[:, np.newaxis]
            votes = np.bincount(cells.ravel(), minlength=classes * len(neighbours)).reshape(-1, classes)
            if mode == CLASSIFICATION:
                result[0, span] = self.class_values[votes.argmax(axis=1)]
            else:
                result[0, span] = single_probability(votes.T) / self.k
        return result

    def neighbours(self, rows: np.ndarray, check: Callable[[], None]) -> np.ndarray:
        """Return (rows, k): positions of the nearest samples, nearest first."""
        rows = rows.astype(np.float64) if self.whitening is None else self.whitening.apply(rows)
        found = np.empty((len(rows), self.k), dtype=np.intp)
        rest = np.arange(len(rows))
        if self.tree is not None:
            check()
            rest = self._search_tree(rows, found)
        for span in row_spans(rest.size, self.labels.size):
            check()
            found[rest[span]] = self._search_all(rows[rest[span]])
        return found

    def _search_tree(self, rows: np.ndarray, found: np.ndarray) -> np.ndarray:
        """Fill *found* and return the rows that have too many samples at the distance of the last neighbour."""
        far, candidates = self.tree.query(rows, 2 * self.k + MORE_CANDIDATES, p=self.power)
        settled = far[:, -1] > far[:, self.k - 1] * SURELY_FARTHER
        candidates = np.sort(candidates[settled], axis=1)
        distances = self.measure(zip(columns(rows[settled])[:, :, np.newaxis], self.columns[:, candidates]))
        nearest = distances.argsort(axis=1, kind="stable")[:, : self.k]
        found[settled] = np.take_along_axis(candidates, nearest, axis=1)
        return np.flatnonzero(~settled)

    def _search_all(self, rows: np.ndarray) -> np.ndarray:
        """Return (rows, k): what `_search_tree` finds, from the distances to all samples."""
        distances = self.measure(zip(columns(rows)[:, :, np.newaxis], self.columns[:, np.newaxis, :]))
        if self.k == 1:
            return distances.argmin(axis=1)[:, np.newaxis]
        last = np.partition(distances, self.k - 1, axis=1)[:, self.k - 1 : self.k]
        row, sample = np.nonzero(distances <= last)  # at least k of each row, samples ascending
        order = np.lexsort((sample, distances[row, sample], row))
        starts = np.searchsorted(row, np.arange(len(rows)))
        return sample[order[starts[:, np.newaxis] + np.arange(self.k)]]

    @staticmethod
    def check(model: Model) -> None:
        """Raise `ModelFileError` unless the arrays are samples with classes, and a matrix where it is needed."""
        settings, arrays, predictors = model.settings, model.arrays, len(model.predictors)
        whitened = metric_used(settings["search_method"], settings["metric"], predictors) == MAHALANOBIS
        wanted = {"sample", "sample_class"} | ({"whitening"} if whitened else set())
        if set(arrays) != wanted:
            raise ModelFileError(f"nearest neighbours need the arrays {', '.join(sorted(wanted))}")
        samples, labels = arrays["sample"], arrays["sample_class"]
        if samples.dtype != np.float32 or samples.ndim != 2 or samples.shape[1] != predictors:
            raise ModelFileError("its samples do not fit its predictors")
        if len(samples) < settings["k"] or not np.isfinite(samples).all():
            raise ModelFileError("its samples are fewer than the neighbours asked for, or no numbers")
        if labels.dtype.kind != "u" or labels.shape != samples.shape[:1] or (labels >= len(model.classes)).any():
            raise ModelFileError("the classes of its samples do not fit")
        matrix = arrays.get("whitening", np.zeros((predictors, predictors)))
        if matrix.shape != (predictors, predictors) or matrix.dtype != np.float64 or not np.isfinite(matrix).all():
            raise ModelFileError("its matrix does not fit its predictors")


def _tree(points: np.ndarray) -> Any:
    """Return scipy's tree of the *points*, or None where there is no scipy."""
    try:
        from scipy.spatial import cKDTree
    except ImportError:
        return None
    return cKDTree(points, balanced_tree=False)  # a balanced one takes for ever on equal points
