"""Segments from the toolbox: `segmentkmeans`, `segmentgmeans`, `seedgrid`, `segmentstatistics`."""

from __future__ import annotations

import math

import numpy as np
import pytest
from osgeo import gdal
from qgis.core import QgsCoordinateReferenceSystem, QgsProcessingFeedback, QgsRasterLayer, QgsVectorLayer
from rasterml.engine.images import Image
from rasterml.engine.segment_gmeans import segment_gmeans
from rasterml.engine.segment_kmeans import segment_kmeans
from small_world import COLUMNS, ROWS, pinned, read, refusal, rows_of, run, table, values, write_image

pytestmark = pytest.mark.usefixtures("provider")

MASKED = -(2**31)
IMAGE = {"INPUT": None, "BANDS": None, "BAND_NAMES": None, "RESAMPLING": "nearest"}
PLACES = {"NEIGHBORHOOD_SIZE": 0, "GRID_SIZE": None, "UNIQUE_LABELS": True}
RUN = {"THREADS": 0, "TILE_SIZE": 256, "MEMORY_LIMIT": 1024, "OUTPUT": None}


@pytest.fixture
def image(tmp_path):
    return write_image(tmp_path / "image.tif")


@pytest.fixture
def halves(write_raster):
    """Segments 3 (2 x 2 pixels and one away from them) and 8 (the rest, 7 pixels) of 10 m, one pixel masked."""
    return write_raster("halves.tif", [[[3, 3, 8, 8], [3, 3, 8, 0], [8, 8, 8, 3]]], gdal.GDT_Int32, 0)


@pytest.fixture
def twelve(write_raster):
    return write_raster("twelve.tif", [np.arange(12).reshape(3, 4), np.arange(12).reshape(3, 4) ** 2 % 7])


def test_the_frozen_parameters_outputs_and_defaults(provider):
    expected = {
        "segmentkmeans": {
            **IMAGE, "NUM_CLUSTERS": 8, "NUM_ITERATIONS": 20, **PLACES, "FORCE_CONVERGENCE": False, **RUN,
        },
        "segmentgmeans": {**IMAGE, "NUM_ITERATIONS": 10, "P_VALUE": 50, **PLACES, **RUN},
        "seedgrid": {**IMAGE, "SIZE": 5, "GRID_TYPE": "square", **RUN},
        "segmentstatistics": {
            "SEGMENTS": None, "SEGMENTS_BAND": 1, **IMAGE, "MEANS_AS_BANDS": False,
            "THREADS": 0, "MEMORY_LIMIT": 1024, "OUTPUT": None,
        },
    }  # fmt: skip
    outputs = {name: {"OUTPUT", "SEGMENTS"} for name in expected}
    outputs["segmentstatistics"] = {"OUTPUT", "COUNT"}
    for name, parameters in expected.items():
        algorithm = provider.algorithm(name)
        assert pinned(algorithm) == parameters
        assert {output.name() for output in algorithm.outputDefinitions()} == outputs[name]
        assert algorithm.groupId() == "segmentation"
    assert "KMeans" in provider.algorithm("segmentkmeans").tags()
    assert "ee.Algorithms.Image.Segmentation.GMeans" in provider.algorithm("segmentgmeans").shortHelpString()


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"NUM_CLUSTERS": 3, "NUM_ITERATIONS": 2, "BANDS": "nir"},
        {"GRID_SIZE": 25, "UNIQUE_LABELS": False, "FORCE_CONVERGENCE": True, "NUM_ITERATIONS": 300},
        {"NEIGHBORHOOD_SIZE": 4, "TILE_SIZE": 30, "THREADS": 2, "MEMORY_LIMIT": 600},
    ],
)
def test_kmeans_gives_what_the_engine_gives(parameters, image, tmp_path):
    results = run("segmentkmeans", INPUT=[image], OUTPUT=str(tmp_path / "a.tif"), **parameters)

    settings = {name.lower(): value for name, value in parameters.items() if name != "BANDS"}
    own = Image([image], bands=parameters.get("BANDS", ""))
    found = segment_kmeans(own, str(tmp_path / "b.tif"), **settings)
    assert results["SEGMENTS"] == found
    assert np.array_equal(read(tmp_path / "a.tif"), read(tmp_path / "b.tif"))
    assert (read(tmp_path / "a.tif")[0, :5] == MASKED).all()


