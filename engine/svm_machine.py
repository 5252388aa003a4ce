"""A support vector machine at work: kernels, decision values, votes, probabilities; numpy alone.

A matrix product's rounding depends on the number and place of rows (OpenBLAS's SkylakeX kernels even within a block
of fixed size), so that tiles would not equal the whole.  Prediction therefore goes through the support vectors one by
one, with element-wise operations on thousands of pixels each, whose results are the same wherever a pixel stands.
"""

from __future__ import annotations

from typing import Any, Iterator, Mapping, NamedTuple

import numpy as np

from .errors import ModelFileError
from .learners import CLASSIFICATION, MULTIPROBABILITY, PROBABILITY, REGRESSION
from .models import Model
from .pairwise import class_probabilities, pair_probabilities, pairs
from .tree_apply import Check

VOTING = "Voting"
WITH_PAIRS, FOR_REGRESSION = ("C_SVC", "NU_SVC"), ("EPSILON_SVR", "NU_SVR")

LANES = 64  # blocks are padded to multiples of it, so that no pixel falls into the remainder of a vectorised loop
LARGEST_BLOCK = 8192  # pixels
BLOCK_VALUES = 2**16  # of one work array, which then stays in the cache
MOST_COUNTED_DECISIONS = 4096
VECTORS_BETWEEN_CHECKS = 64


class Kernel(NamedTuple):
    """A kernel function with libsvm's defaults filled in."""

    kind: str
    degree: int
    gamma: float
    coef0: float

    @classmethod
    def of(cls, settings: Mapping[str, Any], predictors: int) -> Kernel:
        degree, gamma, coef0 = (settings[name] for name in ("degree", "gamma", "coef0"))
        return cls(settings["kernel_type"], int(given(degree, 3)), given(gamma, 1 / predictors), given(coef0, 0.0))

    def evaluate(self, rows: np.ndarray, vector: np.ndarray, work: np.ndarray, out: np.ndarray) -> None:
        """Write the kernel of every column of *rows* (predictors, rows) and *vector* (predictors, 1) to *out* (rows,).

        *work* has the shape of *rows*.
        """
        if self.kind == "RBF":
            np.subtract(rows, vector, out=work)
            np.multiply(work, work, out=work)
            np.add.reduce(work, axis=0, out=out)
            np.multiply(out, -self.gamma, out=out)
            np.exp(out, out=out)
            return
        np.multiply(rows, vector, out=work)
        np.add.reduce(work, axis=0, out=out)
        if self.kind == "LINEAR":
            return
        np.multiply(out, self.gamma, out=out)
        np.add(out, self.coef0, out=out)
        if self.kind == "SIGMOID":
            np.tanh(out, out=out)
            return
        base = out.copy()
        for _ in range(self.degree - 1):
            np.multiply(out, base, out=out)


def decisions(kernel: Kernel, arrays: Mapping[str, np.ndarray], rows: np.ndarray, check: Check) -> np.ndarray:
    """Return the decision values (decisions, rows) of *rows*, float64 (predictors, rows), a multiple of `LANES` rows.

    Pairs are ordered as libsvm orders them; a value above 0 is for the first class of the pair.
    """
    result = np.repeat(arrays["intercept"][:, np.newaxis], rows.shape[1], axis=1)
    work, values = np.empty_like(rows), np.empty(rows.shape[1])
    if kernel.kind == "LINEAR":
        for number, weight in enumerate(arrays["weight"]):
            check()
            kernel.evaluate(rows, weight[:, np.newaxis], work, values)
            result[number] += values
        return result
    for group, vectors in vector_groups(arrays["support_counts"]):
        coefficients = arrays["coefficient"][vectors]
        total = np.zeros((coefficients.shape[1], rows.shape[1]))
        shares = np.empty_like(total)
        for number, vector in enumerate(arrays["support_vector"][vectors].astype(np.float64)):
            if number % VECTORS_BETWEEN_CHECKS == 0:
                check()
            kernel.evaluate(rows, vector[:, np.newaxis], work, values)
            np.multiply(coefficients[number][:, np.newaxis], values, out=shares)
            total += shares
        result[decisions_of(group, arrays["support_counts"].size)] += total
    return result


