"""The algorithm ``randompoints``: points at random in polygons, on lines or among points."""

from __future__ import annotations

import math
from typing import Any, Iterator, Sequence

import numpy as np
from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransform,
    QgsCsException,
    QgsDistanceArea,
    QgsField,
    QgsFields,
    QgsGeometry,
    QgsLineString,
    QgsPoint,
    QgsPointXY,
    QgsProcessing,
    QgsProcessingFeatureSource,
    QgsProcessingOutputNumber,
    QgsProcessingParameterFeatureSink,
    QgsProcessingParameterFeatureSource,
    QgsProcessingParameterNumber,
    QgsWkbTypes,
)
from qgis.PyQt.QtCore import QMetaType

from ...engine.errors import SettingError, TableError
from ...engine.progress import Part, Progress
from ...engine.settings import SEED, Number
from ..base import RasterMlAlgorithm
from ..parameters import number, set_advanced
from ..rows import batches, source_layer
from ..sinks import check_table, output_table
from ..tables import SYSTEM_INDEX

MOST_POINTS = 10_000_000
ROWS_AT_ONCE = 100_000
MARGIN = 0.01  # of a box on the globe, beyond what the transformation of its edges gives
PIECES = 500  # a line is cut so that none is longer than this part of the region: its scale hardly changes
ELLIPSOID = "EPSG:7030"  # WGS 84
POLYGON, LINE = QgsWkbTypes.GeometryType.PolygonGeometry, QgsWkbTypes.GeometryType.LineGeometry
MEASURES = (POLYGON, LINE, QgsWkbTypes.GeometryType.PointGeometry)  # the highest dimension first


class RandomPoints(RasterMlAlgorithm):
    """Take the parts of the highest dimension, draw places in them, write the points."""

    NAME, TITLE, GROUP = "randompoints", "Random points", "sampling"
    TWIN = "ee.FeatureCollection.randomPoints"
    HELP = (
        "<p>Puts exactly the number of points wanted into a region. In polygons they are spread evenly over the "
        "Earth's surface, whatever the layer's CRS does to areas (areas that overlap count once); along lines by "
        "their length on the ellipsoid; points are drawn from the region's own points, each as likely as the others, "
        "again and again. Where the region has several kinds, polygons go before lines and lines before points.</p>"
        "<p>The points are in the CRS of the region; their only attribute is <i>system_index</i>, from 0. A region "
        "without CRS is taken as a plane.</p>"
        "<p>With a minimum distance (metres on the ellipsoid, or units of a layer without CRS) a point that is too "
        "near to an earlier one is drawn anew; the run stops when 10,000 in a row found no room. The same seed gives "
        "the same points, and more points begin with those of fewer.</p>"
    )
    REGION, POINTS, MIN_DISTANCE, OUTPUT = "REGION", "POINTS", "MIN_DISTANCE", "OUTPUT"

    def initAlgorithm(self, configuration=None) -> None:
        places = [QgsProcessing.SourceType.TypeVectorAnyGeometry]
        self.addParameter(QgsProcessingParameterFeatureSource(self.REGION, self.tr("Region"), places))
        kind = QgsProcessingParameterNumber.Type.Integer
        self.addParameter(
            QgsProcessingParameterNumber(self.POINTS, self.tr("Number of points"), type=kind, defaultValue=1000)
        )
        distance = Number("min_distance", "", None)
        self.addParameter(number(distance, self.tr("Minimum distance between points in metres")))
        self.addParameter(set_advanced(number(SEED, self.tr(SEED.label))))
        self.addParameter(QgsProcessingParameterFeatureSink(self.OUTPUT, self.tr("Random points")))
        self.addOutput(QgsProcessingOutputNumber("COUNT", self.tr("Number of points")))

    def check(self, parameters: dict, context) -> None:
        layer = source_layer(self, parameters, context, self.REGION)
        wanted = self.parameterAsDouble(parameters, self.POINTS, context)  # a whole number may be too large for Qt
        if not 1 <= wanted <= MOST_POINTS:
            raise SettingError(f"POINTS is {wanted:.0f}: choose from 1 to {MOST_POINTS:,}.")
        distance = self._distance(parameters, context)
        if not 0 <= distance < math.inf:
            raise SettingError(f"MIN_DISTANCE is {distance:g}: give 0 or more metres.")
        check_table(parameters, self.OUTPUT, context, [layer.source().split("|")[0]])

    def compute(self, parameters: dict, context, progress: Progress) -> dict[str, Any]:
        from ...engine.scattering import Spacing, scattered

        source = self.parameterAsSource(parameters, self.REGION, context)
        if not source.sourceCrs().isValid():
            progress.warn(f"{source.sourceName()} has no CRS: its coordinates are taken as those of a plane.")
        ground = Ground(source.sourceCrs(), context)
        draw = _draw(_parts(source, Part(progress, 0, 0.1)), ground, source.sourceName())
        distance = self._distance(parameters, context)
        places = scattered(
            draw,
            self.parameterAsInt(parameters, self.POINTS, context),
            self.parameterAsInt(parameters, SEED.name.upper(), context),
            Spacing(distance, ground.positions, ground.length) if distance else None,
            Part(progress, 0.1, 0.7),
        )
        fields, kind = QgsFields(), QgsWkbTypes.Type.Point
        fields.append(QgsField(SYSTEM_INDEX[0], QMetaType.Type.QString))
        with output_table(self, parameters, self.OUTPUT, context, fields, kind, source.sourceCrs()) as table:
            for start in range(0, len(places), ROWS_AT_ONCE):
                progress(0.7 * len(places) + 0.3 * start, len(places))
                part = places[start : start + ROWS_AT_ONCE]
                table.add_columns([[str(index) for index in range(start, start + len(part))]], part)
        return {self.OUTPUT: table.output, "COUNT": len(places)}

    def _distance(self, parameters: dict, context) -> float:
        given = parameters.get(self.MIN_DISTANCE) is not None  # an optional number that is not given may read as any
        return self.parameterAsDouble(parameters, self.MIN_DISTANCE, context) if given else 0.0


