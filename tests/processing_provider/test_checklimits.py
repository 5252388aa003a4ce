from __future__ import annotations

import numpy as np
import processing
import pytest
from osgeo import gdal, osr
from qgis.core import QgsProcessingException, QgsProcessingFeedback
from rasterml.engine.classes import class_table
from rasterml.engine.models import Model, save_model

NUMBERS = (
    "TRAINING_VALUES",
    "TRAINING_BYTES",
    "TRAINING_SHARE",
    "BANDS",
    "BANDS_SHARE",
    "TILE_BYTES",
    "MODEL_BYTES",
    "MODEL_SHARE",
)


def run(feedback=None, **parameters):
    return processing.run("rasterml:checklimits", parameters, feedback=feedback)


def refusal(**parameters):
    """What QGIS says about a run that fails."""
    feedback = QgsProcessingFeedback()
    with pytest.raises(QgsProcessingException) as raised:
        run(feedback=feedback, **parameters)
    return f"{raised.value} {feedback.textLog()}"


def raster(path, bands, rows=3, columns=4, epsg=32617, origin=500_000):
    dataset = gdal.GetDriverByName("GTiff").Create(str(path), columns, rows, bands, gdal.GDT_Int16)
    dataset.SetGeoTransform((origin, 30, 0, 4_000_000, 0, -30))
    if epsg:
        system = osr.SpatialReference()
        system.ImportFromEPSG(epsg)
        dataset.SetProjection(system.ExportToWkt())
    return str(path)


def samples(path, rows, header="land,system_index,red,near,swir,random"):
    """A CSV of sampleregions' layout, with a .csvt as RasterML writes it."""
    kinds = ["String" if name == "system_index" else "Real" for name in header.split(",")]
    line = ",".join("0_0" if kind == "String" else "7" for kind in kinds)
    path.write_text("\n".join([header, *[line] * rows]) + "\n")
    path.with_suffix(".csvt").write_text(",".join(f'"{kind}"' for kind in kinds))
    return str(path)


def forest(path, trees=3):
    """Write a forest of *trees* single leaves."""
    arrays = {
        "tree_start": np.arange(trees + 1, dtype=np.int64),
        "feature": np.full(trees, -1, dtype=np.int16),
        "threshold": np.zeros(trees),
        "right": np.zeros(trees, dtype=np.int32),
        "leaf_counts": np.full((trees, 2), 3, dtype=np.uint16),
        "tree_weight": np.ones(trees),
    }
    settings = {"number_of_trees": trees}
    save_model(
        Model("trainrandomforest", "CLASSIFICATION", settings, ("red",), class_table((0, 7)), "land", arrays), path
    )
    return str(path)


def test_it_has_the_frozen_parameters_and_outputs(provider):
    algorithm = provider.algorithm("checklimits")

    parameters = {item.name(): item for item in algorithm.parameterDefinitions()}
    assert set(parameters) == {
        "INPUT", "TRAINING", "CLASS_PROPERTY", "INPUT_PROPERTIES", "MODEL", "OUTPUT_HTML_FILE",
    }  # fmt: skip
    assert all(int(item.flags()) & int(item.Flag.FlagOptional) for item in parameters.values())
    assert {item.name() for item in algorithm.outputDefinitions()} == {*NUMBERS, "VERDICT", "OUTPUT_HTML_FILE"}
    assert algorithm.groupId() == "limits"


def test_nothing_to_check_is_refused(provider):
    assert "give INPUT, TRAINING or MODEL" in refusal()


def test_bands_of_all_rasters_count_also_on_different_grids_and_without_a_crs(provider, tmp_path):
    first = raster(tmp_path / "first.tif", 2)
    second = raster(tmp_path / "second.tif", 3, rows=7, columns=5, epsg=0, origin=0)
    results = run(INPUT=[first, second])

    assert results["BANDS"] == 5
    assert results["BANDS_SHARE"] == pytest.approx(5 / 400)
    assert results["TILE_BYTES"] == 256 * 256 * 4 * 5
    assert results["VERDICT"] == "ok"
    assert results["TRAINING_VALUES"] is None
    assert results["MODEL_BYTES"] is None


