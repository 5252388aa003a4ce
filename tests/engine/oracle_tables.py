"""The oracle's tables, read as its cases name them."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
from rasterml.engine.learners import CLASSIFICATION
from rasterml.engine.training import Samples, Table, collect


def oracle_case(shared: Path, folder: str, name: str) -> dict:
    return json.loads((shared / "oracle" / folder / f"{name}.json").read_text())


def oracle_rows(path: Path, columns, target: str = "class") -> tuple[np.ndarray, np.ndarray]:
    """Return features (rows, columns) and labels (rows,), both float64."""
    with path.open() as file:
        rows = list(csv.DictReader(file))
    features = np.array([[float(row[name]) for name in columns] for row in rows])
    return features, np.array([float(row[target]) for row in rows])


def oracle_samples(shared: Path, case: dict, scale: float = 1) -> Samples:
    """Return the samples that *case* is trained on; *scale* multiplies before rounding."""
    features, labels = oracle_rows(shared / "oracle" / case["train"], case["columns"], case["target"])
    if scale != 1:
        features = np.rint(features * scale)
    return collect([Table("train", features, labels)], case["columns"], case["target"], CLASSIFICATION)
