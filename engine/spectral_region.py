"""Spectral regions (Earth Engine: spectralRegion, reference 2.11): polygons drawn in the plane of two bands."""

from __future__ import annotations

import json
import math
from typing import Any, Callable

import numpy as np

from .classes import class_table
from .errors import ModelFileError, SettingError
from .learners import CLASSIFICATION
from .models import Model

LEARNER = "spectralregion"
EXAMPLE = "[[0.1, 0.2, 0.5, 0.2, 0.3, 0.6]]"


def region_model(coordinates: str, schema: str) -> Model:
    """Return the model that says 1 inside the rings of *coordinates* (JSON) in the plane of *schema* ("u,v")."""
    names = tuple(name.strip() for name in schema.split(","))
    if len(names) != 2 or not all(names) or names[0] == names[1]:
        raise SettingError(f"SCHEMA is {schema!r}: give two different band names with a comma, such as red,nir.")
    rings = [_ring(number, values) for number, values in enumerate(_lists(coordinates), 1)]
    arrays = {
        "vertex": np.concatenate(rings),
        "ring_start": np.cumsum([0] + [len(ring) for ring in rings]).astype(np.int64),
    }
    classes = class_table((0, 1), {0: "outside", 1: "inside"})
    return Model(LEARNER, CLASSIFICATION, {}, names, classes, "", arrays)


def explain_region(model: Model) -> dict[str, Any]:
    """Return ``coordinates`` and ``schema`` as Earth Engine takes them."""
    rings = np.split(model.arrays["vertex"], model.arrays["ring_start"][1:-1])
    return {"coordinates": [ring.ravel().tolist() for ring in rings], "schema": list(model.predictors)}


def _lists(coordinates: str) -> list:
    try:
        lists = json.loads(coordinates, parse_constant=_refuse_constant)
    except ValueError as error:
        raise SettingError(f"COORDINATES is not JSON ({error}): give a list of rings such as {EXAMPLE}.") from error
    if not isinstance(lists, list) or not lists or not all(isinstance(item, list) for item in lists):
        raise SettingError(f"COORDINATES is not a list of rings, each a list of numbers: write it as {EXAMPLE}.")
    return lists


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no coordinate")


def _ring(number: int, values: list) -> np.ndarray:
    """Return the ring's vertices (n, 2), without the repetition of the first at the end."""
    for value in values:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not _is_finite(value):
            raise SettingError(f"Ring {number} of COORDINATES has the entry {value!r}: give finite numbers u1, v1, ….")
    if len(values) % 2:
        raise SettingError(f"Ring {number} of COORDINATES has {len(values)} numbers: give pairs u1, v1, u2, v2, ….")
    ring = np.array(values, dtype=np.float64).reshape(-1, 2)
    if len(ring) > 1 and (ring[0] == ring[-1]).all():
        ring = ring[:-1]
    if len(ring) < 3:
        raise SettingError(f"Ring {number} of COORDINATES has {len(ring)} different points: a region needs 3 or more.")
    return ring


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond floats
        return False


class RegionPredictor:
    """Counts, for every pixel, the edges of all rings to its right: inside when their number is odd.

    A point on an edge belongs to the region right of that edge, on a level edge to the region above, so that of two
    regions with a common edge exactly one has it.
    """

    def __init__(self, model: Model) -> None:
        self.class_values = np.array([item.value for item in model.classes], dtype=np.int32)
        rings = np.split(model.arrays["vertex"], model.arrays["ring_start"][1:-1])
        edges = np.concatenate([np.hstack([ring, np.roll(ring, -1, axis=0)]) for ring in rings])
        # Upwards, so that both regions at a common edge compute the same; level edges never count.
        upwards = np.where((edges[:, 1] > edges[:, 3])[:, np.newaxis], edges[:, [2, 3, 0, 1]], edges)
        self.edges = upwards[upwards[:, 1] < upwards[:, 3]].tolist()

    def bands(self, mode: str) -> tuple[str, ...]:
        """The name of the only band."""
        return ("classification",)

    def gives_classes(self, mode: str) -> bool:
        return True

    def predict(self, features: np.ndarray, mode: str, check: Callable[[], None]) -> np.ndarray:
        """Return (1, rows) int32: 1 inside, 0 outside."""
        u, v = features.T.astype(np.float64)
        inside = np.zeros(len(features), dtype=bool)
        for left, low, right, high in self.edges:
            check()
            rows = np.flatnonzero((v >= low) & (v < high))
            inside[rows] ^= u[rows] < left + (v[rows] - low) / (high - low) * (right - left)
        return self.class_values[inside.astype(np.intp)][np.newaxis]

    @staticmethod
    def check(model: Model) -> None:
        """Raise `ModelFileError` unless the arrays are rings in a plane of two predictors."""
        if set(model.arrays) != {"vertex", "ring_start"} or len(model.predictors) != 2 or len(model.classes) != 2:
            raise ModelFileError("a spectral region needs the arrays ring_start, vertex, two predictors, two classes")
        vertices, start = model.arrays["vertex"], model.arrays["ring_start"]
        if vertices.dtype != np.float64 or vertices.shape[1:] != (2,) or not np.isfinite(vertices).all():
            raise ModelFileError("its vertices are not pairs of finite numbers")
        if start.dtype.kind != "i" or start.ndim != 1 or start.size < 2:
            raise ModelFileError("its rings do not fit its vertices")
        if start[0] != 0 or start[-1] != len(vertices) or (np.diff(start) < 3).any():
            raise ModelFileError("its rings do not fit its vertices")