def test_a_map_of_clusters_has_a_colour_for_each(image, tmp_path):
    run("segmentkmeans", INPUT=[image], NUM_CLUSTERS=4, OUTPUT=str(tmp_path / "a.tif"))

    layer = QgsRasterLayer(str(tmp_path / "a.tif"))
    renderer = layer.renderer()
    assert len({item.color.name() for item in renderer.classes()}) == 4


@pytest.mark.parametrize(
    "parameters",
    [
        {"NUM_ITERATIONS": 2},
        {"P_VALUE": 0.001, "GRID_SIZE": 25, "UNIQUE_LABELS": False},
        {"NUM_ITERATIONS": 3, "NEIGHBORHOOD_SIZE": 4, "TILE_SIZE": 30, "THREADS": 2, "MEMORY_LIMIT": 600},
    ],
)
def test_gmeans_gives_what_the_engine_gives(parameters, image, tmp_path):
    results = run("segmentgmeans", INPUT=[image], OUTPUT=str(tmp_path / "a.tif"), **parameters)

    settings = {name.lower(): value for name, value in parameters.items()}
    assert results["SEGMENTS"] == segment_gmeans(Image([image]), str(tmp_path / "b.tif"), **settings)
    assert np.array_equal(read(tmp_path / "a.tif"), read(tmp_path / "b.tif"))


