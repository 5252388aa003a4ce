"""Rasters as one stack of bands on one grid."""

from __future__ import annotations

import contextlib
import copy
import re
from pathlib import Path
from typing import Iterator, NamedTuple, Sequence

import numpy as np
from osgeo import gdal

from .errors import RasterError, SettingError
from .gaps import fill_nan
from .grids import Grid, grid_at_multiples, same_crs, same_pixels
from .rasters import Band, Raster, common_storage
from .tiles import Window
from .warping import CHUNK, RESAMPLING, Placed, place, suggested_grid

__all__ = ["RESAMPLING", "Block", "Grid", "Image", "gdal_cache", "grid_for"]


class Block(NamedTuple):
    """Pixels of a window: ``values`` (bands, rows, columns), NaN where masked; ``valid`` where no band is."""

    values: np.ndarray
    valid: np.ndarray


class Image:
    """One or many rasters as one stack: band after band, on the grid of the first raster or on *grid*.

    Any thread may read; a band's pixels outside its own raster are masked.
    """

    def __init__(
        self,
        paths: Sequence[str],
        bands: str = "",
        band_names: str = "",
        resampling: str = "nearest",
        grid: Grid | None = None,
    ) -> None:
        """Stack *paths*; *band_names* renames all bands, *bands* chooses some, both comma-separated.

        Raises `RasterError` for a raster that cannot be opened or placed and for a name that is not there.
        """
        if not paths:
            raise RasterError("No raster is given: choose at least one.")
        if resampling not in RESAMPLING:
            raise SettingError(f"RESAMPLING is {resampling!r}: choose one of {', '.join(RESAMPLING)}.")
        rasters = [Raster(path) for path in paths]
        self.paths = tuple(raster.path for raster in rasters)
        self.grid = grid or rasters[0].grid
        self.block_size = rasters[0].block_size
        self.resampling = resampling
        self._rounded = resampling == "nearest"
        placed = [place(raster, self.grid, resampling) for raster in rasters]
        names = _names(rasters, band_names)
        stack = [(item, band) for item in placed for band in item.raster.bands]
        self._bands = tuple(_Band(name, item, band) for name, (item, band) in zip(names, stack))
        if bands.strip():
            self._bands = self._chosen(_split(bands))

    @property
    def band_names(self) -> tuple[str, ...]:
        return tuple(band.name for band in self._bands)

    @property
    def bands(self) -> int:
        """The number of bands."""
        return len(self._bands)

    @property
    def sample_type(self) -> type:
        """The float type that holds every value: float64 for Int32, UInt32 and Float64 bands, else float32."""
        return np.float64 if any(item.band.sample_type is np.float64 for item in self._bands) else np.float32

    @property
    def integer(self) -> tuple[bool, ...]:
        """Which bands hold whole numbers (an interpolated band does not)."""
        return tuple(item.band.integer and (self._rounded or not item.placed.resampled) for item in self._bands)

    @property
    def block_sizes(self) -> set[tuple[int, int]]:
        """(rows, columns) of what each raster reads at once: its file's blocks, or the chunks that are resampled."""
        placed = [item.placed for item in self._bands]
        return {(CHUNK, CHUNK) if item.resampled else item.raster.block_size for item in placed}

    @property
    def pixel_types(self) -> tuple[str, ...]:
        """GDAL's name for the type of each band in its file, such as Byte."""
        return tuple(item.band.pixel_type for item in self._bands)

    def select(self, names: Sequence[str]) -> Image:
        """Return the image of the bands *names*, in this order; raises `RasterError` when one is missing."""
        image = copy.copy(self)
        image._bands = self._chosen(names)
        return image

    def source(self, name: str) -> tuple[str, int]:
        """Return the raster that band *name* comes from, and the band's number there; raises `RasterError`."""
        item = self._chosen([name])[0]
        return item.placed.raster.path, item.band.number

    def read(self, window: Window, dtype: type = np.float32) -> Block:
        """Return the pixels of *window*, which lies inside the grid; raises `RasterError`."""
        values: np.ndarray = np.empty((self.bands, window.rows, window.columns), dtype=dtype)
        for placed, positions in self._by_raster().items():
            numbers = [self._bands[position].band.number for position in positions]
            with np.errstate(over="ignore"):  # what float32 cannot hold becomes inf, hence masked
                values[positions] = placed.read(numbers, window)
        finite = np.isfinite(values)
        if np.isinf(values).any():  # rare; NaN is there already
            fill_nan(values, ~finite)
        return Block(values, finite.all(axis=0))

    @property
    def stored(self) -> Band | None:
        """A band like all others in type and nodata, where `Raster.read_stored` can read them: on the grid's pixels."""
        bands = [item.band for item in self._bands]
        placed = {item.placed for item in self._bands}
        there = all(not item.resampled and same_pixels(item.raster.grid, self.grid) for item in placed)
        return common_storage(bands) if there else None

    def sources(self) -> list[tuple[Raster, int]]:
        """Return the raster and the number there of each band, for `Raster.read_stored`."""
        return [(item.placed.raster, item.band.number) for item in self._bands]

    def table(self) -> list[str]:
        """Return one line per band for the log: number, name, file, type, nodata."""
        lines = []
        for number, (name, placed, band) in enumerate(self._bands, 1):
            nodata = "" if band.nodata is None else f", nodata {band.nodata:g}"
            warped = ", resampled" if placed.resampled else ""
            file = Path(placed.raster.path).name
            lines.append(f"band {number}: {name} ({file}, band {band.number}, {band.pixel_type}{nodata}{warped})")
        return lines

    def close(self) -> None:
        """Close every file; reading opens them again."""
        for item in self._bands:
            item.placed.raster.close()

    def _by_raster(self) -> dict[Placed, list[int]]:
        """Return the positions in the stack that each raster fills."""
        positions: dict[Placed, list[int]] = {}
        for position, item in enumerate(self._bands):
            positions.setdefault(item.placed, []).append(position)
        return positions

    def _chosen(self, names: Sequence[str]) -> tuple[_Band, ...]:
        there = {item.name: item for item in self._bands}
        missing = [name for name in names if name not in there]
        if missing:
            raise RasterError(f"The image has no band {', '.join(missing)}: it has {', '.join(there)}.")
        return tuple(there[name] for name in names)


