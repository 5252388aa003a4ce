"""The algorithm ``splitsamples``: a table in two parts, one to train and one to validate."""

from __future__ import annotations

import math
from typing import Any, NamedTuple, Sequence

import numpy as np
from qgis.core import (
    QgsFeature,
    QgsFeatureRequest,
    QgsProcessing,
    QgsProcessingFeatureSource,
    QgsProcessingOutputNumber,
    QgsProcessingParameterFeatureSink,
    QgsProcessingParameterFeatureSource,
    QgsProcessingParameterField,
    QgsProcessingParameterNumber,
)

from ...engine.errors import SettingError, StorageError, TableError
from ...engine.progress import Part, Progress
from ...engine.settings import SEED, Number
from ..base import RasterMlAlgorithm
from ..parameters import choice, destination, number, set_advanced
from ..rows import batches, index_field, known_notes, plain, source_layer, whole_fields
from ..sinks import check_table, output_table
from ..tables import field_named

RANDOM, STRATIFIED, BY_POLYGON, SPATIAL_BLOCKS = STRATEGIES = ["random", "stratified", "bypolygon", "spatialblocks"]


class Table(NamedTuple):
    """What decides on each row: all lists have one entry per row."""

    ids: list[int]
    keys: list  # what tells rows apart
    labels: list  # class values
    groups: list  # polygon or block; None for each row where the strategy has none


