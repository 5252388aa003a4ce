"""Training from the toolbox: what goes in, what comes out, what is refused."""

from __future__ import annotations

import pytest
from qgis.core import (
    NULL,
    QgsCategorizedSymbolRenderer,
    QgsProcessingFeedback,
    QgsProcessingParameterDefinition,
    QgsProject,
    QgsRendererCategory,
    QgsSymbol,
    QgsVectorFileWriter,
    QgsVectorLayer,
    QgsWkbTypes,
)
from qgis.PyQt.QtGui import QColor
from rasterml.engine import sidecar
from rasterml.engine.models import load_model
from small_world import pinned, refusal, rows_of, run, table, trained

pytestmark = pytest.mark.usefixtures("provider")


def fixed(tmp_path, **more):
    return {
        "TRAINING": [table()], "CLASS_PROPERTY": "landclass", "NUMBER_OF_TREES": 5,
        "OUTPUT": str(tmp_path / "m.rasterml"), **more,
    }  # fmt: skip


def save(layer, path, driver):
    options = QgsVectorFileWriter.SaveVectorOptions()
    options.driverName = driver
    written = QgsVectorFileWriter.writeAsVectorFormatV3(
        layer, str(path), QgsProject.instance().transformContext(), options
    )
    assert written[0] == QgsVectorFileWriter.WriterError.NoError, written
    return str(path)


def test_it_has_the_frozen_parameters_outputs_and_defaults(provider):
    algorithm = provider.algorithm("trainrandomforest")

    assert pinned(algorithm) == {
        "TRAINING": None, "CLASS_PROPERTY": None, "INPUT_PROPERTIES": None,
        "SUBSAMPLING": 1.0, "SUBSAMPLING_SEED": 0,
        "MODE": "CLASSIFICATION", "NUMBER_OF_TREES": 100, "VARIABLES_PER_SPLIT": None, "MIN_LEAF_POPULATION": 1,
        "BAG_FRACTION": 0.5, "MAX_NODES": None, "SEED": 0,
        "LIMITS": "Warn", "THREADS": 0, "OUTPUT": None, "OUTPUT_HTML_FILE": None,
    }  # fmt: skip
    assert {output.name() for output in algorithm.outputDefinitions()} == {
        "OUTPUT", "OUTPUT_HTML_FILE", "EXAMPLES", "PREDICTORS", "CLASSES", "TRAINING_BYTES", "MODEL_BYTES",
        "TRAINING_ACCURACY", "OUT_OF_BAG_ERROR",
    }  # fmt: skip
    assert algorithm.groupId() == "classifiers"
    assert "smileRandomForest" in algorithm.tags()
    assert algorithm.shortHelpString().startswith("<p><b>Earth Engine: ee.Classifier.smileRandomForest</b>")
    advanced = {
        parameter.name()
        for parameter in algorithm.parameterDefinitions()
        if parameter.flags() & QgsProcessingParameterDefinition.Flag.FlagAdvanced
    }
    assert {"SEED", "THREADS", "LIMITS", "SUBSAMPLING_SEED"} <= advanced


def test_results_tell_what_was_trained(tmp_path):
    results = run("trainrandomforest", **fixed(tmp_path))

    assert (results["EXAMPLES"], results["PREDICTORS"], results["CLASSES"]) == (200, 2, 2)
    assert results["TRAINING_BYTES"] == 200 * 2 * 4
    assert results["MODEL_BYTES"] == (tmp_path / "m.rasterml").stat().st_size
    assert 0.9 < results["TRAINING_ACCURACY"] <= 1
    assert 0 < results["OUT_OF_BAG_ERROR"] < 0.3
    model = load_model(tmp_path / "m.rasterml")
    assert model.predictors == ("red", "nir")
    assert [item.value for item in model.classes] == [0, 7]


def test_every_setting_arrives_at_the_engine(tmp_path):
    run(
        "trainrandomforest",
        **fixed(
            tmp_path, VARIABLES_PER_SPLIT=2, MIN_LEAF_POPULATION=4, BAG_FRACTION=0.25, MAX_NODES=3, SEED=11, THREADS=1,
            INPUT_PROPERTIES=["nir", "red"], SUBSAMPLING=0.5, SUBSAMPLING_SEED=3,
        ),
    )  # fmt: skip

    model = load_model(tmp_path / "m.rasterml")
    assert model.settings == {
        "number_of_trees": 5, "variables_per_split": 2, "min_leaf_population": 4, "bag_fraction": 0.25,
        "max_nodes": 3, "seed": 11,
    }  # fmt: skip
    assert model.predictors == ("nir", "red")
    assert 60 < model.training["rows"] < 140


def test_regression_mode(tmp_path):
    layer = table(labels=("-2.5", "40.25"), kind="double")
    results = run("trainrandomforest", **fixed(tmp_path, TRAINING=[layer], MODE="REGRESSION"))

    assert results["CLASSES"] == 0
    assert 0.5 < results["TRAINING_ACCURACY"] <= 1
    assert load_model(tmp_path / "m.rasterml").output_modes == ("REGRESSION", "RAW_REGRESSION")


