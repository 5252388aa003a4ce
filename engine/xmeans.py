"""X-means as Weka's XMeans does it (reference 5.3): k-means that splits its clusters while that pays.

After Pelleg and Moore (2000), X-means, with Weka's peculiarities: the likelihood takes plain distances instead of
squares for variances, and a cluster that loses all its rows stays.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from typing import NamedTuple, Sequence

import numpy as np

from .distances import columns
from .errors import SettingError
from .java_random import JavaRandom
from .kmeans import DISTANCES, EUCLIDEAN, NearestCentre, scaling_of
from .progress import Progress
from .scaling import MinMax
from .spans import row_spans
from .training import Fit, Samples
from .workers import ordered_map

BLOCK_ROWS = 2**16  # a task of one thread
SPLITTABLE = 3  # rows that a cluster needs
UNSPLIT = np.finfo(np.float64).max  # what Weka takes for the criterion of a cluster with fewer


@dataclass(frozen=True)
class Search:
    """How far X-means looks; the words are Weka's."""

    min_clusters: int = 2
    max_clusters: int = 8
    max_iterations: int = 3
    max_k_means: int = 1000
    max_for_children: int = 1000
    cutoff_factor: float = 0.0
    distance: str = EUCLIDEAN
    seed: int = 10


class Clustering(NamedTuple):
    """What the search ends with.

    centres : float64 (clusters, predictors), input units
    labels : int64 (rows,), numbers of the nearest centres
    criterion : the Bayesian information criterion (BIC), the greater the better
    distortions : float64 (clusters,), sums of plain scaled distances to the centre
    errors : float64 (clusters,), of their squares if Euclidean
    splits, performed, by_cutoff : Weka's counts of splits prepared, taken, and taken by the cutoff factor
    """

    centres: np.ndarray
    labels: np.ndarray
    criterion: float
    distortions: np.ndarray
    errors: np.ndarray
    iterations: int
    splits: int
    performed: int
    by_cutoff: int


def fit_xmeans(
    samples: Samples,
    mode: str,
    threads: int,
    progress: Progress,
    *,
    min_clusters: int,
    max_clusters: int,
    max_iterations: int,
    max_k_means: int,
    max_for_children: int,
    use_k_d: bool,
    cutoff_factor: float,
    distance_function: str,
    seed: int,
) -> Fit:
    """Cluster the samples into *min_clusters* to *max_clusters*; *use_k_d* changes speed only in Weka, here nothing."""
    if min_clusters > max_clusters:
        raise SettingError(f"MIN_CLUSTERS {min_clusters} is above MAX_CLUSTERS {max_clusters}: swap them.")
    search = Search(
        min_clusters,
        max_clusters,
        max_iterations,
        max_k_means,
        max_for_children,
        cutoff_factor,
        distance_function,
        seed,
    )
    scaling = scaling_of(samples, progress)
    found = x_means(samples.features, scaling, search, threads, progress)
    sizes = np.bincount(found.labels, minlength=len(found.centres))
    if not sizes.all():
        progress.warn(
            f"{np.count_nonzero(sizes == 0)} of {len(sizes)} clusters have no samples, since equal rows were drawn as "
            "starts: take another SEED or a smaller MIN_CLUSTERS."
        )
    sums = "withinClusterSumOfSquares" if distance_function == EUCLIDEAN else "withinClusterSumOfDistances"
    return Fit(
        arrays={"centres": found.centres, "minimum": scaling.minimum, "range": scaling.range},
        statistics={
            "clusterSizes": sizes.tolist(),
            "centres": found.centres.tolist(),
            "iterations": found.iterations,
            sums: float(found.errors.sum()),
            "bic": found.criterion,
            "distortion": float(found.distortions.sum()),
            "splits": found.splits,
            "splitsPerformed": found.performed,
        },
        predicted=found.labels.astype(np.int32),
        clusters=len(found.centres),
    )


