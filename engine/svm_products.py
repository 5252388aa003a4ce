"""Decision values of a support vector machine by matrix products, each with a proven bound.

The bound is on the distance from `svm_kernels.decisions`, in the terms of `rounding`; u and gamma are those of the
products' type where nothing else is said.  Let a and b be a row and a support vector with p predictors, c the
coefficients of a decision, m the vectors in one product, n all of them.

RBF.  a and b are taken around the mean of the vectors, so that large offsets do not cancel.  The exponent is the one
product 2γb·a - γ|b|² · 1 - γ · |a|² of p + 2 terms.  A term's factors went through at most p + 8 roundings (the
difference, its type, the square of the length, γ), so the exponent errs by at most gamma(2p + 16) γ (|a| + |b|)², and
    d = 2 gamma(2p + 16) γ (|a|² + |b|²)
is more.  The computed kernel is K e^±d (1 ± gamma(8)); the product with c then errs by at most Σ|c|K (e^t - 1) with
t = d + gamma(m + 16).  |c|K itself is only known as computed, which is at least e^-t of it.  While t <= 1/8 for the
longest b, (e^t - 1) e^t <= 2t, so that 2 Σ|c|K t is a bound with the computed K; beyond there is none.  It takes two
more products: W = Σ|c|K and V = Σ|c|K|b|², where |c| is the largest one of the vector.

POLY, SIGMOID.  The product γb·a + coef0 · 1 errs by at most gamma(p + 4) M with M = γ|a||b|max + |coef0|.  The power's
error is then at most gamma(degree (p + 4)) M^degree, that of tanh, whose slope is 1 at most, gamma(p + 4) M + gamma(8).
With the sum they make tW, t = gamma(degree (p + 4) + m + 16) and W = M^degree Σ|c|, or t = gamma(p + 4) M + gamma(m +
16) and W = Σ|c|; twice that covers the roundings of M.

LINEAR.  One product of p terms and the intercept: gamma(p + 8) (|a||w| + |intercept|), again twice.

The element-wise values obey the same bounds with 64 + n / 64 for m and float64 for the type, so both are added.  So
are the roundings of the sums over products, which are float64, and what underflow takes: less than the smallest normal
number for each kernel value, coefficient and product.
"""

from __future__ import annotations

from typing import Callable, Mapping, NamedTuple, Union

import numpy as np

from .pairwise import pairs
from .rounding import gamma
from .svm_kernels import VECTORS_AT_ONCE, Kernel, decisions_of, vector_groups

ROWS_AT_ONCE, PRODUCT = 256, 256  # rows and vectors whose kernel stays in the cache
SPARE = 16  # roundings that every bound has in hand: those of `ELEMENTARY`, of coefficients and of the bound itself
LARGEST_SHARE = 1 / 8


class Estimate(NamedTuple):
    """Decision values and their bounds, float64 (decisions, rows); a bound may be infinite or NaN."""

    values: np.ndarray
    bounds: np.ndarray


class LinearProducts:
    """A linear machine."""

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        self.weight, self.intercept = arrays["weight"], arrays["intercept"][:, np.newaxis]
        self.lengths = _lengths(self.weight.T)[:, np.newaxis]

    def decisions(self, rows: np.ndarray, check: Callable[[], None]) -> Estimate:
        """Return the decisions of *rows*, float64 (predictors, rows)."""
        check()
        sizes = self.lengths * _lengths(rows) + np.abs(self.intercept)
        return Estimate(self.weight @ rows + self.intercept, 4 * gamma(len(rows) + SPARE, np.float64) * sizes)


class _Part(NamedTuple):
    """The vectors of one group within a product: which of the product's, and the decisions they take part in.

    *weights* has a line for each of *numbers*, and those for W and V below.
    """

    group: int
    members: slice
    numbers: np.ndarray
    weights: np.ndarray


