"""Every classifier on the Statlog Landsat data: test error, seconds of training, bytes of the model.

Trains with Earth Engine's defaults and with settings that suit these data (36 predictors from 0 to 255, six classes),
chosen by rules of thumb and never by the test rows, and prints a Markdown table.  Maxent is left out: it tells
presence from background, hence two classes, and these are six.  Run it as

    python3 benchmarks/statlog.py sat_train.csv sat_test.csv

Both tables have a column ``class`` and one column for each predictor; a column ``row`` is ignored.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import load_package

TARGET, IGNORED = "class", ("row", "class")
LEFT_OUT = ("trainmaxent",)
DEFAULTS: dict[str, Any] = {}


def read(path: str) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Return features (rows, predictors) float64, labels (rows,), and the names of the predictors."""
    columns = Path(path).read_text().splitlines()[0].split(",")
    values = np.loadtxt(path, delimiter=",", skiprows=1)
    chosen = [number for number, name in enumerate(columns) if name not in IGNORED]
    return values[:, chosen], values[:, columns.index(TARGET)], [columns[number] for number in chosen]


def sensible_settings(features: np.ndarray) -> dict[str, dict[str, Any]]:
    """Return settings for each learner; nothing is scaled, so that the width of the RBF kernel must suit the units."""
    gamma = 1 / (features.shape[1] * features.var())
    return {
        "trainrandomforest": {"number_of_trees": 200},
        "traincart": {"min_leaf_population": 5},
        "traingradienttreeboost": {"number_of_trees": 200, "shrinkage": 0.05, "max_nodes": 8},
        "trainknn": {"k": 5},
        "trainminimumdistance": {"metric": "mahalanobis"},
        "trainnaivebayes": {"lambda_": 1.0},
        "trainsvm": {"kernel_type": "RBF", "gamma": float(f"{gamma:.1g}"), "cost": 10.0},
    }


def measure(learner, samples, settings: dict[str, Any], features: np.ndarray, labels: np.ndarray) -> list[str]:
    """Return test error, training seconds and model bytes as text; the training seconds hold the resubstitution."""
    from rasterml.engine.learners import CLASSIFICATION
    from rasterml.engine.models import save_model
    from rasterml.engine.prediction import predict_rows
    from rasterml.engine.training import train

    start = time.perf_counter()
    model = train(learner.id, samples, CLASSIFICATION, settings, threads=0)
    seconds = time.perf_counter() - start
    predicted = predict_rows(model, features.astype(np.float32), CLASSIFICATION)[0]
    with tempfile.TemporaryDirectory() as folder:
        size = save_model(model, Path(folder) / "model.rasterml")
    return [f"{100 * np.mean(predicted != labels):.1f} %", f"{seconds:.2f}", f"{size:,}"]


def main() -> None:
    from rasterml.engine.learners import CLASSIFICATION, CLASSIFIERS
    from rasterml.engine.settings import parameter_name
    from rasterml.engine.training import Table, collect, train

    if len(sys.argv) != 3:
        sys.exit(__doc__)
    features, labels, predictors = read(sys.argv[1])
    test_features, test_labels, _ = read(sys.argv[2])
    samples = collect([Table("train", features, labels)], predictors, TARGET, CLASSIFICATION)
    sensible = sensible_settings(features)
    train("trainrandomforest", samples, CLASSIFICATION, {"number_of_trees": 1})  # imports, once and for all
    print("| algorithm | settings | test error | training, s | model, bytes |")
    print("|---|---|---:|---:|---:|")
    for learner in CLASSIFIERS:
        if learner.id in LEFT_OUT:
            continue
        for settings in (DEFAULTS, sensible[learner.id]):
            words = " ".join(
                f"{parameter_name(name)}={value:g}" if isinstance(value, float) else f"{parameter_name(name)}={value}"
                for name, value in settings.items()
            )
            row = [learner.id, words or "default", *measure(learner, samples, settings, test_features, test_labels)]
            print("|", " | ".join(row), "|")


if __name__ == "__main__":
    load_package()
    main()
