"""Maps by other modes and learners than RF votes, as whole processes: RasterML's engine against scikit-learn's tiles.

    python3 benchmarks/learner_map.py [--claims svm ...] [--noise 2 0 5] [--rounds 5] [--missing]
                                      [--side 1000] [--threads 2]

As forest_map.py, from file to file.  scikit-learn's estimators that have `n_jobs` get it; of the others as many tiles
as there are threads are predicted at once.  Slow learners get smaller rasters, so that no round takes minutes.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pinned
from claims import CLAIMS
from common import THREADS, command_line, interleaved, load_package, require
from forest_map import BAGGED, OURS, command, execute
from kept import is_measured, record
from pinned import FOLDER, NOISE, Pinned
from sides import TILE

CLASSIFICATION, REGRESSION, MULTIPROBABILITY = "CLASSIFICATION", "REGRESSION", "MULTIPROBABILITY"  # as in the engine


class Contest(NamedTuple):
    """*settings* and *rival* get the table's X, so that the kernel's width can suit its units."""

    learner: str
    settings: Callable[[np.ndarray], dict[str, Any]]
    rival: Callable[[np.ndarray], Any]
    described: str
    side: int
    rows: int = 10_000
    fitted: str = CLASSIFICATION
    mode: str = ""
    method: str = "predict"
    tile: int = TILE


def width(X: np.ndarray) -> float:
    return float(1 / (X.shape[1] * X.var()))


def forest(X: np.ndarray):
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(100, max_samples=BAGGED, n_jobs=THREADS, random_state=0)


def regression_forest(X: np.ndarray):
    from sklearn.ensemble import RandomForestRegressor

    options = {"max_samples": BAGGED, "max_features": "sqrt", "min_samples_leaf": 5}
    return RandomForestRegressor(100, n_jobs=THREADS, random_state=0, **options)


def machine(X: np.ndarray):
    from sklearn.svm import SVC

    return SVC(C=1.0, gamma=width(X))


def neighbours(X: np.ndarray):
    from sklearn.neighbors import KNeighborsClassifier

    return KNeighborsClassifier(5, algorithm="kd_tree")


def boosted(X: np.ndarray):
    from sklearn.ensemble import GradientBoostingClassifier

    return GradientBoostingClassifier(
        n_estimators=100, learning_rate=0.05, subsample=0.7, max_leaf_nodes=8, max_depth=8
    )


CONTESTS = {
    "probability": Contest(
        "trainrandomforest", lambda X: {"number_of_trees": 100}, forest, "RF-100, predict_proba, float32 output", 2000,
        mode=MULTIPROBABILITY, method="predict_proba",
    ),
    "regression": Contest(
        "trainrandomforest", lambda X: {"number_of_trees": 100, "min_leaf_population": 5}, regression_forest,
        "RF-100 with leaves of at least 5 rows", 2000, fitted=REGRESSION,
    ),
    "svm": Contest(
        "trainsvm", lambda X: {"kernel_type": "RBF", "gamma": width(X), "cost": 1.0}, machine,
        "SVC with an RBF kernel", 512, rows=5800,
    ),
    "knn": Contest("trainknn", lambda X: {"k": 5}, neighbours, "KNeighborsClassifier(5, algorithm='kd_tree')", 1000),
    "boosting": Contest(
        "traingradienttreeboost", lambda X: {"number_of_trees": 100, "shrinkage": 0.05, "max_nodes": 8}, boosted,
        "GradientBoostingClassifier, 100 trees of 8 leaves a class, which holds Python's lock while it predicts", 2000,
    ),
}  # fmt: skip


def train_both(contest: Contest, image: Pinned, folder: Path) -> dict[str, Path]:
    """Train on the same table and return the models; regression's target is a vegetation index with noise."""
    import joblib
    from rasterml.engine.models import save_model
    from rasterml.engine.training import Table, collect, train

    X, y = pinned.table(image, contest.rows)
    if contest.fitted == REGRESSION:
        red, infrared = X[:, 2], X[:, 3]
        index = (infrared - red) / (infrared + red)
        y = index + np.random.default_rng(0).normal(0, 0.05, len(X))
    samples = collect([Table("table", X.astype(float), y.astype(float))], image.predictors, "class", contest.fitted)
    paths = {OURS: folder / "model.rasterml", "scikit-learn-tiles": folder / "model.joblib"}
    save_model(train(contest.learner, samples, contest.fitted, contest.settings(X), THREADS), paths[OURS])
    joblib.dump(contest.rival(X).fit(X, y), paths["scikit-learn-tiles"])
    return paths


def size(model: Path) -> str:
    """Return how many support vectors scikit-learn's model has, where it has any."""
    import joblib

    estimator = joblib.load(model)
    return f", {estimator.n_support_.sum():,} support vectors" if hasattr(estimator, "n_support_") else ""


def difference(contest: Contest, ours: str, theirs: str) -> str:
    """Say how alike the two maps are: they come from like models, not from the same one."""
    from osgeo import gdal

    first, second = (gdal.Open(path).ReadAsArray() for path in (ours, theirs))
    if first.ndim == 3:  # RasterML's probabilities are smoothed as Smile's are, scikit-learn's are not
        alike = np.mean(first.argmax(axis=0) == second.argmax(axis=0))
        return f"the same class is likeliest in {alike:.1%} of the pixels"
    if first.dtype.kind == "f":
        return f"mean absolute difference of the maps {np.abs(first - second).mean():.3f}"
    return f"{np.mean(first == second):.1%} of the labels are the same"


def compare(claim: str, image: Pinned, options: argparse.Namespace) -> None:
    contest = CONTESTS[claim]
    path = pinned.raster(image)
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        models = train_both(contest, image, Path(folder))
        trained = size(models["scikit-learn-tiles"])
        details = {
            OURS: [f"mode={contest.mode}"],
            "scikit-learn-tiles": [f"method={contest.method}", f"tile={contest.tile}"],
        }
        outputs = {side: str(Path(folder) / f"{side}.tif") for side in models}

        def run(side: str) -> None:
            arguments = command(side, path, models[side], outputs[side], options.threads)
            execute([*arguments, *details[side]], options.threads)

        print(f"{claim}: {image}, {contest.rows:,} rows", flush=True)
        path.read_bytes()  # into the system's cache
        load = os.getloadavg()
        seconds = interleaved({side: lambda side=side: run(side) for side in models}, options.rounds)
        record(
            claim,
            str(image),
            seconds["scikit-learn-tiles"],
            seconds[OURS],
            compared=f"{contest.described}, in {contest.tile} × {contest.tile} tiles, {options.threads} threads",
            notes=f"trained on {contest.rows:,} rows{trained}; {difference(contest, *outputs.values())}",
            load=load,
            kept=not options.side,
        )


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--claims", nargs="+", choices=list(CONTESTS), default=list(CONTESTS))
    parser.add_argument("--noise", nargs="+", type=int, choices=list(NOISE), default=list(NOISE))
    parser.add_argument("--threads", type=int, default=THREADS)
    parser.add_argument("--side", type=int, help="pixels a side (default: what suits the claim)")
    options = parser.parse_args()
    require("scikit-learn")
    load_package()
    for claim in (claim.id for claim in CLAIMS if claim.id in options.claims):
        for noise in options.noise:
            image = Pinned(options.side or CONTESTS[claim].side, noise=noise)
            if not (options.missing and is_measured(claim, str(image), options.rounds)):
                compare(claim, image, options)


if __name__ == "__main__":
    main()
