"""Parameter blocks about a run: **limits**, **execution**, the model file, the report."""

from __future__ import annotations

from typing import NamedTuple

from qgis.core import (
    QgsProcessingAlgorithm,
    QgsProcessingParameterBoolean,
    QgsProcessingParameterFile,
    QgsProcessingParameterFileDestination,
    QgsProcessingParameterString,
)

from ..engine import limits
from ..engine.errors import ModelFileError
from ..engine.progress import Progress
from ..engine.settings import Number
from . import settings
from .parameters import choice, number, set_advanced

LIMITS, MODEL, REPORT = "LIMITS", "MODEL", "OUTPUT_HTML_FILE"
THREADS, TILE_SIZE, MEMORY_LIMIT = "THREADS", "TILE_SIZE", "MEMORY_LIMIT"
SCHEDULER, RESUME = "SCHEDULER", "RESUME"


class Execution(NamedTuple):
    threads: int
    tile_size: int
    memory_limit: int
    scheduler: str
    resume: bool


def add_limits(algorithm: QgsProcessingAlgorithm) -> None:
    label = algorithm.tr("When a cap of Earth Engine is passed")
    algorithm.addParameter(set_advanced(choice(LIMITS, label, list(limits.POLICIES), settings.limits_policy())))


def read_limits(algorithm: QgsProcessingAlgorithm, parameters: dict, context) -> str:
    return algorithm.parameterAsEnumString(parameters, LIMITS, context)


def add_threads(algorithm: QgsProcessingAlgorithm) -> None:
    row = Number("threads", "", settings.THREADS.value(), minimum=0, maximum=1024, integer=True)
    algorithm.addParameter(set_advanced(number(row, algorithm.tr("Threads (0 = all cores)"))))


def read_threads(algorithm: QgsProcessingAlgorithm, parameters: dict, context) -> int:
    return algorithm.parameterAsInt(parameters, THREADS, context)


def add_execution(algorithm: QgsProcessingAlgorithm) -> None:
    add_threads(algorithm)
    tile = Number("tile_size", "", settings.TILE_SIZE.value(), minimum=16, maximum=16_384, integer=True)
    algorithm.addParameter(set_advanced(number(tile, algorithm.tr("Side of a tile in pixels"))))
    memory = Number("memory_limit", "", settings.MEMORY_LIMIT.value(), minimum=512, integer=True)
    algorithm.addParameter(set_advanced(number(memory, algorithm.tr("Memory for the whole run in MB"))))
    label = algorithm.tr("Dask scheduler, tcp://host:port (empty = this machine)")
    algorithm.addParameter(set_advanced(QgsProcessingParameterString(SCHEDULER, label, optional=True)))
    label = algorithm.tr("Continue an interrupted run, and keep its finished tiles if it is interrupted again")
    algorithm.addParameter(set_advanced(QgsProcessingParameterBoolean(RESUME, label, defaultValue=False)))


def read_execution(algorithm: QgsProcessingAlgorithm, parameters: dict, context) -> Execution:
    return Execution(
        read_threads(algorithm, parameters, context),
        algorithm.parameterAsInt(parameters, TILE_SIZE, context),
        algorithm.parameterAsInt(parameters, MEMORY_LIMIT, context),
        algorithm.parameterAsString(parameters, SCHEDULER, context).strip(),
        algorithm.parameterAsBoolean(parameters, RESUME, context),
    )


def add_model(algorithm: QgsProcessingAlgorithm) -> None:
    algorithm.addParameter(QgsProcessingParameterFile(MODEL, algorithm.tr("Model"), extension="rasterml"))


def check_model(algorithm: QgsProcessingAlgorithm, parameters: dict, context) -> None:
    """Raise for a wrong extension, which Processing's own check refuses without a reason."""
    path = algorithm.parameterAsFile(parameters, MODEL, context)
    if path and not path.lower().endswith(".rasterml"):
        raise ModelFileError(f"{path} is not a model file: choose one that ends in .rasterml.")


def read_model(algorithm: QgsProcessingAlgorithm, parameters: dict, context, progress: Progress):
    from ..engine.models import load_model

    return load_model(algorithm.parameterAsFile(parameters, MODEL, context), progress)


def read_model_for(algorithm: QgsProcessingAlgorithm, parameters: dict, context, clusters: bool, progress: Progress):
    """Return the model; raise `ModelFileError` where a clusterer is asked to classify, or a classifier to cluster."""
    model = read_model(algorithm, parameters, context, progress)
    if model.learner.clusters != clusters:
        kind, way = ("classifier", "Classify") if clusters else ("clusterer", "Cluster")
        path = algorithm.parameterAsFile(parameters, MODEL, context)
        raise ModelFileError(f"{path} is a {kind} ({model.learner.twin}): use {way} or {way} table.")
    return model


def save_within_limits(model, path: str, policy: str, progress: Progress) -> limits.Gauge:
    """Save *model* under its name only when the limits allow it; return its gauge."""
    from ..engine.files import check_target, remove, temporary_name
    from ..engine.models import save_model

    check_target(path)
    temporary = temporary_name(path)
    try:
        size = save_model(model, temporary)
        gauge = limits.model_gauge(size, model.settings, limits.leaves_per_tree(model.arrays))
        if gauge.state == limits.OK or policy == limits.IGNORE:
            progress.message(limits.sentence(gauge))
        limits.obey(gauge, policy, progress)
        temporary.replace(path)
    finally:
        remove(temporary)
    return gauge


def add_report(algorithm: QgsProcessingAlgorithm, label: str = "Report") -> None:
    algorithm.addParameter(
        QgsProcessingParameterFileDestination(
            REPORT, algorithm.tr(label), "HTML (*.html)", optional=True, createByDefault=False
        )
    )


def read_report(algorithm: QgsProcessingAlgorithm, parameters: dict, context) -> str:
    """Return the path of the report, "" when none is wanted."""
    return algorithm.parameterAsFileOutput(parameters, REPORT, context) if parameters.get(REPORT) else ""
