"""The algorithm ``stratifiedsample``: a number of pixels of each class of a band."""

from __future__ import annotations

from typing import Any

from qgis.core import QgsProcessingOutputNumber, QgsProcessingParameterNumber, QgsProcessingParameterString

from ...engine import sidecar
from ...engine.errors import SettingError
from ...engine.progress import Part, Progress
from ..base import RasterMlAlgorithm
from ..blocks import add_image, prepare_image, raster_paths, read_grid, read_image
from ..pixel_tables import OUTPUT, add_drawing, optional_number, read_drawing, write_pixels
from ..regions import add_region, check_region, read_region
from ..sinks import check_table


class StratifiedSample(RasterMlAlgorithm):
    """Draw pixels of every class, write a row for each."""

    NAME, TITLE, GROUP, TWIN = "stratifiedsample", "Stratified sample", "sampling", "ee.Image.stratifiedSample"
    HELP = (
        "<p>Gives a row for a number of pixels of each class: the value of each band. The classes are the whole "
        "numbers of one band, which is among the image's bands and becomes a column too; a class with fewer pixels "
        "gives all it has.</p>"
        "<p>The classes that <i>CLASS_VALUES</i> lists get the numbers of <i>CLASS_POINTS</i> instead (0 leaves one "
        "out). Masked pixels are left out before the drawing, so that they do not shorten the sample; when they are "
        "kept, only the class must be known. The same seed gives the same pixels for any number of threads, another "
        "seed an independent sample. With a <i>least distance</i> the classes take turns, and each wanted pixel has "
        "ten tries to find a place; the log says which class did not get its number.</p>"
        "<p>Columns: <i>system_index</i> (running from 0), then the bands; rows are ordered by class, then in raster "
        "order. Names and colours of the classes are taken from the raster. Unlike in Earth Engine, points at the "
        "pixel centres are written by default, because spatial validation needs places.</p>"
    )
    NUM_POINTS, CLASS_BAND = "NUM_POINTS", "CLASS_BAND"
    CLASS_VALUES, CLASS_POINTS = "CLASS_VALUES", "CLASS_POINTS"

    def initAlgorithm(self, configuration=None) -> None:
        add_image(self)
        kind = QgsProcessingParameterNumber.Type.Integer
        label = self.tr("Points of each class")
        self.addParameter(QgsProcessingParameterNumber(self.NUM_POINTS, label, type=kind, minValue=0))
        for name, label in (
            (self.CLASS_BAND, "Band of the classes (empty = the first)"),
            (self.CLASS_VALUES, "Classes with another number of points, comma-separated"),
            (self.CLASS_POINTS, "Points of these classes, comma-separated"),
        ):
            self.addParameter(QgsProcessingParameterString(name, self.tr(label), optional=True))
        add_region(self)
        add_drawing(self)
        self.addOutput(QgsProcessingOutputNumber("COUNT", self.tr("Number of rows")))

    def check(self, parameters: dict, context) -> None:
        from ...engine.stratified_sampling import check_quotas
        from ...engine.thinning import check_distance

        raster_paths(self, parameters, context)
        check_region(self, parameters, context)
        check_quotas(*self._quotas(parameters, context))
        check_distance(read_drawing(self, parameters, context)["min_distance"])
        check_table(parameters, OUTPUT, context)

    def prepare(self, parameters: dict, context, progress: Progress) -> None:
        prepare_image(self, parameters, context)

    def compute(self, parameters: dict, context, progress: Progress) -> dict[str, Any]:
        from ...engine.map_style import stored_classes
        from ...engine.stratified_sampling import stratified_sample

        image = read_image(self, parameters, context, progress, read_grid(self, parameters, context))
        region = read_region(self, parameters, context, image.grid, progress)
        drawing = read_drawing(self, parameters, context)
        band = self.parameterAsString(parameters, self.CLASS_BAND, context).strip() or image.band_names[0]
        num_points, quotas = self._quotas(parameters, context)
        pixels, strata = stratified_sample(
            image, num_points, band, region, class_points=quotas, progress=Part(progress, 0, 0.7), **drawing
        )
        classes = stored_classes(*image.source(band), [item.value for item in strata])
        image.close()
        notes = sidecar.Notes(bands=image.band_names, class_property=band, classes=classes)
        output = write_pixels(self, parameters, context, image, pixels, notes, Part(progress, 0.7, 1))
        return {OUTPUT: output, "COUNT": len(pixels.row)}

    def _quotas(self, parameters: dict, context) -> tuple[int, dict[int, int]]:
        """Return the number of points of a class, and of the classes that have their own."""
        from ...engine.stratified_sampling import class_quotas

        points = optional_number(self, parameters, self.NUM_POINTS, context)
        if points is None:
            raise SettingError("NUM_POINTS is not given: say how many points of each class are wanted.")
        lists = (self.parameterAsString(parameters, name, context) for name in (self.CLASS_VALUES, self.CLASS_POINTS))
        return int(points), class_quotas(*lists)
