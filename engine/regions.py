"""Polygons on a grid: which pixels have their centres inside one of them."""

from __future__ import annotations

import math
import struct
from typing import Iterator, Sequence

import numpy as np
from osgeo import gdal, ogr

from .errors import RasterError, TableError
from .grids import Bounds, Grid, extent_text
from .rasters import ask_gdal
from .tiles import Window

POLYGONS = (ogr.wkbPolygon, ogr.wkbTriangle)
SNAP = 2.0**20  # per pixel: corners at these fractions move from window to window without rounding


class Region:
    """The union of polygons; ``window`` holds all its pixels.  Any thread may ask for a mask."""

    def __init__(self, grid: Grid, polygons: Sequence[bytes | None]) -> None:
        """Take *polygons* as well-known binary in the CRS of *grid*; None is a feature without geometry.

        Raises `TableError` for what is no polygon and `RasterError` when the grid has none of them.
        """
        self._grid = grid
        self._shapes: list[bytes] = []  # in pixels of the grid
        boxes, bounds = [], []
        for number, wkb in enumerate(polygons):
            for shape in () if wkb is None else _polygons(bytes(wkb), number):
                drawn, box = _on_grid(grid, shape, number)
                self._shapes.append(drawn)
                boxes.append(box)
                bounds.append(shape.GetEnvelope())
        if not boxes:
            raise TableError("REGION has no polygon: choose a layer with at least one.")
        self._boxes = np.array(boxes)
        west, _, south, _ = np.min(bounds, axis=0).tolist()
        _, east, _, north = np.max(bounds, axis=0).tolist()
        self.window = self._window((west, south, east, north))

    def mask(self, window: Window) -> np.ndarray:
        """Return (rows, columns) bool, True where a centre is inside; the same in any window."""
        left, top, right, bottom = self._boxes.T
        near = (left <= window.column + window.columns) & (right >= window.column)
        near &= (top <= window.row + window.rows) & (bottom >= window.row)
        shapes = [self._shapes[index] for index in np.flatnonzero(near)]
        return _burnt(window, shapes) if shapes else np.zeros((window.rows, window.columns), dtype=bool)

    def _window(self, bounds: Bounds) -> Window:
        grid = self._grid
        left, top = np.clip(np.floor(self._boxes[:, :2].min(axis=0)), 0, (grid.columns, grid.rows)).astype(int)
        right, bottom = np.clip(np.ceil(self._boxes[:, 2:].max(axis=0)), 0, (grid.columns, grid.rows)).astype(int)
        if right <= left or bottom <= top:
            raise RasterError(
                f"REGION does not lie on the image: it covers {extent_text(bounds)}, the image "
                f"{extent_text(grid.bounds())}; check the CRS of both."
            )
        return Window(int(top), int(left), int(bottom - top), int(right - left))


def _polygons(wkb: bytes, number: int) -> list[ogr.Geometry]:
    """Return the polygons that a geometry is made of."""
    geometry, reason = ask_gdal(ogr.CreateGeometryFromWkb, wkb)
    if geometry is None:
        raise TableError(f"REGION has a geometry that cannot be read, number {number} ({reason}): repair or delete it.")
    return list(_members(geometry.GetLinearGeometry() if geometry.HasCurveGeometry() else geometry))


def _members(geometry) -> Iterator[ogr.Geometry]:
    if ogr.GT_Flatten(geometry.GetGeometryType()) in POLYGONS:
        if not geometry.IsEmpty():
            yield geometry.Clone()  # outlives the collection that it comes from
        return
    for index in range(geometry.GetGeometryCount()):
        yield from _members(geometry.GetGeometryRef(index))


def _on_grid(grid: Grid, polygon, number: int) -> tuple[bytes, tuple[float, float, float, float]]:
    """Return *polygon* in columns and rows of *grid*, as well-known binary, and its left, top, right, bottom."""
    rings = []
    for index in range(polygon.GetGeometryCount()):
        x, y = np.array(polygon.GetGeometryRef(index).GetPoints())[:, :2].T
        rings.append(np.round(np.column_stack(grid.pixels(x, y)) * SNAP) / SNAP)
    low, high = (
        np.min([ring.min(axis=0) for ring in rings], axis=0),
        np.max([ring.max(axis=0) for ring in rings], axis=0),
    )
    if not math.isfinite(float(np.sum(low + high))):
        raise TableError(f"REGION has a coordinate that is not a number in geometry {number}: repair or delete it.")
    body = b"".join(struct.pack("<I", len(ring)) + ring.astype("<f8").tobytes() for ring in rings)
    return struct.pack("<BII", 1, ogr.wkbPolygon, len(rings)) + body, (*low.tolist(), *high.tolist())


def _burnt(window: Window, shapes: Sequence[bytes]) -> np.ndarray:
    """Return the mask of *window* as GDAL's rasterizer fills *shapes*, one by one, so that overlaps are no holes."""
    source = ogr.GetDriverByName("Memory").CreateDataSource("")
    layer = source.CreateLayer("shapes")
    for shape in shapes:
        feature = ogr.Feature(layer.GetLayerDefn())
        feature.SetGeometryDirectly(ogr.CreateGeometryFromWkb(shape))
        layer.CreateFeature(feature)
    mask = gdal.GetDriverByName("MEM").Create("", window.columns, window.rows, 1, gdal.GDT_Byte)
    mask.SetGeoTransform((window.column, 1, 0, window.row, 0, 1))
    failed, reason = ask_gdal(gdal.RasterizeLayer, mask, [1], layer, burn_values=[1])
    if failed != 0:  # None or an error code
        raise TableError(f"REGION cannot be drawn on the image's grid ({reason or failed}): repair its geometry.")
    return mask.ReadAsArray().astype(bool)
