"""Growing a Cobweb tree row by row, with Weka's order of arithmetic (reference 5.4).

At each node on its way down a row joins a child, founds one, or first makes two children one or one child its
children, whichever gives the greatest category utility.  Rounding decides more often than one would think: a child
with two children of its own is worth exactly as much as those two made one.  So sums are made in Weka's order, and a
row that was tried in a child and taken out again leaves its rounding behind there, as in Weka.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from .java_random import JavaRandom
from .progress import Progress

NORMAL = 1.0 / (2.0 * math.sqrt(math.pi))
ROWS_BETWEEN_REPORTS = 32
NEARLY = 1e-7  # share of a utility that moments joined by formula may be wrong by
RETOLD_ROWS = 4096  # of the second of two nodes made one; with more, only the formula joins them
LEAF, CHILD, MERGE, SPLIT = range(4)


class Concepts(NamedTuple):
    """A grown tree, its nodes numbered as Weka's clusters: each before its children, and those before its sisters.

    parent : int32 (nodes,), -1 of the root
    size : float64 (nodes,) rows
    mean : float64 (nodes, predictors)
    spread : float64 (nodes, predictors) sums of squared differences from the mean
    """

    parent: np.ndarray
    size: np.ndarray
    mean: np.ndarray
    spread: np.ndarray
    merges: int
    splits: int


def grow(features: np.ndarray, acuity: float, cutoff: float, seed: int, progress: Progress | None = None) -> Concepts:
    """Return the tree of *features* (rows, predictors; float64), which are taken in the order that *seed* shuffles.

    *acuity* is the least standard deviation, *cutoff* the category utility below which a node keeps no children.
    """
    progress = progress or Progress()
    grower = _Grower(features[JavaRandom(seed).shuffle(len(features))], acuity, cutoff)
    for row in range(1, len(features)):
        progress.check()
        if row % ROWS_BETWEEN_REPORTS == 0:
            progress(row, len(features))
        grower.add(row)
    return grower.concepts()


def as_text(tree: Concepts) -> str:
    """Return the tree as Weka prints it: the line of an inner node stands before each of its children."""
    lines = [f"Number of merges: {tree.merges}", f"Number of splits: {tree.splits}"]
    lines += [f"Number of clusters: {len(tree.parent)}", ""]
    inner = set(tree.parent.tolist())
    depth = [0] * len(tree.parent)
    for node, parent in enumerate(tree.parent.tolist()):
        if parent >= 0:
            depth[node] = depth[parent] + 1
            lines.append(f"{'|   ' * depth[parent]}node {parent} [{tree.size[parent]:.0f}]")
        if node not in inner:
            lines.append(f"{'|   ' * depth[node]}leaf {node} [{tree.size[node]:.0f}]")
    return "\n".join(lines) + "\n\n"


def children_of(parent: np.ndarray) -> list[np.ndarray]:
    """Return the children of every node, in their order."""
    order = np.argsort(parent, kind="stable")[1:]
    return np.split(order, np.searchsorted(parent[order], np.arange(1, len(parent))))


def inverse_deviations(spread: np.ndarray, size: np.ndarray | float, acuity: float) -> np.ndarray:
    """Return 1 / (2 √π σ) with σ at least *acuity*, which is also the σ of a single row."""
    variance = np.where(size > 1, spread, 0.0) / np.maximum(size - 1.0, 1.0)
    return NORMAL / np.maximum(np.sqrt(np.maximum(variance, 0.0)), acuity)


def in_order(numbers: np.ndarray) -> np.ndarray:
    """Sum along the last axis one by one, as a loop would: numpy's sum adds in pairs."""
    if not numbers.shape[-1]:
        return np.zeros(numbers.shape[:-1])
    return np.add.accumulate(numbers, axis=-1)[..., -1]


class _Parent(NamedTuple):
    """What the shares of children are measured against: `inverse_deviations` of their parent, and its rows."""

    inverse: np.ndarray
    size: float


class _Moments(NamedTuple):
    """Mean and sum of squared differences, each (predictors,), of *size* rows."""

    mean: np.ndarray
    spread: np.ndarray
    size: float

    def with_row(self, values: np.ndarray) -> _Moments:
        """Return the moments with one more row (Welford 1962)."""
        difference = values - self.mean
        mean = self.mean + difference / (self.size + 1)
        return _Moments(mean, self.spread + difference * (values - mean), self.size + 1)

    def without_row(self, values: np.ndarray) -> _Moments:
        """Return the moments with one row fewer; one must be left."""
        difference = values - self.mean
        mean = self.mean - difference / (self.size - 1)
        return _Moments(mean, self.spread - difference * (values - mean), self.size - 1)

    def joined(self, other: _Moments) -> _Moments:
        """Return the moments of both together by formula (Chan, Golub and LeVeque 1983)."""
        size = self.size + other.size
        difference = other.mean - self.mean
        spread = self.spread + other.spread + difference * difference * (self.size * other.size / size)
        return _Moments(self.mean + difference * (other.size / size), spread, size)

    def with_rows(self, rows: np.ndarray) -> _Moments:
        """Return the moments after `with_row` for each of *rows* (rows, predictors) in turn."""
        means, spreads = [], []
        for column, mean, spread in zip(rows.T.tolist(), self.mean.tolist(), self.spread.tolist()):
            for size, value in enumerate(column, int(self.size) + 1):
                difference = value - mean
                mean += difference / size
                spread += difference * (value - mean)
            means.append(mean)
            spreads.append(spread)
        return _Moments(np.array(means), np.array(spreads), self.size + len(rows))


