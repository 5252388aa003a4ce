"""Points at random in a region: in boxes of the globe or the plane, along lines, among points; apart if asked."""

from __future__ import annotations

import itertools
import math
from typing import Callable, Sequence

import numpy as np

from .errors import TableError
from .progress import Progress

BATCH = 8192  # places tried at once, whatever the number wanted: more points begin with the same ones
MOST_MISSES = 10_000_000  # places outside the region in a row
MOST_REFUSALS = 10_000  # places in a row that are too near to earlier points; more than a batch, which may be cut
AXIS_M, FLATTENING = 6_378_137.0, 1 / 298.257223563  # WGS 84
NEIGHBOURS = sorted(itertools.product((-1, 0, 1), repeat=3), key=lambda step: sum(map(abs, step)))

Draw = Callable[[np.random.Generator], np.ndarray]


def scattered(
    draw: Draw, count: int, seed: int, spacing: Spacing | None = None, progress: Progress | None = None
) -> np.ndarray:
    """Return *count* places (count, 2) out of what *draw* gives, in that order.

    *draw* takes a random generator and returns places (some, 2) in the region, out of `BATCH` that it tried.
    Raises `TableError` when the region is too thin to be hit or too small for the *spacing*.
    """
    generator = np.random.default_rng(seed)
    progress = progress or Progress()
    found: list[Sequence[float]] = []
    misses = 0
    while len(found) < count:
        progress(len(found), count)
        places = draw(generator)
        misses = 0 if len(places) else misses + BATCH
        if misses >= MOST_MISSES:
            raise TableError(f"None of {MOST_MISSES:,} random places fell into REGION: choose wider polygons.")
        found += spacing.admitted(places) if spacing else places.tolist()
    return np.array(found[:count], dtype=np.float64).reshape(-1, 2)


class Spacing:
    """Lets in points that keep a distance from all points let in before.

    Parameters
    ----------
    distance : float
        The smallest distance allowed, more than 0.
    locate : function
        Gives the positions in space (n, 3) of places (n, 2); straight lines between them are never longer than
        what *measure* says.
    measure : function
        Gives the distance of two places.
    """

    def __init__(
        self,
        distance: float,
        locate: Callable[[np.ndarray], np.ndarray],
        measure: Callable[[Sequence[float], Sequence[float]], float],
    ) -> None:
        self._distance, self._locate, self._measure = distance, locate, measure
        self._cells: dict[tuple[int, ...], list[tuple[Sequence[float], Sequence[float]]]] = {}
        self._points = self._refusals = 0

    def admitted(self, places: np.ndarray) -> list[Sequence[float]]:
        """Return those of *places* that keep the distance; raises `TableError` when no more seem to fit."""
        let_in: list[Sequence[float]] = []
        for place, position in zip(places.tolist(), self._locate(places).tolist()):
            cell = tuple(math.floor(value / self._distance) for value in position)
            if self._crowded(cell, place, position):
                self._refusals += 1
                if self._refusals >= MOST_REFUSALS:
                    raise TableError(self._full())
                continue
            self._cells.setdefault(cell, []).append((place, position))
            self._points, self._refusals = self._points + 1, 0
            let_in.append(place)
        return let_in

    def _crowded(self, cell: tuple[int, ...], place: Sequence[float], position: Sequence[float]) -> bool:
        for step in NEIGHBOURS:
            for other, there in self._cells.get(tuple(map(int.__add__, cell, step)), ()):
                if math.dist(position, there) < self._distance and self._measure(place, other) < self._distance:
                    return True
        return False

    def _full(self) -> str:
        return (
            f"MIN_DISTANCE {self._distance:g} leaves REGION room for about {self._points} points ({MOST_REFUSALS:,} "
            f"places in a row were too near to others): lower POINTS or MIN_DISTANCE."
        )


def in_boxes(boxes: np.ndarray, globe: bool) -> Callable[[np.random.Generator], tuple[np.ndarray, np.ndarray]]:
    """Return a function that draws `BATCH` places: the number of the box of each, and the places (batch, 2).

    Boxes are (west, south, east, north), drawn by their areas.  On the globe these are degrees, longitude and the
    sine of latitude are uniform, and so are the places on the sphere.
    """
    west, south, east, north = np.asarray(boxes, dtype=np.float64).T
    if globe:
        south, north = np.sin(np.radians([south, north]))
    ends = np.cumsum((east - west) * np.maximum(north - south, 0.0))

    def draw(generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        which, across, along = generator.random((3, BATCH))
        box = _drawn(ends, which)
        x = west[box] + across * (east - west)[box]
        y = south[box] + along * (north - south)[box]
        return box, np.column_stack([x, np.degrees(np.arcsin(y)) if globe else y])

    return draw


def on_segments(starts: np.ndarray, ends: np.ndarray, lengths: np.ndarray) -> Draw:
    """Return a function that draws places uniform along the segments from *starts* to *ends* (n, 2)."""
    marks = np.cumsum(lengths)

    def draw(generator: np.random.Generator) -> np.ndarray:
        which, along = generator.random((2, BATCH))
        segment = _drawn(marks, which)
        return starts[segment] + along[:, None] * (ends - starts)[segment]

    return draw


def among(places: np.ndarray) -> Draw:
    """Return a function that draws from *places* (n, 2), each as likely as the others, again and again."""
    return lambda generator: places[generator.integers(0, len(places), BATCH)]


def geocentric(degrees: np.ndarray) -> np.ndarray:
    """Return positions in metres (n, 3) of longitudes and latitudes (n, 2) on the ellipsoid WGS 84, or NaN."""
    longitude, latitude = np.radians(np.where(np.isfinite(degrees), degrees, np.nan)).T
    squared = FLATTENING * (2 - FLATTENING)  # of the first eccentricity
    normal = AXIS_M / np.sqrt(1 - squared * np.sin(latitude) ** 2)
    ring = normal * np.cos(latitude)
    return np.column_stack(
        [ring * np.cos(longitude), ring * np.sin(longitude), normal * (1 - squared) * np.sin(latitude)]
    )


def _drawn(ends: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Return which of the spans that stop at *ends* holds each share of the whole; an empty span never does."""
    return np.minimum(np.searchsorted(ends, shares * ends[-1], side="right"), len(ends) - 1)
