"""Box bitsets: the same classes as walking every tree and counting, whatever the forest, the rows and the cells."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from blocks import block_of, cell_by_cell, in_cells, nothing
from rasterml.engine import block_prediction, box_bands, box_blocks, box_tables, box_votes, cells
from rasterml.engine.box_blocks import BoxBlocks
from rasterml.engine.box_tables import Counter
from rasterml.engine.box_votes import BoxVoter
from rasterml.engine.errors import Canceled
from rasterml.engine.forest import ForestPredictor
from rasterml.engine.intervals import intervals
from rasterml.engine.learners import CLASSIFICATION, MULTIPROBABILITY
from rasterml.engine.models import save_model
from rasterml.engine.training import Table, collect, train
from rasterml.engine.tree_apply import leaf_appliers
from rasterml.engine.trees import Shape
from small_models import make_samples, small_forest


def winners_of(voter: BoxVoter, features, walk, check=nothing) -> np.ndarray:
    return cell_by_cell(voter, features, lambda some, sizes: voter.winners(some, sizes, walk, check), check)


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
    monkeypatch.setattr("rasterml.engine.box_bands.NARROW", 0.5)


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

    winners = winners_of(BoxVoter(BoxBlocks(shapes, labels, predictors, nothing), classes), features, never)

    assert np.array_equal(winners, plain_winners(shapes, labels, features, classes))


@pytest.mark.parametrize("layers", [(1,), (2, 1), (4, 2, 1)])
def test_rows_may_come_in_any_order_and_number(layers, small_cells, monkeypatch):
    monkeypatch.setattr(box_tables, "LAYERS", layers)
    generator = np.random.default_rng(4)
    features = generator.normal(0, 3, (5000, 3)).astype(np.float32)
    shapes, labels = random_forest(generator, 30, 50, 3, 5, features.ravel().astype(float))
    expected = plain_winners(shapes, labels, features, 5)
    voter = BoxVoter(BoxBlocks(shapes, labels, 3, nothing), 5)

    for size in (1, 17, 999, 5000):
        order = generator.permutation(5000)[:size]
        assert np.array_equal(winners_of(voter, features[order], never), expected[order])


def stump(threshold: float) -> Shape:
    return Shape(np.array([0, -1, -1], np.int32), np.array([threshold, 0, 0]), np.array([2, 0, 0], np.int32))


def test_rows_that_are_decided_are_not_counted_further(small_cells, monkeypatch):
    """Values 0 to 9, a group a stump: class 1 up to its threshold, then class 2.

    Thresholds 4, 4, 4, 1, 7 give 0 and 1 all votes, 2 to 4 four of class 1, the others three or five of class 2: after
    three stumps all rows have a lead of 3 > 2.  With 4, 1, 7, 4, 4 only 0, 1, 8 and 9 have, and all others stay until
    the last stump but one, when 2 to 4 and 5 to 7 lead 3 : 1.
    """
    monkeypatch.setattr(box_blocks, "LEAVES_AT_ONCE", 1)
    rows = []
    monkeypatch.setattr(box_votes, "Counter", lambda part, cell: rows.append(cell.size) or Counter(part, cell))
    features = np.arange(10, dtype=np.float32)[:, np.newaxis]
    expected = [1] * 5 + [2] * 5

    for thresholds, wanted in (((4, 4, 4, 1, 7), [10, 10, 10]), ((4, 1, 7, 4, 4), [10, 10, 10, 6])):
        rows.clear()
        voter = BoxVoter(BoxBlocks([stump(threshold) for threshold in thresholds], np.array([1, 2] * 5), 1, nothing), 3)
        assert winners_of(voter, features, never).tolist() == expected
        assert rows == wanted


def test_equal_votes_stay_open_until_the_last_tree(small_cells, monkeypatch):
    """Two of four trees for class 1 and one for class 0 leave 2 : 2 possible, and then the lower class wins."""
    monkeypatch.setattr(box_blocks, "LEAVES_AT_ONCE", 1)
    leaf = Shape(np.array([-1], np.int32), np.zeros(1), np.zeros(1, np.int32))
    features = np.arange(10, dtype=np.float32)[:, np.newaxis]

    voter = BoxVoter(BoxBlocks([leaf, leaf, leaf, stump(4)], np.array([1, 1, 0, 0, 1]), 1, nothing), 2)

    winners = winners_of(voter, features, never)

    assert winners.tolist() == [0] * 5 + [1] * 5


def test_bands_that_no_tree_asks_do_not_matter(small_cells):
    generator = np.random.default_rng(2)
    features = generator.normal(size=(3000, 5)).astype(np.float32)
    shapes, labels = random_forest(generator, 20, 30, 2, 3, features.ravel().astype(float))

    winners = winners_of(BoxVoter(BoxBlocks(shapes, labels, 5, nothing), 3), features, never)

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

    winners = winners_of(BoxVoter(BoxBlocks(shapes, labels, 3, nothing), 4), features, walk)

    assert np.array_equal(winners, plain_winners(shapes, labels, features, 4))
    assert 0 < sum(walked) < 6000


def test_rows_are_put_into_the_leaf_that_their_values_lead_to():
    """The root asks band 1 for 2.5, its right child band 0 for 7: equal values go left."""
    tree = Shape(
        np.array([1, -1, 0, -1, -1], np.int32), np.array([2.5, 0, 7, 0, 0]), np.array([2, 0, 4, 0, 0], np.int32)
    )
    features = np.array([[9, 1], [7, 3], [8, 2.5], [8, 3], [0, 9], [1, 2]], dtype=np.float32)

    block = in_cells(features, tree)

    assert block.order.tolist() == [0, 2, 5, 1, 4, 3]
    assert block.sizes.tolist() == [3, 2, 1]


def test_cells_hold_every_row_once(monkeypatch):
    generator = np.random.default_rng(1)
    features = generator.integers(0, 9, (5000, 2)).astype(np.float32)
    tree = cells.grow_cells(np.ascontiguousarray(features.T), features.T.astype(float), 20, nothing)
    whole = in_cells(features, tree)
    monkeypatch.setattr(cells, "ROWS_AT_ONCE", 1024)
    block = in_cells(features, tree)

    assert np.array_equal(block.order, whole.order) and np.array_equal(block.sizes, whole.sizes)
    assert sorted(block.order.tolist()) == list(range(5000))
    assert 10 <= block.sizes.size <= 40
    for rows in np.split(block.order.astype(int), np.cumsum(block.sizes)[:-1]):
        assert (np.diff(rows) > 0).all()
        assert len(np.unique(features[rows], axis=0)) < 81
    for count in (1, 3, 1000):
        pieces = block.pieces(count)
        assert np.array_equal(np.concatenate([rows for rows, _ in pieces]), block.order)
        assert [size for _, sizes in pieces for size in sizes] == block.sizes.tolist()
        assert [len(rows) for rows, _ in pieces] == [sum(sizes) for _, sizes in pieces]
        assert len(pieces) <= count


def test_equal_rows_are_one_cell():
    sample = np.full((3, 100), 5, dtype=np.float32)

    assert cells.grow_cells(sample, np.zeros((3, 100)), 10, nothing).right.tolist() == [0]


@pytest.mark.parametrize("rows", ROWS)
def test_intervals_are_numbers_of_lower_thresholds(rows):
    generator = np.random.default_rng(3)
    values = ROWS[rows](generator, (3, 6000)).astype(np.float32)
    values[:, 0] -= 8  # so that there are two values
    lowest, highest = values.min(axis=1), values.max(axis=1)
    wanted, thresholds = [], []
    for number, band in enumerate(values):
        ordered = np.sort(band)
        halves = ((ordered[1:] + ordered[:-1].astype(float)) / 2).astype(np.float32)
        candidates = np.unique(np.concatenate((ordered, halves)))
        candidates = candidates[(candidates >= ordered[0]) & (candidates < ordered[-1])]
        some = np.sort(generator.choice(candidates, min((700, 1, 20)[number], candidates.size), replace=False))
        wanted.append(np.searchsorted(some, band) + sum(part.size for part in thresholds))
        thresholds.append(some)

    found = intervals(values, lowest, highest, np.concatenate(thresholds), np.array([part.size for part in thresholds]))

    assert np.array_equal(found, wanted)


@pytest.mark.parametrize("scale", [1, 0.001])
def test_value_equal_to_a_threshold_lies_below_it(scale):
    values = np.array([[1, 2, 3, 4, 5], [7, 8, 9, 9, 7]], dtype=np.float32) * np.float32(scale)
    thresholds = values.ravel()[[1, 3, 5, 6]]  # 2, 4 | 7, 8

    found = intervals(values, values.min(axis=1), values.max(axis=1), thresholds, np.array([2, 2]))

    assert found.tolist() == [[0, 0, 1, 1, 2], [2, 3, 4, 4, 2]]


def test_narrowed_edges_leave_out_intervals_and_bands_without_an_end():
    """Band 0 has intervals 0 1 2 and 3 above the cell, band 1 has 4 5 and 6 above, band 2 has 7 8 9 and 10 above."""
    edges = box_bands.Edges(
        begins=np.array([[0, 2], [4, 4], [7, 9]]),
        ends=np.array([[2, 3], [6, 6], [9, 10]]),
        rows=np.array([[0, 1, 2], [4, 5, 5], [7, 8, 9]]),
        starts=np.array([0, 4, 7, 11]),
    )

    narrowed = edges.narrowed()

    assert narrowed.begins.tolist() == [[0, 1], [3, 4]]
    assert narrowed.ends.tolist() == [[1, 2], [4, 5]]
    assert narrowed.rows.tolist() == [[0, 0, 1], [3, 3, 4]]
    assert narrowed.starts.tolist() == [0, 3, 6]
    table = box_bands.table_of_leaves(edges, slice(0, 2), np.array([3, 31]), 1).agree[:, 0].tolist()
    assert table == [8, 8, 1 << 31, 0, 8 + (1 << 31), 8 + (1 << 31), 0, 8, 8, 1 << 31, 0]


def test_edges_without_an_end_keep_one_band():
    edges = box_bands.Edges(np.array([[0], [2]]), np.array([[1], [3]]), np.array([[0, 0], [2, 2]]), np.array([0, 2, 4]))

    narrowed = edges.narrowed()

    assert [part.tolist() for part in narrowed] == [[[0]], [[1]], [[0, 0]], [0, 2]]


def test_leaves_that_share_a_column_are_of_one_tree_and_class(monkeypatch):
    """Class 0: 100 trees with 3 leaves have 100 pairs, of which 64 fill a word; 172 leaves are left for 3 words."""
    monkeypatch.setattr(box_tables, "LAYERS", (2, 1))
    label = np.repeat([0, 1], [300, 10])
    tree = np.concatenate((np.repeat(np.arange(100), 3), np.arange(10)))

    order, (pairs, single) = box_tables._columns(label, tree, 3)

    assert sorted(order.tolist()) == list(range(310))
    assert (pairs.layers, pairs.words, pairs.words_of_class.tolist()) == (2, 1, [1, 0, 0])
    assert pairs.place.tolist() == list(range(64))
    assert (order[:64] % 3 == 0).all() and np.array_equal(order[64:128], order[:64] + 1)
    assert (single.layers, single.words, single.words_of_class.tolist()) == (1, 4, [3, 1, 0])
    assert single.place.tolist() == [*range(172), *range(192, 202)]


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


def test_hundreds_of_classes_are_walked():
    """Their votes would take much memory: 2 bytes a class and row."""
    most = box_votes.MOST_CLASSES
    generator = np.random.default_rng(3)
    for classes in (most, most + 1):
        labels = np.arange(4 * classes) % classes
        features = generator.normal(size=(labels.size, 3)) + labels[:, np.newaxis]
        samples = collect([Table("t", features, labels.astype(float))], ["a", "b", "c"], "class", CLASSIFICATION)
        model = train("trainrandomforest", samples, CLASSIFICATION, {"number_of_trees": 10}, 1)
        assert (ForestPredictor(model).block_rows(CLASSIFICATION) > 0) == (classes == most)


@pytest.mark.parametrize("mode", [CLASSIFICATION, MULTIPROBABILITY])
def test_small_block_is_predicted_row_by_row(mode):
    predictor = ForestPredictor(small_forest())
    features = make_samples().features

    assert np.array_equal(block_of(predictor, features, mode), predictor.predict(features, mode, nothing))


def test_classes_of_a_block_need_no_scikit_learn(tmp_path):
    """It takes long to import, and boxes do without."""
    path = tmp_path / "forest.rasterml"
    save_model(small_forest(number_of_trees=12), path)
    script = """
