"""The sampling designs and the other learners through qgis_process: numbers, maps, models, complaints."""

from __future__ import annotations

import csv
import json
from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from osgeo import gdal, ogr

SCRIPTS = Path(__file__).with_name("pyqgis_scripts.py")
ALGORITHMS = {
    "checklimits",
    "classify",
    "classifytable",
    "cluster",
    "clustertable",
    "confusionmatrix",
    "decisiontree",
    "errormatrix",
    "explain",
    "kendallscorrelation",
    "linearfit",
    "linearregression",
    "pearsonscorrelation",
    "randomcolumn",
    "randompoints",
    "regresscolumns",
    "regressionaccuracy",
    "regressregions",
    "ridgeregression",
    "robustlinearregression",
    "sample",
    "samplepatches",
    "sampleregions",
    "seedgrid",
    "segmentgmeans",
    "segmentkmeans",
    "segmentstatistics",
    "sensslope",
    "snic",
    "spearmanscorrelation",
    "spectralregion",
    "splitsamples",
    "stratifiedsample",
    "traincart",
    "traincascadekmeans",
    "traincobweb",
    "traingradienttreeboost",
    "trainkmeans",
    "trainknn",
    "trainlvq",
    "trainmaxent",
    "trainminimumdistance",
    "trainnaivebayes",
    "trainrandomforest",
    "trainsvm",
    "trainxmeans",
}

# Per algorithm: how it is called, its parameters with the outputs last, the numbers that must come back.
# 120 pixels lie in the training areas, 80 of class 0, 20 of these without data, and 40 of class 7.
SAMPLERS = {
    "sample": (
        "by_json",
        {"INPUT": "{bands}", "REGION": "{training}", "DROP_NULLS": False, "OUTPUT": "{folder}/sample.gpkg"},
        {"COUNT": 120, "DROPPED": 0},
    ),
    "stratifiedsample": (
        "by_flags",
        {
            "INPUT": "{bands_and_cover}",
            "CLASS_BAND": "cover",
            "NUM_POINTS": 30,
            "CLASS_VALUES": "7",
            "CLASS_POINTS": "12",
            "OUTPUT": "{folder}/stratified.gpkg",
        },
        {"COUNT": 30 + 12},
    ),
    "randomcolumn": (
        "by_flags",
        {
            "INPUT": "{samples}",
            "COLUMN_NAME": "luck",
            "DISTRIBUTION": "normal",
            "ROW_KEYS": "system_index",
            "OUTPUT": "{folder}/luck.gpkg",
        },
        {"COUNT": 100},
    ),
    "randompoints": (
        "by_json",
        {"REGION": "{training}", "POINTS": 25, "MIN_DISTANCE": 5, "OUTPUT": "{folder}/points.gpkg"},
        {"COUNT": 25},
    ),
    "splitsamples": (
        "by_flags",
        {
            "INPUT": "{samples}",
            "STRATEGY": "stratified",
            "CLASS_PROPERTY": "cover",
            "FRACTION": 0.6,
            "TRAINING": "{folder}/to_train.gpkg",
            "VALIDATION": "{folder}/to_validate.gpkg",
        },
        {"COUNT_TRAINING": 36 + 24, "COUNT_VALIDATION": 24 + 16},
    ),
    "samplepatches": (
        "by_json",
        {"INPUT": "{bands}", "COLLECTION": "{folder}/sample.gpkg", "RADIUS": 2, "OUTPUT": "{folder}/patches.npz"},
        {"COUNT": 100, "DROPPED": 20},
    ),
}
FITTED = {
    "EXAMPLES": 100,
    "PREDICTORS": 2,
    "CLASSES": 2,
    "TRAINING_BYTES": 100 * 2 * 4,
    "TRAINING_ACCURACY": 1,  # Maxent's too: cloglog is about 1 - 1/e at a typical presence, near 0 far from all
    "OUT_OF_BAG_ERROR": None,
}
OF_COVER = {"TRAINING": "{samples}", "CLASS_PROPERTY": "cover"}
LEARNERS = {
    "traincart": ("by_flags", {**OF_COVER, "MAX_NODES": 2}, FITTED),
    "traingradienttreeboost": ("by_json", {**OF_COVER, "NUMBER_OF_TREES": 5, "SHRINKAGE": 0.1}, FITTED),
    "trainknn": ("by_flags", {**OF_COVER, "K": 3, "METRIC": "MANHATTAN"}, FITTED),
    "trainminimumdistance": ("by_json", {**OF_COVER, "METRIC": "mahalanobis"}, FITTED),
    "trainnaivebayes": ("by_flags", {**OF_COVER, "LAMBDA": 0.5}, FITTED),
    "trainsvm": ("by_json", {**OF_COVER, "KERNEL_TYPE": "RBF", "GAMMA": 0.01}, FITTED),
    "trainmaxent": (
        "by_flags",
        {"TRAINING": "{presence}", "CLASS_PROPERTY": "present", "OUTPUT_FORMAT": "logistic", "HINGE": False},
        FITTED,
    ),
    "spectralregion": (
        "by_json",
        {"COORDINATES": "[[55, 20, 70, 20, 70, 40, 55, 40]]", "SCHEMA": "red,nir"},
        {"RINGS": 1},
    ),
    "decisiontree": (
        "by_flags",
        {"TREE_STRING": "1) root 9 9 0\n2) nir<=50 9 9 7 *\n3) nir>50 9 9 0 *"},
        {"TREES": 1, "PREDICTORS": 1, "CLASSES": 2},
    ),
}
BOTH = ["red", "nir"]
EXPLAINED = {  # Earth Engine's name, the bands, the settings that are not the defaults
    "traincart": ("smileCart", BOTH, {"maxNodes": 2}),
    "traingradienttreeboost": ("smileGradientTreeBoost", BOTH, {"numberOfTrees": 5, "shrinkage": 0.1}),
    "trainknn": ("smileKNN", BOTH, {"k": 3, "metric": "MANHATTAN"}),
    "trainminimumdistance": ("minimumDistance", BOTH, {"metric": "mahalanobis"}),
    "trainnaivebayes": ("smileNaiveBayes", BOTH, {"lambda": 0.5}),
    "trainsvm": ("libsvm", BOTH, {"kernelType": "RBF", "gamma": 0.01}),
    "trainmaxent": ("amnhMaxent", BOTH, {"outputFormat": "logistic", "hinge": False}),
    "spectralregion": ("spectralRegion", BOTH, {}),
    "decisiontree": ("decisionTree", ["nir"], {}),
}
CALLS = {
    **SAMPLERS,
    **{
        name: (how, {**inputs, "OUTPUT": f"{{folder}}/{name}.rasterml"}, numbers)
        for name, (how, inputs, numbers) in LEARNERS.items()
    },
}
OUTPUTS = ("OUTPUT", "TRAINING", "VALIDATION")
each_algorithm = pytest.mark.parametrize("algorithm", CALLS)
each_learner = pytest.mark.parametrize("learner", LEARNERS)


