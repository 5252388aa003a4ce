"""The lean linear fit: what exact fractions give, from numbers as files store them."""

from __future__ import annotations

import pickle
import threading
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from osgeo import gdal
from raster_files import NORTH_UP, write_raster
from rasterml.engine import lean_fit, pixel_regression
from rasterml.engine.image_collection import open_bands, open_collection
from rasterml.engine.lean_fit import Stored, linear_fit
from rasterml.engine.pixel_regression import regress_image
from rasterml.engine.rasters import Band
from rasterml.engine.reducers import REDUCERS_BY_ID
from rasterml.engine.scratch import Scratch
from rasterml.engine.tiles import Window

TYPES = {"Byte": 255, "Int16": -32768, "UInt16": 65535, "Float32": -9999}
LINEAR_FIT = REDUCERS_BY_ID["linearfit"]


def scene(kind, images=43, pixels=60, seed=3):
    """Times (1, images), numbers with 40 % gaps as a band of this type stores them, and that band."""
    generator = np.random.default_rng(seed)
    times = 1990 + generator.permutation(np.cumsum(generator.uniform(0.1, 0.6, images)))
    top = {"Byte": 200, "Float32": 1}.get(kind, 20_000)
    values = generator.uniform(0, top, (images, pixels)) + (times[:, np.newaxis] - 1990) * top / 100
    gaps = generator.random(values.shape) < 0.4
    gaps[:, :5] = np.arange(images)[:, np.newaxis] >= np.arange(5)
    values[gaps] = TYPES[kind]
    band = Band(1, "", kind, TYPES[kind], gdal.GMF_NODATA)
    return times[np.newaxis], values.astype(band.dtype), band


def fit(times, values, band, images_at_once=16):
    parts = (values[first : first + images_at_once] for first in range(0, len(values), images_at_once))
    stored = Stored(parts, values.shape[1], values.dtype, band.gaps, band.nodata)
    return linear_fit(times, stored, Scratch())


def exact(times, values):
    """Scale and offset of the line through floats, in fractions."""
    x, y = [Fraction(float(each)) for each in times], [Fraction(float(each)) for each in values]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    scale = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y)) / sum((a - mean_x) ** 2 for a in x)
    return float(scale), float(mean_y - scale * mean_x)


@pytest.mark.parametrize("kind", TYPES)
def test_lines_are_those_of_exact_fractions(kind):
    times, values, band = scene(kind)
    result = fit(times, values, band)

    valid = values != values.dtype.type(TYPES[kind])
    np.testing.assert_array_equal(result.used, valid.sum(axis=0))
    assert result.sure.tolist() == [False, False, *[True] * 58]
    assert np.isnan(result.outputs[:, :2]).all()
    for pixel in range(2, 60):
        used = valid[:, pixel]
        expected = exact(times[0, used], values[used, pixel])
        np.testing.assert_allclose(result.outputs[:, pixel], expected, rtol=1e-11)


@pytest.mark.parametrize("kind", ["Byte", "Int8", "Int16", "UInt16"])
@pytest.mark.parametrize("images", [8, 200, 5000])
def test_sums_over_eight_images_are_exact_so_that_blas_may_add_in_any_order(kind, images):
    generator = np.random.default_rng(5)
    dtype = np.dtype(Band(1, "", kind, None, gdal.GMF_ALL_VALID).dtype)
    limits = np.iinfo(dtype)
    even, uneven = generator.uniform(-1, 1, images), 10.0 ** generator.uniform(-9, 3, images)
    for x in (even, np.full(images, 1 - 2.0**-53), uneven):
        rounded, factors, share = lean_fit._factors(x, dtype)
        assert np.abs(rounded - x).max() <= np.abs(x).max() * images * 2.0**-49
        np.testing.assert_array_equal(factors[0] + (factors[1] - 1) / share, rounded)
        assert np.abs(factors[1] - 1).sum() * max(limits.max, -limits.min) <= 0.25
        for y in (np.full(8, limits.min), np.full(8, limits.max), generator.integers(limits.min, limits.max, 8)):
            for row in factors[:, :8]:
                products = [Fraction(a) * int(b) for a, b in zip(row.tolist(), y)]
                partial = [sum(products[first:last]) for first in range(8) for last in range(first + 1, 9)]
                assert all(Fraction(float(each)) == each for each in partial)


