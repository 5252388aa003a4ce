"""Earth Engine's documented caps: how much of each is used, and what to change (reference, section 8).

The caps belong to Earth Engine's service; here they are measured, and warned about or enforced when wanted.
"""

from __future__ import annotations

import math
from typing import Any, Iterable, Mapping, NamedTuple

import numpy as np

from .errors import LimitExceeded, SettingError
from .progress import Progress

MEBIBYTE = 2**20
FLOAT32_BYTES = 4
TRAINING_BYTES_CAP = 100 * MEBIBYTE
TRAINING_VALUES_CAP = TRAINING_BYTES_CAP // FLOAT32_BYTES  # 26 214 400; so many are still allowed
TILE_SIDE = 256
TILE_BYTES_CAP = 100 * MEBIBYTE  # a tile must stay below
BANDS_CAP = TILE_BYTES_CAP // (TILE_SIDE * TILE_SIDE * FLOAT32_BYTES)  # 400; fewer are allowed
MODEL_BYTES_CAP = 100 * MEBIBYTE  # a model must stay below
NEAR = 0.8
SAFELY = 0.95  # advice about sizes that can only be estimated aims at this share

OK, NEARLY, OVER = STATES = ("ok", "near", "over")
WARN, ENFORCE, IGNORE = POLICIES = ("Warn", "Enforce", "Ignore")


class Gauge(NamedTuple):
    """One cap and how far it is used; ``value`` and ``cap`` have the same unit, ``share`` is 1 at the cap."""

    id: str
    title: str
    value: int
    cap: int
    share: float
    state: str
    figures: str
    advice: str


