"""A block of rows predicted cell by cell, in several threads or processes."""

from __future__ import annotations

import threading
from typing import Any, Iterator, NamedTuple

import numpy as np

from .cells import Asking, Cells
from .models import Model
from .predictors import checker, spans
from .processes import Crew
from .tree_apply import Check
from .workers import ordered_map

FEWEST_ROWS = 200_000  # fewer are not worth cells
CELLS_A_PIECE = 16  # that share a first look at the model
PIECES_A_SEAT = 12  # at least, so that all seats end at about the same time


class Work:
    """The predictor of one model in one mode; a process that is sent it makes its own."""

    def __init__(self, model: Model, mode: str, predictor: Any = None) -> None:
        self.model, self.mode = model, mode
        self.predictor = predictor or model.learner.load_predictor(model)

    def __reduce__(self) -> tuple:
        return Work, (self.model, self.mode)

    def prepare(self) -> None:
        """Make ready what the first piece would have to wait for."""
        self.predictor.prepare(self.mode)


class Piece(NamedTuple):
    """Rows to predict: float32 (rows, predictors), cell by cell, and how many each cell has (None: no cells)."""

    features: np.ndarray
    sizes: list[int] | None


def predict_piece(work: Work, piece: Piece, stop: threading.Event) -> np.ndarray:
    """Return the predictions of a piece, (bands, rows)."""
    if piece.sizes is None:
        return work.predictor.predict(piece.features, work.mode, checker(stop))
    return work.predictor.predict_cells(piece.features, piece.sizes, work.mode, checker(stop))


def predict_block(crew: Crew, features: np.ndarray, check: Check) -> np.ndarray:
    """Return (bands, rows) for *features* (rows, predictors), as the predictor's ``predict`` does, bit for bit.

    *crew* does `predict_piece` of a `Work`; *check* raises to stop it.
    """
    predictor, mode = crew.job.predictor, crew.job.mode
    bands = len(predictor.bands(mode))
    kind = np.int32 if predictor.gives_classes(mode) else np.float32
    result: np.ndarray = np.empty((bands, len(features)), dtype=kind)
    if len(features) < FEWEST_ROWS or not predictor.block_rows(mode):
        slices = list(spans(len(features), bands))
        pieces: Iterator[Piece] = (Piece(features[span], None) for span in slices)
        for span, values in zip(slices, ordered_map(crew, pieces, crew.seats, Asking(check))):
            result[:, span] = values
        return result
    cells = predictor.cells(features, mode, crew.seats, check)
    ranges = cells.pieces(max(-(-cells.sizes.size // CELLS_A_PIECE), PIECES_A_SEAT * crew.seats))
    pieces = (_piece(features, cells, each) for each in ranges)
    for each, values in zip(ranges, ordered_map(crew, pieces, crew.seats, Asking(check))):
        result[:, _rows(cells, each)] = values
    return result


def _piece(features: np.ndarray, cells: Cells, some: range) -> Piece:
    return Piece(features.take(_rows(cells, some), axis=0), cells.sizes[some.start : some.stop].tolist())


def _rows(cells: Cells, some: range) -> np.ndarray:
    return np.concatenate([cells.rows(cell) for cell in some])
