from __future__ import annotations

import processing
import pytest
from qgis.core import (
    QgsCategorizedSymbolRenderer,
    QgsFeature,
    QgsProcessingException,
    QgsProcessingFeatureSourceDefinition,
    QgsProcessingFeedback,
    QgsProject,
    QgsRendererCategory,
    QgsSymbol,
    QgsVectorLayer,
    QgsWkbTypes,
)
from rasterml.engine import sidecar
from rasterml.engine.classes import class_table

# Matrix with the check values of Earth Engine's reference, section 4.2, for classes 1, 2 and 4.
COUNTS = {(1, 1): 8, (1, 2): 1, (1, 4): 1, (2, 1): 2, (2, 2): 5, (4, 4): 3}


def layer_of(rows, kind="integer"):
    layer = QgsVectorLayer(f"None?field=class:{kind}&field=classification:{kind}", "samples", "memory")
    features = []
    for row in rows:
        feature = QgsFeature(layer.fields())
        feature.setAttributes(list(row))
        features.append(feature)
    layer.dataProvider().addFeatures(features)
    return layer


def checked_rows():
    return [pair for pair, count in COUNTS.items() for _ in range(count)]


def run(layer, feedback=None, **parameters):
    fixed = {"INPUT": layer, "ACTUAL": "class", "PREDICTED": "classification", "OUTPUT": "TEMPORARY_OUTPUT"}
    return processing.run("rasterml:errormatrix", {**fixed, **parameters}, feedback=feedback)


def refusal(layer, **parameters):
    """What QGIS says about a run that fails."""
    feedback = QgsProcessingFeedback()
    with pytest.raises(QgsProcessingException) as raised:
        run(layer, feedback=feedback, **parameters)
    return f"{raised.value} {feedback.textLog()}"


def table(results):
    layer = results["OUTPUT"] if isinstance(results["OUTPUT"], QgsVectorLayer) else QgsVectorLayer(results["OUTPUT"])
    names = [field.name() for field in layer.fields()]
    return [dict(zip(names, feature.attributes())) for feature in layer.getFeatures()]


def test_it_has_the_frozen_parameters_outputs_and_defaults(provider):
    algorithm = provider.algorithm("errormatrix")

    defaults = {item.name(): item.defaultValue() for item in algorithm.parameterDefinitions()}
    assert defaults == dict.fromkeys(
        ["INPUT", "ACTUAL", "PREDICTED", "ORDER", "BETA", "OUTPUT", "OUTPUT_HTML_FILE"]
    ) | {"BETA": 1}
    assert {item.name() for item in algorithm.outputDefinitions()} == {
        "OUTPUT", "OUTPUT_HTML_FILE", "ACCURACY", "KAPPA", "COUNT",
    }  # fmt: skip
    assert algorithm.groupId() == "accuracy"
    assert "errorMatrix" in algorithm.tags()


def test_the_figures_are_those_of_the_reference(provider):
    results = run(layer_of(checked_rows()))

    assert results["ACCURACY"] == pytest.approx(0.8)
    assert results["KAPPA"] == pytest.approx(0.674797, abs=5e-7)
    assert results["COUNT"] == 20


def test_the_table_has_a_row_per_actual_class_and_a_column_per_predicted_one(provider):
    rows = table(run(layer_of(checked_rows())))

    assert list(rows[0]) == [
        "actual", "name", "p0", "p1", "p2", "p3", "p4", "total", "producers_accuracy", "consumers_accuracy", "fscore",
    ]  # fmt: skip
    assert [row["actual"] for row in rows] == [0, 1, 2, 3, 4]
    assert list(rows[1].values())[:8] == [1, "1", 0, 8, 1, 0, 1, 10]
    assert rows[2]["producers_accuracy"] == pytest.approx(5 / 7)
    assert rows[2]["consumers_accuracy"] == pytest.approx(5 / 6)
    assert rows[2]["fscore"] == pytest.approx(0.769231, abs=5e-7)
    assert not rows[3]["producers_accuracy"]  # NULL


def test_beta_weighs_the_fscore(provider):
    rows = table(run(layer_of(checked_rows()), BETA=2, ORDER="1,2,4"))

    assert [row["fscore"] for row in rows] == pytest.approx([0.8, 0.735294, 0.9375], abs=5e-7)


def test_an_order_fixes_the_classes_and_other_rows_are_ignored(provider):
    results = run(layer_of(checked_rows()), ORDER="4, 1")
    rows = table(results)

    assert [(row["actual"], row["p4"], row["p1"]) for row in rows] == [(4, 3, 0), (1, 1, 8)]
    assert results["COUNT"] == 12
    assert results["ACCURACY"] == pytest.approx(11 / 12)


