"""k-means over pixels: deterministic starts, Lloyd's iterations, the nearest centre.

Band values are taken as they are, without scaling.
"""

from __future__ import annotations

import heapq
import itertools
from typing import NamedTuple

import numpy as np

from .pixel_units import PIXELS_AT_ONCE, Pixels, sample
from .progress import Part, Progress


class Clusters(NamedTuple):
    """``centres`` (clusters, bands) float64 in the image's units; how many passes were made, and whether to the end."""

    centres: np.ndarray
    iterations: int
    converged: bool


def kmeans(pixels: Pixels, num_clusters: int, num_iterations: int, progress: Progress) -> Clusters:
    """Return at most *num_clusters* clusters of *pixels*, found by Lloyd's algorithm from `starts`.

    Fewer where the sample has fewer distinct pixels, or a cluster loses its last pixel; none without pixels.
    """
    centres = starts(sample(pixels, Part(progress, 0, 0.1)), num_clusters, progress)
    return lloyd(pixels, centres, num_iterations, Part(progress, 0.1, 1))


def lloyd(pixels: Pixels, centres: np.ndarray, passes: int, progress: Progress) -> Clusters:
    """Move *centres* to the means of their pixels until none changes its cluster, at most *passes* times.

    A pixel at equal distances belongs to the lower number; a cluster without pixels is dropped.
    """

    def sums(values: np.ndarray, _: np.ndarray) -> np.ndarray:
        labels = nearest(values, centres)
        return np.array([np.bincount(labels, row, len(centres)) for row in (*values, np.ones(len(labels)))])

    for number in range(passes):
        if len(centres) == 0:
            break
        total = np.zeros((pixels.bands + 1, len(centres)))
        for part in pixels.each(sums, Part(progress, number / passes, (number + 1) / passes)):
            total += part
        total = total[:, total[-1] > 0]
        moved = (total[:-1] / total[-1]).T
        if np.array_equal(moved, centres):
            return Clusters(centres, number + 1, True)
        centres = moved
    return Clusters(centres, passes, len(centres) == 0)


def nearest(values: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Return the number (intp) of the nearest of *centres* (clusters, bands) for every pixel of *values* (bands, n).

    Sums run over the bands, pixel by pixel: a pixel's number does not depend on the others.
    """
    labels = np.zeros(values.shape[1], dtype=np.intp)
    for start in range(0, len(labels), PIXELS_AT_ONCE):
        part = values[:, start : start + PIXELS_AT_ONCE]
        best = np.full(part.shape[1], np.inf)
        distance, step = np.empty_like(best), np.empty_like(best)
        for number, centre in enumerate(centres.tolist()):
            distance.fill(0)
            for row, value in zip(part, centre):
                np.subtract(row, value, out=step)
                np.multiply(step, step, out=step)
                np.add(distance, step, out=distance)
            closer = distance < best
            np.copyto(best, distance, where=closer)
            labels[start : start + PIXELS_AT_ONCE][closer] = number
    return labels


def starts(values: np.ndarray, num_clusters: int, progress: Progress | None = None) -> np.ndarray:
    """Return the means (clusters, bands) of parts of *values* (bands, n), in ascending order; no chance is involved.

    Su & Dy (2007), In search of deterministic methods for initializing k-means and Gaussian mixture clustering,
    Intelligent Data Analysis 11: Var-Part.  The part with the largest sum of squares is cut at its mean, across the
    band with the largest variance, until there are enough parts or nothing is left to cut.
    """
    numbers = itertools.count()
    parts = [_Part.of(values, next(numbers))] if values.shape[1] else []
    while parts and len(parts) < num_clusters:
        if progress:
            progress.check()
        widest = parts[0]
        band = int(widest.squares.argmax())
        upper = widest.values[band] > widest.mean[band]
        if not upper.any() or upper.all():
            break
        heapq.heappop(parts)
        for half in (~upper, upper):
            heapq.heappush(parts, _Part.of(widest.values[:, half], next(numbers)))
    return ascending(np.array([part.mean for part in parts]).reshape(-1, len(values)))


def ascending(centres: np.ndarray) -> np.ndarray:
    """Return *centres* ordered by the first band, where that is equal by the second, and so on."""
    return centres[np.lexsort(centres.T[::-1])]


class _Part(NamedTuple):
    """Pixels with their mean and sum of squares around it, band by band; of two parts the wider one comes first."""

    narrowness: float
    number: int  # decides between equals, and is unique: arrays are never compared
    values: np.ndarray
    mean: np.ndarray
    squares: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray, number: int) -> _Part:
        mean = values.mean(axis=1)
        squares = ((values - mean[:, np.newaxis]) ** 2).sum(axis=1)
        return cls(-float(squares.sum()), number, values, mean, squares)
