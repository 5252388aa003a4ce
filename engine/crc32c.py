"""The checksum CRC-32C (Castagnoli) of many byte strings at once, in numpy.

The register of a cyclic code is linear over GF(2).  So the 32-bit words of a message need not go through it
one after the other: the first half, moved over the second by one table look-up for each 16 bits, is added
(exclusive or) to the second half, then the same with half as many words, down to one.  Every step works on
all words and all messages of a run at once: some 600 MB/s, a loop over bytes in Python has about 8.
"""

from __future__ import annotations

import functools
from typing import Sequence

import numpy as np

POLYNOMIAL = 0x82F63B78  # reflected: bit 31 stands for 1
# A register of zeros holds all ones after these four bytes, which is how CRC-32C starts; zeros before change nothing.
START = bytes.fromhex("54641f64")
RUN_BYTES = 2**21  # worked on at once: the tables and a run should stay in the cache


def checksums(messages: Sequence[bytes]) -> np.ndarray:
    """Return the CRC-32C of every message (uint32)."""
    found: np.ndarray = np.empty(len(messages), dtype=np.uint32)
    run: list[int] = []
    for index in sorted(range(len(messages)), key=lambda number: len(messages[number])):
        if run and len(messages[index]) * len(run) > RUN_BYTES:
            found[run] = _checksums([messages[number] for number in run])
            run = []
        run.append(index)
    if run:
        found[run] = _checksums([messages[number] for number in run])
    return found


def _checksums(messages: Sequence[bytes]) -> np.ndarray:
    width = -(-(len(START) + max(map(len, messages))) // 4) * 4
    padded = b"".join((START + message).rjust(width, b"\0") for message in messages)
    words = np.frombuffer(padded, dtype="<u4").reshape(len(messages), -1)
    while words.shape[1] > 1:
        power = (words.shape[1] - 1).bit_length() - 1
        extra = words.shape[1] - 2**power  # the words before the last 2^power
        folded = words[:, extra:].copy()
        folded[:, -extra:] ^= _moved(words[:, :extra], power)
        words = folded
    return ~_moved(words, 0)[:, 0]


def _moved(words: np.ndarray, power: int) -> np.ndarray:
    """Return the registers *words* after 2^*power* words of zeros."""
    low, high = _tables(power)
    moved = low.take(words & np.uint32(0xFFFF))
    moved ^= high.take(words >> np.uint32(16))
    return moved


@functools.cache
def _tables(power: int) -> tuple[np.ndarray, np.ndarray]:
    """Return what becomes of the lower and of the upper 16 bits of a register after 2^*power* words of zeros."""
    bits = np.left_shift(np.uint32(1), np.arange(32, dtype=np.uint32))
    if power:
        bits = _moved(_moved(bits, power - 1), power - 1)
    else:
        for _ in range(32):
            bits = (bits >> np.uint32(1)) ^ (bits & np.uint32(1)) * np.uint32(POLYNOMIAL)
    return _sums(bits[:16]), _sums(bits[16:])


def _sums(bits: np.ndarray) -> np.ndarray:
    """Return the sum (exclusive or) of every choice of *bits*: entry n of those whose bit is set in n."""
    sums: np.ndarray = np.zeros(1, dtype=np.uint32)
    for bit in bits:
        sums = np.concatenate([sums, sums ^ bit])
    return sums
