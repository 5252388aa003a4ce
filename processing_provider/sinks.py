"""Tables as output: rows go in, notes go beside, and a failed run leaves nothing."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Iterator, Sequence

from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsFeature,
    QgsFeatureSink,
    QgsFields,
    QgsProcessingAlgorithm,
    QgsProcessingUtils,
    QgsProviderConnectionException,
    QgsProviderRegistry,
    QgsVectorLayer,
)

from ..engine import sidecar
from ..engine.errors import StorageError
from ..engine.files import check_target, remove
from ..engine.progress import Progress
from .parameters import destination

# What brings types, points and CRS back when a CSV is read again
CSV_OPTIONS = ["CREATE_CSVT=YES", "GEOMETRY=AS_WKT"]


class OutputTable:
    """A table under way; ``output`` is what Processing calls it."""

    def __init__(self, sink: QgsFeatureSink, output: str) -> None:
        self.output = output
        self._sink: QgsFeatureSink | None = sink

    def add(self, features: Sequence[QgsFeature]) -> None:
        """Write rows; raises `StorageError`."""
        if self._sink is not None and not self._sink.addFeatures(features, QgsFeatureSink.Flag.FastInsert):
            raise self._error()

    def close(self) -> None:
        """Finish the file; raises `StorageError`."""
        complete = self._sink is None or self._sink.flushBuffer()
        error = None if complete else self._error()
        self._sink = None  # the last reference: the file is closed now
        if error:
            raise error

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
    options = CSV_OPTIONS if target and target.suffix.lower() == ".csv" else []
    flags = QgsFeatureSink.SinkFlag.RegeneratePrimaryKey  # a copied fid is there once for each pixel
    sink, output = algorithm.parameterAsSink(
        parameters, name, context, fields, geometry_type, crs, flags, {}, [], options
    )
    if sink is None:
        raise StorageError(f"{name} {parameters.get(name)} cannot be written: check folder and format.")
    table = OutputTable(sink, output)
    del sink
    try:
        yield table
        table.close()
    except BaseException:
        with contextlib.suppress(StorageError):
            table.close()
        _remove(output, before)
        raise


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


def _with_fields(notes: sidecar.Notes, stored: Sequence[str], full: Sequence[str]) -> sidecar.Notes:
    return sidecar.Notes(dict(zip(stored, full)), notes.bands, notes.class_property, notes.classes)
