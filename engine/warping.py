"""A raster read on another grid than its own."""

from __future__ import annotations

import math
import threading
from typing import Iterator, Sequence, Union

import numpy as np
from osgeo import gdal, osr

from .errors import RasterError
from .grids import Grid, extent_text, same_crs, same_pixels, shift
from .rasters import Raster, ask_gdal, quiet
from .tiles import Window, iter_tiles, overlap, within

RESAMPLING = {
    "nearest": gdal.GRA_NearestNeighbour,
    "bilinear": gdal.GRA_Bilinear,
    "cubic": gdal.GRA_Cubic,
    "average": gdal.GRA_Average,
}
CHUNK = 256  # pixels a side: chunks are warped whole, so that any window gets the same values
MOST_VALUES = 2**24  # of the source in memory for one chunk; larger ones are divided
LATTICE = 17  # points a side with which a chunk is looked for in the source


def place(raster: Raster, grid: Grid, resampling: str) -> Placed:
    """Return *raster* as something to be read on *grid*; raise `RasterError` when they do not meet."""
    own = raster.grid
    known = bool(own.crs_wkt) == bool(grid.crs_wkt)
    if not known and not same_pixels(own, grid):
        without, other = ("it", "the grid") if not own.crs_wkt else ("the grid", "it")
        raise RasterError(
            f"{raster.path} cannot be brought onto the grid because {without} has no CRS and {other} has one: "
            f"give the raster without CRS its own with Assign projection."
        )
    offset = shift(own, grid) if not known or same_crs(own.crs_wkt, grid.crs_wkt) else None
    placed: Placed = Warped(raster, grid, resampling) if offset is None else Shifted(raster, *offset)
    if not placed.overlaps(grid):
        raise RasterError(
            f"{raster.path} does not overlap the grid: it covers {extent_text(own.bounds())}, "
            f"the grid {extent_text(grid.bounds())}; check its CRS or leave it out."
        )
    return placed


class Shifted:
    """A raster whose pixels are pixels of the grid: it only starts elsewhere."""

    resampled = False

    def __init__(self, raster: Raster, row: int, column: int) -> None:
        self.raster = raster
        self._covered = Window(row, column, raster.grid.rows, raster.grid.columns)

    def overlaps(self, grid: Grid) -> bool:
        return overlap(self._covered, grid.window()) is not None

    def read(self, numbers: Sequence[int], window: Window) -> np.ndarray:
        """Return the bands *numbers* in *window* of the grid, NaN where masked or outside."""
        part = overlap(window, self._covered)
        own = part and Window(part.row - self._covered.row, part.column - self._covered.column, part.rows, part.columns)
        if own and part == window:
            return self.raster.read(numbers, own)
        values = _nothing(self.raster, numbers, window)
        if own and part:
            values[within(part, window)] = self.raster.read(numbers, own)
        return values