class _Trial(NamedTuple):
    """A row tried in each of some children in turn.

    utilities : (children,) category utility of their parent if the row joined that child
    before, after : (children,) the children's shares without the row; they differ by the rounding left behind
    """

    utilities: np.ndarray
    before: np.ndarray
    after: np.ndarray

    @property
    def best(self) -> float:
        """The greatest utility."""
        return float(self.utilities.max())

    def best_two(self) -> tuple[int, int]:
        """Return the places of the best child and of Weka's second best: the same when the first child is the best."""
        utilities = self.utilities.tolist()
        best = second = 0
        for place, utility in enumerate(utilities):
            if utility > utilities[best]:
                best, second = place, best
            elif utility > utilities[second]:
                second = place
        return best, second


class _Grower:
    """The tree while it grows; a node is a place in arrays, and places that became free are used again.

    ``mean`` and ``spread`` carry the rounding that trials leave behind; ``told`` are a node's rows told one by one.
    """

    def __init__(self, features: np.ndarray, acuity: float, cutoff: float) -> None:
        self.features, self.acuity, self.cutoff = features, acuity, cutoff
        self.merges = self.splits = 0
        self.size = np.zeros(0)
        self.mean = self.spread = np.zeros((0, features.shape[1]))
        self.told: list[_Moments] = []
        self.rows: list[list[int]] = []
        self.children: list[list[int]] = []
        self.free: list[int] = []
        self.root = self._new(self._single(0), [0])

    def add(self, row: int) -> None:
        """Let *row* of the features walk down from the root."""
        node: int | None = self.root
        while node is not None:
            step = self._pass_on if self.children[node] else self._add_to_leaf
            node = step(node, row)

    def concepts(self) -> Concepts:
        """Return the tree with its nodes in Weka's order."""
        order: list[int] = []
        parents: list[int] = []
        waiting = [(self.root, -1)]
        while waiting:
            node, parent = waiting.pop()
            waiting += [(child, len(order)) for child in reversed(self.children[node])]
            order.append(node)
            parents.append(parent)
        moments = self.size[order], self.mean[order], self.spread[order]
        return Concepts(np.array(parents, dtype=np.int32), *moments, self.merges, self.splits)

    def _add_to_leaf(self, node: int, row: int) -> None:
        """Take *row* into the leaf *node*, which gets two children if their utility reaches the cutoff."""
        values = self.features[row]
        so_far, rows = self.told[node], self.rows[node]
        self._set(node, self._moments(node).with_row(values))
        parent = self._parent(node)
        shares = [self._share(parent, so_far), self._share(parent, self._single(row))]
        if float(in_order(np.array(shares))) / 2 >= self.cutoff:
            self.children[node] = [self._new(so_far, rows.copy()), self._new(self._single(row), [row])]
        self._tell(node, row)

    def _pass_on(self, node: int, row: int) -> int | None:
        """Take *row* into the inner node *node* and return where it goes on: a child, *node* again, or nowhere."""
        values = self.features[row]
        self._set(node, self._moments(node).with_row(values))
        parent, children = self._parent(node), self.children[node]
        trial = self._try(parent, children, values)
        host = children[trial.best_two()[0]]
        action, utility = LEAF, self._with_leaf(parent, trial.after)
        if trial.best > utility:
            action, utility = CHILD, trial.best
        merged, worth, children = self._try_merged(parent, children, trial, values, utility)
        if worth > utility:
            action, utility = MERGE, worth
        if self.children[host]:
            promoted = [child for child in children if child != host] + self.children[host]
            worth, promoted = self._try_promoted(parent, promoted, values, utility)
            if worth > utility:
                action, utility, children = SPLIT, worth, promoted
        self.splits += action == SPLIT
        self.merges += action == MERGE
        if utility < self.cutoff:
            self._tell(node, row)
            self._release(self.children[node])
            self.children[node] = []
            return None
        self.children[node] = children
        if action == SPLIT:  # the row looks at this node once more
            self._set(node, self._moments(node).without_row(values))
            self.free.append(host)
            return node
        self._tell(node, row)
        if action == LEAF:
            children.append(self._new(self._single(row), [row]))
            return None
        if action == MERGE and merged is not None:
            host = self._merge(children, merged, values)
        return host

    def _try(self, parent: _Parent, children: list[int], values: np.ndarray) -> _Trial:
        """Put a row into each child in turn, look, and take it out again."""
        size, mean, spread = self.size[children], self.mean[children], self.spread[children]
        difference = values - mean
        mean = mean + difference / (size[:, np.newaxis] + 1)
        rest = values - mean
        joined_spread = spread + difference * rest
        mean = mean - rest / size[:, np.newaxis]
        left_spread = joined_spread - rest * (values - mean)
        self.mean[children], self.spread[children] = mean, left_spread
        sizes = np.stack((size, size + 1, size))
        spreads = np.stack((spread, joined_spread, left_spread))
        inverse = inverse_deviations(spreads, sizes[:, :, np.newaxis], self.acuity)
        before, joined, after = sizes / parent.size * in_order(inverse - parent.inverse)
        place = np.arange(len(children))
        shares = np.where(place[:, np.newaxis] > place, after, before)
        shares[place, place] = joined
        return _Trial(in_order(shares) / len(children), before, after)

    def _try_merged(
        self, parent: _Parent, children: list[int], trial: _Trial, values: np.ndarray, utility: float
    ) -> tuple[_Moments | None, float, list[int]]:
        """Look at the two best children as one.

        Return its moments without the row, the utility, which is exact where it may be above *utility*, and the
        children as Weka leaves them: those two come last.
        """
        best, second = trial.best_two()
        if best == second:
            return None, -math.inf, children
        others = in_order(np.delete(trial.after, (best, second)))
        first, other = children[best], children[second]

        def worth(moments: _Moments) -> float:
            return float(others + self._share(parent, moments.with_row(values))) / (len(children) - 1)

        merged = self.told[first].joined(self.told[other])
        result = worth(merged)
        nearly = NEARLY * max(abs(result), abs(utility))
        if result > utility - nearly and len(self.rows[other]) <= RETOLD_ROWS:
            merged = self.told[first].with_rows(self.features[self.rows[other]])
            result = worth(merged)
        return merged, result, [child for child in children if child not in (first, other)] + [first, other]

    def _try_promoted(
        self, parent: _Parent, children: list[int], values: np.ndarray, utility: float
    ) -> tuple[float, list[int]]:
        """Look at *children*, the best one replaced by its own: the row joins one, or two made one, or stays alone."""
        trial = self._try(parent, children, values)
        single = max(self._with_leaf(parent, trial.before), trial.best)
        _, merged, children = self._try_merged(parent, children, trial, values, max(single, utility))
        return max(single, merged), children

    def _merge(self, children: list[int], moments: _Moments, values: np.ndarray) -> int:
        """Make the last two of *children* one, in which *values* were tried, and return it."""
        pair = children[-2:]
        node = self._new(moments, self.rows[pair[0]] + self.rows[pair[1]])
        self._set(node, moments.with_row(values).without_row(values))
        self.children[node] = pair
        children[-2:] = [node]
        return node

    def _with_leaf(self, parent: _Parent, shares: np.ndarray) -> float:
        """Return the utility of *parent* if the row became a child of its own beside those with *shares*."""
        alone = 1.0 / parent.size * in_order(NORMAL / self.acuity - parent.inverse)
        return float(in_order(shares) + alone) / (len(shares) + 1)

    def _share(self, parent: _Parent, child: _Moments) -> float:
        inverse = inverse_deviations(child.spread, child.size, self.acuity)
        return float(child.size / parent.size * in_order(inverse - parent.inverse))

    def _parent(self, node: int) -> _Parent:
        moments = self._moments(node)
        return _Parent(inverse_deviations(moments.spread, moments.size, self.acuity), moments.size)

    def _moments(self, node: int) -> _Moments:
        return _Moments(self.mean[node], self.spread[node], float(self.size[node]))

    def _set(self, node: int, moments: _Moments) -> None:
        self.mean[node], self.spread[node], self.size[node] = moments

    def _single(self, row: int) -> _Moments:
        return _Moments(self.features[row], np.zeros(self.features.shape[1]), 1.0)

    def _tell(self, node: int, row: int) -> None:
        self.told[node] = self.told[node].with_row(self.features[row])
        self.rows[node].append(row)

    def _new(self, moments: _Moments, rows: list[int]) -> int:
        """Return a new leaf."""
        if not self.free:
            self._enlarge()
        node = self.free.pop()
        self._set(node, moments)
        self.told[node], self.rows[node], self.children[node] = moments, rows, []
        return node

    def _enlarge(self) -> None:
        """Make as many new places as there are, at least 16."""
        places = len(self.rows)
        more = max(16, places)
        self.size = np.concatenate((self.size, np.zeros(more)))
        self.mean, self.spread = (
            np.concatenate((numbers, np.zeros((more, numbers.shape[1])))) for numbers in (self.mean, self.spread)
        )
        self.told += [self._single(0)] * more
        self.rows += [[] for _ in range(more)]
        self.children += [[] for _ in range(more)]
        self.free += range(places + more - 1, places - 1, -1)

    def _release(self, nodes: list[int]) -> None:
        """Give the places of *nodes* and of all below them back."""
        waiting = list(nodes)
        while waiting:
            node = waiting.pop()
            waiting += self.children[node]
            self.children[node], self.rows[node] = [], []
            self.free.append(node)
