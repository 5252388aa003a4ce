"""Pixels drawn from an image: a number of each class of a band."""

from __future__ import annotations

import re
import threading
from typing import Mapping, NamedTuple, Sequence

import numpy as np

from . import hashing
from .errors import RasterError, SettingError
from .images import Image
from .pixel_blocks import PixelBlocks, PixelValues
from .pixel_sampling import PixelSample, as_rows, check_size, joined, why_masked
from .progress import Part, Progress
from .thinning import check_distance, thinned
from .tiles import Window

STREAM = 1  # of random numbers: `sample` has another one, so that one seed does not draw the same pixels for both
SPARE = 10  # with MIN_DISTANCE, pixels tried at most for each one wanted
BUFFER = 2**14  # pixels between two prunings
NO_LIMIT = 2**64 - 1
MOST_POINTS = 2**53  # what a 64-bit number holds ten times


class Stratum(NamedTuple):
    """A class: how many pixels it has in the region, how many of them were asked for and drawn."""

    value: int
    available: int
    quota: int
    taken: int


class StratifiedSample(NamedTuple):
    pixels: PixelSample
    strata: tuple[Stratum, ...]


def stratified_sample(
    image: Image,
    num_points: int,
    class_band: str = "",
    region: Sequence[bytes | None] | None = None,
    seed: int = 0,
    class_points: Mapping[int, int] | None = None,
    drop_nulls: bool = True,
    min_distance: float = 0.0,
    threads: int = 0,
    progress: Progress | None = None,
    tile_size: int = 256,
) -> StratifiedSample:
    """Return pixels of every class, ordered by class, then in raster order.

    Of each class the pixels with the smallest random numbers are drawn: exactly as many as asked for, or all.

    Parameters
    ----------
    num_points : int
        Pixels of each class that *class_points* (class: number) does not name; 0 leaves a class out.
    class_band : str
        The band of whole numbers that are the classes; "" means the first.
    drop_nulls : bool
        Draw among the pixels that no band masks; else among those of a known class, with NaN for what is masked.
    region, min_distance, tile_size
        As in `pixel_sampling.sample`.  With a distance the classes take turns, each trying its pixels in the order of
        their random numbers, at most `SPARE` for each one wanted; a pixel is passed over when it lies nearer to a
        drawn one of any class.

    Raises
    ------
    SettingError, RasterError or TableError; also when nothing can be drawn.
    """
    progress = progress or Progress()
    check_distance(min_distance)
    quotas = _Quotas(num_points, class_points or {})
    name = class_band or image.band_names[0]
    image.select([name])  # raises when it is not there
    band = image.band_names.index(name)
    blocks = PixelBlocks(image, region)
    candidates = _Candidates(quotas, SPARE if min_distance else 1)

    def draw(cell: Window, stop: threading.Event) -> _Found | None:
        pixel = blocks.inside(cell)
        if not len(pixel):
            return None
        there = blocks.read(pixel)
        finite = np.isfinite(there.values)
        _check_whole(image, name, pixel, there.values[band], finite[band])
        stays = np.flatnonzero(finite.all(axis=0) if drop_nulls else finite[band])
        if not len(stays):
            return _Found(len(pixel), finite.any(axis=1))
        classes, hashes = there.values[band, stays].astype(np.int64), hashing.hashed(pixel[stays], seed, STREAM)
        values, counts, best = candidates.best_of(classes, hashes)
        table = _Table(classes[best], hashes[best], there.only(stays[best]))
        return _Found(len(pixel), np.ones(image.bands, dtype=bool), table, values, counts)

    met, seen = 0, np.zeros(image.bands, dtype=bool)
    for found in blocks.each(draw, threads, tile_size, Part(progress, 0, 0.9)):
        met, seen = met + found.inside, seen | found.seen
        candidates.add(found)
    if not met:
        raise RasterError("No pixel has its centre inside REGION: choose a larger one.")
    if not candidates.available:
        raise RasterError(why_masked(image, met, seen) if seen[band] else _why_no_class(name, met))
    table = candidates.table()
    if min_distance:
        table = table.only(_apart(image, table, quotas, min_distance, Part(progress, 0.9, 1)))
    strata = candidates.strata(table)
    _tell(strata, quotas, min_distance, progress)
    if not len(table.classes):
        raise SettingError(_why_unwanted(strata))
    table = table.only(np.lexsort((table.pixels.pixel, table.classes)))
    progress(1, 1)
    return StratifiedSample(as_rows(image, table.pixels), strata)


