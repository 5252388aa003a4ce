"""Rows put into small cells of rows with like values: the leaves of a k-d tree."""

from __future__ import annotations

from typing import Callable, Iterable, NamedTuple, TypeVar

import numpy as np

from .predictors import checker
from .progress import Progress
from .tree_apply import Check, rounded_down
from .trees import Shape
from .workers import ordered_map

SAMPLE = 65_536  # rows that the tree is built on
ROWS_AT_ONCE = 2**18  # that are put into cells by one thread
MOST_CELLS = 2**14  # few enough for uint16, and for the sample

Item = TypeVar("Item")


def in_threads(function: Callable[[Item, Check], None], items: Iterable[Item], threads: int, check: Check) -> None:
    """Call ``function(item, check)`` for all *items*, as `ordered_map` does; *check* raises to stop them all."""
    for _ in ordered_map(lambda item, stop: function(item, checker(stop)), items, threads, Asking(check)):
        pass


class Asking(Progress):
    """Asks *check* whether to go on."""

    def __init__(self, check: Check) -> None:
        self._check = check

    def check(self) -> None:
        self._check()


def grow_cells(sample: np.ndarray, positions: np.ndarray, cells: int, check: Check) -> Shape:
    """Return a k-d tree with about *cells* leaves, each with a like number of the rows of *sample*.

    A node is split at the median of the band in which it is longest.

    Parameters
    ----------
    sample : float32 (bands, rows)
    positions : float (bands, rows), growing with *sample*: the scales on which lengths are compared
    """
    feature: list[int] = []
    threshold: list[float] = []
    right: list[int] = []
    most = max(1, int(1.5 * sample.shape[1] / cells))  # halves of halves end between 3/4 and 3/2 of the wanted size
    todo = [(np.arange(sample.shape[1]), -1)]
    while todo:
        check()
        rows, parent = todo.pop()
        if parent >= 0:
            right[parent] = len(right)
        feature.append(-1)
        threshold.append(0.0)
        right.append(0)
        if rows.size <= most:
            continue
        part = positions.take(rows, axis=1)
        lengths = part.max(axis=1) - part.min(axis=1)
        band = int(lengths.argmax())
        if lengths[band] <= 0:
            continue
        node = len(right) - 1
        values = sample[band].take(rows)
        middle = np.partition(values, rows.size // 2)[rows.size // 2]
        lower = values < middle
        if not lower.any():  # the median is the lowest value: it stays below
            lower = values <= middle
        feature[node], threshold[node] = band, float(values[lower].max())
        todo += [(rows[~lower], node), (rows[lower], -1)]
    return Shape(np.array(feature, np.int32), np.array(threshold), np.array(right, np.int32))


class _Span(NamedTuple):
    """Some consecutive rows: *order* puts them cell by cell, cell i begins at *starts*[i]."""

    first: int
    order: np.ndarray
    starts: np.ndarray


def _parts(features: np.ndarray, tree: Shape, check: Check) -> list[np.ndarray]:
    """Return for every leaf of *tree*, from the left, the numbers of its rows, ascending."""
    columns = np.ascontiguousarray(features.T)
    feature, right, threshold = tree.feature.tolist(), tree.right.tolist(), rounded_down(tree.threshold)
    parts = []
    todo = [(0, np.arange(len(features)))]
    while todo:
        check()
        node, rows = todo.pop()
        if feature[node] < 0:
            parts.append(rows)
            continue
        below = columns[feature[node]].take(rows) <= threshold[node]
        todo += [(right[node], rows.compress(~below)), (node + 1, rows.compress(below))]
    return parts


class Cells:
    """The rows of every cell of a block; *sizes* (cells,) are their numbers."""

    def __init__(self, features: np.ndarray, tree: Shape, threads: int, check: Check) -> None:
        """*features* is float32 (rows, bands)."""
        starts = range(0, len(features), ROWS_AT_ONCE)
        spans: list[_Span | None] = [None] * len(starts)

        def sort(number: int, check: Check) -> None:
            first = starts[number]
            parts = _parts(features[first : first + ROWS_AT_ONCE], tree, check)
            bounds = np.cumsum([0, *(part.size for part in parts)])
            spans[number] = _Span(first, np.concatenate(parts).astype(np.uint32), bounds)

        in_threads(sort, range(len(starts)), threads, check)
        self._spans = [span for span in spans if span is not None]
        self.sizes = np.sum([np.diff(span.starts) for span in self._spans], axis=0)

    def rows(self, cell: int) -> np.ndarray:
        """Return the numbers of the rows in *cell*, int64, ascending."""
        return np.concatenate(
            [span.order[span.starts[cell] : span.starts[cell + 1]] + np.int64(span.first) for span in self._spans]
        )

    def pieces(self, count: int) -> list[range]:
        """Return about *count* ranges of cells with like numbers of rows, without the empty ends."""
        before = np.cumsum(self.sizes) - self.sizes
        number = before * count // max(1, int(self.sizes.sum()))
        bounds = [0, *(np.flatnonzero(np.diff(number)) + 1).tolist(), self.sizes.size]
        return [range(first, last) for first, last in zip(bounds[:-1], bounds[1:])]
