"""Clusterers, segmentations and regressions as children of a saved model that qgis_process runs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from osgeo import gdal, ogr

SCRIPTS = Path(__file__).with_name("pyqgis_scripts.py")

# Per clusterer: settings none of which is at its default, and the image's two parts have to fall apart.
CLUSTERERS = {
    "trainkmeans": {
        "N_CLUSTERS": 2, "INIT": "farthest first", "CANOPIES": True, "MAX_CANDIDATES": 50, "PERIODIC_PRUNING": 100,
        "MIN_DENSITY": 3, "T1": -2, "T2": 0.5, "DISTANCE_FUNCTION": "Manhattan", "MAX_ITERATIONS": 30,
        "PRESERVE_ORDER": True, "FAST": True, "SEED": 4,
    },
    "traincascadekmeans": {
        "MIN_CLUSTERS": 3, "MAX_CLUSTERS": 4, "RESTARTS": 2, "MANUAL": True, "INIT": True,
        "DISTANCE_FUNCTION": "Manhattan", "MAX_ITERATIONS": 40, "SEED": 5,
    },
    "trainxmeans": {
        "MIN_CLUSTERS": 3, "MAX_CLUSTERS": 6, "MAX_ITERATIONS": 2, "MAX_K_MEANS": 500, "MAX_FOR_CHILDREN": 400,
        "USE_K_D": True, "CUTOFF_FACTOR": 0.5, "DISTANCE_FUNCTION": "Chebyshev", "SEED": 6,
    },
    "traincobweb": {"ACUITY": 4, "CUTOFF": 0.01, "SEED": 1},
    "trainlvq": {"NUM_CLUSTERS": 3, "LEARNING_RATE": 0.1, "EPOCHS": 1200, "NORMALIZE_INPUT": True},
}  # fmt: skip
# Four images, each 3 higher than the one before: Sxx of the times 0, 1, 2, 3 is 5, so ridge gives 3 · 5 / (5 + 10).
TRENDS = {
    "linearfit": ({"SIGNIFICANCE": True}, "scale", 3),
    "linearregression": ({"X": "constant,time", "Y": "red"}, "time_red", 3),
    "robustlinearregression": ({"BETA": 2, "SIGNIFICANCE": True}, "time_red", 3),
    "ridgeregression": ({"LAMBDA": 10}, "time_red", 1),
    "sensslope": ({"SIGNIFICANCE": True}, "slope", 3),
    "pearsonscorrelation": ({"MIN_OBSERVATIONS": 3}, "correlation", 1),
    "spearmanscorrelation": ({"TILE_SIZE": 16}, "correlation", 1),
    "kendallscorrelation": ({"THREADS": 1, "MEMORY_LIMIT": 700}, "tau", 1),
}
SEGMENTED = {
    "snic": {"SIZE": 8, "COMPACTNESS": 0.5, "CONNECTIVITY": "4"},
    "segmentkmeans": {"NUM_CLUSTERS": 2, "NUM_ITERATIONS": 30, "FORCE_CONVERGENCE": True},
    "segmentgmeans": {"NUM_ITERATIONS": 1, "P_VALUE": 99},
    "seedgrid": {"SIZE": 6, "GRID_TYPE": "hex"},
}


@pytest.fixture(scope="module")
def done(qgis, scene, samples, tmp_path_factory):
    """The folder with everything that one saved model made, and the model's run."""
    folder = tmp_path_factory.mktemp("clusters")
    red = gdal.Open(scene.bands[0]).ReadAsArray()
    series = []
    for number in range(4):
        later = red + 3 * number
        if number:  # one image is too few
            later[scene.classes == 255] = -999
        path = str(folder / f"image_{number}.tif")
        copy = gdal.GetDriverByName("GTiff").CreateCopy(path, gdal.Open(scene.bands[0]))
        copy.WriteArray(later)
        copy.GetRasterBand(1).SetDescription("red")
        del copy
        series.append(path)
    children = [child("drawn", "sample", {"INPUT": "@image", "NUM_PIXELS": 400, "SEED": 2})]
    for name, settings in CLUSTERERS.items():
        children.append(child(name, name, {"TRAINING": "@drawn", **settings}))
        children.append(child(f"{name}_map", "cluster", {"INPUT": "@image", "MODEL": f"@{name}"}, "tif"))
        table = {"INPUT": "@drawn", "MODEL": f"@{name}", "OUTPUT_NAME": "group"}
        children.append(child(f"{name}_table", "clustertable", table, "gpkg"))
        children.append(child(f"{name}_told", "explain", {"MODEL": f"@{name}"}, "json"))
    for name, settings in SEGMENTED.items():
        children.append(child(name, name, {"INPUT": "@image", **settings}, "tif"))
    described = {"SEGMENTS": "@segmentkmeans", "INPUT": "@image", "MEANS_AS_BANDS": True}
    children.append(child("objects", "segmentstatistics", described, "gpkg"))
    for name, (settings, _, _) in TRENDS.items():
        children.append(child(name, name, {"INPUT": series, "TIMES": "0,1,2,3", **settings}, "tif"))
    zones = {"INPUT": "@image", "COLLECTION": scene.training, "REDUCER": "linearFit", "X": "red", "Y": "nir"}
    children.append(child("zones", "regressregions", zones, "gpkg"))
    columns = {"INPUT": samples, "REDUCER": "pearsonsCorrelation", "X": ["red"], "Y": ["nir"]}
    children.append(child("columns", "regresscolumns", columns, "gpkg"))
    fitted = {"TRAINING": samples, "CLASS_PROPERTY": "nir", "INPUT_PROPERTIES": ["red"], "MODE": "REGRESSION"}
    children.append(child("trees", "trainrandomforest", {**fitted, "NUMBER_OF_TREES": 9}))
    children.append(child("guessed", "classifytable", {"INPUT": samples, "MODEL": "@trees"}))
    errors = {"INPUT": "@guessed", "ACTUAL": "nir", "PREDICTED": "classification"}
    children.append(child("errors", "regressionaccuracy", errors, "gpkg"))
    request = {"path": str(folder / "all.model3"), "children": children}
    saved = qgis.python(SCRIPTS, "children", str(qgis.plugins), json.dumps(request))
    assert saved.exit_code == 0, saved.errors
    outputs = {
        f"{item['name']}:{item['name']} OUTPUT": str(folder / f"{item['name']}.{item['extension']}")
        for item in children
        if item["extension"]
    }
    text = json.dumps({"inputs": {"image": scene.bands, **outputs}})
    run = qgis.process("run", request["path"], "-", text=text)
    assert run.exit_code == 0, run.errors
    return folder


