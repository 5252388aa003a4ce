"""Vector layers as columns: which fields are predictors, and their values as arrays."""

from __future__ import annotations

from typing import NamedTuple, Sequence

import numpy as np
from qgis.core import (
    NULL,
    QgsCategorizedSymbolRenderer,
    QgsFeatureRequest,
    QgsFields,
    QgsVectorLayer,
    QgsVectorLayerFeatureSource,
    QgsWkbTypes,
)

from ..engine import sidecar
from ..engine.classes import LandClass
from ..engine.errors import TableError
from ..engine.numerals import as_number, as_numbers
from ..engine.progress import Progress

SYSTEM_INDEX = ("system_index", "system_ind")  # the second is what a Shapefile leaves of it
NEVER_BESIDE_INDEX = {"random", "classification", "cluster"}
NEVER_ALONE = {"fid", "id", "random"}
CHECK_EVERY = 4096  # rows between two questions whether to go on


class Source(NamedTuple):
    """A layer made ready in the main thread, to be read in another one."""

    name: str
    features: QgsVectorLayerFeatureSource
    fields: QgsFields
    rows: int
    points: bool
    notes: sidecar.Notes | None


class Columns(NamedTuple):
    """Columns of one layer: values by field name, the feature ids, and places of points (rows, 2) or None."""

    values: dict[str, list]
    ids: list[int]
    places: np.ndarray | None


def open_source(layer: QgsVectorLayer) -> Source:
    """Make *layer* readable from any thread; call this in the main thread."""
    points = QgsWkbTypes.flatType(layer.wkbType()) == QgsWkbTypes.Type.Point
    return Source(
        layer.name(),
        QgsVectorLayerFeatureSource(layer),
        layer.fields(),
        layer.featureCount(),
        points,
        notes_of(layer),
    )


def notes_of(layer: QgsVectorLayer) -> sidecar.Notes | None:
    """Return what the sidecar of *layer* (or its custom property, for a memory layer) says, or None."""
    text = layer.customProperty(sidecar.CUSTOM_PROPERTY)
    if text:
        return sidecar.from_text(str(text))
    path, _, rest = layer.source().partition("|")
    layer_name = rest.partition("layername=")[2].partition("|")[0]
    return sidecar.read(path, layer_name)


def renderer_classes(layer: QgsVectorLayer, class_property: str = "") -> tuple[str, tuple[LandClass, ...]] | None:
    """Return the field and the classes of *layer*'s categorized renderer, or None; call in the main thread.

    With *class_property* only a renderer of that field counts.  Text categories are numbered in code-point
    order and keep their text as name, as labels do.
    """
    renderer = layer.renderer()
    if not isinstance(renderer, QgsCategorizedSymbolRenderer):
        return None
    attribute = renderer.classAttribute().strip('"')
    if class_property and attribute.lower() != class_property.lower():
        return None
    rows = []
    for category in renderer.categories():
        values = category.value() if isinstance(category.value(), list) else [category.value()]
        rows += [(value, category) for value in values if value not in (None, "", NULL)]
    try:
        numbered = [(int(value), category.label() or str(value), category) for value, category in rows]
    except (TypeError, ValueError):
        texts = sorted({str(value) for value, _ in rows})
        numbered = [(texts.index(str(value)), str(value), category) for value, category in rows]
    found = {value: LandClass(value, name, category.symbol().color().name()) for value, name, category in numbered}
    return attribute, tuple(found[value] for value in sorted(found))


def load_style(layer: QgsVectorLayer, context) -> None:
    """Give a layer that Processing opened from a file the style beside the file; one of the project has its own."""
    if context.project() is None or context.project().mapLayer(layer.id()) is None:
        layer.loadDefaultStyle()


def known_classes(layers: Sequence[QgsVectorLayer], class_property: str) -> tuple[LandClass, ...]:
    """Return names and colours of the classes that the layers' renderers or sidecars tell, the first one wins."""
    for layer in layers:
        shown = renderer_classes(layer, class_property)
        if shown:
            return shown[1]
        notes = notes_of(layer)
        if notes and notes.classes and (notes.class_property or "").lower() in ("", class_property.lower()):
            return tuple(notes.classes)
    return ()


