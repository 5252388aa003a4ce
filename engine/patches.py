"""Square patches of an image around points."""

from __future__ import annotations

import math
import threading
from typing import Iterator, NamedTuple

import numpy as np

from .errors import RasterError, SettingError
from .grids import Grid, extent_text
from .images import Image
from .pixel_blocks import cell_size
from .progress import Part, Progress
from .sampling import ON_EDGE
from .tiles import Window, overlap, within
from .workers import ordered_map

PART_BYTES = 2**27  # of patches made at once
COPIED_BYTES = 2**22  # of these by a thread at a time


class Patches(NamedTuple):
    """Some of the patches, in the order of their points.

    ``feature`` is the point's feature, ``number`` counts from 0 the patches of a feature; ``values``
    (patches, bands, side, side) float32 has rows downwards before columns; ``dropped`` points had a masked centre.
    """

    feature: np.ndarray
    number: np.ndarray
    values: np.ndarray
    dropped: int


def sample_patches(
    image: Image,
    points: np.ndarray,
    radius: int = 1,
    default_value: float = 0.0,
    feature: np.ndarray | None = None,
    threads: int = 0,
    progress: Progress | None = None,
    tile_size: int = 256,
) -> Iterator[Patches]:
    """Yield the patches of (2 *radius* + 1)² pixels around *points*, in their order, in parts of some 100 MB.

    Parameters
    ----------
    points : float array, (points, 2)
        x and y in the CRS of the image's grid.  A point off the image, or whose pixel any band masks, is left out.
    default_value : float
        What masked pixels and those outside the image become; in a band of whole numbers its fraction is
        dropped, and it is clamped to what the band's type holds.
    feature : int array, (points,)
        Ascending: the feature that each point belongs to, one each when None.  Several points of a feature in
        one pixel have one patch.
    tile_size : int
        About how many pixels a side, and a margin, are read at once: each of these squares once for a part.
        The result does not depend on it, nor on *threads*.

    Raises
    ------
    SettingError for impossible settings; RasterError when no point meets the image, or all centres are masked.
    """
    progress = progress or Progress()
    if radius < 0:
        raise SettingError(f"RADIUS is {radius}: give 0 or more pixels.")
    defaults = default_values(image, default_value)
    size = image.bands * (2 * radius + 1) ** 2 * 4
    if size > PART_BYTES:
        raise SettingError(
            f"RADIUS {radius} makes patches of {size / 2**20:,.0f} MB with {image.bands} bands: at most "
            f"{PART_BYTES // 2**20} MB can be made, choose a smaller one or fewer BANDS."
        )
    owner, row, column = _places(image.grid, points, np.arange(len(points)) if feature is None else feature, progress)
    counts = np.zeros(owner[-1] + 1, dtype=np.int64)
    seen: np.ndarray = np.zeros(image.bands, dtype=bool)
    for start in range(0, len(row), PART_BYTES // size):
        part = slice(start, start + PART_BYTES // size)
        share = Part(progress, start / len(row), min(1, part.stop / len(row)))
        values, there = _cut(image, row[part], column[part], radius, defaults, threads, tile_size, share)
        seen |= there.any(axis=0)
        kept = there.all(axis=1)
        owners = owner[part][kept]
        number = np.arange(len(owners)) - np.searchsorted(owners, owners) + counts[owners]
        counts += np.bincount(owners, minlength=len(counts))
        yield Patches(owners, number, values if kept.all() else values[kept], int(len(kept) - len(owners)))
    if not counts.any():
        raise RasterError(_why_masked(image, len(row), seen))


def default_values(image: Image, value: float) -> np.ndarray:
    """Return what *value* is in each band (float32)."""
    if not abs(value) <= np.finfo(np.float32).max:
        raise SettingError(f"DEFAULT_VALUE is {value:g}: give a number that float32 holds.")
    return np.array(
        [_clamped(value, kind) if whole else value for whole, kind in zip(image.integer, image.pixel_types)],
        dtype=np.float32,
    )


def _clamped(value: float, pixel_type: str) -> int:
    limits = np.iinfo("uint8" if pixel_type == "Byte" else pixel_type.lower())
    return min(max(math.trunc(value), int(limits.min)), int(limits.max))


def _places(
    grid: Grid, points: np.ndarray, feature: np.ndarray, progress: Progress
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return feature, row and column of each pixel that a feature has a point in, in the order of the points."""
    points = np.asarray(points, dtype=np.float64).reshape(-1, 2)
    known = np.isfinite(points).all(axis=1)
    points, feature = points[known], np.asarray(feature, dtype=np.int64)[known]
    if not len(points):
        raise RasterError("No point has a place: choose a layer with points.")
    columns, rows = (np.floor(positions + ON_EDGE) for positions in grid.pixels(*points.T))
    inside = (columns >= 0) & (columns < grid.columns) & (rows >= 0) & (rows < grid.rows)
    if not inside.any():
        raise RasterError(
            f"No point lies on the image: the points cover {extent_text((*points.min(axis=0), *points.max(axis=0)))}, "
            f"the image {extent_text(grid.bounds())}; check the CRS of both."
        )
    if not inside.all():
        progress.message(f"{len(inside) - inside.sum():,} of {len(inside):,} points lie off the image.")
    places = np.column_stack([feature, rows, columns])[inside].astype(np.int64)
    _, first = np.unique(places, axis=0, return_index=True)
    return tuple(places[np.sort(first)].T)  # type: ignore[return-value]


def _cut(
    image: Image,
    row: np.ndarray,
    column: np.ndarray,
    radius: int,
    defaults: np.ndarray,
    threads: int,
    tile_size: int,
    progress: Progress,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the patches around pixels, and where (pixels, bands) the centre has data."""
    side = 2 * radius + 1
    values: np.ndarray = np.empty((len(row), image.bands, side, side), dtype=np.float32)
    there: np.ndarray = np.empty((len(row), image.bands), dtype=bool)
    cell_rows, cell_columns = cell_size(image, tile_size)
    cells = row // cell_rows * -(-image.grid.columns // cell_columns) + column // cell_columns
    order = np.argsort(cells, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(cells[order])) + 1)

    def read(chosen: np.ndarray, stop: threading.Event) -> None:
        rows, columns = row[chosen], column[chosen]
        top, left = int(rows.min()), int(columns.min())
        wanted = Window(top - radius, left - radius, int(rows.max()) - top + side, int(columns.max()) - left + side)
        window = overlap(wanted, image.grid.window()) or image.grid.window()  # the centres are on the grid
        pixels: np.ndarray = np.full((image.bands, wanted.rows, wanted.columns), np.nan, dtype=np.float32)
        pixels[within(window, wanted)] = image.read(window).values
        # numpy 1.24 declares a single axis
        around = np.lib.stride_tricks.sliding_window_view(pixels, (side, side), axis=(1, 2))  # type: ignore
        for some in np.array_split(np.arange(len(chosen)), -(-values[0].nbytes * len(chosen) // COPIED_BYTES)):
            patches = around[:, rows[some] - top, columns[some] - left].swapaxes(0, 1)
            there[chosen[some]] = np.isfinite(patches[:, :, radius, radius])
            values[chosen[some]] = np.where(np.isnan(patches), defaults[:, None, None], patches)

    for done, _ in enumerate(ordered_map(read, groups, threads, progress), 1):
        progress(done, len(groups))
    return values, there


def _why_masked(image: Image, points: int, seen: np.ndarray) -> str:
    empty = [name for name, there in zip(image.band_names, seen) if not there]
    if empty:
        which = f"band {empty[0]} has" if len(empty) == 1 else f"bands {', '.join(empty)} have"
        return f"All {points:,} points lie on masked pixels: {which} no data there; leave out with BANDS what has none."
    return f"All {points:,} points lie on masked pixels, each in some band: choose fewer BANDS or other points."
