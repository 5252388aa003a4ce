"""Trees as text become a model that maps."""

from __future__ import annotations

import json

import numpy as np
import pytest
from qgis.core import QgsProcessingFeedback
from small_world import pinned, read, refusal, rows_of, run, table, trained, values, write_image

pytestmark = pytest.mark.usefixtures("provider")

TREE = "1) root 9999 9999 9999\n2) red<=50 9999 9999 3 *\n3) red>50 9999 9999 -2 *"


def test_it_has_the_frozen_parameters(provider):
    algorithm = provider.algorithm("decisiontree")

    assert pinned(algorithm) == {
        "TREES": None,
        "TREE_STRING": None,
        "MODE": "CLASSIFICATION",
        "LIMITS": "Warn",
        "OUTPUT": None,
        "OUTPUT_HTML_FILE": None,
    }
    assert algorithm.groupId() == "classifiers"
    assert "decisionTree" in algorithm.tags()


def test_text_becomes_a_map_and_masked_pixels_stay_masked(tmp_path):
    results = run("decisiontree", TREE_STRING=TREE, OUTPUT=str(tmp_path / "m.rasterml"))
    image = write_image(tmp_path / "image.tif")

    run("classify", INPUT=[image], MODEL=results["OUTPUT"], OUTPUT=str(tmp_path / "map.tif"))

    assert {name: results[name] for name in ("TREES", "PREDICTORS", "CLASSES")} == {
        "TREES": 1,
        "PREDICTORS": 1,
        "CLASSES": 2,
    }
    assert results["MODEL_BYTES"] == (tmp_path / "m.rasterml").stat().st_size
    classes = read(tmp_path / "map.tif")[0]
    assert np.array_equal(classes[5:], np.where(values()[0, 5:] <= 50, 3, -2))
    assert (classes[:5] == -(2**31)).all()  # negative classes need Int32


def test_explanation_of_a_forest_becomes_the_same_forest(tmp_path):
    forest = trained(tmp_path / "forest.rasterml")
    run("explain", MODEL=forest, OUTPUT=str(tmp_path / "explain.json"))

    results = run(
        "decisiontree",
        TREES=str(tmp_path / "explain.json"),
        OUTPUT=str(tmp_path / "m.rasterml"),
        OUTPUT_HTML_FILE=str(tmp_path / "page.html"),
    )

    assert results["TREES"] == 9
    assert "First of 9 trees" in (tmp_path / "page.html").read_text()
    image = write_image(tmp_path / "image.tif")
    maps = []
    for name, model in (("a", forest), ("b", results["OUTPUT"])):
        run("classify", INPUT=[image], MODEL=model, OUTPUT_MODE="RAW", OUTPUT=str(tmp_path / f"{name}.tif"))
        maps.append(read(tmp_path / f"{name}.tif"))
    assert np.array_equal(*maps)  # no pixel lies within 5 millionths of a threshold


def test_regression_gives_values_and_their_mean(tmp_path):
    path = tmp_path / "trees.json"
    path.write_text(json.dumps([TREE.replace("-2", "0.5"), "1) root 5 0 1.5 *"]))
    model = run("decisiontree", TREES=str(path), MODE="REGRESSION", OUTPUT=str(tmp_path / "m.rasterml"))["OUTPUT"]

    run("classifytable", INPUT=table(), MODEL=model, OUTPUT=str(tmp_path / "rows.gpkg"))

    for row in rows_of(tmp_path / "rows.gpkg"):
        assert row["classification"] == (2.25 if row["red"] <= 50 else 1)


def test_root_alone_gives_every_unmasked_pixel_its_class(tmp_path):
    results = run("decisiontree", TREE_STRING="1) root 5 0 4 *", OUTPUT=str(tmp_path / "m.rasterml"))
    image = write_image(tmp_path / "image.tif")

    run("classify", INPUT=[image], MODEL=results["OUTPUT"], OUTPUT=str(tmp_path / "map.tif"))
    run("classifytable", INPUT=table(), MODEL=results["OUTPUT"], OUTPUT=str(tmp_path / "rows.gpkg"))

    assert results["PREDICTORS"] == 0
    classes = read(tmp_path / "map.tif")[0]
    assert (classes[:5] == 255).all() and (classes[5:] == 4).all()
    assert {row["classification"] for row in rows_of(tmp_path / "rows.gpkg")} == {4}


def test_order_that_earth_engine_refuses_is_a_warning(tmp_path):
    feedback = QgsProcessingFeedback()
    one, two, three = TREE.splitlines()

    run(
        "decisiontree",
        feedback=feedback,
        TREE_STRING="\n".join((one, three, two)),
        OUTPUT=str(tmp_path / "m.rasterml"),
    )

    assert "Error parsing line 2: expected 2, got 3." in feedback.textLog()


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({}, "There are no trees: give either a file as TREES or text as TREE_STRING"),
        ({"TREES": "x.txt", "TREE_STRING": TREE}, "Both TREES and TREE_STRING are given"),
        ({"TREES": "missing.txt"}, "missing.txt cannot be read as text"),
        ({"TREE_STRING": TREE.replace("-2", "0.5")}, "choose MODE=REGRESSION"),
        ({"TREE_STRING": "digraph {}"}, "call explain() again"),
    ],
)
def test_failure_is_a_sentence_and_leaves_no_file(parameters, said, tmp_path):
    assert said in refusal("decisiontree", OUTPUT=str(tmp_path / "m.rasterml"), **parameters)
    assert list(tmp_path.iterdir()) == []


def test_confusion_matrix_says_that_nothing_was_trained(tmp_path):
    model = run("decisiontree", TREE_STRING=TREE, OUTPUT=str(tmp_path / "m.rasterml"))["OUTPUT"]

    said = refusal("confusionmatrix", MODEL=model, OUTPUT=str(tmp_path / "matrix.csv"))

    assert "holds no confusion matrix" in said
