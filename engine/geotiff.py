"""How a map's GeoTIFF is stored: compression, overviews, cloud-optimized."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Callable, NamedTuple

from osgeo import gdal

from .errors import SettingError
from .files import PathLike

COMPRESSIONS = ("DEFLATE", "ZSTD", "LZW", "NONE")
LEVELS = {"DEFLATE": ("ZLEVEL", 9), "ZSTD": ("ZSTD_LEVEL", 22)}  # GDAL's option, and the highest level
GEOTIFF = (".tif", ".tiff")
FLOATS = 3  # TIFF's predictor for floating-point numbers
FLOAT_LEVEL = 1  # of DEFLATE: more effort takes up to twice as long, and saves some 3 % of noisy floats
WHOLE_LEVEL = 3  # the usual 6 takes four times as long, and saves 7 % of a class map
SMALLEST_OVERVIEW = 256  # pixels: there is one more overview as long as a side is longer
COG_BLOCK = 512


class Storage(NamedTuple):
    """What a GeoTIFF can be stored like; a format translated from it takes none of these."""

    overviews: bool = False
    cog: bool = False
    compression: str = "DEFLATE"
    level: int | None = None

    def check(self, path: PathLike) -> None:
        """Raise `SettingError` where this is not possible for a raster at *path*, or with this GDAL."""
        if Path(path).suffix.lower() not in GEOTIFF and self != Storage():
            raise SettingError(
                f"OVERVIEWS, COG, COMPRESSION and COMPRESSION_LEVEL are for GeoTIFF: give {path} the extension .tif, "
                "or leave them as they are."
            )
        if self.compression not in available_compressions():
            raise SettingError(
                f"COMPRESSION is {self.compression}, which this GDAL does not have: choose one of "
                f"{', '.join(available_compressions())}."
            )
        if self.level is None:
            return
        if self.compression not in LEVELS:
            raise SettingError(
                f"COMPRESSION_LEVEL is {self.level}, but {self.compression} has no levels: leave it empty, or choose "
                f"{' or '.join(LEVELS)}."
            )
        highest = LEVELS[self.compression][1]
        if not 1 <= self.level <= highest:
            raise SettingError(
                f"COMPRESSION_LEVEL is {self.level}: give a number from 1 (fast) to {highest} (small) for "
                f"{self.compression}."
            )

    def finishes(self, path: PathLike) -> bool:
        """Tell whether work follows when the last tile is written."""
        return self.overviews or self.cog or Path(path).suffix.lower() not in GEOTIFF

    def creation_options(self, block_side: int, predictor: int, threads: int) -> list[str]:
        """Return GDAL's options for a tiled GeoTIFF; *threads* compress, 0 = all cores."""
        options: dict[str, Any] = {
            "TILED": "YES",
            "BLOCKXSIZE": block_side,
            "BLOCKYSIZE": block_side,
            "COMPRESS": self.compression,
            "NUM_THREADS": threads or "ALL_CPUS",
            "BIGTIFF": "IF_SAFER",
            "INTERLEAVE": "BAND",
            "PHOTOMETRIC": "MINISBLACK",  # else three or four Byte bands would be taken for a picture
        }
        if self.compression != "NONE":
            options["PREDICTOR"] = predictor
        level = self.level
        if level is None and self.compression == "DEFLATE":
            level = FLOAT_LEVEL if predictor == FLOATS else WHOLE_LEVEL
        if level is not None:
            options[LEVELS[self.compression][0]] = level
        return [f"{key}={value}" for key, value in options.items()]

    def cog_options(self, predictor: int, threads: int, averaged: bool) -> list[str]:
        """Return GDAL's options for a cloud-optimized GeoTIFF, which always has overviews."""
        options: dict[str, Any] = {
            "COMPRESS": self.compression,
            "OVERVIEW_COMPRESS": self.compression,
            "NUM_THREADS": threads or "ALL_CPUS",
            "BIGTIFF": "IF_SAFER",
            "BLOCKSIZE": COG_BLOCK,
            "OVERVIEWS": "IGNORE_EXISTING",
            "OVERVIEW_RESAMPLING": "AVERAGE" if averaged else "NEAREST",
        }
        if self.compression != "NONE":
            options["PREDICTOR"] = options["OVERVIEW_PREDICTOR"] = "YES" if predictor > 1 else "NO"
        if self.level is not None:
            options["LEVEL"] = self.level
        return [f"{key}={value}" for key, value in options.items()]


def available_compressions() -> tuple[str, ...]:
    """Return those of `COMPRESSIONS` that this GDAL was built with."""
    listed = gdal.GetDriverByName("GTiff").GetMetadataItem("DMD_CREATIONOPTIONLIST") or ""
    there = set(re.findall(r"<Value>(\w+)</Value>", listed))
    return tuple(name for name in COMPRESSIONS if name in there)


def add_overviews(path: PathLike, averaged: bool, threads: int, callback: Callable) -> None:
    """Put overviews into the GeoTIFF at *path*, of means or of the nearest pixels.  GDAL's error handler hears errors.

    *callback* is GDAL's: (share done, text, data) -> 1 to go on, 0 to stop.
    """
    dataset = gdal.OpenEx(str(path), gdal.OF_RASTER | gdal.OF_UPDATE)
    if dataset is None:
        return  # the error is being listened to
    levels: list[int] = []
    side = max(dataset.RasterXSize, dataset.RasterYSize)
    while -(-side // 2 ** len(levels)) > SMALLEST_OVERVIEW:
        levels.append(2 ** (len(levels) + 1))
    before = gdal.GetThreadLocalConfigOption("GDAL_NUM_THREADS")
    gdal.SetThreadLocalConfigOption("GDAL_NUM_THREADS", str(threads or "ALL_CPUS"))
    try:
        if levels:
            dataset.BuildOverviews("AVERAGE" if averaged else "NEAREST", levels, callback=callback)
        dataset.FlushCache()
    finally:
        gdal.SetThreadLocalConfigOption("GDAL_NUM_THREADS", before)
