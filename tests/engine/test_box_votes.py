"""Box bitsets: the same classes as walking every tree and counting, whatever the forest, the rows and the cells."""

from __future__ import annotations

import numpy as np
import pytest
from blocks import block_of, cell_by_cell, nothing
from rasterml.engine import block_prediction, box_blocks, box_tables, box_votes, cells
from rasterml.engine.box_votes import BoxVoter
from rasterml.engine.errors import Canceled
from rasterml.engine.forest import ForestPredictor
from rasterml.engine.intervals import intervals
from rasterml.engine.learners import CLASSIFICATION, MULTIPROBABILITY
from rasterml.engine.tree_apply import leaf_appliers
from rasterml.engine.trees import Shape
from small_models import make_samples, small_forest


def winners_of(voter: BoxVoter, features, walk, threads=2, check=nothing) -> np.ndarray:
    return cell_by_cell(voter, features, lambda some, sizes: voter.winners(some, sizes, walk, check), threads, check)


def never(features, check):
    raise AssertionError("the trees were walked")


@pytest.fixture
def small_cells(monkeypatch):
    """Many cells, blocks and chunks out of a few thousand rows."""
    monkeypatch.setattr(box_votes, "CELL_ROWS", 300)
    monkeypatch.setattr(block_prediction, "CELLS_A_PIECE", 3)
    monkeypatch.setattr(box_blocks, "LEAVES_AT_ONCE", 700)
    monkeypatch.setattr(box_votes, "WALK", np.inf)
    monkeypatch.setattr(box_tables, "TABLE_BYTES", 2000)
    monkeypatch.setattr(box_tables, "WORDS_AT_ONCE", 400)
    monkeypatch.setattr(box_tables, "FEWEST_ROWS", 16)
    monkeypatch.setattr(cells, "ROWS_AT_ONCE", 1000)
    monkeypatch.setattr("rasterml.engine.intervals.FEWEST", 8)


def random_tree(generator: np.random.Generator, leaves: int, predictors: int, values: np.ndarray) -> Shape:
    """A tree of any form, its thresholds among *values* or halfway between two of them."""
    if leaves == 1:
        return Shape(np.array([-1], np.int32), np.zeros(1), np.zeros(1, np.int32))
    left = int(generator.integers(1, leaves))
    low, high = (random_tree(generator, part, predictors, values) for part in (left, leaves - left))
    threshold = generator.choice(values, generator.integers(1, 3)).mean()
    size = low.right.size + 1
    return Shape(
        np.concatenate(([generator.integers(predictors)], low.feature, high.feature)).astype(np.int32),
        np.concatenate(([threshold], low.threshold, high.threshold)),
        np.concatenate(
            ([size], np.where(low.right, low.right + 1, 0), np.where(high.right, high.right + size, 0))
        ).astype(np.int32),
    )


def random_forest(generator, trees, leaves, predictors, classes, values) -> tuple[list[Shape], np.ndarray]:
    shapes = [random_tree(generator, int(generator.integers(1, leaves + 1)), predictors, values) for _ in range(trees)]
    return shapes, generator.integers(0, classes, sum(shape.leaves.size for shape in shapes))


def plain_winners(shapes, labels, features, classes) -> np.ndarray:
    votes = np.zeros((len(features), classes), dtype=int)
    start = 0
    for shape, apply in zip(shapes, leaf_appliers(shapes, features.shape[1])):
        votes[np.arange(len(features)), labels[start + apply(features)]] += 1
        start += shape.leaves.size
    return votes.argmax(axis=1)


FORESTS = {  # trees, most leaves, predictors, classes
    "one leaf each": (5, 1, 2, 3),
    "stumps": (40, 2, 1, 2),
    "one deep tree": (1, 300, 3, 5),
    "usual": (60, 60, 4, 8),
    "many classes": (50, 40, 3, 250),
    "more trees than a byte counts": (300, 9, 2, 2),
    "wide": (120, 120, 2, 4),
}
ROWS = {
    "whole numbers": lambda generator, shape: generator.integers(-50, 400, shape),
    "normal": lambda generator, shape: generator.normal(0, 3, shape),
    "tiny and huge": lambda generator, shape: (
        generator.normal(0, 1, shape) * 10.0 ** generator.integers(-45, 38, shape)
    ),
    "few values": lambda generator, shape: generator.integers(0, 3, shape),
    "one value": lambda generator, shape: np.full(shape, 7),
    "large whole numbers": lambda generator, shape: generator.integers(-(2**31), 2**31, shape),
}


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("kind", FORESTS)
def test_winners_are_those_of_walking_every_tree(kind, rows, small_cells):
    trees, leaves, predictors, classes = FORESTS[kind]
    generator = np.random.default_rng([len(kind), len(rows)])
    features = ROWS[rows](generator, (4000, predictors)).astype(np.float32)
    shapes, labels = random_forest(generator, trees, leaves, predictors, classes, features.ravel().astype(float))

    winners = winners_of(BoxVoter(shapes, labels, predictors, classes, nothing), features, never, 2)

    assert np.array_equal(winners, plain_winners(shapes, labels, features, classes))


@pytest.mark.parametrize("layers", [1, 2, 4])
@pytest.mark.parametrize("threads", [1, 3])
def test_rows_may_come_in_any_order_and_number(threads, layers, small_cells, monkeypatch):
    monkeypatch.setattr(box_tables, "LAYERS", layers)
    generator = np.random.default_rng(4)
    features = generator.normal(0, 3, (5000, 3)).astype(np.float32)
    shapes, labels = random_forest(generator, 30, 50, 3, 5, features.ravel().astype(float))
    expected = plain_winners(shapes, labels, features, 5)
    voter = BoxVoter(shapes, labels, 3, 5, nothing)

    for size in (1, 17, 999, 5000):
        order = generator.permutation(5000)[:size]
        assert np.array_equal(winners_of(voter, features[order], never, threads), expected[order])


