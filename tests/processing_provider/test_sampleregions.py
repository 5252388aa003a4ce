"""`rasterml:sampleregions` in a real QGIS."""

from __future__ import annotations

import json

import numpy as np
import processing
import pytest
from osgeo import gdal, ogr
from qgis.core import (
    NULL,
    QgsCategorizedSymbolRenderer,
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransform,
    QgsFeature,
    QgsField,
    QgsFillSymbol,
    QgsGeometry,
    QgsProcessingException,
    QgsProcessingFeatureSourceDefinition,
    QgsProcessingFeedback,
    QgsProject,
    QgsRendererCategory,
    QgsVectorLayer,
)
from qgis.PyQt.QtCore import QDate, QMetaType
from rasterml.engine import sidecar
from rasterml.engine.models import load_model
from rasterml.processing_provider import region_columns

ROWS, COLUMNS = 4, 6
ROW_COLUMN = np.add.outer(np.arange(ROWS) * 10, np.arange(COLUMNS))  # 23 = row 2, column 3
LEFT, TOP = 300_000, 5_800_000


@pytest.fixture
def rasters(write_raster):
    """Two files: row * 10 + column as bytes; half of it as decimals, without data at row 1, column 2."""
    halves = ROW_COLUMN / 2
    halves[1, 2] = -1
    return [write_raster("red.tif", [ROW_COLUMN], gdal.GDT_Byte), write_raster("nir.tif", [halves], nodata=-1)]


def run(**parameters):
    return processing.run("rasterml:sampleregions", {"OUTPUT": "TEMPORARY_OUTPUT", **parameters})


def refusal(**parameters) -> str:
    """What QGIS says about a run that fails."""
    feedback = QgsProcessingFeedback()
    with pytest.raises(QgsProcessingException) as raised:
        processing.run("rasterml:sampleregions", {"OUTPUT": "TEMPORARY_OUTPUT", **parameters}, feedback=feedback)
    return f"{raised.value} {feedback.textLog()}"


def box(left, top, right, bottom, crs="EPSG:32633") -> str:
    """A polygon given in pixels, as well-known text in *crs*."""
    sides = (LEFT + left * 10, TOP - bottom * 10, LEFT + right * 10, TOP - top * 10)
    west, south, east, north = sides
    geometry = QgsGeometry.fromWkt(
        f"POLYGON (({west} {north}, {east} {north}, {east} {south}, {west} {south}, {west} {north}))"
    )
    utm, other = QgsCoordinateReferenceSystem("EPSG:32633"), QgsCoordinateReferenceSystem(crs)
    geometry.transform(QgsCoordinateTransform(utm, other, QgsProject.instance()))
    return geometry.asWkt(12)


def table(layer) -> list[list]:
    return [feature.attributes() for feature in layer.getFeatures()]


def columns(path, *names) -> list[tuple]:
    layer = QgsVectorLayer(path, "", "ogr")
    assert layer.isValid()
    return [tuple(feature[name] for name in names) for feature in layer.getFeatures()]


def test_ids_names_and_defaults_are_as_frozen(provider):
    algorithm = provider.algorithm("sampleregions")
    defaults = {item.name(): item.defaultValue() for item in algorithm.parameterDefinitions()}

    assert algorithm.groupId() == "sampling"
    assert "sampleRegions" in algorithm.tags()
    assert algorithm.shortHelpString().startswith("<p><b>Earth Engine: ee.Image.sampleRegions</b>")
    assert defaults == {
        "INPUT": None,
        "BANDS": None,
        "BAND_NAMES": None,
        "RESAMPLING": "nearest",
        "COLLECTION": None,
        "PROPERTIES": None,
        "ALL_TOUCHED": False,
        "GEOMETRIES": True,
        "PROJECTION": None,
        "SCALE": None,
        "THREADS": 0,
        "OUTPUT": None,
    }
    assert [item.name() for item in algorithm.outputDefinitions()] == ["OUTPUT", "COUNT", "DROPPED"]


