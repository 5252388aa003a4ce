"""Random forest: Earth Engine's semantics by hand, Smile's own results within their spread."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from rasterml.engine import tree_apply, trees
from rasterml.engine.classes import class_table
from rasterml.engine.errors import ModelFileError, SettingError
from rasterml.engine.forest import ForestPredictor, draw_bag, forest_shapes, largest_forest, smoothed
from rasterml.engine.learners import (
    CLASSIFICATION,
    MULTIPROBABILITY,
    PROBABILITY,
    RAW,
    RAW_REGRESSION,
    REGRESSION,
)
from rasterml.engine.models import Model, save_model
from rasterml.engine.prediction import predict_rows
from rasterml.engine.training import Table, collect, train
from small_models import defaults, make_samples, small_forest


def nothing() -> None:
    pass


def stump_model(mode: str, weights=(1.0, 0.5, 0.5), classes=(0, 7, 9)) -> Model:
    """Three trees on one predictor: x <= 1 | x > 1, x <= 2 | x > 2, and a single leaf."""
    feature = np.array([0, -1, -1, 0, -1, -1, -1], dtype=np.int16)
    threshold = np.array([1.0, 0, 0, 2.0, 0, 0, 0])
    right = np.array([2, 0, 0, 2, 0, 0, 0], dtype=np.int32)
    arrays = {"tree_start": np.array([0, 3, 6, 7]), "feature": feature, "threshold": threshold, "right": right}
    if mode == REGRESSION:
        arrays["leaf_population"] = np.array([2, 3, 4, 1, 5], dtype=np.uint32)
        arrays["leaf_mean"] = np.array([-1.0, 2.0, 0.5, 4.0, 3.0])
    else:
        arrays["leaf_counts"] = np.array([[2, 0, 0], [0, 3, 1], [0, 1, 0], [0, 0, 4], [2, 2, 1]], dtype=np.uint16)
        arrays["tree_weight"] = np.array(weights)
    table = class_table(classes) if mode == CLASSIFICATION else ()
    model = Model("trainrandomforest", mode, defaults("trainrandomforest"), ("x",), table, "class", arrays)
    ForestPredictor.check(model)
    return model


X = np.array([[0.0], [1.0], [1.5], [2.5]], dtype=np.float32)


def test_class_is_the_majority_of_tree_labels_and_ties_go_to_the_lowest():
    votes = ForestPredictor(stump_model(CLASSIFICATION)).predict(X, RAW, nothing)
    winners = ForestPredictor(stump_model(CLASSIFICATION)).predict(X, CLASSIFICATION, nothing)

    assert votes.tolist() == [[0, 0, 7, 7], [7, 7, 7, 9], [0, 0, 0, 0]]  # the last leaf ties 2 : 2
    assert winners.tolist() == [[0, 0, 7, 0]]  # at 2.5 every class has one vote


def test_probability_is_the_weighted_mean_of_smoothed_leaves():
    predictor = ForestPredictor(stump_model(CLASSIFICATION))

    probabilities = predictor.predict(X[:1], MULTIPROBABILITY, nothing)[:, 0]

    # leaves (2,0,0) -> (3,1,1)/5, (0,1,0) -> (1,2,1)/4, (2,2,1) -> (3,3,2)/8 with weights 1, 1/2, 1/2 of 2
    expected = np.array([0.6 + 0.125 + 0.1875, 0.2 + 0.25 + 0.1875, 0.2 + 0.125 + 0.125]) / 2
    assert probabilities == pytest.approx(expected, rel=1e-6)
    assert probabilities.sum() == pytest.approx(1, abs=1e-6)
    assert predictor.predict(X[:1], PROBABILITY, nothing)[0, 0] == pytest.approx(expected.max(), rel=1e-6)


def test_probability_of_two_classes_is_that_of_the_larger_label():
    model = stump_model(CLASSIFICATION)
    arrays = {**model.arrays, "leaf_counts": model.arrays["leaf_counts"][:, :2] + np.uint16(1)}
    two = Model(model.learner_id, CLASSIFICATION, model.settings, ("x",), class_table([3, 4]), "class", arrays)
    predictor = ForestPredictor(two)

    both = predictor.predict(X, MULTIPROBABILITY, nothing)

    assert np.array_equal(predictor.predict(X, PROBABILITY, nothing)[0], both[1])
    assert (both[1] < 0.5).any()  # so it is not the winner's


def test_trees_that_are_always_wrong_share_the_weight_equally():
    probabilities = ForestPredictor(stump_model(CLASSIFICATION, weights=(0.0, 0.0, 0.0))).predict(
        X, MULTIPROBABILITY, nothing
    )

    assert probabilities.sum(axis=0) == pytest.approx(np.ones(4), abs=1e-6)


def test_regression_is_the_mean_of_the_trees():
    predictor = ForestPredictor(stump_model(REGRESSION))

    assert predictor.predict(X, RAW_REGRESSION, nothing).tolist() == [[-1, -1, 2, 2], [0.5, 0.5, 0.5, 4], [3, 3, 3, 3]]
    assert predictor.predict(X, REGRESSION, nothing)[0] == pytest.approx([2.5 / 3, 2.5 / 3, 5.5 / 3, 3])


def test_leaf_probabilities_are_add_one_smoothed():
    assert smoothed(np.array([[8, 0, 0]])) == pytest.approx(np.array([[9, 1, 1]]) / 11)


@pytest.mark.parametrize(("share", "sizes"), [(0.5, [1, 2, 3, 50]), (0.3, [1, 1, 2, 30]), (0.9, [1, 3, 5, 90])])
def test_bag_takes_half_up_of_each_class_without_replacement(share, sizes):
    # ⌊n·f + ½⌋ for n = 1, 3, 5, 100; a class with one row stays
    groups = np.split(np.arange(109), [1, 4, 9])

    bag = draw_bag(groups, share, np.random.default_rng(0))

    assert len(set(bag.tolist())) == len(bag)
    assert [np.isin(bag, rows).sum() for rows in groups] == sizes


def test_whole_bag_is_a_bootstrap_of_each_class():
    groups = np.split(np.arange(100), [30])

    bag = draw_bag(groups, 1, np.random.default_rng(0))

    assert [np.isin(bag, rows).sum() for rows in groups] == [30, 70]
    assert len(set(bag.tolist())) < 100


def test_every_tree_has_the_same_class_counts_at_its_root():
    model = small_forest(bag_fraction=0.4)
    labels = make_samples().labels
    starts = np.cumsum([0] + [shape.leaves.size for shape in forest_shapes(model)])

    sums = [model.arrays["leaf_counts"][a:b].sum(axis=0).tolist() for a, b in zip(starts[:-1], starts[1:])]

    assert sums == [np.floor(np.bincount(labels) * 0.4 + 0.5).astype(int).tolist()] * 9


@pytest.mark.parametrize("mode", [CLASSIFICATION, REGRESSION])
def test_settings_bound_leaves_and_their_population(mode):
    model = small_forest(mode, max_nodes=6, min_leaf_population=8)
    values = model.arrays["leaf_counts"].sum(axis=1) if mode == CLASSIFICATION else model.arrays["leaf_population"]

    assert max(shape.leaves.size for shape in forest_shapes(model)) <= 6
    assert values.min() >= 8


def test_regression_leaves_hold_at_least_two_samples():
    assert small_forest(REGRESSION).arrays["leaf_population"].min() >= 2


def test_no_two_sister_leaves_carry_the_same_label():
    model = small_forest()
    labels = model.arrays["leaf_counts"].argmax(axis=1)
    start = 0
    for shape in forest_shapes(model):
        leaf_number = np.cumsum(shape.right == 0) - 1 + start
        for node in np.flatnonzero(shape.right):
            children = (node + 1, shape.right[node])
            if all(shape.right[child] == 0 for child in children):
                assert labels[leaf_number[children[0]]] != labels[leaf_number[children[1]]]
        start += shape.leaves.size


def test_tiny_predictors_are_told_apart():
    # scikit-learn alone takes values closer than 1e-7 as equal and grows one leaf
    x = np.linspace(0, 1e-6, 200).reshape(-1, 1)
    samples = collect([Table("t", x, (x[:, 0] > 5e-7).astype(float))], ["x"], "class", CLASSIFICATION)

    model = train("trainrandomforest", samples, CLASSIFICATION, {"number_of_trees": 5})

    assert model.training["accuracy"] == 1
    assert all(shape.right.size > 1 for shape in forest_shapes(model))
    thresholds = model.arrays["threshold"][model.arrays["feature"] >= 0]
    assert thresholds == pytest.approx(5e-7, rel=0.1)


@pytest.mark.parametrize(("offset", "step"), [(0, 1e-9), (1e6, 1e-3), (-5, 1e9)])
def test_targets_of_any_size_are_told_apart(offset, step):
    # scikit-learn calls a node pure when its variance is below 2.2e-16, and loses digits beside large offsets
    x = np.arange(200.0).reshape(-1, 1)
    samples = collect([Table("t", x, offset + step * (x[:, 0] > 100))], ["x"], "y", REGRESSION)

    model = train("trainrandomforest", samples, REGRESSION, {"number_of_trees": 5})

    assert model.arrays["leaf_mean"].max() - model.arrays["leaf_mean"].min() == pytest.approx(step, rel=1e-3)


ALL_ROWS = 0.9999  # ⌊n·f + ½⌋ = n: every row, without replacement


def test_splits_without_gain_are_not_made():
    x = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]] * 8)
    samples = collect([Table("t", x, (x[:, 0] != x[:, 1]).astype(float))], ["a", "b"], "class", CLASSIFICATION)
    settings = {"number_of_trees": 5, "bag_fraction": ALL_ROWS, "variables_per_split": 2}

    model = train("trainrandomforest", samples, CLASSIFICATION, settings)

    # no first split of XOR gains anything: Smile's trees are one leaf, scikit-learn's own would have four
    assert [shape.right.size for shape in forest_shapes(model)] == [1] * 5
    assert model.training.get("out_of_bag_error") is None


def test_one_tree_on_all_rows_is_smiles_cart_with_its_leaf_limit(shared):
    name, settings = "v153_cart_sat_maxnodes10", {"max_nodes": 10}
    case = json.loads((shared / "oracle" / "smile" / f"{name}.json").read_text())
    features, labels = oracle_table(shared / "oracle" / case["train"], case)
    test, _ = oracle_table(shared / "oracle" / case["test"], case)
    samples = collect([Table("train", features, labels)], case["columns"], case["target"], CLASSIFICATION)
    whole = {"number_of_trees": 1, "bag_fraction": ALL_ROWS, "variables_per_split": len(case["columns"])}

    model = train("trainrandomforest", samples, CLASSIFICATION, {**whole, **settings})

    predicted = predict_rows(model, test.astype(np.float32))[0]
    agreement = (predicted == np.array(case["predictions"])).mean()
    assert agreement >= 0.97  # ties of values are resolved otherwise
    assert model.training["importance"] == pytest.approx(case["importance"], rel=0.15, abs=0.5)


@pytest.mark.parametrize("mode", [CLASSIFICATION, REGRESSION])
@pytest.mark.parametrize("threads", [1, 3, 8])
def test_same_seed_gives_the_same_model_file_for_any_number_of_threads(mode, threads, tmp_path):
    save_model(small_forest(mode, threads=2, seed=5), tmp_path / "two.rasterml")
    save_model(small_forest(mode, threads=threads, seed=5), tmp_path / "other.rasterml")

    assert (tmp_path / "two.rasterml").read_bytes() == (tmp_path / "other.rasterml").read_bytes()


def test_weights_and_error_come_from_the_samples_a_tree_did_not_see():
    model, samples = small_forest(seed=4), make_samples()
    groups = [np.flatnonzero(samples.labels == label) for label in range(3)]
    votes = predict_rows(model, samples.features, RAW)
    values = np.array([item.value for item in model.classes])
    truth = values[samples.labels]
    unseen = np.ones(votes.shape, dtype=bool)
    for number, row in enumerate(unseen):
        row[draw_bag(groups, 0.5, np.random.default_rng((4, number)))] = False

    right = [(vote == truth)[out].mean() for vote, out in zip(votes, unseen)]
    tally = np.array([((votes == value) & unseen).sum(axis=0) for value in values])
    judged = tally.any(axis=0)

    assert model.arrays["tree_weight"] == pytest.approx(right)
    assert len(set(right)) > 1
    wrong = values[tally.argmax(axis=0)] != truth
    assert model.training["out_of_bag_error"] == pytest.approx(wrong[judged].mean())


def test_another_seed_gives_another_forest():
    first, second = small_forest(seed=1), small_forest(seed=2)

    assert not np.array_equal(first.arrays["threshold"], second.arrays["threshold"])


def test_numpy_alone_gives_the_same_bits_as_compiled_trees(forest, monkeypatch):
    generator = np.random.default_rng(1)
    features = (make_samples().features[generator.integers(0, 240, 9000)] + generator.normal(size=(9000, 3))).astype(
        "f4"
    )
    compiled = {mode: predict_rows(forest, features, mode) for mode in forest.output_modes}
    monkeypatch.setattr(
        "rasterml.engine.forest.leaf_appliers",
        lambda shapes, predictors: [tree_apply._numpy_applier(shape) for shape in shapes],
    )

    for mode in forest.output_modes:
        assert np.array_equal(predict_rows(forest, features, mode), compiled[mode]), mode


def test_threshold_rounded_down_decides_as_before():
    generator = np.random.default_rng(0)
    thresholds = np.concatenate((generator.normal(size=2000), [1e300, -1e300, 0.1, 0.5, np.float32(0.1)]))
    single = tree_apply.rounded_down(thresholds)
    values = np.concatenate(
        [single, np.nextafter(single, np.float32(np.inf)), np.nextafter(single, np.float32(-np.inf))]
    )
    values = values[np.isfinite(values)]

    assert np.array_equal(values[:, None] <= thresholds, values[:, None] <= single)


@pytest.mark.parametrize("classes", [2, 12, 40])
def test_many_trees_and_many_classes_count_every_vote(classes):
    """600 single leaves: 400 votes for the last but one class would overflow a byte; 40 classes need five words."""
    trees = 600
    counts = np.zeros((trees, classes), dtype=np.uint16)
    counts[:400, -2] = 1
    counts[400:, -1] = 1
    arrays = {
        "tree_start": np.arange(trees + 1),
        "feature": np.full(trees, -1, dtype=np.int16),
        "threshold": np.zeros(trees),
        "right": np.zeros(trees, dtype=np.int32),
        "leaf_counts": counts,
        "tree_weight": np.ones(trees),
    }
    settings = defaults("trainrandomforest")
    model = Model("trainrandomforest", CLASSIFICATION, settings, ("x",), class_table(range(classes)), "c", arrays)

    assert predict_rows(model, np.zeros((3, 1), np.float32))[0].tolist() == [classes - 2] * 3


def test_more_variables_than_predictors_is_an_error():
    with pytest.raises(SettingError, match="VARIABLES_PER_SPLIT is 4, but there are only 3"):
        small_forest(variables_per_split=4)


@pytest.mark.parametrize("mode", [CLASSIFICATION, REGRESSION])
@pytest.mark.parametrize("settings", [{}, {"max_nodes": 5}, {"min_leaf_population": 20}, {"bag_fraction": 1.0}])
def test_no_forest_is_larger_than_its_bound(mode, settings):
    model = small_forest(mode, **settings)
    full = defaults("trainrandomforest", number_of_trees=9, **settings)

    bound = largest_forest(240, 3, len(model.classes), mode, full)

    assert sum(array.nbytes for array in model.arrays.values()) <= bound + 8  # there is one start more than trees


DAMAGES = {
    "child before its parent": ("right", 0, 0),
    "child beyond the tree": ("right", 3, 9),
    "predictor that is not there": ("feature", 0, 1),
    "negative predictor": ("feature", 0, -2),
    "threshold without a number": ("threshold", 0, np.nan),
    "empty leaf": ("leaf_counts", 0, 0),
    "negative weight": ("tree_weight", 0, -1),
    "infinite weight": ("tree_weight", 0, np.inf),
    "trees that do not cover": ("tree_start", 1, 4),
    "trees out of order": ("tree_start", 1, 7),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_arrays_that_prediction_could_leave_are_refused(damage):
    model = stump_model(CLASSIFICATION)
    name, place, value = DAMAGES[damage]
    model.arrays[name][place] = value

    with pytest.raises(ModelFileError):
        ForestPredictor.check(model)


def test_missing_or_surplus_arrays_are_refused():
    model = stump_model(CLASSIFICATION)
    del model.arrays["right"]
    with pytest.raises(ModelFileError, match="needs the arrays"):
        ForestPredictor.check(model)


# Against Smile 3.1.1 and 1.5.3: oracle/smile/README.md gives the tolerances.
ORACLE = {
    "rf_iris_100": {"bag_fraction": 1.0},
    "rf_sat_50_bag0.5": {"number_of_trees": 50, "variables_per_split": 2},
    "rf_sat36_100": {"bag_fraction": 1.0},
    "rfreg_meuse_200": {
        "number_of_trees": 200,
        "bag_fraction": 1.0,
        "min_leaf_population": 5,
        "variables_per_split": 1,
    },
}


def oracle_table(path, case):
    with path.open() as file:
        rows = list(csv.DictReader(file))
    features = np.array([[float(row[name]) for name in case["columns"]] for row in rows])
    return features, np.array([float(row[case["target"]]) for row in rows])


@pytest.mark.parametrize("name", ORACLE)
@pytest.mark.parametrize("seed", [0, 1])
def test_forest_is_within_the_spread_of_smile(name, seed, shared):
    case = json.loads((shared / "oracle" / "smile" / f"{name}.json").read_text())
    mode = REGRESSION if "rfreg" in name else CLASSIFICATION
    features, labels = oracle_table(shared / "oracle" / case["train"], case)
    test, truth = oracle_table(shared / "oracle" / case["test"], case)
    samples = collect([Table("train", features, labels)], case["columns"], case["target"], mode)

    model = train("trainrandomforest", samples, mode, {**ORACLE[name], "seed": seed})
    predicted = predict_rows(model, test.astype(np.float32))[0]

    runs = [case, *case["replicates"]]
    error = model.training["out_of_bag_error"]
    if mode == CLASSIFICATION:
        accuracies = [run["accuracy"] for run in runs] + [case["accuracy_hard_vote"]]
        assert min(accuracies) - 0.03 <= (predicted == truth).mean() <= max(accuracies) + 0.03
        bags = [1 - run["oob_accuracy"] for run in runs]
        assert min(bags) - 0.03 <= error <= max(bags) + 0.03
        ours, theirs = np.array(model.training["importance"]), np.array([run["importance"] for run in runs])
        best = [set(np.argsort(-row)[:2]) for row in theirs]
        if all(pair == best[0] for pair in best):
            assert set(np.argsort(-ours)[:2]) == best[0]
        # the sum of all gains, neither averaged over trees nor normalised, is of one size
        assert 0.8 < ours.sum() / theirs.sum(axis=1).mean() < 1.25
    else:
        rmse = np.sqrt(np.mean((predicted - truth) ** 2))
        spread = [run["rmse"] for run in runs]
        bags = [run["oob_rmse"] for run in runs]
        assert 0.95 * min(spread) <= rmse <= 1.05 * max(spread)
        assert 0.95 * min(bags) <= error <= 1.05 * max(bags)
        best = [set(np.argsort(run["importance"])[-2:]) for run in runs]
        assert all(pair == best[0] for pair in best)
        assert set(np.argsort(decrease_of_squares(model))[-2:]) == best[0]


def decrease_of_squares(model):
    """Importance as Smile 3.1.1 counts it: the score of a split less the node's own term (reference 2.10)."""
    population, sums = (
        model.arrays["leaf_population"].astype(float) * factor for factor in (1, model.arrays["leaf_mean"])
    )
    importance, start = np.zeros(len(model.predictors)), 0
    for shape in forest_shapes(model):
        leaves = slice(start, start + shape.leaves.size)
        start = leaves.stop
        n, total = (trees.node_sums(shape.right, values[leaves]) for values in (population, sums))
        splits = np.flatnonzero(shape.right)
        gains = trees.square_scores(shape.right, n, total)[splits] - total[splits] ** 2 / n[splits]
        np.add.at(importance, shape.feature[splits], gains)
    return importance


