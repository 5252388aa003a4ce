"""Box sums give what walking the trees gives, bit for bit, however rows and trees are cut up."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from blocks import block_of, cell_by_cell
from rasterml.engine import block_prediction, box_blocks, box_sums
from rasterml.engine.box_blocks import BoxBlocks
from rasterml.engine.box_sums import FACTORS, BoxSums, highest_bytes, probabilities
from rasterml.engine.decision_tree import tree_model
from rasterml.engine.errors import Canceled
from rasterml.engine.forest import ForestPredictor, smoothed, tree_texts
from rasterml.engine.learners import CLASSIFICATION, MULTIPROBABILITY, PROBABILITY, REGRESSION
from rasterml.engine.models import Model
from rasterml.engine.training import Table, collect, train
from rasterml.engine.tree_arrays import forest_shapes
from rasterml.engine.tree_reader import read_trees
from rasterml.engine.trees import Shape
from small_models import make_samples, small_forest

NEVER, SOMETIMES, ALWAYS = 0.0, 3.5, float("inf")  # what walking a tree costs, for rows to use the boxes so
WIDTHS = tuple(FACTORS)


def check() -> None:
    """Nobody cancels."""


def pixels(rows: int = 5000, seed: int = 1) -> np.ndarray:
    """Rows in and around the range of the samples, some of them equal to thresholds' neighbours and far away."""
    generator = np.random.default_rng(seed)
    features = generator.normal(size=(rows, 3)) * [30, 0.5, 900] + [50, 0.3, 1000]
    features[:50] *= 1e4
    features[50:60] = [[3e38, -3e38, 1e-42]]
    return features.astype(np.float32)


def forest_sums(model: Model) -> BoxSums:
    boxes, arrays = boxes_of(forest_shapes(model), 3), model.arrays
    if model.mode != CLASSIFICATION:
        return BoxSums(boxes, arrays["leaf_mean"].take)
    predictor = ForestPredictor(model)
    return BoxSums(boxes, probabilities(arrays["leaf_counts"], predictor.tree_weights, predictor.leaf_starts[1:]))


def boxes_of(shapes: list[Shape], predictors: int) -> BoxBlocks:
    leaves = sum(shape.leaves.size for shape in shapes)
    return BoxBlocks(shapes, np.zeros(leaves, np.uint16), predictors, check)


def finish(model: Model, mode: str):
    """What `ForestPredictor` makes of sums (1, rows) or (1, rows, classes)."""
    if mode == REGRESSION:
        return lambda sums: (sums / len(forest_shapes(model))).astype(np.float32)
    if mode == MULTIPROBABILITY:
        return lambda sums: sums[0].astype(np.float32).T
    return lambda sums: sums[0].max(axis=1).astype(np.float32)[np.newaxis]


def filled(sums: BoxSums, features, finish, walk, bands=1, kind=np.float32, check=check) -> np.ndarray:
    def predict(some: np.ndarray, sizes: list[int]) -> np.ndarray:
        return sums.fill(np.full((bands, len(some)), 99, dtype=kind), some, sizes, finish, walk, check)

    return cell_by_cell(sums, features, predict, check)


def boxed(model: Model, mode: str, features: np.ndarray, cell_rows: int = 300) -> np.ndarray:
    sums, walker = forest_sums(model), ForestPredictor(model)
    sums.cell_rows = cell_rows
    return filled(
        sums, features, finish(model, mode), lambda some, check: walker.predict(some, mode, check),
        bands=len(walker.bands(mode)),
    )  # fmt: skip


def same_bits(first: np.ndarray, second: np.ndarray) -> bool:
    return first.dtype == second.dtype and first.tobytes() == np.ascontiguousarray(second).tobytes()


CASES = [(CLASSIFICATION, MULTIPROBABILITY), (CLASSIFICATION, PROBABILITY), (REGRESSION, REGRESSION)]
each_case = pytest.mark.parametrize(("kind", "mode"), CASES, ids=[mode for _, mode in CASES])


@pytest.fixture(params=[ALWAYS, NEVER, SOMETIMES], ids=["boxes", "walks", "both"])
def way(request, monkeypatch):
    monkeypatch.setattr(box_sums, "WALK", request.param)


