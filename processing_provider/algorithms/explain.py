"""The algorithm ``explain``: what is inside a model, as JSON and as a page."""

from __future__ import annotations

import json
from typing import Any

from qgis.core import QgsProcessingOutputNumber, QgsProcessingParameterFileDestination

from ...engine.progress import Progress
from ..base import RasterMlAlgorithm
from ..running import add_model, add_report, check_model, read_model, read_report


class Explain(RasterMlAlgorithm):
    """Load the model, gather what it knows of itself, write it down."""

    NAME, TITLE, GROUP, TWIN = "explain", "Explain", "accuracy", "ee.Classifier.explain"
    HELP = (
        "<p>Writes what a model knows of itself: classes, predictors and their importance, parameters, training size, "
        "out-of-bag error, and every tree as text in the format of Earth Engine. The report shows the same without "
        "the trees.</p>"
    )
    OUTPUT = "OUTPUT"

    def initAlgorithm(self, configuration=None) -> None:
        add_model(self)
        self.addParameter(QgsProcessingParameterFileDestination(self.OUTPUT, self.tr("Explanation"), "JSON (*.json)"))
        add_report(self)
        self.addOutput(QgsProcessingOutputNumber("NUMBER_OF_TREES", self.tr("Number of trees")))
        self.addOutput(QgsProcessingOutputNumber("OUT_OF_BAG_ERROR", self.tr("Out-of-bag error")))

    def check(self, parameters: dict, context) -> None:
        check_model(self, parameters, context)

    def compute(self, parameters: dict, context, progress: Progress) -> dict[str, Any]:
        from ...engine.explanation import explain
        from ...engine.files import write_atomically
        from ...engine.html_blocks import write_report
        from ...engine.reports import explain_report

        model = read_model(self, parameters, context, progress)
        explanation = explain(model)
        path, report = (
            self.parameterAsFileOutput(parameters, self.OUTPUT, context),
            read_report(self, parameters, context),
        )
        write_atomically(path, json.dumps(explanation, indent=1, ensure_ascii=False, allow_nan=False).encode())
        if report:
            write_report(report, explain_report(model, explanation))
        return {
            self.OUTPUT: path,
            "OUTPUT_HTML_FILE": report,
            "NUMBER_OF_TREES": explanation.get("numberOfTrees"),
            "OUT_OF_BAG_ERROR": explanation.get("outOfBagErrorEstimate"),
        }
