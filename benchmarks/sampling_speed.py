"""Time of ``rasterml:sampleregions`` against QGIS's own ``native:rastersampling`` on the same points, into GeoPackage.

    python3 benchmarks/sampling_speed.py [--points 1000000] [--repeats 3] [--processes]

makes a raster of 4000 × 4000 pixels and 10 bands and the points, runs both algorithms in turn in this process, or
each in a qgis_process of its own, and prints seconds, pixels per second and their ratio.  Both outputs have a
spatial index.  ``--processes`` needs QGIS_PLUGINPATH to name a folder that holds the plugin, as ``make setup``
leaves it in build/plugins.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Callable

from common import ROOT, load_package

SIDE, BANDS, PIXEL = 4000, 10, 10
LEFT, TOP, EPSG = 500_000, 4_200_000, 32617
NATIVE, OURS = "native:rastersampling", "rasterml:sampleregions"


def crs():
    from osgeo import osr

    reference = osr.SpatialReference()
    reference.ImportFromEPSG(EPSG)
    return reference


def raster(target: Path) -> str:
    """Write the image: UInt16, tiled and compressed, patches of 8 × 8 equal pixels."""
    import numpy as np
    from osgeo import gdal

    rng = np.random.default_rng(0)
    path = str(target / "ten.tif")
    options = ["TILED=YES", "COMPRESS=DEFLATE"]
    dataset = gdal.GetDriverByName("GTiff").Create(path, SIDE, SIDE, BANDS, gdal.GDT_UInt16, options)
    dataset.SetGeoTransform((LEFT, PIXEL, 0, TOP, 0, -PIXEL))
    dataset.SetProjection(crs().ExportToWkt())
    for number in range(1, BANDS + 1):
        patches = rng.normal(size=(SIDE // 8, SIDE // 8)).cumsum(axis=0) * 20 + 3000 + 100 * number
        dataset.GetRasterBand(number).WriteArray(np.kron(patches, np.ones((8, 8))).astype(np.uint16))
        dataset.GetRasterBand(number).SetDescription(f"b{number}")
    return path


def points(count: int, target: Path) -> str:
    import numpy as np
    from osgeo import ogr

    rng = np.random.default_rng(1)
    path = str(target / "points.gpkg")
    source = ogr.GetDriverByName("GPKG").CreateDataSource(path)
    layer = source.CreateLayer("points", crs(), ogr.wkbPoint)
    layer.CreateField(ogr.FieldDefn("landclass", ogr.OFTInteger))
    layer.StartTransaction()
    places = rng.uniform(0, SIDE * PIXEL, (count, 2))
    for (x, y), value in zip(places.tolist(), rng.integers(0, 7, count).tolist()):
        feature = ogr.Feature(layer.GetLayerDefn())
        feature.SetField(0, value)
        place = ogr.Geometry(ogr.wkbPoint)
        place.SetPoint_2D(0, LEFT + x, TOP - y)
        feature.SetGeometry(place)
        layer.CreateFeature(feature)
    layer.CommitTransaction()
    return path


def in_this_process() -> Callable[[str, dict], None]:
    """Start QGIS and return what runs an algorithm in it."""
    from qgis.core import QgsApplication

    application = QgsApplication([], False)
    application.initQgis()
    sys.path.append(str(Path(QgsApplication.pkgDataPath()) / "python" / "plugins"))
    import processing
    from processing.core.Processing import Processing
    from qgis.analysis import QgsNativeAlgorithms

    Processing.initialize()
    registry = QgsApplication.processingRegistry()
    if registry.providerById("native") is None:
        registry.addProvider(QgsNativeAlgorithms(registry))
    load_package()
    from rasterml.processing_provider.provider import RasterMlProvider

    provider = RasterMlProvider()
    registry.addProvider(provider)

    def run(algorithm: str, parameters: dict, kept=(application, provider)) -> None:
        processing.run(algorithm, parameters)

    return run


def in_processes(target: Path) -> Callable[[str, dict], None]:
    environment = {"QGIS_PLUGINPATH": str(ROOT / "build" / "plugins"), **os.environ}
    environment["QGIS_CUSTOM_CONFIG_PATH"] = str(target / "profile")
    enable = ["qgis_process", "plugins", "enable", "rasterml"]
    subprocess.run(enable, env=environment, capture_output=True, check=False)  # fails when it is enabled already

    def run(algorithm: str, parameters: dict) -> None:
        request = json.dumps({"inputs": parameters})
        command = ["qgis_process", "run", algorithm, "-"]
        subprocess.run(command, env=environment, input=request, text=True, capture_output=True, check=True)

    return run


def seconds(run: Callable[[str, dict], None], algorithm: str, parameters: dict) -> float:
    Path(parameters["OUTPUT"]).unlink(missing_ok=True)
    start = time.perf_counter()
    run(algorithm, parameters)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--processes", action="store_true", help="whole qgis_process runs, starting QGIS included")
    options = parser.parse_args()
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    with tempfile.TemporaryDirectory() as name:
        target = Path(name)
        image, collection = raster(target), points(options.points, target)
        if not options.processes:
            os.environ.setdefault("QGIS_CUSTOM_CONFIG_PATH", str(target / "profile"))
        run = in_processes(target) if options.processes else in_this_process()
        native = {"INPUT": collection, "RASTERCOPY": image, "COLUMN_PREFIX": "b", "OUTPUT": str(target / "native.gpkg")}
        ours = {"INPUT": [image], "COLLECTION": collection, "OUTPUT": str(target / "ours.gpkg")}
        ratios = []
        for _ in range(options.repeats):
            slow, fast = seconds(run, NATIVE, native), seconds(run, OURS, ours)
            ratios.append(slow / fast)
            speeds = f"{options.points / slow:,.0f} and {options.points / fast:,.0f} pixels/s"
            print(f"{NATIVE} {slow:.2f} s, {OURS} {fast:.2f} s: {speeds}, ratio {ratios[-1]:.1f}", flush=True)
        ratios.sort()
        print(f"ratio min {ratios[0]:.1f}, median {ratios[len(ratios) // 2]:.1f}, max {ratios[-1]:.1f}", flush=True)


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)  # QGIS objects that outlive the application crash Python on its way out
