"""Maxent's features: functions of one or two predictors with values from 0 to 1 over the training points.

Source: S. Phillips, R. Anderson, R. Schapire 2006 (Ecological Modelling 190) and S. Phillips, M. Dudík 2008 (Ecography
31), as AMNH Maxent 3.4.4 does it.  Points are float64 (predictors, rows) everywhere in the Maxent modules.
"""

from __future__ import annotations

from typing import Iterator, NamedTuple

import numpy as np

LINEAR, QUADRATIC, PRODUCT, THRESHOLD, HINGE, REVERSE_HINGE, CATEGORY = range(7)
BLOCK_VALUES = 2**20  # float64 values of features held at a time


class Features(NamedTuple):
    """A list of features, one element of each array per feature.

    kind : uint8, one of the constants above
    first, second : int32 positions of predictors; *second* equals *first* but for products
    low, high : float64; the range of a linear, quadratic or product feature, a hinge's two ends;
        a threshold's or category's value (both equal)
    """

    kind: np.ndarray
    first: np.ndarray
    second: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def take(self, chosen) -> Features:
        return Features(*(array[chosen] for array in self))

    @property
    def number(self) -> int:
        return self.kind.size


class Kinds(NamedTuple):
    """Which kinds of features of continuous predictors are wanted."""

    linear: bool
    quadratic: bool
    product: bool
    threshold: bool
    hinge: bool


def feature_list(rows: list[tuple[int, int, int, float, float]]) -> Features:
    """Return `Features` of (kind, first, second, low, high) rows."""
    columns = list(zip(*rows)) or [()] * 5
    types = (np.uint8, np.int32, np.int32, np.float64, np.float64)
    return Features(*(np.array(column, dtype=kind) for column, kind in zip(columns, types)))


def clamped(points: np.ndarray, lower: np.ndarray, upper: np.ndarray, continuous: np.ndarray) -> np.ndarray:
    """Return *points* with the *continuous* predictors (bool) brought into [*lower*, *upper*] (predictors,)."""
    inside = np.clip(points, lower[:, np.newaxis], upper[:, np.newaxis])
    return np.where(continuous[:, np.newaxis], inside, points)


def linear_predictor(features: Features, weights: np.ndarray, points: np.ndarray, clamp: bool, check) -> np.ndarray:
    """Return Σ weight · feature for every row, feature after feature: a row never depends on the others.

    With *clamp* every feature is brought into [0, 1].  *check* is called once per feature.
    """
    total = np.zeros(points.shape[1])
    for kind, first, second, low, high, weight in zip(*features, weights):
        check()
        values = _values(kind, points, first, second, low, high)
        if clamp:
            values = np.clip(values, 0.0, 1.0)
        total += weight * values
    return total


