from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import random
import struct
import subprocess
import sys
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from rasterml.engine import model_archive
from rasterml.engine.classes import LandClass
from rasterml.engine.errors import Canceled, ModelFileError, StorageError
from rasterml.engine.models import Model, load_model, model_settings, save_model
from rasterml.engine.progress import Progress

SETTINGS = {
    "number_of_trees": 2,
    "variables_per_split": None,
    "min_leaf_population": 1,
    "bag_fraction": 0.5,
    "max_nodes": None,
    "seed": 7,
}
MANIFEST = "manifest.json"


def a_model(**changes) -> Model:
    """A forest of two trees made by hand: one split of the band "nir" at 0.5, and a single leaf."""
    model = Model(
        learner_id="trainrandomforest",
        mode="CLASSIFICATION",
        settings=SETTINGS,
        predictors=("red", "nir"),
        classes=(LandClass(0, "Wasser – tief", "#3a76b8"), LandClass(7, "forest", "#1f7a3a")),
        class_property="landcover",
        arrays={
            "tree_start": np.array([0, 3, 4], np.int64),
            "feature": np.array([1, -1, -1, -1], np.int16),
            "threshold": np.array([0.5, 0, 0, 0]),
            "right": np.array([2, 0, 0, 0], np.int32),
            "leaf_counts": np.array([[4, 0], [1, 5], [5, 5]], np.uint16),
            "tree_weight": np.array([0.75, 0.5]),
        },
        training={"rows": 10, "bytes": 80, "accuracy": 0.9, "confusion": [[4, 1], [0, 5]], "importance": [0.0, 3.5]},
        versions={"python": "3.11.2", "numpy": "1.24.2", "rasterml": "0.1.0"},
    )
    return replace(model, **changes)


def same(one: Model, other: Model) -> bool:
    fields = ("learner_id", "mode", "settings", "predictors", "classes", "class_property", "training", "versions")
    return all(getattr(one, name) == getattr(other, name) for name in fields) and (
        sorted(one.arrays) == sorted(other.arrays)
        and all(
            array.dtype == other.arrays[name].dtype and np.array_equal(array, other.arrays[name])
            for name, array in one.arrays.items()
        )
    )


@pytest.fixture
def path(tmp_path):
    """A saved model, which tests then damage."""
    path = tmp_path / "forest.rasterml"
    save_model(a_model(), path)
    return path


