"""What a map's GeoTIFF can be stored like."""

from __future__ import annotations

import math

import numpy as np
import pytest
from osgeo import gdal
from rasterml.engine import geotiff
from rasterml.engine.classes import LandClass
from rasterml.engine.errors import Canceled, SettingError, StorageError
from rasterml.engine.geotiff import Storage, available_compressions
from rasterml.engine.grids import Grid
from rasterml.engine.map_values import PROBABILITY_TYPES
from rasterml.engine.outputs import FLOAT, RasterWriter, class_type
from rasterml.engine.progress import Progress
from rasterml.engine.tiles import Window

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # GDAL 3.6 closing a file

ROWS, COLUMNS = 700, 1100
GRID = Grid(ROWS, COLUMNS, (500_000.0, 10.0, 0.0, 4_200_000.0, 0.0, -10.0), "")
CLASSES = (LandClass(0, "water", "#3a76b8"), LandClass(7, "forest", "#1f7a3a"))


def labels() -> np.ndarray:
    """Columns of 0 and 7 in turn, so that a mean would be no label; the first rows are no data."""
    values = np.tile(np.where(np.arange(COLUMNS) % 2, 7, 0), (1, ROWS, 1)).astype(np.uint8)
    values[:, :100] = 255
    return values


def shares() -> np.ndarray:
    """Columns of 0 and 1 in turn, whose means are 0.5; the first rows are no data."""
    values = np.tile(np.arange(COLUMNS, dtype=np.float32) % 2, (2, ROWS, 1))
    values[:, :100] = np.nan
    return values


def write(path, values, kind, classes=(), progress=None, **storage) -> None:
    names = [f"band {number}" for number in range(len(values))]
    with RasterWriter(path, GRID, names, kind, classes, storage=Storage(**storage), progress=progress) as writer:
        writer.write(Window(0, 0, *values.shape[1:]), values)


