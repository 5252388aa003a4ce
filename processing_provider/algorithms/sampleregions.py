"""The algorithm ``sampleregions``: the pixels of an image at points, along lines and in polygons."""

from __future__ import annotations

from typing import Any

import numpy as np
from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsField,
    QgsFields,
    QgsProcessing,
    QgsProcessingOutputNumber,
    QgsProcessingParameterBoolean,
    QgsProcessingParameterFeatureSink,
    QgsProcessingParameterFeatureSource,
    QgsProcessingParameterField,
    QgsWkbTypes,
)
from qgis.PyQt.QtCore import QMetaType

from ...engine import sidecar
from ...engine.progress import Part, Progress
from ..base import RasterMlAlgorithm
from ..blocks import add_grid, add_image, prepare_image, raster_paths, read_grid, read_image
from ..file_columns import file_layer
from ..region_columns import Regions, read_regions
from ..regions import transform_to
from ..rows import source_layer
from ..running import add_threads, read_threads
from ..sinks import check_table, output_table
from ..tables import SYSTEM_INDEX, field_named, load_style, notes_of, renderer_classes

WRITTEN_AT_ONCE = 2**13  # rows


class SampleRegions(RasterMlAlgorithm):
    """Bring the regions into the grid's CRS, read the pixels, write a row for each."""

    NAME, TITLE, GROUP, TWIN = "sampleregions", "Sample regions", "sampling", "ee.Image.sampleRegions"
    HELP = (
        "<p>Gives a row for every pixel of every region: the region's attributes and the value of each band. A point "
        "takes the pixel that holds it, a line every pixel it touches, a polygon the pixels whose centres lie inside "
        "it (or all it touches).</p>"
        "<p>A pixel that two regions share has a row for each. A pixel that is masked in any band is left out and "
        "counted. Regions in another CRS are transformed. Columns: the copied attributes, <i>system_index</i> "
        "(region_pixel), then the bands; where a name is taken twice, the band stays.</p>"
        "<p>Unlike in Earth Engine, points at the pixel centres are written by default, because spatial validation "
        "needs places.</p>"
    )
    COLLECTION, PROPERTIES, GEOMETRIES, ALL_TOUCHED = "COLLECTION", "PROPERTIES", "GEOMETRIES", "ALL_TOUCHED"
    OUTPUT = "OUTPUT"

    def initAlgorithm(self, configuration=None) -> None:
        add_image(self)
        self.addParameter(
            QgsProcessingParameterFeatureSource(
                self.COLLECTION, self.tr("Regions"), [QgsProcessing.SourceType.TypeVectorAnyGeometry]
            )
        )
        self.addParameter(
            QgsProcessingParameterField(
                self.PROPERTIES,
                self.tr("Attributes to copy (empty = all)"),
                parentLayerParameterName=self.COLLECTION,
                allowMultiple=True,
                optional=True,
            )
        )
        self.addParameter(
            QgsProcessingParameterBoolean(self.ALL_TOUCHED, self.tr("All pixels a polygon touches"), defaultValue=False)
        )
        self.addParameter(
            QgsProcessingParameterBoolean(self.GEOMETRIES, self.tr("Points at the pixel centres"), defaultValue=True)
        )
        add_grid(self)
        add_threads(self)
        self.addParameter(QgsProcessingParameterFeatureSink(self.OUTPUT, self.tr("Samples")))
        self.addOutput(QgsProcessingOutputNumber("COUNT", self.tr("Number of rows")))
        self.addOutput(QgsProcessingOutputNumber("DROPPED", self.tr("Number of masked pixels left out")))

    def check(self, parameters: dict, context) -> None:
        raster_paths(self, parameters, context)
        layer = source_layer(self, parameters, context, self.COLLECTION)
        for name in self.parameterAsStrings(parameters, self.PROPERTIES, context):
            field_named(layer.fields(), name, layer.name())
        check_table(parameters, self.OUTPUT, context, [layer.source().split("|")[0]])

    def prepare(self, parameters: dict, context, progress: Progress) -> None:
        prepare_image(self, parameters, context)
        layer = source_layer(self, parameters, context, self.COLLECTION)
        self.file = file_layer(parameters[self.COLLECTION], layer)
        load_style(layer, context)
        notes = notes_of(layer)
        self.class_property, self.classes = renderer_classes(layer) or (
            (notes.class_property, notes.classes) if notes else (None, ())
        )

    def compute(self, parameters: dict, context, progress: Progress) -> dict[str, Any]:
        from ...engine.sampling import sample_regions

        image = read_image(self, parameters, context, progress, read_grid(self, parameters, context))
        source = self.parameterAsSource(parameters, self.COLLECTION, context)
        chosen = self.parameterAsStrings(parameters, self.PROPERTIES, context)
        copied = _copied(source.fields(), chosen, image.band_names)
        crs = QgsCoordinateReferenceSystem.fromWkt(image.grid.crs_wkt)
        transform = transform_to(source, crs, context, progress)
        regions = read_regions(source, self.file, copied, transform, Part(progress, 0, 0.2))
        samples = sample_regions(
            image,
            regions.geometries,
            all_touched=self.parameterAsBoolean(parameters, self.ALL_TOUCHED, context),
            threads=read_threads(self, parameters, context),
            progress=Part(progress, 0.2, 0.6),
        )
        image.close()
        fields = _fields(source.fields(), copied, image)
        places = self.parameterAsBoolean(parameters, self.GEOMETRIES, context)
        kind = QgsWkbTypes.Type.Point if places else QgsWkbTypes.Type.NoGeometry
        with output_table(self, parameters, self.OUTPUT, context, fields, kind, crs) as table:
            writing = Part(progress, 0.6, 1)
            for start in range(0, len(samples.region), WRITTEN_AT_ONCE):
                writing(start, len(samples.region))
                part = slice(start, start + WRITTEN_AT_ONCE)
                points = np.column_stack([samples.x[part], samples.y[part]]) if places else None
                table.add_columns(_columns(samples, regions, part), points)
        table.write_notes(self._notes(fields, image.band_names), fields.names(), context, progress)
        return {self.OUTPUT: table.output, "COUNT": len(samples.region), "DROPPED": samples.dropped}

    def _notes(self, fields: QgsFields, bands: tuple[str, ...]) -> sidecar.Notes:
        """Return the notes on the samples; the class table travels with the field that it describes."""
        copied = {name.lower() for name in fields.names()[: -len(bands)]}
        if self.class_property and self.class_property.lower() in copied:
            return sidecar.Notes(bands=bands, class_property=self.class_property, classes=tuple(self.classes))
        return sidecar.Notes(bands=bands)


