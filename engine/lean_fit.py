"""The straight line through each pixel's values where all pixels share X, from the numbers that the files store.

Five sums say all: n, Σx and Σx² over a pixel's valid images, Σy and Σxy.  The first three follow from which images are
valid, eight at a time by table; in the other two a gap counts as the number that stands for it, whose share is taken
away at the end, so that whole numbers need no masking.  X is centred at one value for all pixels.

Digits: a pixel is left to the ordinary kernel where its squared distances from its mean x add up to less than 1e-4 of
those of all images, as where x does not vary at all.  For the others rounding costs the slope, in units of its natural
size sd y / sd x, some 1e-15 of what the mean of y is in units of sd y (1e-9 for float32 around 1e6 ± 1), and in whole
numbers as much of what the number of a gap is, more where nearly all images are gaps: at worst 4e-8, half a unit in the
last place of the Float32 output.
"""

from __future__ import annotations

from typing import Callable, Iterator, NamedTuple

import numpy as np

PIXELS_AT_ONCE = 2**16  # whose sums just stay in the second cache; short calls of numpy hold other threads up
LEAST_SPREAD = 1e-4  # of the squared distances from the mean x
ROUNDING = 2.0**-50  # a few times the relative error of a sum


class LeanFit(NamedTuple):
    """``outputs`` (outputs, pixels), NaN where not ``sure``; ``used``, how many images are valid."""

    outputs: np.ndarray
    used: np.ndarray
    sure: np.ndarray


class Stored(NamedTuple):
    """``values`` (images, pixels) as the files store them: whole numbers of at most 16 bits, or float32.

    ``gaps(values)`` says where they are masked; whole numbers are ``nodata`` there (None: there are no gaps).
    """

    values: np.ndarray
    gaps: Callable[[np.ndarray], np.ndarray]
    nodata: float | None

    @property
    def filler(self) -> float:
        """What a gap counts as in sums: whole numbers are summed as they are, others as 0."""
        kind = self.values.dtype
        if kind.kind == "f" or self.nodata is None:
            return 0.0
        limits = np.iinfo(kind)
        return float(int(self.nodata)) if limits.min <= self.nodata <= limits.max else 0.0  # else there are no gaps


def linear_fit(x: np.ndarray, stored: Stored, check: Callable[[], None]) -> LeanFit:
    """Return scale and offset of the least-squares lines of *stored* on *x* (1, images)."""
    x = x[0]
    pixels = stored.values.shape[1]
    result = LeanFit(np.empty((2, pixels)), np.empty(pixels, dtype=np.int64), np.empty(pixels, dtype=bool))
    centre = float(np.mean(x))
    tables = list(_tables(x - centre))
    for start in range(0, pixels, PIXELS_AT_ONCE):
        check()
        span = slice(start, start + PIXELS_AT_ONCE)
        part = _fit(x - centre, centre, tables, stored._replace(values=stored.values[:, span]))
        for whole, values in zip(result, part):
            whole[..., span] = values
    return result


def _fit(x: np.ndarray, centre: float, tables: list[np.ndarray], stored: Stored) -> LeanFit:
    pixels = stored.values.shape[1]
    whole = stored.values.dtype.kind != "f"
    missing, sums_x = np.zeros(pixels, dtype=np.int32), np.zeros(pixels, dtype=complex)
    sum_y, sum_xy = np.zeros(pixels), np.zeros(pixels)
    found, y = np.empty(pixels, dtype=complex), np.empty(pixels)
    for number, table in enumerate(tables):
        eight = slice(8 * number, 8 * number + 8)
        values = stored.values[eight]
        gaps = stored.gaps(values)
        missing += np.add.reduce(gaps.view(np.uint8), axis=0, dtype=np.uint8)
        sums_x += np.take(table, _packed(gaps), out=found, mode="clip")  # "raise" would copy the output
        if not whole:
            values = _emptied(values, gaps)
        for one_x, one_y in zip(x[eight], values):
            y[:] = one_y
            sum_y += y
            y *= one_x
            sum_xy += y
    count = len(x) - missing
    sum_x, squares_x = sums_x.real, sums_x.imag
    total = np.square(x).sum()
    gaps_y = stored.filler * missing
    rounding = ROUNDING * np.abs(x).max() * (np.abs(sum_y - gaps_y) + np.abs(gaps_y))
    sum_y -= gaps_y
    sum_xy -= stored.filler * (x.sum() - sum_x)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean_x = sum_x / count
        squares = squares_x - sum_x * mean_x
        products = sum_xy - sum_y * mean_x
        products[np.abs(products) <= rounding] = 0  # a constant pixel
        sure = squares > LEAST_SPREAD * total
        scale = np.where(sure, products / squares, np.nan)
        offset = sum_y / count - scale * (mean_x + centre)
    return LeanFit(np.stack([scale, offset]), count, sure)


def _tables(x: np.ndarray) -> Iterator[np.ndarray]:
    """Yield, for each eight images, Σx + i·Σx² over those whose bits a byte lacks, (256,)."""
    for start in range(0, len(x), 8):
        eight = x[start : start + 8]
        table = np.zeros(256, dtype=complex)
        for bit, each in enumerate(eight):
            table[np.arange(256) >> bit & 1 == 0] += complex(each, each * each)
        yield table


def _packed(flags: np.ndarray) -> np.ndarray:
    """Return *flags* (up to 8, pixels) as a byte for each pixel, the first as the lowest bit.

    `numpy.packbits` along this axis takes ten times as long.
    """
    layers = flags.view(np.uint8)
    result = layers[-1].copy()
    for layer in layers[-2::-1]:
        result += result
        result |= layer
    return result


def _emptied(values: np.ndarray, gaps: np.ndarray) -> np.ndarray:
    """Return float32 *values* with 0 where *gaps*."""
    bits = values.view(np.int32)
    return np.multiply(bits, (~gaps).view(np.int8)).view(np.float32)  # NaN · 0 is NaN, its bits · 0 are 0