@each_case
def test_sums_are_those_of_walking_the_trees(kind, mode, way):
    model, features = small_forest(kind), pixels()

    assert same_bits(boxed(model, mode, features), ForestPredictor(model).predict(features, mode, check))


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("cell_rows", [40, 5000])
@each_case
def test_any_width_of_the_fields_gives_the_same(kind, mode, width, cell_rows, monkeypatch):
    monkeypatch.setattr(box_sums, "FACTORS", {width: FACTORS[width]})
    monkeypatch.setattr(box_sums, "WALK", ALWAYS)
    model, features = small_forest(kind), pixels()

    result = boxed(model, mode, features, cell_rows=cell_rows)

    assert same_bits(result, ForestPredictor(model).predict(features, mode, check))


@each_case
def test_small_tables_and_groups_give_the_same(kind, mode, monkeypatch):
    for name, value in (("TABLE_BYTES", 200), ("WORDS_AT_ONCE", 10), ("VALUES_AT_ONCE", 10), ("WALK", ALWAYS)):
        monkeypatch.setattr(box_sums, name, value)
    monkeypatch.setattr(box_blocks, "LEAVES_AT_ONCE", 60)
    model, features = small_forest(kind), pixels()
    sums = forest_sums(model)
    assert len(sums.boxes.groups) > 2

    assert same_bits(boxed(model, mode, features), ForestPredictor(model).predict(features, mode, check))


@each_case
def test_order_of_rows_does_not_matter(kind, mode, monkeypatch):
    monkeypatch.setattr(box_sums, "WALK", ALWAYS)
    model, features = small_forest(kind), pixels()
    order = np.random.default_rng(3).permutation(len(features))

    whole = boxed(model, mode, features)

    assert same_bits(boxed(model, mode, features[order]), whole[:, order])
    assert same_bits(boxed(model, mode, features[:700]), whole[:, :700])
    assert same_bits(boxed(model, mode, features[:1]), whole[:, :1])


def test_cells_that_are_too_full_of_leaves_are_walked(monkeypatch):
    model, features = small_forest(REGRESSION), pixels()
    walker = ForestPredictor(model)
    rows = []

    def walk(some: np.ndarray, check) -> np.ndarray:
        rows.append(len(some))
        return walker.predict(some, REGRESSION, check)

    sums = forest_sums(model)
    sums.cell_rows = 300
    monkeypatch.setattr(box_sums, "WALK", SOMETIMES)
    result = filled(sums, features, finish(model, REGRESSION), walk)

    assert 0 < sum(rows) < len(features)
    assert same_bits(result, walker.predict(features, REGRESSION, check))


def test_rows_that_are_all_alike_need_no_bits(monkeypatch):
    monkeypatch.setattr(box_sums, "WALK", ALWAYS)
    model, features = small_forest(REGRESSION), np.tile(pixels()[100], (900, 1))

    result = boxed(model, REGRESSION, features)

    assert same_bits(result, ForestPredictor(model).predict(features, REGRESSION, check))
    assert np.unique(result).size == 1


def stump(threshold: float) -> Shape:
    return Shape(np.array([0, -1, -1]), np.array([threshold, 0, 0]), np.array([2, 0, 0]))


def test_trees_take_turns_over_the_columns(monkeypatch):
    # Column 0 starts at 1 and has the stumps at 0.5 (10 | 20) and 2.5 (1 | 2), column 1 starts at -1, with 1.5 (5 | 7).
    monkeypatch.setattr(box_sums, "WALK", ALWAYS)
    values = np.array([10.0, 20, 5, 7, 1, 2, 100, 200])
    shapes = [stump(0.5), stump(1.5), stump(2.5), stump(9)]  # the last one has one leaf that rows reach: 100
    sums = BoxSums(boxes_of(shapes, 1), values.take, np.array([1.0, -1.0]))
    rows = np.array([[0], [1], [2], [3]], dtype=np.float32)

    result = filled(sums, rows, lambda scores: scores, None, bands=2, kind=np.float64)

    assert result.tolist() == [[12, 22, 22, 23], [104, 104, 106, 106]]


def test_a_sum_of_negative_zeros_stays_negative(monkeypatch):
    monkeypatch.setattr(box_sums, "WALK", ALWAYS)
    monkeypatch.setattr(box_sums, "FACTORS", {8: FACTORS[8]})
    splits, leaves = 9, 10  # two fields: one of them has no bit for a row
    right = np.concatenate((np.column_stack((2 * np.arange(1, splits + 1), np.zeros(splits))).ravel(), [0]))
    feature = np.where(right > 0, 0, -1)
    # a chain that always goes right: node 2i splits at i, node 2i + 1 is its leaf
    shape = Shape(feature, np.where(right > 0, np.arange(19) / 2, 0), right.astype(np.int32))
    sums = BoxSums(boxes_of([shape], 1), np.full(leaves, -0.0).take, np.array([-0.0]))
    rows = np.arange(leaves, dtype=np.float32)[:, np.newaxis]

    result = filled(sums, rows, lambda scores: scores, None, kind=np.float64)

    assert np.signbit(result).all()


