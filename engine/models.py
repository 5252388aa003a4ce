"""A fitted model and its file: data, never code (docs/model-format.md)."""

from __future__ import annotations

import configparser
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Mapping

import numpy as np

from . import learners
from .classes import LandClass, as_json, from_json
from .errors import ModelFileError, SettingError
from .files import PathLike
from .model_archive import entry, read_archive, read_manifest, refuse, write_archive
from .progress import Progress

FORMAT, FORMAT_VERSION = "rasterml-model", 1
METADATA = Path(__file__).resolve().parent.parent / "metadata.txt"
LABELS = range(-(2**31), 2**31)  # what a class map can hold


@dataclass(frozen=True)
class Model:
    """Everything that prediction, explanation and accuracy need to know of a fitted learner.

    ``arrays`` are the learner's own numbers (for a forest: its trees); ``training`` is a JSON-like
    dictionary: ``rows``, ``bytes``, ``accuracy``, and where they exist ``confusion`` (actual × predicted,
    in the order of ``classes``), ``out_of_bag_error``, ``importance`` (one number per predictor), ``statistics``
    (numbers, texts and lists of numbers by name).
    """

    learner_id: str
    mode: str
    settings: Mapping[str, Any]
    predictors: tuple[str, ...]
    classes: tuple[LandClass, ...]
    class_property: str
    arrays: Mapping[str, np.ndarray]
    training: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def learner(self) -> learners.Learner:
        try:
            return learners.BY_ID[self.learner_id]
        except KeyError:
            raise ModelFileError(
                f"The model was made by {self.learner_id!r}, which this version of RasterML does not know: update it."
            ) from None

    @property
    def output_modes(self) -> tuple[str, ...]:
        """The output modes this model offers, its default first."""
        return self.learner.output_modes(self)

    def output_mode(self, wanted: str = "") -> str:
        """Return *wanted*, or the default when it is empty; raise `SettingError` when it is not offered."""
        if not wanted:
            return self.output_modes[0]
        if wanted not in self.output_modes:
            raise SettingError(
                f"OUTPUT_MODE {wanted} is not possible for this {self.mode.lower()} model "
                f"({self.learner.twin}): choose one of {', '.join(self.output_modes)}."
            )
        return wanted


def save_model(model: Model, path: PathLike) -> int:
    """Write *model* to *path* and return the bytes of the file; raises `StorageError`.

    Equal models give equal bytes.  NaN and infinity in the training summary become null, JSON having no word for
    them.  The version of RasterML joins ``model.versions`` unless it is there already.
    """
    manifest = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "learner": model.learner_id,
        "mode": model.mode,
        "settings": _plain(model.settings),
        "predictors": list(model.predictors),
        "class_property": model.class_property,
        "classes": as_json(model.classes),
        "training": _plain(model.training),
        "versions": {"rasterml": rasterml_version(), **model.versions},
    }
    return write_archive(path, manifest, model.arrays)


def load_model(path: PathLike, progress: Progress | None = None) -> Model:
    """Return the model in the file at *path*; raises `ModelFileError`, whatever the file holds, or `Canceled`."""
    try:
        manifest, arrays = read_archive(path, _check_manifest, progress or Progress())
        model = Model(
            learner_id=manifest["learner"],
            mode=manifest["mode"],
            settings=_settings(manifest),
            predictors=tuple(manifest["predictors"]),
            classes=_classes(manifest),
            class_property=manifest["class_property"],
            arrays=arrays,
            training=manifest["training"],
            versions=manifest["versions"],
        )
        _check_training(model)
        model.learner.check_model(model)
    except ModelFileError as error:
        raise ModelFileError(f"The model file {path} is refused: {error}.") from error
    return model


def model_settings(path: PathLike) -> tuple[dict[str, Any], float | None]:
    """Return the settings of the model at *path* and the mean number of leaves of its trees (None without trees).

    Only the manifest is read, so this is quick for a file of any size.  Raises `ModelFileError`.
    """
    try:
        manifest = read_manifest(path, _check_manifest)
        shapes = {row["name"]: row["shape"][0] for row in entry(manifest, "arrays", list)}
        settings = _settings(manifest)
    except (ModelFileError, KeyError, IndexError, TypeError) as error:
        raise ModelFileError(f"The model file {path} is refused: {str(error).rstrip('.')}.") from error
    trees = shapes.get("tree_start", 1) - 1
    return settings, (shapes["feature"] + trees) / (2 * trees) if trees else None


def rasterml_version() -> str:
    metadata = configparser.ConfigParser(interpolation=None)
    metadata.read(METADATA, encoding="utf-8")
    return metadata["general"]["version"]


