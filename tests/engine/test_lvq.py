"""Learning vector quantisation: equal to Weka's LVQ, vectors by hand, repeating epochs, poor samples."""

from __future__ import annotations

import numpy as np
import pytest
from oracle_tables import oracle_case, oracle_rows
from rasterml.engine.errors import Canceled, ModelFileError
from rasterml.engine.learners import BY_ID, CLUSTERING
from rasterml.engine.lvq import learn
from rasterml.engine.models import load_model, save_model
from rasterml.engine.prediction import predict_rows
from rasterml.engine.progress import Progress
from rasterml.engine.training import Table, collect, train

CASES = (
    "lvq_iris_k3_L0.1_norm",
    "lvq_iris_k3_L1_norm",
    "lvq_iris_k3_L1_raw",
    "lvq_sat_k7_L0.05_raw",
    "lvq_sat_k7_L0.5_norm_T1500",
    "lvq_tiny_dup_const_k3_L0.2_norm",
    "lvq_tiny_square_k2_L0.5_raw",
)
each_case = pytest.mark.parametrize("name", CASES)


class Listening(Progress):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def trained(features, progress=None, **settings):
    names = [f"b{number}" for number in range(np.shape(features)[1])]
    samples = collect([Table("t", np.array(features, dtype=float), None)], names, "", CLUSTERING)
    return train("trainlvq", samples, CLUSTERING, settings, 1, progress)


def settings_of(case) -> dict:
    words = case["options"].split()
    value = dict(zip(words, words[1:]))
    return {
        "num_clusters": int(value["-C"]),
        "learning_rate": float(value["-L"]),
        "epochs": int(value["-T"]),
        "normalize_input": "-I" in words,
    }


def rows_of(shared, case, part):
    return oracle_rows(shared / "oracle" / case[part], case["columns"])[0]


def step_by_step(rows, vectors, rate, epochs):
    """The definition, without looking for repeats; arrays of float64."""
    vectors = vectors.copy()
    for _ in range(epochs):
        for row in rows:
            winner = ((row - vectors) ** 2).sum(axis=1).argmin()
            vectors[winner] += rate * (row - vectors[winner])
    return vectors


@each_case
def test_vectors_and_clusters_are_wekas(name, shared):
    case = oracle_case(shared, "weka", name)
    settings = settings_of(case)
    rows = rows_of(shared, case, "train")
    normalised = not settings["normalize_input"]
    book = learn(rows, settings["num_clusters"], settings["learning_rate"], settings["epochs"], normalised)

    assert book.centres == pytest.approx(np.array(case["weights"]), rel=1e-12)
    assert book.nearest(rows, Progress().check).tolist() == case["train_assignments"]
    if case["test"]:
        assert book.nearest(rows_of(shared, case, "test"), Progress().check).tolist() == case["test_assignments"]


@each_case
def test_single_precision_samples_fall_into_wekas_clusters(name, shared):
    case = oracle_case(shared, "weka", name)
    rows = rows_of(shared, case, "train")
    model = trained(rows, **settings_of(case))

    assert predict_rows(model, rows.astype(np.float32))[0].tolist() == case["train_assignments"]


def test_a_rate_of_a_half_goes_halfway_each_time():
    # One vector from 5: 0 -> 2.5, 10 -> 6.25; the end of an epoch v -> v/4 + 5 settles at 20/3, exactly within 54 bits.
    book = learn(np.array([[0.0], [10.0]]), 1, 0.5, 1000, False)

    assert book.centres == pytest.approx(np.array([[20 / 3]]), rel=1e-15)
    assert book.epochs < 100


@pytest.mark.parametrize("epochs", range(1000, 1008))
def test_leaving_repeated_epochs_out_gives_the_state_of_every_later_epoch(epochs, shared):
    case = oracle_case(shared, "weka", "lvq_sat_k7_L0.5_norm_T1500")  # its epochs repeat in threes
    rows = rows_of(shared, case, "train")[:60]
    book = learn(rows, 5, 0.5, epochs, True)

    expected = step_by_step(book.scaled(rows), np.zeros((5, 4)), 0.5, epochs)
    assert book.epochs < 200
    assert np.array_equal(book.vectors, expected)