def test_regression_forests_are_on_average_that_of_smile_1(shared):
    # One run without replicates: ours scatter around it.  Its out-of-bag error counts rows that the trees saw.
    case = json.loads((shared / "oracle" / "smile" / "v153_rfreg_meuse_200.json").read_text())
    features, targets = oracle_table(shared / "oracle" / case["train"], case)
    test, truth = oracle_table(shared / "oracle" / case["test"], case)
    samples = collect([Table("train", features, targets)], case["columns"], case["target"], REGRESSION)
    errors, importances = [], []
    for seed in range(6):
        model = train("trainrandomforest", samples, REGRESSION, {**ORACLE["rfreg_meuse_200"], "seed": seed})
        errors.append(np.sqrt(np.mean((predict_rows(model, test.astype(np.float32))[0] - truth) ** 2)))
        importances.append(sum(model.training["importance"]))

    assert np.mean(errors) == pytest.approx(case["rmse"], rel=0.05)
    assert np.mean(importances) == pytest.approx(sum(case["importance"]), rel=0.05)


@pytest.mark.parametrize(("drawn", "share"), [(1, 3 / 4), (2, 2 / 4), (3, 1 / 4), (4, 0)])
def test_constant_predictors_count_as_drawn_in_regression(drawn, share):
    # One of four predictors varies: C(3, m) / C(4, m) of the roots draw none but constants and are leaves.
    x = np.zeros((60, 4))
    x[:, 2] = np.arange(60)
    samples = collect([Table("t", x, np.arange(60.0))], ["a", "b", "c", "d"], "y", REGRESSION)

    model = train("trainrandomforest", samples, REGRESSION, {"number_of_trees": 400, "variables_per_split": drawn})

    lonely = np.mean([shape.right.size == 1 for shape in forest_shapes(model)])
    assert lonely == pytest.approx(share, abs=0.08 if share else 0)  # three standard deviations
