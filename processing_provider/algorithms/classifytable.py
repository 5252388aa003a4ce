"""The algorithms ``classifytable`` and ``clustertable``: a prediction for every row of a table."""

from __future__ import annotations

from typing import Any

import numpy as np
from qgis.core import (
    QgsProcessing,
    QgsProcessingOutputNumber,
    QgsProcessingParameterFeatureSink,
    QgsProcessingParameterString,
    QgsProcessingParameterVectorLayer,
)

from ...engine.errors import SettingError, TableError
from ...engine.learners import CLASSIFICATION, OUTPUT_MODES
from ...engine.models import Model
from ...engine.progress import Part, Progress
from ..base import RasterMlAlgorithm
from ..parameters import choice
from ..rows import Column, fields_with, rows_with
from ..running import add_model, add_threads, check_model, read_model_for, read_threads
from ..sinks import check_table, output_table
from ..tables import field_named, full_to_stored, numbers, open_source, read_columns


class ClassifyTable(RasterMlAlgorithm):
    """Read the predictors, predict all rows at once, write the rows with the new fields."""

    NAME, TITLE, GROUP, TWIN = "classifytable", "Classify table", "prediction", "ee.FeatureCollection.classify"
    HELP = (
        "<p>Adds what the model predicts to every row of a table or vector layer. Fields are matched to the model's "
        "predictors by name; a row that lacks a value keeps an empty prediction.</p>"
        "<p>The field is named by Output name; a model with class names adds <i>&lt;name&gt;_name</i>. Modes with "
        "several values give one field per value: <i>&lt;name&gt;_&lt;class&gt;</i>, <i>&lt;name&gt;_tree_1</i> …</p>"
    )
    CLUSTERS, NAME_BY_DEFAULT = False, "classification"
    INPUT, MODE, NAME_OF_OUTPUT, OUTPUT = "INPUT", "OUTPUT_MODE", "OUTPUT_NAME", "OUTPUT"

    def initAlgorithm(self, configuration=None) -> None:
        self.addParameter(
            QgsProcessingParameterVectorLayer(self.INPUT, self.tr("Table"), [QgsProcessing.SourceType.TypeVector])
        )
        add_model(self)
        if not self.CLUSTERS:
            self.addParameter(
                choice(self.MODE, self.tr("Output mode (empty = the model's)"), list(OUTPUT_MODES), None, optional=True)
            )
        self.addParameter(
            QgsProcessingParameterString(self.NAME_OF_OUTPUT, self.tr("Output name"), defaultValue=self.NAME_BY_DEFAULT)
        )
        add_threads(self)
        label = self.tr("Clustered table") if self.CLUSTERS else self.tr("Classified table")
        self.addParameter(QgsProcessingParameterFeatureSink(self.OUTPUT, label))
        self.addOutput(QgsProcessingOutputNumber("COUNT", self.tr("Number of rows")))
        self.addOutput(QgsProcessingOutputNumber("PREDICTED", self.tr("Number of predicted rows")))

    def check(self, parameters: dict, context) -> None:
        check_model(self, parameters, context)
        if not self.parameterAsString(parameters, self.NAME_OF_OUTPUT, context).strip():
            raise SettingError(f"OUTPUT_NAME is empty: give the new field a name, such as {self.NAME_BY_DEFAULT}.")
        check_table(parameters, self.OUTPUT, context)

    def prepare(self, parameters: dict, context, progress: Progress) -> None:
        layer = self.parameterAsVectorLayer(parameters, self.INPUT, context)
        if layer is None:
            raise TableError(f"INPUT {parameters.get(self.INPUT)} cannot be read as a table: check the path.")
        self.source, self.crs, self.geometry_type = open_source(layer), layer.crs(), layer.wkbType()

    def compute(self, parameters: dict, context, progress: Progress) -> dict[str, Any]:
        model = read_model_for(self, parameters, context, self.CLUSTERS, progress)
        mode = model.output_mode("" if self.CLUSTERS else self.parameterAsEnumString(parameters, self.MODE, context))
        name = self.parameterAsString(parameters, self.NAME_OF_OUTPUT, context).strip()
        threads = read_threads(self, parameters, context)
        columns, predicted = self._predictions(model, mode, name, threads, Part(progress, 0, 0.7))
        fields = fields_with(self.source, columns)
        with output_table(self, parameters, self.OUTPUT, context, fields, self.geometry_type, self.crs) as table:
            for features in rows_with(self.source, columns, Part(progress, 0.7, 1)):
                table.add(features)
        return {self.OUTPUT: table.output, "COUNT": len(columns[0].values), "PREDICTED": predicted}

    def _predictions(self, model: Model, mode: str, name: str, threads: int, progress: Progress):
        """Return the new columns (name, values with None) and the number of rows that have them."""
        from ...engine.prediction import NO_CLASS, predict_rows

        stored = full_to_stored(self.source)
        names = [field_named(self.source.fields, stored.get(item, item), self.source.name) for item in model.predictors]
        columns = read_columns(self.source, names, Part(progress, 0, 0.4))
        rows = len(columns.ids)
        missing = np.array([[value is None for value in columns.values[item]] for item in names]).reshape(-1, rows)
        complete = np.flatnonzero(~missing.any(axis=0))
        kind = np.float64 if self.CLUSTERS else np.float32  # as in training
        features = np.empty((complete.size, len(names)), dtype=kind)
        for position, item in enumerate(names):
            values = [columns.values[item][row] for row in complete]
            features[:, position] = numbers(values, [columns.ids[row] for row in complete], item, self.source.name)
        values = predict_rows(model, features, mode, threads, Part(progress, 0.4, 1))
        titles = {item.value: item.name for item in model.classes}
        classes = model.learner.load_predictor(model).gives_classes(mode)
        found: list[Column] = []
        for suffix, band in zip(_suffixes(model, mode), values):
            type_of_field = int if classes else float
            band = [None if value != value or value == NO_CLASS else value for value in band.tolist()]
            found.append(Column(name + suffix, type_of_field, _spread(band, complete, rows)))
        if mode == CLASSIFICATION and len(found) == 1 and any(title != str(value) for value, title in titles.items()):
            texts = [titles.get(value) for value in values[0].tolist()]
            found.append(Column(f"{name}_name", str, _spread(texts, complete, rows)))
        if complete.size < rows:
            progress.warn(f"{rows - complete.size} rows lack a predictor and have no prediction.")
        return found, int(complete.size)


class ClusterTable(ClassifyTable):
    """The same with a model that found its clusters by itself."""

    NAME, TITLE, TWIN = "clustertable", "Cluster table", "ee.FeatureCollection.cluster"
    HELP = (
        "<p>Adds the number of its cluster, from 0, to every row of a table or vector layer. Fields are matched to the "
        "model's predictors by name; a row that lacks a value keeps an empty one.</p>"
    )
    CLUSTERS, NAME_BY_DEFAULT = True, "cluster"


def _suffixes(model: Model, mode: str) -> list[str]:
    bands = model.learner.load_predictor(model).bands(mode)
    return [""] if len(bands) == 1 else [f"_{band}" for band in bands]


def _spread(values: list, places: np.ndarray, rows: int) -> list:
    """Return a column of *rows* values with *values* at *places* and None elsewhere."""
    column: list = [None] * rows
    for place, value in zip(places.tolist(), values):
        column[place] = value
    return column
