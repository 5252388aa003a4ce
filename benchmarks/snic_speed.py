"""Time and memory of SNIC on 4000 × 4000 pixels and 3 bands, beside scikit-image's SLIC of as many segments.

    python3 benchmarks/snic_speed.py [--size 5] [--compactness 1] [--side 4000] [--repeats 1] [folder of the scene]

The image is the North Carolina scene, as `make demo` leaves it, twice as fine and mirrored to size.  Each run has a
process of its own; seconds are those of the clock, and of the processor where other work shares the machine.  SNIC
reads and writes GeoTIFF and computes means; SLIC gets the array and gives labels, with its usual ten iterations.
Prints a sentence instead where scikit-image or the scene is missing.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
from common import SCENE, load_package, mirrored

BANDS, PART = (30, 40, 50), (slice(60, 360), slice(80, 380))  # where no pixel is masked


def picture(folder: Path, side: int) -> np.ndarray:
    """Return (bands, side, side) float32."""
    from osgeo import gdal
    from scipy.ndimage import zoom

    gdal.UseExceptions()
    bands = [gdal.Open(str(folder / f"lsat7_2000_{band}.tif")).ReadAsArray()[PART] for band in BANDS]
    fine = np.stack([zoom(band.astype(np.float32), 2, order=1) for band in bands])
    return mirrored(fine, side)


def write(path: str, bands: np.ndarray) -> None:
    from osgeo import gdal

    options = ["TILED=YES", "COMPRESS=DEFLATE", "PREDICTOR=3"]
    side = bands.shape[1]
    dataset = gdal.GetDriverByName("GTiff").Create(path, side, side, len(bands), gdal.GDT_Float32, options)
    dataset.WriteArray(bands)


def snic(path: str, options: argparse.Namespace, results) -> None:
    load_package()
    from rasterml.engine.images import Image
    from rasterml.engine.snic import Settings, segment_image

    settings = Settings(options.size, options.compactness)
    output = str(Path(path).with_name("segments.tif"))
    _measured(lambda: segment_image(Image([path]), output, settings, memory_limit=2**20).segments, results)


def slic(path: str, options: argparse.Namespace, results) -> None:
    from osgeo import gdal
    from skimage.segmentation import slic

    dataset = gdal.Open(path)
    image = np.moveaxis(dataset.ReadAsArray(), 0, -1) / np.float32(255)
    wanted = (options.side // options.size) ** 2
    _measured(
        lambda: int(slic(image, wanted, options.compactness / 255, convert2lab=False, channel_axis=-1).max()), results
    )


def _measured(function, results) -> None:
    start, before = time.perf_counter(), time.process_time()
    segments = function()
    seconds, processor = time.perf_counter() - start, time.process_time() - before
    results.put((segments, seconds, processor, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=SCENE)
    parser.add_argument("--size", type=int, default=5)
    parser.add_argument("--compactness", type=float, default=1)
    parser.add_argument("--side", type=int, default=4000)
    parser.add_argument("--repeats", type=int, default=1)
    options = parser.parse_args()
    if not (options.folder / f"lsat7_2000_{BANDS[0]}.tif").exists():
        print(f"{options.folder} has no scene: run make demo, or name its folder.")
        return
    runs = {"SNIC (RasterML)": snic}
    try:
        import skimage

        runs[f"SLIC (scikit-image {skimage.__version__})"] = slic
    except ImportError:
        print("scikit-image is not installed, so SLIC is left out: install it with pip.")
    processes = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as name:
        path = str(Path(name) / "image.tif")
        write(path, picture(options.folder, options.side))
        for _ in range(options.repeats):
            for title, run in runs.items():
                results = processes.Queue()
                process = processes.Process(target=run, args=(path, options, results))
                process.start()
                segments, seconds, processor, megabytes = results.get()
                process.join()
                print(
                    f"{title}: {segments:,} segments, {seconds:.1f} s ({processor:.1f} s of processor), peak "
                    f"{megabytes:,.0f} MB",
                    flush=True,
                )


if __name__ == "__main__":
    main()