def training_gauge(rows: int, predictors: int, name: str = "", subsampling: float = 1.0) -> Gauge:
    """Return the gauge of one table (one ``.train()`` call): at most 26 214 400 float32 values.

    *rows* are those that are trained on; *subsampling* is the setting that left them.
    """
    values = rows * predictors
    share = values / TRAINING_VALUES_CAP
    state = _state(share, over=values > TRAINING_VALUES_CAP)
    figures = (
        f"{counted(rows, 'row')} × {counted(predictors, 'predictor')} × {FLOAT32_BYTES} bytes = "
        f"{mebibytes(values * FLOAT32_BYTES)} of {mebibytes(TRAINING_BYTES_CAP)} ({percent(share)})"
    )
    advice = ""
    if state == NEARLY:
        advice = _room(TRAINING_VALUES_CAP // predictors - rows, "row", TRAINING_VALUES_CAP // rows - predictors)
    elif state == OVER:
        advice = _smaller_table(rows, predictors, subsampling)
    title = f"Training data ({name})" if name else "Training data"
    return Gauge("training", title, values, TRAINING_VALUES_CAP, share, state, figures, advice)


def bands_gauge(bands: int, tile_side: int = TILE_SIDE) -> Gauge:
    """Return the gauge of an image to classify: fewer than 400 float32 bands on a tile of 256 × 256 pixels.

    A tile of another side is measured against the same 100 MiB.
    """
    share = tile_bytes(bands, tile_side) / TILE_BYTES_CAP
    state = _state(share, over=share >= 1)
    most = (TILE_BYTES_CAP - 1) // tile_bytes(1, tile_side)
    figures = (
        f"{counted(bands, 'band')} (fewer than {thousands(most + 1)}) × {tile_side} × {tile_side} pixels × "
        f"{FLOAT32_BYTES} bytes = {mebibytes(tile_bytes(bands, tile_side))} per tile of {mebibytes(TILE_BYTES_CAP)} "
        f"({percent(share)})"
    )
    advice = ""
    if state == NEARLY:
        advice = _room(most - bands, "band")
    elif state == OVER:
        ways = [f"choose at most {counted(most, 'band')} with BANDS"] if most else []
        if tile_side > TILE_SIDE:
            ways.append(f"set TILE_SIZE={math.isqrt((TILE_BYTES_CAP - 1) // tile_bytes(bands, 1))}")
        advice = _ways(ways)
    return Gauge("bands", "Bands", bands, most + 1, share, state, figures, advice)


def model_gauge(size_bytes: int, settings: Mapping[str, Any] | None = None, leaves: float | None = None) -> Gauge:
    """Return the gauge of a model file: less than 100 MiB.

    *settings* are the learner's; *leaves* is the mean (or largest) number of leaves in its trees.
    """
    share = size_bytes / MODEL_BYTES_CAP
    state = _state(share, over=size_bytes >= MODEL_BYTES_CAP)
    figures = (
        f"{counted(size_bytes, 'byte')} = {mebibytes(size_bytes)} of {mebibytes(MODEL_BYTES_CAP)} ({percent(share)})"
    )
    advice = ""
    if state == NEARLY:
        advice = f"There is room for {mebibytes(MODEL_BYTES_CAP - 1 - size_bytes)} more."
    elif state == OVER:
        advice = _smaller_model(share, settings or {}, leaves)
    return Gauge("model", "Model", size_bytes, MODEL_BYTES_CAP, share, state, figures, advice)


def leaves_per_tree(arrays: Mapping[str, np.ndarray]) -> float | None:
    """Return the mean number of leaves in the trees of a model's *arrays*, or None when it has no trees."""
    if "tree_start" not in arrays:
        return None
    return float((arrays["feature"] < 0).sum() / (len(arrays["tree_start"]) - 1))


def tile_bytes(bands: int, tile_side: int = TILE_SIDE) -> int:
    """Return the bytes of one float32 tile with *bands* bands and *tile_side* × *tile_side* pixels."""
    return tile_side * tile_side * bands * FLOAT32_BYTES


def verdict(gauges: Iterable[Gauge]) -> str:
    """Return the worst state among *gauges*; without any it is "ok"."""
    return max((gauge.state for gauge in gauges), key=STATES.index, default=OK)


def sentence(gauge: Gauge) -> str:
    """Return title, figures, verdict and advice of *gauge* as text for a log or a message."""
    verdicts = {OK: "within", NEARLY: "near", OVER: "over"}
    text = f"{gauge.title}: {gauge.figures}, {verdicts[gauge.state]} Earth Engine's cap."
    return f"{text} {gauge.advice}".strip()


def obey(gauge: Gauge, policy: str, progress: Progress) -> None:
    """Do what *policy* says about *gauge*: "Warn", "Enforce" (raise `LimitExceeded` when over) or "Ignore"."""
    if policy not in POLICIES:
        raise SettingError(f"LIMITS is {policy!r}: choose one of {', '.join(POLICIES)}.")
    if policy == IGNORE or gauge.state == OK:
        return
    if policy == ENFORCE and gauge.state == OVER:
        raise LimitExceeded(f"{sentence(gauge)} (LIMITS=Warn goes on all the same.)")
    progress.warn(sentence(gauge))


def thousands(number: int) -> str:
    """Return 1234567 as "1,234,567"."""
    return f"{number:,}"


def counted(number: int, noun: str) -> str:
    """Return "1 row", "12,000 rows"."""
    return f"{thousands(number)} {noun}" if number == 1 else f"{thousands(number)} {noun}s"


def mebibytes(size_bytes: float) -> str:
    """Return a size as "0.27 MiB", "58.4 MiB", "1,234 MiB"."""
    size = size_bytes / MEBIBYTE
    if 0 < size < 0.01:
        return "less than 0.01 MiB"
    decimals = 2 if size < 9.995 else 1 if size < 99.95 else 0
    return f"{size:,.{decimals}f} MiB"


def percent(share: float) -> str:
    """Return 0.0027 as "0.3 %"; what is not exactly 1 never reads as "100.0 %"."""
    rounded = round(100 * share, 1)
    if share < 1:
        rounded = min(rounded, 99.9)
    elif share > 1:
        rounded = max(rounded, 100.1)
    return f"{rounded:,.1f} %"


def _state(share: float, over: bool) -> str:
    if over:
        return OVER
    return NEARLY if share >= NEAR else OK


def _room(number: int, noun: str, predictors: int = 0) -> str:
    if number < 1:
        return f"There is no room for another {noun}."
    other = f", or for {counted(predictors, 'more predictor')}" if predictors > 0 else ""
    return f"There is room for {counted(number, f'more {noun}')}{other}."


def _smaller_table(rows: int, predictors: int, subsampling: float) -> str:
    most_rows, most_predictors = TRAINING_VALUES_CAP // predictors, TRAINING_VALUES_CAP // rows
    ways = []
    if most_rows:
        fraction = _rounded_down(subsampling * SAFELY * most_rows / rows)
        parts = math.ceil(rows / most_rows)
        ways += [
            f"set SUBSAMPLING={fraction}",
            f"give at most {counted(most_rows, 'row')}",
            f"split the table into {parts} and give each as a TRAINING of its own (every table has the whole cap)",
        ]
    if most_predictors:
        ways.append(f"choose at most {counted(most_predictors, 'predictor')} with INPUT_PROPERTIES")
    return _ways(ways)


def _smaller_model(share: float, settings: Mapping[str, Any], leaves: float | None) -> str:
    ways: list[str] = []
    trees = settings.get("number_of_trees")
    if trees and trees * SAFELY / share >= 1:
        ways.append(f"set NUMBER_OF_TREES={int(trees * SAFELY / share)}")
    if leaves and leaves * SAFELY / share >= 2:
        ways.append(f"set MAX_NODES={int(leaves * SAFELY / share)}")
    return _ways(ways or [f"train on fewer samples (SUBSAMPLING={_rounded_down(SAFELY / share)}) or predictors"])


def _ways(ways: list[str]) -> str:
    text = ", or ".join(ways)
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def _rounded_down(fraction: float) -> str:
    """Return a fraction below 1 with two significant digits, never more than it is."""
    digits = max(2, 1 - math.floor(math.log10(fraction)))
    return f"{math.floor(fraction * 10**digits) / 10**digits:.{digits}f}"
