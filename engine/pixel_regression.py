"""A reducer applied to every pixel of an image collection, tile by tile."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass, field, replace
from typing import Any, Callable, Iterator, Mapping, NamedTuple, Sequence, Union, cast

import numpy as np

from .cluster import cluster_map
from .errors import SettingError
from .gaps import copy_valid, fill_nan
from .image_collection import ImageCollection, built_in
from .images import gdal_cache
from .journal import Journal, fingerprint
from .lean_fit import BYTES_A_PIXEL, Stored
from .outputs import FLOAT, RasterWriter
from .prediction import BASE_MEGABYTES, LARGEST_TILE, cache_megabytes
from .predictors import checker
from .progress import Progress
from .rasters import Band
from .reducers import REDUCERS_BY_ID, TIME, Reducer
from .scratch import Scratch
from .sums import count_images
from .tiles import Window, iter_tiles
from .workers import one_blas_thread, ordered_map, thread_count

COUNT = "n"  # the last band: the number of images used
VALUES_AT_ONCE = 2**20  # of all variables in one call of a kernel: few enough to stay near the processor
WORKING_COPIES = 8  # of these values that a kernel may hold
MOST_OPEN = 512  # files, counted for each thread; with more an image is opened for each tile anew
Variable = Union[int, np.ndarray]


class PixelCounts(NamedTuple):
    """``images`` of the collection; ``fitted`` and ``masked`` pixels (too few valid images, or no solution)."""

    images: int
    pixels: int
    fitted: int
    masked: int


def regress_image(
    collection: ImageCollection,
    reducer: Reducer,
    output: str,
    x: Sequence[str],
    y: Sequence[str],
    times: Sequence[float],
    settings: Mapping[str, Any],
    *,
    min_observations: int | None = None,
    threads: int = 0,
    tile_size: int = 256,
    memory_limit: int = 1024,
    scheduler: str = "",
    resume: bool = False,
    progress: Progress | None = None,
) -> PixelCounts:
    """Write the outputs of *reducer* and the number of images used, a Float32 band each, to *output*.

    *x* and *y* are names of bands or built-in variables (`image_collection.built_in`); a band goes before a built-in
    variable of its name.  *times* has a number for every image.  A pixel uses the images in which none of its
    variables is masked.  Where these are fewer than *min_observations* (None: what the reducer needs), or there is no
    solution, the pixel is masked; its count is kept where there is any image.  The result is the same, bit for bit,
    for any *tile_size*, *threads* and *memory_limit* (megabytes of the whole run).
    """
    progress = progress or Progress()
    if not 16 <= tile_size <= LARGEST_TILE:
        raise SettingError(f"TILE_SIZE is {tile_size}: give a number from 16 to {LARGEST_TILE:,}.")
    reducer.check_variables(x, y)
    settings = reducer.checked(settings)
    least = max(reducer.least(len(x)), min_observations or 0)
    names = reducer.outputs(x, y, settings)
    if len(collection) < least:
        progress.warn(f"{least} images are needed and there are {len(collection)}: every pixel will be masked.")
    if TIME in x and TIME not in collection.band_names and len(set(times)) == 1:
        progress.warn("All images have the same time: give TIMES.")
    job = _job(collection, reducer, x, y, times, settings, least)
    plan = _plan(job, tile_size, memory_limit, thread_count(threads))
    job = replace(job, values_at_once=plan.values_at_once, keep_open=plan.threads * len(collection.paths) <= MOST_OPEN)
    grid = collection.grid
    tiles = list(iter_tiles(grid.rows, grid.columns, plan.tile))
    progress.message(f"{len(tiles)} tiles of {plan.tile[0]} x {plan.tile[1]} pixels, {plan.threads} at a time.")
    journal = Journal(output, job.fingerprint(plan.tile, progress)) if resume else None
    fitted = 0
    with (
        gdal_cache(cache_megabytes(memory_limit)),
        one_blas_thread,
        RasterWriter(
            output, grid, [*names, COUNT], FLOAT, (), collection.paths, plan.block_side, threads=threads
        ) as writer,
    ):
        for done, (tile, values) in enumerate(_results(job, tiles, plan.threads, journal, scheduler, progress), 1):
            if values is not None:
                writer.write(tile, values)
                fitted += int(np.count_nonzero(~np.isnan(values[0])))
            progress(done, len(tiles))
    if journal:
        journal.remove()
    pixels = grid.rows * grid.columns
    return PixelCounts(len(collection), pixels, fitted, pixels - fitted)


def _results(
    job: _Job, tiles: list[Window], threads: int, journal: Journal | None, scheduler: str, progress: Progress
) -> Iterator[tuple[Window, np.ndarray | None]]:
    """Yield every tile and its values, in order, from the journal of an interrupted run where they are."""
    finished = {tile for tile in tiles if journal and journal.has(tile)}
    rest = [tile for tile in tiles if tile not in finished]
    if scheduler:
        computed: Any = cluster_map(_Job.regress, job, rest, scheduler, progress)
    else:
        computed = ordered_map(job.regress, rest, threads, progress)
    with contextlib.closing(computed):
        for tile in tiles:
            if journal and tile in finished:
                values = journal.values(tile)
                yield tile, values if values.size else None
                continue
            values = next(computed)
            if journal:
                journal.add(tile, values)
            yield tile, values


@dataclass(frozen=True)
class _Job:
    """What the tiles of one run share; `regress` runs in several threads at once and travels to a cluster.

    Each of ``x`` and ``y`` is the position of a band in ``collection`` or a built-in variable (images,); ``variables``
    of them are arrays (images, pixels) in the kernel.  ``lean`` says that the reducer's lean kernel can do it.
    """

    collection: ImageCollection
    reducer_id: str
    x: list[Variable]
    y: list[Variable]
    settings: dict[str, Any]
    least: int
    outputs: int
    variables: int
    lean: bool
    values_at_once: int = VALUES_AT_ONCE
    keep_open: bool = True
    scratch: Scratch = field(default_factory=Scratch)

    def fingerprint(self, tile: tuple[int, int], progress: Progress) -> dict:
        return fingerprint(
            None,
            self.collection.paths,
            progress,
            reducer=self.reducer_id,
            settings=self.settings,
            variables=[np.asarray(each).tolist() for each in (*self.x, *self.y)],
            bands=self.collection.band_names,
            least=self.least,
            grid=self.collection.grid,
            tile=tile,
        )

    def regress(self, tile: Window, stop: threading.Event) -> np.ndarray | None:
        """Return the tile's outputs and count, float32 (bands, rows, columns); None when every image is masked."""
        check = checker(stop)
        result = np.full((self.outputs + 1, tile.rows * tile.columns), np.nan, dtype=np.float32)
        if self.lean:
            self._regress_stored(tile, result, check)
        else:
            self._regress_block(self.collection.read(tile, check, self.keep_open), result, check)
        if np.isnan(result[-1]).all():
            return None
        return result.reshape(-1, tile.rows, tile.columns)

    def _regress_stored(self, tile: Window, result: np.ndarray, check: Callable[[], None]) -> None:
        """Fill *result* (outputs and count, pixels), which is all NaN, from the numbers as the files store them.

        What the lean kernel is not sure of is read again for the other.
        """
        band = cast(Band, self.collection.stored)

        def parts() -> Iterator[np.ndarray]:
            return self.collection.read_stored(tile, self.scratch, check, self.keep_open)

        lean = REDUCERS_BY_ID[self.reducer_id].lean_function()
        x = np.stack(cast("list[np.ndarray]", self.x))
        stored = Stored(parts(), result.shape[1], np.dtype(band.dtype), band.gaps, band.nodata)
        fit = lean(x, stored, self.scratch)
        enough = fit.used >= self.least
        with np.errstate(over="ignore"):  # what float32 cannot hold
            result[:-1], result[-1] = fit.outputs, fit.used
        result[:-1, ~enough] = np.nan
        result[-1, fit.used == 0] = np.nan
        rest = np.flatnonzero(enough & ~fit.sure)
        if not rest.size:
            return
        values = np.concatenate([part[:, rest] for part in parts()])
        step = max(1, self.values_at_once // len(values))
        for start in range(0, rest.size, step):
            some = slice(start, start + step)
            block = values[:, some].astype(np.float32)
            fill_nan(block, band.gaps(values[:, some]))
            part = np.full((len(result), block.shape[1]), np.nan, dtype=np.float32)
            self._regress_block(block[np.newaxis], part, check)
            result[:, rest[some]] = part

    def _regress_block(self, block: np.ndarray, result: np.ndarray, check: Callable[[], None]) -> None:
        """Fill *result* (outputs and count, pixels), which is all NaN, for *block* (bands, images, pixels)."""
        bands, images, pixels = block.shape
        step = min(pixels, max(1, self.values_at_once // (images * self.variables)))
        values = np.empty((bands, images, step))  # for all calls of the kernel
        for start in range(0, pixels, step):
            check()
            span = slice(start, start + step)
            self._regress_span(block[..., span], values, result[:, span], check)

    def _regress_span(
        self, block: np.ndarray, values: np.ndarray, result: np.ndarray, check: Callable[[], None]
    ) -> None:
        """Fill *result* (outputs and count, pixels), which is all NaN, for *block* (bands, images, pixels).

        *values* (bands, images, pixels or more) holds float64 numbers meanwhile.
        """
        valid = ~np.isnan(block).any(axis=0)
        count = count_images(valid)
        result[-1] = np.where(count > 0, count, np.nan)
        enough = np.flatnonzero(count >= self.least)
        if not enough.size:
            return
        if enough.size < count.size:
            block, valid = block[..., enough], valid[:, enough]
        values = values[..., : enough.size]
        copy_valid(block, valid, values)
        kernel = REDUCERS_BY_ID[self.reducer_id].function()
        x, y = _stacked(self.x, values), _stacked(self.y, values)
        y = np.broadcast_to(y, (len(y), *valid.shape))
        with np.errstate(over="ignore"):  # what float32 cannot hold
            result[:-1, enough] = kernel(x, y, valid, check, **self.settings)


def _job(
    collection: ImageCollection,
    reducer: Reducer,
    x: Sequence[str],
    y: Sequence[str],
    times: Sequence[float],
    settings: dict[str, Any],
    least: int,
) -> _Job:
    """Return the job for names of variables; raises `RasterError` for a name that nothing has."""
    bands: list[str] = []
    variables: dict[str, Variable] = {}
    for name in dict.fromkeys((*y, *x)):
        values = None if name in collection.band_names else built_in(name, np.array(times, dtype=np.float64))
        if values is None:
            variables[name] = len(bands)
            bands.append(name)
        else:
            variables[name] = values
    if not bands:
        raise SettingError(
            f"X ({','.join(x)}) and Y ({','.join(y)}) have no band: choose some of {', '.join(collection.band_names)}."
        )
    chosen = collection.select(bands)
    built_in_x = not any(isinstance(variables[name], int) for name in x)
    plain = len(y) == 1 and built_in_x and not settings.get("significance")
    return _Job(
        chosen,
        reducer.id,
        [variables[name] for name in x],
        [variables[name] for name in y],
        settings,
        least,
        len(reducer.outputs(x, y, settings)),
        len(bands) if reducer.pair else len(x) + len(y),
        bool(reducer.lean) and plain and chosen.stored is not None,
    )


def _stacked(variables: Sequence[Variable], values: np.ndarray) -> np.ndarray:
    """Return the variables as (variables, images, pixels), or (variables, images, 1) when all are built in."""
    columns = [each[:, np.newaxis] if isinstance(each, np.ndarray) else values[each] for each in variables]
    if len(columns) == 1:
        return columns[0][np.newaxis]
    return np.stack(np.broadcast_arrays(*columns))


class _Plan(NamedTuple):
    """How a run is cut up: (rows, columns) of a tile, tiles at a time, values for a kernel, blocks of the output."""

    tile: tuple[int, int]
    threads: int
    values_at_once: int
    block_side: int


def _plan(job: _Job, tile_size: int, memory_limit: int, threads: int) -> _Plan:
    """Return the plan that keeps a run within *memory_limit* MB and reads each block of the files once.

    Tiles are whole blocks, about *tile_size* wide and high, or rows of strips with as many pixels.  Where even one
    block for each thread is too much, fewer threads work, and only then blocks are divided.
    """
    collection = job.collection
    budget = max(64, memory_limit - BASE_MEGABYTES - cache_megabytes(memory_limit)) * 2**20
    values = min(VALUES_AT_ONCE, budget // 4 // (8 * WORKING_COPIES * threads))
    budget -= values * 8 * WORKING_COPIES * threads
    size = np.dtype(collection.sample_type).itemsize
    bands = len(collection.band_names)
    a_pixel = bands * len(collection) * size + bands * (2 * size + 2) + 3 * 4 * (job.outputs + 1)
    a_pixel += BYTES_A_PIXEL * job.lean
    rows, columns, (block_rows, block_columns) = collection.grid.rows, collection.grid.columns, collection.block_size
    block_rows, block_columns = min(block_rows, rows), min(block_columns, columns)
    threads = max(1, min(threads, budget // (block_rows * block_columns * a_pixel)))
    tile_columns = min(columns, _multiple(tile_size, block_columns))
    tile_rows = min(rows, _multiple(max(1, min(tile_size, tile_size**2 // tile_columns)), block_rows))
    while tile_rows * tile_columns * a_pixel * threads > budget and tile_rows * tile_columns > 1:
        if tile_rows > block_rows:
            tile_rows = max(block_rows, tile_rows // 2 // block_rows * block_rows)
        elif tile_columns > block_columns:
            tile_columns = max(block_columns, tile_columns // 2 // block_columns * block_columns)
        elif tile_rows > 1:
            tile_rows //= 2
        else:
            tile_columns //= 2
    side = 256
    while side > 64 and side * columns * 4 * (job.outputs + 1) > cache_megabytes(memory_limit) * 2**19:
        side //= 2  # rows of tiles fill a row of the output's blocks, which wait in half of GDAL's cache
    return _Plan((tile_rows, tile_columns), threads, values, side)


def _multiple(size: int, unit: int) -> int:
    """Return the multiple of *unit* that is *size* or just above."""
    return -(-size // unit) * unit
