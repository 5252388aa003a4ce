"""What is inside a model."""

from __future__ import annotations

import json

import pytest
from small_world import pinned, refusal, rows_of, run, table, trained

pytestmark = pytest.mark.usefixtures("provider")


def test_it_has_the_frozen_parameters(provider):
    algorithm = provider.algorithm("explain")

    assert pinned(algorithm) == {"MODEL": None, "OUTPUT": None, "OUTPUT_HTML_FILE": None}
    assert algorithm.groupId() == "accuracy"


def class_counts():
    labels = [row["landclass"] for row in rows_of(table())]
    return [labels.count(label) for label in (0, 7)]


def test_explanation_has_earth_engines_keys_in_order(tmp_path):
    model = trained(tmp_path / "m.rasterml", MAX_NODES=4)

    results = run(
        "explain", MODEL=model, OUTPUT=str(tmp_path / "explain.json"), OUTPUT_HTML_FILE=str(tmp_path / "page.html")
    )

    explanation = json.loads((tmp_path / "explain.json").read_text())
    assert list(explanation) == sorted(explanation)
    assert explanation["classes"] == [0, 7]
    assert set(explanation["importance"]) == {"red", "nir"}
    assert all(number > 0 for number in explanation["importance"].values())
    assert explanation["numberOfTrees"] == len(explanation["trees"]) == 9 == results["NUMBER_OF_TREES"]
    assert explanation["outOfBagErrorEstimate"] == results["OUT_OF_BAG_ERROR"]
    assert explanation["parameters"]["maxNodes"] == 4
    assert explanation["parameters"]["variablesPerSplit"] is None
    for text in explanation["trees"]:
        size = sum(count // 2 + count % 2 for count in class_counts())  # half of each class, halves rounded up
        assert text.startswith(
            f"n= {size}\nnode), split, n, loss, yval, (yprob)\n* denotes terminal node\n1) root {size} "
        )
        assert text.count(" *\n") <= 4
    assert "red" in (tmp_path / "page.html").read_text()


def test_regression_trees_have_means(tmp_path):
    layer = table(labels=("-2.5", "40.25"), kind="double")
    model = trained(tmp_path / "m.rasterml", TRAINING=[layer], MODE="REGRESSION")

    run("explain", MODEL=model, OUTPUT=str(tmp_path / "explain.json"))

    explanation = json.loads((tmp_path / "explain.json").read_text())
    assert "classes" not in explanation
    leaves = [line for line in explanation["trees"][0].splitlines() if line.endswith(" *")]
    assert leaves[1:] and all(" 0.0000 " in line for line in leaves[1:])


def test_missing_model_is_a_sentence(tmp_path):
    said = refusal("explain", MODEL=str(tmp_path / "no.rasterml"), OUTPUT=str(tmp_path / "explain.json"))

    assert "no.rasterml is refused: there is no such file" in said
    assert list(tmp_path.iterdir()) == []
