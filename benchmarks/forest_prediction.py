"""RF-100 in memory: RasterML's prediction against scikit-learn's own ``predict`` in 256 × 256 tiles.

Both sides read the same tiles of the same image in memory and use the same number of threads; rounds are
interleaved, and the ratio of each round is printed.  A quick look: forest_map.py compares whole processes.  Run it as

    python3 benchmarks/forest_prediction.py [folder of the North Carolina scene] [rounds]
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from common import ROUNDS, SCENE, THREADS, interleaved, load_package, ratios, scene, scene_folder, spread

__all__ = ["ROWS", "SCENE", "THREADS", "load_package", "scene"]

TILE, SIDE, TREES, ROWS = 256, 1024, 100, 10_000


def main() -> None:
    from rasterml.engine.learners import CLASSIFICATION
    from rasterml.engine.prediction import predict_rows
    from rasterml.engine.training import Table, collect, train
    from sklearn.ensemble import RandomForestClassifier

    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else scene_folder()
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else ROUNDS
    bands, labels = scene(folder, SIDE)
    pixels = bands.reshape(len(bands), -1).T
    rows = np.random.default_rng(1).choice(len(pixels), ROWS, replace=False)
    X, y = pixels[rows], labels.ravel()[rows]
    samples = collect([Table("scene", X.astype(float), y.astype(float))], list("abcde"), "class", CLASSIFICATION)
    ours = train("trainrandomforest", samples, CLASSIFICATION, {"number_of_trees": TREES}, THREADS)
    theirs = RandomForestClassifier(TREES, max_samples=0.5, n_jobs=THREADS, random_state=0).fit(X, y)
    print(f"nodes: {ours.arrays['feature'].size:,} (RasterML), {sum(t.tree_.node_count for t in theirs.estimators_):,}")
    tiles = [
        np.ascontiguousarray(bands[:, row : row + TILE, column : column + TILE].reshape(len(bands), -1).T)
        for row in range(0, SIDE, TILE)
        for column in range(0, SIDE, TILE)
    ]

    def rasterml() -> None:
        predict_rows(ours, np.concatenate(tiles), threads=THREADS)

    def sklearn() -> None:
        for tile in tiles:
            theirs.predict(tile)

    seconds = interleaved({"RasterML": rasterml, "scikit-learn": sklearn}, rounds, warm_up=True)
    print(f"scikit-learn / RasterML: {spread(ratios(seconds['scikit-learn'], seconds['RasterML']))}")


if __name__ == "__main__":
    load_package()
    main()
