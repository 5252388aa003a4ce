"""Reports as small HTML pages that stand alone: no script, nothing fetched, readable by browsers and by Qt's rich text.

Blocks take plain text and return HTML; every text is escaped where it enters.
"""

from __future__ import annotations

import math
from html import escape
from typing import Any, Iterable, Mapping, NamedTuple, Sequence

from .accuracy import ErrorMatrix, matrix_of_counts
from .files import PathLike, write_atomically
from .learners import REGRESSION, parameter_name
from .limits import NEARLY, OK, OVER, Gauge, mebibytes, percent, thousands, verdict
from .models import Model

STATE_COLOURS = {OK: "#2e7d32", NEARLY: "#d98c00", OVER: "#c62828"}
VERDICTS = {OK: "within the caps", NEARLY: "near a cap", OVER: "over a cap"}
BAR_COLOUR, TRACK_COLOUR, DIAGONAL_COLOUR = "#3a76b8", "#e6e9ec", "#d7ead9"
BAR_WIDTH = 220  # pixels
ALL_LABELS = 30  # with more classes the report leaves out those that never occur
TREE_LINES = 200  # of the one tree that a report shows
UNDEFINED = "undefined"

STYLE = """
body { font-family: sans-serif; color: #20262c; background-color: #ffffff; margin: 24px; max-width: 1100px; }
h1 { font-size: 22px; margin-bottom: 4px; }
h2 { font-size: 16px; margin-top: 24px; margin-bottom: 6px; }
p { margin-top: 4px; margin-bottom: 8px; }
table { border-collapse: collapse; }
th { text-align: left; background-color: #f1f3f5; }
pre { font-family: monospace; font-size: 12px; background-color: #f6f7f8; padding: 8px; }
"""


def page(title: str, *blocks: str) -> str:
    """Return a whole page; *blocks* are HTML, *title* is text."""
    head = f'<meta charset="utf-8">\n<title>{escape(title)}</title>\n<style>{STYLE}</style>'
    body = "\n".join((f"<h1>{escape(title)}</h1>", *blocks))
    return f'<!DOCTYPE html>\n<html lang="en">\n<head>\n{head}\n</head>\n<body>\n{body}\n</body>\n</html>\n'


def heading(text: str) -> str:
    return f"<h2>{escape(text)}</h2>"


def paragraph(text: str) -> str:
    return f"<p>{escape(text)}</p>"


def preformatted(text: str) -> str:
    return f"<pre>{escape(text)}</pre>"


def key_values(rows: Iterable[tuple[str, Any]]) -> str:
    """Return a table of names and values."""
    return _table("".join(f"<tr>{_cell(name, 'th')}{_cell(_shown(value))}</tr>" for name, value in rows))


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a table; numbers and `Figure` stand right, `Html` goes in as it is, everything else is text."""
    first = "".join(_cell(text, "th") for text in header)
    return _table(
        f"<tr>{first}</tr>" + "".join("<tr>" + "".join(_value_cell(value) for value in row) + "</tr>" for row in rows)
    )


class Html(str):
    """Text that is HTML already, from a block of this module."""


class Figure(str):
    """Text that stands for a number."""


class Shaded(NamedTuple):
    """A table cell's value on a coloured ground."""

    value: Any
    colour: str


def swatch(colour: str) -> Html:
    """Return a small patch of *colour* ("#rrggbb")."""
    return Html(f'<span style="background-color: {escape(colour)};">&nbsp;&nbsp;&nbsp;&nbsp;&nbsp;</span>')


def bar(share: float, colour: str = BAR_COLOUR) -> Html:
    """Return a horizontal bar that is full at 1 (and stays full above)."""
    filled = round(BAR_WIDTH * min(max(share, 0), 1))
    cells = ((filled, colour), (BAR_WIDTH - filled, TRACK_COLOUR))
    inner = "".join(f'<td width="{width}" bgcolor="{escape(fill)}">&nbsp;</td>' for width, fill in cells if width)
    return Html(f'<table width="{BAR_WIDTH}" border="0" cellspacing="0" cellpadding="0"><tr>{inner}</tr></table>')


def bars(header: Sequence[str], rows: Iterable[tuple[str, float]]) -> str:
    """Return shares (of 1) as bars with their percentage; the longest bar is full."""
    rows = list(rows)
    longest = max((share for _, share in rows), default=0)
    return table(
        header, [(name, bar(share / longest if longest > 0 else 0), Figure(percent(share))) for name, share in rows]
    )