def test_rows_are_properties_then_index_then_bands(provider, rasters, memory_layer):
    areas = memory_layer("Polygon", ["cover:string", "year:int"], [(box(1, 1, 4, 2), "tree", 1996)])
    result = run(INPUT=rasters, COLLECTION=areas)
    layer = result["OUTPUT"]

    assert [field.name() for field in layer.fields()] == ["cover", "year", "system_index", "red", "nir"]
    assert table(layer) == [["tree", 1996, "0_0", 11, 5.5], ["tree", 1996, "0_1", 13, 6.5]]
    assert [field.typeName() for field in layer.fields()][3:] == ["integer", "double"]
    assert (result["COUNT"], result["DROPPED"]) == (2, 1)


def test_points_stand_on_pixel_centres_in_the_crs_of_the_image(provider, rasters, memory_layer):
    places = memory_layer("Point", [], [(f"POINT ({LEFT + 31} {TOP - 29})",)])
    layer = run(INPUT=rasters, COLLECTION=places)["OUTPUT"]

    assert [feature.geometry().asWkt(1) for feature in layer.getFeatures()] == [f"Point ({LEFT + 35} {TOP - 25})"]
    assert layer.crs().authid() == "EPSG:32633"


def test_geometries_can_be_left_out(provider, rasters, memory_layer):
    places = memory_layer("Point", ["id:int"], [(f"POINT ({LEFT + 31} {TOP - 29})", 9)])
    layer = run(INPUT=rasters, COLLECTION=places, GEOMETRIES=False)["OUTPUT"]

    assert not layer.isSpatial()
    assert table(layer) == [[9, "0_0", 23, 11.5]]


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:32634", "EPSG:3857"])
def test_regions_in_another_crs_are_transformed(provider, rasters, memory_layer, crs):
    areas = memory_layer("Polygon", ["id:int"], [(box(2.9, 1.9, 5.1, 3.1, crs), 7)], crs)
    layer = run(INPUT=rasters, COLLECTION=areas)["OUTPUT"]

    assert [row[2] for row in table(layer)] == [23, 24]


def test_shared_pixels_have_a_row_for_each_region(provider, rasters, memory_layer):
    areas = memory_layer("Polygon", ["id:int"], [(box(3, 2, 5, 3), 0), (box(30, 20, 50, 30), 1), (box(4, 2, 6, 3), 7)])
    layer = run(INPUT=rasters, COLLECTION=areas)["OUTPUT"]

    assert [row[:3] for row in table(layer)] == [[0, "0_0", 23], [0, "0_1", 24], [7, "2_0", 24], [7, "2_1", 25]]


def test_multipart_heights_and_features_without_geometry_are_dealt_with(provider, rasters, memory_layer):
    parts = f"MULTIPOLYGON Z ((({LEFT} {TOP} 1, {LEFT + 10} {TOP} 1, {LEFT + 10} {TOP - 10} 1, {LEFT} {TOP} 1)))"
    two = f"MULTIPOINT Z (({LEFT + 5} {TOP - 5} 4), ({LEFT + 45} {TOP - 35} 3))"
    areas = memory_layer("MultiPolygonZ", ["id:int"], [("", 0), (parts, 7)])
    places = memory_layer("MultiPointZ", ["id:int"], [("", 0), (two, 7)])

    assert table(run(INPUT=rasters, COLLECTION=places)["OUTPUT"]) == [[7, "1_0", 0, 0], [7, "1_1", 34, 17]]
    assert [row[2] for row in table(run(INPUT=rasters, COLLECTION=areas, ALL_TOUCHED=True)["OUTPUT"])] == [0]


def test_curves_are_followed(provider, rasters, memory_layer):
    x, y = LEFT + 35, TOP - 15
    ring = f"{x} {y + 15}, {x + 15} {y}, {x} {y - 15}, {x - 15} {y}, {x} {y + 15}"
    areas = memory_layer("CurvePolygon", [], [(f"CURVEPOLYGON (CIRCULARSTRING ({ring}))",)])

    # one and a half pixels around row 1, column 3; row 1, column 2 has no data
    assert [row[1] for row in table(run(INPUT=rasters, COLLECTION=areas)["OUTPUT"])] == [2, 3, 4, 13, 14, 22, 23, 24]


