"""Correlations: R's numbers, pairs counted by hand, ties, gaps, and pixels that do not hang on each other."""

from __future__ import annotations

import csv
import itertools
import json
import math

import numpy as np
import pytest
from rasterml.engine import correlation, distributions
from rasterml.engine.errors import Canceled

KERNELS = [correlation.pearsons_correlation, correlation.spearmans_correlation, correlation.kendalls_correlation]
each_kernel = pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.__name__)


def go_on() -> None:
    pass


@pytest.fixture
def stack(shared):
    """Columns of the oracle's stack as (rows,) by name, NaN where a date is missing, and what R says, by pixel."""
    folder = shared / "oracle" / "regression"
    with (folder / "stack.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    columns = {name: np.array([float(row[name].replace("NA", "nan")) for row in rows]) for name in rows[0]}
    pixels = {pixel["pixel"]: pixel for pixel in json.loads((folder / "expected.json").read_text())["pixels"]}
    return columns, pixels


def over(kernel, x, y):
    """The two outputs of *kernel* for one pixel."""
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    valid = np.isfinite(y)
    return kernel(x[np.newaxis, :, np.newaxis], np.nan_to_num(y)[np.newaxis, :, np.newaxis], valid[:, None], go_on)[
        :, 0
    ]


@each_kernel
def test_correlations_with_time_and_their_p_values_are_those_of_r(stack, kernel):
    columns, pixels = stack
    key = kernel.__name__.replace("s_correlation", "")
    names = [name for name in pixels if key in pixels[name]]
    assert len(names) == 49  # the last one is constant
    y = np.stack([columns[name] for name in names], axis=1)

    found = kernel(columns["t"][np.newaxis, :, np.newaxis], np.nan_to_num(y)[np.newaxis], np.isfinite(y), go_on)

    expected = np.array([[pixels[name][key]["r"], pixels[name][key]["p"]] for name in names]).T
    np.testing.assert_allclose(found, expected, rtol=1e-8)


@each_kernel
def test_correlations_with_a_variable_that_has_ties_of_its_own_are_those_of_r(stack, kernel):
    columns, pixels = stack
    key = {"pearson": "pearson_x1", "spearman": "spearman_x1", "kendall": "kendall_tau_b_x1"}[
        kernel.__name__.replace("s_correlation", "")
    ]
    names = [name for name in pixels if key in pixels[name]]
    assert len(names) == 49

    found = [over(kernel, columns["x1"], columns[name])[0] for name in names]

    np.testing.assert_allclose(found, [pixels[name][key] for name in names], rtol=1e-8)


def test_pixel_without_variation_has_no_correlation_in_the_oracle_nor_here(stack):
    columns, pixels = stack
    assert "pearson" not in pixels["p50"]

    for kernel in KERNELS:
        assert np.isnan(over(kernel, columns["t"], columns["p50"])).all()
        assert np.isnan(over(kernel, columns["p50"], columns["t"])).all()


@each_kernel
def test_equal_values_have_no_correlation_even_where_their_mean_is_rounded(kernel):
    assert np.isnan(over(kernel, [0.1, 0.2, 0.4], [0.1, 0.1, 0.1])).all()  # 0.1 + 0.1 + 0.1 is not 3 · 0.1


@each_kernel
def test_one_observation_has_no_correlation_and_none_has_none(kernel):
    assert np.isnan(over(kernel, [1, 2], [5, np.nan])).all()
    assert np.isnan(over(kernel, [1, 2], [np.nan, np.nan])).all()


def test_two_observations_agree_fully_but_pearson_has_no_p_value():
    np.testing.assert_allclose(over(KERNELS[0], [1, 2], [5, 3]), [-1, np.nan], rtol=1e-15)
    np.testing.assert_allclose(over(KERNELS[1], [1, 2], [5, 3]), [-1, 1])  # of two orders, both are as far from even
    np.testing.assert_allclose(over(KERNELS[2], [1, 2], [5, 3]), [-1, 1])


@each_kernel
def test_perfect_agreement_of_many_is_one_and_certain(kernel):
    x = np.arange(60.0)

    r, p = over(kernel, x, 3 * x + 7)

    assert r == pytest.approx(1, rel=1e-14)
    assert p < 1e-12


def test_kendall_counts_pairs_as_by_hand_with_ties_on_both_sides():
    # rows 1 and 2 tie in x, 2 and 3 in y; 1 and 3 rise together; 4 falls against each of the three: S = 1 - 3
    tau, _ = over(correlation.kendalls_correlation, [1, 1, 2, 3], [4, 5, 5, 1])

    assert tau == pytest.approx(-2 / math.sqrt((6 - 1) * (6 - 1)))


def test_variance_with_ties_on_both_sides_is_that_of_all_orders():
    x, y = np.array([1.0, 1, 2, 3, 3]), np.array([4.0, 5, 5, 5, 1])
    scores = []
    for order in itertools.permutations(range(5)):
        scores.append(correlation.concordance(x[np.newaxis], y[list(order)][np.newaxis]).score[0])

    assert correlation.concordance(x[np.newaxis], y[np.newaxis]).variance[0] == pytest.approx(np.var(scores))


@pytest.mark.parametrize("count", [2, 4, 6])
def test_exact_p_values_are_those_of_all_orders(count):
    x = np.arange(float(count))
    orders = np.array(list(itertools.permutations(x)))
    everyone = np.ones((count, len(orders)), dtype=bool)
    for kernel in KERNELS[1:]:
        r, p = kernel(x[np.newaxis, :, np.newaxis], orders.T[np.newaxis], everyone, go_on)
        for one_r, one_p in zip(r, p):
            tail = np.mean(r <= one_r + 1e-9 if one_r < 0 else r >= one_r - 1e-9)
            assert one_p == pytest.approx(min(1, 2 * tail))


def test_spearmans_series_joins_the_exact_distribution_where_both_could_serve():
    squares = np.arange(0.0, 241, 2)  # Σd² of nine ranks

    np.testing.assert_allclose(
        np.minimum(distributions._edgeworth(squares, 9), 1 - distributions._edgeworth(squares + 2, 9)),
        distributions._spearman_tails(9),
        atol=0.005,  # Best and Roberts (1975) say so of seven ranks and more
    )


@each_kernel
def test_gaps_are_as_if_these_dates_were_not_there(kernel):
    generator = np.random.default_rng(4)
    x, y = generator.normal(size=(2, 17))
    holes = y.copy()
    holes[[0, 5, 16]] = np.nan

    np.testing.assert_array_equal(
        over(kernel, x, holes), over(kernel, np.delete(x, [0, 5, 16]), holes[np.isfinite(holes)])
    )


@each_kernel
@pytest.mark.parametrize("shared_x", [True, False])
def test_pixel_does_not_hang_on_its_neighbours_bit_for_bit(kernel, shared_x, monkeypatch):
    generator = np.random.default_rng(7)
    y = generator.normal(1e6, 1, (1, 150, 23)).round(1)
    x = generator.normal(1e6, 1, (1, 150, 1 if shared_x else 23)).round(1)
    valid = generator.random((150, 23)) > 0.02
    valid[:, ::4] = True

    whole = kernel(x, y, valid, go_on)

    monkeypatch.setattr(correlation, "BLOCK", 300)
    np.testing.assert_array_equal(kernel(x, y, valid, go_on), whole)
    for pixel in range(23):
        here = slice(pixel, pixel + 1)
        alone = kernel(x if shared_x else x[..., here], y[..., here], valid[:, here], go_on)
        np.testing.assert_array_equal(alone[:, 0], whole[:, pixel])


def test_inputs_stay_as_they_were():
    generator = np.random.default_rng(1)
    x, y, valid = generator.normal(size=(1, 9, 1)), generator.normal(size=(1, 9, 4)), generator.random((9, 4)) > 0.3
    before = [array.copy() for array in (x, y, valid)]

    for kernel in KERNELS:
        kernel(x, y, valid, go_on)

    for array, old in zip((x, y, valid), before):
        np.testing.assert_array_equal(array, old)


@pytest.mark.parametrize("count", [1, 2, 7, 300, correlation.PAIRWISE + 5])
def test_inversions_are_counted_alike_pair_by_pair_and_bit_by_bit(count):
    ranks = np.random.default_rng(count).integers(0, max(1, count // 2), (2, count))

    by_hand = [sum(int((row[place] > row[place:]).sum()) for place in range(count)) for row in ranks]

    assert correlation.inversions(ranks).tolist() == by_hand
    assert [sum(int(some.partners.sum()) for some in correlation.falling_pairs(row)) for row in ranks] == by_hand


def test_falling_pairs_are_named_each_once():
    ranks = np.array([3, 1, 4, 1, 5, 0, 2, 6, 5, 3])
    found = []
    for some in correlation.falling_pairs(ranks):
        for lower, start, partners in zip(some.lower, some.start, some.partners):
            found += [(upper, lower) for upper in some.upper[start : start + partners].tolist()]

    expected = [(i, j) for i, j in itertools.combinations(range(10), 2) if ranks[i] > ranks[j]]
    assert sorted(found) == expected


@each_kernel
def test_cancel_stops_the_work(kernel):
    def stop() -> None:
        raise Canceled()

    with pytest.raises(Canceled):
        kernel(np.ones((1, 3, 1)), np.ones((1, 3, 2)), np.ones((3, 2), dtype=bool), stop)
