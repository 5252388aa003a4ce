"""kNN map, k = 5 of 10,000 samples: RasterML against scikit-learn's ``KNeighborsClassifier(algorithm="kd_tree")``.

Both sides predict the same 256 × 256 tiles in memory in the same number of threads; rounds are interleaved, and the
ratio of each round is printed.  Labels are equal but for the order of equally near samples.  Run it as

    python3 benchmarks/knn_prediction.py [folder of the North Carolina scene] [rounds]
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from forest_prediction import ROWS, SCENE, THREADS, load_package, scene
from svm_prediction import interleave

TILE, SIDE, NEIGHBOURS = 256, 512, 5


def main() -> None:
    from rasterml.engine.learners import CLASSIFICATION
    from rasterml.engine.prediction import predict_rows
    from rasterml.engine.training import Table, collect, train
    from sklearn.neighbors import KNeighborsClassifier

    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else SCENE
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    bands, labels = scene(folder)
    pixels = bands.reshape(len(bands), -1).T
    rows = np.random.default_rng(1).choice(len(pixels), ROWS, replace=False)
    X, y = pixels[rows], labels.ravel()[rows]
    samples = collect([Table("scene", X.astype(float), y.astype(float))], list("abcde"), "class", CLASSIFICATION)
    ours = train("trainknn", samples, CLASSIFICATION, {"k": NEIGHBOURS}, THREADS)
    theirs = KNeighborsClassifier(NEIGHBOURS, algorithm="kd_tree").fit(X, y)
    tiles = [
        np.ascontiguousarray(bands[:, row : row + TILE, column : column + TILE].reshape(len(bands), -1).T)
        for row in range(0, SIDE, TILE)
        for column in range(0, SIDE, TILE)
    ]

    def rasterml() -> np.ndarray:
        return predict_rows(ours, np.concatenate(tiles), threads=THREADS)[0]

    def sklearn() -> np.ndarray:
        with ThreadPoolExecutor(THREADS) as pool:
            return np.concatenate(list(pool.map(theirs.predict, tiles)))

    interleave(rasterml, sklearn, rounds)


if __name__ == "__main__":
    load_package()
    main()
