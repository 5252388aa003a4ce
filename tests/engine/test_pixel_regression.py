"""Regression of every pixel over a collection: tiles equal the whole, each pixel uses its own images."""

from __future__ import annotations

import pickle
import threading

import numpy as np
import pytest
from osgeo import gdal
from raster_files import write_raster
from rasterml.engine import pixel_regression
from rasterml.engine.errors import Canceled, RasterError, SettingError
from rasterml.engine.image_collection import open_bands, open_collection
from rasterml.engine.journal import MARK
from rasterml.engine.pixel_regression import regress_image
from rasterml.engine.progress import Progress
from rasterml.engine.reducers import REDUCERS, REDUCERS_BY_ID
from rasterml.engine.tiles import Window

IMAGES, ROWS, COLUMNS = 12, 50, 70
TIMES = [2015.0 + 0.3 * ((7 * number) % IMAGES) for number in range(IMAGES)]  # not sorted
NODATA = -99.0


class Log(Progress):
    def __init__(self):
        self.messages, self.warnings = [], []

    def message(self, text):
        self.messages.append(text)

    def warn(self, text):
        self.warnings.append(text)


def scene():
    """Bands a, y of each image, (2, images, rows, columns), and where each is valid; the last 20 rows have no y."""
    generator = np.random.default_rng(8)
    values = generator.normal(50, 10, (2, IMAGES, ROWS, COLUMNS))
    values[1] += 3 * (np.array(TIMES) - 2015)[:, np.newaxis, np.newaxis] + 0.5 * values[0]
    valid = generator.random(values.shape) > 0.25
    valid[1, :, 30:] = False
    valid[1, 3:, :5, :5] = False
    return values.astype(np.float32), valid


@pytest.fixture(scope="module")
def rasters(tmp_path_factory):
    """A file for each image, strips; every other one has its bands the other way round."""
    folder = tmp_path_factory.mktemp("images")
    values, valid = scene()
    gaps = np.where(valid, values, NODATA)
    paths = []
    for number in range(IMAGES):
        order = slice(None, None, -1 if number % 2 else 1)
        path = folder / f"image_{number}.tif"
        paths.append(write_raster(path, gaps[order, number], nodata=NODATA, descriptions=["a", "y"][order]))
    return paths


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    """The bands y of all images in one file, tiled."""
    values, valid = scene()
    path = tmp_path_factory.mktemp("stack") / "y.tif"
    options = ["TILED=YES", "BLOCKXSIZE=32", "BLOCKYSIZE=16"]
    return write_raster(path, np.where(valid[1], values[1], NODATA), nodata=NODATA, options=options)


def read(path):
    dataset = gdal.Open(str(path))
    return {
        dataset.GetRasterBand(n).GetDescription(): dataset.GetRasterBand(n).ReadAsArray()
        for n in range(1, 1 + dataset.RasterCount)
    }


def regress(collection, output, reducer="linearregression", x=("constant", "time", "a"), y=("y",), **options):
    settings = options.pop("settings", {})
    times = options.pop("times", TIMES)
    return regress_image(collection, REDUCERS_BY_ID[reducer], str(output), x, y, times, settings, **options)


def test_each_pixel_is_what_numpy_finds_with_its_own_images(rasters, tmp_path):
    counts = regress(open_collection(rasters), tmp_path / "out.tif")

    bands = read(tmp_path / "out.tif")
    assert list(bands) == ["constant_y", "time_y", "a_y", "residuals", "n"]
    values, valid = scene()
    both = valid.all(axis=0)
    np.testing.assert_array_equal(np.nan_to_num(bands["n"]), both.sum(axis=0))
    assert np.isnan(bands["n"][30:]).all()
    fitted = 0
    for row in range(0, ROWS, 3):
        for column in range(0, COLUMNS, 4):
            used = both[:, row, column]
            got = [bands[name][row, column] for name in ("constant_y", "time_y", "a_y", "residuals")]
            if used.sum() < 4:
                assert np.isnan(got).all()
                continue
            design = np.stack([np.ones(IMAGES), TIMES, values[0, :, row, column]], axis=1)[used]
            target = values[1, used, row, column].astype(float)
            solution = np.linalg.lstsq(design.astype(float), target, rcond=None)[0]
            np.testing.assert_allclose(got[:3], solution, rtol=1e-5)
            assert got[3] == pytest.approx(np.sqrt(np.mean((target - design @ solution) ** 2)), rel=1e-4, abs=1e-6)
            fitted += 1
    assert fitted > 100
    enough = both.sum(axis=0) >= 4
    assert counts == (IMAGES, ROWS * COLUMNS, enough.sum(), (~enough).sum())


