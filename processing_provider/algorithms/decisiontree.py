"""The algorithm ``decisiontree``: trees that are there as text become a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qgis.core import (
    QgsProcessingOutputNumber,
    QgsProcessingParameterFile,
    QgsProcessingParameterFileDestination,
    QgsProcessingParameterString,
)

from ...engine.errors import SettingError, TableError
from ...engine.learners import BY_ID
from ...engine.progress import Progress
from ..base import RasterMlAlgorithm
from ..parameters import add_mode, read_mode
from ..running import add_limits, add_report, read_limits, read_report, save_within_limits

LEARNER = BY_ID["decisiontree"]


class DecisionTree(RasterMlAlgorithm):
    """Read the text, build the trees, save the model."""

    NAME, TITLE, GROUP, TWIN = LEARNER.id, LEARNER.title, "classifiers", LEARNER.twin
    HELP = (
        "<p>Makes a model of trees that are there already: what Earth Engine's <i>explain()</i> prints, a file that "
        "Explain wrote, R's <i>print</i> of an rpart tree, or trees written by hand. Earth Engine's "
        "<i>decisionTreeEnsemble</i> is the same with several trees.</p>"
        "<p>The text holds one or more trees, one after another; a file may also be a JSON list of texts, or a CSV "
        "table with a column <i>tree</i> and # for line breaks. Each line is <i>number) condition n loss yval</i>, and "
        "* on a leaf; the children of node k are 2k and 2k+1. Trees of a classification vote (the lowest of equal "
        "classes), those of a regression are averaged.</p>"
        "<p>Earth Engine prints thresholds with 6 digits, so a pixel that lies within 5 millionths of a threshold may "
        "fall on its other side.</p>"
    )
    TREES, TREE_STRING, OUTPUT = "TREES", "TREE_STRING", "OUTPUT"
    NUMBERS = {
        "TREES": "Number of trees",
        "PREDICTORS": "Number of predictors",
        "CLASSES": "Number of classes",
        "MODEL_BYTES": "Size of the model file in bytes",
    }

    def initAlgorithm(self, configuration=None) -> None:
        self.addParameter(QgsProcessingParameterFile(self.TREES, self.tr("File with trees"), optional=True))
        label = self.tr("Trees as text (instead of a file)")
        self.addParameter(QgsProcessingParameterString(self.TREE_STRING, label, multiLine=True, optional=True))
        add_mode(self, LEARNER)
        add_limits(self)
        self.addParameter(
            QgsProcessingParameterFileDestination(self.OUTPUT, self.tr("Model"), "RasterML model (*.rasterml)")
        )
        add_report(self)
        for name, title in self.NUMBERS.items():
            self.addOutput(QgsProcessingOutputNumber(name, self.tr(title)))

    def check(self, parameters: dict, context) -> None:
        names = (self.TREES, self.TREE_STRING)
        given = sum(bool(self.parameterAsString(parameters, name, context).strip()) for name in names)
        if given != 1:
            problem = "Both TREES and TREE_STRING are given" if given else "There are no trees"
            raise SettingError(f"{problem}: give either a file as TREES or text as TREE_STRING.")

    def compute(self, parameters: dict, context, progress: Progress) -> dict[str, Any]:
        from ...engine.decision_tree import tree_model
        from ...engine.explanation import explain
        from ...engine.html_blocks import write_report
        from ...engine.reports import explain_report
        from ...engine.tree_reader import read_trees

        path, report = (
            self.parameterAsFileOutput(parameters, self.OUTPUT, context),
            read_report(self, parameters, context),
        )
        policy = read_limits(self, parameters, context)
        file, text = (self.parameterAsString(parameters, name, context) for name in (self.TREES, self.TREE_STRING))
        read = read_trees(_content(file.strip()) if file.strip() else text, progress)
        for note in read.notes:
            progress.warn(note)
        model = tree_model(read, read_mode(self, parameters, context, LEARNER))
        progress.message(f"Predictors: {', '.join(model.predictors) or 'none, every pixel gets the same'}")
        gauge = save_within_limits(model, path, policy, progress)
        if report:
            write_report(report, explain_report(model, explain(model)))
        return {
            self.OUTPUT: path,
            "OUTPUT_HTML_FILE": report,
            "TREES": len(read.trees),
            "PREDICTORS": len(model.predictors),
            "CLASSES": len(model.classes),
            "MODEL_BYTES": gauge.value,
        }


def _content(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeError) as error:
        raise TableError(f"TREES {path} cannot be read as text ({error}): choose a text, JSON or CSV file.") from error
