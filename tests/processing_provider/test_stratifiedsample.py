"""`rasterml:stratifiedsample` in a real QGIS."""

from __future__ import annotations

import numpy as np
import pytest
from osgeo import gdal
from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransform,
    QgsGeometry,
    QgsProcessingFeedback,
    QgsProject,
    QgsVectorLayer,
)
from rasterml.engine import sidecar
from small_world import pinned, refusal, rows_of, run

CLASSES = np.array([[0, 0, 0, 7, 7, 7], [0, 0, 0, 7, 7, 7], [0, 0, 0, 7, 7, 7], [3, 3, 0, 0, 7, 255]])
ROW_COLUMN = np.add.outer(np.arange(4) * 10, np.arange(6))
LEFT, TOP = 300_000, 5_800_000
COUNTS = [65099, 1433, 23502, 14532, 107643, 4223, 194]  # px per class 1..7 of strata.tif, from the data's README


@pytest.fixture
def rasters(provider, write_raster):
    """Band cover has 11 pixels of class 0, 2 of 3, 10 of 7; red lacks one of 3 and row 0, column 0."""
    red = ROW_COLUMN.astype(float)
    red[0, 0] = red[3, 1] = -1
    cover = write_raster("cover.tif", [CLASSES], gdal.GDT_Byte, nodata=255)
    dataset = gdal.Open(cover, gdal.GA_Update)
    band = dataset.GetRasterBand(1)
    table = gdal.ColorTable()
    for value, colour in ((0, (58, 118, 184, 255)), (3, (199, 162, 124, 255)), (7, (31, 122, 58, 255))):
        table.SetColorEntry(value, colour)
    band.SetColorTable(table)
    band.SetCategoryNames(["Wasser", "", "", "Fels", "", "", "", "Wald"])
    band = dataset = None
    return [cover, write_raster("red.tif", [red], nodata=-1)]


def sample(**parameters):
    return run("stratifiedsample", OUTPUT=parameters.pop("OUTPUT", "TEMPORARY_OUTPUT"), **parameters)


def box(left, top, right, bottom, crs="EPSG:32633") -> str:
    """A polygon given in pixels, as well-known text in *crs*."""
    west, north, east, south = LEFT + left * 10, TOP - top * 10, LEFT + right * 10, TOP - bottom * 10
    corners = f"{west} {north}, {east} {north}, {east} {south}, {west} {south}, {west} {north}"
    geometry = QgsGeometry.fromWkt(f"POLYGON (({corners}))")
    systems = QgsCoordinateReferenceSystem("EPSG:32633"), QgsCoordinateReferenceSystem(crs)
    geometry.transform(QgsCoordinateTransform(*systems, QgsProject.instance()))
    return geometry.asWkt(12)


def column(layer, name) -> list:
    return [row[name] for row in rows_of(layer)]


def test_ids_names_and_defaults_are_as_frozen(provider):
    algorithm = provider.algorithm("stratifiedsample")

    assert (algorithm.groupId(), algorithm.tags()[1]) == ("sampling", "stratifiedSample")
    assert algorithm.shortHelpString().startswith("<p><b>Earth Engine: ee.Image.stratifiedSample</b>")
    assert pinned(algorithm) == {
        "INPUT": None,
        "BANDS": None,
        "BAND_NAMES": None,
        "RESAMPLING": "nearest",
        "NUM_POINTS": None,
        "CLASS_BAND": None,
        "CLASS_VALUES": None,
        "CLASS_POINTS": None,
        "REGION": None,
        "MIN_DISTANCE": None,
        "DROP_NULLS": True,
        "GEOMETRIES": True,
        "SEED": 0,
        "PROJECTION": None,
        "SCALE": None,
        "THREADS": 0,
        "OUTPUT": None,
    }
    assert [item.name() for item in algorithm.outputDefinitions()] == ["OUTPUT", "COUNT"]


