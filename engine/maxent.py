"""Maxent as in Earth Engine's amnhMaxent: where the presences of a species, or of one kind of ground, are likely.

The least uniform the distribution over the training points has to be, so that the means of all features match
those of the presences within their penalties (AMNH Maxent 3.4.4; reference 2.1).  docs/differences.md lists what
Earth Engine leaves open.
"""

from __future__ import annotations

import threading
from typing import Any, Mapping, NamedTuple

import numpy as np

from .errors import SettingError, TableError
from .maxent_features import (
    CATEGORY,
    HINGE,
    LINEAR,
    PRODUCT,
    QUADRATIC,
    REVERSE_HINGE,
    THRESHOLD,
    Candidates,
    Features,
    Kinds,
    clamped,
    feature_blocks,
    linear_predictor,
)
from .maxent_lambdas import lambdas_text
from .maxent_model import arrays_of, cumulative_table, raw_values
from .maxent_solver import Check, Solution, solve
from .models import Model
from .predictors import checker
from .progress import Progress
from .training import Fit, Samples
from .workers import ordered_map

BETAS = {  # automatic penalties: numbers of presences, and the values there (reference 2.1)
    "product": ((0, 10, 17, 30, 100), (2.6, 1.6, 0.9, 0.55, 0.05)),
    "quadratic": ((0, 10, 17, 30, 100), (1.3, 0.8, 0.5, 0.25, 0.05)),
    "linear": ((10, 30, 100), (1.0, 0.2, 0.05)),
    "threshold": ((0, 100), (2.0, 1.0)),
    "hinge": ((0,), (0.5,)),
    "categorical": ((0, 10, 17), (0.65, 0.5, 0.25)),
}
SMALLEST_PENALTY = 0.001  # times BETA_MULTIPLIER
EVEN_ODDS = 0.5  # of the cloglog value: what counts as classified as presence
FEATURES_AT_ONCE = 16_384
HELD_OUT, PERMUTED = 0, 1  # streams of random numbers
LOW_PRESENCES = 0.1  # the share of training presences below the "10 percentile" threshold


def fit_maxent(
    samples: Samples,
    mode: str,
    threads: int,
    progress: Progress,
    *,
    categorical_names: str,
    output_format: str,
    auto_feature: bool,
    linear: bool,
    quadratic: bool,
    product: bool,
    threshold: bool,
    hinge: bool,
    hinge_threshold: int,
    l2lq_threshold: int,
    lq2lqpt_threshold: int,
    add_samples_to_background: bool,
    add_all_samples_to_background: bool,
    beta_multiplier: float,
    beta_hinge: float,
    beta_lqp: float,
    beta_categorical: float,
    beta_threshold: float,
    extrapolate: bool,
    do_clamp: bool,
    write_clamp_grid: bool,
    random_test_points: int,
    seed: int,
) -> Fit:
    """Fit the model; class 1 is presence, class 0 background."""
    categorical = _categorical(categorical_names, samples.predictors)
    is_presence = _is_presence(samples, progress)
    points = np.ascontiguousarray(samples.features.T, dtype=np.float64)
    presences, tests = _held_out(points[:, is_presence], random_test_points, seed)
    background = _with_presences(
        points[:, ~is_presence], presences, add_samples_to_background, add_all_samples_to_background
    )
    count = presences.shape[1]
    if auto_feature:
        many = count >= lq2lqpt_threshold
        kinds = Kinds(True, count >= l2lq_threshold, many, many and threshold, count >= hinge_threshold)
    else:
        kinds = Kinds(linear, quadratic, product, threshold, hinge)
    if not any(kinds) and not categorical.any():
        raise SettingError(
            "LINEAR, QUADRATIC, PRODUCT, THRESHOLD and HINGE are all off, and no predictor is categorical: "
            "switch one on."
        )
    chosen = {
        "linear": beta_lqp,
        "threshold": beta_threshold,
        "hinge": beta_hinge,
        "categorical": beta_categorical,
    }
    betas = {key: beta * beta_multiplier for key, beta in _betas(kinds, count, chosen).items()}
    training = _Training(background, presences, tests, categorical, kinds, betas, beta_multiplier * SMALLEST_PENALTY)

    def fit(_: None, stop: threading.Event) -> Fit:
        check = checker(stop)
        return _fitted(training, points, output_format == "cumulative", seed, check)

    return next(ordered_map(fit, [None], 1, progress))


def explain_maxent(model: Model) -> dict[str, Any]:
    """Return gain, AUC, entropy and the like, and ``lambdas``: every feature with its λ, as Maxent writes them."""
    statistics = model.training.get("statistics", {})
    text = lambdas_text(model.predictors, model.arrays, statistics.get("backgroundPoints") or 0)
    return {**statistics, "lambdas": text.splitlines()}


