"""What is made of the probabilities of all classes."""

from __future__ import annotations

import numpy as np

from .learners import MULTIPROBABILITY, PROBABILITY


def output_bands(mode: str, names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of the output bands of *mode* for classes with these *names*."""
    if mode == MULTIPROBABILITY:
        return names
    return ("probability",) if mode == PROBABILITY else ("classification",)


def single_probability(probabilities: np.ndarray) -> np.ndarray:
    """Return the output of the mode PROBABILITY (rows,) for *probabilities* (classes, rows).

    Two classes: that of the larger label; more: that of the most probable one (reference 3.2).
    """
    return probabilities[1] if len(probabilities) == 2 else probabilities.max(axis=0)
