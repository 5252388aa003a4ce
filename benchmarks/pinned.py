"""The rasters and tables that the benchmarks agree on, made once into build/performance/rasters from the NC scene.

A raster is a part of the scene without gaps, twice as fine (bilinear) and mirrored to size, times 10 ("DN", 10 to
2550), with noise that no mirror repeats: each DN gets a share of itself and a constant, both normal.  Ten bands are the
six and four between them, as the red edge of Sentinel-2 lies between red and near infrared.  uint16 holds rounded DN,
float32 unrounded DN / 10,000.  15 % nodata lie in blobs as clouds do, in all bands at once.  A table's rows are pixels
of the raster with the land cover of 1996 as label, 6 % of them replaced by another class.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
from common import BANDS, WORK, mirrored, scene_folder

FOLDER = WORK / "rasters"
PART = (90, 130, 300, 300)  # row, column, rows, columns: no band and no label is missing there
FINER, DN, REFLECTANCE = 2, 10, 10_000
BETWEEN = ((2, 3, 0.75), (2, 3, 0.5), (2, 3, 0.25), (3, 4, 0.5))  # of one band, another, the share of the first
NOISE = {2: (0.02, 8), 0: (0.0, 0), 5: (0.05, 20)}  # share of the DN and DN, standard deviations; most useful first
NODATA = {"uint16": 65535, "float32": -9999}
TABLE_SIDE, FLIPPED = 2000, 0.06
ROWS_AT_ONCE = 500
BLOB = 4  # pixels a side of what is masked together


class Pinned(NamedTuple):
    """What one raster is: *noise* a key of NOISE, *nodata* in percent, *layout* "tiled" or "striped"."""

    side: int = 2000
    bands: int = 6
    kind: str = "uint16"
    noise: int = 0
    nodata: int = 0
    layout: str = "tiled"

    @property
    def name(self) -> str:
        return f"{self.side}_{self.bands}_{self.kind}_noise{self.noise}_nodata{self.nodata}_{self.layout}"

    def __str__(self) -> str:
        share, constant = NOISE[self.noise]
        noise = f"noise {100 * share:g} % + {constant} DN" if self.noise else "no noise"
        layout = "" if self.layout == "tiled" else f", {self.layout}"
        size = f"{self.side} × {self.side}, {self.bands} × {self.kind}"
        return f"{size}, {noise}, {self.nodata} % nodata{layout}"

    @property
    def predictors(self) -> list[str]:
        return [f"b{number}" for number in range(1, self.bands + 1)]


def raster(pinned: Pinned) -> Path:
    """Return the path of the raster; make it when it is not there."""
    path = FOLDER / f"{pinned.name}.tif"
    if not path.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".unfinished.tif")
        _write(pinned, unfinished)
        unfinished.rename(path)
    return path


def table(pinned: Pinned, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Return *rows* pixels (rows, bands) float32 of the raster's like of 2000 × 2000 pixels, and their labels."""
    from osgeo import gdal

    gdal.UseExceptions()
    source = pinned._replace(side=TABLE_SIDE, nodata=0, layout="tiled")
    dataset = gdal.Open(str(raster(source)))
    generator = np.random.default_rng((rows, pinned.noise))
    chosen = generator.choice(source.side**2, rows, replace=False)
    X = np.stack(
        [dataset.GetRasterBand(band + 1).ReadAsArray().ravel()[chosen] for band in range(pinned.bands)], axis=1
    )
    y = labels(source.side).ravel()[chosen]
    classes = np.unique(y)
    flipped = np.flatnonzero(generator.random(rows) < FLIPPED)
    step = generator.integers(1, classes.size, flipped.size)
    y[flipped] = classes[(np.searchsorted(classes, y[flipped]) + step) % classes.size]
    return X.astype(np.float32), y


def labels(side: int) -> np.ndarray:
    """Return the land cover (side, side) int32 under a pinned raster."""
    from osgeo import gdal

    row, column, rows, columns = PART
    strata = gdal.Open(str(scene_folder() / "strata.tif")).ReadAsArray(column, row, columns, rows)
    return mirrored(strata.astype(np.int32).repeat(FINER, axis=0).repeat(FINER, axis=1), side)