@pytest.fixture(scope="module")
def bands_and_cover(scene):
    """The image and, as a band of its own, the class of each pixel."""
    path = scene.folder / "cover.tif"
    copy = gdal.GetDriverByName("GTiff").CreateCopy(str(path), gdal.Open(scene.bands[0]))
    copy.GetRasterBand(1).SetNoDataValue(255)
    copy.WriteArray(scene.classes)
    del copy
    return [*scene.bands, str(path)]


@pytest.fixture(scope="module")
def presence(scene, samples):
    """The samples with 1 for class 7 and 0 for class 0."""
    path = str(scene.folder / "presence.gpkg")
    columns = "cover / 7 AS present, system_index, red, nir"
    gdal.VectorTranslate(path, samples, SQLStatement=f"SELECT {columns} FROM samples", SQLDialect="SQLite")
    return path


@pytest.fixture(scope="module")
def chain(qgis, scene, samples, bands_and_cover, presence, tmp_path_factory):
    """All fifteen, one after the other, in a folder of their own: the folder and each one's run."""
    folder = tmp_path_factory.mktemp("more")
    words = {"{bands}": scene.bands, "{bands_and_cover}": bands_and_cover, "{training}": scene.training}
    words |= {"{samples}": samples, "{presence}": presence}
    runs = {}
    for algorithm, (how, template, _) in CALLS.items():
        inputs = {name: words.get(str(value), value) for name, value in template.items()}
        inputs = {
            name: value.replace("{folder}", str(folder)) if isinstance(value, str) else value
            for name, value in inputs.items()
        }
        runs[algorithm] = getattr(qgis, how)(algorithm, **inputs)
    return folder, runs


