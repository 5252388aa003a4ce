"""Maps: tiles equal the whole, masked pixels stay masked, nothing is left of a run that failed."""

from __future__ import annotations

import time

import numpy as np
import pytest
from osgeo import gdal
from rasterml.engine.errors import Canceled, RasterError, SettingError, StorageError
from rasterml.engine.images import Image
from rasterml.engine.learners import CLASSIFICATION, MULTIPROBABILITY, RAW, REGRESSION
from rasterml.engine.prediction import predict_image, predict_rows
from rasterml.engine.progress import Progress
from rasterml.engine.tiles import Window
from small_models import PREDICTORS, small_forest

ROWS, COLUMNS = 150, 310  # first, middle and last tiles of 64 are empty, see scene()
GEOTRANSFORM = (500_000.0, 24.0, 10.0, 4_200_000.0, 10.0, -24.0)  # rotated


def scene() -> tuple[np.ndarray, np.ndarray]:
    """Three predictors (bands, rows, columns) and where they are valid: a slanted strip."""
    generator = np.random.default_rng(11)
    values = np.stack(
        [
            generator.normal(50, 12, (ROWS, COLUMNS)),
            generator.uniform(0, 0.8, (ROWS, COLUMNS)),
            generator.normal(1000, 400, (ROWS, COLUMNS)),
        ]
    )
    rows, columns = np.mgrid[:ROWS, :COLUMNS]
    valid = np.abs(columns - 2 * rows - 20) < 60
    valid[64:128, 128:192] = False
    return values, valid


def write(path, array, kind, nodata=None, names=(), geotransform=GEOTRANSFORM):
    array = np.atleast_3d(array) if array.ndim == 3 else array[np.newaxis]
    dataset = gdal.GetDriverByName("GTiff").Create(str(path), array.shape[2], array.shape[1], len(array), kind)
    dataset.SetGeoTransform(geotransform)
    for number, layer in enumerate(array, 1):
        band = dataset.GetRasterBand(number)
        band.WriteArray(layer)
        if nodata is not None:
            band.SetNoDataValue(nodata)
        if names:
            band.SetDescription(names[number - 1])
    dataset = None
    return str(path)


@pytest.fixture(scope="module")
def rasters(tmp_path_factory):
    """One band a file, each with its own type and its own way of saying "no data"."""
    folder = tmp_path_factory.mktemp("scene")
    values, valid = scene()
    red = np.where(valid, np.round(values[0]).clip(0, 254), 255)
    nir = np.where(valid, values[1], np.nan)
    height = np.where(valid, np.round(values[2]), -32768)
    return [
        write(folder / "red.tif", red, gdal.GDT_Byte, 255),
        write(folder / "nir.tif", nir, gdal.GDT_Float64),  # NaN without a nodata value
        write(folder / "height.tif", height, gdal.GDT_Int16, -32768),
    ]


@pytest.fixture(scope="module")
def expected(rasters):
    """The features as float32 (pixels, predictors) of the valid pixels, read by GDAL alone."""
    layers = [read(path)[0] for path in rasters]
    valid = scene()[1]
    return np.stack([layer[valid] for layer in layers], axis=1).astype(np.float32), valid


def read(path) -> np.ndarray:
    dataset = gdal.Open(str(path))
    return dataset.ReadAsArray().reshape(dataset.RasterCount, dataset.RasterYSize, dataset.RasterXSize)


def all_modes():
    return [(CLASSIFICATION, mode) for mode in (CLASSIFICATION, "PROBABILITY", MULTIPROBABILITY, RAW)] + [
        (REGRESSION, mode) for mode in (REGRESSION, "RAW_REGRESSION")
    ]


@pytest.fixture(scope="module")
def forests():
    return {mode: small_forest(mode) for mode in (CLASSIFICATION, REGRESSION)}


@pytest.mark.parametrize(("kind", "mode"), all_modes())
def test_map_equals_rows_predicted_one_by_one(kind, mode, forests, rasters, expected, tmp_path):
    features, valid = expected
    model = forests[kind]

    counts = predict_image(Image(rasters), model, str(tmp_path / "map.tif"), mode)

    written = read(tmp_path / "map.tif")
    assert np.array_equal(written[:, valid], predict_rows(model, features, mode))
    outside = written[:, ~valid]
    dataset = gdal.Open(str(tmp_path / "map.tif"))
    nodata = dataset.GetRasterBand(1).GetNoDataValue()
    assert np.isnan(outside).all() if np.isnan(nodata) else (outside == nodata).all()
    assert counts == (ROWS * COLUMNS, valid.sum(), ROWS * COLUMNS - valid.sum())


