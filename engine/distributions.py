"""Two-sided p-values of correlations and trends, for arrays of any shape; NaN where undefined."""

from __future__ import annotations

import functools
import itertools
import math

import numpy as np

from .errors import MissingLibraryError

EXACT_KENDALL = 50  # R's cor.test: below so many untied pairs of values the distribution is counted out
EXACT_SPEARMAN = 9  # up to so many every permutation is tried
SERIES_SPEARMAN = 1290  # up to so many AS 89's series holds in R's cor.test, above the t approximation


def student_p(t: np.ndarray, freedom: np.ndarray | float) -> np.ndarray:
    """Return P(|T| ≥ |t|) of Student's distribution with *freedom* degrees; NaN below one degree."""
    freedom = np.asarray(freedom, dtype=np.float64)
    return np.where(freedom >= 1, 2 * _special().stdtr(np.maximum(freedom, 1), -np.abs(t)), np.nan)


def normal_p(z: np.ndarray) -> np.ndarray:
    """Return P(|Z| ≥ |z|) of the standard normal distribution."""
    return 2 * _special().ndtr(-np.abs(z))


def fisher_p(f: np.ndarray, freedom: np.ndarray | float, residual_freedom: np.ndarray | float) -> np.ndarray:
    """Return P(F ≥ f) of Fisher's distribution with these degrees of freedom."""
    return _special().fdtrc(freedom, residual_freedom, f)


def correlation_p(r: np.ndarray, count: np.ndarray | float) -> np.ndarray:
    """Return the p-value of Pearson's *r* of *count* pairs: t = r √((n − 2) / (1 − r²)) with n − 2 degrees."""
    freedom = np.asarray(count, dtype=np.float64) - 2
    with np.errstate(divide="ignore", invalid="ignore"):
        t = r * np.sqrt(np.maximum(freedom, 0) / ((1 - r) * (1 + r)))
    return student_p(np.where(np.abs(r) == 1, np.inf, t), freedom)


def spearman_p(r: np.ndarray, count: int, tied: np.ndarray) -> np.ndarray:
    """Return the p-value of Spearman's *r* of *count* pairs, (pixels,), as R's ``cor.test`` does.

    Where *tied* and above `SERIES_SPEARMAN` pairs the t approximation of Pearson's coefficient.  Without ties every
    permutation up to `EXACT_SPEARMAN` pairs, then the Edgeworth series of algorithm AS 89 (Best and Roberts 1975); it
    differs from the t approximation by up to 0.002 at 30 pairs.
    """
    approximate = correlation_p(r, count)
    if not 2 <= count <= SERIES_SPEARMAN or tied.all():
        return approximate
    cube = count**3 - count
    squares = np.rint(cube * (1 - np.where(tied, 0, r)) / 6)  # Σ of squared differences of ranks, a whole even number
    if count <= EXACT_SPEARMAN:
        tails = _spearman_tails(count)[squares.astype(np.int64) // 2]
    else:
        tails = np.where(squares > cube / 6, _edgeworth(squares, count), 1 - _edgeworth(squares + 2, count))
    return np.where(tied, approximate, np.minimum(1, 2 * np.clip(tails, 0, 1)))


def kendall_p(score: np.ndarray, variance: np.ndarray, count: int, tied: np.ndarray) -> np.ndarray:
    """Return the p-value of Kendall's *score* S = C − D of *count* pairs, (pixels,), as R's ``cor.test`` does.

    Where *tied* and from `EXACT_KENDALL` pairs on the normal one of S / √variance without continuity correction,
    else the exact distribution.  NaN where the variance is 0.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        approximate = normal_p(score / np.sqrt(variance))
    if not 2 <= count < EXACT_KENDALL or tied.all():
        return approximate
    pairs = count * (count - 1) // 2
    fewer = (pairs - np.abs(score).astype(np.int64)) // 2  # of concordant and discordant pairs
    return np.where(tied, approximate, np.minimum(1, 2 * _kendall_tails(count)[fewer]))


def mann_kendall(score: np.ndarray, variance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return z = (S − sign S) / √variance of the Mann–Kendall trend test and its p-value; NaN where variance is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        z = (score - np.sign(score)) / np.sqrt(variance)
    return z, normal_p(z)


@functools.lru_cache(maxsize=EXACT_KENDALL)
def _kendall_tails(count: int) -> np.ndarray:
    """Return P(inversions ≤ k) of a random permutation of *count* things, for every k."""
    numbers = [1]
    for size in range(2, count + 1):  # the size-th thing makes 0 … size − 1 inversions with those before it
        sums = list(itertools.accumulate(numbers)) + [sum(numbers)] * (size - 1)
        numbers = [total - (sums[k - size] if k >= size else 0) for k, total in enumerate(sums)]
    permutations = math.factorial(count)
    return np.array([total / permutations for total in itertools.accumulate(numbers)])  # whole numbers until here


@functools.lru_cache(maxsize=EXACT_SPEARMAN)
def _spearman_tails(count: int) -> np.ndarray:
    """Return the smaller tail of Σd² = 2k among all permutations of *count* ranks, for every k."""
    permutations = np.array([[0]], dtype=np.int8)
    for size in range(1, count):  # put the next rank at every place
        permutations = np.concatenate([np.insert(permutations, place, size, axis=1) for place in range(size + 1)])
    squares = np.square(permutations - np.arange(count, dtype=np.int16)).sum(axis=1)
    numbers = np.bincount(squares // 2)
    below, above = numbers.cumsum(), numbers[::-1].cumsum()[::-1]
    return np.minimum(below, above) / len(permutations)


def _edgeworth(squares: np.ndarray, count: int) -> np.ndarray:
    """Return P(Σd² ≥ *squares*) of *count* untied ranks by the series of AS 89."""
    b = 1 / count
    x = (6 * (squares - 1) * b / (count**2 - 1) - 1) * math.sqrt(1 / b - 1)
    y = x * x
    inner = 0.0072 - 0.0831 * b + y * b * (0.0131 - 0.00046 * y)
    inner = -0.0758 + b * (0.1033 + 0.3932 * b) - y * b * (0.0879 + 0.0151 * b - y * inner)
    u = x * b * (0.2274 + b * (0.2531 + 0.1745 * b) + y * inner)
    return u / np.exp(y / 2) + _special().ndtr(-x)


def _special():
    try:
        from scipy import special
    except ImportError as error:
        raise MissingLibraryError(
            "p-values need SciPy, which is not installed: install the package python3-scipy, or scipy with pip."
        ) from error
    return special
