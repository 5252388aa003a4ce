from __future__ import annotations

import json
import math

import numpy as np
import pytest
from rasterml.engine.accuracy import ErrorMatrix, defined, error_matrix, label_pairs, matrix_of_counts
from rasterml.engine.errors import SettingError, TableError

ORACLES = ("binary_small", "gap_labels", "iris_knn_with_absent_class", "never_predicted", "sat_cart")

# The check values of Earth Engine's reference, section 4.2.
CHECK = ErrorMatrix(np.array([[8, 1, 1], [2, 5, 0], [0, 0, 3]]), (0, 1, 2), ("0", "1", "2"))


def nan_for_null(values):
    return [math.nan if value is None else value for value in values]


@pytest.mark.parametrize("case", ORACLES)
def test_measures_equal_those_of_scikit_learn_and_caret(shared, case):
    oracle = json.loads((shared / "oracle" / "accuracy" / f"confusion_{case}.json").read_text())

    matrix = error_matrix(np.array(oracle["actual"]), np.array(oracle["predicted"]), oracle["labels"])

    assert matrix.counts.tolist() == oracle["matrix_rows_actual_cols_predicted"]
    assert matrix.accuracy() == pytest.approx(oracle["accuracy"], abs=1e-9)
    assert matrix.kappa() == pytest.approx(oracle["kappa"], abs=1e-9)
    for beta, expected in oracle["fscore"].items():
        np.testing.assert_allclose(matrix.fscore(float(beta)), nan_for_null(expected), rtol=0, atol=1e-9)
    for name in ("producers_accuracy", "consumers_accuracy"):
        np.testing.assert_allclose(getattr(matrix, name)(), nan_for_null(oracle[name]), rtol=0, atol=1e-9)


@pytest.mark.parametrize("case", ORACLES)
def test_exact_interval_of_the_accuracy_equals_carets(shared, case):
    pytest.importorskip("scipy")
    oracle = json.loads((shared / "oracle" / "accuracy" / f"confusion_{case}.json").read_text())

    matrix = error_matrix(np.array(oracle["actual"]), np.array(oracle["predicted"]), oracle["labels"])

    assert matrix.accuracy_interval() == pytest.approx(oracle["caret"]["accuracy_ci95_exact"], abs=1e-9)


def test_measures_equal_the_check_values_of_the_reference():
    assert CHECK.total == 20
    assert CHECK.accuracy() == pytest.approx(0.8)
    assert CHECK.kappa() == pytest.approx(0.674797, abs=5e-7)
    assert CHECK.producers_accuracy() == pytest.approx([0.8, 5 / 7, 1])
    assert CHECK.consumers_accuracy() == pytest.approx([0.8, 5 / 6, 0.75])
    assert CHECK.fscore() == pytest.approx([0.8, 0.769231, 0.857143], abs=5e-7)
    assert CHECK.fscore(2) == pytest.approx([0.8, 0.735294, 0.9375], abs=5e-7)
    assert CHECK.fscore(0) == pytest.approx(CHECK.consumers_accuracy())


def test_rows_are_actual_and_columns_predicted():
    matrix = error_matrix(np.array([0, 0, 0, 7]), np.array([0, 7, 7, 7]), order=[0, 7])

    assert matrix.counts.tolist() == [[1, 2], [0, 1]]


def test_without_order_the_labels_run_from_zero_to_the_largest_of_both_columns():
    matrix = error_matrix(np.array([1, 1, 2]), np.array([1, 4, 2]))

    assert matrix.labels == (0, 1, 2, 3, 4)
    assert matrix.counts[1, 4] == 1
    assert matrix.counts[[0, 3, 4]].sum() == 0
    assert np.isnan(matrix.producers_accuracy()[[0, 3, 4]]).all()


def test_an_order_fixes_size_and_sequence_and_other_pairs_are_ignored():
    matrix = error_matrix(np.array([7, 0, 3, 7, 7]), np.array([7, 0, 0, 3, 0]), order=[7, 5, 0])

    assert matrix.labels == (7, 5, 0)
    assert matrix.counts.tolist() == [[1, 0, 1], [0, 0, 0], [0, 0, 1]]


@pytest.mark.parametrize(("largest", "labels"), [(254, 255), (255, 2)])
def test_above_255_labels_only_those_present_are_listed(largest, labels):
    matrix = error_matrix(np.array([0, largest]), np.array([0, 0]))

    assert len(matrix.labels) == labels
    assert matrix.labels[-1] == largest


@pytest.mark.parametrize("value", [-1, 65536, 1.5])
def test_a_value_that_is_no_label_is_refused_with_its_row(value):
    with pytest.raises(TableError, match=rf"Row 1 holds {value}"):
        error_matrix(np.array([0, value]), np.array([0, 0]))


def test_columns_that_are_no_classes_are_refused_before_the_matrix_fills_the_memory():
    with pytest.raises(TableError, match=r"1,001 different classes"):
        error_matrix(np.arange(1001), np.zeros(1001, dtype=int))


@pytest.mark.parametrize("order", [[0, 0], [-1, 2], [0, 70000]])
def test_an_impossible_order_is_refused(order):
    with pytest.raises(SettingError, match="ORDER"):
        error_matrix(np.array([0]), np.array([0]), order)


@pytest.mark.parametrize("beta", [-1, math.nan, math.inf])
def test_an_impossible_beta_is_refused(beta):
    with pytest.raises(SettingError, match="BETA"):
        CHECK.fscore(beta)


