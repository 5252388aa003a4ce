"""Fixtures of the engine's tests."""

from __future__ import annotations

import pytest
from rasterml.engine.learners import CLASSIFICATION, REGRESSION
from rasterml.engine.models import Model
from small_models import small_forest


@pytest.fixture(scope="session", params=[CLASSIFICATION, REGRESSION])
def forest(request) -> Model:
    """A forest of nine trees in each mode."""
    return small_forest(request.param)