class Ground:
    """Where the coordinates of a layer are on the Earth; without a CRS it is a plane."""

    def __init__(self, crs: QgsCoordinateReferenceSystem, context) -> None:
        self.globe = crs.isValid()
        degrees = QgsCoordinateReferenceSystem("EPSG:4326") if self.globe else crs
        self._to_degrees = QgsCoordinateTransform(crs, degrees, context.transformContext())
        self._from_degrees = QgsCoordinateTransform(degrees, crs, context.transformContext())
        self._ruler = QgsDistanceArea()
        if self.globe:
            self._ruler.setSourceCrs(crs, context.transformContext())
            self._ruler.setEllipsoid(ELLIPSOID)

    def length(self, start: Sequence[float], end: Sequence[float]) -> float:
        """Return the distance of two places: metres on the ellipsoid, or the plane's units."""
        return self._ruler.measureLine(QgsPointXY(*start), QgsPointXY(*end))

    def positions(self, places: np.ndarray) -> np.ndarray:
        """Return positions in space (n, 3) of places (n, 2) of the layer."""
        from ...engine.scattering import geocentric

        if self.globe:
            return geocentric(_moved(places, self._to_degrees))
        return np.column_stack([places, np.zeros(len(places))])

    def box(self, geometry: QgsGeometry) -> tuple[float, float, float, float]:
        """Return a box in degrees (or the plane's units) around *geometry*: west, south, east, north."""
        box = geometry.boundingBox()
        if not self.globe:
            return box.xMinimum(), box.yMinimum(), box.xMaximum(), box.yMaximum()
        box = self._to_degrees.transformBoundingBox(box, handle180Crossover=True)
        west, south, east, north = box.xMinimum(), box.yMinimum(), box.xMaximum(), box.yMaximum()
        east += 360 if east < west else 0  # beyond 180 degrees
        if not self._to_degrees.isShortCircuited():
            across, along = MARGIN * (east - west), MARGIN * (north - south)
            west, south, east, north = (
                west - across,
                south - along,
                min(east + across, west - across + 360),
                north + along,
            )
        return west, max(south, -90.0), east, min(north, 90.0)

    def from_boxes(self, places: np.ndarray) -> np.ndarray:
        """Return in the layer's CRS what was drawn in boxes; a place that it cannot express is not finite."""
        return _moved(places, self._from_degrees)


class Inside:
    """Draws places within polygons that share no area, each by its own box."""

    def __init__(self, polygons: list[QgsGeometry], ground: Ground) -> None:
        from ...engine.scattering import in_boxes

        self._boxes = in_boxes(np.array([ground.box(polygon) for polygon in polygons]), ground.globe)
        self._ground = ground
        self._polygons = polygons  # the engines look at them
        self._engines = [QgsGeometry.createGeometryEngine(polygon.constGet()) for polygon in polygons]
        for engine in self._engines:
            engine.prepareGeometry()

    def __call__(self, generator: np.random.Generator) -> np.ndarray:
        numbers, places = self._boxes(generator)
        places = self._ground.from_boxes(places)
        inside = [
            math.isfinite(x) and self._engines[box].contains(QgsPoint(x, y))
            for box, (x, y) in zip(numbers.tolist(), places.tolist())
        ]
        return places[np.array(inside, dtype=bool)]


