"""K-means: every case of Weka, starts and iterations by hand, the quick screen, poor tables, bits, cancel, memory."""

from __future__ import annotations

import csv
import sys
import threading

import numpy as np
import pytest
from oracle_tables import oracle_case
from rasterml.engine.errors import Canceled, ModelFileError, TableError
from rasterml.engine.kmeans import (
    DISTANCES,
    MIDDLE,
    NearestCentre,
    ScaledRows,
    _reach,
    _Screen,
    _shifted,
    fit_kmeans,
)
from rasterml.engine.kmeans_starts import (
    CANOPY,
    EUCLIDEAN,
    FARTHEST_FIRST,
    INITS,
    MANHATTAN,
    PLUS_PLUS,
    RANDOM,
    CanopySettings,
    canopy_start,
    farthest_first_start,
    start_centres,
)
from rasterml.engine.learners import BY_ID, CLUSTERING
from rasterml.engine.prediction import predict_rows
from rasterml.engine.progress import Progress
from rasterml.engine.scaling import MinMax
from rasterml.engine.training import Samples, Table, collect, train

CASES = (
    "kmeans_iris_k10_empty_kmeanspp_manhattan_s61",
    "kmeans_iris_k3_canopy_euclid_s10",
    "kmeans_iris_k3_farthest_euclid_s10",
    "kmeans_iris_k3_kmeanspp_euclid_s10",
    "kmeans_iris_k3_random_euclid_s10",
    "kmeans_iris_k3_random_noNormalise",
    "kmeans_iris_k5_empty_random_s72",
    "kmeans_iris_k8_empty_canopy_s1",
    "kmeans_sat36_k6_random_euclid_s42",
    "kmeans_sat_k5_canopy_eedefaults",
    "kmeans_sat_k5_canopyspeed_euclid",
    "kmeans_sat_k5_random_euclid_fast",
    "kmeans_sat_k5_random_euclid_maxiter3",
    "kmeans_sat_k6_canopy_manhattan_s0",
    "kmeans_sat_k6_displayStdDev",
    "kmeans_sat_k6_farthest_manhattan_s0",
    "kmeans_sat_k6_kmeanspp_manhattan_s0",
    "kmeans_sat_k6_random_manhattan_s0",
    "kmeans_tiny_dup_const_k2",
    "kmeans_tiny_dup_const_k3",
    "kmeans_tiny_dup_const_k3_canopy",
    "kmeans_tiny_dup_const_k3_farthest",
    "kmeans_tiny_dup_const_k3_kmeanspp",
    "kmeans_tiny_line_k2_manhattan_median",
    "kmeans_tiny_line_k3",
    "kmeans_tiny_square_k12",
    "kmeans_tiny_square_k2",
    "kmeans_tiny_square_k8",
)
STARTS = ("canopy_sat_n5_s1", "farthestfirst_sat_k6_s1")
UNEQUAL: dict[str, str] = {}  # case -> why it is not Weka's result; none
NO_SCALING = "kmeans_iris_k3_random_noNormalise"  # Weka's -D, which Earth Engine does not have


class Listening(Progress):
    def __init__(self, calls: float = float("inf")) -> None:
        self.warnings: list[str] = []
        self.calls = calls

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def is_canceled(self) -> bool:
        self.calls -= 1
        return self.calls < 0


def table_rows(shared, path: str, case: dict) -> np.ndarray:
    with (shared / "oracle" / path).open() as file:
        return np.array([[float(row[name]) for name in case["columns"]] for row in csv.DictReader(file)])


def case_settings(options: str) -> dict:
    """Translate Weka's command line."""
    words = options.split()

    def value(name, default):
        return type(default)(words[words.index(name) + 1]) if name in words else default

    return {
        "n_clusters": value("-N", 2),
        "init": INITS[value("-init", 0)],
        "canopies": "-C" in words,
        "max_candidates": value("-max-candidates", 100),
        "periodic_pruning": value("-periodic-pruning", 10_000),
        "min_density": value("-min-density", 2),
        "t1": value("-t1", -1.25),
        "t2": value("-t2", -1.0),
        "distance_function": MANHATTAN if "Manhattan" in options else EUCLIDEAN,
        "max_iterations": value("-I", 0) or None,
        "preserve_order": "-O" in words,
        "fast": "-fast" in words,
        "seed": value("-S", 10),
    }


