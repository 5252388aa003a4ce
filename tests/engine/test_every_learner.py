"""Every promise, for every learner of the table."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from osgeo import gdal
from rasterml.engine.images import Image
from rasterml.engine.learners import BY_ID, CLASSIFICATION, CLASSIFIERS, CLUSTERERS, CLUSTERING, REGRESSION
from rasterml.engine.models import Model, load_model, save_model
from rasterml.engine.prediction import predict_image, predict_rows
from rasterml.engine.training import Table, collect, train

ROOT = Path(__file__).resolve().parents[2]
ROWS, COLUMNS, PREDICTORS = 61, 83, ("red", "nir", "height")

# What keeps a learner's fit short, and labels it can take where not any will do.
QUICK = {"number_of_trees": 6, "learning_rate": 0.1, "acuity": 20.0, "cutoff": 0.0001}
LABELS = {"trainmaxent": (0, 1)}

CASES = [(learner.id, mode) for learner in (*CLASSIFIERS, *CLUSTERERS) for mode in learner.modes]
each_case = pytest.mark.parametrize(("learner_id", "mode"), CASES, ids=["-".join(case) for case in CASES])


def scene() -> np.ndarray:
    """Three bands of whole numbers from 0 to 255 (naive Bayes needs counts), NaN in a corner and at single pixels."""
    generator = np.random.default_rng(7)
    bands = generator.integers(1, 255, (3, ROWS, COLUMNS)).astype(np.float32)
    bands[:, :20, :30] = np.nan
    bands[1][generator.random((ROWS, COLUMNS)) < 0.05] = np.nan
    return bands


def samples(learner_id: str, mode: str, predictors=PREDICTORS):
    generator = np.random.default_rng(2)
    features = generator.integers(1, 255, (90, 3)).astype(float)
    labels = LABELS.get(learner_id, (0, 7, 300))
    position = np.digitize(features[:, 0] + 0.5 * features[:, 1], np.linspace(0, 380, len(labels) + 1)[1:-1])
    targets = features[:, 0] - 60.0 if mode == REGRESSION else np.array(labels, dtype=float)[position]
    targets = None if mode == CLUSTERING else targets
    order = [PREDICTORS.index(name) for name in predictors]
    return collect([Table("t", features[:, order], targets)], predictors, "class", mode)


def settings_of(learner_id: str, mode: str) -> dict:
    names = {setting.name for setting in BY_ID[learner_id].settings}
    settings = {name: value for name, value in QUICK.items() if name in names}
    if "svm_type" in names and mode == REGRESSION:
        settings["svm_type"] = "EPSILON_SVR"
    return settings


@cache
def model_of(learner_id: str, mode: str, threads: int = 2) -> Model:
    return train(learner_id, samples(learner_id, mode), mode, settings_of(learner_id, mode), threads)


def write(path, bands, names=PREDICTORS):
    dataset = gdal.GetDriverByName("GTiff").Create(str(path), COLUMNS, ROWS, len(bands), gdal.GDT_Float32)
    dataset.WriteArray(np.stack(bands))
    for number, name in enumerate(names, 1):
        dataset.GetRasterBand(number).SetDescription(name)
    dataset = None
    return str(path)


def read(path) -> tuple[np.ndarray, float]:
    dataset = gdal.Open(str(path))
    band = dataset.GetRasterBand(1)
    return dataset.ReadAsArray().reshape(-1, ROWS, COLUMNS), band.GetNoDataValue()


def same(first: np.ndarray, second: np.ndarray) -> bool:
    return np.array_equal(first, second, equal_nan=first.dtype.kind == "f")


@each_case
def test_tiles_equal_the_whole_for_any_threads_and_masked_pixels_stay_masked(learner_id, mode, tmp_path):
    model, bands = model_of(learner_id, mode), scene()
    image = write(tmp_path / "image.tif", bands)
    valid = np.isfinite(bands).all(axis=0)
    for output_mode in model.output_modes:
        predict_image(Image([image]), model, str(tmp_path / "whole.tif"), output_mode, tile_size=256, threads=1)
        whole, nodata = read(tmp_path / "whole.tif")
        masked = np.isnan(whole) if np.isnan(nodata) else whole == nodata
        assert masked[:, ~valid].all(), output_mode
        assert not masked[:, valid].all(), output_mode
        for tile_size, threads in ((16, 1), (17, 4), (64, 2)):
            predict_image(
                Image([image]), model, str(tmp_path / "tiled.tif"), output_mode, tile_size=tile_size, threads=threads
            )
            assert same(whole, read(tmp_path / "tiled.tif")[0]), (output_mode, tile_size, threads)


@each_case
def test_a_row_is_predicted_for_itself(learner_id, mode):
    model, features = model_of(learner_id, mode), scene().reshape(3, -1).T
    features = np.ascontiguousarray(features[np.isfinite(features).all(axis=1)])
    for output_mode in model.output_modes:
        together = predict_rows(model, features, output_mode)
        for rows in (slice(0, 1), slice(5, 8), slice(100, 613)):
            assert same(predict_rows(model, features[rows], output_mode), together[:, rows]), (output_mode, rows)


@each_case
def test_saved_model_predicts_as_before(learner_id, mode, tmp_path):
    model, features = model_of(learner_id, mode), scene().reshape(3, -1).T
    features = features[np.isfinite(features).all(axis=1)]
    size = save_model(model, tmp_path / "model.rasterml")
    loaded = load_model(tmp_path / "model.rasterml")

    assert size == (tmp_path / "model.rasterml").stat().st_size
    assert (loaded.classes, loaded.predictors, loaded.settings) == (model.classes, model.predictors, model.settings)
    assert loaded.output_modes == model.output_modes
    for output_mode in model.output_modes:
        assert same(predict_rows(loaded, features, output_mode), predict_rows(model, features, output_mode))


@each_case
def test_same_samples_give_the_same_file_for_any_threads(learner_id, mode, tmp_path):
    save_model(model_of(learner_id, mode, 1), tmp_path / "one.rasterml")
    save_model(model_of(learner_id, mode, 3), tmp_path / "three.rasterml")

    assert (tmp_path / "one.rasterml").read_bytes() == (tmp_path / "three.rasterml").read_bytes()


@each_case
def test_bands_are_found_by_name(learner_id, mode, tmp_path):
    model, bands = model_of(learner_id, mode), scene()
    straight = write(tmp_path / "straight.tif", bands)
    turned = write(tmp_path / "turned.tif", [bands[2], bands[0] * 0, bands[1], bands[0]], ("height", "x", "nir", "red"))

    for name, image in (("a", straight), ("b", turned)):
        predict_image(Image([image]), model, str(tmp_path / f"{name}.tif"))

    assert same(read(tmp_path / "a.tif")[0], read(tmp_path / "b.tif")[0])


@each_case
def test_text_labels_travel_into_the_model(learner_id, mode):
    if mode != CLASSIFICATION:
        pytest.skip("a regression has no classes, and clusters have no labels")
    table = samples(learner_id, mode)
    names = {position: f"class {position}" for position in range(len(table.classes))}
    texts = [names[label] for label in table.labels]
    named = collect([Table("t", table.features.astype(float), texts)], PREDICTORS, "class", mode)

    model = train(learner_id, named, mode, settings_of(learner_id, mode))

    assert [item.name for item in model.classes] == sorted(names.values())


@each_case
def test_explanation_names_inputs_and_parameters(learner_id, mode):
    from rasterml.engine.explanation import explain

    explanation = explain(model_of(learner_id, mode))

    assert explanation["inputs"] == list(PREDICTORS)
    assert explanation["trainingRows"] == 90
    assert ("classes" in explanation) == (mode == CLASSIFICATION)
    assert ("clusters" in explanation) == (mode == CLUSTERING)
    assert list(explanation) == sorted(explanation)


@pytest.mark.parametrize("clusterer", CLUSTERERS, ids=lambda row: row.id)
def test_more_than_one_cluster_is_found_and_the_map_can_name_each(clusterer):
    model = model_of(clusterer.id, CLUSTERING)
    features = samples(clusterer.id, CLUSTERING).features
    clusters = predict_rows(model, features)[0]
    statistics = model.training["statistics"]

    assert np.unique(clusters).size > 1
    assert set(clusters.tolist()) <= {item.value for item in model.classes}
    assert np.bincount(clusters, minlength=len(model.classes)).tolist() == statistics["clusterSizes"]


SCRIPT = textwrap.dedent(
    """
    import importlib.util, sys
    import numpy as np

    class Missing:
        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] in ("sklearn", "scipy", "joblib"):
                raise ImportError(name)

    sys.meta_path.insert(0, Missing())
    root, folder = sys.argv[1:]
    spec = importlib.util.spec_from_file_location("rasterml", root + "/__init__.py", submodule_search_locations=[root])
    module = importlib.util.module_from_spec(spec)
    sys.modules["rasterml"] = module
    spec.loader.exec_module(module)
    from pathlib import Path
    from rasterml.engine.models import load_model
    from rasterml.engine.prediction import predict_rows

    features = np.load(folder + "/features.npy")
    for path in sorted(Path(folder).glob("*.rasterml")):
        model = load_model(path)
        for mode in model.output_modes:
            np.save(f"{folder}/{path.stem}.{mode}.npy", predict_rows(model, features, mode))
    """
)


def test_prediction_needs_numpy_only(tmp_path):
    features = scene().reshape(3, -1).T
    features = np.ascontiguousarray(features[np.isfinite(features).all(axis=1)])
    np.save(tmp_path / "features.npy", features)
    for learner_id, mode in CASES:
        save_model(model_of(learner_id, mode), tmp_path / f"{learner_id}-{mode}.rasterml")

    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(ROOT), str(tmp_path)], capture_output=True, text=True, check=False
    )

    assert run.returncode == 0, run.stderr
    for learner_id, mode in CASES:
        model = model_of(learner_id, mode)
        for output_mode in model.output_modes:
            there = np.load(tmp_path / f"{learner_id}-{mode}.{output_mode}.npy")
            assert same(there, predict_rows(model, features, output_mode)), (learner_id, output_mode)
