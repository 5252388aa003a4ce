"""The straight line through each pixel's values where all pixels share X, from the numbers that the files store.

Five sums say all: n, Σx and Σx² over a pixel's valid images, Σy and Σxy.  The first three follow from which images are
valid, eight at a time by table; in the other two a gap counts as the number that stands for it, whose share is taken
away at the end, so that whole numbers need no masking.  X is centred at one value for all pixels.

Order: the result is the same, bit for bit, however many pixels are computed at once.  Floats are added up in a fixed
order, eight images at a time.  For whole numbers BLAS does that, in an order of its own and twice as fast, since its
sums are exact.

Digits: a pixel is left to the ordinary kernel where its squared distances from its mean x add up to less than 1e-4 of
those of all images, as where x does not vary at all.  For the others rounding costs the slope, in units of its natural
size sd y / sd x, some 1e-15 of what the mean of y is in units of sd y (1e-9 for float32 around 1e6 ± 1), and in whole
numbers as much of what the number of a gap is, more where nearly all images are gaps: at worst 4e-8, half a unit in the
last place of the Float32 output.  For whole numbers X is rounded by at most 2**-44 of its largest distance from the
centre (200 images; 2**-35 with 65,536 of UInt16).

Threads: each call of numpy works on as many numbers as stay in the cache that the processor's cores share.  Between two
calls a thread needs Python's lock, and short calls in two threads take longer than in one.
"""

from __future__ import annotations

import math
from typing import Callable, Iterable, NamedTuple

import numpy as np

from .scratch import Scratch

NUMBERS_AT_ONCE = 2**15  # pixels whose numbers are added up, eight images in a call
GAPS_AT_ONCE = 2**16  # pixels, which take less memory here
BYTES_A_PIXEL = 160  # of the sums, the result, and what a part of the images takes
LEAST_SPREAD = 1e-4  # of the squared distances from the mean x
ROUNDING = 2.0**-50  # a few times the relative error of a sum
BITS = np.left_shift(1, np.arange(8)).astype(np.uint8)


class LeanFit(NamedTuple):
    """``outputs`` (outputs, pixels), NaN where not ``sure``; ``used``, how many images are valid."""

    outputs: np.ndarray
    used: np.ndarray
    sure: np.ndarray


class Stored(NamedTuple):
    """Values as the files store them: whole numbers of at most 16 bits, or float32.

    ``parts`` (images, pixels) follow each other; all but the last have a multiple of eight images, none above 248.
    ``gaps(values, out)`` says where they are masked; whole numbers are ``nodata`` there (None: there are no gaps).
    """

    parts: Iterable[np.ndarray]
    pixels: int
    dtype: np.dtype
    gaps: Callable[[np.ndarray, np.ndarray], np.ndarray]
    nodata: float | None

    @property
    def filler(self) -> float:
        """What a gap counts as in sums: whole numbers are summed as they are, others as 0."""
        if self.dtype.kind == "f" or self.nodata is None:
            return 0.0
        limits = np.iinfo(self.dtype)
        return float(int(self.nodata)) if limits.min <= self.nodata <= limits.max else 0.0  # else there are no gaps


def linear_fit(x: np.ndarray, stored: Stored, scratch: Scratch) -> LeanFit:
    """Return scale and offset of the least-squares lines of *stored* on *x* (1, images), in arrays of *scratch*."""
    centre = float(np.mean(x))
    sums = _Sums(x[0] - centre, stored, scratch)
    for part in stored.parts:
        sums.add(part)
    return sums.solved(centre)


