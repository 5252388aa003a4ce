from __future__ import annotations

import math
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from rasterml.engine.accuracy import ErrorMatrix
from rasterml.engine.classes import class_table
from rasterml.engine.errors import StorageError
from rasterml.engine.html_blocks import (
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
    write_report,
)
from rasterml.engine.limits import bands_gauge, model_gauge, training_gauge
from rasterml.engine.models import Model
from rasterml.engine.reports import accuracy_report, explain_report, limits_report, matrix_table, training_report

HOSTILE = '<script>alert("1")</script> & more'
VOID = {"meta", "br"}

# The check values of Earth Engine's reference, section 4.2, with class 0 unused.
MATRIX = ErrorMatrix(
    np.array([[0, 0, 0, 0], [0, 8, 1, 1], [0, 2, 5, 0], [0, 0, 0, 3]]), (0, 1, 2, 3), ("0", HOSTILE, "forest", "bare")
)
MODEL = Model(
    learner_id="trainrandomforest",
    mode="CLASSIFICATION",
    settings={"number_of_trees": 40, "max_nodes": None},
    predictors=("red", HOSTILE),
    classes=class_table([1, 7], {1: HOSTILE, 7: "water"}),
    class_property="<use>",
    arrays={},
    training={
        "rows": 12_000,
        "bytes": 96_000,
        "accuracy": 0.98765,
        "out_of_bag_error": 0.125,
        "importance": [30.0, 10.0],
        "class_rows": [7_000, 5_000],
        "class_regions": [3, 4],
        "confusion": [[6_900, 100], [50, 4_950]],
    },
    versions={"numpy": "1.24.2"},
)
REGRESSION = Model(
    "trainrandomforest", "REGRESSION", {}, ("red",), (), "height", {},
    {"rows": 10, "bytes": 40, "accuracy": 0.5, "rmse": 3.25, "bias": -0.125, "out_of_bag_error": 4.5},
)  # fmt: skip


class Balance(HTMLParser):
    """Checks that every element is closed in its turn, and collects the text."""

    def __init__(self):
        super().__init__()
        self.open, self.text = [], []

    def handle_starttag(self, tag, attributes):
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def text_of(html):
    parser = Balance()
    parser.feed(html)
    assert parser.open == []
    return " ".join(" ".join(parser.text).split())


def reports():
    gauges = [training_gauge(12_000, 2, HOSTILE), bands_gauge(350), model_gauge(2**28, MODEL.settings)]
    explanation = {"classes": [1, 7], "importance": {"red": 30.0, HOSTILE: 10.0}, "trees": [HOSTILE, "2"]}
    return {
        "accuracy": accuracy_report(MATRIX),
        "limits": limits_report(gauges),
        "training": training_report(MODEL, gauges),
        "regression": training_report(REGRESSION),
        "explain": explain_report(MODEL, explanation),
    }


@pytest.mark.parametrize("name", reports())
def test_a_report_stands_alone_runs_nothing_and_is_well_formed(name):
    html = reports()[name]

    assert text_of(html)
    assert not re.search(r"<script|<link|<img|<iframe|src=|href=|url\(|@import|https?:", html)


@pytest.mark.parametrize(
    "block",
    [
        page(HOSTILE),
        heading(HOSTILE),
        paragraph(HOSTILE),
        preformatted(HOSTILE),
        key_values([(HOSTILE, HOSTILE)]),
        table([HOSTILE], [[HOSTILE]]),
        bars([HOSTILE], [(HOSTILE, 0.5)]),
        matrix_table(MATRIX),
        swatch('"' + HOSTILE),
        bar(0.5, '"' + HOSTILE),
    ],
)
def test_every_block_escapes_its_text(block):
    assert "<script" not in block
    assert '""' not in block


def test_numbers_stand_right_and_texts_left():
    html = table(["name", "count"], [["7 hills", 12_000]])

    assert "<td>7 hills</td>" in html
    assert '<td align="right">12,000</td>' in html


@pytest.mark.parametrize(("share", "widths"), [(0, ["220"]), (0.25, ["55", "165"]), (1, ["220"]), (7, ["220"])])
def test_a_bar_is_as_long_as_its_share_and_never_longer_than_its_track(share, widths):
    assert re.findall(r'<td width="(\d+)"', bar(share)) == widths


def test_the_matrix_has_its_totals_accuracies_and_shaded_diagonal():
    html = matrix_table(MATRIX, beta=2)
    text = text_of(html)

    assert "forest 0 2 5 0 7 0.7143 0.7353" in text
    assert "total 0 10 6 4 20" in text
    assert "consumer's accuracy undefined 0.8000 0.8333 0.7500" in text
    assert re.findall(r'bgcolor="#\w+"[^>]*>(\d+)<', html) == ["0", "8", "5", "3"]
    assert "F2" in text


def test_a_large_matrix_shows_only_the_classes_that_occur():
    counts = np.zeros((200, 200), dtype=int)
    counts[7, 190] = 4
    text = text_of(accuracy_report(ErrorMatrix(counts, tuple(range(200)), tuple(map(str, range(200))))))

    assert "actual ↓ predicted → 7 190 total" in text
    assert "Of 200 classes those that never occur are left out" in text


def test_the_accuracy_report_has_the_figures():
    text = text_of(accuracy_report(MATRIX, skipped=3, ignored=1))

    assert "Accuracy 0.8000" in text
    assert "Kappa 0.6748" in text
    assert "Rows compared 20 Rows without a value 3 Rows of other classes 1" in text


def test_the_training_report_tells_settings_classes_importance_and_accuracy():
    text = text_of(reports()["training"])

    assert "Examples 12,000 Predictors 2" in text
    assert "Training accuracy 0.9877 Out-of-bag error 0.1250" in text
    assert "NUMBER_OF_TREES 40 MAX_NODES none" in text
    assert "7 water 5,000 4" in text
    assert text.index("75.0 %") < text.index("25.0 %")
    assert "7 water 0 50" in text and "4,950 5,000 0.9900" in text
    assert "numpy 1.24.2" in text


def test_the_report_of_a_regression_has_its_own_measures():
    text = text_of(reports()["regression"])

    assert "R² of the training samples 0.5000 Root mean square error 3.25 Bias -0.125 Out-of-bag error 4.5" in text


def test_the_explanation_shows_the_first_tree_and_says_what_it_leaves_out():
    explanation = {"numberOfTrees": 2, "trees": ["\n".join(f"{line}) root" for line in range(300)), "second"]}
    text = text_of(explain_report(MODEL, explanation))

    assert "numberOfTrees 2" in text
    assert "First of 2 trees 0) root" in text
    assert "second" not in text
    assert "100 more lines" in text


def test_the_limits_report_has_verdict_figures_and_advice():
    text = text_of(reports()["limits"])

    assert "Verdict: over" in text
    assert "350 bands (fewer than 400)" in text
    assert "There is room for 49 more bands." in text
    assert "Set NUMBER_OF_TREES=14" in text  # 40 × 0.95 / 2.56 = 14.8


def test_an_undefined_ratio_is_called_so():
    assert ratio(math.nan) == ratio(None) == "undefined"


def test_a_report_is_written_whole(tmp_path):
    write_report(tmp_path / "report.html", page("Größe"))

    assert "Größe" in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_a_report_in_a_missing_folder_is_refused_with_a_sentence(tmp_path):
    with pytest.raises(StorageError, match="missing"):
        write_report(tmp_path / "missing" / "report.html", page("x"))
