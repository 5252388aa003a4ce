"""The algorithm ``segmentstatistics``: segments as polygons that know their pixels' mean, spread and shape."""

from __future__ import annotations

import math
from typing import Any

from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsDistanceArea,
    QgsFeature,
    QgsField,
    QgsFields,
    QgsGeometry,
    QgsProcessingOutputNumber,
    QgsProcessingParameterBand,
    QgsProcessingParameterBoolean,
    QgsProcessingParameterFeatureSink,
    QgsProcessingParameterRasterLayer,
    QgsWkbTypes,
)
from qgis.PyQt.QtCore import QMetaType

from ...engine import sidecar
from ...engine.errors import RasterError
from ...engine.progress import Part, Progress
from ..base import RasterMlAlgorithm
from ..blocks import add_image, prepare_image, raster_paths, read_image
from ..sinks import check_table, output_table
from ..tables import SYSTEM_INDEX
from .segmentkmeans import add_run, read_run

WRITTEN_AT_ONCE = 1024  # rows
WHOLE, REAL, TEXT = QMetaType.Type.LongLong, QMetaType.Type.Double, QMetaType.Type.QString
SHAPE = (
    ("value", WHOLE),
    ("count", WHOLE),
    ("area", REAL),
    ("perimeter", REAL),
    ("shape_index", REAL),
    ("compactness", REAL),
    (SYSTEM_INDEX[0], TEXT),
)


class SegmentStatistics(RasterMlAlgorithm):
    """Measure the segments, outline them, write a polygon for each."""

    NAME, TITLE, GROUP = "segmentstatistics", "Segment statistics", "segmentation"
    HELP = (
        "<p>Makes a polygon of every segment of a raster and describes it by the pixels of an image, so that segments "
        "can be classified as objects. The outlines run along the edges of pixels; a segment in several parts is one "
        "multipolygon. The image is read on the grid of the segments.</p>"
        "<p>Columns: <i>value</i> (the segment's number), <i>count</i> (pixels), <i>area</i>, <i>perimeter</i> (with "
        "holes), <i>shape_index</i> = perimeter / (4 √area), 1 for a square, <i>compactness</i> = 4 π area / "
        "perimeter², 1 for a disc, <i>system_index</i>, then for every band <i>&lt;band&gt;_mean</i>, and for every "
        "band <i>&lt;band&gt;_sd</i>: the population's standard deviation (as ee.Reducer.stdDev; 0 for one pixel). "
        "Masked pixels of a band do not count in it; a segment without any has no value there. Areas and lengths are "
        "in the units of the CRS, in metres on its ellipsoid when these are degrees.</p>"
        "<p>To classify the segments: give some of the polygons a class (<i>Join attributes by location</i> with "
        "labelled points or polygons, discarding what has no match), train with that table; its columns right of "
        "<i>system_index</i>, here means and deviations, are the predictors unless others are chosen. Then apply "
        "<i>Classify table</i> to all of them. With <i>Name the means as the bands</i> a model that was trained on "
        "pixels can classify the segments by their means at once.</p>"
    )
    SEGMENTS, BAND, PLAIN, OUTPUT = "SEGMENTS", "SEGMENTS_BAND", "MEANS_AS_BANDS", "OUTPUT"

    def initAlgorithm(self, configuration=None) -> None:
        self.addParameter(QgsProcessingParameterRasterLayer(self.SEGMENTS, self.tr("Segments")))
        self.addParameter(
            QgsProcessingParameterBand(
                self.BAND, self.tr("Band of the segments"), defaultValue=1, parentLayerParameterName=self.SEGMENTS
            )
        )
        add_image(self)
        self.addParameter(
            QgsProcessingParameterBoolean(self.PLAIN, self.tr("Name the means as the bands"), defaultValue=False)
        )
        add_run(self, tiles=False)
        self.addParameter(QgsProcessingParameterFeatureSink(self.OUTPUT, self.tr("Segments with statistics")))
        self.addOutput(QgsProcessingOutputNumber("COUNT", self.tr("Number of segments")))

    def check(self, parameters: dict, context) -> None:
        raster_paths(self, parameters, context)
        raster_paths(self, parameters, context, self.SEGMENTS)
        check_table(parameters, self.OUTPUT, context)

    def prepare(self, parameters: dict, context, progress: Progress) -> None:
        prepare_image(self, parameters, context)
        self.segments_path = raster_paths(self, parameters, context, self.SEGMENTS)[0]

    def compute(self, parameters: dict, context, progress: Progress) -> dict[str, Any]:
        from ...engine.segment_statistics import Segments

        segments = _band(self.segments_path, self.parameterAsInt(parameters, self.BAND, context))
        image = read_image(self, parameters, context, progress, segments.grid)
        crs = QgsCoordinateReferenceSystem.fromWkt(image.grid.crs_wkt)
        fields = _fields(image.band_names, self.parameterAsBoolean(parameters, self.PLAIN, context))
        kind = QgsWkbTypes.Type.MultiPolygon
        with Segments(segments, image, **read_run(self, parameters, context, tiles=False)) as found:
            statistics = found.statistics(Part(progress, 0, 0.4))
            if not len(statistics.values):
                progress.warn("Every pixel of the segments is masked: the table is empty.")
            ruler = _ruler(crs, context)
            with output_table(self, parameters, self.OUTPUT, context, fields, kind, crs) as table:
                rows: list[QgsFeature] = []
                for position, outline in found.outlines(Part(progress, 0.4, 1)):
                    rows.append(_row(fields, statistics, position, outline, ruler))
                    if len(rows) == WRITTEN_AT_ONCE:
                        table.add(rows)
                        rows = []
                table.add(rows)
        segments.close()
        image.close()
        names = fields.names()
        table.write_notes(sidecar.Notes(bands=tuple(names[len(SHAPE) :])), names, context, progress)
        return {self.OUTPUT: table.output, "COUNT": len(statistics.values)}


