"""Kernels and decision values of a support vector machine, element by element.

A row's values have the same bits wherever it stands: predictors and support vectors are added up in their order, and
operations run over whole vectors of rows.
"""

from __future__ import annotations

from typing import Any, Callable, Iterator, Mapping, NamedTuple

import numpy as np

LANES = 64  # rows are padded to a multiple of it, so that none falls into the remainder of a vectorised loop
ROWS_AT_ONCE, VECTORS_AT_ONCE = 512, 64  # whose kernel stays in the cache; the second one orders the sums


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

    def evaluate(self, vectors: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Return (vectors, rows): the kernel of *vectors* (vectors, predictors) and *rows* (predictors, rows)."""
        result = np.zeros((len(vectors), rows.shape[1]))
        work = np.empty_like(result)
        for column, row in zip(vectors.T[:, :, np.newaxis], rows):
            if self.kind == "RBF":
                np.subtract(row, column, out=work)
                np.multiply(work, work, out=work)
            else:
                np.multiply(row, column, out=work)
            np.add(result, work, out=result)
        if self.kind == "RBF":
            np.multiply(result, -self.gamma, out=result)
        elif self.kind != "LINEAR":
            np.multiply(result, self.gamma, out=result)
            np.add(result, self.coef0, out=result)
        self.finish(result)
        return result

    def finish(self, values: np.ndarray) -> None:
        """Turn *values* -γ‖u - v‖² (RBF), γu·v + coef0 (POLY, SIGMOID) or u·v (LINEAR) into the kernel, in place."""
        if self.kind == "RBF":
            np.exp(values, out=values)
        elif self.kind == "SIGMOID":
            np.tanh(values, out=values)
        elif self.kind == "POLY":
            base = values.copy()
            for _ in range(self.degree - 1):
                np.multiply(values, base, out=values)


def decisions(
    kernel: Kernel, arrays: Mapping[str, np.ndarray], rows: np.ndarray, check: Callable[[], None]
) -> np.ndarray:
    """Return the decision values (decisions, rows) of *rows*, float64 (predictors, rows).

    Pairs are ordered as libsvm orders them; a value above 0 is for the first class of the pair.
    """
    result = np.empty((arrays["intercept"].size, rows.shape[1]))
    for start in range(0, rows.shape[1], ROWS_AT_ONCE):
        part = padded(rows[:, start : start + ROWS_AT_ONCE])
        values = _linear(arrays, part, check) if kernel.kind == "LINEAR" else _sums(kernel, arrays, part, check)
        result[:, start : start + ROWS_AT_ONCE] = values[:, : rows.shape[1] - start]
    return result


def padded(rows: np.ndarray) -> np.ndarray:
    """Return *rows* (values, rows), float64, with zero rows behind them up to a multiple of `LANES`."""
    result = np.zeros((len(rows), -(-rows.shape[1] // LANES) * LANES))
    result[:, : rows.shape[1]] = rows
    return result


def _linear(arrays: Mapping[str, np.ndarray], rows: np.ndarray, check: Callable[[], None]) -> np.ndarray:
    result = np.repeat(arrays["intercept"][:, np.newaxis], rows.shape[1], axis=1)
    for number, weight in enumerate(arrays["weight"]):
        check()
        result[number] += (weight[:, np.newaxis] * rows).sum(axis=0)
    return result


def _sums(kernel: Kernel, arrays: Mapping[str, np.ndarray], rows: np.ndarray, check: Callable[[], None]) -> np.ndarray:
    result = np.repeat(arrays["intercept"][:, np.newaxis], rows.shape[1], axis=1)
    for group, members in vector_groups(arrays["support_counts"]):
        numbers = decisions_of(group, arrays["support_counts"].size)
        for start in range(members.start, members.stop, VECTORS_AT_ONCE):
            check()
            part = slice(start, min(start + VECTORS_AT_ONCE, members.stop))
            values = kernel.evaluate(arrays["support_vector"][part].astype(np.float64), rows)
            for number, column in zip(numbers, arrays["coefficient"][part].T):
                result[number] += (column[:, np.newaxis] * values).sum(axis=0)
    return result


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