def default_predictors(fields: QgsFields, class_property: str = "") -> list[str]:
    """Return the predictors of a table whose user named none.

    The numeric columns right of ``system_index`` except the class and what RasterML adds itself; without
    such a column every numeric field except the class and ids.  A CSV has text columns only: right of
    ``system_index`` they count when no numeric one is there.
    """
    names = [field.name() for field in fields]
    lower = [name.lower() for name in names]
    class_lower = class_property.lower()
    start = next((lower.index(name) + 1 for name in SYSTEM_INDEX if name in lower), 0)
    never = (NEVER_BESIDE_INDEX if start else NEVER_ALONE) | {class_lower}
    columns = [index for index in range(start, len(names)) if lower[index] not in never]
    numeric = [names[index] for index in columns if fields.at(index).isNumeric()]
    if numeric or not start:
        return numeric
    return [names[index] for index in columns]


def predictors_of(source: Source, class_property: str, progress: Progress) -> list[str]:
    """Return the default predictors; where every field is text, as in a CSV, the columns that read as numbers."""
    names = default_predictors(source.fields, class_property)
    if names or any(field.isNumeric() for field in source.fields):
        return names
    never = NEVER_ALONE | {class_property.lower()}
    texts = [field.name() for field in source.fields if field.name().lower() not in never]
    columns = read_columns(source, texts, progress)
    return [name for name in texts if columns.ids and as_numbers(columns.values[name]) is not None]


def full_to_stored(source: Source) -> dict[str, str]:
    """Return the stored name of each field whose whole name the sidecar knows (a Shapefile cuts names)."""
    return {full: stored for stored, full in source.notes.fields.items()} if source.notes else {}


def field_named(fields: QgsFields, name: str, layer_name: str) -> str:
    """Return the field's own spelling of *name*; raise `TableError` when the layer has no such field."""
    index = fields.lookupField(name)
    if index < 0:
        there = ", ".join(field.name() for field in fields)
        raise TableError(f"Layer {layer_name!r} has no field {name!r}: it has {there}.")
    return fields.at(index).name()


def read_columns(source: Source, names: Sequence[str], progress: Progress, places: bool = False) -> Columns:
    """Read the fields *names* of every feature, in feature order; NULL becomes None."""
    indexes = [source.fields.lookupField(name) for name in names]
    request = QgsFeatureRequest().setSubsetOfAttributes(indexes)
    with_places = places and source.points
    if not with_places:
        request.setFlags(QgsFeatureRequest.Flag.NoGeometry)
    rows: list[list] = []
    ids: list[int] = []
    points: list[tuple[float, float]] = []
    for feature in source.features.getFeatures(request):
        if not len(ids) % CHECK_EVERY:
            progress.check()
        attributes = feature.attributes()
        rows.append([attributes[index] for index in indexes])
        ids.append(feature.id())
        if with_places:
            point = None if feature.geometry().isNull() else feature.geometry().asPoint()
            points.append((np.nan, np.nan) if point is None else (point.x(), point.y()))
    columns = list(zip(*rows)) if rows else [()] * len(names)
    values = {}
    for name, column in zip(names, columns):
        progress.check()
        values[name] = [None if value == NULL else value for value in column]
    return Columns(values, ids, np.array(points, dtype=np.float64).reshape(-1, 2) if with_places else None)


def numbers(values: Sequence, ids: Sequence[int], field: str, layer_name: str) -> np.ndarray:
    """Return *values* as float64; a missing or non-numeric one raises `TableError` with its feature id."""
    column = as_numbers(values)
    if column is not None:
        return column
    for value, feature in zip(values, ids):
        if value is None or value == "" or value != value:
            raise TableError(
                f"Property '{field}' of feature '{feature}' in {layer_name!r} is missing: fill it or remove the row."
            )
        if as_number(value) is None:
            raise TableError(
                f"Property '{field}' of feature '{feature}' in {layer_name!r} is {value!r}: it must be a number."
            )
    raise TableError(f"Property '{field}' in {layer_name!r} has values that are not numbers.")
