"""Pearson's, Spearman's and Kendall's correlation of two variables in every pixel of a collection.

The kernels are called as the table of reducers says.  They put each pixel's observations in a row of their own, where
``np.sum`` adds them in an order that depends on their number alone.
"""

from __future__ import annotations

from typing import Callable, Iterator, NamedTuple

import numpy as np

from .distributions import correlation_p, kendall_p, spearman_p

BLOCK = 2**17  # values of one variable that are worked on at once
PAIRWISE = 4096  # up to so many values every pair is compared, which is quicker than sorting by bits
MOST_IN_BYTE = 255


class Tuples(NamedTuple):
    """Pixels with equally many observations: x (pixels, n), or (1, n) where all share it, and y (pixels, n)."""

    pixels: np.ndarray
    x: np.ndarray
    y: np.ndarray

    @property
    def observations(self) -> int:
        return self.y.shape[1]


class Ranked(NamedTuple):
    """Values by their order in each row, all (rows, n)."""

    dense: np.ndarray  # 0, 1, 2 … without gaps; equal values share one
    centred: np.ndarray  # twice the average rank less its mean: a whole number
    runs: np.ndarray  # of the values in rising order: how many are equal to each

    @property
    def tied(self) -> np.ndarray:
        """Which rows have equal values."""
        return self.runs.max(axis=1) > 1


class Concordance(NamedTuple):
    """Kendall's S = C − D of each row, its variance under independence, tau-b, and which rows have ties."""

    score: np.ndarray
    variance: np.ndarray
    tau: np.ndarray
    tied: np.ndarray


def pearsons_correlation(x: np.ndarray, y: np.ndarray, valid: np.ndarray, check: Callable[[], None]) -> np.ndarray:
    """Return Pearson's r and its p-value, that of t with n − 2 degrees."""

    def correlate(here: Tuples) -> tuple[np.ndarray, np.ndarray]:
        r = _coefficient(_deviations(here.x), _deviations(here.y))
        return r, correlation_p(r, here.observations)

    return _each(x, y, valid, check, correlate)


def spearmans_correlation(x: np.ndarray, y: np.ndarray, valid: np.ndarray, check: Callable[[], None]) -> np.ndarray:
    """Return Spearman's rho, Pearson's r of average ranks, and its p-value as in `spearman_p`."""

    def correlate(here: Tuples) -> tuple[np.ndarray, np.ndarray]:
        first, second = ranked(here.x), ranked(here.y)
        rho = _coefficient(first.centred.astype(np.float64), second.centred.astype(np.float64))
        return rho, spearman_p(rho, here.observations, first.tied | second.tied)

    return _each(x, y, valid, check, correlate)


def kendalls_correlation(x: np.ndarray, y: np.ndarray, valid: np.ndarray, check: Callable[[], None]) -> np.ndarray:
    """Return Kendall's tau-b and its p-value as in `kendall_p`."""

    def correlate(here: Tuples) -> tuple[np.ndarray, np.ndarray]:
        found = concordance(here.x, here.y)
        return found.tau, kendall_p(found.score, found.variance, here.observations, found.tied)

    return _each(x, y, valid, check, correlate)