@pytest.mark.parametrize("row", REDUCERS, ids=lambda row: row.id)
def test_tiles_and_threads_change_no_bit(row, rasters, tmp_path):
    x, y = (("a",), ("y",)) if row.pair else (("constant", "time", "a"), ("y",))
    settings = {"significance": True} if "significance" in {setting.name for setting in row.settings} else {}
    collection = open_collection(rasters)

    regress(collection, tmp_path / "whole.tif", row.id, x, y, settings=settings, threads=1)
    regress(collection, tmp_path / "tiles.tif", row.id, x, y, settings=settings, threads=2, tile_size=16)

    whole, tiles = (gdal.Open(str(tmp_path / f"{name}.tif")).ReadAsArray() for name in ("whole", "tiles"))
    assert whole.tobytes() == tiles.tobytes()
    assert np.isfinite(whole[0]).sum() > 1000


@pytest.mark.parametrize("values_at_once", [1, 100, 5000])
def test_the_pixels_that_a_kernel_gets_at_once_change_no_bit(values_at_once, stack, tmp_path, monkeypatch):
    regress(open_bands([stack]), tmp_path / "whole.tif", "linearfit", ["time"], settings={"significance": True})
    monkeypatch.setattr(pixel_regression, "VALUES_AT_ONCE", values_at_once)
    regress(open_bands([stack]), tmp_path / "part.tif", "linearfit", ["time"], settings={"significance": True})

    whole, part = (gdal.Open(str(tmp_path / f"{name}.tif")).ReadAsArray() for name in ("whole", "part"))
    assert whole.tobytes() == part.tobytes()


def test_bands_as_images_equal_files_as_images(rasters, stack, tmp_path):
    regress(open_collection(rasters), tmp_path / "files.tif", "linearfit", ["time"])
    regress(open_bands([stack]), tmp_path / "bands.tif", "linearfit", ["time"])

    files, bands = read(tmp_path / "files.tif"), read(tmp_path / "bands.tif")
    assert list(bands) == ["scale", "offset", "n"]
    for name, values in files.items():
        np.testing.assert_array_equal(bands[name], values)
    assert np.isfinite(files["scale"]).sum() > 1500


def test_pixels_with_fewer_than_min_observations_are_masked(stack, tmp_path):
    counts = regress(open_bands([stack]), tmp_path / "out.tif", "linearfit", ["time"], min_observations=9)

    bands = read(tmp_path / "out.tif")
    count = scene()[1][1].sum(axis=0)
    assert counts.fitted == (count >= 9).sum() > 100
    np.testing.assert_array_equal(np.isfinite(bands["scale"]), count >= 9)
    np.testing.assert_array_equal(np.nan_to_num(bands["n"]), count)


def test_less_than_a_reducer_needs_cannot_be_asked_for(stack, tmp_path):
    regress(open_bands([stack]), tmp_path / "out.tif", "linearfit", ["time"], min_observations=1)

    bands = read(tmp_path / "out.tif")
    assert np.isnan(bands["scale"][bands["n"] == 1]).all()
    assert (bands["n"] == 1).any()


