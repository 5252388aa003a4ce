"""The algorithm ``regressregions``: a regression or correlation over the pixels of each polygon."""

from __future__ import annotations

import dataclasses
from typing import Any, Sequence

import numpy as np
from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsField,
    QgsFields,
    QgsProcessing,
    QgsProcessingAlgorithm,
    QgsProcessingOutputNumber,
    QgsProcessingParameterFeatureSink,
    QgsProcessingParameterFeatureSource,
    QgsProcessingParameterString,
    QgsWkbTypes,
)
from qgis.PyQt.QtCore import QMetaType

from ...engine import sidecar
from ...engine.errors import TableError
from ...engine.progress import Part, Progress
from ...engine.reducers import CONSTANT, REDUCERS, Reducer
from ...engine.settings import Number, Setting, Switch, parameter_name
from .. import settings
from ..base import RasterMlAlgorithm
from ..blocks import add_grid, add_image, prepare_image, raster_paths, read_grid, read_image
from ..parameters import add_settings, choice, number, read_settings, set_advanced
from ..regions import placed, transform_to
from ..rows import batches, source_layer
from ..running import MEMORY_LIMIT, add_threads, read_threads
from ..sinks import OutputTable, check_table, output_table

REDUCER, X, Y, OUTPUT = "REDUCER", "X", "Y", "OUTPUT"
COUNT = "n"


class RegressRegions(RasterMlAlgorithm):
    """Bring the regions into the image's CRS, regress each one's pixels, write the regions with the results."""

    NAME, TITLE, GROUP, TWIN = "regressregions", "Regress regions", "regression", "ee.Image.reduceRegions"
    HELP = (
        "<p>Regresses bands on bands over the pixels of each polygon, and writes the polygons with the results under "
        "Earth Engine's names: <i>scale</i> and <i>offset</i>, <i>slope</i>, <i>correlation</i> and <i>p-value</i>, "
        "<i>tau</i>, coefficients as <i>&lt;x&gt;_&lt;y&gt;</i>, <i>residuals</i>; and <i>n</i>, the number of "
        "pixels.</p>"
        "<p>A pixel belongs to the polygons that hold its centre, and counts where no band of X and Y is masked. What "
        "is not defined (too few pixels, X that does not vary) is empty. <i>constant</i> among X is 1 everywhere: the "
        "intercept of linearRegression and robustLinearRegression. An old field of a result's name gives way.</p>"
    )
    COLLECTION = "COLLECTION"

    def initAlgorithm(self, configuration=None) -> None:
        add_image(self)
        polygons = [QgsProcessing.SourceType.TypeVectorPolygon]
        self.addParameter(QgsProcessingParameterFeatureSource(self.COLLECTION, self.tr("Regions"), polygons))
        add_reducer(self)
        label = self.tr("X: bands, comma-separated; constant = 1 (empty = all but the last)")
        self.addParameter(QgsProcessingParameterString(X, label, optional=True))
        label = self.tr("Y: bands, comma-separated (empty = the last)")
        self.addParameter(QgsProcessingParameterString(Y, label, optional=True))
        add_reducer_settings(self)
        add_grid(self)
        add_threads(self)
        memory = Number("memory_limit", "", settings.MEMORY_LIMIT.value(), minimum=512, integer=True)
        self.addParameter(set_advanced(number(memory, self.tr("Memory for the whole run in MB"))))
        self.addParameter(QgsProcessingParameterFeatureSink(OUTPUT, self.tr("Regions with results")))
        self.addOutput(QgsProcessingOutputNumber("COUNT", self.tr("Number of regions")))
        self.addOutput(QgsProcessingOutputNumber("FITTED", self.tr("Number of regions with a result")))

    def check(self, parameters: dict, context) -> None:
        raster_paths(self, parameters, context)
        layer = source_layer(self, parameters, context, self.COLLECTION)
        if layer.geometryType() != QgsWkbTypes.GeometryType.PolygonGeometry:
            raise TableError(f"COLLECTION {layer.name()!r} has no polygons: choose a layer of polygons.")
        check_table(parameters, OUTPUT, context, [layer.source().split("|")[0]])

    def prepare(self, parameters: dict, context, progress: Progress) -> None:
        prepare_image(self, parameters, context)

    def compute(self, parameters: dict, context, progress: Progress) -> dict[str, Any]:
        from ...engine.region_regression import regress_regions

        reducer, chosen = read_reducer(self, parameters, context, progress)
        image = read_image(self, parameters, context, progress, read_grid(self, parameters, context))
        x, y = _variables(
            reducer,
            split(self.parameterAsString(parameters, X, context)),
            split(self.parameterAsString(parameters, Y, context)),
            image.band_names,
        )
        progress.message(f"{reducer.word} of Y {', '.join(y)} on X {', '.join(x)}")
        source = self.parameterAsSource(parameters, self.COLLECTION, context)
        crs = QgsCoordinateReferenceSystem.fromWkt(image.grid.crs_wkt)
        transform = transform_to(source, crs, context, progress)
        features = [feature for batch in batches(source, Part(progress, 0, 0.1)) for feature in batch]
        fits = regress_regions(
            image,
            [placed(feature, transform) for feature in features],
            reducer,
            x,
            y,
            chosen,
            threads=read_threads(self, parameters, context),
            memory_limit=self.parameterAsInt(parameters, MEMORY_LIMIT, context),
            progress=Part(progress, 0.1, 0.9),
        )
        image.close()
        names = reducer.outputs(x, y, chosen)
        new = {name.lower() for name in (*names, COUNT)}
        kept = [index for index, field in enumerate(source.fields()) if field.name().lower() not in new]
        fields = QgsFields()
        for index in kept:
            fields.append(source.fields().at(index))
        add_result_fields(fields, names)
        with output_table(self, parameters, OUTPUT, context, fields, source.wkbType(), source.sourceCrs()) as table:
            for region, feature in enumerate(features):
                old = feature.attributes()
                row = result_row(fits.values[:, region], int(fits.counts[region]))
                feature.setFields(fields, False)
                feature.setAttributes([*(old[index] for index in kept), *row])
            table.add(features)
        keep_names(table, fields, context, progress)
        fitted = int((~np.isnan(fits.values)).any(axis=0).sum())
        if fitted < len(features):
            progress.warn(
                f"{len(features) - fitted} of {len(features)} regions have no result: too few pixels in them."
            )
        return {OUTPUT: table.output, "COUNT": len(features), "FITTED": fitted}


