"""The error matrix and what follows from it (reference, sections 3.6 and 4).

Rows are actual classes, columns predicted ones.  What has a zero denominator is undefined: NaN here, null outside.
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from typing import Any, Iterable, Mapping, NamedTuple, Sequence

import numpy as np

from .errors import SettingError, TableError
from .numerals import as_number

LARGEST_LABEL = 65535
FULL_ORDER_LABELS = 255  # up to so many the labels are 0, 1, … largest as in Earth Engine; above, those present
MOST_LABELS = 1000  # a GeoPackage holds at most 2000 columns, and nobody reads more


@dataclass(frozen=True, eq=False)
class ErrorMatrix:
    """``counts`` int64 (n, n), rows actual and columns predicted, both in the order of ``labels``."""

    counts: np.ndarray
    labels: tuple[int, ...]
    names: tuple[str, ...]

    @property
    def total(self) -> int:
        return int(self.counts.sum())

    @property
    def correct(self) -> int:
        return int(np.trace(self.counts))

    def accuracy(self) -> float:
        """Return the share of the diagonal; NaN when the matrix is empty."""
        return self.correct / self.total if self.total else math.nan

    def kappa(self) -> float:
        """Return Cohen's kappa (1960), (p_o - p_e) / (1 - p_e), reckoned in whole numbers; NaN where p_e is 1."""
        by_chance = sum(int(row) * int(column) for row, column in zip(self.counts.sum(axis=1), self.counts.sum(axis=0)))
        denominator = self.total**2 - by_chance
        return (self.total * self.correct - by_chance) / denominator if denominator else math.nan

    def producers_accuracy(self) -> np.ndarray:
        """Return diagonal / row sum, (n,): recall, 1 - omission."""
        return _ratio(np.diagonal(self.counts), self.counts.sum(axis=1))

    def consumers_accuracy(self) -> np.ndarray:
        """Return diagonal / column sum, (n,): precision, user's accuracy, 1 - commission."""
        return _ratio(np.diagonal(self.counts), self.counts.sum(axis=0))

    def fscore(self, beta: float = 1) -> np.ndarray:
        """Return (1 + β²)·P·R / (β²·P + R) per class, (n,), P consumer's and R producer's accuracy.

        Reckoned as (1 + β²)·m_ii / (β²·r_i + c_i), which is 0 and not undefined for a class that was never predicted.
        """
        if not 0 <= beta < math.inf:
            raise SettingError(f"BETA is {beta}: give a number from 0, for example 1.")
        weight = beta * beta
        return _ratio(
            (1 + weight) * np.diagonal(self.counts), weight * self.counts.sum(axis=1) + self.counts.sum(axis=0)
        )

    def accuracy_interval(self, level: float = 0.95) -> tuple[float, float] | None:
        """Return the exact interval of the accuracy (Clopper and Pearson 1934); None without scipy or without rows."""
        try:
            from scipy.stats import beta
        except ImportError:
            return None
        if not self.total:
            return None
        tail, right, wrong = (1 - level) / 2, self.correct, self.total - self.correct
        lower = float(beta.ppf(tail, right, wrong + 1)) if right else 0.0
        upper = float(beta.ppf(1 - tail, right + 1, wrong)) if wrong else 1.0
        return lower, upper


class Pairs(NamedTuple):
    """Two columns as labels: ``actual`` and ``predicted`` int64 (rows,) without the ``skipped`` rows."""

    actual: np.ndarray
    predicted: np.ndarray
    names: dict[int, str]
    order: list[int] | None
    skipped: int


