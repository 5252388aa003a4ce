"""Pixels drawn from an image, each with the same chance.

Whether a pixel is drawn hangs on its place and the seed alone: neither blocks nor threads change the sample.
"""

from __future__ import annotations

import threading
from typing import NamedTuple, Sequence

import numpy as np

from . import hashing
from .errors import RasterError, SettingError
from .images import Image
from .pixel_blocks import PixelBlocks, PixelValues
from .progress import Part, Progress
from .thinning import check_distance, thinned
from .tiles import Window

MOST_VALUES = 2**27  # of a sample: 0.5 GB as float32, five times Earth Engine's cap on training


class PixelSample(NamedTuple):
    """One row per pixel; ``values`` (rows, bands) in the image's sample type, NaN where masked."""

    row: np.ndarray
    column: np.ndarray
    x: np.ndarray
    y: np.ndarray
    values: np.ndarray
    dropped: int = 0


def sample(
    image: Image,
    region: Sequence[bytes | None] | None = None,
    factor: float | None = None,
    num_pixels: int | None = None,
    seed: int = 0,
    drop_nulls: bool = True,
    min_distance: float = 0.0,
    threads: int = 0,
    progress: Progress | None = None,
    tile_size: int = 256,
) -> PixelSample:
    """Return pixels drawn with equal chance, in raster order.

    Parameters
    ----------
    region : polygons as well-known binary in the CRS of the grid
        Pixels whose centres lie inside one of them take part; None means the whole image.
    factor : float in (0, 1]
        The chance of each pixel; None means all.
    num_pixels : int
        Instead of *factor*: this number over that of the pixels in the region's extent.  The count is
        approximate, and smaller where pixels of the extent are outside the region or masked.
    drop_nulls : bool
        Leave out the drawn pixels that a band masks and count them in ``dropped``; else their value is NaN.
    min_distance : float
        In units of the grid's CRS: a drawn pixel is left out when it lies nearer to one that stays.  They are
        tried in the order of their random numbers, after masked ones are dropped.
    tile_size : int
        About how many pixels a side are read at once.

    Raises
    ------
    SettingError, RasterError or TableError; also when no pixel is drawn or all of them are masked.
    """
    progress = progress or Progress()
    check_distance(min_distance)
    blocks = PixelBlocks(image, region)
    share = _share(factor, num_pixels, blocks.window, progress)

    def draw(cell: Window, stop: threading.Event) -> _Drawn | None:
        pixel = blocks.inside(cell)
        drawn = pixel[hashing.uniform(pixel, seed) < share]
        if not len(drawn):
            return _Drawn(len(pixel)) if len(pixel) else None
        there = blocks.read(drawn)
        finite = np.isfinite(there.values)
        kept = there.only(finite.all(axis=0)) if drop_nulls else there
        return _Drawn(len(pixel), len(drawn), kept, finite.any(axis=1))

    total, drawn, parts, seen, held = 0, 0, [], np.zeros(image.bands, dtype=bool), 0
    for found in blocks.each(draw, threads, tile_size, Part(progress, 0, 0.9)):
        total, drawn = total + found.inside, drawn + found.drawn
        if found.kept is not None:
            parts.append(found.kept)
            seen |= found.seen
            held += found.kept.values.size
            check_size(held, image.bands)
    if not drawn:
        raise _nothing_drawn(total, share)
    kept = joined(parts)
    if not len(kept.pixel):
        raise RasterError(why_masked(image, drawn, seen))
    order = np.argsort(kept.pixel)
    if min_distance:
        order = _apart(image, kept.pixel, seed, min_distance, Part(progress, 0.9, 1))
        progress.message(f"MIN_DISTANCE {min_distance:g}: {len(order):,} of {len(kept.pixel):,} pixels stay.")
    progress(1, 1)
    return as_rows(image, kept.only(order), drawn - len(kept.pixel))


class _Drawn(NamedTuple):
    """What one cell gives: its pixels inside, those drawn, those kept, and the bands that have data there."""

    inside: int
    drawn: int = 0
    kept: PixelValues | None = None
    seen: np.ndarray | None = None


def joined(parts: Sequence[PixelValues]) -> PixelValues:
    return PixelValues(np.concatenate([part.pixel for part in parts]), np.hstack([part.values for part in parts]))


def as_rows(image: Image, pixels: PixelValues, dropped: int = 0) -> PixelSample:
    """Return *pixels*, in this order, with their places."""
    row, column = np.divmod(pixels.pixel, image.grid.columns)
    return PixelSample(row, column, *image.grid.centres(row, column), pixels.values.T, dropped)


def check_size(values: int, bands: int) -> None:
    """Raise `SettingError` when a sample has become too large for memory."""
    if values > MOST_VALUES:
        raise SettingError(
            f"The sample is too large: it has more than {MOST_VALUES // bands:,} pixels with {bands} bands; ask for "
            f"fewer pixels, fewer BANDS or a smaller REGION."
        )


def why_masked(image: Image, pixels: int, seen: np.ndarray) -> str:
    """Say which bands mask all *pixels*; *seen* tells of each band whether it has data in some of them."""
    empty = [name for name, there in zip(image.band_names, seen) if not there]
    if empty:
        which = f"band {empty[0]} has" if len(empty) == 1 else f"bands {', '.join(empty)} have"
        return f"All {pixels:,} pixels are masked: {which} no data there; leave what has none out with BANDS."
    return f"All {pixels:,} pixels are masked, each in some band: choose fewer BANDS or another REGION."


def check_share(factor: float | None, num_pixels: int | None) -> None:
    """Raise `SettingError` for a share or number that makes no sense."""
    if factor is not None and num_pixels is not None:
        raise SettingError("FACTOR and NUM_PIXELS are both given: choose one of them.")
    if factor is not None and not 0 < factor <= 1:
        raise SettingError(f"FACTOR is {factor:g}: give the share of the pixels wanted, above 0 and at most 1.")
    if num_pixels is not None and num_pixels < 1:
        raise SettingError(f"NUM_PIXELS is {num_pixels}: ask for at least 1 pixel.")


def _share(factor: float | None, num_pixels: int | None, window: Window, progress: Progress) -> float:
    """Return the chance of each pixel."""
    check_share(factor, num_pixels)
    if num_pixels is None:
        return 1.0 if factor is None else factor
    there = window.rows * window.columns
    if num_pixels > there:
        progress.warn(f"NUM_PIXELS is {num_pixels:,} but the extent has {there:,} pixels: all of them are taken.")
    return min(1.0, num_pixels / there)


def _nothing_drawn(pixels: int, share: float) -> SettingError | RasterError:
    if not pixels:
        return RasterError("No pixel has its centre inside REGION: choose a larger one.")
    return SettingError(
        f"None of {pixels:,} pixels was drawn with a chance of {share:g}: ask for more, or change SEED."
    )


def _apart(image: Image, pixel: np.ndarray, seed: int, distance: float, progress: Progress) -> np.ndarray:
    """Return which of *pixel* stay, in raster order."""
    order = np.argsort(hashing.hashed(pixel, seed))
    x, y = image.grid.centres(*np.divmod(pixel[order], image.grid.columns))
    kept = order[thinned(x, y, distance, progress=progress)]
    return kept[np.argsort(pixel[kept])]
