"""K nearest neighbours: Smile's own results, ties by hand, the same neighbours by every search."""

from __future__ import annotations

import numpy as np
import pytest
from oracle_tables import oracle_case, oracle_rows, oracle_samples
from rasterml.engine import knn
from rasterml.engine.classes import class_table
from rasterml.engine.errors import ModelFileError, SettingError
from rasterml.engine.explanation import explain
from rasterml.engine.knn import METRICS, KnnPredictor, largest_knn, metric_used
from rasterml.engine.learners import CLASSIFICATION, PROBABILITY
from rasterml.engine.models import Model
from rasterml.engine.prediction import predict_rows
from rasterml.engine.progress import Progress
from rasterml.engine.training import Table, collect, train
from small_models import defaults


class Listening(Progress):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def nothing() -> None:
    pass


@pytest.fixture(params=["tree", "all distances"])
def search(request, monkeypatch):
    """With scipy's tree, and without."""
    if request.param != "tree":
        monkeypatch.setattr(knn, "_tree", lambda points, metric: None)


def trained(rows, labels, progress=None, **settings):
    features = np.array(rows, dtype=float)
    names = [f"b{number}" for number in range(features.shape[1])]
    samples = collect([Table("t", features, np.array(labels, dtype=float))], names, "class", CLASSIFICATION)
    return train("trainknn", samples, CLASSIFICATION, settings, 1, progress)


def predicted(model, rows, mode=""):
    return predict_rows(model, np.array(rows, dtype=np.float32), mode)


ORACLE = {
    "knn_iris_k1": {"k": 1},
    "knn_iris_k4": {"k": 4},
    "knn_sat_k6": {"k": 6},
    "knn_tiny_square_k4": {"k": 4},
    "knn_sat36_k5_manhattan": {"k": 5, "metric": "MANHATTAN"},
    "knn_sat_k5_braycurtis": {"k": 5, "metric": "BRAYCURTIS"},
}


@pytest.mark.parametrize("name", ORACLE)
@pytest.mark.usefixtures("search")
def test_classes_and_shares_are_smiles(name, shared):
    case = oracle_case(shared, "smile", name)
    samples = oracle_samples(shared, case)
    settings = {**ORACLE[name], "search_method": "LINEAR_SEARCH"}
    model = train("trainknn", samples, CLASSIFICATION, settings, 1)
    test, _ = oracle_rows(shared / "oracle" / case["test"], case["columns"])
    expected = np.array(case["posteriori"])

    assert predicted(model, test)[0].tolist() == case["predictions"]
    # two classes: the share of the larger label
    shares = expected[:, 1] if expected.shape[1] == 2 else expected.max(axis=1)
    assert predicted(model, test, PROBABILITY)[0] == pytest.approx(shares, abs=1e-6)


def test_equally_near_samples_count_in_the_order_of_the_table():
    rows = [[2], [0], [0], [2], [9]]
    model = trained(rows, [7, 5, 300, 300, 0], k=1)
    three = trained(rows, [7, 5, 300, 300, 0], k=3)

    assert predicted(model, [[1], [0], [2]]).tolist() == [[7, 5, 7]]
    neighbours = KnnPredictor(three).neighbours(np.array([[1], [2]], dtype=np.float32), nothing)
    assert neighbours.tolist() == [[0, 1, 2], [0, 3, 1]]


def test_equal_votes_go_to_the_lowest_class():
    model = trained([[1], [2], [3], [4]], [300, 7, 0, 0], k=2)

    assert predicted(model, [[1.4], [2.4], [3.4]]).tolist() == [[7, 0, 0]]
    assert predicted(model, [[1.4], [3.4]], PROBABILITY).tolist() == [[0.5, 1]]


def test_probability_of_two_classes_is_the_share_of_the_larger_label():
    model = trained([[1], [2], [3], [4]], [7, 0, 0, 0], k=3)

    assert predicted(model, [[1.4], [3.4]], PROBABILITY).tolist() == [[np.float32(1 / 3), 0]]


