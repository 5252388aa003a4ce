"""Growing the segments of SNIC: every pixel joins the segment that reaches it first.

The rule is a queue over (distance, segment, pixel): take the smallest, let the pixel join if it is free, move the
segment's centre, offer its free neighbours.  Distances are compared in single precision.

A queue in Python takes 6 to 19 µs a pixel, and numba's compiled ``heapq`` 3 µs.  Here numpy does it in 1.9 µs, to the
same bits.  For the *time* of an offer, the largest distance that its segment has come to or its own if that is
larger, is known when it is made; the queue serves offers in the order of (time, segment); and segments far apart do not
meet.  So a window of times is served in rounds: of each segment the first offer, unless an earlier offer of
another one is near.  When a segment then turns up at a pixel that another took at a later time, the window is undone
and served again with a wider meaning of near.  A window with too little to do at once goes to a real queue.
"""

from __future__ import annotations

import heapq
import math
from typing import Any, NamedTuple

import numpy as np

from .progress import Progress

NEVER = np.uint64(2**64 - 1)  # a time is the bits of a float32, then the segment, so that no two segments are equal
SEGMENT = np.uint64(2**32 - 1)
HALF = np.uint64(32)
LEAST_SIDE = 2  # of a cell: pixels two cells apart have no neighbour in common
CALM_WINDOWS = 32  # without a conflict, and cells become smaller again
LEAST_OFFERS, PIXELS_PER_OFFER = 2000, 2000  # size of a window
FEW_OFFERS = 64
PATIENT_ROUNDS = 32
ROUND_WORK, QUEUE_WORK = 1000, 100  # of a round besides its offers, and of a pixel in the queue; an offer is 1
LONGEST_PAUSE = 64  # windows that go to the queue before rounds are tried again
STEPS_PER_CHECK = 2048  # of the queue: some 20 ms
LATER_AT_ONCE = 50_000


def grow(
    values: np.ndarray,
    valid: np.ndarray,
    seeds: np.ndarray,
    segments: np.ndarray,
    weight: float,
    connectivity: int,
    progress: Progress,
) -> np.ndarray:
    """Return the segment of every pixel, int32 (rows, columns): from 1, and 0 where masked or out of reach.

    Parameters
    ----------
    values : float array, (rows, columns, bands), contiguous
    valid : bool array, (rows, columns)
        The outermost rows and columns are a border: not valid.
    seeds, segments : int64 arrays, (n,)
        Flat places of the first pixels, all different and valid, and the segment of each, from 0 without gaps.
    weight : above 0
        A squared distance is that of the values plus *weight* times that of the places in pixels, both to the
        segment's means.
    """
    growth = _Growth(values, valid, seeds, segments, weight, connectivity)
    growth.run(progress)
    return growth.labels(valid)


class _Level(NamedTuple):
    """Waiting pixels (int32) whose time is below ``bound``, and not below that of the level before."""

    bound: np.uint64
    pixels: list[np.ndarray]


class _Round(NamedTuple):
    """What a round has changed, as it was before."""

    segments: np.ndarray
    sums: np.ndarray
    counts: np.ndarray
    joined: np.ndarray
    offered: np.ndarray
    times: np.ndarray
    distances: np.ndarray


