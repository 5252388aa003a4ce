"""Simple Non-Iterative Clustering (Earth Engine: Image.Segmentation.SNIC, reference 5.6).

Achanta & Süsstrunk, "Superpixels and polygons using simple non-iterative clustering", CVPR 2017, algorithm 1: segments
grow from seeds pixel by pixel, always by the one that is nearest in value and place to a segment's running mean.  The
squared distance is |value − mean|² + (compactness · distance in pixels / size)².
"""

from __future__ import annotations

import math
from typing import Iterator, NamedTuple

import numpy as np

from .errors import RasterError, SettingError
from .images import Image, gdal_cache
from .outputs import check_output
from .progress import Part, Progress
from .segmentation import SegmentWriter
from .snic_growth import grow
from .snic_seeds import given_seeds, grid_seeds
from .tiles import Window, iter_tiles, overlap, within

LEAST_COMPACTNESS = 1e-20  # with 0, pixels of one value still go to the nearest segment, not to the first
CACHE_MEGABYTES = 32
BASE_MEGABYTES = 260  # what QGIS needs before the first pixel, and GDAL's cache
BYTES_PER_PIXEL, BYTES_PER_SEED = 29, 200  # at the peak, besides the values; pure noise with few segments: 40 more
BYTES_PER_GIVEN = 25  # more, a pixel, when seeds are given
READ_ROWS = 256
SMALLEST_TILE = 16
MOST_PIXELS = 2**31 - 2**20  # at once: places are int32


class Settings(NamedTuple):
    """Settings: seed spacing in pixels, weight of the place, 4 or 8 neighbours, overlap of tiles (None = 2 · size)."""

    size: int = 5
    compactness: float = 1.0
    connectivity: int = 8
    neighborhood_size: int | None = None

    @property
    def weight(self) -> float:
        return (max(self.compactness, LEAST_COMPACTNESS) / self.size) ** 2

    @property
    def overlap(self) -> int:
        return 2 * self.size if self.neighborhood_size is None else self.neighborhood_size

    def check(self) -> None:
        """Raise `SettingError` for what makes no sense."""
        if self.size < 1:
            raise SettingError(f"SIZE is {self.size}: give a seed spacing of at least 1 pixel.")
        if not 0 <= self.compactness < math.inf:
            raise SettingError(f"COMPACTNESS is {self.compactness:g}: give a number from 0 up.")
        if self.connectivity not in (4, 8):
            raise SettingError(f"CONNECTIVITY is {self.connectivity}: choose 4 or 8.")
        if self.overlap < 0:
            raise SettingError(f"NEIGHBORHOOD_SIZE is {self.overlap}: give a number of pixels from 0 up.")


class Segments(NamedTuple):
    segments: int
    pixels: int
    masked: int


class _Tile(NamedTuple):
    window: Window
    segments: np.ndarray  # int32 (rows, columns), from 1, 0 where masked
    values: np.ndarray  # (rows, columns, bands)
    is_seed: np.ndarray  # bool (rows, columns)
    given: int  # seeds that were given


