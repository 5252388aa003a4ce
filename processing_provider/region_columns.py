"""The regions of a collection: their geometries in the CRS of a grid, and their attributes as columns."""

from __future__ import annotations

from typing import NamedTuple, Sequence

import numpy as np
from qgis.core import (
    QgsCoordinateTransform,
    QgsCsException,
    QgsFeature,
    QgsFeatureRequest,
    QgsGeometry,
    QgsProcessingFeatureSource,
)
from qgis.PyQt.QtCore import QVariant

from ..engine.errors import TableError
from ..engine.progress import Progress
from .file_columns import FileLayer, read_file
from .regions import placed
from .tables import CHECK_EVERY

LINE_HEADER = b"\x01" + (2).to_bytes(4, "little")  # well-known binary; the number of points follows
NOWHERE = np.full(4, np.nan, dtype="<f8").tobytes()  # x, y, z, m of an empty point


class Regions(NamedTuple):
    """``geometries`` are WKB or None each, or places of points (regions, 2), NaN = none; a column for each field."""

    geometries: Sequence[bytes | None] | np.ndarray
    columns: list[np.ndarray]


def read_regions(
    source: QgsProcessingFeatureSource,
    file: FileLayer | None,
    copied: Sequence[int],
    transform: QgsCoordinateTransform,
    progress: Progress,
) -> Regions:
    """Read every region with the fields *copied*: from *file*, many times faster, where GDAL sees what QGIS does.

    A geometry that cannot be transformed raises `TableError`.
    """
    regions = (_from_file(source, file, copied, transform, progress) if file else None) or _from_features(
        source, copied, transform, progress
    )
    geometries = regions.geometries
    points = isinstance(geometries, np.ndarray)
    empty = int(np.isnan(geometries[:, 0]).sum()) if points else geometries.count(None)
    if empty:
        progress.message(f"{empty} of {len(geometries)} regions have no geometry and were skipped.")
    return regions


def _from_features(
    source: QgsProcessingFeatureSource, copied: Sequence[int], transform: QgsCoordinateTransform, progress: Progress
) -> Regions:
    geometries: list[bytes | None] = []
    rows: list[list] = []
    total = source.featureCount()
    request = QgsFeatureRequest().setSubsetOfAttributes(list(copied))
    # No check of validity: a polygon that crosses itself still has pixels.
    flags = QgsProcessingFeatureSource.Flag.FlagSkipGeometryValidityChecks
    for done, feature in enumerate(source.getFeatures(request, flags)):
        if done % CHECK_EVERY == 0:
            progress(done, total)
        attributes = feature.attributes()
        rows.append([attributes[index] for index in copied])
        geometries.append(placed(feature, transform))
    columns = []
    for position in range(len(copied)):
        column = np.empty(len(rows), dtype=object)
        column[:] = [None if isinstance(row[position], QVariant) else row[position] for row in rows]  # QGIS's NULL
        columns.append(column)
    return Regions(geometries, columns)


def _from_file(
    source: QgsProcessingFeatureSource,
    file: FileLayer,
    copied: Sequence[int],
    transform: QgsCoordinateTransform,
    progress: Progress,
) -> Regions | None:
    """Return what `_from_features` does, or None where only QGIS can tell."""
    found = read_file(file, [source.fields().at(index) for index in copied], progress)
    if found is None:
        return None
    places = _places(found.geometries)
    if places is not None:
        places = _transformed(places, transform)
        return None if places is None else Regions(places, found.values)
    try:
        return Regions([_placed(wkb, transform) for wkb in found.geometries.tolist()], found.values)
    except TableError:  # QGIS knows the feature's number
        return None


def _placed(wkb: bytes | None, transform: QgsCoordinateTransform) -> bytes | None:
    if wkb is None:
        return None
    feature, geometry = QgsFeature(), QgsGeometry()
    geometry.fromWkb(wkb)
    feature.setGeometry(geometry)
    return placed(feature, transform)


def _places(geometries: np.ndarray) -> np.ndarray | None:
    """Return x, y of geometries that are all points (NaN for none) or None."""
    from ..engine.sampling import POINT_HEADERS

    if geometries.dtype == object:
        known = next((wkb for wkb in geometries if wkb is not None), None)
        if known is None or bytes(known[:5]) not in POINT_HEADERS:
            return None
        nowhere = known[:5] + NOWHERE[: len(known) - 5]
        parts = [nowhere if wkb is None else wkb for wkb in geometries]
        if any(len(part) != len(known) for part in parts):
            return None
        octets = np.frombuffer(b"".join(parts), dtype=np.uint8)
    else:
        octets = np.frombuffer(geometries.tobytes(), dtype=np.uint8)
    octets = octets.reshape(len(geometries), -1)
    if octets[0, :5].tobytes() not in POINT_HEADERS or (octets[:, :5] != octets[0, :5]).any():
        return None
    return np.ascontiguousarray(octets[:, 5:21]).view("<f8")


def _transformed(places: np.ndarray, transform: QgsCoordinateTransform) -> np.ndarray | None:
    """Return *places* in the grid's CRS, moved all at once; None when some cannot be moved as the others."""
    known = ~np.isnan(places).all(axis=1)
    if not transform.isShortCircuited() and known.any():
        line = QgsGeometry()
        line.fromWkb(LINE_HEADER + int(known.sum()).to_bytes(4, "little") + places[known].tobytes())
        try:
            line.transform(transform)
        except QgsCsException:
            return None
        if transform.fallbackOperationOccurred():
            return None
        places = places.copy()
        places[known] = np.frombuffer(bytes(line.asWkb()), dtype="<f8", offset=9).reshape(-1, 2)
    return places if np.isfinite(places[known]).all() else None