def test_tables_accumulate_and_text_labels_keep_their_names(tmp_path):
    first = table(labels=("water", "forest"), kind="string", rows=50)
    second = table(labels=("lake", "forest"), kind="string", rows=70, seed=2)

    results = run("trainrandomforest", **fixed(tmp_path, TRAINING=[first, second]))

    assert results["EXAMPLES"] == 120
    assert [item.name for item in load_model(tmp_path / "m.rasterml").classes] == ["forest", "lake", "water"]


@pytest.mark.parametrize(
    ("driver", "extension"), [("GPKG", "gpkg"), ("GeoJSON", "geojson"), ("CSV", "csv"), ("ESRI Shapefile", "shp")]
)
def test_any_table_format_gives_the_same_model(driver, extension, tmp_path):
    path = save(table(), tmp_path / f"samples.{extension}", driver)

    run("trainrandomforest", **fixed(tmp_path, TRAINING=[path]))
    run("trainrandomforest", **fixed(tmp_path, OUTPUT=str(tmp_path / "memory.rasterml")))

    model, memory = load_model(tmp_path / "m.rasterml"), load_model(tmp_path / "memory.rasterml")
    assert model.predictors == memory.predictors
    assert (model.arrays["leaf_counts"] == memory.arrays["leaf_counts"]).all()


def test_plain_csv_of_numbers_needs_no_choice_of_fields(tmp_path):
    """Without .csvt QGIS reads text only; an id that is a name (3_17) is no number."""
    rows = ["id,key,landclass,red,nir"]
    rows += [
        f"{number},3_{number},{row['landclass']},{row['red']!r},{row['nir']!r}"
        for number, row in enumerate(rows_of(table()))
    ]
    (tmp_path / "plain.csv").write_text("\n".join(rows))

    run("trainrandomforest", **fixed(tmp_path, TRAINING=[str(tmp_path / "plain.csv")]))

    assert load_model(tmp_path / "m.rasterml").predictors == ("red", "nir")
    assert (
        run("checklimits", TRAINING=[str(tmp_path / "plain.csv")], CLASS_PROPERTY="landclass")["TRAINING_VALUES"] == 400
    )


def test_sidecar_gives_whole_names_and_the_class_table(tmp_path):
    layer = table(bands=("a_very_long_name", "a_very_long_name_2"))
    path = save(layer, tmp_path / "samples.shp", "ESRI Shapefile")
    from rasterml.engine.classes import LandClass

    stored = [field.name() for field in QgsVectorLayer(path).fields()]
    notes = sidecar.Notes(
        dict(zip(stored, ["landclass", "system_index", "a_very_long_name", "a_very_long_name_2"])),
        ("a_very_long_name", "a_very_long_name_2"),
        "landclass",
        (LandClass(0, "water", "#0000aa"), LandClass(7, "forest", "#00aa00")),
    )
    sidecar.write(path, "samples", notes)

    run("trainrandomforest", **fixed(tmp_path, TRAINING=[path]))

    model = load_model(tmp_path / "m.rasterml")
    assert model.predictors == ("a_very_long_name", "a_very_long_name_2")
    assert [tuple(item) for item in model.classes] == [(0, "water", "#0000aa"), (7, "forest", "#00aa00")]


def styled(layer):
    categories = []
    for value, name, colour in ((0, "water", "#0000aa"), (7, "forest", "#00aa00")):
        symbol = QgsSymbol.defaultSymbol(QgsWkbTypes.GeometryType.PointGeometry)
        symbol.setColor(QColor(colour))
        categories.append(QgsRendererCategory(value, symbol, name))
    layer.setRenderer(QgsCategorizedSymbolRenderer("landclass", categories))
    return layer


def test_renderer_lends_names_and_colours(tmp_path):
    run("trainrandomforest", **fixed(tmp_path, TRAINING=[styled(table())]))

    classes = load_model(tmp_path / "m.rasterml").classes
    assert [tuple(item) for item in classes] == [(0, "water", "#0000aa"), (7, "forest", "#00aa00")]


def test_style_beside_a_file_lends_names_and_colours(tmp_path):
    path = save(table(), tmp_path / "samples.gpkg", "GPKG")
    styled(QgsVectorLayer(path)).saveNamedStyle(str(tmp_path / "samples.qml"))

    run("trainrandomforest", **fixed(tmp_path, TRAINING=[path]))

    classes = load_model(tmp_path / "m.rasterml").classes
    assert [tuple(item) for item in classes] == [(0, "water", "#0000aa"), (7, "forest", "#00aa00")]


def test_report_is_written_when_asked(tmp_path):
    run("trainrandomforest", **fixed(tmp_path, OUTPUT_HTML_FILE=str(tmp_path / "report.html")))

    assert "nir" in (tmp_path / "report.html").read_text()


def spoiled(value, field="red"):
    layer = table()
    provider = layer.dataProvider()
    feature = next(layer.getFeatures())
    provider.changeAttributeValues({feature.id(): {layer.fields().lookupField(field): value}})
    return layer, feature.id()


