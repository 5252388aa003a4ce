"""Rows that go on from one table to another, with what is known of them."""

from __future__ import annotations

from typing import Any, Iterable, Iterator, NamedTuple, Sequence

from qgis.core import (
    NULL,
    QgsFeature,
    QgsFeatureRequest,
    QgsField,
    QgsFields,
    QgsProcessingAlgorithm,
    QgsProcessingFeatureSource,
    QgsProcessingFeatureSourceDefinition,
    QgsVectorLayer,
)
from qgis.PyQt.QtCore import QMetaType, Qt

from ..engine import sidecar
from ..engine.errors import TableError
from ..engine.progress import Progress
from .tables import CHECK_EVERY, SYSTEM_INDEX, Source, load_style, notes_of, renderer_classes


class Column(NamedTuple):
    """A new field: its name, its type (int, float or str), and a value or None for each row."""

    name: str
    kind: type
    values: list


def source_layer(algorithm: QgsProcessingAlgorithm, parameters: dict, context, name: str) -> QgsVectorLayer:
    """Return the layer behind a feature source, selected features or all (main thread only); raises `TableError`."""
    value = parameters.get(name)
    if isinstance(value, QgsProcessingFeatureSourceDefinition):  # no layer to parameterAsVectorLayer
        value, _ = value.source.valueAsString(context.expressionContext())
    layer = algorithm.parameterAsVectorLayer({name: value}, name, context)
    if layer is None:
        raise TableError(f"{name} {value} cannot be read as a layer: check the path.")
    return layer


def known_notes(layer: QgsVectorLayer, context, class_property: str = "") -> sidecar.Notes:
    """Return what goes on with the rows of *layer*: whole names, bands, and the class table of renderer or sidecar."""
    load_style(layer, context)
    notes = notes_of(layer) or sidecar.Notes()
    field, classes = renderer_classes(layer, class_property) or (notes.class_property, notes.classes)
    return sidecar.Notes(notes.fields, notes.bands, field and notes.fields.get(field, field), tuple(classes))


def whole_fields(fields: QgsFields, notes: sidecar.Notes) -> QgsFields:
    """Return *fields* with the whole names of those that a Shapefile cut."""
    whole = QgsFields()
    for field in fields:
        field = QgsField(field)
        field.setName(notes.fields.get(field.name(), field.name()))
        whole.append(field)
    return whole


def index_field(fields: Iterable[QgsField]) -> int:
    """Return the place of ``system_index`` among *fields*, -1 when it is not there."""
    names = [field.name().lower() for field in fields]
    return next((names.index(name) for name in SYSTEM_INDEX if name in names), -1)


def batches(
    source: QgsProcessingFeatureSource, progress: Progress, request: QgsFeatureRequest | None = None
) -> Iterator[list[QgsFeature]]:
    """Yield all features in lists, their geometries as they are, valid or not."""
    total = source.featureCount()
    flags = QgsProcessingFeatureSource.Flag.FlagSkipGeometryValidityChecks
    features: list[QgsFeature] = []
    for done, feature in enumerate(source.getFeatures(request or QgsFeatureRequest(), flags)):
        features.append(feature)
        if len(features) == CHECK_EVERY:
            progress(done, total)
            yield features
            features = []
    yield features


def fields_with(source: Source, columns: Sequence[Column]) -> QgsFields:
    """Return the fields of *source* and the new ones; an old field of the same name gives way."""
    types = {int: QMetaType.Type.Int, float: QMetaType.Type.Double, str: QMetaType.Type.QString}
    fields = QgsFields()
    for index in _kept(source, columns):
        fields.append(source.fields.at(index))
    for column in columns:
        fields.append(QgsField(column.name, types[column.kind]))
    return fields


def rows_with(source: Source, columns: Sequence[Column], progress: Progress) -> Iterator[list[QgsFeature]]:
    """Yield the features of *source* with the values of *columns* in lists, ready to be written."""
    fields, kept = fields_with(source, columns), _kept(source, columns)
    features: list[QgsFeature] = []
    for row, feature in enumerate(source.features.getFeatures()):
        old = feature.attributes()
        feature.setFields(fields, False)
        feature.setAttributes([*(old[index] for index in kept), *(column.values[row] for column in columns)])
        features.append(feature)
        if len(features) == CHECK_EVERY:
            progress(row, len(columns[0].values))
            yield features
            features = []
    yield features


def _kept(source: Source, columns: Sequence[Column]) -> list[int]:
    new = {column.name.lower() for column in columns}
    return [index for index, field in enumerate(source.fields) if field.name().lower() not in new]


def plain(value: Any) -> Any:
    """Return an attribute as something that compares and prints alike everywhere: None for NULL, dates as text."""
    if value is None or value == NULL:
        return None
    return value.toString(Qt.DateFormat.ISODateWithMs) if hasattr(value, "toString") else value
