"""Regression trees grown depth by depth equal those of a plain loop over nodes and predictors, to the last bit."""

from __future__ import annotations

import numpy as np
import pytest
from rasterml.engine.errors import Canceled
from rasterml.engine.response_growing import ResponseGrower
from rasterml.engine.scan_order import scan_order
from rasterml.engine.trees import levels

MIN_LEAF = 5


def plain_tree(features: np.ndarray, responses: np.ndarray, rows: np.ndarray, max_nodes: int | None) -> list:
    """Smile's rules as reference 2.10 words them, node by node: (feature, threshold, score, mean) in preorder."""
    orders = [scan_order(column) for column in features.T]

    def best_split(drawn: np.ndarray, mean: float) -> tuple:
        size = int(drawn.sum())
        best = (0.0,)
        for column, order in enumerate(orders):
            order = order[drawn[order]]
            total = 0.0
            for lower, (row, following) in enumerate(zip(order[:-1], order[1:]), start=1):
                total += responses[row]
                x, next_x = float(features[row, column]), float(features[following, column])
                upper = size - lower
                if x == next_x or min(lower, upper) < MIN_LEAF:
                    continue
                low, high = total / lower, (mean * size - total) / upper
                score = lower * low * low + upper * high * high
                if score > best[0]:
                    best = (score, column, (x + next_x) / 2, low, high)
        return best

    def node(drawn: np.ndarray, mean: float) -> dict:
        equal = max_nodes is None and np.unique(responses[drawn]).size == 1
        return {"drawn": drawn, "mean": mean, "best": (0.0,) if equal else best_split(drawn, mean), "children": ()}

    drawn = np.zeros(responses.size, dtype=bool)
    drawn[rows] = True
    total = 0.0
    for row in rows:
        total += responses[row]
    root = node(drawn, total / rows.size)
    waiting, leaves = [root], 1
    while max_nodes is None or leaves < max_nodes:
        one = max(waiting, key=lambda item: item["best"][0], default=None)
        if one is None or len(one["best"]) == 1:
            break
        _, column, threshold, low, high = one["best"]
        below = features[:, column] <= threshold
        one["children"] = (node(one["drawn"] & below, low), node(one["drawn"] & ~below, high))
        place = next(number for number, item in enumerate(waiting) if item is one)
        waiting[place : place + 1] = one["children"]  # from left to right: of equal scores the left one is split
        leaves += 1

    def listed(one: dict) -> list:
        if not one["children"]:
            return [(-1, 0.0, 0.0, one["mean"])]
        below, above = one["children"]
        return [(one["best"][1], one["best"][2], one["best"][0], one["mean"]), *listed(below), *listed(above)]

    return listed(root)


RESPONSES = {
    "signs": lambda generator, x: np.sign(generator.normal(size=len(x)) + x[:, 0] - 3),
    "two values": lambda generator, x: np.where(x[:, 1] + generator.normal(size=len(x)) > 2, 5 / 6, -1 / 6),
    "numbers": lambda generator, x: generator.normal(size=len(x)) + x[:, 0],
    "all equal": lambda generator, x: np.full(len(x), 0.1),
    "all zero": lambda generator, x: np.zeros(len(x)),
}


@pytest.mark.parametrize("kind", RESPONSES)
@pytest.mark.parametrize("max_nodes", [None, 2, 9])
@pytest.mark.parametrize("share", [1.0, 0.6])
def test_tree_is_that_of_a_plain_loop_to_the_last_bit(kind, max_nodes, share):
    for seed in range(4):
        generator = np.random.default_rng(seed)
        rows = generator.integers(8, 160)
        features = generator.integers(0, 7, (rows, 3)).astype(np.float32)  # full of ties
        responses = RESPONSES[kind](generator, features)
        drawn = np.sort(generator.choice(rows, max(1, int(rows * share)), replace=False))

        tree = ResponseGrower(features, MIN_LEAF).grow(responses, drawn, max_nodes, lambda: None)

        found = list(zip(tree.shape.feature, tree.shape.threshold, tree.scores, tree.means))
        assert found == plain_tree(features, responses, drawn, max_nodes)


def test_every_row_is_in_its_leaf_whether_drawn_or_not():
    generator = np.random.default_rng(1)
    features = generator.normal(size=(300, 2)).astype(np.float32)
    shape, _, means, leaf_of_row = ResponseGrower(features, MIN_LEAF).grow(
        features[:, 0].astype(float), np.arange(0, 300, 2), None, lambda: None
    )

    node = np.zeros(300, dtype=int)
    for _ in levels(shape.right):
        low = features[np.arange(300), shape.feature[node]] <= shape.threshold[node]
        node = np.where(shape.right[node] > 0, np.where(low, node + 1, shape.right[node]), node)
    assert np.array_equal(leaf_of_row, node)
    drawn = np.bincount(node[::2], minlength=shape.right.size)[shape.leaves]
    sums = np.bincount(node[::2], weights=features[::2, 0], minlength=shape.right.size)[shape.leaves]
    assert drawn.min() >= MIN_LEAF
    assert means[shape.leaves] == pytest.approx(sums / drawn)


def test_predictors_are_searched_in_blocks_of_bounded_size_with_one_result(monkeypatch):
    generator = np.random.default_rng(2)
    features = generator.integers(0, 9, (200, 7)).astype(np.float32)
    responses = np.sign(generator.normal(size=200))
    at_once = ResponseGrower(features, MIN_LEAF).grow(responses, np.arange(200), 20, lambda: None)
    monkeypatch.setattr("rasterml.engine.response_growing.BLOCK_VALUES", 400)

    in_blocks = ResponseGrower(features, MIN_LEAF).grow(responses, np.arange(200), 20, lambda: None)

    assert all(np.array_equal(one, other) for one, other in zip(at_once.shape, in_blocks.shape))


def test_growing_stops_when_told_to():
    def stop() -> None:
        raise Canceled()

    with pytest.raises(Canceled):
        ResponseGrower(np.zeros((20, 1), np.float32), MIN_LEAF).grow(np.ones(20), np.arange(20), None, stop)
