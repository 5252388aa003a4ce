"""What each report says; `html_blocks` has the pieces."""

from __future__ import annotations

import math
from typing import Any, Iterable, Mapping, Sequence

import numpy as np

from .accuracy import ErrorMatrix, matrix_of_counts
from .html_blocks import (
    BAR_COLOUR,
    UNDEFINED,
    Figure,
    Shaded,
    bar,
    bars,
    heading,
    key_values,
    page,
    paragraph,
    preformatted,
    ratio,
    swatch,
    table,
)
from .learners import REGRESSION
from .limits import NEARLY, OK, OVER, Gauge, mebibytes, percent, verdict
from .models import Model
from .plots import Line, line_plot, scatter_plot
from .residuals import Residuals
from .settings import parameter_name

STATE_COLOURS = {OK: "#2e7d32", NEARLY: "#d98c00", OVER: "#c62828"}
VERDICTS = {OK: "within the caps", NEARLY: "near a cap", OVER: "over a cap"}
DIAGONAL_COLOUR = "#d7ead9"
ALL_LABELS = 30  # with more classes the report leaves out those that never occur
TREE_LINES = 200  # of the one tree that a report shows
MOST_CLUSTERS = 100  # that a report lists
WORST_ROWS = 20  # with the largest residuals


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


def regression_report(
    measures: Residuals, observed: np.ndarray, predicted: np.ndarray, title: str, skipped: int = 0
) -> str:
    """Return the page that compares *observed* and *predicted* (rows,); *skipped* rows had no value."""
    figures = (
        ("Root mean square error (RMSE)", measures.rmse),
        ("Mean absolute error (MAE)", measures.mae),
        ("R²", measures.r_squared),
        ("Bias (mean of predicted − observed)", measures.bias),
    )
    rows: list[tuple[str, Any]] = [(name, UNDEFINED if value != value else value) for name, value in figures]
    rows.append(("Rows compared", measures.rows))
    rows += [("Rows without a value", skipped)] if skipped else []
    return page(title, key_values(rows), *_residual_blocks(observed, predicted))


def limits_report(gauges: Sequence[Gauge]) -> str:
    """Return the page of the caps."""
    state = verdict(gauges)
    coloured = f'<p>Verdict: <b><font color="{STATE_COLOURS[state]}">{state}</font></b>, {VERDICTS[state]}.</p>'
    return page("Earth Engine's caps", coloured, gauges_table(gauges))


def training_report(
    model: Model, gauges: Sequence[Gauge] = (), fitted: tuple[np.ndarray, np.ndarray] | None = None
) -> str:
    """Return the page of a training: settings, classes, importance, how well the samples are met, caps.

    *fitted* is observed and predicted (rows,) of the training samples of a regression.
    """
    training = model.training
    blocks = [paragraph(_headline(model)), key_values(_training_rows(model)), *_model_blocks(model)]
    if model.learner.clusters:
        blocks += _cluster_blocks(model)
    if fitted is not None:
        blocks += [heading("Training samples, predicted by the model"), *_residual_blocks(*fitted)]
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
    rows = [(key, value) for key, value in scalars if key not in ("tree", "text")]
    blocks = [paragraph(_headline(model)), key_values(rows), *_model_blocks(model)]
    if model.learner.clusters:
        blocks += _cluster_blocks(model)
    if explanation.get("importance"):
        blocks += _importance_blocks(explanation["importance"])
    if trees:
        blocks += [heading(f"First of {len(trees):,} trees" if len(trees) > 1 else "Tree"), *_lines(str(trees[0]))]
    return page(f"Explanation: {model.learner.title}", *blocks)


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
    for key, title in (("rmse", "Root mean square error"), ("mae", "Mean absolute error"), ("bias", "Bias")):
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
    if model.classes and not model.learner.clusters:
        columns = [("Samples", "class_rows"), ("Regions", "class_regions")]
        counted = [(title, model.training[key]) for title, key in columns if model.training.get(key)]
        rows = [
            [swatch(item.colour), item.value, item.name, *(counts[index] for _, counts in counted)]
            for index, item in enumerate(model.classes)
        ]
        blocks += [heading("Classes"), table(["", "Value", "Name", *(title for title, _ in counted)], rows)]
    return blocks


def _cluster_blocks(model: Model) -> list[str]:
    """Return what there is of: sizes and centres, a plot of the centres, the curve over the number of clusters."""
    statistics = model.training.get("statistics", {})
    sizes, centres = statistics.get("clusterSizes") or [], statistics.get("centres") or []
    blocks = [heading("Clusters")]
    sums = (
        ("Sum of squared distances within clusters", "withinClusterSumOfSquares"),
        ("Sum of distances within clusters", "withinClusterSumOfDistances"),
        ("Bayesian information criterion (BIC)", "bic"),
    )
    figures = [(title, statistics[key]) for title, key in sums if statistics.get(key) is not None]
    blocks += [key_values(figures)] if figures else []
    rows = [
        [swatch(item.colour), item.value, *sizes[index : index + 1], *(centres[index] if centres else ())]
        for index, item in enumerate(model.classes[:MOST_CLUSTERS])
    ]
    columns = (["Samples"] if sizes else []) + (list(model.predictors) if centres else [])
    blocks.append(table(["", "Cluster", *columns], rows))
    if len(model.classes) > MOST_CLUSTERS:
        blocks.append(paragraph(f"… and {len(model.classes) - MOST_CLUSTERS:,} more clusters."))
    if centres:
        lines = [Line(item.name, item.colour, centre) for item, centre in zip(model.classes, centres)]
        blocks += [heading("Centres"), line_plot(model.predictors, lines[:MOST_CLUSTERS], "predictor", "centre")]
    curve = statistics.get("calinskiHarabasz")
    if curve:
        places = [str(count) for count in statistics.get("clusterCounts", range(len(curve)))]
        line = Line("", BAR_COLOUR, [math.nan if value is None else value for value in curve])
        blocks += [heading("Calinski–Harabasz value, mean over the runs")]
        blocks += [line_plot(places, [line], "number of clusters", "Calinski–Harabasz")]
    if isinstance(statistics.get("text"), str):
        blocks += [heading("Tree"), *_lines(statistics["text"])]
    return blocks


def _residual_blocks(observed: np.ndarray, predicted: np.ndarray) -> list[str]:
    """Return the plot of predicted over observed and the rows that are farthest off."""
    errors = predicted.astype(np.float64) - observed
    known = np.flatnonzero(np.isfinite(errors))
    worst = known[np.argsort(-np.abs(errors[known]), kind="stable")[:WORST_ROWS]]
    rows = [[int(row) + 1, float(observed[row]), float(predicted[row]), float(errors[row])] for row in worst]
    return [
        scatter_plot(observed[known].tolist(), predicted[known].tolist(), "observed", "predicted"),
        heading("Largest residuals"),
        table(["Row", "Observed", "Predicted", "Residual"], rows),
    ]


def _lines(text: str) -> list[str]:
    """Return the first lines of a long text."""
    lines = text.splitlines()
    blocks = [preformatted("\n".join(lines[:TREE_LINES]))]
    if len(lines) > TREE_LINES:
        blocks.append(paragraph(f"… and {len(lines) - TREE_LINES:,} more lines in the JSON file of Explain."))
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