@pytest.fixture(scope="module")
def applied(qgis, scene, chain, tmp_path_factory):
    """The folder of the maps and explanations that one saved model made of all model files."""
    folder = tmp_path_factory.mktemp("applied")
    files = {learner: chain[0] / f"{learner}.rasterml" for learner in LEARNERS}
    models = {learner: str(file) for learner, file in files.items() if file.is_file()}
    request = {"path": str(folder / "apply.model3"), "models": models}
    saved = qgis.python(SCRIPTS, "applications", str(qgis.plugins), json.dumps(request))
    assert saved.exit_code == 0, saved.errors
    inputs = {"image": scene.bands}
    for number, learner in enumerate(models):  # <child>:<output of the model>
        inputs[f"classify_{2 * number + 1}:{learner} map"] = str(folder / f"{learner}.tif")
        inputs[f"explain_{2 * number + 2}:{learner} explanation"] = str(folder / f"{learner}.json")
    run = qgis.process("run", request["path"], "-", text=json.dumps({"inputs": inputs}))
    assert run.exit_code == 0, run.errors
    return folder


def test_all_algorithms_are_listed(qgis):
    listed = json.loads(qgis.process("--json", "list").output)["providers"]["rasterml"]["algorithms"]

    assert set(listed) == {f"rasterml:{name}" for name in ALGORITHMS}


@each_algorithm
def test_run_of_an_algorithm_ends_well_and_leaves_its_outputs(chain, algorithm):
    folder, runs = chain

    results = runs[algorithm].results
    expected = {name: str(value) for name, value in CALLS[algorithm][1].items() if str(value).startswith("{folder}")}
    outputs = {name: results[name] for name in expected if name in OUTPUTS}
    assert outputs
    assert [path for path in map(Path, outputs.values()) if not path.is_file() or path.parent != folder] == []


@each_algorithm
def test_numbers_of_an_algorithm_arrive_as_numbers(chain, algorithm):
    _, runs = chain

    expected = CALLS[algorithm][2]
    results = runs[algorithm].results
    assert {name: results[name] for name in expected} == expected
    assert [name for name in expected if isinstance(results[name], bool)] == []


@each_learner
def test_learner_tells_the_size_of_its_model_file(chain, learner):
    folder, runs = chain

    assert runs[learner].results["MODEL_BYTES"] == (folder / f"{learner}.rasterml").stat().st_size


def test_no_run_leaves_anything_temporary(chain):
    folder, _ = chain

    assert [path.name for path in folder.iterdir() if path.name.startswith(".") or ".part" in path.name] == []


@pytest.mark.parametrize(
    ("table", "shares"),
    [
        ("stratified", {0: 30, 7: 12}),
        ("to_train", {0: 36, 7: 24}),
        ("to_validate", {0: 24, 7: 16}),
    ],
)
def test_table_has_the_rows_of_each_class(chain, table, shares):
    counts = Counter(row["cover"] for row in rows_of(chain[0] / f"{table}.gpkg"))

    assert counts == shares


def test_random_column_is_normal(chain):
    """Of a hundred normal numbers, the mean lies within 4 standard errors of 0, the spread within 4 of 1."""
    luck = [row["luck"] for row in rows_of(chain[0] / "luck.gpkg")]

    assert abs(np.mean(luck)) < 0.4
    assert abs(np.std(luck) - 1) < 4 / np.sqrt(200)


def test_random_points_lie_in_the_region_and_apart(chain, scene):
    points, areas = ogr.Open(str(chain[0] / "points.gpkg")), ogr.Open(scene.training)
    region = ogr.Geometry(ogr.wkbMultiPolygon)
    for area in areas.GetLayer():
        region.AddGeometry(area.GetGeometryRef())
    places = [point.GetGeometryRef().Clone() for point in points.GetLayer()]

    assert all(place.Within(region) for place in places)
    # metres on the ellipsoid; on this grid a metre is at most 0.05 % off
    assert min(one.Distance(other) for one, other in combinations(places, 2)) > 5 * 0.999


