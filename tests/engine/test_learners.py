"""The table of learners agrees with its functions and with Earth Engine's defaults."""

from __future__ import annotations

import inspect

import pytest
from rasterml.engine.errors import SettingError
from rasterml.engine.learners import CLASSIFIERS, CLUSTERERS, CLUSTERING, OUTPUT_MODES
from rasterml.engine.settings import SEED, Choice, Number

each_learner = pytest.mark.parametrize("learner", (*CLASSIFIERS, *CLUSTERERS), ids=lambda row: row.id)


@each_learner
def test_row_and_function_agree_on_the_settings(learner):
    keywords = inspect.getfullargspec(learner.function()).kwonlyargs

    assert keywords == [setting.name for setting in learner.settings]


@each_learner
def test_ids_are_lower_case_letters_and_modes_are_known(learner):
    assert learner.id.isalpha() and learner.id.islower()
    assert set(learner.modes) | {mode for modes in learner.modes.values() for mode in modes} <= {
        *OUTPUT_MODES,
        CLUSTERING,
    }


def test_random_forest_has_earth_engines_defaults():
    # Earth Engine, ee.Classifier.smileRandomForest; numberOfTrees is required there
    forest = next(row for row in CLASSIFIERS if row.id == "trainrandomforest")

    assert forest.checked({}) == {
        "number_of_trees": 100,
        "variables_per_split": None,
        "min_leaf_population": 1,
        "bag_fraction": 0.5,
        "max_nodes": None,
        "seed": 0,
    }


def test_clusterers_have_earth_engines_defaults():
    # reference 5.1 to 5.5; nClusters is required in Earth Engine
    defaults = {row.id: row.checked({}) for row in CLUSTERERS}

    assert defaults["trainkmeans"] == {
        "n_clusters": 8, "init": "random", "canopies": False, "max_candidates": 100, "periodic_pruning": 10_000,
        "min_density": 2, "t1": -1.5, "t2": -1.0, "distance_function": "Euclidean", "max_iterations": None,
        "preserve_order": False, "fast": False, "seed": 10,
    }  # fmt: skip
    assert defaults["traincascadekmeans"] == {
        "min_clusters": 2, "max_clusters": 10, "restarts": 10, "manual": False, "init": False,
        "distance_function": "Euclidean", "max_iterations": None, "seed": 10,
    }  # fmt: skip
    assert defaults["trainxmeans"] == {
        "min_clusters": 2, "max_clusters": 8, "max_iterations": 3, "max_k_means": 1000, "max_for_children": 1000,
        "use_k_d": False, "cutoff_factor": 0.0, "distance_function": "Euclidean", "seed": 10,
    }  # fmt: skip
    assert defaults["traincobweb"] == {"acuity": 1.0, "cutoff": 0.002, "seed": 42}
    assert defaults["trainlvq"] == {
        "num_clusters": 7, "learning_rate": 1.0, "epochs": 1000, "normalize_input": False,
    }  # fmt: skip


@pytest.mark.parametrize("value", [-1, 2**31, 0.5, float("nan")])
def test_numbers_out_of_range_are_refused(value):
    with pytest.raises((SettingError, ValueError)):
        SEED.checked(value)


def test_missing_values_become_the_default():
    assert Number("x", "", 3, integer=True).checked(None) == 3
    assert Number("x", "", None).checked(None) is None
    assert Choice("x", "", "a", ("a", "b")).checked(None) == "a"
    with pytest.raises(SettingError, match="choose one of a, b"):
        Choice("x", "", "a", ("a", "b")).checked("c")
