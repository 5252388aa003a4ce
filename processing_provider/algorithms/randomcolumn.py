"""The algorithm ``randomcolumn``: a random number for every row that hangs on the row, not on its place."""

from __future__ import annotations

from typing import Any

from qgis.core import (
    QgsFeature,
    QgsField,
    QgsFields,
    QgsProcessing,
    QgsProcessingOutputNumber,
    QgsProcessingParameterFeatureSink,
    QgsProcessingParameterFeatureSource,
    QgsProcessingParameterField,
    QgsProcessingParameterString,
)
from qgis.PyQt.QtCore import QMetaType

from ...engine import sidecar
from ...engine.errors import SettingError
from ...engine.progress import Progress
from ...engine.settings import SEED
from ..base import RasterMlAlgorithm
from ..parameters import choice, number, set_advanced
from ..rows import batches, index_field, known_notes, plain, source_layer, whole_fields
from ..sinks import check_table, output_table
from ..tables import SYSTEM_INDEX, field_named

DISTRIBUTIONS = ["uniform", "normal"]
NOT_RANDOM = ("fid", *SYSTEM_INDEX)  # names of rows


class RandomColumn(RasterMlAlgorithm):
    """Hash the keys of each row, write the rows with the number."""

    NAME, TITLE, GROUP = "randomcolumn", "Random column", "sampling"
    TWIN = "ee.FeatureCollection.randomColumn"
    HELP = (
        "<p>Adds a random number to every row: uniform from 0 up to but not including 1, or normal with mean 0 and "
        "standard deviation 1. Keep rows below 0.7 for training and the others for validation, for example (about "
        "70 %; <i>Split samples</i> splits exactly, by class and by area).</p>"
        "<p>The number hangs on the seed and the row keys alone, not on the order of rows: rows with equal keys get "
        "equal numbers. Without row keys the feature id counts, which a format may change; keys of your own are "
        "safer. A whole number is the same key as integer and as decimal.</p>"
        "<p>The new column stands left of <i>system_index</i>, where training does not take it for a predictor, or "
        "last in a table without that; it takes the place of an old one of its name.</p>"
    )
    INPUT, COLUMN_NAME, DISTRIBUTION, ROW_KEYS, OUTPUT = "INPUT", "COLUMN_NAME", "DISTRIBUTION", "ROW_KEYS", "OUTPUT"

    def initAlgorithm(self, configuration=None) -> None:
        vector = [QgsProcessing.SourceType.TypeVector]
        self.addParameter(QgsProcessingParameterFeatureSource(self.INPUT, self.tr("Table or layer"), vector))
        label = self.tr("Name of the new column")
        self.addParameter(QgsProcessingParameterString(self.COLUMN_NAME, label, defaultValue="random"))
        self.addParameter(choice(self.DISTRIBUTION, self.tr("Distribution"), DISTRIBUTIONS, DISTRIBUTIONS[0]))
        self.addParameter(
            QgsProcessingParameterField(
                self.ROW_KEYS,
                self.tr("Row keys: fields that tell rows apart (empty = feature id)"),
                parentLayerParameterName=self.INPUT,
                allowMultiple=True,
                optional=True,
            )
        )
        self.addParameter(set_advanced(number(SEED, self.tr(SEED.label))))
        self.addParameter(QgsProcessingParameterFeatureSink(self.OUTPUT, self.tr("With random column")))
        self.addOutput(QgsProcessingOutputNumber("COUNT", self.tr("Number of rows")))

    def check(self, parameters: dict, context) -> None:
        layer = source_layer(self, parameters, context, self.INPUT)
        for name in self.parameterAsStrings(parameters, self.ROW_KEYS, context):
            field_named(layer.fields(), name, layer.name())
        column = self._column(parameters, context)
        if not column:
            raise SettingError("COLUMN_NAME is empty: give the new column a name, such as random.")
        if column.lower() in NOT_RANDOM:
            raise SettingError(f"COLUMN_NAME {column!r} is the name of the rows' own numbers: choose another one.")
        check_table(parameters, self.OUTPUT, context, [layer.source().split("|")[0]])

    def prepare(self, parameters: dict, context, progress: Progress) -> None:
        self.notes = known_notes(source_layer(self, parameters, context, self.INPUT), context)

    def compute(self, parameters: dict, context, progress: Progress) -> dict[str, Any]:
        source = self.parameterAsSource(parameters, self.INPUT, context)
        column = self._column(parameters, context)
        keys = [
            source.fields().lookupField(name) for name in self.parameterAsStrings(parameters, self.ROW_KEYS, context)
        ]
        fields, kept, place = _fields(whole_fields(source.fields(), self.notes), column)
        kind, crs, count = source.wkbType(), source.sourceCrs(), 0
        with output_table(self, parameters, self.OUTPUT, context, fields, kind, crs) as table:
            for features in batches(source, progress):
                values = self._values(features, keys, parameters, context)
                for feature, value in zip(features, values):
                    attributes = feature.attributes()
                    new = [attributes[index] for index in kept]
                    new.insert(place, value)
                    feature.setFields(fields, False)
                    feature.setAttributes(new)
                table.add(features)
                count += len(features)
        table.write_notes(_without(self.notes, column), fields.names(), context, progress)
        return {self.OUTPUT: table.output, "COUNT": count}

    def _column(self, parameters: dict, context) -> str:
        return self.parameterAsString(parameters, self.COLUMN_NAME, context).strip()

    def _values(self, features: list[QgsFeature], keys: list[int], parameters: dict, context) -> list[float]:
        from ...engine.hashing import as_normal, row_keys, uniform

        rows = [[plain(feature.attribute(index)) for index in keys] if keys else [feature.id()] for feature in features]
        shares = uniform(row_keys(rows), self.parameterAsInt(parameters, SEED.name.upper(), context))
        normal = self.parameterAsEnumString(parameters, self.DISTRIBUTION, context) == "normal"
        return (as_normal(shares) if normal else shares).tolist()


def _fields(old: QgsFields, column: str) -> tuple[QgsFields, list[int], int]:
    """Return the fields with the new column, the places of the old ones that stay, and the place of the new one."""
    kept = [index for index, field in enumerate(old) if field.name().lower() != column.lower()]
    together = [old.at(index) for index in kept]
    place = index_field(together)
    place = len(kept) if place < 0 else place
    together.insert(place, QgsField(column, QMetaType.Type.Double))
    fields = QgsFields()
    for field in together:
        fields.append(field)
    return fields, kept, place


def _without(notes: sidecar.Notes, column: str) -> sidecar.Notes:
    """Return *notes* less what they say of a column that was replaced."""
    bands = tuple(band for band in notes.bands if band.lower() != column.lower())
    if (notes.class_property or "").lower() == column.lower():
        return sidecar.Notes(bands=bands)
    return sidecar.Notes(notes.fields, bands, notes.class_property, notes.classes)
