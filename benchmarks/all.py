"""Every claim of docs/performance.md, the most telling first: ``python3 benchmarks/all.py [--rounds 2] [--missing]``.

First the claims on rasters with a little noise, then equality and memory, then the claims without noise and with much;
what takes half an hour and more comes late.  What is missing on this machine is skipped with a sentence; a script that
fails is named at the end, and the exit code is then 1.  Every result is kept as soon as it is there: after an
interruption ``--missing`` goes on with what has none of this engine yet.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from claims import CLAIMS, FOREST, LEARNER
from common import command_line
from pinned import NOISE

FOLDER = Path(__file__).resolve().parent
SLOW = ("forest-otb", "forest-500")  # of which a run of the rival takes minutes
ONCE = (
    ("equality.py",),
    ("classify_memory.py", "--side", "4000", "20000"),
    ("classify_memory.py", "--side", "4000", "8000", "--trees", "100"),
)


def commands() -> list[tuple[str, ...]]:
    """Return scripts with their options, in order."""
    first, *others = map(str, NOISE)
    return [
        *_quick("--noise", first),
        *ONCE,
        (FOREST, "--claims", "forest-otb", "--noise", first),
        *_quick("--noise", *others),
        (FOREST, "--claims", "forest-500", "--noise", first),
        (FOREST, "--claims", "forest-otb", "--noise", *others),
        (FOREST, "--claims", "forest-500", "--noise", *others),
    ]


def _quick(*noise: str) -> list[tuple[str, ...]]:
    quick = [claim.id for claim in CLAIMS if claim.script == FOREST and claim.id not in SLOW]
    return [(FOREST, "--claims", *quick, *noise), (LEARNER, *noise), ("thread_scaling.py", *noise)]


def main() -> int:
    """Run all scripts; return 1 when one of them failed."""
    options = command_line(__doc__).parse_args()
    passed_on = ["--rounds", str(options.rounds), *(["--missing"] if options.missing else [])]
    failed = []
    begin = time.perf_counter()
    for command in commands():
        text = " ".join([*command, *passed_on])
        print(f"\n== {text} (after {(time.perf_counter() - begin) / 60:.0f} minutes)", flush=True)
        script = str(FOLDER / command[0])
        if subprocess.run([sys.executable, script, *command[1:], *passed_on], check=False).returncode:
            failed.append(text)
    print(f"\n{(time.perf_counter() - begin) / 60:.0f} minutes")
    if failed:
        print("Failed:", *failed, sep="\n  ")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
