"""What a table format loses is kept beside the table."""

from __future__ import annotations

import json
import stat

import pytest
from rasterml.engine import sidecar
from rasterml.engine.classes import LandClass
from rasterml.engine.errors import StorageError
from rasterml.engine.sidecar import Notes

CLASSES = (LandClass(0, "Wald", "#1f7a3a"), LandClass(7, "Straße", "#8f8f8f"))
NOTES = Notes({"lsat7_2000": "lsat7_2000_10"}, ("lsat7_2000_10",), "cover", CLASSES)


def test_notes_come_back_as_they_were(tmp_path):
    sidecar.write(tmp_path / "samples.shp", "samples", NOTES)

    assert sidecar.read(tmp_path / "samples.shp", "samples") == NOTES
    assert [file.name for file in tmp_path.iterdir()] == ["samples.shp.rasterml.json"]


def test_file_has_the_documented_members(tmp_path):
    sidecar.write(tmp_path / "samples.shp", "samples", NOTES)
    written = json.loads((tmp_path / "samples.shp.rasterml.json").read_text(encoding="utf-8"))

    assert written == {
        "samples": {
            "fields": {"lsat7_2000": "lsat7_2000_10"},
            "bands": ["lsat7_2000_10"],
            "class_property": "cover",
            "classes": [
                {"value": 0, "name": "Wald", "colour": "#1f7a3a"},
                {"value": 7, "name": "Straße", "colour": "#8f8f8f"},
            ],
        }
    }


def test_notes_on_patches_have_their_side(tmp_path):
    notes = Notes(bands=("red", "nir"), patch_side=5)
    sidecar.write(tmp_path / "patches.tfrecord.gz", "", notes)
    written = json.loads((tmp_path / "patches.tfrecord.gz.rasterml.json").read_text(encoding="utf-8"))

    assert written["patches.tfrecord"]["patch_side"] == 5
    assert sidecar.read(tmp_path / "patches.tfrecord.gz") == notes


def test_layers_of_one_file_keep_their_own_notes(tmp_path):
    path = tmp_path / "samples.gpkg"
    sidecar.write(path, "one", NOTES)
    sidecar.write(path, "two", Notes(bands=("red",)))
    sidecar.write(path, "one", Notes(bands=("nir",)))

    assert sidecar.read(path, "one") == Notes(bands=("nir",))
    assert sidecar.read(path, "two") == Notes(bands=("red",))
    assert sidecar.read(path, "three") is None


def test_layer_without_a_name_is_that_of_the_file_or_the_only_one(tmp_path):
    path = tmp_path / "samples.gpkg"
    sidecar.write(path, "one", NOTES)
    assert sidecar.read(path) == NOTES

    sidecar.write(path, "", Notes(bands=("red",)))
    assert sidecar.read(path) == sidecar.read(path, "samples") == Notes(bands=("red",))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not json",
        "[]",
        '{"samples": 3}',
        '{"samples": {"fields": {}, "bands": []}}',
        '{"samples": {"fields": [], "bands": [], "class_property": null, "classes": []}}',
        '{"samples": {"fields": {}, "bands": [], "class_property": "a", "classes": [{"value": 1}]}}',
        "[" * 100_000,
    ],
)
def test_missing_or_damaged_notes_are_none(tmp_path, text):
    path = tmp_path / "samples.csv"
    assert sidecar.read(path, "samples") is None

    sidecar.path_beside(path).write_text(text, encoding="utf-8")
    assert sidecar.read(path, "samples") is None
    assert sidecar.from_text(text) is None


def test_text_of_a_layer_in_memory_comes_back():
    assert sidecar.from_text(sidecar.as_text(NOTES)) == NOTES


def test_missing_folder_is_refused_and_leaves_nothing(tmp_path):
    with pytest.raises(StorageError, match="does not exist"):
        sidecar.write(tmp_path / "nowhere" / "samples.shp", "samples", NOTES)

    assert not list(tmp_path.iterdir())


def test_others_may_read_the_file_as_they_may_the_table(tmp_path):
    table = tmp_path / "samples.csv"
    table.write_text("a")
    sidecar.write(table, "samples", NOTES)

    assert stat.S_IMODE(sidecar.path_beside(table).stat().st_mode) == stat.S_IMODE(table.stat().st_mode)
