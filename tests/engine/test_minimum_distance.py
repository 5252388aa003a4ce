"""Minimum distance: four metrics by hand and against scipy, ties, poor classes, bits."""

from __future__ import annotations

import numpy as np
import pytest
from oracle_tables import oracle_rows
from rasterml.engine.errors import ModelFileError, SettingError, TableError
from rasterml.engine.explanation import explain
from rasterml.engine.learners import CLASSIFICATION, RAW, REGRESSION
from rasterml.engine.minimum_distance import METRICS, MinimumDistancePredictor, largest_minimum_distance
from rasterml.engine.prediction import NO_CLASS, predict_rows
from rasterml.engine.progress import Progress
from rasterml.engine.training import Table, collect, train

SQUARE = [[0, 0], [2, 0], [0, 2], [2, 2]]  # mean (1, 1), covariance 4/3 · 1
BRICK = [[10, 10], [14, 10], [10, 12], [14, 12]]  # mean (12, 11), covariance diag(16/3, 4/3)


class Listening(Progress):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def trained(rows, labels, progress=None, **settings):
    features = np.array(rows, dtype=float)
    names = [f"b{number}" for number in range(features.shape[1])]
    samples = collect([Table("t", features, np.array(labels, dtype=float))], names, "class", CLASSIFICATION)
    return train("trainminimumdistance", samples, CLASSIFICATION, settings, 1, progress)


def predicted(model, rows, mode=""):
    return predict_rows(model, np.array(rows, dtype=np.float32), mode)


def two_classes(**settings):
    return trained(SQUARE + BRICK, [0] * 4 + [7] * 4, **settings)


# At (7, 6): differences (6, 5) and (-5, -5); the angle to (1, 1) is arccos(13 / √170).
HAND = {
    "euclidean": (61**0.5, 50**0.5),
    "manhattan": (11, 10),
    "cosine": (np.arccos(13 / 170**0.5), np.arccos(150 / (85 * 265) ** 0.5)),
    "mahalanobis": ((61 * 3 / 4) ** 0.5, (25 * 3 / 16 + 25 * 3 / 4) ** 0.5),
}


@pytest.mark.parametrize("metric", METRICS)
def test_distances_are_those_of_a_hand_calculation(metric):
    model = two_classes(metric=metric)

    assert predicted(model, [[7, 6]], RAW)[:, 0] == pytest.approx(HAND[metric], rel=1e-6)
    assert predicted(model, [[7, 6]], REGRESSION)[0] == pytest.approx([min(HAND[metric])], rel=1e-6)
    assert predicted(model, [[7, 6]]).tolist() == [[(0, 7)[int(np.argmin(HAND[metric]))]]]


@pytest.mark.parametrize("metric", METRICS)
def test_distances_are_scipys(metric, shared):
    from scipy.spatial.distance import cdist

    columns = ["b17", "b18", "b19", "b20"]
    features, labels = oracle_rows(shared / "oracle" / "data" / "sat_train.csv", columns)
    test, _ = oracle_rows(shared / "oracle" / "data" / "sat_test.csv", columns)
    model = trained(features, labels, metric=metric)

    classes = np.unique(labels)
    centres = np.array([features[labels == label].mean(axis=0) for label in classes])
    if metric == "mahalanobis":
        inverses = [np.linalg.inv(np.cov(features[labels == label].T)) for label in classes]
        expected = np.hstack(
            [cdist(test, centre[None], metric, VI=inverse) for centre, inverse in zip(centres, inverses)]
        )
    else:
        expected = cdist(test, centres, {"manhattan": "cityblock"}.get(metric, metric))
    if metric == "cosine":
        expected = np.arccos(1 - expected)

    distances = predicted(model, test, RAW).T
    assert distances == pytest.approx(expected, rel=1e-5, abs=1e-7)
    assert predicted(model, test)[0].tolist() == classes[expected.argmin(axis=1)].tolist()


def test_equal_distances_go_to_the_lower_label_and_k_is_capped_at_the_classes():
    rows, labels = [[4], [0], [2], [9]], [300, 7, 0, 5]
    model = trained(rows, labels, k_nearest=3)

    assert predicted(model, [[3], [1]]).tolist() == [[0, 0], [300, 7], [7, 300]]
    assert predicted(model, [[3], [1]], REGRESSION).tolist() == [[1, 1], [1, 1], [3, 3]]
    assert predicted(trained(rows, labels, k_nearest=99), [[3]]).shape == (4, 1)
    assert predicted(trained(rows, labels), [[3], [1]]).tolist() == [[0, 0]]


def test_bands_are_named_after_rank_or_class():
    from rasterml.engine.minimum_distance import MinimumDistancePredictor

    several = MinimumDistancePredictor(two_classes(k_nearest=2))
    one = MinimumDistancePredictor(two_classes())

    assert several.bands(CLASSIFICATION) == ("nearest_1", "nearest_2")
    assert several.bands(REGRESSION) == ("distance_1", "distance_2")
    assert several.bands(RAW) == one.bands(RAW) == ("0", "7")
    assert one.bands(CLASSIFICATION) == one.bands(REGRESSION) == ("classification",)


