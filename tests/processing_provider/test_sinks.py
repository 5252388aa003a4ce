"""Tables as output: what is written by columns is what is written row by row, and nothing half-done is seen."""

from __future__ import annotations

import sqlite3

import numpy as np
import pytest
from osgeo import gdal
from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsFeature,
    QgsField,
    QgsFields,
    QgsGeometry,
    QgsPointXY,
    QgsProcessingAlgorithm,
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsProcessingOutputLayerDefinition,
    QgsProcessingParameterFeatureSink,
    QgsProject,
    QgsVectorLayer,
    QgsWkbTypes,
)
from qgis.PyQt.QtCore import QDate, QDateTime, QMetaType
from rasterml.engine.errors import StorageError
from rasterml.processing_provider.sinks import output_table

CRS = QgsCoordinateReferenceSystem("EPSG:32617")
TYPES = {
    "cover": QMetaType.Type.QString,
    "year": QMetaType.Type.Int,
    "large": QMetaType.Type.LongLong,
    "share": QMetaType.Type.Double,
    "seen": QMetaType.Type.Bool,
    "day": QMetaType.Type.QDate,
    "red": QMetaType.Type.Int,
}
COLUMNS = [
    ["Grün 中", None, "", "x" * 300],
    [1996, 0, None, -7],
    [2**40, None, 0, -(2**40)],
    np.array([0.1, np.nan, -0.0, 1e300]),
    [True, False, None, True],
    [QDate(2020, 2, 29), None, QDate(1815, 12, 10), QDate(2026, 1, 1)],
    np.array([12, np.nan, 255, 0], dtype=np.float32),
]
PLACES = np.array([[500_005, 4_200_005], [np.nan, np.nan], [500_015.5, 4_200_025.25], [-1, 0]])
# Written down from COLUMNS by hand
ROWS = [
    ["Grün 中", 1996, 2**40, 0.1, True, QDate(2020, 2, 29), 12],
    [None, 0, None, None, False, None, None],
    ["", None, 0, 0.0, None, QDate(1815, 12, 10), 255],
    ["x" * 300, -7, -(2**40), 1e300, True, QDate(2026, 1, 1), 0],
]
WKT = ["Point (500005 4200005)", "", "Point (500015.5 4200025.25)", "Point (-1 0)"]


class Writer(QgsProcessingAlgorithm):
    def name(self):
        return "writer"

    def displayName(self):
        return "Writer"

    def createInstance(self):
        return Writer()

    def initAlgorithm(self, configuration=None):
        self.addParameter(QgsProcessingParameterFeatureSink("OUTPUT", "Samples"))

    def processAlgorithm(self, parameters, context, feedback):
        return {}


def fields(types=TYPES) -> QgsFields:
    found = QgsFields()
    for name, kind in types.items():
        found.append(QgsField(name, kind))
    return found


@pytest.fixture
def context(provider):
    context = QgsProcessingContext()
    context.setProject(QgsProject.instance())
    context.setFeedback(QgsProcessingFeedback())
    return context


@pytest.fixture
def write(context):
    """Write COLUMNS, or what is given, by columns; return the output."""

    def write(destination, columns=COLUMNS, places=PLACES, types=TYPES, times=1):
        kind = QgsWkbTypes.Type.NoGeometry if places is None else QgsWkbTypes.Type.Point
        algorithm = Writer().create()
        arguments = algorithm, {"OUTPUT": destination}, "OUTPUT", context, fields(types), kind, CRS
        with output_table(*arguments) as table:
            for _ in range(times):
                table.add_columns(columns, places)
        return table.output

    return write


def rows_of(layer: QgsVectorLayer) -> list[list]:
    """The attributes right of fid, None for NULL."""
    start = int(layer.fields().at(0).name() == "fid")
    return [
        [
            None if hasattr(value, "isNull") and not isinstance(value, QDate) else value
            for value in feature.attributes()[start:]
        ]
        for feature in layer.getFeatures()
    ]