@pytest.mark.parametrize(("bands", "verdict"), [(319, "ok"), (320, "near"), (399, "near"), (400, "over")])
def test_the_verdict_on_bands_changes_at_the_cap(provider, tmp_path, bands, verdict):
    assert run(INPUT=[raster(tmp_path / "many.tif", bands)])["VERDICT"] == verdict


def test_training_counts_rows_and_the_predictors_right_of_the_index(provider, tmp_path):
    results = run(TRAINING=[samples(tmp_path / "samples.csv", 10)])

    assert results["TRAINING_VALUES"] == 30  # red, near, swir
    assert results["TRAINING_BYTES"] == 120
    assert results["TRAINING_SHARE"] == pytest.approx(30 / 26_214_400)
    assert results["BANDS"] is None


def test_chosen_predictors_and_the_class_field_are_respected(provider, tmp_path):
    table = samples(tmp_path / "plain.csv", 10, "land,red,near,swir")

    assert run(TRAINING=[table])["TRAINING_VALUES"] == 40
    assert run(TRAINING=[table], CLASS_PROPERTY="land")["TRAINING_VALUES"] == 30
    assert run(TRAINING=[table], INPUT_PROPERTIES=["red", "swir"])["TRAINING_VALUES"] == 20


def test_several_tables_are_summed_and_the_share_is_that_of_the_fullest(provider, tmp_path):
    results = run(TRAINING=[samples(tmp_path / "a.csv", 10), samples(tmp_path / "b.csv", 4)])

    assert results["TRAINING_VALUES"] == 42
    assert results["TRAINING_BYTES"] == 168
    assert results["TRAINING_SHARE"] == pytest.approx(30 / 26_214_400)


def test_a_model_is_weighed_by_its_file(provider, tmp_path):
    path = forest(tmp_path / "small.rasterml")
    size = (tmp_path / "small.rasterml").stat().st_size
    results = run(MODEL=path)

    assert results["MODEL_BYTES"] == size
    assert results["MODEL_SHARE"] == pytest.approx(size / 104_857_600)
    assert results["VERDICT"] == "ok"


def test_the_verdict_is_the_worst_and_the_report_tells_all(provider, tmp_path):
    report = tmp_path / "limits.html"
    results = run(
        INPUT=[raster(tmp_path / "many.tif", 400)],
        TRAINING=[samples(tmp_path / "samples.csv", 10)],
        MODEL=forest(tmp_path / "small.rasterml"),
        OUTPUT_HTML_FILE=str(report),
    )

    assert results["VERDICT"] == "over"
    assert all(results[name] is not None for name in NUMBERS)
    text = report.read_text(encoding="utf-8")
    assert "10 rows × 3 predictors" in text
    assert "Choose at most 399 bands with BANDS." in text
    assert results["OUTPUT_HTML_FILE"] == str(report)


def test_what_cannot_be_used_is_refused_with_a_sentence(provider, tmp_path):
    table = samples(tmp_path / "samples.csv", 2)
    words = samples(tmp_path / "words.csv", 2, "land,system_index")

    assert "no field 'blue'" in refusal(TRAINING=[table], INPUT_PROPERTIES=["blue"])
    assert "no field 'blue'" in refusal(TRAINING=[table], CLASS_PROPERTY="blue")
    assert "no numeric field" in refusal(TRAINING=[words])
    assert "ends in .rasterml" in refusal(MODEL=str(tmp_path / "model.pkl"))
    for name, file in (("MODEL", "absent.rasterml"), ("TRAINING", "absent.csv"), ("INPUT", "absent.tif")):
        path = str(tmp_path / file)
        assert file in refusal(**{name: path if name == "MODEL" else [path]})
