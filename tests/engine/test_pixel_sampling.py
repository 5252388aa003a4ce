"""Pixels drawn with equal chance, and so many of each class."""

from __future__ import annotations

import numpy as np
import pytest
from osgeo import gdal, ogr
from raster_files import NORTH_UP, ROTATED, UTM33, gdal_exceptions, wkt, write_raster
from rasterml.engine import pixel_blocks, pixel_sampling
from rasterml.engine.errors import Canceled, RasterError, SettingError, TableError
from rasterml.engine.images import Grid, Image
from rasterml.engine.map_style import stored_classes
from rasterml.engine.pixel_sampling import sample
from rasterml.engine.progress import Progress
from rasterml.engine.regions import Region
from rasterml.engine.stratified_sampling import class_quotas, stratified_sample
from rasterml.engine.tiles import Window, iter_tiles

ROWS, COLUMNS = 4, 6
ROW_COLUMN = np.add.outer(np.arange(ROWS) * 10, np.arange(COLUMNS))  # 23 = row 2, column 3
X, Y = NORTH_UP[0], NORTH_UP[3]
CLASSES = np.array([[0, 0, 0, 7, 7, 7], [0, 0, 0, 7, 7, 7], [0, 0, 0, 7, 7, 7], [3, 3, 0, 0, 7, 255]])


class Log(Progress):
    def __init__(self) -> None:
        self.messages: list[str] = []
        self.warnings: list[str] = []
        self.shares: list[float] = []

    def message(self, text: str) -> None:
        self.messages.append(text)

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def share(self, share: float) -> None:
        self.shares.append(share)


@pytest.fixture
def image(tmp_path) -> Image:
    """Band a is row * 10 + column; band b half of it, without data at row 1, column 2."""
    halves = ROW_COLUMN / 2
    halves[1, 2] = -1
    first = write_raster(tmp_path / "a.tif", [ROW_COLUMN], gdal.GDT_Byte)
    second = write_raster(tmp_path / "b.tif", [halves], nodata=-1)
    return Image([first, second])


@pytest.fixture
def classes(tmp_path) -> Image:
    """Band cover has 10 pixels of class 0, 2 of 3, 10 of 7; red has no data in one of 3 and in row 0, column 0."""
    red = ROW_COLUMN.astype(float)
    red[0, 0] = red[3, 1] = -1
    cover = write_raster(tmp_path / "cover.tif", [CLASSES], gdal.GDT_Byte, nodata=255)
    return Image([cover, write_raster(tmp_path / "red.tif", [red], nodata=-1)])


def large(tmp_path, name="large.tif", rows=150, columns=230, options=("BLOCKYSIZE=3",), geotransform=NORTH_UP) -> str:
    """Noise with holes, and as second band classes 0, 1, 2, 7 in shares of 70, 20, 9, 1 per cent."""
    rng = np.random.default_rng(4)
    noise = rng.uniform(0, 100, (rows, columns))
    noise[rng.uniform(size=noise.shape) < 0.2] = -1
    cover = rng.choice([0, 1, 2, 7], size=noise.shape, p=[0.7, 0.2, 0.09, 0.01])
    return write_raster(tmp_path / name, [noise, cover], nodata=-1, options=options, geotransform=geotransform)


def wkb(text: str) -> bytes:
    return bytes(ogr.CreateGeometryFromWkt(text).ExportToWkb())


def polygon(*corners) -> str:
    """Corners as (column, row), closed."""
    return "((" + ", ".join(f"{X + column * 10} {Y - row * 10}" for column, row in (*corners, corners[0])) + "))"


def box(left, top, right, bottom) -> bytes:
    return wkb("POLYGON " + polygon((left, top), (right, top), (right, bottom), (left, bottom)))


def pixels(drawn) -> list[int]:
    return (drawn.row * 10 + drawn.column).tolist()


def same(first, second) -> bool:
    return all(np.array_equal(a, b, equal_nan=True) for a, b in zip(first[:5], second[:5])) and first[5] == second[5]


# All pixels


