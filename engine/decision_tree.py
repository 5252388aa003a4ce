"""Ready-made trees (Earth Engine: decisionTree, decisionTreeEnsemble): from text to a model, without training."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from .classes import class_table
from .errors import ModelFileError, TableError
from .forest import ForestPredictor
from .learners import CLASSIFICATION
from .models import LABELS, Model
from .tree_arrays import check_forest, compact, end_to_end, forest_shapes
from .tree_reader import TextTrees
from .tree_text import bare_text

LEARNER = "decisiontree"


def tree_model(read: TextTrees, mode: str) -> Model:
    """Return the model of *read*; raises `TableError` where a leaf is no class in mode CLASSIFICATION."""
    values = np.concatenate([tree.values for tree in read.trees])
    arrays = end_to_end([tree.shape for tree in read.trees])
    if mode != CLASSIFICATION:
        return Model(LEARNER, mode, {}, read.predictors, (), "", {**arrays, "leaf_value": values})
    # The smallest label is the sign for "no class" in prediction.
    wrong = values[(values != np.floor(values)) | (values <= LABELS[0]) | (values > LABELS[-1])]
    if wrong.size:
        raise TableError(f"A leaf has the value {wrong[0]:g}, which is no class: choose MODE=REGRESSION.")
    labels, positions = np.unique(values.astype(np.int64), return_inverse=True)
    arrays["leaf_label"] = compact(positions, np.uint16, np.uint32)
    return Model(LEARNER, mode, {}, read.predictors, class_table(labels.tolist()), "", arrays)


def explain_trees(model: Model) -> dict[str, Any]:
    """Return ``numberOfTrees`` and the ``trees`` as text in full precision."""
    shapes, texts, start = forest_shapes(model), [], 0
    values = _leaf_values(model)
    for shape in shapes:
        end = start + shape.leaves.size
        texts.append(bare_text(shape, values[start:end], model.predictors))
        start = end
    return {"numberOfTrees": len(texts), "trees": texts}


def _leaf_values(model: Model) -> np.ndarray:
    if model.mode != CLASSIFICATION:
        return model.arrays["leaf_value"]
    return np.array([item.value for item in model.classes])[model.arrays["leaf_label"]]


class DecisionTreePredictor(ForestPredictor):
    """A forest whose leaves say one thing: majority of the labels (the lowest of equal ones), or mean of the values."""

    @functools.cached_property
    def leaf_labels(self) -> np.ndarray:
        """The position of the class of every leaf (leaves,)."""
        return compact(self.model.arrays["leaf_label"], np.uint16)

    @property
    def leaf_means(self) -> np.ndarray:
        return self.model.arrays["leaf_value"]

    @staticmethod
    def check(model: Model) -> None:
        """Raise `ModelFileError` unless the arrays are trees with a class or value in every leaf."""
        classify = model.mode == CLASSIFICATION
        name = "leaf_label" if classify else "leaf_value"
        leaves, values = check_forest(model, {name}), model.arrays[name]
        if values.shape != (leaves,):
            raise ModelFileError("the trees' values do not fit their leaves")
        if classify and (values.dtype.kind != "u" or (values >= len(model.classes)).any()):
            raise ModelFileError("a leaf of the trees has a class that is not there")
        if not classify and (values.dtype != np.float64 or not np.isfinite(values).all()):
            raise ModelFileError("a leaf of the trees has no number")
