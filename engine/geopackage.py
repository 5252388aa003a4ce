"""Rows put into a GeoPackage column by column, many times faster than feature by feature.

QGIS makes the file with its empty table; the standard library's sqlite3 fills it.  Format: OGC 12-128r18,
GeoPackage Encoding Standard, clause 2.1.3 (geometry) and annex F.3 (spatial index).
"""

from __future__ import annotations

import sqlite3
from datetime import datetime, timezone
from typing import Sequence

import numpy as np

from .errors import StorageError
from .files import PathLike
from .packed_index import PackedIndex, insert_columns, quoted

# "GP", version 0, flags 1 (little-endian, no envelope), srs_id; then well-known binary: little-endian, point
POINT = np.dtype(
    [
        ("magic", "S2"),
        ("version", "u1"),
        ("flags", "u1"),
        ("srs_id", "<i4"),
        ("order", "u1"),
        ("kind", "<u4"),
        ("place", "<f8", 2),
    ]
)
# The file is thrown away if anything fails, so nothing need be made safe on the way
HASTE = ("synchronous = OFF", "journal_mode = OFF", "locking_mode = EXCLUSIVE", "cache_size = -65536")


class TableFiller:
    """Fills the only and empty table of a GeoPackage that nobody else uses yet; `close` makes it whole.

    ``columns`` are its columns without row number and geometry.  Every method raises `StorageError`, after which
    the file is useless.
    """

    def __init__(self, path: PathLike, name: str = "") -> None:
        """*name* is what messages call the file."""
        self._name = name or path
        self._rows = 0
        self._extent = np.array([[np.inf, np.inf], [-np.inf, -np.inf]])
        self._connection = sqlite3.connect(str(path), isolation_level=None, check_same_thread=False)
        try:
            self._begin()
        except sqlite3.Error as error:
            self.abandon()
            raise self._error(error) from error

    def add(self, columns: Sequence[Sequence | np.ndarray], places: np.ndarray | None = None) -> None:
        """Append rows: Python values or numpy's numbers for each of ``columns``; *places* (rows, 2), NaN for none."""
        rows = len(columns[0]) if columns else len(places if places is not None else ())
        numbers = range(self._rows + 1, self._rows + rows + 1)
        geometry = [[None] * rows if places is None else self._points(places)] if self._geometry else []
        try:
            insert_columns(self._connection, self._target, [numbers, *geometry, *columns])
            if places is not None and self._geometry:
                self._index_places(places)
        except sqlite3.Error as error:
            raise self._error(error) from error
        self._rows += rows

    def close(self) -> None:
        """Bring spatial index, extent, count and triggers up to date."""
        ask = self._connection.execute
        try:
            if self._index:
                self._index.close()
            now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
            ask("UPDATE gpkg_contents SET last_change = ? WHERE table_name = ?", (now, self._table))
            if np.isfinite(self._extent).all():
                change = "UPDATE gpkg_contents SET min_x = ?, min_y = ?, max_x = ?, max_y = ? WHERE table_name = ?"
                ask(change, (*self._extent.ravel().tolist(), self._table))
            if self._has("gpkg_ogr_contents"):
                ask("UPDATE gpkg_ogr_contents SET feature_count = ? WHERE table_name = ?", (self._rows, self._table))
            for _, trigger in self._triggers:
                ask(trigger)
            ask("COMMIT")
        except sqlite3.Error as error:
            raise self._error(error) from error
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def _begin(self) -> None:
        ask = self._connection.execute
        for pragma in HASTE:
            ask(f"PRAGMA {pragma}")
        ask("BEGIN")
        (self._table,) = ask("SELECT table_name FROM gpkg_contents").fetchone()
        self._geometry, self._srs_id = self._geometry_column()
        described = ask(f"PRAGMA table_info({quoted(self._table)})").fetchall()
        key = next(name for _, name, *_, primary in described if primary)
        self.columns = [name for _, name, *_ in described if name not in (key, self._geometry)]
        stored = [key, *([self._geometry] if self._geometry else []), *self.columns]
        self._target = f"{quoted(self._table)} ({', '.join(map(quoted, stored))})"
        tree = f"rtree_{self._table}_{self._geometry}"
        self._index = PackedIndex(self._connection, tree) if self._has(tree) else None
        # They keep count and index row by row, and call functions that only GDAL has.
        found = ask("SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = ?", (self._table,))
        self._triggers = found.fetchall()
        for name, _ in self._triggers:
            ask(f"DROP TRIGGER {quoted(name)}")

    def _geometry_column(self) -> tuple[str, int]:
        if not self._has("gpkg_geometry_columns"):
            return "", 0
        sql = "SELECT column_name, srs_id FROM gpkg_geometry_columns WHERE table_name = ?"
        return self._connection.execute(sql, (self._table,)).fetchone() or ("", 0)

    def _points(self, places: np.ndarray) -> list[bytes | None]:
        points: np.ndarray = np.zeros(len(places), dtype=POINT)
        points["magic"], points["flags"], points["order"], points["kind"] = b"GP", 1, 1, 1
        points["srs_id"], points["place"] = self._srs_id, places
        found = points.view(f"V{POINT.itemsize}").tolist()
        for missing in np.flatnonzero(np.isnan(places).any(axis=1)).tolist():
            found[missing] = None
        return found

    def _index_places(self, places: np.ndarray) -> None:
        known = np.flatnonzero(np.isfinite(places).all(axis=1))
        if not len(known):
            return
        found = places[known]
        self._extent[0] = np.minimum(self._extent[0], found.min(axis=0))
        self._extent[1] = np.maximum(self._extent[1], found.max(axis=0))
        if self._index:
            self._index.add(known + self._rows + 1, found)

    def _has(self, table: str) -> bool:
        found = self._connection.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (table,))
        return found.fetchone() is not None

    def _error(self, error: sqlite3.Error) -> StorageError:
        return StorageError(f"{self._name} cannot be written ({error}): free some space or choose another place.")
