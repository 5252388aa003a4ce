"""The algorithm ``spectralregion``: polygons in the plane of two bands become a model."""

from __future__ import annotations

from typing import Any

from qgis.core import (
    QgsProcessingOutputNumber,
    QgsProcessingParameterFileDestination,
    QgsProcessingParameterString,
)

from ...engine.learners import BY_ID
from ...engine.progress import Progress
from ..base import RasterMlAlgorithm
from ..running import add_limits, add_report, read_limits, read_report, save_within_limits

LEARNER = BY_ID["spectralregion"]


class SpectralRegion(RasterMlAlgorithm):
    """Read the rings, save the model."""

    NAME, TITLE, GROUP, TWIN = LEARNER.id, LEARNER.title, "classifiers", LEARNER.twin
    HELP = (
        "<p>Makes a model that says 1 where the values of two bands lie inside a region of their plane, 0 elsewhere; "
        "there is no training.</p><p>Coordinates is a JSON list of rings, each a flat list of band values "
        "[u1, v1, u2, v2, …], for example [[0.1, 0.2, 0.5, 0.2, 0.3, 0.6]]. A ring inside another one is a hole "
        "(even–odd rule). Edges must not cross. A point on an edge belongs to the region right of the edge, on a level "
        "edge to the region above.</p><p>Schema names the two bands, u first.</p>"
    )
    COORDINATES, SCHEMA, OUTPUT = "COORDINATES", "SCHEMA", "OUTPUT"

    def initAlgorithm(self, configuration=None) -> None:
        label = self.tr("Coordinates: rings [[u1, v1, u2, v2, …], …]")
        self.addParameter(QgsProcessingParameterString(self.COORDINATES, label, multiLine=True))
        label = self.tr("Schema: the bands u,v")
        self.addParameter(QgsProcessingParameterString(self.SCHEMA, label, defaultValue="u,v"))
        add_limits(self)
        self.addParameter(
            QgsProcessingParameterFileDestination(self.OUTPUT, self.tr("Model"), "RasterML model (*.rasterml)")
        )
        add_report(self)
        self.addOutput(QgsProcessingOutputNumber("RINGS", self.tr("Number of rings")))
        self.addOutput(QgsProcessingOutputNumber("MODEL_BYTES", self.tr("Size of the model file in bytes")))

    def check(self, parameters: dict, context) -> None:
        self._model(parameters, context)

    def compute(self, parameters: dict, context, progress: Progress) -> dict[str, Any]:
        from ...engine.explanation import explain
        from ...engine.html_blocks import write_report
        from ...engine.reports import explain_report

        path, report = (
            self.parameterAsFileOutput(parameters, self.OUTPUT, context),
            read_report(self, parameters, context),
        )
        model = self._model(parameters, context)
        gauge = save_within_limits(model, path, read_limits(self, parameters, context), progress)
        explanation = explain(model)
        if report:
            write_report(report, explain_report(model, explanation))
        return {
            self.OUTPUT: path,
            "OUTPUT_HTML_FILE": report,
            "RINGS": len(explanation["coordinates"]),
            "MODEL_BYTES": gauge.value,
        }

    def _model(self, parameters: dict, context):
        from ...engine.spectral_region import region_model

        texts = (self.parameterAsString(parameters, name, context) for name in (self.COORDINATES, self.SCHEMA))
        return region_model(*texts)
