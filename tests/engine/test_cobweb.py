"""Cobweb: trees and clusters equal to Weka's, utility by hand, new rows, poor samples."""

from __future__ import annotations

import math

import numpy as np
import pytest
from oracle_tables import oracle_case, oracle_rows
from rasterml.engine.cobweb import assign
from rasterml.engine.cobweb_tree import as_text, children_of, grow, in_order, inverse_deviations
from rasterml.engine.errors import Canceled, ModelFileError
from rasterml.engine.learners import CLUSTERING
from rasterml.engine.models import load_model, save_model
from rasterml.engine.prediction import predict_rows
from rasterml.engine.progress import Progress
from rasterml.engine.training import Table, collect, train

CASES = (
    "cobweb_iris_a0.3_c0.002",
    "cobweb_iris_a0.3_c0.15",
    "cobweb_iris_a0.5_c0.3",
    "cobweb_iris_a1_c0.002",
    "cobweb_sat_a10_c0.002",
    "cobweb_sat_a1_c0.3",
    "cobweb_sat_a5_c0.02",
    "cobweb_tiny_line_a0.5_c0.1",
    "cobweb_tiny_square_a1_c0.002",
)
each_case = pytest.mark.parametrize("name", CASES)
SQUARES = [[0, 0], [0, 1], [1, 0], [1, 1], [10, 10], [10, 11], [11, 10], [11, 11]]


class Listening(Progress):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def trained(features, progress=None, **settings):
    names = [f"b{number}" for number in range(np.shape(features)[1])]
    samples = collect([Table("t", np.array(features, dtype=float), None)], names, "", CLUSTERING)
    return train("traincobweb", samples, CLUSTERING, settings, 1, progress)


def settings_of(case) -> dict:
    words = case["options"].split()
    value = dict(zip(words, words[1:]))
    return {"acuity": float(value["-A"]), "cutoff": float(value["-C"]), "seed": int(value["-S"])}


def rows_of(shared, case, part):
    return oracle_rows(shared / "oracle" / case[part], case["columns"])[0]


def nothing() -> None:
    pass


@each_case
def test_tree_and_clusters_are_wekas(name, shared):
    case = oracle_case(shared, "weka", name)
    rows, settings = rows_of(shared, case, "train"), settings_of(case)
    tree = grow(rows, **settings)

    assert as_text(tree) == case["text"]
    assert (tree.merges, tree.splits) == (case["num_merges"], case["num_splits"])
    assert len(tree.parent) == case["n_clusters"]
    assert assign(tree, rows, settings["acuity"], nothing).tolist() == case["train_assignments"]
    if case["test"]:
        test = rows_of(shared, case, "test")
        assert assign(tree, test, settings["acuity"], nothing).tolist() == case["test_assignments"]


@each_case
def test_samples_fall_into_wekas_clusters(name, shared):
    case = oracle_case(shared, "weka", name)
    rows = rows_of(shared, case, "train")
    model = trained(rows, **settings_of(case))

    assert model.training["statistics"]["nodes"] == case["n_clusters"]
    assert predict_rows(model, rows)[0].tolist() == case["train_assignments"]


def test_deviations_are_at_least_the_acuity_and_a_single_row_has_it():
    inverse = inverse_deviations(np.array([8.0, 0.5, 9.0, -1e-20]), np.array([3.0, 3.0, 1.0, 4.0]), 1.0)

    assert inverse * 2 * math.sqrt(math.pi) == pytest.approx([0.5, 1, 1, 1])


def test_sums_are_made_in_order():
    assert in_order(np.array([[1.0, 1e16, -1e16], [1e16, -1e16, 1.0]])).tolist() == [0, 1]
    assert in_order(np.zeros((2, 0))).tolist() == [0, 0]


def test_moments_of_the_nodes_are_those_of_their_rows():
    rows = np.random.default_rng(4).normal(size=(300, 3)) * [1, 5, 0.2]
    tree = grow(rows, 0.05, 0.1, 3)
    children = children_of(tree.parent)

    assert len(tree.parent) > 10
    assert tree.mean[0] == pytest.approx(rows.mean(axis=0))
    assert tree.spread[0] == pytest.approx(len(rows) * rows.var(axis=0))
    for node, below in enumerate(children):
        if below.size:
            assert tree.size[below].sum() == tree.size[node]
            mean = (tree.mean[below] * tree.size[below, None]).sum(axis=0) / tree.size[node]
            assert mean == pytest.approx(tree.mean[node])


