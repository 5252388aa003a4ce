"""Imports go down only: plugin/ may see processing_provider/ and engine/, the engine sees neither, nor QGIS."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# Per floor, what its modules must not import, at their top or inside a function
FORBIDDEN = {
    "engine": ("qgis", "PyQt5", "PyQt6", "rasterml.processing_provider", "rasterml.plugin"),
    "processing_provider": (
        "PyQt5", "PyQt6", "qgis.gui", "qgis.utils", "qgis.PyQt.QtWidgets", "rasterml.plugin",
    ),
    "plugin": ("PyQt5", "PyQt6"),
}  # fmt: skip
each_floor = pytest.mark.parametrize("floor", FORBIDDEN)


def imports_going_up(root: Path, floor: str) -> list[str]:
    """Return "<file> imports <module>" for each import that *floor* of the plugin at *root* must not have."""
    files = sorted((root / floor).rglob("*.py"))
    assert files, f"no Python file in {root / floor}: this guard would be green for ever"
    return [
        f"{file.relative_to(root)} imports {module}"
        for file in files
        for module in imported_modules(ast.parse(file.read_text("utf-8")), file.relative_to(root))
        if any(f"{module}.".startswith(f"{forbidden}.") for forbidden in FORBIDDEN[floor])
    ]


def imported_modules(tree: ast.AST, path: Path) -> list[str]:
    """Return the absolute name of every module or member that *tree*, the file at *path*, imports."""
    package = ("rasterml", *path.parent.parts)
    modules = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            start = ".".join((*base, *filter(None, [node.module])))
            modules += [f"{start}.{alias.name}" for alias in node.names]
    return modules


@each_floor
def test_no_import_goes_up(floor):
    assert imports_going_up(ROOT, floor) == []


@pytest.mark.parametrize(
    ("floor", "line"),
    [
        ("engine", "import qgis.core"),
        ("engine", "from qgis import core"),
        ("engine", "from PyQt5.QtCore import Qt"),
        ("engine", "from ..plugin import panel"),
        ("engine", "from .. import processing_provider"),
        ("engine", "from ..processing_provider.base import ICON"),
        ("engine", "import rasterml.plugin.main"),
        ("engine", "from rasterml import plugin"),
        ("engine", "def later():\n    from ..plugin.main import RasterMlPlugin"),
        ("processing_provider", "from ..plugin import settings"),
        ("processing_provider", "from qgis.PyQt.QtWidgets import QDialog"),
        ("processing_provider", "from qgis.utils import iface"),
        ("plugin", "from PyQt6.QtCore import Qt"),
    ],
)
def test_an_import_that_goes_up_is_seen(tmp_path, floor, line):
    planted(tmp_path / floor / "planted.py", line)

    assert len(imports_going_up(tmp_path, floor)) == 1


def test_an_import_that_goes_up_is_seen_in_a_deeper_folder(tmp_path):
    planted(tmp_path / "processing_provider" / "algorithms" / "planted.py", "from ...plugin import panel")

    assert len(imports_going_up(tmp_path, "processing_provider")) == 1


@pytest.mark.parametrize(
    ("floor", "line"),
    [
        ("engine", "from . import tiles"),
        ("engine", "from osgeo import gdal"),
        ("engine", "import qgis_like_name"),
        ("processing_provider", "from ..engine.learners import CLASSIFIERS"),
        ("processing_provider", "from qgis.PyQt.QtCore import QCoreApplication"),
        ("plugin", "from ..processing_provider.provider import RasterMlProvider"),
    ],
)
def test_an_import_that_goes_down_is_allowed(tmp_path, floor, line):
    planted(tmp_path / floor / "planted.py", line)

    assert imports_going_up(tmp_path, floor) == []


@each_floor
def test_a_floor_without_a_file_fails(tmp_path, floor):
    with pytest.raises(AssertionError, match="no Python file"):
        imports_going_up(tmp_path, floor)


def planted(path: Path, line: str) -> None:
    path.parent.mkdir(parents=True)
    path.write_text(f"{line}\n", "utf-8")
