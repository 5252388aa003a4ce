"""From tables of samples to a fitted model."""

from __future__ import annotations

import contextlib
import platform
from dataclasses import dataclass, replace
from typing import Any, Mapping, NamedTuple, Sequence

import numpy as np

from .accuracy import ErrorMatrix
from .classes import LandClass, class_table, cluster_table
from .errors import MissingLibraryError, SettingError, TableError
from .learners import BY_ID, CLASSIFICATION, CLUSTERING, REGRESSION, Learner
from .models import Model
from .numerals import as_numbers
from .progress import Part, Progress
from .residuals import residuals

LARGEST_EXACT_INTEGER = 2**24  # of float32
LARGEST_CLASS = 2**31 - 2  # one below the nodata value's mirror in Int32


class Table(NamedTuple):
    """One training table: what Earth Engine takes in one ``.train()`` call.

    features : float64 (rows, predictors)
    labels : float64 (rows,) or a sequence of texts, None without classes (for clusterers)
    places : float64 (rows, 2) ground x, y of each sample, or None
    regions : the region (polygon) each sample comes from, or None
    """

    name: str
    features: np.ndarray
    labels: Any
    places: np.ndarray | None = None
    regions: Sequence | None = None


@dataclass(frozen=True)
class Samples:
    """All training tables together, ready for a learner.

    features : float32 (rows, predictors), finite; float64 for clusterers, whose ties hang on the last digits
    labels : int32 (rows,) positions in *classes* (0 for clusterers), or float64 (rows,) targets in regression
    regions : int32 (rows,) numbers of the source regions over all tables, or None
    """

    features: np.ndarray
    labels: np.ndarray
    predictors: tuple[str, ...]
    classes: tuple[LandClass, ...]
    class_property: str
    regions: np.ndarray | None = None

    @property
    def rows(self) -> int:
        return self.features.shape[0]

    @property
    def bytes(self) -> int:
        """Size as Earth Engine counts it: 4 bytes a value."""
        return 4 * self.features.size


@dataclass(frozen=True)
class Fit:
    """What a learner returns: its arrays, and what is worth reporting.

    importance : one number per predictor, or None
    out_of_bag_error : float, or None where the learner has none
    statistics : further numbers worth reporting, under Earth Engine's kind of names (camelCase)
    predicted : int32 (rows,) the class of every sample, from a learner whose models give no classes; of a clusterer
        the cluster of every sample
    clusters : number of clusters that the model tells apart, or None of a classifier
    """

    arrays: Mapping[str, np.ndarray]
    importance: np.ndarray | None = None
    out_of_bag_error: float | None = None
    statistics: Mapping[str, Any] | None = None
    predicted: np.ndarray | None = None
    clusters: int | None = None


def collect(
    tables: Sequence[Table],
    predictors: Sequence[str],
    class_property: str,
    mode: str,
    known_classes: Sequence[LandClass] = (),
    subsampling: float = 1.0,
    subsampling_seed: int = 0,
    progress: Progress | None = None,
) -> Samples:
    """Accumulate *tables* (Earth Engine: repeated ``.train()``) into `Samples`.

    *known_classes* lends names and colours.  Raises `TableError` on labels or values that no learner can use.
    """
    progress = progress or Progress()
    if not tables or not predictors:
        raise TableError("Training needs at least one table and one predictor.")
    tables = [_subsampled(table, subsampling, (subsampling_seed, number)) for number, table in enumerate(tables)]
    kept = _double_precision if mode == CLUSTERING else _single_precision
    features = np.concatenate([kept(table, predictors, progress) for table in tables])
    if not len(features):
        raise TableError(f"The training tables have no rows{' left after SUBSAMPLING' if subsampling < 1 else ''}.")
    places, regions = _places(tables), _regions(tables)
    classes: tuple[LandClass, ...] = ()
    if mode == CLUSTERING:
        labels = np.zeros(len(features), dtype=np.int32)
    elif mode == REGRESSION:
        labels = _targets(tables, class_property)
    else:
        labels, classes = _classes(tables, class_property, known_classes)
        _warn_of_contradictions(places, labels, progress)
    return Samples(features, labels, tuple(predictors), classes, class_property, regions)


