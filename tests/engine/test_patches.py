"""Patches on rasters whose pixel (row, column) has the value 100 · row + column, and the files that hold them."""

from __future__ import annotations

import traceback
import zipfile

import numpy as np
import pytest
from osgeo import gdal
from raster_files import NORTH_UP, ROTATED, write_raster, write_vrt
from rasterml.engine.errors import Canceled, RasterError, SettingError, StorageError
from rasterml.engine.images import Image
from rasterml.engine.patch_files import Property, write_patches
from rasterml.engine.patches import Patches, default_values, sample_patches
from rasterml.engine.progress import Progress
from rasterml.engine.tfrecord import decode_example, read_records

ROWS, COLUMNS = 5, 7


def numbered(rows=ROWS, columns=COLUMNS):
    return np.add.outer(100 * np.arange(rows), np.arange(columns))


def at(*pixels, geotransform=NORTH_UP):
    """x, y of the centres of (row, column) pixels."""
    x0, x_column, x_row, y0, y_column, y_row = geotransform
    row, column = np.array(pixels, dtype=float).reshape(-1, 2).T + 0.5
    return np.column_stack([x0 + column * x_column + row * x_row, y0 + column * y_column + row * y_row])


@pytest.fixture
def image(tmp_path):
    """Two bands: 100 · row + column, and its negative."""
    image = Image([write_raster(tmp_path / "two.tif", [numbered(), -numbered()], descriptions=("up", "down"))])
    yield image
    image.close()  # pytest lets go of a fixture only after QGIS has taken GDAL down


def all_of(image, points, *arguments, **keywords):
    """Return all parts of `sample_patches` as one."""
    parts = list(sample_patches(image, points, *arguments, **keywords))
    return Patches(
        *(np.concatenate([part[field] for part in parts]) for field in range(3)), sum(part.dropped for part in parts)
    )


# Which pixels


def test_radius_0_is_the_pixel_itself(image):
    patches = all_of(image, at((3, 2), (0, 6)), 0)

    assert patches.values.dtype == np.float32
    assert patches.values.tolist() == [[[[302]], [[-302]]], [[[6]], [[-6]]]]


def test_rows_go_down_before_columns_go_right(image):
    patches = all_of(image, at((2, 3)), 1)

    assert patches.values[0, 0].tolist() == [[102, 103, 104], [202, 203, 204], [302, 303, 304]]
    assert patches.values[0, 1].tolist() == [[-102, -103, -104], [-202, -203, -204], [-302, -303, -304]]


def test_radius_2_has_25_pixels_of_which_those_outside_get_the_default(image):
    upper_left, lower_right = all_of(image, at((0, 0), (4, 6)), 2, default_value=-9).values[:, 0]

    assert upper_left.tolist() == [
        [-9, -9, -9, -9, -9],
        [-9, -9, -9, -9, -9],
        [-9, -9, 0, 1, 2],
        [-9, -9, 100, 101, 102],
        [-9, -9, 200, 201, 202],
    ]
    assert lower_right.tolist() == [
        [204, 205, 206, -9, -9],
        [304, 305, 306, -9, -9],
        [404, 405, 406, -9, -9],
        [-9, -9, -9, -9, -9],
        [-9, -9, -9, -9, -9],
    ]


def test_patch_may_be_larger_than_the_image(image):
    patch = all_of(image, at((1, 1)), 10).values[0, 0]

    assert patch.shape == (21, 21)
    assert patch[9:14, 9:16].tolist() == numbered().tolist() and patch.sum() == numbered().sum()


def test_points_anywhere_in_a_pixel_take_it_and_on_an_edge_the_right_and_lower_one(image):
    x, y = NORTH_UP[0], NORTH_UP[3]
    places = [(x + 20.1, y - 10.1), (x + 29.9, y - 19.9), (x + 20, y - 10)]

    assert all_of(image, places, 0).values[:, 0, 0, 0].tolist() == [102, 102, 102]


