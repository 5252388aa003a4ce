from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from osgeo import gdal, osr
from rasterml.engine import outputs
from rasterml.engine.classes import LandClass
from rasterml.engine.errors import StorageError
from rasterml.engine.files import atomic_file, temporary_name, write_atomically
from rasterml.engine.geotiff import Storage
from rasterml.engine.grids import Grid
from rasterml.engine.outputs import FLOAT, RasterWriter, SampleType, check_output, class_type
from rasterml.engine.tiles import Window, iter_tiles

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # GDAL 3.6 closing a file

CLASSES = (LandClass(0, "water & ice", "#3a76b8"), LandClass(7, "Wald <dicht>", "#1f7a3a"))
ROWS, COLUMNS = 40, 70  # 3 × 5 blocks of 16, the last ones cut


def wkt(code: int) -> str:
    system = osr.SpatialReference()
    system.ImportFromEPSG(code)
    return system.ExportToWkt()


def a_grid(rows=ROWS, columns=COLUMNS) -> Grid:
    return Grid(rows, columns, (630_000.0, 28.5, 0.0, 228_000.0, 0.0, -28.5), wkt(32119))


def labels() -> np.ndarray:
    """Classes 0 and 7 in a pattern, without data (255) in the second row of blocks."""
    row, column = np.indices((ROWS, COLUMNS))
    pattern = np.where((row // 3 + column // 5) % 2, 7, 0)
    pattern[16:32] = 255
    return pattern[np.newaxis].astype(np.uint8)


def write(path, array, sample_type, classes=(), names=None, tile=16, **options) -> None:
    """Write *array* tile by tile; tiles without data are left out."""
    grid = options.pop("grid", None) or a_grid(*array.shape[1:])
    names = names or [f"band_{number}" for number in range(len(array))]
    with RasterWriter(path, grid, names, sample_type, classes, block_side=16, **options) as writer:
        for window in iter_tiles(*array.shape[1:], tile):
            row, column, rows, columns = window
            part = array[:, row : row + rows, column : column + columns]
            if not np.array_equal(part, np.full_like(part, sample_type.nodata), equal_nan=part.dtype.kind == "f"):
                writer.write(window, part)


def names_in(folder) -> list[str]:
    return sorted(entry.name for entry in Path(folder).iterdir())


# What is written


@pytest.mark.parametrize("extension", ["tif", "tiff", "img", "TIF"])
@pytest.mark.parametrize("tile", [16, 17, 64])
def test_class_map_has_values_names_colours_and_place(tmp_path, gdal_habit, extension, tile):
    path = tmp_path / f"map.{extension}"
    write(path, labels(), class_type(7), CLASSES, ["classification"], tile)
    dataset = gdal.Open(str(path))
    band = dataset.GetRasterBand(1)
    np.testing.assert_array_equal(band.ReadAsArray(), labels()[0])
    assert gdal.GetDataTypeName(band.DataType) == "Byte"
    assert band.GetNoDataValue() == 255
    assert band.GetDescription() == "classification"
    assert band.GetCategoryNames()[:8] == ["water & ice", "", "", "", "", "", "", "Wald <dicht>"]
    colours = band.GetColorTable()
    assert colours.GetColorEntry(0)[:3] == (0x3A, 0x76, 0xB8)
    assert colours.GetColorEntry(7)[:3] == (0x1F, 0x7A, 0x3A)
    assert dataset.GetGeoTransform() == a_grid().geotransform
    assert dataset.GetSpatialRef().IsSame(osr.SpatialReference(a_grid().crs_wkt), ["CRITERION=EQUIVALENT"])


def test_geotiff_is_tiled_and_compressed(tmp_path):
    path = tmp_path / "map.tif"
    write(path, labels(), class_type(7), CLASSES)
    dataset = gdal.Open(str(path))
    assert dataset.GetRasterBand(1).GetBlockSize() == [16, 16]
    assert dataset.GetMetadataItem("COMPRESSION", "IMAGE_STRUCTURE") == "DEFLATE"


@pytest.mark.parametrize("extension", ["tif", "img"])
def test_float_bands_keep_names_values_and_missing_pixels(tmp_path, gdal_habit, extension):
    array = np.random.default_rng(3).random((3, ROWS, COLUMNS), dtype=np.float32)
    array[:, :17] = np.nan
    path = tmp_path / f"probabilities.{extension}"
    names = ["water & ice", "Wald", "x" * 60]
    write(path, array, FLOAT, names=names)
    dataset = gdal.Open(str(path))
    np.testing.assert_array_equal(dataset.ReadAsArray(), array)
    bands = [dataset.GetRasterBand(number) for number in (1, 2, 3)]
    assert [band.GetDescription() for band in bands] == names
    assert all(np.isnan(band.GetNoDataValue()) for band in bands)
    assert gdal.GetDataTypeName(bands[0].DataType) == "Float32"
    assert not path.with_suffix(".qml").exists()


@pytest.mark.parametrize("bands", [3, 4])
def test_byte_bands_are_not_taken_for_a_picture_with_alpha(tmp_path, bands):
    array = np.full((bands, ROWS, COLUMNS), 7, np.uint8)
    array[-1] = 0
    path = tmp_path / "raw.tif"
    write(path, array, class_type(7))
    dataset = gdal.Open(str(path))
    meanings = {dataset.GetRasterBand(number + 1).GetColorInterpretation() for number in range(bands)}
    assert meanings <= {gdal.GCI_GrayIndex, gdal.GCI_Undefined}
    np.testing.assert_array_equal(dataset.ReadAsArray(), array)


@pytest.mark.parametrize(
    ("largest", "kind", "nodata"),
    [
        (0, "Byte", 255),
        (254, "Byte", 255),
        (255, "UInt16", 65535),
        (65534, "UInt16", 65535),
        (65535, "Int32", -2147483648),
        (2147483647, "Int32", -2147483648),
    ],
)
@pytest.mark.parametrize("extension", ["tif", "img"])
def test_largest_label_decides_the_type(tmp_path, largest, kind, nodata, extension):
    classes = tuple(LandClass(value, f"class {value}", "#0a0b0c") for value in sorted({0, largest}))
    sample_type = class_type(largest)
    array = np.full((1, 5, 18), largest, sample_type.dtype)
    array[0, 1] = sample_type.nodata
    array[0, 2] = 0
    path = tmp_path / f"map.{extension}"
    write(path, array, sample_type, classes)
    dataset = gdal.Open(str(path))
    band = dataset.GetRasterBand(1)
    assert (gdal.GetDataTypeName(band.DataType), band.GetNoDataValue()) == (kind, nodata)
    np.testing.assert_array_equal(band.ReadAsArray(), array[0])
    if kind == "Int32":
        assert band.GetCategoryNames() is None and band.GetColorTable() is None
    else:
        assert band.GetCategoryNames()[largest] == f"class {largest}"
        assert band.GetColorTable().GetColorEntry(largest)[:3] == (10, 11, 12)


def test_negative_labels_need_a_signed_type():
    assert class_type(7, -1).dtype == "int32"


@pytest.mark.parametrize("labels", [(2**31,), (7, -(2**31))])
def test_labels_beyond_32_bits_are_refused(labels):
    with pytest.raises(StorageError, match="smaller numbers"):
        class_type(*labels)


def test_masked_pixels_become_nodata(tmp_path):
    array = np.ma.masked_equal(np.array([[[0, 7, 3]], [[3, 0, 7]]], np.int32), 3)
    with RasterWriter(tmp_path / "map.tif", a_grid(1, 3), ["a", "b"], class_type(7)) as writer:
        writer.write(Window(0, 0, 1, 3), array)
    assert gdal.Open(str(tmp_path / "map.tif")).ReadAsArray().tolist() == [[[0, 7, 255]], [[255, 0, 7]]]


def test_array_of_another_shape_than_its_window_is_a_bug(tmp_path):
    with pytest.raises(ValueError, match="shape"), RasterWriter(tmp_path / "m.tif", a_grid(), ["a"], FLOAT) as writer:
        writer.write(Window(0, 0, 16, 16), np.zeros((1, 16, 15), np.float32))
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("extension", ["tif", "img"])
@pytest.mark.parametrize(
    "geotransform", [(10.0, 2.0, 0.5, 20.0, 0.25, -3.0), (10.0, 2.0, 0.0, 20.0, 0.0, 3.0), (0.0, 1.0, 0, 0.0, 0, 1.0)]
)
def test_rotated_grid_and_grid_without_crs_are_kept(tmp_path, extension, geotransform):
    path = tmp_path / f"map.{extension}"
    write(path, labels(), class_type(7), CLASSES, grid=Grid(ROWS, COLUMNS, geotransform, ""))
    dataset = gdal.Open(str(path))
    assert dataset.GetGeoTransform() == pytest.approx(geotransform)
    assert dataset.GetProjection() == "" or "unknown" in dataset.GetProjection().lower()


@pytest.mark.parametrize("threads", [1, 2, 0])
@pytest.mark.parametrize("compression", ["DEFLATE", "LZW", "ZSTD", "NONE"])
def test_compression_and_threads_change_no_pixel(tmp_path, compression, threads):
    path = tmp_path / "map.tif"
    write(path, labels(), class_type(7), CLASSES, storage=Storage(compression=compression), threads=threads)
    np.testing.assert_array_equal(gdal.Open(str(path)).ReadAsArray(), labels()[0])


@pytest.mark.parametrize("empty", [False, True])
def test_written_pixels_leave_gdals_cache(tmp_path, empty):
    rows, columns, bands, most = 2048, 1024, 2, 0
    before = gdal.GetCacheUsed()
    with RasterWriter(tmp_path / "sums.tif", a_grid(rows, columns), ["a", "b"], FLOAT) as writer:
        for window in iter_tiles(rows, columns, 256):
            tile = np.full((bands, window.rows, window.columns), window.row + window.column, np.float32)
            if not (empty and window.column == 768):  # as where an image's edge has no data
                writer.write(window, tile)
            most = max(most, gdal.GetCacheUsed() - before)

    # 16 MiB are written, 12 where a quarter is empty: 8 may wait, and the row of tiles in which they are reached
    assert most <= 2**23 + bands * 256 * columns * 4
    written = gdal.Open(str(tmp_path / "sums.tif")).ReadAsArray()
    row, column = np.indices((rows, columns)) // 256 * 256
    expected = np.where(empty & (column == 768), np.nan, row + column)
    np.testing.assert_array_equal(written, [expected, expected])


def test_style_lists_the_classes(tmp_path):
    write(tmp_path / "map.tif", labels(), class_type(7), CLASSES)
    renderer = ElementTree.parse(tmp_path / "map.qml").getroot().find("pipe/rasterrenderer")
    assert renderer.get("type") == "paletted"
    assert [entry.attrib for entry in renderer.iter("paletteEntry")] == [
        {"value": "0", "color": "#3a76b8", "label": "water & ice", "alpha": "255"},
        {"value": "7", "color": "#1f7a3a", "label": "Wald <dicht>", "alpha": "255"},
    ]


# When it appears


def test_raster_appears_only_when_published(tmp_path):
    writer = RasterWriter(tmp_path / "map.tif", a_grid(), ["a"], class_type(7), CLASSES)
    writer.write(Window(0, 0, ROWS, COLUMNS), labels())
    (temporary,) = names_in(tmp_path)
    assert temporary.startswith(".map.") and ".part" in temporary
    writer.publish()
    assert names_in(tmp_path) == ["map.qml", "map.tif", "map.tif.aux.xml"]


def test_exception_leaves_nothing_and_keeps_the_older_raster(tmp_path):
    path = tmp_path / "map.tif"
    write(path, labels(), class_type(7), CLASSES)
    before = {entry: entry.read_bytes() for entry in tmp_path.iterdir()}
    with pytest.raises(KeyError), RasterWriter(path, a_grid(), ["a"], FLOAT) as writer:
        writer.write(Window(0, 0, ROWS, COLUMNS), np.zeros((1, ROWS, COLUMNS)))
        raise KeyError
    assert {entry: entry.read_bytes() for entry in tmp_path.iterdir()} == before


def test_discarding_leaves_nothing_however_often(tmp_path):
    writer = RasterWriter(tmp_path / "map.img", a_grid(), ["a"], class_type(7), CLASSES)
    writer.write(Window(0, 0, ROWS, COLUMNS), labels())
    writer.discard()
    writer.discard()
    assert names_in(tmp_path) == []


def test_side_files_of_an_older_raster_go_with_it(tmp_path):
    path = tmp_path / "map.tif"
    write(path, labels(), class_type(7), CLASSES)
    gdal.Open(str(path)).BuildOverviews("NEAREST", [2])
    (tmp_path / "map.tif.msk").write_bytes(b"")
    assert (tmp_path / "map.tif.ovr").exists()
    write(path, labels().astype(np.float32), FLOAT)
    assert names_in(tmp_path) == ["map.tif"]


def test_style_of_another_layer_with_that_base_name_is_left(tmp_path):
    (tmp_path / "map.qml").write_text("style of map.gpkg")
    write(tmp_path / "map.tif", labels().astype(np.float32), FLOAT)
    assert (tmp_path / "map.qml").read_text() == "style of map.gpkg"


def test_raster_that_cannot_take_its_name_leaves_nothing(tmp_path):
    path = tmp_path / "map.tif"
    writer = RasterWriter(path, a_grid(), ["a"], class_type(7), CLASSES)
    writer.write(Window(0, 0, ROWS, COLUMNS), labels())
    (path / "in the way").mkdir(parents=True)
    with pytest.raises(StorageError, match="cannot be written"):
        writer.publish()
    assert names_in(tmp_path) == ["map.tif"]
    assert names_in(path) == ["in the way"]


# What is refused before the first tile


@pytest.mark.parametrize("name", ["map.vrt", "map.foo", "map.png", "map.zip", "map", "map."])
def test_extension_that_is_not_served_is_refused(tmp_path, name):
    with pytest.raises(StorageError, match=r"give the raster one of \.tif, \.tiff, \.img"):
        RasterWriter(tmp_path / name, a_grid(), ["a"], FLOAT)
    assert names_in(tmp_path) == []


def test_missing_folder_is_named(tmp_path):
    with pytest.raises(StorageError, match="nowhere does not exist"):
        check_output(tmp_path / "nowhere" / "map.tif")


def test_folder_is_no_output(tmp_path):
    (tmp_path / "map.tif").mkdir()
    with pytest.raises(StorageError, match="folder"):
        check_output(tmp_path / "map.tif")


@pytest.mark.parametrize("link", [False, True])
def test_output_that_is_an_input_is_refused(tmp_path, link):
    scene = tmp_path / "scene.tif"
    write(scene, labels(), class_type(7))
    output = tmp_path / "link.tif" if link else scene
    if link:
        output.symlink_to(scene)
    with pytest.raises(StorageError, match="is an input"):
        RasterWriter(output, a_grid(), ["a"], FLOAT, inputs=["NETCDF:x.nc:red", str(scene)])


@contextlib.contextmanager
def as_nobody():
    """Without root's rights, for which no folder is read-only."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_read_only_folder_is_refused(gdal_habit):
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o555)
        with as_nobody(), pytest.raises(StorageError, match="Permission denied"):
            RasterWriter(Path(folder) / "map.tif", a_grid(), ["a"], FLOAT)
        assert names_in(folder) == []


def test_disk_without_enough_space_is_refused_with_both_figures(tmp_path):
    """2 million × 2 million pixels of float32 are 16 TB; a quarter of that is 3,814,697 MB."""
    side = 2_000_000
    with pytest.raises(StorageError, match=r"about 3,814,697.* MB .*free: free some space"):
        RasterWriter(tmp_path / "map.tif", a_grid(side, side), ["a"], FLOAT)
    assert names_in(tmp_path) == []


def test_img_that_would_be_split_is_refused(tmp_path):
    with pytest.raises(StorageError, match=r"extension \.tif"):
        RasterWriter(tmp_path / "map.img", a_grid(30_000, 30_000), ["a"], FLOAT)


# What fails on the way


@pytest.mark.parametrize(("extension", "threads"), [("tif", 1), ("tif", 2), ("img", 1)])
def test_full_disk_is_a_storage_error_that_leaves_nothing(tmp_path, gdal_habit, limited_file_size, extension, threads):
    noise = np.random.default_rng(1).random((2, 300, 400), dtype=np.float32)  # 960,000 bytes that do not shrink
    with limited_file_size(200_000), pytest.raises(StorageError, match=f"map.{extension} cannot be written"):
        write(tmp_path / f"map.{extension}", noise, FLOAT, threads=threads)
    assert names_in(tmp_path) == []


def test_disk_that_is_full_for_the_translation_alone_leaves_nothing(tmp_path, gdal_habit, limited_file_size):
    steps = np.zeros((1, 300, 400), np.float32)  # a few thousand bytes as GeoTIFF
    steps[0] = np.arange(400)
    with limited_file_size(100_000), pytest.raises(StorageError, match="cannot be written"):
        write(tmp_path / "map.img", steps, FLOAT)
    assert names_in(tmp_path) == []


def test_file_that_lost_its_end_is_noticed(tmp_path):
    """Blocks beyond the end of the file: what a network drive that loses data would leave."""
    noise = np.random.default_rng(1).random((1, 100, 100), dtype=np.float32)
    writer = RasterWriter(tmp_path / "map.tif", a_grid(100, 100), ["a"], FLOAT, block_side=16)
    writer.write(Window(0, 0, 100, 100), noise)
    writer._dataset.FlushCache()
    os.truncate(writer._geotiff, 20_000)
    with pytest.raises(StorageError, match="completely"):
        writer.publish()
    assert names_in(tmp_path) == []


def test_gdal_is_left_as_it_was(tmp_path, gdal_habit):
    before = gdal.GetUseExceptions()
    with contextlib.suppress(StorageError):
        write(tmp_path / "map.vrt", labels(), class_type(7))
    write(tmp_path / "map.tif", labels(), class_type(7))
    assert gdal.GetUseExceptions() == before


# engine/files.py


def test_temporary_names_differ_and_stay_in_the_folder():
    path = Path("some") / "folder" / ("long" * 60 + ".rasterml")
    names = {temporary_name(path) for _ in range(5)}
    assert len(names) == 5
    for name in names:
        assert name.parent == path.parent
        assert name.suffix == ".rasterml" and name.name.startswith(".long") and f".{os.getpid()}-" in name.name
        assert len(name.name) < 255


def test_atomic_text_replaces_the_older_one_or_leaves_it(tmp_path):
    path = tmp_path / "report.html"
    assert write_atomically(path, b"old") == 3
    with pytest.raises(KeyError), atomic_file(path) as file:
        file.write(b"new")
        raise KeyError
    assert path.read_bytes() == b"old"
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert names_in(tmp_path) == ["report.html"]


def test_every_type_of_a_raster_is_named_for_numpy_and_gdal_alike():
    for sample_type in (FLOAT, class_type(7), class_type(300), class_type(70_000)):
        assert isinstance(sample_type, SampleType)
        name = gdal.GetDataTypeName(sample_type.gdal_type)
        assert {"Float32": "float32", "Byte": "uint8", "UInt16": "uint16", "Int32": "int32"}[name] == sample_type.dtype
    assert outputs.EXTENSIONS == ("tif", "tiff", "img")
