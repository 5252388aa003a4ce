"""G-means over the pixels of an image (Earth Engine: Image.Segmentation.GMeans, reference 5.6).

Hamerly & Elkan (2003), Learning the k in k-means, NIPS 16: a cluster is cut in two as long as its pixels, projected on
the line between the two, do not look normal.
"""

from __future__ import annotations

import math

import numpy as np

from .errors import MissingLibraryError, SettingError
from .images import Image
from .pixel_clusters import Clusters, ascending, lloyd, nearest, starts
from .pixel_units import ArrayPixels, Pixels, sample
from .progress import Part, Progress
from .segment_areas import areas, write_clusters

LLOYD_PASSES = 20  # of every k-means within
LEAST_TESTED = 8  # pixels: the approximations of the p-value begin here


def segment_gmeans(
    image: Image,
    output: str,
    num_iterations: int = 10,
    p_value: float = 50.0,
    neighborhood_size: int = 0,
    grid_size: int | None = None,
    unique_labels: bool = True,
    *,
    threads: int = 0,
    tile_size: int = 256,
    memory_limit: int = 1024,
    progress: Progress | None = None,
) -> int:
    """Write the band ``clusters`` (int32, from 0, nodata where any band is masked); return the number of labels.

    The first parameters are those of `gmeans`, the others those of `segment_areas.write_clusters`.
    """
    if num_iterations < 1:
        raise SettingError(f"NUM_ITERATIONS is {num_iterations}: give 1 or more.")
    if not 0 <= p_value <= 100:
        raise SettingError(f"P_VALUE is {p_value:g}: give a level from 0 to 100 percent.")

    def fit(pixels: Pixels, progress: Progress) -> Clusters:
        drawn = sample(pixels, Part(progress, 0, 0.1))
        found = gmeans(drawn, num_iterations, p_value, Part(progress, 0.1, 0.6))
        whole = lloyd(pixels, found.centres, LLOYD_PASSES, Part(progress, 0.6, 1))
        return whole._replace(converged=found.converged)

    places = areas(image.grid.rows, image.grid.columns, tile_size, neighborhood_size, grid_size)
    return write_clusters(image, output, fit, places, unique_labels, threads, memory_limit, progress or Progress())


def gmeans(values: np.ndarray, num_iterations: int, p_value: float, progress: Progress | None = None) -> Clusters:
    """Return the clusters of *values* (bands, n) after at most *num_iterations* rounds of cutting.

    A round runs k-means and then cuts every cluster that is normal with a probability below *p_value* percent; so there
    are at most 2 ** *num_iterations* clusters.  ``converged`` says that nothing was left to cut.
    """
    progress = progress or Progress()
    pixels = ArrayPixels(values)
    centres = starts(pixels.values, 1)
    for number in range(num_iterations):
        step = Part(progress, number / num_iterations, (number + 1) / num_iterations)
        centres = lloyd(pixels, ascending(centres), LLOYD_PASSES, Part(step, 0, 0.4)).centres
        labels = _labels(pixels, centres, Part(step, 0.4, 0.5))
        order, ends = np.argsort(labels, kind="stable"), np.cumsum(np.bincount(labels, minlength=len(centres)))
        found = []
        for cluster, members in enumerate(np.split(order, ends[:-1])):
            halves = _halves(pixels.values[:, members], p_value / 100, step)
            found.append(centres[cluster : cluster + 1] if halves is None else halves)
            Part(step, 0.5, 1)(cluster + 1, len(centres))
        if len(found) == sum(map(len, found)):
            return Clusters(centres, number + 1, True)
        centres = np.concatenate(found)
    return Clusters(ascending(centres), num_iterations, False)


def normality(values: np.ndarray) -> float:
    """Return the probability that normal *values* (n of them, 8 or more, not all equal) depart from the bell as far.

    Anderson–Darling test with mean and standard deviation (n - 1) from the values: the statistic as corrected for n,
    and its approximate p-value, are those of D'Agostino & Stephens (1986), Goodness-of-fit techniques, table 4.9.
    """
    try:
        from scipy.special import log_ndtr
    except ImportError as error:
        raise MissingLibraryError(
            "The normality test of G-means needs SciPy: install the package python3-scipy, or use segmentkmeans."
        ) from error

    length = len(values)
    ordered = np.sort(values - values.mean())
    ordered /= math.sqrt((ordered**2).sum() / (length - 1))
    weights = 2 * np.arange(length) + 1
    squared = -length - (weights * (log_ndtr(ordered) + log_ndtr(-ordered[::-1]))).sum() / length
    return _probability(squared * (1 + 0.75 / length + 2.25 / length**2))


def _probability(squared: float) -> float:
    """Return the p-value of a corrected statistic; beyond 13 it is below 1e-29, and the formula no longer falls."""
    if squared < 0.2:
        return 1 - math.exp(-13.436 + 101.14 * squared - 223.73 * squared**2)
    if squared < 0.34:
        return 1 - math.exp(-8.318 + 42.796 * squared - 59.938 * squared**2)
    if squared < 0.6:
        return math.exp(0.9177 - 4.279 * squared - 1.38 * squared**2)
    return math.exp(1.2937 - 5.709 * squared + 0.0186 * squared**2) if squared < 13 else 0.0


def _labels(pixels: ArrayPixels, centres: np.ndarray, progress: Progress) -> np.ndarray:
    parts = pixels.each(lambda values, _: nearest(values, centres), progress)
    return np.concatenate([np.empty(0, dtype=np.intp), *parts])


def _halves(values: np.ndarray, level: float, progress: Progress) -> np.ndarray | None:
    """Return two centres for a cluster (bands, n), or None when it looks normal on the line between them."""
    if values.shape[1] < LEAST_TESTED:
        return None
    mean = values.mean(axis=1)
    centred = values - mean[:, np.newaxis]
    # einsum, for the sums of a matrix product depend on its threads
    variances, axes = np.linalg.eigh(np.einsum("in,jn->ij", centred, centred) / values.shape[1])
    if variances[-1] <= 0:
        return None
    apart = axes[:, -1] * math.sqrt(2 * variances[-1] / math.pi)
    halves = lloyd(
        ArrayPixels(values), ascending(np.array([mean - apart, mean + apart])), LLOYD_PASSES, _Quiet(progress)
    )
    if len(halves.centres) < 2:
        return None
    between = halves.centres[1] - halves.centres[0]
    projected = (centred * between[:, np.newaxis]).sum(axis=0)
    return halves.centres if normality(projected) < level else None


class _Quiet(Part):
    """A progress that may be canceled but does not move."""

    def __init__(self, whole: Progress) -> None:
        super().__init__(whole, 0, 0)

    def share(self, share: float) -> None:
        pass
