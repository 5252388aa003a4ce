"""Observed against predicted values."""

from __future__ import annotations

import math

import pytest
from qgis.core import NULL, QgsFeature, QgsProcessingFeedback, QgsVectorLayer
from small_world import pinned, refusal, rows_of, run

pytestmark = pytest.mark.usefixtures("provider")


def layer(rows, kind="double") -> QgsVectorLayer:
    result = QgsVectorLayer(f"Point?field=height:{kind}&field=guess:{kind}&field=residual:string", "plots", "memory")
    features = []
    for values in rows:
        features.append(QgsFeature(result.fields()))
        features[-1].setAttributes([*values, "old"])
    result.dataProvider().addFeatures(features)
    return result


FOUR = [(2.0, 3.0), (4.0, 3.0), (6.0, 9.0), (8.0, 9.0)]


def test_it_has_its_parameters_and_defaults(provider):
    algorithm = provider.algorithm("regressionaccuracy")

    assert pinned(algorithm) == dict.fromkeys(("INPUT", "ACTUAL", "PREDICTED", "OUTPUT", "OUTPUT_HTML_FILE"))
    assert algorithm.groupId() == "accuracy"


def test_measures_equal_those_by_hand_and_the_table_has_residuals(tmp_path):
    # errors 1, -1, 3, 1; observed around its mean 5: 9 + 1 + 1 + 9
    report = tmp_path / "report.html"

    results = run(
        "regressionaccuracy", INPUT=layer(FOUR), ACTUAL="height", PREDICTED="guess", OUTPUT="TEMPORARY_OUTPUT",
        OUTPUT_HTML_FILE=str(report),
    )  # fmt: skip

    measures = [results[name] for name in ("RMSE", "MAE", "R_SQUARED", "BIAS", "COUNT")]
    assert measures == pytest.approx([math.sqrt(3), 1.5, 0.4, 1.0, 4])
    assert [row["residual"] for row in rows_of(results["OUTPUT"])] == [1, -1, 3, 1]
    text = report.read_text(encoding="utf-8")
    assert "1.73205" in text and "data:image/svg+xml" in text and "Largest residuals" in text


def test_rows_without_a_value_keep_an_empty_residual_and_are_counted():
    feedback = QgsProcessingFeedback()

    results = run(
        "regressionaccuracy", feedback, INPUT=layer([*FOUR, (NULL, 5.0), (5.0, NULL)]), ACTUAL="height",
        PREDICTED="guess", OUTPUT="TEMPORARY_OUTPUT",
    )  # fmt: skip

    assert results["COUNT"] == 4
    assert [row["residual"] == NULL for row in rows_of(results["OUTPUT"])] == [False] * 4 + [True] * 2
    assert "2 of 6 rows have no value" in feedback.textLog()


def test_text_is_refused_with_its_feature():
    text = refusal(
        "regressionaccuracy", INPUT=layer([("high", "3")], "string"), ACTUAL="height", PREDICTED="guess",
        OUTPUT="TEMPORARY_OUTPUT",
    )  # fmt: skip

    assert "'high'" in text and "feature '1'" in text


def test_nothing_to_compare_and_missing_fields_are_one_sentence():
    nothing = {"INPUT": layer([(NULL, 1.0)]), "OUTPUT": "TEMPORARY_OUTPUT"}

    assert "No row of 'plots' has a number" in refusal(
        "regressionaccuracy", **nothing, ACTUAL="height", PREDICTED="guess"
    )
    assert "has no field 'depth'" in refusal("regressionaccuracy", **nothing, ACTUAL="depth", PREDICTED="guess")
