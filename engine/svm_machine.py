"""A support vector machine at work: decision values, votes, probabilities; numpy alone.

Matrix products estimate the decision values; where their bounds do not settle what is asked for, the element-wise
values of `svm_kernels` do.  Classes ask which one wins, regression for a float32 number, and probabilities go on with
rounded decision values, element by element: a pixel has the same result wherever it stands.
"""

from __future__ import annotations

from typing import Any, Iterator

import numpy as np

from .errors import ModelFileError
from .learners import CLASSIFICATION, MULTIPROBABILITY, PROBABILITY, REGRESSION
from .models import Model
from .pairwise import class_probabilities, pair_probabilities, pairs
from .probabilities import output_bands, single_probability
from .rounding import gamma, same_float32, surely_largest
from .svm_kernels import LANES, Kernel, decisions, given, padded
from .svm_products import Estimate, KernelProducts, LinearProducts, Products
from .tree_apply import Check

VOTING = "Voting"
WITH_PAIRS, FOR_REGRESSION = ("C_SVC", "NU_SVC"), ("EPSILON_SVR", "NU_SVR")

LARGEST_BLOCK = 8192  # pixels
BLOCK_VALUES = 2**17  # of one work array, which then stays in the cache
FINEST, LARGEST = 2.0**-18, 2.0**100  # of rounded decision values, which are ±1 where the margin ends
TRIALS = 256  # support vectors that tell whether float32 is worth while


def winners(decision_values: np.ndarray, groups: int, procedure: str) -> np.ndarray:
    """Return for each column of *decision_values* (pairs, rows) the winning class, in label order; ties: the first.

    Margin adds up the decision values of a class, with the sign that speaks for it; Voting adds up their signs,
    which orders the classes as their numbers of won pairs do.  A value of 0 is for the second class of its pair.
    """
    return _tally(_votes(decision_values) if procedure == VOTING else decision_values, groups, -1).argmax(axis=0)


def sure_winners(estimate: Estimate, groups: int, procedure: str) -> np.ndarray:
    """Tell for which columns all values within the bounds of *estimate* have the same winner."""
    values, bounds = estimate
    if procedure == VOTING:
        sure = np.abs(values) > bounds
        values, bounds = np.where(sure, _votes(values), 0.0), np.where(sure, 0.0, 1.0)
    else:
        bounds = bounds + 2 * gamma(groups, np.float64) * (np.abs(values) + bounds)  # the sums' own roundings
    scores, spreads = _tally(values, groups, -1), _tally(bounds, groups, 1)
    return surely_largest(scores - spreads, scores + spreads) | ~spreads.any(axis=0)


def _rounded(decision_values: np.ndarray) -> np.ndarray:
    """Return the values that probabilities are made of: multiples of `FINEST` that are float32 numbers, too.

    Rounding is monotonic, so that values on both sides of another one that round to the same value settle it.
    """
    steps = np.rint(np.clip(decision_values, -LARGEST, LARGEST) / FINEST)
    return steps.astype(np.float32).astype(np.float64) * FINEST + 0.0  # which has one 0 only


def _votes(decision_values: np.ndarray) -> np.ndarray:
    return np.where(decision_values > 0, 1.0, -1.0)


def _tally(values: np.ndarray, groups: int, sign: int) -> np.ndarray:
    """Return (groups, rows): for each class the sum of its pairs' *values*, times *sign* where it is the second."""
    scores = np.zeros((groups, values.shape[1]))
    start = 0
    for group in range(groups - 1):
        own = values[start : start + groups - 1 - group]
        start += len(own)
        scores[group] += own.sum(axis=0)
        scores[group + 1 :] += sign * own
    return scores