def test_every_pixel_comes_in_raster_order_with_its_values_and_centre(image):
    drawn = sample(image)

    assert pixels(drawn) == [value for value in ROW_COLUMN.ravel() if value != 12]
    assert drawn.values[:, 0].tolist() == pixels(drawn)
    assert drawn.values[:, 1].tolist() == [value / 2 for value in pixels(drawn)]
    assert (drawn.x[:2].tolist(), drawn.y[[0, -1]].tolist()) == ([X + 5, X + 15], [Y - 5, Y - 35])
    assert drawn.dropped == 1


def test_masked_bands_are_nan_when_nulls_stay(image):
    drawn = sample(image, drop_nulls=False)

    assert pixels(drawn) == ROW_COLUMN.ravel().tolist()
    assert np.flatnonzero(np.isnan(drawn.values)).tolist() == [8 * 2 + 1]
    assert drawn.dropped == 0


def test_sample_type_holds_large_integers(tmp_path):
    file = write_raster(tmp_path / "a.tif", [ROW_COLUMN + 2**30] * 2, gdal.GDT_Int32)

    assert sample(Image([file])).values[:, 1].tolist() == (ROW_COLUMN.ravel() + 2**30).tolist()


def test_other_grid_gives_its_own_pixels(tmp_path):
    file = write_raster(tmp_path / "a.tif", [ROW_COLUMN])
    image = Image([file], grid=Grid(2, 3, (X, 20, 0, Y, 0, -20), wkt(UTM33)), resampling="average")
    drawn = sample(image)

    assert drawn.values.ravel().tolist() == [5.5, 7.5, 9.5, 25.5, 27.5, 29.5]  # means of 2 x 2
    assert (drawn.x[0], drawn.y[0]) == (X + 10, Y - 10)


# Regions


def test_region_gives_pixels_whose_centres_are_inside(image):
    # its left edge is right of the centres of column 2, its lower one below those of row 2
    assert pixels(sample(image, [box(2.6, 0.9, 5, 2.6)])) == [13, 14, 23, 24]


def test_pixel_in_two_polygons_comes_once(image):
    two = wkb(f"MULTIPOLYGON ({polygon((3, 2), (5, 2), (5, 3), (3, 3))}, {polygon((4, 2), (6, 2), (6, 3), (4, 3))})")

    assert pixels(sample(image, [two, box(3, 2, 4, 4), None])) == [23, 24, 25, 33]


def test_hole_is_outside(image):
    ring = wkb(
        f"POLYGON ({polygon((0, 0), (4, 0), (4, 4), (0, 4))[1:-1]}, {polygon((1, 1), (3, 1), (3, 3), (1, 3))[1:-1]})"
    )

    assert pixels(sample(image, [ring])) == [0, 1, 2, 3, 10, 13, 20, 23, 30, 31, 32, 33]


def test_polygons_in_a_collection_and_with_heights_and_curves_count(image):
    high = (
        "POLYGON Z ((" + ", ".join(f"{X + a} {Y - b} 9" for a, b in ((0, 0), (10, 0), (10, 10), (0, 10), (0, 0))) + "))"
    )
    arcs = " ".join(f"{X + 10 * a} {Y - 10 * b}," for a, b in ((3.5, 0), (5, 1.5), (3.5, 3), (2, 1.5), (3.5, 0)))
    curve = f"CURVEPOLYGON (CIRCULARSTRING ({arcs[:-1]}))"
    mixed = wkb(f"GEOMETRYCOLLECTION (POINT ({X + 55} {Y - 35}), POLYGON {polygon((0, 3), (2, 3), (2, 4), (0, 4))})")

    assert pixels(sample(image, [wkb(high), mixed])) == [0, 30, 31]
    # one and a half pixels around row 1, column 3; the corners lie at 1.41; row 1, column 2 has no data
    assert pixels(sample(image, [wkb(curve)])) == [2, 3, 4, 13, 14, 22, 23, 24]


def test_region_on_a_rotated_grid_is_found_where_it_lies(tmp_path):
    image = Image([write_raster(tmp_path / "a.tif", [ROW_COLUMN] * 2, geotransform=ROTATED)])
    corners = image.grid.ground(np.array([1.0, 4, 4, 1, 1]), np.array([1.0, 1, 3, 3, 1]))
    area = "POLYGON ((" + ", ".join(f"{x} {y}" for x, y in zip(*corners)) + "))"

    assert pixels(sample(image, [wkb(area)])) == [11, 12, 13, 21, 22, 23]


