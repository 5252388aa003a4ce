"""The parameter block **training**: tables of samples, their class field and predictors."""

from __future__ import annotations

from typing import Sequence

import numpy as np
from qgis.core import (
    QgsProcessing,
    QgsProcessingAlgorithm,
    QgsProcessingParameterField,
    QgsProcessingParameterMultipleLayers,
    QgsVectorLayer,
)

from ..engine.classes import LandClass
from ..engine.errors import TableError
from ..engine.limits import Gauge, training_gauge
from ..engine.progress import Part, Progress
from ..engine.settings import SEED, Number
from .parameters import number, set_advanced
from .tables import (
    SYSTEM_INDEX,
    Source,
    field_named,
    full_to_stored,
    known_classes,
    load_style,
    numbers,
    open_source,
    predictors_of,
    read_columns,
)

TRAINING, CLASS_PROPERTY, INPUT_PROPERTIES = "TRAINING", "CLASS_PROPERTY", "INPUT_PROPERTIES"
SUBSAMPLING, SUBSAMPLING_SEED = "SUBSAMPLING", "SUBSAMPLING_SEED"


def add_training(algorithm: QgsProcessingAlgorithm, with_class: bool = True) -> None:
    algorithm.addParameter(
        QgsProcessingParameterMultipleLayers(
            TRAINING, algorithm.tr("Training samples"), QgsProcessing.SourceType.TypeVector
        )
    )
    if with_class:
        algorithm.addParameter(
            QgsProcessingParameterField(CLASS_PROPERTY, algorithm.tr("Class field"), parentLayerParameterName=TRAINING)
        )
    algorithm.addParameter(
        QgsProcessingParameterField(
            INPUT_PROPERTIES,
            algorithm.tr("Predictors (empty = the numeric fields right of system_index)"),
            parentLayerParameterName=TRAINING,
            allowMultiple=True,
            optional=True,
        )
    )
    share = Number("subsampling", "", 1.0, minimum=0, maximum=1)
    algorithm.addParameter(set_advanced(number(share, algorithm.tr("Share of the samples used"))))
    seed = Number("subsampling_seed", "", 0, integer=True, minimum=0, maximum=SEED.maximum)
    algorithm.addParameter(set_advanced(number(seed, algorithm.tr("Seed of that share"))))


def check_training(algorithm: QgsProcessingAlgorithm, parameters: dict, context) -> None:
    """Raise `TableError` for fields that are not there; Processing's own check lets them pass."""
    class_property = _class_property(algorithm, parameters, context)
    chosen = algorithm.parameterAsStrings(parameters, INPUT_PROPERTIES, context)
    for layer in _layers(algorithm, parameters, context):
        for name in ([class_property] if class_property else []) + chosen:
            field_named(layer.fields(), name, layer.name())
    if class_property and class_property.lower() in (name.lower() for name in chosen):
        raise TableError(
            f"The class field {class_property!r} is among the predictors: take it out of INPUT_PROPERTIES."
        )


def prepare_training(algorithm: QgsProcessingAlgorithm, parameters: dict, context) -> None:
    """Open the tables in the main thread; `read_samples` reads them in the algorithm's own."""
    layers = _layers(algorithm, parameters, context)
    given = parameters.get(TRAINING)
    if not layers or (isinstance(given, (list, tuple)) and len(layers) < len(given)):
        raise TableError(f"TRAINING {given} names a table that cannot be read: check the paths.")
    class_property = _class_property(algorithm, parameters, context)
    for layer in layers:
        load_style(layer, context)
    algorithm.sources = [open_source(layer) for layer in layers]
    algorithm.known_classes = known_classes(layers, class_property) if class_property else ()


def read_samples(algorithm: QgsProcessingAlgorithm, parameters: dict, context, mode: str, progress: Progress):
    """Return the accumulated `engine.training.Samples` and the training gauge of each table."""
    from ..engine.training import collect

    class_property = _class_property(algorithm, parameters, context)
    chosen = algorithm.parameterAsStrings(parameters, INPUT_PROPERTIES, context)
    sources: Sequence[Source] = algorithm.sources
    predictors = [_full_name(sources[0], name) for name in chosen or _predictors(sources[0], class_property, progress)]
    progress.message(f"Predictors: {', '.join(predictors)}")
    tables = []
    for step, source in enumerate(sources):
        part = Part(progress, step / len(sources), (step + 1) / len(sources))
        tables.append(_table(source, predictors, class_property, part))
    share = algorithm.parameterAsDouble(parameters, SUBSAMPLING, context)
    seed = algorithm.parameterAsInt(parameters, SUBSAMPLING_SEED, context)
    known: Sequence[LandClass] = algorithm.known_classes
    samples = collect(tables, predictors, class_property, mode, known, share, seed, progress)
    gauges: list[Gauge] = [
        training_gauge(round(len(table.features) * share), len(predictors), table.name, share) for table in tables
    ]
    return samples, gauges


def _class_property(algorithm: QgsProcessingAlgorithm, parameters: dict, context) -> str:
    """Return the class field, "" for an algorithm without one: a clusterer."""
    if algorithm.parameterDefinition(CLASS_PROPERTY) is None:
        return ""
    return algorithm.parameterAsString(parameters, CLASS_PROPERTY, context)


def _layers(algorithm: QgsProcessingAlgorithm, parameters: dict, context) -> list[QgsVectorLayer]:
    layers = algorithm.parameterAsLayerList(parameters, TRAINING, context)
    return [layer for layer in layers if isinstance(layer, QgsVectorLayer)]


def _predictors(source: Source, class_property: str, progress: Progress) -> list[str]:
    names = predictors_of(source, class_property, progress)
    if not names:
        but = " but the class" if class_property else ""
        raise TableError(
            f"Table {source.name!r} has no numeric field{but}: choose the predictors with INPUT_PROPERTIES."
        )
    return names


def _full_name(source: Source, name: str) -> str:
    """Return the whole name of a field that a Shapefile cut to ten characters."""
    return source.notes.fields.get(name, name) if source.notes else name


def _table(source: Source, predictors: Sequence[str], class_property: str, progress: Progress):
    from ..engine.training import Table

    stored = full_to_stored(source)
    names = [field_named(source.fields, stored.get(name, name), source.name) for name in predictors]
    index = next((field.name() for field in source.fields if field.name().lower() in SYSTEM_INDEX), None)
    others = [field_named(source.fields, class_property, source.name)] if class_property else []
    columns = read_columns(source, [*names, *others, *([index] if index else [])], progress, places=True)
    if not columns.ids:
        raise TableError(f"Table {source.name!r} has no rows: choose another one.")
    features = np.column_stack([numbers(columns.values[name], columns.ids, name, source.name) for name in names])
    regions = [str(value).rpartition("_")[0] for value in columns.values[index]] if index else None
    if not others:
        return Table(source.name, features, None, columns.places, regions)
    [label] = others
    labels = columns.values[label]
    for value, feature in zip(labels, columns.ids):
        if value is None or value == "" or value != value:
            raise TableError(
                f"Property '{label}' of feature '{feature}' in {source.name!r} is missing: fill it or remove the row."
            )
    return Table(source.name, features, list(labels), columns.places, regions)
