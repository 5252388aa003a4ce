"""Maxent by hand: closed forms for predictors with two values, outputs, clamping, settings, refusals."""

from __future__ import annotations

import numpy as np
import pytest
from rasterml.engine.errors import Canceled, ModelFileError, SettingError, TableError
from rasterml.engine.explanation import explain
from rasterml.engine.learners import BY_ID, CLASSIFICATION, PROBABILITY
from rasterml.engine.maxent import area_under_curve
from rasterml.engine.maxent_model import BLOCK_ROWS, MaxentPredictor, cumulative_values
from rasterml.engine.models import Model, load_model, save_model
from rasterml.engine.prediction import predict_rows
from rasterml.engine.progress import Progress
from rasterml.engine.training import Table, collect, train
from small_models import defaults

ALL_OFF = {
    "auto_feature": False,
    "linear": False,
    "quadratic": False,
    "product": False,
    "threshold": False,
    "hinge": False,
}


def maxent(background, presences, names=("x",), progress=None, **settings) -> Model:
    """A model of rows of values; presences are class 1."""
    features = np.array([*background, *presences], dtype=float).reshape(-1, len(names))
    labels = np.array([0.0] * len(background) + [1.0] * len(presences))
    samples = collect([Table("t", features, labels)], names, "seen", CLASSIFICATION)
    return train("trainmaxent", samples, CLASSIFICATION, settings, progress=progress)


def two_values(**settings) -> Model:
    """Four background points at 0 and four at 1; three presences at 1 and one at 0: none is new."""
    return maxent([0] * 4 + [1] * 4, [1, 1, 1, 0], **{**ALL_OFF, **settings})


def predicted(model: Model, *values) -> np.ndarray:
    return predict_rows(model, np.array(values, dtype=np.float32).reshape(len(values), -1))


# The mean over the presences is 3/4 and its deviation 1/2, so the penalty of the one feature is β · (1/2) / √4, and
# the model's mean, which is 1/2 without any feature, rises to 3/4 less the penalty.  Automatic β of 4 presences
# (reference 2.1): linear 1.0, quadratic 1.1, threshold 1.96, hinge 0.5, category 0.65 - 0.4 · 0.15 = 0.59.
SHARES = [
    ({"linear": True}, 0.75 - 1.0 / 4),
    ({"linear": True, "beta_lqp": 0.4}, 0.65),
    ({"quadratic": True}, 0.5),
    ({"quadratic": True, "beta_lqp": 0.8}, 0.55),
    ({"threshold": True}, 0.5),
    ({"threshold": True, "beta_threshold": 0.4}, 0.65),
    ({"hinge": True}, 0.625),
    ({"hinge": True, "beta_hinge": 0.4}, 0.65),
    ({"hinge": True, "beta_multiplier": 1.5}, 0.5625),
    ({"hinge": True, "beta_hinge": 0.2, "beta_multiplier": 3}, 0.6),
    ({"categorical_names": "x"}, 0.75 - 0.59 / 4),
    ({"categorical_names": " x ,", "beta_categorical": 0.2}, 0.7),
    ({"linear": True, "beta_lqp": 0}, 0.749),  # the smallest penalty, 0.001
    ({"linear": True, "beta_lqp": 0, "beta_multiplier": 20}, 0.73),
]


@pytest.mark.parametrize(("settings", "share"), SHARES, ids=str)
def test_each_kind_of_feature_meets_the_presences_within_its_penalty(settings, share):
    raw = predicted(two_values(output_format="raw", **settings), 0, 1)[0]

    assert raw == pytest.approx([(1 - share) / 4, share / 4], abs=2e-5)


def test_product_of_two_predictors_is_a_feature():
    rows = [(0, 2)] * 4 + [(1, 2)] * 4
    on = {**ALL_OFF, "product": True, "output_format": "raw"}

    automatic = maxent(rows, [(1, 2)] * 3 + [(0, 2)], ("x", "y"), **on)
    chosen = maxent(rows, [(1, 2)] * 3 + [(0, 2)], ("x", "y"), beta_lqp=0.4, **on)

    assert predicted(automatic, (0, 2), (1, 2))[0] == pytest.approx([0.125, 0.125])  # β 2.2: the penalty is 0.55
    assert predicted(chosen, (0, 2), (1, 2))[0] == pytest.approx([0.35 / 4, 0.65 / 4], abs=2e-5)


