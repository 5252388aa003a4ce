"""A learner's setting <-> a Processing parameter."""

from __future__ import annotations

from typing import Any

from qgis.core import (
    QgsProcessing,
    QgsProcessingAlgorithm,
    QgsProcessingOutputLayerDefinition,
    QgsProcessingParameterBoolean,
    QgsProcessingParameterDefinition,
    QgsProcessingParameterEnum,
    QgsProcessingParameterNumber,
    QgsProcessingParameterString,
    QgsProperty,
)

from ..engine.learners import Learner
from ..engine.settings import Choice, Number, Setting, Switch, Text, parameter_name

MODE = "MODE"


def add_settings(algorithm: QgsProcessingAlgorithm, learner: Learner) -> None:
    """Add a parameter for every setting of *learner*, its name in upper case."""
    for setting in learner.settings:
        parameter = _parameter(setting, algorithm.tr(setting.label))
        if setting.advanced:
            set_advanced(parameter)
        algorithm.addParameter(parameter)


def read_settings(algorithm: QgsProcessingAlgorithm, parameters: dict, context, learner: Learner) -> dict[str, Any]:
    """Return the settings of *learner* by their engine names; None where an optional one is not given."""
    return {setting.name: _value(algorithm, parameters, context, setting) for setting in learner.settings}


def add_mode(algorithm: QgsProcessingAlgorithm, learner: Learner) -> None:
    """Add MODE when *learner* has more than one."""
    modes = list(learner.modes)
    if len(modes) > 1:
        algorithm.addParameter(choice(MODE, algorithm.tr("Mode"), modes, modes[0]))


def read_mode(algorithm: QgsProcessingAlgorithm, parameters: dict, context, learner: Learner) -> str:
    modes = list(learner.modes)
    return algorithm.parameterAsEnumString(parameters, MODE, context) if len(modes) > 1 else modes[0]


def choice(
    name: str, label: str, options: list[str], default: str | None, optional: bool = False
) -> QgsProcessingParameterEnum:
    """Return an enum of words: ``--NAME=WORD`` on the command line."""
    return QgsProcessingParameterEnum(
        name, label, options=options, defaultValue=default, optional=optional, usesStaticStrings=True
    )


def number(setting: Number, label: str) -> QgsProcessingParameterNumber:
    kinds = QgsProcessingParameterNumber.Type
    parameter = QgsProcessingParameterNumber(
        parameter_name(setting.name),
        label,
        type=kinds.Integer if setting.integer else kinds.Double,
        defaultValue=setting.default,
        optional=setting.default is None,
    )
    if setting.minimum is not None:
        parameter.setMinimum(setting.minimum)
    if setting.maximum is not None:
        parameter.setMaximum(setting.maximum)
    return parameter


def destination(parameters: dict, name: str, context) -> str:
    """Return the path or URI that an output parameter asks for, "" for a temporary or no output.

    To look only: Processing's own ``parameterAsOutputLayer`` also notes the layer for loading, each time anew.
    """
    value = parameters.get(name)
    if isinstance(value, QgsProcessingOutputLayerDefinition):
        value = value.sink
    if isinstance(value, QgsProperty):
        value = value.valueAsString(context.expressionContext())[0]
    return "" if value in (None, QgsProcessing.TEMPORARY_OUTPUT) else str(value)


def set_advanced(parameter: QgsProcessingParameterDefinition) -> QgsProcessingParameterDefinition:
    parameter.setFlags(parameter.flags() | QgsProcessingParameterDefinition.Flag.FlagAdvanced)
    return parameter


def _parameter(setting: Setting, label: str) -> QgsProcessingParameterDefinition:
    name = parameter_name(setting.name)
    if isinstance(setting, Choice):
        return choice(name, label, list(setting.options), setting.default)
    if isinstance(setting, Switch):
        return QgsProcessingParameterBoolean(name, label, defaultValue=setting.default)
    if isinstance(setting, Text):
        return QgsProcessingParameterString(name, label, defaultValue=setting.default or None, optional=True)
    return number(setting, label)


def _value(algorithm: QgsProcessingAlgorithm, parameters: dict, context, setting: Setting) -> Any:
    name = parameter_name(setting.name)
    if isinstance(setting, Choice):
        given = parameters.get(name)  # as a child of a model, QGIS would take the default for an unknown word
        return given if isinstance(given, str) else algorithm.parameterAsEnumString(parameters, name, context) or None
    if isinstance(setting, Switch):
        return algorithm.parameterAsBoolean(parameters, name, context)
    if isinstance(setting, Text):
        return algorithm.parameterAsString(parameters, name, context)
    if setting.default is None and parameters.get(name) is None:
        return None  # an optional number that is not given would read as 0
    if setting.integer:
        return algorithm.parameterAsInt(parameters, name, context)
    return algorithm.parameterAsDouble(parameters, name, context)