def test_bands_that_no_tree_asks_do_not_matter(small_cells):
    generator = np.random.default_rng(2)
    features = generator.normal(size=(3000, 5)).astype(np.float32)
    shapes, labels = random_forest(generator, 20, 30, 2, 3, features.ravel().astype(float))

    winners = winners_of(BoxVoter(shapes, labels, 5, 3, nothing), features, never, 1)

    assert np.array_equal(winners, plain_winners(shapes, labels, features, 3))


def test_trees_are_walked_where_a_cell_has_too_many_leaves(small_cells, monkeypatch):
    monkeypatch.setattr(box_votes, "WALK", 1)
    generator = np.random.default_rng(8)
    features = generator.normal(size=(6000, 3)).astype(np.float32)
    features[:3000] = np.float32(0.5)  # one cell without any border
    shapes, labels = random_forest(generator, 12, 200, 3, 4, features.ravel().astype(float))
    walked = []

    def walk(some, check):
        walked.append(len(some))
        return plain_winners(shapes, labels, some, 4)

    winners = winners_of(BoxVoter(shapes, labels, 3, 4, nothing), features, walk, 1)

    assert np.array_equal(winners, plain_winners(shapes, labels, features, 4))
    assert 0 < sum(walked) < 6000


def test_cells_hold_every_row_once():
    generator = np.random.default_rng(1)
    features = generator.integers(0, 9, (5000, 2)).astype(np.float32)
    tree = cells.grow_cells(np.ascontiguousarray(features.T), features.T.astype(float), 20, nothing)
    block = cells.Cells(features, tree, 2, nothing)

    rows = [block.rows(cell) for cell in range(block.sizes.size)]

    assert sorted(np.concatenate(rows).tolist()) == list(range(5000))
    assert [len(some) for some in rows] == block.sizes.tolist()
    assert 10 <= len(rows) <= 40
    for count in (1, 3, 1000):
        assert [cell for piece in block.pieces(count) for cell in piece] == list(range(len(rows)))


def test_equal_rows_are_one_cell():
    sample = np.full((3, 100), 5, dtype=np.float32)

    assert cells.grow_cells(sample, np.zeros((3, 100)), 10, nothing).right.tolist() == [0]


@pytest.mark.parametrize("rows", ROWS)
def test_intervals_are_numbers_of_lower_thresholds(rows):
    generator = np.random.default_rng(3)
    values = np.sort(ROWS[rows](generator, 6000).astype(np.float32))
    halves = ((values[1:] + values[:-1].astype(float)) / 2).astype(np.float32)
    candidates = np.unique(np.concatenate((values, halves)))
    thresholds = generator.choice(candidates, min(700, candidates.size), replace=False)
    thresholds = np.sort(thresholds[(thresholds >= values[0]) & (thresholds < values[-1])])
    generator.shuffle(values)

    assert np.array_equal(intervals(values, thresholds), np.searchsorted(thresholds, values))


def test_block_is_predicted_as_its_rows(small_cells, monkeypatch):
    monkeypatch.setattr(block_prediction, "FEWEST_ROWS", 1000)
    model = small_forest(number_of_trees=12)
    generator = np.random.default_rng(1)
    rows = make_samples().features[generator.integers(0, 240, 3000)]
    features = (rows + generator.normal(size=(3000, 3)) * [9, 0.1, 300]).astype(np.float32)
    predictor = ForestPredictor(model)
    monkeypatch.setattr(predictor, "_votes", never)

    block = block_of(predictor, features, CLASSIFICATION)
    monkeypatch.undo()

    assert predictor.block_rows(CLASSIFICATION) > 10**6
    assert block.dtype == np.int32
    assert np.array_equal(block, predictor.predict(features, CLASSIFICATION, nothing))
    assert len(np.unique(block)) == 3


@pytest.mark.parametrize("mode", [CLASSIFICATION, MULTIPROBABILITY])
def test_small_block_is_predicted_row_by_row(mode):
    predictor = ForestPredictor(small_forest())
    features = make_samples().features

    assert np.array_equal(block_of(predictor, features, mode), predictor.predict(features, mode, nothing))


def test_canceled_block_stops(small_cells):
    generator = np.random.default_rng(2)
    features = generator.normal(size=(3000, 2)).astype(np.float32)
    shapes, labels = random_forest(generator, 20, 30, 2, 3, features.ravel().astype(float))
    voter = BoxVoter(shapes, labels, 2, 3, nothing)

    def cancel() -> None:
        raise Canceled()

    with pytest.raises(Canceled):
        winners_of(voter, features, never, 2, cancel)


def test_thousands_of_votes_for_one_class_overflow_nothing():
    """2,600 equal stumps fill 41 words of 64 bits: a byte of their sum would hold 41 × 8 votes."""
    stump = Shape(np.array([0, -1, -1], np.int32), np.array([0.5, 0, 0]), np.array([2, 0, 0], np.int32))
    labels = np.array([1, 2] * 2600)
    features = (np.arange(3000) % 2).astype(np.float32)[:, np.newaxis]

    winners = winners_of(BoxVoter([stump] * 2600, labels, 1, 3, nothing), features, never, 1)

    assert winners.tolist() == [1, 2] * 1500
