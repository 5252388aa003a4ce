"""Points that keep a distance."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from rasterml.engine.errors import Canceled, SettingError
from rasterml.engine.progress import Progress
from rasterml.engine.thinning import thinned


def line(*x, **keywords) -> list[int]:
    """Which of the points (x, 0) stay at distance 10."""
    return thinned(np.array(x, dtype=float), np.zeros(len(x)), 10.0, **keywords).tolist()


def one_after_the_other(x, y, distance) -> list[int]:
    """What thinning means, without cells: every point against all that stayed."""
    kept = []
    for index, (east, north) in enumerate(zip(x, y)):
        if all(math.hypot(east - x[other], north - y[other]) >= distance for other in kept):
            kept.append(index)
    return kept


def test_first_point_stays_and_nearer_ones_go():
    assert line(0, 9, 11, 25, 20) == [0, 2, 3]


def test_point_left_out_keeps_nobody_away():
    assert line(0, 9, 18) == [0, 2]  # 9 is too near to 0; 18 is near to 9 only


def test_points_exactly_at_the_distance_stay():
    assert line(0, 10, 20, 19.999) == [0, 1, 2]


@pytest.mark.parametrize("pixel", [28.5, 0.1, 1 / 3])
def test_pixel_centres_exactly_at_the_distance_stay_whatever_the_rounding(pixel):
    x = 632_000.1 + pixel * np.arange(300)

    assert thinned(x, np.full(300, 228_500.7), 3 * pixel).tolist() == list(range(0, 300, 3))


@pytest.mark.parametrize("distance", [0.5, 4.0, 17.0, 60.0, 1000.0])
def test_cells_find_what_comparing_all_points_finds(distance):
    x, y = np.random.default_rng(8).uniform(-100, 100, (2, 600))

    assert thinned(x, y, distance).tolist() == one_after_the_other(x, y, distance)


def test_distance_of_zero_keeps_all_points_even_on_one_place():
    assert thinned(np.zeros(3), np.zeros(3), 0.0).tolist() == [0, 1, 2]


def test_groups_stop_at_their_quota_and_keep_others_away_all_the_same():
    # group 0 may have one point: 20 is passed over, so that 25 of group 1 finds its place; 3 is too near to 0
    assert line(0, 3, 20, 25, 40, groups=np.array([0, 1, 0, 1, 1]), quotas=np.array([1, 2])) == [0, 3, 4]


def test_no_points_give_none():
    assert line() == []


@pytest.mark.parametrize("distance", [-1.0, math.nan, math.inf])
def test_impossible_distance_is_refused(distance):
    with pytest.raises(SettingError, match=r"MIN_DISTANCE is .*: give 0 or more"):
        thinned(np.zeros(1), np.zeros(1), distance)


@pytest.mark.parametrize("distance", [0.1, 3.0, 30.0])
def test_hundred_thousand_points_take_seconds(distance):
    x, y = np.random.default_rng(0).uniform(0, 1000, (2, 100_000))
    start = time.perf_counter()
    thinned(x, y, distance)

    assert time.perf_counter() - start < 5  # 0.4 s where this was written


def test_cancel_stops_the_thinning():
    class Impatient(Progress):
        def is_canceled(self) -> bool:
            return True

    with pytest.raises(Canceled):
        line(0, 9, progress=Impatient())
