"""The algorithm ``regresscolumns``: a regression or correlation over the rows of a table."""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

import numpy as np
from qgis.core import (
    QgsFeature,
    QgsFeatureRequest,
    QgsFields,
    QgsProcessing,
    QgsProcessingOutputNumber,
    QgsProcessingOutputString,
    QgsProcessingParameterBoolean,
    QgsProcessingParameterFeatureSink,
    QgsProcessingParameterFeatureSource,
    QgsProcessingParameterField,
    QgsWkbTypes,
)

from ...engine.errors import SettingError
from ...engine.progress import Part, Progress
from ...engine.reducers import CONSTANT, REDUCERS, TIME
from ..base import RasterMlAlgorithm
from ..rows import batches, plain, source_layer
from ..sinks import check_table, output_table
from ..tables import field_named, numbers
from .regressregions import (
    COUNT,
    OUTPUT,
    X,
    Y,
    add_reducer,
    add_reducer_settings,
    add_result_fields,
    chosen_reducer,
    keep_names,
    read_reducer,
    result_row,
)

INPUT, WITH_CONSTANT = "INPUT", "CONSTANT"


class RegressColumns(RasterMlAlgorithm):
    """Read the columns, regress them, write one row."""

    NAME, TITLE, GROUP = "regresscolumns", "Regress columns", "regression"
    TWIN = "ee.FeatureCollection.reduceColumns"
    HELP = (
        "<p>Regresses fields on fields over the rows of a table or layer, and writes one row with the results under "
        "Earth Engine's names: <i>scale</i> and <i>offset</i>, <i>slope</i>, <i>correlation</i> and <i>p-value</i>, "
        "<i>tau</i>, coefficients as <i>&lt;x&gt;_&lt;y&gt;</i>, <i>residuals</i>; and <i>n</i>, the number of rows. "
        "RESULT holds them all as JSON.</p>"
        "<p>A row in which a field of X or Y is empty is skipped and counted. linearRegression and "
        "robustLinearRegression have no intercept unless <i>constant</i> is among X: switch Constant on, or type it. "
        "Without X the row's number (0, 1, 2 …) takes its place, as in Earth Engine's kendallsCorrelation with one "
        "input.</p>"
    )

    def initAlgorithm(self, configuration=None) -> None:
        vector = [QgsProcessing.SourceType.TypeVector]
        self.addParameter(QgsProcessingParameterFeatureSource(INPUT, self.tr("Table or layer"), vector))
        add_reducer(self)
        for name, label, optional in (
            (X, "X: fields (empty = the row's number)", True),
            (Y, "Y: fields", False),
        ):
            self.addParameter(
                QgsProcessingParameterField(
                    name,
                    self.tr(label),
                    parentLayerParameterName=INPUT,
                    type=QgsProcessingParameterField.DataType.Any,
                    allowMultiple=True,
                    optional=optional,
                )
            )
        label = self.tr("Add the constant 1 as first X, an intercept")
        self.addParameter(QgsProcessingParameterBoolean(WITH_CONSTANT, label, defaultValue=False))
        add_reducer_settings(self)
        self.addParameter(QgsProcessingParameterFeatureSink(OUTPUT, self.tr("Results")))
        for name in _always_called_so():
            self.addOutput(QgsProcessingOutputNumber(_output_name(name), self.tr(name)))
        self.addOutput(QgsProcessingOutputNumber("N", self.tr("Number of rows used")))
        self.addOutput(QgsProcessingOutputNumber("SKIPPED", self.tr("Number of rows with empty fields")))
        self.addOutput(QgsProcessingOutputString("RESULT", self.tr("All results as JSON")))

    def check(self, parameters: dict, context) -> None:
        layer = source_layer(self, parameters, context, INPUT)
        x, y = self._names(parameters, context, layer.fields(), layer.name())
        reducer = chosen_reducer(self, parameters, context)
        reducer.check_variables(x or reducer.default_x, y)
        check_table(parameters, OUTPUT, context, [layer.source().split("|")[0]])

    def compute(self, parameters: dict, context, progress: Progress) -> dict[str, Any]:
        reducer, settings = read_reducer(self, parameters, context, progress)
        source = self.parameterAsSource(parameters, INPUT, context)
        x, y = self._names(parameters, context, source.fields(), source.sourceName())
        x = x or list(reducer.default_x)
        table = _read(source, [*x, *y], Part(progress, 0, 0.5))
        if table.skipped:
            progress.warn(f"{table.skipped} rows have an empty field among X and Y and were skipped.")
        x_values, y_values = table.values[: len(x)], table.values[len(x) :]
        values = _regressed(reducer, x_values, y_values, settings, progress)
        names, row = reducer.outputs(x, y, settings), result_row(values, table.values.shape[1])
        fields = QgsFields()
        add_result_fields(fields, names)
        feature = QgsFeature(fields)
        feature.setAttributes(row)
        kind = QgsWkbTypes.Type.NoGeometry
        with output_table(self, parameters, OUTPUT, context, fields, kind, source.sourceCrs()) as sink:
            sink.add([feature])
        keep_names(sink, fields, context, progress)
        found = dict(zip([*names, COUNT], row))
        for name, value in found.items():
            progress.message(f"{name} = {value}")
        fixed = {_output_name(name): found[name] for name in _always_called_so() if name in found}
        return {OUTPUT: sink.output, **fixed, "N": row[-1], "SKIPPED": table.skipped, "RESULT": json.dumps(found)}

    def _names(self, parameters: dict, context, fields: QgsFields, layer_name: str) -> tuple[list[str], list[str]]:
        """Return the fields of X and Y by their own spelling; `constant` is none, where no field is called so."""
        chosen = {}
        for parameter in (X, Y):
            names = [name.strip() for name in self.parameterAsStrings(parameters, parameter, context)]
            chosen[parameter] = [
                name
                if parameter == X and name == CONSTANT and fields.lookupField(name) < 0
                else field_named(fields, name, layer_name)
                for name in names
                if name
            ]
        if self.parameterAsBoolean(parameters, WITH_CONSTANT, context) and chosen[X]:
            if CONSTANT in chosen[X]:
                raise SettingError("X has constant already: switch CONSTANT off.")
            chosen[X].insert(0, CONSTANT)
        return chosen[X], chosen[Y]


