"""The eight algorithms as children of a saved model, and one of them in QGIS's own batch."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from osgeo import gdal

SCRIPTS = Path(__file__).with_name("pyqgis_scripts.py")
OUTPUTS = {  # <child>:<output of the model>
    "classify_4:map": "map.tif",
    "errormatrix_6:matrix": "matrix.csv",
    "confusionmatrix_7:confusion": "confusion.csv",
    "explain_8:explanation": "explanation.json",
    "checklimits_9:limits": "limits.html",
}


@pytest.fixture(scope="module")
def model_run(qgis, scene, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    saved = qgis.python(SCRIPTS, "model", str(qgis.plugins), str(folder / "landcover.model3"))
    assert saved.exit_code == 0, saved.errors
    inputs = {"image": scene.bands, "training": scene.training, "held_out": scene.held_out}
    inputs |= {output: str(folder / file) for output, file in OUTPUTS.items()}
    return folder, qgis.process("run", str(folder / "landcover.model3"), "-", text=json.dumps({"inputs": inputs}))


def test_saved_model_runs_with_all_algorithms_as_children(model_run):
    folder, run = model_run

    assert run.exit_code == 0, run.errors
    assert {path.name for path in folder.iterdir()} >= set(OUTPUTS.values())


def test_saved_model_maps_the_scene(model_run, scene):
    folder, _ = model_run

    np.testing.assert_array_equal(gdal.Open(str(folder / "map.tif")).ReadAsArray(), scene.classes)


def test_each_row_of_a_batch_maps_its_own_image(qgis, scene, forest, tmp_path):
    """The second image is the first turned upside down: its map is too."""
    upside_down = []
    for band in scene.bands:
        source = gdal.Open(band)
        copy = gdal.GetDriverByName("GTiff").CreateCopy(str(tmp_path / Path(band).name), source)
        copy.WriteArray(source.ReadAsArray()[::-1])
        upside_down.append(copy.GetDescription())
        del copy
    rows = [
        {"INPUT": bands, "MODEL": forest, "OUTPUT": str(tmp_path / f"{name}.tif")}
        for name, bands in (("first", scene.bands), ("second", upside_down))
    ]

    run = qgis.python(SCRIPTS, "batch", str(qgis.plugins), json.dumps({"algorithm": "rasterml:classify", "rows": rows}))

    assert run.exit_code == 0, run.errors
    results, errors = json.loads(run.output)
    assert errors == []
    assert [row["PREDICTED"] for row in results] == [1210, 1210]
    maps = [gdal.Open(row["OUTPUT"]).ReadAsArray() for row in rows]
    np.testing.assert_array_equal(maps[0], scene.classes)
    np.testing.assert_array_equal(maps[1], scene.classes[::-1])