def test_chosen_properties_alone_are_copied(provider, rasters, memory_layer):
    places = memory_layer("Point", ["a:int", "b:int", "c:int"], [(f"POINT ({LEFT + 5} {TOP - 5})", 1, 2, 3)])
    layer = run(INPUT=rasters, COLLECTION=places, PROPERTIES=["c", "a"])["OUTPUT"]

    assert [field.name() for field in layer.fields()] == ["c", "a", "system_index", "red", "nir"]
    assert table(layer) == [[3, 1, "0_0", 0, 0]]


def test_band_wins_over_a_property_of_its_name(provider, rasters, memory_layer):
    places = memory_layer(
        "Point", ["RED:string", "system_index:string"], [(f"POINT ({LEFT + 35} {TOP - 25})", "x", "y")]
    )
    layer = run(INPUT=rasters, COLLECTION=places)["OUTPUT"]

    assert [field.name() for field in layer.fields()] == ["system_index", "red", "nir"]
    assert table(layer) == [["0_0", 23, 11.5]]


def test_feature_ids_of_regions_do_not_clash_in_a_geopackage(provider, rasters, memory_layer, tmp_path):
    areas, samples = str(tmp_path / "areas.gpkg"), str(tmp_path / "samples.gpkg")
    layer = memory_layer("Polygon", ["id:int"], [(box(3, 2, 5, 3), 7)])
    processing.run("native:savefeatures", {"INPUT": layer, "OUTPUT": areas})
    run(INPUT=rasters, COLLECTION=areas, OUTPUT=samples, PROPERTIES=["fid", "id"])

    assert columns(samples, "id", "system_index", "red") == [(7, "0_0", 23), (7, "0_1", 24)]


def test_bands_can_be_chosen_and_renamed(provider, rasters, memory_layer):
    places = memory_layer("Point", [], [(f"POINT ({LEFT + 35} {TOP - 25})",)])
    layer = run(INPUT=rasters, COLLECTION=places, BAND_NAMES="b1, b2", BANDS="b2")["OUTPUT"]

    assert [field.name() for field in layer.fields()] == ["system_index", "b2"]


def test_scale_makes_another_grid(provider, rasters, memory_layer):
    areas = memory_layer("Polygon", [], [(box(0, 0, 6, 4),)])
    layer = run(INPUT=rasters[:1], COLLECTION=areas, SCALE=20, RESAMPLING="average")["OUTPUT"]

    # means of 2 x 2 pixels: (0 + 1 + 10 + 11) / 4 and so on
    assert [row[1] for row in table(layer)] == [5.5, 7.5, 9.5, 25.5, 27.5, 29.5]


def test_projection_makes_points_in_that_crs(provider, rasters, memory_layer):
    areas = memory_layer("Polygon", [], [(box(0, 0, 6, 4),)])
    layer = run(INPUT=rasters[:1], COLLECTION=areas, PROJECTION="EPSG:32634", SCALE=10)["OUTPUT"]

    assert layer.crs().authid() == "EPSG:32634"
    assert all(feature.geometry().asPoint().x() % 10 == 5 for feature in layer.getFeatures())
    assert {row[1] for row in table(layer)} <= set(ROW_COLUMN.ravel().tolist())


def test_layer_without_a_crs_is_taken_as_it_is_with_a_warning(provider, rasters, memory_layer):
    places = memory_layer("Point", [], [(f"POINT ({LEFT + 35} {TOP - 25})",)], "")
    feedback = QgsProcessingFeedback()
    parameters = {"INPUT": rasters, "COLLECTION": places, "OUTPUT": "TEMPORARY_OUTPUT"}
    result = processing.run("rasterml:sampleregions", parameters, feedback=feedback)

    assert result["COUNT"] == 1
    assert "has no CRS" in feedback.textLog()


