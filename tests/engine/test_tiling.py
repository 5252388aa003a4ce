"""Blocks of tiles, for a predictor that likes many rows at once: the same map, bounded, and cancelled at once."""

from __future__ import annotations

import pickle
import threading
import time

import numpy as np
import pytest
from osgeo import gdal
from rasterml.engine import block_prediction, box_sums, box_votes, processes, tile_plan
from rasterml.engine.errors import Canceled
from rasterml.engine.images import Image
from rasterml.engine.learners import CLASSIFICATION, MULTIPROBABILITY, RAW, REGRESSION, Learner
from rasterml.engine.models import load_model, save_model
from rasterml.engine.outputs import FLOAT, class_type
from rasterml.engine.prediction import predict_image
from rasterml.engine.predictors import checker
from rasterml.engine.progress import Progress
from rasterml.engine.shared_arrays import can_be_shared
from rasterml.engine.tile_plan import Plan, plan
from rasterml.engine.tiles import Window, iter_tiles
from rasterml.engine.tiling import Tiling
from rasterml.engine.trees import Shape
from small_models import PREDICTORS, small_forest

ROWS, COLUMNS = 150, 310


class InBlocks:
    """A forest that is predicted in blocks of *rows*, row by row as always; notes the size of every block."""

    def __init__(self, inner, rows: int, row_bytes: int = 0, before=lambda check: None) -> None:
        self.inner, self.rows, self.row_bytes, self.before = inner, rows, row_bytes, before
        self.calls: list[int] = []
        self.model, self.prepare, self.bytes_of_model = inner.model, inner.prepare, 0

    def bands(self, mode):
        return self.inner.bands(mode)

    def gives_classes(self, mode):
        return self.inner.gives_classes(mode)

    def block_rows(self, mode):
        return self.rows

    def block_bytes(self, mode):
        return self.row_bytes

    def model_bytes(self):
        return self.bytes_of_model

    def cell_tree(self, features, mode, check):
        """Two cells: the rows up to the median of the first band, and the others."""
        assert features.flags.c_contiguous and features.dtype == np.float32 and np.isfinite(features).all()
        self.calls.append(len(features))
        threshold = np.array([np.median(features[:, 0]), 0, 0])
        return Shape(np.array([0, -1, -1], np.int32), threshold, np.array([2, 0, 0], np.int32))

    def predict_cells(self, features, sizes, mode, check):
        assert sum(sizes) == len(features)
        self.before(check)
        return self.inner.predict(features, mode, check)

    def predict(self, features, mode, check):
        raise AssertionError("a predictor of blocks was asked for a tile")


class OneByOne(InBlocks):
    """The same without the three methods: tiles are predicted one by one."""

    block_rows = block_bytes = model_bytes = cells = predict_cells = property()

    def predict(self, features, mode, check):
        return self.inner.predict(features, mode, check)


@pytest.fixture
def predictor(monkeypatch):
    """A function that has every model predicted in blocks of *rows* (0: tile by tile); gives the stand-in."""
    load = Learner.load_predictor
    monkeypatch.setattr(block_prediction, "FEWEST_ROWS", 1)

    def use(rows: int, model, **more):
        made = (InBlocks if rows else OneByOne)(load(model.learner, model), rows, **more)
        monkeypatch.setattr(Learner, "load_predictor", lambda learner, model: made)
        return made

    return use


@pytest.fixture(scope="module")
def forests():
    return {mode: small_forest(mode) for mode in (CLASSIFICATION, REGRESSION)}


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """Three bands, masked but for a slanted strip with a hole: first, middle and last tiles of 64 are empty."""
    generator = np.random.default_rng(11)
    values = generator.normal(size=(3, ROWS, COLUMNS)) * [[[12]], [[0.2]], [[400]]] + [[[50]], [[0.3]], [[1000]]]
    rows, columns = np.mgrid[:ROWS, :COLUMNS]
    valid = np.abs(columns - 2 * rows - 20) < 60
    valid[64:128, 128:192] = False
    values[1, ~valid] = -1
    path = str(tmp_path_factory.mktemp("scene") / "scene.tif")
    dataset = gdal.GetDriverByName("GTiff").Create(path, COLUMNS, ROWS, 3, gdal.GDT_Float32)
    dataset.WriteArray(values)
    for number, name in enumerate(PREDICTORS, 1):
        dataset.GetRasterBand(number).SetDescription(name)
        dataset.GetRasterBand(number).SetNoDataValue(-1)
    dataset = None
    return path, int(valid.sum())


