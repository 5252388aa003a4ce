"""Naive Bayes: the formula by hand, Smile's own results, rows without a class."""

from __future__ import annotations

import math

import numpy as np
import pytest
from oracle_tables import oracle_case, oracle_rows, oracle_samples
from rasterml.engine.errors import ModelFileError, SettingError, TableError
from rasterml.engine.explanation import explain
from rasterml.engine.learners import CLASSIFICATION, MULTIPROBABILITY, PROBABILITY
from rasterml.engine.naive_bayes import NaiveBayesPredictor, largest_naive_bayes
from rasterml.engine.prediction import NO_CLASS, predict_rows
from rasterml.engine.progress import Progress
from rasterml.engine.training import Table, collect, train

ROWS, LABELS = [[3, 1], [1, 0], [0, 4], [1, 1], [1, 3]], [0, 0, 7, 7, 7]


class Listening(Progress):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def trained(rows=ROWS, labels=LABELS, progress=None, lambda_=1.0):
    features = np.array(rows, dtype=float)
    names = [f"b{number}" for number in range(features.shape[1])]
    samples = collect([Table("t", features, np.array(labels, dtype=float))], names, "class", CLASSIFICATION)
    return train("trainnaivebayes", samples, CLASSIFICATION, {"lambda_": lambda_}, 1, progress)


def predicted(model, rows, mode=""):
    return predict_rows(model, np.array(rows, dtype=np.float32), mode)


def posterior(*scores):
    return np.array(scores) / sum(scores)


def test_posterior_is_that_of_a_hand_calculation():
    # class 0: prior 2/5, counts 4 and 1, P = 5/7 and 2/7; class 7: prior 3/5, counts 2 and 8, P = 3/12 and 9/12
    model = trained()

    assert predicted(model, [[2, 1]], MULTIPROBABILITY)[:, 0] == pytest.approx(
        posterior(2 / 5 * (5 / 7) ** 2 * 2 / 7, 3 / 5 * (3 / 12) ** 2 * 9 / 12), rel=1e-6
    )
    assert predicted(model, [[2, 1], [0, 1]]).tolist() == [[0, 7]]
    assert model.arrays["count"].tolist() == [[4, 1], [2, 8]]


def test_fractions_are_cut_off_in_training_only():
    model = trained([[3.9, 1.2], [1.5, 0.7], [0.4, 4.9], [1, 1], [1, 3.999]])

    assert model.arrays["count"].tolist() == [[4, 1], [2, 8]]
    assert predicted(model, [[1.5, 0]], MULTIPROBABILITY)[0, 0] == pytest.approx(
        posterior(2 / 5 * (5 / 7) ** 1.5, 3 / 5 * (3 / 12) ** 1.5)[0], rel=1e-6
    )


def test_negative_values_count_nothing_and_rows_without_a_positive_value_are_skipped():
    progress = Listening()
    model = trained([*ROWS, [-5, 0], [0, 0]], [*LABELS, 0, 7], progress)
    with_negative = trained([[3, 1], [1, -9], *ROWS[2:]], LABELS)

    assert model.arrays["class_rows"].tolist() == [2, 3]
    assert model.arrays["count"].tolist() == with_negative.arrays["count"].tolist() == [[4, 1], [2, 8]]
    assert "1 negative value ignored" in progress.warnings[0]
    assert "2 samples left out" in progress.warnings[1]
    assert np.array_equal(predicted(model, [[2, -3]], MULTIPROBABILITY), predicted(model, [[2, 0]], MULTIPROBABILITY))


def test_a_row_without_any_positive_value_has_no_class():
    model = trained()

    assert predicted(model, [[0, 0], [2, 0], [-1, -4]]).tolist() == [[NO_CLASS, 0, NO_CLASS]]
    for mode in (PROBABILITY, MULTIPROBABILITY):
        assert np.isnan(predicted(model, [[0, 0], [-1, 0]], mode)).all()


def test_samples_without_a_class_are_neither_right_nor_wrong():
    model = trained([*ROWS, [0, 0]], [*LABELS, 7])

    assert model.training["confusion"] == [[2, 0], [0, 3]]
    assert model.training["class_rows"] == [2, 4]


