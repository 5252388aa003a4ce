"""Maxent's own model file, `.lambdas`: one feature per line with its λ and range, then four constants.

    name, λ, minimum, maximum           linear; name^2 quadratic; a*b product
    (t<name), λ, 0, 1                   threshold; (name=c) a category
    'name, λ, minimum, maximum          forward hinge; `name reverse hinge
    linearPredictorNormalizer, densityNormalizer, numBackgroundPoints, entropy: name, number

Every continuous variable has its linear line, whose minimum and maximum are the variable's range in training.
"""

from __future__ import annotations

import math
import re
from typing import Mapping, Sequence

import numpy as np

from .errors import ModelFileError
from .maxent_features import CATEGORY, HINGE, LINEAR, PRODUCT, QUADRATIC, REVERSE_HINGE, THRESHOLD, feature_list
from .maxent_model import FEATURE_ARRAYS

CONSTANTS = ("linearPredictorNormalizer", "densityNormalizer", "numBackgroundPoints", "entropy")


def read_lambdas(text: str) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    """Return the predictors and the arrays of a model (docs/model-format.md) from the *text* of a `.lambdas` file.

    Continuous predictors come first, in the order of their linear lines.  Raises `ModelFileError`.
    """
    lines, constants = _lines(text)
    missing = [name for name in CONSTANTS if name not in constants]
    if missing:
        raise ModelFileError(f"The .lambdas text has no line {missing[0]}: it is not from Maxent, or cut off.")
    ranges = {name: (low, high) for name, _, low, high in lines if _is_plain(name)}
    found = [re.fullmatch(r"\((.+)=(.+)\)", name) for name, *_ in lines]
    categorical = dict.fromkeys(match.group(1) for match in found if match)
    predictors = (*ranges, *categorical)
    place = {name: number for number, name in enumerate(predictors)}
    rows, weights = [], []
    for name, weight, low, high in lines:
        row = _feature(name, low, high, place)
        if weight != 0:
            rows.append(row)
            weights.append(weight)
    lower = [low for low, _ in ranges.values()] + [0.0] * len(categorical)
    upper = [high for _, high in ranges.values()] + [0.0] * len(categorical)
    return predictors, {
        **dict(zip(FEATURE_ARRAYS, feature_list(rows))),
        "feature_weight": np.array(weights, dtype=np.float64),
        "categorical": np.array([0] * len(ranges) + [1] * len(categorical), dtype=np.uint8),
        "lower": np.array(lower, dtype=np.float64),
        "upper": np.array(upper, dtype=np.float64),
        "normalizers": np.array([constants[CONSTANTS[0]], constants[CONSTANTS[1]], constants[CONSTANTS[3]]]),
    }


def lambdas_text(predictors: Sequence[str], arrays: Mapping[str, np.ndarray], points: int) -> str:
    """Return the model as the text of a `.lambdas` file; *points* is the number of training points."""
    features = list(zip(*(arrays[name].tolist() for name in (*FEATURE_ARRAYS, "feature_weight"))))
    is_linear = {first: weight for kind, first, _, _, _, weight in features if kind == LINEAR}
    lines = []
    for number, name in enumerate(predictors):
        low, high = float(arrays["lower"][number]), float(arrays["upper"][number])
        if not arrays["categorical"][number]:
            lines.append(f"{name}, {is_linear.get(number, 0.0)!r}, {low!r}, {high!r}")
        elif not any(kind == CATEGORY and first == number for kind, first, *_ in features):
            lines.append(f"({name}={low!r}), 0.0, 0.0, 1.0")
    for kind, first, second, low, high, weight in features:
        name, other = predictors[first], predictors[second]
        titles = {
            QUADRATIC: f"{name}^2",
            PRODUCT: f"{name}*{other}",
            THRESHOLD: f"({low!r}<{name})",
            HINGE: f"'{name}",
            REVERSE_HINGE: f"`{name}",
            CATEGORY: f"({name}={low!r})",
        }
        if kind in (THRESHOLD, CATEGORY):
            low, high = 0.0, 1.0
        if kind != LINEAR:
            lines.append(f"{titles[kind]}, {weight!r}, {low!r}, {high!r}")
    normalizer, density, entropy = arrays["normalizers"].tolist()
    numbers = (normalizer, density, points, entropy)
    lines += [f"{name}, {number!r}" for name, number in zip(CONSTANTS, numbers)]
    return "\n".join(lines) + "\n"


def _lines(text: str) -> tuple[list[tuple[str, float, float, float]], dict[str, float]]:
    lines: list[tuple[str, float, float, float]] = []
    constants: dict[str, float] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        name, *values = line.split(", ") if line.startswith(CONSTANTS) else line.rsplit(", ", 3)
        try:
            numbers = [float(value) for value in values]
        except ValueError:
            numbers = []
        if len(numbers) not in (1, 3) or not all(map(math.isfinite, numbers)):
            raise ModelFileError(
                f"Line {number} of the .lambdas text is {line!r}: a name and three numbers belong there."
            )
        if len(numbers) == 1:
            constants[name] = numbers[0]
        else:
            lines.append((name, numbers[0], numbers[1], numbers[2]))
    return lines, constants


def _is_plain(name: str) -> bool:
    return name[0] not in "('`" and not name.endswith("^2") and "*" not in name


def _feature(name: str, low: float, high: float, place: Mapping[str, int]) -> tuple[int, int, int, float, float]:
    """Return the row of `feature_list` for the feature *name*."""
    try:
        if name[0] in "'`":
            number = place[name[1:]]
            return HINGE if name[0] == "'" else REVERSE_HINGE, number, number, low, high
        match = re.fullmatch(r"\((.+?)<(.+)\)", name)
        if match:
            number, value = place[match.group(2)], float(match.group(1))
            return THRESHOLD, number, number, value, value
        match = re.fullmatch(r"\((.+)=(.+)\)", name)
        if match:
            number, value = place[match.group(1)], float(match.group(2))
            return CATEGORY, number, number, value, value
        if name.endswith("^2"):
            return QUADRATIC, place[name[:-2]], place[name[:-2]], low, high
        first, _, second = name.partition("*")
        return (PRODUCT if second else LINEAR), place[first], place[second or first], low, high
    except (KeyError, ValueError) as error:
        raise ModelFileError(f"The feature {name!r} of the .lambdas text names no variable of the file.") from error
