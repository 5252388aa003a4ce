"""The algorithm ``regressionaccuracy``: observed against predicted values of a continuous target."""

from __future__ import annotations

from typing import Any

import numpy as np
from qgis.core import (
    QgsProcessing,
    QgsProcessingOutputNumber,
    QgsProcessingParameterFeatureSink,
    QgsProcessingParameterField,
    QgsProcessingParameterVectorLayer,
)

from ...engine.errors import TableError
from ...engine.progress import Part, Progress
from ..base import RasterMlAlgorithm
from ..rows import Column, fields_with, rows_with
from ..running import REPORT, add_report, read_report
from ..sinks import check_table, output_table
from ..tables import field_named, numbers, open_source, read_columns


class RegressionAccuracy(RasterMlAlgorithm):
    """Read two fields, measure their differences, write the rows with their residuals."""

    NAME, TITLE, GROUP, TWIN = "regressionaccuracy", "Regression accuracy", "accuracy", ""
    HELP = (
        "<p>Compares two fields of a table: the value that was measured and the value that was predicted, best of "
        "samples that the model has not seen. Earth Engine has no such function.</p>"
        "<p>Residual is predicted minus observed, so a positive bias means that the model predicts too much. R² is "
        "1 − sum of squared residuals / sum of squares around the mean of the observed values: 1 is perfect, below 0 "
        "is worse than predicting that mean. The output has all fields of the table and <i>residual</i>; rows without "
        "a value in one of the fields keep an empty residual and are left out.</p>"
    )
    INPUT, ACTUAL, PREDICTED, OUTPUT = "INPUT", "ACTUAL", "PREDICTED", "OUTPUT"
    NUMBERS = {
        "RMSE": "Root mean square error",
        "MAE": "Mean absolute error",
        "R_SQUARED": "R²",
        "BIAS": "Bias (mean of predicted − observed)",
        "COUNT": "Number of rows compared",
    }

    def initAlgorithm(self, configuration=None) -> None:
        self.addParameter(
            QgsProcessingParameterVectorLayer(
                self.INPUT, self.tr("Predicted samples"), [QgsProcessing.SourceType.TypeVector]
            )
        )
        for name, label in ((self.ACTUAL, "Field of the observed value"), (self.PREDICTED, "Field of the prediction")):
            self.addParameter(QgsProcessingParameterField(name, self.tr(label), parentLayerParameterName=self.INPUT))
        self.addParameter(QgsProcessingParameterFeatureSink(self.OUTPUT, self.tr("Residuals")))
        add_report(self)
        for name, title in self.NUMBERS.items():
            self.addOutput(QgsProcessingOutputNumber(name, self.tr(title)))

    def check(self, parameters: dict, context) -> None:
        check_table(parameters, self.OUTPUT, context)
        layer = self.parameterAsVectorLayer(parameters, self.INPUT, context)
        for name in (self.ACTUAL, self.PREDICTED) if layer is not None else ():
            field = self.parameterAsString(parameters, name, context)
            if field:
                field_named(layer.fields(), field, layer.name())

    def prepare(self, parameters: dict, context, progress: Progress) -> None:
        layer = self.parameterAsVectorLayer(parameters, self.INPUT, context)
        if layer is None:
            raise TableError(f"INPUT {parameters.get(self.INPUT)} cannot be read as a table: check the path.")
        self.source, self.crs, self.geometry_type = open_source(layer), layer.crs(), layer.wkbType()

    def compute(self, parameters: dict, context, progress: Progress) -> dict[str, Any]:
        from ...engine.files import check_target
        from ...engine.html_blocks import write_report
        from ...engine.reports import regression_report
        from ...engine.residuals import residuals

        report = read_report(self, parameters, context)
        if report:
            check_target(report)
        names = [
            field_named(self.source.fields, self.parameterAsString(parameters, name, context), self.source.name)
            for name in (self.ACTUAL, self.PREDICTED)
        ]
        observed, predicted = self._columns(names, Part(progress, 0, 0.5))
        measures = residuals(observed, predicted)
        skipped = observed.size - measures.rows
        if not measures.rows:
            raise TableError(f"No row of {self.source.name!r} has a number in both {names[0]} and {names[1]}.")
        if skipped:
            progress.warn(f"{skipped:,} of {observed.size:,} rows have no value in one of the fields: skipped.")
        errors = [None if error != error else error for error in (predicted - observed).tolist()]
        columns = [Column("residual", float, errors)]
        fields = fields_with(self.source, columns)
        with output_table(self, parameters, self.OUTPUT, context, fields, self.geometry_type, self.crs) as table:
            for features in rows_with(self.source, columns, Part(progress, 0.5, 1)):
                table.add(features)
        if report:
            write_report(report, regression_report(measures, observed, predicted, self.displayName(), skipped))
        progress.message(f"RMSE {measures.rmse:.6g}, R² {measures.r_squared:.4f}, {measures.rows:,} rows compared.")
        figures = (measures.rmse, measures.mae, measures.r_squared, measures.bias)
        values = [None if figure != figure else figure for figure in figures]
        return {self.OUTPUT: table.output, REPORT: report, **dict(zip(self.NUMBERS, (*values, measures.rows)))}

    def _columns(self, names: list[str], progress: Progress) -> list[np.ndarray]:
        """Return both fields as float64, NaN where a row has no value."""
        columns = read_columns(self.source, names, progress)
        found = []
        for name in names:
            values = columns.values[name]
            known = [row for row, value in enumerate(values) if value not in (None, "") and value == value]
            array = np.full(len(values), np.nan)
            ids = [columns.ids[row] for row in known]
            array[known] = numbers([values[row] for row in known], ids, name, self.source.name)
            found.append(array)
        return found
