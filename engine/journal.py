"""Finished tiles kept beside an output, so that an interrupted run can go on where it stopped.

One hidden file, to which every finished tile is appended: first the fingerprint of the run, then the tiles, each with
its SHA-256.  A run that was killed while it wrote leaves a last record that is cut: it and what follows is ignored.  A
tile of another image, model or setting is never taken over.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import struct
import zlib
from pathlib import Path
from typing import Any, BinaryIO, Iterable, Iterator

import numpy as np
from osgeo import gdal

from .errors import RasterError, SettingError, StorageError
from .files import PathLike, remove, storage_error
from .models import Model, rasterml_version
from .progress import Progress
from .rasters import ask_gdal, quiet
from .tiles import Window

RECORD = struct.Struct("<4sQ32s")  # mark, bytes of the content, their SHA-256
PLACE = struct.Struct("<4q")  # the window of a tile, before its numbers
MARK = b"RML1"
COMPRESSION_LEVEL = 1  # a tile is written often and read once
HASHED_AT_ONCE = 2**22  # bytes, some ten milliseconds
NOT_CONTENT = (".aux.xml", ".ovr")  # side files that programs write at will: statistics and overviews


class Journal:
    """The tiles of one output that are finished."""

    def __init__(self, output: PathLike, fingerprint: dict[str, Any]) -> None:
        """Open the journal of *output* or begin it; raise `SettingError` when it belongs to another run."""
        self.path = _path(output)
        self._places: dict[Window, int] = {}  # where the record of a tile begins
        self._end = 0
        try:
            before = self._opened()
            if before is None:
                remove(self.path)
                self._append(json.dumps(fingerprint).encode())
        except OSError as error:
            raise storage_error(self.path, error) from error
        if before is not None and before != json.loads(json.dumps(fingerprint)):
            raise SettingError(
                f"RESUME cannot continue {output}: {_changed(before, fingerprint)} changed since the interrupted run. "
                f"Undo the change to go on, or delete {self.path} to start anew."
            )

    @property
    def tiles(self) -> int:
        """The number of finished tiles."""
        return len(self._places)

    def has(self, tile: Window) -> bool:
        """Tell whether *tile* is finished."""
        return tile in self._places

    def values(self, tile: Window) -> np.ndarray:
        """Return the values of a finished *tile*, an empty array when all its pixels are masked."""
        try:
            with self.path.open("rb") as file:
                file.seek(self._places[tile])
                content = _record(file, self._end)
        except OSError as error:
            raise storage_error(self.path, error) from error
        if content is None:
            raise StorageError(f"{self.path} was changed by another program during the run: run again.")
        return np.load(io.BytesIO(zlib.decompress(content[PLACE.size :])), allow_pickle=False)

    def add(self, tile: Window, values: np.ndarray | None) -> None:
        """Keep the values of *tile*; None = all masked."""
        array = io.BytesIO()
        np.save(array, np.empty(0, np.uint8) if values is None else values, allow_pickle=False)
        start = self._end
        try:
            self._append(PLACE.pack(*tile) + zlib.compress(array.getvalue(), COMPRESSION_LEVEL))
        except OSError as error:
            raise storage_error(self.path, error) from error
        self._places[tile] = start

    def remove(self) -> None:
        """Forget everything: the output is complete."""
        remove(self.path)

    def _opened(self) -> Any:
        """Return the fingerprint in the file, None when there is none; drop what follows the last whole record."""
        if not self.path.exists():
            return None
        with self.path.open("r+b") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            fingerprint = _record(file, size)
            if fingerprint is None:
                return None
            self._end = file.tell()
            while (content := _record(file, size)) is not None:
                self._places[Window(*PLACE.unpack_from(content))] = self._end
                self._end = file.tell()
            file.truncate(self._end)
        return json.loads(fingerprint)

    def _append(self, content: bytes) -> None:
        with self.path.open("ab") as file:
            if file.tell() != self._end:
                raise StorageError(f"{self.path} is written by another run, too: wait for its end, then run again.")
            file.write(RECORD.pack(MARK, len(content), hashlib.sha256(content).digest()) + content)
            self._end = file.tell()


def forget(output: PathLike) -> None:
    """Remove the journal of *output*, if there is one."""
    remove(_path(output))


def fingerprint(
    model: Model | None, paths: Iterable[str], progress: Progress | None = None, **settings: Any
) -> dict[str, Any]:
    """Return what must not change between an interrupted run and its continuation.

    Files count by their contents, those behind a VRT too, files elsewhere (``/vsi…``) by size and time of change; the
    model, if there is one, by its contents.  *settings* are called what the user calls them.  *progress* is asked
    whether to go on.
    """
    content = hashlib.sha256()
    if model is not None:
        content.update(repr((model.learner_id, model.mode, model.predictors, model.classes)).encode())
        content.update(repr(sorted(model.settings.items())).encode())
        for name in sorted(model.arrays):
            array = np.ascontiguousarray(model.arrays[name])
            content.update(repr((name, array.dtype.str, array.shape)).encode())
            content.update(array.tobytes())
    paths, digests = list(paths), {}
    for path in paths:
        for name in _files(path):
            if name not in digests:
                digests[name] = _state(name, progress or Progress())
    return {
        "model": content.hexdigest(),
        "files": digests,
        "order": paths,
        "settings": json.loads(json.dumps(settings, default=str)),  # as it will be read again
        "version": rasterml_version(),
    }


def _path(output: PathLike) -> Path:
    return Path(output).with_name(f".{Path(output).name}.resume")


def _record(file: BinaryIO, end: int) -> bytes | None:
    """Return the content of the record that begins here, None where none does that is whole before *end*."""
    start = file.tell()
    head = file.read(RECORD.size)
    if len(head) == RECORD.size:
        mark, size, digest = RECORD.unpack(head)
        if mark == MARK and size <= end - file.tell():
            content = file.read(size)
            if hashlib.sha256(content).digest() == digest:
                return content
    file.seek(start)
    return None


def _files(path: str) -> Iterator[str]:
    """Yield the names of the files that make up the raster at *path*: itself, the sources of a VRT."""
    dataset, reason = ask_gdal(gdal.Open, path, gdal.GA_ReadOnly)
    if dataset is None:
        raise RasterError(f"{path} cannot be opened as a raster ({reason}): check the path and the file.")
    for name in dataset.GetFileList() or []:
        if not name.endswith(NOT_CONTENT):
            yield name


def _state(name: str, progress: Progress) -> list:
    """Return what tells whether the file has changed."""
    if not Path(name).is_file():
        with quiet():
            status = gdal.VSIStatL(name)
        return [status.size, status.mtime] if status else []
    digest = hashlib.sha256()
    try:
        with Path(name).open("rb") as file:
            while piece := file.read(HASHED_AT_ONCE):
                progress.check()
                digest.update(piece)
    except OSError as error:
        raise RasterError(f"{name} cannot be read ({error.strerror}): check its rights and the disk.") from error
    return [digest.hexdigest()]


def _changed(before: dict[str, Any], now: dict[str, Any]) -> str:
    """Say in words what differs from the fingerprint of the interrupted run."""
    found = ["the model"] if before["model"] != now["model"] else []
    files = {**before["files"], **now["files"]}
    changed = [name for name in files if before["files"].get(name) != now["files"].get(name)]
    if changed:
        found.append(f"an input raster ({', '.join(Path(name).name for name in changed)})")
    settings = {**before["settings"], **now["settings"]}
    found += [name for name in settings if before["settings"].get(name) != now["settings"].get(name)]
    if before["version"] != now["version"]:
        found.append("the version of RasterML")
    return " and ".join(found) or "the order of the input rasters"
