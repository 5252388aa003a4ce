"""The caps' advice, taken at its word, and the size of models."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from qgis.core import QgsProcessingFeedback
from rasterml.engine import limits
from rasterml.engine.learners import CLASSIFIERS
from rasterml.engine.models import load_model
from small_world import run, table

ADVICE = {"NUMBER_OF_TREES": r"NUMBER_OF_TREES=(\d+)", "MAX_NODES": r"MAX_NODES=(\d+)"}


def forest(path, samples=None, **parameters) -> dict:
    fixed = {"TRAINING": [samples or table()], "CLASS_PROPERTY": "landclass", "NUMBER_OF_TREES": 60}
    return run("trainrandomforest", **{**fixed, **parameters, "OUTPUT": str(path)})


def rough_table():
    """`table` with half of its classes drawn by lot: trees grow large, so that they make up the file."""
    layer = table(rows=2000)
    generator = np.random.default_rng(2)
    column = layer.fields().indexOf("landclass")
    drawn = {f.id(): {column: int(generator.choice([0, 7]))} for f in layer.getFeatures() if generator.random() < 0.5}
    layer.dataProvider().changeAttributeValues(drawn)
    return layer


def checked(path) -> tuple[str, str]:
    """Return the verdict on the model at *path*, and the log."""
    feedback = QgsProcessingFeedback()
    verdict = run("checklimits", feedback=feedback, MODEL=str(path))["VERDICT"]
    return verdict, feedback.textLog()


@pytest.mark.parametrize("fullness", [1.01, 1.6, 3])
def test_a_forest_over_the_cap_is_under_it_once_the_advice_is_followed(provider, tmp_path, monkeypatch, fullness):
    samples = rough_table()
    size = forest(tmp_path / "large.rasterml", samples)["MODEL_BYTES"]
    monkeypatch.setattr(limits, "MODEL_BYTES_CAP", int(size / fullness))
    verdict, log = checked(tmp_path / "large.rasterml")
    assert verdict == "over"

    for setting, pattern in ADVICE.items():
        value = int(re.search(pattern, log).group(1))
        smaller = forest(tmp_path / f"{setting}.rasterml", samples, **{setting: value})
        assert smaller["MODEL_BYTES"] < limits.MODEL_BYTES_CAP
        assert checked(tmp_path / f"{setting}.rasterml")[0] in ("ok", "near")


def test_what_training_itself_advises_is_what_check_limits_advises(provider, tmp_path, monkeypatch):
    samples = rough_table()
    size = forest(tmp_path / "large.rasterml", samples)["MODEL_BYTES"]
    monkeypatch.setattr(limits, "MODEL_BYTES_CAP", size // 2)
    feedback = QgsProcessingFeedback()
    forest(tmp_path / "again.rasterml", samples, feedback=feedback, LIMITS="Warn")
    _, log = checked(tmp_path / "again.rasterml")

    for pattern in ADVICE.values():
        advised = set(re.findall(pattern, log))
        assert len(advised) == 1
        assert set(re.findall(pattern, feedback.textLog())) == advised


@pytest.mark.parametrize("learner", CLASSIFIERS, ids=lambda learner: learner.id)
def test_the_model_bytes_reported_are_the_size_of_the_file(provider, tmp_path, learner):
    few = {"NUMBER_OF_TREES": 5} if any(item.name == "number_of_trees" for item in learner.settings) else {}
    path = tmp_path / "model.rasterml"
    results = run(learner.id, TRAINING=[table(("0", "1"))], CLASS_PROPERTY="landclass", OUTPUT=str(path), **few)

    assert results["MODEL_BYTES"] == path.stat().st_size
    assert run("checklimits", MODEL=str(path))["MODEL_BYTES"] == path.stat().st_size


@pytest.mark.parametrize("mode", ["CLASSIFICATION", "REGRESSION"])
@pytest.mark.parametrize(
    ("trees", "max_nodes", "leaf", "bag_fraction"),
    [(7, None, 1, 0.5), (12, 5, 1, 0.5), (7, None, 20, 0.5), (7, 8, 10, 0.3), (3, 1000, 4, 1.0), (1, 2, 150, 0.5)],
)
def test_trees_leaves_and_their_population_bound_a_forest(
    provider, tmp_path, mode, trees, max_nodes, leaf, bag_fraction
):
    parameters = {"NUMBER_OF_TREES": trees, "MIN_LEAF_POPULATION": leaf, "BAG_FRACTION": bag_fraction}
    if max_nodes:
        parameters["MAX_NODES"] = max_nodes
    path = forest(tmp_path / "bounded.rasterml", MODE=mode, **parameters)["OUTPUT"]
    model = load_model(path)

    # Reference section 8: nodes ≤ trees · (2 · min(maxNodes, bag / minLeafPopulation) − 1).  The bag is drawn by
    # class and rounded, so that it may hold half a sample more of each; regression has leaves of at least 2.
    bag = 200 * bag_fraction + 1
    smallest = leaf if mode == "CLASSIFICATION" else max(2, leaf)
    most = min(max_nodes or 1000, max(1, int(bag // smallest)))
    starts = model.arrays["tree_start"]
    assert len(starts) - 1 == trees
    for start, stop in zip(starts, starts[1:]):
        assert stop - start <= 2 * most - 1
    population = (
        model.arrays["leaf_counts"].sum(axis=1) if mode == "CLASSIFICATION" else model.arrays["leaf_population"]
    )
    if trees != 1:  # the last case: a bag of 100 cannot fill leaves of 150, and a tree that is one leaf holds it all
        assert population.min() >= smallest
    assert population.sum() <= trees * bag


@pytest.mark.parametrize("mode", ["CLASSIFICATION", "REGRESSION"])
@pytest.mark.parametrize(("max_nodes", "leaf"), [(None, 1), (None, 10), (8, 1), (3, 1)])
def test_nodes_and_leaves_take_no_more_bytes_than_the_bound_that_enforce_goes_by(
    provider, tmp_path, mode, max_nodes, leaf
):
    parameters = {"MODE": mode, "MIN_LEAF_POPULATION": leaf, **({"MAX_NODES": max_nodes} if max_nodes else {})}
    path = Path(forest(tmp_path / "forest.rasterml", **parameters)["OUTPUT"])
    model = load_model(path)
    bound = model.learner.largest_model(200, 2, len(model.classes), mode, model.settings)

    nodes = ("feature", "threshold", "right", "leaf_counts", "leaf_population", "leaf_mean")
    assert sum(array.nbytes for name, array in model.arrays.items() if name in nodes) <= bound
