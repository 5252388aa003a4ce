"""A block of rows predicted cell by cell, in several threads or processes."""

from __future__ import annotations

import dataclasses
import threading
from typing import Any, Iterable, Iterator, Mapping, Union

import numpy as np

from .cells import Cells, Span, slices, sorted_span
from .models import Model
from .predictors import checker, spans
from .processes import Crew
from .progress import Progress
from .shared_arrays import SharedArray, SharedArrays
from .tree_apply import Check
from .trees import Shape
from .workers import ordered_map

FEWEST_ROWS = 200_000  # fewer are not worth cells
CELLS_A_PIECE = 16  # that share a first look at the model
PIECES_A_SEAT = 12  # at least, so that all seats end at about the same time


class Work:
    """The predictor of one model in one mode; a process of this machine that is sent it has the same arrays."""

    def __init__(self, model: Model, mode: str, predictor: Any = None) -> None:
        self.model, self.mode = model, mode
        self.predictor = predictor or model.learner.load_predictor(model)

    def __reduce__(self) -> tuple:
        model, arrays = dataclasses.replace(self.model, arrays={}), self.model.arrays
        sent = arrays.sent if isinstance(arrays, SharedArrays) else arrays
        return _received, (model, sent, self.mode, self.predictor.prepare(self.mode))

    def prepare(self) -> None:
        """Make ready what the first piece would have to wait for."""
        self.predictor.prepare(self.mode)


def _received(model: Model, arrays: Mapping[str, np.ndarray], mode: str, ready: Any) -> Work:
    work = Work(dataclasses.replace(model, arrays=arrays), mode)
    work.predictor.prepare(mode, ready=ready)
    return work


class Sorting:
    """The step that puts the *rows* of *block* into the cells of *tree*."""

    def __init__(self, block: SharedArray, tree: Shape, rows: slice) -> None:
        self.block, self.tree, self.rows = block, tree, rows

    def take(self, work: Work, check: Check) -> Span:
        return sorted_span(self.block.values, self.tree, self.rows, check)


class Piece:
    """The step that predicts some *rows* of *block*: cell by cell, each with so many (*sizes*), or without cells."""

    def __init__(self, block: SharedArray, rows: slice | np.ndarray, sizes: list[int] | None = None) -> None:
        self.block, self.rows, self.sizes = block, rows, sizes

    def __reduce__(self) -> tuple:
        if self.block.is_shared:
            return Piece, (self.block, self.rows, self.sizes)
        return Piece, (SharedArray(self.features), slice(None), self.sizes)

    @property
    def features(self) -> np.ndarray:
        """float32 (rows, predictors), in the order of *rows*."""
        return self.block.values[self.rows] if isinstance(self.rows, slice) else self.block.values.take(self.rows, 0)

    def take(self, work: Work, check: Check) -> np.ndarray:
        """Return (bands, rows)."""
        if self.sizes is None:
            return work.predictor.predict(self.features, work.mode, check)
        return work.predictor.predict_cells(self.features, self.sizes, work.mode, check)


Step = Union[Sorting, Piece]


def take_step(work: Work, step: Step, stop: threading.Event) -> Any:
    """Return what *step* gives: the function of the crew that `predict_block` needs."""
    return step.take(work, checker(stop))


def predict_block(crew: Crew, block: SharedArray, check: Check) -> np.ndarray:
    """Return (bands, rows) for the features *block* (rows, predictors), as ``predict`` does, bit for bit.

    *crew* does `take_step` of a `Work`; *check* raises to stop it.
    """
    predictor, mode = crew.job.predictor, crew.job.mode
    bands, rows = len(predictor.bands(mode)), len(block)
    kind = np.int32 if predictor.gives_classes(mode) else np.float32
    result: np.ndarray = np.empty((bands, rows), dtype=kind)
    if rows < FEWEST_ROWS or not predictor.block_rows(mode):
        pieces = [Piece(block, span) for span in spans(rows, bands)]
    else:
        tree = predictor.cell_tree(block.values, mode, check)
        steps = [Sorting(block, tree, some) for some in slices(rows)]
        cells = Cells(list(_taken(crew, steps, check)))
        count = max(-(-cells.sizes.size // CELLS_A_PIECE), PIECES_A_SEAT * crew.seats)
        pieces = [Piece(block, *piece) for piece in cells.pieces(count)]
    for piece, values in zip(pieces, _taken(crew, pieces, check)):
        result[:, piece.rows] = values
    return result


def _taken(crew: Crew, steps: Iterable[Step], check: Check) -> Iterator[Any]:
    return ordered_map(crew, steps, crew.seats, Asking(check))


class Asking(Progress):
    """Asks *check* whether to go on."""

    def __init__(self, check: Check) -> None:
        self._check = check

    def check(self) -> None:
        self._check()