class _Sums:
    """Of each pixel: how many numbers are missing, Σx + i·Σx² over the others, and Σy times `_factors` over all."""

    def __init__(self, x: np.ndarray, stored: Stored, scratch: Scratch) -> None:
        self._stored, self._scratch, self._images = stored, scratch, 0
        self._x, self._factors, self._share = _factors(x, stored.dtype)
        self._tables = _tables(self._x)
        self._missing = scratch.array("missing", (stored.pixels,), np.int32)
        self._sums_x = scratch.array("sums_x", (stored.pixels,), complex)
        self._sums_y = scratch.array("sums_y", (2, stored.pixels), float)
        width = max(2, min(stored.pixels, NUMBERS_AT_ONCE))  # numpy adds a single column up in another order
        self._numbers = scratch.array("numbers", (8, width), float)
        self._total = scratch.array("total", (2, width), float)
        self._index = scratch.array("index", (min(stored.pixels, GAPS_AT_ONCE),), np.intp)
        self._found = scratch.array("found", self._index.shape, complex)
        for each in (self._missing, self._sums_x, self._sums_y, self._numbers):
            each.fill(0)

    def add(self, part: np.ndarray) -> None:
        """Add the next images (images, pixels)."""
        eights = [slice(first, first + 8) for first in range(0, len(part), 8)]
        for span in _spans(part.shape[1], GAPS_AT_ONCE):
            values, missing = part[:, span], self._missing[span]
            gaps = self._stored.gaps(values, self._scratch.array("gaps", values.shape, bool))
            missing += np.add.reduce(gaps.view(np.uint8), axis=0, dtype=np.uint8)
            for eight in eights:
                self._add_gaps(self._images + eight.start, gaps[eight].view(np.uint8), self._sums_x[span])
            if self._stored.dtype.kind == "f":
                values = _emptied(values, gaps, self._scratch.array("emptied", values.shape, np.float32))
            for some in _spans(values.shape[1], NUMBERS_AT_ONCE):
                sums = self._sums_y[:, span][:, some]
                for eight in eights:
                    self._add_numbers(self._factors[:, self._images :][:, eight], values[eight, some], sums)
        self._images += len(part)

    def _add_gaps(self, first: int, gaps: np.ndarray, sums: np.ndarray) -> None:
        """Add up to eight images, from number *first* on, to *sums* (pixels)."""
        images, pixels = gaps.shape
        index, found = self._index[:pixels], self._found[:pixels]
        index[:] = np.einsum("k,kp->p", BITS[:images], gaps)  # `numpy.packbits` along this axis takes ten times as long
        np.take(self._tables[first // 8], index, out=found, mode="wrap")  # "raise" would copy the output
        total = sums.view(float)  # numpy adds complex numbers up half as fast
        total += found.view(float)

    def _add_numbers(self, factors: np.ndarray, values: np.ndarray, sums: np.ndarray) -> None:
        """Add up to eight images, times *factors* (2, images), to *sums* (2, pixels)."""
        images, pixels = values.shape
        width = max(2, pixels)
        numbers, total = self._numbers[:images, :width], self._total[:, :width]
        numbers[:, :pixels] = values
        if self._stored.dtype.kind == "f":  # not BLAS, which has its own order
            np.einsum("k,kp->p", factors[0], numbers, out=total[0])
            np.add.reduce(numbers, axis=0, out=total[1])
        else:  # exact in any order
            np.matmul(factors, numbers, out=total)
        sums += total[:, :pixels]

    def solved(self, centre: float) -> LeanFit:
        """Return the lines; the sums are no more."""
        x, filler, (sum_xy, sum_y) = self._x, self._stored.filler, self._sums_y
        sum_x, squares_x = self._sums_x.real, self._sums_x.imag
        count, mean_x, squares, least, other = self._scratch.array("solved", (5, len(sum_x)), float)
        if self._share:
            np.subtract(sum_y, np.rint(sum_y, out=other), out=least)  # the rest of Σxy
            sum_xy += np.divide(least, self._share, out=least)
            sum_y[:] = other
        np.subtract(len(x), self._missing, out=count)
        np.multiply(filler, self._missing, out=other)  # the gaps' share of Σy
        sum_y -= other
        np.abs(other, out=other)
        np.add(np.abs(sum_y, out=least), other, out=least)
        least *= ROUNDING * np.abs(x).max()
        np.multiply(filler, np.subtract(x.sum(), sum_x, out=other), out=other)  # and of Σxy
        sum_xy -= other
        with np.errstate(divide="ignore", invalid="ignore"):
            np.divide(sum_x, count, out=mean_x)
            np.subtract(squares_x, np.multiply(sum_x, mean_x, out=other), out=squares)
            sure = squares > LEAST_SPREAD * np.square(x).sum()
            squares[~sure] = np.nan
            sum_xy -= np.multiply(sum_y, mean_x, out=other)
            sum_xy[np.abs(sum_xy, out=other) <= least] = 0  # a constant pixel
            scale = np.divide(sum_xy, squares, out=sum_xy)
            mean_x += centre
            offset = np.divide(sum_y, count, out=sum_y)
            offset -= np.multiply(scale, mean_x, out=other)
        return LeanFit(self._sums_y, count, sure)


def _factors(x: np.ndarray, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray, float]:
    """Return *x*, what to multiply y by for Σxy and Σy, (2, images), and a share.

    For whole numbers y the sums of eight images are exact, of at most 53 bits: Σxy is that of x in whole units, what
    is left of x, times the share, is added to the 1 of Σy, where it makes less than a half, and x is rounded to that.
    """
    if dtype.kind == "f":
        return x, np.stack([x, np.ones(len(x))]), 0.0
    bits = int(np.iinfo(dtype).max).bit_length() + 3  # of eight y
    unit = 2.0 ** (math.frexp(float(np.abs(x).max()))[1] + bits - 53)
    units = np.rint(x / unit) * unit
    share = 2.0 ** (2 - bits - len(x).bit_length()) / unit
    rest = np.rint((x - units) * share * 2.0 ** (53 - bits)) * 2.0 ** (bits - 53)
    return units + rest / share, np.stack([units, 1 + rest]), share


def _tables(x: np.ndarray) -> np.ndarray:
    """Return, for each eight images, Σx + i·Σx² over those whose bits a byte lacks, (eights, 256)."""
    terms = np.zeros(-(-len(x) // 8) * 8, dtype=complex)
    terms[: len(x)] = x + 1j * np.square(x)
    tables = np.zeros((terms.size // 8, 1), dtype=complex)
    for term in terms.reshape(-1, 8, 1).swapaxes(0, 1):  # the first one is the lowest bit
        tables = np.concatenate([tables + term, tables], axis=1)
    return tables


def _emptied(values: np.ndarray, gaps: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return float32 *values* with 0 where *gaps*, in *target*; *gaps* become the opposite."""
    valid = np.logical_not(gaps, out=gaps)
    np.multiply(
        values.view(np.int32), valid.view(np.int8), out=target.view(np.int32)
    )  # NaN · 0 is NaN, its bits · 0 are 0
    return target


def _spans(pixels: int, at_once: int) -> list[slice]:
    return [slice(start, start + at_once) for start in range(0, pixels, at_once)]
