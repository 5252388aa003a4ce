"""K nearest neighbours with Earth Engine's semantics (Smile 1.5, reference 2.8).

The model holds the samples.  scipy's tree and matrix products only find candidates, with something to spare for their
rounding: where it matters which of two samples is nearer, it is the distances of `distances` that tell, so that the
same neighbours come out of every search.
"""

from __future__ import annotations

from typing import Any, Callable, Mapping

import numpy as np

from .distances import bray_curtis, columns, manhattan, squared_euclidean
from .errors import ModelFileError, SettingError
from .learners import CLASSIFICATION
from .models import Model
from .probabilities import output_bands, single_probability
from .progress import Progress
from .rounding import gamma
from .spans import VALUES_AT_ONCE, row_spans
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
MOST_DIMENSIONS = 7  # in which samples may spread for a tree to be quicker than all distances
LEAF = 32  # samples
TREE_ROWS = 2048  # asked at once
PRODUCT_VALUES = 2**18  # distances at once
GROUPS = 512  # of samples, whose nearest ones are compared first
MORE_CANDIDATES = 8  # than neighbours, for equal distances
SURELY_FARTHER = 1 + 1e-9  # times the distance: beyond what rounding of distances can turn round


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
        few = len(points) <= 2 * self.k + MORE_CANDIDATES
        self.products = _Products(points) if metric in (EUCLIDEAN, MAHALANOBIS) and not few else None
        # The neighbours are the same by any search, so a linear one is not worth waiting for.
        self.tree = None if few or metric == BRAYCURTIS else _tree(points, metric)

    def bands(self, mode: str) -> tuple[str, ...]:
        """Names of the output bands of *mode*."""
        return output_bands(mode, ())

    def gives_classes(self, mode: str) -> bool:
        return mode == CLASSIFICATION

    def predict(self, features: np.ndarray, mode: str, check: Callable[[], None]) -> np.ndarray:
        """Return (1, rows): the int32 class of most neighbours, the lowest of equal ones, or a float32 share."""
        result = np.empty((1, len(features)), dtype=np.int32 if mode == CLASSIFICATION else np.float32)
        classes = self.class_values.size
        for span in row_spans(len(features), max(self.k, classes), TREE_ROWS):
            neighbours = self.labels[self._nearest(self._points(features[span]), check)]
            cells = neighbours + classes * np.arange(len(neighbours))[:, np.newaxis]
            votes = np.bincount(cells.ravel(), minlength=classes * len(neighbours)).reshape(-1, classes)
            if mode == CLASSIFICATION:
                result[0, span] = self.class_values[votes.argmax(axis=1)]
            else:
                result[0, span] = single_probability(votes.T) / self.k
        return result

    def neighbours(self, rows: np.ndarray, check: Callable[[], None]) -> np.ndarray:
        """Return (rows, k): positions of the samples nearest to *rows* (rows, predictors), nearest first."""
        rows = self._points(rows)
        return self._first(rows, self._nearest(rows, check))

    def _points(self, rows: np.ndarray) -> np.ndarray:
        return rows.astype(np.float64) if self.whitening is None else self.whitening.apply(rows)

    def _nearest(self, rows: np.ndarray, check: Callable[[], None]) -> np.ndarray:
        """Return what `neighbours` does, in any order."""
        found = np.empty((len(rows), self.k), dtype=np.intp)
        rest = np.arange(len(rows))
        if self.tree is not None:
            check()
            candidates, settled = self.tree.nearest(rows, self.k, self.k + 1)
            found[settled] = candidates[settled, : self.k]
            rest = rest[~settled]
            candidates, settled = self.tree.nearest(rows[rest], self.k, 2 * self.k + MORE_CANDIDATES)
            found[rest[settled]] = self._first(rows[rest[settled]], candidates[settled])
            rest = rest[~settled]
        most_values = PRODUCT_VALUES if self.products else VALUES_AT_ONCE
        for span in row_spans(rest.size, self.labels.size, most_values=most_values):
            check()
            found[rest[span]] = self._search_all(rows[rest[span]])
        return found

    def _first(self, rows: np.ndarray, candidates: np.ndarray) -> np.ndarray:
        """Return the nearest *k* of the *candidates* (rows, candidates) of every row."""
        candidates = np.sort(candidates, axis=1)
        distances = self.measure(zip(columns(rows)[:, :, np.newaxis], self.columns[:, candidates]))
        nearest = distances.argsort(axis=1, kind="stable")[:, : self.k]
        return np.take_along_axis(candidates, nearest, axis=1)

    def _search_all(self, rows: np.ndarray) -> np.ndarray:
        """Return what `_nearest` does, from the distances to all samples."""
        if self.products is None:
            distances: np.ndarray = self.measure(zip(columns(rows)[:, :, np.newaxis], self.columns[:, np.newaxis, :]))
            limits = _upper_limits(distances, self.k)
        else:
            distances, bounds = self.products.distances(rows)
            limits = _upper_limits(distances, self.k) + 2 * bounds
            limits = np.nextafter(limits.astype(np.float32), np.float32(np.inf))
        near = ~(distances > limits[:, np.newaxis])  # at least k of each row
        row, sample = np.divmod(np.flatnonzero(near), self.labels.size)  # both ascending
        order = np.lexsort((sample, self.measure(zip(columns(rows)[:, row], self.columns[:, sample])), row))
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