def class_quotas(values: str, points: str) -> dict[int, int]:
    """Return the quota of each class that CLASS_VALUES and CLASS_POINTS list; both are whole numbers and commas."""
    classes, quotas = _whole_numbers("CLASS_VALUES", values), _whole_numbers("CLASS_POINTS", points)
    if len(classes) != len(quotas):
        raise SettingError(
            f"CLASS_VALUES lists {len(classes)} classes but CLASS_POINTS {len(quotas)} numbers: give one for each "
            f"class, or leave both empty."
        )
    twice = [value for value in classes if classes.count(value) > 1]
    if twice:
        raise SettingError(f"CLASS_VALUES lists class {twice[0]} twice: name each class once.")
    return dict(zip(classes, quotas))


def check_quotas(num_points: int, class_points: Mapping[int, int]) -> None:
    """Raise `SettingError` for a negative number of points."""
    if num_points < 0:
        raise SettingError(f"NUM_POINTS is {num_points}: give 0 or more points of each class.")
    for value, points in class_points.items():
        if points < 0:
            raise SettingError(f"CLASS_POINTS has {points} for class {value}: give 0 or more.")


def _whole_numbers(name: str, text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",")] if text.strip() else []
    for part in parts:
        if not re.fullmatch(r"[+-]?\d+", part):
            raise SettingError(f"{name} has {part!r}: give whole numbers with commas between them, such as 1, 2, 7.")
    return [int(part) for part in parts]


class _Quotas:
    """How many pixels of a class are wanted."""

    def __init__(self, num_points: int, class_points: Mapping[int, int]) -> None:
        check_quotas(num_points, class_points)
        self.listed = dict(class_points)
        self._others = num_points

    def of(self, classes: np.ndarray) -> np.ndarray:
        quotas = [min(self.listed.get(value, self._others), MOST_POINTS) for value in classes.tolist()]
        return np.array(quotas, dtype=np.int64)


class _Table(NamedTuple):
    """Some pixels with their classes and random numbers."""

    classes: np.ndarray
    hashes: np.ndarray
    pixels: PixelValues

    def only(self, chosen: np.ndarray) -> _Table:
        return _Table(self.classes[chosen], self.hashes[chosen], self.pixels.only(chosen))


class _Found(NamedTuple):
    """What one cell gives: its pixels inside, the bands with data, candidates, and the size of its classes."""

    inside: int
    seen: np.ndarray
    table: _Table | None = None
    classes: np.ndarray | None = None
    counts: np.ndarray | None = None


