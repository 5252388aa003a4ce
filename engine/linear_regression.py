"""Kernels of linear fit, linear regression and ridge regression (see `reducers` for what a kernel is)."""

from __future__ import annotations

from typing import Callable

import numpy as np

from .distributions import fisher_p, student_p
from .least_squares import DEPENDENT, least_squares, variance_factors
from .sums import count_images, over_images, products_over_images

Check = Callable[[], None]


def linear_fit(x: np.ndarray, y: np.ndarray, valid: np.ndarray, check: Check, *, significance: bool) -> np.ndarray:
    """Return scale and offset of the least-squares line; NaN where x does not vary.

    With *significance* the standard errors of both, R² and the p-value of the scale (t test), with n − 2 degrees of
    freedom; NaN for two images, R² and p-value for constant y, too.
    """
    x, y = x[0], y[0]
    count = count_images(valid)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean_x = products_over_images(x, valid) / count
        mean_y = products_over_images(y, valid) / count
        check()
        squares, products = np.zeros(count.shape), np.zeros(count.shape)
        for one_x, one_y, counts in zip(x, y, valid):  # centred: digits would be lost in Σx² − n·mean²
            from_mean = (one_x - mean_x) * counts
            squares += from_mean * from_mean
            products += from_mean * (one_y - mean_y)
        check()
        varies = squares > DEPENDENT**2 * (squares + count * np.square(mean_x))
        squares[~varies] = np.nan
        scale = products / squares
        offset = mean_y - scale * mean_x
        if not significance:
            return np.stack([scale, offset])
        unexplained, total = np.zeros(count.shape), np.zeros(count.shape)
        for one_x, one_y, counts in zip(x, y, valid):
            from_mean = (one_y - mean_y) * counts
            total += np.square(from_mean)
            unexplained += np.square(from_mean - scale * ((one_x - mean_x) * counts))
        total[total <= DEPENDENT**2 * count * np.square(mean_y)] = np.nan
        freedom = np.where(count > 2, count - 2, np.nan)
        scale_error = np.sqrt(unexplained / freedom / squares)
        offset_error = np.sqrt(unexplained / freedom * (1 / count + np.square(mean_x) / squares))
        r_squared = 1 - unexplained / total
        p_value = np.where(np.isnan(total), np.nan, student_p(scale / scale_error, count - 2))
    return np.stack([scale, offset, scale_error, offset_error, r_squared, p_value])


def linear_regression(
    x: np.ndarray, y: np.ndarray, valid: np.ndarray, check: Check, *, significance: bool
) -> np.ndarray:
    """Return the coefficients (Y fastest) and √(RSS / n) of each Y; NaN where n ≤ number of X or X are dependent.

    With *significance* the coefficients' standard errors and p-values (t test, n − number of X degrees of freedom), and
    R², around the mean of y where some X is constant, else around 0.
    """
    count = count_images(valid)
    enough = count > len(x)
    fit = least_squares(x * valid, y * valid, check)
    with np.errstate(divide="ignore", invalid="ignore"):
        unexplained = np.stack([products_over_images(each, each) for each in fit.residuals])
        outputs = [*_by_rows(fit.coefficients), *np.sqrt(unexplained / count)]
        if significance:
            freedom = np.where(enough, count - len(x), np.nan)
            errors = np.sqrt(variance_factors(fit)[:, np.newaxis] * (unexplained / freedom))
            explained = r_squared(unexplained, x, y, valid)
            p_values = student_p(fit.coefficients / errors, np.nan_to_num(freedom))
            outputs += [*_by_rows(errors), *_by_rows(p_values), *explained]
    defined = enough & ~np.isnan(fit.coefficients[0, 0])
    return np.where(defined, np.stack(outputs), np.nan)


