"""Every claim of docs/performance.md, one script after another: ``python3 benchmarks/all.py [option ...]``.

The options (``--rounds 2``) go to every script that compares two sides.  What is missing on this machine is skipped
with a sentence; a script that fails is named at the end, and the exit code is then 1.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from claims import CLAIMS

FOLDER = Path(__file__).resolve().parent


def main() -> int:
    """Run all scripts; return 1 when one of them failed."""
    scripts = dict.fromkeys(claim.script for claim in CLAIMS)
    commands = [[script, *sys.argv[1:]] for script in scripts]
    commands += [["equality.py"], ["classify_memory.py", "--side", "4000", "20000"]]
    failed = []
    for script, *options in commands:
        print(f"\n== {' '.join([script, *options])}", flush=True)
        if not (FOLDER / script).exists():
            print("Skipped: this script does not exist yet.")
        elif subprocess.run([sys.executable, str(FOLDER / script), *options], check=False).returncode:
            failed.append(script)
    if failed:
        print(f"\nFailed: {', '.join(failed)}")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
