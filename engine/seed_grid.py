"""Grids of seeds for segmentation (Earth Engine: Image.Segmentation.seedGrid, reference 5.6)."""

from __future__ import annotations

import math
import threading

import numpy as np

from .errors import SettingError
from .images import Image, gdal_cache
from .outputs import RasterWriter, class_type
from .progress import Progress
from .tiles import Window, iter_tiles
from .workers import ordered_map

SQUARE, HEX = GRID_TYPES = ("square", "hex")
BAND = "seeds"
CACHE_SHARE = 8  # GDAL's block cache gets one part in so many of MEMORY_LIMIT


def seed_places(rows: int, columns: int, size: int = 5, grid_type: str = SQUARE) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows and columns (int64) of the seeds of a whole raster, in raster order.

    ``square``: the middles (*size* // 2) of *size* × *size* cells counted from the first pixel.  ``hex``: lines of
    seeds *size* apart, the lines round(*size*·√3/2) apart, every other line half a *size* aside.  A cell that the
    raster's edge cuts has a seed when its middle lies inside; the smallest raster has one.
    """
    lines, starts = _lines(rows, columns, size, grid_type)
    counts = -((starts - columns) // size)
    places = starts.repeat(counts) + size * (np.arange(counts.sum()) - (np.cumsum(counts) - counts).repeat(counts))
    return lines.repeat(counts), places


def seed_mask(window: Window, rows: int, columns: int, size: int = 5, grid_type: str = SQUARE) -> np.ndarray:
    """Return where in *window* of a raster of *rows* × *columns* the seeds of `seed_places` lie (bool)."""
    mask = np.zeros((window.rows, window.columns), dtype=bool)
    lines, starts = _lines(rows, columns, size, grid_type)
    first, last = np.searchsorted(lines, [window.row, window.row + window.rows])
    for line, start in zip(lines[first:last].tolist(), starts[first:last].tolist()):
        mask[line - window.row, max(start - window.column, (start - window.column) % size) :: size] = True
    return mask


def write_seeds(
    image: Image,
    output: str,
    size: int = 5,
    grid_type: str = SQUARE,
    *,
    threads: int = 0,
    tile_size: int = 256,
    memory_limit: int = 1024,
    progress: Progress | None = None,
) -> int:
    """Write the band ``seeds``: 1 at seeds, 0 elsewhere, nodata where any band of *image* is masked.

    Return the number of seeds that are not masked.  The result is the same for any *tile_size* and *threads*.
    """
    progress = progress or Progress()
    grid = image.grid
    seed_places(1, 1, size, grid_type)  # refuses what cannot work before a file is made
    kind = class_type(1)

    def seeds(tile: Window, stop: threading.Event) -> np.ndarray:
        valid = image.read(tile).valid
        return np.where(valid, seed_mask(tile, grid.rows, grid.columns, size, grid_type), kind.nodata)

    tiles = list(iter_tiles(grid.rows, grid.columns, tile_size))
    found = 0
    writer = RasterWriter(output, grid, (BAND,), kind, inputs=image.paths, threads=threads)
    with gdal_cache(max(16, memory_limit // CACHE_SHARE)), writer:
        for done, (tile, values) in enumerate(zip(tiles, ordered_map(seeds, tiles, threads, progress)), 1):
            writer.write(tile, values[np.newaxis])
            found += int(np.count_nonzero(values == 1))
            progress(done, len(tiles))
    return found


def _lines(rows: int, columns: int, size: int, grid_type: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the row of each line of seeds and the column of its first seed."""
    if size < 1:
        raise SettingError(f"SIZE is {size}: give a distance of 1 pixel or more.")
    if grid_type not in GRID_TYPES:
        raise SettingError(f"GRID_TYPE is {grid_type!r}: choose one of {', '.join(GRID_TYPES)}.")
    apart = size if grid_type == SQUARE else max(1, math.floor(size * math.sqrt(3) / 2 + 0.5))
    lines = np.arange(min(apart // 2, rows // 2), rows, apart, dtype=np.int64)
    starts = np.full(lines.size, min(size // 2, columns // 2), dtype=np.int64)
    if grid_type == HEX:
        starts[1::2] = 0  # half a size to the left, rounded up
    return lines, starts