@pytest.mark.parametrize("tile_size", [17, 64, 256, 1000])
@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize(("kind", "mode"), all_modes())
def test_tiles_equal_the_whole_bit_for_bit(kind, mode, threads, tile_size, forests, rasters, expected, tmp_path):
    features, valid = expected

    predict_image(Image(rasters), forests[kind], str(tmp_path / "map.tif"), mode, threads=threads, tile_size=tile_size)

    assert np.array_equal(read(tmp_path / "map.tif")[:, valid], predict_rows(forests[kind], features, mode))


def test_map_lies_where_the_image_lies_and_names_its_bands_and_classes(forests, rasters, tmp_path):
    predict_image(Image(rasters), forests[CLASSIFICATION], str(tmp_path / "p.tif"), MULTIPROBABILITY)
    predict_image(Image(rasters), forests[CLASSIFICATION], str(tmp_path / "c.tif"))

    probabilities, classes = gdal.Open(str(tmp_path / "p.tif")), gdal.Open(str(tmp_path / "c.tif"))
    assert probabilities.GetGeoTransform() == pytest.approx(GEOTRANSFORM)
    assert [probabilities.GetRasterBand(n).GetDescription() for n in (1, 2, 3)] == ["0", "7", "300"]
    assert classes.GetRasterBand(1).DataType == gdal.GDT_UInt16  # the largest label is 300
    assert classes.GetRasterBand(1).GetNoDataValue() == 65535  # GDAL 3.6 reads the .aux.xml only when asked for this
    assert classes.GetRasterBand(1).GetCategoryNames()[7] == "7"


def test_bands_are_found_by_name_in_any_order_among_others(forests, rasters, tmp_path):
    shuffled = [rasters[2], rasters[0], rasters[1], rasters[0]]
    names = "height,red,nir,other"

    predict_image(Image(rasters), forests[CLASSIFICATION], str(tmp_path / "a.tif"))
    predict_image(Image(shuffled, band_names=names), forests[CLASSIFICATION], str(tmp_path / "b.tif"))

    assert np.array_equal(read(tmp_path / "a.tif"), read(tmp_path / "b.tif"))


def test_missing_band_is_named_with_the_way_out(forests, rasters, tmp_path):
    with pytest.raises(RasterError, match="no band nir, which the model needs: it has red, height"):
        predict_image(Image([rasters[0], rasters[2]]), forests[CLASSIFICATION], str(tmp_path / "map.tif"))
    assert list(tmp_path.iterdir()) == []


def test_bands_match_by_order_only_when_asked_and_counted(forests, rasters, tmp_path):
    anonymous = Image(rasters, band_names="a,b,c")
    with pytest.raises(RasterError, match="no band red, nir, height"):
        predict_image(anonymous, forests[CLASSIFICATION], str(tmp_path / "map.tif"))

    predict_image(anonymous, forests[CLASSIFICATION], str(tmp_path / "a.tif"), match_by_order=True)
    predict_image(Image(rasters), forests[CLASSIFICATION], str(tmp_path / "b.tif"))

    assert np.array_equal(read(tmp_path / "a.tif"), read(tmp_path / "b.tif"))
    with pytest.raises(RasterError, match="2 bands and the model 3 predictors"):
        predict_image(Image(rasters[:2]), forests[CLASSIFICATION], str(tmp_path / "map.tif"), match_by_order=True)


def test_window_and_mask_leave_the_rest_out(forests, rasters, expected, tmp_path):
    valid = expected[1]
    rows, columns = np.mgrid[:ROWS, :COLUMNS]
    mask = np.where((rows + columns) % 3 == 0, 0, 5)
    mask[:40] = 99  # nodata of the mask
    path = write(tmp_path / "mask.tif", mask, gdal.GDT_Byte, 99)
    window = Window(30, 100, 70, 111)
    image = Image(rasters)

    counts = predict_image(
        image,
        forests[CLASSIFICATION],
        str(tmp_path / "part.tif"),
        mask=Image([path], grid=image.grid),
        window=window,
        tile_size=32,
    )
    predict_image(image, forests[CLASSIFICATION], str(tmp_path / "whole.tif"))

    part, whole = read(tmp_path / "part.tif")[0], read(tmp_path / "whole.tif")[0]
    wanted = (valid & (mask != 0) & (mask != 99))[30:100, 100:211]
    assert np.array_equal(part[wanted], whole[30:100, 100:211][wanted])
    assert (part[~wanted] == 65535).all()
    assert counts == (70 * 111, wanted.sum(), 70 * 111 - wanted.sum())
    dataset = gdal.Open(str(tmp_path / "part.tif"))
    place = dataset.GetGeoTransform()
    assert place[0] == GEOTRANSFORM[0] + 100 * GEOTRANSFORM[1] + 30 * GEOTRANSFORM[2]
    assert place[3] == GEOTRANSFORM[3] + 100 * GEOTRANSFORM[4] + 30 * GEOTRANSFORM[5]


