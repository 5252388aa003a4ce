"""X-means: equal to Weka's XMeans, its criterion by hand, limits, empty clusters, poor samples."""

from __future__ import annotations

import math

import numpy as np
import pytest
from oracle_tables import oracle_case, oracle_rows
from rasterml.engine.errors import Canceled, SettingError
from rasterml.engine.kmeans import CHEBYSHEV, EUCLIDEAN, MANHATTAN, NearestCentre
from rasterml.engine.learners import CLUSTERING
from rasterml.engine.prediction import predict_rows
from rasterml.engine.progress import Progress
from rasterml.engine.scaling import MinMax
from rasterml.engine.training import Table, collect, train
from rasterml.engine.xmeans import Search, bayesian_criterion, x_means

CASES = (
    "xmeans_iris_2_8",
    "xmeans_sat_2_8",
    "xmeans_sat_2_8_cutoff05",
    "xmeans_sat_2_8_manhattan",
    "xmeans_sat_4_12_s7",
    "xmeans_tiny_square_2_4",
)
each_case = pytest.mark.parametrize("name", CASES)


class Listening(Progress):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def trained(features, progress=None, threads=1, **settings):
    names = [f"b{number}" for number in range(np.shape(features)[1])]
    samples = collect([Table("t", np.array(features, dtype=float), None)], names, "", CLUSTERING)
    return train("trainxmeans", samples, CLUSTERING, settings, threads, progress)


def search_of(case) -> Search:
    words = case["options"].split()
    value = dict(zip(words, words[1:]))
    counts = (int(value[option]) for option in ("-L", "-H", "-I", "-M", "-J"))
    distance = value["-D"].split(".")[-1].replace("Distance", "")
    return Search(*counts, float(value["-C"]), distance, int(value["-S"]))


def rows_of(shared, case, part):
    return oracle_rows(shared / "oracle" / case[part], case["columns"])[0]


def blobs(centres, rows=40, spread=0.3, seed=5):
    centres = np.array(centres, dtype=float)
    return (
        np.repeat(centres, rows, axis=0)
        + np.random.default_rng(seed).normal(size=(rows * len(centres), centres.shape[1])) * spread
    )


@each_case
def test_search_ends_bit_for_bit_as_wekas(name, shared):
    case = oracle_case(shared, "weka", name)
    rows, search = rows_of(shared, case, "train"), search_of(case)
    found = x_means(rows, MinMax.of(rows), search)

    assert len(found.centres) == case["n_clusters"]
    assert found.centres.tolist() == case["centroids"]
    assert found.labels.tolist() == case["train_assignments"]
    assert found.criterion == case["bic"]
    assert found.distortions.tolist() == case["mle"]
    assert found.iterations == case["iterations"]
    assert found.splits == case["num_splits"]
    assert found.performed == case["num_splits_done"]
    assert found.by_cutoff == case["num_splits_still_done"]
    if case["test"]:
        nearest = NearestCentre(found.centres, MinMax.of(rows), search.distance)
        assert nearest.of(rows_of(shared, case, "test"), Progress().check).tolist() == case["test_assignments"]


@each_case
def test_single_precision_samples_fall_into_wekas_clusters(name, shared):
    case = oracle_case(shared, "weka", name)
    rows, search = rows_of(shared, case, "train"), search_of(case)
    settings = {**vars(search), "distance_function": search.distance}
    del settings["distance"]
    model = trained(rows, **settings)

    assert predict_rows(model, rows.astype(np.float32))[0].tolist() == case["train_assignments"]
    assert model.training["statistics"]["bic"] == pytest.approx(case["bic"], rel=1e-5)


@each_case
def test_criterion_of_given_distortions_is_wekas(name, shared):
    case = oracle_case(shared, "weka", name)
    sizes = np.bincount(case["train_assignments"]).tolist()

    assert bayesian_criterion(sizes, case["mle"], len(case["columns"])) == pytest.approx(case["bic"], rel=1e-14)


def test_criterion_is_that_of_a_hand_calculation_with_wekas_whole_halves():
    # 3 rows of 1 predictor, Σ distance 4: σ² = 2; 3·1/2 is 1 in whole numbers; p = 0 + 1 + 1.
    expected = -1.5 * math.log(2 * math.pi) - 1 * math.log(2) - 1 + 3 * math.log(3) - 3 * math.log(3) - math.log(3)

    assert bayesian_criterion([3], [4.0], 1) == pytest.approx(expected)
    assert bayesian_criterion([3, 1], [0.0, 0.0], 2) == math.inf


def test_four_groups_are_found_from_two():
    rows = blobs([[0, 0], [0, 9], [9, 0], [9, 9]])
    model = trained(rows, max_iterations=5)
    clusters = predict_rows(model, rows.astype(np.float32))[0].reshape(4, -1)

    assert len(model.classes) == 4
    assert (clusters == clusters[:, :1]).all()
    assert np.unique(clusters[:, 0]).size == 4