def read(path) -> np.ndarray:
    dataset = gdal.Open(str(path))
    return dataset.ReadAsArray()


@pytest.mark.parametrize(
    ("kind", "mode"),
    [*((CLASSIFICATION, mode) for mode in (CLASSIFICATION, MULTIPROBABILITY, RAW)), (REGRESSION, REGRESSION)],
)
@pytest.mark.parametrize(("rows", "tile_size", "threads"), [(1, 64, 2), (3000, 17, 3), (9000, 32, 1), (10**6, 64, 2)])
def test_blocks_of_any_size_equal_tiles(kind, mode, rows, tile_size, threads, scene, forests, predictor, tmp_path):
    path, valid = scene
    predictor(0, model=forests[kind])
    whole = predict_image(Image([path]), forests[kind], str(tmp_path / "tiles.tif"), mode)
    used = predictor(rows, model=forests[kind])

    counts = predict_image(
        Image([path]), forests[kind], str(tmp_path / "blocks.tif"), mode, tile_size=tile_size, threads=threads
    )

    assert np.array_equal(read(tmp_path / "blocks.tif"), read(tmp_path / "tiles.tif"), equal_nan=True)
    assert counts == whole and counts.predicted == valid
    assert sum(used.calls) == valid
    assert max(used.calls) <= max(rows, tile_size**2)
    if rows == 10**6:
        assert used.calls == [valid]  # one block for the whole map
    else:
        assert len(used.calls) > valid // max(rows, tile_size**2)


def test_mask_and_window_hold_in_blocks_too(scene, forests, predictor, tmp_path):
    mask = np.ones((ROWS, COLUMNS))
    mask[:, ::3] = 0
    dataset = gdal.GetDriverByName("GTiff").Create(str(tmp_path / "mask.tif"), COLUMNS, ROWS, 1, gdal.GDT_Byte)
    dataset.WriteArray(mask)
    dataset = None
    for name, rows in (("tiles", 0), ("blocks", 2000)):
        predictor(rows, model=forests[CLASSIFICATION])
        image = Image([scene[0]])
        predict_image(
            image, forests[CLASSIFICATION], str(tmp_path / f"{name}.tif"), tile_size=16, window=Window(30, 60, 90, 111),
            mask=Image([str(tmp_path / "mask.tif")], grid=image.grid),
        )  # fmt: skip

    blocks = read(tmp_path / "blocks.tif")
    assert np.array_equal(blocks, read(tmp_path / "tiles.tif"))
    assert blocks.shape == (90, 111) and (blocks[:, ::3] == 65535).all() and (blocks != 65535).any()


def test_map_without_a_valid_pixel_asks_the_predictor_nothing(forests, predictor, tmp_path):
    path = str(tmp_path / "empty.tif")
    dataset = gdal.GetDriverByName("GTiff").Create(path, 50, 40, 3, gdal.GDT_Float32)
    for number, name in enumerate(PREDICTORS, 1):
        dataset.GetRasterBand(number).SetDescription(name)
        dataset.GetRasterBand(number).SetNoDataValue(0)
    dataset = None
    used = predictor(1000, model=forests[CLASSIFICATION])

    counts = predict_image(Image([path]), forests[CLASSIFICATION], str(tmp_path / "map.tif"), tile_size=16)

    assert counts == (2000, 0, 2000) and used.calls == []


class Noted(Progress):
    def __init__(self) -> None:
        self.shares: list[float] = []

    def share(self, share: float) -> None:
        self.shares.append(share)


def test_progress_goes_on_within_a_block_and_never_back(scene, forests, predictor, tmp_path):
    predictor(10**6, model=forests[CLASSIFICATION])
    noted = Noted()

    predict_image(Image([scene[0]]), forests[CLASSIFICATION], str(tmp_path / "m.tif"), tile_size=32, progress=noted)

    assert noted.shares == sorted(noted.shares) and noted.shares[-1] == 1
    assert len(noted.shares) == 2 * 5 * 10 and noted.shares[49] == 0.5  # each tile when read and when written


@pytest.mark.parametrize("asks", [True, False], ids=["looks at check", "does not look"])
def test_cancel_ends_a_long_block_at_once(asks, scene, forests, predictor, tmp_path):
    begun, over = threading.Event(), threading.Event()

    def endless(check) -> None:
        begun.set()
        while not over.wait(0.01):
            if asks:
                check()

    class CanceledInside(Progress):
        since = 0.0

        def is_canceled(self) -> bool:
            if begun.is_set() and not self.since:
                self.since = time.monotonic()
            return begun.is_set()

    predictor(10**6, model=forests[CLASSIFICATION], before=endless)
    progress = CanceledInside()
    try:
        with pytest.raises(Canceled):
            predict_image(Image([scene[0]]), forests[CLASSIFICATION], str(tmp_path / "m.tif"), progress=progress)
        assert time.monotonic() - progress.since < 1
    finally:
        over.set()
    assert list(tmp_path.iterdir()) == []


