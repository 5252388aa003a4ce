"""A classification tree split by split as Smile 1.5 finds it, ties included (reference 2.6).

Thresholds are tried only between neighbours in scan order whose classes and values differ; of equal gains the first
predictor and its first threshold win.  All nodes of one depth are split together; counts stay whole numbers.
"""

from __future__ import annotations

from typing import Callable, NamedTuple

import numpy as np

from .scan_order import scan_order
from .trees import Shape, preorder

NO_GAIN = 1e-12  # rounding; Smile asks for more than 0


class _Splits(NamedTuple):
    """The best split of each node of a depth; *gain* 0 where there is none."""

    gain: np.ndarray
    feature: np.ndarray
    threshold: np.ndarray


class _Level(NamedTuple):
    """The nodes of one depth that may be split: samples, Σ of squared class counts, and class counts of each."""

    sizes: np.ndarray
    squares: np.ndarray
    counts: np.ndarray


def grow_scanned(
    features: np.ndarray, labels: np.ndarray, classes: int, min_leaf: int, check: Callable[[], None]
) -> tuple[Shape, np.ndarray]:
    """Return the whole tree and the leaf (a node number) of every row.

    *features* float32 (rows, predictors), *labels* (rows,) positions of classes.
    """
    orders = [scan_order(column) for column in features.T]
    node_of_row = np.zeros(labels.size, dtype=np.int64)
    feature, threshold = [np.array([-1])], [np.array([0.0])]
    low_child = [np.array([0])]  # number of the lower child, its sister follows; 0 at a leaf
    first = 0  # number of the first node of this depth
    while True:
        check()
        nodes = feature[-1].size
        keys = (node_of_row - first) * classes + labels
        inside = node_of_row >= first
        counts = np.bincount(keys[inside], minlength=nodes * classes).reshape(nodes, classes)
        sizes = counts.sum(axis=1)
        open_nodes = ((counts > 0).sum(axis=1) > 1) & (sizes >= 2 * min_leaf)
        level = _Level(sizes, np.einsum("nc,nc->n", counts, counts), counts)
        active = np.zeros(labels.size, dtype=bool)
        active[inside] = open_nodes[node_of_row[inside] - first]
        orders = [order[active[order]] for order in orders]
        if not active.any():
            break
        best = _Splits(np.full(nodes, NO_GAIN), np.full(nodes, -1), np.zeros(nodes))
        for column, order in enumerate(orders):
            best = _better(
                best, column, features[order, column], labels[order], node_of_row[order] - first, level, min_leaf
            )
            check()
        split = best.feature >= 0
        if not split.any():
            break
        feature[-1], threshold[-1] = best.feature, best.threshold
        low_child[-1] = np.where(split, first + nodes + 2 * (np.cumsum(split) - 1), 0)
        rows = np.flatnonzero(active)
        rows = rows[split[node_of_row[rows] - first]]
        node = node_of_row[rows] - first
        above = features[rows, best.feature[node]] > best.threshold[node]
        node_of_row[rows] = low_child[-1][node] + above
        first += nodes
        children = 2 * int(split.sum())
        feature.append(np.full(children, -1))
        threshold.append(np.zeros(children))
        low_child.append(np.zeros(children, dtype=np.int64))
    shape, place = preorder(feature, threshold, low_child)
    return shape, place[node_of_row]


def _better(
    best: _Splits, column: int, values: np.ndarray, labels: np.ndarray, node: np.ndarray, level: _Level, min_leaf: int
) -> _Splits:
    """Return the better of *best* and the splits by one predictor, given in scan order over all nodes."""
    order = np.argsort(node, kind="stable")
    values, labels, node = values[order], labels[order], node[order]
    starts = np.flatnonzero(np.concatenate(([True], node[1:] != node[:-1])))
    here = node[starts]
    segment = np.repeat(np.arange(starts.size), np.diff(np.append(starts, node.size)))
    # Samples of the same class before each one in its node make Σ of squared counts a running sum.
    before = _rank_within(node * level.counts.shape[1] + labels)
    lower_squares = _running(2 * before + 1, starts, segment)
    crossed = _running(level.counts[node, labels], starts, segment)
    lower = np.arange(node.size) - starts[segment] + 1
    upper = level.sizes[node] - lower
    upper_squares = level.squares[node] - 2 * crossed + lower_squares
    tried = np.zeros(node.size, dtype=bool)
    tried[:-1] = (node[1:] == node[:-1]) & (labels[1:] != labels[:-1]) & (values[1:] != values[:-1])
    tried &= (lower >= min_leaf) & (upper >= min_leaf)
    gains = np.zeros(node.size)
    cut = np.flatnonzero(tried)
    gains[cut] = (
        lower_squares[cut] / lower[cut]
        + upper_squares[cut] / upper[cut]
        - level.squares[node[cut]] / level.sizes[node[cut]]
    ) / level.sizes[node[cut]]
    highest = np.maximum.reduceat(gains, starts)
    places = np.flatnonzero(gains == highest[segment])
    _, firsts = np.unique(segment[places], return_index=True)
    place = places[firsts]
    better = highest > best.gain[here] * (1 + NO_GAIN)
    place, here, highest = place[better], here[better], highest[better]
    gain, feature, threshold = best.gain.copy(), best.feature.copy(), best.threshold.copy()
    gain[here], feature[here] = highest, column
    threshold[here] = (values[place].astype(np.float64) + values[place + 1]) / 2
    return _Splits(gain, feature, threshold)


def _running(numbers: np.ndarray, starts: np.ndarray, segment: np.ndarray) -> np.ndarray:
    """Return the running sums of *numbers* (whole), from anew at each of *starts*."""
    sums = np.cumsum(numbers)
    return sums - (sums[starts] - numbers[starts])[segment]


def _rank_within(keys: np.ndarray) -> np.ndarray:
    """Return for each place how many earlier places have the same key."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    ranks = np.empty(keys.size, dtype=np.int64)
    ranks[order] = np.arange(keys.size) - np.repeat(starts, np.diff(np.append(starts, keys.size)))
    return ranks
