"""One tree on all samples: by hand, and against Smile's own trees (oracle/smile)."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from rasterml.engine.cart import largest_cart
from rasterml.engine.errors import Canceled, SettingError
from rasterml.engine.explanation import explain
from rasterml.engine.forest import smoothed
from rasterml.engine.learners import BY_ID, CLASSIFICATION, MULTIPROBABILITY, PROBABILITY, REGRESSION
from rasterml.engine.models import Model
from rasterml.engine.prediction import predict_rows
from rasterml.engine.progress import Progress
from rasterml.engine.scan_order import scan_order
from rasterml.engine.scanned_growing import grow_scanned
from rasterml.engine.training import Table, collect, train
from rasterml.engine.trees import node_sums
from small_models import make_samples

LINE = [[0.0], [1.0], [2.0], [3.0], [4.0], [5.0], [6.0], [7.0]]


def grown(features, labels, mode: str = CLASSIFICATION, names=None, **settings) -> Model:
    features = np.array(features, dtype=float)
    names = names or [f"x{column}" for column in range(features.shape[1])]
    return train("traincart", collect([Table("t", features, np.array(labels))], names, "class", mode), mode, settings)


def thresholds(model: Model) -> list[float]:
    return model.arrays["threshold"][model.arrays["feature"] >= 0].tolist()


def test_it_has_earth_engines_defaults():
    assert BY_ID["traincart"].checked({}) == {"max_nodes": None, "min_leaf_population": 1}


def test_probabilities_are_add_one_smoothed():
    # split at 3.5: {3 × class 0, 1 × class 7} and {4 × class 7}; four samples a leaf allow no other split
    model = grown(LINE, [0, 0, 7, 0, 7, 7, 7, 7], min_leaf_population=4)

    assert thresholds(model) == [3.5]
    left, right = predict_rows(model, np.array([[0], [9]], np.float32), MULTIPROBABILITY).T
    assert left == pytest.approx([4 / 6, 2 / 6])
    assert right == pytest.approx([1 / 6, 5 / 6])
    assert predict_rows(model, np.array([[0]], np.float32), PROBABILITY)[0, 0] == pytest.approx(2 / 6)


def test_importance_is_the_gain_without_weights():
    # Gini: root 1 - (3² + 5²)/64 = 30/64; leaves 1 - (3² + 1²)/16 = 6/16 and 0, half of the samples each
    model = grown(LINE, [0, 0, 7, 0, 7, 7, 7, 7], min_leaf_population=4)

    assert model.training["importance"] == pytest.approx([30 / 64 - 3 / 16])


def test_leaf_limit_follows_the_unweighted_gain():
    # The root splits at 107.5 (Σ n·p² = 8 + 31.7; 0 | 1 gives 35.9, 2 | 3 gives 33.4).  Then {8 × 0, 8 × 1} gains
    # 1/2 and {36 × 2, 6 × 3} gains 0.245; times the samples these are 8 and 10.3, so scikit-learn's own order,
    # weighted by size, would split the large node.
    x = np.array([*range(16), *range(200, 242)], dtype=float)
    labels = np.array([*[0] * 8, *[1] * 8, *[2] * 36, *[3] * 6])
    model = grown(x[:, None], labels, max_nodes=3)

    assert sorted(thresholds(model)) == [7.5, 107.5]


def test_sister_leaves_of_one_class_are_merged():
    # 0 0 0 1 0 … : a limit of three leaves keeps splits whose leaves say the same
    model = grown(LINE, [0, 0, 0, 7, 0, 0, 0, 0], max_nodes=2)

    assert thresholds(model) == []
    assert model.training["importance"][0] > 0  # the gain of the merged split stays


def test_regression_leaf_is_the_mean_of_at_least_two():
    model = grown(LINE, [1.0, 2.0, 1.5, 2.5, -8, -9, -10, -11], REGRESSION, min_leaf_population=1)

    assert predict_rows(model, np.array(LINE, np.float32))[0].tolist() == [1.5, 1.5, 2, 2, -8.5, -8.5, -10.5, -10.5]


def test_of_equally_good_predictors_a_regression_takes_the_first():
    twins = np.repeat(LINE, 3, axis=1)
    model = grown(twins, [1.0, 2.0, 1.5, 2.5, -8, -9, -10, -11], REGRESSION)

    assert set(model.arrays["feature"].tolist()) == {-1, 0}


def test_equal_targets_take_leaves_of_a_limited_regression():
    # Scores are Σ n·mean², so that eight 9s score more than what tells 1 from 2 (reference 2.10: 1.5.3)
    x = np.arange(12.0).reshape(-1, 1)
    targets = [1.0, 1, 2, 2] + [9.0] * 8

    free, limited = grown(x, targets, REGRESSION), grown(x, targets, REGRESSION, max_nodes=3)

    assert sorted(thresholds(free)) == [1.5, 3.5]
    assert sorted(thresholds(limited)) == [3.5, 5.5]


def test_regression_offers_no_probabilities():
    with pytest.raises(SettingError, match=r"smileCart\): choose one of REGRESSION"):
        grown(LINE, list(range(8)), REGRESSION).output_mode(PROBABILITY)


def test_rows_that_nothing_tells_apart_are_one_leaf():
    model = grown([[3.0, 1.0]] * 5, [2, 2, 5, 5, 5])

    assert predict_rows(model, np.array([[0, 0]], np.float32))[0].tolist() == [5]
    assert (
        explain(model)["tree"].splitlines()[3] == "1) root 5 2.4000 5 (0.0000 0.0000 0.42857 0.0000 0.0000 0.57143) *"
    )


def test_explanation_has_classes_importance_and_one_tree():
    explanation = explain(grown(LINE, [0, 0, 0, 0, 7, 7, 7, 7], names=["red"]))

    assert explanation["classes"] == [0, 7]
    assert explanation["importance"] == {"red": pytest.approx(0.5)}
    assert " 2) red<=3.50000 4 0.0000 0 (" in explanation["tree"]
    assert "trees" not in explanation


@pytest.mark.parametrize("mode", [CLASSIFICATION, REGRESSION])
@pytest.mark.parametrize("settings", [{}, {"max_nodes": 5}, {"min_leaf_population": 20}])
def test_no_tree_is_larger_than_its_bound(mode, settings):
    model = train("traincart", make_samples(mode), mode, settings)

    bound = largest_cart(240, 3, len(model.classes), mode, BY_ID["traincart"].checked(settings))

    assert sum(array.nbytes for array in model.arrays.values()) <= bound + 8 * 3


# Smile 1.5.3 (v153) is Earth Engine's generation; oracle/smile/README.md tells of the others.
SETTINGS = {"nodeSize": "min_leaf_population", "maxNodes": "max_nodes"}


def oracle(shared, name: str):
    """Return the case, our model, and the features and truth of its test rows."""
    case = json.loads((shared / "oracle" / "smile" / f"{name}.json").read_text())
    mode = REGRESSION if "regression" in case["algorithm"] else CLASSIFICATION
    given = dict(part.split("=") for part in case["params"].split())
    settings = {SETTINGS[key]: int(value) for key, value in given.items()}
    features, labels = read(shared / "oracle" / case["train"], case)
    test, truth = read(shared / "oracle" / case["test"], case)
    model = grown(features, labels, mode, case["columns"], **settings)
    return case, model, test.astype(np.float32), truth


def read(path, case):
    with path.open() as file:
        rows = list(csv.DictReader(file))
    features = np.array([[float(row[name]) for name in case["columns"]] for row in rows])
    return features, np.array([float(row[case["target"]]) for row in rows])


# The 3.1.1 files in which both generations grow the same tree; a node's empty-handed predictor is tried again only by
# 1.5.3, which changes 12 of the 300 predictions of cart_sat_default.
EQUAL = [
    "v153_cart_iris_default",
    "v153_cart_iris_nodesize5",
    "v153_cart_sat_maxnodes10",
    "v153_cart_tiny_dup_const",
    "v153_cart_tiny_line",
    "cart_iris_default",
    "cart_iris_maxnodes3",
    "cart_iris_nodesize5",
    "cart_sat36_nodesize10",
    "cart_sat_maxnodes10",
    "cart_tiny_dup_const",
    "cart_tiny_line",
    "cart_tiny_square",
]
UNMERGED = ("v153_cart_iris_nodesize5", "v153_cart_tiny_dup_const")  # docs/differences.md: sisters; a lonely root


@pytest.mark.parametrize("name", EQUAL)
def test_classes_and_probabilities_are_smiles_ties_included(name, shared):
    case, model, test, _ = oracle(shared, name)

    assert predict_rows(model, test)[0].tolist() == case["predictions"]
    if name not in UNMERGED:
        probabilities = predict_rows(model, test, MULTIPROBABILITY).T
        assert probabilities == pytest.approx(np.array(case["posteriori"]), abs=1e-6)


def test_the_released_1_5_3_gives_the_leaves_before_merging(shared):
    # Its own print of the tree shows three sisters of class 2: this release merges nothing (docs/differences.md).
    case, model, test, _ = oracle(shared, "v153_cart_iris_nodesize5")
    features, labels = read(shared / "oracle" / case["train"], case)
    labels = labels.astype(int)

    shape, leaf_of_row = grow_scanned(features.astype(np.float32), labels, 3, 5, lambda: None)

    counts = np.bincount(leaf_of_row * 3 + labels, minlength=shape.right.size * 3).reshape(-1, 3)
    leaf = np.array([_leaf(shape, row) for row in test])
    assert smoothed(counts)[leaf] == pytest.approx(np.array(case["posteriori"]), abs=1e-6)
    assert case["dot"].count("<class = 2>") == 4
    assert shape.leaves.size == 6
    assert (model.arrays["feature"] < 0).sum() == 4


def _leaf(shape, row) -> int:
    node = 0
    while shape.right[node]:
        node = node + 1 if row[shape.feature[node]] <= shape.threshold[node] else shape.right[node]
    return node


@pytest.mark.parametrize("name", [name for name in EQUAL if name.startswith("v153")])
def test_importance_is_smiles(name, shared):
    case, model, _, _ = oracle(shared, name)

    assert model.training["importance"] == pytest.approx(case["importance"], rel=1e-6, abs=1e-9)


def test_generations_agree_as_far_as_the_reference_says(shared):
    case, model, test, _ = oracle(shared, "cart_sat_default")

    assert (predict_rows(model, test)[0] == np.array(case["predictions"])).sum() == 288  # of 300
    assert model.arrays["feature"].size == 199  # nodes, where 3.1.1 has 167


@pytest.mark.parametrize("name", ["v153_cartreg_meuse_nodesize5", "cartreg_meuse_nodesize5"])
def test_regression_tree_is_smiles(name, shared):
    case, model, test, _ = oracle(shared, name)

    assert predict_rows(model, test)[0] == pytest.approx(case["predictions"], rel=1e-6)
    if name.startswith("v153"):  # 3.1.1 subtracts the node's own term
        assert model.training["importance"] == pytest.approx(case["importance"], rel=1e-6)


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_without_ties_the_largest_splits_are_scikit_learns(classes):
    tree = pytest.importorskip("sklearn.tree")
    generator = np.random.default_rng(classes)
    labels = generator.integers(0, classes, 3000)
    features = (generator.normal(size=(classes, 4))[labels] + generator.normal(size=(3000, 4))).astype(np.float32)

    shape, leaf_of_row = grow_scanned(features, labels, classes, 1, lambda: None)

    # Small nodes split equally well by several predictors; nodes of 300 samples do not.
    theirs = tree.DecisionTreeClassifier().fit(features, labels).tree_
    sizes = node_sums(shape.right, np.bincount(leaf_of_row, minlength=shape.right.size)[shape.leaves])
    large = np.flatnonzero((sizes >= 300) & (shape.feature >= 0))
    their_large = np.flatnonzero((theirs.n_node_samples >= 300) & (theirs.feature >= 0))
    assert large.size > 5
    assert np.array_equal(shape.feature[large], theirs.feature[their_large])
    assert shape.threshold[large] == pytest.approx(theirs.threshold[their_large])


def test_growing_stops_at_once_when_canceled():
    class Impatient(Progress):
        def is_canceled(self) -> bool:
            return True

    with pytest.raises(Canceled):
        train("traincart", make_samples(), CLASSIFICATION, {}, 1, Impatient())


@pytest.mark.parametrize(
    "name", ["cart_iris_default", "cart_sat36_nodesize10", "cart_tiny_square", "cartreg_meuse_nodesize5"]
)
def test_columns_are_scanned_in_smiles_order(name, shared):
    case = json.loads((shared / "oracle" / "smile" / f"{name}.json").read_text())
    features, _ = read(shared / "oracle" / case["train"], case)

    for column, order in zip(features.T, case["sort_order"]):
        assert scan_order(column).tolist() == order


def test_scan_order_sorts_every_column():
    generator = np.random.default_rng(4)
    for rows in (1, 2, 7, 8, 9, 50, 333):
        for distinct in (1, 2, 5, 1000):
            values = generator.integers(0, distinct, rows).astype(np.float32)
            order = scan_order(values)
            assert sorted(order.tolist()) == list(range(rows))
            assert (np.diff(values[order]) >= 0).all()
