"""Cascade k-means: every case of Weka, the Calinski–Harabasz value by hand, poor tables, cancel."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from oracle_tables import oracle_case
from rasterml.engine.cascade_kmeans import calinski_harabasz, cascade, fit_cascade_kmeans
from rasterml.engine.errors import Canceled, SettingError, TableError
from rasterml.engine.java_random import JavaRandom
from rasterml.engine.kmeans import ScaledRows, fit_kmeans
from rasterml.engine.kmeans_starts import EUCLIDEAN, MANHATTAN, RANDOM
from rasterml.engine.learners import BY_ID, CLUSTERING
from rasterml.engine.prediction import predict_rows
from rasterml.engine.progress import Progress
from rasterml.engine.scaling import MinMax
from rasterml.engine.training import Table, collect, train
from test_kmeans import Listening, equals, nearest, samples_of, table_rows

CASES = ("cascade_iris_2_10", "cascade_sat_2_6_manhattan", "cascade_sat_2_8_pp", "cascade_tiny_square_2_4")
UNEQUAL: dict[str, str] = {}  # case -> why it is not Weka's result; none
THREE_HEAPS = [[0, 0], [0, 1], [1, 0], [20, 0], [20, 1], [21, 0], [0, 30], [1, 30], [0, 31]]


def fitted(rows, progress=None, **settings):
    settings = BY_ID["traincascadekmeans"].checked(settings)
    return fit_cascade_kmeans(
        samples_of(np.array(rows, dtype=float)), CLUSTERING, 1, progress or Progress(), **settings
    )


def case_settings(options: str) -> dict:
    """Translate the bean properties."""
    words = dict(word.split("=") for word in options.split())
    return {
        "min_clusters": int(words["MinNumClusters"]),
        "max_clusters": int(words["MaxNumClusters"]),
        "restarts": int(words["Restarts"]),
        "init": words.get("InitializeUsingKMeansPlusPlusMethod") == "true",
        "distance_function": MANHATTAN if "Manhattan" in options else EUCLIDEAN,
        "seed": int(words["Seed"]),
    }


@pytest.mark.parametrize("name", CASES)
def test_a_case_is_wekas(shared, name, request):
    if name in UNEQUAL:
        request.applymarker(pytest.mark.xfail(reason=UNEQUAL[name], strict=True))
    case = oracle_case(shared, "weka", name)
    rows, settings = table_rows(shared, case["train"], case), case_settings(case["options"])

    fit = fitted(rows, **settings)

    assert fit.clusters == case["best_k"]
    assert fit.statistics["bestSeed"] == case["best_seed"]
    assert fit.arrays["centres"] == equals(case["centroids"])
    assert fit.predicted.tolist() == case["train_assignments"]
    assert fit.statistics["clusterSizes"] == case["sizes"]
    assert fit.statistics["iterations"] == case["iterations"]
    sums = [fit.statistics.get(f"withinClusterSumOf{kind}") for kind in ("Squares", "Distances")]
    assert sums[settings["distance_function"] == MANHATTAN] == equals(case["within_cluster_error"])
    printed = [float(number) for number in re.findall(r"[\d.]+", case["mean_ch"])]
    assert fit.statistics["calinskiHarabasz"] == pytest.approx(printed, abs=0.005)
    assert fit.statistics["clusterCounts"] == list(range(settings["min_clusters"], settings["max_clusters"] + 1))
    if case["test"]:
        test = table_rows(shared, case["test"], case)
        found = nearest(test, fit.arrays["centres"], MinMax.of(rows), settings["distance_function"])
        assert found.tolist() == case["test_assignments"]


def test_no_case_of_weka_is_left_out(shared):
    assert {path.stem for path in (shared / "oracle" / "weka").glob("cascade_*.json")} == set(CASES)


def judged(rows, start, distance=EUCLIDEAN):
    rows = np.array(rows, dtype=float)
    scaled = ScaledRows(rows, MinMax.of(rows), distance, 1, Progress())
    return calinski_harabasz(scaled, scaled.clusters(np.array(start, dtype=float), 500, Progress()))


def test_the_value_is_that_of_a_hand_calculation():
    # Scaled rows 0, 0.1, 0.9, 1; mean 0.5, centres 0.05 and 0.95: B = 4 · 0.45², W = 4 · 0.05².
    assert judged([[0], [1], [9], [10]], [[0], [10]]) == pytest.approx((4 * 0.2025 / 1) / (4 * 0.0025 / 2))


def test_manhattan_values_have_plain_distances_of_medians_to_the_mean():
    # Scaled rows 0, 0, 0.3 and 1; medians 0 and 1, mean 0.325: B = 3 · 0.325 + 0.675, W = 0.3.
    expected = ((3 * 0.325 + 0.675) / 1) / (0.3 / 2)

    assert judged([[0], [0], [3], [10]], [[0], [10]], MANHATTAN) == pytest.approx(expected)


def test_one_cluster_and_as_many_as_rows_have_no_value_and_equal_rows_an_infinite_one():
    assert math.isnan(judged([[0], [1]], [[0]]))
    assert math.isnan(judged([[0], [1]], [[0], [1]]))
    assert judged([[0], [0], [1]], [[0], [1]]) == math.inf


def test_seeds_come_restart_by_restart_and_count_by_count():
    rows = np.random.default_rng(1).normal(size=(80, 3))
    random = JavaRandom(7)
    seeds = [[random.next_int() for _ in (2, 3)] for _ in range(3)]
    scaled = ScaledRows(rows, MinMax.of(rows), EUCLIDEAN, 1, Progress())

    result = cascade(scaled, [2, 3], 3, RANDOM, 500, 7, Progress())

    assert result.seed in {row[result.counts.index(len(result.clusters.centres))] for row in seeds}
    plain = BY_ID["trainkmeans"].checked({"n_clusters": len(result.clusters.centres), "seed": result.seed})
    fit = fit_kmeans(samples_of(rows), CLUSTERING, 1, Progress(), **plain)
    assert np.array_equal(fit.arrays["centres"], result.clusters.centres)


def test_the_number_of_heaps_is_found_within_the_range():
    assert fitted(THREE_HEAPS).clusters == 3
    assert fitted(np.random.default_rng(5).normal(size=(100, 3)), min_clusters=4, max_clusters=5).clusters in (4, 5)
    assert fitted(THREE_HEAPS, min_clusters=2, max_clusters=2).statistics["clusterCounts"] == [2]


def test_a_run_that_lost_a_cluster_is_judged_by_those_it_has_and_named():
    progress = Listening()
    fit = fitted(THREE_HEAPS, progress, min_clusters=4, max_clusters=4, restarts=20)

    assert fit.clusters == 3
    assert progress.warnings[-1].startswith("MIN_CLUSTERS is 4, but in the best run only 3 clusters kept a sample")


def test_settings_are_used():
    rows = np.random.default_rng(5).normal(size=(100, 3))
    plain = fitted(rows, max_clusters=4, restarts=2).statistics

    for name, value in {
        "restarts": 3,
        "init": True,
        "distance_function": MANHATTAN,
        "max_iterations": 1,
        "seed": 11,
    }.items():
        other = fitted(rows, **{"max_clusters": 4, "restarts": 2, name: value}).statistics
        assert other["calinskiHarabasz"] != plain["calinskiHarabasz"], name
    assert fitted(rows, max_clusters=4, restarts=2, manual=True).statistics == plain


def test_a_range_without_numbers_is_a_sentence():
    with pytest.raises(SettingError, match="MIN_CLUSTERS is 5 and MAX_CLUSTERS 4"):
        fitted(THREE_HEAPS, min_clusters=5, max_clusters=4)


@pytest.mark.parametrize("rows", [[[1, 2]], [[1, 2]] * 4, [[0, 0], [1, 1]]], ids=["one row", "equal rows", "two rows"])
def test_tables_that_no_number_suits_keep_the_first_run_with_a_warning(rows):
    progress = Listening()
    fit = fitted(rows, progress, max_clusters=3, restarts=2)

    assert fit.clusters == len(np.unique(rows, axis=0))
    assert "can be judged" in progress.warnings[-1]


def test_plus_plus_refuses_more_clusters_than_different_rows():
    with pytest.raises(TableError, match="3 clusters were asked for, but the samples have only 2 different rows"):
        fitted([[0, 1], [0, 1], [3, 2]], init=True)


def test_a_model_predicts_its_training_rows_as_the_fit_did():
    rows = np.array(THREE_HEAPS, dtype=float)
    samples = collect([Table("t", rows, None)], ["b0", "b1"], "", CLUSTERING)
    model = train("traincascadekmeans", samples, CLUSTERING, {"distance_function": MANHATTAN})

    assert predict_rows(model, samples.features).tolist() == [
        fitted(rows, distance_function=MANHATTAN).predicted.tolist()
    ]


def test_cancel_stops_the_cascade_wherever_it_is():
    rows = np.random.default_rng(3).normal(size=(300, 3))
    counting = Listening(10**9)
    fitted(rows, counting, max_clusters=3, restarts=2)
    asked = 10**9 - counting.calls

    for calls in {0, 3, asked // 2, asked - 1}:
        with pytest.raises(Canceled):
            fitted(rows, Listening(calls), max_clusters=3, restarts=2)


def test_progress_goes_forward():
    class Shares(Progress):
        shares: list = []

        def share(self, share):
            self.shares.append(share)

    fitted(THREE_HEAPS, Shares(), max_clusters=4, restarts=2)

    assert Shares.shares == sorted(Shares.shares)
    assert all(0 <= share <= 1 for share in Shares.shares)
