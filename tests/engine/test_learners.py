"""The table of learners agrees with its functions and with Earth Engine's defaults."""

from __future__ import annotations

import inspect

import pytest
from rasterml.engine.errors import SettingError
from rasterml.engine.learners import CLASSIFIERS, OUTPUT_MODES, SEED, Choice, Number

each_learner = pytest.mark.parametrize("learner", CLASSIFIERS, ids=lambda row: row.id)


@each_learner
def test_row_and_function_agree_on_the_settings(learner):
    keywords = inspect.getfullargspec(learner.function()).kwonlyargs

    assert keywords == [setting.name for setting in learner.settings]


@each_learner
def test_ids_are_lower_case_letters_and_modes_are_known(learner):
    assert learner.id.isalpha() and learner.id.islower()
    assert set(learner.modes) | {mode for modes in learner.modes.values() for mode in modes} <= set(OUTPUT_MODES)


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