def _copied(fields: QgsFields, chosen: list[str], bands: tuple[str, ...]) -> list[int]:
    """Return which fields travel: the chosen ones or all, but for those that give way to a band or the new index."""
    taken = {name.lower() for name in (SYSTEM_INDEX[0], *bands)}  # a GeoPackage knows no upper and lower case
    if not chosen:
        taken.add("fid")  # a row's number in its file, not a property
    indexes = [fields.lookupField(name) for name in chosen] or range(fields.count())
    return [index for index in indexes if fields.at(index).name().lower() not in taken]


def _fields(source: QgsFields, copied: list[int], image) -> QgsFields:
    """Return the copied fields, ``system_index``, then the bands."""
    fields = QgsFields()
    for index in copied:
        fields.append(source.at(index))
    fields.append(QgsField(SYSTEM_INDEX[0], QMetaType.Type.QString))
    wide = image.sample_type().itemsize > 4
    for name, integer in zip(image.band_names, image.integer):
        whole = QMetaType.Type.LongLong if wide else QMetaType.Type.Int
        fields.append(QgsField(name, whole if integer else QMetaType.Type.Double))
    return fields


def _columns(samples, regions: Regions, part: slice) -> list:
    """Return the columns of some rows: the regions' attributes, the index, the bands."""
    region = samples.region[part]
    copied = [column[region] for column in regions.columns]
    index = [f"{region}_{number}" for region, number in zip(region.tolist(), samples.number[part].tolist())]
    return [*copied, index, *samples.values[part].T]
