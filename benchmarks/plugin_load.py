"""How much longer QGIS takes to load RasterML than a plugin that does nothing: `plugin_load.py [runs]`.

Each run is a fresh process in which QGIS, its Qt modules and qgis.utils are already loaded, as they are when QGIS
comes to its plugins; import, classFactory and initProcessing are timed. The two plugins take turns; medians count.
"""

from __future__ import annotations

import os
import runpy
import statistics
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ALLOWED_MS = 100

EMPTY = """
class Empty:
    def initProcessing(self):
        pass


def classFactory(iface):
    return Empty()
"""
MEASURE = """
import sys, time
import qgis.core, qgis.gui, qgis.utils
from qgis.PyQt import QtCore, QtGui, QtWidgets

application = qgis.core.QgsApplication([], True)
application.initQgis()
sys.path.insert(0, sys.argv[1])
start = time.perf_counter()
plugin = __import__(sys.argv[2]).classFactory(None)
plugin.initProcessing()
print("milliseconds", 1000 * (time.perf_counter() - start))
"""


def main(runs: int) -> int:
    """Print the medians; return 1 when RasterML needs more than is allowed."""
    with tempfile.TemporaryDirectory() as folder:
        plugins = Path(folder)
        with zipfile.ZipFile(runpy.run_path(str(ROOT / "tools" / "package.py"))["pack"](plugins / "p.zip")) as archive:
            archive.extractall(plugins)
        (plugins / "empty").mkdir()
        (plugins / "empty" / "__init__.py").write_text(EMPTY, "utf-8")
        times: dict[str, list[float]] = {"empty": [], "rasterml": []}
        for name in times:
            milliseconds(plugins, name)  # the first load compiles the modules
        for _ in range(runs):
            for name, measured in times.items():
                measured.append(milliseconds(plugins, name))
    for name, measured in times.items():
        print(f"{name:<9} median {statistics.median(measured):6.1f} ms, slowest {max(measured):6.1f} ms, {runs} runs")
    extra = statistics.median(times["rasterml"]) - statistics.median(times["empty"])
    print(f"RasterML adds {extra:.1f} ms to loading (allowed: {ALLOWED_MS} ms)")
    return int(extra > ALLOWED_MS)


def milliseconds(plugins: Path, name: str) -> float:
    """Return the time one fresh QGIS Python takes to load the plugin *name*."""
    environment = {
        **{key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"},
        "PATH": f"/usr/bin:{os.environ['PATH']}",
        "QT_QPA_PLATFORM": "offscreen",
        "QGIS_CUSTOM_CONFIG_PATH": str(plugins / "profile"),
    }
    command = ["/usr/bin/python3", "-c", MEASURE, str(plugins), name]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    for line in done.stdout.decode().splitlines():
        if line.startswith("milliseconds "):
            return float(line.split()[1])
    sys.exit(f"{name} did not load: run {command}")


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 11))
