"""How much faster two threads are than one: whole RasterML processes on the same raster, in interleaved rounds.

    python3 benchmarks/thread_scaling.py [--noise 0 2 5] [--rounds 5] [--side 2000] [--threads 2]

On a machine that does other things meanwhile the ratio says more about these than about RasterML: look at the load.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pinned
from common import THREADS, command_line, interleaved, load_package, record, require
from forest_map import OURS, SIDE, Setup, command, execute, model
from pinned import FOLDER, NOISE, Pinned


def main() -> None:
    parser = command_line(__doc__, side=SIDE)
    parser.add_argument("--noise", nargs="+", type=int, choices=list(NOISE), default=list(NOISE))
    parser.add_argument("--threads", type=int, default=THREADS)
    options = parser.parse_args()
    require("scikit-learn")
    load_package()
    setup = Setup({})
    for noise in options.noise:
        image = Pinned(options.side, noise=noise)
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