def test_a_band_goes_before_a_built_in_variable_of_its_name(tmp_path):
    paths = []
    for number, (time, y) in enumerate([(3, 1), (5, 5), (4, 3)]):
        bands = [np.full((2, 3), time), np.full((2, 3), y)]
        paths.append(write_raster(tmp_path / f"{number}.tif", bands, descriptions=["time", "y"]))

    regress(open_collection(paths), tmp_path / "out.tif", "linearfit", ["time"], times=[0, 1, 2])

    assert read(tmp_path / "out.tif")["scale"].tolist() == [[2.0] * 3] * 2


def test_time_can_be_what_is_explained(stack, tmp_path):
    regress(open_bands([stack], "ndvi"), tmp_path / "out.tif", "linearfit", ["ndvi"], ["time"])
    regress(open_bands([stack], "ndvi"), tmp_path / "r.tif", "pearsonscorrelation", ["time"], ["ndvi"])
    regress(open_bands([stack], "ndvi"), tmp_path / "in.tif", "linearfit", ["time"], ["ndvi"])

    there, back, r = (read(tmp_path / name) for name in ("in.tif", "out.tif", "r.tif"))
    some = there["n"] > 3
    product = there["scale"][some] * back["scale"][some]  # the two slopes of a cloud of points
    np.testing.assert_allclose(product, r["correlation"][some] ** 2, rtol=1e-5)


def test_a_variable_that_nothing_has_is_refused(stack, tmp_path):
    with pytest.raises(RasterError, match=r"y\.tif has no band evi: it has y"):
        regress(open_bands([stack]), tmp_path / "out.tif", "linearfit", ["time"], ["evi"])
    with pytest.raises(SettingError, match=r"X \(time\) and Y \(order\) have no band: choose some of y\."):
        regress(open_bands([stack]), tmp_path / "out.tif", "linearfit", ["time"], ["order"])
    assert not (tmp_path / "out.tif").exists()


def test_too_few_images_and_equal_times_are_warned_of(rasters, tmp_path):
    log = Log()
    regress(open_collection(rasters[:2]), tmp_path / "out.tif", times=[5, 5], progress=log)

    assert log.warnings == [
        "4 images are needed and there are 2: every pixel will be masked.",
        "All images have the same time: give TIMES.",
    ]


def test_the_coefficients_are_exact_where_float32_sums_lose_digits(tmp_path):
    times = np.arange(40.0) / 8 + 2000
    values = 1e6 + 0.5 * (times - 2000)  # exact in float32 and float64
    path = write_raster(tmp_path / "y.tif", np.tile(values[:, np.newaxis, np.newaxis], (1, 2, 3)))

    regress(open_bands([path]), tmp_path / "out.tif", "linearfit", ["time"], times=times)

    bands = read(tmp_path / "out.tif")
    assert (bands["scale"] == 0.5).all()
    assert (bands["offset"] == 999000).all()


def test_tiles_are_whole_blocks_of_the_files(rasters, stack):
    def plan(paths, opened, size, memory=1024, threads=2):
        job = pixel_regression._job(opened(paths), REDUCERS_BY_ID["linearfit"], ["time"], ["y"], TIMES, {}, 2)
        return pixel_regression._plan(job, size, memory, threads)

    assert plan([stack], open_bands, 40).tile == (32, 64)  # blocks of 16 x 32, some 40 x 40 pixels
    assert plan([stack], open_bands, 256).tile == (ROWS, COLUMNS)
    assert plan(rasters, open_collection, 16).tile[1] == COLUMNS  # strips


def test_memory_bounds_tiles_and_threads(tmp_path):
    path = str(tmp_path / "big.tif")
    options = ["TILED=YES", "SPARSE_OK=TRUE", "COMPRESS=DEFLATE"]
    gdal.GetDriverByName("GTiff").Create(path, 3000, 2000, 300, gdal.GDT_Int16, options)
    job = pixel_regression._job(open_bands([path], "y"), REDUCERS_BY_ID["linearfit"], ["time"], ["y"], [0] * 300, {}, 2)

    small = pixel_regression._plan(job, 1024, 512, 16)
    large = pixel_regression._plan(job, 1024, 16_384, 16)

    assert small.threads == 1
    assert small.tile[0] * small.tile[1] * 300 * 4 < 112 * 2**20
    assert large.threads == 16
    assert large.tile[0] * large.tile[1] > small.tile[0] * small.tile[1]