def samples_of(rows) -> Samples:
    """Keep double precision, which Weka has, where `collect` would round."""
    features = np.array(rows)
    names = tuple(f"b{number}" for number in range(features.shape[1]))
    return Samples(features, np.zeros(len(features), dtype=np.int32), names, (), "")


def fitted(rows, progress=None, threads=1, **settings):
    settings = BY_ID["trainkmeans"].checked(settings)
    return fit_kmeans(samples_of(rows), CLUSTERING, threads, progress or Progress(), **settings)


def trained(rows, **settings):
    features = np.array(rows, dtype=float)
    names = [f"b{number}" for number in range(features.shape[1])]
    return train("trainkmeans", collect([Table("t", features, None)], names, "", CLUSTERING), CLUSTERING, settings)


def clusters_from(rows, start, distance=EUCLIDEAN, most_iterations=500, threads=1, progress=None):
    rows = np.array(rows, dtype=float)
    progress = progress or Progress()
    scaled = ScaledRows(rows, MinMax.of(rows), distance, threads, progress)
    return scaled.clusters(np.array(start, dtype=float), most_iterations, progress)


def nearest(rows, centres, scaling, distance=EUCLIDEAN):
    return NearestCentre(np.array(centres, dtype=float), scaling, distance).of(np.array(rows), lambda: None)


# Weka


def equals(expected):
    return pytest.approx(np.array(expected, dtype=float), rel=1e-9, abs=0)


@pytest.mark.parametrize("name", CASES)
def test_a_case_is_wekas(shared, name, request):
    if name in UNEQUAL:
        request.applymarker(pytest.mark.xfail(reason=UNEQUAL[name], strict=True))
    case = oracle_case(shared, "weka", name)
    settings = case_settings(case["options"])
    rows = table_rows(shared, case["train"], case)
    scaling = MinMax.of(rows)
    if name == NO_SCALING:
        scaling = MinMax(np.zeros(rows.shape[1]), np.ones(rows.shape[1]))
    canopy = CanopySettings(*(settings[key] for key in ("max_candidates", "periodic_pruning", "min_density", "t2")))
    distance, init = settings["distance_function"], settings["init"]
    arguments = (rows, settings["n_clusters"], init, distance, settings["seed"], scaling, Progress(), canopy)
    if "error" in case:  # Weka: "Can't normalize array. Sum is zero."
        with pytest.raises(TableError, match="only 2 different rows"):
            fit_kmeans(samples_of(rows), CLUSTERING, 1, Progress(), **settings)
        return

    start = start_centres(*arguments)
    assert start == equals(case["initial_centroids"])
    clusters = ScaledRows(rows, scaling, distance, 2, Progress()).clusters(
        start, settings["max_iterations"] or 500, Progress()
    )
    assert clusters.centres == equals(case["centroids"])
    assert clusters.sizes.tolist() == case["sizes"]
    assert clusters.iterations == case["iterations"]
    assert clusters.labels.tolist() == case["train_assignments"]
    if case["within_cluster_error"] is not None:
        assert clusters.errors.sum() == equals(case["within_cluster_error"])
        assert clusters.errors == equals(case["error_per_cluster"][: len(clusters.errors)])
    if case["test"]:
        test = table_rows(shared, case["test"], case)
        assert nearest(test, clusters.centres, scaling, distance).tolist() == case["test_assignments"]
    if name != NO_SCALING:
        fit = fit_kmeans(samples_of(rows), CLUSTERING, 1, Progress(), **settings)
        assert np.array_equal(fit.arrays["centres"], clusters.centres)
        assert fit.predicted.tolist() == case["train_assignments"]
        assert fit.clusters == case["n_clusters"]
        assert fit.statistics["clusterSizes"] == case["sizes"]


@pytest.mark.parametrize("name", STARTS)
def test_a_start_is_wekas_clusterer_of_that_name(shared, name):
    case = oracle_case(shared, "weka", name)
    rows = table_rows(shared, case["train"], case)
    scaling = MinMax.of(rows)
    if name.startswith("canopy"):
        start = canopy_start(rows, 5, 1, scaling, CanopySettings(), Progress())
    else:
        start = farthest_first_start(rows, 6, scaling, Progress(), seed=1)

    assert start == equals(case.get("canopies") or case["centroids"])
    assert nearest(rows, start, scaling).tolist() == case["train_assignments"]
    assert nearest(table_rows(shared, case["test"], case), start, scaling).tolist() == case["test_assignments"]


