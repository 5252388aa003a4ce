"""The algorithm ``samplepatches``: the pixels around points, as a file that a neural network is trained with."""

from __future__ import annotations

from typing import Any, NamedTuple

from qgis.core import (
    Qgis,
    QgsCoordinateReferenceSystem,
    QgsFeature,
    QgsFeatureRequest,
    QgsFields,
    QgsGeometry,
    QgsProcessing,
    QgsProcessingFeatureSource,
    QgsProcessingOutputNumber,
    QgsProcessingParameterFeatureSource,
    QgsProcessingParameterField,
    QgsProcessingParameterFileDestination,
    QgsWkbTypes,
)
from qgis.PyQt.QtCore import QMetaType

from ...engine import sidecar
from ...engine.errors import SettingError, StorageError, TableError
from ...engine.files import check_target
from ...engine.progress import Part, Progress
from ...engine.settings import Number
from ..base import RasterMlAlgorithm
from ..blocks import add_grid, add_image, prepare_image, raster_paths, read_grid, read_image
from ..parameters import destination, number
from ..regions import placed, transform_to
from ..rows import batches, known_notes, plain, source_layer
from ..running import add_threads, read_threads
from ..tables import SYSTEM_INDEX, field_named

TEXTS = (QMetaType.Type.QString, QMetaType.Type.QDate, QMetaType.Type.QTime, QMetaType.Type.QDateTime)
NUMBERS = (
    QMetaType.Type.Bool,
    QMetaType.Type.Int,
    QMetaType.Type.UInt,
    QMetaType.Type.LongLong,
    QMetaType.Type.ULongLong,
    QMetaType.Type.Double,
)
CACHE_MEGABYTES = 256  # GDAL's own is a share of the machine's memory
RESERVED = (*SYSTEM_INDEX, "system:index")


class Points(NamedTuple):
    """All points of a layer: x, y in the grid's CRS, the number of each one's feature, the properties by feature."""

    places: list[tuple[float, float]]
    feature: list[int]
    properties: list