def add_reducer(algorithm: QgsProcessingAlgorithm) -> None:
    words = [reducer.word for reducer in REDUCERS]
    algorithm.addParameter(choice(REDUCER, algorithm.tr("Reducer"), words, words[0]))


def add_reducer_settings(algorithm: QgsProcessingAlgorithm) -> None:
    """Add every setting that some reducer has, once."""
    found: dict[str, Setting] = {setting.name: setting for reducer in REDUCERS for setting in reducer.settings}
    found["significance"] = Switch(
        "significance", "Add standard errors, R² and tests, where the reducer has any", False
    )
    add_settings(algorithm, dataclasses.replace(REDUCERS[0], settings=tuple(found.values())))
    for setting in found.values():
        users = [reducer for reducer in REDUCERS if setting.name in _settings_of(reducer)]
        if len(users) == 1:
            parameter = algorithm.parameterDefinition(parameter_name(setting.name))
            parameter.setDescription(f"{parameter.description()} — {users[0].word}")


def chosen_reducer(algorithm: QgsProcessingAlgorithm, parameters: dict, context) -> Reducer:
    word = algorithm.parameterAsEnumString(parameters, REDUCER, context)
    return next(reducer for reducer in REDUCERS if reducer.word == word)


def read_reducer(
    algorithm: QgsProcessingAlgorithm, parameters: dict, context, progress: Progress
) -> tuple[Reducer, dict[str, Any]]:
    """Return the reducer and its settings; what was set for another one is worth a warning."""
    reducer = chosen_reducer(algorithm, parameters, context)
    own = _settings_of(reducer)
    for name in sorted({setting.name for other in REDUCERS for setting in other.settings} - own):
        parameter = algorithm.parameterDefinition(parameter_name(name))
        if parameters.get(parameter.name()) not in (None, parameter.defaultValue()):
            progress.warn(f"{parameter.name()} is not used: {reducer.word} has no such setting.")
    return reducer, read_settings(algorithm, parameters, context, reducer)


def add_result_fields(fields: QgsFields, names: Sequence[str]) -> None:
    for name in names:
        fields.append(QgsField(name, QMetaType.Type.Double))
    fields.append(QgsField(COUNT, QMetaType.Type.LongLong))


def result_row(values: np.ndarray, count: int) -> list:
    """Return the values of the result fields; what is not defined is empty."""
    return [*(value if np.isfinite(value) else None for value in values.tolist()), count]


def keep_names(table: OutputTable, fields: QgsFields, context, progress: Progress) -> None:
    """Keep the whole names of *fields* beside a Shapefile, which cuts them."""
    if table.output.lower().endswith((".shp", ".dbf")):
        table.write_notes(sidecar.Notes(), fields.names(), context, progress)


def split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _settings_of(reducer: Reducer) -> set[str]:
    return {setting.name for setting in reducer.settings}


def _variables(reducer: Reducer, x: list[str], y: list[str], bands: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return X and Y: by default the last band is Y, the others are X, with a constant where the reducer has one."""
    y = y or [bands[-1]]
    if not x:
        intercept = [CONSTANT] if CONSTANT in reducer.default_x and CONSTANT not in bands else []
        x = intercept + [band for band in bands if band not in y]
    return x, y