def test_a_slope_of_nearly_zero_keeps_its_digits():
    times = 1990 + np.cumsum(np.random.default_rng(6).uniform(0.1, 0.2, 200))
    values = np.random.default_rng(7).integers(0, 10_000, (200, 900)).astype(np.int16)
    result = fit(times[np.newaxis], values, Band(1, "", "Int16", None, gdal.GMF_ALL_VALID))
    expected = np.array([exact(times, pixel)[0] for pixel in values.T])

    natural = values.std(axis=0) / times.std()
    assert np.abs(expected / natural).min() < 1e-3
    assert np.abs((result.outputs[0] - expected) / natural).max() < 3e-14


def test_what_is_not_finite_is_a_gap_and_so_is_what_lies_within_gdals_reach_of_nodata():
    times = np.array([[0.0, 1, 2, 3, 4, 5]])
    values = np.array([[1, np.nan, 5, np.inf, np.nextafter(np.float32(-9999), np.float32(0)), 11]], np.float32).T
    result = fit(times, values, Band(1, "", "Float32", -9999.0, gdal.GMF_NODATA))

    np.testing.assert_allclose(result.outputs[:, 0], [2, 1], rtol=1e-14)
    assert result.used.tolist() == [3]


def test_nodata_that_is_nan_masks_what_is_not_finite():
    band = Band(1, "", "Float32", np.nan, gdal.GMF_NODATA)

    assert band.gaps(np.array([1, np.nan, -np.inf], np.float32)).tolist() == [False, True, True]


def test_nodata_that_the_type_cannot_hold_is_no_gap():
    _, values, _ = scene("Byte")
    times = np.logspace(-7, 3, len(values))[np.newaxis]  # whose sum depends on the order
    expected = [exact(times[0], pixel) for pixel in values.T]

    for nodata, flags in ((-9999.0, gdal.GMF_NODATA), (1e300, gdal.GMF_NODATA), (None, gdal.GMF_ALL_VALID)):
        result = fit(times, values, Band(1, "", "Byte", nodata, flags))
        np.testing.assert_allclose(result.outputs.T, expected, rtol=1e-11)


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("at_once", [1, 7, 12])
def test_the_pixels_computed_at_once_change_no_bit(kind, at_once, monkeypatch):
    times, values, band = scene(kind)
    whole = fit(times, values, band)
    monkeypatch.setattr(lean_fit, "GAPS_AT_ONCE", 13)
    monkeypatch.setattr(lean_fit, "NUMBERS_AT_ONCE", at_once)
    part = fit(times, values, band)
    alone = fit(times, np.ascontiguousarray(values[:, 9:10]), band)

    assert whole.outputs.tobytes() == part.outputs.tobytes()
    assert whole.outputs[:, 9:10].tobytes() == alone.outputs.tobytes()


def test_a_single_pixel_adds_up_in_the_order_of_many():
    generator = np.random.default_rng(4)
    times = generator.uniform(-1, 1, (1, 43))
    values = (10.0 ** generator.uniform(-5, 5, (43, 300))).astype(np.float32)  # whose sums depend on the order
    band = Band(1, "", "Float32", None, gdal.GMF_ALL_VALID)
    alone = [fit(times, values[:, pixel : pixel + 1], band).outputs for pixel in range(300)]

    assert fit(times, values, band).outputs.tobytes() == np.concatenate(alone, axis=1).tobytes()


@pytest.mark.parametrize("value", [0.1, 1e6, 3e-30, -17])
def test_a_constant_pixel_has_a_slope_of_zero(value):
    times, gaps, _ = scene("Float32")
    values = np.where(gaps == -9999, np.float32(np.nan), np.float32(value))
    result = fit(times, values, Band(1, "", "Float32", None, gdal.GMF_ALL_VALID))

    assert (result.outputs[0, 2:] == 0).all()
    np.testing.assert_allclose(result.outputs[1, 2:], np.float32(value), rtol=1e-15)


