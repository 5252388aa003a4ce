"""Where k-means starts: Weka's four ways (reference 5.1), drawn from Java's random numbers.

All of them return centres in input units, float64 (at most *count*, predictors).  *features* are (rows, predictors) and
finite.  Distances are those of the scaled rows; canopies and farthest first are Euclidean whatever k-means uses.
"""

from __future__ import annotations

from typing import Callable, Iterator, NamedTuple

import numpy as np

from .distances import columns, every_pair, manhattan, squared_euclidean
from .errors import TableError
from .java_random import JavaRandom
from .progress import Progress
from .scaling import MinMax
from .spans import row_spans

Distance = Callable[[np.ndarray, np.ndarray], np.ndarray]  # (points, predictors), (rows, predictors) -> (points, rows)
EUCLIDEAN, MANHATTAN, CHEBYSHEV = "Euclidean", "Manhattan", "Chebyshev"
RANDOM, PLUS_PLUS, CANOPY, FARTHEST_FIRST = INITS = ("random", "k-means++", "canopy", "farthest first")
DISCARDED_DRAWS = 10  # before canopies are made, and again before they are filled up
FARTHEST_FIRST_SEED = 1  # Weka passes no seed on
CHECK_ROWS = 4096


class CanopySettings(NamedTuple):
    """At most *candidates* canopies are held; those of less than *density* rows go after every *pruning* rows.

    *radius* (T2, scaled units) below 0 stands for the one that follows from the standard deviations.
    """

    candidates: int = 100
    pruning: int = 10_000
    density: int = 2
    radius: float = -1.0


def start_centres(
    features: np.ndarray,
    count: int,
    init: str,
    distance: str,
    seed: int,
    scaling: MinMax,
    progress: Progress,
    canopy: CanopySettings = CanopySettings(),
) -> np.ndarray:
    """Start in the way *init*, one of `INITS`; *distance* is the one of k-means."""
    if init == RANDOM:
        return random_start(features, count, seed, progress)
    if init == CANOPY:
        return canopy_start(features, count, seed, scaling, canopy, progress)
    if init == FARTHEST_FIRST:
        return farthest_first_start(features, count, scaling, progress)
    measure = manhattan_distance if distance == MANHATTAN else euclidean_distance
    return plus_plus_start(features, count, seed, scaling, measure, progress)


