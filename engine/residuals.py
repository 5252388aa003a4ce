"""How far predictions of a continuous target are off."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Residuals(NamedTuple):
    """Measures of ``predicted - observed``; a measure without a value is NaN.

    rows : rows compared
    rmse, mae : root mean square and mean absolute error, in units of the target
    r_squared : 1 - sum of squared errors / sum of squares around the mean of *observed*; below 0 it is worse than
        that mean, NaN where *observed* is constant
    bias : mean of predicted - observed
    """

    rows: int
    rmse: float
    mae: float
    r_squared: float
    bias: float


def residuals(observed: np.ndarray, predicted: np.ndarray) -> Residuals:
    """Return the measures of two arrays (rows,); rows with NaN in either are left out."""
    observed, predicted = observed.astype(np.float64), predicted.astype(np.float64)
    known = np.isfinite(observed) & np.isfinite(predicted)
    observed, errors = observed[known], predicted[known] - observed[known]
    if not errors.size:
        return Residuals(0, np.nan, np.nan, np.nan, np.nan)
    squares = float(np.square(errors).sum())
    spread = float(np.square(observed - observed.mean()).sum())
    return Residuals(
        rows=errors.size,
        rmse=float(np.sqrt(squares / errors.size)),
        mae=float(np.abs(errors).mean()),
        r_squared=1 - squares / spread if spread > 0 else np.nan,
        bias=float(errors.mean()),
    )
