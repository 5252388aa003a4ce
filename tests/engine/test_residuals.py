from __future__ import annotations

import math

import numpy as np
from rasterml.engine.residuals import residuals


def test_measures_equal_those_by_hand():
    # errors 1, -1, 3, 1: squares 1 + 1 + 9 + 1 = 12; observed around 5: 9 + 1 + 1 + 9 = 20
    measures = residuals(np.array([2.0, 4, 6, 8]), np.array([3.0, 3, 9, 9]))

    assert measures == (4, math.sqrt(3), 1.5, 1 - 12 / 20, 1.0)


def test_rows_without_a_value_are_left_out():
    assert residuals(np.array([1.0, np.nan, 3]), np.array([1.0, 2, np.nan])).rows == 1


def test_constant_target_has_no_r_squared():
    assert math.isnan(residuals(np.array([5.0, 5]), np.array([4.0, 5])).r_squared)


def test_nothing_to_compare_gives_nothing():
    measures = residuals(np.array([np.nan]), np.array([1.0]))

    assert measures.rows == 0 and all(math.isnan(value) for value in measures[1:])