class _Band(NamedTuple):
    name: str
    placed: Placed
    band: Band


def grid_for(image: Image | str, crs_wkt: str | None = None, scale: float | None = None) -> Grid:
    """Return the grid that PROJECTION and SCALE ask for, starting from an image or the first raster's path.

    SCALE alone keeps origin and orientation; another CRS starts at multiples of SCALE; PROJECTION alone
    takes the pixels that GDAL suggests.  Raises `RasterError` or `SettingError`.
    """
    own = image.grid if isinstance(image, Image) else Raster(image).grid
    if scale is not None and not 0 < scale < float("inf"):
        raise SettingError(f"SCALE is {scale:g}: give a pixel size above 0.")
    if not crs_wkt or same_crs(own.crs_wkt, crs_wkt):
        return own.scaled(scale) if scale else own
    if not own.crs_wkt:
        raise RasterError("The first raster has no CRS, so PROJECTION cannot be reached: use Assign projection first.")
    suggested = suggested_grid(own, crs_wkt)
    return grid_at_multiples(suggested.bounds(), scale, crs_wkt) if scale else suggested


@contextlib.contextmanager
def gdal_cache(megabytes: int) -> Iterator[None]:
    """Hold GDAL's block cache, which the whole process shares, at *megabytes* or what it is if that is less."""
    before = gdal.GetCacheMax()
    gdal.SetCacheMax(min(before, int(megabytes) * 2**20))
    try:
        yield
    finally:
        gdal.SetCacheMax(before)


def _names(rasters: Sequence[Raster], band_names: str) -> list[str]:
    """Return the names of all bands of the stack, cleaned and different."""
    found = []
    for raster in rasters:
        alone = len(raster.bands) == 1
        for number, band in enumerate(raster.bands, 1):
            found.append(band.description or (raster.name if alone else f"{raster.name}_{number}"))
    given = _split(band_names)
    if given and len(given) != len(found):
        raise RasterError(f"BAND_NAMES has {len(given)} names but the image has {len(found)} bands: give one for each.")
    names: list[str] = []
    for name in given or found:
        names.append(_different(re.sub(r"[^A-Za-z0-9_]", "_", name), names))
    return names


def _different(name: str, taken: Sequence[str]) -> str:
    candidate, number = name, 2
    while candidate in taken:
        candidate, number = f"{name}_{number}", number + 1
    return candidate


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
