"""`rasterml:randomcolumn` in a real QGIS."""

from __future__ import annotations

import math

import numpy as np
import processing
import pytest
from qgis.core import NULL, QgsProcessingFeatureSourceDefinition, QgsProject, QgsVectorLayer
from qgis.PyQt.QtCore import QDate
from rasterml.engine import sidecar
from rasterml.engine.classes import LandClass
from small_world import pinned, refusal, rows_of, run, table

pytestmark = pytest.mark.usefixtures("provider")


def numbers(layer, column="random", **parameters) -> list[float]:
    output = run("randomcolumn", INPUT=layer, OUTPUT="TEMPORARY_OUTPUT", **parameters)["OUTPUT"]
    return [row[column] for row in rows_of(output)]


def keyed(memory_layer, kind, values) -> QgsVectorLayer:
    return memory_layer("NoGeometry", [f"key:{kind}", "part:string"], [(None, value, "a") for value in values])


def kolmogorov(shares) -> float:
    """The statistic of Kolmogorov's test that *shares* are uniform, times the root of their number."""
    ordered, steps = np.sort(shares), np.arange(len(shares) + 1) / len(shares)
    return max((steps[1:] - ordered).max(), (ordered - steps[:-1]).max()) * math.sqrt(len(shares))


def test_it_has_the_frozen_parameters_outputs_and_defaults(provider):
    algorithm = provider.algorithm("randomcolumn")

    assert pinned(algorithm) == {
        "INPUT": None, "COLUMN_NAME": "random", "DISTRIBUTION": "uniform", "ROW_KEYS": None, "SEED": 0, "OUTPUT": None,
    }  # fmt: skip
    assert algorithm.groupId() == "sampling"
    assert "randomColumn" in algorithm.tags()
    assert algorithm.shortHelpString().startswith("<p><b>Earth Engine: ee.FeatureCollection.randomColumn</b>")


def test_rows_keep_their_fields_and_places_and_get_a_number(provider):
    layer = table(rows=30)

    result = run("randomcolumn", INPUT=layer, OUTPUT="TEMPORARY_OUTPUT")

    rows, old = rows_of(result["OUTPUT"]), rows_of(layer)
    assert [{name: row[name] for name in old[0]} for row in rows] == old
    assert [feature.geometry().asWkt() for feature in result["OUTPUT"].getFeatures()] == [
        feature.geometry().asWkt() for feature in layer.getFeatures()
    ]
    assert result["OUTPUT"].crs() == layer.crs()
    assert result["COUNT"] == 30
    assert all(0 <= row["random"] < 1 for row in rows)


def test_the_column_stands_left_of_system_index_where_no_training_takes_it(memory_layer):
    sampled = run("randomcolumn", INPUT=table(), COLUMN_NAME="part", OUTPUT="TEMPORARY_OUTPUT")["OUTPUT"]
    plain = run("randomcolumn", INPUT=keyed(memory_layer, "int", [1]), OUTPUT="TEMPORARY_OUTPUT")["OUTPUT"]

    assert [field.name() for field in sampled.fields()] == ["landclass", "part", "system_index", "red", "nir"]
    assert [field.name() for field in plain.fields()] == ["key", "part", "random"]


def test_a_column_of_that_name_is_replaced_whatever_its_case():
    output = run("randomcolumn", INPUT=table(rows=20), COLUMN_NAME="RED", OUTPUT="TEMPORARY_OUTPUT")["OUTPUT"]

    assert [field.name() for field in output.fields()] == ["landclass", "RED", "system_index", "nir"]
    assert all(0 <= row["RED"] < 1 for row in rows_of(output))


def test_order_of_rows_does_not_matter(memory_layer):
    values = list(range(50))

    assert (
        numbers(keyed(memory_layer, "int", values[::-1]), ROW_KEYS=["key"])
        == numbers(keyed(memory_layer, "int", values), ROW_KEYS=["key"])[::-1]
    )


def test_integer_and_decimal_ids_have_the_same_numbers(memory_layer):
    expected = numbers(keyed(memory_layer, "int", [1, 2, 70]), ROW_KEYS=["key"])

    assert numbers(keyed(memory_layer, "double", [1.0, 2.0, 70.0]), ROW_KEYS=["key"]) == expected
    assert len(set(expected)) == 3


def test_equal_keys_have_equal_numbers_and_null_is_a_key(memory_layer):
    first, second, third, fourth = numbers(keyed(memory_layer, "int", [5, NULL, 5, NULL]), ROW_KEYS=["key"])

    assert first == third != second == fourth


def test_every_key_field_counts(memory_layer):
    layer = memory_layer("NoGeometry", ["a:string", "b:string"], [(None, "x", "y"), (None, "x", "z"), (None, "xy", "")])

    assert len(set(numbers(layer, ROW_KEYS=["a", "b"]))) == 3
    assert len(set(numbers(layer, ROW_KEYS=["a"]))) == 2


def test_dates_are_keys(memory_layer):
    days = [QDate(2020, 1, 1), QDate(2020, 1, 2), QDate(2020, 1, 1)]

    first, second, third = numbers(keyed(memory_layer, "date", days), ROW_KEYS=["key"])

    assert first == third != second