@pytest.mark.parametrize("kind", ["Byte", "Int16", "UInt16"])
def test_constant_whole_numbers_have_a_slope_of_zero(kind):
    times, values, band = scene(kind, images=203, pixels=300)
    values[values != TYPES[kind]] = 201
    result = fit(times, values, band)

    assert (result.outputs[0, 2:] == 0).all()
    np.testing.assert_allclose(result.outputs[1, 2:], 201, rtol=1e-15)


def test_a_trend_in_the_last_digits_of_large_numbers_is_found():
    times = 2000 + np.arange(50.0)
    values = np.where(np.arange(50) < 25, np.float32(1e6), np.float32(1e6 + 0.0625))[:, np.newaxis]
    result = fit(times[np.newaxis], values, Band(1, "", "Float32", None, gdal.GMF_ALL_VALID))

    np.testing.assert_allclose(result.outputs[:, 0], exact(times, values[:, 0]), rtol=1e-7)


def test_more_images_than_a_byte_counts():
    times = np.arange(700.0)[np.newaxis]
    values = (3 + 2 * times.T).astype(np.uint16)
    values[::7] = 0
    result = fit(times, values, Band(1, "", "UInt16", 0.0, gdal.GMF_NODATA))

    assert result.used.tolist() == [600]
    np.testing.assert_allclose(result.outputs[:, 0], [2, 3], rtol=1e-12)


def test_images_that_lie_close_together_and_far_from_the_others_are_left_to_the_ordinary_kernel():
    times = np.array([[0, 0.001, 0.003, 0.003, 40, 50]])
    values = np.array([[1, 2, 4, -1, -1, -1], [-1, -1, 4, 7, -1, -1], [1, -1, -1, -1, 9, -1]], np.int16).T
    result = fit(times, values, Band(1, "", "Int16", -1.0, gdal.GMF_NODATA))

    assert result.sure.tolist() == [False, False, True]
    np.testing.assert_allclose(result.outputs[:, 2], [0.2, 1], rtol=1e-14)


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("images_at_once", [8, 24, 43])
def test_the_images_that_come_at_once_change_no_bit(kind, images_at_once):
    times, values, band = scene(kind)
    expected = fit(times, values, band)
    result = fit(times, values, band, images_at_once)

    assert result.outputs.tobytes() == expected.outputs.tobytes()
    np.testing.assert_array_equal(result.used, expected.used)


def run(collection, output, times, monkeypatch=None, **options):
    """Return the bands that linearfit writes; with *monkeypatch* by the ordinary kernel alone."""
    reducer = LINEAR_FIT
    if monkeypatch:
        reducer = replace(LINEAR_FIT, lean="")
        monkeypatch.setitem(pixel_regression.REDUCERS_BY_ID, "linearfit", reducer)
    regress_image(collection, reducer, str(output), ["time"], collection.band_names, times, {}, **options)
    return gdal.Open(str(output)).ReadAsArray()


@pytest.mark.parametrize("kind", TYPES)
def test_rasters_get_what_the_ordinary_kernel_gives(kind, tmp_path, monkeypatch):
    times, values, _ = scene(kind, pixels=600)
    times[0, :3] = times[0, 3] + np.array([0, 0, 1e-4])  # pixels with nothing else need the ordinary kernel
    values[:3, 40:60], values[3:, 40:60] = [[1], [2], [4]], TYPES[kind]
    values[0, 40:45] = TYPES[kind]
    values[2, 55:] = TYPES[kind]  # equal times: no line
    values[:, 5] = TYPES[kind]
    path = tmp_path / "y.tif"
    write_raster(path, values.reshape(-1, 20, 30), getattr(gdal, f"GDT_{kind}"), nodata=TYPES[kind])

    lean = run(open_bands([str(path)]), tmp_path / "lean.tif", times[0], min_observations=2)
    tiles = run(open_bands([str(path)]), tmp_path / "tiles.tif", times[0], tile_size=16, threads=2)
    ordinary = run(open_bands([str(path)]), tmp_path / "ordinary.tif", times[0], monkeypatch)

    np.testing.assert_allclose(lean, ordinary, rtol=2e-7)  # two units in the last place of float32
    assert lean.tobytes() == tiles.tobytes()
    assert np.isnan(lean[:, 0, 5]).all()
    assert np.isnan(lean[0].ravel()[55:60]).all()
    assert np.isfinite(lean[0].ravel()[40:55]).all()
    assert np.isfinite(lean[0]).sum() > 500