def test_no_case_of_weka_is_left_out(shared):
    names = {path.stem for path in (shared / "oracle" / "weka").glob("*.json")}

    assert {name for name in names if name.startswith(("kmeans_", "farthestfirst_", "canopy_"))} == {*CASES, *STARTS}


# Starts by hand

LINE = np.arange(10.0)[:, np.newaxis]


def start_of(rows, count, init, seed, distance=EUCLIDEAN, **canopy):
    rows = np.array(rows, dtype=float)
    return start_centres(
        rows, count, init, distance, seed, MinMax.of(rows), Progress(), CanopySettings(**canopy)
    ).tolist()


def test_random_rows_come_in_the_reverse_of_javas_shuffle():
    # Both swap from the end; the published shuffle of 0 … 19 with seed 1 ends 3, 16, 1, 18, 5.
    start = start_of(np.arange(20)[:, np.newaxis], 5, RANDOM, 1)

    assert start == [[5], [18], [1], [16], [3]]


def test_random_rows_differ():
    assert sorted(start_of([[1, 2], [1, 3]] * 6 + [[0, 0]], 7, RANDOM, 3)) == [[0, 0], [1, 2], [1, 3]]


def test_plus_plus_draws_by_distance():
    # Seed 42: nextInt(10) is 0, then nextDouble() is 234785527 / 2³² = 0.0547 to four digits.  Shares of the
    # distances 0 … 9 are n / 45, cumulated 0, 0.022, 0.067: the third row.
    assert start_of(LINE, 2, PLUS_PLUS, 42) == [[0], [2]]


def test_plus_plus_measures_with_the_distance_of_kmeans():
    # Seed -5: nextInt(10) is 1, a row at (0, 0), then nextDouble() is 1560933443 / 2³² = 0.3634.  The share of the
    # first row is 1 / (1 + √2) = 0.414 by Euclid and 1 / 3 by Manhattan.
    rows = [[1, 0], *[[0, 0]] * 8, [1, 1]]

    assert start_of(rows, 2, PLUS_PLUS, -5, EUCLIDEAN) == [[0, 0], [1, 0]]
    assert start_of(rows, 2, PLUS_PLUS, -5, MANHATTAN) == [[0, 0], [1, 1]]


def test_farthest_first_has_one_seed():
    # Seed 1: nextInt(10) is 5.  Farthest from 5 is 16, from both 0, then 8 is 3 away; of 2, 3 and 7 the first.
    rows = np.array([0.0, 1, 2, 3, 4, 5, 6, 7, 8, 16])[:, np.newaxis]
    for seed in (1, 10):
        assert start_of(rows, 5, FARTHEST_FIRST, seed) == [[5], [16], [0], [8], [2]]


def test_farthest_first_ends_with_equal_rows_and_with_the_table():
    # Seed 1: nextInt(3) is 1569548985 modulo 3, which is 0; the third row is the only one left.
    assert start_of([[4], [7], [7]], 5, FARTHEST_FIRST, 10) == [[4], [7], [7]]


PAIRS = [[0.0, 5], [0.1, 5], [4, 5], [4.1, 5], [10, 5], [9.9, 5]]  # scaled: 0.01 within a pair, at least 0.39 between


def test_canopies_are_means_of_rows_nearer_than_t2():
    assert sorted(start_of(PAIRS, 3, CANOPY, 10, radius=0.02)) == equals([[0.05, 5], [4.05, 5], [9.95, 5]])
    assert sorted(start_of(PAIRS, 2, CANOPY, 10, radius=0.45)) == equals([[2.05, 5], [9.95, 5]])


def test_the_usual_t2_comes_from_standard_deviations():
    # One predictor that varies: s² = (1 + 0 + 1) / 2, range 2, T2 = √(½ · 1 / 2) = ½, and 0.5 is not nearer than that.
    assert sorted(start_of([[0, 3], [1, 3], [2, 3]], 3, CANOPY, 10, density=1)) == [[0, 3], [1, 3], [2, 3]]
    # With the middle at 0.98 T2 is 0.50006, and 0.98 of 2 is 0.49 away.
    assert sorted(start_of([[0, 3], [0.98, 3], [2, 3]], 2, CANOPY, 10, density=1))[0] == equals([0.49, 3])


