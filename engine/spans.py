"""Spans of rows that cover a table exactly once, few enough at a time to stay in the processor's cache."""

from __future__ import annotations

from typing import Iterator

VALUES_AT_ONCE = 2**15  # a quarter of a megabyte of float64


def row_spans(
    rows: int, values_per_row: int, most_rows: int = VALUES_AT_ONCE, most_values: int = VALUES_AT_ONCE
) -> Iterator[slice]:
    """Yield slices over *rows*, each of at most *most_rows* rows that make *values_per_row* values."""
    step = min(most_rows, max(1, most_values // max(1, values_per_row)))
    return (slice(start, min(rows, start + step)) for start in range(0, rows, step))
