"""Naive Bayes with Earth Engine's semantics (reference 2.9): a multinomial model of whole-number counts.

A matrix product tells between which numbers each score lies; the scores themselves, whose bits do not depend on other
rows, are only needed where that leaves two answers (see `rounding`).
"""

from __future__ import annotations

from typing import Any, Callable, Mapping

import numpy as np

from .distances import columns, summed
from .errors import ModelFileError, TableError
from .learners import CLASSIFICATION, MULTIPROBABILITY
from .limits import counted
from .models import Model
from .prediction import NO_CLASS
from .probabilities import output_bands, single_probability
from .progress import Progress
from .rounding import gamma, same_float32, surely_largest
from .spans import row_spans
from .training import Fit, Samples

TINY = 1e-20  # keeps the prior of a class without counted samples above 0
NEVER = -1e300  # stands for the logarithm of 0, which times 0 is not a number
IMPOSSIBLE = -1e250  # no sum without NEVER comes near it, every sum with it is below
EXPONENT = 750  # e to the power of minus it is 0
SMALLEST = 1e-300  # less is 0 as float32, too


def fit_naive_bayes(samples: Samples, mode: str, threads: int, progress: Progress, *, lambda_: float) -> Fit:
    """Add up what each class has of each predictor; fractions are cut off, negative values do not count."""
    classes = len(samples.classes)
    counted = (samples.features > 0).any(axis=1)
    labels, values = samples.labels[counted], samples.features[counted]
    rows = np.bincount(labels, minlength=classes)
    sums = [np.bincount(labels, np.trunc(np.maximum(column, 0)), minlength=classes) for column in values.T]
    if not rows.any():
        raise TableError("No sample has a positive value: naive Bayes counts occurrences, so give it counts.")
    _warn(samples, rows, progress)
    return Fit({"count": np.column_stack(sums), "class_rows": rows.astype(np.int64)})


def largest_naive_bayes(rows: int, predictors: int, classes: int, mode: str, settings: Mapping[str, Any]) -> int:
    """Return the bytes of the counts."""
    return 8 * classes * (predictors + 1)


def explain_naive_bayes(model: Model) -> dict[str, Any]:
    """Return ``priors``, ``counts`` and ``conditionalProbabilities`` in the order of ``classes``."""
    return {
        "priors": priors(model).tolist(),
        "counts": model.arrays["count"].tolist(),
        "conditionalProbabilities": conditional_probabilities(model).tolist(),
    }


def priors(model: Model) -> np.ndarray:
    """Return (classes,): the share (n_c + ε) / (n + k ε) of each class in the samples that counted."""
    rows = model.arrays["class_rows"]
    return (rows + TINY) / (rows.sum() + len(rows) * TINY)


def conditional_probabilities(model: Model) -> np.ndarray:
    """Return (classes, predictors): (count + λ) / (sum of the class's counts + λ p)."""
    smooth, counts = model.settings["lambda_"], model.arrays["count"]
    totals = counts.sum(axis=1, keepdims=True) + smooth * counts.shape[1]
    return np.divide(counts + smooth, totals, out=np.zeros_like(counts), where=totals > 0)


def _warn(samples: Samples, rows: np.ndarray, progress: Progress) -> None:
    positive = samples.features[samples.features > 0]
    if np.count_nonzero(positive < 1) > positive.size / 2:
        progress.warn(
            "Most positive values are fractions below 1, which count as 0: naive Bayes wants whole numbers, "
            "so multiply reflectances first, for example by 10,000."
        )
    negative = int(np.count_nonzero(samples.features < 0))
    if negative:
        progress.warn(f"{counted(negative, 'negative value')} ignored: naive Bayes wants counts from 0.")
    skipped = samples.rows - int(rows.sum())
    if skipped:
        progress.warn(f"{counted(skipped, 'sample')} left out, which have no positive value.")
    for number in np.flatnonzero(rows == 0):
        progress.warn(f"Class {samples.classes[number].name} has no sample with a positive value: nothing is known.")


