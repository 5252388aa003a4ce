"""The panel, small layers for it, and a way to wait for Qt."""

from __future__ import annotations

import sqlite3
import time

import pytest
from osgeo import gdal, ogr
from qgis.core import QgsProject, QgsRasterLayer, QgsVectorLayer
from qgis.PyQt.QtCore import QCoreApplication, QEvent


def _settle() -> None:
    QCoreApplication.processEvents()
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)


@pytest.fixture
def settle():
    """Let Qt do what it has put off, deletions included."""
    return _settle


@pytest.fixture
def wait_until():
    """A function that runs Qt until a condition holds and returns whether it ever did."""

    def wait(condition, seconds: float = 5) -> bool:
        end = time.monotonic() + seconds
        while not condition() and time.monotonic() < end:
            QCoreApplication.processEvents()
            time.sleep(0.01)
        return condition()

    return wait


@pytest.fixture
def panel(qgis_new_project):
    from rasterml.plugin.panel import RasterMlPanel

    panel = RasterMlPanel()
    panel.show()
    yield panel
    panel.hide()
    panel.deleteLater()
    _settle()


@pytest.fixture
def add_memory_table(qgis_new_project):
    """Add a sampled table to the project: its class, system_index and two bands."""

    def add(name: str = "samples", geometry: str = "Point") -> QgsVectorLayer:
        fields = "field=landclass:integer&field=system_index:string&field=red:double&field=nir:double"
        return QgsProject.instance().addMapLayer(QgsVectorLayer(f"{geometry}?crs=EPSG:32119&{fields}", name, "memory"))

    return add


@pytest.fixture
def add_table_of(qgis_new_project, tmp_path):
    """Add a table with 100 predictors that says it has *rows* rows: its GeoPackage keeps that number by itself."""

    def add(rows: int) -> QgsVectorLayer:
        path = tmp_path / f"table_{rows}.gpkg"
        file = gdal.GetDriverByName("GPKG").Create(str(path), 0, 0, 0, gdal.GDT_Unknown)
        layer = file.CreateLayer("samples", None, ogr.wkbNone)
        layer.CreateField(ogr.FieldDefn("landclass", ogr.OFTInteger))
        layer.CreateField(ogr.FieldDefn("system_index", ogr.OFTString))
        for band in range(100):
            layer.CreateField(ogr.FieldDefn(f"band_{band}", ogr.OFTReal))
        del layer, file
        database = sqlite3.connect(path)
        with database:
            database.execute("UPDATE gpkg_ogr_contents SET feature_count = ?", (rows,))
        database.close()
        return QgsProject.instance().addMapLayer(QgsVectorLayer(str(path), "samples", "ogr"))

    return add


@pytest.fixture
def add_image(qgis_new_project, tmp_path):
    """Add an image of 3 rows and 4 columns to the project."""

    def add(bands: int, name: str = "image", alpha: bool = False) -> QgsRasterLayer:
        path = str(tmp_path / f"{name}.tif")
        image = gdal.GetDriverByName("GTiff").Create(path, 4, 3, bands)
        if alpha:
            image.GetRasterBand(bands).SetColorInterpretation(gdal.GCI_AlphaBand)
        del image
        return QgsProject.instance().addMapLayer(QgsRasterLayer(path, name))

    return add
