"""The eight algorithms through qgis_process, by flags and by JSON: exit codes, numbers, pixels, complaints."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from osgeo import gdal

MIB_100 = 100 * 2**20

# Per algorithm: the parameters, with "{folder}" for the folder of its run, and the numbers that must come back.
# 120 pixels lie in the training areas, 20 of them without data; a float32 value has 4 bytes.
CHAIN = {
    "sampleregions": (
        {"INPUT": "{bands}", "COLLECTION": "{training}", "PROPERTIES": ["cover"], "OUTPUT": "{folder}/samples.gpkg"},
        {"COUNT": 100, "DROPPED": 20},
    ),
    "trainrandomforest": (
        {
            "TRAINING": "{folder}/samples.gpkg",
            "CLASS_PROPERTY": "cover",
            "NUMBER_OF_TREES": 10,
            "OUTPUT": "{folder}/forest.rasterml",
            "OUTPUT_HTML_FILE": "{folder}/training.html",
        },
        {
            "EXAMPLES": 100,
            "PREDICTORS": 2,
            "CLASSES": 2,
            "TRAINING_BYTES": 100 * 2 * 4,
            "TRAINING_ACCURACY": 1,
            "OUT_OF_BAG_ERROR": 0,
        },
    ),
    "classify": (
        {"INPUT": "{bands}", "MODEL": "{folder}/forest.rasterml", "OUTPUT": "{folder}/map.tif"},
        {"PIXELS": 30 * 41, "PREDICTED": 30 * 41 - 20, "MASKED": 20},
    ),
    "classifytable": (
        {"INPUT": "{held_out_samples}", "MODEL": "{folder}/forest.rasterml", "OUTPUT": "{folder}/classified.gpkg"},
        {},
    ),
    "errormatrix": (
        {
            "INPUT": "{folder}/classified.gpkg",
            "ACTUAL": "cover",
            "PREDICTED": "classification",
            "OUTPUT": "{folder}/matrix.csv",
            "OUTPUT_HTML_FILE": "{folder}/matrix.html",
        },
        {"ACCURACY": 1, "KAPPA": 1, "COUNT": 60},
    ),
    "confusionmatrix": (
        {
            "MODEL": "{folder}/forest.rasterml",
            "OUTPUT": "{folder}/confusion.csv",
            "OUTPUT_HTML_FILE": "{folder}/confusion.html",
        },
        {"ACCURACY": 1, "KAPPA": 1, "COUNT": 100},
    ),
    "explain": (
        {
            "MODEL": "{folder}/forest.rasterml",
            "OUTPUT": "{folder}/explain.json",
            "OUTPUT_HTML_FILE": "{folder}/explain.html",
        },
        {},
    ),
    "checklimits": (
        {
            "INPUT": "{bands}",
            "TRAINING": "{folder}/samples.gpkg",
            "MODEL": "{folder}/forest.rasterml",
            "OUTPUT_HTML_FILE": "{folder}/limits.html",
        },
        {
            "TRAINING_VALUES": 200,
            "TRAINING_BYTES": 800,
            "TRAINING_SHARE": 800 / MIB_100,
            "BANDS": 2,
            "BANDS_SHARE": 2 / 400,
            "TILE_BYTES": 256 * 256 * 4 * 2,
        },
    ),
}
each_algorithm = pytest.mark.parametrize("algorithm", CHAIN)


@pytest.fixture(scope="module")
def held_out_samples(qgis, scene):
    path = str(scene.folder / "held_out.gpkg")
    qgis.by_json("sampleregions", INPUT=scene.bands, COLLECTION=scene.held_out, OUTPUT=path)
    return path


@pytest.fixture(scope="module", params=["by_flags", "by_json"])
def chain(request, qgis, scene, held_out_samples, tmp_path_factory):
    """All eight, one after the other, in a folder of their own: the folder and each one's run."""
    folder = tmp_path_factory.mktemp(request.param)
    words = {"{bands}": scene.bands, "{training}": scene.training, "{held_out_samples}": held_out_samples}
    runs = {}
    for algorithm, (template, _) in CHAIN.items():
        inputs = {name: words.get(str(value), value) for name, value in template.items()}
        inputs = {
            name: value.replace("{folder}", str(folder)) if isinstance(value, str) else value
            for name, value in inputs.items()
        }
        runs[algorithm] = getattr(qgis, request.param)(algorithm, **inputs)
    return folder, runs


def test_provider_and_its_algorithms_are_listed(qgis):
    listed = json.loads(qgis.process("--json", "list").output)["providers"]["rasterml"]["algorithms"]

    assert {f"rasterml:{name}" for name in CHAIN} <= set(listed)


@each_algorithm
def test_run_ends_well_and_leaves_its_outputs(chain, algorithm):
    folder, runs = chain

    results = runs[algorithm].results
    paths = [Path(results[name]) for name in CHAIN[algorithm][0] if name.startswith("OUTPUT")]
    assert [path for path in paths if not path.is_file() or path.parent != folder] == []


@each_algorithm
def test_numbers_arrive_as_numbers(chain, algorithm):
    _, runs = chain

    expected = CHAIN[algorithm][1]
    results = runs[algorithm].results
    assert {name: type(results[name]) for name in expected if type(results[name]) not in (int, float)} == {}
    assert {name: results[name] for name in expected} == pytest.approx(expected, rel=1e-9)


def test_nothing_temporary_is_left(chain):
    folder, _ = chain

    assert [path.name for path in folder.iterdir() if path.name.startswith(".") or ".part" in path.name] == []


def test_map_has_the_class_of_every_pixel_and_no_data_in_the_corner(chain, scene):
    folder, _ = chain

    dataset = gdal.Open(str(folder / "map.tif"))
    band = dataset.GetRasterBand(1)
    assert band.DataType == gdal.GDT_Byte
    assert band.GetNoDataValue() == 255
    np.testing.assert_array_equal(band.ReadAsArray(), scene.classes)
    assert dataset.GetGeoTransform() == (300_000, 10, 0, 5_800_000, 0, -10)
    assert (folder / "map.qml").is_file()


def test_limits_know_the_size_of_the_model_file(chain):
    folder, runs = chain

    size = (folder / "forest.rasterml").stat().st_size
    limits = runs["checklimits"].results
    assert runs["trainrandomforest"].results["MODEL_BYTES"] == limits["MODEL_BYTES"] == size
    assert limits["MODEL_SHARE"] == pytest.approx(size / MIB_100)
    assert limits["VERDICT"] == "ok"


def test_explanation_is_json_that_names_every_predictor(chain):
    folder, _ = chain

    explanation = json.loads((folder / "explain.json").read_text("utf-8"))
    assert set(explanation["importance"]) == {"red", "nir"}
    assert explanation["numberOfTrees"] == 10


def test_error_matrix_of_a_table_worked_out_by_hand(qgis, tmp_path):
    table = tmp_path / "pairs.csv"
    pairs = [(0, 0)] * 3 + [(0, 7)] * 1 + [(7, 0)] * 2 + [(7, 7)] * 4
    with table.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("actual", "predicted"), *pairs])

    results = qgis.by_json(
        "errormatrix", INPUT=str(table), ACTUAL="actual", PREDICTED="predicted", OUTPUT=str(tmp_path / "matrix.csv")
    ).results

    # by chance (4·5 + 6·5) / 100 = 0.5 agree; kappa = (0.7 − 0.5) / (1 − 0.5)
    assert {name: results[name] for name in ("ACCURACY", "KAPPA", "COUNT")} == pytest.approx(
        {"ACCURACY": 0.7, "KAPPA": 0.4, "COUNT": 10}
    )