class _Training(NamedTuple):
    """What the problem is made of; points are float64 (predictors, rows), *background* with presences added."""

    background: np.ndarray
    presences: np.ndarray
    tests: np.ndarray
    categorical: np.ndarray
    kinds: Kinds
    betas: Mapping[str, float]
    smallest_penalty: float


def _fitted(training: _Training, points: np.ndarray, cumulative: bool, seed: int, check: Check) -> Fit:
    candidates = Candidates(training.background, training.categorical, training.kinds)
    lower, upper = training.background.min(axis=1), training.background.max(axis=1)
    inside = clamped(training.presences, lower, upper, ~training.categorical)
    means, spreads = _moments(candidates.features, inside, check)
    penalties = _penalties(candidates.features, means, spreads, training)
    solution = solve(candidates, means, penalties, check)
    features = candidates.features.take(solution.chosen)
    predictor = linear_predictor(features, solution.weights, training.background, True, check)
    arrays = arrays_of(features, solution.weights, training.categorical, lower, upper, predictor)
    statistics = _statistics(training, arrays, solution, penalties, predictor, check)
    importance = _permutation_importance(training, arrays, seed, check)
    if cumulative:
        arrays = {**arrays, **cumulative_table(raw_values(arrays, training.background, True, True, check))}
    presence_odds = raw_values(arrays, points, True, True, check) * np.exp(arrays["normalizers"][2])
    predicted = (-np.expm1(-presence_odds) >= EVEN_ODDS).astype(np.int32)
    return Fit(arrays, importance, statistics=statistics, predicted=predicted)


def _categorical(names: str, predictors: tuple[str, ...]) -> np.ndarray:
    """Return for each predictor whether *names*, a list with commas, has it."""
    wanted = {name.strip() for name in names.split(",") if name.strip()}
    unknown = sorted(wanted - set(predictors))
    if unknown:
        raise SettingError(
            f"CATEGORICAL_NAMES has {', '.join(unknown)}, which is no predictor: choose among {', '.join(predictors)}."
        )
    return np.array([name in wanted for name in predictors])


def _is_presence(samples: Samples, progress: Progress) -> np.ndarray:
    background, presence = samples.classes[0], samples.classes[-1]
    if [item.value for item in samples.classes] != [0, 1]:
        found = ", ".join(str(item.value) for item in samples.classes)
        raise TableError(
            f"Maxent needs the classes 1 (presence) and 0 (background), but {samples.class_property} has {found}: "
            "remap it."
        )
    if (background.name, presence.name) != ("0", "1"):
        progress.message(f"Class 1 ({presence.name}) is presence, class 0 ({background.name}) is background.")
    return samples.labels == 1


