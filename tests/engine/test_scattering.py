"""Points at random, evenly spread and apart."""

from __future__ import annotations

import math

import numpy as np
import pytest
from rasterml.engine.errors import TableError
from rasterml.engine.scattering import BATCH, Spacing, among, geocentric, in_boxes, on_segments, scattered


def flat(places) -> np.ndarray:
    return np.column_stack([places, np.zeros(len(places))])


def places_in(boxes, globe=False, count=20_000) -> np.ndarray:
    draw = in_boxes(np.array(boxes, dtype=float), globe)
    return scattered(lambda generator: draw(generator)[1], count, seed=0)


def test_boxes_on_the_globe_are_filled_by_the_area_of_the_sphere():
    places = places_in([(10, 0, 30, 60)], globe=True)

    share = math.sin(math.radians(30)) / math.sin(math.radians(60))  # 0.577 of the area is south of 30 degrees
    assert (places[:, 1] < 30).mean() == pytest.approx(share, abs=0.012)
    assert places[:, 0].mean() == pytest.approx(20, abs=0.15)
    assert (places.min(axis=0) > [10, 0]).all()
    assert (places.max(axis=0) < [30, 60]).all()


def test_boxes_in_the_plane_are_drawn_by_their_areas():
    places = places_in([(0, 0, 1, 1), (5, 5, 5, 9), (10, 0, 13, 1)])

    assert (places[:, 0] < 5).mean() == pytest.approx(0.25, abs=0.011)
    assert not (places[:, 0] == 5).any()  # a box without area has no place


def test_segments_are_drawn_by_their_lengths():
    starts, ends = np.array([[0.0, 0], [0, 0], [7, 7]]), np.array([[0.0, 3], [1, 0], [7, 7]])
    places = scattered(on_segments(starts, ends, np.array([3.0, 1.0, 0.0])), 20_000, seed=0)

    upright = places[:, 0] == 0
    assert upright.mean() == pytest.approx(0.75, abs=0.011)
    assert places[upright, 1].mean() == pytest.approx(1.5, abs=0.03)
    assert places.max() <= 3


def test_points_are_drawn_alike():
    places = scattered(among(np.array([[1.0, 2.0], [3.0, 4.0]])), 20_000, seed=0)

    assert {tuple(place) for place in places.tolist()} == {(1, 2), (3, 4)}
    assert (places[:, 0] == 1).mean() == pytest.approx(0.5, abs=0.012)


def test_a_seed_repeats_and_more_points_begin_with_the_same():
    draw = among(np.random.default_rng(0).random((100_000, 2)))

    many = scattered(draw, 2 * BATCH + 5, seed=3)

    assert np.array_equal(scattered(draw, 100, seed=3), many[:100])
    assert not np.array_equal(scattered(draw, 100, seed=4), many[:100])


def test_points_keep_their_distance_from_all_others():
    draw = among(np.random.default_rng(0).random((100_000, 2)) * 100 - 50)

    places = scattered(draw, 300, 0, Spacing(3.0, flat, math.dist))

    apart = np.linalg.norm(places[:, None] - places[None], axis=2)[~np.eye(300, dtype=bool)]
    assert apart.min() >= 3
    assert apart.min() < 3.2


def test_distance_lets_in_exactly_what_a_look_at_every_pair_does():
    given = np.random.default_rng(1).random((500, 2)) * 20
    expected = []
    for place in given.tolist():
        if all(math.dist(place, other) >= 1 for other in expected):
            expected.append(place)

    assert Spacing(1.0, flat, math.dist).admitted(given) == expected


def test_full_region_stops_with_a_sentence_and_enough_points_do_not():
    corners = np.array([[0.0, 0], [10, 0], [0, 10], [1, 1]])

    assert len(scattered(among(corners), 3, 0, Spacing(5.0, flat, math.dist))) == 3
    with pytest.raises(TableError, match="MIN_DISTANCE 5 leaves REGION room for about 3 points"):
        scattered(among(corners), 4, 0, Spacing(5.0, flat, math.dist))


def test_region_that_is_never_hit_stops_with_a_sentence():
    with pytest.raises(TableError, match="None of 10,000,000 random places fell into REGION"):
        scattered(lambda generator: np.empty((0, 2)), 1, 0)


def test_positions_in_space_are_those_of_the_ellipsoid():
    # semi-axes of WGS 84: 6378137 and 6356752.3142 m (NIMA TR8350.2, table 3.3)
    positions = geocentric(np.array([[0.0, 0.0], [90.0, 0.0], [33.0, 90.0], [45.0, -90.0]]))

    expected = [[6378137, 0, 0], [0, 6378137, 0], [0, 0, 6356752.3142], [0, 0, -6356752.3142]]
    assert positions == pytest.approx(np.array(expected), abs=1e-3)