def test_files_closed_after_each_tile_and_jobs_sent_elsewhere_give_the_same(tmp_path, monkeypatch):
    times, values, _ = scene("Int16", images=9)
    layers = values.reshape(-1, 6, 10)
    paths = [write_raster(tmp_path / f"{n}.tif", [y], gdal.GDT_Int16, nodata=-32768) for n, y in enumerate(layers)]
    kept = run(open_collection(paths), tmp_path / "kept.tif", times[0])
    monkeypatch.setattr(pixel_regression, "MOST_OPEN", 1)
    closed = run(open_collection(paths), tmp_path / "closed.tif", times[0])
    collection = open_collection(paths)
    job = pixel_regression._job(collection, LINEAR_FIT, ["time"], collection.band_names, times[0], {}, 2)
    sent = pickle.loads(pickle.dumps(job)).regress(Window(0, 0, 6, 10), threading.Event())

    assert job.lean
    assert kept.tobytes() == closed.tobytes() == sent.tobytes()


def plan(collection, settings=None, x=("time",), y=None, reducer=LINEAR_FIT):
    settings = reducer.checked(settings or {})
    return pixel_regression._job(collection, reducer, x, y or collection.band_names[:1], [0, 1, 2], settings, 2).lean


def test_the_lean_kernel_serves_stored_numbers_that_all_pixels_regress_on_built_in_x(tmp_path):
    layers = np.arange(18.0).reshape(3, 2, 3)
    masked = write_raster(tmp_path / "a.tif", layers, gdal.GDT_Int16, nodata=3)
    nan = write_raster(tmp_path / "nan.tif", layers, nodata=np.nan)
    wide = write_raster(tmp_path / "b.tif", layers, gdal.GDT_Int32)
    ones = [write_raster(tmp_path / f"{name}.tif", layers[:1], gdal.GDT_Byte) for name in "cde"]
    east = (NORTH_UP[0] + NORTH_UP[1], *NORTH_UP[1:])
    shifted = write_raster(tmp_path / "f.tif", layers[:1], gdal.GDT_Byte, geotransform=east)
    other = write_raster(tmp_path / "g.tif", layers[:1], gdal.GDT_Byte, nodata=0)

    assert plan(open_bands([masked]))
    assert plan(open_bands([nan]))
    assert plan(open_collection(ones))
    assert plan(open_collection([masked] * 3))
    assert not plan(open_bands([masked]), {"significance": True})
    assert not plan(open_collection([masked] * 3), x=["a_1"], y=["a_2"])
    assert not plan(open_bands([masked], "time"))
    assert not plan(open_bands([masked], "a"), x=["a"], y=["time"])
    assert not plan(open_bands([wide]))
    assert not plan(open_collection([*ones, shifted]))
    assert not plan(open_collection([*ones, other]))
    assert not plan(open_bands([masked]), reducer=REDUCERS_BY_ID["sensslope"])


def test_a_mask_beside_the_values_is_not_for_the_lean_kernel(tmp_path):
    layers, mask = np.ones((3, 2, 3)), [[0, 255, 255], [255, 255, 255]]

    assert not plan(open_bands([write_raster(tmp_path / "mask.tif", layers, gdal.GDT_Byte, mask=mask)]))
    assert not plan(open_bands([write_raster(tmp_path / "alpha.tif", layers, gdal.GDT_Byte, alpha=mask)]))
