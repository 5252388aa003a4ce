"""Binary decision trees as arrays in preorder: the left child follows its parent, the right one is pointed to.

A value up to the threshold goes left.  Everything here works on whole trees at once; the only loops are
over the levels of a tree and over the splits that a leaf limit keeps.
"""

from __future__ import annotations

import heapq
from typing import Iterator, NamedTuple, Sequence

import numpy as np


class Shape(NamedTuple):
    """One tree without its leaf values.

    feature : int32 (nodes,), -1 at a leaf
    threshold : float64 (nodes,), 0 at a leaf
    right : int32 (nodes,), 0 at a leaf
    """

    feature: np.ndarray
    threshold: np.ndarray
    right: np.ndarray

    @property
    def leaves(self) -> np.ndarray:
        """Node numbers of the leaves, from left to right."""
        return np.flatnonzero(self.feature < 0)


def levels(right: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the split nodes of each level, from the root down."""
    nodes = np.flatnonzero(right[:1])
    while nodes.size:
        yield nodes
        children = np.concatenate((nodes + 1, right[nodes]))
        nodes = np.sort(children[right[children] > 0])


def subtree_ends(right: np.ndarray) -> np.ndarray:
    """Return for every node the number of the first node behind its subtree."""
    ends = np.empty(right.size, dtype=np.int64)
    ends[0] = right.size
    for nodes in levels(right):
        ends[nodes + 1] = right[nodes]
        ends[right[nodes]] = ends[nodes]
    return ends


def node_sums(right: np.ndarray, leaf_values: np.ndarray) -> np.ndarray:
    """Return for every node the sum of *leaf_values* (leaves, …) below it, added from the leaves upwards."""
    return node_totals(right, leaf_values, np.add)


def node_totals(right: np.ndarray, leaf_values: np.ndarray, combine: np.ufunc) -> np.ndarray:
    """Return for every node what *combine* (np.add, np.minimum …) makes of *leaf_values* (leaves, …) below it."""
    totals = np.empty((right.size, *leaf_values.shape[1:]), dtype=leaf_values.dtype)
    totals[right == 0] = leaf_values
    for nodes in reversed(list(levels(right))):
        totals[nodes] = combine(totals[nodes + 1], totals[right[nodes]])
    return totals


class Collapsed(NamedTuple):
    """A tree whose branches were cut, and how its nodes relate to those of the tree before.

    position : int64 (old nodes,), the new node that stands for each old one: itself, or the leaf that swallowed it
    origins : int64 (new nodes,), the old node that each new one was
    """

    shape: Shape
    position: np.ndarray
    origins: np.ndarray


def collapse(shape: Shape, roots: np.ndarray) -> Collapsed:
    """Turn the nodes *roots* into leaves."""
    ends = subtree_ends(shape.right)
    edges = np.bincount(roots + 1, minlength=ends.size + 1) - np.bincount(ends[roots], minlength=ends.size + 1)
    kept = np.cumsum(edges)[:-1] == 0
    position = np.cumsum(kept) - 1  # what is removed stands directly behind the leaf that swallowed it
    feature, threshold, right = shape.feature.copy(), shape.threshold.copy(), shape.right.copy()
    feature[roots], threshold[roots], right[roots] = -1, 0, 0
    right = np.where(right > 0, position[right], 0).astype(np.int32)
    return Collapsed(Shape(feature[kept], threshold[kept], right[kept]), position, np.flatnonzero(kept))


def beyond_limit(right: np.ndarray, gains: np.ndarray, max_leaves: int) -> np.ndarray:
    """Return the splits that become leaves when the best splits are made first until *max_leaves* leaves.

    *gains* (nodes,) orders the queue; of equal gains the node further left is split first.
    """
    kept = np.zeros(right.size, dtype=bool)
    queue = [(-gains[0], 0)] if right[0] else []
    for _ in range(max_leaves - 1):
        if not queue:
            break
        node = heapq.heappop(queue)[1]
        kept[node] = True
        for child in (node + 1, int(right[node])):
            if right[child]:
                heapq.heappush(queue, (-gains[child], child))
    return np.array(sorted(node for _, node in queue), dtype=np.int64)


def single_label(right: np.ndarray, leaf_labels: np.ndarray) -> np.ndarray:
    """Return the splits below which all leaves carry one label.

    Merging sister leaves of one label again and again, from the bottom up, ends at the topmost of these.
    """
    ends = subtree_ends(right)
    leaves_before = np.concatenate(([0], np.cumsum(right == 0)))
    changes_before = np.concatenate(([0], np.cumsum(leaf_labels[1:] != leaf_labels[:-1])))
    first, last = leaves_before[:-1], leaves_before[ends] - 1
    return np.flatnonzero((right > 0) & (changes_before[last] == changes_before[first]))


def gini_gains(right: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the decrease of Gini impurity at every split, not weighted by the node's size (0 at leaves).

    *counts* (nodes, classes) are the samples of each class in each node.  Breiman et al. (1984), §4.3.
    """
    population = counts.sum(axis=1, dtype=np.float64)
    squares = np.einsum("nc,nc->n", counts, counts, dtype=np.float64) / population  # n · Σ p²
    gains = np.zeros(right.size)
    splits = np.flatnonzero(right)
    children = squares[splits + 1] + squares[right[splits]]
    gains[splits] = (children - squares[splits]) / population[splits]
    return gains


def square_scores(right: np.ndarray, population: np.ndarray, sums: np.ndarray) -> np.ndarray:
    """Return Σ n·mean² over the two children of every split (0 at leaves): Earth Engine's regression score."""
    scores = np.zeros(right.size)
    terms = sums * sums / population
    splits = np.flatnonzero(right)
    scores[splits] = terms[splits + 1] + terms[right[splits]]
    return scores


def preorder(
    feature: Sequence[np.ndarray], threshold: Sequence[np.ndarray], low_child: Sequence[np.ndarray]
) -> tuple[Shape, np.ndarray]:
    """Return a tree given depth by depth, and the place of each of its nodes in it.

    *low_child*: number of the lower child, nodes counted depth by depth; its sister follows; 0 at a leaf.
    """
    firsts = np.cumsum([0] + [nodes.size for nodes in feature])
    child = np.concatenate(low_child)
    sizes = np.ones(child.size, dtype=np.int64)
    place = np.zeros(child.size, dtype=np.int64)
    depths = [np.arange(start, end)[child[start:end] > 0] for start, end in zip(firsts[:-1], firsts[1:])]
    for splits in reversed(depths):  # subtree sizes upwards, then places downwards
        sizes[splits] += sizes[child[splits]] + sizes[child[splits] + 1]
    for splits in depths:
        place[child[splits]] = place[splits] + 1
        place[child[splits] + 1] = place[splits] + 1 + sizes[child[splits]]
    order = np.argsort(place)
    right = np.where(child > 0, place[np.where(child > 0, child + 1, 0)], 0)
    shape = Shape(
        np.concatenate(feature)[order].astype(np.int32),
        np.concatenate(threshold)[order],
        right[order].astype(np.int32),
    )
    return shape, place


def is_preorder(right: np.ndarray) -> bool:
    """Tell whether *right* (nodes,) describes one binary tree in preorder, every node the child of one split.

    Reading from left to right, a split opens one place more than it fills and a leaf fills one; the right
    child of a split stands behind the first later node that leaves one place fewer than the split did.  Behind a later
    one that leaves as many it cannot stand when every node is a child: the first one's place would be for a split
    before, which would leave its own place to one before that, and so on, until nobody is left.
    """
    splits = np.flatnonzero(right)
    if 2 * splits.size + 1 != right.size or ((right < 0) | (right >= right.size)).any():
        return False
    places = np.cumsum(np.where(right > 0, 1, -1)) + 1
    if (places[:-1] < 1).any() or places[-1] != 0:
        return False
    other = right[splits]
    is_child = np.zeros(right.size, dtype=bool)
    is_child[splits + 1] = is_child[other] = True
    return bool(
        is_child[1:].all() and (other > splits + 1).all() and np.array_equal(places[other - 1] + 1, places[splits])
    )
