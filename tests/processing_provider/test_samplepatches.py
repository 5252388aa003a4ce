"""Sample patches in a real QGIS, on rasters whose pixel (row, column) has the value 10 · row + column."""

from __future__ import annotations

import json

import numpy as np
import processing
import pytest
from osgeo import gdal
from qgis.core import (
    QgsCategorizedSymbolRenderer,
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransform,
    QgsMarkerSymbol,
    QgsPointXY,
    QgsProcessingFeedback,
    QgsProject,
    QgsRendererCategory,
    QgsVectorLayer,
)
from rasterml.engine import sidecar
from rasterml.engine.tfrecord import decode_example, read_records
from small_world import pinned, refusal

LEFT, TOP = 300_000, 5_800_000
ROWS, COLUMNS = 4, 6
NUMBERED = np.add.outer(10 * np.arange(ROWS), np.arange(COLUMNS))


def at(row, column):
    return f"POINT ({LEFT + 10 * column + 5} {TOP - 10 * row - 5})"


@pytest.fixture
def rasters(write_raster):
    """A Byte raster and a Float32 one of a tenth of it, without data at row 2, column 4."""
    holed = NUMBERED / 10
    holed[2, 4] = -1
    return [write_raster("red.tif", [NUMBERED], gdal.GDT_Byte), write_raster("nir.tif", [holed], nodata=-1)]


@pytest.fixture
def places(memory_layer):
    """Three points, the middle one on the pixel without data."""
    fields = ["cover:int", "name:string", "tall:bool", "height:double"]
    rows = [
        (at(1, 1), 7, "Wald", True, 2.5),
        (at(2, 4), 0, "Wasser", False, 0),
        (at(0, 5), 0, None, False, None),
    ]
    return memory_layer("Point", fields, rows)


def run(feedback=None, **parameters):
    return processing.run("rasterml:samplepatches", parameters, feedback=feedback)


def told(**parameters):
    feedback = QgsProcessingFeedback()
    run(feedback, **parameters)
    return feedback.textLog()


def examples(path):
    return [decode_example(record) for record in read_records(path)]


def plain(example):
    return {name: values if isinstance(values, list) else values.tolist() for name, values in example.items()}


def test_interface(provider):
    algorithm = provider.algorithm("samplepatches")

    assert algorithm.groupId() == "sampling"
    assert pinned(algorithm) == {
        "INPUT": None,
        "BANDS": None,
        "BAND_NAMES": None,
        "RESAMPLING": "nearest",
        "COLLECTION": None,
        "PROPERTIES": None,
        "RADIUS": 1,
        "DEFAULT_VALUE": 0,
        "PROJECTION": None,
        "SCALE": None,
        "THREADS": 0,
        "OUTPUT": None,
    }
    assert [output.name() for output in algorithm.outputDefinitions()] == ["OUTPUT", "COUNT", "DROPPED"]
    assert "Earth Engine: ee.Image.neighborhoodToArray" in algorithm.shortHelpString()
    assert "neighborhoodToArray" in algorithm.tags()


@pytest.mark.parametrize("ending", ["tfrecord", "tfrecord.gz"])
def test_example_per_point_with_bands_and_properties(provider, rasters, places, tmp_path, ending):
    path = str(tmp_path / f"patches.{ending}")

    result = run(INPUT=rasters, COLLECTION=places, DEFAULT_VALUE=300.7, OUTPUT=path)

    assert result == {"OUTPUT": path, "COUNT": 2, "DROPPED": 1}
    first, last = map(plain, examples(path))
    assert first == {
        "red": [0, 1, 2, 10, 11, 12, 20, 21, 22],
        "nir": np.float32([0, 0.1, 0.2, 1, 1.1, 1.2, 2, 2.1, 2.2]).tolist(),
        "cover": [7],
        "name": [b"Wald"],
        "tall": [1],
        "height": [2.5],
        "system:index": [b"0_0"],
    }
    far = np.float32(300.7).item()
    assert last == {
        "red": [255, 255, 255, 4, 5, 255, 14, 15, 255],
        "nir": [far, far, far, *np.float32([0.4, 0.5]).tolist(), far, *np.float32([1.4, 1.5]).tolist(), far],
        "cover": [0],
        "tall": [0],
        "system:index": [b"2_0"],
    }