def test_of_too_many_canopies_the_largest_are_taken():
    rows = [[0.0], [4], [4.1], [10], [9.9], [9.8]]

    assert start_of(rows, 2, CANOPY, 10, radius=0.05, density=1) == equals([[9.9], [4.05]])


def test_thin_canopies_are_pruned_and_others_drawn_instead():
    rows = [[0.0], [0.1], [5], [10], [10.1]]

    dense = start_of(rows, 3, CANOPY, 10, radius=0.02, density=2)
    assert sorted(dense[:2]) == equals([[0.05], [10.05]])
    assert dense[2] in rows
    assert sorted(start_of(rows, 3, CANOPY, 10, radius=0.02, density=1)) == equals([[0.05], [5], [10.05]])


def test_a_radius_of_0_makes_a_canopy_of_every_row():
    rows = [*PAIRS, PAIRS[0]]

    assert sorted(start_of(rows, 7, CANOPY, 10, radius=0.0, density=1)) == sorted(rows)


def test_pruning_after_every_row_leaves_no_canopy_of_two():
    assert all(row in PAIRS for row in start_of(PAIRS, 3, CANOPY, 10, radius=0.02, pruning=1))


def test_a_full_list_of_canopies_takes_no_more():
    start = start_of(PAIRS, 3, CANOPY, 10, radius=0.02, candidates=1)

    assert [row in PAIRS for row in start] == [False, True, True]


# Iterations by hand

FOUR = [[0, 0], [0, 2], [10, 0], [10, 2]]


def test_means_sizes_and_error_are_those_of_a_hand_calculation():
    clusters = clusters_from(FOUR, [[10, 0], [0, 0]])

    assert clusters.centres.tolist() == [[10, 1], [0, 1]]
    assert clusters.labels.tolist() == [1, 1, 0, 0]
    assert clusters.sizes.tolist() == [2, 2]
    assert clusters.errors.tolist() == [0.5, 0.5]  # each row is half a range from its centre
    assert clusters.iterations == 2


def test_manhattan_has_medians_and_plain_distances():
    clusters = clusters_from([[0, 1], [1, 1], [5, 1], [90, 3], [100, 1]], [[0, 1], [100, 1]], MANHATTAN)

    assert clusters.centres.tolist() == [[1, 1], [95, 2]]
    assert clusters.errors.tolist() == pytest.approx([(1 + 4) / 100, 2 * (5 / 100 + 1 / 2)])


def test_units_do_not_matter():
    assert clusters_from([[0, 0], [9, 1000], [10, 0], [1, 1000]], [[0, 0], [9, 1000]]).labels.tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize("distance", DISTANCES)
def test_the_lower_number_wins_a_tie(distance):
    assert clusters_from([[0], [10], [5]], [[10], [0]], distance).labels.tolist() == [1, 0, 0]


def test_an_emptied_cluster_is_dropped_and_the_others_move_up():
    clusters = clusters_from([[0], [1], [10], [11]], [[40], [0], [11]])

    assert clusters.centres.tolist() == [[0.5], [10.5]]
    assert clusters.labels.tolist() == [0, 0, 1, 1]
    assert clusters.iterations == 3  # Weka compares the numbers before and after
    assert clusters_from([[0], [1], [10], [11]], [[40], [0], [11]], most_iterations=1).sizes.tolist() == [2, 2]


def test_after_the_last_iteration_allowed_rows_belong_to_the_moved_centres():
    # 0 | 1, 2, 9, 10: the centres move to 0 and 5.5, which leaves 1 and 2 to the first.
    clusters = clusters_from([[0], [1], [2], [9], [10]], [[0], [1]], most_iterations=1)

    assert clusters.centres.tolist() == [[0], [5.5]]
    assert clusters.sizes.tolist() == [1, 4]
    assert clusters.labels.tolist() == [0, 0, 0, 1, 1]
    assert clusters.errors.sum() == pytest.approx((0 + 1 + 4 + 12.25 + 20.25) / 100)


def test_chebyshev_is_the_largest_difference():
    rows = [[0, 0], [4, 4], [10, 10]]
    centres = [[0, 0], [8, 1]]

    # From (4, 4): 4 and 4, a tie; by Manhattan 8 and 7
    assert nearest(rows, centres, MinMax(np.zeros(2), np.full(2, 10.0)), "Chebyshev").tolist() == [0, 0, 1]
    assert nearest(rows, centres, MinMax(np.zeros(2), np.full(2, 10.0)), MANHATTAN).tolist() == [0, 1, 1]


