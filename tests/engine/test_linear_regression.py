"""Linear fit, linear and ridge regression: what a hand or numpy.linalg finds, for pixels with gaps of their own."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from rasterml.engine.errors import SettingError
from rasterml.engine.linear_regression import linear_fit, linear_regression, ridge_regression
from rasterml.engine.reducers import REDUCERS, REDUCERS_BY_ID
from rasterml.engine.robust_regression import robust_linear_regression

RIDGE = {"lambda_": 0.5, "intercept": True, "standardize": False, "significance": True}


def nothing():
    pass


def column(*values):
    """A built-in variable, (1, images, 1)."""
    return np.array(values, dtype=np.float64)[np.newaxis, :, np.newaxis]


def pixel(*values):
    """Y of one pixel and where it is valid; None is a gap, whose value means nothing."""
    valid = np.array([[value is not None] for value in values])
    return np.array([12345.6 if value is None else value for value in values], float)[np.newaxis, :, np.newaxis], valid


def scene(seed=0, images=40, pixels=300):
    """X (3, images, pixels) with a constant, Y (2, images, pixels), valid; 30 % gaps, some pixels nearly empty."""
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(3, images, pixels)) + np.array([[[0]], [[2000]], [[-5]]])
    x[0] = 1
    y = generator.normal(size=(2, images, pixels)) + 0.3 * x[1] + np.array([[[0]], [[1e6]]])
    valid = generator.random((images, pixels)) > 0.3
    valid[:, :8] = np.arange(images)[:, np.newaxis] < np.arange(8)
    return x, y, valid


def each_kernel():
    """Every kernel of this family with settings that turn on all outputs, as function(x, y, valid)."""
    yield lambda x, y, valid: linear_fit(x[1:2], y[:1], valid, nothing, significance=True)
    yield lambda x, y, valid: linear_regression(x, y, valid, nothing, significance=True)
    yield lambda x, y, valid: ridge_regression(x[1:], y, valid, nothing, **{**RIDGE, "standardize": True})
    yield lambda x, y, valid: robust_linear_regression(x, y, valid, nothing, beta=None, significance=True)
    yield lambda x, y, valid: robust_linear_regression(x, y, valid, nothing, beta=1.2, significance=True)


kernels = pytest.mark.parametrize("kernel", list(each_kernel()), ids=["fit", "linear", "ridge", "robust", "beta"])


@pytest.mark.parametrize("row", REDUCERS, ids=lambda row: row.id)
def test_row_and_kernel_agree_on_the_settings(row):
    assert inspect.getfullargspec(row.function()).kwonlyargs == [setting.name for setting in row.settings]


@pytest.mark.parametrize("row", REDUCERS, ids=lambda row: row.id)
def test_row_and_kernel_agree_on_the_outputs(row):
    x, y, valid = scene(pixels=9)
    x, y = (x[1:2], y[:1]) if row.pair else (x, y)
    names = ["a"] if row.pair else ["a", "b", "c"]
    for on in (False, True):
        chosen = {"significance": on} if "significance" in {setting.name for setting in row.settings} else {}
        settings = row.checked(chosen)
        outputs = row.outputs(names, ["y", "z"][: len(y)], settings)
        assert row.function()(x, y, valid, nothing, **settings).shape == (len(outputs), 9)
        assert len(set(outputs)) == len(outputs)


def test_output_names_are_those_of_earth_engine():
    linear, ridge = REDUCERS_BY_ID["linearregression"], REDUCERS_BY_ID["ridgeregression"]
    plain = ridge.checked({})

    assert linear.outputs(["constant", "time"], ["ndvi"], {}) == ["constant_ndvi", "time_ndvi", "residuals"]
    assert linear.outputs(["a"], ["y", "z"], {}) == ["a_y", "a_z", "residuals_y", "residuals_z"]
    assert ridge.outputs(["a"], ["y"], plain) == ["constant_y", "a_y", "residuals", "pValue"]
    assert ridge.outputs(["constant"], ["y"], plain)[:2] == ["constant_y", "constant_y_2"]
    assert REDUCERS_BY_ID["linearfit"].outputs(["time"], ["y"], {}) == ["scale", "offset"]


@pytest.mark.parametrize(
    "x, y, message",
    [
        ([], ["y"], "X is empty"),
        (["a"], [], "Y is empty"),
        (["a", "b"], ["y"], "X is a,b: linearFit takes one variable there"),
        (["a"], ["y", "z"], "Y is y,z: linearFit takes one"),
    ],
)
def test_variables_that_do_not_fit_are_refused(x, y, message):
    with pytest.raises(SettingError, match=message):
        REDUCERS_BY_ID["linearfit"].check_variables(x, y)


def test_a_variable_counts_once():
    with pytest.raises(SettingError, match="X has a twice: leave one out"):
        REDUCERS_BY_ID["linearregression"].check_variables(["a", "b", "a"], ["y"])


def test_unknown_settings_are_refused():
    with pytest.raises(SettingError, match="Ridge regression has no setting named BETA"):
        REDUCERS_BY_ID["ridgeregression"].checked({"beta": 1})


def test_the_line_through_three_points_by_hand():
    # x 1 2 4, y 1 3 4: Sxx 14/3, Sxy 13/3, Syy 14/3
    y, valid = pixel(1, None, 3, 4, None)
    result = linear_fit(column(1, 99, 2, 4, -7), y, valid, nothing, significance=True)[:, 0]

    scale, offset = 13 / 14, 8 / 3 - 13 / 14 * 7 / 3
    rest = 14 / 3 - 169 / 9 / (14 / 3)
    assert result[:2] == pytest.approx([scale, offset], rel=1e-14)
    assert result[2] == pytest.approx((rest / (14 / 3)) ** 0.5, rel=1e-12)
    assert result[3] == pytest.approx((rest * (1 / 3 + 49 / 9 / (14 / 3))) ** 0.5, rel=1e-12)
    assert result[4] == pytest.approx(169 / 196, rel=1e-12)
    # Student's t with 1 degree of freedom is Cauchy's distribution
    assert result[5] == pytest.approx(1 - 2 / np.pi * np.arctan(scale / result[2]), rel=1e-12)


def test_two_points_have_a_line_and_no_significance():
    y, valid = pixel(5, 6)
    result = linear_fit(column(2000, 2002), y, valid, nothing, significance=True)[:, 0]

    assert result[:2] == pytest.approx([0.5, -995], rel=1e-14)
    assert np.isnan(result[[2, 3, 5]]).all()


@pytest.mark.parametrize("x", [(0.1, 0.1, 0.1), (2019.3, 2019.3, 7.0)])
def test_there_is_no_line_where_x_does_not_vary(x):
    y, valid = pixel(1, 2, None if x[0] != x[2] else 3)

    assert np.isnan(linear_fit(column(*x), y, valid, nothing, significance=True)).all()


def test_a_constant_pixel_has_no_slope_and_no_r_squared():
    y, valid = pixel(0.1, 0.1, 0.1, 0.1)
    result = linear_fit(column(1, 2, 3, 5), y, valid, nothing, significance=True)[:, 0]

    assert result[:2] == pytest.approx([0, 0.1], abs=1e-16)
    assert np.isnan(result[4:]).all()


def test_offsets_of_a_million_cost_no_digits():
    times = 2000 + np.arange(200) / 23.0
    slope = 2.0**-10
    y = (1e6 + slope * (times - 2000))[np.newaxis, :, np.newaxis]
    valid = np.ones((200, 1), dtype=bool)
    x = np.stack([np.ones((200, 1)), times[:, np.newaxis]])

    fit = linear_fit(x[1:], y, valid, nothing, significance=False)[:, 0]
    regression = linear_regression(x, y, valid, nothing, significance=False)[:, 0]
    short = np.polyfit(times.astype(np.float32), y[0, :, 0].astype(np.float32), 1)[0]  # what float32 gives

    # y itself is rounded to 1e-10, which moves the slope by some 1e-12
    assert fit[0] == pytest.approx(slope, rel=2e-9)
    assert regression[1] == pytest.approx(slope, rel=2e-9)
    assert fit[1] == pytest.approx(1e6 - 2000 * slope, rel=1e-14)
    assert abs(short / slope - 1) > 0.01


def test_regression_equals_numpys_least_squares_pixel_by_pixel():
    x, y, valid = scene()
    got = linear_regression(x, y, valid, nothing, significance=False)

    checked = 0
    for p in range(valid.shape[1]):
        v = valid[:, p]
        if v.sum() <= 3:
            assert np.isnan(got[:, p]).all()
            continue
        solution, *_ = np.linalg.lstsq(x[:, v, p].T, y[:, v, p].T, rcond=None)
        residuals = y[:, v, p].T - x[:, v, p].T @ solution
        np.testing.assert_allclose(got[:6, p], solution.ravel(), rtol=2e-7)  # lstsq's own error with X near 2000
        np.testing.assert_allclose(got[6:, p], np.sqrt((residuals**2).mean(axis=0)), rtol=1e-6, atol=1e-9)
        checked += 1
    assert checked > 290


def test_dependent_x_give_nothing():
    x = np.concatenate([column(1, 1, 1, 1, 1), column(1, 2, 3, 4, 6), column(5, 7, 9, 11, 15)])  # 3 + 2 x
    y, valid = pixel(1, 5, 2, 8, 3)

    assert np.isnan(linear_regression(x, y, valid, nothing, significance=True)).all()
    assert np.isfinite(linear_regression(x[:2], y, valid, nothing, significance=True)).all()


def test_as_many_images_as_x_are_too_few():
    x = np.concatenate([column(1, 1, 1), column(1, 2, 4)])
    y, valid = pixel(1, 5, None)

    assert np.isnan(linear_regression(x, y, valid, nothing, significance=False)).all()


def test_r_squared_is_around_zero_without_a_constant():
    # y = 2 x with residuals: x 1 2 3, y 1 5 6: slope 29/14, RSS 62 − 29²/14
    y, valid = pixel(1, 5, 6)
    names = REDUCERS_BY_ID["linearregression"].outputs(["x"], ["y"], {"significance": True})
    result = dict(zip(names, linear_regression(column(1, 2, 3), y, valid, nothing, significance=True)[:, 0]))

    rest = 62 - 29**2 / 14
    assert result["x_y"] == pytest.approx(29 / 14, rel=1e-14)
    assert result["residuals"] == pytest.approx((rest / 3) ** 0.5, rel=1e-12)
    assert result["r_squared"] == pytest.approx(1 - rest / 62, rel=1e-12)
    assert result["x_y_standard_error"] == pytest.approx((rest / 2 / 14) ** 0.5, rel=1e-12)


def test_several_y_are_several_regressions():
    x, y, valid = scene()
    both = linear_regression(x, y, valid, nothing, significance=False)
    first = linear_regression(x, y[:1], valid, nothing, significance=False)

    np.testing.assert_array_equal(both[[0, 2, 4, 6]], first)


def test_ridge_equals_the_normal_equations_of_centred_and_scaled_columns():
    x, y, valid = scene(images=25, pixels=30)
    for standardize in (False, True):
        got = ridge_regression(x[1:], y[:1], valid, nothing, **{**RIDGE, "standardize": standardize})
        for p in range(8, 30):
            v = valid[:, p]
            design, target = x[1:, v, p].T, y[0, v, p]
            centred = design - design.mean(axis=0)
            scales = centred.std(axis=0) if standardize else np.ones(2)
            scaled = centred / scales
            w = np.linalg.solve(scaled.T @ scaled + 0.5 * np.eye(2), scaled.T @ (target - target.mean())) / scales
            rest = ((target - target.mean() - centred @ w) ** 2).sum()
            np.testing.assert_allclose(got[1:3, p], w, rtol=1e-9)
            np.testing.assert_allclose(got[0, p], target.mean() - design.mean(axis=0) @ w, rtol=1e-9)
            np.testing.assert_allclose(got[3, p], np.sqrt(rest / v.sum()), rtol=1e-9)


def test_ridge_without_penalty_has_the_p_value_of_the_slope():
    x, y, valid = scene()
    ridge = ridge_regression(x[1:2], y[:1], valid, nothing, **{**RIDGE, "lambda_": 0.0})
    fit = linear_fit(x[1:2], y[:1], valid, nothing, significance=True)
    some = valid.sum(axis=0) > 2  # F = t² with one X

    np.testing.assert_allclose(ridge[3, some], fit[5, some], rtol=1e-7)
    np.testing.assert_allclose(ridge[4, some], fit[4, some], rtol=1e-9)


def test_ridge_takes_a_constant_as_one_more_column():
    x, y, valid = scene()
    plain = ridge_regression(x[1:], y, valid, nothing, **RIDGE)
    more = ridge_regression(x, y, valid, nothing, **RIDGE)

    some = valid.sum(axis=0) > 3
    assert (more[2:4, some] == 0).all()
    np.testing.assert_allclose(more[[0, 1, 4, 5, 6, 7]][:, some], plain[:6, some], rtol=1e-12)


def test_ridge_needs_one_image_more_than_x():
    x = np.concatenate([column(3, 1, 2), column(1, 2, 4)])
    full, valid = pixel(1, 5, 4)
    gap, fewer = pixel(1, 5, None)

    result = ridge_regression(x, full, valid, nothing, **RIDGE)[:, 0]
    assert np.isfinite(result[:4]).all()
    assert np.isnan(result[4])  # no degree of freedom is left for the F test
    assert np.isnan(ridge_regression(x, gap, fewer, nothing, **RIDGE)).all()


@kernels
def test_a_pixel_does_not_depend_on_the_others_bit_for_bit(kernel):
    x, y, valid = scene()
    whole = kernel(x, y, valid)

    for span in (slice(0, 1), slice(5, 7), slice(17, 18), slice(20, 83), slice(0, 299)):
        part = kernel(x[..., span], y[..., span], valid[:, span])
        assert part.tobytes() == whole[:, span].tobytes()


@kernels
def test_values_of_images_that_do_not_count_mean_nothing_and_nothing_is_changed(kernel):
    x, y, valid = scene(pixels=50)
    expected = kernel(x, y, valid)
    other_x, other_y = np.where(valid, x, 1e20), np.where(valid, y, -3e9)
    before = other_x.copy(), other_y.copy(), valid.copy()

    np.testing.assert_array_equal(kernel(other_x, other_y, valid), expected)
    for now, then in zip((other_x, other_y, valid), before):
        np.testing.assert_array_equal(now, then)


@kernels
@pytest.mark.filterwarnings("error")
def test_pixels_without_a_solution_raise_and_warn_of_nothing(kernel):
    x, y, valid = scene(pixels=50)
    x[1, :, 20:30] = 7
    y[..., 30:40] = 0
    result = kernel(x, y, valid)

    assert np.isnan(result[:, 0]).all()  # no image at all
    assert np.isfinite(result[0, 41:]).all()


def test_more_images_than_a_byte_counts():
    times = np.arange(700.0)
    valid = np.ones((700, 2), dtype=bool)
    valid[::7, 1] = False
    y = np.stack([5 - 0.25 * times, 3 + 2 * times], axis=1)[np.newaxis]

    result = linear_fit(column(*times), y, valid, nothing, significance=False)

    np.testing.assert_allclose(result, [[-0.25, 2], [5, 3]], rtol=1e-11)


@kernels
def test_x_that_all_pixels_share_need_not_be_repeated(kernel):
    x, y, valid = scene(pixels=20)
    shared = x[..., :1]

    repeated = np.ascontiguousarray(np.broadcast_to(shared, x.shape))
    np.testing.assert_array_equal(kernel(shared, y, valid), kernel(repeated, y, valid))