def test_patches_of_a_rotated_grid_follow_its_rows_and_columns(tmp_path):
    image = Image([write_raster(tmp_path / "turned.tif", [numbered()], geotransform=ROTATED)])

    patch = all_of(image, at((2, 3), geotransform=ROTATED), 1).values[0, 0]

    assert patch.tolist() == [[102, 103, 104], [202, 203, 204], [302, 303, 304]]


def test_rasters_of_two_types_have_their_own_bands(tmp_path):
    byte = write_raster(tmp_path / "byte.tif", [numbered() % 251], gdal.GDT_Byte)
    double = write_raster(tmp_path / "double.tif", [numbered() / 8], gdal.GDT_Float64)

    patches = all_of(Image([byte, double]), at((2, 3)), 1)

    assert patches.values[0, 0].tolist() == [[102, 103, 104], [202, 203, 204], [51, 52, 53]]
    assert patches.values[0, 1].tolist() == [[12.75, 12.875, 13], [25.25, 25.375, 25.5], [37.75, 37.875, 38]]


# Masked pixels


@pytest.fixture
def holed(tmp_path):
    """A Float32 band without data at (1, 2), an Int16 one without data at (3, 4)."""
    first, second = numbered().astype(float), numbered().astype(int)
    first[1, 2], second[3, 4] = -1, -1
    image = Image(
        [
            write_raster(tmp_path / "float.tif", [first], nodata=-1),
            write_raster(tmp_path / "int.tif", [second], gdal.GDT_Int16, nodata=-1),
        ]
    )
    yield image
    image.close()


def test_point_masked_in_any_band_is_dropped_and_counted(holed):
    patches = all_of(holed, at((0, 0), (1, 2), (3, 4), (4, 6)), 1)

    assert patches.dropped == 2
    assert patches.feature.tolist() == [0, 3] and patches.number.tolist() == [0, 0]
    assert patches.values[:, 0, 1, 1].tolist() == [0, 406]


def test_masked_neighbour_gets_the_default_in_the_band_that_masks_it(holed):
    patch = all_of(holed, at((2, 3)), 1, default_value=-3.7).values[0]

    assert patch[0].tolist() == [[np.float32(-3.7), 103, 104], [202, 203, 204], [302, 303, 304]]
    assert patch[1].tolist() == [[102, 103, 104], [202, 203, 204], [302, 303, -3]]


@pytest.mark.parametrize(
    ("kind", "given", "becomes"),
    [
        (gdal.GDT_Byte, 300, 255),
        (gdal.GDT_Byte, -3.7, 0),
        (gdal.GDT_Byte, 7.9, 7),
        (gdal.GDT_Int16, -3.7, -3),
        (gdal.GDT_Int16, -1e9, -32768),
        (gdal.GDT_UInt16, 1e9, 65535),
        (gdal.GDT_Int32, -1e30, -2147483648),
        (gdal.GDT_Float32, -3.7, np.float32(-3.7)),
        (gdal.GDT_Float64, 1e30, np.float32(1e30)),
    ],
)
def test_default_is_clamped_to_a_type_of_whole_numbers(tmp_path, kind, given, becomes):
    image = Image([write_raster(tmp_path / "one.tif", [numbered() % 100], kind)])

    assert default_values(image, given).tolist() == [becomes]
    assert all_of(image, at((0, 0)), 1, given).values[0, 0].tolist() == [
        [becomes, becomes, becomes],
        [becomes, 0, 1],
        [becomes, 0, 1],
    ]


def test_resampled_whole_numbers_take_any_default(tmp_path):
    first = write_raster(tmp_path / "first.tif", [numbered()])
    coarse = write_raster(
        tmp_path / "coarse.tif", [numbered(3, 4)], gdal.GDT_Byte, geotransform=(300_000, 20, 0, 5_800_000, 0, -20)
    )

    assert default_values(Image([first, coarse]), 300.5).tolist() == [300.5, 255]
    assert default_values(Image([first, coarse], resampling="bilinear"), 300.5).tolist() == [300.5, 300.5]