def _band(path: str, number: int):
    """Return the image of one band of a raster; raises `RasterError`."""
    from ...engine.images import Image

    image = Image([path])
    numbers = {image.source(name)[1]: name for name in image.band_names}
    if number not in numbers:
        listed = ", ".join(map(str, numbers))
        raise RasterError(f"SEGMENTS_BAND is {number}, but {path} has the bands {listed}: choose one of them.")
    return image.select([numbers[number]])


def _fields(bands: tuple[str, ...], plain: bool) -> QgsFields:
    """Return the columns; of two of the same name (a GeoPackage knows no upper and lower case) the later gives way."""
    fields = QgsFields()
    names = [*(name if plain else f"{name}_mean" for name in bands), *(f"{name}_sd" for name in bands)]
    for name, kind in (*SHAPE, *((name, REAL) for name in names)):
        taken = {field.name().lower() for field in fields} | {"fid", "geom"}
        fields.append(QgsField(_free(name, taken), kind))
    return fields


def _free(name: str, taken: set[str]) -> str:
    candidate, number = name, 2
    while candidate.lower() in taken:
        candidate, number = f"{name}_{number}", number + 1
    return candidate


def _ruler(crs: QgsCoordinateReferenceSystem, context) -> QgsDistanceArea:
    """Return what measures in the units of *crs*, or in metres when these are degrees."""
    ruler = QgsDistanceArea()
    if crs.isGeographic():
        ruler.setSourceCrs(crs, context.transformContext())
        ruler.setEllipsoid(crs.ellipsoidAcronym())
    return ruler


def _row(fields: QgsFields, statistics, position: int, outline: bytes, ruler: QgsDistanceArea) -> QgsFeature:
    geometry = QgsGeometry()
    geometry.fromWkb(outline)
    area, perimeter = ruler.measureArea(geometry), ruler.measurePerimeter(geometry)
    value = statistics.values[position].item()
    bands = [*statistics.means[:, position].tolist(), *statistics.deviations[:, position].tolist()]
    feature = QgsFeature(fields)
    feature.setGeometry(geometry)
    feature.setAttributes(
        [
            value,
            statistics.counts[position].item(),
            area,
            perimeter,
            perimeter / (4 * math.sqrt(area)),
            4 * math.pi * area / perimeter**2,
            str(position),
            *(None if number != number else number for number in bands),
        ]
    )
    return feature
