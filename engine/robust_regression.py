"""The kernel of robust linear regression: iteratively reweighted least squares with Talwar's cost.

D. P. O'Leary (1990), "Robust regression computation using iteratively reweighted least squares", SIAM J. Matrix
Anal. Appl. 11: weight 1 within the margin, 0 beyond.  Earth Engine does not document its margin; here residuals are
adjusted for leverage and 2.795 robust standard deviations are the margin (95 % efficient for normal residuals).
"""

from __future__ import annotations

from typing import Callable

import numpy as np

from .least_squares import least_squares, leverages
from .linear_regression import r_squared
from .sums import count_images, over_images, products_over_images

TALWAR = 2.795  # margin in standard deviations
NORMAL_MEDIAN = 0.6745  # median of |residual| of the standard normal distribution
MOST_ITERATIONS = 50
NO_FREEDOM = 1e-10  # 1 − leverage below which an image's residual says nothing: the fit goes through it anyway


def robust_linear_regression(
    x: np.ndarray,
    y: np.ndarray,
    valid: np.ndarray,
    check: Callable[[], None],
    *,
    beta: float | None,
    significance: bool,
) -> np.ndarray:
    """Return the coefficients (Y fastest) and the root mean square of the inliers' residuals of each Y.

    *beta* is the largest root mean square over Y of an inlier's residuals; None takes the margin from the data.  With
    *significance* the number of inliers, and R² over them.  NaN where n < number of X or X are dependent.
    """
    x = np.broadcast_to(x, (len(x), *valid.shape))
    first = least_squares(x * valid, y * valid, check)
    coefficients = first.coefficients
    freedom = 1 - leverages(first) if beta is None else None
    inliers = valid.copy()
    active = np.flatnonzero(~np.isnan(coefficients[0, 0]))
    for _ in range(MOST_ITERATIONS):
        if not active.size:
            break
        check()
        some_x, some_y, some_valid = x[..., active], y[..., active], valid[:, active]
        sizes = _sizes(some_x, some_y, coefficients[..., active])
        if freedom is None:
            inside = some_valid & (sizes <= beta)
        else:
            inside = some_valid & _within_margin(sizes, freedom[:, active], some_valid, len(x))
        changed = (inside != inliers[:, active]).any(axis=0)
        active = active[changed]
        inside = inside[:, changed]
        inliers[:, active] = inside
        if active.size:
            fit = least_squares(some_x[..., changed] * inside, some_y[..., changed] * inside, check)
            coefficients[..., active] = fit.coefficients
            active = active[~np.isnan(fit.coefficients[0, 0])]
    with np.errstate(divide="ignore", invalid="ignore"):
        count = count_images(inliers)
        residuals = (y - _fitted(x, coefficients)) * inliers
        unexplained = np.stack([products_over_images(each, each) for each in residuals])
        outputs = [*coefficients.reshape(-1, valid.shape[1]), *np.sqrt(unexplained / count)]
        if significance:
            outputs += [count, *r_squared(unexplained, x, y, inliers)]
    defined = (count_images(valid) >= len(x)) & ~np.isnan(coefficients[0, 0])
    return np.where(defined, np.stack(outputs), np.nan)


def _fitted(x: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
    """Return what the model gives, (number of Y, images, pixels)."""
    return over_images(coefficients[:, :, np.newaxis] * x[:, np.newaxis])


def _sizes(x: np.ndarray, y: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
    """Return the root mean square over Y of each image's residuals, (images, pixels)."""
    return np.sqrt(over_images(np.square(y - _fitted(x, coefficients))) / len(y))


def _within_margin(sizes: np.ndarray, freedom: np.ndarray, valid: np.ndarray, count: int) -> np.ndarray:
    """Say which residuals, adjusted for leverage, lie within the margin.

    The scale is their median over all valid images without the *count* − 1 smallest, over `NORMAL_MEDIAN`.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        adjusted = np.where(freedom < NO_FREEDOM, 0, sizes / np.sqrt(freedom))
    ordered = np.sort(np.where(valid, adjusted, np.inf), axis=0)
    left = valid.sum(axis=0) - (count - 1)
    middle = [count - 1 + np.maximum(left - 1, 0) // 2, count - 1 + np.maximum(left, 0) // 2]
    low, high = (np.take_along_axis(ordered, np.minimum(each, len(valid) - 1)[np.newaxis], axis=0) for each in middle)
    scale = (low + high) / 2 / NORMAL_MEDIAN
    return (adjusted < TALWAR * scale) | (adjusted == 0)