def test_new_rows_are_scaled_by_the_training_range_without_clipping():
    scaling = MinMax.of(np.array([[0.0, 5], [10, 5]]))

    assert scaling.scaled(np.array([[20.0, 7], [-5, 5]])).tolist() == [[2, 0], [-0.5, 0]]


# The quick screen


@pytest.mark.parametrize("predictors", [1, 2, 10, 60])
@pytest.mark.parametrize("centres", [1, 2, 10, 150])
def test_the_screen_is_right_where_it_does_not_doubt(predictors, centres):
    generator = np.random.default_rng((predictors, centres))
    for rows in (
        generator.integers(0, 4, (9_000, predictors)).astype(float),  # many exact ties
        np.round(generator.normal(size=(9_000, predictors)), 3) * 1e-9 + 1e9,
        generator.lognormal(0, 4, (9_000, predictors)),
    ):
        scaling, start = MinMax.of(rows), rows[generator.choice(len(rows), centres)]
        nearest_centre = NearestCentre(start, scaling, EUCLIDEAN)
        expected = nearest_centre.of(rows, lambda: None)
        shifted = _shifted(rows, scaling, Progress())
        screen = _Screen(shifted, _reach(shifted), nearest_centre.centres - MIDDLE)

        found, doubtful = screen.nearest(slice(0, len(rows)), lambda: None)
        wrong = np.flatnonzero(found != expected)

        assert np.isin(wrong, doubtful).all()
        labels = np.zeros(len(rows), dtype=np.int64)
        ScaledRows(rows, scaling, EUCLIDEAN, 2, Progress())._assign(start, labels, Progress())
        assert np.array_equal(labels, expected)


def test_the_screen_doubts_few_rows():
    generator = np.random.default_rng(1)
    rows = generator.normal(size=(50_000, 10))
    scaling = MinMax.of(rows)
    shifted = _shifted(rows, scaling, Progress())
    screen = _Screen(shifted, _reach(shifted), scaling.scaled(rows[:10]) - MIDDLE)

    assert screen.nearest(slice(0, len(rows)), lambda: None)[1].size < 100


def test_the_sum_of_squares_is_scikit_learns():
    cluster = pytest.importorskip("sklearn.cluster")
    generator = np.random.default_rng(4)
    rows = (generator.normal(size=(5, 6)) * 3)[generator.integers(0, 5, 3000)] + generator.normal(size=(3000, 6))
    scaling = MinMax.of(rows)

    ours = clusters_from(rows, rows[:6])
    theirs = cluster.KMeans(6, init=scaling.scaled(rows[:6]), n_init=1, algorithm="lloyd", tol=0, max_iter=500)
    theirs.fit(scaling.scaled(rows))

    assert ours.errors.sum() == pytest.approx(theirs.inertia_, rel=1e-9)
    assert ours.labels.tolist() == theirs.labels_.tolist()


# Settings


def test_each_way_to_start_is_used():
    starts = {init: fitted(LINE, n_clusters=3, init=init, max_iterations=1).statistics["centres"] for init in INITS}

    for init, centres in starts.items():
        assert centres == clusters_from(LINE, start_of(LINE, 3, init, 10), most_iterations=1).centres.tolist()
    assert len({str(centres) for centres in starts.values()}) > 2


def test_canopy_settings_are_used():
    rows, canopy = [*PAIRS, [7, 5]], {"max_candidates": 2, "periodic_pruning": 4, "min_density": 1, "t2": 0.02}
    rows = np.array(rows)

    for key, name in zip(canopy, ("candidates", "pruning", "density", "radius")):
        start = start_of(rows, 4, CANOPY, 10, **{"radius": 0.02, name: canopy[key]})
        fit = fitted(rows, n_clusters=4, init=CANOPY, max_iterations=1, **{"t2": 0.02, key: canopy[key]})
        assert fit.statistics["centres"] == clusters_from(rows, start, most_iterations=1).centres.tolist(), key


def test_some_settings_of_weka_change_nothing():
    rows = np.random.default_rng(5).normal(size=(60, 3))
    plain = fitted(rows, n_clusters=4, init=CANOPY)
    other = fitted(rows, n_clusters=4, init=CANOPY, canopies=True, preserve_order=True, t1=3.0)

    assert other.statistics == plain.statistics


