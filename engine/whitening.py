"""Mahalanobis distances as Euclidean ones between whitened rows: |W(x − y)|² = (x − y)ᵀ S⁻¹ (x − y)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .distances import columns, summed

# Of a correlation matrix's largest eigenvalue; what float32 leaves of a predictor that is a sum of others is smaller.
SINGULAR = 1e-12


class Whitening(NamedTuple):
    """*matrix* (predictors, predictors) makes the covariance around *origin* (predictors,) one."""

    origin: np.ndarray
    matrix: np.ndarray

    def apply(self, rows: np.ndarray) -> np.ndarray:
        """Return *rows* (rows, predictors) whitened, float64; each row for itself, as `distances` wants it."""
        centred = columns(rows) - self.origin[:, np.newaxis]
        whitened = [summed(weight * column for weight, column in zip(line, centred)) for line in self.matrix]
        return np.stack(whitened, axis=1)


def whitening_matrix(covariance: np.ndarray) -> tuple[np.ndarray, int]:
    """Return W with WᵀW = S⁻¹ for the *covariance* S, and S's rank.

    A singular S gets its pseudo-inverse, taken of the correlation matrix: predictors' units do not matter, and a
    constant predictor counts nothing.  Rows of W beyond the rank are zero.
    """
    spread = np.sqrt(np.diag(covariance))
    unit = np.divide(1.0, spread, out=np.zeros_like(spread), where=spread > 0)
    values, vectors = np.linalg.eigh(covariance * unit[:, np.newaxis] * unit)
    kept = values > SINGULAR * max(1.0, values.max())
    matrix = np.zeros_like(covariance)
    rank = int(kept.sum())
    matrix[:rank] = (vectors[:, kept] / np.sqrt(values[kept])).T * unit
    return matrix, rank