def matrix_table(matrix: ErrorMatrix, beta: float = 1) -> str:
    """Return the error matrix with totals, both accuracies and the F-score; the diagonal is shaded."""
    row_sums, column_sums = matrix.counts.sum(axis=1), matrix.counts.sum(axis=0)
    everything = len(matrix.labels) <= ALL_LABELS
    shown = [index for index in range(len(matrix.labels)) if everything or row_sums[index] + column_sums[index]]
    producers, consumers, fscore = matrix.producers_accuracy(), matrix.consumers_accuracy(), matrix.fscore(beta)
    titles = [_class_title(matrix, index) for index in shown]
    rows: list[list[Any]] = []
    for index, title in zip(shown, titles):
        counts: list[Any] = [int(matrix.counts[index, column]) for column in shown]
        counts[len(rows)] = Shaded(counts[len(rows)], DIAGONAL_COLOUR)
        rows.append([title, *counts, int(row_sums[index]), ratio(producers[index]), ratio(fscore[index])])
    rows.append(["total", *(int(column_sums[index]) for index in shown), matrix.total, "", ""])
    rows.append(["consumer's accuracy", *(ratio(consumers[index]) for index in shown), "", "", ""])
    return table(["actual ↓  predicted →", *titles, "total", "producer's accuracy", f"F{beta:g}"], rows)


def gauges_table(gauges: Iterable[Gauge]) -> str:
    """Return caps with their bars, figures and advice."""
    rows = [
        (
            gauge.title,
            bar(gauge.share, STATE_COLOURS[gauge.state]),
            Figure(percent(gauge.share)),
            gauge.figures,
            gauge.advice,
        )
        for gauge in gauges
    ]
    return table(["Cap", "Used", "Share", "Figures", "What to change"], rows)


def ratio(number: float | None) -> Figure:
    """Return a ratio with four decimals, or "undefined" for NaN and None."""
    return Figure(UNDEFINED if number is None or math.isnan(number) else f"{number:.4f}")


def accuracy_report(
    matrix: ErrorMatrix, beta: float = 1, title: str = "Error matrix", skipped: int = 0, ignored: int = 0
) -> str:
    """Return the page of an error matrix; *skipped* rows had no value, *ignored* ones a class outside the order."""
    rows: list[tuple[str, Any]] = [("Accuracy", ratio(matrix.accuracy()))]
    interval = matrix.accuracy_interval()
    if interval is not None:
        rows.append(("95 % interval (exact)", f"{interval[0]:.4f} to {interval[1]:.4f}"))
    rows += [("Kappa", ratio(matrix.kappa())), ("Rows compared", matrix.total)]
    rows += [("Rows without a value", skipped)] if skipped else []
    rows += [("Rows of other classes", ignored)] if ignored else []
    return page(title, key_values(rows), heading("Matrix"), *_matrix_blocks(matrix, beta))


def limits_report(gauges: Sequence[Gauge]) -> str:
    """Return the page of the caps."""
    state = verdict(gauges)
    coloured = f'<p>Verdict: <b><font color="{STATE_COLOURS[state]}">{state}</font></b>, {VERDICTS[state]}.</p>'
    return page("Earth Engine's caps", coloured, gauges_table(gauges))


def training_report(model: Model, gauges: Sequence[Gauge] = ()) -> str:
    """Return the page of a training: settings, classes, importance, how well the samples are met, caps."""
    training = model.training
    blocks = [paragraph(_headline(model)), key_values(_training_rows(model)), *_model_blocks(model)]
    if training.get("importance"):
        blocks += _importance_blocks(dict(zip(model.predictors, training["importance"])))
    if training.get("confusion"):
        names = {item.value: item.name for item in model.classes}
        matrix = matrix_of_counts(training["confusion"], list(names), names)
        blocks += [heading("Training samples, classified by the model"), *_matrix_blocks(matrix, 1)]
    if gauges:
        blocks += [heading("Earth Engine's caps"), gauges_table(gauges)]
    if model.versions:
        blocks += [heading("Versions"), key_values(model.versions.items())]
    return page(model.learner.title, *blocks)