def error_matrix(
    actual: np.ndarray,
    predicted: np.ndarray,
    order: Sequence[int] | None = None,
    names: Mapping[int, str] | None = None,
) -> ErrorMatrix:
    """Count pairs of labels, integers from 0 to 65535, two arrays (rows,).

    Without *order* the labels are 0, 1, … largest of both (above 255 labels: those present); with it the matrix
    has exactly these labels in this order, and other pairs are ignored.  Raises `TableError` on other values.
    """
    actual, predicted = _checked(actual), _checked(predicted)
    labels = _labels(np.unique(np.concatenate([actual, predicted]))) if order is None else _checked_order(order)
    if len(labels) > MOST_LABELS:
        raise TableError(
            f"The two columns hold {len(labels):,} different classes, more than {MOST_LABELS:,}: "
            "choose fields with classes, or list those of interest in ORDER."
        )
    position = np.full(LARGEST_LABEL + 1, -1)
    position[list(labels)] = np.arange(len(labels))
    row, column = position[actual], position[predicted]
    listed = (row >= 0) & (column >= 0)
    counts = np.zeros((len(labels), len(labels)), dtype=np.int64)
    np.add.at(counts, (row[listed], column[listed]), 1)
    return ErrorMatrix(counts, labels, _names(labels, names))


def matrix_of_counts(
    counts: Sequence[Sequence[int]], values: Sequence[int], names: Mapping[int, str] | None = None
) -> ErrorMatrix:
    """Return *counts* (n, n), actual × predicted in the order of *values*, with the labels of `error_matrix`."""
    labels = _labels(np.array(values, dtype=np.int64))
    position = [labels.index(value) for value in values]
    full = np.zeros((len(labels), len(labels)), dtype=np.int64)
    full[np.ix_(position, position)] = np.array(counts, dtype=np.int64).reshape(len(values), len(values))
    return ErrorMatrix(full, labels, _names(labels, names))


def label_pairs(
    actual: Sequence[Any],
    predicted: Sequence[Any],
    order: str = "",
    names: Mapping[int, str] | None = None,
    rows: Sequence[int] | None = None,
    fields: tuple[str, str] = ("actual", "predicted"),
) -> Pairs:
    """Turn two columns of numbers or texts into labels; rows without a value in both are skipped and counted.

    A text column that reads as a number in every row is numbers.  Texts get the values they have in *names* when
    all are there, else integers from 0 in code-point order over both columns and *order*.  *order* is
    comma-separated: numbers or class texts (in quotes when they hold a comma).  *rows* are the feature ids and
    *fields* the columns' names for the messages of `TableError`.
    """
    names = dict(names or {})
    rows = range(len(actual)) if rows is None else rows
    present = [not _missing(first) and not _missing(second) for first, second in zip(actual, predicted)]
    kept = [row for row, both in zip(rows, present) if both]
    first, second = _numbers(actual, fields[0], rows), _numbers(predicted, fields[1], rows)
    wanted = _split(order)
    if first is not None and second is not None:
        pair = [np.array([value for value, both in zip(column, present) if both]) for column in (first, second)]
        listed = [_value_of(word, names) for word in wanted]
    else:
        _check_same_kind(actual, predicted, first, second, fields)
        texts = [[_text(value) for value, both in zip(column, present) if both] for column in (actual, predicted)]
        table = _text_values({*texts[0], *texts[1], *wanted}, names)
        names = {value: text for text, value in table.items()} | names
        pair = [np.array([table[text] for text in column]) for column in texts]
        listed = [table[word] for word in wanted]
    labels = [_checked(column, kept, field) for column, field in zip(pair, fields)]
    return Pairs(labels[0], labels[1], names, listed or None, len(present) - len(kept))


def defined(number: float) -> float | None:
    """Return *number* as a Python float, or None for NaN: what outputs say for "undefined"."""
    return None if math.isnan(number) else float(number)


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    ratio = np.full(len(numerator), np.nan)
    np.divide(numerator, denominator, out=ratio, where=denominator > 0)
    return ratio


def _labels(present: np.ndarray) -> tuple[int, ...]:
    if len(present) and present.max() < FULL_ORDER_LABELS:
        return tuple(range(int(present.max()) + 1))
    return tuple(sorted(present.tolist()))


