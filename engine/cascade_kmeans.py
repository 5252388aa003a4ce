"""K-means for every number of clusters in a range, as Weka's CascadeSimpleKMeans does it (reference 5.2).

Caliński & Harabasz (1974), A dendrite method for cluster analysis: the variance ratio criterion decides.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from .errors import SettingError
from .java_random import JavaRandom
from .kmeans import DISTANCES, MOST_ITERATIONS, Clusters, ScaledRows, fit_of, scaling_of
from .kmeans_starts import PLUS_PLUS, RANDOM, start_centres
from .progress import Part, Progress
from .training import Fit, Samples


class Cascade(NamedTuple):
    """The best run of the number of clusters that is best on average; a run can have lost some of them.

    counts : the numbers of clusters that were tried
    means : the mean Calinski–Harabasz value of each; NaN where a run has none
    """

    clusters: Clusters
    counts: list[int]
    means: list[float]
    seed: int


def fit_cascade_kmeans(
    samples: Samples,
    mode: str,
    threads: int,
    progress: Progress,
    *,
    min_clusters: int,
    max_clusters: int,
    restarts: int,
    manual: bool,
    init: bool,
    distance_function: str,
    max_iterations: int | None,
    seed: int,
) -> Fit:
    """Cluster *restarts* times with each number of clusters; *init* starts with k-means++ instead of random rows.

    *manual* changes nothing: nobody can be asked here.  Raises `SettingError` when there is no number to try.
    """
    if min_clusters > max_clusters:
        raise SettingError(f"MIN_CLUSTERS is {min_clusters} and MAX_CLUSTERS {max_clusters}: exchange them.")
    scaling = scaling_of(samples, progress)
    rows = ScaledRows(samples.features, scaling, distance_function, threads, progress)
    counts = list(range(min_clusters, max_clusters + 1))
    init_name = PLUS_PLUS if init else RANDOM
    result = cascade(rows, counts, restarts, init_name, max_iterations or MOST_ITERATIONS, seed, progress)
    found = len(result.clusters.centres)
    if all(math.isnan(mean) for mean in result.means):
        progress.warn(
            f"No number of clusters from {min_clusters} to {max_clusters} can be judged, since too few samples differ: "
            f"CLUSTERS is {found}."
        )
    elif found < min_clusters:
        progress.warn(
            f"MIN_CLUSTERS is {min_clusters}, but in the best run only {found} clusters kept a sample: change SEED."
        )
    return fit_of(
        result.clusters,
        scaling,
        distance_function,
        calinskiHarabasz=result.means,
        clusterCounts=result.counts,
        bestSeed=result.seed,
    )


def cascade(
    rows: ScaledRows, counts: list[int], restarts: int, init: str, most_iterations: int, seed: int, progress: Progress
) -> Cascade:
    """Run k-means *restarts* times for every number in *counts*, each time with a seed of its own."""
    random = JavaRandom(seed)
    seeds = np.array([[random.next_int() for _ in counts] for _ in range(restarts)])
    values = np.empty(seeds.shape)

    def run(count: int, own_seed: int, done: int) -> Clusters:
        part = Part(progress, done / (seeds.size + 1), (done + 1) / (seeds.size + 1))
        start = start_centres(rows.features, count, init, rows.distance, own_seed, rows.scaling, part)
        return rows.clusters(start, most_iterations, part)

    for done, (restart, column) in enumerate(np.ndindex(*seeds.shape)):
        clusters = run(counts[column], int(seeds[restart, column]), done)
        values[restart, column] = calinski_harabasz(rows, clusters)
    means = values.mean(axis=0)
    best = int(np.where(np.isnan(means), -np.inf, means).argmax())
    best_seed = int(seeds[np.where(np.isnan(values[:, best]), -np.inf, values[:, best]).argmax(), best])
    return Cascade(run(counts[best], best_seed, seeds.size), counts, means.tolist(), best_seed)


def calinski_harabasz(rows: ScaledRows, clusters: Clusters) -> float:
    """Return (B / (k − 1)) / (W / (n − k)) of scaled rows, or NaN for one cluster or as many as rows.

    B and W are distances of centres to the mean of all rows and of rows to centres, squared for Euclidean.
    """
    count, size = len(clusters.centres), len(rows.features)
    if not 1 < count < size:
        return math.nan
    mean = rows.scaling.scaled(rows.features.mean(axis=0, dtype=np.float64))
    distances = DISTANCES[rows.distance](zip(rows.scaling.scaled(clusters.centres).T, mean))
    between, within = float(clusters.sizes @ distances), float(clusters.errors.sum())
    if within == 0:
        return math.inf
    return (between / (count - 1)) / (within / (size - count))
