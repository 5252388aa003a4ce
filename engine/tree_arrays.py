"""Trees as a model keeps them: all nodes end to end in plain arrays (docs/model-format.md)."""

from __future__ import annotations

from typing import Sequence

import numpy as np

from .errors import ModelFileError
from .models import Model
from .trees import Shape, is_preorder


def end_to_end(shapes: Sequence[Shape]) -> dict[str, np.ndarray]:
    """Lay all trees end to end; child numbers stay relative to their tree's root."""
    return {
        "tree_start": np.cumsum([0] + [shape.right.size for shape in shapes]).astype(np.int64),
        "feature": compact(np.concatenate([shape.feature for shape in shapes]), np.int16),
        "threshold": np.concatenate([shape.threshold for shape in shapes]),
        "right": np.concatenate([shape.right for shape in shapes]).astype(np.int32),
    }


def compact(values: np.ndarray, small: type, large: type = np.int32) -> np.ndarray:
    return values.astype(small if values.max(initial=0) <= np.iinfo(small).max else large)


def forest_shapes(model: Model) -> list[Shape]:
    """Return the trees of *model*, one by one."""
    start = model.arrays["tree_start"]
    parts = [model.arrays[name] for name in ("feature", "threshold", "right")]
    return [Shape(*(part[first:last] for part in parts)) for first, last in zip(start[:-1], start[1:])]


def check_forest(model: Model, others: set[str]) -> int:
    """Return the number of leaves; raise `ModelFileError` unless the arrays are trees, and *others* beside them."""
    arrays = model.arrays
    wanted = {"tree_start", "feature", "threshold", "right"} | others
    if set(arrays) != wanted:
        raise ModelFileError(f"a forest needs the arrays {', '.join(sorted(wanted))}")
    start, feature, threshold, right = (arrays[name] for name in ("tree_start", "feature", "threshold", "right"))
    nodes = feature.size
    if any(array.ndim != 1 for array in (start, feature, threshold, right)) or not (
        nodes == threshold.size == right.size
        and start.size >= 2
        and start.dtype.kind == right.dtype.kind == feature.dtype.kind == "i"
        and threshold.dtype == np.float64
    ):
        raise ModelFileError("the forest's arrays do not belong together")
    if start[0] != 0 or start[-1] != nodes or (np.diff(start) < 1).any():
        raise ModelFileError("the forest's trees do not cover its nodes")
    if not np.isfinite(threshold).all() or (feature < -1).any() or (feature >= len(model.predictors)).any():
        raise ModelFileError("a split of the forest names a predictor or threshold that is not there")
    if ((feature < 0) != (right == 0)).any():
        raise ModelFileError("a node of the forest is both a leaf and a split")
    for first, last in zip(start[:-1], start[1:]):
        if not is_preorder(right[first:last]):
            raise ModelFileError("a tree of the forest is not in preorder")
    return int((feature < 0).sum())
