"""A run that cannot work exits non-zero, says why in one sentence, and leaves nothing."""

from __future__ import annotations

from pathlib import Path

from osgeo import gdal


def test_missing_band_is_refused(qgis, scene, forest, tmp_path):
    run = qgis.by_json("classify", INPUT=scene.bands[:1], MODEL=forest, OUTPUT=str(tmp_path / "map.tif"))

    assert_refused(run, tmp_path, "nir")


def test_table_without_the_class_field_is_refused(qgis, samples, tmp_path):
    run = qgis.by_json(
        "trainrandomforest", TRAINING=samples, CLASS_PROPERTY="crop", OUTPUT=str(tmp_path / "forest.rasterml")
    )

    assert_refused(run, tmp_path, "crop")


def test_file_that_is_no_raster_is_refused(qgis, forest, tmp_path, scene):
    letter = scene.folder / "letter.tif"
    letter.write_text("Dear all,", "utf-8")

    run = qgis.by_json("classify", INPUT=[str(letter)], MODEL=forest, OUTPUT=str(tmp_path / "map.tif"))

    assert_refused(run, tmp_path, "letter.tif")


def test_raster_that_breaks_off_is_refused(qgis, scene, forest, tmp_path):
    """The header is whole, so that it opens; the last rows are missing."""
    cut = scene.folder / "cut" / "nir.tif"
    cut.parent.mkdir()
    cut.write_bytes(Path(scene.bands[1]).read_bytes()[:-1000])

    run = qgis.by_json("classify", INPUT=[scene.bands[0], str(cut)], MODEL=forest, OUTPUT=str(tmp_path / "map.tif"))

    assert_refused(run, tmp_path, "nir.tif")


def test_table_with_one_class_only_is_refused(qgis, samples, scene, tmp_path):
    only = str(scene.folder / "one_class.gpkg")
    gdal.VectorTranslate(only, samples, where="cover = 7")

    run = qgis.by_json(
        "trainrandomforest", TRAINING=only, CLASS_PROPERTY="cover", OUTPUT=str(tmp_path / "forest.rasterml")
    )

    assert_refused(run, tmp_path, "class")


def test_file_that_is_no_model_is_refused(qgis, scene, tmp_path):
    fake = scene.folder / "fake.rasterml"
    fake.write_bytes(b"PK\x03\x04 but no model")

    run = qgis.by_json("classify", INPUT=scene.bands, MODEL=str(fake), OUTPUT=str(tmp_path / "map.tif"))

    assert_refused(run, tmp_path, "fake.rasterml")


def test_folder_that_does_not_exist_is_refused(qgis, scene, forest, tmp_path):
    run = qgis.by_json("classify", INPUT=scene.bands, MODEL=forest, OUTPUT=str(tmp_path / "away" / "map.tif"))

    assert_refused(run, tmp_path, "away")


def assert_refused(run, folder: Path, word: str) -> None:
    assert run.exit_code != 0
    assert word in run.complaint
    assert "Traceback" not in run.errors + run.output
    assert len(run.complaint.splitlines()) == 1, run.complaint
    assert list(folder.iterdir()) == []