def test_arrays_per_band_and_property(provider, rasters, places, tmp_path):
    path = str(tmp_path / "patches.npz")

    result = run(INPUT=rasters, COLLECTION=places, RADIUS=0, OUTPUT=path)

    assert (result["COUNT"], result["DROPPED"]) == (2, 1)
    with np.load(path, allow_pickle=False) as arrays:
        assert arrays.files == ["red", "nir", "cover", "name", "tall", "height", "system_index"]
        assert arrays["red"].tolist() == [[[11]], [[5]]] and arrays["red"].dtype == np.float32
        assert arrays["cover"].tolist() == [7, 0] and arrays["cover"].dtype == np.float64
        assert arrays["name"].tolist() == ["Wald", ""] and arrays["tall"].tolist() == [1, 0]
        assert np.array_equal(arrays["height"], [2.5, np.nan], equal_nan=True)
        assert arrays["system_index"].tolist() == ["0_0", "2_0"]


def test_chosen_properties_and_bands_only(provider, rasters, places, tmp_path):
    path = str(tmp_path / "patches.tfrecord")

    run(INPUT=rasters, BANDS="nir", COLLECTION=places, PROPERTIES=["cover"], OUTPUT=path)

    assert list(examples(path)[0]) == ["nir", "cover", "system:index"]


def test_band_and_index_go_before_properties_of_their_name_and_fid_stays_behind(
    provider, rasters, memory_layer, tmp_path
):
    points = memory_layer(
        "Point", ["fid:int", "RED:int", "system_index:string", "id:int"], [(at(1, 1), 1, 99, "old", 5)]
    )
    path = str(tmp_path / "patches.tfrecord")

    run(INPUT=rasters, COLLECTION=points, RADIUS=0, OUTPUT=path)

    assert plain(examples(path)[0]) == {
        "red": [11],
        "nir": [np.float32(1.1)],
        "id": [5],
        "system:index": [b"0_0"],
    }


def test_dates_are_texts_and_lists_are_left_out_or_refused(provider, rasters, memory_layer, tmp_path):
    points = memory_layer("Point", ["n:int"], [(at(1, 1), 1)])
    for name, kind, formula in (("day", 3, "to_date('2024-05-17')"), ("many", 8, "array(1, 2)")):
        fields = {"INPUT": points, "FIELD_NAME": name, "FIELD_TYPE": kind, "FORMULA": formula, "OUTPUT": "memory:"}
        points = processing.run("native:fieldcalculator", fields)["OUTPUT"]
    path = str(tmp_path / "patches.tfrecord")

    log = told(INPUT=rasters, COLLECTION=points, OUTPUT=path)

    assert plain(examples(path)[0])["day"] == [b"2024-05-17"]
    assert "Field 'many' holds neither numbers nor texts and is left out" in log
    assert "'many' holds neither numbers nor texts: take it out of PROPERTIES" in refusal(
        "samplepatches", INPUT=rasters, COLLECTION=points, PROPERTIES=["many"], OUTPUT=str(tmp_path / "other.npz")
    )


def test_several_points_of_a_feature_have_a_patch_for_each_pixel(provider, rasters, memory_layer, tmp_path):
    corner = f"{LEFT + 1} {TOP - 1}"
    many = memory_layer(
        "MultiPointZ", ["id:int"], [(f"MULTIPOINT Z (({LEFT + 35} {TOP - 15} 3), ({corner} 1), ({corner} 2))", 5)]
    )
    path = str(tmp_path / "patches.tfrecord")

    assert run(INPUT=rasters, COLLECTION=many, RADIUS=0, OUTPUT=path)["COUNT"] == 2
    assert [(plain(item)["red"], item["system:index"]) for item in examples(path)] == [
        ([13], [b"0_0"]),
        ([0], [b"0_1"]),
    ]


def test_feature_without_geometry_is_counted_in_the_index_only(provider, rasters, memory_layer, tmp_path):
    points = memory_layer("Point", ["id:int"], [("", 1), (at(1, 2), 2)])
    path = str(tmp_path / "patches.tfrecord")

    assert run(INPUT=rasters, COLLECTION=points, OUTPUT=path)["COUNT"] == 1
    assert plain(examples(path)[0])["id"] == [2] and examples(path)[0]["system:index"] == [b"1_0"]