def test_each_class_gives_its_number_and_the_rare_one_all_it_has(rasters):
    feedback = QgsProcessingFeedback()
    result = sample(INPUT=rasters, NUM_POINTS=4, feedback=feedback)
    layer = result["OUTPUT"]

    assert [field.name() for field in layer.fields()] == ["system_index", "cover", "red"]
    assert column(layer, "cover") == [0] * 4 + [3] + [7] * 4
    assert column(layer, "system_index") == [str(number) for number in range(9)]
    assert result["COUNT"] == 9
    for row, feature in zip(rows_of(layer), layer.getFeatures()):
        place = feature.geometry().asPoint()
        at = int((TOP - place.y()) // 10), int((place.x() - LEFT) // 10)
        assert (CLASSES[at], ROW_COLUMN[at]) == (row["cover"], row["red"])
    assert "class 3: 1 available, 4 wanted, 1 taken" in feedback.textLog()


def test_class_band_lists_region_and_seed_are_heeded(rasters, memory_layer):
    region = memory_layer("Polygon", [], [(box(0, 0, 6, 3, "EPSG:4326"),)], "EPSG:4326")
    fixed = {
        "INPUT": rasters[::-1],
        "NUM_POINTS": 5,
        "CLASS_BAND": "cover",
        "CLASS_VALUES": "7, 3, 9",
        "CLASS_POINTS": "2, 1, 8",
        "REGION": region,
    }
    feedback = QgsProcessingFeedback()
    drawn = [column(sample(**fixed, SEED=seed, feedback=feedback)["OUTPUT"], "red") for seed in (1, 1, 2, 3)]

    assert [len(red) for red in drawn] == [7] * 4  # five of class 0 and two of 7; class 3 lies below the region
    assert drawn[0] == drawn[1] and len({tuple(red) for red in drawn}) == 3
    assert "CLASS_VALUES lists 3, 9, which the region does not have: nothing is taken." in feedback.textLog()


def test_nulls_can_stay_and_geometries_go(rasters):
    layer = sample(INPUT=rasters, NUM_POINTS=99, DROP_NULLS=False, GEOMETRIES=False, THREADS=2)["OUTPUT"]

    assert not layer.isSpatial()
    assert column(layer, "cover") == [0] * 11 + [3] * 2 + [7] * 10
    assert [row["cover"] for row in rows_of(layer) if not isinstance(row["red"], float)] == [0, 3]


def test_grid_and_bands_can_be_chosen(rasters):
    layer = sample(INPUT=rasters, NUM_POINTS=9, BAND_NAMES="a,b", BANDS="a", CLASS_BAND="a", SCALE=20)["OUTPUT"]

    places = {(feature.geometry().asPoint().x() - LEFT) / 20 for feature in layer.getFeatures()}
    assert [field.name() for field in layer.fields()] == ["system_index", "a"]
    assert places == {0.5, 1.5, 2.5}  # centres of pixels of 20 m
    utm34 = sample(INPUT=rasters, NUM_POINTS=1, PROJECTION="EPSG:32634", SCALE=10, RESAMPLING="nearest")["OUTPUT"]
    assert utm34.crs().authid() == "EPSG:32634"


def test_distance_is_kept_and_what_it_costs_is_said(rasters):
    feedback = QgsProcessingFeedback()
    layer = sample(INPUT=rasters, NUM_POINTS=5, MIN_DISTANCE=25, feedback=feedback)["OUTPUT"]
    points = np.array([[*feature.geometry().asPoint()] for feature in layer.getFeatures()])
    apart = np.hypot(*(points[:, None] - points[None]).transpose(2, 0, 1))[~np.eye(len(points), dtype=bool)]

    assert len(points) > 2 and apart.min() >= 25
    assert "with MIN_DISTANCE 25 no more were found" in feedback.textLog()


@pytest.mark.parametrize("name", ["samples.gpkg", "samples.geojson", "samples.csv", "samples.shp"])
def test_class_table_of_the_raster_travels_with_any_format(rasters, tmp_path, name):
    path = str(tmp_path / name)
    sample(INPUT=rasters, NUM_POINTS=2, OUTPUT=path)
    notes = sidecar.read(path)

    assert (notes.class_property, notes.bands) == ("cover", ("cover", "red"))
    assert notes.classes == ((0, "Wasser", "#3a76b8"), (3, "Fels", "#c7a27c"), (7, "Wald", "#1f7a3a"))
    layer = QgsVectorLayer(path, "", "ogr")
    assert [int(value) for value in column(layer, "cover")] == [0, 0, 3, 7, 7]


def test_classes_of_a_raster_without_names_are_whole_numbers_all_the_same(provider, write_raster, tmp_path):
    raster = write_raster("cover.tif", [CLASSES], nodata=255)  # Float32
    path = str(tmp_path / "samples.gpkg")
    sample(INPUT=[raster], NUM_POINTS=1, OUTPUT=path)

    assert [field.isNumeric() and "nteger" in field.typeName() for field in QgsVectorLayer(path).fields()][2:] == [True]
    assert (sidecar.read(path).class_property, sidecar.read(path).classes) == ("cover", ())


# Refusals: one sentence, nothing written


@pytest.fixture
def refused(rasters, tmp_path):
    """A function that runs with wrong parameters, checks that nothing was written, and returns what the user reads."""

    def check(**parameters) -> str:
        fixed = {"INPUT": rasters, "NUM_POINTS": 3, "OUTPUT": str(tmp_path / "samples.gpkg")}
        text = refusal("stratifiedsample", **{**fixed, **parameters})
        assert not [file for file in tmp_path.iterdir() if "samples" in file.name]
        return text

    return check


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"NUM_POINTS": None}, "NUM_POINTS is not given: say how many points of each class are wanted."),
        ({"NUM_POINTS": -1}, "NUM_POINTS is -1: give 0 or more points of each class."),
        ({"NUM_POINTS": 0}, "No pixel is asked for: the classes found are 0, 3, 7"),
        ({"CLASS_BAND": "forest"}, "The image has no band forest: it has cover, red."),
        ({"CLASS_VALUES": "0,7", "CLASS_POINTS": "5"}, "CLASS_VALUES lists 2 classes but CLASS_POINTS 1 numbers"),
        ({"CLASS_VALUES": "0,7"}, "CLASS_VALUES lists 2 classes but CLASS_POINTS 0 numbers"),
        ({"CLASS_POINTS": "5"}, "CLASS_VALUES lists 0 classes but CLASS_POINTS 1 numbers"),
        ({"CLASS_VALUES": "0,7", "CLASS_POINTS": "5,-2"}, "CLASS_POINTS has -2 for class 7: give 0 or more."),
        ({"CLASS_VALUES": "Wald", "CLASS_POINTS": "5"}, "CLASS_VALUES has 'Wald': give whole numbers"),
        ({"MIN_DISTANCE": -1}, "MIN_DISTANCE is -1: give 0 or more"),
        ({"REGION": "nowhere.gpkg"}, "REGION nowhere.gpkg cannot be read as a layer: check the path."),
    ],
)
def test_bad_parameters_are_refused(refused, parameters, message):
    assert message in refused(**parameters)


