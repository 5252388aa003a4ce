"""What the numbers of a raster are."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from osgeo import gdal

from .errors import StorageError


class SampleType(NamedTuple):
    """What a raster's numbers are: GDAL's type, numpy's name of it, the number that stands for no data.

    A number times ``scale`` is what it means, so that whole numbers can hold shares.
    """

    gdal_type: int
    dtype: str
    nodata: float
    scale: float = 1.0

    @property
    def whole(self) -> bool:
        return np.dtype(self.dtype).kind != "f"

    @property
    def averages(self) -> bool:
        """Whether a mean of numbers makes sense: not of labels."""
        return not self.whole or self.scale != 1

    @property
    def has_palette(self) -> bool:
        """Whether GeoTIFF has colour tables for it."""
        return self.gdal_type in (gdal.GDT_Byte, gdal.GDT_UInt16)


FLOAT = SampleType(gdal.GDT_Float32, "float32", math.nan)


def class_type(largest_label: int, smallest_label: int = 0) -> SampleType:
    """Return the smallest type for a class map with these labels; raises `StorageError` beyond 32 bits."""
    if smallest_label >= 0 and largest_label <= 254:
        return SampleType(gdal.GDT_Byte, "uint8", 255)
    if smallest_label >= 0 and largest_label <= 65534:
        return SampleType(gdal.GDT_UInt16, "uint16", 65535)
    if smallest_label <= -(2**31) or largest_label >= 2**31:
        raise StorageError(
            f"A class map cannot hold the labels {smallest_label} to {largest_label}: give the classes smaller numbers."
        )
    return SampleType(gdal.GDT_Int32, "int32", -(2**31))
