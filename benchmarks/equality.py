"""Every way to the same map gives the same labels: counts of differing pixels, and exit code 1 if there is one.

    python3 benchmarks/equality.py [--noise 0 2 5] [--side 2000] [--trees 100] [--without numpy-only dask ...]

The yardstick is the plain majority vote: every tree says its label for every pixel, and the class with most votes
wins, the lowest of equal ones.  Against it: the engine's walk down the trees, by scikit-learn's compiled code and by
numpy; its blocks (box bitsets) in threads and in processes, on all rows, on rows in another order and in odd pieces;
whole maps with several tile sizes, memory limits and numbers of threads; a map without scikit-learn (numpy alone); a
map by two Dask workers on this machine.  The rasters have 15 % nodata in blobs, so that masks lie inside blocks; three
of 2000 × 2000 are 10.2 million pixels with data.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pinned
from common import THREADS, command_line, load_package, require
from forest_map import OURS, SIDE, Setup, command, execute, model
from kept import is_measured, keep
from pinned import FOLDER, NOISE, Pinned

AT_ONCE = 65_536
MAPS = (  # options of predict_image, and the number of threads
    ({}, 2),
    ({}, 1),
    ({"tile_size": 100}, 3),
    ({"tile_size": 1024, "memory_limit": 4096}, 2),
    ({"memory_limit": 512}, 2),
)
WAYS = ("predict", "blocks", "maps", "striped", "numpy-only", "dask")


def plain_vote(forest, features: np.ndarray) -> np.ndarray:
    """Return the class (rows,) that most trees name, one vote at a time."""
    from rasterml.engine.tree_apply import leaf_appliers
    from rasterml.engine.tree_arrays import forest_shapes

    shapes = forest_shapes(forest)
    appliers = leaf_appliers(shapes, features.shape[1])
    starts = np.cumsum([0] + [shape.leaves.size for shape in shapes])
    labels = forest.arrays["leaf_counts"].argmax(axis=1)
    classes = np.array([item.value for item in forest.classes])

    def vote(start: int) -> np.ndarray:
        part = features[start : start + AT_ONCE]
        votes = np.zeros((len(part), classes.size), dtype=np.int32)
        rows = np.arange(len(part))
        for number, apply in enumerate(appliers):
            votes[rows, labels[starts[number] + apply(part)]] += 1
        return classes[votes.argmax(axis=1)].astype(np.int32)

    with ThreadPoolExecutor(THREADS) as pool:
        return np.concatenate(list(pool.map(vote, range(0, len(features), AT_ONCE))))


def row_ways(forest, features: np.ndarray, wanted: list[str]) -> Iterator[tuple[str, np.ndarray]]:
    """Yield what the predictor itself says, in *forest*'s own process or with helpers, with the name of the way."""
    from rasterml.engine.block_prediction import Work, predict_block, take_step
    from rasterml.engine.learners import CLASSIFICATION
    from rasterml.engine.predictors import never_stop
    from rasterml.engine.processes import Crew
    from rasterml.engine.shared_arrays import SharedArray

    predictor = forest.learner.load_predictor(forest)

    def walk(way, predict) -> tuple[str, np.ndarray]:
        parts = (features[start : start + AT_ONCE] for start in range(0, len(features), AT_ONCE))
        with ThreadPoolExecutor(THREADS) as pool:
            return way, np.concatenate(list(pool.map(lambda part: predict(part, CLASSIFICATION, never_stop)[0], parts)))

    def block(rows: np.ndarray, threads: int, processes: int) -> np.ndarray:
        shared = SharedArray.empty(rows.shape, rows.dtype)
        shared.values[:] = rows
        with Crew(take_step, Work(forest, CLASSIFICATION, predictor), threads, processes) as crew:
            return predict_block(crew, shared, never_stop)[0]

    if "predict" in wanted:
        yield walk("tree walk by scikit-learn", predictor.predict)
        with hidden("sklearn.tree._tree"):
            by_numpy = walk("tree walk by numpy", forest.learner.load_predictor(forest).predict)
        yield by_numpy
    if "blocks" in wanted:
        for threads, processes in ((1, 1), (3, 1), (2, 2), (3, 3)):
            yield f"block, {threads} threads, {processes} processes", block(features, threads, processes)
        order = np.random.default_rng(0).permutation(len(features))
        shuffled = np.empty(len(features), dtype=np.int32)
        shuffled[order] = block(features[order], 2, 2)
        yield "block, rows in another order", shuffled
        pieces = np.split(features, [1, 1000, len(features) // 10, len(features) // 2])
        yield "block, odd pieces", np.concatenate([block(piece, 2, 1) for piece in pieces])


@contextlib.contextmanager
def hidden(module: str) -> Iterator[None]:
    """Let *module* be one that cannot be imported."""
    there = sys.modules.pop(module, None)
    sys.modules[module] = None
    try:
        yield
    finally:
        del sys.modules[module]
        if there:
            sys.modules[module] = there


def map_ways(image: Pinned, forest: Path, folder: Path, wanted: list[str]) -> Iterator[tuple[str, np.ndarray]]:
    """Yield whole maps (rows, columns), 0 where there is none."""
    path, output = str(pinned.raster(image)), str(folder / "map.tif")

    def mapped(source: str, threads: int, **options) -> np.ndarray:
        texts = [f"{name}={value}" for name, value in options.items()]
        execute([*command(OURS, source, forest, output, threads), *texts], threads)
        return _labels(output)

    if "maps" in wanted:
        for options, threads in MAPS:
            words = [f"{name} {value}" for name, value in options.items()]
            yield ", ".join(["map", *words, f"{threads} threads"]), mapped(path, threads, **options)
    if "striped" in wanted:
        striped = str(pinned.raster(image._replace(layout="striped")))
        yield "map of a striped file", mapped(striped, THREADS)
    if "numpy-only" in wanted:
        yield "map without scikit-learn", mapped(path, THREADS, hidden="sklearn")
    if "dask" in wanted:
        if importlib.util.find_spec("distributed") is None:
            print("  dask: the package distributed is not installed, so it is left out")
            return
        with dask_workers() as address:
            yield "map by two Dask workers", mapped(path, THREADS, scheduler=address)


@contextlib.contextmanager
def dask_workers() -> Iterator[str]:
    """Start a scheduler and two workers of one thread each on this machine, and yield its address."""
    from distributed import LocalCluster

    with LocalCluster(2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50) as cluster:
        yield cluster.scheduler_address


def _labels(path: str) -> np.ndarray:
    from osgeo import gdal

    dataset = gdal.Open(path)
    band = dataset.GetRasterBand(1)
    labels = band.ReadAsArray().astype(np.int32)
    labels[labels == band.GetNoDataValue()] = 0  # the scene's classes begin at 1
    return labels


def examine(image: Pinned, trees: int, wanted: list[str]) -> tuple[int, dict[str, int]]:
    """Return the number of pixels with data, and of those that differ by each way; print them, too."""
    from osgeo import gdal
    from rasterml.engine.models import load_model

    forest_path = model(image, trees, Setup({}).rows, OURS)
    forest = load_model(forest_path)
    dataset = gdal.Open(str(pinned.raster(image)))
    values = dataset.ReadAsArray()
    nodata = dataset.GetRasterBand(1).GetNoDataValue()
    valid = np.ones(values.shape[1:], dtype=bool) if nodata is None else (values != nodata).all(axis=0)
    features = np.ascontiguousarray(values[:, valid].T.astype(np.float32))
    del values
    print(f"{image}, {trees} trees: {len(features):,} pixels with data", flush=True)
    vote = plain_vote(forest, features)
    expected = np.zeros(valid.shape, dtype=np.int32)
    expected[valid] = vote
    differing = {}

    def compare(way: str, labels: np.ndarray, wished: np.ndarray, start: float) -> None:
        if labels.shape != wished.shape:
            raise ValueError(f"{way} gives {labels.shape} labels instead of {wished.shape}")
        differing[way] = int(np.count_nonzero(labels != wished))
        print(f"  {way}: {differing[way]:,} differ ({time.perf_counter() - start:.0f} s)", flush=True)

    start = time.perf_counter()
    for way, labels in row_ways(forest, features, wanted):
        compare(way, labels, vote, start)
        start = time.perf_counter()
    del features
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        start = time.perf_counter()
        for way, labels in map_ways(image, forest_path, Path(folder), wanted):
            compare(way, labels, expected, start)
            start = time.perf_counter()
    return vote.size, differing


def main() -> int:
    """Print and keep the counts; return 1 when anything differs."""
    parser = command_line(__doc__)
    parser.add_argument("--side", type=int, default=SIDE, help="pixels a side (default: %(default)s)")
    parser.add_argument("--noise", nargs="+", type=int, choices=list(NOISE), default=list(NOISE))
    parser.add_argument("--trees", type=int, default=100)
    parser.add_argument("--without", nargs="+", choices=WAYS, default=[])
    options = parser.parse_args()
    wanted = [way for way in WAYS if way not in options.without]
    require("scikit-learn")
    load_package()
    total: dict[str, list[int]] = {}
    for noise in options.noise:
        load = os.getloadavg()
        image = Pinned(options.side, noise=noise, nodata=15)
        variant = f"{image}, {options.trees} trees"
        if options.missing and is_measured("equality", variant):
            continue
        pixels, differing = examine(image, options.trees, wanted)
        for way, count in differing.items():
            examined = total.setdefault(way, [0, 0])
            examined[0] += pixels
            examined[1] += count
        measured = {"pixels": pixels, "differing": differing}
        if options.side == SIDE:
            keep("equality", variant, measured, compared="labels with the plain majority vote", load=load)
    print("all rasters together:")
    for way, (pixels, count) in total.items():
        print(f"  {way}: {count:,} of {pixels:,} differ")
    return int(any(count for _, count in total.values()))


if __name__ == "__main__":
    sys.exit(main())
