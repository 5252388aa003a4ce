"""SVM-RBF map: RasterML's prediction against scikit-learn's ``SVC.predict`` in 256 × 256 tiles.

Both sides read the same tiles in memory and predict them in the same number of threads (scikit-learn releases the
interpreter's lock); rounds are interleaved, and the ratio of each round is printed, for 5 and for 10 predictors.
Labels must be equal but for the few pixels that lie on a boundary within libsvm's own tolerance.  Run it as

    python3 benchmarks/svm_prediction.py [folder of the North Carolina scene] [rounds]
"""

from __future__ import annotations

import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from forest_prediction import SCENE, THREADS, load_package, scene

TILE, TILES, ROWS, COST = 256, 2, 6000, 1.0  # about 4,000 support vectors
SHARE_DIFFERING = 1e-4  # libsvm stops within 0.001, and it meets the classes in another order here than there


def predictors(bands: np.ndarray, count: int) -> np.ndarray:
    """Return (count, rows, columns) float32, each scaled to mean 0 and deviation 1; ratios of bands after the bands."""
    ratios = [bands[i] / (bands[i] + bands[j] + 1) for i in range(len(bands)) for j in range(i)]
    stack = np.concatenate([bands, ratios])[:count]
    return ((stack - stack.mean(axis=(1, 2), keepdims=True)) / stack.std(axis=(1, 2), keepdims=True)).astype(np.float32)


def compare(bands: np.ndarray, labels: np.ndarray, rounds: int) -> None:
    from rasterml.engine.learners import CLASSIFICATION
    from rasterml.engine.prediction import predict_rows
    from rasterml.engine.training import Table, collect, train
    from sklearn.svm import SVC

    pixels = bands.reshape(len(bands), -1).T
    rows = np.random.default_rng(1).choice(len(pixels), ROWS, replace=False)
    X, y = pixels[rows].astype(float), labels.ravel()[rows].astype(float)
    names = [f"b{number}" for number in range(len(bands))]
    samples = collect([Table("scene", X, y)], names, "class", CLASSIFICATION)
    ours = train("trainsvm", samples, CLASSIFICATION, {"kernel_type": "RBF", "cost": COST}, THREADS)
    theirs = SVC(C=COST, gamma=1 / len(bands)).fit(X, y)
    tiles = [
        np.ascontiguousarray(bands[:, :TILE, column : column + TILE].reshape(len(bands), -1).T)
        for column in range(0, TILES * TILE, TILE)
    ]
    print(f"{len(bands)} predictors, {len(ours.arrays['support_vector']):,} support vectors, {TILES} tiles")

    def rasterml() -> np.ndarray:
        return predict_rows(ours, np.concatenate(tiles), threads=THREADS)[0]

    def sklearn() -> np.ndarray:
        with ThreadPoolExecutor(THREADS) as pool:
            return np.concatenate(list(pool.map(theirs.predict, tiles)))

    interleave(rasterml, sklearn, rounds)


def interleave(rasterml, sklearn, rounds: int) -> None:
    """Time both sides in turn, print the ratios and compare the labels."""
    ratios = []
    for number in range(rounds + 1):
        seconds, results = [], []
        for side in (rasterml, sklearn):
            start = time.perf_counter()
            results.append(side())
            seconds.append(time.perf_counter() - start)
        if number:  # the first round warms up
            ratios.append(seconds[1] / seconds[0])
            print(f"RasterML {seconds[0]:.2f} s, scikit-learn {seconds[1]:.2f} s, ratio {ratios[-1]:.2f}", flush=True)
    differing = int(np.count_nonzero(results[0] != results[1]))
    print(
        f"scikit-learn / RasterML: min {min(ratios):.2f}, median {statistics.median(ratios):.2f}, "
        f"max {max(ratios):.2f}; {differing:,} of {results[0].size:,} labels differ"
    )
    if differing > SHARE_DIFFERING * results[0].size:
        raise SystemExit("The labels are not the same.")


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else SCENE
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    bands, labels = scene(folder)
    for count in (5, 10):
        compare(predictors(bands, count), labels, rounds)


if __name__ == "__main__":
    load_package()
    main()
