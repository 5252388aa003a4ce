"""How a map is cut up so that the run keeps within MEMORY_LIMIT."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .images import Image
from .predictors import ROWS_AT_ONCE, VALUES_AT_ONCE, block_rows
from .shared_arrays import can_be_shared
from .workers import thread_count

BASE_MEGABYTES = 400  # what QGIS, scikit-learn and a small model need before the first tile
CACHE_SHARE = 8  # GDAL's block cache gets one part in so many of MEMORY_LIMIT
LEAST_MEGABYTES = 64  # for tiles, however small MEMORY_LIMIT is
PROCESS_MEGABYTES = 110  # of one more process that predicts, without the model
FEWEST_PIXELS = 2**20  # fewer are predicted before another process has started
LARGE_MODELS_SHARE = 0.5  # of a model that exceeds the limit anyway, for blocks: small ones are several times as slow
SMALLEST_TILE = 32
LARGEST_TILE = 16_384


class Plan(NamedTuple):
    """How a map is cut up.

    side : of a tile, in pixels
    rows : of a block of tiles; 0 = every tile is predicted for itself
    processes : that predict blocks, this one included; 1 = threads do
    """

    side: int
    rows: int
    processes: int = 1


def cache_megabytes(memory_limit: int) -> int:
    """Return how much of *memory_limit* GDAL's block cache gets, both in MB."""
    return max(16, memory_limit // CACHE_SHARE)


def plan(image: Image, predictor: Any, mode: str, pixels: int, threads: int, tile_size: int, memory_limit: int) -> Plan:
    """Return the plan with the largest tiles up to *tile_size* and the largest blocks that *memory_limit* MB allow.

    *pixels* are those of the map.
    Where the file's blocks are wider than a tile, a row of tiles fits into GDAL's cache, too: else every tile
    would read the same strips again.
    """
    side = _side_for_cache(image, tile_size, cache_megabytes(memory_limit) * 2**20)
    budget = max(LEAST_MEGABYTES, memory_limit - BASE_MEGABYTES - cache_megabytes(memory_limit)) * 2**20
    threads = thread_count(threads)
    bands = len(predictor.bands(mode))
    reading = threads * (16 * image.bands + 16)  # bytes a pixel of the tile's: read, cast, masked, gathered
    writing = 8 * bands  # scattered, encoded
    best = block_rows(predictor, mode)
    if not best:
        work = threads * min(ROWS_AT_ONCE * 128, VALUES_AT_ONCE * 16)
        side = _largest_side(side, reading + threads * 2 * writing, budget - work)
        return Plan(side, 0)
    waiting = threads * 8 * image.bands  # read, but not yet in the block
    tile = reading + waiting + writing
    model = predictor.model_bytes()
    left = budget - model
    budget = max(LEAST_MEGABYTES * 2**20, left if left > 0 else int(LARGE_MODELS_SHARE * model))
    one_more = PROCESS_MEGABYTES * 2**20 + (0 if can_be_shared() else model)
    processes = min(threads, 1 + budget // 2 // one_more) if pixels >= FEWEST_PIXELS else 1
    budget -= (processes - 1) * one_more
    # one block is predicted, a quarter of it in pieces on their way, while the next is read or the last one written;
    # masks of up to three
    row = 9 * image.bands + 9 * bands + 12 + predictor.block_bytes(mode)
    side = _largest_side(side, tile + row, budget)
    return Plan(side, max(side * side, min(best, (budget - tile * side * side) // row)), processes)


def _side_for_cache(image: Image, side: int, cache: int) -> int:
    rows_of_block, columns_of_block = image.block_size
    row_of_pixels = image.grid.columns * image.bands * np.dtype(image.sample_type).itemsize
    while side > SMALLEST_TILE and columns_of_block > side and max(side, rows_of_block) * row_of_pixels > cache:
        side = max(SMALLEST_TILE, side // 2)
    return side


def _largest_side(side: int, bytes_a_pixel: int, budget: int) -> int:
    while side > SMALLEST_TILE and side * side * bytes_a_pixel > budget:
        side = max(SMALLEST_TILE, side // 2)
    return side
