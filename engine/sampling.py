"""Values of an image at points, along lines and inside polygons."""

from __future__ import annotations

import math
import threading
from typing import Iterator, NamedTuple, Sequence

import numpy as np
from osgeo import gdal, ogr

from .errors import RasterError, TableError
from .grids import Grid, extent_text
from .images import Image, gdal_cache
from .progress import Part, Progress
from .rasters import ask_gdal
from .tiles import Window, iter_tiles
from .workers import ordered_map

# Well-known binary, little-endian, of a point: 2-D; Z, M, ZM (ISO); Z (old).  x and y follow at once.
POINT_HEADERS = frozenset(b"\x01" + code.to_bytes(4, "little") for code in (1, 1001, 2001, 3001, 0x80000001))
POLYGONS = (ogr.wkbPolygon, ogr.wkbTriangle)
LINES = (ogr.wkbLineString, ogr.wkbLinearRing)
BURN_SIDE = 1024  # pixels: a large region is burnt in squares of its own, whatever the image's blocks
ON_EDGE = 1e-9  # pixels: a point on the edge of two pixels is in the right and lower one, whatever the rounding
MOST_VALUES = 2**24  # read at once: 64 MB as float32
MOST_SIDE = 4096  # pixels that blocks of different sizes may make together
CENTRES_AT_ONCE = 2**20  # pixels
CACHE_MEGABYTES = 64  # of GDAL's: no block is asked for again, but for the rest of a large one


class RegionSamples(NamedTuple):
    """One row per (region, pixel), ordered by region, row, column; ``number`` counts from 0 inside a region."""

    region: np.ndarray
    number: np.ndarray
    row: np.ndarray
    column: np.ndarray
    x: np.ndarray
    y: np.ndarray
    values: np.ndarray
    dropped: int


