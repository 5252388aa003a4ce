"""One raster file: what its bands are called, which of its pixels are masked, and their values."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path
from typing import Any, Callable, Iterator, NamedTuple, Sequence

import numpy as np
from osgeo import gdal

from .errors import RasterError
from .gaps import fill_nan
from .grids import Grid
from .tiles import Window

# GDAL's types that float32 holds exactly, and numpy's names for them
EXACT_IN_FLOAT32 = {"Byte": "uint8", "Int8": "int8", "UInt16": "uint16", "Int16": "int16", "Float32": "float32"}
WITHOUT_CACHE = "GTIFF_DIRECT_IO"  # GDAL's option, for uncompressed GeoTIFFs
INTEGER_TYPES = {"Byte", "Int8", "UInt16", "Int16", "UInt32", "Int32", "UInt64", "Int64"}


class Band(NamedTuple):
    """A band that is not alpha; ``mask_flags`` are GDAL's, ``nodata`` is None when masks do not come from a value."""

    number: int
    description: str
    pixel_type: str
    nodata: float | None
    mask_flags: int

    @property
    def integer(self) -> bool:
        return self.pixel_type in INTEGER_TYPES

    @property
    def sample_type(self) -> type:
        """The float type that holds every value of the band."""
        return np.float32 if self.pixel_type in EXACT_IN_FLOAT32 else np.float64

    @property
    def self_contained(self) -> bool:
        """Whether float32 holds every value as it is stored, and the value itself says whether it is masked."""
        alone = self.nodata is not None or bool(self.mask_flags & gdal.GMF_ALL_VALID)
        return alone and self.pixel_type in EXACT_IN_FLOAT32

    @property
    def dtype(self) -> str:
        """Numpy's name for the type of the values as a `self_contained` band stores them."""
        return EXACT_IN_FLOAT32[self.pixel_type]

    def gaps(self, values: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Say where *values* of a `self_contained` band, as they are stored, are masked or not finite; in *out*."""
        out = np.empty(values.shape, dtype=bool) if out is None else out
        if self.integer:
            if self.nodata is None:
                out.fill(False)
            else:
                np.equal(values, int(self.nodata), out=out)
            return out
        np.logical_not(np.isfinite(values, out=out), out=out)
        if self.nodata is not None and not np.isnan(self.nodata):
            out |= _equal(values, self)
        return out


def common_storage(bands: Sequence[Band]) -> Band | None:
    """Return one of *bands* if all are `Band.self_contained` and alike in type and nodata, else None."""
    kinds = {(band.pixel_type, str(band.nodata)) for band in bands}  # as text, since NaN is not NaN
    return bands[0] if len(kinds) == 1 and all(band.self_contained for band in bands) else None


class Raster:
    """A raster file that any thread may read; each thread opens it for itself."""

    def __init__(self, path: str) -> None:
        """Raise `RasterError` when *path* is no raster that can be read."""
        self.path = str(path)
        self._local = threading.local()
        dataset = self._dataset()
        self.grid = _grid(dataset, self.path)
        self._alpha = _alpha(dataset)
        interleaving = dataset.GetMetadataItem("INTERLEAVE", "IMAGE_STRUCTURE")
        self._own_blocks = dataset.GetDriver().ShortName == "GTiff" and interleaving == "BAND"
        self.bands = tuple(_bands(dataset, self.path))
        columns, rows = dataset.GetRasterBand(self.bands[0].number).GetBlockSize()
        self.block_size = rows, columns

    @property
    def name(self) -> str:
        """The file's base name."""
        return Path(self.path).stem

    def __reduce__(self) -> tuple:
        return Raster, (self.path,)

    def sample_type(self, numbers: Sequence[int]) -> type:
        """Return the float type that holds every value of the bands *numbers*."""
        types = {band.sample_type for band in self.bands if band.number in numbers}
        return np.float64 if np.float64 in types else np.float32

    def read(self, numbers: Sequence[int], window: Window) -> np.ndarray:
        """Return the bands *numbers* in *window*, (bands, rows, columns), NaN where a band is masked.

        The type is `sample_type`; *window* lies inside the raster.
        """
        dataset = self._dataset()
        place = (window.column, window.row, window.columns, window.rows)
        kind = self.sample_type(numbers)
        code = gdal.GDT_Float64 if kind is np.float64 else gdal.GDT_Float32
        values = self._read(dataset.ReadAsArray, window, *place, buf_type=code, band_list=list(numbers))
        values = values.reshape(len(numbers), window.rows, window.columns)
        wanted = [next(band for band in self.bands if band.number == number) for number in numbers]
        shared: np.ndarray | None = None
        for layer, band in zip(values, wanted):
            if band.nodata is not None:
                fill_nan(layer, _equal(layer, band))
            elif band.mask_flags & gdal.GMF_ALL_VALID:
                continue
            elif band.mask_flags & gdal.GMF_PER_DATASET:
                if shared is None:
                    shared = self._masked(dataset, band, window, place)
                fill_nan(layer, shared)
            else:
                fill_nan(layer, self._masked(dataset, band, window, place))
        return values

    def read_stored(self, numbers: Sequence[int], window: Window, target: np.ndarray) -> None:
        """Read bands in *window* into *target* (bands, rows, columns) of their `Band.dtype`, whether masked or not.

        Each is read once: GDAL leaves its cache out where every band of a GeoTIFF has blocks of its own.
        """
        place = (window.column, window.row, window.columns, window.rows)
        dataset = self._dataset(self._own_blocks)
        self._read(dataset.ReadAsArray, window, *place, buf_obj=target, band_list=list(numbers))

    def close(self) -> None:
        """Close the file in every thread; reading opens it again."""
        self._local = threading.local()

    def _masked(self, dataset, band: Band, window: Window, place: tuple) -> np.ndarray:
        if band.mask_flags & gdal.GMF_ALPHA:
            mask = dataset.GetRasterBand(self._alpha)
        else:
            owner = dataset.GetRasterBand(band.number)
            mask = owner.GetMaskBand()
        return self._read(mask.ReadAsArray, window, *place) == 0

    def _read(self, function: Callable, window: Window, *arguments, **keywords) -> np.ndarray:
        values, reason = ask_gdal(function, *arguments, **keywords)
        if values is None:
            last_row, last_column = window.row + window.rows - 1, window.column + window.columns - 1
            raise RasterError(
                f"{self.path} cannot be read at rows {window.row} to {last_row}, columns {window.column} to "
                f"{last_column} ({reason}): the file is damaged or was moved; get it again."
            )
        return values

    def _dataset(self, without_cache: bool = False):
        """Return the file as this thread has it open; GDAL decides about its cache when it opens it."""
        name = f"dataset_{without_cache}"
        dataset = getattr(self._local, name, None)
        if dataset is None:
            with _thread_option(WITHOUT_CACHE, "YES") if without_cache else contextlib.nullcontext():
                dataset, reason = ask_gdal(gdal.Open, self.path, gdal.GA_ReadOnly)
            if dataset is None:
                raise RasterError(f"{self.path} cannot be opened as a raster ({reason}): check the path and the file.")
            setattr(self._local, name, dataset)
        return dataset


@contextlib.contextmanager
def _thread_option(name: str, value: str) -> Iterator[None]:
    """Set an option of GDAL in this thread alone."""
    gdal.SetThreadLocalConfigOption(name, value)
    try:
        yield
    finally:
        gdal.SetThreadLocalConfigOption(name, None)


def ask_gdal(function: Callable, *arguments: Any, **keywords: Any) -> tuple[Any, str]:
    """Return (result, "") of a GDAL function, or (None, reason) when it fails.

    QGIS and its plugins share one switch, gdal.UseExceptions(): failing calls raise or give None.
    """
    with quiet():
        gdal.ErrorReset()
        try:
            result = function(*arguments, **keywords)
        except RuntimeError as error:
            return None, str(error).rstrip(".")
        reason = "" if result is not None else gdal.GetLastErrorMsg().rstrip(".") or "GDAL does not say why"
    return result, reason


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep GDAL from writing this thread's errors to the terminal."""
    gdal.PushErrorHandler("CPLQuietErrorHandler")
    try:
        yield
    finally:
        gdal.PopErrorHandler()


def _grid(dataset, path: str) -> Grid:
    geotransform = tuple(dataset.GetGeoTransform())
    _, x_column, x_row, _, y_column, y_row = geotransform
    if x_column * y_row == x_row * y_column or not np.isfinite(geotransform).all():
        raise RasterError(f"{path} has a geotransform without area, {geotransform}: georeference it again.")
    return Grid(dataset.RasterYSize, dataset.RasterXSize, geotransform, dataset.GetProjection() or "")


def _alpha(dataset) -> int:
    """Return the number of the alpha band, 0 when there is none."""
    for number in range(1, dataset.RasterCount + 1):
        if dataset.GetRasterBand(number).GetColorInterpretation() == gdal.GCI_AlphaBand:
            return number
    return 0


def _bands(dataset, path: str) -> Iterator[Band]:
    found = False
    alpha = _alpha(dataset)
    for number in range(1, dataset.RasterCount + 1):
        band = dataset.GetRasterBand(number)
        if band.GetColorInterpretation() == gdal.GCI_AlphaBand:
            continue
        found = True
        kind = gdal.GetDataTypeName(band.DataType)
        if kind.startswith("C"):
            raise RasterError(f"{path} has complex numbers in band {number} ({kind}): convert it to real ones.")
        flags = band.GetMaskFlags()
        if alpha and flags & gdal.GMF_ALL_VALID:  # GDAL 3.6 heeds alpha among two or four bands only
            flags = gdal.GMF_ALPHA | gdal.GMF_PER_DATASET
        nodata = band.GetNoDataValue() if flags == gdal.GMF_NODATA else None
        yield Band(number, band.GetDescription().strip(), kind, nodata, flags)
    if not found:
        subdatasets = dataset.GetSubDatasets()
        if subdatasets:
            raise RasterError(f"{path} holds {len(subdatasets)} subdatasets: add one of them, as {subdatasets[0][0]}.")
        raise RasterError(f"{path} has no band to read: choose a raster with at least one band.")


def _equal(values: np.ndarray, band: Band) -> np.ndarray:
    """Say where *values* are the band's nodata value, as GDAL's own mask does (two units in the last place)."""
    nodata = float(band.nodata or 0)
    if band.integer:
        return values == int(nodata)
    if band.pixel_type != "Float32":
        return _close(values, np.float64(nodata), np.finfo(np.float64).eps)
    with np.errstate(over="ignore"):
        return _close(values, np.float32(nodata), np.finfo(np.float32).eps)


def _close(values: np.ndarray, nodata: np.floating, unit: np.floating) -> np.ndarray:
    with np.errstate(over="ignore", invalid="ignore"):
        return np.abs(values - nodata) <= 4 * unit * np.abs(nodata)  # NaN and inf are masked as such
