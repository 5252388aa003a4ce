"""Rasters that appear under their final name only when they are complete."""

from __future__ import annotations

import contextlib
import math
import shutil
from pathlib import Path
from typing import Any, Iterable, Iterator, Sequence

import numpy as np
from osgeo import gdal

from .classes import LandClass
from .errors import StorageError
from .files import PathLike, check_target, remove, remove_stale, storage_error, temporary_name, write_atomically
from .geotiff import Storage, add_overviews
from .grids import Grid
from .map_style import category_names, colour_table, paletted_style
from .progress import Progress
from .rasters import quiet
from .sample_types import FLOAT, SampleType, class_type
from .tiles import Window

__all__ = ["EXTENSIONS", "FLOAT", "RasterWriter", "SampleType", "check_output", "class_type"]

# GDAL's driver and its creation options by extension: the formats that tests/engine/test_outputs.py writes and reads
FORMATS = {".tif": ("GTiff", []), ".tiff": ("GTiff", []), ".img": ("HFA", ["COMPRESSED=YES"])}
EXTENSIONS = tuple(extension[1:] for extension in FORMATS)
IMG_BYTES_CAP = 2**31  # beyond it HFA splits the file in two, and the one cannot be renamed without the other
WAITING_BYTES = 2**23  # of pixels that GDAL's cache may hold until they go to the file
SIDE_FILES = (".aux.xml", ".ovr", ".msk")  # named after the whole name of the raster
NO_GEOTRANSFORM = (0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


def check_output(path: PathLike, inputs: Iterable[PathLike] = ()) -> None:
    """Raise `StorageError` when *path* has an extension that is not served, no folder, or is one of *inputs*."""
    path = Path(path)
    if path.suffix.lower() not in FORMATS:
        extension = f"the extension {path.suffix}" if path.suffix else "no extension"
        raise StorageError(f"{path} has {extension}: give the raster one of {', '.join(FORMATS)}.")
    check_target(path, inputs)


class RasterWriter:
    """Writes a raster tile by tile under a temporary name in the folder of *path*, then publishes it.

    A tiled, compressed GeoTIFF with nodata flag and band descriptions; another format is translated from it at
    the end.  *classes*, for a class map, bring category names, with one band a colour table (Byte and UInt16), and a
    QGIS style beside the map.  Pixels that nobody writes have no data.  One thread uses a writer at a time.

    As a context manager it publishes at the end, and after an exception leaves nothing behind::

        with RasterWriter("map.tif", grid, ["classification"], class_type(7), classes) as writer:
            writer.write(window, array)

    Raises `StorageError` from every method; what can be known before the first tile is said by the constructor:
    extension, folder, rights, an output that is an input, and disk space.  The space needed is taken to be a
    tenth of the uncompressed size for whole numbers and a quarter for floats, about the best that compression does
    to real maps; once more for a journal and for a cloud-optimized GeoTIFF, a third more for overviews, and the
    whole size where the format is not GeoTIFF.  What killed runs left of *path* is removed.
    """

    def __init__(
        self,
        path: PathLike,
        grid: Grid,
        band_names: Sequence[str],
        sample_type: SampleType,
        classes: Sequence[LandClass] = (),
        inputs: Iterable[PathLike] = (),
        block_side: int = 256,
        threads: int = 1,
        storage: Storage | None = None,
        journal: bool = False,
        progress: Progress | None = None,
    ) -> None:
        """*block_side* is a multiple of 16; *threads* compress, 0 = all cores.

        *journal* tells that finished tiles are kept beside the raster meanwhile.  *progress* hears of what follows
        the last tile, and is asked whether to go on.
        """
        self.path = Path(path)
        self._shape = (len(band_names), grid.rows, grid.columns)
        self._type = sample_type
        self._classes = tuple(classes)
        self._block_side = block_side
        self._storage, self._threads, self._progress = storage or Storage(), threads, progress or Progress()
        check_output(path, inputs)
        self._storage.check(path)
        self._driver, self._options = FORMATS[self.path.suffix.lower()]
        # Neighbouring labels are not alike as numbers: differencing them makes class maps larger.
        self._predictor = 1 if self._classes else 2 if self._type.whole else 3
        if self._storage.cog:
            self._driver = "COG"
            self._options = self._storage.cog_options(self._predictor, threads, sample_type.averages)
        remove_stale(path)
        self._check_space(journal)
        self._geotiff = temporary_name(self.path.with_suffix(".tif"))
        self._translated = temporary_name(self.path)
        self._dataset: Any = None  # gdal.Dataset while it is written
        self._waiting, self._row = 0, 0  # bytes since the cache was emptied; where the last window began
        try:
            with self._listening():
                self._dataset = self._created()
                self._describe(grid, band_names)
        except BaseException:
            self.discard()
            raise

    def __enter__(self) -> RasterWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None and self._dataset is not None:
            self.publish()
        self.discard()

    def write(self, window: Window, array: np.ndarray) -> None:
        """Write *array* (bands, rows, columns) at *window*; masked pixels become nodata."""
        expected = (self._shape[0], window.rows, window.columns)
        if array.shape != expected:
            raise ValueError(f"an array of shape {array.shape} for a window of {expected}")
        values = np.ascontiguousarray(np.ma.filled(array, self._type.nodata), dtype=self._type.dtype)
        with self._listening():
            self._empty_cache(window)
            self._dataset.WriteArray(values, window.column, window.row)
        self._waiting += values.nbytes
        self._row = window.row

    def publish(self) -> None:
        """Complete the raster and give it its name, side files first."""
        with self._listening():
            self._dataset.FlushCache()
            self._dataset = None
        finished = self._geotiff
        if self._storage.overviews and not self._storage.cog:
            with self._listening():
                add_overviews(finished, self._type.averages, self._threads, self._go_on)
        with self._listening():
            self._check_complete()
        if self._driver != "GTiff":
            finished = self._translated
            options = {"format": self._driver, "creationOptions": self._options, "callback": self._go_on}
            with self._listening():
                gdal.Translate(str(finished), str(self._geotiff), **options)
        try:
            self._rename(finished)
        finally:
            self.discard()

    def discard(self) -> None:
        """Remove what is not published; calling it again does no harm."""
        with quiet():
            self._dataset = None
        for temporary in (self._geotiff, self._translated):
            remove(temporary, f"{temporary}.aux.xml", f"{temporary}.ovr.tmp")

    def _empty_cache(self, window: Window) -> None:
        """Send what waits to the file: GDAL's cache would fill up with it, and the more the larger the raster is.

        Only where a row of blocks begins: a block that is not complete would be read and written once more.
        """
        if self._waiting >= WAITING_BYTES and window.row != self._row and window.row % self._block_side == 0:
            for number in range(1, self._shape[0] + 1):
                self._dataset.GetRasterBand(number).FlushCache()
            self._waiting = 0

    def _go_on(self, share: float, text: str, data: object) -> int:
        """Hear how far GDAL is; tell it to stop when the user asks."""
        self._progress.share(share)
        return 0 if self._progress.is_canceled() else 1

    def _check_space(self, journal: bool) -> None:
        size = math.prod(self._shape) * np.dtype(self._type.dtype).itemsize
        needed = share = size // (10 if self._type.whole else 4)
        if self._storage.compression == "NONE":
            needed = size
        if self._storage.overviews or self._storage.cog:
            needed += needed // 3
        if journal:
            needed += share
        if self._driver == "COG":
            needed += share
        elif self._driver != "GTiff":
            if size > IMG_BYTES_CAP:
                raise StorageError(f"{self.path} would have {_megabytes(size)}: give it the extension .tif.")
            needed += size
        free = shutil.disk_usage(self.path.parent).free
        if needed > free:
            raise StorageError(
                f"{self.path} needs about {_megabytes(needed)} ({_megabytes(size)} uncompressed), but "
                f"{self.path.parent} has {_megabytes(free)} free: free some space or choose another folder."
            )

    def _created(self) -> gdal.Dataset:
        bands, rows, columns = self._shape
        options = self._storage.creation_options(self._block_side, self._predictor, self._threads)
        driver = gdal.GetDriverByName("GTiff")
        return driver.Create(str(self._geotiff), columns, rows, bands, self._type.gdal_type, options)

    def _describe(self, grid: Grid, band_names: Sequence[str]) -> None:
        if self._dataset is None:
            return  # the error is being listened to
        if tuple(grid.geotransform) != NO_GEOTRANSFORM:
            self._dataset.SetGeoTransform(grid.geotransform)
        if grid.crs_wkt:
            self._dataset.SetProjection(grid.crs_wkt)
        for number, name in enumerate(band_names, start=1):
            band = self._dataset.GetRasterBand(number)
            band.SetNoDataValue(self._type.nodata)
            band.SetDescription(name)
            if self._type.scale != 1:
                band.SetScale(self._type.scale)
                band.SetOffset(0)
            if self._classes and self._type.has_palette:
                band.SetCategoryNames(category_names(self._classes))
                if len(band_names) == 1:  # a TIFF with more bands has no colour table
                    band.SetColorTable(colour_table(self._classes))

    def _check_complete(self) -> None:
        """Raise `StorageError` unless every block of the closed GeoTIFF lies inside the file."""
        dataset = gdal.Open(str(self._geotiff))
        if dataset is None:
            return  # the error is being listened to
        size = self._geotiff.stat().st_size
        bands, rows, columns = self._shape
        for number in range(1, bands + 1):
            band = dataset.GetRasterBand(number)
            for row in range(math.ceil(rows / self._block_side)):
                for column in range(math.ceil(columns / self._block_side)):
                    start = band.GetMetadataItem(f"BLOCK_OFFSET_{column}_{row}", "TIFF")
                    length = band.GetMetadataItem(f"BLOCK_SIZE_{column}_{row}", "TIFF")
                    if start is None or int(start) + int(length) > size:
                        raise StorageError(f"{self.path} could not be written completely: check the disk, run again.")

    def _rename(self, finished: Path) -> None:
        """Replace an older raster and its side files; the raster itself comes last."""
        beside = Path(f"{self.path}.aux.xml")
        style = self.path.with_suffix(".qml")
        stale = [Path(f"{self.path}{ending}") for ending in SIDE_FILES]
        if self.path.exists():  # else the style belongs to something else of that base name
            stale.append(style)
        remove(*stale)
        try:
            if Path(f"{finished}.aux.xml").exists():
                Path(f"{finished}.aux.xml").replace(beside)
            if self._classes:
                write_atomically(style, paletted_style(self._classes))
            finished.replace(self.path)
        except OSError as error:
            remove(beside, *([style] if self._classes else []))
            if isinstance(error, StorageError):
                raise
            raise storage_error(self.path, error) from error

    @contextlib.contextmanager
    def _listening(self) -> Iterator[None]:
        """Turn whatever GDAL complains of into a `StorageError`, and then discard the raster.

        GDAL reports a full disk when it flushes its cache, which may be any later call or the closing, and
        gdal.UseExceptions(), which all of QGIS shares, decides whether that call raises.
        """
        complaints: list[str] = []

        def listen(level: int, number: int, text: str) -> None:
            if level >= gdal.CE_Failure:
                complaints.append(text.strip().rstrip("."))

        gdal.PushErrorHandler(listen)
        try:
            yield
        except RuntimeError as error:  # GDAL's exceptions
            complaints.append(str(error))
        except BaseException:
            self.discard()
            raise
        finally:
            gdal.PopErrorHandler()
        if complaints:
            self.discard()
            self._progress.check()  # GDAL complains of being told to stop, too
            raise StorageError(
                f"{self.path} cannot be written ({complaints[0]}): free some space or choose another folder."
            )


def _megabytes(size: int) -> str:
    return f"{size / 2**20:,.1f} MB"
