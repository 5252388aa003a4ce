"""Time of ``linearfit`` against a loop of numpy.polyfit over pixels, and against GDAL merely reading the bands.

    python3 benchmarks/linear_fit_speed.py [--side 2000] [--dates 200] [--layout tiled ...] [--type Int16] [--rounds 3]
                                           [--process]

makes a raster of side × side pixels and as many bands as dates, with 30 % gaps (nodata in Int16, NaN in Float32), in
each layout: tiled (256 × 256, by band), pixel (256 × 256, by pixel), strips (by band), deflate (tiled and compressed).
The time of numpy.polyfit is that of 1,000 pixels, extrapolated; GDAL's that of one thread that reads band after band
in the file's own type.  The three take turns, and the ratios of each round are printed.  The regression uses all cores;
the seconds of all cores together stand in brackets, for a machine that does other things meanwhile.  ``--process``
runs it once more in a qgis_process and prints the peak of its memory.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from common import ROOT, load_package

LAYOUTS = {
    "tiled": ["TILED=YES", "INTERLEAVE=BAND"],
    "pixel": ["TILED=YES", "INTERLEAVE=PIXEL"],
    "strips": ["INTERLEAVE=BAND", "BLOCKYSIZE=16"],
    "deflate": ["TILED=YES", "INTERLEAVE=BAND", "COMPRESS=DEFLATE", "PREDICTOR=2", "NUM_THREADS=ALL_CPUS"],
}
NODATA, POLYFIT_PIXELS, MEMORY_LIMIT = -32768, 1000, 1024


def raster(path: str, side: int, dates: int, layout: str, kind: str = "Int16") -> str:
    """Write noise with gaps; each date is a shifted copy of one of ten rasters, described by its date."""
    import numpy as np
    from osgeo import gdal

    options = [*LAYOUTS[layout], "BIGTIFF=YES"]
    dataset = gdal.GetDriverByName("GTiff").Create(path, side, side, dates, getattr(gdal, f"GDT_{kind}"), options)
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 10_000, (10, side, side)).astype(kind.lower())
    nodata = NODATA if kind == "Int16" else np.nan
    noise[rng.random(noise.shape) < 0.3] = nodata
    for row in range(0, side, 256):  # a row of blocks at a time, so that pixel-interleaved ones are written once
        part = [np.roll(noise[date % 10, row : row + 256], 7 * date, axis=1) for date in range(dates)]
        dataset.WriteArray(np.stack(part), 0, row)
    for date in range(dates):
        band = dataset.GetRasterBand(date + 1)
        band.SetNoDataValue(nodata)
        band.SetDescription(f"{2000 + date // 12}-{date % 12 + 1:02d}-15")
    return path


class Seconds(NamedTuple):
    wall: float
    processors: float

    def __str__(self) -> str:
        return f"{self.wall:.2f} ({self.processors:.2f})"


def ratio(one: Seconds, other: Seconds) -> Seconds:
    return Seconds(one.wall / other.wall, one.processors / other.processors)


def timed(function, *arguments) -> Seconds:
    wall, processors = time.perf_counter(), time.process_time()
    function(*arguments)
    return Seconds(time.perf_counter() - wall, time.process_time() - processors)


def read_all(path: str) -> None:
    """Read all bands, one after the other, or by rows of blocks where they are pixel-interleaved."""
    from osgeo import gdal

    dataset = gdal.Open(path)
    if dataset.GetMetadataItem("INTERLEAVE", "IMAGE_STRUCTURE") == "PIXEL":
        for row in range(0, dataset.RasterYSize, 256):
            dataset.ReadAsArray(0, row, dataset.RasterXSize, min(256, dataset.RasterYSize - row))
    else:
        for number in range(1, dataset.RasterCount + 1):
            dataset.GetRasterBand(number).ReadAsArray()


def collection_of(path: str):
    """Return the collection and its times."""
    from rasterml.engine.dates import image_times
    from rasterml.engine.image_collection import open_bands

    collection = open_bands([path])
    return collection, [each.time for each in image_times("", [None] * len(collection), collection.texts)]


def fit(path: str, output: str) -> None:
    from rasterml.engine.pixel_regression import regress_image
    from rasterml.engine.reducers import REDUCERS_BY_ID

    collection, times = collection_of(path)
    reducer = REDUCERS_BY_ID["linearfit"]
    regress_image(collection, reducer, output, ["time"], collection.band_names, times, {}, memory_limit=MEMORY_LIMIT)


def polyfit(path: str) -> Seconds:
    """Return the time of numpy.polyfit for one pixel, the mean of 1,000; reading does not count."""
    import numpy as np
    from osgeo import gdal

    values = gdal.Open(path).ReadAsArray(0, 0, 50, POLYFIT_PIXELS // 50)
    values = values.reshape(len(values), -1).astype(np.float64)
    times = np.array(collection_of(path)[1])

    def loop() -> None:
        for pixel in values.T:
            valid = (pixel != NODATA) & np.isfinite(pixel)
            np.polyfit(times[valid], pixel[valid], 1)

    return Seconds(*(each / len(values.T) for each in timed(loop)))


def peak_of_process(path: str, output: str, target: Path) -> tuple[float, float]:
    """Run linearfit in a qgis_process; return its peak memory in MB and its seconds."""
    inputs = {"INPUT": [path], "BANDS_ARE_IMAGES": True, "MEMORY_LIMIT": MEMORY_LIMIT, "OUTPUT": output}
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
        ["qgis_process", "run", "rasterml:linearfit", "-"],
        env=environment, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    process.stdin.write(json.dumps({"inputs": inputs}))
    process.stdin.close()
    peak = 0
    while process.poll() is None:  # what wait4 tells counts the memory of the process that started it, too
        with contextlib.suppress(OSError):
            status = Path(f"/proc/{process.pid}/status").read_text().splitlines()
            peak = max([peak, *(int(line.split()[1]) for line in status if line.startswith("VmHWM"))])
        time.sleep(0.05)
    if process.returncode:
        sys.exit("linearfit failed")
    return peak / 1024, time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=2000)
    parser.add_argument("--dates", type=int, default=200)
    parser.add_argument("--layout", nargs="+", choices=list(LAYOUTS), default=["tiled"])
    parser.add_argument("--type", choices=["Int16", "Float32"], default="Int16")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--process", action="store_true")
    options = parser.parse_args()
    for layout in options.layout:
        with tempfile.TemporaryDirectory() as name:
            target = Path(name)
            path = raster(str(target / "dates.tif"), options.side, options.dates, layout, options.type)
            output = str(target / "fit.tif")
            print(f"{layout}, {options.type}, {options.side} × {options.side} × {options.dates}:")
            read_all(path)
            for _ in range(options.rounds):
                reading, fitting = timed(read_all, path), timed(fit, path, output)
                loop = Seconds(*(each * options.side**2 for each in polyfit(path)))
                print(f"  load {os.getloadavg()[0]:.1f}: GDAL's reading {reading}, linearfit {fitting}", end=", ")
                print(f"numpy.polyfit {loop}; linearfit / reading {ratio(fitting, reading)}", end=", ")
                print(f"polyfit / linearfit {ratio(loop, fitting)}", flush=True)
            if options.process:
                megabytes, seconds = peak_of_process(path, output, target)
                print(f"  qgis_process: peak {megabytes:.0f} MB (limit {MEMORY_LIMIT}), {seconds:.1f} s")


if __name__ == "__main__":
    load_package()
    main()
