"""Theil–Sen's slope of y on x in every pixel of a collection, and the Mann–Kendall test of its trend."""

from __future__ import annotations

import functools
import math
from typing import Callable, Iterator

import numpy as np

from .correlation import complete, concordance, falling_pairs, ranked
from .distributions import mann_kendall

PAIRS_AT_ONCE = 2**18  # slopes in a block: 2 MB, which stays in the processor's cache
ALL_PAIRS = 2048  # up to so many observations the slopes of all pairs are held at once
MOST_SLOPES = 2**21  # held of more observations
SAMPLE = 800  # slopes of a pixel that say where its median must lie
LARGE_SAMPLE = 2**16
MARGIN = 3.3  # standard deviations of a sample's median; above 10 % of the slopes numpy finds the held ones faster
CLOSE = 1e-13  # slopes that differ by less, relatively, are equal


def sens_slope(
    x: np.ndarray, y: np.ndarray, valid: np.ndarray, check: Callable[[], None], *, significance: bool
) -> np.ndarray:
    """Return slope and offset, with *significance* also Mann–Kendall's S, z and p-value.

    The slope is the median of the slopes between all pairs with different x (Sen 1968), the offset the median of
    y − slope · x.  NaN where x does not vary; z and p-value are NaN where y does not.  Arrays are those of the table
    of reducers.
    """
    found = np.full((5 if significance else 2, valid.shape[1]), np.nan)
    room = _Room()
    for here in complete(x[0], y[0], valid):
        rows = max(1, 2 * PAIRS_AT_ONCE // here.observations**2)
        for start in range(0, len(here.pixels), rows):
            check()
            part = slice(start, start + rows)
            values, times = here.y[part], here.x if len(here.x) == 1 else here.x[part]
            slope = median_slopes(times, values, check, room)
            found[:2, here.pixels[part]] = slope, _medians(values - slope[:, np.newaxis] * times)
        if significance:
            agreement = concordance(here.x, here.y)
            score = np.where(np.isnan(found[0, here.pixels]), np.nan, agreement.score)
            found[2:, here.pixels] = score, *mann_kendall(score, agreement.variance)
    return found


class _Room:
    """Memory of a block of slopes that serves the next one too: new memory costs a quarter of the time."""

    def __init__(self) -> None:
        self._slopes, self._flags = np.empty((2, 0)), np.empty((2, 0), dtype=bool)

    def slopes(self, number: int, rows: int, pairs: int) -> np.ndarray:
        """Return array *number*, 0 or 1, (rows, pairs) float64 with anything in it."""
        if self._slopes.shape[1] < rows * pairs:
            self._slopes, self._flags = np.empty((2, rows * pairs)), np.empty((2, rows * pairs), dtype=bool)
        return self._slopes[number, : rows * pairs].reshape(rows, pairs)

    def flags(self, number: int, rows: int, pairs: int) -> np.ndarray:
        """Return array *number*, 0 or 1, (rows, pairs) bool; `slopes` has been asked for as many before."""
        return self._flags[number, : rows * pairs].reshape(rows, pairs)


def median_slopes(x: np.ndarray, y: np.ndarray, check: Callable[[], None], room: _Room) -> np.ndarray:
    """Return the median slope between all pairs with different x in each row of y (rows, n); x is (rows or 1, n)."""
    count = y.shape[1]
    if count < 2:
        return np.full(len(y), np.nan)
    if count > ALL_PAIRS:
        return np.array([median_slope(times, values, check) for times, values in zip(np.broadcast_to(x, y.shape), y)])
    pairs = count * (count - 1) // 2
    slopes = _differences(y, room.slopes(0, len(y), pairs))
    widths = _differences(x, room.slopes(1, len(x), pairs))
    with np.errstate(divide="ignore", invalid="ignore"):
        slopes /= widths
    rising = np.sort(x, axis=1)
    if (rising[:, 1:] > rising[:, :-1]).all():
        return _between(slopes, np.array((pairs - 1) // 2), np.array(pairs // 2), room)
    upright = widths == 0
    # Half of the pairs without a slope go to either end, so that the middle stays where it is
    skipped = np.broadcast_to(upright.sum(axis=1), len(y))
    ends = np.where(upright.cumsum(axis=1) % 2, np.inf, -np.inf)
    np.copyto(slopes, ends, where=upright)
    lower = np.maximum(skipped // 2 + (pairs - skipped - 1) // 2, 0)
    upper = np.minimum(skipped // 2 + (pairs - skipped) // 2, pairs - 1)
    medians = np.full(len(y), np.nan)
    some = skipped < pairs
    medians[some] = _between(slopes[some], lower[some], upper[some], room)
    return medians


def median_slope(x: np.ndarray, y: np.ndarray, check: Callable[[], None]) -> float:
    """Return the median slope between all pairs of many observations (n,), in n log n memory; NaN where x is constant.

    Slopes drawn from those between two bounds say where the median lies among them; pairs below a bound s are counted
    as the pairs whose residuals y − s x fall (Dillencourt, Mount and Netanyahu 1992), until the few that are left can
    be listed.  Exact but for slopes that are equal to a bound within rounding.
    """
    order = np.lexsort((y, x))
    x, y = x[order], y[order]
    centred, spread = x - x[len(x) // 2], x[-1] - x[0]
    count = len(x) * (len(x) - 1) // 2 - _tied_pairs(x)
    if not count:
        return math.nan
    lower, upper = (count - 1) // 2, count // 2
    steepness = (y.max() - y.min()) / spread
    generator = np.random.default_rng(0)  # chance moves the bounds, not the median

    def residuals(slope: float) -> np.ndarray:
        return math.copysign(1, -slope) * x if math.isinf(slope) else y - slope * centred

    def between(low: float, high: float, numbers: np.ndarray) -> np.ndarray:
        """Return in rising order those slopes from *low* to below *high* that have these *numbers*, which rise."""
        rising = np.argsort(residuals(low), kind="stable")
        first, second = (rising[places] for places in _pairs(_dense(residuals(high)[rising]), numbers, check))
        return np.sort((y[second] - y[first]) / (x[second] - x[first]))

    def below(slope: float) -> int:
        return sum(_numbers_of_pairs(_dense(residuals(slope)), check))

    low, high, start, end = -math.inf, math.inf, 0, count
    while end - start > MOST_SLOPES:
        drawn = between(low, high, np.sort(generator.integers(0, end - start, LARGE_SAMPLE)))
        close = CLOSE * max(steepness, abs(drawn[0]), abs(drawn[-1]))
        place = (lower - start) / (end - start) * LARGE_SAMPLE
        if high - low <= 4 * close:
            return float(drawn[int(place)])
        margin = MARGIN * math.sqrt(LARGE_SAMPLE) / 2
        left, right = int(place - margin) - 1, int(place + margin) + 2
        left_bound = max(low, drawn[left] - close) if left >= 0 else low
        right_bound = min(high, drawn[right] + close) if right < LARGE_SAMPLE else high
        fewer, more = below(left_bound), below(right_bound)
        low, start = (left_bound, fewer) if fewer <= lower else (low, start)
        high, end = (right_bound, more) if more > upper else (high, end)
    slopes = between(low, high, np.arange(end - start))
    return float((slopes[lower - start] + slopes[upper - start]) / 2)


def _differences(values: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Fill *found* (rows, pairs) with one value less the other for every pair in each row of (rows, n); return it."""
    rows, count = values.shape
    around = (count - 1) // 2  # with so many followers, in a ring, everyone makes pairs that nobody else makes
    ring = np.concatenate([values, values], axis=1)
    followers = np.lib.stride_tricks.sliding_window_view(ring[:, : count + around], count, axis=1)[:, 1:]
    circles = found[:, : count * around].reshape(rows, around, count)
    np.subtract(followers, values[:, np.newaxis, :], out=circles)
    if count % 2 == 0:  # and those who sit opposite
        np.subtract(values[:, count // 2 :], values[:, : count // 2], out=found[:, count * around :])
    return found


def _between(values: np.ndarray, lower: np.ndarray, upper: np.ndarray, room: _Room) -> np.ndarray:
    """Return the mean of the *lower*-th and the *upper*-th smallest of each row, which are about its middle.

    *lower* and *upper* count from 0 and are one or one for each row.  Long rows are searched only between two bounds
    that a sample of them gives, in case these hold what is wanted (Floyd and Rivest 1975).
    """
    rows, count = values.shape
    lower, upper = np.broadcast_to(lower, rows), np.broadcast_to(upper, rows)
    if count < 4 * SAMPLE:
        return _selected(values.copy(), lower, upper)
    low, high = _sampled_bounds(values)
    below = np.less(values, low[:, np.newaxis], out=room.flags(0, rows, count))
    inside = np.less_equal(values, high[:, np.newaxis], out=room.flags(1, rows, count))
    inside ^= below
    places = np.flatnonzero(inside)
    before, held = below.sum(axis=1), np.diff(np.searchsorted(places, count * np.arange(rows + 1)))
    caught = (before <= lower) & (upper < before + held)
    if not caught.all():
        found = np.empty(rows)
        found[~caught] = _selected(values[~caught], lower[~caught], upper[~caught])
        if caught.any():
            found[caught] = _between(values[caught], lower[caught], upper[caught], room)
        return found
    least = before.min()
    table = _padded(values.ravel()[places], before - least, held)
    return _selected(table, lower - least, upper - least)


def _sampled_bounds(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return for each row two values that have its median between them, as good as always."""
    sample = values.take(_drawn(values.shape[1]), axis=1)
    middle, margin = sample.shape[1] // 2, int(MARGIN * math.sqrt(sample.shape[1]) / 2) + 1
    sample.partition((middle - margin, middle + margin), axis=1)
    return sample[:, middle - margin], sample[:, middle + margin]


@functools.lru_cache(maxsize=16)
def _drawn(count: int) -> np.ndarray:
    """Return `SAMPLE` places below *count*, always the same, and none of the rhythms that pairs have."""
    return np.sort(np.random.default_rng(0).integers(0, count, SAMPLE))


def _padded(values: np.ndarray, before: np.ndarray, held: np.ndarray) -> np.ndarray:
    """Return rows that start with *before* times −∞, go on with the next *held* of *values*, and end with ∞."""
    width = int((before + held).max())
    table = np.where(np.arange(width) < before[:, np.newaxis], -np.inf, np.inf)
    starts = before + width * np.arange(len(before)) - (held.cumsum() - held)
    table.ravel()[np.arange(len(values)) + np.repeat(starts, held)] = values
    return table


def _selected(values: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> np.ndarray:
    """Return the mean of the *lower*-th and the *upper*-th smallest of each row; *values* are put in another order."""
    values.partition(np.unique(np.concatenate([lower, upper])), axis=1)
    rows = np.arange(len(values))
    return (values[rows, lower] + values[rows, upper]) / 2 + 0.0  # never −0


def _medians(values: np.ndarray) -> np.ndarray:
    count = values.shape[1]
    return _selected(values, *(np.full(len(values), place) for place in ((count - 1) // 2, count // 2)))


def _tied_pairs(values: np.ndarray) -> int:
    groups = np.unique(values, return_counts=True)[1]
    return int((groups * (groups - 1) // 2).sum())


def _dense(values: np.ndarray) -> np.ndarray:
    return ranked(values[np.newaxis])[0][0]


def _numbers_of_pairs(ranks: np.ndarray, check: Callable[[], None]) -> Iterator[int]:
    for some in falling_pairs(ranks):
        check()
        yield int(some.partners.sum())


def _pairs(ranks: np.ndarray, numbers: np.ndarray, check: Callable[[], None]) -> tuple[np.ndarray, np.ndarray]:
    """Return the places (first, second) of those falling pairs of *ranks* that have these rising *numbers* from 0."""
    first, second = [], []
    passed = 0
    for some in falling_pairs(ranks):
        check()
        ends = some.partners.cumsum() + passed
        here = numbers[np.searchsorted(numbers, passed) : np.searchsorted(numbers, ends[-1] if len(ends) else passed)]
        element = np.searchsorted(ends, here, side="right")
        partner = here - (ends[element] - some.partners[element])
        first.append(some.upper[some.start[element] + partner])
        second.append(some.lower[element])
        passed = int(ends[-1]) if len(ends) else passed
    return np.concatenate(first), np.concatenate(second)