def test_missing_value_is_named_with_its_feature(tmp_path):
    layer, feature = spoiled(NULL)

    assert f"Property 'red' of feature '{feature}' in 'samples' is missing" in refusal(
        "trainrandomforest", **fixed(tmp_path, TRAINING=[layer])
    )
    assert list(tmp_path.iterdir()) == []


def test_missing_label_is_named_with_its_feature(tmp_path):
    layer, feature = spoiled(NULL, "landclass")

    assert f"Property 'landclass' of feature '{feature}'" in refusal(
        "trainrandomforest", **fixed(tmp_path, TRAINING=[layer])
    )


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"CLASS_PROPERTY": "nothing"}, "has no field 'nothing': it has landclass, system_index, red, nir"),
        ({"INPUT_PROPERTIES": ["red", "swir"]}, "has no field 'swir'"),
        ({"INPUT_PROPERTIES": ["red", "landclass"]}, "is among the predictors"),
        ({"TRAINING": ["/nowhere/table.gpkg"]}, "TRAINING"),
        ({"INPUT_PROPERTIES": ["system_index"]}, "it must be a number"),
        ({"VARIABLES_PER_SPLIT": 3}, "VARIABLES_PER_SPLIT is 3, but there are only 2 predictors"),
        ({"SUBSAMPLING": 0}, "SUBSAMPLING is 0"),
        ({"TRAINING": "one class"}, "Only one class: every sample has landclass = 4"),
        ({"TRAINING": "fractions"}, "Class 1.5 in landclass is not a whole number"),
        ({"OUTPUT": "nowhere/m.rasterml"}, "the folder"),
    ],
)
def test_what_cannot_be_trained_is_said_in_a_sentence(change, sentence, tmp_path):
    if change.get("TRAINING") == "one class":
        change = {"TRAINING": [table(labels=("4", "4"))]}
    if change.get("TRAINING") == "fractions":
        change = {"TRAINING": [table(labels=("1", "1.5"), kind="double")]}
    if "OUTPUT" in change:
        change = {"OUTPUT": str(tmp_path / change["OUTPUT"])}

    assert sentence in refusal("trainrandomforest", **fixed(tmp_path, **change))
    assert list(tmp_path.iterdir()) == []


def test_training_cap_holds_for_each_table_on_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr("rasterml.engine.limits.TRAINING_VALUES_CAP", 250)
    small = [table(rows=100, name="first"), table(rows=120, name="second", seed=2)]  # 200 and 240 values

    assert run("trainrandomforest", **fixed(tmp_path, TRAINING=small, LIMITS="Enforce"))["EXAMPLES"] == 220
    (tmp_path / "m.rasterml").unlink()
    large = [table(rows=100, name="first"), table(rows=130, name="second", seed=2)]  # 200 and 260 values
    said = refusal("trainrandomforest", **fixed(tmp_path, TRAINING=large, LIMITS="Enforce"))
    assert "Training data (second): 130 rows × 2 predictors" in said
    assert "Set SUBSAMPLING=0." in said
    assert list(tmp_path.iterdir()) == []

    feedback = QgsProcessingFeedback()
    run("trainrandomforest", feedback=feedback, **fixed(tmp_path, TRAINING=large))
    assert "over Earth Engine's cap" in feedback.textLog()
    feedback = QgsProcessingFeedback()
    run("trainrandomforest", feedback=feedback, **fixed(tmp_path, TRAINING=large, LIMITS="Ignore"))
    assert "over Earth Engine's cap" not in feedback.textLog()


def test_enforced_model_cap_stops_before_the_fit(tmp_path):
    # 100,000 trees of up to 100 leaves could take 100,000 · (16 + 199 · 14 + 100 · 8) bytes
    said = refusal("trainrandomforest", **fixed(tmp_path, NUMBER_OF_TREES=100_000, LIMITS="Enforce"))

    assert "Model: 360,200,000 bytes" in said
    assert "NUMBER_OF_TREES=" in said
    assert list(tmp_path.iterdir()) == []


def test_enforced_model_cap_writes_nothing_after_the_fit(tmp_path, monkeypatch):
    monkeypatch.setattr("rasterml.engine.forest.largest_forest", lambda *rest: None)
    monkeypatch.setattr("rasterml.engine.limits.MODEL_BYTES_CAP", 100)

    assert "over Earth Engine's cap" in refusal("trainrandomforest", **fixed(tmp_path, LIMITS="Enforce"))
    assert list(tmp_path.iterdir()) == []


def test_missing_library_is_one_sentence(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "sklearn", None)

    assert "Training needs scikit-learn, which this QGIS does not have: install python3-sklearn" in refusal(
        "trainrandomforest", **fixed(tmp_path)
    )


def test_model_is_the_same_for_any_number_of_threads(tmp_path):
    trained(tmp_path / "one.rasterml", THREADS=1)
    trained(tmp_path / "four.rasterml", THREADS=4)

    assert (tmp_path / "one.rasterml").read_bytes() == (tmp_path / "four.rasterml").read_bytes()