def test_a_row_stays_at_a_node_where_a_child_of_its_own_is_worth_more():
    tree = grow(np.array(SQUARES, dtype=float), 1.0, 0.002, 42)  # two leaves, 1 around (10.5, 10.5)
    clusters = assign(tree, np.array([[10.4, 10.6], [0.2, 0.2], [-50.0, 70.0]]), 1.0, nothing)

    assert clusters.tolist() == [1, 2, 0]


def test_prediction_leaves_the_tree_as_it_is():
    model = trained(SQUARES)
    before = {name: array.copy() for name, array in model.arrays.items()}
    predict_rows(model, np.random.default_rng(0).normal(size=(500, 2)).astype(np.float32))

    assert all(np.array_equal(before[name], array) for name, array in model.arrays.items())


def test_every_setting_counts():
    rows = np.random.default_rng(8).normal(size=(150, 2)) * 3
    plain = trained(rows, cutoff=0.01).training["statistics"]["text"]

    for other in ({"acuity": 0.5}, {"cutoff": 0.1}, {"seed": 43}, {"seed": -5}):
        assert trained(rows, **{"cutoff": 0.01, **other}).training["statistics"]["text"] != plain, other


def test_statistics_are_those_of_a_hand_calculation():
    statistics = trained(SQUARES).training["statistics"]

    assert statistics["clusterSizes"] == [0, 4, 4]
    assert statistics["centres"] == [pytest.approx([5.5, 5.5]), pytest.approx([10.5, 10.5]), pytest.approx([0.5, 0.5])]
    assert (statistics["nodes"], statistics["merges"], statistics["splits"]) == (3, 0, 0)


@pytest.mark.parametrize("rows", [[[3, 4]], [[3, 4]] * 9, [[0.1, 0.3], [0.2, 0.1], [0.9, 0.8]]])
def test_one_row_equal_rows_and_an_acuity_beyond_the_spread_give_one_cluster_and_a_way_out(rows):
    progress = Listening()
    model = trained(rows, progress)

    assert len(model.classes) == 1
    assert predict_rows(model, np.array(rows, dtype=np.float32))[0].tolist() == [0] * len(rows)
    assert progress.warnings == [
        "Cobweb found one cluster only: give an ACUITY (now 1) well below the spread of the predictors, in their "
        "units, or a smaller CUTOFF (now 0.002)."
    ]


def test_a_constant_predictor_changes_no_cluster():
    rows = np.column_stack([SQUARES, np.full(8, 7)])

    assert trained(rows).training["statistics"]["clusterSizes"] == [0, 4, 4]


def test_nodes_with_very_many_rows_are_joined_by_formula_with_the_same_groups(monkeypatch):
    centres = np.array([[0, 0], [0, 20], [20, 0]])
    rows = np.repeat(centres, 60, axis=0) + np.random.default_rng(6).normal(size=(180, 2))
    exact = grow(rows, 2.0, 0.02, 1)
    monkeypatch.setattr("rasterml.engine.cobweb_tree.RETOLD_ROWS", 0)
    formula = grow(rows, 2.0, 0.02, 1)

    assert sorted(exact.size) == sorted(formula.size) == [60, 60, 60, 180]


def test_cancel_stops_the_growth():
    class Stop(Progress):
        def is_canceled(self) -> bool:
            return True

    with pytest.raises(Canceled):
        grow(np.random.default_rng(0).normal(size=(200, 2)), 0.1, 0.01, 1, Stop())


@pytest.mark.parametrize(
    ("name", "array", "reason"),
    [
        ("parent", np.array([0, 0, 0], dtype=np.int32), "no root"),
        ("parent", np.array([-1, 2, 0], dtype=np.int32), "before its parent"),
        ("parent", np.array([-1, -1, 0], dtype=np.int32), "before its parent"),
        ("mean", np.zeros((3, 5)), "do not fit"),
        ("spread", np.full((3, 2), np.inf), "not finite"),
        ("size", np.zeros(3), "no rows"),
        ("other", np.zeros(1), "needs the arrays"),
    ],
)
def test_unusable_arrays_are_refused(name, array, reason, tmp_path):
    model = trained(SQUARES)
    save_model(type(model)(**{**vars(model), "arrays": {**model.arrays, name: array}}), tmp_path / "m.rasterml")

    with pytest.raises(ModelFileError, match=reason):
        load_model(tmp_path / "m.rasterml")