def test_points_in_another_crs_are_transformed(provider, rasters, memory_layer, tmp_path):
    utm, world = QgsCoordinateReferenceSystem("EPSG:32633"), QgsCoordinateReferenceSystem("EPSG:4326")
    place = QgsCoordinateTransform(utm, world, QgsProject.instance()).transform(QgsPointXY(LEFT + 35, TOP - 15))
    points = memory_layer("Point", [], [(f"POINT ({place.x():.9f} {place.y():.9f})",)], "EPSG:4326")
    path = str(tmp_path / "patches.tfrecord")

    run(INPUT=rasters, COLLECTION=points, RADIUS=0, OUTPUT=path)

    assert examples(path)[0]["red"].tolist() == [13]


def test_grid_of_another_pixel_size(provider, rasters, places, tmp_path):
    """Pixels of 20 m: nearest neighbour takes the source pixel at each centre, the lower right one of four."""
    path = str(tmp_path / "patches.tfrecord")

    run(INPUT=rasters[:1], COLLECTION=places, PROPERTIES=["cover"], SCALE=20, OUTPUT=path)

    assert examples(path)[0]["red"].tolist() == [0, 0, 0, 0, 11, 13, 0, 31, 33]


def test_sidecar_has_bands_side_properties_and_classes(provider, rasters, places, tmp_path):
    symbol = QgsMarkerSymbol.createSimple({"color": "#1f7a3a"})
    places.setRenderer(QgsCategorizedSymbolRenderer("cover", [QgsRendererCategory(7, symbol, "Forest")]))
    path = str(tmp_path / "patches.tfrecord.gz")

    run(INPUT=rasters, COLLECTION=places, RADIUS=2, OUTPUT=path)

    notes = sidecar.read(path)
    assert notes.bands == ("red", "nir") and notes.patch_side == 5
    assert list(notes.fields) == ["cover", "name", "tall", "height"]
    assert notes.class_property == "cover" and notes.classes == ((7, "Forest", "#1f7a3a"),)
    assert json.loads((tmp_path / "patches.tfrecord.gz.rasterml.json").read_text())


def test_property_has_its_whole_name_again_that_a_shapefile_cut(provider, rasters, memory_layer, tmp_path):
    points = memory_layer("Point", ["land_cover_class:int"], [(at(1, 1), 7)])
    samples = str(tmp_path / "samples.shp")
    processing.run("rasterml:sampleregions", {"INPUT": rasters, "COLLECTION": points, "OUTPUT": samples})
    path = str(tmp_path / "patches.tfrecord")

    run(INPUT=rasters, COLLECTION=samples, OUTPUT=path)

    assert examples(path)[0]["land_cover_class"].tolist() == [7]


def test_temporary_output_is_a_tfrecord(provider, rasters, places):
    path = run(INPUT=rasters, COLLECTION=places, OUTPUT="TEMPORARY_OUTPUT")["OUTPUT"]

    assert path.endswith(".tfrecord") and len(examples(path)) == 2


# Trouble


@pytest.fixture
def refused(rasters, places, tmp_path):
    """What the user reads when a run fails, after which nothing new is in the folder."""

    def files():
        return {path.name for path in tmp_path.iterdir() if path.suffix != ".xml"}  # QGIS keeps a raster's statistics

    def run_refused(**parameters):
        before = files()
        fixed = {"INPUT": rasters, "COLLECTION": places, "OUTPUT": str(tmp_path / "patches.tfrecord")}
        sentence = refusal("samplepatches", **{**fixed, **parameters})
        assert files() == before
        return sentence

    return run_refused


def test_file_of_another_kind_or_nowhere_is_refused(provider, refused, tmp_path):
    assert "x.tif is no file of patches: choose a name that ends in .tfrecord" in refused(
        OUTPUT=str(tmp_path / "x.tif")
    )
    assert "does not exist, create it first" in refused(OUTPUT=str(tmp_path / "nowhere" / "x.npz"))


def test_impossible_numbers_are_refused(provider, refused):
    assert "RADIUS is -1: give a whole number of pixels, 0 or more." in refused(RADIUS=-1)
    assert "RADIUS is 1.5: give a whole number" in refused(RADIUS=1.5)
    assert "RADIUS 10000000000 makes patches of" in refused(RADIUS=10_000_000_000)
    assert "DEFAULT_VALUE is 1e+300: give a number that float32 holds." in refused(DEFAULT_VALUE=1e300)


def test_fields_bands_and_layers_that_are_not_there_are_named(provider, refused, tmp_path):
    assert "no field 'class': it has cover" in refused(PROPERTIES=["class"])
    assert "no band swir: it has red, nir" in refused(BANDS="swir")
    assert "missing.gpkg cannot be read as a layer" in refused(COLLECTION=str(tmp_path / "missing.gpkg"))


