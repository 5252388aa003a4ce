"""How much of Earth Engine's caps rasters, training tables and a model use."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Sequence

from qgis.core import (
    QgsFeatureRequest,
    QgsProcessing,
    QgsProcessingOutputNumber,
    QgsProcessingOutputString,
    QgsProcessingParameterField,
    QgsProcessingParameterFile,
    QgsProcessingParameterMultipleLayers,
    QgsVectorLayer,
)

from ...engine import limits
from ...engine.errors import SettingError, TableError
from ...engine.progress import Progress
from ..base import RasterMlAlgorithm
from ..blocks import raster_paths
from ..running import MODEL, REPORT, add_report, check_model, read_model, read_report
from ..tables import Source, field_named, open_source, predictors_of


class CheckLimits(RasterMlAlgorithm):
    """Count rows, predictors, bands and bytes, and hold them against the caps."""

    NAME, TITLE, GROUP = "checklimits", "Check limits", "limits"
    HELP = (
        "<p>Says how much of Earth Engine's documented caps is used, and which setting to change to what value when "
        "a cap is near (from 80 %) or passed.</p>"
        "<p>Training data: at most 26,214,400 values (rows × predictors, 100 MiB as 32-bit floats) in each table. "
        "Bands: fewer than 400 (100 MiB on a tile of 256 × 256 pixels). Model: less than 100 MiB.</p>"
        "<p>Give at least one of images, training samples and model; what is not given is not measured, and its "
        "outputs stay empty. With several tables the share is that of the fullest one, values and bytes are "
        "sums.</p>"
    )
    INPUT, TRAINING = "INPUT", "TRAINING"
    CLASS_PROPERTY, INPUT_PROPERTIES = "CLASS_PROPERTY", "INPUT_PROPERTIES"
    NUMBERS = {
        "TRAINING_VALUES": "Values in the training data (rows × predictors)",
        "TRAINING_BYTES": "Bytes of the training data",
        "TRAINING_SHARE": "Share of the training cap",
        "BANDS": "Number of bands",
        "BANDS_SHARE": "Share of the band cap",
        "TILE_BYTES": "Bytes of a tile of 256 × 256 pixels",
        "MODEL_BYTES": "Bytes of the model file",
        "MODEL_SHARE": "Share of the model cap",
    }

    def initAlgorithm(self, configuration=None) -> None:
        kinds = QgsProcessing.SourceType
        self.addParameter(
            QgsProcessingParameterMultipleLayers(self.INPUT, self.tr("Images"), kinds.TypeRaster, optional=True)
        )
        self.addParameter(
            QgsProcessingParameterMultipleLayers(
                self.TRAINING, self.tr("Training samples"), kinds.TypeVector, optional=True
            )
        )
        self.addParameter(
            QgsProcessingParameterField(
                self.CLASS_PROPERTY,
                self.tr("Class field, which is no predictor"),
                parentLayerParameterName=self.TRAINING,
                optional=True,
            )
        )
        self.addParameter(
            QgsProcessingParameterField(
                self.INPUT_PROPERTIES,
                self.tr("Predictors (empty = the numeric fields right of system_index)"),
                parentLayerParameterName=self.TRAINING,
                allowMultiple=True,
                optional=True,
            )
        )
        self.addParameter(QgsProcessingParameterFile(MODEL, self.tr("Model"), extension="rasterml", optional=True))
        add_report(self)
        for name, title in self.NUMBERS.items():
            self.addOutput(QgsProcessingOutputNumber(name, self.tr(title)))
        self.addOutput(QgsProcessingOutputString("VERDICT", self.tr("Verdict: ok, near or over")))

    def check(self, parameters: dict, context) -> None:
        if not any(parameters.get(name) for name in (self.INPUT, self.TRAINING, MODEL)):
            raise SettingError("There is nothing to check: give INPUT, TRAINING or MODEL.")
        if parameters.get(self.INPUT):
            raster_paths(self, parameters, context)
        check_model(self, parameters, context)
        chosen = self.parameterAsStrings(parameters, self.INPUT_PROPERTIES, context)
        class_property = self.parameterAsString(parameters, self.CLASS_PROPERTY, context)
        for layer in self._tables(parameters, context):
            for name in [*chosen, *([class_property] if class_property else [])]:
                field_named(layer.fields(), name, layer.name())

    def prepare(self, parameters: dict, context, progress: Progress) -> None:
        """Read paths and open the tables in the main thread."""
        self.raster_paths = raster_paths(self, parameters, context) if parameters.get(self.INPUT) else []
        self.sources = [open_source(layer) for layer in self._tables(parameters, context)]

    def compute(self, parameters: dict, context, progress: Progress) -> dict[str, Any]:
        from ...engine.html_blocks import write_report
        from ...engine.reports import limits_report

        results: dict[str, Any] = dict.fromkeys(self.NUMBERS)
        training = self._training(parameters, context, progress)
        if training:
            values = sum(gauge.value for gauge in training)
            results["TRAINING_VALUES"] = values
            results["TRAINING_BYTES"] = values * limits.FLOAT32_BYTES
            results["TRAINING_SHARE"] = max(gauge.share for gauge in training)
        bands = self._bands()
        if bands:
            results["BANDS"], results["BANDS_SHARE"] = bands[0].value, bands[0].share
            results["TILE_BYTES"] = limits.tile_bytes(bands[0].value)
        model = self._model(parameters, context, progress)
        if model:
            results["MODEL_BYTES"], results["MODEL_SHARE"] = model[0].value, model[0].share
        gauges = training + bands + model
        for gauge in gauges:
            tell = progress.message if gauge.state == limits.OK else progress.warn
            tell(limits.sentence(gauge))
        report = read_report(self, parameters, context)
        if report:
            write_report(report, limits_report(gauges))
        return {REPORT: report, **results, "VERDICT": limits.verdict(gauges)}

    def _training(self, parameters: dict, context, progress: Progress) -> list[limits.Gauge]:
        sources: Sequence[Source] = self.sources
        if not sources:
            return []
        class_property = self.parameterAsString(parameters, self.CLASS_PROPERTY, context)
        chosen = self.parameterAsStrings(parameters, self.INPUT_PROPERTIES, context)
        predictors = chosen or predictors_of(sources[0], class_property, progress)
        if not predictors:
            raise TableError(f"Table {sources[0].name!r} has no numeric field: choose INPUT_PROPERTIES.")
        return [limits.training_gauge(_rows(source, progress), len(predictors), source.name) for source in sources]

    def _bands(self) -> list[limits.Gauge]:
        from ...engine.rasters import Raster

        if not self.raster_paths:
            return []
        # Raster by raster, not as one Image: what lies on different grids, or nowhere, still counts.
        return [limits.bands_gauge(sum(len(Raster(path).bands) for path in self.raster_paths))]

    def _model(self, parameters: dict, context, progress: Progress) -> list[limits.Gauge]:
        path = self.parameterAsFile(parameters, MODEL, context)
        if not path:
            return []
        model = read_model(self, parameters, context, progress)
        size = Path(path).stat().st_size
        return [limits.model_gauge(size, model.settings, limits.leaves_per_tree(model.arrays))]

    def _tables(self, parameters: dict, context) -> list[QgsVectorLayer]:
        given = parameters.get(self.TRAINING) or []
        wanted = len(given) if isinstance(given, (list, tuple)) else 1
        layers = self.parameterAsLayerList(parameters, self.TRAINING, context)
        tables = [layer for layer in layers if isinstance(layer, QgsVectorLayer)]
        if len(tables) < wanted:
            raise TableError(f"Of TRAINING {given} only {len(tables)} of {wanted} can be read: check the paths.")
        return tables


def _rows(source: Source, progress: Progress) -> int:
    """Return the number of rows, counted one by one where the provider does not know it."""
    if source.rows >= 0:
        return source.rows
    request = QgsFeatureRequest().setFlags(QgsFeatureRequest.Flag.NoGeometry).setSubsetOfAttributes([])
    rows = 0
    for _ in source.features.getFeatures(request):
        rows += 1
        if not rows % 4096:
            progress.check()
    return rows