class NaiveBayesPredictor:
    """Scores every class for every row: ln prior + Σ x ln P over the positive values x."""

    def __init__(self, model: Model) -> None:
        self.names = tuple(item.name for item in model.classes)
        self.class_values = np.array([item.value for item in model.classes], dtype=np.int32)
        self.log_priors = np.log(priors(model))[:, np.newaxis]
        likelihoods = conditional_probabilities(model)
        logarithms = np.log(likelihoods, out=np.full_like(likelihoods, NEVER), where=likelihoods > 0)
        self.log_likelihoods = np.minimum(logarithms, 0)

    def bands(self, mode: str) -> tuple[str, ...]:
        """Names of the output bands of *mode*."""
        return output_bands(mode, self.names)

    def gives_classes(self, mode: str) -> bool:
        return mode == CLASSIFICATION

    def predict(self, features: np.ndarray, mode: str, check: Callable[[], None]) -> np.ndarray:
        """Return (bands, rows): int32 class values or float32 posterior probabilities.

        A row without any positive value, and one that no class can have (possible when λ is 0), has none.
        """
        kind = np.int32 if mode == CLASSIFICATION else np.float32
        result = np.empty((len(self.bands(mode)), len(features)), dtype=kind)
        for span in row_spans(len(features), len(self.names)):
            check()
            positive = np.maximum(columns(features[span]), 0)
            scores, bounds = self._estimate(positive)
            result[:, span], settled = self._outputs(scores, bounds, positive, mode)
            rest = np.flatnonzero(~settled)
            if rest.size:
                positive = np.ascontiguousarray(positive[:, rest])
                scores = self._scores(positive)
                result[:, span.start + rest], _ = self._outputs(scores, np.zeros_like(scores), positive, mode)
        return result

    def _scores(self, positive: np.ndarray) -> np.ndarray:
        """Return (classes, rows) for *positive* (predictors, rows): what counts, each row's bits its own."""
        with np.errstate(over="ignore"):  # of NEVER
            scores = summed(x * weights[:, np.newaxis] for x, weights in zip(positive, self.log_likelihoods.T))
            scores = np.maximum(scores, NEVER)
        scores += self.log_priors
        return scores

    def _estimate(self, positive: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return scores by a matrix product, and how far `_scores` can be from them.

        No term is positive: both sums and the prior, p + 1 roundings, err by at most gamma(p + 1) of the sum's
        magnitude and the prior's, which themselves are known that well.  NEVER has no useful bound.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            sums = self.log_likelihoods @ positive
            bounds = 2 * gamma(len(positive) + 4, np.float64) * (np.abs(sums) + np.abs(self.log_priors))
            return sums + self.log_priors, bounds

    def _outputs(
        self, scores: np.ndarray, bounds: np.ndarray, positive: np.ndarray, mode: str
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the output of *mode*, and for which rows no scores within *bounds* have another one."""
        best = scores.max(axis=0)
        known = positive.any(axis=0) & (best > IMPOSSIBLE)
        if mode == CLASSIFICATION:
            with np.errstate(invalid="ignore"):
                settled = surely_largest(scores - bounds, scores + bounds)
            return np.where(known, self.class_values[scores.argmax(axis=0)], NO_CLASS), settled
        with np.errstate(invalid="ignore"):
            posterior = np.exp(scores - best)
            posterior /= summed(row.copy() for row in posterior)
            # Of both results: two scores in each ratio of the sum, their difference, its exponential, the sum itself.
            share = 4 * bounds.max(axis=0) + 4 * gamma(EXPONENT + len(scores) + 16, np.float64)
            share = np.where(share < 1, share, np.inf)  # beyond it e^x - 1 is not below 2x
            settled = same_float32(posterior * (1 - share) - SMALLEST, posterior * (1 + share) + SMALLEST).all(axis=0)
        shown = posterior if mode == MULTIPROBABILITY else single_probability(posterior)
        return np.where(known, shown, np.nan), settled

    @staticmethod
    def check(model: Model) -> None:
        """Raise `ModelFileError` unless the arrays are counts that fit classes and predictors."""
        arrays, classes = model.arrays, len(model.classes)
        if set(arrays) != {"count", "class_rows"}:
            raise ModelFileError("naive Bayes needs the arrays class_rows, count")
        counts, rows = arrays["count"], arrays["class_rows"]
        if not classes or counts.shape != (classes, len(model.predictors)) or rows.shape != (classes,):
            raise ModelFileError("its counts do not fit its classes and predictors")
        if counts.dtype != np.float64 or not np.isfinite(counts).all() or (counts < 0).any():
            raise ModelFileError("its counts are not numbers from 0")
        if rows.dtype != np.int64 or (rows < 0).any() or not rows.any():
            raise ModelFileError("its samples per class are not numbers from 0")