def ridge_regression(
    x: np.ndarray,
    y: np.ndarray,
    valid: np.ndarray,
    check: Check,
    *,
    lambda_: float,
    intercept: bool,
    standardize: bool,
    significance: bool,
) -> np.ndarray:
    """Return intercept and slopes (Y fastest), √(RSS / n) and the p-value of an F test of each Y; R² on demand.

    X and y are centred, the slopes solve (X'X + λI) w = X'y (Hoerl and Kennard 1970); without *intercept* nothing is
    centred and that row is left out.  NaN where n ≤ number of X.  *standardize* divides each column by its root mean
    square (once centred: its population standard deviation) before the penalty and scales its slope back.
    """
    slopes_count, images = len(x), len(valid)
    weight, count = valid.astype(np.float64), count_images(valid)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean_x = np.stack([products_over_images(each, weight) / count for each in x]) * intercept
        mean_y = np.stack([products_over_images(each, weight) / count for each in y]) * intercept
        columns, targets = (x - mean_x[:, np.newaxis]) * weight, (y - mean_y[:, np.newaxis]) * weight
        check()
        spread = np.ones((slopes_count, valid.shape[1]))
        if standardize:
            lengths = np.stack([np.sqrt(products_over_images(each, each) / count) for each in columns])
            spread = np.where(lengths > DEPENDENT * np.abs(mean_x), lengths, 1)
        # λ is √λ · I below the columns, and 0 below the targets
        penalty = np.zeros((slopes_count, slopes_count, valid.shape[1]))
        penalty[np.arange(slopes_count), np.arange(slopes_count)] = np.sqrt(lambda_)
        taller = np.concatenate([columns / spread[:, np.newaxis], penalty], axis=1)
        longer = np.zeros((len(y), images + slopes_count, valid.shape[1]))
        longer[:, :images] = targets
        slopes = least_squares(taller, longer, check).coefficients / spread[:, np.newaxis]
        total = np.stack([products_over_images(each, each) for each in targets])
        for slope, column in zip(slopes, columns):
            targets -= slope[:, np.newaxis] * column
        unexplained = np.stack([products_over_images(each, each) for each in targets])
        outputs = [*_by_rows(slopes), *np.sqrt(unexplained / count)]
        if intercept:
            outputs = [*(mean_y - over_images(slopes * mean_x[:, np.newaxis])), *outputs]
        flat = total <= DEPENDENT**2 * count * np.square(mean_y)
        freedom = np.where(count > slopes_count + intercept, count - slopes_count - intercept, np.nan)
        f = np.where(flat, np.nan, (total - unexplained) / slopes_count / (unexplained / freedom))
        outputs += [*fisher_p(f, slopes_count, freedom)]
        if significance:
            outputs += [*np.where(flat, np.nan, 1 - unexplained / total)]
    defined = (count > slopes_count) & ~np.isnan(slopes[0, 0])
    return np.where(defined, np.stack(outputs), np.nan)


def r_squared(unexplained: np.ndarray, x: np.ndarray, y: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Return 1 − RSS / TSS, (number of Y, pixels), from RSS; NaN where y is constant (without constant X: 0).

    TSS is around the mean of y where some X is constant, else around 0, as in R's summary of a linear model.
    """
    weight, count = valid.astype(np.float64), count_images(valid)
    constant = np.zeros(count.shape, dtype=bool)
    for each in x:
        high = np.where(valid, each, -np.inf).max(axis=0)
        constant |= (high == np.where(valid, each, np.inf).min(axis=0)) & (high != 0)
    result = []
    with np.errstate(divide="ignore", invalid="ignore"):
        for each, rest in zip(y, unexplained):
            mean = np.where(constant, products_over_images(each, weight) / count, 0)
            centred = (each - mean) * weight
            total = products_over_images(centred, centred)
            total[total <= DEPENDENT**2 * count * np.square(mean)] = np.nan
            result.append(1 - rest / total)
    return np.stack(result)


def _by_rows(values: np.ndarray) -> np.ndarray:
    """Return (p, q, pixels) as (p · q, pixels): the Y of the first X first."""
    return values.reshape(-1, values.shape[-1])
