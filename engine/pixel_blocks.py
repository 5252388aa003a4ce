"""The pixels of an image inside a region, block after block, each block read once."""

from __future__ import annotations

import threading
from typing import Callable, Iterator, NamedTuple, Sequence, TypeVar

import numpy as np

from .images import Image, gdal_cache
from .progress import Progress
from .regions import Region
from .sampling import CACHE_MEGABYTES
from .tiles import Window, overlap
from .workers import ordered_map

Result = TypeVar("Result")

MOST_CELL_VALUES = 2**24  # read at once: 64 MB as float32


class PixelValues(NamedTuple):
    """Some pixels by their numbers (row * columns + column) and values (bands, pixels), NaN where masked."""

    pixel: np.ndarray
    values: np.ndarray

    def only(self, chosen: np.ndarray) -> PixelValues:
        return PixelValues(self.pixel[chosen], self.values[:, chosen])


class PixelBlocks:
    """The pixels of *image* whose centres lie inside *region*; None means all."""

    def __init__(self, image: Image, region: Sequence[bytes | None] | None) -> None:
        """Take polygons as `Region` does, and raise what it raises."""
        self.image = image
        self._region = Region(image.grid, region) if region is not None else None
        self.window = self._region.window if self._region else image.grid.window()

    def inside(self, cell: Window) -> np.ndarray:
        """Return the numbers of the pixels of *cell* that are inside, in raster order."""
        rows = np.arange(cell.row, cell.row + cell.rows, dtype=np.int64) * self.image.grid.columns
        pixels = np.add.outer(rows, np.arange(cell.column, cell.column + cell.columns, dtype=np.int64))
        return pixels[self._region.mask(cell)] if self._region else pixels.ravel()

    def read(self, pixel: np.ndarray) -> PixelValues:
        """Return the values of *pixel*, which lie in one cell."""
        row, column = np.divmod(pixel, self.image.grid.columns)
        top, left = int(row.min()), int(column.min())
        window = Window(top, left, int(row.max()) - top + 1, int(column.max()) - left + 1)
        values = self.image.read(window, self.image.sample_type).values.reshape(self.image.bands, -1)
        if values.shape[1] == len(pixel):
            return PixelValues(pixel, values)
        return PixelValues(pixel, values[:, (row - top) * window.columns + column - left])

    def each(
        self,
        function: Callable[[Window, threading.Event], Result | None],
        threads: int,
        tile_size: int,
        progress: Progress,
    ) -> Iterator[Result]:
        """Yield what *function* returns for every cell, in order, but for None.

        A cell is about *tile_size* pixels a side and made of whole blocks of the first raster.
        """
        rows, columns = cell_size(self.image, tile_size)
        cells = list(_cells(self.window, rows, columns))
        with gdal_cache(CACHE_MEGABYTES):
            for done, result in enumerate(ordered_map(function, cells, threads, progress), 1):
                if result is not None:
                    yield result
                progress(done, len(cells))


def cell_size(image: Image, tile_size: int) -> tuple[int, int]:
    """Return rows, columns of a cell: whole blocks of the file, unless these are too large to be read at once."""
    most = max(1, MOST_CELL_VALUES // image.bands)
    rows, columns = (block * max(1, tile_size // block) for block in image.block_size)
    if rows * columns > most:  # long strips
        block = image.block_size[0]
        rows = block * max(1, most // columns // block)
    side = min(tile_size, max(1, int(most**0.5)))
    return (rows, columns) if rows * columns <= most else (side, side)


def _cells(window: Window, rows: int, columns: int) -> Iterator[Window]:
    """Yield what *window* has of each cell, row by row of cells."""
    for row in range(window.row // rows * rows, window.row + window.rows, rows):
        for column in range(window.column // columns * columns, window.column + window.columns, columns):
            cell = overlap(Window(row, column, rows, columns), window)
            if cell:
                yield cell
