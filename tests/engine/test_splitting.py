"""Which rows train and which validate."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from rasterml.engine.errors import Canceled
from rasterml.engine.hashing import hashed
from rasterml.engine.progress import Progress
from rasterml.engine.splitting import groups_of_classes, one_sided, split_classes, split_groups, split_rows


def keys(number, seed=0) -> np.ndarray:
    return hashed(np.arange(number), seed)


def patches(sizes, labels) -> tuple[np.ndarray, np.ndarray]:
    """Groups of *sizes* rows, each of one class."""
    return np.repeat(np.arange(len(sizes)), sizes), np.repeat(labels, sizes)


def sides(training, groups) -> list[set]:
    """On which sides each group has rows."""
    return [set(training[groups == group].tolist()) for group in np.unique(groups)]


@pytest.mark.parametrize(
    ("rows", "share", "expected"), [(10, 0.7, 7), (5, 0.5, 3), (7, 0.2, 1), (3, 0.9, 3), (0, 0.7, 0)]
)
def test_exactly_the_share_of_rows_trains_halves_up(rows, share, expected):
    assert split_rows(keys(rows), share).sum() == expected


def test_rows_of_each_class_keep_their_share_and_a_row_on_each_side():
    classes = np.repeat([0, 1, 2, 3], [10, 5, 2, 1])

    for share, expected in ((0.5, [5, 3, 1, 1]), (0.01, [1, 1, 1, 1]), (0.99, [9, 4, 1, 1])):
        training = split_classes(keys(18), classes, share)
        assert np.bincount(classes[training]).tolist() == expected


def test_a_share_is_a_share_of_chances_too():
    chances = np.mean([split_rows(keys(20, seed), 0.3) for seed in range(4000)], axis=0)

    assert np.abs(chances - 0.3).max() < 4.1 * (0.3 * 0.7 / 4000) ** 0.5  # 20 rows: one in 1000 tests goes beyond


@pytest.mark.parametrize("share", [0.3, 0.7])
def test_order_of_rows_does_not_matter(share):
    order = np.random.default_rng(1).permutation(60)
    classes = np.arange(60) % 3
    groups = np.arange(60) // 4
    regrouped = np.random.default_rng(2).permutation(15)  # group g gets the number regrouped[g]
    moved_keys = np.empty(15, dtype=np.uint64)
    moved_keys[regrouped] = keys(15)

    assert np.array_equal(split_rows(keys(60)[order], share), split_rows(keys(60), share)[order])
    assert np.array_equal(
        split_classes(keys(60)[order], classes[order], share), split_classes(keys(60), classes, share)[order]
    )
    assert np.array_equal(
        split_groups(moved_keys, regrouped[groups[order]], classes[order], share),
        split_groups(keys(15), groups, classes, share)[order],
    )


def test_the_same_keys_split_alike_and_others_otherwise():
    groups, classes = patches([5] * 40, np.arange(40) % 4)

    first = split_groups(keys(40, 1), groups, classes, 0.7)

    assert np.array_equal(first, split_groups(keys(40, 1), groups, classes, 0.7))
    assert not np.array_equal(first, split_groups(keys(40, 2), groups, classes, 0.7))


@pytest.mark.parametrize("seed", range(5))
def test_groups_are_whole_and_classes_near_their_share(seed):
    generator = np.random.default_rng(seed)
    groups, classes = patches(generator.integers(1, 30, 200), generator.integers(0, 5, 200))

    training = split_groups(keys(200, seed), groups, classes, 0.7)

    assert all(len(side) == 1 for side in sides(training, groups))
    assert np.bincount(classes[training]) / np.bincount(classes) == pytest.approx(0.7, abs=0.02)


@pytest.mark.parametrize("seed", range(5))
def test_groups_of_several_classes_are_whole_and_near_the_share(seed):
    generator = np.random.default_rng(seed)
    groups, classes = generator.integers(0, 100, 3000), generator.integers(0, 6, 3000)

    training = split_groups(keys(100, seed), groups, classes, 0.6)

    assert all(len(side) == 1 for side in sides(training, groups))
    assert np.bincount(classes[training]) / np.bincount(classes) == pytest.approx(0.6, abs=0.03)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
def test_class_of_two_groups_is_on_both_sides_and_one_of_a_single_group_trains(share, seed):
    groups, classes = patches([100, 3, 50, 7, 8], [0, 0, 1, 2, 2])

    training = split_groups(keys(5, seed), groups, classes, share)

    assert one_sided(training, classes) == [1]
    assert training[groups == 2].all()


def test_sizes_decide_which_side_a_group_goes_to():
    groups, classes = patches([70, 30], [0, 0])

    for seed in range(5):
        assert split_groups(keys(2, seed), groups, classes, 0.7).tolist() == [True] * 70 + [False] * 30
        assert split_groups(keys(2, seed), groups, classes, 0.3).tolist() == [False] * 70 + [True] * 30


@pytest.mark.parametrize("seed", range(20))
def test_classes_chained_by_their_groups_are_all_kept(seed):
    # class a stands in groups 0 and 1, b in 1 and 2, c in 2 and 3: only 0, 2 against 1, 3 keeps all of them
    groups, classes = np.array([0, 1, 1, 2, 2, 3]), np.array([0, 0, 1, 1, 2, 2])

    training = split_groups(keys(4, seed), groups, classes, 0.5)

    assert one_sided(training, classes) == []


def test_classes_that_cannot_be_parted_train():
    # each two of three groups share a class: one of the three classes has both its groups on one side
    groups, classes = np.array([0, 1, 1, 2, 2, 0]), np.array([0, 0, 1, 1, 2, 2])

    training = split_groups(keys(3), groups, classes, 0.5)

    assert len(one_sided(training, classes)) == 1
    assert set(classes[training].tolist()) == {0, 1, 2}


@pytest.mark.parametrize("share", [0.3, 0.5, 0.8])
@pytest.mark.parametrize("seed", range(20))
def test_small_tables_keep_as_many_classes_as_the_best_of_all_splits(share, seed):
    groups = np.repeat(np.arange(7), 3)
    classes = np.unique(np.random.default_rng(seed).integers(0, 8, 21), return_inverse=True)[1]
    whole = set(classes.tolist())
    every = [np.array(split)[groups] for split in itertools.product([True, False], repeat=7)]
    fewest = min(len(one_sided(split, classes)) for split in every if set(classes[split].tolist()) == whole)

    training = split_groups(keys(7, seed), groups, classes, share)

    assert set(classes[training].tolist()) == whole
    assert len(one_sided(training, classes)) == fewest


def test_no_class_is_ever_without_training_rows():
    for seed in range(300):
        generator = np.random.default_rng(seed)
        groups = np.unique(generator.integers(0, 6, 12), return_inverse=True)[1]
        classes = np.unique(generator.integers(0, 5, 12), return_inverse=True)[1]
        training = split_groups(keys(groups.max() + 1, seed), groups, classes, 0.2)

        assert set(classes[training].tolist()) == set(classes.tolist())


def test_groups_per_class_are_counted_once():
    assert groups_of_classes(np.array([0, 0, 1, 2, 2]), np.array([0, 0, 0, 1, 0])).tolist() == [3, 1]


def test_many_groups_can_be_canceled():
    class Impatient(Progress):
        def is_canceled(self):
            return True

    with pytest.raises(Canceled):
        split_groups(keys(3), np.arange(3), np.zeros(3, dtype=int), 0.5, Impatient())
