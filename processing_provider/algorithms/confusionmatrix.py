"""The error matrix of a model on its own training samples."""

from __future__ import annotations

from typing import Any

from ...engine.errors import SettingError
from ...engine.progress import Progress
from ..base import RasterMlAlgorithm
from ..running import add_model, check_model, read_model
from ..sinks import check_table
from .errormatrix import OUTPUT, add_matrix_outputs, write_matrix


class ConfusionMatrix(RasterMlAlgorithm):
    """Read the matrix that training left in the model file, and write it."""

    NAME, TITLE, GROUP, TWIN = "confusionmatrix", "Confusion matrix", "accuracy", "ee.Classifier.confusionMatrix"
    HELP = (
        "<p>The error matrix of a model on its own training samples (resubstitution; for a forest not out-of-bag). "
        "Rows are actual classes, columns predicted ones; the labels run from 0 to the largest class as in Earth "
        "Engine (above 255 labels: the model's own).</p>"
        "<p>It says how well the model has learnt its samples, not how good its map is: use Error matrix with "
        "samples that were held out for that.</p>"
    )

    def initAlgorithm(self, configuration=None) -> None:
        add_model(self)
        add_matrix_outputs(self)

    def check(self, parameters: dict, context) -> None:
        check_model(self, parameters, context)
        check_table(parameters, OUTPUT, context)

    def compute(self, parameters: dict, context, progress: Progress) -> dict[str, Any]:
        from ...engine.accuracy import matrix_of_counts

        model = read_model(self, parameters, context, progress)
        if not model.classes:
            raise SettingError(
                f"The model was trained in mode {model.mode}, and only a classification has a confusion matrix: "
                "see TRAINING_ACCURACY of the training for R²."
            )
        counts = model.training.get("confusion")
        if counts is None:
            raise SettingError("The model file holds no confusion matrix: train the model again with this RasterML.")
        names = {item.value: item.name for item in model.classes}
        return write_matrix(self, parameters, context, progress, matrix_of_counts(counts, list(names), names))
