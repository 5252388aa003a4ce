"""The algorithms ``classify`` and ``cluster``: a map from an image and a model."""

from __future__ import annotations

from typing import Any

from qgis.core import (
    QgsProcessingOutputNumber,
    QgsProcessingParameterBoolean,
    QgsProcessingParameterExtent,
    QgsProcessingParameterRasterDestination,
    QgsProcessingParameterRasterLayer,
)

from ...engine import limits
from ...engine.learners import OUTPUT_MODES
from ...engine.progress import Progress
from ..base import RasterMlAlgorithm
from ..blocks import add_image, prepare_image, raster_paths, read_image
from ..parameters import choice, set_advanced
from ..running import (
    add_execution,
    add_limits,
    add_model,
    check_model,
    read_execution,
    read_limits,
    read_model_for,
)
from ..storing import (
    add_nodata,
    add_probability_type,
    add_storage,
    check_storage,
    read_nodata,
    read_probability_type,
    read_storage,
)
from ..windows import check_raster_output, mask_path, raster_extensions, read_mask, read_window

STORING = (
    "<p>RESUME keeps finished tiles beside the output and continues a run that was interrupted or killed, as long as "
    "image, model and settings are the same. OVERVIEWS puts smaller copies into the GeoTIFF, which large maps need to "
    "be drawn quickly; COG makes it cloud-optimized, overviews included.</p>"
)


class Classify(RasterMlAlgorithm):
    """Read, predict and write tile by tile, so that memory stays flat."""

    NAME, TITLE, GROUP, TWIN = "classify", "Classify", "prediction", "ee.Image.classify"
    HELP = (
        "<p>Gives every pixel what the model predicts, tile by tile, in bounded memory. Bands are matched to the "
        "model's predictors by name; a pixel that is masked in any of them stays masked.</p>"
        "<p>Output modes: CLASSIFICATION gives the class; PROBABILITY the probability of the chosen class (with two "
        "classes: of the larger label); MULTIPROBABILITY one band per class; RAW the vote of each tree; REGRESSION "
        "and RAW_REGRESSION the mean and each tree's value. Empty takes the model's own mode. Class maps carry names "
        "and colours, also in a .qml style beside the file.</p>"
        "<p>Probabilities may be stored as percent (UInt8) or as ten-thousandths (UInt16), which takes less space and "
        "time; QGIS shows them from 0 to 1 all the same.</p>" + STORING
    )
    CLUSTERS = False
    MODE, MASK, EXTENT, BY_ORDER, OUTPUT = "OUTPUT_MODE", "MASK", "EXTENT", "MATCH_BY_ORDER", "OUTPUT"

    def initAlgorithm(self, configuration=None) -> None:
        add_image(self)
        add_model(self)
        if not self.CLUSTERS:
            self.addParameter(
                choice(self.MODE, self.tr("Output mode (empty = the model's)"), list(OUTPUT_MODES), None, optional=True)
            )
        self.addParameter(
            QgsProcessingParameterRasterLayer(self.MASK, self.tr("Mask (0 or no data = leave out)"), optional=True)
        )
        self.addParameter(QgsProcessingParameterExtent(self.EXTENT, self.tr("Extent"), optional=True))
        self.addParameter(
            set_advanced(
                QgsProcessingParameterBoolean(
                    self.BY_ORDER, self.tr("Match bands by order instead of by name"), defaultValue=False
                )
            )
        )
        if not self.CLUSTERS:
            add_probability_type(self)
        add_nodata(self)
        add_storage(self)
        add_limits(self)
        add_execution(self)
        label = self.tr("Clusters") if self.CLUSTERS else self.tr("Classified image")
        self.addParameter(QgsProcessingParameterRasterDestination(self.OUTPUT, label))
        self.addOutput(QgsProcessingOutputNumber("PIXELS", self.tr("Number of pixels")))
        self.addOutput(QgsProcessingOutputNumber("PREDICTED", self.tr("Number of predicted pixels")))
        self.addOutput(QgsProcessingOutputNumber("MASKED", self.tr("Number of masked pixels")))

    def check(self, parameters: dict, context) -> None:
        check_model(self, parameters, context)
        raster_paths(self, parameters, context)
        check_raster_output(parameters, self.OUTPUT, context)
        check_storage(self, parameters, self.OUTPUT, context)

    def prepare(self, parameters: dict, context, progress: Progress) -> None:
        prepare_image(self, parameters, context)
        self.mask_path = mask_path(self, parameters, self.MASK, context)

    def compute(self, parameters: dict, context, progress: Progress) -> dict[str, Any]:
        from ...engine.prediction import predict_image

        model = read_model_for(self, parameters, context, self.CLUSTERS, progress)
        mode = model.output_mode("" if self.CLUSTERS else self.parameterAsEnumString(parameters, self.MODE, context))
        numbers = "Float32" if self.CLUSTERS else read_probability_type(self, parameters, context, mode, progress)
        limits.obey(limits.bands_gauge(len(model.predictors)), read_limits(self, parameters, context), progress)
        image = read_image(self, parameters, context, progress)
        output = self.parameterAsOutputLayer(parameters, self.OUTPUT, context)
        run = read_execution(self, parameters, context)
        counts = predict_image(
            image,
            model,
            output,
            mode,
            mask=read_mask(self.mask_path, image),
            window=read_window(self, parameters, self.EXTENT, context, image),
            match_by_order=self.parameterAsBoolean(parameters, self.BY_ORDER, context),
            probability_type=numbers,
            nodata=read_nodata(self, parameters, context),
            storage=read_storage(self, parameters, context),
            threads=run.threads,
            tile_size=run.tile_size,
            memory_limit=run.memory_limit,
            scheduler=run.scheduler,
            resume=run.resume,
            progress=progress,
        )
        if not counts.predicted:
            progress.warn("Every pixel is masked: the map is empty. Do the bands overlap, and is the mask right?")
        return {self.OUTPUT: output, **{name.upper(): value for name, value in counts._asdict().items()}}

    def supportedOutputRasterLayerExtensions(self) -> list[str]:
        return raster_extensions()


class Cluster(Classify):
    """The same with a model that found its clusters by itself."""

    NAME, TITLE, TWIN = "cluster", "Cluster", "ee.Image.cluster"
    HELP = (
        "<p>Gives every pixel the number of its cluster, from 0, tile by tile, in bounded memory. Bands are matched to "
        "the model's predictors by name; a pixel that is masked in any of them stays masked.</p>"
        "<p>The numbers have no meaning of their own: look at the centres in the training's report, and give the "
        "clusters names afterwards. The colours are far apart and always the same for a number.</p>" + STORING
    )
    CLUSTERS = True