def test_map_of_the_nearest_classes_has_a_band_for_each_rank(tmp_path):
    from osgeo import gdal
    from rasterml.engine.images import Image
    from rasterml.engine.prediction import predict_image

    source = gdal.GetDriverByName("GTiff").Create(str(tmp_path / "image.tif"), 3, 2, 2, gdal.GDT_Float32)
    source.WriteArray(np.array([[[0, 1, 2], [12, 13, 14]], [[0, 1, 2], [12, 13, 14]]], dtype=np.float32))
    for number in (1, 2):
        source.GetRasterBand(number).SetDescription(f"b{number - 1}")
    source = None

    predict_image(Image([str(tmp_path / "image.tif")]), two_classes(k_nearest=2), str(tmp_path / "map.tif"))

    result = gdal.Open(str(tmp_path / "map.tif"))
    assert result.ReadAsArray().tolist() == [[[0, 0, 0], [7, 7, 7]], [[7, 7, 7], [0, 0, 0]]]
    assert [result.GetRasterBand(number).GetDescription() for number in (1, 2)] == ["nearest_1", "nearest_2"]
    assert result.GetRasterBand(2).GetCategoryNames()[7] == "7"
    assert (tmp_path / "map.qml").exists()


def test_one_class_per_row_finds_the_nearest_rows():
    generator = np.random.default_rng(1)
    rows = generator.normal(size=(400, 3))
    model = trained(rows, np.arange(400), k_nearest=5)
    wanted = generator.normal(size=(50, 3)).astype(np.float32)

    order = np.linalg.norm(wanted[:, None] - rows.astype(np.float32)[None], axis=2).argsort(axis=1)[:, :5]

    assert predicted(model, wanted).T.tolist() == order.tolist()


def test_a_zero_pixel_has_no_angle_hence_no_class():
    model = two_classes(metric="cosine")

    assert predicted(model, [[0, 0], [1, 1]]).tolist() == [[NO_CLASS, 0]]
    assert np.isnan(predicted(model, [[0, 0]], RAW)).all()
    assert np.isnan(predicted(model, [[0, 0]], REGRESSION)).all()


def test_a_zero_sample_does_not_count_as_right_or_wrong():
    model = trained([[0, 0], [1, 2], [4, 1], [3, 1]], [0, 0, 7, 7], metric="cosine")

    assert model.training["confusion"] == [[1, 0], [0, 2]]


def test_a_class_whose_mean_has_no_angle_is_an_error():
    with pytest.raises(TableError, match="class 7 is zero"):
        trained([[1, 0], [1, 1], [1, -1], [-1, 1]], [0, 0, 7, 7], metric="cosine")


def test_a_poor_class_uses_the_pooled_covariance():
    progress = Listening()
    model = trained([*SQUARE, *BRICK, [20, 20]], [0] * 4 + [7] * 4 + [9], progress, metric="mahalanobis")

    # scatter diag(4 + 16, 4 + 4), divided by 9 samples - 3 classes
    expected = (6**2 * 6 / 20 + 2**2 * 6 / 8) ** 0.5
    assert predicted(model, [[14, 18]], RAW)[2, 0] == pytest.approx(expected, rel=1e-6)
    assert predicted(model, [[14, 18]], RAW)[0, 0] == pytest.approx(((13**2 + 17**2) * 3 / 4) ** 0.5, rel=1e-6)
    assert "class 9; the pooled covariance" in progress.warnings[0]


def test_single_samples_use_the_covariance_of_all():
    progress = Listening()
    model = trained([*SQUARE, [1, 1]], [0, 1, 2, 3, 4], progress, metric="mahalanobis")

    # covariance of all five: scatter 4, divided by 4
    assert predicted(model, [[1, 4]], RAW)[4, 0] == pytest.approx(3, rel=1e-6)
    assert predicted(model, np.array(SQUARE) + 0.1).tolist() == [[0, 1, 2, 3]]
    assert "the covariance of all samples" in progress.warnings[0]


def test_constant_and_repeated_predictors_change_no_class():
    generator = np.random.default_rng(4)
    labels = np.repeat([0, 7], 30)
    rows = generator.normal(size=(60, 2)) + labels[:, None] / 3
    twice = np.column_stack([rows, rows[:, 0], np.full(60, 5.0)])
    pixels = generator.normal(size=(200, 2)).astype(np.float32)
    progress = Listening()

    plain = predicted(trained(rows, labels, metric="mahalanobis"), pixels, RAW)
    more = predicted(
        trained(twice, labels, progress, metric="mahalanobis"),
        np.column_stack([pixels, pixels[:, 0], np.full(200, 5)]),
        RAW,
    )

    assert more == pytest.approx(plain, rel=1e-5)
    assert progress.warnings == []


