"""Tables as output: rows go in, notes go beside, and a failed run leaves nothing."""

from __future__ import annotations

import contextlib
import shutil
from itertools import islice, repeat
from pathlib import Path
from typing import Any, Iterator, Sequence

import numpy as np
from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsFeature,
    QgsFeatureSink,
    QgsField,
    QgsFields,
    QgsGeometry,
    QgsPointXY,
    QgsProcessingAlgorithm,
    QgsProcessingOutputLayerDefinition,
    QgsProcessingUtils,
    QgsProperty,
    QgsProviderConnectionException,
    QgsProviderRegistry,
    QgsVectorLayer,
)
from qgis.PyQt.QtCore import QMetaType, Qt, QVariant

from ..engine import sidecar
from ..engine.errors import StorageError
from ..engine.files import check_target, remove, storage_error, temporary_name
from ..engine.geopackage import TableFiller
from ..engine.progress import Progress
from .parameters import destination

# What brings types, points and CRS back when a CSV is read again
CSV_OPTIONS = ["CREATE_CSVT=YES", "GEOMETRY=AS_WKT"]
WHOLE_NUMBERS = (QMetaType.Type.Int, QMetaType.Type.LongLong)
PLAIN_TYPES = (*WHOLE_NUMBERS, QMetaType.Type.Double, QMetaType.Type.Bool, QMetaType.Type.QString, QMetaType.Type.QDate)
BATCH = 4096  # rows


class OutputTable:
    """A table under way; ``output`` is what Processing calls it."""

    def __init__(self, sink: QgsFeatureSink, output: str, fields: QgsFields, path: Path | None = None) -> None:
        """*path* is a GeoPackage that *sink* makes for this table alone; `add_columns` then writes past the sink."""
        self.output = output
        self._sink: QgsFeatureSink | None = sink
        self._fields = fields
        self._path = path
        self._filler: TableFiller | None = None

    def add(self, features: Sequence[QgsFeature]) -> None:
        """Write rows; raises `StorageError`.  Not after `add_columns`."""
        if self._filler is not None:
            raise TypeError("rows were written by columns before")
        if self._sink is not None and not self._sink.addFeatures(features, QgsFeatureSink.Flag.FastInsert):
            raise self._error()

    def add_columns(self, columns: Sequence[Sequence], places: np.ndarray | None = None) -> None:
        """Write rows given as columns; many times faster than `add` into a new GeoPackage.  Not after `add`.

        Parameters
        ----------
        columns : one list or numpy array for each field of the table, in order, all of one length
            Python values or numpy's numbers; None (or NaN in an array) is NULL.  Floats in a field of whole
            numbers become whole.  Call it with a few thousand rows to millions at a time, as often as needed.
        places : float array, (rows, 2)
            x and y of a point for every row (NaN = none); None when the table has no geometry.

        Raises `StorageError`.
        """
        lists = [_python_values(field, column) for field, column in zip(self._fields, columns)]
        filler = self._fast_way()
        if filler is not None:
            stored = {field.name(): _stored(field, column) for field, column in zip(self._fields, lists)}
            filler.add([stored[name] for name in filler.columns], places)
            return
        points = repeat(None) if places is None else (None if x != x else QgsPointXY(x, y) for x, y in places.tolist())
        rows = zip(zip(*lists), points)
        while batch := [_feature(self._fields, row, point) for row, point in islice(rows, BATCH)]:
            self.add(batch)

    def close(self) -> None:
        """Finish the file; raises `StorageError`."""
        if self._filler is not None:
            self._filler.close()
        complete = self._sink is None or self._sink.flushBuffer()
        error = None if complete else self._error()
        self._sink = None  # the last reference: the file is closed now
        if error:
            raise error

    def abandon(self) -> None:
        """Let go of the file as it is."""
        if self._filler is not None:
            self._filler.abandon()
        self._sink = None

    def write_notes(self, notes: sidecar.Notes, names: Sequence[str], context, progress: Progress) -> None:
        """Write *notes* beside the table, or into a layer in memory; *names* are the full names of its fields.

        Call it after `close`.  A sidecar that cannot be written is worth a warning, not the table.
        """
        path, layer_name = _place(self.output)
        if not path.is_file():
            layer = QgsProcessingUtils.mapLayerFromString(self.output, context)
            if layer is not None and layer.providerType() == "memory":
                layer.setCustomProperty(sidecar.CUSTOM_PROPERTY, sidecar.as_text(_with_fields(notes, names, names)))
            return
        stored = [field.name() for field in QgsVectorLayer(self.output, "", "ogr").fields()][-len(names) :]
        cut = [f"{full} ({short})" for short, full in zip(stored, names) if short != full]
        if cut:
            progress.warn(
                f"{path.name} cannot hold the whole names of {', '.join(cut)}: {sidecar.path_beside(path).name} "
                f"beside it keeps them, move both together or write a GeoPackage."
            )
        try:
            sidecar.write(path, layer_name, _with_fields(notes, stored, names))
        except StorageError as error:
            progress.warn(str(error))

    def _fast_way(self) -> TableFiller | None:
        """Return what fills the empty GeoPackage that the sink has made, or None when the sink must write the rows."""
        if self._filler is None and self._path is not None and _plain(self._fields):
            complete = self._sink is not None and self._sink.flushBuffer()
            if not complete:
                raise self._error()
            self._sink = None  # the last reference: the file is closed now
            self._filler = TableFiller(self._path, self.output)
        return self._filler

    def _error(self) -> StorageError:
        reason = (self._sink.lastError() if self._sink else "").rstrip(".") or "is the disk full?"
        return StorageError(f"{self.output} cannot be written ({reason}): choose another place or format.")