def test_epochs_that_repeat_in_threes_differ_from_each_other(shared):
    rows = rows_of(shared, oracle_case(shared, "weka", "lvq_sat_k7_L0.5_norm_T1500"), "train")
    one, two, three, four = (learn(rows, 7, 0.5, epochs, True).vectors for epochs in range(1000, 1004))

    assert not np.array_equal(one, two)
    assert not np.array_equal(two, three)
    assert np.array_equal(one, four)


def test_fewer_epochs_than_wekas_least_are_announced_and_ignored():
    progress = Listening()
    rows = [[0, 0], [1, 5], [9, 9], [10, 4]]
    few, many = trained(rows, progress, num_clusters=2, epochs=3), trained(rows, num_clusters=2, epochs=1000)

    assert np.array_equal(few.arrays["vectors"], many.arrays["vectors"])
    assert progress.warnings == ["EPOCHS is 3, but Weka's LVQ runs no fewer than 1000: so many are run."]


def test_every_setting_counts():
    rows = np.random.default_rng(1).normal(size=(60, 2)) * [1, 100]
    plain = trained(rows, num_clusters=3, learning_rate=0.3)

    for other in ({"num_clusters": 4}, {"learning_rate": 0.2}, {"normalize_input": True}):
        model = trained(rows, **{"num_clusters": 3, "learning_rate": 0.3, **other})
        assert model.training["statistics"]["centres"] != plain.training["statistics"]["centres"], other


def test_a_constant_predictor_makes_all_rows_one_cluster_and_the_way_out_is_named():
    progress = Listening()
    rows = [[1, 7], [2, 7], [9, 7], [8, 7]]
    model = trained(rows, progress, num_clusters=2, learning_rate=0.5)

    assert predict_rows(model, np.array([[1, 7], [9, 7], [9, 8]], dtype=np.float32))[0].tolist() == [0, 0, 0]
    assert progress.warnings == [
        "Predictor b1 is 7 in every sample, so that it cannot be normalised and every row falls into cluster 0, as in "
        "Weka: leave it out, or set NORMALIZE_INPUT to true (which switches normalising off)."
    ]
    assert np.unique(predict_rows(trained(rows, num_clusters=2, normalize_input=True), np.array(rows, "f4"))).size == 2


def test_one_row_and_more_clusters_than_rows_leave_clusters_empty():
    progress = Listening()
    alone = trained([[3, 4]], num_clusters=3, normalize_input=True)
    few = trained([[0, 0], [0, 0], [8, 4]], progress, num_clusters=4)

    assert alone.training["statistics"]["centres"] == [[3, 4]] * 3
    assert alone.training["statistics"]["clusterSizes"] == [1, 0, 0]
    assert sum(few.training["statistics"]["clusterSizes"]) == 3
    assert progress.warnings == ["2 of 4 clusters have no samples: ask for fewer clusters."]


def test_statistics_are_those_of_a_hand_calculation():
    # Vectors jump onto the last row they won: 1 and 11 of 0, 1, 10, 11.
    model = trained([[0], [1], [10], [11]], num_clusters=2, normalize_input=True)
    statistics = model.training["statistics"]

    assert statistics["clusterSizes"] == [2, 2]
    assert statistics["centres"] == [[1], [11]]
    assert statistics["withinClusterSumOfSquares"] == 2


def test_cancel_stops_the_learning():
    class Stop(Progress):
        def is_canceled(self) -> bool:
            return True

    with pytest.raises(Canceled):
        learn(np.ones((5, 2)), 2, 0.5, 1000, False, Stop())


@pytest.mark.parametrize(
    ("name", "array", "reason"),
    [
        ("vectors", np.zeros((2, 3)), "do not fit its clusters and predictors"),
        ("vectors", np.full((2, 1), np.nan), "not finite"),
        ("minimum", np.zeros(2), "ranges do not fit"),
        ("range", np.array([-1.0]), "negative"),
        ("other", np.zeros(1), "needs the arrays"),
    ],
)
def test_unusable_arrays_are_refused(name, array, reason, tmp_path):
    model = trained([[0], [1], [10], [11]], num_clusters=2)
    arrays = {**model.arrays, name: array}
    save_model(type(model)(**{**vars(model), "arrays": arrays}), tmp_path / "m.rasterml")

    with pytest.raises(ModelFileError, match=reason):
        load_model(tmp_path / "m.rasterml")


def test_the_row_of_the_table_is_earth_engines():
    learner = BY_ID["trainlvq"]

    assert learner.checked({}) == {"num_clusters": 7, "learning_rate": 1, "epochs": 1000, "normalize_input": False}
