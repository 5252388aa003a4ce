"""One training algorithm per clusterer of the table of learners."""

from __future__ import annotations

from typing import Any

from qgis.core import QgsProcessingOutputNumber, QgsProcessingParameterFileDestination

from ...engine import limits
from ...engine.learners import CLUSTERING, Learner
from ...engine.progress import Part, Progress
from ..base import RasterMlAlgorithm
from ..parameters import add_settings, read_settings
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


class TrainClusterer(RasterMlAlgorithm):
    """Gather the samples, find the clusters, save the model."""

    GROUP = "clusterers"
    OUTPUT = "OUTPUT"
    NUMBERS = {
        "EXAMPLES": "Number of samples",
        "PREDICTORS": "Number of predictors",
        "CLUSTERS": "Number of clusters",
        "TRAINING_BYTES": "Size of the training data in bytes",
        "MODEL_BYTES": "Size of the model file in bytes",
    }

    def __init__(self, learner: Learner) -> None:
        super().__init__()
        self.learner = learner
        self.NAME, self.TITLE, self.TWIN = learner.id, learner.title, learner.twin
        self.HELP = (
            f"<p>{learner.summary} Learns from one or more tables of samples without classes, and writes a model file "
            "(.rasterml), which Cluster and Cluster table apply. Another order of the samples can give other clusters."
            "</p><p>Each table in Training samples is one Earth Engine <i>.train()</i> call; all are accumulated, and "
            "each has the training cap (26,214,400 values) for itself. Without Predictors, the numeric columns right "
            "of <i>system_index</i> are used, as Sample wrote them: take class labels out, they are numbers, too.</p>"
            f"<p>{learner.notes}</p>"
        )

    def createInstance(self):
        return TrainClusterer(self.learner)

    def initAlgorithm(self, configuration=None) -> None:
        add_training(self, with_class=False)
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
        from ...engine.training import checked_settings, train

        learner = self.learner
        policy = read_limits(self, parameters, context)
        settings = checked_settings(learner, CLUSTERING, read_settings(self, parameters, context, learner))
        path = self.parameterAsFileOutput(parameters, self.OUTPUT, context)
        report = read_report(self, parameters, context)
        samples, gauges = read_samples(self, parameters, context, CLUSTERING, Part(progress, 0, 0.2))
        for gauge in gauges:
            limits.obey(gauge, policy, progress)
        threads = read_threads(self, parameters, context)
        model = train(learner.id, samples, CLUSTERING, settings, threads, Part(progress, 0.2, 1))
        gauge = save_within_limits(model, path, policy, progress)
        if report:
            write_report(report, training_report(model, [*gauges, gauge]))
        return {
            self.OUTPUT: path,
            "OUTPUT_HTML_FILE": report,
            "EXAMPLES": samples.rows,
            "PREDICTORS": len(samples.predictors),
            "CLUSTERS": len(model.classes),
            "TRAINING_BYTES": samples.bytes,
            "MODEL_BYTES": gauge.value,
        }