def test_error_inside_a_block_arrives_and_leaves_nothing(scene, forests, predictor, tmp_path):
    def broken(check) -> None:
        raise KeyError("broken")

    predictor(1000, model=forests[CLASSIFICATION], before=broken)
    with pytest.raises(KeyError, match="broken"):
        predict_image(Image([scene[0]]), forests[CLASSIFICATION], str(tmp_path / "m.tif"))
    assert list(tmp_path.iterdir()) == []


def test_memory_limit_bounds_the_block(scene, forests):
    """By hand: 3 bands, 1 output: a row takes 27 + 9 + 12 bytes and the predictor's own 952 = 1,000.

    1024 MB − 400 − 128 = 496 MB; a tile of 64 × 64 with one thread takes 96 = 16·3 + 16 + 8·3 + 8 bytes a pixel.
    """
    image, forest = Image([scene[0]]), forests[CLASSIFICATION]
    used = InBlocks(forest.learner.load_predictor(forest), 10**7, row_bytes=952)

    assert plan(image, used, CLASSIFICATION, 10**6, 1, 64, 1024) == Plan(64, (496 * 2**20 - 96 * 64 * 64) // 1000)
    assert plan(image, used, CLASSIFICATION, 10**6, 1, 64, 10**6) == Plan(64, 10**7)
    small = plan(image, used, CLASSIFICATION, 10**6, 1, 1024, 512)  # 64 MB for 1,096 bytes a pixel
    assert small.side == 128 and small.rows >= 128 * 128


@pytest.mark.parametrize("source", ["memory", "file"])
@pytest.mark.parametrize(
    ("kind", "mode"),
    [(CLASSIFICATION, CLASSIFICATION), (CLASSIFICATION, MULTIPROBABILITY), (REGRESSION, REGRESSION)],
)
def test_other_processes_predict_the_same(kind, mode, source, scene, tmp_path, monkeypatch):
    model = small_forest(kind, number_of_trees=12)
    if source == "file":
        save_model(model, tmp_path / "forest.rasterml")
        model = load_model(tmp_path / "forest.rasterml")
    predict_image(Image([scene[0]]), model, str(tmp_path / "threads.tif"), mode)
    monkeypatch.setattr(tile_plan, "FEWEST_PIXELS", 1)
    monkeypatch.setattr(block_prediction, "FEWEST_ROWS", 1)
    monkeypatch.setattr(box_votes, "CELL_ROWS", 300)
    monkeypatch.setattr(box_sums, "CELL_ROWS", 300)
    ask, answers = processes._Helper.ask, []

    def ask_once_started(helper, *item):
        assert helper._settled.wait(60)
        answers.append(ask(helper, *item))
        return answers[-1]

    monkeypatch.setattr(processes._Helper, "ask", ask_once_started)

    predict_image(Image([scene[0]]), model, str(tmp_path / "processes.tif"), mode, threads=2, tile_size=32)

    assert np.array_equal(read(tmp_path / "processes.tif"), read(tmp_path / "threads.tif"), equal_nan=True)
    assert answers and None not in answers


def test_a_model_from_a_file_is_sent_without_its_arrays(tmp_path):
    save_model(small_forest(number_of_trees=30), tmp_path / "forest.rasterml")
    model = load_model(tmp_path / "forest.rasterml")
    if not can_be_shared():
        pytest.skip("this system has no memory to share")

    sent = len(pickle.dumps(block_prediction.Work(model, CLASSIFICATION)))
    assert sent < 5000 < sum(array.nbytes for array in model.arrays.values())


def test_processes_take_their_share_of_the_memory(scene, forests, monkeypatch):
    """By hand, as above: 496 MB for 8 threads allow 2 processes more in half of it, at 110 MB each; 276 MB are left."""
    image, forest = Image([scene[0]]), forests[CLASSIFICATION]
    used = InBlocks(forest.learner.load_predictor(forest), 10**7, row_bytes=952)
    tile = 8 * (16 * 3 + 16) + 8 * 8 * 3 + 8

    def planned(pixels, threads, limit):
        return plan(image, used, CLASSIFICATION, pixels, threads, 64, limit)

    assert planned(2**20, 8, 1024) == Plan(64, (276 * 2**20 - tile * 64 * 64) // 1000, 3)
    assert planned(2**20 - 1, 8, 1024).processes == 1
    assert [planned(2**30, 8, limit).processes for limit in (512, 700, 10**5)] == [1, 1, 8]
    assert [planned(2**30, threads, 10**5).processes for threads in (1, 2)] == [1, 2]
    used.bytes_of_model = 50 * 2**20  # 446 MB are left
    assert planned(2**20, 8, 1024) == Plan(64, (226 * 2**20 - tile * 64 * 64) // 1000, 3)
    used.bytes_of_model = 300 * 2**20
    assert planned(2**20, 8, 1024).processes == 1
    used.bytes_of_model = 400 * 2**20  # 96 MB are left: less than half of the model, but within the limit
    assert planned(2**20, 8, 1024) == Plan(64, (96 * 2**20 - tile * 64 * 64) // 1000, 1)
    used.bytes_of_model = 2000 * 2**20  # it exceeds all: its blocks get the half of it
    assert planned(2**20, 8, 1024) == Plan(64, (560 * 2**20 - tile * 64 * 64) // 1000, 5)

    monkeypatch.setattr(tile_plan, "can_be_shared", lambda: False)  # every process has a model of its own
    assert planned(2**20, 8, 1024) == Plan(64, (1000 * 2**20 - tile * 64 * 64) // 1000, 1)
    used.bytes_of_model = 50 * 2**20  # 446 MB are left, and one process more takes 160
    assert planned(2**20, 8, 1024) == Plan(64, (286 * 2**20 - tile * 64 * 64) // 1000, 2)


def test_rows_of_a_large_tile_fit_even_where_the_predictor_wants_fewer(scene, forests):
    forest = forests[CLASSIFICATION]
    used = InBlocks(forest.learner.load_predictor(forest), 100)

    assert plan(Image([scene[0]]), used, CLASSIFICATION, 10**6, 2, 256, 1024) == Plan(256, 256 * 256)


def test_peak_memory_does_not_grow_with_the_map(forests, predictor, peak_memory, tmp_path):
    """Two maps of the same width, one four times as high: blocks of 20,000 rows."""
    peaks = []
    for height in (512, 2048):
        path = str(tmp_path / f"{height}.tif")
        dataset = gdal.GetDriverByName("GTiff").Create(path, 512, height, 3, gdal.GDT_Float32, ["COMPRESS=DEFLATE"])
        for number, name in enumerate(PREDICTORS, 1):
            dataset.GetRasterBand(number).SetDescription(name)
        dataset = None
        predictor(20_000, model=forests[CLASSIFICATION])
        peaks.append(
            peak_memory(
                lambda path=path: predict_image(
                    Image([path]), forests[CLASSIFICATION], f"{path}.map.tif", RAW, tile_size=64, threads=2
                )
            )
        )

    assert peaks[1] < 1.3 * peaks[0]


@pytest.mark.parametrize("rows", [0, 5000])
def test_batch_of_a_clusters_task_equals_its_tiles(rows, scene, forests, predictor):
    forest = forests[REGRESSION]
    used = predictor(rows, model=forest)
    image = Image([scene[0]])
    tiling = Tiling(image, None, forest, REGRESSION, image.grid.window(), FLOAT, Plan(32, rows))
    single = Tiling(image, None, forest, REGRESSION, image.grid.window(), FLOAT, Plan(32, 0), used.inner)
    tiles = list(iter_tiles(ROWS, COLUMNS, 32))[7:13]
    stop = threading.Event()

    batch = tiling.predict_batch(tiles, stop)

    expected = [single.predict(tile, stop) for tile in tiles]
    assert [result.predicted for result in batch] == [result.predicted for result in expected]
    assert {result.values is None for result in batch} == {True, False}
    for here, there in zip(batch, expected):
        if there.values is None:
            assert here.values is None
        else:
            assert np.array_equal(here.values, there.values, equal_nan=True)
    stop.set()
    with pytest.raises(Canceled):
        tiling.predict_batch(tiles, stop)


def test_checker_raises_only_when_told_to_stop():
    stop = threading.Event()
    checker(stop)()
    stop.set()
    with pytest.raises(Canceled):
        checker(stop)()


def test_small_types_of_class_maps_are_kept_in_blocks(scene, forests, predictor, tmp_path):
    predictor(1000, model=forests[CLASSIFICATION])
    predict_image(Image([scene[0]]), forests[CLASSIFICATION], str(tmp_path / "m.tif"))
    assert read(tmp_path / "m.tif").dtype == class_type(300).dtype