def test_units_do_not_matter_to_mahalanobis():
    generator = np.random.default_rng(4)
    labels = np.repeat([0, 7], 30)
    rows = (generator.normal(size=(60, 2)) + labels[:, None] / 3).astype(np.float32).astype(float)
    units = np.array([2.0**-40, 2.0**40])

    plain = predicted(trained(rows, labels, metric="mahalanobis"), rows, RAW)
    other = predicted(trained(rows * units, labels, metric="mahalanobis"), rows * units, RAW)

    assert np.array_equal(plain, other)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("classes", [2, 41])
def test_a_row_has_the_same_bits_in_any_company(metric, classes):
    generator = np.random.default_rng(6)
    model = trained(generator.normal(5, 1, (6 * classes, 5)), np.arange(6 * classes) % classes, metric=metric)
    rows = generator.normal(5, 2, (7001, 5)).astype(np.float32)

    whole = predict_rows(model, rows, RAW)

    for start, stop in ((0, 1), (3, 10), (511, 3722), (6990, 7001)):
        assert np.array_equal(predict_rows(model, rows[start:stop], RAW), whole[:, start:stop])


def difficult(model, offset=0.0):
    """Rows at the centres, halfway between them, at zero, far away, and many more."""
    generator = np.random.default_rng(2)
    centres = model.arrays["centre"]
    halfway = (centres[:, np.newaxis] + centres).reshape(-1, centres.shape[1]) / 2
    others = generator.normal(0, 9, (800, centres.shape[1])).round() + offset
    far = np.full((2, centres.shape[1]), 3e38) * [[1], [-1]]
    return np.concatenate([centres, halfway, others, far, far * 0, far * 1e-45]).astype(np.float32)


@pytest.mark.parametrize("settings", [{}, {"k_nearest": 3}], ids=str)
@pytest.mark.parametrize("offset", [0, 10_000])
@pytest.mark.parametrize("metric", METRICS)
def test_outputs_are_those_of_the_element_wise_distances_bit_for_bit(metric, offset, settings):
    generator = np.random.default_rng(1)
    rows = generator.integers(-9, 9, (60, 3)) + offset
    model = trained(rows, np.arange(60) % 5, metric=metric, **settings)
    pixels = difficult(model, offset)

    for mode in (CLASSIFICATION, REGRESSION, RAW):
        expected = MinimumDistancePredictor(model)
        expected.ranges = None
        expected = expected.predict(pixels, mode, lambda: None)
        found = MinimumDistancePredictor(model).predict(pixels, mode, lambda: None)
        assert found.tobytes() == expected.tobytes()


@pytest.mark.parametrize("metric", ["euclidean", "cosine", "mahalanobis"])
def test_products_tell_between_which_numbers_a_distance_lies(metric):
    generator = np.random.default_rng(1)
    rows = generator.normal(50, 9, (200, 30))
    predictor = MinimumDistancePredictor(trained(rows, np.arange(200) % 5, metric=metric))
    pixels = generator.normal(50, 20, (500, 30)).astype(np.float32)

    low, high = predictor.ranges(pixels)
    distances = predictor.distances(pixels)

    assert (low <= distances).all() and (distances <= high).all()
    assert (high - low <= 1e-9 * distances).all()


def test_explanation_has_the_class_centres_and_the_size_is_bounded():
    model = two_classes(metric="mahalanobis")

    assert explain(model)["classCentres"] == [[1, 1], [12, 11]]
    assert explain(model)["parameters"] == {"metric": "mahalanobis", "kNearest": 1}
    assert sum(array.nbytes for array in model.arrays.values()) <= largest_minimum_distance(
        8, 2, 2, CLASSIFICATION, model.settings
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"metric": "chebyshev"}, "choose one of euclidean, cosine"), ({"k_nearest": 0}, "K_NEAREST is 0")],
)
def test_impossible_settings_are_a_sentence(settings, message):
    with pytest.raises(SettingError, match=message):
        two_classes(**settings)


DAMAGES = {
    "a centre without a number": ("centre", lambda array: np.where(array == 1, np.nan, array)),
    "too few centres": ("centre", lambda array: array[:1]),
    "centres of single precision": ("centre", lambda array: array.astype(np.float32)),
    "a matrix of another size": ("whitening", lambda array: array[:, :1]),
    "no third dimension": ("whitening", lambda array: array[0]),
    "a matrix that is not there": ("class_whitening", lambda array: array + 1),
    "a negative matrix": ("class_whitening", lambda array: array - 1),
    "a class without matrix": ("class_whitening", lambda array: array[:1]),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_arrays_that_prediction_could_leave_are_refused(damage):
    model = two_classes(metric="mahalanobis")
    name, damaged = DAMAGES[damage]
    model.arrays[name] = damaged(model.arrays[name])

    with pytest.raises(ModelFileError):
        model.learner.check_model(model)


def test_missing_arrays_are_refused():
    model = two_classes(metric="mahalanobis")
    del model.arrays["whitening"]

    with pytest.raises(ModelFileError, match="needs the arrays centre, class_whitening, whitening"):
        model.learner.check_model(model)