def train(
    learner_id: str,
    samples: Samples,
    mode: str,
    settings: Mapping[str, Any],
    threads: int = 0,
    progress: Progress | None = None,
) -> Model:
    """Fit the learner *learner_id* and return its model with a summary of the training."""
    progress = progress or Progress()
    learner = BY_ID[learner_id]
    settings = checked_settings(learner, mode, settings)
    samples = learner.prepared(samples, settings)
    if mode == CLASSIFICATION and len(samples.classes) < 2:
        raise TableError(
            f"Only one class: every sample has {samples.class_property} = {samples.classes[0].name}; add another class."
        )
    fit = learner.function()(samples, mode, threads, Part(progress, 0, 0.9), **settings)
    model = Model(
        learner_id=learner_id,
        mode=mode,
        settings=settings,
        predictors=samples.predictors,
        classes=samples.classes if fit.clusters is None else cluster_table(fit.clusters),
        class_property=samples.class_property,
        arrays=fit.arrays,
        training=_summary(samples, mode, fit),
        versions=_versions(),
    )
    if mode == CLUSTERING:
        return model
    summary = {**model.training, **_resubstitution(model, samples, fit, threads, Part(progress, 0.9, 1))}
    return replace(model, training=summary)


def checked_settings(learner: Learner, mode: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return all settings of *learner*, or raise `SettingError`, also when it has no such *mode*."""
    if mode not in learner.modes:
        raise SettingError(f"{learner.title} has no mode {mode}: choose {' or '.join(learner.modes)}.")
    return learner.checked(settings)


def require_sklearn() -> None:
    """Raise `MissingLibraryError` with what to install when scikit-learn is not there."""
    try:
        import sklearn  # noqa: F401
    except ImportError as error:
        raise MissingLibraryError(
            "Training needs scikit-learn, which this QGIS does not have: install python3-sklearn (Debian, Ubuntu) "
            "or python3-scikit-learn (OSGeo4W, Fedora), then start QGIS again."
        ) from error


def _subsampled(table: Table, share: float, seed: tuple[int, int]) -> Table:
    if not 0 < share <= 1:
        raise SettingError(f"SUBSAMPLING is {share}: it must be above 0 and at most 1.")
    if share == 1:
        return table
    kept = np.flatnonzero(np.random.default_rng(seed).random(len(table.features)) < share)
    return table._replace(
        features=table.features[kept],
        labels=_kept_labels(table.labels, kept),
        places=None if table.places is None else table.places[kept],
        regions=None if table.regions is None else [table.regions[row] for row in kept],
    )


def _kept_labels(labels: Any, kept: np.ndarray) -> Any:
    if labels is None:
        return None
    return [labels[row] for row in kept] if _is_text(labels) else np.asarray(labels)[kept]


def _single_precision(table: Table, predictors: Sequence[str], progress: Progress) -> np.ndarray:
    """Return float32 features; warn where whole numbers lose digits, refuse what becomes infinite."""
    with np.errstate(over="ignore"):
        features = table.features.astype(np.float32)
    _refuse_infinite(features, table, predictors)
    merged = (np.abs(table.features) > LARGEST_EXACT_INTEGER) & (features != table.features)
    for column in np.flatnonzero(merged.any(axis=0)):
        progress.warn(
            f"Predictor {predictors[column]} of {table.name!r} has numbers above 16,777,216 that 32-bit floats "
            "cannot tell apart: subtract an offset first if the last digits matter."
        )
    return features


def _double_precision(table: Table, predictors: Sequence[str], progress: Progress) -> np.ndarray:
    """Return float64 features; refuse what prediction, in float32, could not hold."""
    with np.errstate(over="ignore"):
        _refuse_infinite(table.features.astype(np.float32), table, predictors)
    return table.features


def _refuse_infinite(features: np.ndarray, table: Table, predictors: Sequence[str]) -> None:
    infinite = ~np.isfinite(features)
    if infinite.any():
        row, column = np.argwhere(infinite)[0]
        raise TableError(
            f"Predictor {predictors[column]} in row {row + 1} of {table.name!r} is {table.features[row, column]}: "
            "it must be a finite number that fits into 32 bits."
        )


def _is_text(labels: Sequence) -> bool:
    return len(labels) > 0 and not isinstance(labels, np.ndarray) and any(isinstance(label, str) for label in labels)


def _targets(tables: Sequence[Table], class_property: str) -> np.ndarray:
    columns = [as_numbers(table.labels) for table in tables]
    for table, column in zip(tables, columns):
        if column is None:
            raise TableError(f"Regression needs numbers: {class_property} of {table.name!r} has other values.")
    return np.concatenate([column for column in columns if column is not None])


def _classes(
    tables: Sequence[Table], class_property: str, known: Sequence[LandClass]
) -> tuple[np.ndarray, tuple[LandClass, ...]]:
    """Return the position of every label in the class table, and the table.

    Text labels get integers from 0 in code-point order over all tables together; texts that all read as
    numbers are numbers.
    """
    columns = [as_numbers(table.labels) for table in tables]
    if all(column is not None for column in columns):
        values = np.concatenate([column for column in columns if column is not None])
        wrong = np.flatnonzero((values != np.floor(values)) | (values < 0) | (values > LARGEST_CLASS))
        if wrong.size:
            raise TableError(
                f"Class {values[wrong[0]]:g} in {class_property} is not a whole number from 0 to {LARGEST_CLASS}: "
                "remap it, or use MODE=REGRESSION for a continuous target."
            )
        present, positions = np.unique(values.astype(np.int64), return_inverse=True)
        names = {item.value: item.name for item in known}
        colours = {item.value: item.colour for item in known}
    else:
        texts = [_text(label) for table in tables for label in table.labels]
        ordered = sorted(set(texts))
        index = {text: number for number, text in enumerate(ordered)}
        positions = np.array([index[text] for text in texts])
        present, names = np.arange(len(ordered)), dict(enumerate(ordered))
        colours = {index[item.name]: item.colour for item in known if item.name in index}
    wanted = {int(value) for value in present}
    table = class_table(
        wanted,
        {value: name for value, name in names.items() if value in wanted},
        {value: colour for value, colour in colours.items() if value in wanted},
    )
    return positions.astype(np.int32), table


def _text(label: Any) -> str:
    return str(int(label)) if isinstance(label, float) and label == int(label) else str(label)


def _places(tables: Sequence[Table]) -> np.ndarray | None:
    if any(table.places is None for table in tables):
        return None
    return np.concatenate([table.places for table in tables if table.places is not None])


def _regions(tables: Sequence[Table]) -> np.ndarray | None:
    if any(table.regions is None for table in tables):
        return None
    keys = [(number, str(key)) for number, table in enumerate(tables) for key in table.regions or ()]
    index = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    return np.array([index[key] for key in keys], dtype=np.int32)


def _warn_of_contradictions(places: np.ndarray | None, labels: np.ndarray, progress: Progress) -> None:
    """Warn when samples at one place carry different classes (overlapping polygons)."""
    if places is None:
        return
    rows = np.flatnonzero(np.isfinite(places).all(axis=1))
    _, place = np.unique(places[rows], axis=0, return_inverse=True)
    pairs = np.unique(np.column_stack((place.ravel(), labels[rows])), axis=0)[:, 0]
    contradicted = pairs.size - np.unique(pairs).size
    if contradicted:
        progress.warn(f"{contradicted} places carry more than one class: do training polygons of two classes overlap?")


def _summary(samples: Samples, mode: str, fit: Fit) -> dict[str, Any]:
    summary: dict[str, Any] = {"rows": samples.rows, "bytes": samples.bytes}
    if fit.out_of_bag_error is not None:
        summary["out_of_bag_error"] = float(fit.out_of_bag_error)
    if fit.importance is not None:
        summary["importance"] = [float(number) for number in fit.importance]
    if fit.statistics is not None:
        summary["statistics"] = dict(fit.statistics)
    if mode == CLASSIFICATION:
        counts = np.bincount(samples.labels, minlength=len(samples.classes))
        summary["class_rows"] = [int(count) for count in counts]
        if samples.regions is not None:
            pairs = np.unique(np.column_stack((samples.labels, samples.regions)), axis=0)
            summary["class_regions"] = [int(n) for n in np.bincount(pairs[:, 0], minlength=len(samples.classes))]
    elif mode == REGRESSION:
        labels = samples.labels
        summary["target"] = {
            "minimum": float(labels.min()),
            "mean": float(labels.mean()),
            "maximum": float(labels.max()),
        }
    return summary


def _resubstitution(model: Model, samples: Samples, fit: Fit, threads: int, progress: Progress) -> dict[str, Any]:
    """Return accuracy and confusion matrix (or R², RMSE, MAE, bias) of the model on its own training samples."""
    from .prediction import NO_CLASS, predict_rows

    predicted = fit.predicted
    if predicted is None:
        predicted = predict_rows(model, samples.features, model.output_modes[0], threads, progress)[0]
    if model.mode == REGRESSION:
        measures = residuals(samples.labels, predicted)
        accuracy = measures.r_squared if np.isfinite(measures.r_squared) else None
        return {"accuracy": accuracy, "rmse": measures.rmse, "mae": measures.mae, "bias": measures.bias}
    values = np.array([item.value for item in model.classes])
    size = values.size
    known = predicted != NO_CLASS
    pairs = samples.labels[known].astype(np.int64) * size + np.searchsorted(values, predicted[known])
    counts = np.bincount(pairs, minlength=size * size).reshape(size, size)
    matrix = ErrorMatrix(counts, tuple(values.tolist()), tuple(item.name for item in model.classes))
    return {"accuracy": float(matrix.accuracy()), "confusion": counts.tolist()}


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version(), "numpy": np.__version__}
    with contextlib.suppress(ImportError):  # clusterers do without
        import sklearn

        versions["scikit-learn"] = sklearn.__version__
    return versions
