"""Minimum distance with Earth Engine's semantics (reference 2.5): each pixel belongs to the nearest class mean.

A matrix product tells between which numbers each distance lies; the distance itself, which `distances` computes, is
only needed where that leaves two answers (see `rounding`).
"""

from __future__ import annotations

from typing import Any, Callable, Mapping

import numpy as np

from .distances import angle, columns, every_pair, manhattan, squared_euclidean
from .errors import ModelFileError, TableError
from .learners import CLASSIFICATION, RAW, REGRESSION
from .models import Model
from .prediction import NO_CLASS
from .progress import Progress
from .rounding import gamma, same_float32, surely_largest
from .spans import row_spans
from .training import Fit, Samples
from .whitening import Whitening, whitening_matrix

EUCLIDEAN, COSINE, MAHALANOBIS, MANHATTAN = METRICS = ("euclidean", "cosine", "mahalanobis", "manhattan")
NAMED_CLASSES = 5  # in a warning
TINY = 1e-300  # more than underflow can take away


def fit_minimum_distance(
    samples: Samples, mode: str, threads: int, progress: Progress, *, metric: str, k_nearest: int
) -> Fit:
    """Average each class; *metric* mahalanobis also measures its covariance."""
    rows = np.bincount(samples.labels)
    sums = [np.bincount(samples.labels, weights=column) for column in samples.features.T]
    centres = np.column_stack(sums) / rows[:, np.newaxis]
    arrays = {"centre": centres}
    if metric == COSINE and not centres.any(axis=1).all():
        name = samples.classes[int(np.flatnonzero(~centres.any(axis=1))[0])].name
        raise TableError(f"The mean of class {name} is zero, which has no angle: leave it out or use another METRIC.")
    if metric == MAHALANOBIS:
        arrays.update(_whitenings(samples, centres, rows, progress))
    return Fit(arrays)


def largest_minimum_distance(rows: int, predictors: int, classes: int, mode: str, settings: Mapping[str, Any]) -> int:
    """Return the bytes of the centres and, where they are needed, of one matrix per class."""
    return 8 * classes * predictors + (4 + 8 * predictors**2) * classes * (settings["metric"] == MAHALANOBIS)


def explain_minimum_distance(model: Model) -> dict[str, Any]:
    """Return ``classCentres``: each class's mean of each predictor, in the order of ``classes``."""
    return {"classCentres": model.arrays["centre"].tolist()}


def _whitenings(samples: Samples, centres: np.ndarray, rows: np.ndarray, progress: Progress) -> dict[str, np.ndarray]:
    """Return ``whitening`` (matrices, predictors, predictors) and ``class_whitening``: which of them a class uses.

    A class uses its own covariance when that has the rank of all samples' covariance, else the pooled one of the
    classes when that has it, else that of all samples.
    """
    features = samples.features.astype(np.float64)
    everything, full_rank = whitening_matrix(np.cov(features, rowvar=False).reshape(2 * features.shape[1:]))
    features -= centres[samples.labels]
    pooled, rank = whitening_matrix(features.T @ features / max(1, samples.rows - len(centres)))
    matrices: list[np.ndarray] = []
    owners, poor = np.zeros(len(centres), dtype=np.int32), []
    members = np.split(np.argsort(samples.labels, kind="stable"), np.cumsum(rows)[:-1])
    for number, places in enumerate(members):
        progress(number, len(members))
        own = features[places]
        matrix, own_rank = whitening_matrix(own.T @ own / max(1, places.size - 1))
        if own_rank == full_rank:
            owners[number] = len(matrices)
            matrices.append(matrix)
        else:
            poor.append(number)
    if poor:
        owners[poor] = len(matrices)
        matrices.append(pooled if rank == full_rank else everything)
        names = ", ".join(samples.classes[number].name for number in poor[:NAMED_CLASSES])
        more = f" and {len(poor) - NAMED_CLASSES} more" if len(poor) > NAMED_CLASSES else ""
        source = "the pooled covariance of the classes" if rank == full_rank else "the covariance of all samples"
        progress.warn(f"Too few different samples for a covariance of its own: class {names}{more}; {source} is used.")
    return {"whitening": np.stack(matrices), "class_whitening": owners}


