"""Finished tiles kept beside an output, so that an interrupted run can go on where it stopped.

A hidden folder holds one ``.npy`` per tile, each complete or absent, and the fingerprint of the run.  A tile of
another image, model or setting is never taken over.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any, Iterable

import numpy as np

from .errors import SettingError, StorageError
from .files import PathLike, atomic_file, storage_error
from .models import Model
from .rasters import file_list
from .tiles import Window

FINGERPRINT = "fingerprint.json"


class Journal:
    """The tiles of one output that are finished."""

    def __init__(self, output: PathLike, fingerprint: dict[str, Any]) -> None:
        """Open the journal of *output* or begin it; raise `SettingError` when it belongs to another run."""
        output = Path(output)
        self.folder = output.with_name(f".{output.name}.resume")
        text = json.dumps(fingerprint, sort_keys=True)
        try:
            self.folder.mkdir(exist_ok=True)
            there = self.folder / FINGERPRINT
            if not there.exists():
                with atomic_file(there) as file:
                    file.write(text.encode())
            elif there.read_text() != text:
                changed = _changed(there, fingerprint)
                raise SettingError(
                    f"RESUME cannot continue {output}: {changed} changed since the interrupted run. "
                    f"Delete the folder {self.folder} to start anew."
                )
        except OSError as error:
            raise storage_error(self.folder, error) from error

    def has(self, tile: Window) -> bool:
        """Tell whether *tile* is finished."""
        return self._path(tile).exists()

    def values(self, tile: Window) -> np.ndarray:
        """Return the values of a finished *tile*, an empty array when all its pixels are masked."""
        try:
            return np.load(self._path(tile), allow_pickle=False)
        except (OSError, ValueError) as error:
            raise StorageError(
                f"{self._path(tile)} is damaged: delete the folder {self.folder} to start anew."
            ) from error

    def add(self, tile: Window, values: np.ndarray | None) -> None:
        """Keep the values of *tile*; None = all masked."""
        with atomic_file(self._path(tile)) as file:
            np.save(file, np.empty(0, np.uint8) if values is None else values, allow_pickle=False)

    def remove(self) -> None:
        """Forget everything: the output is complete."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, tile: Window) -> Path:
        return self.folder / f"{tile.row}_{tile.column}.npy"


def fingerprint(model: Model | None, paths: Iterable[str], **settings: Any) -> dict[str, Any]:
    """Return what must not change between an interrupted run and its continuation.

    Files count by name, size and time of change, those behind a VRT too; the model, where there is one, by contents.
    """
    content = hashlib.sha256()
    if model is not None:
        content.update(repr((model.learner_id, model.mode, model.predictors, model.classes)).encode())
        for name in sorted(model.arrays):
            content.update(np.ascontiguousarray(model.arrays[name]).tobytes())
    files = {path: _state(path) for path in sorted(set(paths))}
    plain = json.loads(json.dumps(settings, default=str))  # as it will be read again
    return {"model": content.hexdigest(), "files": files, "settings": plain}


def _state(path: str) -> list[list]:
    found = []
    for name in file_list(path):
        status = os.stat(name)  # noqa: PTH116
        found.append([name, status.st_size, status.st_mtime_ns])
    return found


def _changed(there: Path, now: dict[str, Any]) -> str:
    """Say in words what differs from the fingerprint of the interrupted run."""
    try:
        before = json.loads(there.read_text())
    except ValueError:
        return "its fingerprint"
    words = {"model": "the model", "files": "an input raster", "settings": "a setting"}
    return " and ".join(word for key, word in words.items() if before.get(key) != now[key]) or "its fingerprint"