def test_probabilities_are_smoothed_and_weighted_to_the_last_bit():
    generator = np.random.default_rng(0)
    counts = generator.integers(0, 300, (2000, 7)).astype(np.uint16)
    weights, sizes = generator.random(20), np.append(generator.integers(1, 100, 19), 0)
    sizes[-1] = 2000 - sizes.sum()
    leaves = generator.integers(0, 2000, 500)

    found = probabilities(counts, weights, np.cumsum(sizes))(leaves)

    assert same_bits(found, (np.repeat(weights, sizes)[:, np.newaxis] * smoothed(counts))[leaves])


@pytest.mark.parametrize("width", WIDTHS)
def test_every_place_of_a_bit_has_a_byte_of_its_own(width):
    places = highest_bytes(width).tolist()

    assert len(set(places)) == width
    assert 0 not in places


def test_cancel_stops_between_cells():
    calls = 0

    def impatient() -> None:
        nonlocal calls
        calls += 1
        if calls > 5:
            raise Canceled()

    sums = forest_sums(small_forest(REGRESSION))

    with pytest.raises(Canceled):
        filled(sums, pixels(), finish(small_forest(REGRESSION), REGRESSION), None, check=impatient)


def test_scikit_learn_is_not_needed(monkeypatch):
    model, features = small_forest(REGRESSION), pixels(2000)
    expected = ForestPredictor(model).predict(features, REGRESSION, check)
    monkeypatch.setattr(box_sums, "WALK", ALWAYS)
    monkeypatch.setitem(sys.modules, "sklearn.tree._tree", None)

    assert same_bits(boxed(model, REGRESSION, features), expected)


@pytest.mark.parametrize("kind", ["two classes", "three classes", REGRESSION])
@pytest.mark.parametrize("max_nodes", [None, 6])
def test_boosted_trees_give_the_same_in_blocks(kind, max_nodes, way, monkeypatch):
    monkeypatch.setattr(block_prediction, "FEWEST_ROWS", 0)
    monkeypatch.setattr(box_sums, "CELL_ROWS", 300)
    monkeypatch.setattr(box_sums, "MORE_CELL_ROWS", 400)
    monkeypatch.setattr(box_blocks, "LEAVES_AT_ONCE", 40)
    samples = make_samples(REGRESSION if kind == REGRESSION else CLASSIFICATION)
    if kind == "two classes":
        names = samples.features[:, 0] > 50
        samples = collect(
            [Table("t", samples.features.astype(float), names + 3.0)], ("a", "b", "c"), "y", CLASSIFICATION
        )
    settings = {"number_of_trees": 25, "shrinkage": 0.3, "max_nodes": max_nodes}
    model = train("traingradienttreeboost", samples, samples_mode(kind), settings)
    predictor = model.learner.load_predictor(model)
    features = pixels()

    for mode in model.output_modes:
        assert predictor.block_rows(mode) > 0
        block = block_of(predictor, features, mode)
        assert same_bits(block, predictor.predict(features, mode, check)), mode


def samples_mode(kind: str) -> str:
    return REGRESSION if kind == REGRESSION else CLASSIFICATION


def test_few_rows_or_trees_are_predicted_as_ever():
    model = train("traingradienttreeboost", make_samples(), CLASSIFICATION, {"number_of_trees": 2})
    predictor = model.learner.load_predictor(model)
    features = pixels(70_000)

    assert predictor.block_rows(CLASSIFICATION) == 0  # 2 trees of each of 3 classes
    block = block_of(predictor, features, CLASSIFICATION)
    assert same_bits(block, predictor.predict(features, CLASSIFICATION, check))


@pytest.mark.parametrize("kind", [CLASSIFICATION, REGRESSION])
def test_forests_and_ready_made_trees_give_the_same_in_blocks(kind, monkeypatch):
    monkeypatch.setattr(block_prediction, "FEWEST_ROWS", 1000)
    forest, features = small_forest(kind, number_of_trees=12), pixels()
    ready_made = tree_model(read_trees("\n".join(tree_texts(forest))), kind)
    for model in (forest, ready_made):
        predictor = model.learner.load_predictor(model)
        for mode in model.output_modes:
            block = block_of(predictor, features, mode)
            assert same_bits(block, predictor.predict(features, mode, check)), (model.learner_id, mode)
    assert forest.learner.load_predictor(forest).block_rows(forest.output_modes[0]) > 0
