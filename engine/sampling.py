"""Values of an image at points, along lines and inside polygons."""

from __future__ import annotations

import math
import threading
from typing import Iterator, NamedTuple, Sequence

import numpy as np
from osgeo import gdal, ogr

from .errors import RasterError, TableError
from .grids import Grid, extent_text
from .images import Image
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
MOST_PIXELS = 2**20  # read at once


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
    regions: Sequence[bytes | None],
    all_touched: bool = False,
    threads: int = 0,
    progress: Progress | None = None,
    tile_size: int = 256,
) -> RegionSamples:
    """Return the values of every pixel of every region.

    Parameters
    ----------
    regions : well-known binary, or None for a feature without geometry
        In the CRS of the image's grid.  A point takes the pixel that holds it, a line every pixel it touches,
        a polygon the pixels whose centres lie inside it, or every pixel it touches when *all_touched*.
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
    row, column = np.divmod(pixel, image.grid.columns)
    values = _values_at(image, row, column, threads, tile_size, Part(progress, 0.3, 1))
    valid = np.isfinite(values).all(axis=1)
    if not valid.any():
        raise RasterError(_why_masked(image, values))
    region, row, column = region[valid], row[valid], column[valid]
    first = np.searchsorted(region, region, side="left")
    x, y = image.grid.centres(row, column)
    return RegionSamples(
        region,
        np.arange(len(region)) - first,
        row.astype(np.int32),
        column.astype(np.int32),
        x,
        y,
        values[valid],
        int(len(valid) - len(region)),
    )


def _pixels_of(
    grid: Grid, regions: Sequence[bytes | None], all_touched: bool, progress: Progress
) -> tuple[np.ndarray, np.ndarray]:
    """Return region and pixel (row * columns + column) of every pixel, each pair once, in order."""
    points: dict[int, bytes] = {}
    others: dict[int, bytes] = {}
    for number, wkb in enumerate(regions):
        if wkb is not None:
            (points if bytes(wkb[:5]) in POINT_HEADERS else others)[number] = bytes(wkb)
    seen = _Extent()
    places = np.frombuffer(b"".join(wkb[5:21] for wkb in points.values()), dtype="<f8").reshape(-1, 2)
    inside, pixel = _pixels_at(grid, places, seen)
    found = [(np.array(list(points), dtype=np.int64)[inside], pixel)]
    for done, (number, wkb) in enumerate(others.items()):
        if done % 64 == 0:
            progress(done, len(others))
        pixel = _pixels_in(grid, wkb, number, all_touched, seen)
        found.append((np.full(len(pixel), number, dtype=np.int64), pixel))
    region = np.concatenate([part[0] for part in found])
    pixel = np.concatenate([part[1] for part in found])
    if not len(region):
        raise RasterError(_why_empty(grid, seen))
    order = np.lexsort((pixel, region))
    region, pixel = region[order], pixel[order]
    new = np.ones(len(region), dtype=bool)
    new[1:] = (np.diff(region) != 0) | (np.diff(pixel) != 0)
    return region[new], pixel[new]


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
    cells = row // cell_rows * -(-image.grid.columns // cell_columns) + column // cell_columns
    order = np.argsort(cells, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(cells[order])) + 1)
    values: np.ndarray = np.empty((len(row), image.bands), dtype=image.sample_type)

    def read(chosen: np.ndarray, stop: threading.Event) -> np.ndarray:
        rows, columns = row[chosen], column[chosen]
        top, left = int(rows.min()), int(columns.min())
        window = Window(top, left, int(rows.max()) - top + 1, int(columns.max()) - left + 1)
        return image.read(window, image.sample_type).values[:, rows - top, columns - left].T

    for done, (chosen, part) in enumerate(zip(groups, ordered_map(read, groups, threads, progress)), 1):
        values[chosen] = part
        progress(done, len(groups))
    return values


def _cell(image: Image, tile_size: int) -> tuple[int, int]:
    """Return rows, columns of what is read at once: whole blocks of the file, about *tile_size* a side."""
    rows, columns = (block * max(1, tile_size // block) for block in image.block_size)
    if rows * columns > MOST_PIXELS:  # long strips
        block = image.block_size[0]
        rows = block * max(1, MOST_PIXELS // columns // block)
    return (rows, columns) if rows * columns <= MOST_PIXELS else (tile_size, tile_size)


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
