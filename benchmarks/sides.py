"""One side of a comparison, run in a process of its own: reads a raster, predicts, writes a GeoTIFF.

    python3 benchmarks/sides.py SIDE IMAGE MODEL OUTPUT [THREADS [OPTION=VALUE ...]]

`rasterml` is RasterML's engine as the algorithm Classify calls it; the others do what is usual around scikit-learn,
write uncompressed GeoTIFF and keep pixels out that are nodata in any band.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np

TILE = 256
STRIP_SHARE = 0.05  # of the memory, for one block of all bands in float32


def rasterml(image: str, model: str, output: str, threads: int, hidden: str = "", **options) -> None:
    """Predict with the engine; *hidden* names a package that shall not be found, *options* are `predict_image`'s."""
    if hidden:
        sys.modules[hidden] = None
    from common import load_package

    load_package()
    from rasterml.engine.images import Image
    from rasterml.engine.models import load_model
    from rasterml.engine.prediction import predict_image

    predict_image(Image([image]), load_model(Path(model)), output, threads=threads, **options)


def scikit_learn_tiles(
    image: str, model: str, output: str, threads: int, method: str = "predict", tile: int = TILE
) -> None:
    """Read, predict and write 256 × 256 pixels at a time, or a *tile* of another side."""
    _predict(image, model, output, threads, lambda dataset: (tile, tile), method)


def scikit_learn_strips(image: str, model: str, output: str, threads: int) -> None:
    """Read as many full rows as fit into 5 % of the memory, as EnMAP-Box does."""
    import os

    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")

    def full_width(dataset) -> tuple[int, int]:
        row = dataset.RasterXSize * dataset.RasterCount * 4
        return max(1, int(STRIP_SHARE * memory / row)), dataset.RasterXSize

    _predict(image, model, output, threads, full_width)


def scikit_learn_blocks(image: str, model: str, output: str, threads: int) -> None:
    """Read the file's own blocks, as dzetsaka does: a row or few of a striped GeoTIFF."""

    def native(dataset) -> tuple[int, int]:
        columns, rows = dataset.GetRasterBand(1).GetBlockSize()
        return rows, columns

    _predict(image, model, output, threads, native)


def gdal_copy(image: str, model: str, output: str, threads: int) -> None:
    """Read all bands and write one band of bytes, compressed as RasterML's maps are; *model* is not used."""
    from osgeo import gdal

    dataset = gdal.Open(image)
    target = _create(
        output, dataset, ["TILED=YES", "COMPRESS=DEFLATE", "ZLEVEL=3", f"NUM_THREADS={threads}"], 1, gdal.GDT_Byte
    )
    for row, column, rows, columns in _windows(dataset, (TILE, dataset.RasterXSize)):
        values = dataset.ReadAsArray(column, row, columns, rows)
        target.GetRasterBand(1).WriteArray((values[0].astype(np.float32) // 256).astype(np.uint8), column, row)


def _predict(image: str, model: str, output: str, threads: int, block_size, method: str = "predict") -> None:
    """Predict block by block: with the estimator's own threads, or in each thread a block when it has none."""
    import joblib
    from osgeo import gdal

    dataset = gdal.Open(image)
    estimator = joblib.load(model)
    parallel = "n_jobs" in estimator.get_params()
    if parallel:
        estimator.set_params(n_jobs=threads)
    nodata = dataset.GetRasterBand(1).GetNoDataValue()
    bands = estimator.classes_.size if method == "predict_proba" else 1
    floats = method == "predict_proba" or not hasattr(estimator, "classes_")
    target = _create(output, dataset, [], bands, gdal.GDT_Float32 if floats else gdal.GDT_Byte)
    kind = np.float32 if floats else np.uint8

    def predict(values: np.ndarray) -> np.ndarray:
        valid = np.ones(values.shape[1:], dtype=bool) if nodata is None else (values != nodata).all(axis=0)
        result = np.zeros((bands, *valid.shape), dtype=kind)
        if valid.any():  # scikit-learn refuses an empty sample
            result[:, valid] = getattr(estimator, method)(values[:, valid].T).reshape(-1, bands).T
        return result

    waiting: deque[tuple[int, int, Future]] = deque()

    def write() -> None:
        row, column, future = waiting.popleft()
        target.WriteArray(future.result(), column, row)

    with ThreadPoolExecutor(1 if parallel else threads) as pool:
        for row, column, rows, columns in _windows(dataset, block_size(dataset)):
            waiting.append((row, column, pool.submit(predict, dataset.ReadAsArray(column, row, columns, rows))))
            if len(waiting) > 2 * threads:
                write()
        while waiting:
            write()


def _create(output: str, dataset, options: list[str], bands: int, pixel_type: int):
    from osgeo import gdal

    target = gdal.GetDriverByName("GTiff").Create(
        output, dataset.RasterXSize, dataset.RasterYSize, bands, pixel_type, options
    )
    target.SetProjection(dataset.GetProjection())
    target.SetGeoTransform(dataset.GetGeoTransform())
    return target


def _windows(dataset, size: tuple[int, int]) -> Iterator[tuple[int, int, int, int]]:
    """Yield row, column, rows, columns of blocks that cover the raster."""
    for row in range(0, dataset.RasterYSize, size[0]):
        for column in range(0, dataset.RasterXSize, size[1]):
            yield row, column, min(size[0], dataset.RasterYSize - row), min(size[1], dataset.RasterXSize - column)


def _value(text: str) -> int | str:
    return int(text) if text.isdigit() else text


SIDES = {
    "rasterml": rasterml,
    "scikit-learn-tiles": scikit_learn_tiles,
    "scikit-learn-strips": scikit_learn_strips,
    "scikit-learn-blocks": scikit_learn_blocks,
    "gdal-copy": gdal_copy,
}

if __name__ == "__main__":
    side, image, model, output, *rest = sys.argv[1:]
    threads = int(rest[0]) if rest else 2
    options = dict(option.split("=", 1) for option in rest[1:])
    SIDES[side](image, model, output, threads, **{name: _value(value) for name, value in options.items()})
