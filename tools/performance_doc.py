"""Write docs/performance.md from what the benchmarks left in benchmarks/results: `performance_doc.py [file]`.

Of every claim and variant the newest result counts.  Nothing is left out: a gate that is missed, and a claim that
nobody measured, are said to be so.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
sys.path.insert(0, str(ROOT / "benchmarks"))

from claims import CLAIMS, Claim  # noqa: E402

ENOUGH_ROUNDS = 5
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
BUSY = 3.0  # the load of a machine, before a run, at which its figures deserve a doubt; the run before leaves some 2
WORDS = {"stretch": "gate and stretch reached", "gate": "gate reached", "missed": "**gate missed**"}

TOP = """\
# Performance

Written by `tools/performance_doc.py` from the output of `benchmarks/`; do not edit it. Measured {dates}.

## How it is measured

- Both sides run in turn, forwards and backwards, round after round; the ratio is that of one round. A table shows the
  smallest, **median** and largest ratio; the median counts.
- "× faster" is the rival's time divided by RasterML's, from file to file, each side a fresh process, 2 threads, without
  the start of QGIS. Where a script compares in memory instead, "compared with" says so.
- In brackets the median ratio of the processors' time of both sides, which other work on the machine disturbs less than
  the clock. *Load* is the number of waiting processes before and after; our own runs add up to 2 to the second.
- A "+" after a commit marks a checkout with changes that are not in it; the letter after it is the machine's, below.
- The rasters are a part of the North Carolina Landsat scene, twice as fine and mirrored to size
  (`benchmarks/pinned.py`), with three levels of noise: none, 2 % of the value + 8 DN, 5 % + 20 DN, of values from 10
  to 2550. The training labels are the land cover of four years before, 6 % of them replaced by another class: large,
  noisy trees.
- Rivals get what is usual for them: scikit-learn uncompressed GeoTIFF and as many threads as RasterML, OTB its own
  training with a forest of about as many nodes. kNN and SVM get smaller rasters than the
  others, since they are slow; fixed costs weigh more there, on RasterML's side above all.

"""

BOTTOM = """\
## Run it yourself

    make demo           # fetches the scene
    make performance    # all claims, some four hours; then writes this page again
    make performance OPTIONS=--missing    # goes on after an interruption
    python3 benchmarks/forest_map.py --claims forest-tiles --side 1000 --rounds 2    # a look of a minute