def test_log_has_the_table_of_bands(provider, rasters, memory_layer):
    places = memory_layer("Point", [], [(f"POINT ({LEFT + 35} {TOP - 25})",)])
    feedback = QgsProcessingFeedback()
    parameters = {"INPUT": rasters, "COLLECTION": places, "OUTPUT": "TEMPORARY_OUTPUT"}
    processing.run("rasterml:sampleregions", parameters, feedback=feedback)

    assert "band 2: nir (nir.tif, band 1, Float32, nodata -1)" in feedback.textLog()


# Notes beside the table


@pytest.fixture
def styled(memory_layer):
    """Two polygons with a categorized renderer of the field `cover`."""
    areas = memory_layer("Polygon", ["cover:int"], [(box(0, 2, 2, 3), 0), (box(3, 2, 5, 3), 7)])
    looks = [(7, "Wald", "#1f7a3a"), (0, "Wasser", "#3a76b8")]
    categories = [
        QgsRendererCategory(value, QgsFillSymbol.createSimple({"color": colour}), name) for value, name, colour in looks
    ]
    areas.setRenderer(QgsCategorizedSymbolRenderer("cover", categories))
    return areas


CLASSES = ((0, "Wasser", "#3a76b8"), (7, "Wald", "#1f7a3a"))


def test_geopackage_has_the_class_table_beside_it(provider, rasters, styled, tmp_path):
    path = str(tmp_path / "samples.gpkg")
    run(INPUT=rasters, COLLECTION=styled, OUTPUT=path)
    notes = sidecar.read(path)

    assert (notes.class_property, notes.classes, notes.bands) == ("cover", CLASSES, ("red", "nir"))
    assert columns(path, "cover", "system_index", "red") == [
        (0, "0_0", 20),
        (0, "0_1", 21),
        (7, "1_0", 23),
        (7, "1_1", 24),
    ]


def test_class_table_stays_away_without_its_field(provider, rasters, styled, tmp_path):
    styled.dataProvider().addAttributes([styled.fields().at(0)])
    path = str(tmp_path / "samples.gpkg")
    run(INPUT=rasters, COLLECTION=styled, OUTPUT=path, BAND_NAMES="cover,nir")

    assert sidecar.read(path).class_property is None


def test_style_beside_a_file_counts(provider, rasters, styled, tmp_path):
    areas = str(tmp_path / "areas.gpkg")
    processing.run("native:savefeatures", {"INPUT": styled, "OUTPUT": areas})
    styled.saveNamedStyle(str(tmp_path / "areas.qml"))
    path = str(tmp_path / "samples.gpkg")
    run(INPUT=rasters, COLLECTION=areas, OUTPUT=path)

    assert sidecar.read(path).classes == CLASSES


def test_layer_in_memory_carries_its_notes(provider, rasters, styled):
    layer = run(INPUT=rasters, COLLECTION=styled)["OUTPUT"]
    notes = sidecar.from_text(layer.customProperty(sidecar.CUSTOM_PROPERTY))

    assert (notes.class_property, notes.classes) == ("cover", CLASSES)


def test_shapefile_s_cut_names_are_kept_whole_beside_it_with_a_warning(provider, rasters, styled, tmp_path):
    path = str(tmp_path / "samples.shp")
    feedback = QgsProcessingFeedback()
    names = "reflectance_red,reflectance_nir"
    parameters = {"INPUT": rasters, "COLLECTION": styled, "BAND_NAMES": names, "OUTPUT": path}
    processing.run("rasterml:sampleregions", parameters, feedback=feedback)
    stored = [field.name() for field in QgsVectorLayer(path, "", "ogr").fields()]

    assert list(sidecar.read(path).fields.items()) == list(
        zip(stored, ["cover", "system_index", "reflectance_red", "reflectance_nir"])
    )
    assert "reflectance_nir" in feedback.textLog() and "cannot hold the whole names" in feedback.textLog()


