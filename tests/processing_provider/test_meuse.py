"""Regression with classifiers on real data: zinc in the floodplain of the Meuse (155 samples, ../shared/data/meuse)."""

from __future__ import annotations

import numpy as np
import processing
import pytest
from osgeo import gdal
from qgis.core import QgsVectorLayer
from small_world import read, rows_of, run

pytestmark = pytest.mark.usefixtures("provider")

COVARIATES = ("dem", "slope", "twi", "rsp", "chnl_dist", "mrvbf", "dist")


@pytest.fixture
def samples(shared, tmp_path) -> dict:
    """The covariates' files, and two tables: every third sample is held out."""
    folder = shared / "data" / "meuse"
    images = [str(folder / f"{name}.tif") for name in COVARIATES]
    # The rasters have no CRS, the samples have that of the rasters' coordinates.
    points = processing.run(
        "native:fieldcalculator",
        {"INPUT": str(folder / "meuse.shp"), "FIELD_NAME": "log_zinc", "FIELD_TYPE": 0, "FIELD_LENGTH": 0,
         "FIELD_PRECISION": 0, "FORMULA": 'ln("zinc")', "OUTPUT": str(tmp_path / "points.gpkg")},
    )["OUTPUT"]  # fmt: skip
    sampled = run(
        "sampleregions", INPUT=images, COLLECTION=points, PROPERTIES=["log_zinc"], OUTPUT=str(tmp_path / "samples.gpkg")
    )["OUTPUT"]
    tables = {"images": images}
    for name, condition in (("training", "fid % 3 <> 0"), ("held_out", "fid % 3 = 0")):
        tables[name] = processing.run(
            "native:extractbyexpression",
            {"INPUT": sampled, "EXPRESSION": condition, "OUTPUT": str(tmp_path / f"{name}.gpkg")},
        )["OUTPUT"]
    return tables


FOREST = ("trainrandomforest", {"NUMBER_OF_TREES": 300})
# Scaled by hand, as Earth Engine leaves it to its users: dist is 0..1, the others would drown it.
MACHINE = (
    "trainsvm",
    {"SVM_TYPE": "EPSILON_SVR", "KERNEL_TYPE": "RBF", "GAMMA": 3, "COST": 2, "INPUT_PROPERTIES": ["dist"]},
)


@pytest.mark.parametrize(("algorithm", "settings"), [FOREST, MACHINE], ids=["forest", "machine"])
def test_zinc_is_mapped_and_better_than_its_mean(samples, tmp_path, algorithm, settings):
    model = str(tmp_path / "zinc.rasterml")
    report = tmp_path / "zinc.html"
    run(
        algorithm, TRAINING=[samples["training"]], CLASS_PROPERTY="log_zinc", MODE="REGRESSION", OUTPUT=model,
        OUTPUT_HTML_FILE=str(report), **settings,
    )  # fmt: skip
    counts = run("classify", INPUT=samples["images"], MODEL=model, OUTPUT=str(tmp_path / "zinc.tif"))
    guessed = run("classifytable", INPUT=samples["held_out"], MODEL=model, OUTPUT=str(tmp_path / "guessed.gpkg"))
    errors = run(
        "regressionaccuracy", INPUT=guessed["OUTPUT"], ACTUAL="log_zinc", PREDICTED="classification",
        OUTPUT=str(tmp_path / "errors.gpkg"),
    )  # fmt: skip

    # data/README: a forest on nine covariates has R2 0.64 and RMSE 0.42 in ten folds; log(zinc) lies within 4.7 to 7.6
    assert errors["R_SQUARED"] > 0.45 and errors["RMSE"] < 0.55
    zinc = read(tmp_path / "zinc.tif")[0]
    assert np.nanmin(zinc) > 4 and np.nanmax(zinc) < 8
    assert counts["PREDICTED"] == np.isfinite(zinc).sum() > 3000
    dist = gdal.Open(samples["images"][-1]).ReadAsArray()
    near, far = (np.nanmean(zinc[(dist >= low) & (dist < high)]) for low, high in ((0, 0.1), (0.5, 1)))
    assert near > far + 0.5  # the river brought it
    assert "Largest residuals" in report.read_text(encoding="utf-8")
    rows = rows_of(QgsVectorLayer(str(tmp_path / "errors.gpkg")))
    assert len(rows) == errors["COUNT"]


def test_log_of_zinc_falls_with_the_root_of_the_distance(shared, tmp_path):
    """data/README: log(zinc) = 6.9944 - 2.5492 sqrt(dist), all 155 samples."""
    table = str(shared / "data" / "meuse" / "meuse.shp")
    for name, formula in (("log_zinc", 'ln("zinc")'), ("root", 'sqrt("dist")')):
        table = processing.run(
            "native:fieldcalculator",
            {"INPUT": table, "FIELD_NAME": name, "FIELD_TYPE": 0, "FIELD_LENGTH": 0, "FIELD_PRECISION": 0,
             "FORMULA": formula, "OUTPUT": str(tmp_path / f"{name}.gpkg")},
        )["OUTPUT"]  # fmt: skip

    results = run("regresscolumns", INPUT=table, REDUCER="linearFit", X=["root"], Y=["log_zinc"], OUTPUT="memory:")

    assert (round(results["OFFSET"], 4), round(results["SCALE"], 4), results["N"]) == (6.9944, -2.5492, 155)