def _plain(value: Any) -> Any:
    """Return *value* as JSON knows it: Python's own numbers, lists and dictionaries, null for NaN and infinity."""
    if isinstance(value, (np.ndarray, np.generic)):
        return _plain(value.tolist())
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _check_manifest(manifest: dict[str, Any]) -> None:
    """Refuse a manifest with a missing entry, a wrong type, or a learner, mode or predictors that cannot be."""
    if entry(manifest, "format", str) != FORMAT:
        refuse(f"its format is {manifest['format']!r} and not {FORMAT!r}")
    version = entry(manifest, "format_version", int)
    if version > FORMAT_VERSION:
        refuse(f"it was made by a newer RasterML (format version {version}), update RasterML to use it")
    if version < 1:
        refuse(f"it has the impossible format version {version}")
    kinds = {"learner": str, "mode": str, "settings": dict, "predictors": list, "class_property": str}
    for key, kind in {**kinds, "classes": list, "training": dict, "versions": dict}.items():
        entry(manifest, key, kind)
    learner = learners.BY_ID.get(manifest["learner"])
    if learner is None:
        refuse(
            f"it was made by the learner {manifest['learner']!r}, unknown to this RasterML, update RasterML to use it"
        )
    if manifest["mode"] not in learner.modes:
        refuse(f"its mode {manifest['mode']!r} is none of {', '.join(learner.modes)}")
    predictors = manifest["predictors"]
    # A ready-made tree may be its root alone and ask for no predictor.
    if (learner.fit and not predictors) or not all(isinstance(name, str) and name for name in predictors):
        refuse("its predictors are not a list of names")
    if len(set(predictors)) != len(predictors):
        refuse("two of its predictors have the same name")
    if not all(isinstance(text, str) for text in manifest["versions"].values()):
        refuse("its versions are not texts")


def _settings(manifest: Mapping[str, Any]) -> dict[str, Any]:
    settings = manifest["settings"]
    if any(isinstance(value, (list, dict)) for value in settings.values()):
        refuse("one of its settings is neither a number nor a text")
    try:
        return learners.BY_ID[manifest["learner"]].checked(settings)
    except (ValueError, TypeError) as error:  # a text where a number belongs; SettingError is a ValueError
        refuse(f"its settings are impossible: {str(error).rstrip('.')}")


def _classes(manifest: Mapping[str, Any]) -> tuple[LandClass, ...]:
    for row in manifest["classes"]:
        if not isinstance(row, dict):
            refuse("its class table has a row that is not an object")
        entry(row, "name", str, "its class table")
        entry(row, "colour", str, "its class table")
        if entry(row, "value", int, "its class table") not in LABELS:
            refuse(f"its class table has the value {row['value']}, beyond 32 bits")
    try:
        return from_json(manifest["classes"])
    except ValueError as error:
        refuse(f"its class table is impossible: {error}")


def _check_training(model: Model) -> None:
    """Refuse a training summary in which an entry that reports rely on has another shape than `Model` says."""
    summary, labels = model.training, len(model.classes)
    for key in ("rows", "bytes"):
        if key in summary and not _is_count(summary[key]):
            refuse(f"{key!r} in its training summary is not a count")
    for key in ("accuracy", "out_of_bag_error", "rmse", "mae", "bias"):
        if not _is_number(summary.get(key)):
            refuse(f"{key!r} in its training summary is not a number")
    confusion = summary.get("confusion", [[0] * labels] * labels)
    lists = {"importance": (len(model.predictors), _is_number)}
    lists.update(dict.fromkeys(("class_rows", "class_regions"), (labels, _is_count)))
    if not _is_list(confusion, labels, lambda row: _is_list(row, labels, _is_count)):
        refuse("the confusion matrix in its training summary does not fit its classes")
    for key, (length, is_right) in lists.items():
        if key in summary and not _is_list(summary[key], length, is_right):
            refuse(f"{key!r} in its training summary is not a list of {length} numbers")
    for key, is_right in (("target", _is_number), ("statistics", _is_statistic)):
        numbers = summary.get(key, {})
        if not isinstance(numbers, dict) or not all(is_right(number) for number in numbers.values()):
            refuse(f"{key!r} in its training summary does not hold numbers")


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _is_number(value: Any) -> bool:
    return value is None or type(value) in (int, float)


def _is_statistic(value: Any) -> bool:
    """Tell whether *value* is a number, a text, a list of numbers or a table of them (lists of equal length)."""
    rows = value if isinstance(value, list) and value and isinstance(value[0], list) else [value]
    if len(rows) == 1 and not isinstance(rows[0], list):
        return _is_number(value) or isinstance(value, str)
    return all(_is_list(row, len(rows[0]), _is_number) for row in rows)


def _is_list(value: Any, length: int, is_right: Any) -> bool:
    return isinstance(value, list) and len(value) == length and all(is_right(item) for item in value)