class SamplePatches(RasterMlAlgorithm):
    """Bring the points into the grid's CRS, cut a patch around each, write them as they come."""

    NAME, TITLE, GROUP, TWIN = "samplepatches", "Sample patches", "sampling", "ee.Image.neighborhoodToArray"
    HELP = (
        "<p>Cuts a square of pixels out of the image around every point and writes all of them, with the points' "
        "attributes, to one file for training neural networks. The squares have 2 × <i>radius</i> + 1 pixels a side "
        "and the point's pixel in the middle, as with Earth Engine's ee.Kernel.square.</p>"
        "<p>Masked pixels and those outside the image get the default value; in a band of whole numbers its fraction "
        "is dropped and it is clamped to the range of the band's type. A point whose own pixel is masked in any band "
        "is left out and counted. Of several points of one feature in one pixel one is taken.</p>"
        "<p>The ending of the file says its kind: <i>.tfrecord</i> or <i>.tfrecord.gz</i> holds a tf.train.Example for "
        "each patch (a float list for each band, row after row), <i>.npz</i> an array (patches, rows, columns) for "
        "each band. Values are 32-bit floats. Beside it <i>.rasterml.json</i> tells the order of bands, the size of "
        "the patches and the classes.</p>"
    )
    COLLECTION, PROPERTIES, RADIUS, DEFAULT_VALUE = "COLLECTION", "PROPERTIES", "RADIUS", "DEFAULT_VALUE"
    OUTPUT = "OUTPUT"

    def initAlgorithm(self, configuration=None) -> None:
        add_image(self)
        points = [QgsProcessing.SourceType.TypeVectorPoint]
        self.addParameter(QgsProcessingParameterFeatureSource(self.COLLECTION, self.tr("Points"), points))
        self.addParameter(
            QgsProcessingParameterField(
                self.PROPERTIES,
                self.tr("Attributes to copy (empty = all)"),
                parentLayerParameterName=self.COLLECTION,
                allowMultiple=True,
                optional=True,
            )
        )
        radius = Number("radius", "", 1, minimum=0, integer=True)
        self.addParameter(number(radius, self.tr("Radius in pixels, without the middle one")))
        default = Number("default_value", "", 0)
        self.addParameter(number(default, self.tr("Value of masked pixels")))
        add_grid(self)
        add_threads(self)
        kinds = "TFRecord (*.tfrecord);;Compressed TFRecord (*.tfrecord.gz);;NumPy (*.npz)"
        self.addParameter(QgsProcessingParameterFileDestination(self.OUTPUT, self.tr("Patches"), kinds))
        self.addOutput(QgsProcessingOutputNumber("COUNT", self.tr("Number of patches")))
        self.addOutput(QgsProcessingOutputNumber("DROPPED", self.tr("Number of points on masked pixels")))

    def check(self, parameters: dict, context) -> None:
        from ...engine.patch_files import check_ending

        raster_paths(self, parameters, context)
        source = self.parameterAsSource(parameters, self.COLLECTION, context)
        if source is None:
            raise TableError(f"{self.COLLECTION} {parameters.get(self.COLLECTION)} cannot be read as a layer.")
        for name in self.parameterAsStrings(parameters, self.PROPERTIES, context):
            field_named(source.fields(), name, source.sourceName())
        self._radius(parameters, context)
        path = destination(parameters, self.OUTPUT, context)
        if path:
            check_ending(path)
            check_target(path)

    def prepare(self, parameters: dict, context, progress: Progress) -> None:
        prepare_image(self, parameters, context)
        self.notes = known_notes(source_layer(self, parameters, context, self.COLLECTION), context)

    def compute(self, parameters: dict, context, progress: Progress) -> dict[str, Any]:
        from ...engine.images import gdal_cache
        from ...engine.patch_files import write_patches
        from ...engine.patches import sample_patches

        image = read_image(self, parameters, context, progress, read_grid(self, parameters, context))
        radius = self._radius(parameters, context)
        points = self._read(parameters, context, image, Part(progress, 0, 0.2))
        path = self.parameterAsFileOutput(parameters, self.OUTPUT, context)
        patches = sample_patches(
            image,
            points.places,
            radius,
            self.parameterAsDouble(parameters, self.DEFAULT_VALUE, context),
            points.feature,
            threads=read_threads(self, parameters, context),
            progress=Part(progress, 0.2, 1),
        )
        with gdal_cache(CACHE_MEGABYTES):
            counts = write_patches(path, patches, image.band_names, points.properties)
        image.close()
        names = [item.name for item in points.properties]
        try:
            sidecar.write(path, "", self._notes(names, image.band_names, 2 * radius + 1))
        except StorageError as error:  # the patches are there: worth a warning
            progress.warn(str(error))
        return {self.OUTPUT: path, "COUNT": counts.written, "DROPPED": counts.dropped}

    def _radius(self, parameters: dict, context) -> int:
        # as a float, since parameterAsInt turns what an int cannot hold into 0
        radius = self.parameterAsDouble(parameters, self.RADIUS, context)
        if radius < 0 or not radius.is_integer():
            raise SettingError(f"RADIUS is {radius:g}: give a whole number of pixels, 0 or more.")
        return int(radius)

    def _read(self, parameters: dict, context, image, progress: Progress) -> Points:
        """Read every feature; one that is no point or cannot be brought into the grid's CRS raises `TableError`."""
        from ...engine.patch_files import Property

        source = self.parameterAsSource(parameters, self.COLLECTION, context)
        chosen = self.parameterAsStrings(parameters, self.PROPERTIES, context)
        copied = self._copied(source.fields(), chosen, image.band_names, progress)
        crs = QgsCoordinateReferenceSystem.fromWkt(image.grid.crs_wkt)
        transform = transform_to(source, crs, context, progress)
        properties = [Property(name, source.fields().at(index).type() in TEXTS, []) for index, name in copied.items()]
        points = Points([], [], properties)
        features = 0
        for batch in batches(source, progress, QgsFeatureRequest().setSubsetOfAttributes(list(copied))):
            for number_of, feature in enumerate(batch, features):
                places = _places(feature, transform, source)
                points.places.extend(places)
                points.feature.extend([number_of] * len(places))
                attributes = feature.attributes()
                for index, item in zip(copied, properties):
                    item.values.append(plain(attributes[index]))
            features += len(batch)
        return points

    def _copied(
        self, fields: QgsFields, chosen: list[str], bands: tuple[str, ...], progress: Progress
    ) -> dict[int, str]:
        """Return the whole name of each field that travels: the chosen ones or all, where no band has the name."""
        taken = {name.lower() for name in (*RESERVED, *bands)}
        if not chosen:
            taken.add("fid")  # a row's number in its file, not a property
        copied = {}
        for index in [fields.lookupField(name) for name in chosen] or range(fields.count()):
            field = fields.at(index)
            name = self.notes.fields.get(field.name(), field.name())
            if name.lower() in taken:
                continue
            if field.type() in NUMBERS or field.type() in TEXTS:
                copied[index] = name
            elif chosen:
                raise TableError(f"Field {name!r} holds neither numbers nor texts: take it out of PROPERTIES.")
            else:
                progress.message(f"Field {name!r} holds neither numbers nor texts and is left out.")
        return copied

    def _notes(self, properties: list[str], bands: tuple[str, ...], side: int) -> sidecar.Notes:
        """Return the notes on the patches; the class table travels with the property that it describes."""
        fields = {name: name for name in properties}
        if self.notes.class_property in fields:
            return sidecar.Notes(fields, bands, self.notes.class_property, self.notes.classes, side)
        return sidecar.Notes(fields, bands, patch_side=side)


def _places(feature: QgsFeature, transform, source: QgsProcessingFeatureSource) -> list[tuple[float, float]]:
    """Return x, y of the points of a feature; none when it has no geometry."""
    wkb = placed(feature, transform)
    if wkb is None:
        return []
    geometry = QgsGeometry()
    geometry.fromWkb(wkb)
    if geometry.type() != Qgis.GeometryType.Point:
        raise TableError(
            f"Feature {feature.id()} of layer {source.sourceName()!r} is a "
            f"{QgsWkbTypes.displayString(geometry.wkbType())}, and patches are cut around points: use Centroids first."
        )
    return [(point.x(), point.y()) for point in geometry.vertices()]