def sample_regions(
    image: Image,
    regions: Sequence[bytes | None] | np.ndarray,
    all_touched: bool = False,
    threads: int = 0,
    progress: Progress | None = None,
    tile_size: int = 256,
) -> RegionSamples:
    """Return the values of every pixel of every region.

    Parameters
    ----------
    regions : well-known binary, or None for a feature without geometry; or points as a float array, (regions, 2)
        In the CRS of the image's grid; NaN is a point that is not there.  A point takes the pixel that holds it, a
        line every pixel it touches, a polygon the pixels whose centres lie inside it, or every pixel it touches
        when *all_touched*.
    tile_size : int
        About how many pixels a side are read at once; the result does not depend on it, nor on *threads*.

    Returns
    -------
    RegionSamples
        ``values`` (rows, bands) in the image's sample type.  A pixel with a masked band is left out and
        counted in ``dropped``; it has a row for each region that holds it.

    Raises
    ------
    RasterError when no region meets the image, or all its pixels are masked.
    """
    progress = progress or Progress()
    region, pixel = _pixels_of(image.grid, regions, all_touched, Part(progress, 0, 0.3))
    row = (pixel // image.grid.columns).astype(np.int32)
    column = (pixel % image.grid.columns).astype(np.int32)
    del pixel  # there may be very many
    values = _values_at(image, row, column, threads, tile_size, Part(progress, 0.3, 1))
    valid = np.isfinite(values).all(axis=1)
    if not valid.any():
        raise RasterError(_why_masked(image, values))
    dropped = int(len(valid) - valid.sum())
    if dropped:
        region, row, column, values = region[valid], row[valid], column[valid], values[valid]
    number = np.arange(len(region), dtype=np.int32)
    number -= np.searchsorted(region, region, side="left").astype(np.int32)  # those before the region's first
    x, y = _centres(image.grid, row, column)
    return RegionSamples(
        region,
        number,
        row,
        column,
        x,
        y,
        values,
        dropped,
    )


def _centres(grid: Grid, row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """Return x, y of pixel centres, (2, pixels), without more such arrays on the way."""
    places: np.ndarray = np.empty((2, len(row)))
    for start in range(0, len(row), CENTRES_AT_ONCE):
        part = slice(start, start + CENTRES_AT_ONCE)
        places[:, part] = grid.centres(row[part], column[part])
    return places


def _pixels_of(
    grid: Grid, regions: Sequence[bytes | None] | np.ndarray, all_touched: bool, progress: Progress
) -> tuple[np.ndarray, np.ndarray]:
    """Return region and pixel (row * columns + column) of every pixel, each pair once, in order."""
    seen = _Extent()
    if isinstance(regions, np.ndarray):
        inside, pixel = _pixels_at(grid, regions, seen)
        region = np.flatnonzero(inside).astype(np.int32)
    else:
        region, pixel = _pixels_of_geometries(grid, regions, all_touched, seen, progress)
    if not len(region):
        raise RasterError(_why_empty(grid, seen))
    return region, pixel


def _pixels_of_geometries(
    grid: Grid, regions: Sequence[bytes | None], all_touched: bool, seen: _Extent, progress: Progress
) -> tuple[np.ndarray, np.ndarray]:
    """Return region and pixel of every pixel, each pair once, in order."""
    points: dict[int, bytes] = {}
    others: dict[int, bytes] = {}
    for number, wkb in enumerate(regions):
        if wkb is not None:
            (points if bytes(wkb[:5]) in POINT_HEADERS else others)[number] = bytes(wkb)
    places = np.frombuffer(b"".join(wkb[5:21] for wkb in points.values()), dtype="<f8").reshape(-1, 2)
    inside, pixel = _pixels_at(grid, places, seen)
    numbers, pixels = [np.array(list(points), dtype=np.int32)[inside]], [pixel]
    for done, (number, wkb) in enumerate(others.items()):
        if done % 64 == 0:
            progress(done, len(others))
        pixels.append(np.unique(_pixels_in(grid, wkb, number, all_touched, seen)))
        numbers.append(np.full(len(pixels[-1]), number, dtype=np.int32))
    region, pixel = np.concatenate(numbers), np.concatenate(pixels)
    if not points or not others:
        return region, pixel
    order = np.argsort(region, kind="stable")
    return region[order], pixel[order]


class _Extent:
    """The bounds of all regions so far."""

    def __init__(self) -> None:
        self.bounds = (math.inf, math.inf, -math.inf, -math.inf)

    def add(self, xmin: float, ymin: float, xmax: float, ymax: float) -> None:
        low, high = self.bounds[:2], self.bounds[2:]
        self.bounds = (*map(min, low, (xmin, ymin)), *map(max, high, (xmax, ymax)))  # type: ignore[assignment]


def _pixels_at(grid: Grid, places: np.ndarray, seen: _Extent) -> tuple[np.ndarray, np.ndarray]:
    """Return which of *places* (points, 2) lie on the grid, and the pixels of those."""
    known = np.isfinite(places).all(axis=1)  # an empty point is written as NaN
    if known.any():
        seen.add(*places[known].min(axis=0), *places[known].max(axis=0))
    with np.errstate(invalid="ignore"):
        columns, rows = (np.floor(positions + ON_EDGE) for positions in grid.pixels(places[:, 0], places[:, 1]))
        inside = known & (columns >= 0) & (columns < grid.columns) & (rows >= 0) & (rows < grid.rows)
    pixel = rows[inside].astype(np.int64) * grid.columns + columns[inside].astype(np.int64)
    return inside, pixel


def _pixels_in(grid: Grid, wkb: bytes, number: int, all_touched: bool, seen: _Extent) -> np.ndarray:
    """Return the pixels of one geometry, unordered; one that several parts hold may come several times."""
    geometry, reason = ask_gdal(ogr.CreateGeometryFromWkb, wkb)
    if geometry is None:
        raise TableError(f"Region {number} has a geometry that cannot be read ({reason}): repair or delete it.")
    if geometry.IsEmpty():
        return np.empty(0, dtype=np.int64)
    xmin, xmax, ymin, ymax = geometry.GetEnvelope()
    if not math.isfinite(xmin + xmax + ymin + ymax):
        raise TableError(f"Region {number} has a coordinate that is not a number: repair or delete it.")
    seen.add(xmin, ymin, xmax, ymax)
    window = grid.window_for((xmin, ymin, xmax, ymax), margin=1)
    if window is None:
        return np.empty(0, dtype=np.int64)
    parts = list(_simple(geometry.GetLinearGeometry() if geometry.HasCurveGeometry() else geometry))
    places = [part.GetPoint_2D() for part in parts if ogr.GT_Flatten(part.GetGeometryType()) == ogr.wkbPoint]
    pixels = [_pixels_at(grid, np.array(places, dtype=np.float64).reshape(-1, 2), _Extent())[1]]
    for kinds, touched in ((POLYGONS, all_touched), (LINES, True)):
        shapes = [part for part in parts if ogr.GT_Flatten(part.GetGeometryType()) in kinds]
        if shapes:
            pixels.extend(_burnt(grid, window, shapes, touched))
    return np.concatenate(pixels)


def _simple(geometry) -> Iterator[ogr.Geometry]:
    """Yield the points, lines and polygons that a geometry is made of."""
    kind = ogr.GT_Flatten(geometry.GetGeometryType())
    if kind == ogr.wkbPoint or kind in POLYGONS or kind in LINES:
        if not geometry.IsEmpty():
            yield geometry
        return
    for index in range(geometry.GetGeometryCount()):
        yield from _simple(geometry.GetGeometryRef(index))


def _burnt(grid: Grid, window: Window, shapes: Sequence, touched: bool) -> Iterator[np.ndarray]:
    """Yield the pixels of *shapes* inside *window*, as GDAL's rasterizer finds them."""
    source = ogr.GetDriverByName("Memory").CreateDataSource("")
    layer = source.CreateLayer("shapes")
    for shape in shapes:  # one by one: GDAL fills a multipolygon by the even-odd rule, so that overlaps are holes
        feature = ogr.Feature(layer.GetLayerDefn())
        feature.SetGeometry(shape)
        layer.CreateFeature(feature)
    for tile in iter_tiles(window.rows, window.columns, BURN_SIDE):
        part = Window(window.row + tile.row, window.column + tile.column, tile.rows, tile.columns)
        mask = gdal.GetDriverByName("MEM").Create("", part.columns, part.rows, 1, gdal.GDT_Byte)
        mask.SetGeoTransform(grid.part(part).geotransform)
        failed, reason = ask_gdal(
            gdal.RasterizeLayer, mask, [1], layer, burn_values=[1], options=["ALL_TOUCHED=TRUE"] if touched else []
        )
        if failed != 0:  # None or an error code
            raise TableError(f"A region cannot be drawn on the image's grid ({reason or failed}): repair its geometry.")
        rows, columns = np.nonzero(mask.ReadAsArray())
        yield (rows + part.row) * np.int64(grid.columns) + columns + part.column


def _values_at(
    image: Image, row: np.ndarray, column: np.ndarray, threads: int, tile_size: int, progress: Progress
) -> np.ndarray:
    """Return the values (pixels, bands) at *row*, *column*, NaN where masked; each block is read once."""
    cell_rows, cell_columns = _cell(image, tile_size)
    cells = row // cell_rows * np.int64(-(-image.grid.columns // cell_columns))
    cells += column // cell_columns
    if cells.max() < 2**16:
        cells = cells.astype(np.uint16)  # which numpy sorts ten times faster
    order = np.argsort(cells, kind="stable")
    cells = cells[order]
    groups = np.split(order, np.flatnonzero(cells[1:] != cells[:-1]) + 1)
    del cells
    values: np.ndarray = np.empty((len(row), image.bands), dtype=image.sample_type)

    def read(chosen: np.ndarray, stop: threading.Event) -> np.ndarray:
        return _values_in_cell(image, row[chosen], column[chosen], stop)

    with gdal_cache(CACHE_MEGABYTES):
        for done, (chosen, part) in enumerate(zip(groups, ordered_map(read, groups, threads, progress)), 1):
            values[chosen] = part
            progress(done, len(groups))
    return values


def _values_in_cell(image: Image, row: np.ndarray, column: np.ndarray, stop: threading.Event) -> np.ndarray:
    """Return the values (pixels, bands) of pixels of one cell; a large cell is read a few rows at a time."""
    values: np.ndarray = np.empty((len(row), image.bands), dtype=image.sample_type)
    left, width = int(column.min()), int(column.max() - column.min()) + 1
    step = max(1, MOST_VALUES // (width * image.bands))
    for top in range(int(row.min()), int(row.max()) + 1, step):
        here = np.flatnonzero((row >= top) & (row < top + step))
        if len(here) and not stop.is_set():
            window = Window(top, left, int(row[here].max()) - top + 1, width)
            found = image.read(window, image.sample_type).values
            values[here] = found[:, row[here] - top, column[here] - left].T
    return values


def _cell(image: Image, tile_size: int) -> tuple[int, int]:
    """Return rows, columns of what one thread reads: whole blocks of every file, about *tile_size* a side or more."""
    rows, columns = (
        _common(sizes, tile_size, extent)
        for sizes, extent in zip(zip(*image.block_sizes), (image.grid.rows, image.grid.columns))
    )
    return rows, columns


def _common(blocks: Sequence[int], tile_size: int, extent: int) -> int:
    """Return a side that holds whole blocks of each kind, or of the largest one when that would be too much."""
    side = math.lcm(*blocks)
    if side > min(extent, MOST_SIDE):
        side = max(blocks)
    return side * max(1, tile_size // side)


def _why_empty(grid: Grid, seen: _Extent) -> str:
    if seen.bounds[0] > seen.bounds[2]:
        return "No region has a geometry: choose a layer with points, lines or polygons."
    if grid.window_for(seen.bounds) is None:
        return (
            f"No region lies on the image: the regions cover {extent_text(seen.bounds)}, the image "
            f"{extent_text(grid.bounds())}; check the CRS of both."
        )
    return (
        f"No pixel belongs to a region: the regions cover {extent_text(seen.bounds)}, the image "
        f"{extent_text(grid.bounds())}; no pixel centre lies inside, so check the CRS or use ALL_TOUCHED."
    )


def _why_masked(image: Image, values: np.ndarray) -> str:
    empty = [name for name, column in zip(image.band_names, values.T) if not np.isfinite(column).any()]
    if empty:
        which = f"band {empty[0]} has" if len(empty) == 1 else f"bands {', '.join(empty)} have"
        return f"All {len(values)} pixels of the regions are masked: {which} no data there; leave it out with BANDS."
    return (
        f"All {len(values)} pixels of the regions are masked, each in some band: choose fewer BANDS or other regions."
    )