def test_fast_leaves_the_sum_out():
    plain, fast = fitted(FOUR, n_clusters=2), fitted(FOUR, n_clusters=2, fast=True)

    assert plain.statistics["withinClusterSumOfSquares"] == 1
    assert "withinClusterSumOfSquares" not in fast.statistics
    assert fast.statistics["centres"] == plain.statistics["centres"]


def test_manhattan_names_its_sum_otherwise():
    statistics = fitted(LINE, n_clusters=2, distance_function=MANHATTAN).statistics

    assert statistics["withinClusterSumOfDistances"] > 0
    assert "withinClusterSumOfSquares" not in statistics


def test_seed_and_iterations_are_used():
    rows = np.random.default_rng(5).normal(size=(200, 3))

    assert fitted(rows, n_clusters=4, seed=1).statistics != fitted(rows, n_clusters=4, seed=2).statistics
    assert fitted(rows, n_clusters=4, max_iterations=3).statistics["iterations"] == 3
    assert fitted(rows, n_clusters=4).statistics["iterations"] > 3


# Poor tables


def test_more_clusters_than_different_rows_gives_fewer_and_a_warning():
    progress = Listening()
    fit = fitted([[0, 1], [0, 1], [3, 2]], progress, n_clusters=5)

    assert sorted(fit.statistics["centres"]) == [[0, 1], [3, 2]]
    assert fit.clusters == 2
    assert progress.warnings == [
        "N_CLUSTERS is 5, but the samples have only 2 different rows to start from: ask for fewer clusters."
    ]


def test_plus_plus_refuses_more_clusters_than_different_rows():
    with pytest.raises(TableError, match="3 clusters were asked for, but the samples have only 2 different rows"):
        fitted([[0, 1], [0, 1], [3, 2]], n_clusters=3, init=PLUS_PLUS)


def test_equal_starts_end_as_one_cluster_with_a_warning():
    progress = Listening()
    fit = fitted([[0, 1], [0, 1], [3, 2]], progress, n_clusters=3, init=FARTHEST_FIRST)

    assert fit.clusters == 2
    assert "1 of 3 clusters lost all their samples" in progress.warnings[0]


def test_a_constant_predictor_is_named_and_tells_nothing():
    progress = Listening()
    model = trained([[0, 5], [1, 5], [9, 5], [10, 5]], n_clusters=2)
    fitted([[0, 5], [1, 5], [9, 5], [10, 5]], progress, n_clusters=2)

    assert progress.warnings == ["Predictor b1 is 5 in every sample: it tells no clusters apart, leave it out."]
    rows = np.array([[0, 5], [0, -1000], [0, 1e30]], dtype=np.float32)
    assert len(set(predict_rows(model, rows)[0].tolist())) == 1


@pytest.mark.parametrize("init", INITS)
@pytest.mark.parametrize("distance", [EUCLIDEAN, MANHATTAN])
def test_one_row_is_one_cluster(init, distance):
    fit = fitted([[3, 4]], n_clusters=1, init=init, distance_function=distance)

    assert fit.statistics["centres"] == [[3, 4]]
    assert fit.predicted.tolist() == [0]


@pytest.mark.parametrize("init", INITS)
def test_one_cluster_is_the_mean_after_one_iteration(init):
    statistics = fitted(FOUR, n_clusters=1, init=init).statistics

    assert (statistics["centres"], statistics["clusterSizes"], statistics["iterations"]) == ([[5, 1]], [4], 1)


# Models


def test_a_model_predicts_its_training_rows_as_the_fit_did():
    rows = np.random.default_rng(2).normal(size=(500, 3)).astype(np.float32)
    model = trained(rows, n_clusters=5, max_iterations=2)
    samples = Samples(rows, np.zeros(500, dtype=np.int32), ("b0", "b1", "b2"), (), "")
    fit = fit_kmeans(samples, CLUSTERING, 2, Progress(), **model.settings)

    assert predict_rows(model, rows).tolist() == [fit.predicted.tolist()]
    assert model.learner.load_predictor(model).bands(CLUSTERING) == ("cluster",)
    assert model.learner.load_predictor(model).gives_classes(CLUSTERING)