OTB (`otb-bin`) and Dask (`distributed`) are optional; what needs them says so and goes on. `CONTRIBUTING.md` says more.
"""


def results() -> dict[str, list[dict[str, Any]]]:
    """Return the newest result of every variant, by claim; variants in the order in which they were first measured."""
    found: dict[str, list[dict[str, Any]]] = {}
    for path in sorted(RESULTS.glob("*.json")):
        newest: dict[str, dict[str, Any]] = {}
        for result in sorted(map(json.loads, path.read_text("utf-8").splitlines()), key=lambda result: result["date"]):
            newest[result["variant"]] = result
        found[path.stem] = [newest[variant] for variant in sorted(newest)]
    return found


def page(found: dict[str, list[dict[str, Any]]]) -> str:
    everything = [result for group in found.values() for result in group]
    machines = list(dict.fromkeys(_machine(result["machine"]) for result in everything))
    for result in everything:
        letter = LETTERS[machines.index(_machine(result["machine"]))]
        result["origin"] = f"{result['date'][:10]}, {result['revision']}, {letter}"
    return "".join(
        [
            TOP.format(dates=_dates(everything)),
            _summary(found),
            *(_details(claim, found.get(claim.id, [])) for claim in CLAIMS),
            _equality(found.get("equality", [])),
            _memory(found.get("memory", [])),
            _machines(machines, everything),
            BOTTOM,
        ]
    )


def _dates(everything: list[dict[str, Any]]) -> str:
    days = sorted({result["date"][:10] for result in everything})
    return "never" if not days else days[0] if len(days) == 1 else f"from {days[0]} to {days[-1]}"


def _summary(found: dict[str, list[dict[str, Any]]]) -> str:
    rows = []
    for claim in CLAIMS:
        group = found.get(claim.id, [])
        bounds = [f"≤ {bound:g}×" if claim.at_most else f"{bound:g}×" for bound in (claim.gate, claim.stretch)]
        medians = ", ".join(f"{median:.1f}" for median in sorted(result["spread"][1] for result in group))
        rows.append([claim.title, *bounds, medians or "–", _verdict(claim, group)])
    heading = ["claim", "gate", "stretch", "medians", "verdict"]
    return "## The claims\n\n" + _table(heading, rows, "lrrrl")


def _verdict(claim: Claim, group: list[dict[str, Any]]) -> str:
    """Return what is true of all variants, or how many miss the gate."""
    reached = [claim.reached(result["spread"][1]) for result in group]
    if not reached:
        return "not measured yet"
    few = sum(result["rounds"] < ENOUGH_ROUNDS for result in group)
    doubt = f"; {few} of {len(group)} with fewer than {ENOUGH_ROUNDS} rounds" if few else ""
    missed = reached.count("missed")
    if missed:
        return f"{WORDS['missed']} by {missed} of {len(group)}{doubt}"
    return f"{WORDS['gate' if 'gate' in reached else 'stretch']} by all {len(group)}{doubt}"


def _details(claim: Claim, group: list[dict[str, Any]]) -> str:
    if not group:
        return ""
    rows = []
    for result in group:
        low, median, high = result["spread"]
        seconds = " / ".join(f"{statistics.median(side):.1f}" for side in result["seconds"])
        rows.append(
            [
                result["variant"],
                f"{low:.1f} – **{median:.1f}** – {high:.1f} ({result['processors'][1]:.1f})",
                seconds,
                str(result["rounds"]),
                " → ".join(f"{load:.1f}" for load in result["load"]),
                result["origin"],
                WORDS[claim.reached(median)],
            ]
        )
    heading = ["raster", "ratio", "seconds", "rounds", "load", "date, commit, machine", ""]
    last = group[-1]
    notes = [f"- {result['variant']}: {result['notes']}" for result in group if result["notes"]]
    return "".join(
        [
            f"### {_sentence(claim.title)}\n\n",
            _table(heading, rows, "lrrrrll"),
            f"Compared with: {last['compared']}. Again: `{last['command']}`\n\n",
            "\n".join(notes) + "\n\n" if notes else "",
        ]
    )


def _equality(group: list[dict[str, Any]]) -> str:
    if not group:
        return "## Equality\n\nNot measured yet: `python3 benchmarks/equality.py`.\n\n"
    ways: dict[str, list[int]] = {}
    for result in group:
        for way, differing in result["differing"].items():
            counted = ways.setdefault(way, [0, 0])
            counted[0] += result["pixels"]
            counted[1] += differing
    rows = [[way, f"{pixels:,}", f"{differing:,}"] for way, (pixels, differing) in ways.items()]
    rasters = "\n".join(f"- {result['variant']} ({result['origin']})" for result in group)
    return (
        "## Equality\n\nLabels that differ from the plain majority vote, tree by tree, on rasters with masks inside "
        "blocks:\n\n" + _table(["way", "pixels with data", "differing"], rows, "lrr") + rasters + "\n\n"
    )


def _memory(group: list[dict[str, Any]]) -> str:
    if not group:
        return "## Memory\n\nNot measured yet: `python3 benchmarks/classify_memory.py --side 4000 20000`.\n\n"
    group = sorted(group, key=lambda result: int(result["variant"].split()[0]))
    rows = [
        [
            result["variant"],
            f"{result['megabytes']:,}",
            str(result["limit"]),
            f"{result['seconds']}",
            result["origin"],
        ]
        for result in group
    ]
    heading = ["image", "peak, MB", "MEMORY_LIMIT", "seconds", "date, commit, machine"]
    return f"## Memory\n\n{_sentence(group[-1]['compared'])}.\n\n" + _table(heading, rows, "lrrrl")


def _machines(machines: list[str], everything: list[dict[str, Any]]) -> str:
    busy = sum(result["load"][0] >= BUSY for result in everything)
    doubt = (
        f"{busy} of {len(everything)} results began while the machine was busy with other work, too (load of {BUSY:g} "
        "or more): measure them again before you rely on their second digit.\n\n"
        if busy
        else ""
    )
    lines = (f"- {letter}: {line}\n" for letter, line in zip(LETTERS, machines))
    return "## Machines\n\n" + "".join(lines) + "\n" + doubt


def _machine(machine: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    size = f"{machine['cores']} cores, {machine['memory_gib']} GiB"
    return f"{machine['processor']}, {size}, {machine['system']}; {versions}"


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


def _table(heading: list[str], rows: list[list[str]], alignment: str) -> str:
    marks = ["---:" if letter == "r" else "---" for letter in alignment]
    return "\n".join(_lines([heading, marks, *rows])) + "\n\n"


def _lines(rows: list[list[str]]) -> Iterator[str]:
    return (f"| {' | '.join(row)} |" for row in rows)


def main() -> None:
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "performance.md"
    found = results()
    path.write_text(page(found), "utf-8")
    print(f"{path}: {sum(map(len, found.values()))} results")


if __name__ == "__main__":
    main()
