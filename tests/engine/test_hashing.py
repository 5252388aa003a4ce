"""Random numbers that hang on a key and a seed."""

from __future__ import annotations

import math

import numpy as np
import pytest
from rasterml.engine.hashing import GOLDEN, as_normal, as_uniform, hashed, mixed, row_keys, uniform

KEYS = np.arange(100_000, dtype=np.uint64)
KOLMOGOROV = 1.949  # largest distance times the root of the number; passed once in 1000 samples (Smirnov's table)
CHI_SQUARE_99 = 148.23  # the same of chi square with 99 degrees of freedom


def kolmogorov(shares) -> float:
    """The statistic of Kolmogorov's test that *shares* are uniform, times the root of their number."""
    ordered, steps = np.sort(shares), np.arange(len(shares) + 1) / len(shares)
    return max((steps[1:] - ordered).max(), (ordered - steps[:-1]).max()) * math.sqrt(len(shares))


def chi_square(shares) -> float:
    counts = np.histogram(shares, bins=100, range=(0, 1))[0]
    expected = len(shares) / 100
    return ((counts - expected) ** 2 / expected).sum()


def test_mixing_gives_the_published_numbers_of_splitmix64():
    with np.errstate(over="ignore"):
        states = np.uint64(1234567) + np.arange(5, dtype=np.uint64) * GOLDEN

    assert mixed(states).tolist() == [
        6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821,
    ]  # fmt: skip


@pytest.mark.parametrize("seed", [0, 1, -1, 2**40])
def test_consecutive_keys_give_uniform_numbers(seed):
    shares = uniform(KEYS, seed)

    assert shares.min() >= 0
    assert shares.max() < 1
    assert kolmogorov(shares) < KOLMOGOROV
    assert chi_square(shares) < CHI_SQUARE_99


def test_neighbouring_keys_seeds_and_streams_are_not_correlated():
    first = uniform(KEYS, 0)
    others = [np.roll(first, 1), uniform(KEYS, 1), uniform(KEYS, 0, stream=1), uniform(KEYS, 1, stream=1)]

    for other in others:
        assert abs(np.corrcoef(first, other)[0, 1]) < 3.3 / math.sqrt(len(KEYS))  # 0.1 % of samples go beyond


def test_a_number_hangs_on_key_and_seed_and_not_on_order():
    shuffled = np.random.default_rng(3).permutation(KEYS)

    assert np.array_equal(uniform(shuffled, 5), uniform(KEYS, 5)[shuffled.astype(int)])
    assert np.array_equal(uniform(KEYS, 5), uniform(KEYS, 5))
    assert not (uniform(KEYS, 5) == uniform(KEYS, 6)).any()


def test_uniform_numbers_use_53_bits_and_stay_below_one():
    assert as_uniform(np.array([0, 2**11, 2**64 - 1], dtype=np.uint64)).tolist() == [0, 2.0**-53, 1 - 2.0**-53]


def test_normal_numbers_are_the_quantiles_of_the_tables():
    tabled = {0.5: 0.0, 0.975: 1.959963984540054, 0.995: 2.5758293035489004, 0.001: -3.090232306167813}

    assert as_normal(np.array(list(tabled))) == pytest.approx(list(tabled.values()), abs=1e-12)


def test_normal_numbers_are_what_the_error_function_undoes():
    shares = np.concatenate([np.geomspace(1e-16, 0.5, 500), 1 - np.geomspace(1e-9, 0.5, 500)])

    found = [math.erfc(-value / math.sqrt(2)) / 2 for value in as_normal(shares).tolist()]

    assert found == pytest.approx(shares.tolist(), rel=1e-12)


def test_normal_numbers_are_normal_and_never_infinite():
    normal = as_normal(uniform(KEYS, 0))

    assert kolmogorov([math.erfc(-value / math.sqrt(2)) / 2 for value in normal.tolist()]) < KOLMOGOROV
    assert as_normal(np.array([0.0, 1 - 2.0**-53])) == pytest.approx([-8.292, 8.2095], abs=1e-3)


def test_whole_numbers_are_one_key_as_integer_and_as_decimal():
    rows = row_keys([(7,), (7.0,), (7.5,), ("7",), (None,), (-0.0,), (0,)])

    assert rows[0] == rows[1]
    assert rows[5] == rows[6]
    assert len(set(rows.tolist())) == 5


def test_keys_of_several_fields_keep_them_apart():
    assert len(set(row_keys([("ab", "c"), ("a", "bc"), ("abc", None), (None, "abc")]).tolist())) == 4


def test_row_keys_are_the_first_bytes_of_sha256():
    # printf 'sabc\x1fn12' | sha256sum begins with cc82539cd6bc4e0e, read from the right
    assert row_keys([("abc", 12)]).tolist() == [1030968994646164172]


def test_no_rows_have_no_keys():
    assert hashed(row_keys([]), 0).tolist() == []
