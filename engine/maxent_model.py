"""A fitted Maxent model: its arrays, and their application to pixels (reference 2.1)."""

from __future__ import annotations

from typing import Callable, Mapping

import numpy as np

from .errors import ModelFileError
from .maxent_features import CATEGORY, Features, clamped, linear_predictor
from .models import Model

BLOCK_ROWS = 8192  # few enough for the processor's cache
FEATURE_ARRAYS = tuple(f"feature_{field}" for field in Features._fields)
ARRAYS = {*FEATURE_ARRAYS, "feature_weight", "categorical", "lower", "upper", "normalizers"}
CUMULATIVE_ARRAYS = {"cumulative_raw", "cumulative_sum"}
LARGEST_ENTROPY = 100.0  # the logarithm of more points than there can be

Check = Callable[[], None]


def arrays_of(
    features: Features,
    weights: np.ndarray,
    categorical: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
    predictor: np.ndarray,
) -> dict[str, np.ndarray]:
    """Return the arrays of a model; *predictor* is the linear predictor at every training point."""
    normalizer = predictor.max()
    odds = np.exp(predictor - normalizer)
    shares = odds / odds.sum()
    positive = shares[shares > 0]
    entropy = -np.sum(positive * np.log(positive))
    return {
        **dict(zip(FEATURE_ARRAYS, features)),
        "feature_weight": weights,
        "categorical": categorical.astype(np.uint8),
        "lower": lower,
        "upper": upper,
        "normalizers": np.array([normalizer, odds.sum(), entropy]),
    }


def raw_values(
    arrays: Mapping[str, np.ndarray], points: np.ndarray, clamp: bool, extrapolate: bool, check: Check
) -> np.ndarray:
    """Return raw = exp(Σ λ f - normalizer) / density, at most 1, for *points* float64 (predictors, rows).

    Without *clamp* and *extrapolate* a point beyond the training range of a continuous predictor gets 0.
    """
    features = Features(*(arrays[name] for name in FEATURE_ARRAYS))
    continuous = arrays["categorical"] == 0
    normalizer, density, _ = arrays["normalizers"]
    inside = clamped(points, arrays["lower"], arrays["upper"], continuous)
    used = inside if clamp else points
    predictor = linear_predictor(features, arrays["feature_weight"], used, clamp, check) - normalizer
    with np.errstate(over="ignore"):
        raw = np.minimum(np.exp(predictor) / density, 1.0)
    if not clamp and not extrapolate:
        raw = np.where((inside == points).all(axis=0), raw, 0.0)
    return raw


def cumulative_table(raw: np.ndarray) -> dict[str, np.ndarray]:
    """Return the sorted *raw* values of the training points and, in percent, their running sums."""
    ordered = np.sort(raw)
    sums = np.cumsum(ordered)
    return {"cumulative_raw": ordered, "cumulative_sum": 100 * sums / sums[-1]}


def cumulative_values(raw: np.ndarray, ordered: np.ndarray, sums: np.ndarray) -> np.ndarray:
    """Interpolate the running sums: from (0, 0), 100 above the last; among equal points the first one counts."""
    place = np.searchsorted(ordered, raw)
    above = place == ordered.size
    place = np.minimum(place, ordered.size - 1)
    before = place - 1
    low = np.where(before >= 0, ordered[before], 0.0)
    low_sum = np.where(before >= 0, sums[before], 0.0)
    span = ordered[place] - low
    share = np.divide(raw - low, span, out=np.ones_like(raw), where=span > 0)
    # Written so that a value equal to a training point's gets its sum, whatever the rounding.
    values = np.where(share < 1, low_sum + share * (sums[place] - low_sum), sums[place])
    return np.where(above, 100.0, values)