def test_a_map_has_no_data_where_no_value_is_positive(tmp_path):
    from osgeo import gdal
    from rasterml.engine.images import Image
    from rasterml.engine.prediction import predict_image

    source = gdal.GetDriverByName("GTiff").Create(str(tmp_path / "image.tif"), 3, 1, 2, gdal.GDT_Float32)
    source.WriteArray(np.array([[[2, 0, -1]], [[0, 0, 5]]], dtype=np.float32))
    for number in (1, 2):
        source.GetRasterBand(number).SetDescription(f"b{number - 1}")
    source = None

    predict_image(Image([str(tmp_path / "image.tif")]), trained(), str(tmp_path / "map.tif"))

    result = gdal.Open(str(tmp_path / "map.tif"))
    assert result.ReadAsArray().tolist() == [[0, result.GetRasterBand(1).GetNoDataValue(), 7]]


def test_probability_of_two_classes_is_that_of_the_larger_label_else_the_winners():
    two = trained()
    three = trained([*ROWS, [0, 9]], [*LABELS, 300])
    pixels = [[2, 1], [0, 3]]

    assert np.array_equal(predicted(two, pixels, PROBABILITY)[0], predicted(two, pixels, MULTIPROBABILITY)[1])
    assert np.array_equal(
        predicted(three, pixels, PROBABILITY)[0], predicted(three, pixels, MULTIPROBABILITY).max(axis=0)
    )


def test_without_smoothing_an_unseen_predictor_forbids_a_class():
    # class 0 never has b1, class 7 never b0
    model = trained([[2, 0, 1], [0, 3, 1]], [0, 7], lambda_=0)

    assert predicted(model, [[1, 0, 1], [0, 5, 0], [1, 1, 1], [0, 0, 2]]).tolist() == [[0, 7, NO_CLASS, 0]]
    assert predicted(model, [[1, 0, 1], [0, 5, 0], [3e38, 0, 0]], MULTIPROBABILITY).tolist() == [[1, 0, 1], [0, 1, 0]]
    assert np.isnan(predicted(model, [[1, 1, 1]], MULTIPROBABILITY)).all()


def test_mostly_fractions_are_warned_of():
    progress = Listening()
    trained([[0.3, 0.9], [0.1, 1.5]], [0, 7], progress)

    assert "multiply reflectances first" in progress.warnings[0]


def test_whole_numbers_bring_no_warning():
    progress = Listening()
    trained(progress=progress)

    assert progress.warnings == []


def test_no_positive_value_at_all_is_an_error_and_in_one_class_a_warning():
    with pytest.raises(TableError, match="No sample has a positive value"):
        trained([[0, 0], [-1, 0]], [0, 7])
    progress = Listening()
    trained([[0, 0], [1, 2]], [0, 7], progress)
    assert "Class 0 has no sample with a positive value" in progress.warnings[-1]


@pytest.mark.parametrize("value", [-1, "x"])
def test_impossible_smoothing_is_a_sentence(value):
    with pytest.raises((SettingError, ValueError)):
        trained(lambda_=value)
    with pytest.raises(SettingError, match="LAMBDA is -1: it must be at least 0"):
        trained(lambda_=-1)


def test_explanation_has_priors_and_counts():
    explanation = explain(trained(lambda_=2))

    assert explanation["parameters"] == {"lambda": 2}
    assert explanation["counts"] == [[4, 1], [2, 8]]
    assert explanation["priors"] == pytest.approx([0.4, 0.6])
    assert np.array(explanation["conditionalProbabilities"]) == pytest.approx(
        np.array([[6 / 9, 3 / 9], [4 / 14, 10 / 14]])
    )


def test_no_model_is_larger_than_its_bound():
    model = trained()

    size = sum(array.nbytes for array in model.arrays.values())
    assert size <= largest_naive_bayes(5, 2, 2, CLASSIFICATION, model.settings)


@pytest.mark.parametrize("classes", [2, 19])
def test_a_row_has_the_same_bits_in_any_company(classes):
    generator = np.random.default_rng(6)
    model = trained(generator.integers(0, 50, (6 * classes, 5)), np.arange(6 * classes) % classes)
    rows = generator.normal(20, 20, (9001, 5)).astype(np.float32)

    whole = predict_rows(model, rows, MULTIPROBABILITY)

    for start, stop in ((0, 1), (3, 10), (511, 3722), (8990, 9001)):
        part = predict_rows(model, rows[start:stop], MULTIPROBABILITY)
        assert np.array_equal(part, whole[:, start:stop], equal_nan=True)


