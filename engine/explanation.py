"""What is inside a model, as Earth Engine's ``Classifier.explain()`` tells it (reference 3.5)."""

from __future__ import annotations

from typing import Any

from .models import Model


def explain(model: Model) -> dict[str, Any]:
    """Return the explanation: JSON-like values under Earth Engine's keys, sorted, and more of our own.

    Earth Engine's: ``classes``, ``importance``, and what the learner adds, such as ``trees``.
    """
    training = model.training
    explanation: dict[str, Any] = {
        "clusterer" if model.learner.clusters else "classifier": model.learner.twin,
        "inputs": list(model.predictors),
        "mode": model.mode,
        "outputModes": list(model.output_modes),
        "parameters": {camel_case(name): value for name, value in model.settings.items()},
        "trainingBytes": training.get("bytes"),
        "trainingRows": training.get("rows"),
        "trainingAccuracy": training.get("accuracy"),
        "versions": dict(model.versions),
        **model.learner.explanation(model),
    }
    if model.learner.clusters:
        explanation.update(training.get("statistics", {}), clusters=len(model.classes))
    elif model.classes:
        explanation["classes"] = [item.value for item in model.classes]
        explanation["classNames"] = [item.name for item in model.classes]
        explanation["classProperty"] = model.class_property
    if training.get("importance") is not None:
        explanation["importance"] = dict(zip(model.predictors, training["importance"]))
    return dict(sorted(explanation.items()))


def camel_case(name: str) -> str:
    """Return "number_of_trees" as Earth Engine spells it: "numberOfTrees"."""
    first, *others = name.split("_")
    return first + "".join(word.capitalize() for word in others)