class MaxentPredictor:
    """Applies a model as its settings say; each row for itself, in blocks of bounded memory."""

    def __init__(self, model: Model) -> None:
        self.arrays = model.arrays
        settings = model.settings
        self.output_format = settings["output_format"]
        self.clamp, self.extrapolate = settings["do_clamp"], settings["extrapolate"]
        self.names = ("probability", "clamp") if settings["write_clamp_grid"] else ("probability",)

    def bands(self, mode: str) -> tuple[str, ...]:
        return self.names

    def gives_classes(self, mode: str) -> bool:
        return False

    def predict(self, features: np.ndarray, mode: str, check: Check) -> np.ndarray:
        result: np.ndarray = np.empty((len(self.names), len(features)), dtype=np.float32)
        for start in range(0, len(features), BLOCK_ROWS):
            span = slice(start, start + BLOCK_ROWS)
            points = np.array(features[span].T, dtype=np.float64, order="C")
            values = self.values(points, self.clamp, check)
            result[0, span] = values
            if len(self.names) > 1:
                result[1, span] = np.abs(values - self.values(points, not self.clamp, check))
        return result

    def values(self, points: np.ndarray, clamp: bool, check: Check) -> np.ndarray:
        """Return the output for *points*, float64 (predictors, rows), with or without clamping."""
        raw = raw_values(self.arrays, points, clamp, self.extrapolate, check)
        if self.output_format == "raw":
            return raw
        if self.output_format == "cumulative":
            return cumulative_values(raw, self.arrays["cumulative_raw"], self.arrays["cumulative_sum"])
        odds = raw * np.exp(self.arrays["normalizers"][2])
        return odds / (1 + odds) if self.output_format == "logistic" else -np.expm1(-odds)

    @staticmethod
    def check(model: Model) -> None:
        """Raise `ModelFileError` unless the arrays are a Maxent model: prediction must not leave them."""
        arrays, predictors = model.arrays, len(model.predictors)
        cumulative = model.settings["output_format"] == "cumulative"
        wanted = ARRAYS | CUMULATIVE_ARRAYS if cumulative else ARRAYS
        if set(arrays) != wanted:
            raise ModelFileError(f"this Maxent model needs the arrays {', '.join(sorted(wanted))}")
        if any(array.ndim != 1 for array in arrays.values()):
            raise ModelFileError("an array of the Maxent model is not a list")
        kind, first, second = (arrays[name] for name in FEATURE_ARRAYS[:3])
        if (
            kind.dtype != np.uint8
            or arrays["categorical"].dtype != np.uint8
            or {first.dtype, second.dtype} != {np.dtype(np.int32)}
        ):
            raise ModelFileError("an array of the Maxent model has the wrong type")
        floats = [array for name, array in arrays.items() if array.dtype.kind == "f"]
        if len(floats) != len(arrays) - 4 or any(array.dtype != np.float64 for array in floats):
            raise ModelFileError("an array of the Maxent model has the wrong type")
        if not all(np.isfinite(array).all() for array in floats):
            raise ModelFileError("a number of the Maxent model is not finite")
        sizes = {arrays[name].size for name in arrays if name.startswith("feature_")}
        if len(sizes) != 1 or {arrays[name].size for name in ("categorical", "lower", "upper")} != {predictors}:
            raise ModelFileError("the Maxent model's arrays do not belong together")
        if (kind > CATEGORY).any() or any(((column < 0) | (column >= predictors)).any() for column in (first, second)):
            raise ModelFileError("a feature of the Maxent model has a kind or predictor that is not there")
        if (arrays["lower"] > arrays["upper"]).any():
            raise ModelFileError("a range of the Maxent model ends before it starts")
        normalizers = arrays["normalizers"]
        if normalizers.shape != (3,) or not (normalizers[1] > 0 and 0 <= normalizers[2] <= LARGEST_ENTROPY):
            raise ModelFileError("the Maxent model's normalizers are impossible")
        if cumulative:
            ordered, sums = arrays["cumulative_raw"], arrays["cumulative_sum"]
            if not ordered.size == sums.size > 0 or any((np.diff(array) < 0).any() for array in (ordered, sums)):
                raise ModelFileError("the Maxent model's cumulative table is not in order")
