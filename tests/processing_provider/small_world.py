"""A tiny image with two classes, tables sampled from it, and ways to run algorithms on them."""

from __future__ import annotations

import traceback

import numpy as np
import processing
import pytest
from osgeo import gdal
from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsFeature,
    QgsGeometry,
    QgsPointXY,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsVectorLayer,
)

ROWS, COLUMNS = 40, 60
GEOTRANSFORM = (500_000.0, 10.0, 0.0, 4_200_000.0, 0.0, -10.0)
CRS = "EPSG:32617"


def values() -> np.ndarray:
    """Two bands (bands, rows, columns): class 0 in the left half, 7 in the right; the first 5 rows are nodata (-1)."""
    generator = np.random.default_rng(5)
    right = np.arange(COLUMNS) >= COLUMNS // 2
    bands = np.stack([np.where(right, 60.0, 40.0) + generator.normal(0, 6, (ROWS, COLUMNS)) for _ in range(2)])
    bands[1] = 150 - bands[1]
    bands[:, :5] = -1
    return bands.astype(np.float32)


def write_image(path, names=("red", "nir"), bands=None, nodata=-1) -> str:
    bands = values() if bands is None else bands
    dataset = gdal.GetDriverByName("GTiff").Create(str(path), COLUMNS, ROWS, len(bands), gdal.GDT_Float32)
    dataset.SetGeoTransform(GEOTRANSFORM)
    dataset.SetProjection(QgsCoordinateReferenceSystem(CRS).toWkt())
    dataset.WriteArray(np.asarray(bands, dtype=np.float32))
    for number, name in enumerate(names, 1):
        dataset.GetRasterBand(number).SetDescription(name)
        dataset.GetRasterBand(number).SetNoDataValue(nodata)
    dataset = None
    return str(path)


def table(labels=("0", "7"), kind="integer", rows=200, seed=1, name="samples", bands=("red", "nir")) -> QgsVectorLayer:
    """A memory layer of samples as Sample regions writes them: the class, system_index, the bands; points."""
    fields = "&".join([f"field=landclass:{kind}", "field=system_index:string", *(f"field={b}:double" for b in bands)])
    layer = QgsVectorLayer(f"Point?crs={CRS}&{fields}", name, "memory")
    image = values()
    generator = np.random.default_rng(seed)
    features = []
    for number, (row, column) in enumerate(
        zip(generator.integers(5, ROWS, rows), generator.integers(0, COLUMNS, rows))
    ):
        feature = QgsFeature(layer.fields())
        label = labels[int(column >= COLUMNS // 2)]
        numeric = kind in ("integer", "double")
        sampled = [float(value) for value in image[:, row, column]][: len(bands)]
        feature.setAttributes([float(label) if numeric else label, f"{number % 9}_{number}", *sampled])
        x, y = GEOTRANSFORM[0] + 10 * (column + 0.5), GEOTRANSFORM[3] - 10 * (row + 0.5)
        feature.setGeometry(QgsGeometry.fromPointXY(QgsPointXY(x, y)))
        features.append(feature)
    layer.dataProvider().addFeatures(features)
    return layer


def run(algorithm: str, feedback=None, **parameters) -> dict:
    return processing.run(f"rasterml:{algorithm}", parameters, feedback=feedback)


def refusal(algorithm: str, **parameters) -> str:
    """What the user reads when the run fails: it must fail."""
    feedback = QgsProcessingFeedback()
    with pytest.raises(QgsProcessingException) as raised:
        run(algorithm, feedback=feedback, **parameters)
    # PyQGIS keeps exceptions for ever: layers in their frames would outlive QGIS, and crash Python when it ends
    traceback.clear_frames(raised.value.__traceback__)
    return f"{raised.value} {feedback.textLog()}"


def trained(path, **parameters) -> str:
    """Train a small forest on `table` and return the model's path."""
    fixed = {"TRAINING": [table()], "CLASS_PROPERTY": "landclass", "NUMBER_OF_TREES": 9, "OUTPUT": str(path)}
    return run("trainrandomforest", **{**fixed, **parameters})["OUTPUT"]


def read(path) -> np.ndarray:
    dataset = gdal.Open(str(path))
    return dataset.ReadAsArray().reshape(dataset.RasterCount, dataset.RasterYSize, dataset.RasterXSize)


def rows_of(layer) -> list[dict]:
    layer = layer if isinstance(layer, QgsVectorLayer) else QgsVectorLayer(str(layer))
    names = [field.name() for field in layer.fields()]
    return [dict(zip(names, feature.attributes())) for feature in layer.getFeatures()]


def pinned(algorithm) -> dict:
    """Return each parameter of *algorithm* with its default, for comparison with the interface."""
    return {parameter.name(): parameter.defaultValue() for parameter in algorithm.parameterDefinitions()}