class KernelProducts:
    """A machine with another kernel; its products are of the type *kind*."""

    def __init__(self, kernel: Kernel, arrays: Mapping[str, np.ndarray], kind: type) -> None:
        self.kernel, self.kind, self.intercept = kernel, kind, arrays["intercept"][:, np.newaxis]
        vectors = arrays["support_vector"].astype(np.float64)
        self.centre = np.zeros((vectors.shape[1], 1))
        if kernel.kind == "RBF" and len(vectors):
            self.centre = vectors.mean(axis=0)[:, np.newaxis]
            vectors -= self.centre.T
        lengths = _lengths(vectors.T)
        self.largest = lengths.max(initial=0)
        with np.errstate(over="ignore"):
            if kernel.kind == "RBF":
                ends = [-kernel.gamma * lengths**2, np.full(len(vectors), -kernel.gamma)]
                factors = np.column_stack([2 * kernel.gamma * vectors, *ends])
            else:
                factors = np.column_stack([kernel.gamma * vectors, np.full(len(vectors), kernel.coef0)])
            self.factors: np.ndarray = factors.astype(kind)
            magnitudes = np.abs(arrays["coefficient"]).max(axis=1)
            weights = np.column_stack((arrays["coefficient"], magnitudes, magnitudes * lengths**2))
        self.parts = _parts(arrays["support_counts"], weights.astype(kind))
        groups = [float(magnitudes[members].sum()) for _, members in vector_groups(arrays["support_counts"])]
        self.magnitudes = np.array(groups)[:, np.newaxis]  # Σ|c| of every group

    def decisions(self, rows: np.ndarray, check: Callable[[], None]) -> Estimate:
        """Return the decisions of *rows*, float64 (predictors, rows)."""
        values = np.empty((len(self.intercept), rows.shape[1]))
        bounds = np.empty_like(values)
        for start in range(0, rows.shape[1], ROWS_AT_ONCE):
            check()
            part = slice(start, start + ROWS_AT_ONCE)
            values[:, part], bounds[:, part] = self._block(rows[:, part])
        return Estimate(values, bounds)

    def _block(self, rows: np.ndarray) -> Estimate:
        values = np.repeat(self.intercept, rows.shape[1], axis=1)
        sizes = np.zeros((2, len(self.magnitudes), rows.shape[1]))
        rows = rows - self.centre
        columns: np.ndarray = np.ones((self.factors.shape[1], rows.shape[1]), dtype=self.kind)
        columns[: len(rows)] = rows
        lengths = _lengths(rows)
        if self.kernel.kind == "RBF":
            columns[-1] = lengths**2
        for number, parts in enumerate(self.parts):
            kernels = self.factors[number * PRODUCT : (number + 1) * PRODUCT] @ columns
            self.kernel.finish(kernels)
            for part in parts:
                sums = part.weights @ kernels[part.members]
                values[part.numbers] += sums[:-2]
                sizes[:, part.group] += sums[-2:]
        return Estimate(values, np.where(np.isfinite(values), self._bounds(lengths, *sizes), np.inf))

    def _bounds(self, lengths: np.ndarray, sizes: np.ndarray, moments: np.ndarray) -> np.ndarray:
        """Return the bounds for rows of these *lengths* |a|; *sizes* and *moments* (groups, rows) are W, V of RBF."""
        if self.kernel.kind == "POLY":
            sizes = self.magnitudes * self._products(lengths) ** self.kernel.degree
        elif self.kernel.kind == "SIGMOID":
            sizes = np.repeat(self.magnitudes, lengths.size, axis=1)
        vectors = len(self.factors)
        errors = self._errors(lengths, sizes, moments, PRODUCT, self.kind)
        errors += self._errors(lengths, sizes, moments, VECTORS_AT_ONCE + vectors // VECTORS_AT_ONCE, np.float64)
        tiny = float(np.finfo(self.kind).tiny) + float(np.finfo(np.float64).tiny)
        errors += 8 * tiny * (self.magnitudes + vectors)
        if len(errors) > 1:
            i, j = pairs(len(errors))
            errors, sizes = errors[i] + errors[j], sizes[i] + sizes[j]
        return errors + 2 * gamma(vectors // PRODUCT + SPARE, np.float64) * (sizes + np.abs(self.intercept))

    def _errors(
        self, lengths: np.ndarray, sizes: np.ndarray, moments: np.ndarray, vectors: int, kind: type
    ) -> np.ndarray:
        """Return (groups, rows): how far sums over *vectors* vectors can be from the truth."""
        predictors, kernel = len(self.centre), self.kernel
        if kernel.kind == "RBF":
            curve = 2 * gamma(2 * predictors + SPARE, kind) * kernel.gamma
            share = curve * lengths**2 + gamma(vectors + SPARE, kind)
            errors = 2 * (share * sizes + curve * moments)
            return np.where(share + curve * self.largest**2 <= LARGEST_SHARE, errors, np.inf)
        if kernel.kind == "SIGMOID":
            return 2 * (gamma(predictors + 4, kind) * self._products(lengths) + gamma(vectors + SPARE, kind)) * sizes
        return 2 * gamma(kernel.degree * (predictors + 4) + vectors + SPARE, kind) * sizes

    def _products(self, lengths: np.ndarray) -> np.ndarray:
        """Return M, which no γa·b + coef0 exceeds."""
        return self.kernel.gamma * self.largest * lengths + abs(self.kernel.coef0)


Products = Union[LinearProducts, KernelProducts]


def _lengths(rows: np.ndarray) -> np.ndarray:
    """Return the lengths of *rows* (predictors, rows)."""
    return np.sqrt(np.square(rows).sum(axis=0))


def _parts(counts: np.ndarray, weights: np.ndarray) -> list[list[_Part]]:
    """Return the parts of every product; *weights* is (vectors, weights)."""
    parts: list[list[_Part]] = [[] for _ in range(0, len(weights), PRODUCT)]
    for group, members in vector_groups(counts):
        numbers = decisions_of(group, counts.size)
        start = members.start
        while start < members.stop:
            product, first = divmod(start, PRODUCT)
            stop = min(members.stop, (product + 1) * PRODUCT)
            own = np.ascontiguousarray(weights[start:stop].T)
            parts[product].append(_Part(group, slice(first, first + stop - start), numbers, own))
            start = stop
    return parts
