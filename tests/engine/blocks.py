"""Blocks of rows predicted as `tiling` does, and cell by cell without a model."""

from __future__ import annotations

import numpy as np
from rasterml.engine.block_prediction import Work, predict_block, predict_piece
from rasterml.engine.processes import Crew


def nothing() -> None:
    """Nobody cancels."""


def block_of(predictor, features: np.ndarray, mode: str, threads: int = 2, check=nothing) -> np.ndarray:
    """Return (bands, rows) by a crew of threads."""
    with Crew(predict_piece, Work(predictor.model, mode, predictor), threads, 1) as crew:
        return predict_block(crew, features, check)


def cell_by_cell(boxes, features: np.ndarray, predict, threads: int = 2, check=nothing) -> np.ndarray:
    """Return what ``predict(some features, sizes)`` gives for pieces of a few cells, (…, rows), in rows' order."""
    cells = boxes.cells(features, threads, check)
    rows, found = [], []
    for piece in cells.pieces(max(1, cells.sizes.size // 3)):
        rows.append(np.concatenate([cells.rows(cell) for cell in piece]))
        found.append(predict(features.take(rows[-1], axis=0), cells.sizes[piece.start : piece.stop].tolist()))
    values = np.concatenate(found, axis=-1)
    result = np.empty_like(values)
    result[..., np.concatenate(rows)] = values
    return result