def test_csv_brings_types_and_places_back(provider, rasters, styled, tmp_path):
    path = str(tmp_path / "samples.csv")
    run(INPUT=rasters, COLLECTION=styled, OUTPUT=path)
    source = ogr.Open(path)
    feature = source.GetLayer().GetNextFeature()

    assert (feature["cover"], feature["system_index"], feature["red"], feature["nir"]) == (0, "0_0", 20, 10.0)
    assert feature.GetGeometryRef().ExportToWkt() == f"POINT ({LEFT + 5} {TOP - 25})"


# Trouble


def test_paths_that_are_no_raster_or_layer_are_named(provider, rasters, memory_layer, tmp_path):
    places = memory_layer("Point", [], [(f"POINT ({LEFT + 35} {TOP - 25})",)])

    assert "missing.tif cannot be opened as a raster" in refusal(
        INPUT=[*rasters, str(tmp_path / "missing.tif")], COLLECTION=places
    )
    assert "missing.gpkg cannot be read as a layer" in refusal(INPUT=rasters, COLLECTION=str(tmp_path / "missing.gpkg"))


def test_unknown_property_and_band_are_named(provider, rasters, memory_layer):
    places = memory_layer("Point", ["id:int"], [(f"POINT ({LEFT + 35} {TOP - 25})", 1)])

    assert "no field 'cover': it has id" in refusal(INPUT=rasters, COLLECTION=places, PROPERTIES=["cover"])
    assert "no band swir: it has red, nir" in refusal(INPUT=rasters, COLLECTION=places, BANDS="swir")


def test_feature_that_cannot_be_transformed_is_named(provider, rasters, memory_layer):
    places = memory_layer("Point", [], [("POINT (13 52)",), ("POINT (13 1000)",)], "EPSG:4326")

    assert "Feature 2 cannot be brought into the CRS of the image" in refusal(INPUT=rasters, COLLECTION=places)


def test_collection_beside_the_image_leaves_no_file(provider, rasters, memory_layer, tmp_path):
    places = memory_layer("Point", [], [("POINT (0 0)",)])

    assert "check the CRS of both" in refusal(INPUT=rasters, COLLECTION=places, OUTPUT=str(tmp_path / "samples.gpkg"))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["nir.tif", "red.tif"]


def test_missing_folder_and_own_input_are_refused_as_output(provider, rasters, memory_layer, tmp_path):
    areas = str(tmp_path / "areas.gpkg")
    layer = memory_layer("Polygon", ["id:int"], [(box(3, 2, 5, 3), 0)])
    processing.run("native:savefeatures", {"INPUT": layer, "OUTPUT": areas})
    nowhere = str(tmp_path / "nowhere" / "samples.gpkg")

    assert "does not exist" in refusal(INPUT=rasters, COLLECTION=areas, OUTPUT=nowhere)
    assert "is an input of this run" in refusal(INPUT=rasters, COLLECTION=areas, OUTPUT=areas)
    assert columns(areas, "id") == [(0,)]


class CanceledWhileWriting(QgsProcessingFeedback):
    """Cancels when the rows are being written."""

    def setProgress(self, progress):  # noqa: N802
        if progress > 80:
            self.cancel()


@pytest.mark.parametrize("name", ["samples.gpkg", "samples.shp", "samples.csv"])
def test_canceled_run_leaves_no_file(provider, write_raster, memory_layer, tmp_path, name):
    raster = write_raster("red.tif", [np.arange(150 * 200).reshape(150, 200)])
    areas = memory_layer("Polygon", ["id:int"], [(box(0, 0, 200, 150), 7)])
    parameters = {"INPUT": raster, "COLLECTION": areas, "OUTPUT": str(tmp_path / name)}
    with pytest.raises(QgsProcessingException, match="Canceled"):
        processing.run("rasterml:sampleregions", parameters, feedback=CanceledWhileWriting())

    assert [file.name for file in tmp_path.iterdir()] == ["red.tif"]


