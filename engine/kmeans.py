"""K-means as Weka's SimpleKMeans does it (reference 5.1): the same seed gives the same clusters.

Lloyd (1982), Least squares quantization in PCM, in min–max scaled space; Manhattan distance with medians.
"""

from __future__ import annotations

import functools
import threading
from typing import Callable, Iterator, NamedTuple

import numpy as np

from .distances import Pairs, columns, every_pair, manhattan, squared_euclidean
from .errors import ModelFileError
from .kmeans_starts import CHEBYSHEV, EUCLIDEAN, MANHATTAN, CanopySettings, start_centres
from .models import Model
from .predictors import checker
from .progress import Progress
from .scaling import MinMax
from .spans import row_spans
from .training import Fit, Samples
from .workers import one_blas_thread, ordered_map

MOST_ITERATIONS = 500  # of Weka, where none are given
BLOCK_ROWS = 2**16  # a task of one thread
SCREENED_ROWS, SCREENED_VALUES = 2**13, 2**17  # at once: half a megabyte stays in the cache
UNIT_ROUNDOFF = 2.0**-24  # of float32
MIDDLE = 0.5  # of the scaled range


def chebyshev(pairs: Pairs) -> np.ndarray:
    """Return max |x − y|."""
    pairs = iter(pairs)
    x, y = next(pairs)
    largest = np.abs(x - y)
    for x, y in pairs:
        np.maximum(largest, np.abs(x - y), out=largest)
    return largest


DISTANCES: dict[str, Callable[[Pairs], np.ndarray]] = {
    EUCLIDEAN: squared_euclidean,  # the nearest is the same as with the root
    MANHATTAN: manhattan,
    CHEBYSHEV: chebyshev,
}


class Clusters(NamedTuple):
    """What the iterations end with.

    centres : float64 (clusters, predictors), input units
    labels : int64 (rows,), the nearest centre of every row; of equally near ones the lowest number
    sizes : int64 (clusters,), rows in the last iteration; with the most iterations allowed the centres moved once
        more after it, and *labels* can differ
    errors : float64 (clusters,), sums of squared (Euclidean) or plain distances of the rows to their centre, scaled
    """

    centres: np.ndarray
    labels: np.ndarray
    sizes: np.ndarray
    errors: np.ndarray
    iterations: int


def fit_kmeans(
    samples: Samples,
    mode: str,
    threads: int,
    progress: Progress,
    *,
    n_clusters: int,
    init: str,
    canopies: bool,
    max_candidates: int,
    periodic_pruning: int,
    min_density: int,
    t1: float,
    t2: float,
    distance_function: str,
    max_iterations: int | None,
    preserve_order: bool,
    fast: bool,
    seed: int,
) -> Fit:
    """Cluster the samples around *n_clusters* centres.

    *canopies*, *t1* and *preserve_order* change nothing here: in Weka they skip distances that cannot be the least,
    and keep rows in order.  *fast* leaves the within-cluster sum out of the statistics.
    """
    features = samples.features
    scaling = scaling_of(samples, progress)
    canopy = CanopySettings(max_candidates, periodic_pruning, min_density, t2)
    start = start_centres(features, n_clusters, init, distance_function, seed, scaling, progress, canopy)
    rows = ScaledRows(features, scaling, distance_function, threads, progress)
    clusters = rows.clusters(start, max_iterations or MOST_ITERATIONS, progress)
    warn_of_missing(n_clusters, len(start), clusters, progress)
    return fit_of(clusters, scaling, distance_function, fast)


def scaling_of(samples: Samples, progress: Progress) -> MinMax:
    """Measure the samples' ranges, and warn of predictors that have one value only."""
    scaling = MinMax.of(samples.features)
    for number in scaling.constant:
        progress.warn(
            f"Predictor {samples.predictors[number]} is {scaling.minimum[number]:g} in every sample: "
            "it tells no clusters apart, leave it out."
        )
    return scaling


