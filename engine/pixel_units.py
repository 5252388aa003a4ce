"""Pixels of an image that may be larger than memory, met again and again in units of fixed size.

Sums that are made unit by unit and added in raster order are the same, bit for bit, for any number of threads and any
memory.
"""

from __future__ import annotations

import threading
from typing import Callable, Iterator, NamedTuple, Protocol, TypeVar

import numpy as np

from . import hashing
from .images import Image
from .progress import Progress
from .tiles import Window, iter_tiles
from .workers import ordered_map

Result = TypeVar("Result")

UNIT_VALUES = 2**21  # a unit holds at most so many values, and at most LARGEST_UNIT pixels a side
LARGEST_UNIT = 256
SAMPLE_PIXELS, SAMPLE_VALUES = 2**17, 2**23  # of a sample: the smaller of the two
MOST_PIECE_BYTES = 2**25
PIXELS_AT_ONCE = 8192  # stay in the processor's cache


class Pixels(Protocol):
    """Pixels that can be met again and again, always in the same order."""

    bands: int

    def each(self, function: Callable[[np.ndarray, np.ndarray], Result], progress: Progress) -> Iterator[Result]:
        """Yield ``function(values, numbers)`` for every unit: float64 (bands, pixels) and the pixels' numbers (int64).

        *function* may run in several threads at once; what it returns comes in order.
        """


def sample(pixels: Pixels, progress: Progress) -> np.ndarray:
    """Return all of *pixels* or, of very many, `SAMPLE_PIXELS` that always are the same: float64 (bands, n).

    Pixels are chosen by a hash of their numbers, and stay in order.
    """
    most = min(SAMPLE_PIXELS, max(1, SAMPLE_VALUES // pixels.bands))
    bound = np.uint64(2**64 - 1)  # no pixel above it can be among the chosen

    def drawn(values: np.ndarray, numbers: np.ndarray) -> _Drawn:
        keys = hashing.hashed(numbers, 0)
        return _Drawn(keys, numbers, values).up_to(bound)

    parts = [_Drawn(np.empty(0, np.uint64), np.empty(0, np.int64), np.empty((pixels.bands, 0)))]
    for part in pixels.each(drawn, progress):
        parts.append(part)
        if sum(len(part.keys) for part in parts) > 2 * most:
            parts = [_joined(parts, most)]
            bound = parts[0].keys.max()
    chosen = _joined(parts, most)
    return chosen.values[:, np.argsort(chosen.numbers)]


def unit_side(bands: int) -> int:
    """Return how many pixels a side a unit has: it hangs on nothing else, for sums are made unit by unit."""
    return min(LARGEST_UNIT, max(16, 2 ** int(np.log2((UNIT_VALUES / bands) ** 0.5))))


def pieces(image: Image, window: Window, memory: int) -> list[Window]:
    """Return the windows within *window* that are read at once: units beside each other, as *memory* (bytes) allows.

    A file of long strips is read strip by strip then, whatever its blocks.
    """
    side = unit_side(image.bands)
    unit = side**2 * image.bands * np.dtype(image.sample_type).itemsize
    units = max(1, min(memory // 8, MOST_PIECE_BYTES) // unit)
    return list(iter_tiles(window.rows, window.columns, (side, side * units)))


class ArrayPixels:
    """The pixels of an array (bands, n), for `kmeans` and its like."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = np.asarray(values, dtype=np.float64)
        self.bands = len(values)

    def each(self, function: Callable[[np.ndarray, np.ndarray], Result], progress: Progress) -> Iterator[Result]:
        length = self.values.shape[1]
        for start in range(0, length, PIXELS_AT_ONCE):
            numbers = np.arange(start, min(length, start + PIXELS_AT_ONCE), dtype=np.int64)
            yield function(self.values[:, start : start + PIXELS_AT_ONCE], numbers)
            progress(int(numbers[-1]) + 1, length)


class ImagePixels:
    """The unmasked pixels of a window of an image; as many as fit into *memory* (bytes) are read only once.

    Several units beside each other make a piece, which is read at once.
    """

    def __init__(self, image: Image, window: Window, memory: int, threads: int) -> None:
        """*threads* work on the pieces; 0 means the caller's own."""
        self.bands = image.bands
        self._image, self._window, self._memory, self._threads = image, window, memory, threads
        self._side = unit_side(image.bands)
        self.pieces = pieces(image, window, memory // max(1, threads))
        self._kept: dict[Window, list[Unit]] = {}
        self._lock = threading.Lock()

    def each(self, function: Callable[[np.ndarray, np.ndarray], Result], progress: Progress) -> Iterator[Result]:
        for results in self.each_piece(lambda _, units: [function(*unit.numbered()) for unit in units], progress):
            yield from results

    def each_piece(self, function: Callable[[Window, list[Unit]], Result], progress: Progress) -> Iterator[Result]:
        """Yield ``function(piece, units)`` for every piece, in order; the piece is a window of the image."""

        def work(piece: Window, stop: threading.Event | None) -> Result:
            moved = piece._replace(row=piece.row + self._window.row, column=piece.column + self._window.column)
            return function(moved, self._units(moved))

        results: Iterator[Result]
        if self._threads:
            results = ordered_map(work, self.pieces, self._threads, progress)
        else:
            results = (work(piece, None) for piece in self.pieces)
        for done, result in enumerate(results, 1):
            yield result
            progress(done, len(self.pieces))

    def _units(self, piece: Window) -> list[Unit]:
        units = self._kept.get(piece)
        if units is None:
            units = self._read(piece)
            size = sum(unit.values.nbytes + unit.numbers.nbytes for unit in units)
            with self._lock:
                if size <= self._memory:
                    self._memory -= size
                    self._kept[piece] = units
        return units

    def _read(self, piece: Window) -> list[Unit]:
        block = self._image.read(piece, self._image.sample_type)
        columns = self._image.grid.columns
        units = []
        for start in range(0, piece.columns, self._side):
            part = slice(start, start + self._side)
            row, column = np.nonzero(block.valid[:, part])
            numbers = (row + piece.row) * columns + column + (piece.column + start)
            if len(numbers):
                units.append(Unit(block.values[:, :, part][:, row, column], numbers.astype(np.int64)))
        return units


class Unit(NamedTuple):
    values: np.ndarray
    numbers: np.ndarray

    def numbered(self) -> tuple[np.ndarray, np.ndarray]:
        return self.values.astype(np.float64), self.numbers


class _Drawn(NamedTuple):
    keys: np.ndarray
    numbers: np.ndarray
    values: np.ndarray

    def up_to(self, bound: np.uint64) -> _Drawn:
        return self if (chosen := self.keys <= bound).all() else _Drawn(*(array[..., chosen] for array in self))


def _joined(parts: list[_Drawn], most: int) -> _Drawn:
    """Return the *most* pixels with the smallest keys."""
    whole = _Drawn(*(np.concatenate(arrays, axis=-1) for arrays in zip(*parts)))
    return whole.up_to(np.partition(whole.keys, most - 1)[most - 1]) if len(whole.keys) > most else whole