class _Growth:
    """Pixels, segments and offers; of the offers to a pixel only the first in time is kept.

    ``time`` (pixels): of the offer, or of joining; `NEVER` without, 0 where masked.  ``distance`` (pixels): of the
    offer.  ``taken`` (pixels): joined or masked.  ``sums`` (segments, bands + 2): of values, row, column.  ``levels``:
    waiting pixels by time; one that moves to an earlier level lingers in the later one too, and has joined when that
    one's turn comes.
    """

    def __init__(self, values, valid, seeds, segments, weight: float, connectivity: int) -> None:
        self.rows, self.width, self.bands = values.shape
        self.values = values.reshape(-1, self.bands)
        self.weight = weight
        steps = [-1, 1, -self.width, self.width]
        if connectivity == 8:
            steps += [-self.width - 1, -self.width + 1, self.width - 1, self.width + 1]
        self.steps = np.array(steps)
        self.taken = ~valid.ravel()
        self.time = np.where(self.taken, np.uint64(0), NEVER)
        self.distance = np.full(valid.size, np.inf, dtype=np.float32)
        self.free = int(np.count_nonzero(valid)) - len(seeds)
        self.levels = [_Level(NEVER, [])]
        self.side, self.calm = LEAST_SIDE, 0  # of a cell; windows since the last conflict
        self.queued = self.pause = 0  # windows still to go to the queue, and how many it was the last time
        self.earliest = self._cells()
        self._sow(seeds, segments)

    def run(self, progress: Progress) -> None:
        """Serve all offers, window by window; raises `Canceled`."""
        total, size = self.free, max(LEAST_OFFERS, len(self.time) // PIXELS_PER_OFFER)
        while self.levels:
            pixels, bound = self._window(size, progress)
            if len(pixels) and not self._in_rounds(pixels, bound, progress):
                self._in_queue(pixels, bound, progress)
            progress(total - self.free, total)

    def labels(self, valid: np.ndarray) -> np.ndarray:
        labels: np.ndarray = np.zeros(valid.shape, dtype=np.int32)
        for row in range(self.rows):  # to need no second array of times
            span = slice(row * self.width, (row + 1) * self.width)
            segments = (self.time[span] & SEGMENT).astype(np.int32) + 1
            labels[row] = np.where(valid[row] & self.taken[span], segments, 0)
        return labels

    def _sow(self, seeds: np.ndarray, segments: np.ndarray) -> None:
        count = int(segments.max()) + 1 if len(segments) else 0
        row, column = np.divmod(seeds, self.width)
        self.counts = np.bincount(segments, minlength=count).astype(np.float64)
        self.sums = np.empty((count, self.bands + 2))
        for number, weights in enumerate((*self.values[seeds].T, row, column)):
            self.sums[:, number] = np.bincount(segments, weights, count)
        self.first = np.full(count, NEVER)  # between rounds
        self.taken[seeds] = True
        self.time[seeds] = segments
        for step in self.steps:
            self._offer_first(seeds + step, segments)

    def _offer_first(self, pixels: np.ndarray, segments: np.ndarray) -> None:
        """Offer neighbours of the seeds, in which a pixel may come several times."""
        free = ~self.taken[pixels]
        pixels, segments = pixels[free], segments[free]
        new = pixels[self.time[pixels] == NEVER]
        self.levels[0].pixels.append(np.unique(new).astype(np.int32))
        distances = self._distances(segments, pixels)
        times = _times(distances, segments)
        _lower(self.time, pixels, times)
        best = self.time[pixels] == times
        self.distance[pixels[best]] = distances[best]

    def _window(self, size: int, progress: Progress) -> tuple[np.ndarray, np.uint64]:
        """Take the earliest waiting pixels, about *size*, off the levels; return them and the bound of their times."""
        while True:
            progress.check()
            bound, lists = self.levels.pop(0)
            pixels = np.concatenate([*lists, np.empty(0, dtype=np.int32)])
            pixels = pixels[~self.taken[pixels]]
            times = self.time[pixels]
            middle = len(pixels) // (2 if len(pixels) < 16 * size else 8)
            # What has no bound would take in all that comes.
            few = len(pixels) <= (2 * size if bound < NEVER else FEW_OFFERS)
            between = bound if few else np.partition(times, middle)[middle]
            early = times < between
            if few or not early.any():  # of one segment, at one time
                return pixels.astype(np.int64), bound
            self.levels[:0] = [_Level(between, [pixels[early]]), _Level(bound, [pixels[~early]])]

    def _file(self, pixels: np.ndarray, before: np.ndarray) -> None:
        """Put waiting *pixels* into their levels; their times were *before*."""
        times = self.time[pixels]
        for bound, lists in self.levels:
            here = times < bound
            lists.append(pixels[here & (before >= bound)].astype(np.int32))
            pixels, before, times = pixels[~here], before[~here], times[~here]
            if not len(pixels):
                return

    def _in_rounds(self, pixels: np.ndarray, bound: np.uint64, progress: Progress) -> bool:
        """Serve a window in rounds; return False, with nothing changed, when the queue is the better way."""
        if self.queued:
            self.queued -= 1
            return False
        while True:
            marks = [len(lists) for _, lists in self.levels]
            rounds: list[_Round] = []
            joined, work, conflict, slow = 0, 0, False, False
            pool = pixels
            while len(pool) and not conflict and not slow:
                progress.check()
                is_head = self._heads(pool)
                rounds.append(self._round(pool[is_head]))
                joined += len(rounds[-1].joined)
                work += ROUND_WORK + len(pool)
                conflict = bool(self.taken[rounds[-1].offered].any())
                slow = len(rounds) >= PATIENT_ROUNDS and work > QUEUE_WORK * joined
                pool = np.concatenate([pool[~is_head], self._offered(rounds[-1], bound)])
            if not conflict and not slow:
                break
            for change in reversed(rounds):
                self._undo(change)
            for mark, (_, lists) in zip(marks, self.levels):
                del lists[mark:]
            if slow:
                self.queued = self.pause = min(LONGEST_PAUSE, 2 * self.pause + 1)
                return False
            self._set_side(2 * self.side)
        self.free -= joined
        self.pause, self.calm = 0, self.calm + 1
        if self.calm >= CALM_WINDOWS and self.side > LEAST_SIDE:
            self._set_side(self.side // 2)
        return True

    def _heads(self, pool: np.ndarray) -> np.ndarray:
        """Tell which of the waiting pixels come first in their segment and have no earlier one near them."""
        times = self.time[pool]
        segments = (times & SEGMENT).astype(np.int64)
        ranks = _high_half(self.distance[pool]) | pool.astype(np.uint64)
        _lower(self.first, segments, ranks)
        is_head = self.first[segments] == ranks
        self.first[segments] = NEVER
        row, column = np.divmod(pool, self.width)
        cells = (row // self.side + 1) * self.across + column // self.side + 1
        _lower(self.earliest, cells, times)
        around = np.array([-1, 0, 1]) + self.across * np.array([[-1], [0], [1]])
        near = self.earliest[cells[is_head] + around.reshape(-1, 1)].min(axis=0)
        self.earliest[cells] = NEVER
        is_head[is_head] = near == times[is_head]
        return is_head

    def _round(self, pixels: np.ndarray) -> _Round:
        """Let *pixels* join, none near another, and offer their neighbours."""
        times = self.time[pixels]
        segments = (times & SEGMENT).astype(np.int64)
        before = self.sums[segments], self.counts[segments]
        row, column = np.divmod(pixels, self.width)
        self.sums[segments] += np.column_stack([self.values[pixels], row, column])
        self.counts[segments] += 1
        self.taken[pixels] = True
        around = pixels + self.steps[:, None]
        old_times = self.time[around]
        distances = self._distances(segments, around)
        offers = np.maximum(_times(distances, segments), times)
        nearer = (offers == old_times) & ~self.taken[around] & (distances < self.distance[around])
        better = (offers < old_times) | nearer
        offered = around[better]
        change = _Round(segments, *before, pixels, offered, old_times[better], self.distance[offered])
        self.time[offered] = offers[better]
        self.distance[offered] = distances[better]
        return change

    def _offered(self, change: _Round, bound: np.uint64) -> np.ndarray:
        """Return the pixels that a round adds to its window, and put the others into their levels."""
        later = self.time[change.offered] >= bound
        self._file(change.offered[later], change.times[later])
        return change.offered[~later & (change.times >= bound)]

    def _undo(self, change: _Round) -> None:
        self.time[change.offered] = change.times
        self.distance[change.offered] = change.distances
        self.taken[change.joined] = False
        self.sums[change.segments] = change.sums
        self.counts[change.segments] = change.counts

    def _distances(self, segments: np.ndarray, pixels: np.ndarray) -> np.ndarray:
        """Return the distances of *pixels* (..., n) to the means of *segments* (n,) as float32."""
        means = self.sums[segments] / self.counts[segments, None]
        values = self.values[pixels]
        squares = np.zeros(pixels.shape)
        for band in range(self.bands):
            squares += (values[..., band] - means[:, band]) ** 2
        row, column = np.divmod(pixels, self.width)
        squares += self.weight * ((row - means[:, -2]) ** 2 + (column - means[:, -1]) ** 2)
        with np.errstate(over="ignore"):
            return np.sqrt(squares).astype(np.float32)

    def _cells(self) -> np.ndarray:
        """Return the earliest time in each cell, as it is between rounds; cells have a border of one."""
        self.across = self.width // self.side + 3
        return np.full((self.rows // self.side + 3) * self.across, NEVER)

    def _set_side(self, side: int) -> None:
        self.side, self.calm = side, 0
        self.earliest = self._cells()

    def _in_queue(self, pixels: np.ndarray, bound: np.uint64, progress: Progress) -> None:
        """Serve a window by the queue itself, in Python's numbers, which are faster one by one."""
        last, bands, width, weight = int(bound), self.bands, self.width, self.weight
        steps, columns = self.steps.tolist(), bands + 2
        time, distance, taken = _numbers(self.time), _numbers(self.distance), _numbers(self.taken)
        values, sums = _numbers(self.values), _numbers(self.sums)
        counts = _numbers(self.counts)
        single = np.zeros(1, dtype=np.float32)
        rounded, bits = _numbers(single), _numbers(single.view(np.uint32))
        queue = self._queue(pixels)  # whole numbers need a third of the memory of tuples
        later: dict[int, int] = {}  # pixels for other levels, and their times before
        joined = 0
        while queue:
            first = heapq.heappop(queue)
            pixel, segment = first & 0xFFFFFFFF, first >> 32 & 0xFFFFFFFF
            if taken[pixel]:
                continue
            taken[pixel] = True
            joined += 1
            if joined % STEPS_PER_CHECK == 0:
                progress.check()
            count = counts[segment] = counts[segment] + 1
            place = segment * columns
            for number in range(bands):
                sums[place + number] += values[pixel * bands + number]
            sums[place + bands] += pixel // width
            sums[place + bands + 1] += pixel % width
            means = [total / count for total in sums[place : place + columns]]
            for step in steps:
                other = pixel + step
                if taken[other]:
                    continue
                square = 0.0
                for number in range(bands):
                    apart = values[other * bands + number] - means[number]
                    square += apart * apart
                down, right = other // width - means[bands], other % width - means[bands + 1]
                square += weight * (down * down + right * right)
                rounded[0] = math.sqrt(square)
                offer, old = bits[0] << 32 | segment, time[other]
                if offer < old:  # a time before now is as good: the queue is emptied up to it at once
                    time[other], distance[other] = offer, rounded[0]
                    if offer < last:
                        heapq.heappush(queue, bits[0] << 64 | segment << 32 | other)
                    else:
                        later.setdefault(other, old)
            if len(later) >= LATER_AT_ONCE:
                self._file_all(later)
        self._file_all(later)
        self.free -= joined

    def _queue(self, pixels: np.ndarray) -> list[int]:
        """Return the offers to *pixels* as a heap: the bits of the distance, then the segment, then the pixel."""
        distances, segments = self.distance[pixels].view(np.uint32), self.time[pixels] & SEGMENT
        offers = zip(distances.tolist(), segments.tolist(), pixels.tolist())
        queue = [distance << 64 | segment << 32 | pixel for distance, segment, pixel in offers]
        heapq.heapify(queue)
        return queue

    def _file_all(self, before: dict[int, int]) -> None:
        pixels = np.fromiter(before, dtype=np.int64, count=len(before))
        self._file(pixels, np.fromiter(before.values(), dtype=np.uint64, count=len(before)))
        before.clear()


def _numbers(array: np.ndarray) -> Any:
    """Return *array*, flat, as what gives and takes Python's numbers, at half the price of numpy's."""
    return memoryview(array.reshape(-1))  # type: ignore[arg-type]


def _high_half(distances: np.ndarray) -> np.ndarray:
    """Return the bits of float32 numbers from 0 up, which rise as they do, in the high half of uint64."""
    return distances.view(np.uint32).astype(np.uint64) << HALF


def _times(distances: np.ndarray, segments: np.ndarray) -> np.ndarray:
    return _high_half(distances) | segments.astype(np.uint64)


def _lower(least: np.ndarray, places: np.ndarray, values: np.ndarray) -> None:
    """Lower ``least[places]`` to *values* where they are less; a place may come several times."""
    while len(places):
        less = values < least[places]
        places, values = places[less], values[less]
        least[places] = values  # the last of a place wins, and the next turn sees who should have
