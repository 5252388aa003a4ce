"""One algorithm per row of the table of reducers: a regression of every pixel over an image collection."""

from __future__ import annotations

from typing import Any

from qgis.core import QgsProcessingOutputNumber, QgsProcessingParameterRasterDestination

from ...engine.progress import Progress
from ...engine.reducers import Reducer
from ..base import RasterMlAlgorithm
from ..image_collections import (
    add_collection,
    check_collection,
    prepare_collection,
    read_collection,
    read_min_observations,
    read_variables,
)
from ..parameters import add_settings, read_settings
from ..running import add_execution, read_execution
from ..windows import check_raster_output, raster_extensions


class PixelRegression(RasterMlAlgorithm):
    """Read the collection tile by tile, reduce each pixel's images, write the bands."""

    GROUP = "regression"
    OUTPUT = "OUTPUT"
    NUMBERS = {
        "IMAGES": "Number of images",
        "PIXELS": "Number of pixels",
        "FITTED": "Number of pixels with a result",
        "MASKED": "Number of pixels without",
    }

    def __init__(self, reducer: Reducer) -> None:
        super().__init__()
        self.reducer = reducer
        self.NAME, self.TITLE, self.TWIN = reducer.id, reducer.title, reducer.twin
        several = "" if reducer.pair else " of each X and Y are called <i>x_y</i>; with several Y, <i>residuals_y</i>."
        self.HELP = (
            f"<p>{reducer.summary} For every pixel over the images of a collection, each pixel with the images in "
            "which none of its variables is masked.</p>"
            "<p>Each raster is an image, whose bands are named as in the first one (else taken by order; BAND_NAMES "
            "renames them); or the bands of one raster are the images, and the one band is named after the file. "
            "Beside bands, X and Y may be <i>constant</i> (1), <i>time</i>, <i>order</i> (0, 1, 2, ... as given), "
            "<i>cos_k</i> and <i>sin_k</i> (k cycles a year).</p>"
            "<p>Times are, in this order: TIMES; the beginning of the layer's temporal range; a date as 2019-07-31 or "
            "20190731 in the name of layer or file or in the band's description; 0, 1, 2, ... Dates become decimal "
            "years: year + (day of year − 1) / 365.25. Images need not be sorted. The log shows the times used.</p>"
            f"<p>{reducer.notes}{' The coefficients' + several if several else ''} The last band, <i>n</i>, is the "
            "number of images used.</p>"
        )

    def createInstance(self):
        return PixelRegression(self.reducer)

    def initAlgorithm(self, configuration=None) -> None:
        add_collection(self, self.reducer)
        add_settings(self, self.reducer)
        add_execution(self)
        self.addParameter(QgsProcessingParameterRasterDestination(self.OUTPUT, self.tr(self.TITLE)))
        for name, title in self.NUMBERS.items():
            self.addOutput(QgsProcessingOutputNumber(name, self.tr(title)))

    def check(self, parameters: dict, context) -> None:
        check_collection(self, parameters, context, self.reducer)
        check_raster_output(parameters, self.OUTPUT, context)

    def prepare(self, parameters: dict, context, progress: Progress) -> None:
        prepare_collection(self, parameters, context)

    def compute(self, parameters: dict, context, progress: Progress) -> dict[str, Any]:
        from ...engine.pixel_regression import regress_image

        variables = read_variables(self, parameters, context, self.reducer)
        collection, times = read_collection(self, parameters, context, progress)
        output = self.parameterAsOutputLayer(parameters, self.OUTPUT, context)
        run = read_execution(self, parameters, context)
        counts = regress_image(
            collection,
            self.reducer,
            output,
            variables.x,
            variables.y or collection.band_names[:1],
            times,
            read_settings(self, parameters, context, self.reducer),
            min_observations=read_min_observations(self, parameters, context),
            threads=run.threads,
            tile_size=run.tile_size,
            memory_limit=run.memory_limit,
            scheduler=run.scheduler,
            resume=run.resume,
            progress=progress,
        )
        if not counts.fitted:
            progress.warn("Every pixel is masked: are there enough images, and are the times right?")
        return {self.OUTPUT: output, **{name.upper(): value for name, value in counts._asdict().items()}}

    def supportedOutputRasterLayerExtensions(self) -> list[str]:
        return raster_extensions()
