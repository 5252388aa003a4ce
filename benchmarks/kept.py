"""Results that docs/performance.md shows: one line of JSON for each variant in benchmarks/results/<claim>.json.

Git keeps these files.  A new result takes the place of the line of the same variant.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common import ROOT, Seconds, ratios, spread, version

RESULTS = ROOT / "benchmarks" / "results"


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
    wall, processors = ratios(numerator, denominator), ratios(numerator, denominator, "processors")
    measured = {
        "rounds": len(wall),
        "spread": _rounded(spread(wall)),
        "processors": _rounded(spread(processors)),
        "ratios": _rounded(wall),
        "seconds": [_rounded([item.wall for item in side]) for side in (numerator, denominator)],
        "processor_seconds": [_rounded([item.processors for item in side]) for side in (numerator, denominator)],
    }
    print(
        f"{claim}, {variant}: {spread(wall)} (processors' time {spread(processors)})",
        *([notes] if notes else []),
        sep="; ",
    )
    if kept:
        keep(claim, variant, measured, compared=compared, notes=notes, load=load)


def _rounded(numbers: Sequence[float]) -> list[float]:
    return [round(number, 3) for number in numbers]


def keep(
    claim: str, variant: str, measured: dict[str, Any], *, compared: str, notes: str = "", load: Sequence[float] = ()
) -> None:
    """Write one result of *claim* to its file; *measured* holds the figures."""
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
    newest = {**{older["variant"]: older for older in results(claim)}, variant: result}
    RESULTS.mkdir(exist_ok=True)
    lines = (json.dumps(newest[name], ensure_ascii=False) + "\n" for name in sorted(newest))
    (RESULTS / f"{claim}.json").write_text("".join(lines), "utf-8")


def results(claim: str) -> list[dict[str, Any]]:
    """Return the results of *claim*, one of each variant."""
    path = RESULTS / f"{claim}.json"
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []


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
    for command in (["git", "rev-parse", "--short=7", "HEAD"], ["git", "status", "--porcelain", "engine"]):
        try:
            texts.append(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip())
        except (OSError, subprocess.CalledProcessError):
            return "unknown"
    return texts[0] + ("+" if texts[1] else "")


def is_measured(claim: str, variant: str, rounds: int = 0) -> bool:
    """Tell whether *variant* has a result, of so many rounds, of this very engine and this kind of processor."""
    for result in results(claim):
        alike = result["variant"] == variant and result["machine"]["processor"] == machine()["processor"]
        if alike and result.get("rounds", rounds) >= rounds and _is_of_this_engine(result["revision"]):
            print(f"{claim}, {variant}: measured already")
            return True
    return False


def _is_of_this_engine(commit: str) -> bool:
    """Tell whether engine/ is as it was in *commit*: what lies elsewhere may have changed, as the results have."""
    if commit.endswith("+") or revision().endswith("+"):
        return False
    return not subprocess.run(["git", "diff", "--quiet", commit, "--", "engine"], cwd=ROOT, check=False).returncode
