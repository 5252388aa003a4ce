"""Where the segments of SNIC begin: a pixel in each cell of a grid, or pixels that are given."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .errors import MissingLibraryError
from .tiles import Window


class Seeds(NamedTuple):
    """``places``: flat, rising within what is given and within the rest; ``segments``: of each, from 0 (both int64).

    ``given``: how many of the segments were given, the first ones.
    """

    places: np.ndarray
    segments: np.ndarray
    given: int


def grid_seeds(valid: np.ndarray, window: Window, shape: tuple[int, int], size: int, connectivity: int) -> Seeds:
    """Return the seeds of the pixels *valid*, bool (rows, columns), of a *window* of an image of *shape*.

    The image is cut into cells of *size* × *size* pixels; at its end less than half a cell belongs to the one before.
    Each connected part of the valid pixels has a seed in every cell that it reaches into: the pixel nearest to the
    cell's middle, the first of equals in raster order.
    """
    down = _Cells.of(window.row, window.rows, shape[0], size)
    across = _Cells.of(window.column, window.columns, shape[1], size)
    middles = np.ix_(down.middles, across.middles)
    if valid.all():
        places = (middles[0] * window.columns + middles[1]).ravel()
    else:
        parts = connected(valid, connectivity)
        seeded = parts[middles]
        rest = np.flatnonzero(valid & (parts != seeded[np.ix_(down.cells, across.cells)]))
        row, column = np.divmod(rest, window.columns)
        cell = down.cells[row] * len(across.middles) + across.cells[column]
        part = parts.ravel()[rest]
        order = np.lexsort((rest, down.squares[row] + across.squares[column], part, cell))
        cell, part = cell[order], part[order]
        first = np.ones(len(order), dtype=bool)
        first[1:] = (cell[1:] != cell[:-1]) | (part[1:] != part[:-1])
        centres = (middles[0] * window.columns + middles[1])[seeded > 0]
        places = np.sort(np.concatenate([centres, rest[order[first]]]))
    return Seeds(places, np.arange(len(places)), 0)


def given_seeds(
    given: np.ndarray, valid: np.ndarray, window: Window, shape: tuple[int, int], size: int, connectivity: int
) -> Seeds:
    """Return the valid pixels among *given*, bool (rows, columns), touching ones as one segment, in raster order.

    Parts of the valid pixels without any get the seeds of `grid_seeds`.
    """
    numbers = connected(given & valid, connectivity)
    places = np.flatnonzero(numbers)
    segments = numbers.ravel()[places].astype(np.int64) - 1
    count = int(numbers.max(initial=0))
    parts = connected(valid, connectivity)
    has_seed = np.zeros(int(parts.max(initial=0)) + 1, dtype=bool)
    has_seed[parts.ravel()[places]] = True
    lonely = valid & ~has_seed[parts]
    if lonely.any():
        more = grid_seeds(lonely, window, shape, size, connectivity)
        places = np.concatenate([places, more.places])
        segments = np.concatenate([segments, more.segments + count])
    return Seeds(places, segments, count)


def connected(mask: np.ndarray, connectivity: int) -> np.ndarray:
    """Return the number, from 1, of the connected part each pixel of *mask* belongs to, int32, in raster order."""
    try:
        from scipy import ndimage
    except ImportError as error:
        raise MissingLibraryError(
            "Masked pixels, given seeds and tiles need SciPy, which is not installed: install the package "
            "python3-scipy, or scipy with pip."
        ) from error

    structure = np.ones((3, 3), dtype=bool) if connectivity == 8 else None
    parts: np.ndarray = np.empty(mask.shape, dtype=np.int32)
    ndimage.label(mask, structure, output=parts)
    return parts


class _Cells(NamedTuple):
    """Along one axis of a window: the cell of each pixel, from 0, its squared distance from that cell's middle (in half
    pixels), and of each cell the pixel nearest to its middle."""

    cells: np.ndarray
    squares: np.ndarray
    middles: np.ndarray

    @classmethod
    def of(cls, start: int, length: int, total: int, size: int) -> _Cells:
        count = max(1, (total + size // 2) // size)
        place = np.arange(start, start + length)
        cells = np.minimum(place // size, count - 1)
        ends = np.where(cells == count - 1, total, (cells + 1) * size)
        twice = cells * size + ends - 1  # the middle
        numbers, first = np.unique(cells, return_index=True)
        middles = np.clip(twice[first] // 2 - start, 0, length - 1)
        return cls(cells - numbers[0], (2 * place - twice) ** 2, middles)
