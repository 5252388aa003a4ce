"""`rasterml:regressregions` in a real QGIS."""

from __future__ import annotations

import numpy as np
import pytest
from qgis.core import (
    NULL,
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransform,
    QgsGeometry,
    QgsProcessingFeedback,
    QgsProject,
    QgsVectorLayer,
)
from small_world import pinned, refusal, rows_of, run

pytestmark = pytest.mark.usefixtures("provider")
LEFT, TOP = 300_000, 5_800_000


def box(top, left, bottom, right, crs="EPSG:32633") -> str:
    west, south, east, north = LEFT + 10 * left, TOP - 10 * bottom, LEFT + 10 * right, TOP - 10 * top
    geometry = QgsGeometry.fromWkt(
        f"POLYGON (({west} {north}, {east} {north}, {east} {south}, {west} {south}, {west} {north}))"
    )
    systems = (QgsCoordinateReferenceSystem(name) for name in ("EPSG:32633", crs))
    geometry.transform(QgsCoordinateTransform(*systems, QgsProject.instance()))
    return geometry.asWkt(12)


@pytest.fixture
def rasters(write_raster):
    """red, and nir = 3 − 2 red in the upper half and 1 + red below, missing at row 0, column 0; 8 rows, 11 columns."""
    red = np.random.default_rng(0).integers(0, 100, (8, 11)).astype(float)
    nir = np.where(np.arange(8)[:, np.newaxis] < 4, 3 - 2 * red, 1 + red)
    nir[0, 0] = -999
    return [write_raster("red.tif", [red]), write_raster("nir.tif", [nir], nodata=-999)]


@pytest.fixture
def regions(memory_layer):
    """The upper half, the lower half, a place elsewhere, nothing; a field has the name of a result."""
    rows = [
        (box(0, 0, 4, 11), 7, "up"),
        (box(4, 0, 8, 11), 0, "down"),
        (box(50, 0, 60, 9), 1, "off"),
        (None, 2, "none"),
    ]
    return memory_layer("Polygon", ["Scale:integer", "name:string"], rows)


def regress(rasters, regions, **parameters):
    fixed = {"INPUT": rasters, "COLLECTION": regions, "OUTPUT": "TEMPORARY_OUTPUT"}
    return run("regressregions", **{**fixed, **parameters})


def test_ids_names_and_defaults_are_as_frozen(provider):
    algorithm = provider.algorithm("regressregions")

    assert algorithm.groupId() == "regression"
    found = pinned(algorithm)
    assert {name: found[name] for name in ("COLLECTION", "REDUCER", "X", "Y", "BETA", "LAMBDA", "SIGNIFICANCE")} == {
        "COLLECTION": None,
        "REDUCER": "linearFit",
        "X": None,
        "Y": None,
        "BETA": None,
        "LAMBDA": 0.1,
        "SIGNIFICANCE": False,
    }
    assert len(algorithm.parameterDefinition("REDUCER").options()) == 8
    assert {"INPUT", "BANDS", "PROJECTION", "SCALE", "THREADS", "MEMORY_LIMIT", "OUTPUT"} < set(found)


def test_each_region_gets_its_line_and_the_number_of_its_pixels(rasters, regions):
    found = regress(rasters, regions)

    up, down, *others = rows_of(found["OUTPUT"])
    assert list(up) == ["name", "scale", "offset", "n"]  # the old Scale gives way
    assert (up["scale"], up["offset"], up["n"]) == (pytest.approx(-2), pytest.approx(3), 43)
    assert (down["scale"], down["offset"], down["n"]) == (pytest.approx(1), pytest.approx(1), 44)
    assert [(row["name"], row["scale"], row["n"]) for row in others] == [("off", NULL, 0), ("none", NULL, 0)]
    assert (found["COUNT"], found["FITTED"]) == (4, 2)


