"""Tiny rasters for the engine's tests, written with GDAL."""

from __future__ import annotations

import contextlib

import numpy as np
from osgeo import gdal, ogr, osr

UTM33, UTM34, LONGITUDE_LATITUDE = 32633, 32634, 4326
NORTH_UP = (300_000.0, 10.0, 0.0, 5_800_000.0, 0.0, -10.0)
ROTATED = (300_000.0, 8.0, 6.0, 5_800_000.0, 6.0, -8.0)  # 10 m pixels turned by atan(6 / 8)


def write_raster(
    path,
    bands,
    kind=gdal.GDT_Float32,
    nodata=None,
    geotransform=NORTH_UP,
    epsg=UTM33,
    descriptions=(),
    mask=None,
    alpha=None,
    options=(),
) -> str:
    """Write *bands* (2-D arrays) as a GeoTIFF and return its path; *mask* is of the dataset, *alpha* a last band."""
    rows, columns = np.shape(bands[0])
    bands = [*bands] if alpha is None else [*bands, alpha]
    dataset = gdal.GetDriverByName("GTiff").Create(str(path), columns, rows, len(bands), kind, options=list(options))
    if geotransform is not None:
        dataset.SetGeoTransform(geotransform)
    if epsg:
        dataset.SetProjection(wkt(epsg))
    if alpha is not None:
        dataset.GetRasterBand(len(bands)).SetColorInterpretation(gdal.GCI_AlphaBand)
    for number, values in enumerate(bands, 1):
        band = dataset.GetRasterBand(number)
        if nodata is not None:
            band.SetNoDataValue(nodata)
        if descriptions:
            band.SetDescription(descriptions[number - 1])
        band.WriteArray(np.asarray(values))
    if mask is not None:
        dataset.CreateMaskBand(gdal.GMF_PER_DATASET)
        dataset.GetRasterBand(1).GetMaskBand().WriteArray(np.asarray(mask))
    return str(path)


def write_vrt(path, sources) -> str:
    """Stack one-band files into a VRT, in which every band keeps its own type and nodata value."""
    stack = gdal.BuildVRT(str(path), list(sources), separate=True)
    stack.FlushCache()
    return str(path)


def wkt(epsg: int) -> str:
    reference = osr.SpatialReference()
    reference.ImportFromEPSG(epsg)
    return reference.ExportToWkt()


@contextlib.contextmanager
def gdal_exceptions(on: bool):
    """Switch GDAL's exceptions for a while: they are everyone's, on in some QGIS sessions and off in others."""
    modules = [module for module in (gdal, ogr, osr) if bool(module.GetUseExceptions()) != on]
    _switch(modules, on)
    try:
        yield
    finally:
        _switch(modules, not on)


def _switch(modules, on: bool) -> None:
    for module in modules if on else modules[::-1]:  # GDAL 3.6 wants the last one on to be the first one off
        (module.UseExceptions if on else module.DontUseExceptions)()
