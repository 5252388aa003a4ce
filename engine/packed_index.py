"""SQLite's R-tree filled with packed nodes, as much faster as a sorted list is made than a random one.

Format: The SQLite R*Tree Module, section 6.  Packing: Leutenegger, Lopez & Edgington (1997), STR: a simple and
efficient algorithm for R-tree packing.

SQL cannot bind the names of tables: they are `quoted` here, and every value is bound (Bandit's B608).
"""

from __future__ import annotations

import math
import sqlite3
from itertools import chain
from typing import Any, Sequence

import numpy as np

CELL = np.dtype([("key", ">i8"), ("box", ">f4", 4)])  # of a node; a box is xmin, xmax, ymin, ymax
HEADER_BYTES = 4  # of a node: depth (in the root), number of cells
ROOT = 1
CHUNK = 2**20  # rows packed at once: what memory holds, however many come
BATCH = 2**15  # rows held as Python values at once
MOST_VARIABLES = 999  # in one statement, as SQLite before 3.32 allows


class PackedIndex:
    """Fills the empty R-tree *name* of two dimensions; `close` writes what holds its leaves together."""

    def __init__(self, connection: sqlite3.Connection, name: str) -> None:
        self._connection = connection
        self._nodes, self._rows, self._parents = (quoted(f"{name}_{part}") for part in ("node", "rowid", "parent"))
        (self._size,) = connection.execute(f"SELECT length(data) FROM {self._nodes}").fetchone()  # nosec B608
        self._capacity = (self._size - HEADER_BYTES) // CELL.itemsize
        self._pending: list[tuple[np.ndarray, np.ndarray]] = []
        self._leaves: list[np.ndarray] = []
        self._number = ROOT + 1  # of the next node

    def add(self, rows: np.ndarray, places: np.ndarray) -> None:
        """Add points: their row numbers, rising from call to call, and x, y (points, 2)."""
        self._pending.append((rows, boxes_around(places)))
        if sum(len(part) for part, _ in self._pending) >= CHUNK:
            self._write_leaves()

    def close(self) -> None:
        rows = sum(len(part) for part, _ in self._pending)
        if not self._leaves and rows <= self._capacity:
            if rows:
                keys, boxes = map(np.concatenate, zip(*self._pending))
                self._write_root(keys, boxes, 0)
            return
        if rows:
            self._write_leaves()
        boxes, first, depth = np.concatenate(self._leaves), ROOT + 1, 1
        while len(boxes) > self._capacity:
            below, first = first, self._number
            boxes = self._write_level(np.arange(len(boxes)) + below, boxes, self._parents)
            depth += 1
        self._write_root(np.arange(len(boxes)) + first, boxes, depth)

    def _write_leaves(self) -> None:
        keys, boxes = map(np.concatenate, zip(*self._pending))
        self._pending.clear()
        self._leaves.append(self._write_level(keys, boxes, self._rows))

    def _write_root(self, keys: np.ndarray, boxes: np.ndarray, depth: int) -> None:
        self._connection.execute(f"DELETE FROM {self._nodes} WHERE nodeno = {ROOT}")  # nosec B608
        self._number = ROOT
        self._write_level(keys, boxes, self._parents if depth else self._rows, depth)

    def _write_level(self, keys: np.ndarray, boxes: np.ndarray, owners: str, depth: int = 0) -> np.ndarray:
        """Write nodes whose cells are *keys*, rising, with *boxes*, and who owns which; return the nodes' boxes."""
        order = tiled(boxes, self._capacity)
        boxes = boxes[order]
        starts = np.arange(0, len(keys), self._capacity)
        numbers = np.arange(len(starts)) + self._number
        self._number += len(numbers)
        for node in range(0, len(numbers), BATCH // self._capacity):
            cells = slice(node * self._capacity, (node + BATCH // self._capacity) * self._capacity)
            blobs = self._blobs(keys[order[cells]], boxes[cells], depth)
            insert_columns(self._connection, self._nodes, [numbers[node : node + len(blobs)], blobs])
        owner = np.empty_like(keys)
        owner[order] = numbers[np.arange(len(keys)) // self._capacity]
        insert_columns(self._connection, owners, [keys, owner])
        low, high = np.minimum.reduceat(boxes, starts), np.maximum.reduceat(boxes, starts)
        return np.column_stack([low[:, 0], high[:, 1], low[:, 2], high[:, 3]])

    def _blobs(self, keys: np.ndarray, boxes: np.ndarray, depth: int) -> list[bytes]:
        """Return the nodes as SQLite stores them."""
        count = -(-len(keys) // self._capacity)
        cells: np.ndarray = np.zeros(count * self._capacity, dtype=CELL)
        cells["key"][: len(keys)] = keys
        cells["box"][: len(keys)] = boxes
        layout: Any = {
            "names": ["depth", "count", "cells"],
            "formats": [">u2", ">u2", (CELL, self._capacity)],
            "offsets": [0, 2, HEADER_BYTES],
            "itemsize": self._size,
        }
        nodes: np.ndarray = np.zeros(count, dtype=np.dtype(layout))
        nodes["depth"][0] = depth
        nodes["count"] = self._capacity
        nodes["count"][-1] = len(keys) - (count - 1) * self._capacity
        nodes["cells"] = cells.reshape(count, self._capacity)
        return nodes.view(f"V{self._size}").tolist()


def boxes_around(places: np.ndarray) -> np.ndarray:
    """Return a box (xmin, xmax, ymin, ymax) in float32 around each place: rounded outwards, as the R-tree demands."""
    near = places.astype(np.float32)
    low = np.where(near > places, np.nextafter(near, np.float32(-np.inf)), near)
    high = np.where(near < places, np.nextafter(near, np.float32(np.inf)), near)
    return np.stack([low, high], axis=2).reshape(-1, 4)


def tiled(boxes: np.ndarray, capacity: int) -> np.ndarray:
    """Return the order by vertical slices, each from south to north, that makes nodes about as wide as high."""
    slices = math.ceil(math.sqrt(len(boxes) / capacity))
    by_x = np.argsort(_steps(boxes[:, 0]), kind="stable")
    number: np.ndarray = np.empty(len(boxes), dtype=np.uint16)
    number[by_x] = np.arange(len(boxes)) // (slices * capacity)
    by_y = np.argsort(_steps(boxes[:, 2]), kind="stable")
    return by_y[np.argsort(number[by_y], kind="stable")]


def _steps(values: np.ndarray) -> np.ndarray:
    """Return *values* in 65536 steps: fine enough to tell neighbours, and numpy sorts 16 bits ten times faster."""
    low, high = float(values.min()), float(values.max())
    return ((values - low) * (65_535 / (high - low) if high > low else 0)).astype(np.uint16)


def insert_columns(connection: sqlite3.Connection, target: str, columns: Sequence[Sequence | np.ndarray]) -> None:
    """Insert rows given as columns, many in each statement: SQLite starts a statement as slowly as it adds a row."""
    values = f"({', '.join('?' * len(columns))})"
    step = max(1, MOST_VARIABLES // len(columns)) * len(columns)
    for start in range(0, len(columns[0]), BATCH):
        part = slice(start, start + BATCH)
        lists = [column[part].tolist() if isinstance(column, np.ndarray) else column[part] for column in columns]
        flat = list(chain.from_iterable(zip(*lists)))
        whole = len(flat) // step * step
        for size, first, last in ((step, 0, whole), (len(columns), whole, len(flat))):
            sql = f"INSERT INTO {target} VALUES {', '.join([values] * (size // len(columns)))}"  # nosec B608
            connection.executemany(sql, (flat[place : place + size] for place in range(first, last, size)))


def quoted(name: str) -> str:
    """Return *name* as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'
