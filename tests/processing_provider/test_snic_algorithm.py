"""SNIC from the toolbox."""

from __future__ import annotations

import numpy as np
import pytest
from osgeo import gdal
from rasterml.engine.images import Image
from rasterml.engine.snic import Settings, segment_image
from small_world import COLUMNS, ROWS, pinned, read, refusal, run, values, write_image

pytestmark = pytest.mark.usefixtures("provider")


@pytest.fixture
def image(tmp_path):
    return write_image(tmp_path / "image.tif")


def engine(image, path, settings=Settings(), seeds=None, **options) -> np.ndarray:
    """The same by the engine."""
    stack = Image([image])
    segment_image(stack, str(path), settings, seeds=Image([seeds]) if seeds else None, **options)
    return read(path)


def test_it_has_the_frozen_parameters_outputs_and_defaults(provider):
    algorithm = provider.algorithm("snic")

    assert pinned(algorithm) == {
        "INPUT": None, "BANDS": None, "BAND_NAMES": None, "RESAMPLING": "nearest", "SIZE": 5, "COMPACTNESS": 1,
        "CONNECTIVITY": "8", "SEEDS": None, "TILE_SIZE": None, "NEIGHBORHOOD_SIZE": None, "MEMORY_LIMIT": 1024,
        "OUTPUT": None, "CLUSTERS": None,
    }  # fmt: skip
    assert {output.name() for output in algorithm.outputDefinitions()} == {"OUTPUT", "CLUSTERS", "SEGMENTS"}
    assert algorithm.groupId() == "segmentation"
    assert "SNIC" in algorithm.tags()


def test_the_defaults(image, tmp_path):
    results = run("snic", INPUT=[image], OUTPUT=str(tmp_path / "segments.tif"))

    found = read(tmp_path / "segments.tif")
    assert np.array_equal(found, engine(image, tmp_path / "engine.tif"), equal_nan=True)
    assert results["SEGMENTS"] == np.nanmax(found[0]) == np.nansum(found[3])
    assert np.isnan(found[:, :5]).all()
    assert "CLUSTERS" not in results
    dataset = gdal.Open(str(tmp_path / "segments.tif"))
    names = [dataset.GetRasterBand(number).GetDescription() for number in range(1, 5)]
    assert names == ["clusters", "red_mean", "nir_mean", "seeds"]


@pytest.mark.parametrize(
    ("parameters", "settings", "options"),
    [
        ({"SIZE": 9}, Settings(9), {}),
        ({"COMPACTNESS": 40.5}, Settings(5, 40.5), {}),
        ({"COMPACTNESS": 0}, Settings(5, 0), {}),
        ({"CONNECTIVITY": "4"}, Settings(5, 1, 4), {}),
        ({"TILE_SIZE": 24, "MEMORY_LIMIT": 600}, Settings(), {"tile_size": 24}),
        ({"TILE_SIZE": 24, "NEIGHBORHOOD_SIZE": 0}, Settings(neighborhood_size=0), {"tile_size": 24}),
    ],
)
def test_each_parameter_reaches_the_engine(parameters, settings, options, image, tmp_path):
    run("snic", INPUT=[image], OUTPUT=str(tmp_path / "segments.tif"), **parameters)

    found = read(tmp_path / "segments.tif")
    default = engine(image, tmp_path / "default.tif")
    assert np.array_equal(found, engine(image, tmp_path / "engine.tif", settings, **options), equal_nan=True)
    assert not np.array_equal(found, default, equal_nan=True)


def test_seeds_and_numbers_alone(image, tmp_path):
    marks = np.zeros((2, ROWS, COLUMNS))
    marks[0, 10, 10] = marks[0, 30, 40:43] = 5
    seeds = write_image(tmp_path / "seeds.tif", ("seeds", "other"), marks, nodata=-9)

    results = run(
        "snic", INPUT=[image], SEEDS=seeds, OUTPUT=str(tmp_path / "segments.tif"),
        CLUSTERS=str(tmp_path / "numbers.tif"),
    )  # fmt: skip

    found, numbers = read(tmp_path / "segments.tif"), read(tmp_path / "numbers.tif")
    assert results["SEGMENTS"] == 2
    assert len(found) == 3
    assert np.array_equal(found, engine(image, tmp_path / "engine.tif", seeds=seeds), equal_nan=True)
    assert np.array_equal(numbers[0], np.nan_to_num(found[0]))
    assert numbers[0][10, 10] == 1 and (numbers[0][30, 40:43] == 2).all()
    assert results["CLUSTERS"] == str(tmp_path / "numbers.tif")


def test_bands_and_names(image, tmp_path):
    run("snic", INPUT=[image], BANDS="nir", BAND_NAMES="vis,nir", OUTPUT=str(tmp_path / "one.tif"))

    dataset = gdal.Open(str(tmp_path / "one.tif"))
    assert [dataset.GetRasterBand(number).GetDescription() for number in (1, 2, 3)] == ["clusters", "nir_mean", "seeds"]


def test_seed_grid_gives_seeds(image, tmp_path):
    """Those in the middle of cells of five pixels, as without."""
    seeds = run("seedgrid", INPUT=[image], SIZE=5, OUTPUT=str(tmp_path / "seeds.tif"))["OUTPUT"]

    given = run("snic", INPUT=[image], SEEDS=seeds, OUTPUT=str(tmp_path / "given.tif"))
    usual = run("snic", INPUT=[image], OUTPUT=str(tmp_path / "usual.tif"))

    assert given["SEGMENTS"] == usual["SEGMENTS"]
    assert np.array_equal(read(tmp_path / "given.tif"), read(tmp_path / "usual.tif")[:3], equal_nan=True)


def test_all_masked_is_an_empty_map(tmp_path):
    image = write_image(tmp_path / "masked.tif", bands=np.full_like(values(), -1))

    results = run("snic", INPUT=[image], OUTPUT=str(tmp_path / "segments.tif"))

    assert results["SEGMENTS"] == 0
    assert np.isnan(read(tmp_path / "segments.tif")).all()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"INPUT": ["nothing.tif"]}, "nothing.tif"),
        ({"SEEDS": "nothing.tif"}, "SEEDS"),
        ({"OUTPUT": "nowhere/segments.tif"}, "the folder"),
        ({"CLUSTERS": "numbers.vrt"}, "numbers.vrt has the extension .vrt: give the raster one of .tif"),
        ({"CLUSTERS": "segments.tif"}, "OUTPUT and CLUSTERS are both"),
        ({"OUTPUT": "image.tif"}, "is an input of this run"),
        ({"BANDS": "green"}, "The image has no band green"),
    ],
)
def test_refusals(change, sentence, image, tmp_path):
    parameters = {"INPUT": [image], "OUTPUT": "segments.tif", **change}
    for name in ("OUTPUT", "CLUSTERS", "SEEDS"):
        if name in parameters:
            parameters[name] = str(tmp_path / parameters[name])

    assert sentence in refusal("snic", **parameters)
    assert not (tmp_path / "segments.tif").exists()
