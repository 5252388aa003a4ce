from __future__ import annotations

import numpy as np
import processing
import pytest
from qgis.core import QgsProcessingException, QgsProcessingFeedback
from rasterml.engine.classes import class_table
from rasterml.engine.models import Model, save_model


def forest(mode="CLASSIFICATION", confusion=((8, 2), (1, 4)), values=(1, 7)):
    """A forest of one tree that is a leaf: what it predicts does not matter here."""
    arrays = {
        "tree_start": np.array([0, 1], dtype=np.int64),
        "feature": np.array([-1], dtype=np.int16),
        "threshold": np.zeros(1),
        "right": np.array([0], dtype=np.int32),
    }
    training = {"rows": 15, "bytes": 60, "accuracy": 0.8}
    if mode == "CLASSIFICATION":
        arrays |= {"leaf_counts": np.array([[9, 6]], dtype=np.uint16), "tree_weight": np.ones(1)}
        classes = class_table(values, dict(zip(values, ("forest", "water"))))
        training |= {"confusion": [list(row) for row in confusion]} if confusion else {}
    else:
        arrays |= {"leaf_population": np.array([15], dtype=np.uint32), "leaf_mean": np.ones(1)}
        classes = ()
    return Model("trainrandomforest", mode, {"number_of_trees": 1}, ("red",), classes, "class", arrays, training)


def run(tmp_path, model, feedback=None, **parameters):
    save_model(model, tmp_path / "small.rasterml")
    fixed = {"MODEL": str(tmp_path / "small.rasterml"), "OUTPUT": "TEMPORARY_OUTPUT"}
    return processing.run("rasterml:confusionmatrix", {**fixed, **parameters}, feedback=feedback)


def refusal(tmp_path, model, **parameters):
    """What QGIS says about a run that fails."""
    feedback = QgsProcessingFeedback()
    with pytest.raises(QgsProcessingException) as raised:
        run(tmp_path, model, feedback=feedback, **parameters)
    return f"{raised.value} {feedback.textLog()}"


def test_it_has_the_frozen_parameters_and_outputs(provider):
    algorithm = provider.algorithm("confusionmatrix")

    assert [item.name() for item in algorithm.parameterDefinitions()] == ["MODEL", "BETA", "OUTPUT", "OUTPUT_HTML_FILE"]
    assert {item.name() for item in algorithm.outputDefinitions()} == {
        "OUTPUT", "OUTPUT_HTML_FILE", "ACCURACY", "KAPPA", "COUNT",
    }  # fmt: skip
    assert "confusionMatrix" in algorithm.tags()


def test_the_matrix_of_the_training_runs_from_zero_to_the_largest_class(provider, tmp_path):
    results = run(tmp_path, forest(), BETA=2)
    rows = [feature.attributes() for feature in results["OUTPUT"].getFeatures()]

    assert [row[0] for row in rows] == list(range(8))
    assert [row[1] for row in rows][1::6] == ["forest", "water"]
    assert rows[1][2:11] == [0, 8, 0, 0, 0, 0, 0, 2, 10]
    assert rows[7][2:11] == [0, 1, 0, 0, 0, 0, 0, 4, 5]
    # producer's 4/5, consumer's 4/6, F2 = 5·(4/6)·(4/5) / (4·4/6 + 4/5) = 10/13
    assert rows[7][11:] == pytest.approx([0.8, 2 / 3, 10 / 13])
    # p_e = (10·9 + 5·6) / 15² = 8/15, kappa = (12/15 - 8/15) / (7/15) = 4/7
    assert results["ACCURACY"] == pytest.approx(0.8)
    assert results["KAPPA"] == pytest.approx(4 / 7)
    assert results["COUNT"] == 15


def test_large_labels_are_listed_alone(provider, tmp_path):
    results = run(tmp_path, forest(values=(7, 1_000_000)))

    assert [feature["actual"] for feature in results["OUTPUT"].getFeatures()] == [7, 1_000_000]


def test_the_report_names_the_classes(provider, tmp_path):
    run(tmp_path, forest(), OUTPUT_HTML_FILE=str(tmp_path / "report.html"))

    assert "7 water" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_a_regression_has_no_confusion_matrix(provider, tmp_path):
    assert "trained in mode REGRESSION" in refusal(tmp_path, forest("REGRESSION"))


def test_a_model_without_a_matrix_says_so(provider, tmp_path):
    assert "no confusion matrix" in refusal(tmp_path, forest(confusion=None))


def test_a_missing_or_foreign_model_file_is_refused(provider, tmp_path):
    assert "absent.rasterml" in refusal(tmp_path, forest(), MODEL=str(tmp_path / "absent.rasterml"))
    assert "ends in .rasterml" in refusal(tmp_path, forest(), MODEL=str(tmp_path / "model.pkl"))