class _Products:
    """Squared Euclidean distances by one product: [-2s, |s|², 1] · [x, 1, |x|²], around the mean of the points.

    The factors of its p + 2 terms went through at most p + 8 roundings, so that it errs by at most gamma(2p + 16)
    (|x| + |s|)², the element-wise distance by less in float64; the bound is twice that.  Up to k samples have a
    computed distance within a limit L, so the k-th distance is at most L + bound, and a sample as near as that has a
    computed one of at most L + 2 bounds.
    """

    def __init__(self, points: np.ndarray) -> None:
        self.origin = points.mean(axis=0)
        with np.errstate(over="ignore", invalid="ignore"):
            points = points - self.origin
            squares = np.square(points).sum(axis=1)
            factors = np.column_stack((-2 * points, squares, np.ones(len(points))))
            self.factors = factors.astype(np.float32).T
            self.largest = np.sqrt(squares.max())

    def distances(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the distances (rows, points) float32, maybe no numbers, and their bounds (rows,)."""
        with np.errstate(over="ignore", invalid="ignore"):
            rows = rows - self.origin
            squares = np.square(rows).sum(axis=1)
            factors = np.column_stack((rows, np.ones(len(rows)), squares)).astype(np.float32)
            share = 2 * gamma(2 * rows.shape[1] + 16, np.float32)
            tiny = 8 * factors.shape[1] * float(np.finfo(np.float32).tiny)
            return factors @ self.factors, share * (np.sqrt(squares) + self.largest) ** 2 + tiny


def _upper_limits(distances: np.ndarray, k: int) -> np.ndarray:
    """Return (rows,): a number that at least *k* of the row's *distances* (rows, samples) do not exceed, hardly more.

    It is the k-th of the least distances of groups of samples, which are compared at once.
    """
    groups = max(GROUPS, 8 * k)
    size = distances.shape[1] // groups
    if size > 1:
        distances = distances[:, : size * groups].reshape(len(distances), size, groups).min(axis=1)
    return np.partition(distances, k - 1, axis=1)[:, k - 1].astype(np.float64)


class _Tree:
    """scipy's tree of points, for Euclidean distances along the axes in which the points spread most.

    Turning a point x costs at most gamma(p + 4) √p |x| in float64, and so does its distance to another one.  That the
    axes are not quite at right angles, and that distances are rounded, is much less than `SURELY_FARTHER` leaves.
    """

    def __init__(self, make_tree: Callable[..., Any], points: np.ndarray, axes: np.ndarray | None) -> None:
        self.axes, self.origin, self.largest = axes, points.mean(axis=0), 0.0
        if axes is not None:
            points = points - self.origin
            self.largest = float(np.sqrt(np.square(points).sum(axis=1).max()))
            points = points @ axes
        self.tree = make_tree(points, leafsize=LEAF)

    def nearest(self, rows: np.ndarray, k: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Return *count* candidates of each row (rows, count), and for which rows the nearest *k* are surely there.

        Where *count* is one more, these are the first ones.
        """
        if self.axes is None:
            far, candidates = self.tree.query(rows, count, p=1)
            return candidates, far[:, -1] > far[:, k - 1] * SURELY_FARTHER
        rows = rows - self.origin
        lengths = np.sqrt(np.square(rows).sum(axis=1))
        far, candidates = self.tree.query(rows @ self.axes, count)
        spare = 4 * gamma(len(self.origin) + 4, np.float64) * len(self.origin) ** 0.5 * (lengths + self.largest)
        return candidates, far[:, -1] > far[:, k - 1] * SURELY_FARTHER + spare


def _tree(points: np.ndarray, metric: str) -> _Tree | None:
    """Return a tree of the *points*, or None where there is no scipy or all distances are quicker."""
    try:
        from scipy.spatial import cKDTree
    except ImportError:
        return None
    if metric == MANHATTAN:
        return _Tree(cKDTree, points, None)
    spread, axes = np.linalg.eigh(np.cov(points, rowvar=False).reshape(2 * points.shape[1:]))
    dimensions = spread.sum() ** 2 / max(np.square(spread).sum(), np.finfo(np.float64).tiny)
    return _Tree(cKDTree, points, axes) if dimensions < MOST_DIMENSIONS else None
