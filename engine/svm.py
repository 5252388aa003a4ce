"""Support vector machines fitted with libsvm's semantics: five types, one machine per pair of classes.

scikit-learn (libsvm inside) finds the support vectors; label order, folds and probabilities are ours.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any, Mapping, NamedTuple

import numpy as np

from .classes import class_table
from .errors import SettingError, TableError
from .learners import REGRESSION
from .pairwise import fit_sigmoid, pairs
from .predictors import checker
from .progress import Progress
from .spans import row_spans
from .svm_kernels import Kernel, decisions, decisions_of, given, vector_groups
from .svm_machine import FOR_REGRESSION, WITH_PAIRS
from .training import Fit, Samples, require_sklearn
from .workers import ordered_map

SVM_TYPES = ("C_SVC", "NU_SVC", "ONE_CLASS", "EPSILON_SVR", "NU_SVR")
FOLDS, FOLD_SEED = 5, 0
NEARLY = 0.999999  # of a limit that libsvm compares with rounding of its own
SMALLEST_ITERATION_LIMIT = 10_000_000  # libsvm's
CACHE_MEGABYTES = 100  # libsvm's


def fit_svm(
    samples: Samples,
    mode: str,
    threads: int,
    progress: Progress,
    *,
    decision_procedure: str,
    svm_type: str,
    kernel_type: str,
    shrinking: bool,
    degree: int | None,
    gamma: float | None,
    coef0: float | None,
    cost: float | None,
    nu: float | None,
    termination_epsilon: float | None,
    loss_epsilon: float | None,
    one_class: int | None,
) -> Fit:
    """Fit libsvm; for C_SVC and NU_SVC once more on each of five folds, for the probabilities."""
    require_sklearn()
    _check_mode(svm_type, mode)
    settings = {"kernel_type": kernel_type, "degree": degree, "gamma": gamma, "coef0": coef0}
    solver = _Solver(
        svm_type=svm_type,
        kernel=Kernel.of(settings, len(samples.predictors)),
        shrinking=shrinking,
        cost=given(cost, 1.0),
        nu=given(nu, 0.5),
        tolerance=given(termination_epsilon, 0.001),
        tube=given(loss_epsilon, 0.1),
    )
    if svm_type in WITH_PAIRS:
        return _fit_pairs(samples, solver, threads, progress)
    rows = np.arange(samples.rows) if mode == REGRESSION else _rows_of(samples, int(given(one_class, 0)))
    tasks = [(samples.features[rows], samples.labels[rows])]
    [solution] = ordered_map(lambda task, stop: solver.solve(*task), tasks, 1, progress)
    _warn_of_limit(solution, progress)
    return Fit(solution.arrays)


def with_both_classes(samples: Samples, settings: Mapping[str, Any]) -> Samples:
    """Return *samples* of class 0 or 1 alone with the other one in the table: a one-class machine needs none of it."""
    if settings["svm_type"] != "ONE_CLASS" or [item.value for item in samples.classes] not in ([0], [1]):
        return samples
    [only] = samples.classes
    table = class_table((0, 1), {only.value: only.name, 1 - only.value: f"not {only.name}"}, {only.value: only.colour})
    return replace(samples, labels=np.full_like(samples.labels, only.value), classes=table)


def largest_nu(counts: np.ndarray) -> float:
    """Return the largest NU that every pair of classes allows (libsvm): twice the smaller share of the pair."""
    i, j = pairs(counts.size)
    return float((2 * np.minimum(counts[i], counts[j]) / (counts[i] + counts[j])).min())


class _Solution(NamedTuple):
    """What one fit gives: the arrays of a machine without probabilities, and whether the solver had to stop early."""

    arrays: dict[str, np.ndarray]
    stopped_early: bool


class _Solver(NamedTuple):
    """libsvm's parameters, all of them known."""

    svm_type: str
    kernel: Kernel
    shrinking: bool
    cost: float
    nu: float
    tolerance: float
    tube: float

    def solve(self, features: np.ndarray, targets: np.ndarray) -> _Solution:
        """Return the machine for *features* (rows, predictors) and *targets*: classes 0, 1, … in label order."""
        estimator = self._estimator(len(features))
        try:
            estimator.fit(features.astype(np.float64), targets)
        except ValueError as error:  # scikit-learn says so when a coefficient is not finite
            raise TableError(
                f"{self.svm_type} with the {self.kernel.kind} kernel has no finite solution for these samples: "
                "leave out constant predictors, scale the others to 0–1, or lower COST, GAMMA or DEGREE."
            ) from error
        sign = -1 if self.svm_type in WITH_PAIRS and len(estimator.classes_) == 2 else 1  # scikit-learn turns it then
        counts = estimator.n_support_ if self.svm_type in WITH_PAIRS else np.array([len(estimator.support_)])
        arrays = {
            "support_counts": counts.astype(np.int32),
            "support_vector": features[estimator.support_].astype(np.float32),
            "coefficient": np.ascontiguousarray(sign * estimator.dual_coef_.T, dtype=np.float64),
            "intercept": np.array(sign * estimator.intercept_, dtype=np.float64),
        }
        return _Solution(_with_weights(arrays) if self.kernel.kind == "LINEAR" else arrays, estimator.fit_status_ != 0)

    def _estimator(self, rows: int):
        from sklearn import svm

        kinds: dict[str, Any] = {
            "C_SVC": (svm.SVC, {"C": self.cost}),
            "NU_SVC": (svm.NuSVC, {"nu": self.nu}),
            "ONE_CLASS": (svm.OneClassSVM, {"nu": self.nu}),
            "EPSILON_SVR": (svm.SVR, {"C": self.cost, "epsilon": self.tube}),
            "NU_SVR": (svm.NuSVR, {"C": self.cost, "nu": self.nu}),
        }
        kind, own = kinds[self.svm_type]
        return kind(
            kernel=self.kernel.kind.lower(),
            degree=self.kernel.degree,
            gamma=self.kernel.gamma,
            coef0=self.kernel.coef0,
            shrinking=self.shrinking,
            tol=self.tolerance,
            cache_size=CACHE_MEGABYTES,
            max_iter=max(SMALLEST_ITERATION_LIMIT, 100 * rows),
            **own,
        )


