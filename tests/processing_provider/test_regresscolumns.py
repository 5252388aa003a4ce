"""`rasterml:regresscolumns` in a real QGIS."""

from __future__ import annotations

import csv
import json
import math

import numpy as np
import pytest
from qgis.core import NULL, QgsProcessingFeatureSourceDefinition, QgsProject, QgsVectorLayer
from rasterml.engine.reducers import REDUCERS
from small_world import pinned, refusal, rows_of, run

pytestmark = pytest.mark.usefixtures("provider")
ROWS = [
    (None, 0, 1.0, 1, "a"),
    (None, 1, 3.0, 1, "b"),
    (None, 2, 5.0, 2, "c"),
    (None, 3, NULL, 9, "d"),
    (None, 4, 90.0, 2, "e"),
]


@pytest.fixture
def layer(memory_layer):
    """Columns x, y, z and a text; y is empty in the fourth row."""
    return memory_layer("NoGeometry", ["x:integer", "y:double", "z:integer", "word:string"], ROWS)


def regress(layer, **parameters):
    fixed = {"INPUT": layer, "X": ["x"], "Y": ["y"], "OUTPUT": "TEMPORARY_OUTPUT"}
    return run("regresscolumns", **{**fixed, **parameters})


def test_ids_names_and_defaults_are_as_frozen(provider):
    algorithm = provider.algorithm("regresscolumns")

    assert algorithm.groupId() == "regression"
    assert "ee.FeatureCollection.reduceColumns" in algorithm.shortHelpString()
    found = pinned(algorithm)
    assert {
        name: found[name] for name in ("INPUT", "REDUCER", "X", "Y", "CONSTANT", "BETA", "LAMBDA", "SIGNIFICANCE")
    } == {
        "INPUT": None,
        "REDUCER": "linearFit",
        "X": None,
        "Y": None,
        "CONSTANT": False,
        "BETA": None,
        "LAMBDA": 0.1,
        "SIGNIFICANCE": False,
    }
    assert algorithm.parameterDefinition("REDUCER").options() == [
        "linearFit",
        "linearRegression",
        "robustLinearRegression",
        "ridgeRegression",
        "sensSlope",
        "pearsonsCorrelation",
        "spearmansCorrelation",
        "kendallsCorrelation",
    ]
    outputs = {output.name() for output in algorithm.outputDefinitions()}
    assert {
        "OUTPUT",
        "SCALE",
        "OFFSET",
        "SLOPE",
        "CORRELATION",
        "P_VALUE",
        "TAU",
        "RESIDUALS",
        "R_SQUARED",
        "N",
    } < outputs


def test_line_through_the_complete_rows_is_that_by_hand(layer):
    found = regress(layer)

    # x 0 1 2 4, y 1 3 5 90: means 1.75 and 24.75, Σxy 199.75, Σxx 8.75
    assert found["SCALE"] == pytest.approx(199.75 / 8.75)
    assert found["OFFSET"] == pytest.approx(24.75 - 1.75 * 199.75 / 8.75)
    assert (found["N"], found["SKIPPED"]) == (4, 1)
    [row] = rows_of(found["OUTPUT"])
    assert row == {"scale": found["SCALE"], "offset": found["OFFSET"], "n": 4}
    assert json.loads(found["RESULT"]) == row


def test_sens_slope_and_its_test_are_those_by_hand(layer):
    found = regress(layer, REDUCER="sensSlope", SIGNIFICANCE=True)

    # slopes 2, 2, 2, 22.25, 29, 42.5; all six pairs rise: S 6, variance 4 · 3 · 13 / 18
    assert found["SLOPE"] == pytest.approx((2 + 22.25) / 2)
    assert found["MANN_KENDALL_S"] == 6
    assert found["MANN_KENDALL_Z"] == pytest.approx(5 / math.sqrt(156 / 18))


def test_kendall_without_x_takes_the_number_of_the_row(layer):
    found = regress(layer, REDUCER="kendallsCorrelation", X=[])

    assert found["TAU"] == 1
    assert found["P_VALUE"] == pytest.approx(2 / math.factorial(4))  # two of 24 orders are so extreme


def test_constant_gives_the_intercept_typed_or_switched_on(layer):
    line = regress(layer)

    for parameters in ({"X": ["constant", "x"]}, {"CONSTANT": True}):
        found = json.loads(regress(layer, REDUCER="linearRegression", **parameters)["RESULT"])
        assert found["constant_y"] == pytest.approx(line["OFFSET"])
        assert found["x_y"] == pytest.approx(line["SCALE"])
    without = json.loads(regress(layer, REDUCER="linearRegression")["RESULT"])
    assert without["x_y"] == pytest.approx((0 + 3 + 10 + 360) / (0 + 1 + 4 + 16))
    default = json.loads(regress(layer, REDUCER="linearRegression", X=[])["RESULT"])
    assert default["time_y"] == pytest.approx(line["SCALE"])


