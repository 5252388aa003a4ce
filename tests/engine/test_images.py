"""Rasters become one stack on one grid, tile by tile as in one piece."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from osgeo import gdal
from raster_files import NORTH_UP, ROTATED, UTM33, UTM34, gdal_exceptions, wkt, write_raster, write_vrt
from rasterml.engine.errors import RasterError, SettingError
from rasterml.engine.images import RESAMPLING, Grid, Image, gdal_cache, grid_for
from rasterml.engine.tiles import Window, iter_tiles

ROWS, COLUMNS = 4, 6
SQUARES = np.arange(ROWS * COLUMNS, dtype=float).reshape(ROWS, COLUMNS)
either_mode = pytest.mark.parametrize("exceptions", [False, True], ids=["codes", "exceptions"])


def whole(image: Image, dtype=np.float32) -> np.ndarray:
    return image.read(image.grid.window(), dtype).values


def together(image: Image, size: int) -> np.ndarray:
    """The image read tile by tile."""
    values = np.full((image.bands, image.grid.rows, image.grid.columns), -1, dtype=np.float32)
    for tile in iter_tiles(image.grid.rows, image.grid.columns, size):
        rows, columns = slice(tile.row, tile.row + tile.rows), slice(tile.column, tile.column + tile.columns)
        values[:, rows, columns] = image.read(tile).values
    return values


# Names


def test_single_band_file_is_named_after_the_file(tmp_path):
    assert Image([write_raster(tmp_path / "red.tif", [SQUARES])]).band_names == ("red",)


def test_bands_without_description_are_numbered_after_the_file(tmp_path):
    assert Image([write_raster(tmp_path / "s2.tif", [SQUARES, SQUARES])]).band_names == ("s2_1", "s2_2")


def test_description_wins_over_the_file_name_and_odd_characters_become_underscores(tmp_path):
    path = write_raster(tmp_path / "a b.tif", [SQUARES, SQUARES], descriptions=["NIR (842 nm)", ""])

    assert Image([path]).band_names == ("NIR__842_nm_", "a_b_2")


def test_repeated_names_are_numbered(tmp_path):
    path = write_raster(tmp_path / "red.tif", [SQUARES])

    assert Image([path, path, path]).band_names == ("red", "red_2", "red_3")


def test_new_names_rename_all_bands_and_the_choice_uses_them_in_its_order(tmp_path):
    first = write_raster(tmp_path / "a.tif", [SQUARES, SQUARES + 100])
    second = write_raster(tmp_path / "b.tif", [SQUARES + 200])
    image = Image([first, second], bands="swir, red", band_names="red,nir,swir")

    assert image.band_names == ("swir", "red")
    assert whole(image)[:, 0, 1].tolist() == [201, 1]


def test_wrong_number_of_new_names_is_refused_with_both_numbers(tmp_path):
    path = write_raster(tmp_path / "a.tif", [SQUARES, SQUARES])

    with pytest.raises(RasterError, match=r"3 names .* 2 bands"):
        Image([path], band_names="x,y,z")


def test_unknown_band_is_refused_with_those_there_are(tmp_path):
    path = write_raster(tmp_path / "a.tif", [SQUARES, SQUARES])

    with pytest.raises(RasterError, match="no band swir: it has a_1, a_2"):
        Image([path], bands="a_1,swir")
    with pytest.raises(RasterError, match="no band swir: it has a_1, a_2"):
        Image([path]).select(["swir"])


def test_selection_reads_only_its_bands_in_its_order(tmp_path):
    image = Image([write_raster(tmp_path / "a.tif", [SQUARES, SQUARES + 50, SQUARES + 90])])

    assert whole(image.select(["a_3", "a_1"]))[:, 2, 3].tolist() == [105, 15]
    assert image.bands == 3


def test_table_names_file_type_and_nodata(tmp_path):
    path = write_raster(tmp_path / "a.tif", [SQUARES], gdal.GDT_Int16, nodata=-1)

    assert Image([path]).table() == ["band 1: a (a.tif, band 1, Int16, nodata -1)"]


# Masks and types


@pytest.mark.parametrize(
    ("kind", "nodata"),
    [
        (gdal.GDT_Byte, 7),
        (gdal.GDT_Int16, -32768),
        (gdal.GDT_UInt16, 65535),
        (gdal.GDT_Int32, -(2**31)),
        (gdal.GDT_Float32, -3.4028234663852886e38),
        (gdal.GDT_Float32, float("nan")),
        (gdal.GDT_Float64, -1.7976931348623157e308),
        (gdal.GDT_Float64, 0.1),
    ],
)
def test_nodata_pixels_are_masked_and_no_others(tmp_path, kind, nodata):
    values = (SQUARES + 20).astype(float)
    values[1, 2] = nodata
    image = Image([write_raster(tmp_path / "a.tif", [values, SQUARES + 30], kind, nodata)])
    block = image.read(image.grid.window())

    assert np.argwhere(~block.valid).tolist() == [[1, 2]]
    assert np.argwhere(np.isnan(block.values)).tolist() == [[0, 1, 2]]
    assert block.values[1, 1, 2] == 38


def test_zero_is_a_value_like_any_other(tmp_path):
    image = Image([write_raster(tmp_path / "a.tif", [np.zeros((2, 3)), np.full((2, 3), 7)], gdal.GDT_Byte, 255)])

    assert image.read(image.grid.window()).valid.all()


def test_each_band_has_its_own_nodata_value(tmp_path):
    first = write_raster(tmp_path / "a.tif", [SQUARES], gdal.GDT_Int16, nodata=5)
    second = write_raster(tmp_path / "b.tif", [SQUARES], gdal.GDT_Float32, nodata=6)
    values = whole(Image([write_vrt(tmp_path / "ab.vrt", [first, second])]))

    assert np.argwhere(np.isnan(values)).tolist() == [[0, 0, 5], [1, 1, 0]]


def test_mask_of_the_dataset_masks_every_band(tmp_path):
    mask = np.full((ROWS, COLUMNS), 255)
    mask[3, 1], mask[0, 0] = 0, 1
    image = Image([write_raster(tmp_path / "a.tif", [SQUARES, SQUARES], gdal.GDT_Int16, mask=mask)])

    assert np.argwhere(np.isnan(whole(image))).tolist() == [[0, 3, 1], [1, 3, 1]]


@pytest.mark.parametrize("bands", [1, 2, 3, 4])
def test_alpha_band_is_a_mask_and_no_predictor(tmp_path, bands):
    alpha = np.full((ROWS, COLUMNS), 255)
    alpha[2, 4], alpha[0, 0] = 0, 1
    path = write_raster(tmp_path / "a.tif", [SQUARES] * bands, gdal.GDT_Byte, alpha=alpha)
    image = Image([path])

    assert image.bands == bands
    assert np.argwhere(np.isnan(whole(image))).tolist() == [[band, 2, 4] for band in range(bands)]


def test_infinite_and_overflowing_values_are_masked(tmp_path):
    values = SQUARES.copy()
    values[0, 1], values[2, 2] = np.inf, 1e300
    image = Image([write_raster(tmp_path / "a.tif", [values], gdal.GDT_Float64)])

    assert np.argwhere(np.isnan(whole(image))).tolist() == [[0, 0, 1], [0, 2, 2]]
    assert whole(image, np.float64)[0, 2, 2] == 1e300


@pytest.mark.parametrize(
    ("kind", "sample_type", "integer"),
    [
        (gdal.GDT_Byte, np.float32, True),
        (gdal.GDT_UInt16, np.float32, True),
        (gdal.GDT_Float32, np.float32, False),
        (gdal.GDT_Int32, np.float64, True),
        (gdal.GDT_Float64, np.float64, False),
    ],
)
def test_sample_type_holds_every_value_of_the_band(tmp_path, kind, sample_type, integer):
    image = Image([write_raster(tmp_path / "a.tif", [SQUARES], kind)])

    assert image.sample_type is sample_type
    assert image.integer == (integer,)


def test_large_integers_are_exact_in_the_sample_type(tmp_path):
    image = Image([write_raster(tmp_path / "a.tif", [np.full((2, 3), 2**24 + 1)], gdal.GDT_Int32)])

    assert (whole(image, image.sample_type) == 2**24 + 1).all()


def test_scale_and_offset_metadata_are_not_applied(tmp_path):
    path = write_raster(tmp_path / "a.tif", [SQUARES])
    dataset = gdal.Open(path, gdal.GA_Update)
    band = dataset.GetRasterBand(1)
    band.SetScale(0.5)
    band.SetOffset(100)
    del band, dataset

    assert whole(Image([path]))[0, 1, 1] == SQUARES[1, 1]


# Grids


def test_rasters_on_one_grid_are_stacked(tmp_path):
    first = write_raster(tmp_path / "a.tif", [SQUARES], gdal.GDT_Byte)
    second = write_raster(tmp_path / "b.tif", [SQUARES * 2.5], gdal.GDT_Float64)

    assert np.array_equal(whole(Image([first, second])), [SQUARES, SQUARES * 2.5])


@pytest.mark.parametrize("method", RESAMPLING)
def test_raster_that_starts_elsewhere_keeps_its_exact_values(tmp_path, method):
    first = write_raster(tmp_path / "a.tif", [SQUARES])
    # one row down, two columns to the left of the first
    elsewhere = (NORTH_UP[0] - 20, 10.0, 0.0, NORTH_UP[3] - 10, 0.0, -10.0)
    second = write_raster(tmp_path / "b.tif", [SQUARES * 3.3], geotransform=elsewhere)
    values = whole(Image([first, second], resampling=method))

    assert np.array_equal(values[1, 1:, :4], (SQUARES * 3.3).astype(np.float32)[:3, 2:])
    assert np.isnan(values[1, 0]).all() and np.isnan(values[1, :, 4:]).all()


def test_average_of_four_small_pixels_is_their_mean(tmp_path):
    fine = np.arange(8 * 12, dtype=float).reshape(8, 12)
    first = write_raster(tmp_path / "a.tif", [SQUARES])
    second = write_raster(tmp_path / "b.tif", [fine], geotransform=(NORTH_UP[0], 5, 0, NORTH_UP[3], 0, -5))
    means = fine.reshape(4, 2, 6, 2).mean(axis=(1, 3))

    assert np.allclose(whole(Image([first, second], resampling="average"))[1], means)


def test_nearest_takes_the_coarse_pixel_that_holds_the_centre(tmp_path):
    first = write_raster(tmp_path / "a.tif", [SQUARES])
    coarse = write_raster(
        tmp_path / "b.tif",
        [[[1, 2, 3], [4, 5, 6]]],
        gdal.GDT_Byte,
        geotransform=(NORTH_UP[0], 20, 0, NORTH_UP[3], 0, -20),
    )
    image = Image([first, coarse])

    assert np.array_equal(whole(image)[1], np.kron([[1, 2, 3], [4, 5, 6]], np.ones((2, 2))))
    assert image.integer == (False, True)
    assert Image([first, coarse], resampling="bilinear").integer == (False, False)


@pytest.mark.parametrize("method", ["nearest", "bilinear"])
def test_other_crs_equals_gdal_warping_the_whole_raster(tmp_path, method):
    rng = np.random.default_rng(1)
    source = rng.uniform(0, 100, (300, 270)).astype(np.float32)
    path = write_raster(tmp_path / "a.tif", [source], nodata=-1)
    grid = grid_for(path, wkt(UTM34), 9)
    expected = gdal.Warp(
        "", path, format="MEM", dstSRS=wkt(UTM34), outputBounds=grid.bounds(), width=grid.columns, height=grid.rows,
        errorThreshold=0, resampleAlg=method, dstNodata=-1,
    ).ReadAsArray()  # fmt: skip
    values = whole(Image([path], grid=grid, resampling=method))[0]

    assert np.array_equal(np.isnan(values), expected == -1)
    valid = expected != -1
    assert valid.sum() > 60_000
    assert np.allclose(values[valid], expected[valid], rtol=1e-6)


@pytest.mark.parametrize("method", RESAMPLING)
@pytest.mark.parametrize("target", ["same", "finer", "other CRS", "rotated"])
def test_tiles_put_together_equal_the_whole(tmp_path, target, method):
    rng = np.random.default_rng(2)
    first, second = rng.uniform(0, 1000, (2, 270, 310))
    first[rng.uniform(size=first.shape) < 0.1] = -9999
    paths = [
        write_raster(tmp_path / "a.tif", [first], nodata=-9999),
        write_raster(tmp_path / "b.tif", [second], gdal.GDT_Int16),
    ]
    grids = {
        "same": grid_for(paths[0]),
        "finer": grid_for(paths[0], scale=9.7),
        "other CRS": grid_for(paths[0], wkt(UTM34)),
        "rotated": Grid(290, 280, ROTATED, wkt(UTM33)),
    }
    image = Image(paths, resampling=method, grid=grids[target])
    expected = whole(image)

    assert np.isfinite(expected).all(axis=0).any() and np.isnan(expected).any()
    for size in (61, 256, 1000):
        assert np.array_equal(together(image, size), expected, equal_nan=True)


@pytest.mark.parametrize("how", ["nodata", "nan", "alpha", "mask", "infinite"])
@pytest.mark.parametrize("method", ["bilinear", "cubic", "average"])
def test_masked_pixels_do_not_leak_into_their_neighbours(tmp_path, how, method):
    values = np.full((20, 30), 10.0)
    hidden = np.zeros(values.shape, dtype=bool)
    hidden[5:9, 7:15] = True
    bad = {"nodata": 250.0, "nan": np.nan, "infinite": np.inf}.get(how, 99.0)
    values[hidden] = bad
    options = {"nodata": 250.0 if how == "nodata" else None}
    if how == "alpha":
        options = {"alpha": np.where(hidden, 0, 255), "kind": gdal.GDT_Byte}
    if how == "mask":
        options = {"mask": np.where(hidden, 0, 255)}
    path = write_raster(tmp_path / "a.tif", [values, values], **options)
    grid = Grid(18, 28, (NORTH_UP[0] + 3, 10.3, 0, NORTH_UP[3] - 4, 0, -10.3), wkt(UTM33))
    read = whole(Image([path], resampling=method, grid=grid))[0]

    assert np.isnan(read).any()
    assert np.allclose(read[np.isfinite(read)], 10, rtol=1e-6)


def test_bands_are_masked_apart_when_warped(tmp_path):
    first, second = np.full((20, 30), 3.0), np.full((20, 30), 7.0)
    first[:, :10] = -1
    second[10:] = -1
    grid = Grid(20, 30, (NORTH_UP[0] + 2, 10, 0, NORTH_UP[3] - 2, 0, -10), wkt(UTM33))
    values = whole(Image([write_raster(tmp_path / "a.tif", [first, second], nodata=-1)], grid=grid))

    assert np.isnan(values[0, :, :10]).all() and (values[0, :, 10:] == 3).all()
    assert np.isnan(values[1, 10:]).all() and (values[1, :10] == 7).all()


@pytest.mark.parametrize("method", ["bilinear", "cubic", "average"])
def test_interpolated_values_do_not_depend_on_where_the_raster_ends(tmp_path, method):
    values = np.random.default_rng(5).uniform(0, 100, (200, 300))
    first = write_raster(tmp_path / "a.tif", [values])
    part = write_raster(tmp_path / "b.tif", [values[:, :130]])
    grid = Grid(80, 120, (NORTH_UP[0], 25, 0, NORTH_UP[3], 0, -25), wkt(UTM33))
    full, cut = (whole(Image([path], grid=grid, resampling=method))[0] for path in (first, part))

    assert np.array_equal(full[:, :45], cut[:, :45])  # the cut is at column 52


def test_rotated_raster_is_read_as_it_is_and_warped_onto_a_straight_grid(tmp_path):
    path = write_raster(tmp_path / "a.tif", [np.full((30, 40), 7), np.zeros((30, 40))], geotransform=ROTATED)
    assert np.array_equal(whole(Image([path]))[0], np.full((30, 40), 7))
    straight = Grid(60, 60, (NORTH_UP[0] - 50, 10, 0, NORTH_UP[3] + 50, 0, -10), wkt(UTM33))
    values = whole(Image([path], grid=straight))

    inside_x, inside_y = straight.centres(*np.indices((60, 60)))
    columns, rows = Image([path]).grid.pixels(inside_x, inside_y)
    inside = (columns > 0) & (columns < 40) & (rows > 0) & (rows < 30)
    assert np.array_equal(np.isfinite(values[0]), inside)
    assert (values[0][inside] == 7).all() and (values[1][inside] == 0).all()


def test_raster_without_crs_fits_where_its_numbers_are_the_grid_s(tmp_path):
    first = write_raster(tmp_path / "a.tif", [SQUARES])
    second = write_raster(tmp_path / "b.tif", [SQUARES], epsg=None)

    assert np.isfinite(whole(Image([first, second]))).all()


@pytest.mark.parametrize("order", [1, -1])
def test_raster_without_crs_on_another_grid_is_refused(tmp_path, order):
    first = write_raster(tmp_path / "a.tif", [SQUARES])
    second = write_raster(tmp_path / "b.tif", [SQUARES[:3]], epsg=None)

    with pytest.raises(RasterError, match="Assign projection"):
        Image([first, second][::order])


def test_rasters_that_all_lack_a_crs_share_the_ground(tmp_path):
    first = write_raster(tmp_path / "a.tif", [SQUARES], epsg=None)
    second = write_raster(tmp_path / "b.tif", [SQUARES[:3, :5]], epsg=None)

    assert np.isfinite(whole(Image([first, second]))[1]).sum() == 15


@pytest.mark.parametrize("epsg", [UTM33, UTM34])
def test_raster_beside_the_grid_is_refused_by_name(tmp_path, epsg):
    first = write_raster(tmp_path / "a.tif", [SQUARES])
    far = (NORTH_UP[0] + 200_000, 10.0, 0.0, NORTH_UP[3], 0.0, -10.0)
    second = write_raster(tmp_path / "far.tif", [SQUARES], geotransform=far, epsg=epsg)

    with pytest.raises(RasterError, match=r"far\.tif does not overlap"):
        Image([first, second])


def test_scale_alone_keeps_origin_and_orientation(tmp_path):
    path = write_raster(tmp_path / "a.tif", [SQUARES], geotransform=ROTATED)
    grid = grid_for(path, scale=25)

    # 40 x 60 m in 25 m pixels: 1.6 and 2.4, both rounded up; the sides keep the direction (0.8, 0.6)
    assert grid[:2] == (2, 3)
    assert np.allclose(grid.geotransform, (300_000, 20, 15, 5_800_000, 15, -20))


def test_other_crs_with_a_scale_starts_at_its_multiples(tmp_path):
    path = write_raster(tmp_path / "a.tif", [SQUARES])
    grid = grid_for(path, wkt(UTM34), 40)
    xmin, ymin, xmax, ymax = grid_for(path, wkt(UTM34)).bounds()

    assert grid.geotransform[0] % 40 == 0 and grid.geotransform[3] % 40 == 0
    assert grid.geotransform[0] <= xmin and grid.bounds()[2] >= xmax
    assert grid.geotransform[3] >= ymax and grid.bounds()[1] <= ymin


def test_other_crs_alone_takes_the_pixels_that_gdal_suggests(tmp_path):
    path = write_raster(tmp_path / "a.tif", [SQUARES])
    suggested = gdal.Warp("", path, format="MEM", dstSRS=wkt(UTM34))
    grid = grid_for(path, wkt(UTM34))

    assert np.allclose(grid.geotransform, suggested.GetGeoTransform(), rtol=1e-6)
    assert grid[:2] == (suggested.RasterYSize, suggested.RasterXSize)


@pytest.mark.parametrize("scale", [0, -10, float("nan")])
def test_impossible_scale_is_refused(tmp_path, scale):
    with pytest.raises(SettingError, match="SCALE"):
        grid_for(write_raster(tmp_path / "a.tif", [SQUARES]), scale=scale)


def test_grid_of_too_many_pixels_is_refused(tmp_path):
    with pytest.raises(SettingError, match="larger pixel"):
        grid_for(write_raster(tmp_path / "a.tif", [SQUARES]), scale=1e-9)


def test_places_and_pixels_of_a_rotated_grid_are_each_other_s_inverse():
    grid = Grid(30, 40, ROTATED, "")
    x, y = grid.centres(np.array([0, 29]), np.array([39, 3]))
    columns, rows = grid.pixels(x, y)

    assert np.allclose(columns, [39.5, 3.5]) and np.allclose(rows, [0.5, 29.5])
    assert (x[0], y[0]) == (300_000 + 39.5 * 8 + 0.5 * 6, 5_800_000 + 39.5 * 6 - 0.5 * 8)


def test_window_for_bounds_on_pixel_edges_has_no_pixel_beyond_them():
    side = 231.65635826385406  # a MODIS pixel: its multiples are not exact
    grid = Grid(300, 400, (-6073798.057320992, side, 0, -1278279.7849004474, 0, -side), "")
    for tile in iter_tiles(300, 400, 37):
        assert grid.window_for(grid.part(tile).bounds()) == tile


def test_window_for_bounds_is_clipped_to_the_grid():
    grid = Grid(ROWS, COLUMNS, NORTH_UP, "")

    assert grid.window_for((300_015, 5_799_975, 300_032, 5_900_000)) == Window(0, 1, 3, 3)
    assert grid.window_for((0, 0, 10, 10)) is None


def test_raster_without_geotransform_has_pixels_as_ground(tmp_path):
    path = write_raster(tmp_path / "a.tif", [SQUARES], geotransform=None, epsg=None)

    assert Image([path]).grid == Grid(ROWS, COLUMNS, (0, 1, 0, 0, 0, 1), "")


def test_geotransform_without_area_is_refused(tmp_path):
    path = write_raster(tmp_path / "a.tif", [SQUARES], geotransform=(0, 1, 1, 0, 1, 1))

    with pytest.raises(RasterError, match="without area"):
        Image([path])


# Trouble


@either_mode
def test_missing_file_is_refused_by_name(tmp_path, exceptions, capfd):
    with gdal_exceptions(exceptions), pytest.raises(RasterError, match=r"nothing\.tif cannot be opened"):
        Image([str(tmp_path / "nothing.tif")])

    assert capfd.readouterr().err == ""


@either_mode
def test_file_that_is_no_raster_is_refused(tmp_path, exceptions):
    (tmp_path / "a.tif").write_text("not a raster")

    with gdal_exceptions(exceptions), pytest.raises(RasterError, match=r"a\.tif cannot be opened"):
        Image([str(tmp_path / "a.tif")])


@either_mode
def test_truncated_file_is_refused_with_the_place(tmp_path, exceptions, capfd):
    path = write_raster(tmp_path / "a.tif", [np.ones((200, 300))], options=["BLOCKYSIZE=10"])
    (tmp_path / "a.tif").write_bytes((tmp_path / "a.tif").read_bytes()[:120_000])
    with gdal_exceptions(exceptions):
        image = Image([path])
        assert (image.read(Window(0, 0, 10, 300)).values == 1).all()
        with pytest.raises(RasterError, match=r"a\.tif cannot be read at rows 190 to 199, columns 5 to 104"):
            image.read(Window(190, 5, 10, 100))

    assert capfd.readouterr().err == ""


@either_mode
def test_values_do_not_depend_on_gdal_s_exceptions(tmp_path, exceptions):
    first = write_raster(tmp_path / "a.tif", [SQUARES], nodata=3)
    second = write_raster(tmp_path / "b.tif", [SQUARES], geotransform=(NORTH_UP[0], 7, 0, NORTH_UP[3], 0, -7))
    with gdal_exceptions(exceptions):
        values = whole(Image([first, second]))
        assert gdal.GetUseExceptions() == int(exceptions)

    assert np.isnan(values[0, 0, 3]) and np.nansum(values[0]) == SQUARES.sum() - 3
    assert values[1, 0, 0] == 0 and np.isnan(values[1, 3, 5])


def test_file_with_subdatasets_names_one_of_them(tmp_path):
    for name in ("one", "two"):
        gdal.Translate(
            str(tmp_path / "a.gpkg"), write_raster(tmp_path / f"{name}.tif", [SQUARES], gdal.GDT_Byte), format="GPKG",
            creationOptions=[f"RASTER_TABLE={name}", "APPEND_SUBDATASET=YES"],
        )  # fmt: skip

    with pytest.raises(RasterError, match=r"holds 2 subdatasets: add one of them, as GPKG:.*:one"):
        Image([str(tmp_path / "a.gpkg")])


def test_complex_numbers_are_refused(tmp_path):
    with pytest.raises(RasterError, match="complex"):
        Image([write_raster(tmp_path / "a.tif", [SQUARES], gdal.GDT_CFloat32)])


def test_no_raster_and_unknown_resampling_are_refused(tmp_path):
    with pytest.raises(RasterError, match="No raster"):
        Image([])
    with pytest.raises(SettingError, match="nearest, bilinear, cubic, average"):
        Image([write_raster(tmp_path / "a.tif", [SQUARES])], resampling="lanczos")


def test_threads_read_the_same_values(tmp_path):
    rng = np.random.default_rng(3)
    paths = [
        write_raster(tmp_path / "a.tif", [rng.uniform(size=(300, 200))]),
        write_raster(
            tmp_path / "b.tif", [rng.uniform(size=(300, 200))], geotransform=(299_995, 9, 0, 5_800_003, 0, -9)
        ),
    ]
    image = Image(paths)
    expected = whole(image)
    found = []
    threads = [threading.Thread(target=lambda: found.append(together(image, 50))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(found) == 4
    assert all(np.array_equal(values, expected, equal_nan=True) for values in found)


def test_closed_image_opens_again_when_read(tmp_path):
    image = Image([write_raster(tmp_path / "a.tif", [SQUARES])])
    image.close()

    assert whole(image)[0, 0, 5] == 5


def test_gdal_cache_is_lowered_for_a_while_and_never_raised():
    before = gdal.GetCacheMax()
    with gdal_cache(16):
        assert gdal.GetCacheMax() == min(before, 16 * 2**20)
        with gdal_cache(1_000_000):
            assert gdal.GetCacheMax() == min(before, 16 * 2**20)

    assert gdal.GetCacheMax() == before


# Real data


def test_north_carolina_scene_has_the_valid_pixels_that_its_readme_counts(shared):
    folder = shared / "data" / "nc_landsat7"
    image = Image([str(folder / f"lsat7_2000_{number}0.tif") for number in (1, 2, 3, 4, 5, 7)])
    window = image.grid.window()

    assert image.select(image.band_names[:5]).read(window).valid.sum() == 183_418
    assert image.read(window).valid.sum() == 135_092


def test_sinusoidal_grid_without_authority_is_warped(shared):
    path = str(shared / "data" / "modis_sinop" / "TERRA_MODIS_012010_NDVI_2013-09-14.jp2")
    grid = grid_for(path, wkt(4326))
    values = whole(Image([path], grid=grid))[0]
    expected = gdal.Warp("", path, format="MEM", dstSRS=wkt(4326), errorThreshold=0, dstNodata=-32768).ReadAsArray()

    assert np.array_equal(np.where(np.isnan(values), -32768, values), expected)
