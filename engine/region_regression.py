"""A reducer applied to the pixels of every region of an image, or to the rows of a table."""

from __future__ import annotations

import threading
from typing import Any, Callable, Iterator, Mapping, NamedTuple, Sequence

import numpy as np

from .errors import RasterError, SettingError
from .images import Image, gdal_cache
from .pixel_blocks import PixelBlocks, PixelValues, cell_size
from .prediction import BASE_MEGABYTES
from .predictors import checker
from .progress import Progress
from .reducers import CONSTANT, Reducer
from .sampling import CACHE_MEGABYTES
from .tiles import iter_tiles
from .workers import ordered_map, thread_count

COPIES = 3  # of all variables that a kernel may hold
WORKING = 160  # bytes a pixel that a kernel needs besides: ranks, residuals, orders


class Fits(NamedTuple):
    """The outputs of a reducer, (outputs, regions) float64 with NaN where undefined, and pixels used, (regions,)."""

    values: np.ndarray
    counts: np.ndarray


def regress_rows(
    reducer: Reducer, x: np.ndarray, y: np.ndarray, settings: Mapping[str, Any], check: Callable[[], None]
) -> np.ndarray:
    """Return the outputs of *reducer* for x (number of X, rows) and y (number of Y, rows), finite float64: (outputs,).

    All are NaN when the rows are too few.
    """
    rows = y.shape[1]
    if rows < reducer.least(len(x)):
        names = reducer.outputs([str(number) for number in range(len(x))], [str(n) for n in range(len(y))], settings)
        return np.full(len(names), np.nan)
    valid = np.ones((rows, 1), dtype=bool)
    return reducer.function()(x[..., np.newaxis], y[..., np.newaxis], valid, check, **settings)[:, 0]


def regress_regions(
    image: Image,
    regions: Sequence[bytes | None],
    reducer: Reducer,
    x: Sequence[str],
    y: Sequence[str],
    settings: Mapping[str, Any],
    *,
    threads: int = 0,
    tile_size: int = 256,
    memory_limit: int = 1024,
    progress: Progress | None = None,
) -> Fits:
    """Return the outputs of *reducer* over the pixels of every region.

    Parameters
    ----------
    regions : polygons as well-known binary in the CRS of the image, or None
        A pixel belongs to the regions that hold its centre, and counts where none of its variables is masked.
    x, y : names of bands
        ``constant``, where no band is called so, is 1 everywhere.
    memory_limit : int
        Megabytes of the whole run.  The result depends neither on it nor on *threads* and *tile_size*.

    Raises
    ------
    RasterError for a band that is missing and when no region has a pixel of the image; SettingError when the pixels
    of a region do not fit into the memory.
    """
    progress = progress or Progress()
    reducer.check_variables(x, y)
    settings = reducer.checked(settings)
    variables = list(dict.fromkeys([*x, *y]))
    bands = [name for name in variables if name != CONSTANT or CONSTANT in image.band_names]
    if not bands:
        raise SettingError(f"X {','.join(x)} and Y {','.join(y)} name no band: choose from {list(image.band_names)}.")
    workers = min(thread_count(threads), max(1, len(regions)))
    budget = max(64, memory_limit - BASE_MEGABYTES - CACHE_MEGABYTES) * 2**20 // workers
    pixels = _Pixels(image.select(bands), tile_size, budget // (len(variables) * 8 * COPIES + WORKING), memory_limit)

    def fit(region: bytes | None, stop: threading.Event) -> tuple[np.ndarray, int]:
        check = checker(stop)
        found = dict(zip(bands, pixels.of(region, check)))
        count = len(found[bands[0]])
        found.setdefault(CONSTANT, np.ones(count))
        x_values, y_values = (np.stack([found[name] for name in names]) for names in (x, y))
        return regress_rows(reducer, x_values, y_values, settings, check), count

    values = np.empty((len(reducer.outputs(x, y, settings)), len(regions)))
    counts = np.zeros(len(regions), dtype=np.int64)
    with gdal_cache(CACHE_MEGABYTES):
        for number, (outputs, count) in enumerate(ordered_map(fit, regions, workers, progress)):
            values[:, number], counts[number] = outputs, count
            progress(number + 1, len(regions))
    if not counts.any():
        raise RasterError(
            "No region has a pixel of the image whose variables are all known: check the CRS of both, and the bands."
        )
    return Fits(values, counts)


class _Pixels:
    """The pixels of an image, region by region, read a cell at a time."""

    def __init__(self, image: Image, tile_size: int, most: int, memory_limit: int) -> None:
        self._image, self._most, self._memory_limit = image, most, memory_limit
        self._cell = cell_size(image, tile_size)

    def of(self, region: bytes | None, check: Callable[[], None]) -> np.ndarray:
        """Return the values of *region*'s pixels that no band masks, (bands, pixels) float64, in raster order."""
        numbers, parts = [np.empty(0, dtype=np.int64)], [np.empty((self._image.bands, 0))]
        count = 0
        for found in self._cells_of(region, check):
            valid = np.isfinite(found.values).all(axis=0)
            numbers.append(found.pixel[valid])
            parts.append(found.values[:, valid].astype(np.float64))
            count += len(numbers[-1])
            if count > self._most:
                raise SettingError(
                    f"MEMORY_LIMIT is {self._memory_limit} MB, and a region has more than {self._most:,} pixels: raise "
                    "it, lower THREADS, or divide the region."
                )
        return np.concatenate(parts, axis=1)[:, np.argsort(np.concatenate(numbers))]

    def _cells_of(self, region: bytes | None, check: Callable[[], None]) -> Iterator[PixelValues]:
        try:
            blocks = None if region is None else PixelBlocks(self._image, [region])
        except RasterError:  # it lies elsewhere
            blocks = None
        if blocks is None:
            return
        for cell in iter_tiles(blocks.window.rows, blocks.window.columns, self._cell):
            check()
            place = cell._replace(row=cell.row + blocks.window.row, column=cell.column + blocks.window.column)
            pixel = blocks.inside(place)
            if len(pixel):
                yield blocks.read(pixel)
