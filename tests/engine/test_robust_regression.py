"""Robust regression leaves out what lies far from the line (the oracle's pixels are in test_regression_oracle)."""

from __future__ import annotations

import numpy as np
import pytest
from rasterml.engine.robust_regression import robust_linear_regression

IMAGES = 20


def nothing():
    pass


@pytest.fixture
def line():
    """X constant and 0 ... 19, two Y near 3 + 2 x and 5 − x, with outliers in the images 4 and 11 of the first."""
    generator = np.random.default_rng(3)
    steps = np.arange(float(IMAGES))
    x = np.stack([np.ones(IMAGES), steps])[..., np.newaxis]
    y = np.stack([3 + 2 * steps, 5 - steps])[..., np.newaxis] + generator.uniform(-0.1, 0.1, (2, IMAGES, 1))
    y[0, [4, 11]] += [[50], [-30]]
    return x, y


def without(x, y, left_out):
    kept = np.setdiff1d(np.arange(IMAGES), left_out)
    solution = np.linalg.lstsq(x[:, kept, 0].T, y[kept], rcond=None)[0]
    return solution, np.sqrt(np.mean((y[kept] - x[:, kept, 0].T @ solution) ** 2))


@pytest.mark.parametrize("beta", [None, 2.0])
def test_outliers_are_left_out_of_coefficients_and_residuals(beta, line):
    x, y = line
    everything = np.ones((IMAGES, 1), dtype=bool)
    result = robust_linear_regression(x, y[:1], everything, nothing, beta=beta, significance=True)[:, 0]

    solution, residual = without(x, y[0, :, 0], [4, 11])
    np.testing.assert_allclose(result[:2], solution, rtol=1e-12)
    assert result[2] == pytest.approx(residual, rel=1e-10)
    assert result[3] == IMAGES - 2
    assert result[4] > 0.999


def test_an_image_is_an_outlier_by_the_root_mean_square_over_all_y(line):
    x, y = line
    everything = np.ones((IMAGES, 1), dtype=bool)
    # the outliers' residuals of 50 and 30 count as 50 / √2 and 30 / √2, about 34 and 21 beside OLS's bent line
    result = robust_linear_regression(x, y, everything, nothing, beta=2.0, significance=True)[:, 0]

    for position in range(2):
        solution, residual = without(x, y[position, :, 0], [4, 11])
        np.testing.assert_allclose(result[position:4:2], solution, rtol=1e-12)
        assert result[4 + position] == pytest.approx(residual, rel=1e-10)
    assert result[6] == IMAGES - 2


def test_a_margin_beyond_all_residuals_is_least_squares(line):
    x, y = line
    everything = np.ones((IMAGES, 1), dtype=bool)
    result = robust_linear_regression(x, y[:1], everything, nothing, beta=1000.0, significance=False)[:, 0]

    np.testing.assert_allclose(result[:2], without(x, y[0, :, 0], [])[0], rtol=1e-12)


def test_as_many_images_as_x_are_enough_and_fewer_are_not(line):
    x, y = line
    two, one = np.zeros((IMAGES, 1), dtype=bool), np.zeros((IMAGES, 1), dtype=bool)
    two[[2, 9]], one[2] = True, True

    result = robust_linear_regression(x, y[:1], two, nothing, beta=None, significance=False)[:, 0]
    slope = (y[0, 9, 0] - y[0, 2, 0]) / 7
    np.testing.assert_allclose(result, [y[0, 2, 0] - 2 * slope, slope, 0], atol=1e-12)
    assert np.isnan(robust_linear_regression(x, y[:1], one, nothing, beta=None, significance=False)).all()


def test_a_margin_that_nothing_meets_gives_nothing(line):
    x, y = line
    everything = np.ones((IMAGES, 1), dtype=bool)

    assert np.isnan(robust_linear_regression(x, y[:1], everything, nothing, beta=0.0, significance=True)).all()


def test_a_perfect_line_keeps_all_but_what_is_off_it():
    steps = np.arange(8.0)
    x = np.stack([np.ones(8), steps])[..., np.newaxis]
    y = (1 + 4 * steps)[np.newaxis, :, np.newaxis]
    y[0, 6] = 0

    result = robust_linear_regression(x, y, np.ones((8, 1), dtype=bool), nothing, beta=None, significance=False)[:, 0]

    np.testing.assert_allclose(result, [1, 4, 0], atol=1e-12)
