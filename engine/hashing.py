"""Random numbers that belong to a thing and not to an order: the same key and seed give the same number.

So a sample does not depend on the sequence in which pixels or rows are met, nor on blocks and threads.
"""

from __future__ import annotations

import hashlib
from statistics import NormalDist
from typing import Sequence

import numpy as np

# SplitMix64: Steele, Lea & Flood (2014), Fast splittable pseudorandom number generators, figure 13
GOLDEN = np.uint64(0x9E3779B97F4A7C15)
FIRST, SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
MANTISSA_BITS = 53
SMALLEST = 2.0**-54  # what stands for 0 where 0 would be infinite


def mixed(keys: np.ndarray) -> np.ndarray:
    """Return the SplitMix64 output for the states *keys* (uint64)."""
    with np.errstate(over="ignore"):
        state = keys.astype(np.uint64) + GOLDEN
        state = (state ^ (state >> np.uint64(30))) * FIRST
        state = (state ^ (state >> np.uint64(27))) * SECOND
        return state ^ (state >> np.uint64(31))


def hashed(keys: np.ndarray, seed: int, stream: int = 0) -> np.ndarray:
    """Return a uint64 for every whole number in *keys*; other seeds and streams are independent."""
    start = mixed(np.array([seed % 2**64], dtype=np.uint64))
    start = mixed(start ^ np.uint64(stream))
    return mixed(mixed(np.asarray(keys).astype(np.uint64) ^ start[0]))


def uniform(keys: np.ndarray, seed: int, stream: int = 0) -> np.ndarray:
    """Return float64 numbers in [0, 1) for the whole numbers *keys*."""
    return as_uniform(hashed(keys, seed, stream))


def as_uniform(hashes: np.ndarray) -> np.ndarray:
    """Return the upper 53 bits of *hashes* (uint64) as float64 in [0, 1)."""
    return (hashes >> np.uint64(64 - MANTISSA_BITS)).astype(np.float64) / 2.0**MANTISSA_BITS


def as_normal(shares: np.ndarray) -> np.ndarray:
    """Return the standard normal numbers below which lie the *shares* (float64 in [0, 1)); never infinite.

    The quantile function of the standard library: Wichura (1988), algorithm AS 241, PPND16.
    """
    return np.array([NormalDist().inv_cdf(share) for share in np.maximum(shares, SMALLEST).tolist()], dtype=np.float64)


def row_keys(rows: Sequence[Sequence[object]]) -> np.ndarray:
    """Return a uint64 for each row of values (numbers, texts, None): the first 8 bytes of their SHA-256.

    A whole number is the same key whether it is stored as an integer or as a float.
    """
    digests = (hashlib.sha256("\x1f".join(map(_text, row)).encode()).digest()[:8] for row in rows)
    return np.frombuffer(b"".join(digests), dtype="<u8").copy()


def _text(value: object) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return f"{'s' if isinstance(value, str) else 'n'}{value}"