def warn_of_missing(asked: int, started: int, clusters: Clusters, progress: Progress) -> None:
    """Warn when there are fewer clusters than N_CLUSTERS."""
    if started < asked:
        progress.warn(
            f"N_CLUSTERS is {asked}, but the samples have only {started} different rows to start from: "
            "ask for fewer clusters."
        )
    lost = started - len(clusters.centres)
    if lost:
        progress.warn(
            f"{lost} of {started} clusters lost all their samples and are left out: there are "
            f"{len(clusters.centres)}; another SEED or INIT may keep them."
        )


def fit_of(clusters: Clusters, scaling: MinMax, distance: str, fast: bool = False, **more: object) -> Fit:
    """Return what a clusterer with centres gives; *fast* leaves the sum of errors out, *more* are statistics."""
    statistics: dict[str, object] = {
        "clusterSizes": clusters.sizes.tolist(),
        "centres": clusters.centres.tolist(),
        "iterations": clusters.iterations,
        **more,
    }
    if not fast:
        squares = distance == EUCLIDEAN
        name = "withinClusterSumOfSquares" if squares else "withinClusterSumOfDistances"
        statistics[name] = float(clusters.errors.sum())
    return Fit(
        arrays={"centres": clusters.centres, "minimum": scaling.minimum, "range": scaling.range},
        statistics=statistics,
        predicted=clusters.labels.astype(np.int32),
        clusters=len(clusters.centres),
    )


class ScaledRows:
    """The rows of a table made ready for many passes, which takes up to twice their size in memory."""

    def __init__(self, features: np.ndarray, scaling: MinMax, distance: str, threads: int, progress: Progress) -> None:
        """Take *features*, float (rows, predictors), finite, with one of `DISTANCES`."""
        self.features, self.scaling, self.distance, self.threads = features, scaling, distance, threads
        self._shifted = _shifted(features, scaling, progress) if distance == EUCLIDEAN else None
        self._reach = 0.0 if self._shifted is None else _reach(self._shifted)

    @functools.cached_property
    def _columns(self) -> np.ndarray:
        return np.ascontiguousarray(self.features.T)

    @functools.cached_property
    def _doubles(self) -> np.ndarray:
        return self.features.astype(np.float64, copy=False)

    @functools.cached_property
    def _ones(self) -> np.ndarray:
        return np.ones(len(self.features))

    def clusters(self, start: np.ndarray, most_iterations: int, progress: Progress) -> Clusters:
        """Move the centres from *start* (input units) until no row changes its cluster; empty clusters are dropped."""
        with one_blas_thread:
            return self._clusters(start, most_iterations, progress)

    def _clusters(self, start: np.ndarray, most_iterations: int, progress: Progress) -> Clusters:
        centres, labels = start, np.zeros(len(self.features), dtype=np.int64)
        iteration, changed = 0, True
        while changed and iteration < most_iterations:
            progress(iteration, most_iterations)
            iteration += 1
            changed = self._assign(centres, labels, progress)
            sizes = np.bincount(labels, minlength=len(centres))
            centres = self._middles(labels, sizes, progress)
            sizes = sizes[sizes > 0]
        if changed:  # the centres have moved since
            self._assign(centres, labels, progress)
        return Clusters(centres, labels, sizes, self._errors(centres, labels, progress), iteration)

    def _assign(self, centres: np.ndarray, labels: np.ndarray, progress: Progress) -> bool:
        """Put every row's nearest centre into *labels*; return whether one changed."""
        nearest = NearestCentre(centres, self.scaling, self.distance)
        screen = None if self._shifted is None else _Screen(self._shifted, self._reach, nearest.centres - MIDDLE)

        def assign(block: slice, stop: threading.Event) -> bool:
            check = checker(stop)
            if screen is None:
                found = nearest.of(self.features[block], check)
            else:
                found, doubtful = screen.nearest(block, check)
                found[doubtful] = nearest.of(self.features[block][doubtful], check)
            changed = not np.array_equal(found, labels[block])
            labels[block] = found
            return changed

        return any(list(ordered_map(assign, self._blocks(), self.threads, progress)))

    def _middles(self, labels: np.ndarray, sizes: np.ndarray, progress: Progress) -> np.ndarray:
        """Return the mean, or for Manhattan the median, of the rows of every cluster that has any."""
        kept = np.flatnonzero(sizes)
        if self.distance == MANHATTAN:
            order = np.argsort(labels.astype(np.min_scalar_type(len(sizes))), kind="stable")
            ends = np.cumsum(sizes[kept])

            def middle(column: np.ndarray, stop: threading.Event) -> np.ndarray:
                return _medians(column[order], ends, checker(stop))

            return np.column_stack(list(ordered_map(middle, self._columns, self.threads, progress)))
        return self._sums(labels, len(sizes))[kept] / sizes[kept, np.newaxis]

    def _sums(self, labels: np.ndarray, clusters: int) -> np.ndarray:
        """Return the sums (clusters, predictors) of each cluster's rows, added one row after the other as Weka does."""
        try:
            from scipy.sparse import csc_matrix
        except ImportError:
            return np.column_stack([np.bincount(labels, column, clusters) for column in self._columns])
        places = np.arange(len(labels) + 1, dtype=np.int32)  # each column of the matrix is a row, in one cluster
        return csc_matrix((self._ones, labels.astype(np.int32), places), (clusters, len(labels))) @ self._doubles

    def _errors(self, centres: np.ndarray, labels: np.ndarray, progress: Progress) -> np.ndarray:
        """Return the sum of each cluster's distances, scaled and for Euclidean squared."""
        sides = self.scaling.scaled(centres).T

        def errors(span: slice, stop: threading.Event) -> np.ndarray:
            rows = columns(self.scaling.scaled(self.features[span]))
            own = labels[span]
            distances = DISTANCES[self.distance]((row, side[own]) for row, side in zip(rows, sides))
            return np.bincount(own, weights=distances, minlength=len(centres))

        total = np.zeros(len(centres))
        for part in ordered_map(errors, row_spans(*self.features.shape), self.threads, progress):
            total += part
        return total

    def _blocks(self) -> Iterator[slice]:
        rows = len(self.features)
        return (slice(start, min(rows, start + BLOCK_ROWS)) for start in range(0, rows, BLOCK_ROWS))


