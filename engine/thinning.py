"""Points that keep a distance from one another: chosen one after the other, each far enough from those before."""

from __future__ import annotations

import math

import numpy as np

from .errors import SettingError
from .progress import Progress

ROUNDING = 1e-9  # of the distance: pixel centres that far apart are not nearer for a rounding of their coordinates
REACH = sorted(  # cells that may hold a point too near, the nearest ones first; the corners are too far
    ((across, along) for across in range(-2, 3) for along in range(-2, 3) if abs(across) + abs(along) < 4),
    key=lambda offset: offset[0] ** 2 + offset[1] ** 2,
)
ASK_EVERY = 4096  # points between two questions whether to go on


def thinned(
    x: np.ndarray,
    y: np.ndarray,
    distance: float,
    groups: np.ndarray | None = None,
    quotas: np.ndarray | None = None,
    progress: Progress | None = None,
) -> np.ndarray:
    """Return the indexes of the points that stay, in the order of the points.

    Parameters
    ----------
    x, y : float arrays, (points,)
        In the order in which they are tried: a point stays when none that stayed before lies nearer than *distance*.
    distance : float
        In the units of x and y; 0 thins nothing.
    groups : int array, (points,), and quotas : int array
        The number of each point's group, and how many points of each group may stay at most.
    """
    check_distance(distance)
    progress = progress or Progress()
    left = None if quotas is None else np.asarray(quotas).tolist()
    group = [0] * len(x) if groups is None else np.asarray(groups).tolist()
    near = distance * (1 - ROUNDING)
    side = near / math.sqrt(2) if distance else 1.0  # so that a cell never holds two points that stayed
    columns, rows = (np.floor((np.asarray(line) - np.min(line, initial=math.inf)) / side) for line in (x, y))
    taken: dict[tuple[int, int], tuple[float, float]] = {}
    kept = []
    points = zip(np.asarray(x).tolist(), np.asarray(y).tolist(), columns.tolist(), rows.tolist(), group)
    for index, (east, north, column, row, number) in enumerate(points):
        if index % ASK_EVERY == 0:
            progress(index, len(group))
        if left is not None and left[number] <= 0:
            continue
        if distance:
            if _crowded(taken, east, north, column, row, near):
                continue
            taken[column, row] = east, north
        if left is not None:
            left[number] -= 1
        kept.append(index)
    return np.array(kept, dtype=np.int64)


def check_distance(distance: float) -> None:
    """Raise `SettingError` for a distance that is none."""
    if not 0 <= distance < math.inf:
        raise SettingError(f"MIN_DISTANCE is {distance:g}: give 0 or more, in the units of the grid's CRS.")


def _crowded(taken: dict, x: float, y: float, column: float, row: float, near: float) -> bool:
    for across, along in REACH:
        other = taken.get((column + across, row + along))
        if other is not None and math.hypot(other[0] - x, other[1] - y) < near:
            return True
    return False
