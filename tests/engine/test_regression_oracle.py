"""The kernels against R (../shared/oracle/regression): every pixel, in one call, with its own gaps."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from rasterml.engine.reducers import REDUCERS_BY_ID

NORMAL, OFFSET, TALWAR = 1e-8, 1e-6, 1e-6  # relative tolerances of the oracle's README
NOISE = 1e-12  # what R and we give for a coefficient of the constant pixel that is 0


class Stack:
    """stack.csv as a kernel gets it: variables (images, 1), y (1, images, pixels), valid."""

    def __init__(self, folder):
        with (folder / "stack.csv").open() as file:
            rows = list(csv.DictReader(file))
        self.pixels = json.loads((folder / "expected.json").read_text())["pixels"]
        y = np.array([[float(row[p["pixel"]].replace("NA", "nan")) for p in self.pixels] for row in rows])
        self.valid = np.isfinite(y)
        self.y = np.nan_to_num(y)[np.newaxis]
        self.t, self.x1, self.x2 = (np.array([[float(row[name])] for row in rows]) for name in ("t", "x1", "x2"))
        self.one = np.ones_like(self.t)

    def run(self, reducer, *x, **settings):
        """Return {output: (pixels,)} for X named a, b, ... and Y named y."""
        row = REDUCERS_BY_ID[reducer]
        settings = row.checked(settings)
        names = row.outputs([chr(97 + i) for i in range(len(x))], ["y"], settings)
        values = row.function()(np.stack(x), self.y, self.valid, lambda: None, **settings)
        assert values.shape == (len(names), len(self.pixels))
        return dict(zip(names, values))

    def expected(self, *path):
        """Return (pixels,) of the oracle, NaN where it has none."""
        return np.array([_found(pixel, path) for pixel in self.pixels], dtype=np.float64)


def _found(pixel, path):
    for key in path:
        if pixel is None or (isinstance(key, str) and key not in pixel):
            return np.nan
        pixel = pixel[key]
    return np.nan if pixel is None else pixel


@pytest.fixture
def stack(shared):
    return Stack(shared / "oracle" / "regression")


def assert_near(got, expected, relative=NORMAL):
    known = np.isfinite(expected)
    assert known.sum() >= len(known) - 1  # the constant pixel lacks some
    np.testing.assert_allclose(got[known], expected[known], rtol=relative, atol=NOISE)


def test_linear_fit_equals_lm(stack):
    got = stack.run("linearfit", stack.t, significance=True)

    assert_near(got["scale"], stack.expected("linear_trend", "scale"))
    assert_near(got["offset"], stack.expected("linear_trend", "offset"), OFFSET)
    assert_near(got["r_squared"], stack.expected("linear_trend", "r2"))
    assert_near(got["scale_standard_error"], stack.expected("linear_trend", "se", 1))
    assert_near(got["offset_standard_error"], stack.expected("linear_trend", "se", 0))
    assert_near(got["scale_p-value"][:-1], stack.expected("pearson", "p")[:-1])  # the same test
    assert np.isnan(got["scale_p-value"][-1])  # y is constant


def test_linear_regression_on_a_constant_and_time_equals_lm(stack):
    got = stack.run("linearregression", stack.one, stack.t, significance=True)

    assert_near(got["a_y"], stack.expected("linear_trend", "offset"), OFFSET)
    assert_near(got["b_y"], stack.expected("linear_trend", "scale"))
    assert_near(got["residuals"], stack.expected("linear_trend", "rmse_n"))
    assert_near(got["a_y_standard_error"], stack.expected("linear_trend", "se", 0))
    assert_near(got["b_y_standard_error"], stack.expected("linear_trend", "se", 1))
    assert_near(got["r_squared"], stack.expected("linear_trend", "r2"))
    assert_near(got["b_y_p-value"][:-1], stack.expected("pearson", "p")[:-1])


def test_linear_regression_on_several_variables_equals_lm(stack):
    got = stack.run("linearregression", stack.one, stack.t, stack.x1, stack.x2)

    assert_near(got["a_y"], stack.expected("multi", "coef", 0), OFFSET)
    for position, name in enumerate("bcd", 1):
        assert_near(got[f"{name}_y"], stack.expected("multi", "coef", position))
    assert_near(got["residuals"], stack.expected("multi", "rmse_n"))


def test_harmonic_regression_equals_lm(stack):
    angle = 2 * np.pi * stack.t
    got = stack.run("linearregression", stack.one, stack.t, np.cos(angle), np.sin(angle))

    assert_near(got["a_y"], stack.expected("harmonic", "coef", 0), OFFSET)
    for position, name in enumerate("bcd", 1):
        assert_near(got[f"{name}_y"], stack.expected("harmonic", "coef", position))
    assert_near(got["residuals"], stack.expected("harmonic", "rmse_n"))
    varied = slice(0, -1)  # the phase of nothing is any
    assert_near(np.hypot(got["c_y"], got["d_y"]), stack.expected("harmonic", "amplitude"))
    assert_near(np.arctan2(got["d_y"], got["c_y"])[varied], stack.expected("harmonic", "phase")[varied])


@pytest.mark.parametrize("case, penalty", [(0, 0.1), (1, 1), (2, 10)])
def test_ridge_regression_equals_the_closed_form(stack, case, penalty):
    got = stack.run("ridgeregression", stack.x1, stack.x2, lambda_=penalty)

    assert {pixel["ridge_centred"][case]["lambda"] for pixel in stack.pixels} == {penalty}
    assert_near(got["constant_y"], stack.expected("ridge_centred", case, "intercept"))
    assert_near(got["a_y"], stack.expected("ridge_centred", case, "coef", 0))
    assert_near(got["b_y"], stack.expected("ridge_centred", case, "coef", 1))


@pytest.mark.parametrize("case, penalty", [(0, 0.1), (1, 1), (2, 10)])
def test_ridge_regression_without_intercept_equals_the_closed_form(stack, case, penalty):
    bare = stack.run("ridgeregression", stack.x1, stack.x2, lambda_=penalty, intercept=False)
    penalised = stack.run("ridgeregression", stack.one, stack.x1, stack.x2, lambda_=penalty, intercept=False)

    for position, name in enumerate("ab"):
        assert_near(bare[f"{name}_y"], stack.expected("ridge_design_no_constant", case, "coef", position))
    for position, name in enumerate("abc"):
        assert_near(penalised[f"{name}_y"], stack.expected("ridge_all_penalised", case, "coef", position))


def test_robust_regression_is_the_oracles_reading_of_talwar(stack):
    got = stack.run("robustlinearregression", stack.one, stack.t - 2018, significance=True)
    there = np.array(["talwar_k2.795" in pixel for pixel in stack.pixels])

    assert there.sum() == 49
    for position, name in enumerate("ab"):
        expected = stack.expected("talwar_k2.795", "coef_t_minus_t0", position)
        np.testing.assert_allclose(got[f"{name}_y"][there], expected[there], rtol=TALWAR)
    rejected = stack.valid.sum(axis=0) - got["inliers"]
    assert (rejected[there] == stack.expected("talwar_k2.795", "n_rejected")[there]).all()
    assert rejected[there].sum() > 20


def test_talwar_needs_no_shifted_time(stack):
    got = stack.run("robustlinearregression", stack.one, stack.t)
    there = np.array(["talwar_k2.795" in pixel for pixel in stack.pixels])

    expected = stack.expected("talwar_k2.795", "coef_t_minus_t0", 1)[there]
    np.testing.assert_allclose(got["b_y"][there], expected, rtol=TALWAR)