def test_geopackage_by_columns_holds_every_type_and_null(write, tmp_path):
    layer = QgsVectorLayer(write(str(tmp_path / "samples.gpkg")))

    assert rows_of(layer) == ROWS
    assert [field.type() for field in layer.fields()][1:] == list(TYPES.values())
    assert [feature.geometry().asWkt(2) if feature.hasGeometry() else "" for feature in layer.getFeatures()] == WKT
    assert [feature.id() for feature in layer.getFeatures()] == [1, 2, 3, 4]
    assert layer.crs() == CRS
    assert layer.featureCount() == 4
    assert layer.extent().toString(0) == "-1,0 : 500016,4200025"
    assert layer.hasSpatialIndex()


@pytest.mark.parametrize("destination", ["memory:samples", "{}/samples.geojson", "{}/samples.fgb"])
def test_other_formats_by_columns_hold_the_same(write, context, tmp_path, destination):
    types = {name: kind for name, kind in TYPES.items() if name != "day"}  # FlatGeobuf has moments for days
    columns = [column for name, column in zip(TYPES, COLUMNS) if name != "day"]
    output = write(destination.format(tmp_path), columns, np.abs(np.nan_to_num(PLACES)), types)
    layer = QgsVectorLayer(output) if "/" in output else context.getMapLayer(output)

    assert sorted(rows_of(layer), key=str) == sorted((row[:5] + row[6:] for row in ROWS), key=str)


def test_geopackage_by_columns_is_the_one_that_features_make(write, context, tmp_path):
    by_columns = QgsVectorLayer(write(str(tmp_path / "columns.gpkg")))
    algorithm = Writer().create()
    parameters = {"OUTPUT": str(tmp_path / "features.gpkg")}
    with output_table(algorithm, parameters, "OUTPUT", context, fields(), QgsWkbTypes.Type.Point, CRS) as table:
        for row, place in zip(ROWS, PLACES.tolist()):
            feature = QgsFeature(fields())
            feature.setAttributes(row)
            if place[0] == place[0]:
                feature.setGeometry(QgsGeometry.fromPointXY(QgsPointXY(*place)))
            table.add([feature])
    by_features = QgsVectorLayer(table.output)

    assert [field.typeName() for field in by_columns.fields()] == [field.typeName() for field in by_features.fields()]
    assert rows_of(by_columns) == rows_of(by_features)
    assert by_columns.extent() == by_features.extent()
    schema = "SELECT type, replace(sql, 'features', 'columns') FROM sqlite_master ORDER BY 1, 2"
    assert asked(tmp_path / "columns.gpkg", schema) == asked(tmp_path / "features.gpkg", schema)


def asked(path, sql) -> list[tuple]:
    connection = sqlite3.connect(str(path))
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


def test_columns_may_come_in_pieces(write, tmp_path):
    layer = QgsVectorLayer(write(str(tmp_path / "samples.gpkg"), times=30))

    assert rows_of(layer) == ROWS * 30
    assert asked(tmp_path / "samples.gpkg", "SELECT rtreecheck('rtree_samples_geom')") == [("ok",)]


def test_table_without_geometry_is_written_by_columns(write, tmp_path):
    layer = QgsVectorLayer(write(str(tmp_path / "samples.gpkg"), places=None))

    assert rows_of(layer) == ROWS
    assert not layer.isSpatial()


def test_gdal_opens_the_file_without_a_warning(write, tmp_path):
    path = write(str(tmp_path / "samples.gpkg"))
    said = []
    gdal.PushErrorHandler(lambda level, number, text: said.append(text))
    try:
        dataset = gdal.OpenEx(path, gdal.OF_VECTOR)
        layer = dataset.GetLayer()
        count, extent = layer.GetFeatureCount(), layer.GetExtent()
    finally:
        gdal.PopErrorHandler()

    assert said == []
    assert (layer.GetName(), count, extent) == ("samples", 4, (-1, 500_015.5, 0, 4_200_025.25))


