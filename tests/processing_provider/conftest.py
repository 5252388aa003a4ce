"""Gives the tests a QGIS with RasterML's provider, and small layers to run on."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from osgeo import gdal, osr
from qgis.core import QgsApplication, QgsCoordinateReferenceSystem, QgsFeature, QgsGeometry, QgsVectorLayer

PLUGINS = str(Path(QgsApplication.pkgDataPath()) / "python" / "plugins")
if PLUGINS not in sys.path:
    sys.path.append(PLUGINS)  # where QGIS keeps `processing`


@pytest.fixture(scope="module")  # the plugin's own tests register theirs
def provider(qgis_processing):
    """RasterML's provider, registered: `processing.run("rasterml:…")` works."""
    from rasterml.processing_provider.provider import RasterMlProvider

    registry = QgsApplication.processingRegistry()
    raster_ml = RasterMlProvider()
    registry.addProvider(raster_ml)
    yield raster_ml
    registry.removeProvider(raster_ml)


@pytest.fixture
def write_raster(tmp_path):
    """A function that writes bands of 10 m pixels from (300000, 5800000) in UTM 33N and returns the path."""

    def write(name, bands, kind=gdal.GDT_Float32, nodata=None, epsg=32633):
        rows, columns = np.shape(bands[0])
        path = str(tmp_path / name)
        dataset = gdal.GetDriverByName("GTiff").Create(path, columns, rows, len(bands), kind)
        dataset.SetGeoTransform((300_000, 10, 0, 5_800_000, 0, -10))
        if epsg:
            reference = osr.SpatialReference()
            reference.ImportFromEPSG(epsg)
            dataset.SetProjection(reference.ExportToWkt())
        for number, values in enumerate(bands, 1):
            if nodata is not None:
                dataset.GetRasterBand(number).SetNoDataValue(nodata)
            dataset.GetRasterBand(number).WriteArray(np.asarray(values))
        return path

    return write


@pytest.fixture
def memory_layer():
    """A function that makes a layer in memory: kind and fields as in a memory URI, rows as (wkt, *attributes)."""

    def make(kind, fields, rows, crs="EPSG:32633"):
        layer = QgsVectorLayer(f"{kind}?{'&'.join(f'field={field}' for field in fields)}", "regions", "memory")
        layer.setCrs(QgsCoordinateReferenceSystem(crs))
        for wkt, *attributes in rows:
            feature = QgsFeature(layer.fields())
            feature.setAttributes(attributes)
            if wkt:
                feature.setGeometry(QgsGeometry.fromWkt(wkt))
            layer.dataProvider().addFeature(feature)
        return layer

    return make