def _names(labels: Iterable[int], names: Mapping[int, str] | None) -> tuple[str, ...]:
    return tuple((names or {}).get(label) or str(label) for label in labels)


def _checked_order(order: Sequence[int]) -> tuple[int, ...]:
    for label in order:
        if not 0 <= label <= LARGEST_LABEL:
            raise SettingError(f"ORDER holds {label}: labels are integers from 0 to {LARGEST_LABEL}.")
    if len(set(order)) < len(order):
        twice = next(label for label in order if list(order).count(label) > 1)
        raise SettingError(f"ORDER names class {twice} twice: name every class once.")
    return tuple(int(label) for label in order)


def _checked(column: np.ndarray, rows: Sequence[int] | None = None, field: str = "") -> np.ndarray:
    """Return *column* as int64; a value that is no label raises `TableError` naming it, its row and its field."""
    column = np.asarray(column)
    wrong = np.flatnonzero(~((column >= 0) & (column <= LARGEST_LABEL) & (column == np.floor(column))))
    if len(wrong):
        row = wrong[0] if rows is None else rows[wrong[0]]
        place = f"Field {field!r} of feature {row}" if field else f"Row {row}"
        raise TableError(
            f"{place} holds {_text(column[wrong[0]])}: classes are whole numbers from 0 to {LARGEST_LABEL}, or text."
        )
    return column.astype(np.int64)


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value)) or (isinstance(value, str) and not value)


def _numbers(column: Sequence[Any], field: str, rows: Sequence[int]) -> list[float] | None:
    """Return *column* as floats, NaN where a value is missing; None when it holds text that is no number."""
    values = []
    for value, row in zip(column, rows):
        if _missing(value):
            values.append(math.nan)
        elif isinstance(value, (int, float, str, np.number)):
            number = as_number(value) if isinstance(value, str) else float(value)
            if number is None:
                return None
            values.append(number)
        else:
            raise TableError(
                f"Field {field!r} of feature {row} holds {value!r}: choose a field with whole numbers or text."
            )
    return values


def _text(value: Any) -> str:
    """Return a text as it is and a number without the ".0" of a whole one."""
    return str(int(value)) if isinstance(value, (float, np.floating)) and value.is_integer() else str(value)


def _check_same_kind(
    actual: Sequence[Any],
    predicted: Sequence[Any],
    actual_numbers: list[float] | None,
    predicted_numbers: list[float] | None,
    fields: tuple[str, str],
) -> None:
    """Raise `TableError` when one column is text, the other reads as numbers, and they have nothing in common."""
    if actual_numbers is None and predicted_numbers is None:
        return
    texts, others = (actual, predicted) if actual_numbers is None else (predicted, actual)
    text_field, number_field = fields if actual_numbers is None else fields[::-1]
    found = [_text(value) for value in others if not _missing(value)]
    words = {value for value in texts if isinstance(value, str) and value}
    if found and words.isdisjoint(found):
        raise TableError(
            f"Field {text_field!r} holds text ({min(words)!r}) and field {number_field!r} numbers ({found[0]}): "
            f"compare text with text, for example with the field {number_field + '_name'!r} that classifytable adds."
        )


def _split(order: str) -> list[str]:
    words = next(csv.reader([order], skipinitialspace=True), [])
    return [word.strip() for word in words if word.strip()]


def _value_of(word: str, names: Mapping[int, str]) -> int:
    """Return the label that *word* of ORDER means where the fields hold numbers."""
    try:
        return int(word)
    except ValueError:
        pass
    found = [value for value, name in names.items() if name == word]
    if len(found) != 1:
        raise SettingError(f"ORDER names {word!r}, but the fields hold numbers: list the classes as whole numbers.")
    return found[0]


def _text_values(texts: set[str], names: Mapping[int, str]) -> dict[str, int]:
    known = {name: value for value, name in names.items()}
    if len(known) == len(names) and texts <= set(known):
        return {text: known[text] for text in texts}
    return {text: value for value, text in enumerate(sorted(texts))}
