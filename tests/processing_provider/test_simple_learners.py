"""Minimum distance, naive Bayes and nearest neighbours in the toolbox."""

from __future__ import annotations

import numpy as np
import pytest
from qgis.core import QgsProcessingFeedback
from small_world import pinned, read, refusal, run, table, values, write_image

pytestmark = pytest.mark.usefixtures("provider")

# Earth Engine's names and defaults, one learner each
OWN = {
    "trainminimumdistance": {"METRIC": "euclidean", "K_NEAREST": 1},
    "trainnaivebayes": {"LAMBDA": 0.000001},
    "trainknn": {"K": 1, "SEARCH_METHOD": "AUTO", "METRIC": "EUCLIDEAN"},
}
OTHER = {
    "trainminimumdistance": {"METRIC": "mahalanobis", "K_NEAREST": 2},
    "trainnaivebayes": {"LAMBDA": 0.5},
    "trainknn": {"K": 3, "SEARCH_METHOD": "LINEAR_SEARCH", "METRIC": "MANHATTAN"},
}
each_learner = pytest.mark.parametrize("learner", OWN)


@each_learner
def test_it_has_the_frozen_parameters(learner, provider):
    algorithm = provider.algorithm(learner)
    parameters = pinned(algorithm)

    assert OWN[learner].items() <= parameters.items()
    assert "MODE" not in parameters
    assert algorithm.groupId() == "classifiers"


@each_learner
@pytest.mark.parametrize("settings", [OWN, OTHER], ids=["defaults", "others"])
def test_samples_become_a_model_that_maps(learner, settings, tmp_path):
    image = write_image(tmp_path / "image.tif")
    results = run(
        learner,
        TRAINING=[table()],
        CLASS_PROPERTY="landclass",
        OUTPUT=str(tmp_path / "m.rasterml"),
        OUTPUT_HTML_FILE=str(tmp_path / "page.html"),
        **settings[learner],
    )
    run("classify", INPUT=[image], MODEL=results["OUTPUT"], OUTPUT=str(tmp_path / "map.tif"))

    classes = read(tmp_path / "map.tif")
    truth = np.where(np.arange(60) >= 30, 7, 0)
    assert len(classes) == settings[learner].get("K_NEAREST", 1)
    assert (classes[0, 5:] == truth).mean() > 0.9
    assert np.isin(classes[:, :5], (0, 7)).sum() == 0  # no data stays no data
    assert results["MODEL_BYTES"] == (tmp_path / "m.rasterml").stat().st_size
    assert results["TRAINING_ACCURACY"] > 0.9 and (results["CLASSES"], results["EXAMPLES"]) == (2, 200)
    assert next(iter(settings[learner])) in (tmp_path / "page.html").read_text()


def test_raw_distances_have_a_band_for_each_class(tmp_path):
    image = write_image(tmp_path / "image.tif")
    model = run(
        "trainminimumdistance", TRAINING=[table()], CLASS_PROPERTY="landclass", OUTPUT=str(tmp_path / "m.rasterml")
    )
    run("classify", INPUT=[image], MODEL=model["OUTPUT"], OUTPUT_MODE="RAW", OUTPUT=str(tmp_path / "map.tif"))

    distances = read(tmp_path / "map.tif")
    assert distances.shape == (2, *values().shape[1:])
    assert np.isnan(distances[:, :5]).all() and (distances[:, 5:] >= 0).all()


def test_an_impossible_output_mode_lists_the_possible_ones(tmp_path):
    model = run("trainknn", TRAINING=[table()], CLASS_PROPERTY="landclass", OUTPUT=str(tmp_path / "m.rasterml"))

    said = refusal(
        "classify",
        INPUT=[write_image(tmp_path / "image.tif")],
        MODEL=model["OUTPUT"],
        OUTPUT_MODE="MULTIPROBABILITY",
        OUTPUT=str(tmp_path / "map.tif"),
    )

    assert "choose one of CLASSIFICATION, PROBABILITY" in said


def test_an_ignored_metric_is_said(tmp_path):
    feedback = QgsProcessingFeedback()
    run(
        "trainknn",
        feedback,
        TRAINING=[table()],
        CLASS_PROPERTY="landclass",
        METRIC="BRAYCURTIS",
        OUTPUT=str(tmp_path / "m.rasterml"),
    )

    assert "METRIC BRAYCURTIS is ignored" in feedback.textLog()
