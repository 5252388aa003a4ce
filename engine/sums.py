"""Sums over images whose bits do not depend on how many pixels are summed at once.

``np.sum`` and BLAS add in another order when there is one pixel than when there are many.
"""

from __future__ import annotations

import numpy as np


def over_images(values: np.ndarray) -> np.ndarray:
    """Return the sum of *values* (images, ...) over its first axis, float64, one image after the other."""
    total = np.zeros(values.shape[1:])
    for image in values:
        total += image
    return total


def products_over_images(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the sum over images of ``first * second``, each (images, pixels) or (images, 1), as `over_images` does."""
    total = np.zeros(np.broadcast_shapes(first.shape[1:], second.shape[1:]))
    for one, other in zip(first, second):
        total += one * other
    return total


def count_images(valid: np.ndarray) -> np.ndarray:
    """Return how many of *valid* (images, pixels) are True for each pixel, int64."""
    total = np.zeros(valid.shape[1:], dtype=np.int64)
    for start in range(0, len(valid), 255):  # as many as a byte counts, at a fraction of the time
        total += np.add.reduce(valid[start : start + 255].view(np.uint8), axis=0, dtype=np.uint8)
    return total