def segment_image(
    image: Image,
    output: str,
    settings: Settings = Settings(),
    *,
    seeds: Image | None = None,
    tile_size: int | None = None,
    memory_limit: int = 1024,
    clusters: str = "",
    progress: Progress | None = None,
) -> Segments:
    """Write the segments of *image* to *output*: bands ``clusters``, ``<band>_mean`` and, without *seeds*, ``seeds``.

    The whole image at once, or with *tile_size* in tiles that each see `Settings.overlap` pixels around them.  A
    segment is connected, also where a tile cuts it: its parts get numbers of their own.  Pixels masked in any band
    belong to none.  The numbers alone also go to *clusters*.

    Non-zero pixels of *seeds* (on the image's grid) are seeds, touching ones one seed; masked ones are left out.
    Without, each cell of size × size pixels has one in its middle, and each part of the image that masked pixels cut
    off has one in every cell that it reaches into, nearest to the middle; so does a part without a given seed.

    Raises `SettingError`, also when *memory_limit* (megabytes of the whole run) is too low, `RasterError` when *seeds*
    has none, and `StorageError`.
    """
    progress = progress or Progress()
    settings.check()
    whole = image.grid.window()
    if tile_size is not None and tile_size < SMALLEST_TILE:
        raise SettingError(f"TILE_SIZE is {tile_size}: give at least {SMALLEST_TILE} pixels, or none for no tiles.")
    windows = list(iter_tiles(whole.rows, whole.columns, tile_size)) if tile_size else [whole]
    for path in filter(None, (output, clusters)):
        check_output(path, [*image.paths, *(seeds.paths if seeds else ())])
    if output == clusters:
        raise SettingError(f"OUTPUT and CLUSTERS are both {output}: give two names.")
    _check_memory(image, windows, settings, seeds, memory_limit)
    masked = given = 0
    with gdal_cache(CACHE_MEGABYTES):
        tiles = _tiles(image, windows, settings, seeds, progress)
        first = next(tiles)
        most = int(first.segments.max()) if len(windows) == 1 else _most(whole, settings, seeds)
        inputs = seeds.paths if seeds else ()
        with SegmentWriter(image, output, clusters, most, seeds is None, inputs) as writer:
            for number, tile in enumerate(_chained(first, tiles)):
                step = Part(progress, (number + 0.8) / len(windows), (number + 1) / len(windows))
                is_seed = tile.is_seed if seeds is None else None
                writer.add(tile.window, tile.segments, tile.values, is_seed, step)
                masked += int(np.count_nonzero(tile.segments == 0))
                given += tile.given
            if seeds and not given and writer.count:
                raise RasterError(f"{seeds.paths[0]} has no seed on the image: give non-zero pixels inside it.")
    return Segments(writer.count, whole.rows * whole.columns, masked)


def _tiles(
    image: Image, windows: list[Window], settings: Settings, seeds: Image | None, progress: Progress
) -> Iterator[_Tile]:
    for number, window in enumerate(windows):
        step = Part(progress, number / len(windows), (number + 0.8) / len(windows))
        yield _segmented(image, window, settings, seeds, step)


def _chained(first: _Tile, rest: Iterator[_Tile]) -> Iterator[_Tile]:
    yield first
    yield from rest


def _segmented(image: Image, window: Window, settings: Settings, seeds: Image | None, progress: Progress) -> _Tile:
    """Grow segments in *window* and what is seen around it, and cut them at its edge."""
    shape = image.grid.rows, image.grid.columns
    outer = _around(window, image.grid.window(), settings.overlap)
    values, valid = _read(image, outer, Part(progress, 0, 0.1))
    inside = valid[1:-1, 1:-1]
    if seeds is None:
        found = grid_seeds(inside, outer, shape, settings.size, settings.connectivity)
    else:
        block = seeds.read(outer)
        given = block.valid & (block.values[0] != 0)
        found = given_seeds(given, inside, outer, shape, settings.size, settings.connectivity)
    row, column = np.divmod(found.places, outer.columns)
    places = (row + 1) * (outer.columns + 2) + column + 1
    step = Part(progress, 0.1, 1)
    segments = grow(values, valid, places, found.segments, settings.weight, settings.connectivity, step)[1:-1, 1:-1]
    is_seed = np.zeros(segments.shape, dtype=bool)
    is_seed[row, column] = True
    rows, columns = within(window, outer)[1:]
    if outer != window:
        segments = _cut(segments, rows, columns, settings.connectivity)
    return _Tile(window, segments, values[1:-1, 1:-1][rows, columns], is_seed[rows, columns], found.given)


def _read(image: Image, window: Window, progress: Progress) -> tuple[np.ndarray, np.ndarray]:
    """Return values (rows + 2, columns + 2, bands) and which pixels are valid, with a border that is not."""
    shape = window.rows + 2, window.columns + 2
    values: np.ndarray = np.zeros((*shape, image.bands), dtype=image.sample_type)
    valid = np.zeros(shape, dtype=bool)
    for tile in iter_tiles(window.rows, window.columns, (READ_ROWS, window.columns)):
        block = image.read(Window(window.row + tile.row, window.column, tile.rows, tile.columns), image.sample_type)
        rows = slice(tile.row + 1, tile.row + 1 + tile.rows)
        values[rows, 1:-1] = np.moveaxis(np.where(block.valid, block.values, 0), 0, -1)
        valid[rows, 1:-1] = block.valid
        progress(tile.row + tile.rows, window.rows)
    return values, valid