def test_a_seed_repeats_and_another_differs(memory_layer):
    layer = keyed(memory_layer, "int", range(50))

    assert numbers(layer, SEED=3) == numbers(layer, SEED=3)
    assert not set(numbers(layer, SEED=3)) & set(numbers(layer, SEED=4))


@pytest.mark.parametrize("distribution", ["uniform", "normal"])
def test_numbers_are_distributed_as_asked(memory_layer, distribution):
    layer = keyed(memory_layer, "int", range(10_000))

    found = np.array(numbers(layer, DISTRIBUTION=distribution, SEED=1))

    shares = found if distribution == "uniform" else [math.erfc(-value / math.sqrt(2)) / 2 for value in found.tolist()]
    assert kolmogorov(shares) < 1.949  # passed once in 1000 samples (Smirnov's table)
    counts = np.histogram(shares, bins=10, range=(0, 1))[0]
    assert ((counts - 1000) ** 2 / 1000).sum() < 27.88  # the same of chi square with 9 degrees of freedom


def test_only_selected_rows_are_taken(memory_layer):
    layer = keyed(memory_layer, "int", range(10))
    expected = numbers(layer)
    layer.selectByIds([3, 8])
    QgsProject.instance().addMapLayer(layer, False)
    try:
        chosen = QgsProcessingFeatureSourceDefinition(layer.id(), selectedFeaturesOnly=True)
        output = run("randomcolumn", INPUT=chosen, OUTPUT="TEMPORARY_OUTPUT")["OUTPUT"]
    finally:
        QgsProject.instance().takeMapLayer(layer)

    assert {row["key"]: row["random"] for row in rows_of(output)} == {2: expected[2], 7: expected[7]}


def test_class_table_and_bands_go_on(tmp_path):
    layer = table(rows=20)
    classes = (LandClass(0, "water", "#0000ff"), LandClass(7, "wood", "#00ff00"))
    notes = sidecar.Notes(bands=("red", "nir"), class_property="landclass", classes=classes)
    layer.setCustomProperty(sidecar.CUSTOM_PROPERTY, sidecar.as_text(notes))
    target = str(tmp_path / "with.gpkg")

    run("randomcolumn", INPUT=layer, OUTPUT=target)
    run("randomcolumn", INPUT=target, COLUMN_NAME="nir", OUTPUT=str(tmp_path / "again.gpkg"))

    found = sidecar.read(target)
    assert (found.bands, found.class_property, found.classes) == (("red", "nir"), "landclass", classes)
    assert sidecar.read(tmp_path / "again.gpkg").bands == ("red",)


def test_names_that_a_shapefile_cut_are_whole_again(tmp_path):
    layer = table(rows=20, bands=("reflectance_red", "reflectance_nir"))
    cut, whole = str(tmp_path / "cut.shp"), str(tmp_path / "whole.gpkg")

    run("randomcolumn", INPUT=layer, COLUMN_NAME="random_number", OUTPUT=cut)
    run("randomcolumn", INPUT=cut, COLUMN_NAME="other", OUTPUT=whole)

    names = [field.name() for field in QgsVectorLayer(whole).fields()]
    assert names[1:] == [
        "landclass", "random_number", "other", "system_index", "reflectance_red", "reflectance_nir",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["with.gpkg", "with.geojson", "with.csv", "with.shp"])
def test_every_format_gives_the_numbers_back(memory_layer, tmp_path, name):
    layer = keyed(memory_layer, "int", range(5))

    run("randomcolumn", INPUT=layer, ROW_KEYS=["key"], OUTPUT=str(tmp_path / name))

    path = tmp_path / ("with.dbf" if name == "with.shp" else name)
    found = [float(row["random"]) for row in rows_of(QgsVectorLayer(str(path)))]
    assert found == pytest.approx(numbers(layer, ROW_KEYS=["key"]), abs=1e-14)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"INPUT": "nowhere.gpkg"}, "INPUT nowhere.gpkg cannot be read as a layer"),
        ({"ROW_KEYS": ["place"]}, "has no field 'place': it has landclass, system_index, red, nir"),
        ({"COLUMN_NAME": " "}, "COLUMN_NAME is empty"),
        ({"COLUMN_NAME": "FID"}, "COLUMN_NAME 'FID' is the name of the rows' own numbers"),
        ({"COLUMN_NAME": "system_index"}, "choose another one"),
    ],
)
def test_what_cannot_work_is_said_and_nothing_written(tmp_path, changed, message):
    parameters = {"INPUT": table(rows=5), "OUTPUT": str(tmp_path / "with.gpkg"), **changed}

    assert message in refusal("randomcolumn", **parameters)
    assert list(tmp_path.iterdir()) == []


def test_own_input_is_refused_as_output(tmp_path):
    path = str(tmp_path / "samples.gpkg")
    processing.run("native:savefeatures", {"INPUT": table(rows=5), "OUTPUT": path})

    assert "is an input of this run" in refusal("randomcolumn", INPUT=path, OUTPUT=path)
    assert len(rows_of(path)) == 5


def test_a_layer_without_rows_gives_a_table_without_rows(memory_layer):
    assert numbers(keyed(memory_layer, "int", [])) == []