def nothing_known(positive):
    scores = np.zeros((3, positive.shape[1]))
    return scores, scores + np.inf


@pytest.mark.parametrize("lambda_", [1.0, 0.0])
def test_outputs_are_those_of_the_element_wise_scores_bit_for_bit(lambda_):
    # the last class is the first one once more: a tie everywhere
    generator = np.random.default_rng(3)
    rows = generator.integers(0, 30, (60, 6))
    rows[40:] = rows[:20]
    rows[:20, 5] = rows[40:, 5] = 0
    model = trained(rows, np.repeat([0, 5, 9], 20), lambda_=lambda_)
    pixels = np.concatenate(
        [rows, generator.normal(0, 3000, (500, 6)), [[0] * 6, [0] * 5 + [3e38], [1e-40] * 6, [1e7] * 6]]
    ).astype(np.float32)

    for mode in (CLASSIFICATION, PROBABILITY, MULTIPROBABILITY):
        product, element_wise = NaiveBayesPredictor(model), NaiveBayesPredictor(model)
        element_wise._estimate = lambda positive: (
            np.zeros((3, positive.shape[1])),
            np.full((3, positive.shape[1]), np.inf),
        )
        expected = element_wise.predict(pixels, mode, lambda: None)
        assert product.predict(pixels, mode, lambda: None).tobytes() == expected.tobytes()


def test_scores_by_a_product_are_within_their_bounds():
    generator = np.random.default_rng(3)
    predictor = NaiveBayesPredictor(trained(generator.integers(0, 30, (60, 40)), np.arange(60) % 3))
    positive = np.concatenate([generator.uniform(0, 1e5, (40, 500)), np.zeros((40, 1))], axis=1)

    scores, bounds = predictor._estimate(positive)

    assert (np.abs(scores - predictor._scores(positive)) <= bounds).all()
    assert (bounds <= 1e-13 * np.abs(scores)).all()


DAMAGES = {
    "a negative count": ("count", lambda array: array - 100),
    "a count without a number": ("count", lambda array: array * math.nan),
    "too few counts": ("count", lambda array: array[:, :1]),
    "counts of single precision": ("count", lambda array: array.astype(np.float32)),
    "a negative number of rows": ("class_rows", lambda array: array - 100),
    "no rows": ("class_rows", lambda array: array * 0),
    "too few classes": ("class_rows", lambda array: array[:1]),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_arrays_that_cannot_be_counts_are_refused(damage):
    model = trained()
    name, damaged = DAMAGES[damage]
    model.arrays[name] = damaged(model.arrays[name])

    with pytest.raises(ModelFileError):
        model.learner.check_model(model)


def oracle(shared, name):
    case = oracle_case(shared, "smile", name)
    parameters = dict(item.split("=") for item in case["params"].split())
    scale, smooth = float(parameters.get("scale", 1)), float(parameters["sigma"])
    model = train("trainnaivebayes", oracle_samples(shared, case, scale), CLASSIFICATION, {"lambda_": smooth}, 1)
    test, _ = oracle_rows(shared / "oracle" / case["test"], case["columns"])
    return case, model, np.rint(test * scale)


def test_posteriors_are_smiles(shared):
    case, model, test = oracle(shared, "nb_sat_multinomial")
    expected = np.array(case["posteriori"])

    assert predicted(model, test)[0].tolist() == case["predictions"]
    assert predicted(model, test, PROBABILITY)[0] == pytest.approx(expected.max(axis=1), rel=1e-6)
    probabilities = predicted(model, test, MULTIPROBABILITY).T
    assert probabilities == pytest.approx(expected, rel=1e-6, abs=1e-30)
    assert explain(model)["priors"] == pytest.approx(case["priori"], abs=1e-9)


@pytest.mark.parametrize("name", ["nb_sat_polyaurn", "nb_iris_x10_polyaurn_lambda0.000001"])
def test_classes_are_those_of_smiles_polya_urn(name, shared):
    case, model, test = oracle(shared, name)

    assert predicted(model, test)[0].tolist() == case["predictions"]