def test_patches_have_a_side_of_five_pixels(chain):
    folder, _ = chain

    with np.load(folder / "patches.npz", allow_pickle=False) as patches:
        assert patches["red"].shape == patches["nir"].shape == (100, 5, 5)


@pytest.mark.parametrize("learner", [name for name in LEARNERS if name not in ("trainmaxent", "spectralregion")])
def test_map_of_a_learner_has_the_class_of_every_pixel(applied, scene, learner):
    np.testing.assert_array_equal(gdal.Open(str(applied / f"{learner}.tif")).ReadAsArray(), scene.classes)


def test_map_of_a_spectral_region_says_what_lies_inside(applied, scene):
    inside = np.select([scene.classes == 255, scene.classes == 7], [255, 1], 0)
    np.testing.assert_array_equal(gdal.Open(str(applied / "spectralregion.tif")).ReadAsArray(), inside)


def test_map_of_maxent_is_higher_where_the_species_is(applied, scene):
    probability = gdal.Open(str(applied / "trainmaxent.tif")).ReadAsArray()

    np.testing.assert_array_equal(np.isnan(probability), scene.classes == 255)
    absent, present = probability[scene.classes == 0], probability[scene.classes == 7]
    assert 0 <= absent.min() <= absent.max() < present.min() <= present.max() <= 1


@each_learner
def test_model_of_a_learner_is_explained(applied, learner):
    explanation = json.loads((applied / f"{learner}.json").read_text("utf-8"))
    twin, inputs, parameters = EXPLAINED[learner]
    assert (explanation["classifier"], explanation["inputs"]) == (f"ee.Classifier.{twin}", inputs)
    assert parameters.items() <= explanation["parameters"].items()


def test_saved_model_draws_splits_trains_maps_and_validates(qgis, scene, bands_and_cover, tmp_path):
    path = str(tmp_path / "design.model3")
    saved = qgis.python(SCRIPTS, "design", str(qgis.plugins), path)
    assert saved.exit_code == 0, saved.errors
    outputs = {"classify_4:map": str(tmp_path / "map.tif"), "errormatrix_6:matrix": str(tmp_path / "matrix.csv")}

    run = qgis.process("run", path, "-", text=json.dumps({"inputs": {"image": bands_and_cover, **outputs}}))

    assert run.exit_code == 0, run.errors
    np.testing.assert_array_equal(gdal.Open(str(tmp_path / "map.tif")).ReadAsArray(), scene.classes)
    with (tmp_path / "matrix.csv").open(encoding="utf-8") as file:
        counts = {row["actual"]: (row["p0"], row["p7"], row["total"]) for row in csv.DictReader(file)}
    # 30 samples of each class were drawn, 60 % of them trained
    assert {label: counts[label] for label in "07"} == {"0": ("12", "0", "12"), "7": ("0", "12", "12")}


def rows_of(path: Path) -> list[dict]:
    table = ogr.Open(str(path))
    return [row.items() for row in table.GetLayer()]


@pytest.mark.parametrize(
    ("algorithm", "inputs", "word"),
    [
        ("sample", {"INPUT": "{bands}", "FACTOR": 0.5, "NUM_PIXELS": 10, "OUTPUT": "sample.gpkg"}, "NUM_PIXELS"),
        ("trainsvm", {**OF_COVER, "MODE": "REGRESSION", "SVM_TYPE": "C_SVC", "OUTPUT": "svm.rasterml"}, "C_SVC"),
        ("decisiontree", {"TREE_STRING": "digraph {}", "OUTPUT": "tree.rasterml"}, "digraph"),
    ],
)
def test_impossible_settings_are_refused(qgis, scene, samples, tmp_path, algorithm, inputs, word):
    words = {"{bands}": scene.bands, "{samples}": samples}
    inputs = {name: words.get(value, value) for name, value in inputs.items()}

    run = qgis.by_json(algorithm, **{**inputs, "OUTPUT": str(tmp_path / inputs["OUTPUT"])})

    assert run.exit_code != 0
    assert word in run.complaint
    assert "Traceback" not in run.errors + run.output
    assert len(run.complaint.splitlines()) == 1, run.complaint
    assert list(tmp_path.iterdir()) == []
