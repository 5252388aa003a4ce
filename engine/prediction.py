"""A fitted model applied to pixels, tile by tile, or to rows of a table."""

from __future__ import annotations

import contextlib
import threading
from typing import Any, Callable, Iterator, NamedTuple, Protocol

import numpy as np

from .cluster import cluster_map
from .errors import Canceled, RasterError, SettingError
from .images import Image, gdal_cache
from .journal import Journal, fingerprint
from .learners import CLASSIFICATION, CLUSTERING
from .models import Model
from .outputs import FLOAT, RasterWriter, class_type
from .progress import Progress
from .tiles import Window, iter_tiles
from .workers import one_blas_thread, ordered_map, thread_count

ROWS_AT_ONCE = 65_536  # few enough to stay in the cache and to answer a cancel at once
VALUES_AT_ONCE = 2**22  # bounds the rows of modes with many outputs
BASE_MEGABYTES = 400  # what QGIS, scikit-learn and a small model need before the first tile
CACHE_SHARE = 8  # GDAL's block cache gets one part in so many of MEMORY_LIMIT
NO_CLASS = np.iinfo(np.int32).min  # a row that the classifier gives no class
SMALLEST_TILE = 32
LARGEST_TILE = 16_384


class Predictor(Protocol):
    """What the class that a learner's row names must offer; made with ``Predictor(model)``, used by many threads."""

    def bands(self, mode: str) -> tuple[str, ...]:
        """Return the names of the output bands of *mode*."""

    def gives_classes(self, mode: str) -> bool:
        """Tell whether the outputs of *mode* are class values (int32) or float32."""

    def predict(self, features: np.ndarray, mode: str, check: Callable[[], None]) -> np.ndarray:
        """Return (bands, rows), int32 with `NO_CLASS` or float32 with NaN for a row that has no prediction.

        *features* is float32 (rows, predictors), finite, C-contiguous; each row is predicted for itself.
        *check* is called between steps of some ten milliseconds and may raise.
        """


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
    """
    progress = progress or Progress()
    mode = model.output_mode(mode)
    image = matched(image, model, match_by_order)
    window = window or image.grid.window()
    if not 16 <= tile_size <= LARGEST_TILE:
        raise SettingError(f"TILE_SIZE is {tile_size}: give a number from 16 to {LARGEST_TILE:,}.")
    tiling = _Tiling(image, mask, model, mode, window, threads)
    side = tiling.fitting_side(tile_size, memory_limit)
    if side < tile_size:
        progress.message(f"Tiles of {side} instead of {tile_size} pixels keep the run within {memory_limit} MB.")
    windows = list(iter_tiles(window.rows, window.columns, side))
    predicted = 0
    with one_blas_thread, gdal_cache(cache_megabytes(memory_limit)), tiling.writer(output) as writer:
        journal = Journal(output, tiling.fingerprint(side)) if resume else None
        results = tiling.results(windows, journal, scheduler, progress)
        for done, (tile, (values, count)) in enumerate(zip(windows, results), 1):
            if values is not None:
                writer.write(tile, values)
            predicted += count
            progress(done, len(windows))
    if journal:
        journal.remove()
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
        return predictor.predict(np.ascontiguousarray(features[span]), mode, _checker(stop))

    spans = list(_spans(len(features), len(predictor.bands(mode))))
    parts = []
    with one_blas_thread:
        for part in ordered_map(predict, spans, threads, progress):
            parts.append(part)
            progress(len(parts), len(spans))
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


def cache_megabytes(memory_limit: int) -> int:
    """Return how much of *memory_limit* GDAL's block cache gets, both in MB."""
    return max(16, memory_limit // CACHE_SHARE)


class _Tiling:
    """What the tiles of one run share; `predict` runs in several threads at once."""

    def __init__(self, image: Image, mask: Image | None, model: Model, mode: str, window: Window, threads: int) -> None:
        self.image, self.mask, self.model, self.mode = image, mask, model, mode
        self.window, self.threads = window, threads
        self.predictor = model.learner.load_predictor(model)
        self.bands = self.predictor.bands(mode)
        labels = [item.value for item in model.classes]
        self.sample_type = class_type(max(labels), min(labels)) if self.predictor.gives_classes(mode) else FLOAT

    def __reduce__(self) -> tuple:
        """What travels to a cluster's workers, each of which works with one thread."""
        return _Tiling, (self.image, self.mask, self.model, self.mode, self.window, 1)

    def writer(self, output: str) -> RasterWriter:
        return RasterWriter(
            output,
            self.image.grid.part(self.window),
            self.bands,
            self.sample_type,
            self.model.classes if self.mode in (CLASSIFICATION, CLUSTERING) else (),
            [*self.image.paths, *(self.mask.paths if self.mask else ())],
            threads=self.threads,
        )

    def results(
        self, tiles: list[Window], journal: Journal | None, scheduler: str, progress: Progress
    ) -> Iterator[tuple[np.ndarray | None, int]]:
        """Yield what `predict` gives for every tile, in order, from the journal of an interrupted run where it is."""
        finished = {tile for tile in tiles if journal and journal.has(tile)}
        rest = [tile for tile in tiles if tile not in finished]
        if scheduler:
            computed: Any = cluster_map(_Tiling.predict, self, rest, scheduler, progress)
        else:
            computed = ordered_map(self.predict, rest, self.threads, progress)
        with contextlib.closing(computed):
            for tile in tiles:
                if journal and tile in finished:
                    yield self._counted(journal.values(tile))
                    continue
                values, count = next(computed)
                if journal:
                    journal.add(tile, values)
                yield values, count

    def _counted(self, values: np.ndarray) -> tuple[np.ndarray | None, int]:
        """Return the tile's values and the number of its pixels that have one; None when none has."""
        if not values.size:
            return None, 0
        masked = np.isnan(values[0]) if values.dtype.kind == "f" else values[0] == self.sample_type.nodata
        return values, int(masked.size - np.count_nonzero(masked))

    def fingerprint(self, side: int) -> dict:
        images = [self.image, self.mask] if self.mask else [self.image]
        return fingerprint(
            self.model,
            [path for image in images for path in image.paths],
            bands=[image.table() for image in images],
            grid=self.image.grid,
            window=self.window,
            mode=self.mode,
            tile=side,
        )

    def predict(self, tile: Window, stop: threading.Event) -> tuple[np.ndarray | None, int]:
        """Return the tile's values (bands, rows, columns) and how many pixels were predicted; None when none was."""
        window = tile._replace(row=tile.row + self.window.row, column=tile.column + self.window.column)
        valid = self._unmasked(window)
        if valid is not None and not valid.any():
            return None, 0
        block = self.image.read(window)
        valid = block.valid if valid is None else block.valid & valid
        count = int(np.count_nonzero(valid))
        if not count:
            return None, 0
        features = np.ascontiguousarray(block.values[:, valid].T)
        del block
        size = window.rows * window.columns
        result = np.full((len(self.bands), size), self.sample_type.nodata, dtype=self.sample_type.dtype)
        places = np.flatnonzero(valid)
        for span in _spans(count, len(self.bands)):
            values = self.predictor.predict(features[span], self.mode, _checker(stop))
            if self.sample_type is not FLOAT:
                values = np.where(values == NO_CLASS, self.sample_type.nodata, values)
            result[:, places[span]] = values
        return self._counted(result.reshape(len(self.bands), window.rows, window.columns))

    def _unmasked(self, window: Window) -> np.ndarray | None:
        if self.mask is None:
            return None
        block = self.mask.read(window)
        return block.valid & (block.values[0] != 0)

    def fitting_side(self, side: int, memory_limit: int) -> int:
        """Return the largest tile side up to *side* with which all tiles under way fit into *memory_limit* MB.

        Where the file's blocks are wider than a tile, a row of tiles fits into GDAL's cache, too: else every tile
        would read the same strips again.
        """
        cache = cache_megabytes(memory_limit) * 2**20
        block_rows, block_columns = self.image.block_size
        row_of_pixels = self.image.grid.columns * self.image.bands * np.dtype(self.image.sample_type).itemsize
        while side > SMALLEST_TILE and block_columns > side and max(side, block_rows) * row_of_pixels > cache:
            side = max(SMALLEST_TILE, side // 2)
        budget = max(64, memory_limit - BASE_MEGABYTES - cache_megabytes(memory_limit)) * 2**20
        tiles = thread_count(self.threads)
        inputs = 16 * self.image.bands + 16  # read, cast, masked, gathered
        outputs = 2 * np.dtype(self.sample_type.dtype).itemsize * len(self.bands)
        work = tiles * min(ROWS_AT_ONCE * 128, VALUES_AT_ONCE * 16)
        while side > SMALLEST_TILE and tiles * side * side * (inputs + 2 * outputs) + work > budget:
            side = max(SMALLEST_TILE, side // 2)
        return side


def _spans(rows: int, bands: int) -> Iterator[slice]:
    step = max(1, min(ROWS_AT_ONCE, VALUES_AT_ONCE // bands))
    return (slice(start, min(rows, start + step)) for start in range(0, rows, step))


def _checker(stop: threading.Event):
    def check() -> None:
        if stop.is_set():
            raise Canceled()

    return check