def names_in(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("storage", [{"overviews": True}, {"cog": True}, {"overviews": True, "cog": True}])
@pytest.mark.parametrize("compression", available_compressions())
def test_overviews_of_classes_are_labels_and_names_colours_and_style_stay(storage, compression, tmp_path, gdal_habit):
    path = tmp_path / "map.tif"
    write(path, labels(), class_type(7), CLASSES, compression=compression, **storage)

    dataset = gdal.Open(str(path))
    band = dataset.GetRasterBand(1)
    assert np.array_equal(band.ReadAsArray(), labels()[0])
    assert band.GetOverviewCount() >= 2
    for number in range(band.GetOverviewCount()):
        overview = band.GetOverview(number)
        assert set(np.unique(overview.ReadAsArray())) <= {0, 7, 255}
    smallest = band.GetOverview(band.GetOverviewCount() - 1)
    assert max(smallest.XSize, smallest.YSize) <= 512
    assert band.GetNoDataValue() == 255 and band.GetDescription() == "band 0"
    assert band.GetColorTable().GetColorEntry(7)[:3] == (0x1F, 0x7A, 0x3A)
    assert band.GetCategoryNames()[:8] == ["water", *[""] * 6, "forest"]
    assert dataset.GetMetadataItem("COMPRESSION", "IMAGE_STRUCTURE") == (None if compression == "NONE" else compression)
    assert dataset.GetMetadataItem("LAYOUT", "IMAGE_STRUCTURE") == ("COG" if storage.get("cog") else None)
    assert names_in(tmp_path) == ["map.qml", "map.tif", "map.tif.aux.xml"]


@pytest.mark.parametrize("storage", [{"overviews": True}, {"cog": True}])
@pytest.mark.parametrize("name", PROBABILITY_TYPES)
def test_overviews_of_numbers_are_means_of_those_that_are_there(storage, name, tmp_path):
    kind, path = PROBABILITY_TYPES[name], tmp_path / "map.tif"
    one = 1 / kind.scale
    values = np.where(np.isnan(shares()), kind.nodata, shares() * one).astype(kind.dtype)
    write(path, values, kind, **storage)

    dataset = gdal.Open(str(path))
    for number in (1, 2):
        band = dataset.GetRasterBand(number)
        half = band.GetOverview(0)
        means = half.ReadAsArray()
        assert (means[50:] == one / 2).all()
        assert np.isnan(means[:50]).all() if math.isnan(kind.nodata) else (means[:50] == kind.nodata).all()
        assert (band.GetScale() or 1) == kind.scale and not band.GetOffset()
    assert np.array_equal(dataset.ReadAsArray(), values, equal_nan=kind is FLOAT)


def test_scale_is_kept_by_other_formats_too(tmp_path):
    kind = PROBABILITY_TYPES["UInt8"]
    write(tmp_path / "map.img", np.full((1, ROWS, COLUMNS), 50, np.uint8), kind)
    dataset = gdal.Open(str(tmp_path / "map.img"))
    assert dataset.GetRasterBand(1).GetScale() == 0.01


@pytest.mark.parametrize(("compression", "low", "high"), [("DEFLATE", 1, 9), ("ZSTD", 1, 12)])
def test_higher_level_makes_a_smaller_file_of_the_same_pixels(compression, low, high, tmp_path):
    if compression not in available_compressions():
        pytest.skip(f"this GDAL has no {compression}")
    values = np.random.default_rng(0).integers(0, 9, (1, ROWS, COLUMNS)).cumsum(axis=2).astype(np.uint16)
    sizes = {}
    for cog in (False, True):
        for level in (low, high):
            path = tmp_path / f"{level}.tif"
            write(path, values, class_type(300), compression=compression, level=level, cog=cog)
            dataset = gdal.Open(str(path))
            assert np.array_equal(dataset.ReadAsArray(), values[0])
            sizes[cog, level] = path.stat().st_size
        assert sizes[cog, high] < sizes[cog, low]


def test_small_map_needs_no_overviews(tmp_path):
    grid = Grid(20, 256, GRID.geotransform, "")
    storage = Storage(overviews=True)
    with RasterWriter(tmp_path / "map.tif", grid, ["a"], class_type(7), storage=storage) as writer:
        writer.write(Window(0, 0, 20, 256), np.zeros((1, 20, 256)))
    dataset = gdal.Open(str(tmp_path / "map.tif"))
    assert dataset.GetRasterBand(1).GetOverviewCount() == 0


@pytest.mark.parametrize(
    ("name", "storage", "said"),
    [
        ("map.img", {"overviews": True}, "are for GeoTIFF: give .*map.img the extension .tif"),
        ("map.img", {"cog": True}, "are for GeoTIFF"),
        ("map.img", {"compression": "LZW"}, "are for GeoTIFF"),
        ("map.tif", {"compression": "BROTLI"}, "COMPRESSION is BROTLI, which this GDAL does not have: choose one of"),
        ("map.tif", {"compression": "LZW", "level": 3}, "COMPRESSION_LEVEL is 3, but LZW has no levels"),
        ("map.tif", {"compression": "NONE", "level": 3}, "but NONE has no levels"),
        ("map.tif", {"level": 10}, "COMPRESSION_LEVEL is 10: give a number from 1 .* to 9"),
        ("map.tif", {"compression": "ZSTD", "level": 0}, "COMPRESSION_LEVEL is 0: give a number from 1 .* to 22"),
    ],
)
def test_what_cannot_be_stored_is_refused_before_the_first_tile(name, storage, said, tmp_path):
    with pytest.raises(SettingError, match=said):
        write(tmp_path / name, labels(), class_type(7), **storage)
    assert names_in(tmp_path) == []


def test_compression_that_gdal_lacks_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(geotiff, "available_compressions", lambda: ("DEFLATE", "NONE"))
    with pytest.raises(
        SettingError, match="COMPRESSION is ZSTD, which this GDAL does not have: choose one of DEFLATE,"
    ):
        Storage(compression="ZSTD").check(tmp_path / "map.tif")


class CanceledInside(Progress):
    """Cancels once GDAL has told that it is at work."""

    def __init__(self) -> None:
        self.heard = 0

    def is_canceled(self) -> bool:
        return self.heard > 1

    def share(self, share: float) -> None:
        self.heard += 1


@pytest.mark.parametrize(
    ("name", "storage"), [("map.tif", {"overviews": True}), ("map.tif", {"cog": True}), ("map.img", {})]
)
def test_cancel_in_the_last_step_leaves_nothing(name, storage, tmp_path, gdal_habit, capfd):
    progress = CanceledInside()
    with pytest.raises(Canceled):
        write(tmp_path / name, labels(), class_type(7), CLASSES, progress=progress, **storage)
    assert progress.heard > 1
    assert names_in(tmp_path) == []
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("storage", [{"overviews": True}, {"cog": True}])
def test_disk_that_is_full_in_the_last_step_leaves_nothing(storage, tmp_path, gdal_habit, limited_file_size):
    noise = np.random.default_rng(1).integers(0, 255, (1, ROWS, COLUMNS)).astype(np.uint8)
    write(tmp_path / "plain.tif", noise, class_type(7))
    size = (tmp_path / "plain.tif").stat().st_size
    with limited_file_size(size + 20_000), pytest.raises(StorageError, match=r"map\.tif cannot be written"):
        write(tmp_path / "map.tif", noise, class_type(7), **storage)
    assert names_in(tmp_path) == ["plain.tif"]


@pytest.mark.parametrize(
    ("storage", "journal", "megabytes"),
    [
        ({}, False, "1,525,878.9"),  # 4 million × 4 million bytes / 10
        ({}, True, "3,051,757.8"),
        ({"overviews": True}, False, "2,034,505.2"),
        ({"compression": "NONE"}, False, "15,258,789.1"),
        ({"cog": True}, True, "5,086,263.0"),
    ],
)
def test_space_for_everything_is_asked_for_before_the_work(storage, journal, megabytes, tmp_path):
    grid = Grid(4_000_000, 4_000_000, GRID.geotransform, "")
    with pytest.raises(StorageError, match=f"needs about {megabytes} MB"):
        RasterWriter(
            tmp_path / "map.tif", grid, ["a"], class_type(7), storage=Storage(**storage), journal=journal
        )  # fmt: skip
