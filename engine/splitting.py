"""Which rows of a table train and which validate: by share, by class, by whole groups.

Every function takes hashed keys (uint64, see `hashing.hashed`) in place of a seed and returns a mask, True where
a row trains.  The mask belongs to the keys: rows in another order are split alike (equal keys count by place).
"""

from __future__ import annotations

import math

import numpy as np

from .hashing import mixed
from .progress import Progress

ATTEMPTS = 16  # orders in which groups are tried while a class is missing that might be kept
LEAST_GAIN = 1e-12  # of the squared distance from the shares: less is rounding
ASK_EVERY = 4096  # groups between two questions whether to go on


def split_rows(keys: np.ndarray, share: float) -> np.ndarray:
    """Return a mask (rows,) with exactly ⌊rows · share + ½⌋ rows in training: those of the smallest *keys*."""
    training = np.zeros(len(keys), dtype=bool)
    training[np.argsort(keys, kind="stable")[: _part(len(keys), share)]] = True
    return training


def split_classes(keys: np.ndarray, classes: np.ndarray, share: float) -> np.ndarray:
    """Return a mask (rows,) with ⌊n · share + ½⌋ of the n rows of each class in training.

    At least one row stays on each side; the only row of a class trains.
    """
    training = np.zeros(len(keys), dtype=bool)
    for rows in _rows_by(classes):
        wanted = max(1, min(_part(len(rows), share), len(rows) - 1))
        training[rows[np.argsort(keys[rows], kind="stable")[:wanted]]] = True
    return training


def split_groups(
    keys: np.ndarray, groups: np.ndarray, classes: np.ndarray, share: float, progress: Progress | None = None
) -> np.ndarray:
    """Return a mask (rows,) that has every group on one side, every class on both, near the shares.

    Parameters
    ----------
    keys : uint64 array, (groups,)
        One for each group: the order in which groups are tried.
    groups, classes : int arrays, (rows,)
        The number of each row's group and class, from 0 without gaps.
    share : float
        Of the rows of each class that shall train.

    All groups begin in training.  One after the other changes sides when the sum over the classes of (share reached −
    share wanted)² falls, never when a class would leave a side, unless another group of that class comes in exchange
    and the sum falls.  Validation gets the group that costs least of every class that it still lacks.  This goes on
    until nothing changes.

    So every class has training rows, a class whose groups all hold it alone stands on both sides when it has two
    groups, and no change that is allowed to one group brings the shares nearer.  Where groups hold several classes,
    to keep them all can be impossible, or possible and missed (the question is NP-hard): `ATTEMPTS` orders are tried.
    """
    best, best_mask = (math.inf, math.inf), np.empty(0, dtype=bool)
    for attempt in range(ATTEMPTS):
        order = np.argsort(mixed(keys + np.uint64(attempt)), kind="stable")
        ordered = np.argsort(order)[groups]  # groups numbered in the order in which they are tried
        sides = _Sides(ordered, classes, len(keys))
        for aim in (0.5, share) if attempt else (share,):  # halves leave more room to bring classes to both sides
            sides.aim(aim)
            _settle(sides, progress or Progress())
        found = (sides.missing(False), sides.distance())
        if found < best:
            best, best_mask = found, np.array(sides.trains, dtype=bool)[ordered]
        if best[0] <= sides.hopeless:
            break
    return best_mask


def one_sided(training: np.ndarray, classes: np.ndarray) -> list[int]:
    """Return the classes (numbers) whose rows are all on one side."""
    number = int(classes.max(initial=-1)) + 1
    trained = np.bincount(classes[training], minlength=number)
    whole = np.bincount(classes, minlength=number)
    return np.flatnonzero((whole > 0) & ((trained == 0) | (trained == whole))).tolist()


