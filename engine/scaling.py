"""Min–max scaling as Weka's distances do it (reference 5.0): the training range becomes 0 … 1."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class MinMax(NamedTuple):
    """Least value and range of each predictor.

    minimum, range : float64 (predictors,); a range of 0 belongs to a constant predictor
    """

    minimum: np.ndarray
    range: np.ndarray

    @classmethod
    def of(cls, features: np.ndarray) -> MinMax:
        """Measure *features* (rows, predictors), at least one row."""
        minimum = features.min(axis=0).astype(np.float64)
        return cls(minimum, features.max(axis=0).astype(np.float64) - minimum)

    @property
    def constant(self) -> np.ndarray:
        """Numbers of the predictors that have one value only."""
        return np.flatnonzero(self.range == 0)

    def scaled(self, features: np.ndarray) -> np.ndarray:
        """Return (x − minimum) / range as float64 (rows, predictors): not clipped, and 0 for a constant predictor."""
        scaled = np.asarray(features, dtype=np.float64) - self.minimum
        scaled /= np.where(self.range > 0, self.range, 1.0)
        scaled[..., self.constant] = 0.0
        return scaled