@pytest.mark.parametrize("geotransform", [NORTH_UP, (0.1, 1 / 3, 0, 0.7, 0, -1 / 3)], ids=["even", "rounded"])
def test_mask_is_the_same_in_any_window_even_where_edges_run_through_centres(geotransform):
    grid = Grid(60, 90, geotransform, "")
    corners = [(0.5, 0.5), (70.5, 0.5), (80.5, 50.5), (30.5, 59.5), (0.5, 29.5)]
    x, y = grid.ground(*np.array(corners).T)
    places = [f"{a!r} {b!r}" for a, b in zip(x.tolist(), y.tolist())]
    region = Region(grid, [wkb(f"POLYGON (({', '.join([*places, places[0]])}))")])
    whole = region.mask(grid.window())

    assert 2000 < whole.sum() < 60 * 90
    for size in (1, 7, 32):
        for tile in iter_tiles(60, 90, size):
            part = whole[tile.row : tile.row + tile.rows, tile.column : tile.column + tile.columns]
            assert np.array_equal(region.mask(tile), part)


@pytest.mark.parametrize("exceptions", [False, True], ids=["codes", "exceptions"])
def test_result_does_not_depend_on_gdal_s_exceptions(image, exceptions):
    with gdal_exceptions(exceptions):
        assert pixels(sample(image, [box(3, 2, 5, 3)])) == [23, 24]
        with pytest.raises(TableError, match=r"cannot be read, number 1"):
            sample(image, [box(3, 2, 5, 3), b"nonsense"])


def test_region_beside_the_image_is_refused_with_both_extents(image):
    with pytest.raises(RasterError, match=r"covers x 13 to 14, y 51 to 52, the image x 300000 to 300060.*CRS"):
        sample(image, [wkb("POLYGON ((13 51, 14 51, 14 52, 13 51))")])


@pytest.mark.parametrize("region", [[], [None], ["POINT (300005 5799995)"], ["POLYGON EMPTY"]])
def test_region_without_polygons_is_refused(image, region):
    with pytest.raises(TableError, match="REGION has no polygon"):
        sample(image, [wkb(text) if text else None for text in region])


def test_region_between_the_centres_is_refused(image, classes):
    for draw in (lambda: sample(image, [box(3.1, 2.1, 3.2, 2.2)]),
                 lambda: stratified_sample(classes, 1, region=[box(3.1, 2.1, 3.2, 2.2)])):  # fmt: skip
        with pytest.raises(RasterError, match="No pixel has its centre inside REGION"):
            draw()


# A share of the pixels


def test_share_is_drawn_before_masked_pixels_are_dropped(image):
    for seed in range(20):
        kept = sample(image, factor=0.5, seed=seed, drop_nulls=False)
        dropped = sample(image, factor=0.5, seed=seed)

        assert pixels(dropped) == [pixel for pixel in pixels(kept) if pixel != 12]
        assert dropped.dropped == (12 in pixels(kept))


def test_number_is_a_share_of_the_extent_so_that_outside_and_masked_pixels_are_not_replaced(tmp_path):
    image = Image([write_raster(tmp_path / "a.tif", np.ones((2, 300, 400)))])
    half = wkb("POLYGON " + polygon((100, 100), (300, 100), (100, 300)))  # half of a square of 200 x 200

    # the square has 40,000 pixels: 4000 wanted is a tenth, of 20,000 inside: 2000, standard deviation 42
    assert sample(image, [half], num_pixels=4000, seed=5).row == pytest.approx(
        sample(image, [half], factor=0.1, seed=5).row
    )
    assert abs(len(sample(image, [half], num_pixels=4000, seed=5).row) - 2000) < 4 * 42


def test_more_pixels_than_there_are_gives_all_with_a_warning(image):
    log = Log()

    assert len(sample(image, num_pixels=10**15, progress=log).row) == 23
    assert log.warnings == ["NUM_PIXELS is 1,000,000,000,000,000 but the extent has 24 pixels: all of them are taken."]


