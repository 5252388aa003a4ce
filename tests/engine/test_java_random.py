"""java.util.Random: published numbers, and many draws at once equal to one after the other."""

from __future__ import annotations

import json

import numpy as np
import pytest
from rasterml.engine.errors import Canceled
from rasterml.engine.java_random import BATCH, JavaRandom
from rasterml.engine.progress import Progress

SEEDS = (0, 1, 10, 42, 123456789, -5)
ONE_BY_ONE = {"nextInt": "next_int", "nextDouble": "next_double", "nextBoolean": "next_boolean"}


@pytest.mark.parametrize("number", range(len(SEEDS)), ids=[f"seed {seed}" for seed in SEEDS])
def test_numbers_are_those_that_java_printed(shared, number):
    case = json.loads((shared / "oracle" / "weka" / "java_util_random.json").read_text())[number]
    seed = case["seed"]

    assert seed == SEEDS[number]
    for name, method in ONE_BY_ONE.items():
        random = JavaRandom(seed)
        assert [getattr(random, method)() for _ in case[name]] == case[name], name
    for name in (name for name in case if name.startswith("nextInt_")):
        bound, random = int(name[len("nextInt_") :]), JavaRandom(seed)
        assert [random.next_int(bound) for _ in case[name]] == case[name], name
        assert JavaRandom(seed).next_ints(np.full(len(case[name]), bound)).tolist() == case[name], name
    assert JavaRandom(seed).shuffle(20).tolist() == case["shuffle_0_19"]


def test_numbers_are_those_of_javas_documentation_as_the_reference_gives_them():
    random, digits = JavaRandom(42), JavaRandom(0)

    assert [random.next_int() for _ in range(3)] == [-1170105035, 234785527, -1360544799]
    assert [digits.next_int(10) for _ in range(4)] == [0, 8, 9, 7]
    assert JavaRandom(0).next_double() == 0.730967787376657
    assert JavaRandom(1).shuffle(20)[:5].tolist() == [2, 17, 6, 15, 11]


@pytest.mark.parametrize(
    "bounds",
    [
        np.arange(1, 3 * BATCH),
        np.full(2 * BATCH, 2**30 + 1),  # every second draw is rejected
        np.full(BATCH + 1, 2**31 - 1),
        np.full(10, 2**30),
    ],
    ids=["all small", "often rejected", "largest", "power of two"],
)
def test_draws_at_once_are_draws_in_turn(bounds):
    at_once, in_turn = JavaRandom(5), JavaRandom(5)

    assert at_once.next_ints(bounds).tolist() == [in_turn.next_int(bound) for bound in bounds.tolist()]
    assert at_once.next_int() == in_turn.next_int()


@pytest.mark.parametrize("count", [0, 1, 2, BATCH, BATCH + 2, 3 * BATCH])
def test_a_shuffle_swaps_from_the_end(count):
    random, order = JavaRandom(-7), list(range(count))
    for last in range(count - 1, 0, -1):
        place = random.next_int(last + 1)
        order[last], order[place] = order[place], order[last]

    assert JavaRandom(-7).shuffle(count).tolist() == order


def test_a_shuffle_can_be_canceled():
    class Impatient(Progress):
        def is_canceled(self):
            return True

    with pytest.raises(Canceled):
        JavaRandom(1).shuffle(10, Impatient().check)
