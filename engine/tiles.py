"""Windows that cover a raster exactly once."""

from __future__ import annotations

from typing import Iterator, NamedTuple


class Window(NamedTuple):
    """A rectangle of pixels: its first row and column, its rows and columns."""

    row: int
    column: int
    rows: int
    columns: int


def iter_tiles(rows: int, columns: int, size: int | tuple[int, int]) -> Iterator[Window]:
    """Yield windows that cover *rows* × *columns* pixels exactly once, row by row of tiles.

    *size* is the side of a tile, or its (rows, columns); the last tiles of a row or column are smaller.
    """
    tile_rows, tile_columns = (size, size) if isinstance(size, int) else size
    for row in range(0, rows, tile_rows):
        for column in range(0, columns, tile_columns):
            yield Window(row, column, min(tile_rows, rows - row), min(tile_columns, columns - column))


def overlap(first: Window, second: Window) -> Window | None:
    """Return the pixels that both windows hold, or None."""
    row, column = max(first.row, second.row), max(first.column, second.column)
    rows = min(first.row + first.rows, second.row + second.rows) - row
    columns = min(first.column + first.columns, second.column + second.columns) - column
    return Window(row, column, rows, columns) if rows > 0 and columns > 0 else None


def within(part: Window, whole: Window) -> tuple:
    """Return the index of *part* in an array (..., rows, columns) that holds *whole*."""
    row, column = part.row - whole.row, part.column - whole.column
    return ..., slice(row, row + part.rows), slice(column, column + part.columns)