def _draw(parts: list[QgsGeometry], ground: Ground, name: str):
    """Return the function that draws places in *parts*, which are all of one dimension; raises `TableError`."""
    from ...engine.scattering import among, on_segments

    if not parts:
        raise TableError(f"REGION {name!r} has no geometry: choose a layer with polygons, lines or points.")
    try:
        if parts[0].type() == POLYGON:
            return Inside(_dissolved(parts, name), ground)
        if parts[0].type() == LINE:
            starts, ends = _segments(parts)
            _check_places(starts, ground, name)
            lengths = np.array([ground.length(start, end) for start, end in zip(starts.tolist(), ends.tolist())])
            if not lengths.sum() > 0:
                raise TableError(f"The lines of REGION {name!r} have no length: choose other ones.")
            return on_segments(starts, ends, lengths)
    except QgsCsException as error:
        raise _unplaced(name) from error
    places = np.concatenate([_vertices(part) for part in parts])
    _check_places(places, ground, name)
    return among(places)


def _parts(source: QgsProcessingFeatureSource, progress: Progress) -> list[QgsGeometry]:
    """Return the single parts of the highest dimension among all features."""
    found: dict[Any, list[QgsGeometry]] = {measure: [] for measure in MEASURES}
    for features in batches(source, progress):
        for feature in features:
            for part in _single(feature.geometry()):
                found[part.type()].append(part)
    return next((found[measure] for measure in MEASURES if found[measure]), [])


def _single(geometry: QgsGeometry) -> Iterator[QgsGeometry]:
    """Yield the points, lines and polygons that make up *geometry*; curves become short straight lines."""
    if geometry.isNull() or geometry.isEmpty():
        return
    if QgsWkbTypes.isCurvedType(geometry.wkbType()):
        geometry = QgsGeometry(geometry.constGet().segmentize())
    if geometry.isMultipart():
        for part in geometry.asGeometryCollection():
            yield from _single(part)
    else:
        yield geometry


def _dissolved(polygons: list[QgsGeometry], name: str) -> list[QgsGeometry]:
    """Return the area of *polygons* as polygons that share none."""
    whole = QgsGeometry.unaryUnion([part if part.isGeosValid() else part.makeValid() for part in polygons])
    parts = [part for part in _single(whole) if part.type() == POLYGON and part.area() > 0]
    if not parts:
        raise TableError(f"The polygons of REGION {name!r} have no area: choose other ones.")
    return parts


def _segments(lines: list[QgsGeometry]) -> tuple[np.ndarray, np.ndarray]:
    """Return starts and ends (n, 2) of the segments of *lines*, long ones cut into pieces."""
    extent = lines[0].boundingBox()
    for line in lines:
        extent.combineExtentWith(line.boundingBox())
    longest = math.hypot(extent.width(), extent.height()) / PIECES
    paths = [_vertices(line.densifyByDistance(longest) if longest else line) for line in lines]
    return np.concatenate([path[:-1] for path in paths]), np.concatenate([path[1:] for path in paths])


def _vertices(geometry: QgsGeometry) -> np.ndarray:
    return np.array([(vertex.x(), vertex.y()) for vertex in geometry.vertices()], dtype=np.float64).reshape(-1, 2)


def _moved(places: np.ndarray, transform: QgsCoordinateTransform) -> np.ndarray:
    """Return *places* (n, 2) in another CRS, all at once; those that it cannot express are not finite."""
    if transform.isShortCircuited() or not len(places):
        return places
    places = np.concatenate([places, places[-1:]])  # one alone would raise where one of several becomes infinite
    line = QgsLineString(places[:, 0], places[:, 1])
    line.transform(transform)
    return np.frombuffer(bytes(line.asWkb()), dtype="<f8", offset=9).reshape(-1, 2)[:-1]


def _check_places(places: np.ndarray, ground: Ground, name: str) -> None:
    if not np.isfinite(ground.positions(places)).all():
        raise _unplaced(name)


def _unplaced(name: str) -> TableError:
    return TableError(f"REGION {name!r} cannot be placed on the Earth: check its coordinates and its CRS.")
