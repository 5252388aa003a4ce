"""Gradient tree boosting: each loss by hand, and against Smile 1.5.3, Earth Engine's generation (oracle/smile)."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from rasterml.engine.boosting import BoostingPredictor, largest_boosting
from rasterml.engine.errors import Canceled, ModelFileError, SettingError, TableError
from rasterml.engine.explanation import explain
from rasterml.engine.learners import BY_ID, CLASSIFICATION, MULTIPROBABILITY, PROBABILITY, REGRESSION
from rasterml.engine.models import Model
from rasterml.engine.prediction import predict_rows
from rasterml.engine.progress import Progress
from rasterml.engine.training import Table, collect, train
from rasterml.engine.tree_arrays import forest_shapes
from rasterml.engine.tree_reader import read_trees
from small_models import make_samples

# Ten rows on either side of 0: there is one possible split.
X = np.repeat([[-1.0], [1.0]], 10, axis=0)
SIDES = np.array([[-1.0], [1.0]], dtype=np.float32)
ONE_TREE = {"number_of_trees": 1, "shrinkage": 0.5, "sampling_rate": 1.0, "max_nodes": 2}


def boosted(targets, mode: str, **settings) -> Model:
    samples = collect([Table("t", X, np.asarray(targets, dtype=float))], ["x"], "y", mode)
    return train("traingradienttreeboost", samples, mode, {**ONE_TREE, **settings})


def at_sides(model: Model, mode: str = "") -> list:
    return predict_rows(model, SIDES, mode).T.tolist()


def test_it_has_earth_engines_defaults():
    # numberOfTrees is required there
    assert BY_ID["traingradienttreeboost"].checked({}) == {
        "number_of_trees": 100,
        "shrinkage": 0.005,
        "sampling_rate": 0.7,
        "max_nodes": None,
        "loss": "LeastAbsoluteDeviation",
        "seed": 0,
    }


LOW, HIGH = [1.0, 2, 3, 4, 5, 6, 7, 8, 9, 10], [31.0, 32, 33, 34, 35, 36, 37, 38, 39, 40]


def test_least_squares_moves_from_the_mean_towards_the_means():
    # mean 20.5; means of the leaves 5.5 and 35.5; half of the way
    assert at_sides(boosted(LOW + HIGH, REGRESSION, loss="LeastSquares")) == [[13.0], [28.0]]


def test_least_absolute_deviation_moves_from_the_median_towards_the_medians():
    # of 20 values the 11th, 31; of 10 the 6th: 6 and 36, residuals -25 and 5; half of the way
    assert at_sides(boosted(LOW + HIGH, REGRESSION)) == [[18.5], [33.5]]


def test_huber_clips_what_is_far():
    # Median 31; residuals -30 … -21 and 0 … 9; of the sizes the 19th (⌊0.9 · 20⌋ from 0) is 29: nearly nothing is
    # clipped when the residuals of a leaf are taken from its median, -25 and 5: the means 5.5 - 31 and 35.5 - 31 come.
    assert at_sides(boosted(LOW + HIGH, REGRESSION, loss="Huber")) == [[31 - 12.75], [31 + 2.25]]


def test_huber_limits_an_outlier():
    # Sizes of the residuals from 31: 0 … 8, 21 … 30 and 969; the 19th of 20 is 30, so that the outlier counts 30 from
    # the leaf's median 5: 5 + (-5 -4 -3 -2 -1 0 1 2 3 + 30)/10
    model = boosted([*LOW, *HIGH[:-1], 1000.0], REGRESSION, loss="Huber")

    assert at_sides(model)[1] == [pytest.approx(31 + (5 + 2.1) / 2)]


def test_two_classes_are_boosted_by_the_logistic_loss():
    # 10 of class 3, 10 of class 8: score 0, responses ±1, leaf Σr / Σ|r|(2 - |r|) = ±1; half of it: ±1/2
    model = boosted([3] * 10 + [8] * 10, CLASSIFICATION)

    one = 1 / (1 + np.exp(-1))  # 1 / (1 + e^(-2 · ½))
    assert at_sides(model) == [[3], [8]]
    assert np.array(at_sides(model, MULTIPROBABILITY)) == pytest.approx(np.array([[one, 1 - one], [1 - one, one]]))
    assert np.array(at_sides(model, PROBABILITY)) == pytest.approx(np.array([[1 - one], [one]]))  # of the larger label


def test_two_classes_start_from_their_shares():
    # 15 of class 0 and 5 of class 1: ȳ = -1/2, ½ ln((1 - ½)/(1 + ½))
    assert boosted([0] * 15 + [1] * 5, CLASSIFICATION).arrays["start"] == pytest.approx([0.5 * np.log(1 / 3)])


def test_more_classes_have_a_tree_each_and_share_by_softmax():
    # Classes 0 and 1 below (5 each), 2 above: P = 1/3; leaf of class 2 above: 2/3 · Σ(2/3) / Σ(2/3 · 1/3) = 2, below
    # 2/3 · (-1/3)/(2/9) = -1; of class 0 above -1, below 2/3 · (5 · 2/3 - 5 · 1/3)/(10 · 2/9) = 1/2.
    model = boosted([0, 1] * 5 + [2] * 10, CLASSIFICATION)

    below, above = np.exp([0.25, 0.25, -0.5]), np.exp([-0.5, -0.5, 1.0])
    expected = np.array([below / below.sum(), above / above.sum()])
    assert len(forest_shapes(model)) == 3
    assert np.array(at_sides(model, MULTIPROBABILITY)) == pytest.approx(expected)
    assert np.array(at_sides(model, PROBABILITY))[:, 0] == pytest.approx(expected.max(axis=1))
    assert at_sides(model) == [[0], [2]]


def test_leaves_that_are_certain_do_not_divide_by_nothing():
    model = boosted([3] * 10 + [8] * 10, CLASSIFICATION, number_of_trees=400, shrinkage=1.0)

    assert np.array(at_sides(model, MULTIPROBABILITY)) == pytest.approx(np.array([[1, 0], [0, 1]]), abs=1e-9)
    assert np.isfinite(model.arrays["leaf_value"]).all()


@pytest.mark.parametrize("mode", [CLASSIFICATION, REGRESSION])
def test_leaves_hold_five_samples_and_trees_as_many_leaves_as_allowed(mode):
    samples = make_samples(mode)
    whole = {"number_of_trees": 4, "sampling_rate": 1.0}

    free = train("traingradienttreeboost", samples, mode, whole)
    limited = train("traingradienttreeboost", samples, mode, {**whole, "max_nodes": 3})

    assert max(shape.leaves.size for shape in forest_shapes(limited)) == 3
    assert max(shape.leaves.size for shape in forest_shapes(free)) > 3
    for shape in forest_shapes(free):
        node = np.zeros(samples.rows, dtype=int)
        for _ in range(shape.right.size):
            split = shape.right[node] > 0
            low = samples.features[np.arange(samples.rows), shape.feature[node]] <= shape.threshold[node]
            node = np.where(split, np.where(low, node + 1, shape.right[node]), node)
        assert np.bincount(node)[shape.leaves].min() >= 5


def test_no_sampling_leaves_nothing_to_the_seed():
    samples = make_samples()
    first, second, other = (
        train(
            "traingradienttreeboost", samples, CLASSIFICATION, {"number_of_trees": 3, "sampling_rate": rate, "seed": s}
        )
        for rate, s in ((1.0, 0), (1.0, 5), (0.7, 5))
    )

    assert np.array_equal(first.arrays["threshold"], second.arrays["threshold"])
    assert not np.array_equal(first.arrays["threshold"], other.arrays["threshold"])


def test_nodes_of_equal_signs_are_cut_only_to_fill_a_limit():
    # Nothing tells residuals of one sign apart; with a limit Smile's trees spend leaves on them (reference 2.10).
    x = np.arange(40.0).reshape(-1, 1)
    samples = collect([Table("t", x, np.where(x[:, 0] < 20, 0.0, 9.0))], ["x"], "y", REGRESSION)
    settings = {"number_of_trees": 1, "sampling_rate": 1.0, "shrinkage": 1.0}

    free = train("traingradienttreeboost", samples, REGRESSION, settings)
    limited = train("traingradienttreeboost", samples, REGRESSION, {**settings, "max_nodes": 4})

    assert [shape.leaves.size for shape in forest_shapes(free)] == [2]
    # of 40 the 21st is 9: signs -1 and 0, so that the zeros' side is left alone and the other is cut 5 by 5
    assert limited.arrays["threshold"][limited.arrays["feature"] >= 0].tolist() == [19.5, 4.5, 9.5]


def test_importance_is_the_sum_of_unsubtracted_scores():
    # one split of residuals: 10 · 15² + 10 · 15²
    assert boosted(LOW + HIGH, REGRESSION, loss="LeastSquares").training["importance"] == [4500.0]


@pytest.mark.parametrize("mode", [CLASSIFICATION, REGRESSION])
@pytest.mark.parametrize("settings", [{}, {"max_nodes": 4}, {"sampling_rate": 0.3}])
def test_no_model_is_larger_than_its_bound(mode, settings):
    samples = make_samples(mode)
    settings = {"number_of_trees": 5, **settings}
    model = train("traingradienttreeboost", samples, mode, settings)
    full = BY_ID["traingradienttreeboost"].checked(settings)

    bound = largest_boosting(240, 3, len(model.classes), mode, full)

    trees = len(forest_shapes(model))
    assert trees == 5 * (3 if mode == CLASSIFICATION else 1)
    assert sum(array.nbytes for array in model.arrays.values()) <= bound + 8 * (trees + 1) + 8 * 3


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"shrinkage": 0}, "SHRINKAGE is 0: it must be at least"),
        ({"sampling_rate": 1.1}, "SAMPLING_RATE is 1.1: it must be at most 1"),
        ({"loss": "Absolute"}, "choose one of LeastSquares, LeastAbsoluteDeviation, Huber"),
        ({"max_nodes": 1}, "MAX_NODES is 1: it must be at least 2"),
    ],
)
def test_impossible_settings_are_refused(settings, said):
    with pytest.raises(SettingError, match=said):
        boosted(LOW + HIGH, REGRESSION, **settings)


def test_cancel_stops_between_trees():
    class Impatient(Progress):
        calls = 0

        def is_canceled(self) -> bool:
            self.calls += 1
            return self.calls > 20

    with pytest.raises(Canceled):
        train("traingradienttreeboost", make_samples(), CLASSIFICATION, {"number_of_trees": 5000}, 1, Impatient())


def test_explanation_tells_what_leaves_add():
    explanation = explain(boosted(LOW + HIGH, REGRESSION, loss="LeastSquares"))

    assert explanation["startScores"] == [20.5]
    assert explanation["trees"] == ["1) root 9999 9999 0\n 2) x<=0.0 9999 9999 -7.5 *\n 3) x>0.0 9999 9999 7.5 *\n"]
    with pytest.raises(TableError, match="which add up"):
        read_trees(json.dumps(explanation))


DAMAGES = {
    "value without a number": ("leaf_value", np.array([np.nan, 1.0])),
    "too few values": ("leaf_value", np.array([1.0])),
    "start without a number": ("start", np.array([np.inf])),
    "start for another number of classes": ("start", np.array([0.0, 0.0])),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_arrays_that_prediction_could_leave_are_refused(damage):
    model = boosted([3] * 10 + [8] * 10, CLASSIFICATION)
    name, array = DAMAGES[damage]
    model.arrays[name] = array

    with pytest.raises(ModelFileError):
        BoostingPredictor.check(model)


# Smile 1.5.3: oracle/smile/README.md

NAMES = {"ntrees": "number_of_trees", "maxNodes": "max_nodes", "shrinkage": "shrinkage", "subsample": "sampling_rate"}


def oracle(shared, name: str, drop=("nodeSize", "seed")):
    """Return the case, our model, the features and the truth of the test rows."""
    case = json.loads((shared / "oracle" / "smile" / f"{name}.json").read_text())
    mode = REGRESSION if "gtbreg" in name else CLASSIFICATION
    settings: dict = {}
    for key, value in (part.split("=") for part in case["params"].split()):
        if key not in drop:
            settings[NAMES.get(key, key)] = value if key == "loss" else float(value)
    features, labels = read(shared / "oracle" / case["train"], case)
    test, truth = read(shared / "oracle" / case["test"], case)
    samples = collect([Table("train", features, labels)], case["columns"], case["target"], mode)
    model = train("traingradienttreeboost", samples, mode, settings)
    return case, model, test.astype(np.float32), truth


def read(path, case):
    with path.open() as file:
        rows = list(csv.DictReader(file))
    features = np.array([[float(row[name]) for name in case["columns"]] for row in rows])
    return features, np.array([float(row[case["target"]]) for row in rows])


@pytest.mark.parametrize("loss", ["LeastSquares", "LeastAbsoluteDeviation", "Huber"])
def test_regression_is_smiles(loss, shared):
    case, model, test, _ = oracle(shared, f"v153_gtbreg_meuse_100_{loss}")

    assert predict_rows(model, test)[0] == pytest.approx(case["predictions"], rel=1e-6)
    assert model.training["importance"] == pytest.approx(case["importance"], rel=1e-6)


@pytest.mark.parametrize("name", ["v153_gtb_iris_20_det", "v153_gtb_sat_30_det"])
def test_classification_is_smiles(name, shared):
    case, model, test, _ = oracle(shared, name)

    assert predict_rows(model, test)[0].tolist() == case["predictions"]
    probabilities = predict_rows(model, test, MULTIPROBABILITY).T
    assert probabilities == pytest.approx(np.array(case["posteriori"]), abs=1e-6)
    # Nodes of equal responses are cut where rounding says, which changes no leaf's value: the last bit of Java's
    # exponential is not ours everywhere.
    assert model.training["importance"] == pytest.approx(case["importance"], rel=0.03)


# 3.1.1 subtracts the node's own term, so with a leaf limit its trees differ; the sampled case has replicates.
@pytest.mark.parametrize("name", ["gtb_sat_30_det", "gtb_sat_60_sub0.7"])
def test_classification_is_as_good_as_that_of_smile_3(name, shared):
    case, model, test, truth = oracle(shared, name)

    found = predict_rows(model, test)[0]

    accuracies = [run["accuracy"] for run in (case, *case.get("replicates", ()))]
    assert min(accuracies) - 0.03 <= (found == truth).mean() <= max(accuracies) + 0.03
