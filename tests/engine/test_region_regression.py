"""Regression over regions: which pixels count, and that the numbers are those of the pixels by themselves."""

from __future__ import annotations

import numpy as np
import pytest
from osgeo import gdal, ogr
from rasterml.engine import region_regression
from rasterml.engine.errors import Canceled, RasterError, SettingError
from rasterml.engine.images import Image
from rasterml.engine.progress import Progress
from rasterml.engine.reducers import REDUCERS, REDUCERS_BY_ID
from rasterml.engine.region_regression import regress_regions, regress_rows

ROWS, COLUMNS = 34, 51
LINEAR_FIT = REDUCERS_BY_ID["linearfit"]
each_reducer = pytest.mark.parametrize("reducer", REDUCERS, ids=lambda reducer: reducer.word)


def go_on() -> None:
    pass


@pytest.fixture
def bands():
    """red and nir, (bands, rows, columns); nir is missing at row 3, column 4, red in the last column."""
    red, noise = np.random.default_rng(2).normal(size=(2, ROWS, COLUMNS))
    values = np.stack([red, 5 - 2 * red + 0.3 * noise]).astype(np.float32)
    values[1, 3, 4] = values[0, :, -1] = np.nan
    return values


@pytest.fixture
def image(bands, tmp_path):
    dataset = gdal.GetDriverByName("GTiff").Create(
        str(tmp_path / "image.tif"), COLUMNS, ROWS, 2, gdal.GDT_Float32, ["TILED=YES", "BLOCKXSIZE=16", "BLOCKYSIZE=16"]
    )
    dataset.SetGeoTransform((1000, 10, 0, 2000, 0, -10))
    for number, name in enumerate(("red", "nir"), 1):
        dataset.GetRasterBand(number).SetNoDataValue(float("nan"))
        dataset.GetRasterBand(number).SetDescription(name)
        dataset.GetRasterBand(number).WriteArray(bands[number - 1])
    dataset = None
    return Image([str(tmp_path / "image.tif")])


def box(top, left, bottom, right) -> bytes:
    """A rectangle given in pixels."""
    west, north, east, south = 1000 + 10 * left, 2000 - 10 * top, 1000 + 10 * right, 2000 - 10 * bottom
    ring = f"{west} {north}, {east} {north}, {east} {south}, {west} {south}, {west} {north}"
    return bytes(ogr.CreateGeometryFromWkt(f"POLYGON (({ring}))").ExportToWkb())


def fits(image, regions, reducer=LINEAR_FIT, x=("red",), y=("nir",), settings=None, **run):
    return regress_regions(image, regions, reducer, x, y, settings or {}, **run)


def test_each_region_gets_the_line_through_its_own_pixels(image, bands):
    found = fits(image, [box(0, 0, 10, 12), box(8, 10, 34, 51)])

    for region, (rows, columns) in enumerate([(slice(0, 10), slice(0, 12)), (slice(8, 34), slice(10, 50))]):
        red, nir = bands[:, rows, columns].reshape(2, -1).astype(float)
        known = np.isfinite(nir)
        slope, offset = np.polyfit(red[known], nir[known], 1)
        np.testing.assert_allclose(found.values[:, region], [slope, offset], rtol=1e-10)
        assert found.counts[region] == known.sum()


def test_pixel_counts_where_its_centre_is_inside_and_nothing_is_masked(image):
    found = fits(image, [box(2.6, 3.6, 5.4, 6.4), box(2.4, 3.4, 5.6, 6.6), box(0, 49, 6, 51)])

    # 2 × 2 centres, then 4 × 4, each time without row 3, column 4; the last column has no red
    assert found.counts.tolist() == [3, 15, 6]


def test_region_without_enough_pixels_has_no_result(image):
    found = fits(image, [None, box(0, 0, 1, 1), box(-9, 100, -5, 110), box(0, 0, 5, 5)])

    assert found.counts.tolist() == [0, 1, 0, 24]
    assert np.isnan(found.values[:, :3]).all() and np.isfinite(found.values[:, 3]).all()


def test_two_polygons_on_each_other_are_one_region(image):
    whole = ogr.CreateGeometryFromWkb(box(0, 0, 6, 6))
    both = ogr.Geometry(ogr.wkbMultiPolygon)
    both.AddGeometry(whole)
    both.AddGeometry(ogr.CreateGeometryFromWkb(box(2, 2, 6, 9)))

    assert fits(image, [bytes(both.ExportToWkb())]).counts.tolist() == [36 + 12 - 1]


@each_reducer
def test_result_does_not_hang_on_tiles_and_threads(image, reducer):
    x = ("constant", "red") if "constant" in reducer.default_x else ("red",)
    regions = [box(1, 1, 33, 49), box(0, 0, 20, 7)]

    whole = fits(image, regions, reducer, x, threads=1, tile_size=4096)
    tiled = fits(image, regions, reducer, x, threads=3, tile_size=16)

    assert np.isfinite(whole.values).all()
    np.testing.assert_array_equal(tiled.values, whole.values)


def test_several_x_and_y_give_a_coefficient_for_each_pair(image, bands):
    reducer = REDUCERS_BY_ID["linearregression"]

    found = fits(image, [box(0, 0, 9, 9)], reducer, ("constant", "red"), ("nir", "red"))

    names = reducer.outputs(("constant", "red"), ("nir", "red"), {})
    values = dict(zip(names, found.values[:, 0]))
    assert values["red_red"] == pytest.approx(1) and values["constant_red"] == pytest.approx(0, abs=1e-12)
    assert values["red_nir"] == pytest.approx(-2, abs=0.2) and values["constant_nir"] == pytest.approx(5, abs=0.2)


def test_settings_reach_the_reducer(image):
    ridge = REDUCERS_BY_ID["ridgeregression"]

    weak, strong = (fits(image, [box(0, 0, 9, 9)], ridge, settings={"lambda_": value}) for value in (0, 1e9))

    assert weak.values[1, 0] == pytest.approx(-2, abs=0.2)
    assert strong.values[1, 0] == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize(
    ("x", "y", "error", "words"),
    [
        (["blue"], ["nir"], RasterError, "no band blue"),
        (["red", "nir"], ["nir"], SettingError, "takes one variable"),
        (["constant"], ["constant"], SettingError, "name no band"),
    ],
)
def test_variables_that_cannot_be_are_named(image, x, y, error, words):
    with pytest.raises(error, match=words):
        fits(image, [box(0, 0, 5, 5)], x=x, y=y)


def test_regions_that_all_lie_elsewhere_are_refused(image):
    with pytest.raises(RasterError, match="check the CRS"):
        fits(image, [box(-90, 0, -80, 5), None])


def test_region_too_large_for_the_memory_is_refused_with_a_way_out(image, monkeypatch):
    monkeypatch.setattr(region_regression, "WORKING", 2**20)

    with pytest.raises(SettingError, match="MEMORY_LIMIT is 512 MB, and a region has more than 63 pixels"):
        fits(image, [box(0, 0, 20, 20)], memory_limit=512)


def test_cancel_stops_the_run(image):
    class Impatient(Progress):
        def is_canceled(self) -> bool:
            return True

    with pytest.raises(Canceled):
        fits(image, [box(0, 0, 20, 20)], progress=Impatient())


@each_reducer
def test_too_few_rows_give_nothing_under_all_names(reducer):
    x = np.zeros((1, reducer.least(1) - 1))

    found = regress_rows(reducer, x, x, reducer.checked({}), go_on)

    assert len(found) == len(reducer.outputs(["x"], ["y"], reducer.checked({})))
    assert np.isnan(found).all()
