"""Rasters of segments: their numbers, from 1, and the mean of each band over each segment."""

from __future__ import annotations

import contextlib
import math
from typing import Sequence

import numpy as np
from osgeo import gdal

from .errors import StorageError
from .images import Image
from .outputs import FLOAT, RasterWriter, SampleType
from .progress import Progress
from .tiles import Window, iter_tiles, within

CLUSTERS, SEEDS = "clusters", "seeds"  # names of bands, as Earth Engine's
NUMBERS = SampleType(gdal.GDT_Int32, "int32", 0)  # 0 = masked
DOUBLE = SampleType(gdal.GDT_Float64, "float64", math.nan)
MOST_IN_FLOAT32 = 2**24  # whole numbers up to here are exact
ROWS_AT_ONCE = 256


class SegmentWriter:
    """Writes segments tile by tile: a raster of number, means and seeds, and perhaps one of the numbers alone.

    The first is Float32, or Float64 where *most* segments are too many for it or a band of *image* is.  As a context
    manager it publishes both at the end, and after an exception leaves nothing behind; raises `StorageError`.
    """

    def __init__(
        self, image: Image, output: str, clusters: str, most: int, with_seeds: bool, inputs: Sequence[str] = ()
    ) -> None:
        double = most > MOST_IN_FLOAT32 or image.sample_type is np.float64
        self.type = DOUBLE if double else FLOAT
        self.count = 0
        self._files = contextlib.ExitStack()
        self._image, self._output, self._clusters, self._inputs = image, output, clusters, [*image.paths, *inputs]
        self._names = [CLUSTERS, *(f"{name}_mean" for name in image.band_names), *([SEEDS] if with_seeds else [])]

    def __enter__(self) -> SegmentWriter:
        with contextlib.ExitStack() as files:
            self._bands = files.enter_context(
                RasterWriter(self._output, self._image.grid, self._names, self.type, inputs=self._inputs)
            )
            self._numbers = None
            if self._clusters:
                self._numbers = files.enter_context(
                    RasterWriter(self._clusters, self._image.grid, [CLUSTERS], NUMBERS, inputs=self._inputs)
                )
            self._files = files.pop_all()
        return self

    def __exit__(self, *details) -> None:
        self._files.__exit__(*details)

    def add(
        self, window: Window, segments: np.ndarray, values: np.ndarray, seeds: np.ndarray | None, progress: Progress
    ) -> None:
        """Write the segments of *window*, which get numbers of their own.

        *segments*, int (rows, columns), counts from 1 with 0 where masked; *values* is (rows, columns, bands);
        *seeds*, bool, tells where they began.
        """
        count = int(segments.max(initial=0))
        if self.count + count > MOST_IN_FLOAT32 and self.type is FLOAT:
            raise StorageError(
                f"{self._output} has more than {MOST_IN_FLOAT32:,} segments, which Float32 cannot tell apart: "
                "give a larger SIZE."
            )
        means = segment_means(segments, values, count, progress)
        tiles = list(iter_tiles(window.rows, window.columns, (ROWS_AT_ONCE, window.columns)))
        for tile in tiles:
            progress.check()
            part = within(tile, Window(0, 0, window.rows, window.columns))
            here = segments[part]
            masked = here == 0
            numbers = np.where(masked, 0, here + self.count)
            bands = [np.where(masked, np.nan, numbers), *(band[here] for band in means)]
            if seeds is not None:
                bands.append(np.where(masked, np.nan, seeds[part]))
            place = Window(window.row + tile.row, window.column, tile.rows, tile.columns)
            self._bands.write(place, np.stack([band.astype(self.type.dtype) for band in bands]))
            if self._numbers:
                self._numbers.write(place, numbers[None])
            progress(tile.row + tile.rows, window.rows)
        self.count += count


def segment_means(segments: np.ndarray, values: np.ndarray, count: int, progress: Progress) -> np.ndarray:
    """Return the mean of each band over each segment, float64 (bands, count + 1), NaN in place 0, of masked pixels.

    *segments*, int (rows, columns), counts from 1; *values* is (rows, columns, bands).
    """
    sums = np.zeros((values.shape[2], count + 1))
    pixels = np.zeros(count + 1)
    for start in range(0, len(segments), ROWS_AT_ONCE):
        progress.check()
        here = segments[start : start + ROWS_AT_ONCE].ravel()
        pixels += np.bincount(here, minlength=count + 1)
        for number, band in enumerate(np.moveaxis(values[start : start + ROWS_AT_ONCE], 2, 0)):
            sums[number] += np.bincount(here, band.ravel(), count + 1)
    pixels[0] = np.nan
    return sums / pixels