@pytest.mark.parametrize("distance", [EUCLIDEAN, MANHATTAN])
@pytest.mark.parametrize("clusters", [2, 41])
def test_a_row_has_the_same_cluster_in_any_company(distance, clusters):
    generator = np.random.default_rng(6)
    model = trained(generator.integers(0, 9, (400, 4)), n_clusters=clusters, distance_function=distance)
    rows = generator.integers(0, 9, (7001, 4)).astype(np.float32)

    whole = predict_rows(model, rows)

    for start, stop in ((0, 1), (3, 10), (511, 3722), (6990, 7001)):
        assert np.array_equal(predict_rows(model, rows[start:stop]), whole[:, start:stop])


@pytest.mark.parametrize("distance", [EUCLIDEAN, MANHATTAN])
def test_threads_change_no_bit(distance):
    rows = np.random.default_rng(6).normal(size=(150_000, 3)).astype(np.float32)
    one, two = (
        fitted(rows, threads=threads, n_clusters=7, max_iterations=4, distance_function=distance) for threads in (1, 2)
    )

    assert one.statistics == two.statistics
    assert np.array_equal(one.predicted, two.predicted)


DAMAGES = {
    "a centre without a number": ("centres", lambda array: np.where(array == array[0, 0], np.nan, array)),
    "no centre": ("centres", lambda array: array[:0]),
    "a centre alone": ("centres", lambda array: array[0]),
    "too few columns": ("centres", lambda array: array[:, :1]),
    "single precision": ("centres", lambda array: array.astype(np.float32)),
    "an infinite minimum": ("minimum", lambda array: array + np.inf),
    "a negative range": ("range", lambda array: -array),
    "a range too few": ("range", lambda array: array[:1]),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_arrays_that_prediction_could_leave_are_refused(damage):
    model = trained(FOUR, n_clusters=2)
    name, damaged = DAMAGES[damage]
    model.arrays[name] = damaged(model.arrays[name])

    with pytest.raises(ModelFileError):
        model.learner.check_model(model)


def test_missing_arrays_are_refused():
    model = trained(FOUR, n_clusters=2)
    del model.arrays["range"]

    with pytest.raises(ModelFileError, match="needs the arrays centres, minimum, range"):
        model.learner.check_model(model)


# Cancel, memory


@pytest.mark.parametrize("init", INITS)
@pytest.mark.parametrize("distance", [EUCLIDEAN, MANHATTAN])
def test_cancel_stops_the_fit_wherever_it_is(init, distance):
    rows = np.random.default_rng(3).normal(size=(2000, 3))
    settings = {"n_clusters": 4, "init": init, "distance_function": distance}
    counting = Listening(10**9)
    fitted(rows, counting, **settings)
    asked = 10**9 - counting.calls

    for calls in {0, 1, 2, asked // 2, asked - 1}:
        with pytest.raises(Canceled):
            fitted(rows, Listening(calls), **settings)
    assert threading.active_count() < 20


def test_cancel_stops_a_prediction():
    class Stopped(Exception):
        pass

    def check():
        raise Stopped

    model = trained(FOUR, n_clusters=2)
    with pytest.raises(Stopped):
        model.learner.load_predictor(model).predict(np.zeros((5, 2), dtype=np.float32), CLUSTERING, check)


@pytest.mark.parametrize("distance", [EUCLIDEAN, MANHATTAN])
def test_memory_grows_with_the_table_and_not_with_the_clusters(peak_memory, distance):
    rows = np.random.default_rng(3).normal(size=(200_000, 8)).astype(np.float32)

    peak = peak_memory(lambda: fitted(rows, n_clusters=60, max_iterations=2, distance_function=distance))

    assert peak < 5 * rows.nbytes  # rows × clusters would be 7.5 times the table, in double precision 15


def test_scipy_changes_no_bit(monkeypatch):
    rows = np.random.default_rng(8).normal(size=(5000, 4))
    with_scipy = train("trainkmeans", *kmeans_samples(rows))
    monkeypatch.setitem(sys.modules, "scipy.sparse", None)
    without = train("trainkmeans", *kmeans_samples(rows))

    assert with_scipy.arrays["centres"].tobytes() == without.arrays["centres"].tobytes()


def kmeans_samples(rows):
    names = [f"b{number}" for number in range(rows.shape[1])]
    return collect([Table("t", rows, None)], names, "", CLUSTERING), CLUSTERING, {"n_clusters": 5}