class NearestCentre:
    """Finds the nearest of some centres (input units), each row for itself; of equally near ones the first."""

    def __init__(self, centres: np.ndarray, scaling: MinMax, distance: str) -> None:
        self.scaling, self.measure = scaling, DISTANCES[distance]
        self.centres = scaling.scaled(centres)

    def of(self, features: np.ndarray, check: Callable[[], None]) -> np.ndarray:
        """Return int64 (rows,) numbers of centres for *features* (rows, predictors), finite."""
        labels = np.empty(len(features), dtype=np.int64)
        for span in row_spans(len(features), max(self.centres.shape)):
            check()
            rows = self.scaling.scaled(features[span])
            labels[span] = self.measure(every_pair(self.centres, rows)).argmin(axis=0)
        return labels


class _Screen:
    """A quick look in single precision that finds the nearest centre of almost all rows, and knows of which.

    Let every coordinate be at most M in rows and C in centres, p their number, u = 2⁻²⁴.  A centre's score is
    Σ c² − 2 Σ c x, the squared distance less Σ x².  In single precision each of its products is off by at most p + 3
    factors 1 ± u (x, −2c and Σ c² rounded, the product, p additions in any order), so a score is wrong by less than
    2 (p + 3) u p (2 M C + C²) ≤ 2 (p + 3) u p (M + C)², up to p = 2²².  The squared distance that `NearestCentre`
    computes in double precision is wrong by less than u p (M + C)².  So a centre whose score is the least by more than
    4 (p + 4) u p (M + C)² is the nearest there, too; 2 more in the brackets pay for rounding M and that limit.
    """

    def __init__(self, rows: np.ndarray, reach: float, centres: np.ndarray) -> None:
        """Take float32 *rows* (predictors, rows) with their M, and float64 *centres* (centres, predictors)."""
        self.rows = rows
        self.weights = (-2 * centres).astype(np.float32)
        self.offsets = np.square(centres).sum(axis=1, keepdims=True).astype(np.float32)
        predictors = len(rows)
        reach += _reach(centres)
        self.margin = np.float32(4 * (predictors + 6) * UNIT_ROUNDOFF * predictors * reach**2)
        self.tally = np.stack([np.ones(len(centres)), np.arange(len(centres))]).astype(np.float32)
        self.step = min(SCREENED_ROWS, max(16, SCREENED_VALUES // len(centres)))

    def nearest(self, block: slice, check: Callable[[], None]) -> tuple[np.ndarray, np.ndarray]:
        """Return int64 (rows of the block,) numbers of centres, and the places in it where they may be wrong."""
        labels = np.empty(block.stop - block.start, dtype=np.int64)
        doubtful = []
        for start in range(block.start, block.stop, self.step):
            check()
            scores = self.weights @ self.rows[:, start : min(block.stop, start + self.step)]
            scores += self.offsets
            near = (scores <= scores.min(axis=0) + self.margin).astype(np.float32)
            count, number = self.tally @ near  # small whole numbers: exact where one centre is near
            place = start - block.start
            labels[place : place + len(number)] = number
            doubtful.append(np.flatnonzero(count != 1) + place)
        return labels, np.concatenate(doubtful)


class KMeansPredictor:
    """Gives every row the number of its nearest centre; also for cascade k-means and X-means."""

    def __init__(self, model: Model) -> None:
        arrays = model.arrays
        scaling = MinMax(arrays["minimum"], arrays["range"])
        self.nearest = NearestCentre(arrays["centres"], scaling, model.settings["distance_function"])

    def bands(self, mode: str) -> tuple[str, ...]:
        """Names of the output bands."""
        return ("cluster",)

    def gives_classes(self, mode: str) -> bool:
        return True

    def predict(self, features: np.ndarray, mode: str, check: Callable[[], None]) -> np.ndarray:
        """Return int32 (1, rows), numbers of clusters from 0."""
        return self.nearest.of(features, check)[np.newaxis].astype(np.int32)

    @staticmethod
    def check(model: Model) -> None:
        """Raise `ModelFileError` unless the arrays are centres, and the least value and range of every predictor."""
        arrays, predictors = model.arrays, len(model.predictors)
        if set(arrays) != {"centres", "minimum", "range"}:
            raise ModelFileError("k-means needs the arrays centres, minimum, range")
        centres, sides = arrays["centres"], (arrays["minimum"], arrays["range"])
        if (
            centres.ndim != 2
            or not len(centres)
            or centres.shape[1] != predictors
            or any(side.shape != (predictors,) for side in sides)
        ):
            raise ModelFileError("its centres do not fit its predictors")
        if any(array.dtype != np.float64 or not np.isfinite(array).all() for array in arrays.values()):
            raise ModelFileError("its centres are not finite numbers")
        if (arrays["range"] < 0).any():
            raise ModelFileError("the range of one of its predictors is negative")


def _shifted(features: np.ndarray, scaling: MinMax, progress: Progress) -> np.ndarray:
    """Return the scaled rows around 0 instead of ½, float32 (predictors, rows): small numbers round less."""
    shifted = np.empty(features.shape[::-1], dtype=np.float32)
    for span in row_spans(*features.shape):
        progress.check()
        shifted[:, span] = (scaling.scaled(features[span]) - MIDDLE).T
    return shifted


def _reach(coordinates: np.ndarray) -> float:
    return max(float(coordinates.max()), -float(coordinates.min()), MIDDLE)


def _medians(values: np.ndarray, ends: np.ndarray, check: Callable[[], None]) -> np.ndarray:
    """Return the median of every stretch of *values*; *ends* are where they stop, the last one at the end."""
    result = np.empty(len(ends))
    for number, (start, end) in enumerate(zip([0, *ends[:-1]], ends)):
        check()
        middles = [(end - start - 1) // 2, (end - start) // 2]
        lower, upper = np.partition(values[start:end], middles)[middles].astype(np.float64)
        result[number] = (lower + upper) / 2
    return result
