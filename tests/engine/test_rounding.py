"""Bounds on rounding, and what they settle."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from rasterml.engine.rounding import gamma, same_float32, surely_largest


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_a_product_errs_by_at_most_gamma(kind):
    generator = np.random.default_rng(0)
    left = generator.normal(size=(40, 300)).astype(kind)
    right = generator.normal(size=(300, 30)).astype(kind)

    product = left @ right

    for row, column in ((0, 0), (7, 29), (39, 3)):
        terms = [Fraction(float(x)) * Fraction(float(y)) for x, y in zip(left[row], right[:, column])]
        error = abs(Fraction(float(product[row, column])) - sum(terms))
        assert error <= Fraction(gamma(300, kind)) * sum(map(abs, terms))


def test_gamma_is_higham_s_and_no_bound_for_too_many_roundings():
    assert gamma(2, np.float64) == 2 * 2.0**-53 / (1 - 2 * 2.0**-53)
    assert gamma(2**24, np.float32) == np.inf


def test_numbers_between_two_halves_of_a_float32_step_are_the_same_one():
    step = 2.0**-23
    values = np.array([1.0, 1 + step / 2, 1.0, np.nan, 1e300])
    spread = np.array([step / 4, step / 100, 0, 0, 0])

    assert same_float32(values - spread, values + spread).tolist() == [True, False, True, False, True]
    assert not same_float32(np.array([-np.inf]), np.array([np.inf]))[0]


def test_the_largest_is_sure_when_nothing_else_can_reach_it():
    low = np.array([[1.0, 1.0, 2.0, np.nan, -np.inf], [3.0, 2.0, 2.0, 1.0, -np.inf]])
    high = np.array([[2.0, 2.5, 2.0, np.nan, np.inf], [4.0, 3.0, 2.0, 1.0, np.inf]])

    assert surely_largest(low, high).tolist() == [True, False, False, False, False]
    assert surely_largest(low[:1, :2], high[:1, :2]).tolist() == [True, True]


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("name", ["exp", "tanh", "arccos"])
def test_elementary_functions_are_within_the_roundings_they_count_for(name, kind):
    spread = {"exp": (-80, 0), "tanh": (-9, 9), "arccos": (-1, 1)}[name]
    x = np.linspace(*spread, 20_011).astype(kind)
    exact = getattr(np, name)(x.astype(np.longdouble))

    error = np.abs(getattr(np, name)(x).astype(np.longdouble) - exact)

    assert (error <= gamma(8, kind) * np.abs(exact)).all()