def test_the_tile_is_all_that_is_kept_of_the_images(tmp_path, peak_memory):
    values = np.random.default_rng(0).normal(size=(100, 128, 256)).astype(np.float32)
    path = write_raster(tmp_path / "y.tif", values, options=["TILED=YES"])
    collection = open_bands([path])
    fit = lambda: regress(collection, tmp_path / "o.tif", "linearfit", ["time"], ["y"], times=range(100), threads=1)  # noqa: E731

    fit()
    peak = peak_memory(fit)

    # the tile in float32, and one batch of 2**20 values in float64 with its mask and some rows
    assert peak < values.nbytes + 2**20 * 14


def test_many_files_are_opened_one_after_the_other(rasters, tmp_path, monkeypatch):
    regress(open_collection(rasters), tmp_path / "kept.tif")
    monkeypatch.setattr(pixel_regression, "MOST_OPEN", 5)
    regress(open_collection(rasters), tmp_path / "closed.tif", tile_size=16, threads=2)

    kept, closed = (gdal.Open(str(tmp_path / f"{name}.tif")).ReadAsArray() for name in ("kept", "closed"))
    assert kept.tobytes() == closed.tobytes()


class Stopping(Progress):
    """Cancels after so many tiles."""

    def __init__(self, tiles):
        self.left = tiles

    def share(self, share):
        self.left -= 1

    def is_canceled(self):
        return self.left <= 0


def test_a_canceled_run_leaves_nothing(stack, tmp_path):
    with pytest.raises(Canceled):
        regress(open_bands([stack]), tmp_path / "o.tif", "linearfit", ["time"], tile_size=16, progress=Stopping(2))

    assert list(tmp_path.iterdir()) == []


def test_a_resumed_run_takes_the_finished_tiles_over(stack, tmp_path):
    options = {"tile_size": 16, "threads": 1, "resume": True}
    regress(open_bands([stack]), tmp_path / "whole.tif", "linearfit", ["time"])
    with pytest.raises(Canceled):
        regress(open_bands([stack]), tmp_path / "o.tif", "linearfit", ["time"], progress=Stopping(3), **options)
    kept = (tmp_path / ".o.tif.resume").read_bytes().count(MARK) - 1  # the first record is the run's fingerprint
    with pytest.raises(SettingError, match=r"RESUME cannot continue .* variables changed"):
        regress(open_bands([stack]), tmp_path / "o.tif", "linearfit", ["time"], times=range(IMAGES), **options)

    regress(open_bands([stack]), tmp_path / "o.tif", "linearfit", ["time"], **options)

    assert kept >= 3
    whole, resumed = (gdal.Open(str(tmp_path / f"{name}.tif")).ReadAsArray() for name in ("whole", "o"))
    assert whole.tobytes() == resumed.tobytes()
    assert not (tmp_path / ".o.tif.resume").exists()


def test_a_job_travels_to_a_cluster(rasters):
    job = pixel_regression._job(
        open_collection(rasters),
        REDUCERS_BY_ID["linearfit"],
        ["time"],
        ["y"],
        TIMES,
        {"significance": True},
        2,
    )
    window = Window(2, 3, 20, 30)

    there = pickle.loads(pickle.dumps(job)).regress(window, threading.Event())

    assert there.tobytes() == job.regress(window, threading.Event()).tobytes()


@pytest.mark.parametrize("tile_size", [15, 20_000])
def test_impossible_tiles_are_refused(tile_size, stack, tmp_path):
    with pytest.raises(SettingError, match=f"TILE_SIZE is {tile_size}: give a number from 16 to 16,384"):
        regress(open_bands([stack]), tmp_path / "out.tif", "linearfit", ["time"], tile_size=tile_size)