def test_canceled_run_leaves_the_other_layers_of_a_geopackage(provider, write_raster, memory_layer, tmp_path):
    raster = write_raster("red.tif", [np.arange(150 * 200).reshape(150, 200)])
    areas = memory_layer("Polygon", ["id:int"], [(box(0, 0, 200, 150), 7)])
    path = tmp_path / "all.gpkg"
    processing.run("native:savefeatures", {"INPUT": areas, "OUTPUT": str(path), "LAYER_NAME": "areas"})
    output = f"ogr:dbname='{path}' table=\"samples\" (geom)"
    parameters = {"INPUT": raster, "COLLECTION": areas, "OUTPUT": output}
    with pytest.raises(QgsProcessingException, match="Canceled"):
        processing.run("rasterml:sampleregions", parameters, feedback=CanceledWhileWriting())
    dataset = ogr.Open(str(path))
    assert [dataset.GetLayer(number).GetName() for number in range(dataset.GetLayerCount())] == ["areas"]
    del dataset

    done = run(**parameters)
    assert done["COUNT"] == 30_000
    assert json.loads(sidecar.path_beside(path).read_text())["samples"]["bands"] == ["red"]


# Files are read by columns, many times faster than by features, with the same result

FILE_FIELDS = ["cover:string(0,0)", "year:integer", "large:int8", "share:double", "day:date"]
FILE_ROWS = [
    ("Grün 中", 1996, 2**40, 0.1, QDate(2020, 2, 29)),
    (None, None, None, None, None),
    ("", 0, 0, -0.0, QDate(1815, 12, 10)),
    ("a'b\"c", -7, -(2**40), 1e300, QDate(2026, 1, 1)),
]
KINDS = {
    "Point": lambda x, y: f"POINT ({x} {y})",
    "PointZ": lambda x, y: f"POINT Z ({x} {y} 7)",
    "MultiPoint": lambda x, y: f"MULTIPOINT (({x} {y}), ({x + 10} {y}))",
    "LineString": lambda x, y: f"LINESTRING ({x} {y}, {x + 10} {y})",
    "Polygon": lambda x, y: f"POLYGON (({x} {y}, {x + 20} {y}, {x + 20} {y - 20}, {x} {y - 20}, {x} {y}))",
    "MultiPolygonZ": lambda x, y: f"MULTIPOLYGON Z ((({x} {y} 1, {x + 20} {y} 1, {x + 20} {y - 20} 2, {x} {y} 1)))",
}


@pytest.fixture
def file_of(memory_layer, tmp_path):
    """Write FILE_ROWS at places on the image, among them one without geometry; feature ids have gaps."""

    def write(kind, crs, suffix, rows=FILE_ROWS, holes=True):
        path = str(tmp_path / f"regions{suffix}")
        layer = memory_layer(kind, FILE_FIELDS, [], crs)
        transform = QgsCoordinateTransform(
            QgsCoordinateReferenceSystem("EPSG:32633"), layer.crs(), QgsProject.instance()
        )
        features = []
        for number, row in enumerate(rows):
            feature = QgsFeature(layer.fields())
            feature.setAttributes(list(row))
            geometry = QgsGeometry.fromWkt(KINDS[kind](LEFT + 3 + number % 40, TOP - 4 - number % 30))
            geometry.transform(transform)
            if not holes or number != 2:
                feature.setGeometry(geometry)
            features.append(feature)
        assert layer.dataProvider().addFeatures(features)[0]
        processing.run("native:savefeatures", {"INPUT": layer, "OUTPUT": path})
        if holes and suffix == ".gpkg":
            saved = QgsVectorLayer(path)
            assert saved.dataProvider().deleteFeatures([1])
        return path

    return write


def both_ways(monkeypatch, rasters, collection, **parameters) -> tuple[list, list]:
    """Rows and places by columns, which must happen, and by features."""
    results = []
    for name, refuse in (("_from_features", True), ("_from_file", False)):
        with monkeypatch.context() as patch:
            never = (lambda *arguments: pytest.fail("read by features")) if refuse else (lambda *arguments: None)
            patch.setattr(region_columns, name, never)
            layer = run(INPUT=rasters, COLLECTION=collection, **parameters)["OUTPUT"]
        results.append([(row.attributes(), row.geometry().asWkt(3)) for row in layer.getFeatures()])
    return results[0], results[1]