class _Table(NamedTuple):
    """The complete rows, (fields, rows) float64, and how many others were skipped."""

    values: np.ndarray
    skipped: int


def _read(source, names: list[str], progress: Progress) -> _Table:
    """Read *names* of every row; what is no field is the constant 1 or the row's number."""
    indexes = [source.fields().lookupField(name) for name in names]
    request = QgsFeatureRequest().setSubsetOfAttributes([index for index in indexes if index >= 0])
    request.setFlags(QgsFeatureRequest.Flag.NoGeometry)
    there = [index for index in indexes if index >= 0]
    rows: list[list] = []
    ids: list[int] = []
    places: list[int] = []
    place = -1
    for batch in batches(source, progress, request):
        for feature in batch:
            place += 1
            attributes = feature.attributes()
            row = [plain(attributes[index]) for index in there]
            if all(value is not None and value != "" and value == value for value in row):
                rows.append(row)
                ids.append(feature.id())
                places.append(place)
    columns = iter(zip(*rows))
    built_in = {CONSTANT: np.ones(len(rows)), TIME: np.array(places, dtype=np.float64)}
    values = np.empty((len(names), len(rows)))
    for number, (name, index) in enumerate(zip(names, indexes)):
        if index < 0:
            values[number] = built_in[name]
        elif rows:
            values[number] = numbers(next(columns), ids, name, source.sourceName())
    return _Table(values, place + 1 - len(rows))


def _regressed(reducer, x: np.ndarray, y: np.ndarray, settings: dict, progress: Progress) -> np.ndarray:
    """Return the outputs of *reducer*, worked out in a thread of its own, which a cancelled run leaves behind."""
    from ...engine.region_regression import regress_rows
    from ...engine.workers import ordered_map

    def regress(task: None, stop) -> np.ndarray:
        return regress_rows(reducer, x, y, settings, progress.check)

    (values,) = ordered_map(regress, [None], 1, progress)
    return values


def _always_called_so() -> list[str]:
    """Return the outputs, of any reducer, whose names do not hang on those of one X and one Y."""
    found: dict[str, None] = {}
    for reducer in REDUCERS:
        settings = {**reducer.checked({}), "significance": True}
        others = reducer.outputs(["other x"], ["other y"], settings)
        found.update(dict.fromkeys(name for name in reducer.outputs(["x"], ["y"], settings) if name in others))
    return list(found)


def _output_name(name: str) -> str:
    """Return what the number is called among the algorithm's outputs: P_VALUE for p-value and pValue."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])|-", "_", name).upper()