@contextlib.contextmanager
def output_table(
    algorithm: QgsProcessingAlgorithm,
    parameters: dict,
    name: str,
    context,
    fields: QgsFields,
    geometry_type,
    crs: QgsCoordinateReferenceSystem,
) -> Iterator[OutputTable]:
    """Give the table of the sink parameter *name*, closed at the end; after any exception nothing is left of it."""
    target = _target(parameters, name, context)
    before = _files_of(target)
    staged = _staged(parameters, name, context, target)
    asked = {**parameters, name: _placed_at(parameters[name], staged)} if staged else parameters
    options = CSV_OPTIONS if target and target.suffix.lower() == ".csv" else []
    flags = QgsFeatureSink.SinkFlag.RegeneratePrimaryKey  # a copied fid is there once for each pixel
    try:
        sink, output = algorithm.parameterAsSink(
            asked, name, context, fields, geometry_type, crs, flags, {}, [], options
        )
        if sink is None:
            raise StorageError(f"{name} {parameters.get(name)} cannot be written: check folder and format.")
        if staged:
            output = _load_instead(context, output, str(target))
        table = OutputTable(sink, output, fields, staged)
        del sink
        try:
            yield table
            table.close()
            if staged:
                _publish(staged, target)
        except BaseException:
            table.abandon()
            if not staged:
                _remove(output, before)
            raise
    finally:
        if staged:
            shutil.rmtree(staged.parent, ignore_errors=True)


def check_table(parameters: dict, name: str, context, inputs=()) -> None:
    """Raise `StorageError` for a missing folder or a file that is an input, before the work starts."""
    target = _target(parameters, name, context)
    if target:
        check_target(target, inputs)


def _target(parameters: dict, name: str, context) -> Path | None:
    """Return the file that a sink parameter asks for; None for memory and databases."""
    text = destination(parameters, name, context)
    if text.startswith("ogr:"):
        return Path(text.split("'")[1]) if text.count("'") >= 2 else None
    return None if not text or ":" in text[2:] or text.startswith("memory") else Path(text)