class MinimumDistancePredictor:
    """Measures the distance of every row to every class centre."""

    def __init__(self, model: Model) -> None:
        self.names = tuple(item.name for item in model.classes)
        self.class_values = np.array([item.value for item in model.classes], dtype=np.int32)
        self.nearest = min(model.settings["k_nearest"], len(self.names))
        centres = model.arrays["centre"]
        self.distances: Callable[[np.ndarray], np.ndarray] = {
            EUCLIDEAN: lambda rows: np.sqrt(squared_euclidean(every_pair(centres, rows))),
            MANHATTAN: lambda rows: manhattan(every_pair(centres, rows)),
            COSINE: lambda rows: angle(every_pair(centres, rows)),
            MAHALANOBIS: self._mahalanobis,
        }[model.settings["metric"]]
        self.ranges: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]] | None = {
            EUCLIDEAN: _EuclideanRanges(centres),
            MANHATTAN: None,
            COSINE: _AngleRanges(centres),
            MAHALANOBIS: self._mahalanobis_ranges,
        }[model.settings["metric"]]
        self.groups = []  # (classes, their whitening, their whitened centres)
        for number, matrix in enumerate(model.arrays.get("whitening", ())):
            classes = np.flatnonzero(model.arrays["class_whitening"] == number)
            # Around their own mean, so that large values do not cancel.
            whitening = Whitening(centres[classes].mean(axis=0), matrix)
            self.groups.append((classes, whitening, whitening.apply(centres[classes])))

    def bands(self, mode: str) -> tuple[str, ...]:
        """Names of the output bands of *mode*."""
        if mode == RAW:
            return self.names
        if self.nearest == 1:
            return ("classification",)
        word = "distance" if mode == REGRESSION else "nearest"
        return tuple(f"{word}_{rank + 1}" for rank in range(self.nearest))

    def gives_classes(self, mode: str) -> bool:
        return mode == CLASSIFICATION

    def predict(self, features: np.ndarray, mode: str, check: Callable[[], None]) -> np.ndarray:
        """Return (bands, rows): int32 class values nearest first, or float32 distances."""
        kind = np.int32 if mode == CLASSIFICATION else np.float32
        result = np.empty((len(self.bands(mode)), len(features)), dtype=kind)
        for span in row_spans(len(features), len(self.names)):
            check()
            with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # of values near the largest number
                result[:, span] = self._predicted(features[span], mode)
        return result

    def _predicted(self, rows: np.ndarray, mode: str) -> np.ndarray:
        if self.ranges is None:
            return self._outputs(self.distances(rows), mode)
        low, high = self.ranges(rows)
        result = self._outputs(low, mode)
        rest = np.flatnonzero(~self._settled(low, high, mode))
        if rest.size:
            result[:, rest] = self._outputs(self.distances(rows[rest]), mode)
        return result

    def _outputs(self, distances: np.ndarray, mode: str) -> np.ndarray:
        """Return the output of *mode* for *distances* (classes, rows); the lower label comes first of equal ones."""
        if mode == RAW:
            return distances
        if self.nearest == 1:
            order = distances.argmin(axis=0)[np.newaxis]
        else:
            order = distances.argsort(axis=0, kind="stable")[: self.nearest]
        chosen = np.take_along_axis(distances, order, axis=0)
        if mode == REGRESSION:
            return chosen
        return np.where(np.isnan(chosen), NO_CLASS, self.class_values[order])

    def _settled(self, low: np.ndarray, high: np.ndarray, mode: str) -> np.ndarray:
        """Tell for which columns all distances from *low* to *high* (classes, rows) have the same output."""
        if mode == RAW:
            return same_float32(low, high).all(axis=0)
        if mode == REGRESSION:  # the smallest distance is at least the smallest low and at most the smallest high
            low, high = (np.sort(distances, axis=0)[: self.nearest] for distances in (low, high))
            return same_float32(low, high).all(axis=0)
        if self.nearest == 1:
            return surely_largest(-high, -low)
        order = low.argsort(axis=0)
        low, high = (np.take_along_axis(distances, order, axis=0) for distances in (low, high))
        return (high[:-1] < low[1:])[: self.nearest].all(axis=0)

    def _mahalanobis(self, rows: np.ndarray) -> np.ndarray:
        distances = np.empty((len(self.names), len(rows)))
        for classes, whitening, centres in self.groups:
            distances[classes] = squared_euclidean(every_pair(centres, whitening.apply(rows)))
        return np.sqrt(distances)

    def _mahalanobis_ranges(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A whitened row W x errs by at most gamma(p + 2) ‖W‖ |x|, with Frobenius' norm, by any order of its sums."""
        distances = np.empty((len(self.names), len(rows)))
        bounds = np.empty_like(distances)
        features = columns(rows)
        for classes, whitening, centres in self.groups:
            centred = features - whitening.origin[:, np.newaxis]
            distances[classes] = _lengths(whitening.matrix @ centred - centres[:, :, np.newaxis])
            bounds[classes] = np.linalg.norm(whitening.matrix) * _lengths(centred)
        bounds = 4 * gamma(len(features) + 8, np.float64) * (bounds + distances) + TINY
        return np.maximum(distances - bounds, 0), distances + bounds

    @staticmethod
    def check(model: Model) -> None:
        """Raise `ModelFileError` unless the arrays are class centres, and matrices where the metric needs them."""
        arrays, classes, predictors = model.arrays, len(model.classes), len(model.predictors)
        own = {"whitening", "class_whitening"} if model.settings["metric"] == MAHALANOBIS else set()
        if set(arrays) != {"centre", *own}:
            raise ModelFileError(f"a minimum distance needs the arrays {', '.join(sorted({'centre', *own}))}")
        centre = arrays["centre"]
        whitening = arrays.get("whitening", np.zeros((1, predictors, predictors)))
        owners = arrays.get("class_whitening", np.zeros(classes, dtype=np.int32))
        if (
            not classes
            or centre.shape != (classes, predictors)
            or whitening.shape[1:] != (predictors, predictors)
            or owners.shape != (classes,)
        ):
            raise ModelFileError("its class centres do not fit its classes, predictors and metric")
        if any(numbers.dtype != np.float64 or not np.isfinite(numbers).all() for numbers in (centre, whitening)):
            raise ModelFileError("its class centres are not finite numbers")
        if owners.dtype.kind != "i" or not ((owners >= 0) & (owners < len(whitening))).all():
            raise ModelFileError("one of its classes uses a matrix that is not there")


class _EuclideanRanges:
    """Gives between which numbers Euclidean distances lie, from one product: [-2c, |c|², 1] · [x, 1, |x|²].

    Both are taken around the mean of the centres.  The factors of the p + 2 terms went through at most p + 8
    roundings, so that the product errs by at most gamma(2p + 16) (|x| + |c|)².  So does the element-wise sum of
    squares; their sum is doubled for the roundings of the lengths.  Roots are monotonic.
    """

    def __init__(self, centres: np.ndarray) -> None:
        self.origin = centres.mean(axis=0)[:, np.newaxis]
        with np.errstate(over="ignore", invalid="ignore"):
            centred = centres - self.origin.T
            squares = np.square(centred).sum(axis=1)
            self.factors = np.column_stack((-2 * centred, squares, np.ones(len(centres))))
            self.lengths = np.sqrt(squares)[:, np.newaxis]

    def __call__(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        factors = np.ones((self.factors.shape[1], len(rows)))
        factors[:-2] = columns(rows) - self.origin
        factors[-1] = np.square(factors[:-2]).sum(axis=0)
        squares = self.factors @ factors
        bounds = 4 * gamma(2 * len(factors) + 12, np.float64) * (self.lengths + np.sqrt(factors[-1])) ** 2 + TINY
        return np.sqrt(np.maximum(squares - bounds, 0)), np.sqrt(squares + bounds)


class _AngleRanges:
    """Gives between which numbers spectral angles lie, from one product of unit vectors.

    Its p terms went through at most p + 8 roundings each, and so did those of the element-wise cosine: both err by at
    most gamma(2p + 16), since Σ |x c| <= |x| |c|.  The arc cosine, which falls, adds gamma(8) of the angle to each.
    """

    def __init__(self, centres: np.ndarray) -> None:
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            self.directions = centres / np.sqrt(np.square(centres).sum(axis=1))[:, np.newaxis]

    def __call__(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        features = columns(rows)
        cosines = self.directions @ (features / _lengths(features))
        bound, share = 2 * gamma(2 * len(features) + 24, np.float64), gamma(32, np.float64)
        low = np.arccos(np.clip(cosines + bound, -1, 1)) * (1 - share)
        return low, np.arccos(np.clip(cosines - bound, -1, 1)) * (1 + share)


def _lengths(columns: np.ndarray) -> np.ndarray:
    """Return the lengths of *columns* (..., predictors, rows)."""
    return np.sqrt(np.square(columns).sum(axis=-2))
