"""Distances between rows, each computed for itself: the same bits, whatever other rows are there.

A matrix product would be quicker, but its rounding depends on the number of rows: tiles would differ from the whole.
"""

from __future__ import annotations

from typing import Iterable, Iterator, Tuple

import numpy as np

Pairs = Iterable[Tuple[np.ndarray, np.ndarray]]  # for each predictor its values on both sides, broadcast together


def every_pair(points: np.ndarray, rows: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pair every point (points, predictors) with every row (rows, predictors): distances are (points, rows)."""
    return zip(points.T[:, :, np.newaxis], columns(rows)[:, np.newaxis, :])


def columns(rows: np.ndarray) -> np.ndarray:
    """Return *rows* (rows, predictors) as float64 (predictors, rows)."""
    return np.ascontiguousarray(rows.T, dtype=np.float64)


def squared_euclidean(pairs: Pairs) -> np.ndarray:
    """Return Σ (x − y)²."""
    return summed(np.square(x - y) for x, y in pairs)


def manhattan(pairs: Pairs) -> np.ndarray:
    """Return Σ |x − y|."""
    return summed(np.abs(x - y) for x, y in pairs)


def bray_curtis(pairs: Pairs) -> np.ndarray:
    """Return Σ |x − y| / Σ |x + y|: 0 for equal rows, infinite for opposite ones."""
    pairs = list(pairs)
    apart, together = manhattan(pairs), summed(np.abs(x + y) for x, y in pairs)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(apart == 0, 0.0, apart / together)


def angle(pairs: Pairs) -> np.ndarray:
    """Return the spectral angle arccos(x·y / (‖x‖ ‖y‖)) in radians; NaN where one side is zero."""
    pairs = list(pairs)
    lengths = np.sqrt(summed(x * x for x, _ in pairs)) * np.sqrt(summed(y * y for _, y in pairs))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.arccos(np.clip(summed(x * y for x, y in pairs) / lengths, -1, 1))


def summed(terms: Iterable[np.ndarray]) -> np.ndarray:
    """Add the *terms* up in their order; the first one, which must be new, takes the sum."""
    terms = iter(terms)
    total = next(terms)
    for term in terms:
        total += term
    return total
