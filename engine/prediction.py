"""A fitted model applied to pixels, tile by tile, or to rows of a table."""

from __future__ import annotations

import threading
from typing import NamedTuple

import numpy as np

from .errors import RasterError, SettingError
from .geotiff import Storage
from .images import Image, gdal_cache
from .journal import Journal, fingerprint, forget
from .learners import CLASSIFICATION, CLUSTERING
from .map_values import map_type
from .models import Model
from .outputs import RasterWriter
from .predictors import NO_CLASS, Predictor, checker, spans
from .progress import Part, Progress
from .tile_plan import BASE_MEGABYTES, LARGEST_TILE, cache_megabytes, plan
from .tiles import Window, iter_tiles
from .tiling import Steps, Tiling
from .workers import one_blas_thread, ordered_map

__all__ = [
    "BASE_MEGABYTES", "LARGEST_TILE", "NO_CLASS", "PixelCounts", "Predictor", "cache_megabytes", "matched",
    "predict_image", "predict_rows",
]  # fmt: skip

TILES_SHARE = 0.9  # of the progress, where overviews or another format follow


class PixelCounts(NamedTuple):
    pixels: int
    predicted: int
    masked: int


def predict_image(
    image: Image,
    model: Model,
    output: str,
    mode: str = "",
    *,
    mask: Image | None = None,
    window: Window | None = None,
    match_by_order: bool = False,
    probability_type: str = "Float32",
    nodata: float | None = None,
    storage: Storage | None = None,
    threads: int = 0,
    tile_size: int = 256,
    memory_limit: int = 1024,
    scheduler: str = "",
    resume: bool = False,
    progress: Progress | None = None,
) -> PixelCounts:
    """Write the prediction of *model* for every pixel of *image* (or of its *window*) to *output*.

    A pixel that is masked in any predictor, or masked or 0 in *mask* (on the image's grid), is nodata.
    The result is the same for any *tile_size*, *threads* and *memory_limit* (megabytes of the whole run).  With
    *resume* the finished tiles outlive an interrupted run, and the next run takes them over.  *scheduler* is the
    address of a Dask scheduler whose workers do the work; they open the rasters by the same paths.
    *probability_type* and *nodata* are those of `map_values.map_type`.
    """
    progress, storage = progress or Progress(), storage or Storage()
    mode = model.output_mode(mode)
    image = matched(image, model, match_by_order)
    window = window or image.grid.window()
    if not 16 <= tile_size <= LARGEST_TILE:
        raise SettingError(f"TILE_SIZE is {tile_size}: give a number from 16 to {LARGEST_TILE:,}.")
    predictor = model.learner.load_predictor(model)
    kind = map_type(model, mode, predictor.gives_classes(mode), probability_type, nodata)
    cut = plan(image, predictor, mode, window.rows * window.columns, threads, tile_size, memory_limit)
    if cut.side < tile_size:
        progress.message(f"Tiles of {cut.side} instead of {tile_size} pixels keep the run within {memory_limit} MB.")
    tiling = Tiling(image, mask, model, mode, window, kind, cut, predictor, threads)
    finishing = storage.finishes(output)
    writer = RasterWriter(
        output,
        image.grid.part(window),
        predictor.bands(mode),
        kind,
        model.classes if mode in (CLASSIFICATION, CLUSTERING) else (),
        [*image.paths, *(mask.paths if mask else ())],
        storage=storage,
        threads=threads,
        journal=resume,
        progress=Part(progress, TILES_SHARE, 1) if finishing else progress,
    )
    tiles = list(iter_tiles(window.rows, window.columns, cut.side))
    steps = Steps(Part(progress, 0, TILES_SHARE) if finishing else progress, len(tiles))
    predicted = 0
    with gdal_cache(cache_megabytes(memory_limit)), one_blas_thread, writer:
        journal = Journal(output, _fingerprint(tiling, progress)) if resume else None
        if journal and journal.tiles:
            progress.message(f"{journal.tiles} tiles of an interrupted run are taken over.")
        for tile, result in zip(tiles, tiling.results(tiles, journal, scheduler, steps)):
            if result.values is not None:
                writer.write(tile, result.values)
            predicted += result.predicted
            steps.written()
    forget(output)  # also what an interrupted run kept, where this one did without
    pixels = window.rows * window.columns
    return PixelCounts(pixels, predicted, pixels - predicted)


def predict_rows(
    model: Model, features: np.ndarray, mode: str = "", threads: int = 1, progress: Progress | None = None
) -> np.ndarray:
    """Return (bands, rows) for *features* (rows, predictors), finite: float32, for clusterers also float64."""
    progress = progress or Progress()
    mode = model.output_mode(mode)
    predictor = model.learner.load_predictor(model)

    def predict(span: slice, stop: threading.Event) -> np.ndarray:
        return predictor.predict(np.ascontiguousarray(features[span]), mode, checker(stop))

    pieces = list(spans(len(features), len(predictor.bands(mode))))
    parts = []
    with one_blas_thread:
        for part in ordered_map(predict, pieces, threads, progress):
            parts.append(part)
            progress(len(parts), len(pieces))
    kind = np.int32 if predictor.gives_classes(mode) else np.float32
    return np.concatenate(parts, axis=1) if parts else np.empty((len(predictor.bands(mode)), 0), dtype=kind)


def matched(image: Image, model: Model, match_by_order: bool) -> Image:
    """Return *image* with the model's predictors as bands: by name, or by order when that is asked for."""
    if not model.predictors:  # the masks of all bands count
        return image
    if not match_by_order:
        missing = [name for name in model.predictors if name not in image.band_names]
        if missing:
            raise RasterError(
                f"The image has no band {', '.join(missing)}, which the model needs: it has "
                f"{', '.join(image.band_names)}. Rename them with BAND_NAMES, or set MATCH_BY_ORDER."
            )
        return image.select(model.predictors)
    if image.bands != len(model.predictors):
        raise RasterError(
            f"The image has {image.bands} bands and the model {len(model.predictors)} predictors: "
            "MATCH_BY_ORDER needs equal numbers, choose the bands with BANDS."
        )
    return image


def _fingerprint(tiling: Tiling, progress: Progress) -> dict:
    image, mask = tiling.image, tiling.mask
    return fingerprint(
        tiling.model,
        [*image.paths, *(mask.paths if mask else ())],
        progress,
        **{
            "the choice of bands or RESAMPLING": [image.table(), image.resampling],
            "the grid": image.grid,
            "MASK": mask and [mask.paths, mask.table()],
            "EXTENT": tiling.window,
            "OUTPUT_MODE": tiling.mode,
            "PROBABILITY_TYPE or NODATA": tiling.kind,
            "TILE_SIZE (or THREADS or MEMORY_LIMIT, which can make tiles smaller)": tiling.plan.side,
        },
    )