def test_each_band_of_a_stack_is_clamped_for_itself(tmp_path):
    sources = [
        write_raster(tmp_path / f"{name}.tif", [numbered() % 100], kind)
        for name, kind in (("a", gdal.GDT_Byte), ("b", gdal.GDT_Float32), ("c", gdal.GDT_Int16))
    ]

    image = Image([write_vrt(tmp_path / "stack.vrt", sources)])

    assert default_values(image, 40_000.5).tolist() == [255, 40_000.5, 32_767]
    assert default_values(image.select(["stack_3", "stack_1"]), -1.5).tolist() == [-1, 0]


# Order


def test_patches_come_in_the_order_of_the_points(image):
    pixels = [(4, 6), (0, 0), (2, 3), (0, 0), (1, 5)]

    patches = all_of(image, at(*pixels), 0)

    assert patches.feature.tolist() == [0, 1, 2, 3, 4]
    assert patches.values[:, 0, 0, 0].tolist() == [406, 0, 203, 0, 105]


def test_feature_with_many_points_has_a_patch_for_each_different_pixel(holed):
    points = at((4, 4), (1, 1), (1, 2), (4, 4), (0, 6), (1, 1), (1, 1))
    points[3] += 2  # another place in the same pixel

    patches = all_of(holed, points, 0, feature=[0, 0, 0, 0, 3, 3, 8])

    assert patches.values[:, 0, 0, 0].tolist() == [404, 101, 6, 101, 101]
    assert patches.feature.tolist() == [0, 0, 3, 3, 8] and patches.number.tolist() == [0, 1, 0, 1, 0]
    assert patches.dropped == 1


def test_points_off_the_image_are_left_out_and_told(image):
    listener = Listener()

    patches = all_of(image, [*at((0, 0), (5, 0), (-1, 3), (4, 6)), (np.nan, 0.0)], 0, progress=listener)

    assert patches.feature.tolist() == [0, 3] and patches.dropped == 0
    assert listener.messages == ["2 of 4 points lie off the image."]


class Listener(Progress):
    def __init__(self):
        self.messages = []

    def message(self, text):
        self.messages.append(text)


@pytest.mark.parametrize("options", [(), ("TILED=YES", "BLOCKXSIZE=16", "BLOCKYSIZE=32")], ids=["strips", "tiles"])
def test_patches_do_not_depend_on_tiles_and_threads(tmp_path, options):
    generator = np.random.default_rng(2)
    bands = np.where(generator.random((2, 70, 90)) < 0.1, -1, numbered(70, 90))
    image = Image([write_raster(tmp_path / "large.tif", bands, nodata=-1, options=options)])
    pixels = np.column_stack([generator.integers(0, 70, 300), generator.integers(0, 90, 300)])
    around = np.pad(np.where(bands == -1, 5, bands), ((0, 0), (3, 3), (3, 3)), constant_values=5)
    kept = [(row, column) for row, column in pixels if (bands[:, row, column] != -1).all()]

    for tile_size, threads in ((16, 1), (16, 3), (50, 2), (1024, 2)):
        patches = all_of(image, at(*pixels), 3, 5, tile_size=tile_size, threads=threads)
        assert patches.dropped == 300 - len(kept) > 0
        assert np.array_equal(patches.values, [around[:, row : row + 7, column : column + 7] for row, column in kept])


