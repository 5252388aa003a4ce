"""The table of learners: a row is a learner, and the only place that knows it.

Algorithms, help, documentation and tests come from these rows.  ``fit`` and ``predictor`` are text,
imported when called, so that reading the table costs nothing.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any, Callable, Mapping, Sequence, Union

from .errors import SettingError

CLASSIFICATION, REGRESSION = "CLASSIFICATION", "REGRESSION"
PROBABILITY, MULTIPROBABILITY = "PROBABILITY", "MULTIPROBABILITY"
RAW, RAW_REGRESSION = "RAW", "RAW_REGRESSION"
OUTPUT_MODES = (CLASSIFICATION, REGRESSION, PROBABILITY, MULTIPROBABILITY, RAW, RAW_REGRESSION)


@dataclass(frozen=True)
class Number:
    """A numeric setting; ``None`` as default makes it optional (Earth Engine's null)."""

    name: str
    label: str
    default: float | int | None
    minimum: float | None = None
    maximum: float | None = None
    integer: bool = False
    advanced: bool = False

    def checked(self, value: Any) -> float | int | None:
        """Return *value* as a Python number, or raise `SettingError`."""
        if value is None:
            if self.default is None:
                return None
            value = self.default
        number = int(value) if self.integer else float(value)
        if number != value or number != number or isinstance(value, bool):
            raise SettingError(f"{self.name.upper()} is {value!r}: give a {'whole ' if self.integer else ''}number.")
        if self.minimum is not None and number < self.minimum:
            raise SettingError(f"{self.name.upper()} is {value}: it must be at least {self.minimum}.")
        if self.maximum is not None and number > self.maximum:
            raise SettingError(f"{self.name.upper()} is {value}: it must be at most {self.maximum}.")
        return number


@dataclass(frozen=True)
class Choice:
    """A setting that is one of several words, in Earth Engine's spelling."""

    name: str
    label: str
    default: str
    options: tuple[str, ...]
    advanced: bool = False

    def checked(self, value: Any) -> str:
        """Return *value*, or raise `SettingError`."""
        if value is None:
            return self.default
        if value not in self.options:
            raise SettingError(f"{self.name.upper()} is {value!r}: choose one of {', '.join(self.options)}.")
        return str(value)


@dataclass(frozen=True)
class Switch:
    """A setting that is on or off."""

    name: str
    label: str
    default: bool
    advanced: bool = False

    def checked(self, value: Any) -> bool:
        """Return *value* as a bool, or raise `SettingError`."""
        if value is None:
            return self.default
        if value not in (True, False):
            raise SettingError(f"{self.name.upper()} is {value!r}: give true or false.")
        return bool(value)


@dataclass(frozen=True)
class Text:
    """A setting that is free text; empty is Earth Engine's null."""

    name: str
    label: str
    default: str = ""
    advanced: bool = False

    def checked(self, value: Any) -> str:
        """Return *value* as text."""
        return self.default if value is None else str(value)


Setting = Union[Number, Choice, Switch, Text]
SEED = Number("seed", "Random seed", 0, integer=True, minimum=0, maximum=2**31 - 1, advanced=True)


@dataclass(frozen=True)
class Learner:
    """One learner: what it is called, which settings it has, which functions fit and apply it.

    ``fit`` names ``function(samples, mode, threads, progress, *, settings...) -> Fit`` (see `training`),
    ``predictor`` a class as `prediction.Predictor` describes it, perhaps with two static methods: ``check(model)``
    for arrays that come from a file, and ``output_modes(model)`` where the modes hang on a setting,
    ``size`` a function ``(rows, predictors, classes, mode, settings) -> bytes``: the largest possible model,
    ``explain`` a function ``(model) -> dict``: what Earth Engine's explain() tells of this learner alone.
    ``modes`` maps a training mode to the output modes that its models offer, the default first.
    """

    id: str
    twin: str
    title: str
    summary: str
    fit: str
    predictor: str
    settings: tuple[Setting, ...]
    modes: Mapping[str, Sequence[str]]
    size: str = ""
    explain: str = ""
    notes: str = ""

    def function(self) -> Callable:
        return _named(self.fit)

    def load_predictor(self, model) -> Any:
        return _named(self.predictor)(model)

    def check_model(self, model) -> None:
        """Let the predictor's own ``check(model)``, if it has one, raise `ModelFileError` on unusable arrays."""
        check = getattr(_named(self.predictor), "check", None)
        if check is not None:
            check(model)

    def output_modes(self, model) -> tuple[str, ...]:
        """Return the output modes that *model* offers, its default first."""
        own = getattr(_named(self.predictor), "output_modes", None)
        return tuple(own(model) if own is not None else self.modes[model.mode])

    def explanation(self, model) -> dict[str, Any]:
        return _named(self.explain)(model) if self.explain else {}

    def largest_model(self, rows: int, predictors: int, classes: int, mode: str, settings: Mapping) -> int | None:
        """Return the bytes that a model cannot exceed, or None where that is not known before the fit."""
        return _named(self.size)(rows, predictors, classes, mode, settings) if self.size else None

    def checked(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return every setting, defaults filled in; raise `SettingError` on an unknown name or a bad value."""
        unknown = set(settings) - {setting.name for setting in self.settings}
        if unknown:
            raise SettingError(f"{self.title} has no setting named {', '.join(sorted(unknown))}.")
        return {setting.name: setting.checked(settings.get(setting.name)) for setting in self.settings}


def _named(text: str) -> Any:
    module, name = text.split(":")
    return getattr(importlib.import_module(f".{module}", __package__), name)


CLASSIFIERS = (
    Learner(
        id="trainrandomforest",
        twin="ee.Classifier.smileRandomForest",
        title="Train random forest",
        summary="Many trees vote, each grown on its own draw of the samples.",
        fit="forest:fit_random_forest",
        predictor="forest:ForestPredictor",
        settings=(
            Number("number_of_trees", "Number of trees", 100, minimum=1, maximum=100_000, integer=True),
            Number(
                "variables_per_split",
                "Predictors tried at each split (empty = square root of their number)",
                None,
                minimum=1,
                integer=True,
            ),
            Number("min_leaf_population", "Smallest number of samples in a leaf", 1, minimum=1, integer=True),
            Number("bag_fraction", "Share of the samples drawn for each tree", 0.5, minimum=1e-6, maximum=1),
            Number("max_nodes", "Most leaves in a tree (empty = no limit)", None, minimum=2, integer=True),
            SEED,
        ),
        modes={
            CLASSIFICATION: (CLASSIFICATION, PROBABILITY, MULTIPROBABILITY, RAW),
            REGRESSION: (REGRESSION, RAW_REGRESSION),
        },
        size="forest:largest_forest",
        explain="forest:explain_forest",
        notes="The same seed gives the same forest for any number of threads, within one version of scikit-learn.",
    ),
)

BY_ID = {learner.id: learner for learner in CLASSIFIERS}
