"""Interrupted runs go on where they stopped, and only where nothing changed."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from osgeo import gdal
from rasterml.engine.errors import Canceled, SettingError, StorageError
from rasterml.engine.images import Image
from rasterml.engine.learners import CLASSIFICATION, REGRESSION
from rasterml.engine.models import save_model
from rasterml.engine.prediction import predict_image
from rasterml.engine.progress import Progress
from small_models import PREDICTORS, small_forest

ROOT = Path(__file__).resolve().parents[2]


class StopAfter(Progress):
    """Cancels when so many tiles are done."""

    def __init__(self, tiles: float = np.inf) -> None:
        self.tiles, self.done = tiles, 0

    def is_canceled(self) -> bool:
        return self.done >= self.tiles

    def share(self, share: float) -> None:
        self.done += 1


@pytest.fixture
def image(tmp_path):
    """Three bands of 100 × 130 pixels in one file, its left part masked."""
    path = tmp_path / "scene.tif"
    dataset = gdal.GetDriverByName("GTiff").Create(str(path), 130, 100, 3, gdal.GDT_Float32)
    values = np.random.default_rng(1).normal(size=(3, 100, 130)) * [[[12]], [[0.2]], [[400]]]
    values += [[[50]], [[0.3]], [[1000]]]
    values[0, :, :40] = -1
    dataset.WriteArray(values)
    for number, name in enumerate(PREDICTORS, 1):
        dataset.GetRasterBand(number).SetDescription(name)
        dataset.GetRasterBand(number).SetNoDataValue(-1)
    dataset = None
    return path


def read(path) -> np.ndarray:
    dataset = gdal.Open(str(path))
    return dataset.ReadAsArray()


def run(image, model, output, **more):
    return predict_image(Image([str(image)]), model, str(output), tile_size=32, threads=1, resume=True, **more)


@pytest.mark.parametrize("mode", [CLASSIFICATION, REGRESSION])
def test_continued_run_equals_an_uninterrupted_one_and_computes_only_the_rest(mode, image, tmp_path, monkeypatch):
    model, output = small_forest(mode), tmp_path / "map.tif"
    whole = predict_image(Image([str(image)]), model, str(tmp_path / "whole.tif"))
    with pytest.raises(Canceled):
        run(image, model, output, progress=StopAfter(9))
    assert not output.exists()
    kept = len(list(tmp_path.glob(".map.tif.resume/*.npy")))
    predicted = []
    from rasterml.engine.prediction import _Tiling

    original = _Tiling.predict
    monkeypatch.setattr(_Tiling, "predict", lambda self, *rest: predicted.append(1) or original(self, *rest))

    counts = run(image, model, output)

    assert 9 <= kept < 20
    assert len(predicted) == 20 - kept  # 4 × 5 tiles in all
    assert counts == whole
    assert np.array_equal(read(output), read(tmp_path / "whole.tif"), equal_nan=True)
    assert not list(tmp_path.glob(".map*"))


def test_run_without_resume_keeps_nothing(image, tmp_path):
    with pytest.raises(Canceled):
        predict_image(Image([str(image)]), small_forest(), str(tmp_path / "m.tif"), tile_size=32, progress=StopAfter(9))

    assert [path.name for path in tmp_path.iterdir()] == ["scene.tif"]


@pytest.mark.parametrize("change", ["the model", "an input raster", "a setting"])
def test_changed_run_is_refused_and_says_what_changed(change, image, tmp_path):
    output = tmp_path / "map.tif"
    with pytest.raises(Canceled):
        run(image, small_forest(), output, progress=StopAfter(9))
    model, more = small_forest(seed=9 if change == "the model" else 0), {}
    if change == "an input raster":
        os.utime(image, ns=(1, 1))
    if change == "a setting":
        more["mode"] = "PROBABILITY"

    with pytest.raises(SettingError, match=f"RESUME cannot continue .*: {change} changed .* Delete the folder"):
        run(image, model, output, **more)
    assert not output.exists()


def test_damaged_tile_is_refused(image, tmp_path):
    with pytest.raises(Canceled):
        run(image, small_forest(), tmp_path / "map.tif", progress=StopAfter(9))
    next(tmp_path.glob(".map.tif.resume/*.npy")).write_bytes(b"not an array")

    with pytest.raises(StorageError, match="is damaged: delete the folder"):
        run(image, small_forest(), tmp_path / "map.tif")


def test_killed_run_is_continued(image, tmp_path):
    save_model(small_forest(), tmp_path / "forest.rasterml")
    script = textwrap.dedent(
        """
        import importlib.util, os, signal, sys
        spec = importlib.util.spec_from_file_location(
            "rasterml", sys.argv[1] + "/__init__.py", submodule_search_locations=[sys.argv[1]])
        module = importlib.util.module_from_spec(spec)
        sys.modules["rasterml"] = module
        spec.loader.exec_module(module)
        from rasterml.engine.images import Image
        from rasterml.engine.models import load_model
        from rasterml.engine.prediction import predict_image
        from rasterml.engine.progress import Progress

        class Killer(Progress):
            done = 0
            def share(self, share):
                self.done += 1
                if self.done == 11:
                    os.kill(os.getpid(), signal.SIGKILL)

        model = load_model(sys.argv[3])
        predict_image(Image([sys.argv[2]]), model, sys.argv[4], tile_size=32, threads=2, resume=True, progress=Killer())
        """
    )
    arguments = [str(ROOT), str(image), str(tmp_path / "forest.rasterml"), str(tmp_path / "map.tif")]
    killed = subprocess.run([sys.executable, "-c", script, *arguments], check=False)
    assert killed.returncode == -9
    assert not (tmp_path / "map.tif").exists()

    run(image, small_forest(), tmp_path / "map.tif")
    predict_image(Image([str(image)]), small_forest(), str(tmp_path / "whole.tif"))

    assert np.array_equal(read(tmp_path / "map.tif"), read(tmp_path / "whole.tif"))
