"""Geometries of a layer in the CRS of a grid, and the optional parameter REGION."""

from __future__ import annotations

import math

from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransform,
    QgsCsException,
    QgsFeature,
    QgsFeatureRequest,
    QgsProcessing,
    QgsProcessingAlgorithm,
    QgsProcessingFeatureSource,
    QgsProcessingParameterFeatureSource,
)

from ..engine.errors import TableError
from ..engine.progress import Progress
from .tables import CHECK_EVERY

REGION = "REGION"


def add_region(algorithm: QgsProcessingAlgorithm) -> None:
    label = algorithm.tr("Region (empty = the whole image)")
    polygons = [QgsProcessing.SourceType.TypeVectorPolygon]
    algorithm.addParameter(QgsProcessingParameterFeatureSource(REGION, label, polygons, optional=True))


def check_region(algorithm: QgsProcessingAlgorithm, parameters: dict, context) -> None:
    """Raise `TableError` for a region that cannot be read or has no features."""
    if not parameters.get(REGION):
        return
    source = algorithm.parameterAsSource(parameters, REGION, context)
    if source is None:
        raise TableError(f"REGION {parameters[REGION]} cannot be read as a layer: check the path.")
    if source.featureCount() == 0:
        raise TableError(f"REGION {source.sourceName()!r} has no features: choose a layer with a polygon.")


def read_region(algorithm: QgsProcessingAlgorithm, parameters: dict, context, grid, progress: Progress):
    """Return REGION's geometries as well-known binary in the CRS of *grid*, or None when it is not given."""
    if not parameters.get(REGION):
        return None
    source = algorithm.parameterAsSource(parameters, REGION, context)
    transform = transform_to(source, QgsCoordinateReferenceSystem.fromWkt(grid.crs_wkt), context, progress)
    flags = QgsProcessingFeatureSource.Flag.FlagSkipGeometryValidityChecks
    found = []
    for done, feature in enumerate(source.getFeatures(QgsFeatureRequest().setNoAttributes(), flags)):
        if done % CHECK_EVERY == 0:
            progress.check()
        found.append(placed(feature, transform))
    return found


def transform_to(
    source: QgsProcessingFeatureSource, crs: QgsCoordinateReferenceSystem, context, progress: Progress
) -> QgsCoordinateTransform:
    """Return the project's transform from the CRS of *source*; where one is unknown it changes nothing, and says so."""
    if not source.sourceCrs().isValid() or not crs.isValid():
        which = "image" if source.sourceCrs().isValid() else "layer of regions"
        progress.warn(f"The {which} has no CRS: the coordinates of the regions are taken as they are.")
    return QgsCoordinateTransform(source.sourceCrs(), crs, context.transformContext())


def placed(feature: QgsFeature, transform: QgsCoordinateTransform) -> bytes | None:
    """Return the transformed geometry as well-known binary, None when there is none; raises `TableError`."""
    geometry = feature.geometry()
    if geometry.isNull() or geometry.isEmpty():
        return None
    if not transform.isShortCircuited():
        try:
            geometry.transform(transform)
        except QgsCsException as error:
            raise _unplaced(feature, transform) from error
    box = geometry.boundingBox()
    if not math.isfinite(box.xMinimum() + box.xMaximum() + box.yMinimum() + box.yMaximum()):
        raise _unplaced(feature, transform)
    return bytes(geometry.asWkb())


def _unplaced(feature: QgsFeature, transform: QgsCoordinateTransform) -> TableError:
    crs = transform.destinationCrs()
    return TableError(
        f"Feature {feature.id()} cannot be brought into the CRS of the image ({crs.userFriendlyIdentifier()}): "
        f"check its coordinates and the CRS of its layer."
    )
