"""The recipes of docs/from-earth-engine.md, run as they stand there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import processing
import pytest
from qgis.core import QgsApplication, QgsProcessingParameterMultipleLayers
from rasterml.engine.models import load_model
from small_world import read, rows_of

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "from-earth-engine.md"
PARTS = {"developed": (1, 500), "herbaceous": (3, 400), "forest": (5, 600), "water": (6, 300)}


def commands(title: str) -> list[tuple[str, dict]]:
    """Return (algorithm, parameters) of each command under the heading that holds *title*."""
    section = next(part for part in DOCUMENT.read_text().split("\n## ") if title in part.splitlines()[0])
    found = []
    for line in re.findall(r"^    qgis_process run (.+)$", section.replace("\\\n", ""), re.MULTILINE):
        algorithm, *options = shlex.split(line)
        parameters: dict = {}
        for option in options:
            name, value = option[2:].split("=", 1)
            parameters.setdefault(name, []).append(value)
        found.append((algorithm, {name: _joined(algorithm, name, values) for name, values in parameters.items()}))
    return found


def _joined(algorithm: str, name: str, values: list[str]):
    definition = QgsApplication.processingRegistry().algorithmById(algorithm).parameterDefinition(name)
    assert definition is not None, f"{algorithm} has no {name}"
    if isinstance(definition, QgsProcessingParameterMultipleLayers):
        return values
    assert len(values) == 1
    return values[0]


@pytest.fixture
def scene(shared, tmp_path, monkeypatch):
    """A working folder with the files that the recipes name."""
    for path in (shared / "data" / "nc_landsat7").glob("*.tif"):
        (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_cart_is_trained_on_four_samples_each_of_one_class(provider, scene):
    results = [processing.run(algorithm, parameters) for algorithm, parameters in commands("training in parts")]
    *samples, cart, _ = results

    assert [sample["COUNT"] for sample in samples] == [count for _, count in PARTS.values()]
    for name, (value, count) in PARTS.items():
        assert [row["strata"] for row in rows_of(scene / f"{name}.gpkg")] == [value] * count
    assert (cart["EXAMPLES"], cart["PREDICTORS"], cart["CLASSES"]) == (1800, 5, 4)

    model = load_model(scene / "parts.rasterml")
    assert [item.value for item in model.classes] == [1, 3, 5, 6]
    assert model.training["class_rows"] == [500, 400, 600, 300]
    assert model.predictors == tuple(f"lsat7_2000_{band}0" for band in range(1, 6))

    mapped, truth = read(scene / "parts.tif")[0], read(scene / "strata.tif")[0]
    assert set(np.unique(mapped)) == {1, 3, 5, 6, 255}
    assert (mapped != 255).sum() == 183_418  # the valid pixels of bands 1–5, as ../shared/data/README.md counts them
    seen = mapped != 255
    for value in (1, 3, 5, 6):  # the tree knows the land: each class is found at its places more often than elsewhere
        there = truth == value
        assert (mapped[seen & there] == value).mean() > 2 * (mapped[seen & ~there] == value).mean()


def test_one_table_of_the_four_rows_gives_the_same_tree(provider, scene):
    *samples, (algorithm, training), _ = commands("training in parts")
    for sample in samples:
        processing.run(*sample)
    processing.run(algorithm, training)
    merged = processing.run(
        "native:mergevectorlayers", {"LAYERS": training["TRAINING"], "OUTPUT": str(scene / "merged.gpkg")}
    )["OUTPUT"]
    chosen = [f"lsat7_2000_{band}0" for band in range(1, 6)]
    once = {**training, "TRAINING": [merged], "INPUT_PROPERTIES": chosen, "OUTPUT": str(scene / "once.rasterml")}
    processing.run(algorithm, once)

    parts, whole = load_model(scene / "parts.rasterml"), load_model(scene / "once.rasterml")
    assert parts.arrays.keys() == whole.arrays.keys()
    for name, array in parts.arrays.items():
        np.testing.assert_array_equal(array, whole.arrays[name])


def test_the_small_forest_keeps_its_bounds(provider, scene):
    sample, forest, limits = [
        processing.run(algorithm, parameters) for algorithm, parameters in commands("a forest that stays small")
    ]

    # 1000 of each class; class 7 has fewer, all of which are taken where the bands are valid too
    counts = np.bincount([int(row["strata"]) for row in rows_of(scene / "all.gpkg")])
    assert list(counts[:7]) == [0, *[1000] * 6]
    assert 0 < counts[7] <= 194
    assert sample["COUNT"] == forest["EXAMPLES"] == counts.sum()
    assert (forest["PREDICTORS"], forest["CLASSES"]) == (5, 7)

    arrays = load_model(scene / "small.rasterml").arrays
    population = arrays["leaf_counts"].sum(axis=1)
    leaves = np.add.reduceat(arrays["feature"] < 0, arrays["tree_start"][:-1])
    assert len(leaves) == 10
    assert leaves.max() <= 10_000
    assert population.min() >= 10
    assert leaves.max() <= counts.sum() * 0.5 / 10 + 1  # half of the samples are in a bag
    assert limits["VERDICT"] == "ok"
    assert limits["MODEL_BYTES"] == forest["MODEL_BYTES"] == (scene / "small.rasterml").stat().st_size