def test_everything_of_an_empty_matrix_is_undefined():
    matrix = error_matrix(np.array([]), np.array([]), order=[0, 7])

    assert defined(matrix.accuracy()) is None
    assert defined(matrix.kappa()) is None
    assert matrix.accuracy_interval() is None
    assert np.isnan(matrix.fscore()).all()
    assert error_matrix(np.array([]), np.array([])).labels == ()


def test_kappa_is_undefined_when_chance_agrees_always():
    assert math.isnan(error_matrix(np.array([7, 7]), np.array([7, 7])).kappa())


def test_the_interval_reaches_0_and_1_at_the_ends():
    pytest.importorskip("scipy")

    # Without a success the upper end is 1 - (alpha / 2)^(1 / n), by hand.
    end = 1 - 0.025 ** (1 / 4)
    assert error_matrix(np.zeros(4, int), np.ones(4, int)).accuracy_interval() == pytest.approx((0, end))
    assert error_matrix(np.ones(4, int), np.ones(4, int)).accuracy_interval() == pytest.approx((1 - end, 1))


def test_counts_of_a_model_are_laid_out_as_an_error_matrix():
    matrix = matrix_of_counts([[5, 1], [2, 9]], [1, 3], {1: "water", 3: "forest"})

    assert matrix.labels == (0, 1, 2, 3)
    assert matrix.names == ("0", "water", "2", "forest")
    assert matrix.counts[1].tolist() == [0, 5, 0, 1]
    assert matrix.counts[3].tolist() == [0, 2, 0, 9]


def test_counts_of_a_model_with_large_labels_keep_the_present_ones():
    matrix = matrix_of_counts([[5, 1], [2, 9]], [7, 4000])

    assert matrix.labels == (7, 4000)
    assert matrix.counts.tolist() == [[5, 1], [2, 9]]


def test_texts_get_integers_in_the_code_point_order_of_both_columns():
    pairs = label_pairs(["water", "Zoo", "forest"], ["water", "forest", "ärmel"])

    assert pairs.names == {0: "Zoo", 1: "forest", 2: "water", 3: "ärmel"}
    assert pairs.actual.tolist() == [2, 0, 1]
    assert pairs.predicted.tolist() == [2, 1, 3]


def test_texts_get_the_values_that_the_class_table_gives_them():
    pairs = label_pairs(["water", "forest"], ["water", "water"], names={0: "bare", 3: "forest", 7: "water"})

    assert pairs.actual.tolist() == [7, 3]
    assert pairs.names[0] == "bare"


def test_a_text_column_that_reads_as_numbers_everywhere_is_numbers():
    pairs = label_pairs(["10", "9", ""], [10, 10.0, 9])

    assert pairs.actual.tolist() == [10, 9]
    assert pairs.predicted.tolist() == [10, 10]
    assert pairs.skipped == 1


def test_digits_beside_texts_are_texts():
    pairs = label_pairs(["7", "forest"], ["7", "7"])

    assert pairs.names == {0: "7", 1: "forest"}
    assert pairs.predicted.tolist() == [0, 0]


def test_rows_without_a_value_in_either_column_are_skipped_and_counted():
    pairs = label_pairs([0, None, 7, math.nan, 7], [0, 0, None, 7, 0])

    assert (pairs.actual.tolist(), pairs.predicted.tolist(), pairs.skipped) == ([0, 7], [0, 0], 3)


def test_a_fraction_is_refused_with_its_field_and_feature():
    with pytest.raises(TableError, match=r"Field 'guess' of feature 31 holds 1.5"):
        label_pairs([None, 0, 1], [2.5, 0, 1.5], rows=[11, 21, 31], fields=("class", "guess"))


@pytest.mark.parametrize("predicted", [[0, 3], [0.0, 3.0], ["0", "3"]], ids=["integers", "decimals", "csv"])
def test_text_against_numbers_is_refused_with_the_way_out(predicted):
    with pytest.raises(TableError, match=r"'class' holds text \('forest'\).*'classification_name'"):
        label_pairs(["water", "forest"], predicted, fields=("class", "classification"))
    with pytest.raises(TableError, match=r"'class' holds text \('forest'\).*'classification_name'"):
        label_pairs(predicted, ["water", "forest"], fields=("classification", "class"))


def test_text_and_numbers_that_match_are_compared_as_text():
    pairs = label_pairs(["7", "7a", "8"], [7, 7, 8.0])

    assert pairs.names == {0: "7", 1: "7a", 2: "8"}
    assert pairs.predicted.tolist() == [0, 0, 2]


def test_a_field_of_dates_is_refused():
    with pytest.raises(TableError, match=r"Field 'day' of feature 0"):
        label_pairs([object()], [0], fields=("day", "classification"))


def test_an_order_of_texts_gives_their_labels_also_for_absent_ones():
    pairs = label_pairs(["b", "a"], ["a", "a"], order='b, "c, d", a')

    assert [pairs.names[label] for label in pairs.order] == ["b", "c, d", "a"]


def test_an_order_of_numeric_classes_may_use_their_names():
    assert label_pairs([0, 7], [0, 0], order="water,0", names={0: "forest", 7: "water"}).order == [7, 0]


def test_an_order_of_unknown_names_for_numbers_is_refused():
    with pytest.raises(SettingError, match="'water'"):
        label_pairs([0, 7], [0, 0], order="water")