def winners(decision_values: np.ndarray, groups: int, procedure: str) -> np.ndarray:
    """Return for each column of *decision_values* (pairs, rows) the winning class, in label order; ties: the first.

    Margin adds up the decision values of a class, with the sign that speaks for it; Voting adds up their signs,
    which orders the classes as their numbers of won pairs do.  A value of 0 is for the second class of its pair.
    """
    if procedure == VOTING:
        decision_values = np.where(decision_values > 0, 1.0, -1.0)
    scores = np.zeros((groups, decision_values.shape[1]))
    start = 0
    for group in range(groups - 1):
        values = decision_values[start : start + groups - 1 - group]
        start += len(values)
        scores[group] += values.sum(axis=0)
        scores[group + 1 :] -= values
    return scores.argmax(axis=0)


class SvmPredictor:
    """Applies a machine to rows of predictors with numpy alone."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.kernel = Kernel.of(model.settings, len(model.predictors))
        self.svm_type = model.settings["svm_type"]
        self.class_values = np.array([item.value for item in model.classes], dtype=np.int32)

    def bands(self, mode: str) -> tuple[str, ...]:
        """Names of the output bands of *mode*."""
        if mode == MULTIPROBABILITY:
            return tuple(item.name for item in self.model.classes)
        return ("probability",) if mode == PROBABILITY else ("classification",)

    def gives_classes(self, mode: str) -> bool:
        return mode == CLASSIFICATION

    def predict(self, features: np.ndarray, mode: str, check: Check) -> np.ndarray:
        """Return (bands, rows): int32 class values for CLASSIFICATION, float32 otherwise."""
        kind = np.int32 if self.gives_classes(mode) else np.float32
        result: np.ndarray = np.empty((len(self.bands(mode)), len(features)), dtype=kind)
        arrays = self.model.arrays
        with np.errstate(over="ignore", invalid="ignore"):  # a pixel far from all samples may overflow a polynomial
            for part, rows in blocks(features, arrays["intercept"].size):
                values = self._outputs(decisions(self.kernel, arrays, rows, check), mode, check)
                result[:, part] = values[..., : part.stop - part.start]
        return result

    def _outputs(self, decision_values: np.ndarray, mode: str, check: Check) -> np.ndarray:
        if mode == REGRESSION:
            return decision_values
        if self.svm_type == "ONE_CLASS":
            inside = int(given(self.model.settings["one_class"], 0))
            return np.where(decision_values > 0, inside, 1 - inside)
        order = self.model.arrays["label_order"]
        if mode == CLASSIFICATION:
            procedure = self.model.settings["decision_procedure"]
            return self.class_values[order][winners(decision_values, order.size, procedure)]
        probabilities = np.empty((order.size, decision_values.shape[1]))
        sigmoids = self.model.arrays["sigmoid"]
        probabilities[order] = class_probabilities(pair_probabilities(decision_values, sigmoids), order.size, check)
        if mode == MULTIPROBABILITY:
            return probabilities
        # Two classes: the probability of the larger label; more: of the most probable one (reference 3.2).
        return probabilities[1] if order.size == 2 else probabilities.max(axis=0)

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


def blocks(features: np.ndarray, decision_count: int) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield *features* (rows, predictors) in parts: which rows, and float64 (predictors, rows), padded to `LANES`."""
    width = max(features.shape[1], min(decision_count, MOST_COUNTED_DECISIONS))
    step = max(LANES, min(LARGEST_BLOCK, BLOCK_VALUES // width // LANES * LANES))
    for start in range(0, len(features), step):
        part = slice(start, min(len(features), start + step))
        rows = np.zeros((features.shape[1], -(-(part.stop - start) // LANES) * LANES))
        rows[:, : part.stop - start] = features[part].T
        yield part, rows


def vector_groups(counts: np.ndarray) -> Iterator[tuple[int, slice]]:
    """Yield the number of each group of support vectors, and where it lies."""
    ends = np.cumsum(counts, dtype=np.int64).tolist()
    return ((group, slice(end - int(count), end)) for group, (end, count) in enumerate(zip(ends, counts)))


def decisions_of(group: int, groups: int) -> np.ndarray:
    """Return the numbers of the decisions that *group* takes part in, by ascending other group."""
    if groups == 1:
        return np.array([0])
    others = np.delete(np.arange(groups), group)
    i, j = np.minimum(others, group), np.maximum(others, group)
    return i * (2 * groups - i - 1) // 2 + j - i - 1


def given(value: Any, default: float) -> Any:
    return default if value is None else value


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
