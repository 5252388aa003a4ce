"""The error matrix of two fields, and the table and figures in which any error matrix is handed out."""

from __future__ import annotations

from typing import Any

from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsFeature,
    QgsField,
    QgsFields,
    QgsProcessing,
    QgsProcessingAlgorithm,
    QgsProcessingOutputNumber,
    QgsProcessingParameterFeatureSink,
    QgsProcessingParameterFeatureSource,
    QgsProcessingParameterField,
    QgsProcessingParameterString,
    QgsWkbTypes,
)
from qgis.PyQt.QtCore import QMetaType

from ...engine.errors import TableError
from ...engine.progress import Progress
from ...engine.settings import Number
from ..base import RasterMlAlgorithm
from ..parameters import number
from ..running import REPORT, add_report, read_report
from ..sinks import check_table, output_table
from ..tables import Source, field_named, known_classes, read_columns

BETA, OUTPUT = "BETA", "OUTPUT"
NUMBERS = {"ACCURACY": "Accuracy", "KAPPA": "Kappa", "COUNT": "Number of rows compared"}


class ErrorMatrix(RasterMlAlgorithm):
    """Read two fields, count the pairs, write the matrix."""

    NAME, TITLE, GROUP, TWIN = "errormatrix", "Error matrix", "accuracy", "ee.FeatureCollection.errorMatrix"
    HELP = (
        "<p>Compares two fields of a table: the class that is there and the class that was predicted. Rows of the "
        "matrix are actual classes, columns predicted ones.</p>"
        "<p>Both fields hold whole numbers from 0 to 65535, or both hold text. Without Order the labels run from 0 "
        "to the largest one as in Earth Engine (above 255 labels: those present); with it the matrix has exactly "
        "these classes in this order, and rows of other classes are ignored. Rows without a value are skipped.</p>"
        "<p>Producer's accuracy is the diagonal by the row sum, consumer's (user's) accuracy the diagonal by the "
        "column sum. What has a zero denominator is undefined and stays empty.</p>"
    )
    INPUT, ACTUAL, PREDICTED, ORDER = "INPUT", "ACTUAL", "PREDICTED", "ORDER"

    def initAlgorithm(self, configuration=None) -> None:
        self.addParameter(
            QgsProcessingParameterFeatureSource(
                self.INPUT, self.tr("Classified samples"), [QgsProcessing.SourceType.TypeVector]
            )
        )
        for name, label in (
            (self.ACTUAL, "Field of the actual class"),
            (self.PREDICTED, "Field of the predicted class"),
        ):
            self.addParameter(QgsProcessingParameterField(name, self.tr(label), parentLayerParameterName=self.INPUT))
        label = self.tr("Order: classes in the matrix, comma-separated (empty = all)")
        self.addParameter(QgsProcessingParameterString(self.ORDER, label, optional=True))
        add_matrix_outputs(self)

    def check(self, parameters: dict, context) -> None:
        check_table(parameters, OUTPUT, context)
        source = self.parameterAsSource(parameters, self.INPUT, context)
        if source is None:
            return  # Processing's own check says so
        for name in (self.ACTUAL, self.PREDICTED):
            field = self.parameterAsString(parameters, name, context)
            if field:
                field_named(source.fields(), field, source.sourceName())

    def prepare(self, parameters: dict, context, progress: Progress) -> None:
        """Read the names of numeric classes from the layer's renderer or sidecar."""
        layer = self.parameterAsVectorLayer(parameters, self.INPUT, context)
        fields = [self.parameterAsString(parameters, name, context) for name in (self.ACTUAL, self.PREDICTED)]
        found = [known_classes([layer], field) for field in fields] if layer is not None else []
        self.class_names = {item.value: item.name for classes in reversed(found) for item in classes}

    def compute(self, parameters: dict, context, progress: Progress) -> dict[str, Any]:
        from ...engine.accuracy import error_matrix, label_pairs

        stream = self.parameterAsSource(parameters, self.INPUT, context)
        if stream is None:
            raise TableError(f"INPUT {parameters.get(self.INPUT)} cannot be read as a table: check the path.")
        source = Source(stream.sourceName(), stream, stream.fields(), stream.featureCount(), False, None)
        fields = tuple(
            field_named(source.fields, self.parameterAsString(parameters, name, context), source.name)
            for name in (self.ACTUAL, self.PREDICTED)
        )
        columns = read_columns(source, fields, progress)
        order = self.parameterAsString(parameters, self.ORDER, context)
        actual, predicted = (columns.values[field] for field in fields)
        pairs = label_pairs(actual, predicted, order, self.class_names, columns.ids, fields)
        matrix = error_matrix(pairs.actual, pairs.predicted, pairs.order, pairs.names)
        ignored = len(pairs.actual) - matrix.total
        if pairs.skipped:
            progress.warn(f"{pairs.skipped:,} of {len(actual):,} rows have no value in one of the fields: skipped.")
        if ignored:
            progress.message(f"{ignored:,} rows of classes that ORDER does not name are ignored.")
        return write_matrix(self, parameters, context, progress, matrix, pairs.skipped, ignored)