def child(name: str, algorithm: str, inputs: dict, extension: str = "") -> dict:
    outputs = ["OUTPUT"] if extension else []
    return {"name": name, "algorithm": algorithm, "inputs": inputs, "outputs": outputs, "extension": extension}


def raster(done, name) -> tuple[np.ndarray, list[str]]:
    dataset = gdal.Open(str(done / f"{name}.tif"))
    names = [dataset.GetRasterBand(number).GetDescription() for number in range(1, dataset.RasterCount + 1)]
    return dataset.ReadAsArray().reshape(len(names), dataset.RasterYSize, dataset.RasterXSize), names


def rows(done, name) -> list[dict]:
    source = ogr.Open(str(done / f"{name}.gpkg"))
    return [feature.items() for feature in source.GetLayer()]


@pytest.mark.parametrize("name", CLUSTERERS)
def test_no_cluster_has_pixels_of_both_parts_and_nodata_stays(done, scene, name):
    clusters, names = raster(done, f"{name}_map")
    parts = [set(clusters[0][scene.classes == label].tolist()) for label in (0, 7)]

    assert names == ["cluster"]
    assert (clusters[0][scene.classes == 255] == 255).all()
    assert parts[0] and parts[1] and not parts[0] & parts[1]
    assert {row["group"] for row in rows(done, f"{name}_table")} <= parts[0] | parts[1]


@pytest.mark.parametrize("name", CLUSTERERS)
def test_every_setting_of_a_clusterer_reaches_the_model(done, name):
    told = json.loads((done / f"{name}_told.json").read_text(encoding="utf-8"))

    parameters = {key.lower(): value for key, value in told["parameters"].items()}
    expected = {key.replace("_", "").lower(): value for key, value in CLUSTERERS[name].items()}
    assert parameters == expected
    assert told["clusters"] >= 2 and sum(told["clusterSizes"]) == told["trainingRows"]


@pytest.mark.parametrize("name", ["snic", "segmentkmeans", "segmentgmeans"])
def test_no_segment_has_pixels_of_both_parts_and_nodata_stays(done, scene, name):
    segments, names = raster(done, name)
    parts = [set(segments[0][scene.classes == label].tolist()) for label in (0, 7)]

    assert names[0] == "clusters"
    assert parts[0] and parts[1] and not parts[0] & parts[1]
    outside = set(np.nan_to_num(segments[0][scene.classes == 255], nan=-1).tolist())
    assert len(outside) == 1 and not outside & (parts[0] | parts[1])


def test_seeds_stand_on_a_hexagonal_grid(done, scene):
    seeds, names = raster(done, "seedgrid")

    assert names == ["seeds"]
    assert (seeds[0][scene.classes == 255] == 255).all()
    lines = np.flatnonzero((seeds[0] == 1).any(axis=1))
    assert set(np.diff(lines)) == {5}  # round(6 √3 / 2)


def test_segments_become_polygons_with_the_means_of_the_bands(done, scene):
    objects = {row["value"]: row for row in rows(done, "objects")}
    labels, red = raster(done, "segmentkmeans")[0][0], gdal.Open(scene.bands[0]).ReadAsArray()

    assert set(objects) == set(labels[scene.classes != 255].tolist())
    for value, row in objects.items():
        assert row["count"] == (labels == value).sum()
        assert row["area"] == pytest.approx(100 * row["count"])
        assert row["red"] == pytest.approx(red[labels == value].mean())


@pytest.mark.parametrize("name", TRENDS)
def test_trend_of_every_pixel_is_found(done, scene, name):
    _, band, expected = TRENDS[name]
    values, names = raster(done, name)
    found = values[names.index(band)]

    inside = scene.classes != 255
    np.testing.assert_allclose(found[inside], expected, rtol=1e-6)
    assert np.isnan(found[~inside]).all()
    assert names[-1] == "n" and (values[-1][inside] == 4).all() and (values[-1][~inside] == 1).all()


def test_regions_and_columns_are_regressed(done):
    zones = rows(done, "zones")
    assert [row["cover"] for row in zones] == [0, 7]
    assert [row["n"] for row in zones] == [60, 40]
    assert all(np.isfinite([row["scale"], row["offset"]]).all() for row in zones)
    [columns] = rows(done, "columns")
    assert -1 <= columns["correlation"] < -0.9  # red is high where nir is low


def test_errors_of_a_regression_are_those_of_its_table(done):
    for row in rows(done, "errors"):
        assert row["residual"] == pytest.approx(row["classification"] - row["nir"], abs=1e-5)
