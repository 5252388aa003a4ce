"""The numbers of a prediction as those of a map: labels, no data, probabilities as whole numbers."""

from __future__ import annotations

import math

import numpy as np
from osgeo import gdal

from .errors import SettingError
from .learners import MULTIPROBABILITY, PROBABILITY
from .models import Model
from .predictors import NO_CLASS
from .sample_types import FLOAT, SampleType, class_type

PROBABILITY_TYPES = {
    "Float32": FLOAT,
    "UInt8": SampleType(gdal.GDT_Byte, "uint8", 255, scale=0.01),
    "UInt16": SampleType(gdal.GDT_UInt16, "uint16", 65535, scale=0.0001),
}
PROBABILITIES = (PROBABILITY, MULTIPROBABILITY)


def map_type(
    model: Model, mode: str, gives_classes: bool, probability_type: str = "Float32", nodata: float | None = None
) -> SampleType:
    """Return what the numbers of *model*'s map in *mode* are, with *nodata* for no data where it is given.

    *probability_type* counts in modes of probabilities alone.  Raises `SettingError`.
    """
    if probability_type not in PROBABILITY_TYPES:
        raise SettingError(f"PROBABILITY_TYPE is {probability_type!r}: choose one of {', '.join(PROBABILITY_TYPES)}.")
    if gives_classes:
        labels = [item.value for item in model.classes]
        kind = class_type(max(labels), min(labels))
        return kind if nodata is None else kind._replace(nodata=_checked(nodata, kind, labels))
    kind = PROBABILITY_TYPES[probability_type] if mode in PROBABILITIES else FLOAT
    if nodata is None:
        return kind
    if mode in PROBABILITIES and 0 <= nodata <= _largest(kind):
        raise SettingError(
            f"NODATA is {nodata:g}, which is a probability (0 to {_largest(kind)}): choose a number outside."
        )
    return kind._replace(nodata=_checked(nodata, kind, []))


def encoded(values: np.ndarray, kind: SampleType) -> np.ndarray:
    """Return a predictor's *values* (int32 with `NO_CLASS`, or floats with NaN) as numbers of *kind*, a copy.

    A probability becomes the nearest whole number of steps of ``kind.scale``, halves the even one.
    """
    if values.dtype.kind != "f":
        missing = values == NO_CLASS
        values = values.astype(kind.dtype)
        values[missing] = kind.nodata
        return values
    if math.isnan(kind.nodata):
        return values.astype(kind.dtype)
    missing = np.isnan(values)
    if kind.scale != 1:
        values = np.rint(values.astype(np.float64) * _largest(kind)).clip(0, _largest(kind))
    return np.where(missing, kind.nodata, values).astype(kind.dtype)


def present(values: np.ndarray, kind: SampleType) -> np.ndarray:
    """Tell which numbers of *kind* are data."""
    return ~np.isnan(values) if math.isnan(kind.nodata) else values != np.dtype(kind.dtype).type(kind.nodata)


def _largest(kind: SampleType) -> int:
    """Return the number that stands for a probability of 1."""
    return round(1 / kind.scale)


def _checked(nodata: float, kind: SampleType, labels: list[int]) -> float:
    """Return *nodata* as *kind* holds it; raise `SettingError` where it cannot, or where it is one of *labels*."""
    name = gdal.GetDataTypeName(kind.gdal_type)
    if not kind.whole:
        if abs(nodata) > np.finfo(np.float32).max:
            raise SettingError(f"NODATA is {nodata:g}, beyond what {name} holds: choose a smaller number.")
        return float(np.float32(nodata))
    limits = np.iinfo(kind.dtype)
    if nodata != math.floor(nodata) or not limits.min <= nodata <= limits.max:
        raise SettingError(
            f"NODATA is {nodata:g}, but the map's numbers are {name}: choose a whole number from {limits.min} to "
            f"{limits.max}."
        )
    if nodata in labels:
        raise SettingError(f"NODATA is {nodata:g}, which is one of the map's classes: choose another number.")
    return int(nodata)