def test_regions_keep_their_geometry_and_may_have_another_crs(rasters, memory_layer, tmp_path):
    rows = [(box(4, 0, 8, 11, "EPSG:4326"), 5)]
    regions = memory_layer("Polygon", ["landclass:integer"], rows, crs="EPSG:4326")

    found = regress(rasters, regions, OUTPUT=str(tmp_path / "fits.gpkg"))

    layer = QgsVectorLayer(found["OUTPUT"])
    assert layer.crs().authid() == "EPSG:4326"
    [feature] = layer.getFeatures()
    assert feature["n"] == 44 and feature["landclass"] == 5
    assert feature.geometry().boundingBox().center().x() < 180


@pytest.mark.parametrize(
    ("reducer", "more", "names"),
    [
        ("linearRegression", {"X": "constant,red"}, ["constant_nir", "red_nir", "residuals", "n"]),
        ("linearRegression", {}, ["constant_nir", "red_nir", "residuals", "n"]),
        ("robustLinearRegression", {"BETA": 1}, ["constant_nir", "red_nir", "residuals", "n"]),
        ("ridgeRegression", {"LAMBDA": 0}, ["constant_nir", "red_nir", "residuals", "pValue", "n"]),
        ("sensSlope", {}, ["slope", "offset", "n"]),
        ("pearsonsCorrelation", {}, ["correlation", "p-value", "n"]),
        ("spearmansCorrelation", {}, ["correlation", "p-value", "n"]),
        ("kendallsCorrelation", {}, ["tau", "p-value", "n"]),
    ],
)
def test_every_reducer_gives_its_fields(rasters, regions, reducer, more, names):
    up, *_ = rows_of(regress(rasters, regions, REDUCER=reducer, **more)["OUTPUT"])

    assert [name for name in up if name not in ("Scale", "name")] == names
    expected = {"red_nir": -2, "constant_nir": 3, "slope": -2, "offset": 3, "correlation": -1, "tau": -1, "n": 43}
    for name in set(expected) & set(up):
        assert up[name] == pytest.approx(expected[name])


def test_x_and_y_may_be_turned_round_and_significance_adds_fields(rasters, regions):
    up, *_ = rows_of(regress(rasters, regions, REDUCER="sensSlope", X="nir", Y="red", SIGNIFICANCE=True)["OUTPUT"])

    assert up["slope"] == pytest.approx(-0.5)
    assert up["mann_kendall_p-value"] < 1e-9


def test_coarser_grid_has_fewer_pixels(rasters, regions):
    _, down, *_ = rows_of(regress(rasters, regions, SCALE=20, THREADS=1, MEMORY_LIMIT=600)["OUTPUT"])

    assert down["n"] == 2 * 5  # the centres of a sixth column would lie on the edge


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"X": "blue"}, "no band blue"),
        ({"X": "red,nir"}, "linearFit takes one variable"),
        ({"OUTPUT": "/nowhere/at/all.gpkg"}, "/nowhere/at"),
    ],
)
def test_refusals_say_what_and_where(rasters, regions, parameters, words):
    fixed = {"INPUT": rasters, "COLLECTION": regions, "OUTPUT": "TEMPORARY_OUTPUT"}

    assert words in refusal("regressregions", **{**fixed, **parameters})


def test_points_are_no_regions(rasters, memory_layer):
    points = memory_layer("Point", ["id:integer"], [(f"POINT ({LEFT} {TOP})", 1)])

    message = refusal("regressregions", INPUT=rasters, COLLECTION=points, OUTPUT="TEMPORARY_OUTPUT")

    assert "has no polygons" in message


def test_shapefile_cuts_names_and_the_user_is_told(rasters, regions, tmp_path):
    feedback = QgsProcessingFeedback()

    regress(rasters, regions, REDUCER="linearRegression", OUTPUT=str(tmp_path / "fits.shp"), feedback=feedback)

    assert "constant_nir" in feedback.textLog()
    assert (tmp_path / "fits.shp.rasterml.json").exists()


def test_setting_of_another_reducer_is_mentioned(rasters, regions):
    feedback = QgsProcessingFeedback()

    regress(rasters, regions, LAMBDA=5, feedback=feedback)

    assert "LAMBDA is not used: linearFit has no such setting" in feedback.textLog()
