"""Every mode and setting of every classifier, as children of a saved model that qgis_process runs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from osgeo import gdal

SCRIPTS = Path(__file__).with_name("pyqgis_scripts.py")

# Per name: the algorithm, its settings (none at its default), what kind of table it learns from, its output modes.
CLASSES = ("CLASSIFICATION", "PROBABILITY", "MULTIPROBABILITY")
TRAINED = {
    "forest": (
        "trainrandomforest",
        {"NUMBER_OF_TREES": 4, "VARIABLES_PER_SPLIT": 2, "MIN_LEAF_POPULATION": 2, "BAG_FRACTION": 0.7,
         "MAX_NODES": 9, "SEED": 3},
        "classes", (*CLASSES, "RAW"),
    ),
    "forest_regression": (
        "trainrandomforest", {"MODE": "REGRESSION", "NUMBER_OF_TREES": 4}, "targets", ("REGRESSION", "RAW_REGRESSION"),
    ),
    "cart": ("traincart", {"MAX_NODES": 3, "MIN_LEAF_POPULATION": 2}, "classes", CLASSES),
    "cart_regression": ("traincart", {"MODE": "REGRESSION", "MIN_LEAF_POPULATION": 4}, "targets", ("REGRESSION",)),
    "boost": (
        "traingradienttreeboost",
        {"NUMBER_OF_TREES": 30, "SHRINKAGE": 0.2, "SAMPLING_RATE": 0.9, "MAX_NODES": 4, "SEED": 5},
        "classes", CLASSES,
    ),
    "boost_huber": (
        "traingradienttreeboost",
        {"MODE": "REGRESSION", "NUMBER_OF_TREES": 60, "SHRINKAGE": 0.2, "LOSS": "Huber"}, "targets", ("REGRESSION",),
    ),
    "boost_squares": (
        "traingradienttreeboost",
        {"MODE": "REGRESSION", "NUMBER_OF_TREES": 60, "SHRINKAGE": 0.2, "LOSS": "LeastSquares"}, "targets",
        ("REGRESSION",),
    ),
    "knn": ("trainknn", {"K": 5, "SEARCH_METHOD": "LINEAR_SEARCH", "METRIC": "BRAYCURTIS"}, "classes", CLASSES[:2]),
    "bayes": ("trainnaivebayes", {"LAMBDA": 0.25}, "classes", CLASSES),
    "distance": (
        "trainminimumdistance", {"METRIC": "cosine", "K_NEAREST": 2}, "classes",
        ("CLASSIFICATION", "REGRESSION", "RAW"),
    ),
    "margin": (
        "trainsvm",
        {"DECISION_PROCEDURE": "Margin", "KERNEL_TYPE": "POLY", "SHRINKING": False, "DEGREE": 2, "GAMMA": 0.01,
         "COEF0": 0.5, "COST": 2, "TERMINATION_EPSILON": 0.01},
        "classes", CLASSES,
    ),
    "nu_svc": ("trainsvm", {"SVM_TYPE": "NU_SVC", "NU": 0.2, "KERNEL_TYPE": "RBF", "GAMMA": 0.01}, "classes", CLASSES),
    "one_class": (
        "trainsvm", {"SVM_TYPE": "ONE_CLASS", "ONE_CLASS": 1, "NU": 0.1, "KERNEL_TYPE": "RBF", "GAMMA": 0.01},
        "presence", ("CLASSIFICATION",),
    ),
    "epsilon_svr": (
        "trainsvm",
        {"MODE": "REGRESSION", "SVM_TYPE": "EPSILON_SVR", "LOSS_EPSILON": 2, "COST": 10, "KERNEL_TYPE": "RBF",
         "GAMMA": 0.01},
        "targets", ("REGRESSION",),
    ),
    "nu_svr": (
        "trainsvm", {"MODE": "REGRESSION", "SVM_TYPE": "NU_SVR", "COST": 10, "KERNEL_TYPE": "RBF", "GAMMA": 0.01},
        "targets", ("REGRESSION",),
    ),
    "maxent": (
        "trainmaxent",
        {"OUTPUT_FORMAT": "cloglog", "AUTO_FEATURE": False, "LINEAR": True, "QUADRATIC": False, "PRODUCT": False,
         "THRESHOLD": True, "HINGE": False, "HINGE_THRESHOLD": 14, "L2LQ_THRESHOLD": 9, "LQ2LQPT_THRESHOLD": 70,
         "ADD_SAMPLES_TO_BACKGROUND": False, "ADD_ALL_SAMPLES_TO_BACKGROUND": True, "BETA_MULTIPLIER": 0.5,
         "BETA_HINGE": 0.4, "BETA_LQP": 0.3, "BETA_CATEGORICAL": 0.2, "BETA_THRESHOLD": 0.7, "EXTRAPOLATE": False,
         "DO_CLAMP": False, "RANDOM_TEST_POINTS": 20, "SEED": 9},
        "presence", ("PROBABILITY",),
    ),
    "maxent_clamp": (
        "trainmaxent", {"OUTPUT_FORMAT": "raw", "WRITE_CLAMP_GRID": True}, "presence", ("PROBABILITY",),
    ),
    "maxent_cumulative": ("trainmaxent", {"OUTPUT_FORMAT": "cumulative"}, "presence", ("PROBABILITY",)),
}  # fmt: skip
MAPS = [(name, mode) for name, row in TRAINED.items() for mode in row[3]]
each_map = pytest.mark.parametrize(("name", "mode"), MAPS, ids=["-".join(pair) for pair in MAPS])
each_name = pytest.mark.parametrize("name", TRAINED)


@pytest.fixture(scope="module")
def done(qgis, scene, samples, tmp_path_factory):
    """The folder with all maps and explanations that one saved model made."""
    folder = tmp_path_factory.mktemp("modes")
    presence = str(folder / "presence.gpkg")
    columns = "cover / 7 AS present, system_index, red, nir"
    gdal.VectorTranslate(presence, samples, SQLStatement=f"SELECT {columns} FROM samples", SQLDialect="SQLite")
    tables = {
        "classes": {"TRAINING": samples, "CLASS_PROPERTY": "cover"},
        "targets": {"TRAINING": samples, "CLASS_PROPERTY": "nir", "INPUT_PROPERTIES": ["red"]},
        "presence": {"TRAINING": presence, "CLASS_PROPERTY": "present"},
    }
    children = []
    for name, (algorithm, settings, table, modes) in TRAINED.items():
        children.append({"name": name, "algorithm": algorithm, "inputs": {**tables[table], **settings}, "outputs": []})
        for mode in modes:
            inputs = {"INPUT": "@image", "MODEL": f"@{name}", "OUTPUT_MODE": mode}
            children.append(
                {"name": f"{name}_{mode}", "algorithm": "classify", "inputs": inputs, "outputs": ["OUTPUT"]}
            )
        children.append(
            {"name": f"{name}_told", "algorithm": "explain", "inputs": {"MODEL": f"@{name}"}, "outputs": ["OUTPUT"]}
        )
    request = {"path": str(folder / "modes.model3"), "children": children}
    saved = qgis.python(SCRIPTS, "children", str(qgis.plugins), json.dumps(request))
    assert saved.exit_code == 0, saved.errors
    outputs = {
        f"{child['name']}:{child['name']} OUTPUT": str(folder / f"{child['name']}.{extension}")
        for child in children
        for extension in ["tif" if child["algorithm"] == "classify" else "json"]
        if child["outputs"]
    }
    text = json.dumps({"inputs": {"image": scene.bands, **outputs}})
    run = qgis.process("run", request["path"], "-", text=text)
    assert run.exit_code == 0, run.errors
    return folder


def bands_of(done, name, mode) -> tuple[np.ndarray, list[str]]:
    dataset = gdal.Open(str(done / f"{name}_{mode}.tif"))
    names = [dataset.GetRasterBand(number).GetDescription() for number in range(1, dataset.RasterCount + 1)]
    return dataset.ReadAsArray().reshape(dataset.RasterCount, *dataset.ReadAsArray().shape[-2:]), names


@each_map
def test_map_says_what_its_mode_promises(done, scene, name, mode):
    bands, names = bands_of(done, name, mode)
    valid, east = scene.classes != 255, scene.classes == 7
    if TRAINED[name][2] == "targets":
        valid = np.ones_like(valid)  # red alone predicts, and it has data everywhere
    west = valid & ~east
    floats = bands.dtype.kind == "f"

    assert (np.isnan(bands[:, ~valid]) if floats else bands[:, ~valid] == 255).all()
    assert np.isfinite(bands[:, valid]).all()
    if mode == "CLASSIFICATION":
        labels = scene.classes if name != "one_class" else np.where(valid, east, 255)
        agreement = (bands[0] == labels)[valid].mean()
        assert agreement == 1 if name != "one_class" else agreement > 0.9
    elif name.startswith("maxent"):
        assert names == (["probability", "clamp"] if name == "maxent_clamp" else ["probability"])
        assert bands[0][west].max() < bands[0][east].min()
        assert bands[0][valid].max() <= (100 if name == "maxent_cumulative" else 1) and (bands[:, valid] >= 0).all()
    elif mode == "PROBABILITY":  # two classes: of the larger label
        assert names == ["probability"]
        assert bands[0][west].max() < 0.5 < bands[0][east].min()
    elif mode == "MULTIPROBABILITY":
        assert names == ["0", "7"]
        np.testing.assert_allclose(bands[:, valid].sum(axis=0), 1, rtol=1e-6)
        assert (bands[1] > bands[0])[east].all() and (bands[0] > bands[1])[west].all()
    elif mode == "REGRESSION" and name == "distance":
        assert names == ["distance_1", "distance_2"]
        assert (bands[0] <= bands[1])[valid].all()
    elif mode == "REGRESSION":  # nir is 100 to 106 in the west, 30 to 36 in the east
        assert np.abs(bands[0][west] - 103).max() < 8 and np.abs(bands[0][east] - 33).max() < 8
    elif name == "distance":  # RAW: the distance to each class
        assert names == ["0", "7"]
        assert (bands[0] < bands[1])[west].all() and (bands[1] < bands[0])[east].all()
    else:
        assert names == [f"tree_{number}" for number in (1, 2, 3, 4)]


def test_trees_of_a_forest_vote_and_average(done, scene):
    valid = scene.classes != 255
    votes, _ = bands_of(done, "forest", "RAW")
    values, _ = bands_of(done, "forest_regression", "RAW_REGRESSION")
    mean, _ = bands_of(done, "forest_regression", "REGRESSION")

    assert (np.median(votes[:, valid], axis=0) == scene.classes[valid]).all()
    np.testing.assert_allclose(values[:, valid].mean(axis=0), mean[0][valid], rtol=1e-6)


@each_name
def test_every_setting_reaches_the_model(done, name):
    _, settings, _, modes = TRAINED[name]
    told = json.loads((done / f"{name}_told.json").read_text(encoding="utf-8"))

    parameters = {key.lower(): value for key, value in told["parameters"].items()}
    expected = {key.replace("_", "").lower(): value for key, value in settings.items() if key != "MODE"}
    assert {key: parameters[key] for key in expected} == expected
    assert told["mode"] == settings.get("MODE", "CLASSIFICATION")
    assert set(modes) <= set(told["outputModes"])
