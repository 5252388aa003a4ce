"""The text of trees, to the byte, against the two printed examples of the reference (3.4)."""

from __future__ import annotations

import numpy as np
import pytest
from rasterml.engine.tree_text import classification_text, java_double, java_g, regression_text
from rasterml.engine.trees import Shape

CLASSIFICATION = """n= 20
node), split, n, loss, yval, (yprob)
* denotes terminal node
1) root 20 13.100 0 (0.39130 0.34783 0.26087)
 2) NDVI<=0.200000 9 1.7778 0 (0.75000 0.16667 0.083333)
  4) B11<=1520.50 8 0.0000 0 (0.81818 0.090909 0.090909) *
  5) B11>1520.50 1 0.0000 1 (0.25000 0.50000 0.25000) *
 3) NDVI>0.200000 11 5.4545 1 (0.071429 0.50000 0.42857)
  6) NDVI<=0.550000 7 1.7143 1 (0.10000 0.70000 0.20000) *
  7) NDVI>0.550000 4 0.0000 2 (0.14286 0.14286 0.71429) *
"""

REGRESSION = """n= 10
node), split, n, loss, yval, (yprob)
* denotes terminal node
1) root 10 5.3125 0 
 2) NDVI<=0.412500 5 0.0000 0.25 *
 3) NDVI>0.412500 5 0.0000 1.0 *
"""  # noqa: W291


def test_classification_tree_is_printed_as_earth_engine_prints_it():
    shape = Shape(
        np.array([0, 1, -1, -1, 0, -1, -1]),
        np.array([0.2, 1520.5, 0, 0, 0.55, 0, 0]),
        np.array([4, 3, 0, 0, 6, 0, 0]),
    )
    counts = np.array([[8, 0, 0], [0, 1, 0], [0, 6, 1], [0, 0, 4]], dtype=np.uint16)

    assert classification_text(shape, counts, ["NDVI", "B11"], [0, 1, 2]) == CLASSIFICATION


def test_absent_labels_have_probability_zero():
    leaf = Shape(np.array([-1]), np.zeros(1), np.array([0]))

    text = classification_text(leaf, np.array([[1, 3]]), ["NDVI"], [1, 3])

    # 4 rows, 2 classes: (1 + 1) / 6 and (3 + 1) / 6; loss 4 · (1 - 1/16 - 9/16)
    assert text.splitlines()[3] == "1) root 4 1.5000 3 (0.0000 0.33333 0.0000 0.66667) *"


def test_regression_tree_is_printed_as_earth_engine_prints_it():
    shape = Shape(np.array([0, -1, -1]), np.array([0.4125, 0, 0]), np.array([2, 0, 0]))

    assert regression_text(shape, np.array([5, 5], dtype=np.uint32), np.array([0.25, 1.0]), ["NDVI"]) == REGRESSION


def test_node_numbers_outgrow_64_bits():
    depth = 70  # every left child is a leaf
    feature = np.array([0, -1] * depth + [-1])
    right = np.array([number for node in range(depth) for number in (2 * node + 2, 0)] + [0])
    shape = Shape(feature, np.where(feature == 0, np.arange(feature.size), 0.0), right)
    counts = np.tile([[1, 0], [0, 1]], (depth, 1))[: depth + 1]

    last = classification_text(shape, counts, ["a"], [0, 1]).splitlines()[-1]

    assert last.strip().startswith(f"{2**71 - 1}) a>138.000 1 ")


# The expected texts follow from the definition of Java's Formatter and Double.toString.
@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (0.25, 6, "0.250000"),
        (1520.5, 6, "1520.50"),
        (1, 6, "1.00000"),
        (0.000099990, 6, "9.99900e-05"),
        (1234567, 6, "1.23457e+06"),
        (0, 6, "0.00000"),
        (999999.5, 6, "1.00000e+06"),
        (9.9999996, 6, "10.0000"),
        (0.00009999999, 6, "0.000100000"),
        (2.5, 1, "3"),  # a half is rounded up, Python's own format gives 2
        (-0.125, 2, "-0.13"),
        (1e300, 5, "1.0000e+300"),
    ],
)
def test_numbers_are_written_as_java_writes_them(value, digits, text):
    assert java_g(value, digits) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.25, "0.25"),
        (1.0, "1.0"),
        (0.0005, "5.0E-4"),
        (0.001, "0.001"),
        (9999999.0, "9999999.0"),
        (1e7, "1.0E7"),
        (-123456789.5, "-1.234567895E8"),
        (0.0, "0.0"),
        (100.0, "100.0"),
    ],
)
def test_leaf_means_are_written_as_java_writes_doubles(value, text):
    assert java_double(value) == text
