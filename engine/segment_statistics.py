"""What the pixels of each segment have in common, and the segments' outlines."""

from __future__ import annotations

import struct
import tempfile
import threading
from pathlib import Path
from typing import Any, Iterator, NamedTuple

import numpy as np
from osgeo import gdal, ogr, osr

from .errors import RasterError, SettingError, StorageError
from .images import Image, gdal_cache
from .outputs import RasterWriter, SampleType
from .pixel_units import pieces, unit_side
from .progress import Part, Progress
from .rasters import ask_gdal
from .segment_areas import BASE_MEGABYTES, CACHE_SHARE
from .tiles import Window
from .workers import ordered_map, thread_count

NUMBERS = SampleType(gdal.GDT_Int32, "int32", 0)  # of segments: 1 is the first of ``values``, 0 is masked
MULTIPOLYGON = 6  # in well-known binary
OUTLINES_AT_ONCE = 256  # between two looks at the progress


class Statistics(NamedTuple):
    """One entry per segment: ``values`` ascending (int64), ``counts`` of pixels; per band (bands, segments) float64
    mean and population standard deviation of the unmasked pixels, NaN where a segment has none."""

    values: np.ndarray
    counts: np.ndarray
    means: np.ndarray
    deviations: np.ndarray


class Segments:
    """The segments of a raster: `statistics`, then `outlines`.  Use it in a ``with``: it keeps a file between the two.

    *segments* has one band of whole numbers; pixels masked there belong to no segment.  *image* is on its grid.
    The result is the same for any *threads* and *memory_limit* (megabytes of the whole run).
    """

    def __init__(self, segments: Image, image: Image, threads: int = 0, memory_limit: int = 1024) -> None:
        self._segments, self._image, self._threads = segments, image, threads
        self._cache = max(16, memory_limit // CACHE_SHARE)
        self._memory_limit = memory_limit
        budget = max(64, memory_limit - BASE_MEGABYTES - memory_limit // CACHE_SHARE) * 2**20
        self._most_bytes = budget // 2
        self._pieces = pieces(image, segments.grid.window(), budget // 2 // thread_count(threads))
        self._folder = tempfile.TemporaryDirectory(prefix="rasterml-")
        self._numbers = str(Path(self._folder.name) / "numbers.tif")

    def __enter__(self) -> Segments:
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()

    def statistics(self, progress: Progress) -> Statistics:
        """Read all pixels; raises `RasterError` for numbers that are not whole, `SettingError` for too many."""
        with gdal_cache(self._cache):
            values = self._values(Part(progress, 0, 0.3))
            self._check_size(len(values))
            return self._measured(values, Part(progress, 0.3, 1))

    def outlines(self, progress: Progress) -> Iterator[tuple[int, bytes]]:
        """Yield for every segment, in order, its position in ``values`` and its outline.

        The outline runs along the edges of pixels, in the CRS of the grid: a multipolygon (well-known binary) whose
        parts touch at corners at most.
        """
        parts = str(Path(self._folder.name) / "parts.gpkg")
        with gdal_cache(self._cache):
            count = _polygonize(self._numbers, parts, Part(progress, 0, 0.5))
            yield from _collected(parts, count, Part(progress, 0.5, 1))

    def _values(self, progress: Progress) -> np.ndarray:
        def found(piece: Window, stop: threading.Event) -> np.ndarray:
            block = self._segments.read(piece, np.float64)
            there = np.unique(block.values[0][block.valid])
            odd = there[(there != np.floor(there)) | (np.abs(there) > 2**53)]
            if len(odd):
                name = self._segments.band_names[0]
                raise RasterError(f"Band {name} holds {odd[0]:g}, which is no segment's number: choose another band.")
            return there.astype(np.int64)

        values = np.empty(0, dtype=np.int64)
        waiting: list[np.ndarray] = []
        for done, part in enumerate(ordered_map(found, self._pieces, self._threads, progress), 1):
            waiting.append(part)
            if sum(map(len, waiting)) > len(values) or done == len(self._pieces):
                values, waiting = np.unique(np.concatenate([values, *waiting])), []
            progress(done, len(self._pieces))
        return values

    def _check_size(self, count: int) -> None:
        needed = count * (16 + 3 * 8 * self._image.bands)
        if needed > self._most_bytes:
            raise SettingError(
                f"MEMORY_LIMIT is {self._memory_limit}: {count:,} segments with {self._image.bands} bands need "
                f"{needed / 2**20:,.0f} MB for their statistics alone; raise it, or make larger segments."
            )

    def _measured(self, values: np.ndarray, progress: Progress) -> Statistics:
        """Return the statistics, and write every pixel's segment as a number from 1 into a raster of our own."""
        side = unit_side(self._image.bands)

        def measured(piece: Window, stop: threading.Event) -> tuple[np.ndarray, list[_Moments]]:
            where = self._segments.read(piece, np.float64)
            block = self._image.read(piece, self._image.sample_type)
            numbers = np.zeros((1, piece.rows, piece.columns), dtype=np.int32)
            numbers[0, where.valid] = np.searchsorted(values, where.values[0][where.valid]) + 1
            units = [slice(start, start + side) for start in range(0, piece.columns, side)]
            return numbers, [_moments(block.values[:, :, unit], numbers[0, :, unit]) for unit in units]

        total = _Moments.empty(len(values), self._image.bands)
        with RasterWriter(self._numbers, self._segments.grid, ("number",), NUMBERS, threads=self._threads) as writer:
            results = ordered_map(measured, self._pieces, self._threads, progress)
            for done, (piece, (numbers, units)) in enumerate(zip(self._pieces, results), 1):
                writer.write(piece, numbers)
                for unit in units:
                    total.add(unit)
                progress(done, len(self._pieces))
        known = np.where(total.known > 0, total.known, np.nan)
        means = np.where(total.known > 0, total.means, np.nan)
        return Statistics(values, total.counts, means, np.sqrt(total.squares / known))


class _Moments(NamedTuple):
    """Of the segments ``numbers`` (from 0): pixels, and per band (bands, segments) unmasked pixels, their mean, and
    the sum of squares around it."""

    numbers: np.ndarray
    counts: np.ndarray
    known: np.ndarray
    means: np.ndarray
    squares: np.ndarray

    @classmethod
    def empty(cls, count: int, bands: int) -> _Moments:
        zeros = (np.zeros((bands, count)) for _ in range(3))
        return cls(np.arange(count), np.zeros(count, dtype=np.int64), *zeros)

    def add(self, part: _Moments) -> None:
        """Take in some segments' other pixels.

        Chan, Golub & LeVeque (1983), Algorithms for computing the sample variance, The American Statistician 37,
        equation 2.1: nothing cancels, however far the values are from 0.
        """
        chosen = part.numbers
        self.counts[chosen] += part.counts
        old, away = self.known[:, chosen], part.means - self.means[:, chosen]
        both = np.maximum(old + part.known, 1)
        self.known[:, chosen] += part.known
        self.means[:, chosen] += np.where(part.known > 0, away * part.known / both, 0)
        self.squares[:, chosen] += np.where(part.known > 0, part.squares + away**2 * old * part.known / both, 0)


def _moments(values: np.ndarray, numbers: np.ndarray) -> _Moments:
    """Return the moments of *values* (bands, rows, columns), NaN where masked, by *numbers* (rows, columns) from 1."""
    inside = numbers > 0
    there, label = np.unique(numbers[inside], return_inverse=True)
    count = len(there)
    known, means, squares = (np.zeros((len(values), count)) for _ in range(3))
    for band, layer in enumerate(values):
        row = layer[inside].astype(np.float64)
        valid = ~np.isnan(row)
        row, place = row[valid], label[valid]
        known[band] = np.bincount(place, minlength=count)
        means[band] = np.bincount(place, row, count) / np.maximum(known[band], 1)
        squares[band] = np.bincount(place, (row - means[band][place]) ** 2, count)
    return _Moments(there - 1, np.bincount(label, minlength=count), known, means, squares)


def _polygonize(raster: str, target: str, progress: Progress) -> int:
    """Write a polygon for every 4-connected part of the segments into the GeoPackage *target*; return how many."""

    def go_on(share: float, *_: Any) -> int:
        progress.share(share)
        return int(not progress.is_canceled())

    source = gdal.Open(raster)
    band = source.GetRasterBand(1)
    reference = osr.SpatialReference(source.GetProjection()) if source.GetProjection() else None
    dataset = ogr.GetDriverByName("GPKG").CreateDataSource(target)
    layer = dataset.CreateLayer("parts", reference, ogr.wkbPolygon, ["SPATIAL_INDEX=NO"])
    layer.CreateField(ogr.FieldDefn("number", ogr.OFTInteger))
    dataset.StartTransaction()
    failed, reason = ask_gdal(gdal.Polygonize, band, band.GetMaskBand(), layer, 0, [], callback=go_on)
    progress.check()
    if failed != 0:
        raise StorageError(f"The outlines of the segments cannot be made ({reason}): free some space in {target}.")
    dataset.CommitTransaction()
    return int(layer.GetFeatureCount())


def _collected(path: str, count: int, progress: Progress) -> Iterator[tuple[int, bytes]]:
    """Yield (position, multipolygon) of the parts in *path*, those of one segment together."""
    dataset = ogr.Open(path)
    layer = dataset.ExecuteSQL("SELECT number, geom FROM parts ORDER BY number, fid")
    current = 0
    parts: list[bytes] = []
    for done, feature in enumerate(layer):
        number = feature.GetField(0)
        if number != current and parts:
            yield current - 1, _joined(parts)
            parts = []
        current = number
        parts.append(bytes(feature.GetGeometryRef().ExportToWkb()))
        if done % OUTLINES_AT_ONCE == 0:
            progress(done, count)
    if parts:
        yield current - 1, _joined(parts)
    dataset.ReleaseResultSet(layer)


def _joined(parts: list[bytes]) -> bytes:
    return struct.pack("<BII", 1, MULTIPOLYGON, len(parts)) + b"".join(parts)