def test_seed_repeats_and_another_seed_is_independent(tmp_path):
    image = Image([large(tmp_path)])
    first, again, other = (sample(image, factor=0.2, seed=seed, drop_nulls=False) for seed in (1, 1, 2))

    assert same(first, again)
    both = set(zip(first.row, first.column)) & set(zip(other.row, other.column))
    # of 34,500 pixels 4 % are expected in both: 1380, standard deviation 36
    assert abs(len(both) - 1380) < 4 * 36


def test_rows_columns_and_values_are_drawn_alike(tmp_path):
    from scipy.stats import chisquare

    rows, columns = 400, 500
    cover = np.add.outer(np.arange(rows) // 3, np.arange(columns)) % 8
    image = Image([write_raster(tmp_path / "a.tif", [cover, cover])])
    drawn = sample(image, factor=0.1, seed=11)
    n = len(drawn.row)

    assert abs(n - 20_000) < 4 * 134  # standard deviation of 200,000 draws of one in ten
    places = (drawn.row, rows), (drawn.column, columns), (drawn.row % 2 * 2 + drawn.column % 2, 4)
    for found, size in (*places, (drawn.row // 40 * 10 + drawn.column // 50, 100)):
        assert chisquare(np.bincount(found, minlength=size)).pvalue > 0.01
    shares = np.bincount(cover.ravel()) / cover.size
    assert chisquare(np.bincount(drawn.values[:, 0].astype(int)), shares * n).pvalue > 0.01


@pytest.mark.parametrize("geotransform", [NORTH_UP, ROTATED], ids=["north up", "rotated"])
def test_blocks_and_threads_do_not_change_the_sample(tmp_path, geotransform):
    striped = large(tmp_path, geotransform=geotransform)
    tiled = str(tmp_path / "tiled.tif")
    gdal.Translate(tiled, striped, creationOptions=["TILED=YES", "BLOCKXSIZE=16", "BLOCKYSIZE=32"])
    x, y = Image([striped]).grid.ground(np.array([20.3, 150]), np.array([30, 90]))
    region = [bytes(ogr.CreateGeometryFromWkt(f"POINT ({a} {b})").Buffer(600).ExportToWkb()) for a, b in zip(x, y)]
    arguments = {"region": region, "factor": 0.6, "seed": 3}
    quotas = {"region": region, "num_points": 300, "class_band": "large_2", "class_points": {7: 20, 9: 5}}
    expected = [sample(Image([striped]), **arguments, min_distance=d, threads=1, tile_size=1000) for d in (0, 25)]
    strata = [stratified_sample(Image([striped]), **quotas, min_distance=d, threads=1, tile_size=1000) for d in (0, 45)]

    assert len(expected[0].row) > 5000 > len(expected[1].row) > 1000 and expected[0].dropped > 1000
    assert [item.taken for item in strata[0].strata] == [300, 300, 300, 20]
    for file in (striped, tiled):
        image = Image([file], band_names="large_1,large_2")
        for tile_size, threads in ((5, 2), (17, 1), (64, 4), (256, 3)):
            options = {"threads": threads, "tile_size": tile_size}
            assert same(sample(image, **arguments, **options), expected[0])
            assert same(sample(image, **arguments, **options, min_distance=25), expected[1])
            for distance, there in zip((0, 45), strata):
                found = stratified_sample(image, **quotas, **options, min_distance=distance)
                assert same(found.pixels, there.pixels) and found.strata == there.strata


def test_candidates_pruned_again_and_again_are_the_same(tmp_path, monkeypatch):
    image = Image([large(tmp_path)])
    expected = stratified_sample(image, 50, "large_2")
    monkeypatch.setattr("rasterml.engine.stratified_sampling.BUFFER", 10)

    assert same(stratified_sample(image, 50, "large_2", tile_size=9, threads=2).pixels, expected.pixels)


def test_each_block_is_read_once_and_only_where_pixels_are_drawn(tmp_path, monkeypatch):
    file = large(tmp_path, rows=128, columns=192, options=("TILED=YES", "BLOCKXSIZE=32", "BLOCKYSIZE=16"))
    windows: list[Window] = []
    read = Image.read
    monkeypatch.setattr(Image, "read", lambda self, window, *rest: windows.append(window) or read(self, window, *rest))
    sample(Image([file]), tile_size=64, threads=2)
    times = np.zeros((128, 192), dtype=int)
    for window in windows:
        assert not (window.row % 16 or window.rows % 16 or window.column % 32 or window.columns % 32)
        times[window.row : window.row + window.rows, window.column : window.column + window.columns] += 1

    assert (times == 1).all()
    windows.clear()
    sample(Image([file]), [box(100, 20, 110, 25)], tile_size=64)
    assert windows == [Window(20, 100, 5, 10)]


def test_cells_of_many_bands_or_long_strips_stay_small(tmp_path):
    wide = Image([write_raster(tmp_path / "a.tif", np.zeros((3, 2, 9000)), gdal.GDT_Byte)])

    assert pixel_blocks.cell_size(wide, 16_384)[0] * 9000 * 3 <= pixel_blocks.MOST_CELL_VALUES


# Distance


def pixel_distances(drawn) -> np.ndarray:
    places = np.column_stack((drawn.row, drawn.column)).astype(float)
    apart = np.hypot(*(places[:, None] - places[None]).transpose(2, 0, 1))
    return apart[~np.eye(len(places), dtype=bool)]


def test_distance_is_kept_and_no_place_is_left_empty(tmp_path):
    image = Image([large(tmp_path)])
    all_drawn, apart = (sample(image, factor=0.3, seed=2, min_distance=distance) for distance in (0, 50))

    assert pixel_distances(apart).min() >= 5  # 50 m are 5 pixels, and exactly 5 is allowed
    assert 5 in pixel_distances(apart)
    chosen = set(zip(apart.row.tolist(), apart.column.tolist()))
    for row, column in set(zip(all_drawn.row.tolist(), all_drawn.column.tolist())) - chosen:
        assert (np.hypot(apart.row - row, apart.column - column) < 5).any()
    assert apart.dropped == all_drawn.dropped


def test_masked_pixels_keep_nobody_away_when_they_are_dropped(image):
    for seed in range(10):
        drawn = sample(image, [box(1, 1, 3, 2)], seed=seed, min_distance=10.1)
        assert pixels(drawn) == [11]  # beside it lies row 1, column 2 without data


def test_classes_keep_their_distance_from_each_other_too(tmp_path):
    drawn = stratified_sample(Image([large(tmp_path)]), 40, "large_2", min_distance=60)

    assert [item.taken for item in drawn.strata] == [40, 40, 40, 40]  # further candidates fill the quotas
    assert pixel_distances(drawn.pixels).min() >= 6


def test_classes_take_turns_so_that_a_large_one_does_not_crowd_out_a_rare_one(tmp_path):
    cover = np.zeros((60, 60))
    cover[5::10, 5::10] = 7  # 36 of 3600 pixels
    image = Image([write_raster(tmp_path / "a.tif", [cover, cover])])
    common, rare = stratified_sample(image, 30, min_distance=80).strata

    assert min(common.taken, rare.taken) > 12  # one after the other it is 30 and 2


def test_quota_that_distance_does_not_allow_is_told(classes):
    log = Log()
    drawn = stratified_sample(classes, 5, min_distance=1000, progress=log)

    assert sum(item.taken for item in drawn.strata) == 1  # the image is 60 m wide
    # class 3 has one pixel only; whichever came first, the others got fewer than they have
    assert all("with MIN_DISTANCE 1000 no more were found among" in text for text in log.warnings)
    assert [text[:7] for text in log.warnings if "0 of 5" in text] == [
        f"Class {item.value}" for item in drawn.strata if not item.taken
    ]


# Classes


def test_each_class_gives_its_number_ordered_by_class_then_raster(classes):
    drawn, strata = stratified_sample(classes, 4)

    # class 0 has 10 pixels and loses one to the mask, class 3 has 2 and loses one
    assert [tuple(item) for item in strata] == [(0, 10, 4, 4), (3, 1, 4, 1), (7, 10, 4, 4)]
    assert drawn.values[:, 0].tolist() == [0] * 4 + [3] + [7] * 4
    assert drawn.values[:, 1].tolist() == pixels(drawn)
    assert pixels(drawn)[4] == 30
    for part in (slice(0, 4), slice(5, 9)):
        assert pixels(drawn)[part] == sorted(set(pixels(drawn)[part]))
    assert all(CLASSES[row, column] == value for row, column, value in zip(drawn.row, drawn.column, drawn.values[:, 0]))


def test_class_band_alone_must_be_known_when_nulls_stay(classes):
    drawn, strata = stratified_sample(classes, 99, drop_nulls=False)

    assert [item.taken for item in strata] == [11, 2, 10]
    assert np.isnan(drawn.values).tolist()[0] == [False, True]
    assert len(pixels(drawn)) == 23 and 35 not in pixels(drawn)  # row 3, column 5 has no class


def test_listed_classes_have_their_own_number(classes):
    log = Log()
    drawn, strata = stratified_sample(classes, 2, class_points={7: 5, 0: 0, 44: 6}, progress=log)

    assert drawn.values[:, 0].tolist() == [3] + [7] * 5
    assert [(item.value, item.taken) for item in strata] == [(0, 0), (3, 1), (7, 5)]
    assert log.messages == [
        "class 0: 10 available, 0 wanted, 0 taken",
        "class 3: 1 available, 2 wanted, 1 taken",
        "class 7: 10 available, 5 wanted, 5 taken",
        "CLASS_VALUES lists 44, which the region does not have: nothing is taken.",
    ]
    assert log.shares == sorted(log.shares) and log.shares[-1] == 1


def test_listed_classes_alone_are_sampled_when_the_others_get_none(classes):
    assert stratified_sample(classes, 0, class_points={3: 1}).pixels.values[:, 0].tolist() == [3]


def test_any_band_can_hold_the_classes(classes):
    drawn, strata = stratified_sample(classes, 1, "red", [box(2, 1, 4, 3)])

    assert [item.value for item in strata] == [12, 13, 22, 23]
    assert drawn.values.tolist() == [[0, 12], [7, 13], [0, 22], [7, 23]]


def test_negative_classes_are_classes(tmp_path):
    file = write_raster(tmp_path / "a.tif", [CLASSES - 5, CLASSES], gdal.GDT_Int16)

    assert [item.value for item in stratified_sample(Image([file]), 1).strata] == [-5, -2, 2, 250]


def test_every_pixel_of_a_class_is_drawn_equally_often(tmp_path):
    from scipy.stats import chisquare

    cover = np.where(np.arange(30) < 10, 7, 0) * np.ones((20, 1))
    image = Image([write_raster(tmp_path / "a.tif", [cover, cover])])
    times = np.zeros((20, 30))
    for seed in range(300):
        drawn = stratified_sample(image, 20, seed=seed, threads=1).pixels
        times[drawn.row, drawn.column] += 1

    # draws without replacement: 20 of 200 and 20 of 400 pixels, each 300 times
    assert (times[:, :10].sum(), times[:, 10:].sum()) == (6000, 6000)
    for part in (times[:, :10], times[:, 10:]):
        assert 0.005 < chisquare(part.ravel()).pvalue < 0.995
        assert chisquare(part.sum(axis=0)).pvalue > 0.01 and chisquare(part.sum(axis=1)).pvalue > 0.01


def test_both_samplers_draw_different_pixels_for_one_seed(tmp_path):
    image = Image([write_raster(tmp_path / "a.tif", np.zeros((2, 200, 200)))])
    first = sample(image, factor=0.1)
    second = stratified_sample(image, 4000).pixels
    both = set(zip(first.row, first.column)) & set(zip(second.row, second.column))

    assert abs(len(both) - 400) < 4 * 19  # a tenth of a tenth of 40,000, standard deviation 19


def test_class_that_is_no_whole_number_is_named_with_its_place(tmp_path):
    values = ROW_COLUMN.astype(float)
    values[2, 3] = 0.25
    image = Image([write_raster(tmp_path / "dist.tif", [values])])

    with pytest.raises(
        RasterError, match=r"Band dist has 0.25 at row 2, column 3 .*whole number: choose another CLASS"
    ):
        stratified_sample(image, 1)


def test_class_band_that_is_not_there_is_refused_with_the_bands_there_are(classes):
    with pytest.raises(RasterError, match="no band forest: it has cover, red"):
        stratified_sample(classes, 1, "forest")


def test_quota_of_zero_for_every_class_is_refused(classes):
    with pytest.raises(SettingError, match=r"No pixel is asked for: the classes found are 0, 3, 7"):
        stratified_sample(classes, 0)


def test_negative_quotas_are_refused(classes):
    with pytest.raises(SettingError, match="NUM_POINTS is -1"):
        stratified_sample(classes, -1)
    with pytest.raises(SettingError, match="CLASS_POINTS has -3 for class 7"):
        stratified_sample(classes, 1, class_points={7: -3})


def test_lists_of_classes_are_read():
    assert class_quotas(" 1, 7,-2 ", "10,0 ,+5") == {1: 10, 7: 0, -2: 5}
    assert class_quotas("", " ") == {}


@pytest.mark.parametrize(
    ("values", "points", "message"),
    [
        ("1,2", "5", "CLASS_VALUES lists 2 classes but CLASS_POINTS 1 numbers"),
        ("", "5", "CLASS_VALUES lists 0 classes but CLASS_POINTS 1 numbers"),
        ("1", "", "CLASS_VALUES lists 1 classes but CLASS_POINTS 0 numbers"),
        ("1,forest", "5,5", "CLASS_VALUES has 'forest': give whole numbers"),
        ("1,2", "5,2.5", "CLASS_POINTS has '2.5': give whole numbers"),
        ("1,,2", "5,5,5", "CLASS_VALUES has '': give whole numbers"),
        ("1,2,1", "5,5,5", "CLASS_VALUES lists class 1 twice"),
    ],
)
def test_lists_that_make_no_sense_are_refused(values, points, message):
    with pytest.raises(SettingError, match=message):
        class_quotas(values, points)


# Refusals


@pytest.mark.parametrize("factor", [0.0, -0.1, 1.001, float("nan")])
def test_share_outside_zero_to_one_is_refused(image, factor):
    with pytest.raises(SettingError, match=r"FACTOR is .*above 0 and at most 1"):
        sample(image, factor=factor)


def test_share_and_number_together_are_refused(image):
    with pytest.raises(SettingError, match="FACTOR and NUM_PIXELS are both given"):
        sample(image, factor=0.5, num_pixels=3)


def test_number_below_one_is_refused(image):
    with pytest.raises(SettingError, match="NUM_PIXELS is 0: ask for at least 1"):
        sample(image, num_pixels=0)


def test_share_that_draws_nothing_is_refused(image):
    with pytest.raises(SettingError, match="None of 24 pixels was drawn with a chance of 1e-12"):
        sample(image, factor=1e-12)


def test_sample_beyond_memory_is_refused(classes, monkeypatch):
    monkeypatch.setattr(pixel_sampling, "MOST_VALUES", 40)
    for draw in (lambda: sample(classes), lambda: stratified_sample(classes, 10**15)):
        with pytest.raises(SettingError, match=r"too large: it has more than 20 pixels with 2 bands"):
            draw()
    assert len(sample(classes, [box(0, 0, 5, 4)]).row) == 18


def test_bands_without_any_data_are_named(tmp_path):
    empty = write_raster(tmp_path / "dead.tif", np.full((2, ROWS, COLUMNS), -1), nodata=-1)
    image = Image([write_raster(tmp_path / "a.tif", [CLASSES]), empty])
    for draw in (lambda: sample(image), lambda: stratified_sample(image, 3)):
        with pytest.raises(RasterError, match=r"All 24 pixels are masked: bands dead_1, dead_2 have no data.*BANDS"):
            draw()


def test_class_band_without_data_is_named(classes):
    with pytest.raises(RasterError, match="Band cover has no data in all 1 pixels of the region"):
        stratified_sample(classes, 3, drop_nulls=False, region=[box(5, 3, 6, 4)])


def test_cancel_stops_the_sampling(classes):
    class Impatient(Progress):
        def is_canceled(self) -> bool:
            return True

    for draw in (sample, lambda *a, **k: stratified_sample(*a, 1, **k)):
        with pytest.raises(Canceled):
            draw(classes, progress=Impatient())


# Class table


def test_names_and_colours_come_from_the_raster(tmp_path):
    path = write_raster(tmp_path / "a.tif", [CLASSES, CLASSES], gdal.GDT_Byte)
    assert stored_classes(path, 1, [0, 3, 7]) == ()
    dataset = gdal.Open(path, gdal.GA_Update)
    band = dataset.GetRasterBand(1)
    table = gdal.ColorTable()
    table.SetColorEntry(0, (58, 118, 184, 255))
    table.SetColorEntry(7, (1, 122, 58, 255))
    band.SetColorTable(table)
    band.SetCategoryNames(["Wasser", "", "", "", "", "", "", "Wald"])
    band = dataset = None
    water, rock, forest, beyond = stored_classes(path, 1, [0, 3, 7, 300])

    assert (water, forest) == ((0, "Wasser", "#3a76b8"), (7, "Wald", "#017a3a"))
    assert (rock[:2], beyond[:2]) == ((3, "3"), (300, "300"))


def test_source_of_a_band_is_its_file_and_number(tmp_path):
    first, second = write_raster(tmp_path / "a.tif", [CLASSES]), write_raster(tmp_path / "b.tif", [CLASSES] * 3)

    assert Image([first, second], bands="b_2, a").source("b_2") == (second, 2)


# Real data


@pytest.fixture
def north_carolina(shared):
    return shared / "data" / "nc_landsat7"


COUNTS = [65099, 1433, 23502, 14532, 107643, 4223, 194]  # px per class 1..7 of strata.tif, from the data's README


def test_north_carolina_strata_are_exhausted_without_error(north_carolina):
    image = Image([str(north_carolina / "strata.tif")])
    drawn, strata = stratified_sample(image, 1000, class_points={5: 3, 2: 10**9})

    assert [(item.value, item.available) for item in strata] == list(enumerate(COUNTS, 1))
    assert [item.taken for item in strata] == [1000, 1433, 1000, 1000, 3, 1000, 194]
    assert np.bincount(drawn.values[:, 0].astype(int))[1:].tolist() == [1000, 1433, 1000, 1000, 3, 1000, 194]


def test_north_carolina_polygons_have_the_pixels_that_the_readme_counts(north_carolina):
    image = Image([str(north_carolina / f"lsat7_2000_{number}0.tif") for number in range(1, 6)])
    source = ogr.Open(str(north_carolina / "landsat96_polygons.shp"))
    polygons = [bytes(feature.GetGeometryRef().ExportToWkb()) for feature in source.GetLayer()]

    assert len(sample(image, polygons).row) == 2121
    assert len(sample(image, factor=0.5, seed=1).row) == pytest.approx(183_418 / 2, abs=4 * 214)
    assert len(sample(image).row) == 183_418


def test_potsdam_bands_without_data_are_named_and_the_rest_is_sampled(shared):
    folder = shared / "data" / "enmap_potsdam"
    files = [str(folder / f"enmap_potsdam_{part}.tif") for part in ("vnir", "swir")]
    image = Image([str(folder / "landcover_potsdam_30m.tif"), *files])
    for draw in (lambda: sample(image, num_pixels=500), lambda: stratified_sample(image, 20)):
        with pytest.raises(RasterError) as refusal:
            draw()
        named = [name for name in image.band_names if name in str(refusal.value)]
        assert named == list(image.band_names[1 + 91 + 38 : 1 + 91 + 44])  # SWIR file, bands 39 to 44
    alive = image.select([name for name in image.band_names if name not in named])

    assert [item.taken for item in stratified_sample(alive, 100).strata] == [100, 100, 100, 100, 91, 100]


def test_meuse_without_crs_is_sampled(shared):
    folder = shared / "data" / "meuse"
    image = Image([str(folder / name) for name in ("ffreq.tif", "dist.tif", "dem.tif")])
    drawn, strata = stratified_sample(image, 50)

    assert len(sample(image).row) == 3103
    assert [item.value for item in strata] == [1, 2, 3] and len(drawn.row) == 150
    with pytest.raises(RasterError, match="Band dist has 0"):
        stratified_sample(image, 5, "dist")


def test_modis_jpeg_2000_is_sampled(shared):
    files = sorted((shared / "data" / "modis_sinop").glob("*.jp2"))
    image = Image([str(file) for file in files])
    drawn = sample(image, factor=0.05, seed=1)
    whole = np.stack([gdal.Open(str(file)).ReadAsArray() for file in files])

    assert drawn.values.shape == (len(drawn.row), 12) and abs(len(drawn.row) - 1874) < 4 * 43
    assert np.array_equal(drawn.values.T, whole[:, drawn.row, drawn.column])