import importlib.util, sys
import numpy as np
root, path = sys.argv[1:]
spec = importlib.util.spec_from_file_location("rasterml", root + "/__init__.py", submodule_search_locations=[root])
module = sys.modules["rasterml"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
from rasterml.engine.block_prediction import FEWEST_ROWS, Work, predict_block, take_step
from rasterml.engine.models import load_model
from rasterml.engine.processes import Crew
from rasterml.engine.shared_arrays import SharedArray
model = load_model(path)
rows = np.random.default_rng(0).normal(50, 30, (FEWEST_ROWS, 3)).astype(np.float32)
with Crew(take_step, Work(model, model.mode), 2, 2) as crew:
    predict_block(crew, SharedArray(rows), lambda: None)
assert not {"sklearn", "scipy"} & set(sys.modules)
"""
    root = Path(__file__).resolve().parents[2]

    subprocess.run([sys.executable, "-c", script, str(root), str(path)], check=True)


def test_canceled_block_stops(small_cells):
    generator = np.random.default_rng(2)
    features = generator.normal(size=(3000, 2)).astype(np.float32)
    shapes, labels = random_forest(generator, 20, 30, 2, 3, features.ravel().astype(float))
    voter = BoxVoter(BoxBlocks(shapes, labels, 2, nothing), 3)

    def cancel() -> None:
        raise Canceled()

    with pytest.raises(Canceled):
        winners_of(voter, features, never, cancel)


@pytest.mark.parametrize("pairs", [2600, 70_000])
def test_thousands_of_votes_for_one_class_overflow_nothing(pairs):
    """2,600 equal stumps fill 41 words of 64 bits: a byte of their sum would hold 41 × 8 votes; 70,000 > 2¹⁶ votes."""
    labels = np.array([1, 2] * pairs)
    features = (np.arange(3000) % 2).astype(np.float32)[:, np.newaxis]

    winners = winners_of(BoxVoter(BoxBlocks([stump(0.5)] * pairs, labels, 1, nothing), 3), features, never)

    assert winners.tolist() == [1, 2] * 1500
