from __future__ import annotations

import numpy as np
import pytest
from qgis.core import QgsRasterLayer
from rasterml.engine.classes import LandClass
from rasterml.engine.grids import Grid
from rasterml.engine.outputs import FLOAT, RasterWriter, class_type
from rasterml.engine.tiles import Window

GRID = Grid(2, 3, (630_000.0, 28.5, 0.0, 228_000.0, 0.0, -28.5), "")


def write(path, array, sample_type, classes=()) -> QgsRasterLayer:
    with RasterWriter(path, GRID, ["classification"], sample_type, classes) as writer:
        writer.write(Window(0, 0, 2, 3), np.array([array], sample_type.dtype))
    layer = QgsRasterLayer(str(path), "map")
    assert layer.isValid()
    return layer


def legend(layer) -> list[tuple]:
    return [(int(item.value), item.label, item.color.name()) for item in layer.renderer().classes()]


@pytest.mark.parametrize("extension", ["tif", "img"])
@pytest.mark.parametrize("label", [7, 300, 65535, 1_000_000])
def test_qgis_shows_names_and_colours_by_itself(qgis_app, tmp_path, label, extension):
    classes = (LandClass(0, "Gewässer & <Eis>", "#3a76b8"), LandClass(label, 'the "forest"', "#1f7a3a"))
    layer = write(tmp_path / f"map.{extension}", [[0, label, 0], [label, label, 0]], class_type(label), classes)
    assert layer.renderer().type() == "paletted"
    assert legend(layer) == [(0, "Gewässer & <Eis>", "#3a76b8"), (label, 'the "forest"', "#1f7a3a")]
    assert layer.bandName(1) == "Band 1: classification"


@pytest.mark.parametrize("label", [7, 300])
def test_names_and_colours_are_in_the_raster_too(qgis_app, tmp_path, label):
    """The style file may get lost on the way to somebody else."""
    classes = (LandClass(0, "water", "#3a76b8"), LandClass(label, "forest", "#1f7a3a"))
    path = tmp_path / "map.tif"
    write(path, [[0, label, 0], [label, label, 0]], class_type(label), classes)
    (tmp_path / "map.qml").unlink()
    layer = QgsRasterLayer(str(path), "map")
    assert layer.renderer().type() == "paletted"
    named = [item for item in legend(layer) if item[1]]
    assert (0, "water", "#3a76b8") in named and (label, "forest", "#1f7a3a") in named


def test_control_characters_in_a_name_do_not_spoil_the_style(qgis_app, tmp_path):
    classes = (LandClass(0, "wa\x01ter\n", "#3a76b8"), LandClass(7, "forest", "#1f7a3a"))
    layer = write(tmp_path / "map.tif", [[0, 7, 0], [7, 7, 0]], class_type(7), classes)
    assert legend(layer) == [(0, "water", "#3a76b8"), (7, "forest", "#1f7a3a")]


def test_nodata_is_transparent(qgis_app, tmp_path):
    classes = (LandClass(0, "water", "#3a76b8"), LandClass(7, "forest", "#1f7a3a"))
    layer = write(tmp_path / "map.tif", [[0, 7, 255], [7, 7, 0]], class_type(7), classes)
    block = layer.renderer().block(1, layer.extent(), 3, 2)
    assert block.color(0, 0) == 0xFF3A76B8
    assert block.color(0, 2) >> 24 == 0  # alpha


def test_probabilities_get_no_classes(qgis_app, tmp_path):
    layer = write(tmp_path / "probability.tif", [[0, 0.5, np.nan], [1, 1, 0]], FLOAT)
    assert layer.renderer().type() == "singlebandgray"
