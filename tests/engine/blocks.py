"""Blocks of rows predicted as `tiling` does, and cell by cell without a model."""

from __future__ import annotations

import numpy as np
from rasterml.engine import cells
from rasterml.engine.block_prediction import Work, predict_block, take_step
from rasterml.engine.processes import Crew
from rasterml.engine.shared_arrays import SharedArray


def nothing() -> None:
    """Nobody cancels."""


def block_of(predictor, features: np.ndarray, mode: str, threads: int = 2, check=nothing) -> np.ndarray:
    """Return (bands, rows) by a crew of threads."""
    with Crew(take_step, Work(predictor.model, mode, predictor), threads, 1) as crew:
        return predict_block(crew, SharedArray(features), check)


def in_cells(features: np.ndarray, tree) -> cells.Cells:
    """Return the rows put into the leaves of *tree*."""
    return cells.Cells([cells.sorted_span(features, tree, rows, nothing) for rows in cells.slices(len(features))])


def cell_by_cell(boxes, features: np.ndarray, predict, check=nothing) -> np.ndarray:
    """Return what ``predict(some features, sizes)`` gives for pieces of a few cells, (…, rows), in rows' order."""
    block = in_cells(features, boxes.cell_tree(features, check))
    pieces = block.pieces(max(1, block.sizes.size // 3))
    values = np.concatenate([predict(features.take(rows, axis=0), sizes) for rows, sizes in pieces], axis=-1)
    result = np.empty_like(values)
    result[..., block.order] = values
    return result
