"""A small table of samples and forests grown on it, for tests of every module that needs a model."""

from __future__ import annotations

import numpy as np
from rasterml.engine.learners import BY_ID, CLASSIFICATION, REGRESSION
from rasterml.engine.models import Model
from rasterml.engine.training import Samples, Table, collect, train

PREDICTORS = ("red", "nir", "height")


def make_samples(mode: str = CLASSIFICATION, rows: int = 240, seed: int = 3) -> Samples:
    """Three overlapping classes 0, 7 and 300 in three predictors of unlike units, or a target from -50 to 50."""
    generator = np.random.default_rng(seed)
    centres = np.array([[40.0, 0.1, 1000.0], [60.0, 0.3, 1500.0], [50.0, 0.6, 500.0]])
    kind = generator.integers(0, 3, rows)
    features = centres[kind] + generator.normal(size=(rows, 3)) * [9.0, 0.09, 300.0]
    labels = np.array([0.0, 7.0, 300.0])[kind]
    if mode == REGRESSION:
        labels = (features[:, 0] - 50) * 2 + generator.normal(size=rows)
    return collect([Table("table", features, labels)], PREDICTORS, "class", mode)


def small_forest(mode: str = CLASSIFICATION, threads: int = 2, **settings) -> Model:
    return train("trainrandomforest", make_samples(mode), mode, {"number_of_trees": 9, **settings}, threads)


def defaults(learner_id: str, **settings) -> dict:
    return BY_ID[learner_id].checked(settings)
