"""Java's java.util.Random, number by number: what Weka's clusterers draw from (reference, appendix A)."""

from __future__ import annotations

import functools
from typing import Callable

import numpy as np

MULTIPLIER, INCREMENT = 0x5DEECE66D, 0xB
STATE_BITS = 48
MASK = 2**STATE_BITS - 1
BATCH = 4096  # draws at once; a rejected one repeats the rest of its batch


class JavaRandom:
    """The generator that ``new java.util.Random(seed)`` makes; *seed* may be negative."""

    def __init__(self, seed: int) -> None:
        self._state = (seed ^ MULTIPLIER) & MASK

    def next_int(self, bound: int | None = None) -> int:
        """Return nextInt(): a signed 32-bit number; or nextInt(bound): 0 to *bound* − 1."""
        if bound is None:
            bits = self._bits(32)
            return bits - 2**32 if bits >= 2**31 else bits
        if bound & (bound - 1) == 0:
            return (bound * self._bits(31)) >> 31
        while True:
            bits = self._bits(31)
            value = bits % bound
            if bits - value + bound - 1 < 2**31:
                return value

    def next_ints(self, bounds: np.ndarray) -> np.ndarray:
        """Return nextInt(bound) for every bound of *bounds* (int64, 1 to 2³¹ − 1) as int64, as if called in turn."""
        result = np.empty(len(bounds), dtype=np.int64)
        powers, sums = _jumps()
        done = 0
        while done < len(bounds):
            bound = bounds[done : done + BATCH]
            with np.errstate(over="ignore"):  # modulo 2⁶⁴ leaves the lower 48 bits right
                states = (powers[: bound.size] * np.uint64(self._state) + sums[: bound.size]) & np.uint64(MASK)
            bits = (states >> np.uint64(STATE_BITS - 31)).astype(np.int64)
            power_of_two = bound & (bound - 1) == 0
            values = np.where(power_of_two, (bound * bits) >> 31, bits % bound)
            rejected = ~power_of_two & (bits - values + bound - 1 >= 2**31)
            accepted = int(rejected.argmax()) if rejected.any() else bound.size
            result[done : done + accepted] = values[:accepted]
            self._state = int(states[min(accepted, bound.size - 1)])
            done += accepted
        return result

    def next_double(self) -> float:
        """Return nextDouble(): at least 0 and below 1."""
        return ((self._bits(26) << 27) + self._bits(27)) / 2**53

    def next_boolean(self) -> bool:
        """Return nextBoolean()."""
        return self._bits(1) != 0

    def shuffle(self, count: int, check: Callable[[], None] = lambda: None) -> np.ndarray:
        """Return 0 … *count* − 1 (int64) in the order that Collections.shuffle and Weka's row shuffle leave.

        *check* is called now and then, and may raise.
        """
        order = list(range(count))
        for last in range(count - 1, 0, -BATCH):
            check()
            places = np.arange(last, max(0, last - BATCH), -1)
            for place, other in zip(places.tolist(), self.next_ints(places + 1).tolist()):
                order[place], order[other] = order[other], order[place]
        return np.array(order, dtype=np.int64)

    def _bits(self, count: int) -> int:
        self._state = (self._state * MULTIPLIER + INCREMENT) & MASK
        return self._state >> (STATE_BITS - count)


@functools.lru_cache(maxsize=1)
def _jumps() -> tuple[np.ndarray, np.ndarray]:
    """Return uint64 (BATCH,) factors and summands: state i + 1 steps on is factor[i] · state + summand[i] mod 2⁴⁸."""
    factors, summands = [MULTIPLIER], [INCREMENT]
    for _ in range(BATCH - 1):
        factors.append(factors[-1] * MULTIPLIER & MASK)
        summands.append((summands[-1] * MULTIPLIER + INCREMENT) & MASK)
    return np.array(factors, dtype=np.uint64), np.array(summands, dtype=np.uint64)