def _cut(segments: np.ndarray, rows: slice, columns: slice, connectivity: int) -> np.ndarray:
    """Return part of *segments*, numbered from 1; what is no longer connected gets numbers of its own."""
    outside = np.ones(segments.shape, dtype=bool)
    outside[rows, columns] = False
    reaches_out = np.zeros(int(segments.max(initial=0)) + 1, dtype=bool)
    reaches_out[segments[outside]] = True
    part = segments[rows, columns].astype(np.int64)
    broken = reaches_out[part] & (part > 0)
    part[broken] = len(reaches_out) + _pieces(part, broken, connectivity)
    numbers, part = np.unique(part, return_inverse=True)
    masked_first = int(len(numbers) > 0 and numbers[0] == 0)
    return (part.reshape(broken.shape) + 1 - masked_first).astype(np.int32)


def _pieces(segments: np.ndarray, wanted: np.ndarray, connectivity: int) -> np.ndarray:
    """Return the connected piece of one segment that each *wanted* pixel is in, as numbers from 0 in raster order."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    number = np.cumsum(wanted).reshape(wanted.shape) - 1
    ends = []
    for one, other in _neighbours(connectivity):
        alike = wanted[one] & wanted[other] & (segments[one] == segments[other])
        ends.append((number[one][alike], number[other][alike]))
    starts, stops = (np.concatenate(places) for places in zip(*ends))
    count = int(np.count_nonzero(wanted))
    links = coo_matrix((np.ones(len(starts), dtype=bool), (starts, stops)), shape=(count, count))
    return connected_components(links, directed=False)[1]


def _neighbours(connectivity: int) -> list[tuple]:
    """Return pairs of indices that put each pixel beside its neighbours, each pair of pixels once."""
    every, front, back = slice(None), slice(None, -1), slice(1, None)
    pairs = [((every, front), (every, back)), ((front, every), (back, every))]
    if connectivity == 8:
        pairs += [((front, front), (back, back)), ((front, back), (back, front))]
    return pairs


def _around(window: Window, whole: Window, margin: int) -> Window:
    grown = Window(window.row - margin, window.column - margin, window.rows + 2 * margin, window.columns + 2 * margin)
    return overlap(grown, whole) or window


def _most(whole: Window, settings: Settings, seeds: Image | None) -> int:
    """Return how many segments tiles may give, as far as can be foreseen: masks and cuts make more than cells."""
    pixels = whole.rows * whole.columns
    return pixels if seeds else min(pixels, 4 * math.ceil(pixels / settings.size**2))


def _check_memory(
    image: Image, windows: list[Window], settings: Settings, seeds: Image | None, memory_limit: int
) -> None:
    """Raise `SettingError` when the largest of *windows* does not fit into *memory_limit* MB."""
    whole = image.grid.window()
    largest = max(outer.rows * outer.columns for outer in (_around(tile, whole, settings.overlap) for tile in windows))
    smaller = f"a {'smaller ' if len(windows) > 1 else ''}TILE_SIZE"
    if largest > MOST_PIXELS:
        raise SettingError(f"{largest:,} pixels are too many at once (most: {MOST_PIXELS:,}): give {smaller}.")
    value_bytes = image.bands * np.dtype(image.sample_type).itemsize
    bytes_per_pixel = BYTES_PER_PIXEL + value_bytes + BYTES_PER_SEED / settings.size**2
    if seeds:
        bytes_per_pixel += BYTES_PER_GIVEN
    needed = BASE_MEGABYTES + math.ceil(largest * bytes_per_pixel / 2**20)
    if needed > memory_limit:
        raise SettingError(
            f"MEMORY_LIMIT is {memory_limit} MB, but to segment {largest:,} pixels with {image.bands} bands at once "
            f"takes about {needed:,} MB: give that much, or {smaller}."
        )