def test_the_two_fields_of_the_image_are_two_clusters(image, tmp_path):
    """Each half of `small_world.values` is normal around its own level."""
    results = run("segmentgmeans", INPUT=[image], P_VALUE=0.01, OUTPUT=str(tmp_path / "a.tif"))

    assert results["SEGMENTS"] == 2
    agree = read(tmp_path / "a.tif")[0, 5:] == (np.arange(COLUMNS) >= COLUMNS // 2)
    assert agree.mean() > 0.97  # levels 20 apart in two bands, noise 6: d' = 4.7, 1 % overlap


@pytest.mark.parametrize("algorithm", ["segmentkmeans", "segmentgmeans"])
def test_cells_and_overlap_exclude_each_other(algorithm, image, tmp_path):
    text = refusal(algorithm, INPUT=[image], GRID_SIZE=8, NEIGHBORHOOD_SIZE=4, OUTPUT=str(tmp_path / "a.tif"))

    assert "NEIGHBORHOOD_SIZE 4 and GRID_SIZE 8 exclude each other" in text


@pytest.mark.parametrize("algorithm", ["segmentkmeans", "segmentgmeans", "seedgrid"])
def test_outputs_that_cannot_be_written_are_refused_at_once(algorithm, image, tmp_path):
    assert "extension .foo" in refusal(algorithm, INPUT=[image], OUTPUT=str(tmp_path / "a.foo"))


def test_force_convergence_fails_with_a_way_out(image, tmp_path):
    text = refusal(
        "segmentkmeans", INPUT=[image], NUM_ITERATIONS=1, FORCE_CONVERGENCE=True, OUTPUT=str(tmp_path / "a.tif")
    )

    assert "The clusters still change after NUM_ITERATIONS 1: raise it or unset FORCE_CONVERGENCE." in text
    assert not (tmp_path / "a.tif").exists()


@pytest.mark.parametrize("algorithm", ["segmentkmeans", "segmentgmeans", "seedgrid"])
def test_all_masked_warns(algorithm, tmp_path):
    image = write_image(tmp_path / "empty.tif", bands=np.full((2, ROWS, COLUMNS), -1))
    feedback = QgsProcessingFeedback()
    results = run(algorithm, feedback, INPUT=[image], OUTPUT=str(tmp_path / "a.tif"))

    assert results["SEGMENTS"] == 0
    assert "masked" in feedback.textLog()


def test_seeds_of_both_grids(image, tmp_path):
    options = {"THREADS": 2, "TILE_SIZE": 16, "MEMORY_LIMIT": 600}
    square = run("seedgrid", INPUT=[image], SIZE=10, OUTPUT=str(tmp_path / "a.tif"))
    hexagons = run("seedgrid", INPUT=[image], SIZE=10, GRID_TYPE="hex", OUTPUT=str(tmp_path / "b.tif"), **options)

    first, second = read(tmp_path / "a.tif")[0], read(tmp_path / "b.tif")[0]
    assert square["SEGMENTS"] == 4 * 6  # rows 5, 15, 25, 35
    assert np.argwhere(first == 1)[0].tolist() == [5, 5]
    assert (first[:5] == 255).all()
    assert hexagons["SEGMENTS"] == 3 * 6  # lines 9 apart from row 4: 4 (masked), 13, 22, 31
    assert np.argwhere(second == 1)[:6, 1].tolist() == [0, 10, 20, 30, 40, 50]


def test_statistics_of_two_segments(halves, twelve, tmp_path):
    path = str(tmp_path / "a.gpkg")
    results = run("segmentstatistics", SEGMENTS=halves, INPUT=[twelve], OUTPUT=path)

    rows = rows_of(path)
    assert results["COUNT"] == 2
    bands = ["twelve_1_mean", "twelve_2_mean", "twelve_1_sd", "twelve_2_sd"]
    shape = ["fid", "value", "count", "area", "perimeter", "shape_index", "compactness", "system_index"]
    assert list(rows[0]) == [*shape, *bands]
    # 3: pixels 0, 1, 4, 5, 11; a square of 20 m and one of 10 m: 500 m2, 120 m
    assert [rows[0][name] for name in ("value", "count", "area", "perimeter")] == [3, 5, 500, 120]
    assert rows[0]["shape_index"] == pytest.approx(120 / (4 * math.sqrt(500)))
    assert rows[0]["compactness"] == pytest.approx(4 * math.pi * 500 / 120**2)
    inside = np.array([0, 1, 4, 5, 11])
    assert rows[0]["twelve_1_mean"] == pytest.approx(4.2)
    assert rows[0]["twelve_1_sd"] == pytest.approx(inside.std())
    assert rows[0]["twelve_2_mean"] == pytest.approx((inside**2 % 7).mean())
    assert rows[0]["twelve_2_sd"] == pytest.approx((inside**2 % 7).std())
    layer = QgsVectorLayer(path)
    shapes = [feature.geometry() for feature in layer.getFeatures()]
    assert layer.crs().authid() == "EPSG:32633"
    assert [len(item.asMultiPolygon()) for item in shapes] == [2, 1]
    assert shapes[1].area() == 600  # 8: six pixels
    assert shapes[1].boundingBox().toString(0) == "300000,5799970 : 300040,5800000"


def test_the_image_is_read_on_the_grid_of_the_segments(halves, tmp_path):
    """An image of one pixel of 40 m, elsewhere masked."""
    path = str(tmp_path / "coarse.tif")
    dataset = gdal.GetDriverByName("GTiff").Create(path, 1, 1, 2, gdal.GDT_Byte)
    dataset.SetGeoTransform((300_000, 40, 0, 5_800_000, 0, -40))
    dataset.SetProjection(gdal.Open(halves).GetProjection())
    dataset.WriteArray(np.array([[[5]], [[9]]]))
    dataset = None
    output = run("segmentstatistics", SEGMENTS=halves, INPUT=[path], BANDS="coarse_2", MEANS_AS_BANDS=True,
                 THREADS=2, MEMORY_LIMIT=600, OUTPUT="memory:")["OUTPUT"]  # fmt: skip

    assert [(row["value"], row["coarse_2"], row["coarse_2_sd"]) for row in rows_of(output)] == [(3, 9, 0), (8, 9, 0)]


def test_degrees_are_measured_in_metres(write_raster, tmp_path):
    """One degree at the equator on WGS 84: 110 574 m by 111 319 m; 12 308.8 km2."""
    path = str(tmp_path / "degree.tif")
    dataset = gdal.GetDriverByName("GTiff").Create(path, 2, 1, 1, gdal.GDT_Byte)
    dataset.SetGeoTransform((10, 1, 0, 1, 0, -1))
    dataset.SetProjection(QgsCoordinateReferenceSystem("EPSG:4326").toWkt())
    dataset.WriteArray(np.array([[1, 2]]))
    dataset = None
    output = run("segmentstatistics", SEGMENTS=path, INPUT=[path], OUTPUT="memory:")["OUTPUT"]

    row = rows_of(output)[0]
    assert row["area"] == pytest.approx(12_308.8e6, rel=1e-3)
    assert row["perimeter"] == pytest.approx(2 * 110_574 + 111_319 * (1 + math.cos(math.radians(1))), rel=1e-3)


def test_a_band_of_the_segments_is_chosen_by_number(halves, write_raster):
    both = write_raster("both.tif", [np.full((3, 4), 0.5), np.full((3, 4), 4)])
    output = run("segmentstatistics", SEGMENTS=both, SEGMENTS_BAND=2, INPUT=[halves], OUTPUT="memory:")["OUTPUT"]

    assert [row["value"] for row in rows_of(output)] == [4]
    assert "holds 0.5" in refusal("segmentstatistics", SEGMENTS=both, INPUT=[halves], OUTPUT="memory:")


def test_columns_of_one_name_are_kept_apart(halves, twelve, tmp_path):
    output = run("segmentstatistics", SEGMENTS=halves, INPUT=[twelve], BAND_NAMES="Area,area_sd",
                 MEANS_AS_BANDS=True, OUTPUT=str(tmp_path / "a.gpkg"))["OUTPUT"]  # fmt: skip

    assert list(rows_of(output)[0])[-4:] == ["Area_2", "area_sd", "Area_sd_2", "area_sd_sd"]


def test_segments_that_are_all_masked_give_an_empty_table(twelve, write_raster, tmp_path):
    empty = write_raster("empty.tif", [np.zeros((3, 4))], gdal.GDT_Int32, 0)
    feedback = QgsProcessingFeedback()
    results = run("segmentstatistics", feedback, SEGMENTS=empty, INPUT=[twelve], OUTPUT=str(tmp_path / "a.gpkg"))

    assert results["COUNT"] == 0
    assert rows_of(results["OUTPUT"]) == []
    assert "the table is empty" in feedback.textLog()


def test_segments_are_classified_as_objects(image, tmp_path):
    """Segments of cells, some joined to labelled points, train a model that classifies them all."""
    import processing

    segments = run("segmentkmeans", INPUT=[image], NUM_CLUSTERS=2, GRID_SIZE=6, OUTPUT=str(tmp_path / "s.tif"))
    objects = run(
        "segmentstatistics", SEGMENTS=segments["OUTPUT"], INPUT=[image], OUTPUT=str(tmp_path / "objects.gpkg")
    )
    assert objects["COUNT"] == segments["SEGMENTS"]
    joined = processing.run(
        "native:joinattributesbylocation",
        {
            "INPUT": objects["OUTPUT"], "JOIN": table(rows=60), "PREDICATE": [0], "METHOD": 1,
            "JOIN_FIELDS": ["landclass"], "DISCARD_NONMATCHING": True, "OUTPUT": str(tmp_path / "joined.gpkg"),
        },
    )["OUTPUT"]  # fmt: skip
    model = run(
        "trainrandomforest", TRAINING=[joined], CLASS_PROPERTY="landclass", NUMBER_OF_TREES=30,
        OUTPUT=str(tmp_path / "model.rasterml"),
    )["OUTPUT"]  # fmt: skip
    classified = run("classifytable", INPUT=objects["OUTPUT"], MODEL=model, OUTPUT=str(tmp_path / "c.gpkg"))

    truth = {}
    for label, right in zip(read(tmp_path / "s.tif")[0].ravel(), np.tile(np.arange(COLUMNS) >= COLUMNS // 2, ROWS)):
        truth.setdefault(int(label), []).append(7 if right else 0)
    rows = rows_of(classified["OUTPUT"])
    assert classified["PREDICTED"] == len(rows) == objects["COUNT"]
    assert np.mean([set(truth[row["value"]]) == {row["classification"]} for row in rows]) > 0.9


def test_a_model_of_pixels_classifies_the_means_of_segments(image, tmp_path):
    labels = np.repeat(np.repeat(np.arange(1, 25).reshape(4, 6), 10, axis=0), 10, axis=1)
    segments = write_image(tmp_path / "cells.tif", ("cells",), labels[np.newaxis])
    model = run("trainrandomforest", TRAINING=[table()], CLASS_PROPERTY="landclass", NUMBER_OF_TREES=9,
                OUTPUT=str(tmp_path / "model.rasterml"))["OUTPUT"]  # fmt: skip
    objects = run("segmentstatistics", SEGMENTS=segments, INPUT=[image], MEANS_AS_BANDS=True, OUTPUT="memory:")
    classified = run("classifytable", INPUT=objects["OUTPUT"], MODEL=model, OUTPUT="memory:")["OUTPUT"]

    rows = rows_of(classified)
    assert rows[0]["red"] == pytest.approx(values()[0, 5:10, :10].mean(), rel=1e-6)
    assert [row["classification"] for row in rows] == [0, 0, 0, 7, 7, 7] * 4
