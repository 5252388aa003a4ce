"""A signal to qgis_process ends long work at once, with a non-zero exit and without a trace on the disk."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import numpy as np
import pytest
from osgeo import gdal

LONGEST_END_SECONDS = 2
PATIENCE_SECONDS = 60


@pytest.fixture(scope="module")
def long_image(scene, tmp_path_factory):
    """The scene blown up to 21,000 × 28,700 pixels, as VRTs that take no space."""
    folder = tmp_path_factory.mktemp("large")
    paths = [folder / f"{Path(band).stem}.vrt" for band in scene.bands]
    for path, band in zip(paths, scene.bands):
        gdal.Translate(str(path), band, format="VRT", width=28_700, height=21_000)
    return paths


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    """250,000 rows of 10 random predictors and a random class: one tree takes a core some 15 seconds."""
    random = np.random.default_rng(0)
    rows = np.column_stack([random.integers(0, 2, 250_000), random.random((250_000, 10))])
    folder = tmp_path_factory.mktemp("noise")
    header = ",".join(["cover", *(f"band_{number}" for number in range(10))])
    np.savetxt(folder / "noise.csv", rows, fmt=["%d", *["%.6f"] * 10], delimiter=",", header=header, comments="")
    table = gdal.OpenEx(str(folder / "noise.csv"), open_options=["AUTODETECT_TYPE=YES"])
    gdal.VectorTranslate(str(folder / "noise.gpkg"), table)
    return str(folder / "noise.gpkg")


@pytest.fixture
def target(tmp_path):
    """An empty folder for the outputs."""
    folder = tmp_path / "target"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_signal_ends_a_long_classification(qgis, long_image, forest, tmp_path, target, number):
    inputs = [f"--INPUT={path}" for path in long_image]
    outputs = [f"--MODEL={forest}", f"--OUTPUT={target / 'map.tif'}"]
    process = qgis.start(tmp_path / "said", "run", "rasterml:classify", *inputs, *outputs)
    wait_until(process, lambda: any(target.iterdir()))  # the map under its temporary name

    assert_ends_at_once(process, number)
    assert list(target.iterdir()) == []


def test_signal_ends_a_fit_that_cannot_be_interrupted(qgis, noise, tmp_path, target):
    settings = {"NUMBER_OF_TREES": 1, "BAG_FRACTION": 0.99, "VARIABLES_PER_SPLIT": 10, "CLASS_PROPERTY": "cover"}
    paths = {"TRAINING": noise, "OUTPUT": str(target / "forest.rasterml")}
    inputs = [f"--{name}={value}" for name, value in {**settings, **paths}.items()]
    said = tmp_path / "said"
    process = qgis.start(said, "run", "rasterml:trainrandomforest", *inputs)
    wait_until(process, lambda: "Predictors:" in said.read_text(), and_for=4)  # reading the table takes a second or two

    assert_ends_at_once(process, signal.SIGINT)
    assert list(target.iterdir()) == []


def wait_until(process, begun, and_for: float = 0.5) -> None:
    """Return *and_for* seconds after *begun* is true; fail when the process ends before, or never begins."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not begun():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            pytest.fail(f"the work never began: {process.communicate()[1]}")
        time.sleep(0.05)
    time.sleep(and_for)


def assert_ends_at_once(process, number: signal.Signals) -> None:
    assert process.poll() is None, "the work was over before the signal came: make it longer"
    sent = time.monotonic()
    process.send_signal(number)
    try:
        _, errors = process.communicate(timeout=10 * LONGEST_END_SECONDS)
    finally:
        process.kill()
    assert time.monotonic() - sent < LONGEST_END_SECONDS
    assert process.returncode == 1
    assert "Canceled" in errors
    assert "Traceback" not in errors