@pytest.mark.parametrize(
    ("search_method", "predictors", "used"),
    [
        ("AUTO", 9, "EUCLIDEAN"),
        ("AUTO", 10, "MANHATTAN"),
        ("KD_TREE", 10, "EUCLIDEAN"),
        ("COVER_TREE", 2, "MANHATTAN"),
        ("LINEAR_SEARCH", 2, "MANHATTAN"),
    ],
)
def test_a_kd_tree_is_euclidean_whatever_is_asked_for(search_method, predictors, used):
    # (0, 0, …) is nearer to (2, 2, 0, …) than to (3, 0, …) by Euclid, farther by the sum of differences
    rows = np.zeros((2, predictors))
    rows[0, :2], rows[1, 0] = 2, 3
    progress = Listening()
    model = trained(rows, [0, 7], progress, search_method=search_method, metric="MANHATTAN")

    assert metric_used(search_method, "MANHATTAN", predictors) == used
    assert predicted(model, np.zeros((1, predictors))).tolist() == [[0 if used == "EUCLIDEAN" else 7]]
    assert ["METRIC MANHATTAN is ignored" in warning for warning in progress.warnings] == [True] * (used == "EUCLIDEAN")
    assert explain(model)["metricUsed"] == used


def cloud(rows, predictors=4, seed=1):
    """Whole numbers from 0 to 8: many rows are equal, and many distances."""
    return np.random.default_rng(seed).integers(0, 9, (rows, predictors)).astype(np.float32)


def brute_force(rows, samples, metric, k):
    """The neighbours from scipy's distances and a stable sort."""
    from scipy.spatial.distance import cdist

    names = {"EUCLIDEAN": "sqeuclidean", "MANHATTAN": "cityblock", "BRAYCURTIS": "braycurtis"}
    with np.errstate(invalid="ignore"):
        distances = np.nan_to_num(cdist(rows, samples, names[metric]), nan=0.0)
    return distances.argsort(axis=1, kind="stable")[:, :k]


@pytest.mark.usefixtures("search")
@pytest.mark.parametrize("metric", ["EUCLIDEAN", "MANHATTAN", "BRAYCURTIS"])
@pytest.mark.parametrize("k", [1, 4, 30])
def test_neighbours_are_those_of_a_stable_sort(metric, k):
    samples, rows = cloud(2000), cloud(300, seed=2)
    labels = np.arange(2000) % 3
    model = trained(samples, labels, k=k, search_method="COVER_TREE", metric=metric)

    expected = brute_force(rows, samples, metric, k)
    found = KnnPredictor(model).neighbours(rows, nothing)

    places = np.flatnonzero(knn._first_of_equal(samples, k))
    assert places[found].tolist() == expected.tolist()


def test_mahalanobis_is_that_of_all_samples():
    from scipy.spatial.distance import cdist

    generator = np.random.default_rng(3)
    samples = (generator.normal(size=(500, 3)) @ generator.normal(size=(3, 3))).astype(np.float32)
    rows = samples[:40] + np.float32(0.3)
    model = trained(samples, np.arange(500) % 2, k=7, search_method="COVER_TREE", metric="MAHALANOBIS")

    distances = cdist(rows, samples, "mahalanobis", VI=np.linalg.inv(np.cov(samples.T)))
    found = KnnPredictor(model).neighbours(rows, nothing)

    assert found.tolist() == distances.argsort(axis=1)[:, :7].tolist()


def test_a_constant_predictor_changes_no_mahalanobis_neighbour():
    samples, rows = cloud(300), cloud(50, seed=2)
    constant = [np.column_stack([table, np.full(len(table), 3)]).astype(np.float32) for table in (samples, rows)]
    settings = {"k": 5, "search_method": "LINEAR_SEARCH", "metric": "MAHALANOBIS"}
    labels = np.arange(300) % 3

    plain = KnnPredictor(trained(samples, labels, **settings)).neighbours(rows, nothing)
    more = KnnPredictor(trained(constant[0], labels, **settings)).neighbours(constant[1], nothing)

    assert np.array_equal(plain, more)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("predictors", [2, 12])