def _staged(parameters: dict, name: str, context, target: Path | None) -> Path | None:
    """Return where a new GeoPackage is made before it moves to *target*: in a hidden folder beside, under its own name.

    A layer is named as its file.  None for other outputs.
    """
    value = parameters.get(name)
    remapped = isinstance(value, QgsProcessingOutputLayerDefinition) and value.useRemapping()
    if target is None or target.suffix.lower() != ".gpkg" or remapped:
        return None
    if destination(parameters, name, context).startswith("ogr:"):  # a layer of a file that may hold others
        return None
    folder = temporary_name(target).with_suffix("")
    try:
        folder.mkdir()
    except OSError as error:
        raise storage_error(target, error) from error
    return folder / target.name


def _placed_at(value: Any, path: Path) -> Any:
    """Return a sink parameter's value with another file."""
    if not isinstance(value, QgsProcessingOutputLayerDefinition):
        return str(path)
    definition = QgsProcessingOutputLayerDefinition(value)
    definition.sink = QgsProperty.fromValue(str(path))
    return definition


def _load_instead(context, output: str, final: str) -> str:
    """Let Processing load *final* where it noted *output*."""
    layers = context.layersToLoadOnCompletion()
    if output in layers:
        layers[final] = layers.pop(output)
        context.setLayersToLoadOnCompletion(layers)
    return final


def _publish(staged: Path, target: Path) -> None:
    # SQLite would take an old file's journals for the new one's
    remove(*(target.with_name(target.name + suffix) for suffix in ("-wal", "-shm", "-journal")))
    try:
        staged.replace(target)
    except OSError as error:
        raise storage_error(target, error) from error


def _place(output: str) -> tuple[Path, str]:
    parts = QgsProviderRegistry.instance().decodeUri("ogr", output)
    return Path(str(parts.get("path") or "")), str(parts.get("layerName") or "")


def _files_of(path: Path | None) -> set[Path]:
    """Return the files that belong to a table: a Shapefile has many, a GeoPackage at work has journals."""
    if path is None or not path.parent.is_dir():
        return set()
    return {file for file in path.parent.iterdir() if file.name.startswith((f"{path.stem}.", f"{path.name}-"))}


def _remove(output: str, before: set[Path]) -> None:
    path, layer_name = _place(output)
    if layer_name and path in before:  # a new layer in a file that holds others
        with contextlib.suppress(QgsProviderConnectionException):
            metadata = QgsProviderRegistry.instance().providerMetadata("ogr")
            metadata.createConnection(str(path), {}).dropVectorTable("", layer_name)
    elif path.is_file():
        remove(path, *(_files_of(path) - before))


def _plain(fields: QgsFields) -> bool:
    """Say whether a GeoPackage stores the values of *fields* as Python has them, each in a column of its own."""
    return all(field.type() in PLAIN_TYPES and field.name().lower() != "fid" for field in fields)


def _python_values(field: QgsField, column: Sequence) -> list:
    """Return a column as Python values; None is NULL."""
    if isinstance(column, np.ndarray) and column.dtype.kind == "f":
        known = np.isfinite(column)
        whole = field.type() in WHOLE_NUMBERS
        if known.all():
            return (column.astype(np.int64) if whole else column).tolist()
        return [None if value != value else int(value) if whole else value for value in column.tolist()]
    if isinstance(column, np.ndarray) and column.dtype.kind != "O":
        return column.tolist()
    if QVariant in set(map(type, column)):  # QGIS's NULL
        return [None if isinstance(value, QVariant) else value for value in column]
    return list(column)


def _stored(field: QgsField, values: list) -> list:
    """Return *values* as a GeoPackage stores them: dates are text."""
    if field.type() != QMetaType.Type.QDate:
        return values
    return [None if value is None else value.toString(Qt.DateFormat.ISODate) or None for value in values]


def _feature(fields: QgsFields, row: Sequence, point: QgsPointXY | None) -> QgsFeature:
    feature = QgsFeature(fields)
    feature.setAttributes(list(row))
    if point is not None:
        feature.setGeometry(QgsGeometry.fromPointXY(point))
    return feature


def _with_fields(notes: sidecar.Notes, stored: Sequence[str], full: Sequence[str]) -> sidecar.Notes:
    return sidecar.Notes(dict(zip(stored, full)), notes.bands, notes.class_property, notes.classes)