def test_class_that_is_no_whole_number_is_refused(refused, write_raster):
    values = ROW_COLUMN.astype(float)
    values[2, 3] = 0.25

    assert "Band dist has 0.25 at row 2, column 3" in refused(INPUT=[write_raster("dist.tif", [values])])


def test_regions_that_give_nothing_are_refused(refused, memory_layer):
    def region(*texts):
        return memory_layer("Polygon", [], [(text,) for text in texts])

    assert "REGION 'regions' has no features" in refused(REGION=region())
    assert "REGION does not lie on the image" in refused(REGION=region(box(60, 60, 70, 70)))
    assert "All 1 pixels are masked: band red has no data" in refused(REGION=region(box(0, 0, 1, 1)))
    assert "Band cover has no data in all 1 pixels" in refused(REGION=region(box(5, 3, 6, 4)))


def test_sample_beyond_memory_is_refused(refused, monkeypatch):
    monkeypatch.setattr("rasterml.engine.pixel_sampling.MOST_VALUES", 10)

    assert "too large: it has more than 5 pixels with 2 bands" in refused(NUM_POINTS=10**12)


# Real data


def test_north_carolina_strata_are_exhausted_without_error(provider, shared):
    folder = shared / "data" / "nc_landsat7"
    feedback = QgsProcessingFeedback()
    result = sample(INPUT=[str(folder / "strata.tif")], NUM_POINTS=500, feedback=feedback)

    assert np.bincount(column(result["OUTPUT"], "strata"))[1:].tolist() == [500] * 6 + [194]
    for value, count in enumerate(COUNTS, 1):
        assert f"class {value}: {count:,} available, 500 wanted" in feedback.textLog()


def test_training_takes_the_sample_with_its_classes(rasters, tmp_path):
    path, model = str(tmp_path / "samples.gpkg"), str(tmp_path / "model.rasterml")
    sample(INPUT=rasters, NUM_POINTS=20, OUTPUT=path)
    parameters = {"TRAINING": [path], "CLASS_PROPERTY": "cover", "NUMBER_OF_TREES": 5, "OUTPUT": model}
    result = run("trainrandomforest", **parameters)

    assert (result["EXAMPLES"], result["PREDICTORS"], result["CLASSES"]) == (21, 1, 3)
    from rasterml.engine.models import load_model

    assert [item.name for item in load_model(model).classes] == ["Wasser", "Fels", "Wald"]