def members_of(path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write_members(path, members) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def rewrite(path, change_manifest=None, **arrays: bytes) -> None:
    """Write the model again with a changed manifest and other members, checksums and sizes made to agree."""
    members = members_of(path)
    manifest = json.loads(members[MANIFEST])
    for name, content in arrays.items():
        members[f"arrays/{name}.npy"] = content
        (row,) = (row for row in manifest["arrays"] if row["name"] == name)
        row.update(bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
    if change_manifest:
        manifest = change_manifest(manifest) or manifest
    members[MANIFEST] = manifest if isinstance(manifest, bytes) else json.dumps(manifest).encode()
    write_members(path, members)


def npy(array, **options) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, **{"version": (1, 0), **options})
    return buffer.getvalue()


def names_in(folder) -> list[str]:
    return [entry.name for entry in folder.iterdir()]


def refused(path, *words: str) -> None:
    with pytest.raises(ModelFileError) as caught:
        load_model(path)
    message = str(caught.value)
    assert str(path) in message
    assert message.endswith(".") and "\n" not in message
    for word in words:
        assert word in message


def test_saved_model_comes_back_equal(tmp_path):
    path = tmp_path / "forest.rasterml"
    size = save_model(a_model(), path)
    assert size == path.stat().st_size
    assert same(load_model(path), a_model())
    assert names_in(tmp_path) == ["forest.rasterml"]


def test_array_of_any_shape_and_order_comes_back(tmp_path, monkeypatch):
    monkeypatch.setattr("rasterml.engine.forest.ForestPredictor.check", lambda model: None)
    arrays = {
        "scalar": np.array(3.5, np.float32),
        "empty": np.zeros((0, 4), np.uint8),
        "flags": np.array([True, False]),
        "column_major": np.asfortranarray(np.arange(6, dtype=np.int16).reshape(2, 3)),
        "big_endian": np.arange(3, dtype=">i4"),
        "long": np.arange(700_000, dtype=np.uint32),
        "not_finite": np.array([np.inf, -np.inf, np.nan], np.float16),
    }
    save_model(a_model(arrays=arrays), tmp_path / "m.rasterml")
    loaded = load_model(tmp_path / "m.rasterml").arrays
    assert sorted(loaded) == sorted(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(loaded[name], array)
        assert loaded[name].dtype == array.dtype.newbyteorder("<")
        assert loaded[name].shape == array.shape


@pytest.mark.parametrize("mode", ["CLASSIFICATION", "MULTIPROBABILITY", "RAW"])
def test_loaded_forest_predicts_as_before(path, mode):
    pixels = np.array([[9, 0.25], [9, 0.75]], np.float32)  # left and right of the only split
    before = a_model().learner.load_predictor(a_model()).predict(pixels, mode, lambda: None)
    model = load_model(path)
    after = model.learner.load_predictor(model).predict(pixels, mode, lambda: None)
    np.testing.assert_array_equal(after, before)
    if mode == "RAW":  # the first tree: more of class 0 on the left, of class 7 on the right
        assert after[0].tolist() == [0, 7]


def test_equal_models_give_equal_bytes(tmp_path):
    save_model(a_model(), tmp_path / "one.rasterml")
    backwards = dict(reversed(list(a_model().arrays.items())))
    save_model(a_model(arrays=backwards, settings=dict(reversed(SETTINGS.items()))), tmp_path / "two.rasterml")
    assert (tmp_path / "one.rasterml").read_bytes() == (tmp_path / "two.rasterml").read_bytes()


def test_not_a_number_in_the_training_summary_becomes_null(tmp_path):
    training = {"accuracy": float("nan"), "importance": np.array([np.inf, 1]), "rows": np.int64(3)}
    save_model(a_model(training=training), tmp_path / "m.rasterml")
    assert load_model(tmp_path / "m.rasterml").training == {"accuracy": None, "importance": [None, 1.0], "rows": 3}


def test_version_of_rasterml_is_written_unless_given(tmp_path):
    save_model(a_model(versions={"numpy": "1.24.2"}), tmp_path / "m.rasterml")
    versions = load_model(tmp_path / "m.rasterml").versions
    assert set(versions) == {"numpy", "rasterml"} and versions["rasterml"][0].isdigit()


def test_file_can_be_read_with_numpy_and_json_alone(path):
    with zipfile.ZipFile(path) as archive:
        manifest = json.loads(archive.read(MANIFEST))
        arrays = {
            row["name"]: np.load(io.BytesIO(archive.read(f"arrays/{row['name']}.npy")), allow_pickle=False)
            for row in manifest["arrays"]
        }
    assert manifest["predictors"] == ["red", "nir"]
    assert arrays["leaf_counts"].tolist() == [[4, 0], [1, 5], [5, 5]]


def test_loading_needs_no_scikit_learn(path):
    code = (
        "import sys; sys.modules['sklearn'] = sys.modules['scipy'] = None\n"
        f"sys.path.insert(0, {str(model_archive.__file__.rpartition('/engine/')[0])!r})\n"
        f"from engine.models import load_model; print(load_model({str(path)!r}).mode)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "CLASSIFICATION\n"


def test_older_model_gets_the_default_of_a_setting_added_since(path):
    rewrite(path, lambda manifest: manifest["settings"].pop("seed") and None)
    assert load_model(path).settings["seed"] == 0


# Writing


def test_loading_can_be_canceled_in_the_middle_of_an_array(path, monkeypatch):
    monkeypatch.setattr(model_archive, "CHUNK_BYTES", 8)

    class CanceledSoon(Progress):
        asked = 0

        def is_canceled(self) -> bool:
            self.asked += 1
            return self.asked == 5

    progress = CanceledSoon()
    with pytest.raises(Canceled):
        load_model(path, progress)
    assert progress.asked == 5


def test_missing_folder_is_named_when_saving(tmp_path):
    with pytest.raises(StorageError, match="nowhere does not exist"):
        save_model(a_model(), tmp_path / "nowhere" / "m.rasterml")


def test_folder_without_rights_is_a_storage_error():
    with pytest.raises(StorageError, match=r"^/proc/m.rasterml cannot be written: "):
        save_model(a_model(), "/proc/m.rasterml")


def test_full_disk_leaves_the_older_model(path, limited_file_size):
    before = path.read_bytes()
    with limited_file_size(1000), pytest.raises(StorageError, match="disk is full"):
        save_model(a_model(arrays={"noise": np.random.default_rng(1).random(1000)}), path)
    assert path.read_bytes() == before
    assert names_in(path.parent) == [path.name]


@pytest.mark.parametrize(
    "arrays", [{"objects": np.array([{}])}, {"Upper": np.zeros(2)}, {"../up": np.zeros(2)}, {"text": np.array(["a"])}]
)
def test_array_that_the_format_does_not_know_is_not_written(tmp_path, arrays):
    with pytest.raises(TypeError):
        save_model(a_model(arrays=arrays), tmp_path / "m.rasterml")
    assert names_in(tmp_path) == []


def test_manifest_beyond_its_cap_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(model_archive, "MANIFEST_BYTES_CAP", 500)
    with pytest.raises(StorageError, match="too large"):
        save_model(a_model(), tmp_path / "m.rasterml")
    assert names_in(tmp_path) == []


# Files that are no models


def test_missing_file_is_refused(tmp_path):
    refused(tmp_path / "absent.rasterml", "no such file")


def test_folder_is_refused(tmp_path):
    refused(tmp_path, "no such file")


@pytest.mark.parametrize("content", [b"", b"II*\x00", b"PK\x05\x06" + bytes(18), b"PK\x03\x04", b"\x80\x04." * 99])
def test_file_of_another_kind_is_refused(tmp_path, content):
    path = tmp_path / "m.rasterml"
    path.write_bytes(content)
    refused(path)


def test_random_bytes_are_refused(tmp_path):
    generator = random.Random(5)
    path = tmp_path / "m.rasterml"
    for _ in range(200):
        path.write_bytes(generator.choice([b"", b"PK\x03\x04"]) + generator.randbytes(generator.randrange(400)))
        refused(path)


def test_flipped_byte_gives_the_same_model_or_a_refusal(path):
    content, model = path.read_bytes(), a_model()
    refusals = 0
    for position in range(len(content)):
        for flip in (0x01, 0xFF):
            damaged = bytearray(content)
            damaged[position] ^= flip
            path.write_bytes(damaged)
            try:
                loaded = load_model(path)
            except ModelFileError:
                refusals += 1
            else:
                assert same(loaded, model), position
    assert refusals > len(content)


def test_truncated_file_is_refused_at_every_length(path):
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        refused(path)


# Hostile zips


def test_member_that_the_manifest_does_not_name_is_refused(path):
    write_members(path, {**members_of(path), "arrays/extra.npy": npy(np.zeros(2))})
    refused(path, "arrays/extra.npy")


@pytest.mark.parametrize("name", ["../../evil.npy", "/etc/evil.npy", "arrays/../evil.npy", "arrays\\evil.npy"])
def test_member_with_a_path_is_refused(path, name):
    write_members(path, {**members_of(path), name: npy(np.zeros(2))})
    refused(path, "does not name")


@pytest.mark.parametrize("name", ["../right", "RIGHT", "right.npy", "", "a" * 65, "con:"])
def test_array_name_that_is_not_plain_is_refused(path, name):
    members = members_of(path)
    manifest = json.loads(members[MANIFEST])
    manifest["arrays"][0]["name"] = name
    write_members(path, {**members, MANIFEST: json.dumps(manifest), f"arrays/{name}.npy": npy(np.zeros(2))})
    refused(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", [MANIFEST, "arrays/right.npy"])
def test_member_that_occurs_twice_is_refused(path, name):
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, members_of(path)[name])
    refused(path, "two members")


def test_missing_member_is_refused(path):
    members = members_of(path)
    del members["arrays/right.npy"]
    write_members(path, members)
    refused(path, "'right'")


def test_zip_without_manifest_is_refused(path):
    write_members(path, {"readme.txt": b"hello"})
    refused(path, "no RasterML model")


def test_encrypted_member_is_refused(path):
    content = bytearray(path.read_bytes())
    central = content.index(b"PK\x01\x02")
    content[central + 8] |= 1
    path.write_bytes(content)
    refused(path, "encrypted")


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compression_is_refused(path, compression):
    members = members_of(path)
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    refused(path, "deflate")


def test_bomb_behind_a_small_declared_size_is_not_unpacked(path, peak_memory):
    """The zip says that the manifest has 100 bytes, but 200 MB of blanks are packed."""
    write_members(path, {MANIFEST: b" " * 200_000_000})
    content = bytearray(path.read_bytes())
    central = content.index(b"PK\x01\x02")
    for place in (22, central + 24):
        struct.pack_into("<I", content, place, 100)
    path.write_bytes(content)
    assert peak_memory(refused, path) < 5_000_000


def test_manifest_beyond_its_cap_is_not_unpacked(path, peak_memory):
    write_members(path, {MANIFEST: b" " * (model_archive.MANIFEST_BYTES_CAP + 1)})
    assert peak_memory(refused, path, "its manifest has") < 5_000_000


def test_arrays_beyond_their_cap_are_not_unpacked(path, monkeypatch):
    monkeypatch.setattr(model_archive, "ARRAY_BYTES_CAP", 500)
    refused(path, "more than 500 bytes")


# Hostile arrays


class Payload:
    def __reduce__(self):
        return os.mkdir, ("pickle-was-run",)


def test_pickle_in_an_array_is_never_run(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for content in (npy(np.array([Payload()])), pickle.dumps(Payload())):
        rewrite(path, right=content)
        refused(path)
    assert not (tmp_path / "pickle-was-run").exists()


def a_row(path, name="right", **changes):
    def change(manifest):
        for row in manifest["arrays"]:
            if row["name"] == name:
                row.update(changes)

    rewrite(path, change)


def test_array_of_objects_is_refused_though_everything_agrees(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    header = npy(np.zeros(4, np.int64)).replace(b"'<i8'", b"'|O' ")[:128]
    content = header + bytes(32)
    rewrite(path, right=content)
    a_row(path, dtype="|O", shape=[4], bytes=len(content))
    refused(path, "data type '|O'")
    a_row(path, dtype="<i8")
    refused(path, "header")


@pytest.mark.parametrize("dtype", ["<c8", "<U4", "<M8[s]", "|V4", ">i4", "i4", "int32", "", "<i4, <i4"])
def test_data_type_that_is_not_plain_is_refused(path, dtype):
    a_row(path, dtype=dtype)
    refused(path, "data type")


@pytest.mark.parametrize(
    "content",
    [
        npy(np.array([2, 0, 0, 0, 0], np.int32))[:128] + bytes(16),  # says 5, holds 4
        npy(np.array([2, 0, 0, 0], np.uint32)),
        npy(np.array([[2, 0], [0, 0]], np.int32)),
        npy(np.asfortranarray(np.zeros((2, 2), np.int32))),
        npy(np.array([2, 0, 0, 0], np.int32), version=(2, 0)),
        npy(np.array([2, 0, 0, 0], np.int32)).replace(b"(4,)", b"(4.)"),
        npy(np.array([2, 0, 0, 0], np.int32)).replace(b"False", b"open "),
        b"\x93NUMPX" + npy(np.array([2, 0, 0, 0], np.int32))[6:],
        b"\x93NUMPY\x01\x00\xff\xff" + npy(np.array([2, 0, 0, 0], np.int32))[10:],
        b"\x93NUMPY\x01\x00v\x00" + b"(" * 118 + bytes(16),
    ],
)
def test_header_that_lies_is_refused(path, content):
    rewrite(path, right=content)
    refused(path)


def test_huge_shape_is_refused_before_memory_is_taken(path, peak_memory):
    header = npy(np.zeros(4, np.int32))[:128].replace(b"(4,), ", b"(2**9,)").replace(b"(4,)", b"(99)")
    for shape in ([10**12], [2**40, 2**40], [10**6] * 8, [10**6] * 9, [-1, -4], [4.0], [True], "4", [[4]], [2**63 - 1]):
        rewrite(path, right=header + bytes(16))
        a_row(path, shape=shape)
        assert peak_memory(refused, path) < 5_000_000


def test_shape_with_a_zero_and_a_huge_side_is_refused(path):
    rewrite(path, right=npy(np.zeros(0, np.int32)))
    a_row(path, shape=[0, 2**62])
    refused(path)


@pytest.mark.parametrize("size", [0, 1, 143, 145, -1, 2**62, 1.5, "144", None, True])
def test_size_that_disagrees_is_refused(path, size):
    a_row(path, bytes=size)
    refused(path)


@pytest.mark.parametrize("digest", ["", "0" * 64, "A" * 64, "0" * 63, None, 5])
def test_wrong_checksum_is_refused(path, digest):
    a_row(path, sha256=digest)
    refused(path, "sha256" if not isinstance(digest, str) else "checksum")


def test_array_named_twice_is_refused(path):
    rewrite(path, lambda manifest: manifest["arrays"].append(manifest["arrays"][0]))
    refused(path, "twice")


def test_arrays_that_are_no_forest_are_refused_by_the_learner(path):
    rewrite(path, right=npy(np.array([1, 0, 0, 0], np.int32)))
    refused(path)


# Hostile manifests


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (" ", "damaged"),
        ("{", "damaged"),
        ("[1, 2]", "not a JSON object"),
        ("null", "not a JSON object"),
        ("{}", "has no 'format'"),
        ('{"a": 1, "a": 2}', "twice"),
        ('{"a": NaN}', "NaN"),
        ('{"a": -Infinity}', "not finite"),
        ('{"a": 1e999}', "not finite"),
        ('{"a": 99999999999999999999}', "64 bits"),
        ('{"a": ' + "9" * 1_000_000 + "}", "64 bits"),
        ('{"a": "\\ud800"}', "damaged"),
        ('{"a":' * 100_000, "damaged"),
        ("[" * 1_000_000, "damaged"),
        ("\ufeff{}", "damaged"),
    ],
    ids=lambda text: text[:20],
)
def test_manifest_that_is_not_strict_json_is_refused(path, text, word):
    rewrite(path, lambda manifest: text.encode())
    refused(path, word)


def test_manifest_that_is_not_utf8_is_refused(path):
    rewrite(path, lambda manifest: b'{"format": "\xff"}')
    refused(path, "damaged")


KEYS = ("format", "format_version", "learner", "mode", "settings", "predictors", "class_property", "classes")


@pytest.mark.parametrize("key", (*KEYS, "training", "versions", "arrays"))
def test_missing_key_is_refused_by_name(path, key):
    rewrite(path, lambda manifest: manifest.pop(key) and None)
    refused(path, f"has no {key!r}")


@pytest.mark.parametrize("key", (*KEYS, "training", "versions", "arrays"))
@pytest.mark.parametrize(
    "value", [None, True, 1.5, [[1]], {"x": [1]}, ["a", "a"], [None], [{}], "", 2**62, -1, [{"name": 1}]]
)
def test_value_of_another_kind_is_refused(path, key, value):
    def change(manifest):
        manifest[key] = value

    rewrite(path, change)
    legal = [("class_property", ""), ("training", {"x": [1]})]
    if (key, value) in legal:
        load_model(path)
    else:
        refused(path)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"format": "zip"}, "format"),
        ({"format_version": 2, "learner": "trainmind"}, "newer RasterML"),
        ({"learner": "trainmind"}, "update RasterML"),
        ({"mode": "CLUSTER"}, "CLASSIFICATION, REGRESSION"),
        ({"predictors": []}, "predictors"),
        ({"predictors": ["red", "red"]}, "same name"),
        ({"predictors": ["red", ""]}, "predictors"),
        ({"predictors": ["red"]}, "importance"),
        ({"settings": {"trees": 1}}, "no setting named trees"),
        ({"settings": {"number_of_trees": 0}}, "NUMBER_OF_TREES"),
        ({"settings": {"number_of_trees": "many"}}, "settings"),
        ({"settings": {"seed": True}}, "settings"),
        ({"settings": {"seed": [1]}}, "settings"),
        ({"settings": {"seed": 1e300}}, "SEED"),
        ({"versions": {"numpy": 1}}, "versions"),
        ({"classes": [{"value": 7, "name": "a"}]}, "colour"),
        ({"classes": [{"value": 7, "name": "a", "colour": "red"}]}, "colour"),
        ({"classes": [{"value": 7, "name": "a", "colour": "#-1-1-1"}]}, "colour"),
        ({"classes": [{"value": 7.0, "name": "a", "colour": "#000000"}]}, "value"),
        ({"classes": [{"value": 2**31, "name": "a", "colour": "#000000"}]}, "32 bits"),
        ({"classes": [{"value": v, "name": "a", "colour": "#000000"} for v in (7, 0)]}, "ascending"),
        ({"classes": [{"value": 7, "name": None, "colour": "#000000"}]}, "name"),
        ({"classes": []}, "classes"),
        ({"training": {"rows": -1}}, "rows"),
        ({"training": {"accuracy": "good"}}, "accuracy"),
        ({"training": {"confusion": [[1, 2]]}}, "confusion"),
        ({"training": {"confusion": [[1, 2], [3, "4"]]}}, "confusion"),
        ({"training": {"importance": [1]}}, "importance"),
        ({"training": {"class_rows": [1, -2]}}, "class_rows"),
        ({"training": {"target": [1]}}, "target"),
    ],
    ids=str,
)
def test_impossible_manifest_is_refused_with_the_reason(path, changes, word):
    rewrite(path, lambda manifest: manifest.update(changes))
    refused(path, word)


def test_settings_and_leaves_are_known_from_the_manifest_alone(forest, tmp_path):
    path = tmp_path / "forest.rasterml"
    save_model(forest, path)
    leaves = int((forest.arrays["feature"] < 0).sum())

    assert model_settings(path) == (forest.settings, leaves / 9)  # nine trees

    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelFileError, match="is refused"):
        model_settings(path)
