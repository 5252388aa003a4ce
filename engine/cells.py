"""Rows put into small cells of rows with like values: the leaves of a k-d tree."""

from __future__ import annotations

from typing import NamedTuple, Sequence

import numpy as np

from .tree_apply import Check, rounded_down
from .trees import Shape

SAMPLE = 65_536  # rows that the tree is built on
ROWS_AT_ONCE = 2**18  # that are put into cells in one go
MOST_CELLS = 2**14  # few enough for uint16, and for the sample


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


class Span(NamedTuple):
    """Some consecutive rows of a block: *order*, their numbers cell by cell; cell i begins at *starts*[i]."""

    order: np.ndarray
    starts: np.ndarray


def sorted_span(features: np.ndarray, tree: Shape, rows: slice, check: Check) -> Span:
    """Put the *rows* of *features*, float32 (rows, bands), into the leaves of *tree*."""
    parts = _parts(features[rows], tree, check)
    bounds = np.cumsum([0, *(part.size for part in parts)])
    return Span(np.concatenate(parts).astype(np.uint32) + np.uint32(rows.start), bounds)


def slices(rows: int) -> list[slice]:
    """Return the slices of *rows* rows that are put into cells one by one."""
    return [slice(start, start + ROWS_AT_ONCE) for start in range(0, rows, ROWS_AT_ONCE)]


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
    """All rows of a block cell by cell: *order* (rows,) are their numbers, *sizes* (cells,) how many each cell has."""

    def __init__(self, spans: Sequence[Span]) -> None:
        """*spans* are the rows of the block, in order, put into the leaves of one tree; a cell's rows ascend."""
        self.sizes = np.sum([np.diff(span.starts) for span in spans], axis=0)
        bounds = [np.stack((span.starts[:-1], span.starts[1:]), axis=1).tolist() for span in spans]
        self.order = np.concatenate(
            [span.order[first:last] for cell in zip(*bounds) for span, (first, last) in zip(spans, cell)]
        )

    def pieces(self, count: int) -> list[tuple[np.ndarray, list[int]]]:
        """Return rows and sizes of about *count* runs of cells with like numbers of rows."""
        ends = np.cumsum(self.sizes)
        number = (ends - self.sizes) * count // max(1, self.order.size)
        bounds = [0, *(np.flatnonzero(np.diff(number)) + 1).tolist(), self.sizes.size]
        rows = [0, *(int(ends[last - 1]) for last in bounds[1:])]
        return [
            (self.order[rows[i] : rows[i + 1]], self.sizes[bounds[i] : bounds[i + 1]].tolist())
            for i in range(len(rows) - 1)
        ]
