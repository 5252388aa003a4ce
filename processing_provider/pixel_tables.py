"""What the samplers of pixels share: their parameters, and the table of pixels that they write."""

from __future__ import annotations

import numpy as np
from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsField,
    QgsFields,
    QgsProcessingAlgorithm,
    QgsProcessingParameterBoolean,
    QgsProcessingParameterFeatureSink,
    QgsWkbTypes,
)
from qgis.PyQt.QtCore import QMetaType

from ..engine import sidecar
from ..engine.progress import Progress
from ..engine.settings import SEED as SEED_ROW
from ..engine.settings import Number
from .blocks import add_grid
from .parameters import number, set_advanced
from .running import add_threads, read_threads
from .sinks import output_table
from .tables import SYSTEM_INDEX

SEED, DROP_NULLS, GEOMETRIES, MIN_DISTANCE = "SEED", "DROP_NULLS", "GEOMETRIES", "MIN_DISTANCE"
OUTPUT = "OUTPUT"
WRITTEN_AT_ONCE = 2**13  # rows


def add_drawing(algorithm: QgsProcessingAlgorithm) -> None:
    """Add the parameters about which pixels are drawn, and the output."""
    label = algorithm.tr("Least distance between points, in units of the grid's CRS")
    algorithm.addParameter(number(Number("min_distance", "", None, minimum=0), label))
    label = algorithm.tr("Leave out pixels that are masked in any band")
    algorithm.addParameter(QgsProcessingParameterBoolean(DROP_NULLS, label, defaultValue=True))
    label = algorithm.tr("Points at the pixel centres")
    algorithm.addParameter(QgsProcessingParameterBoolean(GEOMETRIES, label, defaultValue=True))
    algorithm.addParameter(set_advanced(number(SEED_ROW, algorithm.tr(SEED_ROW.label))))
    add_grid(algorithm)
    add_threads(algorithm)
    algorithm.addParameter(QgsProcessingParameterFeatureSink(OUTPUT, algorithm.tr("Samples")))


def read_drawing(algorithm: QgsProcessingAlgorithm, parameters: dict, context) -> dict:
    """Return the parameters about which pixels are drawn, by the engine's keywords."""
    return {
        "seed": algorithm.parameterAsInt(parameters, SEED, context),
        "drop_nulls": algorithm.parameterAsBoolean(parameters, DROP_NULLS, context),
        "min_distance": optional_number(algorithm, parameters, MIN_DISTANCE, context) or 0.0,
        "threads": read_threads(algorithm, parameters, context),
    }


def optional_number(algorithm: QgsProcessingAlgorithm, parameters: dict, name: str, context) -> float | None:
    """Return a number that may be left out.

    Also for large whole numbers, which Processing's ``parameterAsInt`` turns into 0.
    """
    return None if parameters.get(name) is None else algorithm.parameterAsDouble(parameters, name, context)


def write_pixels(
    algorithm: QgsProcessingAlgorithm,
    parameters: dict,
    context,
    image,
    pixels,
    notes: sidecar.Notes,
    progress: Progress,
) -> str:
    """Write a row for each of *pixels* (`PixelSample`): system_index, then the bands; return the output."""
    fields = _fields(image, notes.class_property)
    crs = QgsCoordinateReferenceSystem.fromWkt(image.grid.crs_wkt)
    with_points = algorithm.parameterAsBoolean(parameters, GEOMETRIES, context)
    kind = QgsWkbTypes.Type.Point if with_points else QgsWkbTypes.Type.NoGeometry
    with output_table(algorithm, parameters, OUTPUT, context, fields, kind, crs) as table:
        total = len(pixels.row)
        for start in range(0, total, WRITTEN_AT_ONCE):
            progress(start, total)
            part = slice(start, min(start + WRITTEN_AT_ONCE, total))
            index = [str(position) for position in range(part.start, part.stop)]
            places = np.column_stack((pixels.x[part], pixels.y[part])) if with_points else None
            table.add_columns([index, *pixels.values[part].T], places)
    table.write_notes(notes, fields.names(), context, progress)
    return table.output


def _fields(image, class_band: str | None) -> QgsFields:
    fields = QgsFields()
    fields.append(QgsField(SYSTEM_INDEX[0], QMetaType.Type.QString))
    whole = QMetaType.Type.LongLong if image.sample_type().itemsize > 4 else QMetaType.Type.Int
    for name, integer in zip(image.band_names, image.integer):
        fields.append(QgsField(name, whole if integer or name == class_band else QMetaType.Type.Double))
    return fields
