"""Labels of clusters for the pixels of an image: of the whole, of cells, or of tiles that look beyond their edges."""

from __future__ import annotations

import contextlib
import threading
from typing import Any, Callable, Iterator, NamedTuple

import numpy as np

from .classes import cluster_table
from .errors import SettingError
from .images import Image, gdal_cache
from .outputs import RasterWriter, check_output, class_type
from .pixel_clusters import Clusters, nearest
from .pixel_units import ImagePixels, Pixels, Unit
from .progress import Part, Progress
from .tiles import Window, iter_tiles, overlap, within
from .workers import ordered_map, thread_count

BAND = "clusters"
BASE_MEGABYTES = 400  # what QGIS needs before the first pixel
CACHE_SHARE = 8  # GDAL's block cache gets one part in so many of MEMORY_LIMIT
MOST_COLOURS = 1024  # clusters of the whole image that get a colour each
MASKED = -1

Fit = Callable[[Pixels, Progress], Clusters]


class Area(NamedTuple):
    """Pixels that are clustered by themselves: those of ``whole`` are looked at, those of ``core`` get labels."""

    core: Window
    whole: Window


def areas(rows: int, columns: int, tile_size: int, neighborhood_size: int, grid_size: int | None) -> list[Area]:
    """Return the areas of an image: cells of *grid_size*, or tiles of *tile_size* that look *neighborhood_size* pixels
    beyond their edges, or with neither the whole image; raises `SettingError` for both."""
    if neighborhood_size < 0 or (grid_size is not None and grid_size < 1):
        raise SettingError(
            f"NEIGHBORHOOD_SIZE is {neighborhood_size} and GRID_SIZE {grid_size}: give 0 or more and 1 or more pixels."
        )
    if neighborhood_size and grid_size:
        raise SettingError(
            f"NEIGHBORHOOD_SIZE {neighborhood_size} and GRID_SIZE {grid_size} exclude each other: give one of them."
        )
    size = grid_size or (tile_size if neighborhood_size else (rows, columns))
    return [Area(core, _grown(core, neighborhood_size, rows, columns)) for core in iter_tiles(rows, columns, size)]


def write_clusters(
    image: Image,
    output: str,
    fit: Fit,
    places: list[Area],
    unique_labels: bool,
    threads: int,
    memory_limit: int,
    progress: Progress,
) -> int:
    """Write what *fit* finds in each of *places* to *output*; return how many labels the raster has.

    *fit* sees the pixels of an area, which then get the numbers of their nearest centres; numbers without pixels are
    left out.  With *unique_labels* every area goes on counting where the one before has ended.  Many areas that fit
    into *memory_limit* (megabytes of the whole run) are worked on at once, else one after the other.
    """
    check_output(output, image.paths)
    workers = thread_count(threads)
    budget = max(64, memory_limit - BASE_MEGABYTES - memory_limit // CACHE_SHARE) * 2**20
    largest = max(place.whole.rows * place.whole.columns for place in places)
    needed = largest * (8 + 4 * image.bands * np.dtype(image.sample_type).itemsize)
    at_once = len(places) > 1 and workers * needed <= budget
    work = _Work(image, fit, budget // 2 // workers if at_once else budget // 2)

    def labelled(place: Area, stop: threading.Event) -> _Labelled:
        found = work.labelled(place, 0, _Stop(stop))
        return found._replace(parts=list(found.parts))

    def in_turn() -> Iterator[_Labelled]:
        for number, place in enumerate(places):
            yield work.labelled(place, workers, Part(progress, number / len(places), (number + 1) / len(places)))

    results: Any = ordered_map(labelled, places, threads, progress) if at_once else in_turn()
    writer = None
    total = most = unsettled = 0
    try:
        with gdal_cache(max(16, memory_limit // CACHE_SHARE)), contextlib.closing(results):
            for done, (found, settled, parts) in enumerate(results, 1):
                first = total if unique_labels else 0
                kind = class_type(first + found, MASKED)  # int32, or too many labels
                if writer is None:  # now the colours of a single area are known
                    shown = cluster_table(found) if len(places) == 1 and found <= MOST_COLOURS else ()
                    writer = RasterWriter(output, image.grid, (BAND,), kind, shown, image.paths, threads=threads)
                for window, labels in parts:
                    writer.write(window, np.ma.masked_equal(labels[np.newaxis], MASKED) + first)
                total, most, unsettled = total + found, max(most, found), unsettled + (not settled)
                progress(done, len(places))
            if writer is not None:
                writer.publish()
    finally:
        if writer is not None:
            writer.discard()
    if not total:
        progress.warn("Every pixel is masked: no cluster was found. Do the bands overlap?")
    if unsettled:
        progress.message(f"NUM_ITERATIONS ended the work in {unsettled} of {len(places)} areas before it had settled.")
    return total if unique_labels else most


class _Labelled(NamedTuple):
    clusters: int
    settled: bool
    parts: Iterator[tuple[Window, np.ndarray]] | list


class _Work(NamedTuple):
    """What is done with every area."""

    image: Image
    fit: Fit
    memory: int

    def labelled(self, place: Area, threads: int, progress: Progress) -> _Labelled:
        """Return the number of clusters in the area and, piece by piece, the windows and labels of its core."""
        pixels = ImagePixels(self.image, place.whole, self.memory, threads)
        clusters = self.fit(pixels, Part(progress, 0, 0.8))
        counts = np.zeros(len(clusters.centres), dtype=np.int64)
        for _, labels in self._pieces(pixels, place.core, clusters.centres, Part(progress, 0.8, 0.9)):
            counts += np.bincount(labels[labels != MASKED], minlength=len(counts))
        centres = clusters.centres[counts > 0]
        parts = self._pieces(pixels, place.core, centres, Part(progress, 0.9, 1))
        return _Labelled(len(centres), clusters.converged, parts)

    def _pieces(
        self, pixels: ImagePixels, core: Window, centres: np.ndarray, progress: Progress
    ) -> Iterator[tuple[Window, np.ndarray]]:
        """Yield windows inside *core* with their labels (rows, columns) int32."""

        def label(piece: Window, units: list[Unit]) -> tuple[Window, np.ndarray] | None:
            window = overlap(piece, core)
            if window is None:
                return None
            labels = np.full((piece.rows, piece.columns), MASKED, dtype=np.int32)
            for unit in units:
                values, numbers = unit.numbered()
                row, column = np.divmod(numbers, self.image.grid.columns)
                labels[row - piece.row, column - piece.column] = nearest(values, centres)
            return window, labels[within(window, piece)]

        return (found for found in pixels.each_piece(label, progress) if found is not None)


class _Stop(Progress):
    """The progress of work in a thread that somebody else speaks for."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop

    def is_canceled(self) -> bool:
        return self._stop.is_set()


def _grown(window: Window, margin: int, rows: int, columns: int) -> Window:
    top, left = max(0, window.row - margin), max(0, window.column - margin)
    bottom = min(rows, window.row + window.rows + margin)
    right = min(columns, window.column + window.columns + margin)
    return Window(top, left, bottom - top, right - left)
