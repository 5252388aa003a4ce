r"""Trees as arrays: cutting, merging and scoring, checked on one tree drawn by hand.

            0 (all)
           /       \
          1         6
         / \       / \
        2   5     7   8
       / \
      3   4
"""

from __future__ import annotations

import numpy as np
import pytest
from rasterml.engine.trees import (
    Shape,
    beyond_limit,
    collapse,
    gini_gains,
    is_preorder,
    node_sums,
    single_label,
    square_scores,
    subtree_ends,
)

RIGHT = np.array([6, 5, 4, 0, 0, 0, 8, 0, 0], dtype=np.int32)
FEATURE = np.array([0, 1, 0, -1, -1, -1, 1, -1, -1], dtype=np.int32)
THRESHOLD = np.array([4.0, 2.0, 1.0, 0, 0, 0, 3.0, 0, 0])
TREE = Shape(FEATURE, THRESHOLD, RIGHT)
LEAF_COUNTS = np.array([[3, 0], [1, 2], [0, 4], [5, 1], [2, 0]])  # of nodes 3, 4, 5, 7, 8


def test_subtrees_end_where_the_next_branch_begins():
    assert subtree_ends(RIGHT).tolist() == [9, 6, 5, 4, 5, 6, 9, 8, 9]


def test_node_sums_add_the_leaves_below():
    sums = node_sums(RIGHT, LEAF_COUNTS)

    assert sums.tolist() == [[11, 7], [4, 6], [4, 2], [3, 0], [1, 2], [0, 4], [7, 1], [5, 1], [2, 0]]


def test_gain_is_the_unweighted_gini_decrease():
    gains = gini_gains(RIGHT, node_sums(RIGHT, LEAF_COUNTS))

    # node 2: 1 - (4/6)² - (2/6)² = 4/9; children 0 (3 rows) and 4/9 (3 rows): 4/9 - 1/2 · 4/9 = 2/9
    assert gains[2] == pytest.approx(2 / 9)
    # node 6: 1 - (7/8)² - (1/8)² = 7/32; left 1 - 26/36 = 5/18 with 6 of 8 rows: 7/32 - 15/72 = 1/96
    assert gains[6] == pytest.approx(1 / 96)
    assert (gains[[3, 4, 5, 7, 8]] == 0).all()


def test_regression_score_is_the_unsubtracted_sum_of_squares():
    # leaves of 2, 1, 3, 1, 1 rows with means 1, 4, -2, 5, 0
    population = node_sums(RIGHT, np.array([2.0, 1, 3, 1, 1]))
    sums = node_sums(RIGHT, np.array([2.0, 4, -6, 5, 0]))

    scores = square_scores(RIGHT, population, sums)

    assert scores[2] == 2 * 1**2 + 1 * 4**2
    assert scores[1] == pytest.approx(3 * 2**2 + 3 * (-2) ** 2)
    assert scores[0] == pytest.approx(6 * 0**2 + 2 * 2.5**2)


def test_collapse_removes_the_branches_and_says_where_their_rows_go():
    cut = collapse(TREE, np.array([1]))

    assert cut.shape.right.tolist() == [2, 0, 4, 0, 0]
    assert cut.shape.feature.tolist() == [0, -1, 1, -1, -1]
    assert cut.shape.threshold.tolist() == [4, 0, 3, 0, 0]
    assert cut.origins.tolist() == [0, 1, 6, 7, 8]
    assert cut.position.tolist() == [0, 1, 1, 1, 1, 1, 2, 3, 4]


def test_collapse_of_nested_branches_is_the_outer_one():
    outer, nested = collapse(TREE, np.array([1])), collapse(TREE, np.array([1, 2]))

    assert np.array_equal(outer.shape.right, nested.shape.right)
    assert np.array_equal(outer.position, nested.position)


@pytest.mark.parametrize(
    ("most", "cut"),
    [
        (2, [1, 6]),  # the root alone is split
        (3, [1]),  # then 6 (gain 5) before 1 (gain 3)
        (4, [2]),
        (5, []),
        (9, []),
    ],
)
def test_leaf_limit_makes_the_best_splits_first(most, cut):
    gains = np.array([1.0, 3, 9, 0, 0, 0, 5, 0, 0])  # 2 has the best gain but waits for its parent

    assert beyond_limit(RIGHT, gains, most).tolist() == cut


def test_leaf_limit_on_a_single_leaf_cuts_nothing():
    assert beyond_limit(np.array([0], dtype=np.int32), np.zeros(1), 2).tolist() == []


def test_sister_leaves_of_one_label_merge_up_to_the_topmost_branch():
    assert single_label(RIGHT, np.array([7, 7, 7, 0, 7])).tolist() == [1, 2]
    assert single_label(RIGHT, np.array([0, 7, 7, 7, 7])).tolist() == [6]
    assert single_label(RIGHT, np.array([7, 7, 7, 7, 7])).tolist() == [0, 1, 2, 6]
    assert single_label(np.array([0], dtype=np.int32), np.array([7])).tolist() == []


def test_preorder_is_recognised():
    assert is_preorder(RIGHT)
    assert is_preorder(np.array([0]))


def test_children_that_change_places_are_refused():
    """Two splits with two leaves each under the root: every node is a child of one split in both."""
    assert is_preorder(np.array([4, 3, 0, 0, 6, 0, 0]))
    assert not is_preorder(np.array([3, 4, 0, 0, 6, 0, 0]))
    assert not is_preorder(np.array([6, 3, 0, 0, 4, 0, 0]))


@pytest.mark.parametrize("node", range(9))
@pytest.mark.parametrize("value", range(-1, 10))
def test_every_other_child_number_is_refused(node, value):
    damaged = RIGHT.copy()
    damaged[node] = value

    assert is_preorder(damaged) == (value == RIGHT[node])