def test_geometry_that_is_no_point_is_refused_with_its_feature(provider, refused, memory_layer):
    square = f"POLYGON (({LEFT} {TOP}, {LEFT + 20} {TOP}, {LEFT + 20} {TOP - 20}, {LEFT} {TOP}))"
    lines = memory_layer("LineString", [], [(f"LINESTRING ({LEFT} {TOP}, {LEFT + 20} {TOP - 20})",)])

    assert "Feature 1 of layer 'regions' is a Polygon, and patches are cut around points: use Centroids" in refused(
        COLLECTION=memory_layer("Polygon", [], [(square,)])
    )
    assert "Feature 1 of layer 'regions' is a LineString" in refused(COLLECTION=lines)


def test_points_without_pixels_are_refused(provider, refused, memory_layer):
    assert "No point has a place" in refused(COLLECTION=memory_layer("Point", [], []))
    assert "No point lies on the image: the points cover x 1 to 1, y 2 to 2" in refused(
        COLLECTION=memory_layer("Point", [], [("POINT (1 2)",)])
    )
    assert "All 1 points lie on masked pixels: band nir has no data there" in refused(
        COLLECTION=memory_layer("Point", [], [(at(2, 4),)])
    )


def test_point_that_cannot_be_transformed_is_named(provider, refused, memory_layer):
    points = memory_layer("Point", [], [("POINT (13 52)",), ("POINT (13 1000)",)], "EPSG:4326")

    assert "Feature 2 cannot be brought into the CRS of the image" in refused(COLLECTION=points)


# Real data


def test_patches_of_the_north_carolina_points_are_what_gdal_reads(provider, shared, tmp_path):
    """Around every point: the pixels that GDAL reads there, 0 where masked or outside."""
    folder = shared / "data" / "nc_landsat7"
    names = [f"lsat7_2000_{band}" for band in (10, 20, 30, 40, 50, 70)]
    points = QgsVectorLayer(str(folder / "landsat96_points.shp"))
    path = str(tmp_path / "patches.npz")

    result = run(
        INPUT=[str(folder / f"{name}.tif") for name in names],
        COLLECTION=points,
        PROPERTIES=["label", "b1"],
        RADIUS=2,
        OUTPUT=path,
    )

    wanted, labels = direct_patches(folder, names, points, 2)
    arrays = np.load(path, allow_pickle=False)
    # 562 points have data in band 7 (../shared/data/README.md), all of them in the other bands too
    assert result["COUNT"] == len(wanted) == 562
    assert np.array_equal(np.stack([arrays[name] for name in names], axis=1), wanted)
    assert arrays["label"].tolist() == labels
    assert np.array_equal(arrays["lsat7_2000_10"][:, 2, 2], arrays["b1"])  # sampled by the data's authors


def direct_patches(folder, names, points, radius):
    datasets = [gdal.Open(str(folder / f"{name}.tif")) for name in names]
    x0, width, _, y0, _, height = datasets[0].GetGeoTransform()
    crs = QgsCoordinateReferenceSystem.fromWkt(datasets[0].GetProjection())
    transform = QgsCoordinateTransform(points.crs(), crs, QgsProject.instance())
    patches, labels = [], []
    for feature in points.getFeatures():
        place = transform.transform(feature.geometry().asPoint())
        row, column = int(np.floor((place.y() - y0) / height)), int(np.floor((place.x() - x0) / width))
        if not (0 <= row < datasets[0].RasterYSize and 0 <= column < datasets[0].RasterXSize):
            continue
        patch = np.zeros((len(names), 2 * radius + 1, 2 * radius + 1))
        masks = []
        for dataset, layer in zip(datasets, patch):
            left, top = max(0, column - radius), max(0, row - radius)
            right = min(dataset.RasterXSize, column + radius + 1)
            bottom = min(dataset.RasterYSize, row + radius + 1)
            band = dataset.GetRasterBand(1)
            values = band.ReadAsArray(left, top, right - left, bottom - top)
            mask = values != band.GetNoDataValue()
            inner = (
                slice(top - row + radius, bottom - row + radius),
                slice(left - column + radius, right - column + radius),
            )
            layer[inner] = np.where(mask, values, 0)
            masks.append(mask[row - top, column - left])
        if all(masks):
            patches.append(patch)
            labels.append(feature["label"])
    return np.array(patches), labels
