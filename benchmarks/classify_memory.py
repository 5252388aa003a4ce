"""Peak memory of ``qgis_process run rasterml:classify`` on images that grow: it must not grow with them.

The images are VRTs blown up from the six bands of the North Carolina scene; the forest has 5 trees of 64 leaves, too
few for blocks and for other processes, or as many as are wished.
Counted is the resident memory of the process and its children together, looked at five times a second: libraries count
for each of them, a block of pixels that they share once.

    python3 benchmarks/classify_memory.py [--side 2000 8000] [--trees 5] [--missing]

needs QGIS_PLUGINPATH to name a folder that holds the plugin, as ``make setup`` leaves it in build/plugins.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import BANDS, ROOT, command_line, load_package, scene_folder, skip
from kept import is_measured, keep

MEMORY_LIMIT = 1024
POLL_SECONDS = 0.2


def blown_up(folder: Path, side: int, target: Path) -> str:
    """Write a VRT of *side* × *side* pixels over the bands of the scene and return its path."""
    from osgeo import gdal

    gdal.UseExceptions()
    sources = [str(folder / f"lsat7_2000_{band}.tif") for band in BANDS]
    small = gdal.BuildVRT(str(target / "scene.vrt"), sources, separate=True)
    small.FlushCache()
    path = str(target / f"{side}.vrt")
    gdal.Translate(path, small, format="VRT", width=side, height=side, outputType=gdal.GDT_Float32).FlushCache()
    return path


def model(folder: Path, target: Path, trees: int) -> str:
    import numpy as np
    from osgeo import gdal
    from rasterml.engine.learners import CLASSIFICATION
    from rasterml.engine.models import save_model
    from rasterml.engine.training import Table, collect, train

    bands = np.stack([gdal.Open(str(folder / f"lsat7_2000_{band}.tif")).ReadAsArray() for band in BANDS])
    labels = gdal.Open(str(folder / "strata.tif")).ReadAsArray()
    valid = (bands > -1000).all(axis=0) & (labels > 0)
    rows = np.random.default_rng(0).choice(np.count_nonzero(valid), 5000, replace=False)
    table = Table("scene", bands[:, valid].T[rows].astype(float), labels[valid][rows].astype(float))
    samples = collect([table], [f"band{number}" for number in range(1, 7)], "class", CLASSIFICATION)
    path = str(target / "forest.rasterml")
    save_model(train("trainrandomforest", samples, CLASSIFICATION, {"number_of_trees": trees, "max_nodes": 64}), path)
    return path


def peak(image: str, forest: str, target: Path) -> tuple[float, float]:
    """Run classify in a process of its own; return its peak memory in MB and its seconds."""
    request = {
        "inputs": {
            "INPUT": [image],
            "BAND_NAMES": ",".join(f"band{number}" for number in range(1, 7)),
            "MODEL": forest,
            "MEMORY_LIMIT": MEMORY_LIMIT,
            "OUTPUT": str(target / "map.tif"),
        }
    }
    environment = {
        "QGIS_PLUGINPATH": str(ROOT / "build" / "plugins"),
        "QT_QPA_PLATFORM": "offscreen",
        **os.environ,
        "QGIS_CUSTOM_CONFIG_PATH": str(target / "profile"),
    }
    enable = ["qgis_process", "plugins", "enable", "rasterml"]
    subprocess.run(enable, env=environment, capture_output=True, check=False)  # fails when it is enabled already
    start = time.perf_counter()
    process = subprocess.Popen(
        ["qgis_process", "run", "rasterml:classify", "-"],
        env=environment, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    process.stdin.write(json.dumps(request))
    process.stdin.close()
    most = 0
    while process.poll() is None:
        most = max(most, resident_bytes(process.pid))
        time.sleep(POLL_SECONDS)
    if process.returncode:
        sys.exit(f"classify failed on {image}")
    return most / 2**20, time.perf_counter() - start


def resident_bytes(process: int) -> int:
    """Return the resident memory of *process* and all that descend from it; one that ends meanwhile has none."""
    memory, parents = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):
            lines = (folder / "status").read_text("utf-8").splitlines()
            status = {name: value.split() for name, _, value in (line.partition(":") for line in lines)}
            parents[int(folder.name)] = int(status["PPid"][0])
            memory[int(folder.name)] = [int(status.get(f"Rss{kind}", ["0"])[0]) for kind in ("Anon", "File", "Shmem")]
    family, found = {process}, 0
    while len(family) > found:
        found = len(family)
        family |= {child for child, parent in parents.items() if parent in family}
    own = [memory[member] for member in family if member in memory]
    shared = max((kinds[2] for kinds in own), default=0)
    return 1024 * (shared + sum(kinds[0] + kinds[1] for kinds in own))


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--side", nargs="+", type=int, default=[2000, 8000])
    parser.add_argument("--trees", type=int, default=5)
    options = parser.parse_args()
    if shutil.which("qgis_process") is None or not Path("/proc").exists():
        skip("This needs qgis_process and Linux.")
    folder = scene_folder()
    with tempfile.TemporaryDirectory() as name:
        target = Path(name)
        forest = model(folder, target, options.trees)
        for side in options.side:
            variant = f"{side} × {side} × {len(BANDS)}, {options.trees} trees of 64 leaves"
            if options.missing and is_measured("memory", variant):
                continue
            load = os.getloadavg()
            megabytes, seconds = peak(blown_up(folder, side, target), forest, target)
            print(f"{variant}: peak {megabytes:.0f} MB (limit {MEMORY_LIMIT}), {seconds:.1f} s", flush=True)
            measured = {"megabytes": round(megabytes), "limit": MEMORY_LIMIT, "seconds": round(seconds, 1)}
            compared = "peak memory of qgis_process and its children"
            keep("memory", variant, measured, compared=compared, load=load)


if __name__ == "__main__":
    load_package()
    main()