def test_parts_put_together_are_the_whole(image, monkeypatch):
    monkeypatch.setattr("rasterml.engine.patches.PART_BYTES", 2 * 9 * 4 * 2)  # two patches a part
    points = at((0, 0), (1, 1), (4, 6), (4, 6), (2, 2))

    parts = list(sample_patches(image, points, 1, feature=[0, 0, 0, 4, 4]))

    assert [len(part.feature) for part in parts] == [2, 2, 1]
    assert np.concatenate([part.feature for part in parts]).tolist() == [0, 0, 0, 4, 4]
    assert np.concatenate([part.number for part in parts]).tolist() == [0, 1, 2, 0, 1]
    assert np.concatenate([part.values for part in parts])[:, 0, 1, 1].tolist() == [0, 101, 406, 406, 202]


def test_memory_holds_a_part_and_not_the_file(tmp_path, peak_memory, monkeypatch):
    monkeypatch.setattr("rasterml.engine.patches.PART_BYTES", 2**23)
    image = Image([write_raster(tmp_path / "large.tif", [numbered(300, 400)] * 2, options=("TILED=YES",))])
    points = at(*np.random.default_rng(1).integers(0, 300, (3_000, 2)))  # patches of 101 MB

    for name in ("large.tfrecord", "large.npz"):
        path = tmp_path / name
        patches = sample_patches(image, points, 32)
        assert peak_memory(write_patches, path, patches, image.band_names, []) < 40 * 2**20
        assert path.stat().st_size > 3_000 * 65 * 65 * 4 * 2
        path.unlink()


# Trouble


def test_impossible_settings_are_named(image):
    for settings, sentence in (
        ({"radius": -1}, "RADIUS is -1: give 0 or more pixels."),
        ({"default_value": float("nan")}, "DEFAULT_VALUE is nan: give a number that float32 holds."),
        ({"default_value": 1e39}, r"DEFAULT_VALUE is 1e\+39: give a number that float32 holds."),
        ({"radius": 3000}, "RADIUS 3000 makes patches of 275 MB with 2 bands: at most 128 MB can be made, choose"),
    ):
        with pytest.raises(SettingError, match=sentence):
            next(sample_patches(image, at((0, 0)), **settings))


def test_points_that_all_miss_are_told_where_they_are(image):
    with pytest.raises(RasterError, match=r"No point lies on the image: the points cover x 1 to 3, y 2 to 4, the"):
        next(sample_patches(image, [(1, 2), (3, 4)]))
    with pytest.raises(RasterError, match="No point has a place"):
        next(sample_patches(image, []))


def test_points_that_all_lie_on_masked_pixels_are_told_which_band_it_is(holed):
    with pytest.raises(RasterError, match=r"All 2 points lie on masked pixels, each in some band"):
        all_of(holed, at((1, 2), (3, 4)))
    with pytest.raises(RasterError, match="All 1 points lie on masked pixels: band int has no data there"):
        all_of(holed, at((3, 4)))


# Files

NAMED = [Property("name", True, ["Wald", None, "Grünland", ""]), Property("height", False, [1.5, 2, None, 4])]


def write(path, image, points=None, **keywords):
    patches = sample_patches(image, at((0, 0), (1, 2), (2, 3), (4, 6)) if points is None else points, **keywords)
    return write_patches(path, patches, image.band_names, NAMED)


@pytest.mark.parametrize("ending", ["tfrecord", "tfrecord.gz"])
def test_example_has_bands_properties_and_index(holed, tmp_path, ending):
    path = tmp_path / f"patches.{ending}"

    counts = write(path, holed)

    examples = [decode_example(record) for record in read_records(path)]
    assert counts == (3, 1) and len(examples) == 3
    assert [list(example) for example in examples] == [
        ["float", "int", "name", "height", "system:index"],
        ["float", "int", "name", "system:index"],
        ["float", "int", "name", "height", "system:index"],
    ]
    assert examples[0]["float"].tolist() == [0, 0, 0, 0, 0, 1, 0, 100, 101]
    assert examples[1]["int"].tolist() == [102, 103, 104, 202, 203, 204, 302, 303, 0]
    assert examples[1]["float"].dtype == np.float32
    assert [example["name"] for example in examples] == [[b"Wald"], ["Grünland".encode()], [b""]]
    assert examples[0]["height"].tolist() == [1.5] and examples[2]["height"].tolist() == [4]
    assert [example["system:index"] for example in examples] == [[b"0_0"], [b"2_0"], [b"3_0"]]


