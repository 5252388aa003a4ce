"""A QGIS without scikit-learn and scipy still applies models, with the same result."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from osgeo import gdal
from rasterml.engine.images import Image
from rasterml.engine.learners import CLASSIFICATION, REGRESSION
from rasterml.engine.models import save_model
from rasterml.engine.prediction import predict_image
from small_models import PREDICTORS, make_samples, small_forest

ROOT = Path(__file__).resolve().parents[2]

SCRIPT = textwrap.dedent(
    """
    import importlib.util, sys

    class Missing:
        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] in ("sklearn", "scipy", "joblib"):
                raise ImportError(name)

    sys.meta_path.insert(0, Missing())
    root, model_path, image, folder = sys.argv[1:]
    spec = importlib.util.spec_from_file_location("rasterml", root + "/__init__.py", submodule_search_locations=[root])
    module = importlib.util.module_from_spec(spec)
    sys.modules["rasterml"] = module
    spec.loader.exec_module(module)
    from rasterml.engine.errors import MissingLibraryError
    from rasterml.engine.explanation import explain
    from rasterml.engine.images import Image
    from rasterml.engine.models import load_model
    from rasterml.engine.prediction import predict_image
    from rasterml.engine.training import require_sklearn

    model = load_model(model_path)
    for mode in model.output_modes:
        predict_image(Image([image]), model, folder + "/" + mode + ".tif", mode)
    explain(model)
    try:
        require_sklearn()
    except MissingLibraryError as error:
        print(error)
    assert not {"sklearn", "scipy"} & set(sys.modules)
    """
)


@pytest.mark.parametrize("mode", [CLASSIFICATION, REGRESSION])
def test_maps_are_the_same_and_training_says_what_to_install(mode, tmp_path):
    model = small_forest(mode)
    save_model(model, tmp_path / "forest.rasterml")
    values = make_samples().features[:238].T.reshape(3, 14, 17).copy()
    values[1, :3, :5] = np.nan
    dataset = gdal.GetDriverByName("GTiff").Create(str(tmp_path / "image.tif"), 17, 14, 3, gdal.GDT_Float32)
    dataset.WriteArray(values)
    for number, name in enumerate(PREDICTORS, 1):
        dataset.GetRasterBand(number).SetDescription(name)
    dataset = None

    arguments = [str(ROOT), str(tmp_path / "forest.rasterml"), str(tmp_path / "image.tif"), str(tmp_path)]
    run = subprocess.run([sys.executable, "-c", SCRIPT, *arguments], capture_output=True, text=True, check=False)

    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("Training needs scikit-learn, which this QGIS does not have: install python3-sklearn")
    for output_mode in model.output_modes:
        predict_image(Image([str(tmp_path / "image.tif")]), model, str(tmp_path / "here.tif"), output_mode)
        here, there = (gdal.Open(str(tmp_path / name)) for name in ("here.tif", f"{output_mode}.tif"))
        assert np.array_equal(here.ReadAsArray(), there.ReadAsArray(), equal_nan=True)