def explain_report(model: Model, explanation: Mapping[str, Any]) -> str:
    """Return the page of *explanation* (Earth Engine's dictionary, reference 3.5); of the trees it shows the first."""
    tree = explanation.get("tree")
    trees = explanation.get("trees") or ([tree] if tree else [])
    scalars = [(key, value) for key, value in sorted(explanation.items()) if isinstance(value, (int, float, str))]
    rows = [(key, value) for key, value in scalars if key != "tree"]
    blocks = [paragraph(_headline(model)), key_values(rows), *_model_blocks(model)]
    if explanation.get("importance"):
        blocks += _importance_blocks(explanation["importance"])
    if trees:
        lines = str(trees[0]).splitlines()
        blocks += [heading(f"First of {len(trees):,} trees" if len(trees) > 1 else "Tree")]
        blocks += [preformatted("\n".join(lines[:TREE_LINES]))]
        if len(lines) > TREE_LINES:
            blocks += [paragraph(f"… and {len(lines) - TREE_LINES:,} more lines in the JSON file.")]
    return page(f"Explanation: {model.learner.title}", *blocks)


def write_report(path: PathLike, html: str) -> None:
    """Write *html* under its final name only when it is complete; raises `StorageError`."""
    write_atomically(path, html.encode("utf-8"))


def _headline(model: Model) -> str:
    target = f", for {model.class_property}" if model.class_property else ""
    return f"Earth Engine: {model.learner.twin}, {model.mode.lower()}{target}."


def _training_rows(model: Model) -> list[tuple[str, Any]]:
    training, regression = model.training, model.mode == REGRESSION
    rows: list[tuple[str, Any]] = []
    if "rows" in training:
        rows.append(("Examples", training["rows"]))
    rows.append(("Predictors", len(model.predictors)))
    if "bytes" in training:
        rows.append(("Training data", mebibytes(training["bytes"])))
    if "accuracy" in training:
        rows.append(("R² of the training samples" if regression else "Training accuracy", ratio(training["accuracy"])))
    for key, title in (("rmse", "Root mean square error"), ("bias", "Bias")):
        if training.get(key) is not None:
            rows.append((title, f"{training[key]:.6g}"))
    if training.get("out_of_bag_error") is not None:
        error = training["out_of_bag_error"]
        rows.append(("Out-of-bag error", f"{error:.6g}" if regression else ratio(error)))
    return rows


def _model_blocks(model: Model) -> list[str]:
    """Return settings, predictors and classes."""
    settings = [
        (parameter_name(name), "none" if value is None else str(value)) for name, value in model.settings.items()
    ]
    blocks = [heading("Settings"), key_values(settings)] if settings else []
    blocks += [heading("Predictors"), paragraph(", ".join(model.predictors))]
    if model.classes:
        columns = [("Samples", "class_rows"), ("Regions", "class_regions")]
        counted = [(title, model.training[key]) for title, key in columns if model.training.get(key)]
        rows = [
            [swatch(item.colour), item.value, item.name, *(counts[index] for _, counts in counted)]
            for index, item in enumerate(model.classes)
        ]
        blocks += [heading("Classes"), table(["", "Value", "Name", *(title for title, _ in counted)], rows)]
    return blocks


def _importance_blocks(importance: Mapping[str, float | None]) -> list[str]:
    known = {name: value or 0.0 for name, value in importance.items()}
    total = sum(known.values())
    ordered = sorted(known.items(), key=lambda item: -item[1])
    shares = [(name, value / total if total > 0 else 0.0) for name, value in ordered]
    return [heading("Importance, in percent of the sum"), bars(["Predictor", "", "Share"], shares)]


def _matrix_blocks(matrix: ErrorMatrix, beta: float) -> list[str]:
    blocks = [paragraph("Rows are actual classes, columns predicted ones."), matrix_table(matrix, beta)]
    if len(matrix.labels) > ALL_LABELS:
        blocks.append(paragraph(f"Of {len(matrix.labels)} classes those that never occur are left out here."))
    return blocks


def _class_title(matrix: ErrorMatrix, index: int) -> str:
    label, name = str(matrix.labels[index]), matrix.names[index]
    return label if name == label else f"{label} {name}"


def _table(rows: str) -> str:
    return f'<table border="1" cellspacing="0" cellpadding="4" style="border-color: #cfd4d9;">{rows}</table>'


def _cell(text: str, tag: str = "td") -> str:
    return f"<{tag}>{escape(text)}</{tag}>"


def _value_cell(value: Any) -> str:
    fill = ""
    if isinstance(value, Shaded):
        value, fill = value.value, f' bgcolor="{escape(value.colour)}"'
    if isinstance(value, Html):
        return f"<td{fill}>{value}</td>"
    right = ' align="right"' if isinstance(value, (int, float, Figure)) else ""
    return f"<td{fill}{right}>{escape(_shown(value))}</td>"


def _shown(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    return thousands(value) if isinstance(value, int) else f"{value:.6g}"