def test_four_outputs_follow_from_raw_and_entropy():
    share = 0.65
    raw = np.array([(1 - share) / 4, share / 4])
    entropy = -4 * (raw * np.log(raw)).sum()
    odds = raw * np.exp(entropy)
    expected = {
        "raw": raw,
        "logistic": odds / (1 + odds),
        "cloglog": 1 - np.exp(-odds),
        "cumulative": [100 * raw[0], 100 * (4 * raw[0] + raw[1])],  # of tied points the first one's running sum
    }
    for output_format, values in expected.items():
        model = two_values(linear=True, beta_lqp=0.4, output_format=output_format)
        assert predicted(model, 0, 1)[0] == pytest.approx(values, rel=2e-4), output_format
        assert explain(model)["entropy"] == pytest.approx(entropy, abs=1e-4)


def test_cumulative_is_interpolated_between_the_training_points():
    ordered, sums = np.array([0.1, 0.2, 0.2, 0.5]), np.array([10.0, 30.0, 50.0, 100.0])

    values = cumulative_values(np.array([0, 0.05, 0.1, 0.15, 0.2, 0.35, 0.5, 0.6]), ordered, sums)

    assert values == pytest.approx([0, 5, 10, 20, 30, 75, 100, 100])


def test_outside_the_training_range_is_clamped_extrapolated_or_nothing():
    growth = 0.65 / 0.35  # exp(λ): the two values' odds
    settings = {"linear": True, "beta_lqp": 0.4, "output_format": "raw"}
    clamped = two_values(write_clamp_grid=True, **settings)
    free = two_values(do_clamp=False, **settings)
    bounded = two_values(do_clamp=False, extrapolate=False, **settings)

    values = predicted(clamped, -1, 0.5, 3)
    assert values[0] == pytest.approx([0.0875, 0.0875 * growth**0.5, 0.1625], rel=2e-4)
    assert values[1] == pytest.approx([0.0875 - 0.0875 / growth, 0, 0.0875 * growth**3 - 0.1625], rel=1e-3)
    assert predicted(free, -1, 3, 6)[0] == pytest.approx([0.0875 / growth, 0.0875 * growth**3, 1], rel=1e-3)
    assert predicted(bounded, -1, 1, 3)[0] == pytest.approx([0, 0.1625, 0], abs=2e-5)
    within = two_values(extrapolate=False, write_clamp_grid=True, **settings)  # clamped points are in range
    assert predicted(within, -1, 3)[0] == pytest.approx([0.0875, 0.1625], rel=2e-4)
    assert predicted(within, -1, 3)[1] == pytest.approx([0.0875, 0.1625], rel=2e-4)  # against 0 without clamping
    assert MaxentPredictor(clamped).bands(PROBABILITY) == ("probability", "clamp")
    assert MaxentPredictor(free).bands(PROBABILITY) == ("probability",)


def test_an_enormous_value_gives_no_missing_prediction():
    model = two_values(linear=True, quadratic=True, beta_lqp=0.1, do_clamp=False)

    assert np.isfinite(predicted(model, 3e38, -3e38)).all()


def test_presences_join_the_background_as_the_settings_say():
    def points(**settings):
        model = maxent([0, 1, 1, 3], [1, 2, 2, 5], **ALL_OFF | {"linear": True}, **settings)
        return explain(model)["presences"], model.training["statistics"]["backgroundPoints"]

    assert points() == (4, 7)  # 2, 2 and 5 are new, and 2 counts twice
    assert points(add_samples_to_background=False) == (4, 4)
    assert points(add_all_samples_to_background=True) == (4, 8)


