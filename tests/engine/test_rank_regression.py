"""Theil–Sen and Mann–Kendall: R's numbers, medians of all pairs, ties, gaps, large tables."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from rasterml.engine import rank_regression
from rasterml.engine.errors import Canceled
from rasterml.engine.rank_regression import median_slope, sens_slope


def go_on() -> None:
    pass


def by_all_pairs(x, y):
    """Slope, offset and S by the definition, one pair after the other; NaN where x does not vary."""
    first, second = np.triu_indices(len(x), 1)
    run, rise = x[second] - x[first], y[second] - y[first]
    if not (run != 0).any():
        return np.full(3, np.nan)
    slope = np.median(rise[run != 0] / run[run != 0])
    return np.array([slope, np.median(y - slope * x), (np.sign(run) * np.sign(rise)).sum()])


def one_pixel(x, y, significance=True):
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    everything = np.ones((len(y), 1), dtype=bool)
    return sens_slope(x[None, :, None], y[None, :, None], everything, go_on, significance=significance)[:, 0]


def test_slopes_offsets_and_mann_kendall_are_those_of_r(shared):
    folder = shared / "oracle" / "regression"
    with (folder / "stack.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    pixels = json.loads((folder / "expected.json").read_text())["pixels"]
    t = np.array([float(row["t"]) for row in rows])
    y = np.array([[float(row[pixel["pixel"]].replace("NA", "nan")) for pixel in pixels] for row in rows])
    assert y.shape == (30, 50)

    found = sens_slope(t[None, :, None], np.nan_to_num(y)[None], np.isfinite(y), go_on, significance=True)

    sen = [(pixel["theil_sen"]["slope"], pixel["theil_sen"]["intercept_median_residual"]) for pixel in pixels]
    tests = [[pixel["mann_kendall"][key] for key in ("S", "z", "p")] for pixel in pixels]
    np.testing.assert_allclose(found[:2], np.transpose(sen), rtol=1e-8)
    np.testing.assert_allclose(found[2:], np.array(tests, dtype=float).T, rtol=1e-8)  # the last pixel: 0, NaN, NaN
    assert found[0, 49] == 0 and np.isnan(found[3:, 49]).all()


@pytest.mark.parametrize("count", [2, 3, 4, 9, 93, 200])
@pytest.mark.parametrize("kind", ["smooth", "x ties", "y ties", "both"])
def test_slope_is_the_median_of_all_pairs_with_different_x(count, kind):
    generator = np.random.default_rng(count)
    x, y = generator.normal(size=(2, 1, count, 7))
    if kind in ("x ties", "both"):
        x = generator.integers(0, max(2, count // 3), x.shape).astype(float)
    if kind in ("y ties", "both"):
        y = generator.integers(0, 5, y.shape).astype(float)
    valid = generator.random((count, 7)) > 0.2

    found = sens_slope(x, y, valid, go_on, significance=True)

    for pixel in range(7):
        here = valid[:, pixel]
        np.testing.assert_array_equal(found[:3, pixel], by_all_pairs(x[0, here, pixel], y[0, here, pixel]))


def test_bounds_from_a_sample_that_miss_the_median_do_no_harm(monkeypatch):
    generator = np.random.default_rng(3)
    x, y = generator.normal(size=(2, 1, 120, 9))
    everything = np.ones((120, 9), dtype=bool)
    right = sens_slope(x, y, everything, go_on, significance=False)
    bounds = rank_regression._sampled_bounds

    def some_wrong(values):
        low, high = bounds(values)
        low[::2], high[::2] = high[::2], np.inf  # hold much, but not the median
        return low, high

    monkeypatch.setattr(rank_regression, "_sampled_bounds", some_wrong)
    monkeypatch.setattr(rank_regression, "SAMPLE", 100)

    np.testing.assert_array_equal(sens_slope(x, y, everything, go_on, significance=False), right)


def test_constant_pixel_has_slope_zero_without_a_sign_and_no_significance():
    found = one_pixel([4, 3, 2, 1, 0], [0.1] * 5)

    np.testing.assert_array_equal(found, [0, 0.1, 0, np.nan, np.nan])
    assert not np.signbit(found[0])


def test_pixel_whose_x_does_not_vary_has_nothing():
    assert np.isnan(one_pixel([7, 7, 7], [1, 2, 3])).all()
    assert np.isnan(one_pixel([7], [1])).all()


def test_without_significance_there_are_two_outputs():
    # slopes 2, 2, 2, 233, 348.5, 695 of the pairs: the median is (2 + 233) / 2
    found = one_pixel([0, 1, 2, 3], [1, 3, 5, 700], significance=False)

    np.testing.assert_array_equal(found, [117.5, (1 - 114.5) / 2])  # residuals 1, -114.5, -230, 347.5


@pytest.mark.parametrize("shared_x", [True, False])
def test_pixel_does_not_hang_on_its_neighbours_bit_for_bit(shared_x):
    generator = np.random.default_rng(8)
    y = generator.normal(1e6, 1, (1, 110, 40)).round(1)
    x = generator.normal(2000, 9, (1, 110, 1 if shared_x else 40)).round(2)
    valid = generator.random((110, 40)) > 0.01
    whole = sens_slope(x, y, valid, go_on, significance=True)

    for pixel in range(40):
        here = slice(pixel, pixel + 1)
        alone = sens_slope(x if shared_x else x[..., here], y[..., here], valid[:, here], go_on, significance=True)
        np.testing.assert_array_equal(alone[:, 0], whole[:, pixel])


@pytest.mark.parametrize("kind", ["smooth", "bytes", "many equal slopes", "few x", "x that differ little"])
def test_slope_of_many_observations_is_the_median_of_all_pairs(kind):
    generator = np.random.default_rng(11)
    x, y = generator.normal(size=(2, 2500))
    y += 3 * x
    if kind == "bytes":
        x, y = generator.integers(0, 256, (2, 2500)).astype(float)
    elif kind == "many equal slopes":
        y = np.where(generator.random(2500) < 0.9, 0.3 * x, y)
    elif kind == "few x":
        x = np.round(x)
    elif kind == "x that differ little":
        x[:200] *= 1e-18  # so little that they are equal from afar

    assert median_slope(x, y, go_on) == pytest.approx(by_all_pairs(x, y)[0], rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("seed", range(8))
def test_bounds_that_miss_the_median_of_many_observations_do_no_harm(monkeypatch, seed):
    monkeypatch.setattr(rank_regression, "MARGIN", 0)
    monkeypatch.setattr(rank_regression, "LARGE_SAMPLE", 8)
    monkeypatch.setattr(rank_regression, "MOST_SLOPES", 30)
    x, y = np.random.default_rng(seed).normal(size=(2, 90 + seed))

    assert median_slope(x, y, go_on) == by_all_pairs(x, y)[0]


def test_kernel_takes_the_slope_of_many_observations_the_same_way(monkeypatch):
    x, y = np.random.default_rng(12).normal(size=(2, 400))
    expected = one_pixel(x, y)
    monkeypatch.setattr(rank_regression, "ALL_PAIRS", 100)
    monkeypatch.setattr(rank_regression, "MOST_SLOPES", 5000)

    np.testing.assert_array_equal(one_pixel(x, y), expected)


def test_a_hundred_thousand_observations_need_no_table_of_their_five_thousand_million_pairs(peak_memory):
    x, noise = np.random.default_rng(13).normal(size=(2, 100_000))
    found = []

    peak = peak_memory(lambda: found.append(median_slope(x, 2 * x + noise, go_on)))

    assert found[0] == pytest.approx(2, abs=0.02)  # 1 / √100 000, six times
    assert peak < 200e6


def test_memory_of_many_images_is_that_of_a_few_blocks(peak_memory):
    x, y = np.linspace(0, 1, 600)[None, :, None], np.random.default_rng(0).normal(size=(1, 600, 430))
    everything = np.ones((600, 430), dtype=bool)

    peak = peak_memory(lambda: sens_slope(x, y, everything, go_on, significance=True))

    assert peak < 40e6  # the slopes of all pairs would be 618 MB


def test_cancel_stops_the_work():
    def stop() -> None:
        raise Canceled()

    with pytest.raises(Canceled):
        sens_slope(np.ones((1, 3, 1)), np.ones((1, 3, 2)), np.ones((3, 2), dtype=bool), stop, significance=False)
    with pytest.raises(Canceled):
        median_slope(np.arange(5000.0), np.arange(5000.0) % 7, stop)