class SvmPredictor:
    """Applies a machine to rows of predictors with numpy alone."""

    def __init__(self, model: Model) -> None:
        self.model, arrays = model, model.arrays
        self.kernel = Kernel.of(model.settings, len(model.predictors))
        self.svm_type, self.procedure = model.settings["svm_type"], model.settings["decision_procedure"]
        self.class_values = np.array([item.value for item in model.classes], dtype=np.int32)
        self.fine: Products
        if self.kernel.kind == "LINEAR":
            self.fine = LinearProducts(arrays)
        else:
            self.fine = KernelProducts(self.kernel, arrays, np.float64)
        self.coarse = None
        if model.mode == CLASSIFICATION and self.kernel.kind in ("RBF", "SIGMOID"):
            coarse = KernelProducts(self.kernel, arrays, np.float32)
            every = 1 + len(arrays["support_vector"]) // TRIALS
            some = np.ascontiguousarray(arrays["support_vector"][::every].T, dtype=np.float64)
            # Support vectors lie near the boundaries: if most of these are settled, most pixels are.
            if (
                np.count_nonzero(self._settled(coarse.decisions(some, lambda: None), CLASSIFICATION))
                > some.shape[1] / 2
            ):
                self.coarse = coarse

    def bands(self, mode: str) -> tuple[str, ...]:
        """Names of the output bands of *mode*."""
        return output_bands(mode, tuple(item.name for item in self.model.classes))

    def gives_classes(self, mode: str) -> bool:
        return mode == CLASSIFICATION

    def predict(self, features: np.ndarray, mode: str, check: Check) -> np.ndarray:
        """Return (bands, rows): int32 class values for CLASSIFICATION, float32 otherwise."""
        kind = np.int32 if self.gives_classes(mode) else np.float32
        result: np.ndarray = np.empty((len(self.bands(mode)), len(features)), dtype=kind)
        with np.errstate(over="ignore", invalid="ignore"):  # a pixel far from all samples may overflow a polynomial
            for part in self._parts(len(features)):
                rows = np.ascontiguousarray(features[part].T, dtype=np.float64)
                values = self._outputs(padded(self._decisions(rows, mode, check)), mode, check)
                result[:, part] = values[..., : rows.shape[1]]
        return result

    def _parts(self, rows: int) -> Iterator[slice]:
        width = max(len(self.model.predictors), self.model.arrays["intercept"].size)
        step = max(LANES, min(LARGEST_BLOCK, BLOCK_VALUES // width))
        return (slice(start, min(rows, start + step)) for start in range(0, rows, step))

    def _decisions(self, rows: np.ndarray, mode: str, check: Check) -> np.ndarray:
        """Return (decisions, rows) for *rows* (predictors, rows): all that `_outputs` makes of it is the row's own."""
        result = np.empty((self.model.arrays["intercept"].size, rows.shape[1]))
        rest = np.arange(rows.shape[1])
        for products in [self.coarse, self.fine] if self.coarse and self.gives_classes(mode) else [self.fine]:
            estimate = products.decisions(rows[:, rest], check)
            result[:, rest] = estimate.values
            rest = rest[~self._settled(estimate, mode)]
            if not rest.size:
                break
        else:
            result[:, rest] = decisions(self.kernel, self.model.arrays, rows[:, rest], check)
        if mode == REGRESSION:
            return result.astype(np.float32) + np.float32(0)  # which has one 0 only
        return result if self.gives_classes(mode) else _rounded(result)

    def _settled(self, estimate: Estimate, mode: str) -> np.ndarray:
        """Tell for which rows no values within the bounds have another output."""
        values, bounds = estimate
        if mode == REGRESSION:
            return same_float32(values - bounds, values + bounds)[0]
        if self.svm_type == "ONE_CLASS":
            return (np.abs(values) > bounds)[0]
        if mode == CLASSIFICATION:
            return sure_winners(estimate, self.class_values.size, self.procedure)
        return (_rounded(values - bounds) == _rounded(values + bounds)).all(axis=0)

    def _outputs(self, decision_values: np.ndarray, mode: str, check: Check) -> np.ndarray:
        if mode == REGRESSION:
            return decision_values
        if self.svm_type == "ONE_CLASS":
            inside = int(given(self.model.settings["one_class"], 0))
            return np.where(decision_values > 0, inside, 1 - inside)
        order = self.model.arrays["label_order"]
        if mode == CLASSIFICATION:
            return self.class_values[order][winners(decision_values, order.size, self.procedure)]
        probabilities = np.empty((order.size, decision_values.shape[1]))
        sigmoids = self.model.arrays["sigmoid"]
        probabilities[order] = class_probabilities(pair_probabilities(decision_values, sigmoids), order.size, check)
        if mode == MULTIPROBABILITY:
            return probabilities
        return single_probability(probabilities)

    @staticmethod
    def output_modes(model: Model) -> tuple[str, ...]:
        """Only machines with pairs of classes know probabilities."""
        if model.mode == REGRESSION:
            return (REGRESSION,)
        with_pairs = model.settings["svm_type"] in WITH_PAIRS
        return (CLASSIFICATION, PROBABILITY, MULTIPROBABILITY) if with_pairs else (CLASSIFICATION,)

    @staticmethod
    def check(model: Model) -> None:
        """Raise `ModelFileError` unless the arrays are a machine: prediction must not leave them."""
        arrays, svm_type, linear = model.arrays, model.settings["svm_type"], model.settings["kernel_type"] == "LINEAR"
        if (svm_type in FOR_REGRESSION) != (model.mode == REGRESSION):
            raise ModelFileError(f"its SVM_TYPE {svm_type} does not fit its mode {model.mode}")
        if svm_type == "ONE_CLASS" and [item.value for item in model.classes] != [0, 1]:
            raise ModelFileError("a one-class machine needs the classes 0 and 1")
        with_pairs = svm_type in WITH_PAIRS
        if with_pairs and len(model.classes) < 2:
            raise ModelFileError("a machine with pairs needs two classes")
        names = {"support_counts", "intercept"}
        names |= {"weight"} if linear else {"support_vector", "coefficient"}
        names |= {"label_order", "sigmoid"} if with_pairs else set()
        if set(arrays) != names:
            raise ModelFileError(f"a support vector machine needs the arrays {', '.join(sorted(names))}")
        groups = len(model.classes) if with_pairs else 1
        shapes = _shapes(groups, len(model.predictors), () if linear else arrays["support_vector"].shape[:1])
        for name, array in arrays.items():
            kind, shape = shapes[name]
            if array.dtype != kind or array.shape != shape or not np.isfinite(array).all():
                raise ModelFileError(f"the support vector machine's array {name!r} does not fit its classes")
        counts = arrays["support_counts"].astype(np.int64)
        if (counts < 0).any() or (not linear and counts.sum() != len(arrays["support_vector"])):
            raise ModelFileError("the support vector machine's counts do not cover its support vectors")
        if with_pairs and not np.array_equal(np.sort(arrays["label_order"]), np.arange(groups)):
            raise ModelFileError("the support vector machine's label order does not name every class once")


def explain_svm(model: Model) -> dict[str, Any]:
    """Return the number of support vectors, the kernel, and every decision's rho with what it decides."""
    arrays, kernel = model.arrays, Kernel.of(model.settings, len(model.predictors))
    counts = [int(count) for count in arrays["support_counts"]]
    explanation: dict[str, Any] = {
        "kernel": {"type": kernel.kind, **_kernel_parameters(kernel)},
        "numberOfSupportVectors": sum(counts),
        "rho": [-float(number) for number in arrays["intercept"]],
    }
    if model.settings["svm_type"] in WITH_PAIRS:
        labels = [model.classes[position].value for position in arrays["label_order"]]
        explanation["labelOrder"] = labels
        explanation["numberOfSupportVectorsPerClass"] = {str(label): n for label, n in sorted(zip(labels, counts))}
        explanation["pairs"] = [[labels[i], labels[j]] for i, j in zip(*pairs(len(labels)))]
    if kernel.kind == "LINEAR":
        explanation["weights"] = [dict(zip(model.predictors, row.tolist())) for row in arrays["weight"]]
    return explanation


def _shapes(groups: int, predictors: int, vectors: tuple[int, ...]) -> dict[str, tuple[type, tuple]]:
    """Return type and shape of every array that a machine may have; *vectors* is () where there are none."""
    decision_count = max(1, groups * (groups - 1) // 2)
    return {
        "support_counts": (np.int32, (groups,)),
        "label_order": (np.int32, (groups,)),
        "intercept": (np.float64, (decision_count,)),
        "sigmoid": (np.float64, (decision_count, 2)),
        "weight": (np.float64, (decision_count, predictors)),
        "support_vector": (np.float32, (*vectors, predictors)),
        "coefficient": (np.float64, (*vectors, max(1, groups - 1))),
    }


def _kernel_parameters(kernel: Kernel) -> dict[str, float]:
    names = {"POLY": ("degree", "gamma", "coef0"), "RBF": ("gamma",), "SIGMOID": ("gamma", "coef0")}
    return {name: getattr(kernel, name) for name in names.get(kernel.kind, ())}