class _Candidates:
    """Of each class the pixels with the smallest random numbers so far, and how many pixels there were."""

    def __init__(self, quotas: _Quotas, spare: int) -> None:
        self.available: dict[int, int] = {}
        self._quotas, self._spare = quotas, spare
        self._limits: dict[int, int] = {}  # of full classes: the largest random number that still counts
        self._parts: list[_Table] = []
        self._kept = self._waiting = 0

    def best_of(self, classes: np.ndarray, hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the classes, their sizes, and the positions of the pixels to `add`.  Any thread may ask."""
        values, where, counts = np.unique(classes, return_inverse=True, return_counts=True)
        limits = self._limits  # once: another thread puts a new one in its place
        limit = np.array([limits.get(value, NO_LIMIT) for value in values.tolist()], dtype=np.uint64)
        most = self._most(values)
        near = np.flatnonzero((hashes <= limit[where]) & (most[where] > 0))
        best = near[_ranks(where[near], hashes[near]) < most[where[near]]]
        return values, counts, best

    def add(self, found: _Found) -> None:
        if found.table is None or found.classes is None or found.counts is None:
            return
        for value, count in zip(found.classes.tolist(), found.counts.tolist()):
            self.available[value] = self.available.get(value, 0) + count
        self._parts.append(found.table)
        self._waiting += len(found.table.classes)
        if self._waiting > max(self._kept, BUFFER):
            self.table()

    def table(self) -> _Table:
        """Return the best pixels so far, and forget the others."""
        table = _Table(
            np.concatenate([part.classes for part in self._parts]),
            np.concatenate([part.hashes for part in self._parts]),
            joined([part.pixels for part in self._parts]),
        )
        values, where = np.unique(table.classes, return_inverse=True)
        most, ranks = self._most(values)[where], _ranks(table.classes, table.hashes)
        last = ranks == most - 1
        self._limits = dict(zip(table.classes[last].tolist(), table.hashes[last].tolist()))
        best = table.only(np.flatnonzero(ranks < most))
        check_size(best.pixels.values.size, len(best.pixels.values))
        self._parts, self._kept, self._waiting = [best], len(best.classes), 0
        return best

    def strata(self, drawn: _Table) -> tuple[Stratum, ...]:
        """Return every class that was met, ascending, with how many of its pixels *drawn* holds."""
        values = np.array(sorted(self.available), dtype=np.int64)
        taken = dict(zip(*(part.tolist() for part in np.unique(drawn.classes, return_counts=True))))
        return tuple(
            Stratum(value, self.available[value], quota, taken.get(value, 0))
            for value, quota in zip(values.tolist(), self._quotas.of(values).tolist())
        )

    def _most(self, classes: np.ndarray) -> np.ndarray:
        return self._quotas.of(classes) * self._spare


def _ranks(classes: np.ndarray, hashes: np.ndarray) -> np.ndarray:
    """Return the place of each pixel among those of its class, from 0, by random numbers."""
    order = np.lexsort((hashes, classes))
    starts = np.flatnonzero(np.diff(classes[order], prepend=classes[order][:1] - 1))
    ranks = np.empty(len(order), dtype=np.int64)
    ranks[order] = np.arange(len(order)) - np.repeat(starts, np.diff(starts, append=len(order)))
    return ranks


def _apart(image: Image, table: _Table, quotas: _Quotas, distance: float, progress: Progress) -> np.ndarray:
    """Return which pixels are drawn when they keep a distance: the classes take turns."""
    turns = np.lexsort((table.hashes, _ranks(table.classes, table.hashes)))
    values, group = np.unique(table.classes, return_inverse=True)
    x, y = image.grid.centres(*np.divmod(table.pixels.pixel[turns], image.grid.columns))
    return turns[thinned(x, y, distance, group[turns], quotas.of(values), progress)]


def _check_whole(image: Image, name: str, pixel: np.ndarray, values: np.ndarray, known: np.ndarray) -> None:
    """Raise `RasterError` when a class is no whole number."""
    wrong = np.flatnonzero(known & (np.floor(values) != values))
    if len(wrong):
        row, column = divmod(int(pixel[wrong[0]]), image.grid.columns)
        raise RasterError(
            f"Band {name} has {values[wrong[0]]:g} at row {row}, column {column} (from 0), but a class must be a whole "
            f"number: choose another CLASS_BAND or round it."
        )


def _tell(strata: Sequence[Stratum], quotas: _Quotas, distance: float, progress: Progress) -> None:
    """Log the table of classes, and what could not be had."""
    for item in strata:
        progress.message(
            f"class {item.value}: {item.available:,} available, {item.quota:,} wanted, {item.taken:,} taken"
        )
    absent = [str(value) for value in quotas.listed if value not in {item.value for item in strata}]
    if absent:
        progress.message(f"CLASS_VALUES lists {', '.join(absent)}, which the region does not have: nothing is taken.")
    for item in strata:
        if distance and item.taken < min(item.quota, item.available):
            progress.warn(
                f"Class {item.value} has {item.taken:,} of {item.quota:,} pixels: with MIN_DISTANCE {distance:g} no "
                f"more were found among {min(item.available, item.quota * SPARE):,} tried."
            )


def _why_no_class(name: str, pixels: int) -> str:
    return f"Band {name} has no data in all {pixels:,} pixels of the region: choose another CLASS_BAND or REGION."


def _why_unwanted(strata: Sequence[Stratum]) -> str:
    found = ", ".join(str(item.value) for item in strata)
    return f"No pixel is asked for: the classes found are {found}, and each has quota 0 in NUM_POINTS and CLASS_POINTS."