class Warped:
    """A raster that is resampled onto the grid, chunk by chunk."""

    resampled = True

    def __init__(self, raster: Raster, grid: Grid, resampling: str) -> None:
        self.raster = raster
        self._grid = grid
        self._method = resampling
        # Where the CRSs are the same, the ground is the same: GDAL need not ask PROJ.
        same = same_crs(raster.grid.crs_wkt, grid.crs_wkt)
        self._own_grid = raster.grid._replace(crs_wkt=grid.crs_wkt) if same else raster.grid
        self._options = [] if same else _area_of_interest(raster.grid)
        self._local = threading.local()

    def __reduce__(self) -> tuple:
        return Warped, (self.raster, self._grid, self._method)

    def overlaps(self, grid: Grid) -> bool:
        reach = self._reach(grid.window())
        if reach is None:
            return False
        (left, top), (right, bottom) = reach
        return right > 0 and bottom > 0 and left < self._own_grid.columns and top < self._own_grid.rows

    def read(self, numbers: Sequence[int], window: Window) -> np.ndarray:
        """Return the bands *numbers* in *window* of the grid, NaN where masked or outside."""
        values = _nothing(self.raster, numbers, window)
        for chunk in self._chunks(window):
            part = overlap(chunk, window) or chunk
            warped = self._chunk(tuple(numbers), chunk, keep=part != chunk)
            values[within(part, window)] = warped[within(part, chunk)]
        return values

    def _chunks(self, window: Window) -> Iterator[Window]:
        row, column = window.row // CHUNK * CHUNK, window.column // CHUNK * CHUNK
        for tile in iter_tiles(window.row + window.rows - row, window.column + window.columns - column, CHUNK):
            chunk = overlap(Window(row + tile.row, column + tile.column, CHUNK, CHUNK), self._grid.window())
            if chunk:
                yield chunk

    def _chunk(self, numbers: tuple[int, ...], chunk: Window, keep: bool) -> np.ndarray:
        """Return *chunk*; the last one is kept when its other pixels are likely to be asked for."""
        last = getattr(self._local, "last", None)
        if last is not None and last[0] == (numbers, chunk):
            return last[1]
        values = self._warp(numbers, chunk)
        self._local.last = ((numbers, chunk), values) if keep else None
        return values

    def _warp(self, numbers: Sequence[int], window: Window) -> np.ndarray:
        values = _nothing(self.raster, numbers, window)
        source = self._source_window(window)
        if source is None:
            return values
        if source.rows * source.columns * len(numbers) > MOST_VALUES and window.rows * window.columns > 1:
            for tile in _quarters(window):
                values[within(tile, window)] = self._warp(numbers, tile)
            return values
        origin = _in_memory(self.raster.read(numbers, source), self._own_grid.part(source))
        target = _in_memory(values, self._grid.part(window))
        done, reason = ask_gdal(
            gdal.Warp,
            target,
            origin,
            resampleAlg=RESAMPLING[self._method],
            errorThreshold=0,
            srcNodata="nan",
            dstNodata="nan",
            warpOptions=["UNIFIED_SRC_NODATA=NO", "INIT_DEST=NO_DATA", *self._scale()],
            transformerOptions=self._options,
        )
        if not done:
            raise RasterError(f"{self.raster.path} cannot be brought onto the grid ({reason}): warp it beforehand.")
        return target.ReadAsArray().reshape(values.shape)

    def _source_window(self, window: Window) -> Window | None:
        """Return the pixels of the source that the resampling of *window* may use, or None."""
        reach = self._reach(window)
        if reach is None:
            return None
        low, high = reach
        # Room for the kernel (two source or grid pixels, whichever are larger) and for what lies between the points.
        room = 3 + 2 * (high - low) / (window.columns, window.rows) + (high - low) / (LATTICE - 1)
        left, top = np.floor(low - room)
        right, bottom = np.ceil(high + room)
        return overlap(Window(int(top), int(left), int(bottom - top), int(right - left)), self._own_grid.window())

    def _reach(self, window: Window) -> tuple[np.ndarray, np.ndarray] | None:
        """Return the lowest and highest (column, row) of the source that *window* falls on, or None."""
        rows = np.linspace(window.row, window.row + window.rows, LATTICE)
        columns = np.linspace(window.column, window.column + window.columns, LATTICE)
        lattice = [(column, row) for row in rows for column in columns]
        with quiet():
            points, good = self._transformer().TransformPoints(1, lattice)
        found = np.array([point[:2] for point, ok in zip(points, good) if ok and math.isfinite(point[0] + point[1])])
        return (found.min(axis=0), found.max(axis=0)) if len(found) else None

    def _scale(self) -> list[str]:
        """Tell GDAL how many grid pixels a source pixel is wide and high, once for the raster: its kernels need it.

        Left alone it guesses anew for each chunk, from sizes that the raster's edges falsify.
        """
        if not hasattr(self._local, "scale"):
            with quiet():
                middle = self._transformer().TransformPoint(0, self._own_grid.columns / 2, self._own_grid.rows / 2)[1]
                steps = [(0, 0), (1, 0), (0, 1)]
                here = [(middle[0] + column, middle[1] + row) for column, row in steps]
                points = np.array([point[:2] for point in self._transformer().TransformPoints(1, here)[0]])
            wide, high = np.hypot(*(points[1:] - points[0]))
            known = np.isfinite([wide, high]).all() and wide > 0 and high > 0
            self._local.scale = [f"XSCALE={1 / wide!r}", f"YSCALE={1 / high!r}"] if known else []
        return self._local.scale

    def _transformer(self):
        if not hasattr(self._local, "transformer"):
            ends = _outline(self._own_grid), _outline(self._grid)
            transformer, reason = ask_gdal(gdal.Transformer, *ends, self._options)
            if transformer is None:
                raise RasterError(
                    f"{self.raster.path} cannot be brought onto the grid ({reason}): check the CRS of both."
                )
            self._local.ends, self._local.transformer = ends, transformer
        return self._local.transformer


