"""A one-class machine learns from samples of its class alone (reference 2.4); the other class is all the rest."""

from __future__ import annotations

import numpy as np
import pytest
from rasterml.engine.errors import SettingError, TableError
from rasterml.engine.learners import CLASSIFICATION
from rasterml.engine.models import load_model, save_model
from rasterml.engine.prediction import predict_rows
from rasterml.engine.training import Table, collect, train

SETTINGS = {"svm_type": "ONE_CLASS", "kernel_type": "RBF", "nu": 0.1, "gamma": 0.5}
CLOUD = np.random.default_rng(0).normal(0, 0.5, (40, 2))


def fit(labels, **settings):
    samples = collect([Table("t", CLOUD, labels)], ["x", "y"], "class", CLASSIFICATION)
    return train("trainsvm", samples, CLASSIFICATION, {**SETTINGS, **settings})


@pytest.mark.parametrize("value", [0, 1])
def test_samples_of_its_class_are_enough(value, tmp_path):
    model = fit(np.full(40, value), one_class=value)
    save_model(model, tmp_path / "one.rasterml")

    at = np.array([[0, 0], [9, 9]], np.float32)
    assert predict_rows(load_model(tmp_path / "one.rasterml"), at)[0].tolist() == [value, 1 - value]
    assert [item.value for item in model.classes] == [0, 1]
    assert model.classes[1 - value].name == f"not {value}"
    assert model.training["class_rows"] == [40, 0] if value == 0 else [0, 40]


def test_it_is_the_machine_that_samples_of_both_classes_give():
    samples = collect(
        [Table("t", np.concatenate((CLOUD, CLOUD + 9)), np.repeat([0, 1], 40))], ["x", "y"], "class", CLASSIFICATION
    )
    both = train("trainsvm", samples, CLASSIFICATION, SETTINGS)
    alone = fit(np.zeros(40))

    assert all(np.array_equal(alone.arrays[name], array) for name, array in both.arrays.items())


def test_a_named_class_is_class_0():
    model = fit(["lake"] * 40)

    assert [(item.value, item.name) for item in model.classes] == [(0, "lake"), (1, "not lake")]


def test_the_other_class_cannot_be_learned():
    with pytest.raises(SettingError, match="ONE_CLASS is 0, but no sample is of that class: set it to 1"):
        fit(np.ones(40))


def test_another_single_class_and_other_machines_stay_an_error():
    with pytest.raises(TableError, match="Only one class: every sample has class = 7"):
        fit(np.full(40, 7))
    with pytest.raises(TableError, match="Only one class"):
        fit(np.zeros(40), svm_type="C_SVC")
