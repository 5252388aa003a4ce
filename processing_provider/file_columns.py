"""A vector file read by GDAL column by column, without a Python object for each row."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple, Sequence

import numpy as np
from osgeo import gdal, ogr
from qgis.core import QgsField, QgsProcessingFeatureSourceDefinition, QgsVectorLayer
from qgis.PyQt.QtCore import QDate, QMetaType

from ..engine.progress import Progress
from ..engine.rasters import ask_gdal

BATCH = 4096  # rows: GDAL gives every text of a batch the room of the longest
# What QGIS makes of GDAL's field types; a field of any other kind is read by QGIS itself.  GDAL 3.6 gives wrong
# truth values from GeoPackages.
PLAIN_TYPES = {
    (ogr.OFTInteger, ogr.OFSTNone): QMetaType.Type.Int,
    (ogr.OFTInteger, ogr.OFSTInt16): QMetaType.Type.Int,
    (ogr.OFTInteger64, ogr.OFSTNone): QMetaType.Type.LongLong,
    (ogr.OFTReal, ogr.OFSTNone): QMetaType.Type.Double,
    (ogr.OFTReal, ogr.OFSTFloat32): QMetaType.Type.Double,
    (ogr.OFTString, ogr.OFSTNone): QMetaType.Type.QString,
    (ogr.OFTDate, ogr.OFSTNone): QMetaType.Type.QDate,
}


class FileLayer(NamedTuple):
    """A layer of a file that has nothing which only QGIS knows: no filter, join, selection or unsaved edit."""

    path: str
    name: str  # "" = the only one
    rows: int


class FileColumns(NamedTuple):
    """Arrays of each field's values and of the geometries as WKB; one with NULL is of objects, NULL is None."""

    values: list[np.ndarray]
    geometries: np.ndarray


def file_layer(value: Any, layer: QgsVectorLayer) -> FileLayer | None:
    """Return the file behind the *layer* that a source parameter's *value* names, or None when only QGIS can read it.

    Call it in the main thread.
    """
    if isinstance(value, QgsProcessingFeatureSourceDefinition) and (
        value.selectedFeaturesOnly or value.featureLimit != -1 or value.filterExpression
    ):
        return None
    if layer.providerType() != "ogr" or layer.subsetString() or layer.isEditable():
        return None
    path, *options = layer.source().split("|")
    names = [option.partition("=")[2] for option in options if option.startswith("layername=")]
    if len(names) != len(options) or not Path(path).is_file() or layer.dataProvider().encoding() != "UTF-8":
        return None
    return FileLayer(path, names[0] if names else "", layer.featureCount())


def read_file(source: FileLayer, wanted: Sequence[QgsField], progress: Progress) -> FileColumns | None:
    """Read the fields *wanted* and the geometry of every row; None when GDAL sees the file otherwise than QGIS."""
    dataset, _ = ask_gdal(gdal.OpenEx, source.path, gdal.OF_VECTOR)
    layer = dataset and (dataset.GetLayerByName(source.name) if source.name else dataset.GetLayer(0))
    if layer is None or not hasattr(layer, "GetArrowStreamAsNumPy"):  # before GDAL 3.6
        return None
    if (not source.name and dataset.GetLayerCount() > 1) or not _agree(layer.GetLayerDefn(), wanted):
        return None
    geometry = layer.GetGeometryColumn() or "wkb_geometry"
    batches: list[list[np.ndarray]] = []
    done = 0
    for batch in layer.GetArrowStreamAsNumPy([f"MAX_FEATURES_IN_BATCH={BATCH}"]):
        if geometry not in batch:
            return None
        progress(done, source.rows)
        batches.append([_values(batch[field.name()], field) for field in wanted] + [_unmasked(batch[geometry])])
        done += len(batch[geometry])
    if not done or done != source.rows:
        return None
    *values, geometries = (np.concatenate(parts) for parts in zip(*batches))
    return FileColumns(values, geometries)


def _agree(definition: Any, wanted: Sequence[QgsField]) -> bool:
    """Say whether every field is there under its name and has the type that QGIS gives it."""
    for field in wanted:
        index = definition.GetFieldIndex(field.name())
        found = definition.GetFieldDefn(index) if index >= 0 else None
        if found is None or PLAIN_TYPES.get((found.GetType(), found.GetSubType())) != field.type():
            return False
    return True


def _values(column: np.ndarray, field: QgsField) -> np.ndarray:
    """Return a column as QGIS gives its values."""
    found = _unmasked(column)
    if field.type() == QMetaType.Type.QString:
        return _objects([text if text is None else text.decode() for text in found.tolist()])
    if field.type() == QMetaType.Type.QDate:
        days = {day: QDate(day) for day in set(found.tolist()) - {None}}
        return _objects([days.get(day) for day in found.tolist()])
    return found


def _unmasked(column: np.ndarray) -> np.ndarray:
    """Return a copy, which outlives GDAL's batch; masked values become None."""
    if not np.ma.is_masked(column):
        return np.array(np.ma.getdata(column))
    found = np.ma.getdata(column).astype(object)
    found[np.ma.getmaskarray(column)] = None
    return found


def _objects(values: Sequence) -> np.ndarray:
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column