def groups_of_classes(groups: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return how many groups hold each class (classes,)."""
    pairs = np.unique(np.stack([groups, classes]), axis=1)
    return np.bincount(pairs[1])


class _Sides:
    """Which groups train, and what follows for the classes; it begins with all of them."""

    def __init__(self, groups: np.ndarray, classes: np.ndarray, number: int) -> None:
        pairs, counts = np.unique(np.stack([groups, classes]), axis=1, return_counts=True)
        shares = counts / np.bincount(classes)[pairs[1]]
        whole = np.bincount(pairs[1]).tolist()
        self.trains = [True] * number
        self.parts: list[list[tuple[int, float]]] = [[] for _ in range(number)]  # classes and shares of each group
        self.groups: list[list[int]] = [[] for _ in whole]  # that hold each class
        for group, code, part in zip(*pairs.tolist(), shares.tolist()):
            self.parts[group].append((code, part))
            self.groups[code].append(group)
        free = {code for parts in self.parts if all(whole[code] > 1 for code, _ in parts) for code, _ in parts}
        self.hopeless = len(whole) - len(free)  # classes that cannot be brought to validation
        self._holders = {True: whole, False: [0] * len(whole)}  # groups of each class on each side
        self._excess = [0.0] * len(whole)  # validation's share of each class less the one wanted
        self._wanted = 0.0

    def aim(self, share: float) -> None:
        """Want *share* of the rows of each class to train."""
        self._excess = [excess + self._wanted - (1 - share) for excess in self._excess]
        self._wanted = 1 - share

    def alone(self, group: int) -> list[int]:
        """Return the classes that only *group* holds on its side."""
        holders = self._holders[self.trains[group]]
        return [code for code, _ in self.parts[group] if holders[code] < 2]

    def change(self, group: int) -> float:
        """Return what `distance` gains or loses when *group* moves."""
        sign = 1 if self.trains[group] else -1
        return sum(part * (2 * sign * self._excess[code] + part) for code, part in self.parts[group])

    def move(self, group: int) -> None:
        side = self.trains[group]
        self.trains[group] = not side
        for code, part in self.parts[group]:
            self._excess[code] += part if side else -part
            self._holders[side][code] -= 1
            self._holders[not side][code] += 1

    def missing(self, side: bool) -> int:
        """Return how many classes have no row on a side."""
        return self._holders[side].count(0)

    def lacks(self, code: int) -> bool:
        """Return whether validation lacks the class."""
        return not self._holders[False][code]

    def distance(self) -> float:
        return math.fsum(value * value for value in self._excess)


def _settle(sides: _Sides, progress: Progress) -> None:
    """Move groups until nothing brings the shares nearer or a class to validation."""
    moved = True
    while moved:
        moved = False
        for group in range(len(sides.trains)):
            if group % ASK_EVERY == 0:
                progress.check()
            alone = sides.alone(group)
            if not alone and sides.change(group) < -LEAST_GAIN:
                sides.move(group)
                moved = True
            elif alone:
                moved = _exchanged(sides, group, alone[0]) or moved
        moved = moved or _filled(sides)


def _exchanged(sides: _Sides, group: int, code: int) -> bool:
    """Let a group of class *code* change places with *group*, which is alone with it on its side, if that is nearer."""
    missing = sides.missing(False)
    for other in sides.groups[code]:
        if other == group:
            continue
        change = sides.change(other)
        sides.move(other)
        change += sides.change(group)
        sides.move(group)
        if change < -LEAST_GAIN and not sides.missing(True) and sides.missing(False) <= missing:
            return True
        sides.move(group)
        sides.move(other)
    return False


def _filled(sides: _Sides) -> bool:
    """Bring a group of every class that validation lacks, where one may leave training."""
    moved = False
    for code, groups in enumerate(sides.groups):
        movable = [group for group in groups if sides.lacks(code) and not sides.alone(group)]
        if movable:
            sides.move(min(movable, key=sides.change))
            moved = True
    return moved


def _part(rows: int, share: float) -> int:
    return math.floor(rows * share + 0.5)


def _rows_by(classes: np.ndarray) -> list[np.ndarray]:
    order = np.argsort(classes, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(classes[order])) + 1) if len(classes) else []