def test_every_setting_counts():
    rows = blobs([[0, 0, 5], [0, 9, 1], [9, 0, 3], [9, 9, 0], [4, 4, 4]], spread=1.5)
    plain = trained(rows).training["statistics"]

    for other in (
        {"min_clusters": 4},
        {"max_clusters": 3},
        {"max_iterations": 1},
        {"max_k_means": 1},
        {"max_for_children": 1},
        {"distance_function": MANHATTAN},
        {"distance_function": CHEBYSHEV},
    ):
        assert trained(rows, **other).training["statistics"] != plain, other
    assert trained(rows, use_k_d=True).training["statistics"] == plain


def test_the_seed_counts_and_may_be_negative():
    rows = np.random.default_rng(3).random((200, 2))

    assert len({str(trained(rows, seed=seed).training["statistics"]["centres"]) for seed in (-3, -2, 10)}) > 1


def test_cutoff_factor_takes_the_most_promising_share_of_refused_splits(shared):
    rows = rows_of(shared, oracle_case(shared, "weka", "xmeans_sat_2_8_cutoff05"), "train")
    none, half, all_ = (
        x_means(rows, MinMax.of(rows), Search(cutoff_factor=factor)).by_cutoff for factor in (0, 0.5, 1)
    )

    assert (none, half, all_) == (0, 1, 3)


def test_cutoff_factor_takes_no_split_with_a_criterion_below_zero():
    # Halves {0, 3} and {6, 9}: 2 (2 ln 2 - ln 2 pi - ln 1/3 - 1/2) - 4 ln 4 - 5/2 ln 4 = -8.7.
    rows = np.array([[0.0], [3], [6], [9]])
    found = x_means(rows, MinMax.of(rows), Search(1, 8, 1, cutoff_factor=1))

    assert (len(found.centres), found.by_cutoff, found.performed) == (1, 1, 0)


def test_the_most_clusters_are_never_passed():
    rows = blobs([[0, 0], [0, 9], [9, 0], [9, 9]])

    for most in (2, 3, 4):
        assert len(trained(rows, max_clusters=most, max_iterations=9).classes) == most


def test_chebyshev_distance_is_the_greatest_scaled_difference():
    rows = np.array([[0, 0], [0, 10], [10, 0], [10, 10.0]])
    found = x_means(rows, MinMax.of(rows), Search(1, 1, distance=CHEBYSHEV))

    assert found.centres.tolist() == [[5, 5]]
    assert found.distortions.tolist() == [2]


def test_one_row_and_equal_rows_make_one_cluster_and_empty_ones_that_are_announced():
    for rows in ([[3, 4]], [[3, 4]] * 7):
        progress = Listening()
        model = trained(rows, progress)

        assert model.training["statistics"]["clusterSizes"] == [len(rows), 0]
        assert any(text.startswith("1 of 2 clusters have no samples, since equal rows") for text in progress.warnings)
        assert predict_rows(model, np.array([[3, 4]], dtype=np.float32))[0].tolist() == [0]


def test_more_clusters_than_rows_leave_clusters_empty():
    sizes = trained([[0, 0], [4, 1], [9, 9]], min_clusters=6).training["statistics"]["clusterSizes"]

    assert len(sizes) == 6
    assert sum(sizes) == 3


def test_a_constant_predictor_is_named_and_changes_nothing():
    progress = Listening()
    rows = blobs([[0, 0], [9, 9]])
    with_constant = np.column_stack([rows, np.full(len(rows), 7.0)])
    model = trained(with_constant, progress)

    assert progress.warnings == ["Predictor b2 is 7 in every sample: it tells no clusters apart, leave it out."]
    assert model.training["statistics"]["clusterSizes"] == [40, 40]


def test_fewer_most_clusters_than_clusters_to_start_with_are_refused():
    with pytest.raises(SettingError, match="MIN_CLUSTERS 5 is above MAX_CLUSTERS 4"):
        trained(blobs([[0, 0], [9, 9]]), min_clusters=5, max_clusters=4)


def test_threads_change_no_bit():
    rows = np.random.default_rng(2).normal(size=(140_000, 2))
    search = Search(max_k_means=3, max_for_children=2, max_iterations=1)
    one, three = (x_means(rows, MinMax.of(rows), search, threads) for threads in (1, 3))

    assert np.array_equal(one.centres, three.centres)
    assert one.criterion == three.criterion


def test_squares_of_distances_are_summed_for_the_report():
    # Scaled rows 0, 0.1, 0.9 and 1 around 0.05 and 0.95.
    statistics = trained([[0], [1], [9], [10]], max_clusters=2).training["statistics"]

    assert statistics["withinClusterSumOfSquares"] == pytest.approx(4 * 0.05**2)
    assert statistics["distortion"] == pytest.approx(4 * 0.05)
    assert sorted(statistics["centres"]) == [[0.5], [9.5]]


def test_cancel_stops_the_search():
    class Stop(Progress):
        def is_canceled(self) -> bool:
            return True

    rows = blobs([[0, 0], [9, 9]])
    with pytest.raises(Canceled):
        x_means(rows, MinMax.of(rows), Search(distance=EUCLIDEAN), 1, Stop())