def x_means(
    features: np.ndarray,
    scaling: MinMax,
    search: Search,
    threads: int = 1,
    progress: Progress | None = None,
) -> Clustering:
    """Cluster *features* (rows, predictors)."""
    return _Run(features, scaling, search, threads, progress or Progress()).clustering()


def bayesian_criterion(sizes: Sequence[int], distortions: Sequence[float], predictors: int) -> float:
    """Return Weka's BIC of clusters with *sizes* rows and *distortions*; infinite when equal rows fill a cluster."""
    likelihood = 0.0
    for size, distortion in zip(sizes, distortions):
        if size > 1:
            variance = distortion / (size - 1.0)
            logarithm = math.log(variance) if variance > 0 else -math.inf
            normal = -(size / 2.0) * math.log(2.0 * math.pi)
            spread = -(size * predictors // 2) * logarithm  # Weka divides integers here
            likelihood += normal + spread - (size - 1.0) / 2.0 + size * math.log(size)
    rows, clusters = sum(sizes), len(sizes)
    parameters = clusters - 1 + clusters * predictors + clusters
    return likelihood - rows * math.log(rows) - parameters / 2.0 * math.log(rows)


class _Run:
    def __init__(self, features: np.ndarray, scaling: MinMax, search: Search, threads: int, progress: Progress) -> None:
        self.features, self.scaling, self.search = features, scaling, search
        self.threads, self.progress = threads, progress
        self.random = JavaRandom(search.seed)
        self.splits = self.performed = self.by_cutoff = 0

    def clustering(self) -> Clustering:
        """Improve the centres and split them in turn, until no split pays or a limit is reached."""
        search, features = self.search, self.features
        # Weka draws with repetition: two starts can be equal, and one of them then gets no rows
        starts = [abs(self.random.next_int()) % len(features) for _ in range(search.min_clusters)]
        centres = features[starts].astype(np.float64)
        iteration, growing = 0, True
        while growing and iteration < search.max_iterations:
            self.progress(iteration, search.max_iterations)
            iteration += 1
            centres, labels = self._improved(centres)
            criterion, distortions = self._judged(features, labels, centres)
            candidates = self._split(centres, labels, distortions)
            growing = len(candidates) != len(centres)
            if growing:
                new_criterion, _ = self._judged(features, self._nearest(features, candidates), candidates)
                growing = new_criterion > criterion
                if growing:
                    criterion, centres = new_criterion, candidates
            growing = growing and len(centres) < search.max_clusters
        labels = self._nearest(features, centres)
        distortions = self._sums(features, labels, centres)
        errors = self._sums(features, labels, centres, squares=True)
        counts = iteration, self.splits, self.performed, self.by_cutoff
        return Clustering(centres, labels, criterion, distortions, errors, *counts)

    def _improved(self, centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Run k-means and return the centres and the labels they were computed from."""
        for _ in range(self.search.max_k_means):
            labels = self._nearest(self.features, centres)
            means = _means(self.features, labels, len(centres))
            moved = (means != centres).any(axis=1) & (np.bincount(labels, minlength=len(centres)) > 0)
            if not moved.any():
                break
            # Weka compares rows only, so an empty cluster stays until a cluster before it moves; then it falls to 0
            centres = np.where(np.arange(len(centres))[:, np.newaxis] >= moved.argmax(), means, centres)
        return centres, labels

    def _split(self, centres: np.ndarray, labels: np.ndarray, distortions: np.ndarray) -> np.ndarray:
        """Return the centres, those whose split pays most replaced by two."""
        parents, families = np.full(len(centres), UNSPLIT), np.zeros(len(centres))
        children = []
        for number, centre in enumerate(centres):
            rows = self.features[labels == number]
            if len(rows) < SPLITTABLE:
                children.append(centre[np.newaxis])
                continue
            pair, pair_labels = self._children(rows, centre, float(distortions[number]))
            children.append(pair)
            parents[number] = bayesian_criterion([len(rows)], [float(distortions[number])], rows.shape[1])
            families[number], _ = self._judged(rows, pair_labels, pair)
        chosen = self._chosen(parents, families)
        return np.concatenate(
            [children[number] if chosen[number] else centres[[number]] for number in range(len(centres))]
        )

    def _children(self, rows: np.ndarray, centre: np.ndarray, distortion: float) -> tuple[np.ndarray, np.ndarray]:
        """Return two centres for *rows*, found by k-means from both sides of *centre*, and the labels of the rows."""
        direction = np.array([self.random.next_double() for _ in centre])
        # A length in scaled units taken in input units, as in Weka.
        direction *= math.sqrt(distortion / len(rows)) / math.sqrt(_in_order(direction * direction))
        self.splits += 1
        pair, labels = np.stack((centre + direction, centre - direction)), np.full(len(rows), -1)
        for _ in range(self.search.max_for_children):
            before, labels = labels, self._nearest(rows, pair)
            if np.array_equal(before, labels):
                break
            pair = _means(rows, labels, 2)
        return pair, labels

    def _chosen(self, parents: np.ndarray, families: np.ndarray) -> np.ndarray:
        """Return which clusters to split: those whose children are better, at most as many as MAX_CLUSTERS allows."""
        better = families > parents
        wanted = np.count_nonzero(better)
        by_cutoff = not wanted and self.search.cutoff_factor > 0
        if by_cutoff:
            wanted = int(len(parents) * self.search.cutoff_factor)
        possible = min(wanted, self.search.max_clusters - len(parents))
        with np.errstate(invalid="ignore"):
            order = np.argsort(parents - families, kind="stable")
        if by_cutoff:
            hopeful = np.logical_and.accumulate(families[order] > 0)
            order = order[hopeful]
            self.by_cutoff += possible
        else:
            order = order[better[order]]
        chosen = np.zeros(len(parents), dtype=bool)
        chosen[order[: max(0, possible)]] = True
        self.performed += np.count_nonzero(chosen)
        return chosen

    def _judged(self, rows: np.ndarray, labels: np.ndarray, centres: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the criterion and the distortions of *rows* around *centres*."""
        distortions = self._sums(rows, labels, centres)
        sizes = np.bincount(labels, minlength=len(centres)).tolist()
        return bayesian_criterion(sizes, distortions.tolist(), rows.shape[1]), distortions

    def _nearest(self, rows: np.ndarray, centres: np.ndarray) -> np.ndarray:
        nearest = NearestCentre(centres, self.scaling, self.search.distance)

        def assign(block: slice, stop: threading.Event) -> np.ndarray:
            return nearest.of(rows[block], self.progress.check)

        return np.concatenate(list(ordered_map(assign, _blocks(rows), self.threads, self.progress)))

    def _sums(self, rows: np.ndarray, labels: np.ndarray, centres: np.ndarray, squares: bool = False) -> np.ndarray:
        """Return the sum of each cluster's scaled distances, added row by row as Weka does; or of their *squares*."""
        sides = self.scaling.scaled(centres).T
        distances = np.empty(len(rows))
        for block in _blocks(rows):
            self.progress.check()
            own = labels[block]
            values = columns(self.scaling.scaled(rows[block]))
            distances[block] = DISTANCES[self.search.distance]((value, side[own]) for value, side in zip(values, sides))
        if self.search.distance == EUCLIDEAN and not squares:
            distances = np.sqrt(distances)
        return np.bincount(labels, weights=distances, minlength=len(centres))


def _means(rows: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    """Return the mean of each of *count* clusters, added row by row as Weka does; 0 of an empty one."""
    sizes = np.maximum(np.bincount(labels, minlength=count), 1)
    return np.column_stack([np.bincount(labels, weights=column, minlength=count) / sizes for column in rows.T])


def _in_order(numbers: np.ndarray) -> float:
    """Sum one by one, as a loop would."""
    return float(np.add.accumulate(numbers)[-1])


def _blocks(rows: np.ndarray) -> list[slice]:
    return list(row_spans(len(rows), 0, BLOCK_ROWS))
