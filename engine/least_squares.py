"""Least squares for many pixels at once, each with its own images, by modified Gram–Schmidt.

The columns of X are made orthogonal one after the other and Y is freed of each (Björck 1967, "Solving linear least
squares problems by Gram–Schmidt orthogonalization"): as accurate as Householder's method, without the squared
condition of normal equations, so that decimal years near 2000 and their sines need no shifting.  Every step is
element-wise over pixels or a sum made image by image: a pixel's bits do not depend on the others.
"""

from __future__ import annotations

from typing import Callable, NamedTuple

import numpy as np

from .sums import over_images, products_over_images

DEPENDENT = 1e-12  # of its length may be left of a column that is not taken for a combination of those before it


class LeastSquares(NamedTuple):
    """The solution for p columns and q targets; NaN in ``coefficients`` where the columns depend on each other.

    coefficients : (p, q, pixels)
    residuals : (q, images, pixels), 0 where an image does not count
    basis : (p, images, pixels), the orthogonal columns
    squares : (p, pixels), their squared lengths
    upper : (p, p, pixels), X = basis · upper, with a diagonal of 1 that is not stored
    """

    coefficients: np.ndarray
    residuals: np.ndarray
    basis: np.ndarray
    squares: np.ndarray
    upper: np.ndarray


def least_squares(columns: np.ndarray, targets: np.ndarray, check: Callable[[], None]) -> LeastSquares:
    """Solve for *columns* (p, images, pixels) and *targets* (q, images, pixels), 0 where an image does not count.

    Both are overwritten.
    """
    count, _, pixels = columns.shape
    upper = np.zeros((count, count, pixels))
    squares = np.empty((count, pixels))
    projections = np.empty((count, len(targets), pixels))
    independent = np.ones(pixels, dtype=bool)
    lengths = [products_over_images(column, column) for column in columns]
    for j, column in enumerate(columns):
        check()
        squares[j] = products_over_images(column, column)
        independent &= squares[j] > DEPENDENT**2 * lengths[j]
        divisor = np.where(independent, squares[j], 1)
        for k in range(j + 1, count):
            upper[j, k] = products_over_images(column, columns[k]) / divisor
            columns[k] -= upper[j, k] * column
        for k, target in enumerate(targets):
            projections[j, k] = products_over_images(column, target) / divisor
            target -= projections[j, k] * column
    coefficients = np.where(independent, _back_substituted(upper, projections), np.nan)
    return LeastSquares(coefficients, targets, columns, squares, upper)


def leverages(fit: LeastSquares) -> np.ndarray:
    """Return the diagonal of the hat matrix X (X'X)⁻¹ X', (images, pixels)."""
    result = np.zeros(fit.basis.shape[1:])
    with np.errstate(divide="ignore", invalid="ignore"):  # dependent columns
        for column, square in zip(fit.basis, fit.squares):
            result += np.square(column) / square
    return result


def variance_factors(fit: LeastSquares) -> np.ndarray:
    """Return the diagonal of (X'X)⁻¹, (p, pixels): times the variance of the residuals it is the coefficients'."""
    count = len(fit.basis)
    identity = np.zeros((count, count, fit.squares.shape[1]))
    identity[np.arange(count), np.arange(count)] = 1
    inverse = _back_substituted(fit.upper, identity)
    with np.errstate(divide="ignore", invalid="ignore"):  # dependent columns
        return over_images(np.moveaxis(np.square(inverse) / fit.squares, 1, 0))


def _back_substituted(upper: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Solve upper · z = right for z (p, q, pixels); *upper* (p, p, pixels) has a diagonal of 1."""
    solved = right.copy()
    for j in range(len(right) - 1, -1, -1):
        for k in range(j + 1, len(right)):
            solved[j] -= upper[j, k] * solved[k]
    return solved