def euclidean_distance(points: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return (points, rows) distances of scaled points and rows."""
    return np.sqrt(squared_euclidean(every_pair(points, rows)))


def manhattan_distance(points: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return (points, rows) distances of scaled points and rows."""
    return manhattan(every_pair(points, rows))


def random_start(features: np.ndarray, count: int, seed: int, progress: Progress) -> np.ndarray:
    """Draw rows with different values; there are fewer than *count* when the table has fewer."""
    return np.array(_different_rows(features, count, JavaRandom(seed), [], progress), dtype=np.float64)


def plus_plus_start(
    features: np.ndarray, count: int, seed: int, scaling: MinMax, distance: Distance, progress: Progress
) -> np.ndarray:
    """Draw rows with a chance in proportion to their distance, not squared, from the nearest row drawn before.

    Raises `TableError` when there are fewer different rows than *count*.
    """
    random = JavaRandom(seed)
    chosen = [random.next_int(len(features))]
    nearest = np.full(len(features), np.inf)
    while len(chosen) < count:
        np.minimum(nearest, _distances_to(features, chosen[-1], scaling, distance, progress), out=nearest)
        total = np.cumsum(nearest)[-1]  # one after the other as in Java, and not in pairs as np.sum does it
        if total == 0:
            raise TableError(
                f"{count} clusters were asked for, but the samples have only {len(chosen)} different rows: "
                "ask for fewer, or do not start with k-means++."
            )
        reached = np.cumsum(nearest / total)
        reached[-1] = 1.0
        chosen.append(int(np.searchsorted(reached, random.next_double(), side="right")))
    return features[chosen].astype(np.float64)


def farthest_first_start(
    features: np.ndarray, count: int, scaling: MinMax, progress: Progress, seed: int = FARTHEST_FIRST_SEED
) -> np.ndarray:
    """Take one row by chance, then always the first of those farthest from all taken; equal rows only at the end."""
    chosen = [JavaRandom(seed).next_int(len(features))]
    nearest = np.full(len(features), np.inf)
    while len(chosen) < min(count, len(features)):
        np.minimum(nearest, _distances_to(features, chosen[-1], scaling, euclidean_distance, progress), out=nearest)
        nearest[chosen[-1]] = -1
        chosen.append(int(nearest.argmax()))
    return features[chosen].astype(np.float64)


def canopy_start(
    features: np.ndarray, count: int, seed: int, scaling: MinMax, settings: CanopySettings, progress: Progress
) -> np.ndarray:
    """Return the means of canopies in the order of their creation, filled up with different rows drawn by chance.

    Of more canopies than *count* the largest are taken, largest first and of equal ones the last; Weka's results at
    hand have no such case.
    """
    random = _after_discarded_draws(seed)
    order = random.shuffle(len(features), progress.check)
    radius = settings.radius if settings.radius >= 0 else _usual_radius(features, scaling)
    centres, sizes = _canopies(features, order, radius, scaling, settings, progress)
    if len(centres) > count:
        largest = np.argsort(sizes, kind="stable")[::-1][:count]
        return centres[largest]
    starts = [tuple(centre) for centre in centres.tolist()]
    starts = _different_rows(features[order], count, _after_discarded_draws(seed), starts, progress)
    return np.array(starts, dtype=np.float64)


def _after_discarded_draws(seed: int) -> JavaRandom:
    random = JavaRandom(seed)
    for _ in range(DISCARDED_DRAWS):
        random.next_int()
    return random


def _different_rows(
    features: np.ndarray, count: int, random: JavaRandom, taken: list[tuple], progress: Progress
) -> list[tuple]:
    """Return *taken* and rows drawn without replacement that differ from all before, until they are *count*."""
    rows, seen = list(taken), set(taken)
    moved: dict[int, int] = {}  # row numbers of the places that swaps have changed and draws can still reach
    for last in range(len(features) - 1, -1, -1):
        if len(rows) >= count:
            break
        if last % CHECK_ROWS == 0:
            progress.check()
        place = random.next_int(last + 1)
        row = tuple(features[moved.get(place, place)].tolist())
        if row not in seen:
            seen.add(row)
            rows.append(row)
        moved[place] = moved.pop(last, last)
    return rows


def _distances_to(
    features: np.ndarray, row: int, scaling: MinMax, distance: Distance, progress: Progress
) -> np.ndarray:
    """Return float64 (rows,): how far every row is from row number *row*."""
    point = scaling.scaled(features[row : row + 1])
    result = np.empty(len(features))
    for span in row_spans(len(features), 1):
        progress.check()
        result[span] = distance(point, scaling.scaled(features[span]))[0]
    return result


def _usual_radius(features: np.ndarray, scaling: MinMax) -> float:
    """Return √Σ ½ s / range over the predictors that vary; s is the standard deviation with n − 1."""
    varying = np.flatnonzero(scaling.range > 0)
    deviations = [features[:, column].std(dtype=np.float64, ddof=1) for column in varying]
    return float(np.sqrt(np.sum(0.5 * np.array(deviations) / scaling.range[varying])))


def _canopies(
    features: np.ndarray,
    order: np.ndarray,
    radius: float,
    scaling: MinMax,
    settings: CanopySettings,
    progress: Progress,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the centres (canopies, predictors) and sizes (canopies,) of the canopies that remain.

    A row joins the first canopy whose first row is nearer than *radius*, else it starts one if there is room.
    """
    predictors = features.shape[1]
    firsts, sums, sizes = np.empty((0, predictors)), np.empty((0, predictors)), np.empty(0, dtype=np.int64)
    for span, prune in _pruning_spans(len(order), settings.candidates, settings.pruning):
        progress.check()
        rows = features[order[span]].astype(np.float64)
        scaled = scaling.scaled(rows)
        owners = _first_within(firsts, scaled, radius)
        while len(firsts) < settings.candidates and (owners < 0).any():
            alone = np.flatnonzero(owners < 0)
            firsts = np.vstack([firsts, scaled[alone[0]]])
            joining = _first_within(firsts[-1:], scaled[alone], radius) == 0
            joining[0] = True  # also where the radius is 0
            owners[alone[joining]] = len(firsts) - 1
        sums = np.vstack([sums, np.zeros((len(firsts) - len(sums), predictors))])
        sizes = np.append(sizes, np.zeros(len(firsts) - len(sizes), dtype=np.int64))
        joined = owners >= 0
        members = owners[joined]
        sizes = sizes + np.bincount(members, minlength=len(firsts))
        added = [np.bincount(members, weights=column, minlength=len(firsts)) for column in columns(rows[joined])]
        sums = sums + np.column_stack(added)
        if prune:
            kept = sizes >= settings.density
            firsts, sums, sizes = firsts[kept], sums[kept], sizes[kept]
    return sums / sizes[:, np.newaxis], sizes


def _pruning_spans(rows: int, values_per_row: int, pruning: int) -> Iterator[tuple[slice, bool]]:
    """Yield spans that no pruning interrupts, and whether one follows: every *pruning* rows and at the end."""
    for start in range(0, rows, pruning):
        end = min(rows, start + pruning)
        for span in row_spans(end - start, values_per_row):
            yield slice(start + span.start, start + span.stop), start + span.stop == end


def _first_within(points: np.ndarray, rows: np.ndarray, radius: float) -> np.ndarray:
    """Return int64 (rows,): the first of *points* nearer than *radius*, or -1; all scaled."""
    if not len(points):
        return np.full(len(rows), -1)
    near = euclidean_distance(points, rows) < radius
    return np.where(near.any(axis=0), near.argmax(axis=0), -1)