@pytest.mark.parametrize("crs", ["EPSG:32633", "EPSG:4326", "EPSG:31468"])
@pytest.mark.parametrize("kind", KINDS)
def test_file_read_by_columns_gives_what_its_features_give(provider, rasters, file_of, monkeypatch, kind, crs):
    by_columns, by_features = both_ways(monkeypatch, rasters, file_of(kind, crs, ".gpkg"))

    assert by_columns == by_features
    assert {row[0][0] for row in by_columns} == {NULL, "a'b\"c"}  # the first was deleted, the third is nowhere


@pytest.mark.parametrize("suffix", [".geojson", ".shp"])
@pytest.mark.parametrize("kind", ["Point", "Polygon"])
def test_other_files_read_by_columns_give_what_their_features_give(
    provider, rasters, file_of, monkeypatch, kind, suffix
):
    crs = "EPSG:4326" if suffix == ".geojson" else "EPSG:32633"
    by_columns, by_features = both_ways(monkeypatch, rasters, file_of(kind, crs, suffix))

    assert by_columns == by_features
    assert {row[0][0] for row in by_columns} >= {"Grün 中", "a'b\"c"}


def test_batches_and_gaps_do_not_change_what_is_read(provider, rasters, file_of, monkeypatch):
    path = file_of("Point", "EPSG:32634", ".gpkg", FILE_ROWS * 2500, holes=False)
    saved = QgsVectorLayer(path)
    assert saved.dataProvider().deleteFeatures([number for number in range(1, 10_000) if number % 97 < 5])
    del saved
    by_columns, by_features = both_ways(monkeypatch, rasters, path, PROPERTIES=["day", "cover"])

    assert by_columns == by_features
    assert 8000 < len(by_columns) < 9500


def test_what_only_qgis_knows_is_read_by_features(provider, rasters, file_of):
    path = file_of("Point", "EPSG:32633", ".gpkg")
    chosen = QgsVectorLayer(path, "chosen", "ogr")
    chosen.selectByIds([4])
    QgsProject.instance().addMapLayer(chosen)
    try:
        selected = QgsProcessingFeatureSourceDefinition(chosen.id(), True)
        assert [row[1] for row in table(run(INPUT=rasters, COLLECTION=selected)["OUTPUT"])] == [-7]
        chosen.setSubsetString("year is null")
        assert [row[1] for row in table(run(INPUT=rasters, COLLECTION=chosen)["OUTPUT"])] == [NULL]
        chosen.setSubsetString("")
        chosen.addExpressionField("3 * year", QgsField("thrice", QMetaType.Type.Int))
        assert [row[5] for row in table(run(INPUT=rasters, COLLECTION=chosen)["OUTPUT"])] == [NULL, -21]
        chosen.startEditing()
        chosen.changeAttributeValue(4, chosen.fields().lookupField("year"), 5)
        assert [row[1] for row in table(run(INPUT=rasters, COLLECTION=chosen)["OUTPUT"])] == [NULL, 5]
        chosen.rollBack()
    finally:
        QgsProject.instance().removeMapLayer(chosen)


def test_truth_values_of_a_file_are_kept(provider, rasters, memory_layer, tmp_path):
    seen = [number % 5 in (0, 3) for number in range(200)]
    places = memory_layer("Point", ["seen:bool"], [(f"POINT ({LEFT + 31} {TOP - 29})", truth) for truth in seen])
    path = str(tmp_path / "places.gpkg")
    processing.run("native:savefeatures", {"INPUT": places, "OUTPUT": path})

    assert [row[0] for row in table(run(INPUT=rasters, COLLECTION=path)["OUTPUT"])] == seen


