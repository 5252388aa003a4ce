"""What can be set: a number, a choice, a switch or a text, with its label, default and bounds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Union

from .errors import SettingError


def parameter_name(name: str) -> str:
    """Return what users call the setting *name*: NUMBER_OF_TREES; LAMBDA for ``lambda_``, a word of Python."""
    return name.rstrip("_").upper()


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
        if isinstance(value, float) and not math.isfinite(value):
            raise SettingError(f"{parameter_name(self.name)} is {value}: give a finite number.")
        number = int(value) if self.integer else float(value)
        if number != value or isinstance(value, bool):
            raise SettingError(
                f"{parameter_name(self.name)} is {value!r}: give a {'whole ' if self.integer else ''}number."
            )
        if self.minimum is not None and number < self.minimum:
            raise SettingError(f"{parameter_name(self.name)} is {value}: it must be at least {self.minimum}.")
        if self.maximum is not None and number > self.maximum:
            raise SettingError(f"{parameter_name(self.name)} is {value}: it must be at most {self.maximum}.")
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
            raise SettingError(f"{parameter_name(self.name)} is {value!r}: choose one of {', '.join(self.options)}.")
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
            raise SettingError(f"{parameter_name(self.name)} is {value!r}: give true or false.")
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
