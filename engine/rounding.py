"""What rounding can do to a matrix product, so that its speed costs no reproducibility.

BLAS gives a row bits that depend on the shape of the block and on the row's place in it (OpenBLAS's kernels for
AVX-512 do), so that tiles would not equal the whole.  A learner therefore takes products as estimates only: each comes
with a bound on its distance from the learner's own element-wise result, and where the bound does not settle the
answer, the element-wise result is computed.  What comes out then depends on the row alone.

The bounds rest on the standard model of arithmetic, fl(x op y) = (x op y)(1 + d) with |d| <= u, half the machine
epsilon (Higham 2002, Accuracy and Stability of Numerical Algorithms, 2.2 and 3.1).  From it, whatever the order of the
sum and with fused operations or without, a number that went through n roundings has a relative error of at most
`gamma` (n), a sum of n products one of at most `gamma` (n) Σ |x y|, and errors of gamma(m) and gamma(n) make no more
than gamma(m + n).  numpy's and libm's exp, tanh and arccos are within 4 units in the last place, which are gamma(8).
"""

from __future__ import annotations

import numpy as np


def gamma(roundings: int, kind: type) -> float:
    """Return n u / (1 - n u) for the type *kind* of floating-point numbers, infinite where that is no bound."""
    share = roundings * float(np.finfo(kind).eps) / 2
    return share / (1 - share) if share < 1 else float("inf")


def same_float32(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Tell where all float64 numbers from *low* to *high* are the same float32 number, but for the sign of 0.

    Rounding is monotonic: a number between two that round to the same one rounds to it, too.  Never where one is NaN.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        return low.astype(np.float32) == high.astype(np.float32)


def surely_largest(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Tell for which columns the same line has the largest of any numbers from *low* to *high*, without a tie."""
    best = low.max(axis=0)
    return (np.count_nonzero(~(high < best), axis=0) == 1) & ~np.isnan(best)
