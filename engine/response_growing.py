"""A regression tree split by split as Smile 1.5 finds it, to the last rounding (reference 2.7 and 2.10).

The score of a split is Σ n·mean² over its two sides, so it is above 0 even where all responses are equal.  Of equal
scores the first predictor and its first threshold win.  Signs and other pseudo-responses are full of equal scores that
may differ in their last bit: sums and formulas keep Smile's order.  All nodes of one depth are split together.
"""

from __future__ import annotations

from typing import Callable, NamedTuple

import numpy as np

from .scan_order import scan_order
from .trees import Shape, beyond_limit, collapse, preorder

BLOCK_VALUES = 1 << 18  # samples × predictors that are searched at a time


class ResponseTree(NamedTuple):
    """A tree, and for every node (nodes,) the score of its split (0 at leaves) and the mean response of its samples.

    leaf_of_row : int64 (rows,), the leaf (a node number) of every row of the table, grown on or not
    """

    shape: Shape
    scores: np.ndarray
    means: np.ndarray
    leaf_of_row: np.ndarray

    def importance(self, predictors: int) -> np.ndarray:
        """Return the sum of the scores by each of the *predictors*."""
        splits = np.flatnonzero(self.shape.right)
        return np.bincount(self.shape.feature[splits], weights=self.scores[splits], minlength=predictors)


class ResponseGrower:
    """What all trees on one table share; used by several threads at once.

    features : float32 (rows, predictors), finite
    """

    def __init__(self, features: np.ndarray, min_leaf: int) -> None:
        self.columns = np.ascontiguousarray(features.T)
        self.orders = np.array([scan_order(column) for column in self.columns], dtype=np.int32)
        self.min_leaf = min_leaf

    def grow(
        self, responses: np.ndarray, rows: np.ndarray, max_nodes: int | None, check: Callable[[], None]
    ) -> ResponseTree:
        """Grow on *rows*, each of them once; *responses* float64 (all rows,).

        With *max_nodes*, a limit of leaves, nodes whose responses are all equal compete for them as in Smile; without
        it they are leaves: what cuts them is rounding.
        """
        growth = _Growth(self, responses, rows)
        if max_nodes is None:
            while growth.deepen(False, check):
                pass
            return growth.tree()
        for _ in range(max_nodes - 1):  # a tree with n leaves is at most n - 1 splits deep
            if not growth.deepen(True, check):
                break
        tree = growth.tree()
        if tree.shape.leaves.size <= max_nodes:
            return tree
        cut = collapse(tree.shape, beyond_limit(tree.shape.right, tree.scores, max_nodes))
        scores = np.where(cut.shape.right > 0, tree.scores[cut.origins], 0)
        return ResponseTree(cut.shape, scores, tree.means[cut.origins], cut.position[tree.leaf_of_row])


class _Nodes(NamedTuple):
    """The nodes of one depth that may be split, their rows standing one after the other.

    places : number of each node among all of its depth; starts, sizes : its rows; means : its mean response
    """

    places: np.ndarray
    starts: np.ndarray
    sizes: np.ndarray
    means: np.ndarray


class _Splits(NamedTuple):
    """The best split of each of some nodes and the means of its sides; *score* 0 and *feature* -1 where none is."""

    score: np.ndarray
    feature: np.ndarray
    threshold: np.ndarray
    low_mean: np.ndarray
    high_mean: np.ndarray

    @staticmethod
    def none(nodes: int) -> _Splits:
        return _Splits(np.zeros(nodes), np.full(nodes, -1), np.zeros(nodes), np.zeros(nodes), np.zeros(nodes))