def test_layer_can_be_edited_afterwards(write, tmp_path):
    path = write(str(tmp_path / "samples.gpkg"))
    layer = QgsVectorLayer(path, "samples", "ogr")
    feature = QgsFeature(layer.fields())
    feature["cover"] = "new"
    feature.setGeometry(QgsGeometry.fromPointXY(QgsPointXY(7, 7)))
    assert layer.startEditing() and layer.addFeature(feature) and layer.deleteFeature(2)
    assert layer.changeAttributeValue(1, layer.fields().lookupField("year"), 2024)
    assert layer.commitChanges()
    del layer
    again = QgsVectorLayer(path, "samples", "ogr")

    assert [feature.id() for feature in again.getFeatures()] == [1, 3, 4, 5]
    assert (again.getFeature(1)["year"], again.getFeature(5)["cover"], again.featureCount()) == (2024, "new", 4)


def test_field_called_fid_is_left_to_qgis(write, tmp_path):
    types = {"fid": QMetaType.Type.LongLong, "cover": QMetaType.Type.QString}
    layer = QgsVectorLayer(write(str(tmp_path / "samples.gpkg"), [[5, 5], ["a", "b"]], PLACES[[0, 2]], types))

    assert [(feature.id(), feature["cover"]) for feature in layer.getFeatures()] == [(1, "a"), (2, "b")]


def test_values_that_are_no_plain_columns_are_left_to_qgis(write, tmp_path):
    moment = QDateTime(2026, 1, 2, 3, 4, 5)
    types = {"moment": QMetaType.Type.QDateTime, "cover": QMetaType.Type.QString}
    layer = QgsVectorLayer(write(str(tmp_path / "samples.gpkg"), [[moment, None], ["a", "b"]], PLACES[[0, 2]], types))

    assert [feature["cover"] for feature in layer.getFeatures()] == ["a", "b"]
    assert next(layer.getFeatures())["moment"].toString("yyyy-MM-dd hh:mm:ss") == "2026-01-02 03:04:05"


@pytest.mark.parametrize("rows", ["columns", "features"])
def test_failed_run_leaves_what_was_there(write, context, tmp_path, rows):
    path = tmp_path / "samples.gpkg"
    write(str(path))
    before = path.read_bytes()
    arguments = Writer().create(), {"OUTPUT": str(path)}, "OUTPUT", context, fields(), QgsWkbTypes.Type.Point, CRS
    with pytest.raises(StorageError, match="half-way"), output_table(*arguments) as table:
        if rows == "columns":
            table.add_columns(COLUMNS, PLACES)
        else:
            table.add([QgsFeature(fields())])
        raise StorageError("half-way")

    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["samples.gpkg"]


def test_file_appears_when_it_is_complete_and_replaces_the_old_one(context, write, tmp_path):
    path = tmp_path / "samples.gpkg"
    arguments = Writer().create(), {"OUTPUT": str(path)}, "OUTPUT", context, fields(), QgsWkbTypes.Type.Point, CRS
    with output_table(*arguments) as table:
        table.add_columns(COLUMNS, PLACES)
        assert not path.exists()
    (tmp_path / "samples.gpkg-wal").write_bytes(b"of another file")
    write(str(path), times=2)

    assert QgsVectorLayer(str(path)).featureCount() == 8
    assert [file.name for file in tmp_path.iterdir()] == ["samples.gpkg"]


def test_processing_loads_the_final_file_under_the_name_asked_for(write, context, tmp_path):
    definition = QgsProcessingOutputLayerDefinition(str(tmp_path / "samples.gpkg"), QgsProject.instance())
    definition.destinationName = "My samples"
    output = write(definition)
    noted = context.layersToLoadOnCompletion()

    assert {place: details.name for place, details in noted.items()} == {output: "My samples"}
    assert output == str(tmp_path / "samples.gpkg")


def test_full_disk_is_told_of_the_final_file(write, tmp_path, limited_file_size):
    path = tmp_path / "samples.gpkg"
    with limited_file_size(2**19), pytest.raises(StorageError, match=rf"^{path} cannot be written"):
        write(str(path), times=20_000)

    assert list(tmp_path.iterdir()) == []


def test_folder_that_cannot_be_written_is_named(write, tmp_path):
    with pytest.raises(StorageError, match=r"samples\.gpkg cannot be written"):
        write(str(tmp_path / "nowhere" / "samples.gpkg"))