def test_the_tree_and_all_distances_give_the_same_bits(metric, predictors, monkeypatch):
    samples, rows = cloud(900, predictors), cloud(401, predictors, seed=2) + np.float32(0.1)
    model = trained(samples, np.arange(900) % 4, k=3, search_method="COVER_TREE", metric=metric)

    found = KnnPredictor(model).neighbours(rows, nothing)
    monkeypatch.setattr(knn, "_tree", lambda points, metric: None)

    assert np.array_equal(KnnPredictor(model).neighbours(rows, nothing), found)


@pytest.mark.parametrize("offset", [0, 1000])
@pytest.mark.parametrize("k", [1, 5])
def test_products_find_the_neighbours_that_element_wise_distances_do(k, offset, monkeypatch):
    monkeypatch.setattr(knn, "GROUPS", 40)
    generator = np.random.default_rng(4)
    samples = np.concatenate([cloud(1500, 3), generator.normal(4, 1, (200, 3))]).astype(np.float32) + np.float32(offset)
    rows = np.concatenate([cloud(300, 3, seed=2) + offset, samples[:200], [[3e38] * 3, [-1e20, 0, 1e20], [0] * 3]])
    model = trained(samples, np.arange(1700) % 3, k=k)
    monkeypatch.setattr(knn, "_tree", lambda points, metric: None)
    products, element_wise = KnnPredictor(model), KnnPredictor(model)
    element_wise.products = None

    assert products.products is not None
    assert np.array_equal(products.neighbours(rows, nothing), element_wise.neighbours(rows, nothing))


def test_distances_by_a_product_are_within_their_bounds():
    generator = np.random.default_rng(4)
    samples = generator.normal(1000, 5, (700, 12)).astype(np.float32)
    rows = generator.normal(1000, 50, (90, 12)).astype(np.float32)
    predictor = KnnPredictor(trained(samples, np.arange(700) % 3))

    distances, bounds = predictor.products.distances(rows.astype(np.float64))
    exact = np.square(rows[:, np.newaxis].astype(float) - samples).sum(axis=2)

    assert (np.abs(distances - exact) <= bounds[:, np.newaxis]).all()
    assert (bounds < 1e-3 * exact.max(axis=1)).all()


def test_samples_that_spread_in_many_directions_are_all_compared():
    generator = np.random.default_rng(4)
    round_cloud = generator.normal(size=(400, 12))
    flat_cloud = round_cloud * np.array([100, 50] + [1] * 10)

    assert KnnPredictor(trained(round_cloud, np.arange(400) % 2)).tree is None
    assert KnnPredictor(trained(flat_cloud, np.arange(400) % 2)).tree is not None


def test_of_equal_samples_the_model_keeps_as_many_as_there_are_neighbours():
    rows = [[5, 5]] * 6 + [[1, 2]] * 2
    model = trained(rows, [7, 0, 0, 0, 0, 0, 7, 7], k=3)

    assert model.arrays["sample"].tolist() == [[5, 5]] * 3 + [[1, 2]] * 2
    assert predicted(model, [[5, 5]]).tolist() == [[0]]
    assert predicted(trained(rows, [7, 0, 0, 0, 0, 0, 7, 7], k=1), [[5, 5]]).tolist() == [[7]]
    assert explain(model)["storedSamples"] == 5 and explain(model)["trainingRows"] == 8


def test_all_samples_equal_and_all_of_them_neighbours():
    model = trained([[1, 1]] * 5, [0, 7, 7, 7, 0], k=5)

    assert predicted(model, [[3, 4], [1, 1]]).tolist() == [[7, 7]]
    assert predicted(trained([[1, 1]] * 5, [0, 7, 7, 7, 0]), [[3, 4]]).tolist() == [[0]]


def test_opposite_and_zero_rows_have_a_bray_curtis_distance():
    # |x - y| / |x + y|: 0 for equal zero rows, infinite for opposite ones
    model = trained([[-1], [0], [8]], [0, 7, 9], search_method="LINEAR_SEARCH", metric="BRAYCURTIS")

    assert predicted(model, [[1], [0]]).tolist() == [[9, 7]]


