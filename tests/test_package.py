"""The zip that QGIS installs: complete, clean, and the same bytes from the same files."""

from __future__ import annotations

import configparser
import re
import runpy
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = runpy.run_path(str(ROOT / "tools" / "package.py"))
VERSION = PACKAGE["version"]()


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    with zipfile.ZipFile(PACKAGE["pack"](tmp_path_factory.mktemp("package") / "rasterml.zip")) as opened:
        yield opened


def metadata_of(archive) -> configparser.SectionProxy:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(archive.read("rasterml/metadata.txt").decode("utf-8"))
    return parser["general"]


def test_package_has_one_top_folder_and_only_what_is_shipped(archive):
    tops = {tuple(name.split("/")[:2]) for name in archive.namelist()}

    assert tops == {("rasterml", name) for name in PACKAGE["SHIPPED"]}


def test_package_has_no_test_cache_or_hidden_file(archive):
    unwanted = re.compile(r"(^|/)(tests?|build|\..*|__pycache__)/|/\.|\.py[co]$|\.aux\.xml$|~$")

    assert [name for name in archive.namelist() if unwanted.search(name)] == []


def test_every_module_of_the_package_compiles(archive):
    modules = [name for name in archive.namelist() if name.endswith(".py")]

    assert len(modules) > 10
    for name in modules:
        compile(archive.read(name), name, "exec")


def test_metadata_have_what_qgis_and_its_plugin_site_demand(archive):
    metadata = metadata_of(archive)

    demanded = ["name", "description", "about", "version", "author", "email", "tracker", "repository", "icon", "tags"]
    assert [key for key in demanded if not metadata.get(key)] == []
    assert metadata["hasProcessingProvider"] == "yes"
    assert metadata["qgisMinimumVersion"] == "3.40"
    assert metadata["qgisMaximumVersion"] == "4.99"
    assert metadata["license"] == "GPL-2.0-or-later"
    assert "supportsQt6" not in metadata
    assert f"rasterml/{metadata['icon']}" in archive.namelist()


def test_licence_is_the_text_of_the_gpl_version_2(archive):
    text = archive.read("rasterml/LICENSE").decode("utf-8")

    assert re.match(r"\s+GNU GENERAL PUBLIC LICENSE\s+Version 2, June 1991", text)
    assert "END OF TERMS AND CONDITIONS" in text


def test_changelog_opens_with_the_version_of_the_metadata(archive):
    newest = re.search(r"^## \[?(\d+\.\d+\.\d+)", archive.read("rasterml/CHANGELOG.md").decode("utf-8"), re.MULTILINE)

    assert newest.group(1) == metadata_of(archive)["version"] == VERSION


def test_no_other_file_repeats_the_version(archive):
    repeats = [
        name
        for name in archive.namelist()
        if name.endswith((".py", ".md", ".txt", ".toml"))
        and re.search(rf"(?<![\d.]){re.escape(VERSION)}(?![\d.]*\d)", archive.read(name).decode("utf-8"))
    ]

    assert repeats == ["rasterml/CHANGELOG.md", "rasterml/metadata.txt"]


def test_the_same_files_give_the_same_bytes(tmp_path):
    first, second = (PACKAGE["pack"](tmp_path / name).read_bytes() for name in ("first.zip", "second.zip"))

    assert first == second
