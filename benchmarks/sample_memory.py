"""Peak memory of ``qgis_process run rasterml:sampleregions`` for polygons all over a raster that does not fit into it.

    python3 benchmarks/sample_memory.py [polygons] [pixels a side of a polygon ...]

The raster is a GeoTIFF of 20000 × 20000 pixels and 3 bands; an empty run of qgis_process alone peaks at 260 MB.
Needs QGIS_PLUGINPATH to name a folder that holds the plugin, as ``make setup`` leaves it in build/plugins.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import ROOT

SIDE, BANDS, PIXEL = 20_000, 3, 10
LEFT, TOP, EPSG = 500_000, 4_200_000, 32617


def crs():
    from osgeo import osr

    reference = osr.SpatialReference()
    reference.ImportFromEPSG(EPSG)
    return reference


def raster(target: Path) -> str:
    """Write the image: sums of rows and columns modulo 256, in tiles of 512 pixels."""
    import numpy as np
    from osgeo import gdal

    path = str(target / "large.tif")
    options = ["TILED=YES", "BLOCKXSIZE=512", "BLOCKYSIZE=512", "COMPRESS=DEFLATE", "ZLEVEL=1", "NUM_THREADS=ALL_CPUS"]
    dataset = gdal.GetDriverByName("GTiff").Create(path, SIDE, SIDE, BANDS, gdal.GDT_Byte, options)
    dataset.SetGeoTransform((LEFT, PIXEL, 0, TOP, 0, -PIXEL))
    dataset.SetProjection(crs().ExportToWkt())
    gdal.SetCacheMax(64 * 2**20)  # a child's peak, as Linux counts it, is not below what its parent held
    columns = np.arange(SIDE).astype(np.uint8)
    for row in range(0, SIDE, 512):
        rows = np.arange(row, min(row + 512, SIDE)).astype(np.uint8)
        dataset.WriteArray(
            np.stack([np.add.outer(rows * np.uint8(band + 1), columns) for band in range(BANDS)]), 0, row
        )
    return path


def polygons(count: int, side: int, target: Path) -> str:
    """Write *count* squares of *side* pixels anywhere on the image."""
    import numpy as np
    from osgeo import ogr

    path = str(target / f"squares_{side}.gpkg")
    source = ogr.GetDriverByName("GPKG").CreateDataSource(path)
    layer = source.CreateLayer("squares", crs(), ogr.wkbPolygon)
    layer.CreateField(ogr.FieldDefn("landclass", ogr.OFTInteger))
    layer.StartTransaction()
    places = np.random.default_rng(0).uniform(0, (SIDE - side) * PIXEL, (count, 2))
    for number, (x, y) in enumerate(places.tolist()):
        west, north, size = LEFT + x, TOP - y, side * PIXEL
        east, south = west + size, north - size
        corners = [(west, north), (east, north), (east, south), (west, south), (west, north)]
        feature = ogr.Feature(layer.GetLayerDefn())
        feature.SetField(0, number % 7)
        feature.SetGeometry(ogr.CreateGeometryFromWkt(f"POLYGON (({', '.join(f'{a} {b}' for a, b in corners)}))"))
        layer.CreateFeature(feature)
    layer.CommitTransaction()
    return path


def peak(image: str, collection: str, target: Path) -> tuple[float, float, str]:
    """Run sampleregions in a process of its own; return its peak memory in MB, its seconds and its rows."""
    environment = {
        "QGIS_PLUGINPATH": str(ROOT / "build" / "plugins"),
        "QT_QPA_PLATFORM": "offscreen",
        **os.environ,
        "QGIS_CUSTOM_CONFIG_PATH": str(target / "profile"),
    }
    enable = ["qgis_process", "plugins", "enable", "rasterml"]
    subprocess.run(enable, env=environment, capture_output=True, check=False)  # fails when it is enabled already
    names = {"INPUT": image, "COLLECTION": collection, "OUTPUT": str(target / "samples.gpkg")}
    command = ["qgis_process", "run", "rasterml:sampleregions", *(f"--{name}={value}" for name, value in names.items())]
    start = time.perf_counter()
    with (target / "log.txt").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        _, status, usage = os.wait4(process.pid, 0)
    seconds, text = time.perf_counter() - start, (target / "log.txt").read_text("utf-8")
    if status:
        sys.exit(f"sampleregions failed: {text}")
    rows = next(line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("COUNT"))
    return usage.ru_maxrss / 1024, seconds, rows


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    sides = [int(side) for side in sys.argv[2:]] or [10, 30]
    with tempfile.TemporaryDirectory() as name:
        target = Path(name)
        image = raster(target)
        for side in sides:
            megabytes, seconds, rows = peak(image, polygons(count, side, target), target)
            print(f"{count} polygons of {side} × {side}: {rows} rows, peak {megabytes:.0f} MB, {seconds:.1f} s")


if __name__ == "__main__":
    main()