def complete(x: np.ndarray, y: np.ndarray, valid: np.ndarray, most: int = BLOCK) -> Iterator[Tuples]:
    """Yield the observations of x (images, pixels or 1) and y (images, pixels) without those that are not *valid*.

    Pixels with the same number of them come together, about *most* values of each variable at once; pixels without
    any are left out.
    """
    counts = np.count_nonzero(valid, axis=0)
    for count in np.unique(counts[counts > 0]).tolist():
        pixels = np.flatnonzero(counts == count)
        for start in range(0, len(pixels), max(1, most // count)):
            chosen = pixels[start : start + max(1, most // count)]
            if count == len(valid):
                shared = x.T if x.shape[1] == 1 else x.T[chosen]
                yield Tuples(chosen, np.ascontiguousarray(shared), np.ascontiguousarray(y.T[chosen]))
            else:
                here = valid.T[chosen]
                own = np.broadcast_to(x.T, y.T.shape)[chosen]
                yield Tuples(chosen, own[here].reshape(-1, count), y.T[chosen][here].reshape(-1, count))


def ranked(values: np.ndarray) -> Ranked:
    """Rank the values of each row of (rows, n)."""
    rows, count = values.shape
    order = np.argsort(values, axis=1, kind="stable")
    rising = np.take_along_axis(values, order, axis=1)
    first, last = np.ones((2, rows, count), dtype=bool)
    first[:, 1:] = last[:, :-1] = rising[:, 1:] != rising[:, :-1]
    place = np.arange(count)
    start = np.maximum.accumulate(np.where(first, place, 0), axis=1)
    end = np.minimum.accumulate(np.where(last, place, count)[:, ::-1], axis=1)[:, ::-1]
    dense, centred = np.empty((2, rows, count), dtype=np.int64)
    np.put_along_axis(dense, order, first.cumsum(axis=1) - 1, axis=1)
    np.put_along_axis(centred, order, start + end - (count - 1), axis=1)
    return Ranked(dense, centred, end - start + 1)


def concordance(x: np.ndarray, y: np.ndarray) -> Concordance:
    """Compare all pairs of observations in each row of x (rows or 1, n) and y (rows, n).

    Variance with ties in both: Kendall (1970), Rank Correlation Methods, 4th edition, section 4.
    """
    count = y.shape[1]
    first, second = ranked(x), ranked(y)
    keys = np.sort(first.dense * count + second.dense, axis=1)  # by x, then by y: no discordant pair has an equal x
    both = ranked(keys)
    discordant = inversions(keys % count)
    pairs = count * (count - 1) / 2
    x_tied, y_tied, both_tied = (_over_ties(item.runs, lambda t: 1.0) / 2 for item in (first, second, both))
    score = pairs - x_tied - y_tied + both_tied - 2.0 * discordant
    spread = [_over_ties(item.runs, lambda t: 2.0 * t + 5) for item in (first, second)]
    variance = (count * (count - 1) * (2.0 * count + 5) - spread[0] - spread[1]) / 18
    if count > 1:
        variance = variance + 2 * x_tied * y_tied / (count * (count - 1))
    if count > 2:
        thirds = _over_ties(first.runs, lambda t: t - 2.0) * _over_ties(second.runs, lambda t: t - 2.0)
        variance = variance + thirds / (9.0 * count * (count - 1) * (count - 2))
    with np.errstate(divide="ignore", invalid="ignore"):
        tau = np.clip(score / np.sqrt((pairs - x_tied) * (pairs - y_tied)), -1, 1)
    return Concordance(score, variance, tau, first.tied | second.tied)


def inversions(ranks: np.ndarray) -> np.ndarray:
    """Return for each row of (rows, n) whole numbers from 0 to n − 1 how many pairs fall: (rows,) int64."""
    rows, count = ranks.shape
    if count > PAIRWISE:
        return np.array([sum(int(level.partners.sum()) for level in falling_pairs(row)) for row in ranks])
    columns = np.ascontiguousarray(ranks.T, dtype=np.int16)
    found = np.zeros(rows, dtype=np.int64)
    for place in range(count - 1):
        for start in range(place + 1, count, MOST_IN_BYTE):
            falls = columns[place] > columns[start : start + MOST_IN_BYTE]
            found += np.add.reduce(falls.view(np.uint8), axis=0, dtype=np.uint8)
    return found


class FallingPairs(NamedTuple):
    """Some pairs of places in a sequence whose first value is above the second.

    ``lower`` are places; each makes a pair with ``partners`` of the places ``upper``, from position ``start`` on.
    """

    lower: np.ndarray
    start: np.ndarray
    partners: np.ndarray
    upper: np.ndarray


def falling_pairs(ranks: np.ndarray) -> Iterator[FallingPairs]:
    """Yield every falling pair of *ranks* (n,), whole numbers from 0, once: n log n numbers for up to n² / 2 pairs.

    The pairs that differ first in a given bit, from the highest one down, are those of a one before a zero among the
    values with the same higher bits.
    """
    places = np.arange(len(ranks))
    for bit in reversed(range(int(ranks.max(initial=0)).bit_length())):
        values = ranks[places]
        ones = (values >> bit) & 1
        before = ones.cumsum()
        group = values >> (bit + 1)
        first = np.ones(len(ranks), dtype=bool)
        first[1:] = group[1:] != group[:-1]
        start = np.maximum.accumulate(np.where(first, before - ones, 0))
        zeros = ones == 0
        yield FallingPairs(places[zeros], start[zeros], (before - start)[zeros], places[~zeros])
        places = places[np.argsort(values >> bit, kind="stable")]


def _each(
    x: np.ndarray,
    y: np.ndarray,
    valid: np.ndarray,
    check: Callable[[], None],
    correlate: Callable[[Tuples], tuple[np.ndarray, np.ndarray]],
) -> np.ndarray:
    found = np.full((2, valid.shape[1]), np.nan)
    for here in complete(x[0], y[0], valid):
        check()
        found[:, here.pixels] = correlate(here)
    return found


def _deviations(values: np.ndarray) -> np.ndarray:
    """Return *values* (rows, n) less the mean of their row, exactly 0 where all are equal."""
    deviations = values - values.mean(axis=1, keepdims=True)
    deviations[(values == values[:, :1]).all(axis=1)] = 0  # the mean of equal values may differ from them
    return deviations


def _coefficient(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return Σxy / √(Σx² Σy²) of deviations in each row; NaN where one side has none."""
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = np.sqrt(np.square(x).sum(axis=1)) * np.sqrt(np.square(y).sum(axis=1))
        return np.clip((x * y).sum(axis=1) / scale, -1, 1)


def _over_ties(runs: np.ndarray, weight: Callable[[np.ndarray], np.ndarray | float]) -> np.ndarray:
    """Return Σ t (t − 1) weight(t) over the groups of t equal values in each row."""
    return ((runs - 1.0) * weight(runs)).sum(axis=1)
