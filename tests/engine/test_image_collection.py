"""Several rasters, or the bands of one, as images with bands of the same names."""

from __future__ import annotations

import math

import numpy as np
import pytest
from osgeo import gdal
from raster_files import NORTH_UP, write_raster
from rasterml.engine.errors import Canceled, RasterError, SettingError
from rasterml.engine.image_collection import built_in, harmonics, open_bands, open_collection
from rasterml.engine.tiles import Window

ALL = Window(0, 0, 2, 3)


def nothing():
    pass


def pixels(value):
    return np.full((2, 3), value) + np.arange(6).reshape(2, 3)


def test_bands_are_found_by_name_in_each_image(tmp_path):
    first = write_raster(tmp_path / "a.tif", [pixels(10), pixels(20)], descriptions=["red", "nir"])
    second = write_raster(tmp_path / "b.tif", [pixels(40), pixels(30)], descriptions=["nir", "red"])
    collection = open_collection([first, second])

    values = collection.select(["nir", "red"]).read(ALL, nothing)

    assert collection.band_names == ("red", "nir")
    assert len(collection) == 2
    assert values.dtype == np.float32
    assert values[:, :, 0].tolist() == [[20, 40], [10, 30]]
    assert values[0, 1].tolist() == [40, 41, 42, 43, 44, 45]


def test_images_with_other_names_have_their_bands_taken_by_order(tmp_path):
    first = write_raster(tmp_path / "a.tif", [pixels(10), pixels(20)])
    second = write_raster(tmp_path / "b.tif", [pixels(30), pixels(40)])
    collection = open_collection([first, second])

    assert collection.band_names == ("a_1", "a_2")
    assert collection.select(["a_2"]).read(ALL, nothing)[:, :, 0].tolist() == [[20, 40]]


def test_band_names_rename_the_bands_of_every_image(tmp_path):
    first = write_raster(tmp_path / "a.tif", [pixels(10), pixels(20)])
    second = write_raster(tmp_path / "b.tif", [pixels(30), pixels(40)], descriptions=["y", "x"])

    collection = open_collection([first, second], "x, y")

    assert collection.select(["y"]).read(ALL, nothing)[:, :, 0].tolist() == [[20, 40]]


@pytest.mark.parametrize("names", [["red", "swir"], ["red"]])
def test_an_image_without_a_band_is_named(names, tmp_path):
    first = write_raster(tmp_path / "a.tif", [pixels(10), pixels(20)], descriptions=["red", "nir"])
    second = write_raster(tmp_path / "b.tif", [pixels(1)] * len(names), descriptions=names)

    with pytest.raises(RasterError, match=rf"b\.tif has no band nir: it has {', '.join(names)}\. Rename"):
        open_collection([first, second]).select(["red", "nir"])


def test_a_band_that_nobody_has_is_refused(tmp_path):
    path = write_raster(tmp_path / "a.tif", [pixels(1)])

    with pytest.raises(RasterError, match="has no band b: it has a"):
        open_collection([path, path]).select(["b"])


def test_masked_pixels_and_pixels_outside_an_image_are_nan(tmp_path):
    first = write_raster(tmp_path / "a.tif", [[[1, -9, 3], [4, 5, 6]]], gdal.GDT_Int16, nodata=-9)
    east = (NORTH_UP[0] + 10, *NORTH_UP[1:])  # one pixel to the right
    second = write_raster(
        tmp_path / "b.tif", [[[7.5, 8, 9], [np.nan, np.inf, 12]]], gdal.GDT_Float64, geotransform=east
    )

    values = open_collection([first, second]).read(ALL, nothing)

    assert values.dtype == np.float64
    np.testing.assert_equal(values[0, 0], [1, np.nan, 3, 4, 5, 6])
    np.testing.assert_equal(values[0, 1], [np.nan, 7.5, 8, np.nan, np.nan, np.nan])


def test_another_grid_is_resampled_as_told(tmp_path):
    first = write_raster(tmp_path / "a.tif", [pixels(0)])
    fine = (*NORTH_UP[:1], 5.0, 0.0, NORTH_UP[3], 0.0, -5.0)
    second = write_raster(tmp_path / "b.tif", [np.arange(24.0).reshape(4, 6)], geotransform=fine)

    values = open_collection([first, second], resampling="average").read(ALL, nothing)

    assert values[0, 1].tolist() == [3.5, 5.5, 7.5, 15.5, 17.5, 19.5]  # means of 2 x 2


def test_the_bands_of_one_raster_are_images_of_one_band(tmp_path):
    path = write_raster(tmp_path / "ndvi-x.tif", [pixels(10), pixels(20), pixels(30)], descriptions=["c", "", "a"])
    collection = open_bands([path])

    assert collection.band_names == ("ndvi_x",)
    assert len(collection) == 3
    assert collection.texts == [[("band description", text)] for text in ("c", "", "a")]
    assert collection.select(["ndvi_x"]).read(Window(1, 1, 1, 2), nothing).tolist() == [[[14, 15], [24, 25], [34, 35]]]
    assert open_bands([path], "ndvi").band_names == ("ndvi",)


def test_bands_are_images_of_one_raster_only(tmp_path):
    path = write_raster(tmp_path / "a.tif", [pixels(10)])

    with pytest.raises(SettingError, match="BANDS_ARE_IMAGES takes one raster, not 2"):
        open_bands([path, path])


def test_dates_are_looked_for_in_file_name_then_first_description(tmp_path):
    path = write_raster(tmp_path / "ndvi_20190731.tif", [pixels(1), pixels(2)], descriptions=["2018-01-01", "y"])

    assert open_collection([path]).texts == [[("file name", "ndvi_20190731"), ("band description", "2018-01-01")]]


def test_images_can_be_closed_as_soon_as_they_are_read(tmp_path):
    paths = [write_raster(tmp_path / f"{number}.tif", [pixels(number)]) for number in range(3)]
    collection = open_collection(paths)

    kept, closed = (collection.read(ALL, nothing, keep_open) for keep_open in (True, False))

    assert np.array_equal(kept, closed)


def test_reading_stops_when_told(tmp_path):
    def check():
        raise Canceled()

    with pytest.raises(Canceled):
        open_collection([write_raster(tmp_path / "a.tif", [pixels(1)])]).read(ALL, check)


def test_built_in_variables():
    times = np.array([2018.25, 2018.0, 2019.5])

    assert built_in("constant", times).tolist() == [1, 1, 1]
    assert built_in("time", times).tolist() == times.tolist()
    assert built_in("order", times).tolist() == [0, 1, 2]
    np.testing.assert_allclose(built_in("cos_1", times), [0, 1, -1], atol=1e-15)
    np.testing.assert_allclose(built_in("sin_1", times), [1, 0, 0], atol=1e-15)
    np.testing.assert_allclose(built_in("sin_3", times), [-1, 0, math.sin(9 * math.pi)], atol=1e-14)
    assert [built_in(name, times) for name in ("cos_0", "cos", "tan_1", "ndvi")] == [None] * 4


def test_harmonics_come_in_pairs():
    assert harmonics(2) == ["cos_1", "sin_1", "cos_2", "sin_2"]
    assert harmonics(0) == []