def test_memory_stays_bounded_with_many_samples(peak_memory, monkeypatch):
    monkeypatch.setattr(knn, "_tree", lambda points, metric: None)
    generator = np.random.default_rng(1)
    arrays = {
        "sample": generator.normal(size=(20_000, 6)).astype(np.float32),
        "sample_class": (np.arange(20_000) % 5).astype(np.uint8),
    }
    names, settings = tuple("abcdef"), defaults("trainknn", k=9)
    predictor = KnnPredictor(Model("trainknn", CLASSIFICATION, settings, names, class_table(range(5)), "c", arrays))
    rows = generator.normal(size=(300, 6)).astype(np.float32)

    assert peak_memory(predictor.predict, rows, CLASSIFICATION, nothing) < 10 * 2**20  # all distances: 48 MB


@pytest.mark.usefixtures("search")
@pytest.mark.parametrize("metric", METRICS)
def test_a_row_has_the_same_neighbours_in_any_company(metric):
    generator = np.random.default_rng(6)
    samples = generator.normal(5, 1, (700, 5))
    model = trained(samples, np.arange(700) % 6, k=4, metric=metric, search_method="COVER_TREE")
    rows = generator.normal(5, 2, (1301, 5)).astype(np.float32)

    whole = predict_rows(model, rows, PROBABILITY)

    for start, stop in ((0, 1), (3, 10), (511, 1100), (1290, 1301)):
        assert np.array_equal(predict_rows(model, rows[start:stop], PROBABILITY), whole[:, start:stop])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"k": 6}, "K is 6, but there are only 5 samples"),
        ({"k": 0}, "K is 0: it must be at least 1"),
        ({"metric": "COSINE"}, "choose one of EUCLIDEAN, MAHALANOBIS"),
        ({"search_method": "BALL_TREE"}, "choose one of AUTO, LINEAR_SEARCH"),
    ],
)
def test_impossible_settings_are_a_sentence(settings, message):
    with pytest.raises(SettingError, match=message):
        trained([[1], [2], [3], [4], [5]], [0, 0, 7, 7, 7], **settings)


def test_no_model_is_larger_than_its_bound():
    settings = {"k": 2, "search_method": "LINEAR_SEARCH", "metric": "MAHALANOBIS"}
    model = trained(cloud(500), np.arange(500) % 300, **settings)

    size = sum(array.nbytes for array in model.arrays.values())
    assert size <= largest_knn(500, 4, 300, CLASSIFICATION, settings)


DAMAGES = {
    "a sample without a number": ("sample", lambda array: array * np.nan),
    "samples of double precision": ("sample", lambda array: array.astype(np.float64)),
    "too few predictors": ("sample", lambda array: array[:, :1]),
    "fewer samples than neighbours": ("sample", lambda array: array[:1]),
    "a class that is not there": ("sample_class", lambda array: array + np.uint8(2)),
    "a negative class": ("sample_class", lambda array: array.astype(np.int8) - 1),
    "samples without class": ("sample_class", lambda array: array[:2]),
    "a matrix of another size": ("whitening", lambda array: array[:1]),
    "a matrix without a number": ("whitening", lambda array: array * np.inf),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_arrays_that_prediction_could_leave_are_refused(damage):
    model = trained([[1, 2], [3, 3], [4, 1]], [0, 7, 7], k=2, search_method="LINEAR_SEARCH", metric="MAHALANOBIS")
    model.learner.check_model(model)
    name, damaged = DAMAGES[damage]
    with np.errstate(invalid="ignore"):
        model.arrays[name] = damaged(model.arrays[name])

    with pytest.raises(ModelFileError):
        model.learner.check_model(model)


def test_missing_arrays_are_refused():
    model = trained([[1, 2], [3, 3], [4, 1]], [0, 7, 7])
    del model.arrays["sample_class"]

    with pytest.raises(ModelFileError, match="need the arrays sample, sample_class"):
        model.learner.check_model(model)