def feature_blocks(features: Features, points: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield (span of rows, values (features, rows of the span)), clipped to [0, 1], in bounded memory."""
    step = max(64, BLOCK_VALUES // max(1, features.number))
    for start in range(0, points.shape[1], step):
        span = slice(start, min(points.shape[1], start + step))
        block = np.ascontiguousarray(points[:, span])
        values = np.empty((features.number, block.shape[1]))
        for kind in np.unique(features.kind):
            chosen = np.flatnonzero(features.kind == kind)
            some = features.take(chosen)
            low, high = some.low[:, np.newaxis], some.high[:, np.newaxis]
            values[chosen] = _values(kind, block, some.first, some.second, low, high)
        yield span, np.clip(values, 0.0, 1.0, out=values)


def _values(kind, points: np.ndarray, first, second, low, high) -> np.ndarray:
    column = points[first]
    if kind == THRESHOLD:
        return (column > low).astype(np.float64)
    if kind == CATEGORY:
        return (column == low).astype(np.float64)
    span = np.where(high > low, high - low, 1.0)
    if kind == HINGE:
        return np.maximum(column - low, 0.0) / span
    if kind == REVERSE_HINGE:
        return np.maximum(high - column, 0.0) / span
    if kind == LINEAR:
        return (column - low) / span
    return (column * points[second] - low) / span


class Candidates:
    """Every feature that a training table offers, and their means under any weights of the points.

    The means come from sums over sorted values and one small matrix product; the matrix of all features
    (points × some hundred thousand) is never made.
    """

    def __init__(self, points: np.ndarray, categorical: np.ndarray, kinds: Kinds) -> None:
        self.points = points
        self.kinds = kinds
        continuous = [number for number in range(len(points)) if not categorical[number]]
        parts = [self._smooth(continuous)]
        self.smooth_count = parts[0].number
        self.ladders = [_Ladder(points[number], number, kinds) for number in continuous if _varies(points[number])]
        parts += [ladder.features for ladder in self.ladders]
        self.categories = [_Categories(points[number], number) for number in np.flatnonzero(categorical)]
        parts += [categories.features for categories in self.categories]
        self.features = Features(*(np.concatenate(arrays) for arrays in zip(*parts)))

    def means(self, weights: np.ndarray) -> np.ndarray:
        """Return the mean of every feature over the points, *weights* (points,) adding up to 1."""
        parts = [self._smooth_means(weights)]
        parts += [ladder.means(weights) for ladder in self.ladders]
        parts += [categories.means(weights) for categories in self.categories]
        return np.concatenate(parts)

    def _smooth(self, continuous: list[int]) -> Features:
        """Linear, quadratic and product features of the predictors *continuous*; constant ones say nothing."""
        rows = []
        for place, first in enumerate(continuous):
            column = self.points[first]
            if self.kinds.linear:
                rows.append((LINEAR, first, first, column.min(), column.max()))
            if self.kinds.quadratic:
                square = column * column
                rows.append((QUADRATIC, first, first, square.min(), square.max()))
            for second in continuous[place + 1 :] if self.kinds.product else ():
                product = column * self.points[second]
                rows.append((PRODUCT, first, second, product.min(), product.max()))
        return feature_list([row for row in rows if row[4] > row[3]])

    def _smooth_means(self, weights: np.ndarray) -> np.ndarray:
        features = self.features.take(slice(self.smooth_count))
        means = (self.points @ weights)[features.first]
        if self.kinds.quadratic or self.kinds.product:
            moments = (self.points * weights) @ self.points.T
            means = np.where(features.kind == LINEAR, means, moments[features.first, features.second])
        return (means - features.low) / (features.high - features.low)


class _Ladder:
    """The thresholds and hinges of one predictor, one of each kind at every knot."""

    def __init__(self, column: np.ndarray, predictor: int, kinds: Kinds) -> None:
        self.kinds = kinds
        self.values, self.place = np.unique(column, return_inverse=True)
        self.knots = (self.values[:-1] + self.values[1:]) / 2
        lowest, highest = np.full_like(self.knots, self.values[0]), np.full_like(self.knots, self.values[-1])
        parts = []
        if kinds.threshold:
            parts.append((THRESHOLD, self.knots, self.knots))
        if kinds.hinge:
            parts += [(HINGE, self.knots, highest), (REVERSE_HINGE, lowest, self.knots)]
        kind = np.repeat(np.array([part[0] for part in parts], dtype=np.uint8), self.knots.size)
        first = np.full(kind.size, predictor, dtype=np.int32)
        low, high = (np.concatenate([np.empty(0), *(part[side] for part in parts)]) for side in (1, 2))
        self.features = Features(kind, first, first, low, high)

    def means(self, weights: np.ndarray) -> np.ndarray:
        """Sums of positive numbers only, so nothing cancels: a hinge's mean is the integral of a threshold's."""
        share = np.bincount(self.place, weights, minlength=self.values.size)
        above = _from_the_end(share)[1:]  # share of the points above each knot
        below = np.cumsum(share)[:-1]
        before, after = self.knots - self.values[:-1], self.values[1:] - self.knots
        parts = [np.empty(0)]
        if self.kinds.threshold:
            parts.append(above)
        if self.kinds.hinge:
            integral = _from_the_end(above * after)
            integral[:-1] += _from_the_end(above * before)[1:]
            parts.append(integral / (self.values[-1] - self.knots))
            integral = np.cumsum(below * before)
            integral[1:] += np.cumsum(below * after)[:-1]
            parts.append(integral / (self.knots - self.values[0]))
        return np.concatenate(parts)


class _Categories:
    """One indicator for every value of a categorical predictor."""

    def __init__(self, column: np.ndarray, predictor: int) -> None:
        values, self.place = np.unique(column, return_inverse=True)
        first = np.full(values.size, predictor, dtype=np.int32)
        self.features = Features(np.full(values.size, CATEGORY, dtype=np.uint8), first, first, values, values)

    def means(self, weights: np.ndarray) -> np.ndarray:
        return np.bincount(self.place, weights, minlength=self.features.number)


def _varies(column: np.ndarray) -> bool:
    return bool(column.max() > column.min())


def _from_the_end(numbers: np.ndarray) -> np.ndarray:
    return np.cumsum(numbers[::-1])[::-1]