def _check_mode(svm_type: str, mode: str) -> None:
    if (svm_type in FOR_REGRESSION) != (mode == REGRESSION):
        fitting = FOR_REGRESSION if mode == REGRESSION else [name for name in SVM_TYPES if name not in FOR_REGRESSION]
        raise SettingError(f"SVM_TYPE {svm_type} is not for MODE {mode}: choose {' or '.join(fitting)}.")


def _rows_of(samples: Samples, label: int) -> np.ndarray:
    """Return the rows of class *label* for a one-class machine."""
    values = [item.value for item in samples.classes]
    if values != [0, 1]:
        raise SettingError(
            f"SVM_TYPE ONE_CLASS needs samples of the classes 0 and 1, but {samples.class_property} has "
            f"{', '.join(map(str, values))}: remap it."
        )
    rows = np.flatnonzero(samples.labels == label)
    if not rows.size:
        raise SettingError(f"ONE_CLASS is {label}, but no sample is of that class: set it to {1 - label}.")
    return rows


def _warn_of_limit(solution: _Solution, progress: Progress) -> None:
    if solution.stopped_early:
        progress.warn("The solver reached libsvm's limit of iterations: scale the predictors to 0–1, or lower COST.")


def _fit_pairs(samples: Samples, solver: _Solver, threads: int, progress: Progress) -> Fit:
    order, targets = _by_appearance(samples.labels)
    counts = np.bincount(targets)
    if solver.svm_type == "NU_SVC" and solver.nu > largest_nu(counts):
        raise SettingError(
            f"NU is {solver.nu:g}, but with {counts.min()} samples in the smallest class and {counts.max()} in the "
            f"largest it can be {largest_nu(counts):.4g} at most: lower it, or balance the classes."
        )
    folds = _folds(counts, targets)

    def work(fold: int, stop: threading.Event) -> Any:
        if fold < 0:
            return solver.solve(samples.features, targets)
        return _fold_decisions(solver, samples.features, targets, folds == fold, counts.size, stop)

    results: list[Any] = []
    for result in ordered_map(work, range(-1, FOLDS), threads, progress):
        results.append(result)
        progress(len(results), FOLDS + 1)
    solution = results[0]
    _warn_of_limit(solution, progress)
    values = np.empty((counts.size - 1, len(targets)))
    for fold in range(FOLDS):
        values[:, folds == fold] = results[1 + fold]
    extra = {"label_order": order.astype(np.int32), "sigmoid": _sigmoids(values, targets, counts.size, progress)}
    return Fit({**solution.arrays, **extra})


