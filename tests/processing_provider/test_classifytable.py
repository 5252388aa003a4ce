"""Predictions for the rows of a table."""

from __future__ import annotations

import numpy as np
import pytest
from qgis.core import NULL, QgsProcessingFeedback, QgsVectorLayer
from rasterml.engine.models import load_model
from rasterml.engine.prediction import predict_rows
from small_world import pinned, refusal, rows_of, run, table, trained

pytestmark = pytest.mark.usefixtures("provider")


@pytest.fixture
def named_model(provider, tmp_path):
    layer = table(labels=("water", "forest"), kind="string")
    return trained(tmp_path / "named.rasterml", TRAINING=[layer])


def predictions(model, layer, mode=""):
    features = np.array([[row["red"], row["nir"]] for row in rows_of(layer)], dtype=np.float32)
    return predict_rows(load_model(model), features, mode)


def test_it_has_the_frozen_parameters_outputs_and_defaults(provider):
    algorithm = provider.algorithm("classifytable")

    assert pinned(algorithm) == {
        "INPUT": None, "MODEL": None, "OUTPUT_MODE": None, "OUTPUT_NAME": "classification", "THREADS": 0,
        "OUTPUT": None,
    }  # fmt: skip
    assert algorithm.groupId() == "prediction"


def test_rows_keep_their_fields_and_places_and_get_value_and_name(named_model):
    layer = table(seed=8, rows=60)

    results = run("classifytable", INPUT=layer, MODEL=named_model, OUTPUT="TEMPORARY_OUTPUT")

    rows, old = rows_of(results["OUTPUT"]), rows_of(layer)
    assert [{name: row[name] for name in old[0]} for row in rows] == old
    expected = predictions(named_model, layer)[0].tolist()
    assert [row["classification"] for row in rows] == expected
    assert [row["classification_name"] for row in rows] == [["forest", "water"][value] for value in expected]
    places = [feature.geometry().asWkt() for feature in results["OUTPUT"].getFeatures()]
    assert places == [feature.geometry().asWkt() for feature in layer.getFeatures()]
    assert (results["COUNT"], results["PREDICTED"]) == (60, 60)


def test_classes_without_names_get_no_name_field(tmp_path):
    model = trained(tmp_path / "m.rasterml")

    output = run("classifytable", INPUT=table(), MODEL=model, OUTPUT_NAME="guess", OUTPUT="TEMPORARY_OUTPUT")["OUTPUT"]

    assert [field.name() for field in output.fields()][-1] == "guess"
    assert {row["guess"] for row in rows_of(output)} == {0, 7}


@pytest.mark.parametrize(
    ("mode", "names"),
    [
        ("PROBABILITY", ["p"]),
        ("MULTIPROBABILITY", ["p_forest", "p_water"]),
        ("RAW", [f"p_tree_{number}" for number in range(1, 10)]),
    ],
)
def test_modes_with_several_values_give_several_fields(mode, names, named_model):
    layer = table(seed=4, rows=30)

    output = run(
        "classifytable", INPUT=layer, MODEL=named_model, OUTPUT_MODE=mode, OUTPUT_NAME="p", OUTPUT="TEMPORARY_OUTPUT"
    )["OUTPUT"]

    columns = np.array([[row[name] for row in rows_of(output)] for name in names], dtype=np.float32)
    assert np.array_equal(columns, predictions(named_model, layer, mode))


def test_row_without_a_value_has_no_prediction(named_model):
    layer = table(rows=10)
    feature = next(layer.getFeatures())
    layer.dataProvider().changeAttributeValues({feature.id(): {layer.fields().lookupField("nir"): NULL}})
    feedback = QgsProcessingFeedback()

    results = run("classifytable", feedback=feedback, INPUT=layer, MODEL=named_model, OUTPUT="TEMPORARY_OUTPUT")

    rows = rows_of(results["OUTPUT"])
    assert rows[0]["classification"] == NULL and rows[0]["classification_name"] == NULL
    assert all(row["classification"] != NULL for row in rows[1:])
    assert (results["COUNT"], results["PREDICTED"]) == (10, 9)
    assert "1 rows lack a predictor" in feedback.textLog()


def test_former_prediction_gives_way(named_model):
    first = run("classifytable", INPUT=table(rows=20), MODEL=named_model, OUTPUT="TEMPORARY_OUTPUT")["OUTPUT"]

    again = run("classifytable", INPUT=first, MODEL=named_model, OUTPUT="TEMPORARY_OUTPUT")["OUTPUT"]

    assert [field.name() for field in again.fields()] == [field.name() for field in first.fields()]


def test_file_output(named_model, tmp_path):
    run("classifytable", INPUT=table(rows=20), MODEL=named_model, OUTPUT=str(tmp_path / "out.gpkg"))

    layer = QgsVectorLayer(str(tmp_path / "out.gpkg"))
    assert layer.featureCount() == 20
    assert layer.crs().authid() == "EPSG:32617"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"INPUT": "no nir"}, "has no field 'nir'"),
        ({"INPUT": "/nowhere.gpkg"}, "INPUT"),
        ({"OUTPUT_MODE": "REGRESSION"}, "OUTPUT_MODE REGRESSION is not possible"),
        ({"OUTPUT_NAME": " "}, "OUTPUT_NAME is empty"),
        ({"OUTPUT": "/nowhere/out.gpkg"}, "the folder"),
    ],
)
def test_what_cannot_be_classified_is_said_in_a_sentence(change, sentence, named_model):
    if change.get("INPUT") == "no nir":
        change = {"INPUT": table(bands=("red",))}

    said = refusal("classifytable", **{"INPUT": table(), "MODEL": named_model, "OUTPUT": "TEMPORARY_OUTPUT", **change})

    assert sentence in said