def test_npz_has_an_array_for_each_band_and_property(holed, tmp_path):
    path = tmp_path / "patches.npz"

    counts = write(path, holed)

    with np.load(path, allow_pickle=False) as arrays:
        assert arrays.files == ["float", "int", "name", "height", "system_index"]
        assert counts == (3, 1) and arrays["float"].shape == (3, 3, 3) and arrays["float"].dtype == np.float32
        assert arrays["float"][1].tolist() == [[0, 103, 104], [202, 203, 204], [302, 303, 304]]
        assert arrays["int"][1].tolist() == [[102, 103, 104], [202, 203, 204], [302, 303, 0]]
        assert arrays["name"].tolist() == ["Wald", "Grünland", ""] and arrays["name"].dtype == "<U8"
        assert arrays["height"].dtype == np.float64
        assert np.array_equal(arrays["height"], [1.5, np.nan, 4], equal_nan=True)
        assert arrays["system_index"].tolist() == ["0_0", "2_0", "3_0"]
    assert zipfile.ZipFile(path).testzip() is None


def test_npz_of_several_parts_is_that_of_one(image, tmp_path, monkeypatch):
    write(tmp_path / "one.npz", image)
    monkeypatch.setattr("rasterml.engine.patches.PART_BYTES", 2 * 9 * 4 * 3)  # three patches a part
    write(tmp_path / "two.npz", image)

    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()


def test_text_that_no_patch_has_is_an_array_of_empty_texts(image, tmp_path):
    path = tmp_path / "patches.npz"
    write_patches(path, sample_patches(image, at((0, 0))), image.band_names, [Property("name", True, [None])])

    assert np.load(path, allow_pickle=False)["name"].tolist() == [""]


@pytest.mark.parametrize("name", ["patches.tif", "patches", "patches.gz", "patches.tfrecord.zip"])
def test_other_kinds_of_file_are_refused(image, tmp_path, name):
    with pytest.raises(StorageError, match=r"choose a name that ends in \.tfrecord, \.tfrecord\.gz, \.npz\.$"):
        write(tmp_path / name, image)


@pytest.mark.parametrize("name", ["patches.tfrecord", "patches.tfrecord.gz", "patches.npz"])
class TestNothingIsLeft:
    def test_of_a_run_that_was_canceled(self, image, tmp_path, name):
        class Impatient(Progress):
            def is_canceled(self):
                return True

        before = set(tmp_path.iterdir())
        with pytest.raises(Canceled):
            write(tmp_path / name, image, progress=Impatient())
        assert set(tmp_path.iterdir()) == before

    def test_when_a_raster_turns_out_damaged_which_is_named(self, tmp_path, name):
        path = write_raster(tmp_path / "cut.tif", [numbered(200, 300)], options=("BLOCKYSIZE=10",))
        (tmp_path / "cut.tif").write_bytes((tmp_path / "cut.tif").read_bytes()[:120_000])
        with pytest.raises(RasterError, match=r"cut\.tif cannot be read at rows 0 to 191, columns 0 to 101") as raised:
            write(tmp_path / name, Image([path]), at((0, 0), (190, 100)))
        traceback.clear_frames(raised.tb)  # they hold the file open until QGIS has taken GDAL down
        assert [file.name for file in tmp_path.iterdir()] == ["cut.tif"]

    def test_on_a_full_disk(self, image, tmp_path, name, limited_file_size):
        before = set(tmp_path.iterdir())
        with limited_file_size(500), pytest.raises(StorageError, match="disk is full or a size limit is reached"):
            write(tmp_path / name, image, default_value=0.1, radius=200)
        assert set(tmp_path.iterdir()) == before