def test_little_memory_shrinks_the_tiles_and_changes_nothing(forests, rasters, tmp_path):
    told = []

    class Listener(Progress):
        def message(self, text: str) -> None:
            told.append(text)

    for name, limit in (("a", 4000), ("b", 512)):
        output = str(tmp_path / f"{name}.tif")
        predict_image(
            Image(rasters), forests[CLASSIFICATION], output, RAW,
            tile_size=1024, threads=4, memory_limit=limit, progress=Listener(),
        )  # fmt: skip

    assert np.array_equal(read(tmp_path / "a.tif"), read(tmp_path / "b.tif"))
    assert any("instead of 1024" in text for text in told)


def test_strips_wider_than_the_cache_are_read_once(forests, tmp_path, monkeypatch):
    """A striped file of 3 × 30,000 × 120 floats: a row of tiles must fit into the cache of 16 MB."""
    path = write(tmp_path / "wide.tif", np.full((3, 120, 30_000), 50.0), gdal.GDT_Float32, names=PREDICTORS)
    sides = []
    monkeypatch.setattr(
        "rasterml.engine.prediction.iter_tiles",
        lambda rows, columns, side: sides.append(side) or iter([Window(0, 0, 8, 8)]),
    )
    image = Image([path])
    assert image.block_size[1] == 30_000

    predict_image(image, forests[CLASSIFICATION], str(tmp_path / "map.tif"), memory_limit=128)

    assert sides == [32]
    assert sides[0] * 30_000 * 3 * 4 <= 16 * 2**20


class CanceledAtTile(Progress):
    def __init__(self, tile: int) -> None:
        self.tile, self.seen = tile, 0

    def is_canceled(self) -> bool:
        return self.seen >= self.tile

    def share(self, share: float) -> None:
        self.seen += 1


@pytest.mark.parametrize("tile", [0, 1, 5])
def test_canceled_run_leaves_nothing(tile, forests, rasters, tmp_path):
    start = time.monotonic()
    with pytest.raises(Canceled):
        predict_image(
            Image(rasters), forests[CLASSIFICATION], str(tmp_path / "map.tif"), tile_size=32,
            progress=CanceledAtTile(tile),
        )  # fmt: skip

    assert time.monotonic() - start < 1
    assert list(tmp_path.iterdir()) == []


def test_canceled_run_leaves_the_former_map_alone(forests, rasters, tmp_path):
    (tmp_path / "map.tif").write_text("former")
    with pytest.raises(Canceled):
        predict_image(Image(rasters), forests[CLASSIFICATION], str(tmp_path / "map.tif"), progress=CanceledAtTile(0))

    assert [path.name for path in tmp_path.iterdir()] == ["map.tif"]
    assert (tmp_path / "map.tif").read_text() == "former"


def test_unreadable_block_fails_in_one_sentence_and_leaves_nothing(forests, tmp_path, rasters):
    from pathlib import Path

    broken = tmp_path / "red.tif"
    content = Path(rasters[0]).read_bytes()
    broken.write_bytes(content[: len(content) // 2])

    with pytest.raises(RasterError, match=r"red\.tif cannot be read at rows"):
        predict_image(
            Image([str(broken), *rasters[1:]]), forests[CLASSIFICATION], str(tmp_path / "map.tif"), tile_size=16
        )
    assert [path.name for path in tmp_path.iterdir()] == ["red.tif"]


def test_all_masked_image_gives_an_empty_map(forests, tmp_path):
    paths = [write(tmp_path / f"{name}.tif", np.full((20, 30), 9.0), gdal.GDT_Float32, 9) for name in PREDICTORS]

    counts = predict_image(Image(paths), forests[REGRESSION], str(tmp_path / "map.tif"))

    assert counts == (600, 0, 600)
    assert np.isnan(read(tmp_path / "map.tif")).all()


@pytest.mark.parametrize(
    ("output", "keywords", "error"),
    [
        ("map.tif", {"mode": "REGRESSION"}, SettingError),
        ("map.tif", {"tile_size": 15}, SettingError),
        ("map.xyz", {}, StorageError),
        ("nowhere/map.tif", {}, StorageError),
    ],
)
def test_impossible_requests_are_refused_before_the_work(output, keywords, error, forests, rasters, tmp_path):
    with pytest.raises(error):
        predict_image(Image(rasters), forests[CLASSIFICATION], str(tmp_path / output), **keywords)
    assert list(tmp_path.iterdir()) == []


def test_no_rows_give_no_predictions(forests):
    assert predict_rows(forests[CLASSIFICATION], np.empty((0, 3), np.float32), MULTIPROBABILITY).shape == (3, 0)


def test_order_of_rows_does_not_matter(forest):
    generator = np.random.default_rng(2)
    features = generator.normal(size=(70_000, 3)).astype(np.float32) * [20, 0.4, 500] + [50, 0.3, 1000]
    features = features.astype(np.float32)
    order = generator.permutation(len(features))

    straight = predict_rows(forest, features)

    assert np.array_equal(predict_rows(forest, features[order]), straight[:, order])
