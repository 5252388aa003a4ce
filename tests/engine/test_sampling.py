"""Pixels are found at points, along lines and in polygons, once for each region that holds them."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from osgeo import gdal, ogr
from raster_files import NORTH_UP, ROTATED, UTM33, gdal_exceptions, wkt, write_raster, write_vrt
from rasterml.engine import sampling
from rasterml.engine.errors import Canceled, RasterError, TableError
from rasterml.engine.images import Grid, Image
from rasterml.engine.progress import Progress
from rasterml.engine.rasters import Raster
from rasterml.engine.sampling import sample_regions

ROWS, COLUMNS = 4, 6
ROW_COLUMN = np.add.outer(np.arange(ROWS) * 10.0, np.arange(COLUMNS))  # 23 = row 2, column 3
X, Y, SIDE = NORTH_UP[0], NORTH_UP[3], NORTH_UP[1]


@pytest.fixture
def image(tmp_path) -> Image:
    """Two bands: row * 10 + column, and the same plus 100 without data at row 1, column 2."""
    second = ROW_COLUMN + 100
    second[1, 2] = -1
    first = write_raster(tmp_path / "a.tif", [ROW_COLUMN], gdal.GDT_Byte)
    return Image([first, write_raster(tmp_path / "b.tif", [second], gdal.GDT_Int16, nodata=-1)])


def wkb(text: str) -> bytes:
    return bytes(ogr.CreateGeometryFromWkt(text).ExportToIsoWkb())


def path(*corners: tuple[float, float]) -> str:
    """A line given in pixels (column, row), as well-known text on the ground."""
    return "(" + ", ".join(f"{X + column * SIDE} {Y - row * SIDE}" for column, row in corners) + ")"


def box(left: float, top: float, right: float, bottom: float) -> str:
    return path((left, top), (right, top), (right, bottom), (left, bottom), (left, top))


def point(column: float, row: float) -> bytes:
    return wkb(f"POINT ({X + column * SIDE} {Y - row * SIDE})")


def found(image: Image, *regions: bytes, **options) -> list[tuple[int, int]]:
    """(region, first band) of every row."""
    samples = sample_regions(image, regions, **options)
    return list(zip(samples.region.tolist(), samples.values[:, 0].astype(int).tolist()))


def test_point_takes_the_pixel_that_holds_it_with_every_band(image):
    samples = sample_regions(image, [point(3.9, 2.1)])

    assert samples.values.tolist() == [[23, 123]]
    assert (samples.row.tolist(), samples.column.tolist(), samples.number.tolist()) == ([2], [3], [0])
    assert (samples.x.tolist(), samples.y.tolist()) == ([X + 35], [Y - 25])
    assert samples.values.dtype == np.float32


def test_polygon_takes_the_pixels_whose_centres_lie_inside(image):
    area = wkb(f"POLYGON ({box(0.4, 0.6, 2.6, 3.4)})")

    assert found(image, area) == [(0, 10), (0, 11), (0, 20), (0, 21), (0, 22)]  # 12 has no data in b
    assert sample_regions(image, [area]).dropped == 1


def test_polygon_takes_all_it_touches_when_asked(image):
    area = wkb(f"POLYGON ({box(3.1, 0.9, 4.1, 1.1)})")

    assert found(image, area, all_touched=True) == [(0, 3), (0, 4), (0, 13), (0, 14)]


def test_hole_is_outside(image):
    area = wkb(f"POLYGON ({box(3, 0, 6, 3)}, {box(4, 1, 5, 2)})")

    assert [value for _, value in found(image, area)] == [3, 4, 5, 13, 15, 23, 24, 25]


def test_line_takes_every_pixel_it_touches(image):
    line = wkb(f"LINESTRING {path((0.5, 0.5), (2.5, 0.5), (2.5, 2.2))}")

    assert found(image, line) == [(0, 0), (0, 1), (0, 2), (0, 22)]


def test_slanted_line_misses_no_pixel_that_it_cuts(image):
    line = wkb(f"LINESTRING {path((3.2, 2.2), (4.8, 3.1))}")

    assert found(image, line) == [(0, 23), (0, 24), (0, 34)]


def test_line_between_two_rows_of_pixels_is_not_lost(image):
    line = wkb(f"LINESTRING {path((3.2, 3), (4.8, 3))}")

    assert {value % 10 for _, value in found(image, line)} == {3, 4}


def test_overlapping_polygons_both_get_the_shared_pixel(image):
    first, second = wkb(f"POLYGON ({box(3, 2, 5, 3)})"), wkb(f"POLYGON ({box(4, 2, 6, 3)})")

    assert found(image, first, second) == [(0, 23), (0, 24), (1, 24), (1, 25)]


def test_pixel_that_two_parts_of_a_region_hold_counts_once(image):
    area = wkb(f"MULTIPOLYGON (({box(3, 2, 5, 3)}), ({box(4, 2, 6, 3)}))")
    places = wkb(f"MULTIPOINT (({X + 31} {Y - 21}), ({X + 39} {Y - 29}), ({X + 1} {Y - 1}))")

    assert found(image, area, places) == [(0, 23), (0, 24), (0, 25), (1, 0), (1, 23)]


def test_collection_takes_the_pixels_of_all_its_members(image):
    members = f"POLYGON ({box(4, 3, 6, 4)}), POINT ({X + 5} {Y - 5}), LINESTRING ({X + 5} {Y - 25}, {X + 15} {Y - 25})"

    assert found(image, wkb(f"GEOMETRYCOLLECTION ({members})")) == [(0, 0), (0, 20), (0, 21), (0, 34), (0, 35)]


@pytest.mark.parametrize("text", ["POINT Z ({x} {y} 9)", "POINT M ({x} {y} 9)", "POINT ZM ({x} {y} 9 9)"])
@pytest.mark.parametrize("export", ["ExportToIsoWkb", "ExportToWkb"])
def test_heights_and_measures_of_points_do_not_matter(image, text, export):
    geometry = ogr.CreateGeometryFromWkt(text.format(x=X + 45, y=Y - 35))

    assert found(image, bytes(getattr(geometry, export)())) == [(0, 34)]


def test_heights_of_polygons_do_not_matter(image):
    area = box(3, 2, 5, 3).replace(",", " 77,").replace(")", " 77)")

    assert found(image, wkb(f"POLYGON Z ({area})"), wkb(f"MULTIPOLYGON Z ((({area[1:]}))")) == [
        (0, 23),
        (0, 24),
        (1, 23),
        (1, 24),
    ]


def test_curve_is_followed(image):
    arc = path((3.5, 0), (5, 1.5), (3.5, 3), (2, 1.5), (3.5, 0))

    # radius 1.5 pixels around the centre of row 1, column 3: the corners of the 3 x 3 lie at 1.41
    assert [value for _, value in found(image, wkb(f"CURVEPOLYGON (CIRCULARSTRING {arc})"))] == [
        2,
        3,
        4,
        13,
        14,
        22,
        23,
        24,
    ]


def test_big_endian_points_are_read(image):
    assert found(image, struct.pack(">BIdd", 0, 1, X + 35, Y - 25)) == [(0, 23)]


def test_regions_off_the_image_contribute_nothing(image):
    outside = [point(-0.1, 1), point(6, 1), point(1, 4), wkb(f"POLYGON ({box(10, 10, 20, 20)})")]
    half = wkb(f"POLYGON ({box(5, 3, 9, 9)})")

    assert found(image, *outside, half) == [(4, 35)]


def test_upper_and_left_edges_of_the_image_belong_to_it(image):
    assert found(image, point(0, 0)) == [(0, 0)]


def test_regions_without_geometry_keep_their_number(image):
    empty = wkb("POLYGON EMPTY")

    assert found(image, None, empty, wkb("POINT EMPTY"), point(3, 2)) == [(3, 23)]


def test_point_on_the_edge_of_two_pixels_is_in_the_right_and_lower_one(tmp_path):
    columns = np.arange(3000)
    image = Image([write_raster(tmp_path / "a.tif", [[columns] * 3] * 2, geotransform=(0.3, 0.1, 0, 0.3, 0, -0.1))])
    x, y = image.grid.ground(columns, np.full(3000, 2))
    samples = sample_regions(image, [wkb(f"POINT ({a!r} {b!r})") for a, b in zip(x, y)])

    assert np.array_equal(samples.column, columns)
    assert (samples.row == 2).all()


def test_numbers_count_the_rows_of_each_region(image):
    samples = sample_regions(image, [wkb(f"POLYGON ({box(0, 1, 4, 2)})"), point(3, 2)])

    # row 1, column 2 has no data: it is no row
    assert samples.region.tolist() == [0, 0, 0, 1]
    assert samples.number.tolist() == [0, 1, 2, 0]


def test_each_band_has_its_own_nodata(tmp_path):
    first = write_raster(tmp_path / "a.tif", [ROW_COLUMN], gdal.GDT_Int16, nodata=0)
    second = write_raster(tmp_path / "b.tif", [ROW_COLUMN], gdal.GDT_Float64, nodata=1)
    stack = Image([write_vrt(tmp_path / "ab.vrt", [first, second])])
    samples = sample_regions(stack, [wkb(f"POLYGON ({box(0, 0, 3, 1)})")])

    assert (samples.values.tolist(), samples.dropped) == ([[2, 2]], 2)
    assert samples.values.dtype == np.float64


def test_pixels_of_a_rotated_image_are_found_where_they_lie(tmp_path):
    file = write_raster(tmp_path / "a.tif", [ROW_COLUMN, ROW_COLUMN], geotransform=ROTATED)
    image = Image([file])
    corners = image.grid.ground(np.array([1.0, 4, 4, 1, 1]), np.array([1.0, 1, 3, 3, 1]))
    area = "POLYGON ((" + ", ".join(f"{x} {y}" for x, y in zip(*corners)) + "))"
    x, y = image.grid.centres(3, 5)

    assert found(image, wkb(area), wkb(f"POINT ({x} {y})")) == [
        *[(0, value) for value in (11, 12, 13, 21, 22, 23)],
        (1, 35),
    ]


@pytest.mark.parametrize("geotransform", [NORTH_UP, ROTATED], ids=["north up", "rotated"])
def test_blocks_and_threads_do_not_change_the_result(tmp_path, geotransform):
    rng = np.random.default_rng(4)
    values = rng.uniform(0, 100, (2, 150, 230))
    values[1, rng.uniform(size=values[1].shape) < 0.2] = -1
    striped = write_raster(tmp_path / "a.tif", values, nodata=-1, geotransform=geotransform, options=["BLOCKYSIZE=3"])
    tiled = str(tmp_path / "b.tif")
    gdal.Translate(tiled, striped, creationOptions=["TILED=YES", "BLOCKXSIZE=16", "BLOCKYSIZE=32"])
    grid = Image([striped]).grid
    x, y = grid.ground(rng.uniform(-20, 250, 60), rng.uniform(-20, 170, 60))
    regions = [bytes(ogr.CreateGeometryFromWkt(f"POINT ({a} {b})").Buffer(90 + i).ExportToWkb()) for i, (a, b) in
               enumerate(zip(x, y))]  # fmt: skip
    expected = sample_regions(Image([striped]), regions, threads=1, tile_size=1000)

    assert len(expected.region) > 5000 and expected.dropped > 500
    order = np.lexsort((expected.column, expected.row, expected.region))
    assert np.array_equal(order, np.arange(len(order)))
    for file in (striped, tiled):
        for tile_size in (17, 64, 256):
            for threads in (1, 2, 4):
                samples = sample_regions(Image([file]), regions, threads=threads, tile_size=tile_size)
                assert all(np.array_equal(a, b) for a, b in zip(samples, expected))


@pytest.fixture
def reads(monkeypatch):
    """Every window that is read of every file, as (path, window)."""
    found = []
    read = Raster.read

    def counted(raster, numbers, window):
        found.append((raster.path, window))
        return read(raster, numbers, window)

    monkeypatch.setattr(Raster, "read", counted)
    return found


def blocks_of(window, rows, columns) -> list[tuple[int, int]]:
    """The blocks of a file (their row and column) that a window touches."""
    return [
        (row, column)
        for row in range(window.row // rows, (window.row + window.rows - 1) // rows + 1)
        for column in range(window.column // columns, (window.column + window.columns - 1) // columns + 1)
    ]


STRIPED, TILED = ["BLOCKYSIZE=7"], ["TILED=YES", "BLOCKXSIZE=32", "BLOCKYSIZE=16"]
LAYOUTS = {
    "striped": [STRIPED],
    "tiled": [TILED],
    "tiled and striped": [TILED, STRIPED],
    "tiled in two ways": [TILED, ["TILED=YES", "BLOCKXSIZE=48", "BLOCKYSIZE=64"]],
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("tile_size", [10, 64, 256])
def test_each_block_is_read_once_however_many_regions_touch_it(tmp_path, reads, layout, tile_size):
    rng = np.random.default_rng(7)
    values = rng.integers(0, 200, (2, 300, 450))
    files = [
        write_raster(tmp_path / f"{number}.tif", values, gdal.GDT_Byte, options=options)
        for number, options in enumerate(LAYOUTS[layout])
    ]
    sizes = {file: Image([file]).block_size for file in files}
    image = Image(files)
    x, y = image.grid.ground(rng.uniform(0, 450, 300), rng.uniform(0, 300, 300))
    regions = [bytes(ogr.CreateGeometryFromWkt(f"POINT ({a} {b})").Buffer(120).ExportToWkb()) for a, b in zip(x, y)]
    samples = sample_regions(image, regions, threads=2, tile_size=tile_size)

    for file in files:
        blocks = [block for path, window in reads if path == file for block in blocks_of(window, *sizes[file])]
        assert len(blocks) == len(set(blocks))
        touched = {
            (row // sizes[file][0], column // sizes[file][1]) for row, column in zip(samples.row, samples.column)
        }
        assert touched <= set(blocks)
    assert np.array_equal(samples.values[:, :2], values[:, samples.row, samples.column].T)


def test_block_too_large_for_memory_is_read_a_few_rows_at_a_time(tmp_path, reads, monkeypatch):
    monkeypatch.setattr(sampling, "MOST_VALUES", 2000)
    values = np.arange(300 * 200).reshape(300, 200)
    file = write_raster(tmp_path / "a.tif", [values, -values], gdal.GDT_Int32, options=["BLOCKYSIZE=300"])
    image = Image([file])
    everywhere = wkb(f"POLYGON ({box(0, 0, 200, 300)})")
    samples = sample_regions(image, [everywhere], threads=2)

    assert max(window.rows * window.columns for _, window in reads) * 2 <= 2000
    assert sorted(window.row for _, window in reads) == list(range(0, 300, 5))
    assert np.array_equal(samples.values[:, 0], values.ravel())


def test_points_as_an_array_are_sampled_as_points_one_by_one(image):
    places = np.array(
        [[X + 35, Y - 25], [np.nan, np.nan], [X - 1, Y - 5], [X + 5, Y - 5], [X + 25, Y - 15], [X + 35, Y - 25]]
    )
    one_by_one = [None if x != x else wkb(f"POINT ({x} {y})") for x, y in places.tolist()]
    by_array = sample_regions(image, places)

    assert all(np.array_equal(a, b) for a, b in zip(by_array, sample_regions(image, one_by_one)))
    assert (by_array.region.tolist(), by_array.dropped) == ([0, 3, 5], 1)
    with pytest.raises(RasterError, match="No region has a geometry"):
        sample_regions(image, np.full((2, 2), np.nan))


def test_image_on_another_grid_is_sampled_there(tmp_path):
    file = write_raster(tmp_path / "a.tif", [ROW_COLUMN])
    image = Image([file], grid=Grid(2, 3, (X, 20, 0, Y, 0, -20), wkt(UTM33)), resampling="average")

    # the mean of 24, 25, 34, 35
    assert sample_regions(image, [point(5.9, 3.9)]).values.tolist() == [[29.5]]


@pytest.mark.parametrize("exceptions", [False, True], ids=["codes", "exceptions"])
def test_result_does_not_depend_on_gdal_s_exceptions(image, exceptions):
    with gdal_exceptions(exceptions):
        assert found(image, wkb(f"POLYGON ({box(3, 2, 5, 3)})"), point(0.5, 0.5)) == [(0, 23), (0, 24), (1, 0)]
        with pytest.raises(TableError, match="Region 1 has a geometry that cannot be read"):
            sample_regions(image, [point(1, 1), b"nonsense"])


def test_collection_beside_the_image_is_refused_with_both_extents(image):
    with pytest.raises(RasterError, match=r"cover x 13 to 13, y 52 to 52, the image x 300000 to 300060.*CRS"):
        sample_regions(image, [wkb("POINT (13 52)")])


def test_collection_between_the_pixel_centres_is_told_from_one_beside(image):
    with pytest.raises(RasterError, match="ALL_TOUCHED"):
        sample_regions(image, [wkb(f"POLYGON ({box(3.1, 2.1, 3.2, 2.2)})")])


def test_collection_without_any_geometry_is_refused(image):
    with pytest.raises(RasterError, match="No region has a geometry"):
        sample_regions(image, [None, wkb("POINT EMPTY")])


def test_band_that_masks_everything_is_named(image):
    with pytest.raises(RasterError, match=r"All 1 pixels .* band b has no data"):
        sample_regions(image, [point(2.5, 1.5)])


def test_cancel_stops_the_sampling(image):
    class Impatient(Progress):
        def is_canceled(self) -> bool:
            return True

    with pytest.raises(Canceled):
        sample_regions(image, [point(1, 1)], progress=Impatient())


def test_progress_ends_at_one(image):
    shares = []

    class Told(Progress):
        def share(self, share: float) -> None:
            shares.append(share)

    sample_regions(image, [point(1, 1), wkb(f"POLYGON ({box(3, 2, 5, 3)})")], progress=Told())

    assert shares == sorted(shares) and shares[-1] == 1


# Real data


def features(file) -> tuple[list[bytes], list[dict]]:
    source = ogr.Open(str(file))
    layer = source.GetLayer()
    rows = [(bytes(feature.GetGeometryRef().ExportToWkb()), feature.items()) for feature in layer]
    return [geometry for geometry, _ in rows], [items for _, items in rows]


@pytest.mark.parametrize(("numbers", "rows"), [((1, 2, 3, 4, 5), 752), ((1, 2, 3, 4, 5, 7), 562)])
def test_north_carolina_points_have_the_values_of_the_data_s_authors(shared, numbers, rows):
    folder = shared / "data" / "nc_landsat7"
    points, attributes = features(folder / "landsat96_points.shp")
    authors = np.array([[items[f"b{number}"] for number in numbers] for items in attributes], dtype=float)
    samples = sample_regions(Image([str(folder / f"lsat7_2000_{number}0.tif") for number in numbers]), points)

    assert samples.region.tolist() == np.flatnonzero(np.isfinite(authors).all(axis=1)).tolist()
    assert len(samples.region) == rows and samples.dropped == 885 - rows
    assert np.array_equal(samples.values, authors[samples.region])


def test_north_carolina_polygons_have_the_pixels_that_the_readme_counts(shared):
    folder = shared / "data" / "nc_landsat7"
    polygons, attributes = features(folder / "landsat96_polygons.shp")
    samples = sample_regions(Image([str(folder / f"lsat7_2000_{number}0.tif") for number in range(1, 6)]), polygons)
    classes = np.array([items["id"] for items in attributes])[samples.region]

    assert np.bincount(classes)[1:].tolist() == [343, 46, 476, 202, 788, 209, 57]