class SplitSamples(RasterMlAlgorithm):
    """Read classes and groups, decide, write the rows into two tables."""

    NAME, TITLE, GROUP = "splitsamples", "Split samples", "sampling"
    HELP = (
        "<p>Splits a table of samples into one to train and one to validate with. Both keep all fields, places, class "
        "names and colours.</p>"
        "<p><i>random</i>: exactly the fraction of all rows. <i>stratified</i>: the fraction of every class, at least "
        "one row on each side. <i>bypolygon</i>: rows of one polygon stay together; the polygon is a field, or the "
        "part of <i>system_index</i> before its last _. <i>spatialblocks</i>: rows of one square block of the map "
        "stay together (a line or polygon counts where its centroid is).</p>"
        "<p>Neighbouring pixels are alike: rows of one polygon on both sides make a map look better than it is. "
        "Whole groups are chosen so that each class comes near the fraction, and every class is kept on both sides "
        "where that is possible. A class with one row or one group only trains; a warning says so.</p>"
        "<p>The split hangs on the seed and on the rows' <i>system_index</i> (without it: the feature ids), polygons "
        "or blocks, not on the order of rows.</p>"
    )
    INPUT, CLASS_PROPERTY, FRACTION, STRATEGY = "INPUT", "CLASS_PROPERTY", "FRACTION", "STRATEGY"
    GROUP_FIELD, BLOCK_SIZE, TRAINING, VALIDATION = "GROUP", "BLOCK_SIZE", "TRAINING", "VALIDATION"

    def initAlgorithm(self, configuration=None) -> None:
        vector = [QgsProcessing.SourceType.TypeVector]
        self.addParameter(QgsProcessingParameterFeatureSource(self.INPUT, self.tr("Samples"), vector))
        self._add_field(self.CLASS_PROPERTY, "Class field (needed to keep the classes' shares)")
        kind = QgsProcessingParameterNumber.Type.Double
        label = self.tr("Fraction that trains")
        self.addParameter(QgsProcessingParameterNumber(self.FRACTION, label, type=kind, defaultValue=0.7))
        self.addParameter(choice(self.STRATEGY, self.tr("Strategy"), STRATEGIES, RANDOM))
        self._add_field(self.GROUP_FIELD, "Polygon field for bypolygon (empty = taken from system_index)")
        label = self.tr("Side of a block for spatialblocks, in units of the layer's CRS")
        self.addParameter(number(Number("block_size", "", None), label))
        self.addParameter(set_advanced(number(SEED, self.tr(SEED.label))))
        self.addParameter(QgsProcessingParameterFeatureSink(self.TRAINING, self.tr("Training samples")))
        self.addParameter(QgsProcessingParameterFeatureSink(self.VALIDATION, self.tr("Validation samples")))
        self.addOutput(QgsProcessingOutputNumber("COUNT_TRAINING", self.tr("Number of training rows")))
        self.addOutput(QgsProcessingOutputNumber("COUNT_VALIDATION", self.tr("Number of validation rows")))

    def _add_field(self, name: str, label: str) -> None:
        self.addParameter(
            QgsProcessingParameterField(name, self.tr(label), parentLayerParameterName=self.INPUT, optional=True)
        )

    def check(self, parameters: dict, context) -> None:
        layer = source_layer(self, parameters, context, self.INPUT)
        for name in (self.CLASS_PROPERTY, self.GROUP_FIELD):
            if self.parameterAsString(parameters, name, context):
                field_named(layer.fields(), self.parameterAsString(parameters, name, context), layer.name())
        fraction = self.parameterAsDouble(parameters, self.FRACTION, context)
        if not 0 < fraction < 1:
            raise SettingError(f"FRACTION is {fraction:g}: choose a number between 0 and 1, such as 0.7.")
        strategy = self.parameterAsEnumString(parameters, self.STRATEGY, context)
        if strategy == STRATIFIED and not self.parameterAsString(parameters, self.CLASS_PROPERTY, context):
            raise SettingError("STRATEGY stratified needs to know the classes: choose CLASS_PROPERTY.")
        group = self.parameterAsString(parameters, self.GROUP_FIELD, context)
        if strategy == BY_POLYGON and not group and index_field(layer.fields()) < 0:
            raise TableError(
                f"Layer {layer.name()!r} has no field system_index that tells the polygons: choose the field GROUP."
            )
        if strategy == SPATIAL_BLOCKS:
            self._check_blocks(layer, parameters, context)
        self._check_targets(layer, parameters, context)

    def _check_blocks(self, layer, parameters: dict, context) -> None:
        if parameters.get(self.BLOCK_SIZE) is None:
            raise SettingError("STRATEGY spatialblocks needs BLOCK_SIZE: give the side of a block in map units.")
        size = self.parameterAsDouble(parameters, self.BLOCK_SIZE, context)
        if not 0 < size < math.inf:
            raise SettingError(f"BLOCK_SIZE is {size:g}: give the side of a block, more than 0 map units.")
        if not layer.isSpatial():
            raise TableError(f"Table {layer.name()!r} has no places for spatialblocks: choose another STRATEGY.")

    def _check_targets(self, layer, parameters: dict, context) -> None:
        for name in (self.TRAINING, self.VALIDATION):
            check_table(parameters, name, context, [layer.source().split("|")[0]])
        training, validation = (destination(parameters, name, context) for name in (self.TRAINING, self.VALIDATION))
        if training == validation != "" and not training.startswith("memory:"):
            raise StorageError(f"TRAINING and VALIDATION are both {training}: choose two places.")

    def prepare(self, parameters: dict, context, progress: Progress) -> None:
        layer = source_layer(self, parameters, context, self.INPUT)
        class_property = self.parameterAsString(parameters, self.CLASS_PROPERTY, context)
        self.notes, self.layer_name = known_notes(layer, context, class_property), layer.name()

    def compute(self, parameters: dict, context, progress: Progress) -> dict[str, Any]:
        source = self.parameterAsSource(parameters, self.INPUT, context)
        table = self._read(source, parameters, context, Part(progress, 0, 0.4))
        if len(table.ids) < 2:
            raise TableError(f"Layer {self.layer_name!r} has {len(table.ids)} rows: two are needed to split them.")
        training = self._decide(table, parameters, context, Part(progress, 0.4, 0.5))
        chosen = {row for row, trains in zip(table.ids, training.tolist()) if trains}
        outputs = self._write(source, chosen, parameters, context, Part(progress, 0.5, 1))
        count = int(training.sum())
        return {**outputs, "COUNT_TRAINING": count, "COUNT_VALIDATION": len(training) - count}

    def _read(self, source: QgsProcessingFeatureSource, parameters: dict, context, progress: Progress) -> Table:
        """Read what decides; a missing class, polygon or place raises `TableError`."""
        strategy = self.parameterAsEnumString(parameters, self.STRATEGY, context)
        named = self.parameterAsString(parameters, self.GROUP_FIELD, context)
        class_field = source.fields().lookupField(self.parameterAsString(parameters, self.CLASS_PROPERTY, context))
        index = index_field(source.fields())
        group_field = source.fields().lookupField(named) if named else index
        size = self.parameterAsDouble(parameters, self.BLOCK_SIZE, context)
        used = {field for field in (class_field, group_field, index) if field >= 0}
        request = QgsFeatureRequest().setSubsetOfAttributes(sorted(used))
        if strategy != SPATIAL_BLOCKS:
            request.setFlags(QgsFeatureRequest.Flag.NoGeometry)
        if (named and strategy != BY_POLYGON) or (parameters.get(self.BLOCK_SIZE) and strategy != SPATIAL_BLOCKS):
            progress.warn(f"STRATEGY {strategy} uses no GROUP or BLOCK_SIZE but its own: that value has no effect.")
        table = Table([], [], [], [])
        for features in batches(source, progress, request):
            for feature in features:
                table.ids.append(feature.id())
                table.keys.append(feature.id() if index < 0 else plain(feature.attribute(index)))
                table.labels.append(self._value(feature, class_field) if class_field >= 0 else "")
                if strategy == SPATIAL_BLOCKS:
                    table.groups.append(self._block(feature, size))
                elif strategy == BY_POLYGON:
                    group = self._value(feature, group_field)
                    table.groups.append(group if named else _polygon(group))
        return table

    def _value(self, feature: QgsFeature, field: int) -> Any:
        value = plain(feature.attribute(field))
        if value is None or value == "" or value != value:
            raise TableError(
                f"Property '{feature.fields().at(field).name()}' of feature '{feature.id()}' in {self.layer_name!r} is "
                f"missing: fill it or remove the row."
            )
        return value

    def _block(self, feature: QgsFeature, size: float) -> tuple[int, int]:
        centre = feature.geometry().centroid()
        if centre.isNull() or not math.isfinite(centre.asPoint().x() + centre.asPoint().y()):
            raise TableError(
                f"Feature '{feature.id()}' in {self.layer_name!r} has no place for spatialblocks: remove it or choose "
                f"another STRATEGY."
            )
        return math.floor(centre.asPoint().x() / size), math.floor(centre.asPoint().y() / size)

    def _decide(self, table: Table, parameters: dict, context, progress: Progress) -> np.ndarray:
        """Return the mask (rows,) of training rows; says in the log how the classes come out."""
        from ...engine.hashing import hashed, row_keys
        from ...engine.splitting import split_classes, split_groups, split_rows

        fraction = self.parameterAsDouble(parameters, self.FRACTION, context)
        strategy = self.parameterAsEnumString(parameters, self.STRATEGY, context)
        seed = self.parameterAsInt(parameters, SEED.name.upper(), context)
        labels, classes = _numbered(table.labels)
        names, groups = _numbered(table.groups)
        if names:
            keys = hashed(row_keys([name if isinstance(name, tuple) else (name,) for name in names]), seed)
            training = split_groups(keys, groups, classes, fraction, progress)
        else:
            keys = hashed(row_keys([(key,) for key in table.keys]), seed)
            stratified = strategy == STRATIFIED
            training = split_classes(keys, classes, fraction) if stratified else split_rows(keys, fraction)
            groups = np.arange(len(classes))
        thing = {BY_POLYGON: "polygon", SPATIAL_BLOCKS: "block"}.get(strategy, "row")
        self._tell(labels, classes, groups, training, thing, progress)
        if training.all() or not training.any():
            part = self.VALIDATION if training.all() else self.TRAINING
            raise TableError(
                f"STRATEGY {strategy} with FRACTION {fraction:g} leaves {part} empty "
                f"({_counted(len(names) or len(training), thing)} in all): choose another one."
            )
        return training

    def _tell(self, labels: list, classes, groups, training, thing: str, progress: Progress) -> None:
        """Put the rows of each class into the log, and a warning for each class that is on one side only."""
        from ...engine.splitting import groups_of_classes, one_sided

        if labels == [""]:
            return
        held = groups_of_classes(groups, classes).tolist()
        trained = np.bincount(classes[training], minlength=len(labels)).tolist()
        whole = np.bincount(classes, minlength=len(labels)).tolist()
        titles = {item.value: item.name for item in self.notes.classes}
        names = [titles.get(label, label) for label in labels]
        for code, name in enumerate(names):
            grouped = f" in {_counted(held[code], thing)}" if thing != "row" else ""
            share = trained[code] / whole[code]
            progress.message(f"Class {name}: {trained[code]} of {whole[code]} rows{grouped} train ({share:.0%}).")
        for code in one_sided(training, classes):
            side = self.TRAINING if trained[code] else self.VALIDATION
            reason = f"it has one {thing} only"
            if held[code] > 1:
                reason = f"its {_counted(held[code], thing)} could not be parted"
            progress.warn(f"Class {names[code]} is in {side} only: {reason}.")

    def _write(
        self, source: QgsProcessingFeatureSource, chosen: set[int], parameters: dict, context, progress: Progress
    ) -> dict[str, str]:
        """Write both tables and their notes; return what Processing calls them."""
        fields = whole_fields(source.fields(), self.notes)
        shape = (context, fields, source.wkbType(), source.sourceCrs())
        first = output_table(self, parameters, self.TRAINING, *shape)
        second = output_table(self, parameters, self.VALIDATION, *shape)
        with first as training, second as validation:
            for features in batches(source, progress):
                for feature in features:
                    feature.setFields(fields, False)
                training.add([feature for feature in features if feature.id() in chosen])
                validation.add([feature for feature in features if feature.id() not in chosen])
            for table in (training, validation):
                table.close()  # here, where a failure of one removes both
        for table in (training, validation):
            table.write_notes(self.notes, fields.names(), context, progress)
        return {self.TRAINING: training.output, self.VALIDATION: validation.output}


def _polygon(index: Any) -> str:
    """Return the region part of a ``system_index``: what stands before the last _."""
    region, _, row = str(index).rpartition("_")
    return region or row


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def _numbered(values: Sequence) -> tuple[list, np.ndarray]:
    """Return the different values, sorted where they can be, and the number of each value among them."""
    try:
        different = sorted(set(values))
    except TypeError:
        different = sorted(set(values), key=str)
    numbers = {value: position for position, value in enumerate(different)}
    return different, np.array([numbers[value] for value in values], dtype=np.int64)