def test_texts_are_compared_as_texts(provider):
    layer = layer_of([("water", "water"), ("forest", "water"), ("water", "forest"), ("ice", None)], "string(20)")
    results = run(layer)

    assert [row["name"] for row in table(results)] == ["forest", "water"]
    assert results["COUNT"] == 3
    assert results["ACCURACY"] == pytest.approx(1 / 3)
    assert [row["name"] for row in table(run(layer, ORDER="water,bare"))] == ["water", "bare"]


def test_text_against_numbers_is_refused_with_the_way_out(provider):
    layer = QgsVectorLayer("None?field=class:string(20)&field=classification:integer", "samples", "memory")
    feature = QgsFeature(layer.fields())
    feature.setAttributes(["forest", 7])
    layer.dataProvider().addFeatures([feature])

    assert "for example with the field 'classification_name'" in refusal(layer)


def test_a_fraction_is_refused_with_its_feature(provider):
    assert "Field 'classification' of feature 2 holds 1.5" in refusal(layer_of([(0, 0), (7, 1.5)], "double"))


def test_an_unknown_field_is_refused_before_the_run(provider):
    assert "no field 'klass'" in refusal(layer_of([(0, 7)]), ACTUAL="klass")


def test_what_is_undefined_is_null(provider):
    results = run(layer_of([(None, 7)]))

    assert results["COUNT"] == 0
    assert results["ACCURACY"] is None
    assert results["KAPPA"] is None


def test_only_selected_rows_count_when_asked_for(provider):
    layer = layer_of([(0, 0), (7, 7), (7, 0)])
    QgsProject.instance().addMapLayer(layer)
    try:
        layer.selectByIds([3])
        results = run(QgsProcessingFeatureSourceDefinition(layer.id(), selectedFeaturesOnly=True))
    finally:
        QgsProject.instance().removeMapLayer(layer.id())

    assert (results["COUNT"], results["ACCURACY"]) == (1, 0)


def test_names_of_numeric_classes_come_from_the_categories_of_the_layer(provider):
    layer = layer_of([(0, 0), (1, 0)])
    symbol = QgsSymbol.defaultSymbol
    points = QgsVectorLayer("Point?field=class:integer&field=classification:integer", "points", "memory")
    points.dataProvider().addFeatures(list(layer.getFeatures()))
    categories = [
        QgsRendererCategory(value, symbol(QgsWkbTypes.GeometryType.PointGeometry), name)
        for value, name in ((0, "forest"), (1, "water"))
    ]
    points.setRenderer(QgsCategorizedSymbolRenderer("class", categories))

    assert [row["name"] for row in table(run(points))] == ["forest", "water"]


def test_names_of_numeric_classes_come_from_the_sidecar_of_the_table(provider):
    layer = layer_of([(0, 0), (1, 0)])
    notes = sidecar.Notes(class_property="class", classes=class_table((0, 1), {0: "forest", 1: "water"}))
    layer.setCustomProperty(sidecar.CUSTOM_PROPERTY, sidecar.as_text(notes))

    assert [row["name"] for row in table(run(layer, ORDER="water,0"))] == ["water", "forest"]


@pytest.mark.parametrize(("extension", "written"), [("gpkg", "gpkg"), ("csv", "csv"), ("shp", "dbf")])
def test_the_table_can_be_written_to_a_file(provider, tmp_path, extension, written):
    run(layer_of(checked_rows()), OUTPUT=str(tmp_path / f"matrix.{extension}"))
    layer = QgsVectorLayer(str(tmp_path / f"matrix.{written}"))  # a Shapefile without geometry is its .dbf alone
    rows = [feature.attributeMap() for feature in layer.getFeatures()]

    assert [int(row["actual"]) for row in rows] == [0, 1, 2, 3, 4]
    assert [int(row["p1"]) for row in rows] == [0, 8, 2, 0, 0]
    assert float(rows[1]["consumers_accuracy"[: 10 if written == "dbf" else None]]) == pytest.approx(0.8)


def test_the_report_holds_the_matrix(provider, tmp_path):
    report = tmp_path / "report.html"
    results = run(layer_of([*checked_rows(), (None, 1)]), OUTPUT_HTML_FILE=str(report))

    assert results["OUTPUT_HTML_FILE"] == str(report)
    text = report.read_text(encoding="utf-8")
    assert "0.6748" in text
    assert "Rows without a value" in text


def test_a_report_in_a_missing_folder_is_refused_and_no_table_is_left(provider, tmp_path):
    table, report = str(tmp_path / "matrix.csv"), str(tmp_path / "missing" / "report.html")

    assert "missing does not exist" in refusal(layer_of([(0, 7)]), OUTPUT=table, OUTPUT_HTML_FILE=report)
    assert list(tmp_path.iterdir()) == []
