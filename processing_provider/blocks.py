"""Groups of parameters that several algorithms share: **image** and **grid**."""

from __future__ import annotations

from typing import Any, Iterator

from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsProcessing,
    QgsProcessingAlgorithm,
    QgsProcessingParameterCrs,
    QgsProcessingParameterMultipleLayers,
    QgsProcessingParameterString,
    QgsProcessingUtils,
)

from ..engine.errors import RasterError, SettingError
from ..engine.progress import Progress
from ..engine.settings import Number
from .parameters import choice, number, set_advanced

INPUT, BANDS, BAND_NAMES, RESAMPLING = "INPUT", "BANDS", "BAND_NAMES", "RESAMPLING"
RESAMPLINGS = ["nearest", "bilinear", "cubic", "average"]
PROJECTION, SCALE = "PROJECTION", "SCALE"


def add_image(algorithm: QgsProcessingAlgorithm) -> None:
    rasters = QgsProcessing.SourceType.TypeRaster
    algorithm.addParameter(QgsProcessingParameterMultipleLayers(INPUT, algorithm.tr("Image layers"), rasters))
    label = algorithm.tr("Bands, in the order wanted (empty = all)")
    algorithm.addParameter(QgsProcessingParameterString(BANDS, label, optional=True))
    label = algorithm.tr("New names for all bands, comma-separated")
    algorithm.addParameter(set_advanced(QgsProcessingParameterString(BAND_NAMES, label, optional=True)))
    label = algorithm.tr("Resampling of layers on another grid")
    algorithm.addParameter(set_advanced(choice(RESAMPLING, label, RESAMPLINGS, RESAMPLINGS[0])))


def prepare_image(algorithm: QgsProcessingAlgorithm, parameters: dict, context) -> None:
    """Look the layers up in the main thread; `read_image` and `read_grid` open their files in the algorithm's own."""
    algorithm.image_paths = raster_paths(algorithm, parameters, context)


def read_image(algorithm: QgsProcessingAlgorithm, parameters: dict, context, progress: Progress, grid=None):
    """Return the `engine.images.Image` of the block, on *grid* when given; the log gets its table of bands."""
    from ..engine.images import Image

    image = Image(
        algorithm.image_paths,
        bands=algorithm.parameterAsString(parameters, BANDS, context),
        band_names=algorithm.parameterAsString(parameters, BAND_NAMES, context),
        resampling=algorithm.parameterAsEnumString(parameters, RESAMPLING, context) or RESAMPLINGS[0],
        grid=grid,
    )
    for line in image.table():
        progress.message(line)
    return image


def raster_paths(algorithm: QgsProcessingAlgorithm, parameters: dict, context, name: str = INPUT) -> list[str]:
    """Return what GDAL opens for each raster of a parameter, in order; raises `RasterError`."""
    for value in _flat(parameters.get(name)):
        if isinstance(value, str) and QgsProcessingUtils.mapLayerFromString(value, context) is None:
            raise RasterError(f"{name} {value} cannot be opened as a raster: check the path and the file.")
    layers = algorithm.parameterAsLayerList(parameters, name, context)
    if not layers:
        raise RasterError(f"{name} has no raster: choose at least one.")
    for layer in layers:
        if layer.providerType() != "gdal":
            raise RasterError(f"Layer {layer.name()!r} is no raster file: export it as GeoTIFF first.")
    return [layer.source().split("|")[0] for layer in layers]  # QGIS appends opening options after a bar


def add_grid(algorithm: QgsProcessingAlgorithm) -> None:
    label = algorithm.tr("CRS of the grid (empty = the first raster's)")
    algorithm.addParameter(set_advanced(QgsProcessingParameterCrs(PROJECTION, label, optional=True)))
    scale = Number("scale", "", None, minimum=0)
    label = algorithm.tr("Pixel size in units of that CRS (empty = the first raster's)")
    algorithm.addParameter(set_advanced(number(scale, label)))


def read_grid(algorithm: QgsProcessingAlgorithm, parameters: dict, context):
    """Return the `engine.images.Grid` that the block asks for, or None for that of the first raster."""
    from ..engine.images import grid_for

    crs: QgsCoordinateReferenceSystem = algorithm.parameterAsCrs(parameters, PROJECTION, context)
    if parameters.get(PROJECTION) and not crs.isValid():
        raise SettingError(f"PROJECTION {parameters[PROJECTION]} is no known CRS: give one such as EPSG:32633.")
    scale = None if parameters.get(SCALE) is None else algorithm.parameterAsDouble(parameters, SCALE, context)
    if not crs.isValid() and scale is None:
        return None
    wkt = crs.toWkt(QgsCoordinateReferenceSystem.WktVariant.WKT_PREFERRED_GDAL) if crs.isValid() else None
    return grid_for(algorithm.image_paths[0], wkt, scale)


def _flat(value: Any) -> Iterator[Any]:
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from _flat(item)
    else:
        yield value
