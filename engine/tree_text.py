"""Trees as the text that Earth Engine's explain() prints (reference 3.4): R's rpart layout, Java's numbers.

Earth Engine prints 6 digits of a threshold.  With ``full_precision`` the text names the largest single-precision
number that goes left, so that trees read from it decide as before for every pixel.
"""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from typing import Iterator, Sequence

import numpy as np

from .tree_apply import rounded_down
from .trees import Shape, node_sums, square_scores

HEADER = "node), split, n, loss, yval, (yprob)\n* denotes terminal node\n"


def classification_text(
    shape: Shape,
    leaf_counts: np.ndarray,
    predictors: Sequence[str],
    values: Sequence[int],
    full_precision: bool = False,
) -> str:
    """Return a classification tree; *leaf_counts* (leaves, classes), *values* the class labels, ascending.

    The loss is n × Gini impurity; labels that are not 0, 1, 2 … get a probability of 0 for each gap.
    """
    counts = node_sums(shape.right, leaf_counts.astype(np.int64))
    population = counts.sum(axis=1)
    losses = population - np.einsum("nc,nc->n", counts, counts) / population
    probabilities = (counts + 1) / (population + counts.shape[1])[:, np.newaxis]
    spread = np.zeros((len(counts), values[-1] + 1))
    spread[:, list(values)] = probabilities
    labels = np.asarray(values)[counts.argmax(axis=1)]
    lines = []
    for node, prefix in _prefixes(shape, predictors, full_precision):
        shares = " ".join(java_g(share, 5) for share in spread[node])
        end = "" if shape.right[node] else " *"
        lines.append(f"{prefix} {population[node]} {java_g(losses[node], 5)} {labels[node]} ({shares}){end}\n")
    return f"n= {population[0]}\n{HEADER}{''.join(lines)}"


def regression_text(
    shape: Shape,
    population: np.ndarray,
    mean: np.ndarray,
    predictors: Sequence[str],
    full_precision: bool = False,
) -> str:
    """Return a regression tree; *population* and *mean* (leaves,).  The loss of a split is its score."""
    counts = node_sums(shape.right, population.astype(np.int64))
    sums = node_sums(shape.right, population * mean)
    scores = square_scores(shape.right, counts, sums)
    leaf = np.cumsum(shape.right == 0) - 1
    lines = []
    for node, prefix in _prefixes(shape, predictors, full_precision):
        if shape.right[node]:
            end = f"{java_g(scores[node], 5)} 0 "
        else:
            end = f"0.0000 {java_double(mean[leaf[node]])} *"
        lines.append(f"{prefix} {counts[node]} {end}\n")
    return f"n= {counts[0]}\n{HEADER}{''.join(lines)}"


def bare_text(shape: Shape, values: np.ndarray, predictors: Sequence[str]) -> str:
    """Return a tree of which only the *values* of the leaves are known, in full precision.

    Counts and losses are 9999, the filler that people write in such places.
    """
    leaf = np.cumsum(shape.right == 0) - 1
    lines = []
    for node, prefix in _prefixes(shape, predictors, full_precision=True):
        value = "0" if shape.right[node] else f"{values[leaf[node]]} *"
        lines.append(f"{prefix} 9999 9999 {value}\n")
    return "".join(lines)


def _prefixes(shape: Shape, predictors: Sequence[str], full_precision: bool) -> Iterator[tuple[int, str]]:
    """Yield every node in preorder with its indentation, number and the condition that leads to it."""
    waiting = [(0, 1, 0, "root")]
    while waiting:
        node, identity, depth, condition = waiting.pop()
        yield node, f"{' ' * depth}{identity}) {condition}"
        if shape.right[node]:
            name, number = predictors[shape.feature[node]], shape.threshold[node]
            threshold = _exact(number) if full_precision else java_g(number, 6)
            waiting.append((int(shape.right[node]), 2 * identity + 1, depth + 1, f"{name}>{threshold}"))
            waiting.append((node + 1, 2 * identity, depth + 1, f"{name}<={threshold}"))


def _exact(threshold: float) -> str:
    """Return the digits of the largest single-precision number up to *threshold*, of itself when it is below all."""
    single = float(rounded_down(np.array([threshold]))[0])
    return repr(single if np.isfinite(single) else float(threshold))


def java_g(value: float, digits: int) -> str:
    """Return *value* as Java's ``%.<digits>g``: halves are rounded up, trailing zeros kept."""
    exact = Decimal(repr(float(value)))
    if not exact:
        return f"{0:.{digits - 1}f}"
    rounded = _rounded(_rounded(exact, digits), digits)  # 9.999996 gains a digit on the way to 10.0000
    exponent = rounded.adjusted()
    if -4 <= exponent < digits:
        return f"{rounded:.{digits - 1 - exponent}f}"
    return f"{rounded.scaleb(-exponent):.{digits - 1}f}e{exponent:+03d}"


def _rounded(number: Decimal, digits: int) -> Decimal:
    return number.quantize(Decimal(1).scaleb(number.adjusted() - digits + 1), ROUND_HALF_UP)


def java_double(value: float) -> str:
    """Return *value* as Java's Double.toString: all digits, ``E`` outside 0.001 to 10,000,000."""
    number = Decimal(repr(float(value)))
    if not number:
        return "-0.0" if number.is_signed() else "0.0"
    exponent = number.adjusted()
    if -3 <= exponent < 7:
        text = f"{number:f}"
        return text if "." in text else f"{text}.0"
    digits = f"{number.scaleb(-exponent).normalize():f}"
    return f"{digits if '.' in digits else digits + '.0'}E{exponent}"