def test_several_x_and_y_are_taken_in_their_order(layer):
    found = json.loads(regress(layer, REDUCER="linearRegression", X=["x", "constant"], Y=["z", "y"])["RESULT"])

    assert list(found)[:4] == ["x_z", "x_y", "constant_z", "constant_y"]


def test_settings_reach_their_reducer(layer):
    weak = json.loads(regress(layer, REDUCER="ridgeRegression", LAMBDA=0)["RESULT"])
    strong = json.loads(regress(layer, REDUCER="ridgeRegression", LAMBDA=8.75)["RESULT"])  # Σxx: halves the slope
    assert strong["x_y"] == pytest.approx(weak["x_y"] / 2)
    scaled = json.loads(regress(layer, REDUCER="ridgeRegression", LAMBDA=4, STANDARDIZE=True)["RESULT"])
    assert scaled["x_y"] == pytest.approx(weak["x_y"] / 2)  # Σ of four standardized squares is 4
    through = json.loads(regress(layer, REDUCER="ridgeRegression", LAMBDA=0, INTERCEPT=False)["RESULT"])
    assert "constant_y" not in through and through["x_y"] == pytest.approx(373 / 21)

    # residuals 16.2, -4.6, -25.5, 13.9; without the third row 9.3, -12.5, (-34), 3.1
    wide = regress(layer, REDUCER="robustLinearRegression", CONSTANT=True, BETA=1000, SIGNIFICANCE=True)
    tight = regress(layer, REDUCER="robustLinearRegression", CONSTANT=True, BETA=20, SIGNIFICANCE=True)
    assert (wide["INLIERS"], tight["INLIERS"]) == (4, 3)


def test_what_is_not_defined_is_empty(layer):
    found = regress(layer, REDUCER="pearsonsCorrelation", X=["z"], Y=["z"], OUTPUT="TEMPORARY_OUTPUT")
    assert found["CORRELATION"] == pytest.approx(1)

    layer.selectByExpression("x < 2")
    selected = QgsProcessingFeatureSourceDefinition(layer.id(), selectedFeaturesOnly=True)
    QgsProject.instance().addMapLayer(layer, False)
    try:
        found = regress(selected, REDUCER="pearsonsCorrelation", Y=["z"])
    finally:
        QgsProject.instance().takeMapLayer(layer)

    assert found["CORRELATION"] is None and found["N"] == 2  # z is 1 in both


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"X": ["nowhere"]}, "has no field 'nowhere'"),
        ({"X": ["x", "z"]}, "linearFit takes one variable"),
        ({"X": ["word"]}, "is 'a': it must be a number"),
        ({"X": ["x", "x"], "REDUCER": "linearRegression"}, "has x twice"),
        ({"X": ["constant", "x"], "CONSTANT": True, "REDUCER": "linearRegression"}, "switch CONSTANT off"),
        ({"INPUT": "/nowhere/table.csv"}, "cannot be read"),
    ],
)
def test_refusals_say_what_and_where(layer, parameters, words):
    fixed = {"INPUT": layer, "X": ["x"], "Y": ["y"], "OUTPUT": "TEMPORARY_OUTPUT"}

    assert words in refusal("regresscolumns", **{**fixed, **parameters})


def test_every_number_of_every_reducer_is_a_declared_output(layer, provider):
    declared = {output.name() for output in provider.algorithm("regresscolumns").outputDefinitions()}
    for reducer in REDUCERS:
        found = regress(layer, REDUCER=reducer.word, SIGNIFICANCE=True)
        assert set(found) <= declared
        assert len(found) > 4 or "linear" in reducer.word


def test_csv_of_text_columns_works_as_numbers(tmp_path):
    table = tmp_path / "table.csv"
    table.write_text("x,y\n0,1\n1,3\n2,\n3,7\n")

    found = regress(str(table), OUTPUT=str(tmp_path / "result.csv"))

    assert (found["SCALE"], found["SKIPPED"]) == (pytest.approx(2), 1)
    with (tmp_path / "result.csv").open() as lines:
        assert next(csv.DictReader(lines))["n"] == "3"


def test_log_zinc_on_the_root_of_dist_is_as_published(shared, tmp_path):
    source = QgsVectorLayer(str(shared / "data" / "meuse" / "meuse.shp"))
    table = tmp_path / "meuse.csv"
    rows = [(math.log(feature["zinc"]), math.sqrt(feature["dist"])) for feature in source.getFeatures()]
    np.savetxt(table, rows, delimiter=",", header="log_zinc,sqrt_dist", comments="")

    found = regress(str(table), X=["sqrt_dist"], Y=["log_zinc"])

    assert (round(found["OFFSET"], 4), round(found["SCALE"], 4), found["N"]) == (6.9944, -2.5492, 155)
