"""How much faster two threads are than one: whole RasterML processes on the same raster, in interleaved rounds.

    python3 benchmarks/thread_scaling.py [--noise 2 0 5] [--rounds 5] [--missing] [--side 1000] [--threads 2]

On a machine that does other things meanwhile the ratio says more about these than about RasterML: look at the load.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pinned
from common import THREADS, command_line, interleaved, load_package, require
from forest_map import OURS, SIDE, Setup, command, execute, model
from kept import is_measured, record
from pinned import FOLDER, NOISE, Pinned


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--side", type=int, default=SIDE, help="pixels a side (default: %(default)s)")
    parser.add_argument("--noise", nargs="+", type=int, choices=list(NOISE), default=list(NOISE))
    parser.add_argument("--threads", type=int, default=THREADS)
    options = parser.parse_args()
    require("scikit-learn")
    load_package()
    setup = Setup({})
    for noise in options.noise:
        image = Pinned(options.side, noise=noise)
        if options.missing and is_measured("threads", str(image), options.rounds):
            continue
        path, forest = pinned.raster(image), model(image, setup.trees, setup.rows, OURS)
        path.read_bytes()  # into the system's cache
        load = os.getloadavg()
        with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
            output = str(Path(folder) / "map.tif")

            def run(threads: int, arguments=(OURS, path, forest, output)) -> None:
                execute(command(*arguments, threads), threads)

            sides = {f"{threads} threads": lambda threads=threads: run(threads) for threads in (1, options.threads)}
            one, many = interleaved(sides, options.rounds).values()
        record(
            "threads",
            str(image),
            one,
            many,
            compared=f"RF-100 map with {options.threads} threads against 1, whole processes",
            load=load,
            kept=options.side == SIDE,
        )


if __name__ == "__main__":
    main()
