"""Sen's slope: RasterML's kernel against ``scipy.stats.theilslopes`` in a loop over pixels.

One thread and its processor time, the same float64 arrays in memory.  Rounds are interleaved, and the ratio of each
round is printed; the loop over pixels is timed on the first of them.  Slopes must agree to the last bit but for the
sign of 0.  The last lines are the whole algorithm, which reads a raster of 512 × 512 pixels with 31 % gaps and writes
another with all cores, against that loop; wall time counts, and the processor time of all cores stands in brackets.
Run it as

    python3 benchmarks/sens_slope_speed.py [rounds] [dates]
"""

from __future__ import annotations

import sys
import time

import numpy as np
from common import load_package, spread

PIXELS, LOOPED = 2048, 200


def stack(dates: int, gaps: float, steps: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return x (1, dates, 1), y (1, dates, pixels) and valid: a trend with noise, in whole *steps* where not 0."""
    generator = np.random.default_rng(0)
    x = np.sort(generator.uniform(1984, 2013, dates))
    y = generator.normal(0, 0.2, (1, dates, PIXELS)) + 0.01 * (x - 1984)[:, np.newaxis]
    if steps:
        y = np.round(y / steps) * steps
    return x[np.newaxis, :, np.newaxis], y, generator.random((dates, PIXELS)) >= gaps


def whole_algorithm(rounds: int, dates: int) -> None:
    """Print the times of sensslope over a raster and of scipy's loop, a pixel, in turns."""
    import tempfile

    from osgeo import gdal
    from rasterml.engine.image_collection import open_bands
    from rasterml.engine.pixel_regression import regress_image
    from rasterml.engine.reducers import REDUCERS_BY_ID
    from scipy.stats import theilslopes

    x, y, valid = stack(dates, 0.31, 0.0)
    y = np.where(valid, y[0], np.nan).astype(np.float32)
    times, side = x[0, :, 0], 512  # several tiles, for all threads
    with tempfile.TemporaryDirectory() as folder:
        path, output = f"{folder}/y.tif", f"{folder}/slope.tif"
        dataset = gdal.GetDriverByName("GTiff").Create(path, side, side, dates, gdal.GDT_Float32, ["TILED=YES"])
        dataset.WriteArray(np.tile(y, side * side // PIXELS).reshape(dates, side, side))
        dataset = None
        for _ in range(rounds):
            start = time.perf_counter(), time.process_time()
            regress_image(open_bands([path]), REDUCERS_BY_ID["sensslope"], output, ["time"], ["y"], times, {})
            ours = [
                (now - then) / side**2 * 1e6 for now, then in zip((time.perf_counter(), time.process_time()), start)
            ]
            start = time.perf_counter(), time.process_time()
            loop = [theilslopes(y[here, p].astype(float), times[here])[0] for p, here in enumerate(valid.T[:LOOPED])]
            theirs = [
                (now - then) / LOOPED * 1e6 for now, then in zip((time.perf_counter(), time.process_time()), start)
            ]
            slopes = gdal.Open(output).ReadAsArray()[0].ravel()[:LOOPED]
            if not np.array_equal(slopes, np.array(loop, np.float32)):
                raise SystemExit("raster: the slopes differ")
            print(f"raster: RasterML {ours[0]:.0f} ({ours[1]:.0f}), SciPy {theirs[0]:.0f} ({theirs[1]:.0f})", end=", ")
            print(f"ratio {theirs[0] / ours[0]:.1f} ({theirs[1] / ours[1]:.1f})", flush=True)


def main() -> None:
    import scipy
    from rasterml.engine.rank_regression import sens_slope
    from scipy.stats import theilslopes

    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    dates = int(sys.argv[2]) if len(sys.argv) > 2 else 200
    print(f"{dates} dates, numpy {np.__version__}, SciPy {scipy.__version__}, microseconds a pixel")
    for name, gaps, steps in (("no gaps", 0.0, 0.0), ("31 % gaps", 0.31, 0.0), ("no gaps, many ties", 0.0, 0.1)):
        x, y, valid = stack(dates, gaps, steps)
        ratios = []
        for number in range(rounds + 1):
            start = time.thread_time()
            ours = sens_slope(x, y, valid, lambda: None, significance=False)[0]
            mine = (time.thread_time() - start) / PIXELS * 1e6
            start = time.thread_time()
            theirs = [theilslopes(y[0, here, p], x[0, here, 0])[0] for p, here in enumerate(valid.T[:LOOPED])]
            loop = (time.thread_time() - start) / LOOPED * 1e6
            if not np.array_equal(ours[:LOOPED], theirs):
                raise SystemExit(f"{name}: the slopes differ")
            if number:  # the first round warms up
                ratios.append(loop / mine)
                print(f"{name}: RasterML {mine:.0f}, SciPy {loop:.0f}, ratio {ratios[-1]:.1f}")
        print(f"{name}: ratio {spread(ratios)}")
    whole_algorithm(rounds, dates)


if __name__ == "__main__":
    load_package()
    main()