class _Growth:
    """One tree, depth by depth; nodes are counted from the root down.

    orders : (predictors, rows of the open nodes), node after node, in each in the order of the predictor's scan
    """

    def __init__(self, grower: ResponseGrower, responses: np.ndarray, rows: np.ndarray) -> None:
        self.columns, self.min_leaf, self.responses = grower.columns, grower.min_leaf, responses
        self.drawn = np.zeros(responses.size, dtype=bool)
        self.drawn[rows] = True
        self.orders = grower.orders[self.drawn[grower.orders]].reshape(len(grower.orders), rows.size)
        self.node_of_row = np.zeros(responses.size, dtype=np.int64)
        self.first = 0  # number of the first node of the last depth
        self.splits, self.means, self.low_child = [_Splits.none(1)], [np.zeros(1)], [np.zeros(1, dtype=np.int64)]
        whole, size = np.zeros(1, dtype=np.int64), np.array([rows.size])
        self.means[0] = _running_sums(responses[rows][np.newaxis], whole, size)[0, -1:] / rows.size
        self.nodes = _Nodes(whole, whole, size, self.means[0])

    def deepen(self, equal_too: bool, check: Callable[[], None]) -> bool:
        """Split the nodes of the last depth, those of equal responses *equal_too*; return False when none is split."""
        check()
        if not self.nodes.sizes.size:
            return False
        found = self._best(check)
        if not equal_too:
            in_order = self.responses[self.orders[0]]
            ranges = [limit.reduceat(in_order, self.nodes.starts) for limit in (np.minimum, np.maximum)]
            found.feature[ranges[0] == ranges[1]] = -1
        split = found.feature >= 0
        if not split.any():
            return False
        for whole, part in zip(self.splits[-1], found):
            whole[self.nodes.places[split]] = part[split]
        self._add_children()
        return True

    def tree(self) -> ResponseTree:
        features, thresholds = ([getattr(splits, name) for splits in self.splits] for name in ("feature", "threshold"))
        shape, place = preorder(features, thresholds, self.low_child)
        scores, means = np.empty(place.size), np.empty(place.size)
        scores[place] = np.concatenate([splits.score for splits in self.splits])
        means[place] = np.concatenate(self.means)
        return ResponseTree(shape, scores, means, place[self.node_of_row])

    def _add_children(self) -> None:
        """Add the children of the nodes just split, and let the rows move on to them."""
        last = self.splits[-1]
        split = last.feature >= 0
        child = 2 * (np.cumsum(split) - 1)
        self.low_child[-1] = np.where(split, self.first + split.size + child, 0)
        rows = np.flatnonzero(self.node_of_row >= self.first)
        node = self.node_of_row[rows] - self.first
        rows, node = rows[split[node]], node[split[node]]
        child_of_row = child[node] + (self.columns[last.feature[node], rows] > last.threshold[node])
        self.first += split.size
        self.node_of_row[rows] = self.first + child_of_row
        count = 2 * int(split.sum())
        self.splits.append(_Splits.none(count))
        self.low_child.append(np.zeros(count, dtype=np.int64))
        self.means.append(np.column_stack((last.low_mean[split], last.high_mean[split])).ravel())
        sizes = np.bincount(child_of_row[self.drawn[rows]], minlength=count)
        places = np.flatnonzero(sizes >= 2 * self.min_leaf)
        sizes = sizes[places]
        self.nodes = _Nodes(places, np.cumsum(sizes) - sizes, sizes, self.means[-1][places])
        self._regroup(count)

    def _regroup(self, count: int) -> None:
        """Keep the rows of the open nodes only, node after node; *count* nodes are in the last depth."""
        opened = self.nodes.places.size
        key_of_node = np.full(count, opened, dtype=np.uint16 if opened < 1 << 16 else np.int64)  # 16 bits sort fast
        key_of_node[self.nodes.places] = np.arange(opened)
        keys = np.full(self.node_of_row.size, opened, dtype=key_of_node.dtype)
        inside = self.node_of_row >= self.first
        keys[inside] = key_of_node[self.node_of_row[inside] - self.first]
        keys = keys[self.orders]
        kept = keys < opened
        orders, keys = (array[kept].reshape(len(keys), self.nodes.sizes.sum()) for array in (self.orders, keys))
        self.orders = np.take_along_axis(orders, np.argsort(keys, axis=1, kind="stable"), axis=1)

    def _best(self, check: Callable[[], None]) -> _Splits:
        best = _Splits.none(self.nodes.sizes.size)
        step = max(1, BLOCK_VALUES // self.orders.shape[1])
        for start in range(0, len(self.orders), step):
            check()
            found = self._best_by(slice(start, start + step))
            better = found.score > best.score
            best = _Splits(*(np.where(better, new, old) for new, old in zip(found, best)))
        return best

    def _best_by(self, span: slice) -> _Splits:
        """Return the best split of every open node by the predictors of *span*."""
        nodes, orders = self.nodes, self.orders[span]
        values = np.take_along_axis(self.columns[span], orders, axis=1)
        node_of_place = np.repeat(np.arange(nodes.sizes.size), nodes.sizes)
        lower = np.arange(node_of_place.size) - nodes.starts[node_of_place] + 1  # rows of the node up to here
        tried = np.zeros(orders.shape, dtype=bool)
        np.not_equal(values[:, 1:], values[:, :-1], out=tried[:, :-1])
        tried &= (lower >= self.min_leaf) & (nodes.sizes[node_of_place] - lower >= self.min_leaf)
        column, place = np.nonzero(tried)
        node = node_of_place[place]
        sums = _running_sums(self.responses[orders], nodes.starts, nodes.sizes)[column, place]
        low = lower[place].astype(np.float64)
        high = nodes.sizes[node] - low
        low_mean, high_mean = sums / low, (nodes.means[node] * nodes.sizes[node] - sums) / high
        scores = low * low_mean * low_mean + high * high_mean * high_mean
        nodes_split, cut = _first_of_the_highest(scores, node, column, nodes.sizes.size)
        best = _Splits.none(nodes.sizes.size)
        at = column[cut], place[cut]
        best.score[nodes_split] = scores[cut]
        best.feature[nodes_split] = at[0] + span.start
        best.threshold[nodes_split] = (values[at].astype(np.float64) + values[at[0], at[1] + 1]) / 2
        best.low_mean[nodes_split], best.high_mean[nodes_split] = low_mean[cut], high_mean[cut]
        return best


def _first_of_the_highest(
    scores: np.ndarray, node: np.ndarray, column: np.ndarray, nodes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the nodes with a score above 0, and for each the number of its first one among the highest.

    *scores* (candidates,) come column by column, and in each of them node by node.
    """
    if not scores.size:
        return np.empty(0, dtype=np.intp), np.empty(0, dtype=np.intp)
    groups = column * nodes + node
    firsts = np.flatnonzero(np.concatenate(([True], groups[1:] != groups[:-1])))
    highest = np.zeros((column[-1] + 1, nodes))
    highest.ravel()[groups[firsts]] = np.maximum.reduceat(scores, firsts)
    best = np.flatnonzero((scores == highest.max(axis=0)[node]) & (scores > 0))
    found, first = np.unique(node[best], return_index=True)
    return found, best[first]


def _running_sums(values: np.ndarray, starts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return the running sums of *values* (predictors, rows), from anew at each of *starts*, added one by one.

    Running sums of everything, less what came before a start, would round otherwise.
    """
    sums = np.empty_like(values)
    powers = np.frexp(sizes)[1]
    for power in np.unique(powers):  # nodes of about one size, side by side
        some = powers == power
        steps = np.arange(sizes[some].max())
        inside = steps < sizes[some][:, np.newaxis]
        places = np.where(inside, starts[some][:, np.newaxis] + steps, 0)
        padded = np.where(inside, values[:, places], 0.0)
        sums[:, places[inside]] = np.cumsum(padded, axis=2)[:, inside]
    return sums