def _scene() -> np.ndarray:
    """Return the six bands (6, rows, columns) float32 in DN, not yet mirrored."""
    from osgeo import gdal

    row, column, rows, columns = PART
    bands = []
    for number in BANDS:
        source = gdal.Open(str(scene_folder() / f"lsat7_2000_{number}.tif"))
        finer = gdal.Translate(
            "", source, format="MEM", srcWin=(column, row, columns, rows), width=FINER * columns,
            height=FINER * rows, resampleAlg="bilinear", outputType=gdal.GDT_Float32,
        )  # fmt: skip
        bands.append(finer.ReadAsArray())
    return np.stack(bands) * np.float32(DN)


def _write(pinned: Pinned, path: Path) -> None:
    from osgeo import gdal, osr

    gdal.UseExceptions()
    kind = {"uint16": gdal.GDT_UInt16, "float32": gdal.GDT_Float32}[pinned.kind]
    options = ["BIGTIFF=IF_SAFER", *(["TILED=YES"] if pinned.layout == "tiled" else [])]  # else what GDAL does untold
    bands = _scene()
    between = [share * bands[one] + (1 - share) * bands[other] for one, other, share in BETWEEN]
    bands = np.concatenate([bands, between])[: pinned.bands]
    dataset = gdal.GetDriverByName("GTiff").Create(str(path), pinned.side, pinned.side, pinned.bands, kind, options)
    crs = osr.SpatialReference()
    crs.ImportFromEPSG(32617)
    dataset.SetProjection(crs.ExportToWkt())
    dataset.SetGeoTransform((500_000, 10, 0, 4_200_000, 0, -10))
    for number in range(pinned.bands):
        dataset.GetRasterBand(number + 1).SetDescription(f"b{number + 1}")
        if pinned.nodata:
            dataset.GetRasterBand(number + 1).SetNoDataValue(NODATA[pinned.kind])
    masked = _blobs(pinned.side, pinned.nodata / 100)
    share, constant = NOISE[pinned.noise]
    generator = np.random.default_rng((pinned.noise, pinned.bands))
    place = mirrored(np.arange(bands.shape[1] * bands.shape[2]).reshape(bands.shape[1:]), pinned.side)
    for row in range(0, pinned.side, ROWS_AT_ONCE):
        rows = slice(row, row + ROWS_AT_ONCE)
        values = bands.reshape(pinned.bands, -1)[:, place[rows]]
        for band in values:
            if share:
                band *= 1 + share * generator.standard_normal(band.shape, dtype=np.float32)
                band += constant * generator.standard_normal(band.shape, dtype=np.float32)
        if pinned.kind == "uint16":
            values = np.clip(np.rint(values), 1, 65534).astype(np.uint16)
        else:
            values /= REFLECTANCE
        values[:, masked[rows]] = NODATA[pinned.kind]
        dataset.WriteArray(values, 0, row)
    dataset.FlushCache()


def _blobs(side: int, share: float) -> np.ndarray:
    """Return where (side, side) bool the given share of the pixels is masked."""
    if not share:
        return np.zeros((side, side), dtype=bool)
    from scipy.ndimage import gaussian_filter

    coarse = -(-side // BLOB)
    field = gaussian_filter(np.random.default_rng(15).normal(size=(coarse, coarse)), 8)
    return (field > np.quantile(field, 1 - share)).repeat(BLOB, axis=0).repeat(BLOB, axis=1)[:side, :side]


if __name__ == "__main__":
    for side in map(int, sys.argv[1:] or ["2000", "4000"]):
        for layout, nodata in (("tiled", 0), ("striped", 0), ("tiled", 15)):
            for noise in NOISE:
                for bands, kind in ((6, "uint16"), (6, "float32"), (10, "uint16"), (10, "float32")):
                    print(raster(Pinned(side, bands, kind, noise, nodata, layout)))
