"""The file beside a table that keeps what table formats lose: full field names, bands, the class table.

``<file name>.rasterml.json`` is a JSON object with one member per layer; a layer in memory carries its
member as text in a custom property.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Mapping

from . import classes as class_tables
from .classes import LandClass
from .files import PathLike, write_atomically

SUFFIX = ".rasterml.json"
CUSTOM_PROPERTY = "rasterml/notes"


@dataclass(frozen=True)
class Notes:
    """What is known of a layer: ``fields`` maps stored names to full ones, ``class_property`` holds the classes.

    ``patch_side`` is how many pixels a side the patches of a patch file have, 0 for a table.
    """

    fields: Mapping[str, str] = field(default_factory=dict)
    bands: tuple[str, ...] = ()
    class_property: str | None = None
    classes: tuple[LandClass, ...] = ()
    patch_side: int = 0


def path_beside(table: PathLike) -> Path:
    """Return the path of the sidecar of *table*."""
    return Path(f"{table}{SUFFIX}")


def write(table: PathLike, layer: str, notes: Notes) -> None:
    """Write *notes* on *layer* beside *table*, keeping those on other layers; raises `StorageError`."""
    path = path_beside(table)
    layers = {**_layers(path), layer or Path(table).stem: _as_json(notes)}
    write_atomically(path, json.dumps(layers, ensure_ascii=False, indent=1).encode())


def read(table: PathLike, layer: str = "") -> Notes | None:
    """Return the notes on *layer* of *table*, or None when there are none or they make no sense.

    "" means the layer named as the file, or the only one.
    """
    layers = _layers(path_beside(table))
    name = layer or Path(table).stem
    if not layer and name not in layers and len(layers) == 1:
        name = next(iter(layers))
    return _from_json(layers.get(name))


def as_text(notes: Notes) -> str:
    """Return *notes* as the custom property of a layer."""
    return json.dumps(_as_json(notes), ensure_ascii=False)


def from_text(text: str) -> Notes | None:
    """Return what `as_text` wrote, or None for anything else."""
    try:
        return _from_json(json.loads(text))
    except (ValueError, RecursionError):
        return None


def _layers(path: Path) -> dict[str, Any]:
    try:
        layers = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return layers if isinstance(layers, dict) else {}


def _as_json(notes: Notes) -> dict[str, Any]:
    patch = {"patch_side": notes.patch_side} if notes.patch_side else {}
    return {
        "fields": dict(notes.fields),
        "bands": list(notes.bands),
        **patch,
        "class_property": notes.class_property,
        "classes": class_tables.as_json(notes.classes),
    }


def _from_json(item: Any) -> Notes | None:
    try:
        fields = {str(stored): str(full) for stored, full in item["fields"].items()}
        bands = tuple(str(band) for band in item["bands"])
        class_property = item["class_property"]
        classes = class_tables.from_json(item["classes"])
        patch_side = int(item.get("patch_side", 0))
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    return Notes(fields, bands, None if class_property is None else str(class_property), classes, patch_side)
