"""The numbers of a raster as its file stores them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from osgeo import gdal
from rasterml.engine.errors import RasterError
from rasterml.engine.rasters import Raster
from rasterml.engine.tiles import Window

LAYOUTS = {
    "tiled": ["TILED=YES", "BLOCKXSIZE=16", "BLOCKYSIZE=16", "INTERLEAVE=BAND"],
    "tiled pixels": ["TILED=YES", "BLOCKXSIZE=16", "BLOCKYSIZE=16", "INTERLEAVE=PIXEL"],
    "strips": ["BLOCKYSIZE=3", "INTERLEAVE=BAND"],
    "rows of pixels": ["BLOCKYSIZE=1", "INTERLEAVE=PIXEL"],
    "compressed": ["TILED=YES", "BLOCKXSIZE=16", "BLOCKYSIZE=16", "COMPRESS=DEFLATE", "INTERLEAVE=BAND"],
    "big-endian": ["TILED=YES", "BLOCKXSIZE=16", "BLOCKYSIZE=16", "INTERLEAVE=BAND", "ENDIANNESS=BIG"],
    "sparse": ["TILED=YES", "BLOCKXSIZE=16", "BLOCKYSIZE=16", "INTERLEAVE=BAND", "SPARSE_OK=TRUE"],
}


def stored_raster(path: Path, layout: str) -> np.ndarray:
    values = np.random.default_rng(1).integers(-30000, 30000, (3, 40, 50)).astype(np.int16)
    dataset = gdal.GetDriverByName("GTiff").Create(str(path), 50, 40, 3, gdal.GDT_Int16, LAYOUTS[layout])
    for number, band in enumerate(values, 1):
        dataset.GetRasterBand(number).SetNoDataValue(-7)
        if layout == "sparse":
            band[16:32, 16:] = -7
        for row, rows in ((0, 16), (16, 16), (32, 8)):
            for column, columns in ((0, 16), (16, 16), (32, 16), (48, 2)):
                part = band[row : row + rows, column : column + columns]
                if layout != "sparse" or (part != -7).all():
                    dataset.GetRasterBand(number).WriteArray(part, column, row)
    return values


@pytest.mark.parametrize("layout", LAYOUTS)
def test_stored_numbers_are_those_of_the_file_in_any_layout(layout, tmp_path):
    path = tmp_path / "stored.tif"
    values = stored_raster(path, layout)
    raster = Raster(str(path))

    for window in (Window(0, 0, 40, 50), Window(16, 16, 16, 16), Window(7, 13, 30, 21), Window(39, 49, 1, 1)):
        for numbers in ([1, 2, 3], [3, 1], [2]):
            part = np.zeros((len(numbers), window.rows, window.columns), dtype=np.int16)
            raster.read_stored(numbers, window, part)
            rows = slice(window.row, window.row + window.rows)
            columns = slice(window.column, window.column + window.columns)
            assert np.array_equal(part, values[[number - 1 for number in numbers], rows, columns])
    assert gdal.GetConfigOption("GTIFF_DIRECT_IO") is None


@pytest.mark.parametrize(("layout", "expected"), [("tiled", ["YES"]), ("strips", ["YES"]), ("tiled pixels", [])])
def test_the_cache_is_left_out_only_where_bands_have_their_own_blocks(layout, expected, tmp_path, monkeypatch):
    """Without it, GDAL picks the numbers of one band out of pixels ten times as slowly."""
    path = tmp_path / "stored.tif"
    stored_raster(path, layout)
    gdal.Translate(str(tmp_path / "stored.vrt"), str(path), format="VRT")
    opened, options = gdal.Open, []

    def noting(*arguments):
        options.append(gdal.GetConfigOption("GTIFF_DIRECT_IO"))
        return opened(*arguments)

    monkeypatch.setattr(gdal, "Open", noting)
    for name in ("stored.tif", "stored.vrt"):
        raster = Raster(str(tmp_path / name))
        raster.read([1], Window(0, 0, 40, 50))
        raster.read_stored([1], Window(0, 0, 40, 50), np.zeros((1, 40, 50), dtype=np.int16))

    assert options == [None, *expected, None]


@pytest.mark.parametrize("layout", ["tiled", "strips", "compressed"])
def test_stored_numbers_that_the_file_has_lost_are_told_of(layout, tmp_path):
    path = tmp_path / "stored.tif"
    stored_raster(path, layout)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])
    raster = Raster(str(path))

    with pytest.raises(RasterError, match="the file is damaged"):
        raster.read_stored([1, 2, 3], Window(0, 0, 40, 50), np.zeros((3, 40, 50), dtype=np.int16))
