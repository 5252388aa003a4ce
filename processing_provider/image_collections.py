"""The parameter block of image collections: which images, at what times, and which of their bands are X and Y."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from qgis.core import (
    Qgis,
    QgsDateTimeRange,
    QgsProcessing,
    QgsProcessingAlgorithm,
    QgsProcessingParameterBoolean,
    QgsProcessingParameterMultipleLayers,
    QgsProcessingParameterString,
    QgsRasterLayer,
)

from ..engine.dates import decimal_year
from ..engine.progress import Progress
from ..engine.reducers import Reducer
from ..engine.settings import Number
from .blocks import BAND_NAMES, INPUT, RESAMPLING, RESAMPLINGS, raster_paths
from .parameters import choice, number, set_advanced

BANDS_ARE_IMAGES, TIMES, X, Y = "BANDS_ARE_IMAGES", "TIMES", "X", "Y"
HARMONICS, MIN_OBSERVATIONS = "HARMONICS", "MIN_OBSERVATIONS"


class Variables(NamedTuple):
    """The names of X and Y as the parameters give them, defaults filled in; an empty Y is the first band."""

    x: list[str]
    y: list[str]


def add_collection(algorithm: QgsProcessingAlgorithm, reducer: Reducer) -> None:
    rasters = QgsProcessing.SourceType.TypeRaster
    algorithm.addParameter(QgsProcessingParameterMultipleLayers(INPUT, algorithm.tr("Images"), rasters))
    label = algorithm.tr("The bands of one raster are the images")
    algorithm.addParameter(QgsProcessingParameterBoolean(BANDS_ARE_IMAGES, label, defaultValue=False))
    label = algorithm.tr("Times: a number or date for each image, comma-separated (empty = from the layers)")
    algorithm.addParameter(QgsProcessingParameterString(TIMES, label, optional=True))
    label = algorithm.tr("X: bands, constant, time, order, cos_1, sin_1, ...")
    default = ",".join(reducer.default_x)
    algorithm.addParameter(QgsProcessingParameterString(X, label, defaultValue=default, optional=True))
    label = algorithm.tr("Y: bands (empty = the first)")
    algorithm.addParameter(QgsProcessingParameterString(Y, label, optional=True))
    if not reducer.pair:
        cycles = Number("harmonics", "", None, minimum=0, maximum=100, integer=True)
        label = algorithm.tr("Harmonics: add cos and sin of up to so many cycles a year to X")
        algorithm.addParameter(number(cycles, label))
    least = Number("min_observations", "", None, minimum=1, integer=True)
    label = algorithm.tr("Least number of valid images of a pixel (empty = what is needed)")
    algorithm.addParameter(number(least, label))
    label = algorithm.tr("New names for the bands of each image, comma-separated")
    algorithm.addParameter(set_advanced(QgsProcessingParameterString(BAND_NAMES, label, optional=True)))
    label = algorithm.tr("Resampling of images on another grid than the first")
    algorithm.addParameter(set_advanced(choice(RESAMPLING, label, RESAMPLINGS, RESAMPLINGS[0])))


def check_collection(algorithm: QgsProcessingAlgorithm, parameters: dict, context, reducer: Reducer) -> None:
    """Raise an `EngineError` when the images or variables cannot work."""
    raster_paths(algorithm, parameters, context)
    variables = read_variables(algorithm, parameters, context, reducer)
    reducer.check_variables(variables.x, variables.y or ["the first band"])


def prepare_collection(algorithm: QgsProcessingAlgorithm, parameters: dict, context) -> None:
    """Read the layers in the main thread: their files, names and temporal ranges."""
    algorithm.image_paths = raster_paths(algorithm, parameters, context)
    layers = algorithm.parameterAsLayerList(parameters, INPUT, context)
    algorithm.layer_names = [layer.name() for layer in layers]
    algorithm.layer_times = [_range_begin(layer) for layer in layers]
    algorithm.band_times = _band_range_begins(layers[0])


def read_collection(algorithm: QgsProcessingAlgorithm, parameters: dict, context, progress: Progress):
    """Return the `engine.image_collection.ImageCollection` and the time of each image; the log gets both."""
    from ..engine.dates import image_times
    from ..engine.image_collection import open_bands, open_collection

    names = algorithm.parameterAsString(parameters, BAND_NAMES, context)
    if algorithm.parameterAsBoolean(parameters, BANDS_ARE_IMAGES, context):
        collection = open_bands(algorithm.image_paths, names)
        ranges = [algorithm.band_times.get(band) for band in range(1, len(collection) + 1)]
        texts = collection.texts
    else:
        resampling = algorithm.parameterAsEnumString(parameters, RESAMPLING, context) or RESAMPLINGS[0]
        collection = open_collection(algorithm.image_paths, names, resampling)
        ranges = algorithm.layer_times
        texts = [[("layer name", name), *each] for name, each in zip(algorithm.layer_names, collection.texts)]
    progress.message(f"Bands of each image: {', '.join(collection.band_names)}.")
    times = image_times(algorithm.parameterAsString(parameters, TIMES, context), ranges, texts)
    for position, (time, candidates) in enumerate(zip(times, texts), 1):
        name = next((text for _, text in candidates if text), "no name")
        progress.message(f"image {position} ({name}): time {time.time:.10g} from {time.source}")
    return collection, [time.time for time in times]


def read_variables(algorithm: QgsProcessingAlgorithm, parameters: dict, context, reducer: Reducer) -> Variables:
    from ..engine.image_collection import harmonics

    x = _split(algorithm.parameterAsString(parameters, X, context)) or list(reducer.default_x)
    if not reducer.pair and parameters.get(HARMONICS) is not None:
        x += [name for name in harmonics(algorithm.parameterAsInt(parameters, HARMONICS, context)) if name not in x]
    return Variables(x, _split(algorithm.parameterAsString(parameters, Y, context)))


def read_min_observations(algorithm: QgsProcessingAlgorithm, parameters: dict, context) -> int | None:
    given = parameters.get(MIN_OBSERVATIONS) is not None
    return algorithm.parameterAsInt(parameters, MIN_OBSERVATIONS, context) if given else None


def _range_begin(layer: QgsRasterLayer) -> float | None:
    """Return when the layer's fixed temporal range begins, as decimal year; None when it has none."""
    properties = layer.temporalProperties()
    fixed = Qgis.RasterTemporalMode.FixedTemporalRange
    if not properties.isActive() or properties.mode() != fixed:
        return None
    return _begin(properties.fixedTemporalRange())


def _band_range_begins(layer: QgsRasterLayer) -> dict[int, float | None]:
    """Return the same for each band, where the layer has a temporal range for each."""
    properties = layer.temporalProperties()
    if not properties.isActive() or properties.mode() != Qgis.RasterTemporalMode.FixedRangePerBand:
        return {}
    return {band: _begin(range_) for band, range_ in properties.fixedRangePerBand().items()}


def _begin(range_: QgsDateTimeRange) -> float | None:
    begin = range_.begin()
    if not begin.isValid():
        return None
    day, time = begin.date(), begin.time()
    return decimal_year(datetime(day.year(), day.month(), day.day(), time.hour(), time.minute(), time.second()))


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