def test_feature_of_a_file_that_cannot_be_transformed_is_named(provider, rasters, memory_layer, tmp_path):
    places = memory_layer("Point", [], [("POINT (13 52)",), ("POINT (13 1000)",)], "EPSG:4326")
    path = str(tmp_path / "places.gpkg")
    processing.run("native:savefeatures", {"INPUT": places, "OUTPUT": path})

    assert "Feature 2 cannot be brought into the CRS of the image" in refusal(INPUT=rasters, COLLECTION=path)


# A table of samples trains without further words, whatever its format


@pytest.mark.parametrize("suffix", [".gpkg", ".geojson", ".csv", ".shp", ".fgb"])
def test_samples_of_every_format_train_without_naming_fields(provider, write_raster, styled, tmp_path, suffix):
    bands = [write_raster(f"{name}.tif", [ROW_COLUMN * factor]) for name, factor in (("red", 1), ("nir", 0.5))]
    samples, model = str(tmp_path / f"samples{suffix}"), str(tmp_path / "forest.rasterml")
    names = "surface_reflectance_red,surface_reflectance_nir"  # more than the ten characters of a Shapefile
    done = run(INPUT=bands, COLLECTION=styled, BAND_NAMES=names, OUTPUT=samples)
    parameters = {"TRAINING": [samples], "CLASS_PROPERTY": "cover", "NUMBER_OF_TREES": 3, "OUTPUT": model}
    trained = processing.run("rasterml:trainrandomforest", parameters)
    found = load_model(model)

    assert (done["COUNT"], trained["EXAMPLES"]) == (4, 4)
    assert list(found.predictors) == names.split(",")
    assert tuple(found.classes) == CLASSES


@pytest.mark.parametrize("suffix", [".gpkg", ".geojson", ".csv", ".shp", ".fgb"])
def test_samples_that_lost_their_sidecar_lose_names_and_colours_only(provider, write_raster, styled, tmp_path, suffix):
    bands = [write_raster(f"{name}.tif", [ROW_COLUMN * factor]) for name, factor in (("red", 1), ("nir", 0.5))]
    samples, model = tmp_path / f"samples{suffix}", str(tmp_path / "forest.rasterml")
    run(INPUT=bands, COLLECTION=styled, OUTPUT=str(samples))
    sidecar.path_beside(samples).unlink()
    parameters = {"TRAINING": [str(samples)], "CLASS_PROPERTY": "cover", "NUMBER_OF_TREES": 3, "OUTPUT": model}
    processing.run("rasterml:trainrandomforest", parameters)
    found = load_model(model)

    assert list(found.predictors) == ["red", "nir"]
    assert [item.value for item in found.classes] == [0, 7]


# Real data


@pytest.mark.parametrize(("numbers", "rows"), [((1, 2, 3, 4, 5), 752), ((1, 2, 3, 4, 5, 7), 562)])
def test_north_carolina_points_have_the_values_of_the_data_s_authors(provider, shared, numbers, rows):
    folder = shared / "data" / "nc_landsat7"
    rasters = [str(folder / f"lsat7_2000_{number}0.tif") for number in numbers]
    result = run(INPUT=rasters, COLLECTION=str(folder / "landsat96_points.shp"))
    bands = [f"lsat7_2000_{number}0" for number in numbers]
    found = [
        ([feature[f"b{number}"] for number in numbers], [feature[band] for band in bands])
        for feature in result["OUTPUT"].getFeatures()
    ]

    assert result["COUNT"] == len(found) == rows
    assert all(authors == ours for authors, ours in found)


def test_north_carolina_polygons_have_the_pixels_that_the_readme_counts(provider, shared):
    folder = shared / "data" / "nc_landsat7"
    rasters = [str(folder / f"lsat7_2000_{number}0.tif") for number in range(1, 6)]
    result = run(INPUT=rasters, COLLECTION=str(folder / "landsat96_polygons.shp"))
    classes = [feature["id"] for feature in result["OUTPUT"].getFeatures()]

    assert np.bincount(classes)[1:].tolist() == [343, 46, 476, 202, 788, 209, 57]
    assert result["COUNT"] == 2121
