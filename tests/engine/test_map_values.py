"""Labels, probabilities and no data as the numbers of a map."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from osgeo import gdal
from rasterml.engine.classes import class_table
from rasterml.engine.errors import SettingError
from rasterml.engine.images import Image
from rasterml.engine.learners import CLASSIFICATION, MULTIPROBABILITY, PROBABILITY, RAW, REGRESSION
from rasterml.engine.map_values import PROBABILITY_TYPES, encoded, map_type, present
from rasterml.engine.outputs import FLOAT, class_type
from rasterml.engine.prediction import predict_image
from rasterml.engine.predictors import NO_CLASS
from small_models import PREDICTORS, small_forest


@pytest.fixture(scope="module")
def forest():
    return small_forest()  # classes 0, 7 and 300


@pytest.mark.parametrize(
    ("name", "numbers"),
    [  # percent and ten-thousandths, to the nearest one, halves to the even one; no data; beyond 0 to 1 is cut
        ("UInt8", [0, 100, 33, 12, 38, 1, 255, 100, 0]),
        ("UInt16", [0, 10000, 3333, 1250, 3750, 51, 65535, 10000, 0]),
    ],
)
def test_probabilities_become_whole_numbers(name, numbers):
    values = np.array([[0, 1, 1 / 3, 0.125, 0.375, 0.0051, np.nan, 1.0000001, -1e-9]], np.float32)
    kind = PROBABILITY_TYPES[name]

    result = encoded(values, kind)

    assert result.dtype == kind.dtype and result[0].tolist() == numbers
    assert present(result, kind)[0].tolist() == [True] * 6 + [False] + [True] * 2
    assert abs(result[0, 2] * kind.scale - 1 / 3) <= kind.scale / 2


@pytest.mark.parametrize("nodata", [math.nan, -9999.0, 7.0])
def test_floats_keep_their_values_and_nan_becomes_no_data(nodata):
    kind = FLOAT._replace(nodata=nodata)
    values = np.array([[0.5, np.nan, -2.25]], np.float32)

    result = encoded(values, kind)

    assert result.dtype == np.float32 and result[0, [0, 2]].tolist() == [0.5, -2.25]
    assert present(result, kind)[0].tolist() == [True, False, True]
    assert math.isnan(nodata) or result[0, 1] == nodata


@pytest.mark.parametrize(("largest", "nodata"), [(7, 255), (7, 3), (300, 65535), (70_000, -5)])
def test_rows_without_a_class_become_no_data(largest, nodata):
    kind = class_type(largest)._replace(nodata=nodata)

    result = encoded(np.array([[0, NO_CLASS, largest]], np.int32), kind)

    assert result.dtype == kind.dtype and result[0].tolist() == [0, nodata, largest]
    assert present(result, kind)[0].tolist() == [True, False, True]


def test_type_follows_the_mode(forest):
    assert map_type(forest, CLASSIFICATION, True, "UInt8") == class_type(300)
    assert map_type(forest, RAW, True) == class_type(300)
    assert map_type(forest, PROBABILITY, False) is FLOAT
    assert map_type(forest, PROBABILITY, False, "UInt8") == PROBABILITY_TYPES["UInt8"]
    assert map_type(forest, MULTIPROBABILITY, False, "UInt16").scale == 0.0001
    assert map_type(small_forest(REGRESSION), REGRESSION, False, "UInt8") is FLOAT


@pytest.mark.parametrize(
    ("mode", "kind", "nodata"),
    [
        (CLASSIFICATION, "Float32", 1),
        (CLASSIFICATION, "Float32", 65534),
        (PROBABILITY, "Float32", -1),
        (PROBABILITY, "UInt8", 101),
        (MULTIPROBABILITY, "UInt16", 10_001),
        (REGRESSION, "Float32", -3.4028234663852886e38),
        (REGRESSION, "Float32", 0),
    ],
)
def test_no_data_may_be_any_number_that_means_nothing_else(mode, kind, nodata, forest):
    assert map_type(forest, mode, mode == CLASSIFICATION, kind, nodata).nodata == nodata


@pytest.mark.parametrize(
    ("mode", "kind", "nodata", "said"),
    [
        (CLASSIFICATION, "Float32", 7, "NODATA is 7, which is one of the map's classes: choose another"),
        (RAW, "Float32", 0, "NODATA is 0, which is one of the map's classes"),
        (CLASSIFICATION, "Float32", -1, "NODATA is -1, but the map's numbers are UInt16: .* from 0 to 65535"),
        (CLASSIFICATION, "Float32", 1.5, "NODATA is 1.5, but .* choose a whole number"),
        (CLASSIFICATION, "Float32", 1e300, "but the map's numbers are UInt16"),
        (PROBABILITY, "Float32", 0, r"NODATA is 0, which is a probability \(0 to 1\)"),
        (PROBABILITY, "UInt8", 100, r"NODATA is 100, which is a probability \(0 to 100\)"),
        (MULTIPROBABILITY, "UInt16", 500, r"which is a probability \(0 to 10000\)"),
        (PROBABILITY, "UInt8", 256, "but the map's numbers are Byte: .* from 0 to 255"),
        (REGRESSION, "Float32", 1e39, "NODATA is 1e\\+39, beyond what Float32 holds"),
        (REGRESSION, "Int16", None, "PROBABILITY_TYPE is 'Int16': choose one of Float32, UInt8, UInt16"),
    ],
)
def test_no_data_that_means_something_else_is_refused(mode, kind, nodata, said, forest):
    with pytest.raises(SettingError, match=said):
        map_type(forest, mode, mode in (CLASSIFICATION, RAW), kind, nodata)


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("scene") / "scene.tif")
    values = np.random.default_rng(1).normal(size=(3, 40, 70)) * [[[12]], [[0.2]], [[400]]]
    values += [[[50]], [[0.3]], [[1000]]]
    values[0, :, :20] = -1
    dataset = gdal.GetDriverByName("GTiff").Create(path, 70, 40, 3, gdal.GDT_Float32)
    dataset.WriteArray(values)
    for number, name in enumerate(PREDICTORS, 1):
        dataset.GetRasterBand(number).SetDescription(name)
        dataset.GetRasterBand(number).SetNoDataValue(-1)
    dataset = None
    return path


@pytest.mark.parametrize("name", ["UInt8", "UInt16"])
def test_map_of_whole_numbers_means_the_same_probabilities(name, scene, forest, tmp_path):
    for path, kind in (("floats.tif", "Float32"), ("whole.tif", name)):
        counts = predict_image(
            Image([scene]), forest, str(tmp_path / path), MULTIPROBABILITY, probability_type=kind, tile_size=32
        )
        assert counts == (2800, 2000, 800)

    floats, whole = gdal.Open(str(tmp_path / "floats.tif")), gdal.Open(str(tmp_path / "whole.tif"))
    band, scale = whole.GetRasterBand(3), PROBABILITY_TYPES[name].scale
    assert (band.GetScale(), band.GetOffset()) == (scale, 0)
    expected, stored = floats.ReadAsArray(), whole.ReadAsArray()
    masked = np.isnan(expected)
    assert (stored[masked] == band.GetNoDataValue()).all() and masked[:, :, :20].all()
    assert np.abs(stored[~masked] * scale - expected[~masked]).max() <= scale / 2 + 1e-7
    assert [whole.GetRasterBand(number).GetDescription() for number in (1, 2, 3)] == ["0", "7", "300"]


def test_chosen_no_data_is_written_and_flagged(scene, forest, tmp_path):
    two = replace(forest, classes=class_table([0, 7, 300], {0: "water"}))
    counts = predict_image(Image([scene]), two, str(tmp_path / "map.tif"), nodata=99)

    dataset = gdal.Open(str(tmp_path / "map.tif"))
    values, band = dataset.ReadAsArray(), dataset.GetRasterBand(1)
    assert (
        band.GetNoDataValue() == 99 and (values[:, :20] == 99).all() and set(np.unique(values[:, 20:])) <= {0, 7, 300}
    )
    assert counts.predicted == 2000