Placed = Union[Shifted, Warped]


def _nothing(raster: Raster, numbers: Sequence[int], window: Window) -> np.ndarray:
    return np.full((len(numbers), window.rows, window.columns), np.nan, dtype=raster.sample_type(numbers))


def _in_memory(values: np.ndarray, grid: Grid):
    code = gdal.GDT_Float64 if values.dtype == np.float64 else gdal.GDT_Float32
    dataset = gdal.GetDriverByName("MEM").Create("", grid.columns, grid.rows, len(values), code)
    dataset.SetGeoTransform(grid.geotransform)
    dataset.SetProjection(grid.crs_wkt)
    dataset.WriteArray(values)
    return dataset


def _outline(grid: Grid):
    """Return a dataset of *grid* without bands, which takes no memory however large it is."""
    dataset = gdal.GetDriverByName("VRT").Create("", grid.columns, grid.rows, 0)
    dataset.SetGeoTransform(grid.geotransform)
    dataset.SetProjection(grid.crs_wkt)
    return dataset


def _quarters(window: Window) -> list[Window]:
    half = max(1, math.ceil(window.rows / 2)), max(1, math.ceil(window.columns / 2))
    return [
        Window(window.row + tile.row, window.column + tile.column, tile.rows, tile.columns)
        for tile in iter_tiles(window.rows, window.columns, half)
    ]


def suggested_grid(grid: Grid, crs_wkt: str) -> Grid:
    """Return the grid that GDAL suggests for *grid* in another CRS; raise `RasterError` when it knows none."""
    source = _outline(grid)
    source.AddBand(gdal.GDT_Byte)
    warped, reason = ask_gdal(gdal.AutoCreateWarpedVRT, source, None, crs_wkt, gdal.GRA_NearestNeighbour, 0)
    if warped is None:
        raise RasterError(f"The first raster cannot be brought into PROJECTION ({reason}): choose another CRS.")
    return Grid(warped.RasterYSize, warped.RasterXSize, tuple(warped.GetGeoTransform()), crs_wkt)


def _area_of_interest(grid: Grid) -> list[str]:
    """Tell PROJ where *grid* lies, so that every chunk is transformed by the same operation."""
    if not grid.crs_wkt:
        return []
    own, geographic = osr.SpatialReference(grid.crs_wkt), osr.SpatialReference()
    geographic.ImportFromEPSG(4326)
    for crs in (own, geographic):
        crs.SetAxisMappingStrategy(osr.OAMS_TRADITIONAL_GIS_ORDER)
    corners, _ = ask_gdal(lambda: osr.CoordinateTransformation(own, geographic).TransformBounds(*grid.bounds(), 21))
    if corners is None or not np.isfinite(corners).all():
        return []
    return ["AREA_OF_INTEREST=" + ",".join(f"{corner:.9f}" for corner in corners)]