def _sigmoids(values: np.ndarray, targets: np.ndarray, groups: int, progress: Progress) -> np.ndarray:
    """Return A and B of every pair, (pairs, 2), from the *values* that `_fold_decisions` describes."""
    rows = [np.flatnonzero(targets == group) for group in range(groups)]
    sigmoids = []
    for i, j in zip(*pairs(groups)):
        progress.check()
        first, second = values[j - 1, rows[i]], values[i, rows[j]]
        is_first = np.arange(first.size + second.size) < first.size
        sigmoids.append(fit_sigmoid(np.concatenate((first, second)), is_first))
    return np.array(sigmoids)


def _by_appearance(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the class positions in the order in which they first appear, and each row's place in that order."""
    positions, first = np.unique(labels, return_index=True)
    order = positions[np.argsort(first)]
    places = np.empty(positions.max() + 1, dtype=np.intp)
    places[order] = np.arange(order.size)
    return order, places[labels]


def _folds(counts: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return the fold of every row: each class shuffled and dealt out, one class going on where the last one ended."""
    generator = np.random.default_rng(FOLD_SEED)
    folds = np.empty(len(targets), dtype=np.intp)
    dealt = 0
    for target, count in enumerate(counts):
        rows = generator.permutation(np.flatnonzero(targets == target))
        folds[rows] = (dealt + np.arange(count)) % FOLDS
        dealt += count
    return folds


def _fold_decisions(
    solver: _Solver,
    features: np.ndarray,
    targets: np.ndarray,
    held_out: np.ndarray,
    groups: int,
    stop: threading.Event,
) -> np.ndarray:
    """Return what a machine trained on the others decides of the rows *held_out*: (groups - 1, rows).

    Only pairs with the row's own class are of use: one value per other class, ascending.  Where the others lack a
    class of the pair, it is libsvm's 1 or -1 for the class that is there.
    """
    check = checker(stop)
    present, seen = np.unique(targets[~held_out], return_inverse=True)
    i, j = pairs(groups)
    has_i, has_j = np.isin(i, present), np.isin(j, present)
    values = np.where(has_i, 1.0, 0.0) - np.where(has_j, 1.0, 0.0)
    arrays = None
    if present.size > 1:
        if solver.svm_type == "NU_SVC":
            solver = solver._replace(nu=min(solver.nu, NEARLY * largest_nu(np.bincount(seen))))
        arrays = solver.solve(features[~held_out], seen).arrays
    own, held = targets[held_out], features[held_out]
    result = np.empty((groups - 1, own.size))
    for span in row_spans(own.size, i.size):
        rows = np.ascontiguousarray(held[span].T, dtype=np.float64)
        decided = np.repeat(values[:, np.newaxis], rows.shape[1], axis=1)
        if arrays is not None:
            decided[has_i & has_j] = decisions(solver.kernel, arrays, rows, check)
        for group in np.unique(own[span]):
            columns = np.flatnonzero(own[span] == group)
            result[:, span.start + columns] = decided[np.ix_(decisions_of(group, groups), columns)]
    return result


def _with_weights(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Replace the support vectors of a linear machine by one weight per decision and predictor."""
    vectors = arrays["support_vector"].astype(np.float64)
    weight = np.zeros((arrays["intercept"].size, vectors.shape[1]))
    counts = arrays["support_counts"]
    for group, rows in vector_groups(counts):
        for decision, column in zip(decisions_of(group, counts.size), arrays["coefficient"][rows].T):
            weight[decision] += (column[:, np.newaxis] * vectors[rows]).sum(axis=0)
    return {"support_counts": counts, "weight": weight, "intercept": arrays["intercept"]}
