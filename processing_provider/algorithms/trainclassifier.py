"""One training algorithm per row of the table of learners."""

from __future__ import annotations

from typing import Any

from qgis.core import QgsProcessingOutputNumber, QgsProcessingParameterFileDestination

from ...engine import limits
from ...engine.learners import REGRESSION, Learner
from ...engine.progress import Part, Progress
from ..base import RasterMlAlgorithm
from ..parameters import add_mode, add_settings, read_mode, read_settings
from ..running import (
    add_limits,
    add_report,
    add_threads,
    read_limits,
    read_report,
    read_threads,
    save_within_limits,
)
from ..samples import add_training, check_training, prepare_training, read_samples


class TrainClassifier(RasterMlAlgorithm):
    """Gather the samples, fit the learner, save the model."""

    GROUP = "classifiers"
    OUTPUT = "OUTPUT"
    NUMBERS = {
        "EXAMPLES": "Number of samples",
        "PREDICTORS": "Number of predictors",
        "CLASSES": "Number of classes",
        "TRAINING_BYTES": "Size of the training data in bytes",
        "MODEL_BYTES": "Size of the model file in bytes",
        "TRAINING_ACCURACY": "Accuracy on the training samples (R² in regression)",
        "OUT_OF_BAG_ERROR": "Out-of-bag error (RMSE in regression)",
    }

    def __init__(self, learner: Learner) -> None:
        super().__init__()
        self.learner = learner
        self.NAME, self.TITLE, self.TWIN = learner.id, learner.title, learner.twin
        self.HELP = (
            f"<p>{learner.summary} Trains on one or more tables of samples and writes a model file (.rasterml), "
            "which Classify and Classify table apply.</p><p>Each table in Training samples is one Earth Engine "
            "<i>.train()</i> call; all are accumulated, and each has the training cap (26,214,400 values) for itself. "
            "Without Predictors, the numeric columns right of <i>system_index</i> are used, as Sample regions wrote "
            "them. Text labels get numbers from 0 in alphabetical order and keep their names.</p>"
            f"<p>{learner.notes}</p>"
        )

    def createInstance(self):
        return TrainClassifier(self.learner)

    def initAlgorithm(self, configuration=None) -> None:
        add_training(self)
        add_mode(self, self.learner)
        add_settings(self, self.learner)
        add_limits(self)
        add_threads(self)
        self.addParameter(
            QgsProcessingParameterFileDestination(self.OUTPUT, self.tr("Model"), "RasterML model (*.rasterml)")
        )
        add_report(self)
        for name, title in self.NUMBERS.items():
            self.addOutput(QgsProcessingOutputNumber(name, self.tr(title)))

    def check(self, parameters: dict, context) -> None:
        check_training(self, parameters, context)

    def prepare(self, parameters: dict, context, progress: Progress) -> None:
        prepare_training(self, parameters, context)

    def compute(self, parameters: dict, context, progress: Progress) -> dict[str, Any]:
        from ...engine.html_blocks import write_report
        from ...engine.reports import training_report
        from ...engine.training import checked_settings, require_sklearn, train

        require_sklearn()
        learner = self.learner
        policy = read_limits(self, parameters, context)
        mode = read_mode(self, parameters, context, learner)
        settings = checked_settings(learner, mode, read_settings(self, parameters, context, learner))
        path, report = (
            self.parameterAsFileOutput(parameters, self.OUTPUT, context),
            read_report(self, parameters, context),
        )
        samples, gauges = read_samples(self, parameters, context, mode, Part(progress, 0, 0.2))
        for gauge in gauges:
            limits.obey(gauge, policy, progress)
        if policy == limits.ENFORCE:
            size = learner.largest_model(samples.rows, len(samples.predictors), len(samples.classes), mode, settings)
            if size is not None:
                limits.obey(limits.model_gauge(size, settings), policy, progress)
        model = train(
            learner.id, samples, mode, settings, read_threads(self, parameters, context), Part(progress, 0.2, 1)
        )
        gauge = save_within_limits(model, path, policy, progress)
        if report:
            write_report(report, training_report(model, [*gauges, gauge], _fitted(model, samples)))
        return {
            self.OUTPUT: path,
            "OUTPUT_HTML_FILE": report,
            "EXAMPLES": samples.rows,
            "PREDICTORS": len(samples.predictors),
            "CLASSES": len(samples.classes),
            "TRAINING_BYTES": samples.bytes,
            "MODEL_BYTES": gauge.value,
            "TRAINING_ACCURACY": model.training["accuracy"],
            "OUT_OF_BAG_ERROR": model.training.get("out_of_bag_error"),
        }


def _fitted(model, samples):
    """Return observed and predicted targets of the samples of a regression, None of a classification."""
    from ...engine.prediction import predict_rows

    if model.mode != REGRESSION:
        return None
    return samples.labels, predict_rows(model, samples.features)[0]