def _held_out(presences: np.ndarray, percent: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the presences to train on, and *percent* of all to test with, in the order of the table."""
    count = presences.shape[1]
    held = int(np.floor(count * percent / 100 + 0.5))
    if held == count:
        raise SettingError(
            f"RANDOM_TEST_POINTS is {percent} percent, which leaves none of the {count} presences for training: "
            "give less."
        )
    is_test = np.zeros(count, dtype=bool)
    is_test[np.random.default_rng((seed, HELD_OUT)).permutation(count)[:held]] = True
    return presences[:, ~is_test], presences[:, is_test]


def _with_presences(background: np.ndarray, presences: np.ndarray, new: bool, every: bool) -> np.ndarray:
    """Return *background* with *every* presence, or those with *new* combinations of values, repeats included."""
    if every:
        return np.concatenate((background, presences), axis=1)
    if not new:
        return background
    known = {column.tobytes() for column in np.ascontiguousarray(background.T) + 0.0}  # -0 is 0
    added = [column.tobytes() not in known for column in np.ascontiguousarray(presences.T) + 0.0]
    return np.concatenate((background, presences[:, added]), axis=1)


def _betas(kinds: Kinds, presences: int, chosen: Mapping[str, float]) -> dict[str, float]:
    """Return β for each key of *chosen*, the automatic one where it is negative."""
    smooth = "product" if kinds.product else "quadratic" if kinds.quadratic else "linear"
    tables = {key: BETAS[smooth if key == "linear" else key] for key in chosen}
    return {key: beta if beta >= 0 else float(np.interp(presences, *tables[key])) for key, beta in chosen.items()}


def _moments(features: Features, points: np.ndarray, check: Check) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation (n - 1) of every feature over *points*."""
    count = points.shape[1]
    sums, squares = np.zeros(features.number), np.zeros(features.number)
    for start in range(0, features.number, FEATURES_AT_ONCE):
        some = slice(start, start + FEATURES_AT_ONCE)
        for _, values in feature_blocks(features.take(some), points):
            check()
            sums[some] += values.sum(axis=1)
            squares[some] += np.square(values).sum(axis=1)
    variance = (squares - sums * sums / count) / max(1, count - 1)
    return sums / count, np.sqrt(np.maximum(variance, 0))


def _penalties(features: Features, means: np.ndarray, spreads: np.ndarray, training: _Training) -> np.ndarray:
    """Return δ = β · deviation / √presences of every feature, at least the smallest penalty.

    Infinite for a threshold that all or none of the presences pass and a category without presences: Maxent gives
    them no weight (reference: "no data at all presences"; so do the oracle's models, and their gains agree).
    """
    count = training.presences.shape[1]
    stepped = np.isin(features.kind, (THRESHOLD, HINGE, REVERSE_HINGE))
    spreads = np.where(stepped, np.clip(spreads, 1 / np.sqrt(count), 0.5), spreads)
    betas = np.zeros(CATEGORY + 1)
    betas[[LINEAR, QUADRATIC, PRODUCT]] = training.betas["linear"]
    betas[THRESHOLD] = training.betas["threshold"]
    betas[[HINGE, REVERSE_HINGE]] = training.betas["hinge"]
    betas[CATEGORY] = training.betas["categorical"]
    penalties = betas[features.kind] * spreads / np.sqrt(count)
    always = (features.kind == CATEGORY) & (means == 1)
    floor = np.where(always, 1 / (2 * count), training.smallest_penalty)
    penalties = np.where(penalties < training.smallest_penalty, floor, penalties)
    says_nothing = (features.kind == THRESHOLD) & (means == 1)
    says_nothing |= np.isin(features.kind, (THRESHOLD, CATEGORY)) & (means == 0)
    return np.where(says_nothing, np.inf, penalties)


def _statistics(
    training: _Training,
    arrays: Mapping[str, np.ndarray],
    solution: Solution,
    penalties: np.ndarray,
    predictor: np.ndarray,
    check: Check,
) -> dict[str, float | int | None]:
    """Return what Maxent reports of a run; thresholds are values that a share of the training presences exceeds."""
    gain = float(np.log(predictor.size)) - solution.loss
    presences = raw_values(arrays, training.presences, True, True, check)
    background = raw_values(arrays, training.background, True, True, check)
    statistics: dict[str, float | int | None] = {
        "regularizedGain": gain,
        "unregularizedGain": gain + float(penalties[solution.chosen] @ np.abs(solution.weights)),
        "entropy": float(arrays["normalizers"][2]),
        "iterations": solution.iterations,
        "presences": training.presences.shape[1],
        "backgroundPoints": training.background.shape[1],
        "trainingAuc": area_under_curve(presences, background),
    }
    if training.tests.shape[1]:
        tests, ordered = raw_values(arrays, training.tests, True, True, check), np.sort(presences)
        statistics["testPresences"] = tests.size
        statistics["testAuc"] = area_under_curve(tests, background)
        statistics["testOmissionAtMinimumPresence"] = float(np.mean(tests < ordered[0]))
        low = ordered[int(LOW_PRESENCES * ordered.size)]
        statistics["testOmissionAt10PercentilePresence"] = float(np.mean(tests < low))
    return statistics


def area_under_curve(presences: np.ndarray, background: np.ndarray) -> float:
    """Return the share of (presence, background) pairs in which the presence has more; ties count half."""
    ordered = np.sort(background)
    less, not_more = (np.searchsorted(ordered, presences, side) for side in ("left", "right"))
    return float((less + not_more).sum() / (2 * presences.size * background.size))


def _permutation_importance(
    training: _Training, arrays: Mapping[str, np.ndarray], seed: int, check: Check
) -> np.ndarray:
    """Return, in percent of their sum, how much the training AUC falls when one predictor's values are shuffled."""
    count = training.presences.shape[1]
    points = np.concatenate((training.presences, training.background), axis=1)
    generator = np.random.default_rng((seed, PERMUTED))

    def auc(points: np.ndarray) -> float:
        values = raw_values(arrays, points, True, True, check)
        return area_under_curve(values[:count], values[count:])

    whole, losses = auc(points), np.zeros(len(points))
    for number, column in enumerate(points):
        shuffled = points.copy()
        shuffled[number] = generator.permutation(column)
        losses[number] = max(0.0, whole - auc(shuffled))
    return 100 * losses / losses.sum() if losses.any() else losses