def add_matrix_outputs(algorithm: QgsProcessingAlgorithm) -> None:
    """Add what every algorithm that makes an error matrix has in common."""
    beta = Number("beta", "", 1.0, minimum=0)
    algorithm.addParameter(number(beta, algorithm.tr("Beta: weight of producer's against consumer's accuracy in F")))
    algorithm.addParameter(
        QgsProcessingParameterFeatureSink(OUTPUT, algorithm.tr("Matrix"), QgsProcessing.SourceType.TypeVector)
    )
    add_report(algorithm)
    for name, title in NUMBERS.items():
        algorithm.addOutput(QgsProcessingOutputNumber(name, algorithm.tr(title)))


def write_matrix(
    algorithm: QgsProcessingAlgorithm, parameters: dict, context, progress: Progress, matrix, skipped=0, ignored=0
) -> dict[str, Any]:
    """Write *matrix* (`engine.accuracy.ErrorMatrix`) as table and report; return all outputs."""
    from ...engine.accuracy import defined
    from ...engine.files import check_target
    from ...engine.html_blocks import ratio, write_report
    from ...engine.reports import accuracy_report

    beta = algorithm.parameterAsDouble(parameters, BETA, context)
    rows = _rows(matrix, beta)
    report = read_report(algorithm, parameters, context)
    if report:
        check_target(report)
    fields = _fields(matrix)
    features = []
    for row in rows:
        features.append(QgsFeature(fields))
        features[-1].setAttributes(row)
    none = QgsCoordinateReferenceSystem()
    with output_table(algorithm, parameters, OUTPUT, context, fields, QgsWkbTypes.Type.NoGeometry, none) as table:
        table.add(features)
    if report:
        write_report(report, accuracy_report(matrix, beta, algorithm.displayName(), skipped, ignored))
    accuracy, kappa = matrix.accuracy(), matrix.kappa()
    progress.message(f"Accuracy {ratio(accuracy)}, kappa {ratio(kappa)}, {matrix.total:,} rows compared.")
    return {
        OUTPUT: table.output,
        REPORT: report,
        "ACCURACY": defined(accuracy),
        "KAPPA": defined(kappa),
        "COUNT": matrix.total,
    }


def _fields(matrix) -> QgsFields:
    """Return the columns of the table; the predicted class 7 is ``p7``, since a Shapefile has ten characters."""
    kinds = QMetaType.Type
    fields = QgsFields()
    fields.append(QgsField("actual", kinds.LongLong))
    fields.append(QgsField("name", kinds.QString))
    for label in matrix.labels:
        fields.append(QgsField(f"p{label}", kinds.LongLong))
    fields.append(QgsField("total", kinds.LongLong))
    for name in ("producers_accuracy", "consumers_accuracy", "fscore"):
        fields.append(QgsField(name, kinds.Double))
    return fields


def _rows(matrix, beta: float) -> list[list]:
    from ...engine.accuracy import defined

    measures = zip(matrix.producers_accuracy(), matrix.consumers_accuracy(), matrix.fscore(beta))
    return [
        [label, name, *counts.tolist(), int(counts.sum()), *(defined(value) for value in values)]
        for label, name, counts, values in zip(matrix.labels, matrix.names, matrix.counts, measures)
    ]
