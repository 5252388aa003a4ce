"""Grids: how many pixels an image has, and where on the ground they lie."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from osgeo import osr

from .errors import SettingError
from .tiles import Window

Bounds = tuple  # (xmin, ymin, xmax, ymax)

SAME_PLACE = 1e-3  # pixels: what two programs' rounding of one geotransform may differ by
MOST_PIXELS = 2**31 - 1  # of a row or a column, as GDAL counts them


class Grid(NamedTuple):
    """Pixels on the ground; ``geotransform`` in GDAL's order, ``crs_wkt`` "" when unknown."""

    rows: int
    columns: int
    geotransform: tuple[float, float, float, float, float, float]
    crs_wkt: str

    def centres(self, rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return x, y of the centres of pixels (float64)."""
        return self.ground(np.asarray(columns) + 0.5, np.asarray(rows) + 0.5)

    def ground(self, columns: Any, rows: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return x, y of fractional pixel positions; (0, 0) is the outer corner of the first pixel."""
        x, x_column, x_row, y, y_column, y_row = self.geotransform
        return x + columns * x_column + rows * x_row, y + columns * y_column + rows * y_row

    def pixels(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return fractional columns, rows of places on the ground; (0, 0) is the outer corner of the first pixel."""
        x0, x_column, x_row, y0, y_column, y_row = self.geotransform
        right, down = np.asarray(x, dtype=np.float64) - x0, np.asarray(y, dtype=np.float64) - y0
        area = x_column * y_row - x_row * y_column
        return (y_row * right - x_row * down) / area, (x_column * down - y_column * right) / area

    def bounds(self) -> Bounds:
        """Return (xmin, ymin, xmax, ymax) of the whole grid."""
        x, y = self.ground(
            np.array([0, self.columns, 0, self.columns], dtype=float),
            np.array([0, 0, self.rows, self.rows], dtype=float),
        )
        return float(x.min()), float(y.min()), float(x.max()), float(y.max())

    def window(self) -> Window:
        return Window(0, 0, self.rows, self.columns)

    def window_for(self, bounds: Bounds, margin: int = 0) -> Window | None:
        """Return the smallest window that holds *bounds* and *margin* pixels around them, or None off the grid."""
        xmin, ymin, xmax, ymax = bounds
        columns, rows = self.pixels(np.array([xmin, xmax, xmin, xmax]), np.array([ymin, ymin, ymax, ymax]))
        left, right = _span(columns, self.columns, margin)
        top, bottom = _span(rows, self.rows, margin)
        return Window(top, left, bottom - top, right - left) if right > left and bottom > top else None

    def part(self, window: Window) -> Grid:
        """Return the grid of *window* alone."""
        x, y = self.ground(window.column, window.row)
        geotransform = (float(x), *self.geotransform[1:3], float(y), *self.geotransform[4:6])
        return Grid(window.rows, window.columns, geotransform, self.crs_wkt)

    def scaled(self, scale: float) -> Grid:
        """Return the grid of the same origin, orientation and extent with pixels of *scale* CRS units."""
        x, x_column, x_row, y, y_column, y_row = self.geotransform
        width, height = math.hypot(x_column, y_column), math.hypot(x_row, y_row)
        across, along = scale / width, scale / height
        size = _size(self.rows * height / scale, self.columns * width / scale, scale)
        return Grid(*size, (x, x_column * across, x_row * along, y, y_column * across, y_row * along), self.crs_wkt)


def grid_at_multiples(bounds: Bounds, scale: float, crs_wkt: str) -> Grid:
    """Return the north-up grid of square pixels that covers *bounds* and starts at multiples of *scale*."""
    xmin, ymin, xmax, ymax = bounds
    left, top = math.floor(xmin / scale) * scale, math.ceil(ymax / scale) * scale
    size = _size((top - ymin) / scale, (xmax - left) / scale, scale)
    return Grid(*size, (float(left), float(scale), 0.0, float(top), 0.0, -float(scale)), crs_wkt)


def extent_text(bounds: Bounds) -> str:
    """Return *bounds* for a message."""
    xmin, ymin, xmax, ymax = bounds
    return f"x {xmin:.10g} to {xmax:.10g}, y {ymin:.10g} to {ymax:.10g}"


def _span(positions: np.ndarray, size: int, margin: int) -> tuple[int, int]:
    """Return the first pixel that *positions* reach and the one after the last; on an edge they reach none."""
    first, last = math.floor(positions.min() + SAME_PLACE), math.ceil(positions.max() - SAME_PLACE)
    return max(0, first - margin), min(size, last + margin)


def _size(rows: float, columns: float, scale: float) -> tuple[int, int]:
    if max(rows, columns) > MOST_PIXELS:
        raise SettingError(f"SCALE {scale:g} makes a grid of {rows:.3g} x {columns:.3g} pixels: choose a larger pixel.")
    return max(1, math.ceil(rows - SAME_PLACE)), max(1, math.ceil(columns - SAME_PLACE))


def same_crs(first_wkt: str, second_wkt: str) -> bool:
    """Say whether two CRSs, given as WKT, give the same coordinates; "" is the same as "" only."""
    if first_wkt == second_wkt:
        return True
    if not first_wkt or not second_wkt:
        return False
    first, second = osr.SpatialReference(first_wkt), osr.SpatialReference(second_wkt)
    return bool(first.IsSame(second, ["IGNORE_DATA_AXIS_TO_SRS_AXIS_MAPPING=YES"]))


def same_pixels(first: Grid, second: Grid) -> bool:
    """Say whether two grids have the same size and the same numbers, whatever their CRSs."""
    return first[:2] == second[:2] and shift(first, second) == (0, 0)


def shift(inner: Grid, outer: Grid) -> tuple[int, int] | None:
    """Return the (row, column) of *outer* at which *inner* starts when the pixels coincide, else None."""
    columns, rows = outer.pixels(*inner.ground(np.array([0, inner.columns, 0.0]), np.array([0, 0.0, inner.rows])))
    column, row = round(float(columns[0])), round(float(rows[0]))
    off = np.abs(columns - column - [0, inner.columns, 0]), np.abs(rows - row - [0, 0, inner.rows])
    return (row, column) if np.max(off) <= SAME_PLACE else None