def test_presence_outside_the_background_trains_clamped():
    settings = {**ALL_OFF, "linear": True, "beta_lqp": 0.4, "add_samples_to_background": False}
    inside = maxent([0] * 4 + [1] * 4, [1, 1, 1, 0], **settings)
    outside = maxent([0] * 4 + [1] * 4, [1, 9, 1, -2], **settings)

    assert np.array_equal(predicted(inside, 0, 1), predicted(outside, 0, 1))


def test_threshold_that_all_presences_pass_gets_no_weight():
    # As in Maxent: such a feature would only say that no presence was seen there.
    model = maxent([0] * 4 + [1] * 4, [1] * 4, **{**ALL_OFF, "threshold": True, "beta_threshold": 0})

    assert explain(model)["regularizedGain"] == 0


def test_category_of_every_presence_has_the_penalty_of_half_a_presence():
    model = maxent([0] * 4 + [1] * 4, [1] * 4, categorical_names="x", output_format="raw", **ALL_OFF)

    assert predicted(model, 0, 1)[0] == pytest.approx([0.125 / 4, 0.875 / 4], abs=2e-5)  # 1 - 1 / (2 · 4)


def ring(inside: int) -> tuple[list[float], list[float]]:
    """Presences at both ends of the range, whose mean is the background's: a straight line says nothing."""
    ends = np.linspace(4, 5, inside // 2)
    return list(np.linspace(-5, 5, 101)), [*ends, *-ends]


def auc(model: Model) -> float:
    return model.training["statistics"]["trainingAuc"]


def test_automatic_features_come_with_the_number_of_presences():
    background, presences = ring(12)
    linear = {"l2lq_threshold": 13, "hinge_threshold": 13}

    assert auc(maxent(background, presences, **linear)) == 0.5
    assert auc(maxent(background, presences, **{**linear, "l2lq_threshold": 12})) > 0.8
    assert auc(maxent(background, presences, **{**linear, "hinge_threshold": 12})) > 0.8
    assert auc(maxent(background, presences)) > 0.8  # quadratic from 10
    assert auc(maxent(background, presences, **linear, linear=False, quadratic=True)) == 0.5  # automatic: not asked


@pytest.mark.parametrize(("threshold", "found"), [(20, True), (21, False)])
def test_product_and_threshold_features_come_from_lq2lqpt_threshold_on(threshold, found):
    grid = np.linspace(-5, 5, 21)
    background = [(a, b) for a in grid for b in grid]
    presences = [(side * (1 + i / 3), side * (5 - i / 3)) for i in range(10) for side in (-1, 1)]
    off = {"l2lq_threshold": 99, "hinge_threshold": 99, "lq2lqpt_threshold": threshold}

    product = maxent(background, presences, ("a", "b"), **off)
    steps = maxent(background, presences, ("a", "b"), threshold=True, beta_threshold=0.1, **off)

    assert any("a*b" in line for line in explain(product)["lambdas"]) == found
    assert any("<" in line for line in explain(steps)["lambdas"]) == found
    assert not any("<" in line for line in explain(product)["lambdas"])  # THRESHOLD is off by default


def scattered(rows=400, presences=40):
    """Background and presences in three predictors, the first one telling, the second less, the third constant."""
    generator = np.random.default_rng(5)
    background = np.column_stack((generator.normal(size=(rows, 2)), np.full(rows, 7.0)))
    seen = np.column_stack((generator.normal(size=(presences, 2)) * 0.5 + [1.5, 0.4], np.full(presences, 7.0)))
    return background, seen, ("a", "b", "c")


def test_a_percentage_of_the_presences_is_held_out_by_seed():
    def statistics(seed):
        return maxent(*scattered(), random_test_points=25, seed=seed).training["statistics"]

    first = statistics(1)
    assert (first["presences"], first["testPresences"]) == (30, 10)
    assert 0.7 < first["testAuc"] <= 1 and 0 <= first["testOmissionAtMinimumPresence"] <= 1
    assert first["testOmissionAt10PercentilePresence"] >= first["testOmissionAtMinimumPresence"]
    assert statistics(1) == first
    assert statistics(2) != first
    assert "testAuc" not in maxent(*scattered()).training["statistics"]


def test_importance_is_that_of_shuffling_and_adds_up_to_a_hundred():
    importance = explain(maxent(*scattered()))["importance"]

    assert sum(importance.values()) == pytest.approx(100)
    assert importance["a"] > importance["b"] > importance["c"] == 0


def test_accuracy_counts_even_odds_as_presence_whatever_the_output():
    cloglog, raw = maxent(*scattered()), maxent(*scattered(), output_format="raw")
    background, seen, _ = scattered()
    values = predicted(cloglog, *[*background, *seen])[0]
    labels = np.repeat([0, 1], (len(background), len(seen)))

    assert cloglog.training["accuracy"] == np.mean((values >= 0.5) == labels)
    assert raw.training["confusion"] == cloglog.training["confusion"]


@pytest.mark.parametrize("settings", [{}, {"beta_multiplier": 0}, {**ALL_OFF, "threshold": True, "beta_threshold": 0}])
def test_constant_predictors_and_repeated_rows_do_no_harm(settings):
    constant = maxent([3] * 5, [3] * 2, **settings)
    background, seen, names = scattered(50, 3)
    repeated = maxent([*background, *background], [*seen, *seen[:1]], names, **settings)

    assert explain(constant)["regularizedGain"] == 0
    assert predicted(constant, 3, 99)[0] == pytest.approx([1 - np.exp(-1)] * 2)  # raw 1/5, entropy ln 5
    assert np.isfinite(predicted(repeated, *background)).all()


def test_one_presence_is_enough():
    assert np.isfinite(predicted(maxent([1, 2, 3], [3]), 1, 2, 3)).all()


def test_a_row_does_not_depend_on_its_block():
    model = maxent(*scattered(), write_clamp_grid=True)
    rows = np.random.default_rng(1).normal(size=(BLOCK_ROWS + 7, 3)).astype(np.float32) * 2

    together = MaxentPredictor(model).predict(rows, PROBABILITY, lambda: None)

    for span in (slice(0, 3), slice(BLOCK_ROWS - 2, BLOCK_ROWS + 7), slice(11, 1000)):
        alone = MaxentPredictor(model).predict(np.ascontiguousarray(rows[span]), PROBABILITY, lambda: None)
        assert np.array_equal(alone, together[:, span])


def test_area_under_the_curve_counts_ties_half():
    # presences 3 and 2 against 1, 2, 2, 4: 3 beats three; 2 beats one and ties two
    assert area_under_curve(np.array([3.0, 2.0]), np.array([1.0, 2.0, 2.0, 4.0])) == (3 + 1 + 2 / 2) / 8


def test_earth_engines_defaults():
    # Earth Engine, ee.Classifier.amnhMaxent
    assert defaults("trainmaxent") == {
        "categorical_names": "",
        "output_format": "cloglog",
        "auto_feature": True,
        "linear": True,
        "quadratic": True,
        "product": True,
        "threshold": False,
        "hinge": True,
        "hinge_threshold": 15,
        "l2lq_threshold": 10,
        "lq2lqpt_threshold": 80,
        "add_samples_to_background": True,
        "add_all_samples_to_background": False,
        "beta_multiplier": 1,
        "beta_hinge": -1,
        "beta_lqp": -1,
        "beta_categorical": -1,
        "beta_threshold": -1,
        "extrapolate": True,
        "do_clamp": True,
        "write_clamp_grid": False,
        "random_test_points": 0,
        "seed": 0,
    }
    assert list(BY_ID["trainmaxent"].modes.items()) == [(CLASSIFICATION, (PROBABILITY,))]
    assert set(explain(two_values(linear=True))["parameters"]) >= {"lq2lqptThreshold", "l2lqThreshold", "betaLqp"}


def test_labels_other_than_presence_and_background_are_refused():
    for values in ((0, 7), (1, 2), (0, 1, 2)):
        table = Table("t", np.arange(6.0).reshape(-1, 1), np.resize(np.array(values, dtype=float), 6))
        with pytest.raises(TableError, match=f"but seen has {values[0]}, {values[1]}"):
            train("trainmaxent", collect([table], ("x",), "seen", CLASSIFICATION), CLASSIFICATION, {})


def test_of_two_texts_the_later_is_presence_and_the_user_is_told():
    told = []

    class Listening(Progress):
        def message(self, text):
            told.append(text)

    table = Table("t", np.array([[0.0]] * 4 + [[1.0]] * 4), ["absent"] * 4 + ["present"] * 4)
    samples = collect([table], ("x",), "seen", CLASSIFICATION)
    model = train("trainmaxent", samples, CLASSIFICATION, {"beta_lqp": 0.1}, progress=Listening())

    assert predicted(model, 1)[0, 0] > predicted(model, 0)[0, 0]
    assert told == ["Class 1 (present) is presence, class 0 (absent) is background."]


def test_bad_settings_are_one_sentence():
    with pytest.raises(SettingError, match="CATEGORICAL_NAMES has soil, which is no predictor: choose among x"):
        two_values(linear=True, categorical_names="x, soil")
    with pytest.raises(SettingError, match="all off, and no predictor is categorical: switch one on"):
        two_values()
    with pytest.raises(SettingError, match="leaves none of the 4 presences for training: give less"):
        two_values(linear=True, random_test_points=100)
    for name, value in (("output_format", "odds"), ("random_test_points", 101), ("beta_multiplier", -1)):
        with pytest.raises(SettingError, match=name.upper()):
            two_values(**{"linear": True, name: value})
    with pytest.raises(SettingError, match="no mode REGRESSION"):
        train("trainmaxent", collect([Table("t", np.eye(2), [0.0, 1.0])], "ab", "c", "REGRESSION"), "REGRESSION", {})


def test_cancel_stops_the_fit():
    class Impatient(Progress):
        def is_canceled(self):
            return True

    with pytest.raises(Canceled):
        maxent(*scattered(5000, 300), progress=Impatient())


def test_saved_model_keeps_its_statistics(tmp_path):
    model = maxent(*scattered(), output_format="cumulative", categorical_names="c")
    save_model(model, tmp_path / "m.rasterml")
    loaded = load_model(tmp_path / "m.rasterml")

    assert explain(loaded) == explain(model) | {"versions": explain(loaded)["versions"]}
    assert np.array_equal(predicted(loaded, (1, 1, 7)), predicted(model, (1, 1, 7)))


def spoiled(name: str, change):
    model = maxent(*scattered(100, 20), output_format="cumulative")
    arrays = {**model.arrays, name: change(model.arrays[name].copy())}
    return Model(model.learner_id, model.mode, model.settings, model.predictors, model.classes, "seen", arrays)


def at_first(value):
    def change(array):
        array[0] = value
        return array

    return change


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("feature_first", at_first(3)),
        ("feature_second", at_first(-1)),
        ("feature_kind", at_first(7)),
        ("feature_kind", lambda array: array.astype(np.float64)),
        ("feature_low", at_first(np.nan)),
        ("feature_weight", lambda array: array[1:]),
        ("feature_weight", lambda array: array.astype(np.float32)),
        ("lower", at_first(1e9)),
        ("upper", lambda array: array[:, np.newaxis]),
        ("categorical", lambda array: array[1:]),
        ("normalizers", lambda array: array * [1, 0, 1]),
        ("normalizers", lambda array: array * [1, 1, 1000]),
        ("normalizers", lambda array: array[:2]),
        ("cumulative_raw", lambda array: array[::-1]),
        ("cumulative_sum", lambda array: array[1:]),
    ],
)
def test_arrays_that_prediction_could_leave_are_refused(name, change):
    with pytest.raises(ModelFileError):
        MaxentPredictor.check(spoiled(name, change))


def test_missing_and_unknown_arrays_are_refused():
    model = spoiled("lower", lambda array: array)
    MaxentPredictor.check(model)
    for arrays in ({**model.arrays, "more": np.zeros(1)}, {"lower": np.zeros(3)}):
        with pytest.raises(ModelFileError, match="needs the arrays"):
            MaxentPredictor.check(Model("trainmaxent", CLASSIFICATION, model.settings, ("a",), (), "seen", arrays))
