"""`rasterml:sample` in a real QGIS."""

from __future__ import annotations

import numpy as np
import pytest
from osgeo import gdal
from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransform,
    QgsGeometry,
    QgsProcessingFeatureSourceDefinition,
    QgsProcessingFeedback,
    QgsProject,
    QgsVectorLayer,
)
from rasterml.engine import sidecar
from small_world import pinned, refusal, rows_of, run

ROWS, COLUMNS = 4, 6
ROW_COLUMN = np.add.outer(np.arange(ROWS) * 10, np.arange(COLUMNS))  # 23 = row 2, column 3
LEFT, TOP = 300_000, 5_800_000


@pytest.fixture
def rasters(provider, write_raster):
    """Two files: row * 10 + column as bytes; half of it as decimals, without data at row 1, column 2."""
    halves = ROW_COLUMN / 2
    halves[1, 2] = -1
    return [write_raster("red.tif", [ROW_COLUMN], gdal.GDT_Byte), write_raster("nir.tif", [halves], nodata=-1)]


@pytest.fixture
def noise(provider, write_raster):
    """A hundred rows and 150 columns of two bands with all pixels valid."""
    return [write_raster("noise.tif", np.random.default_rng(2).uniform(0, 1, (2, 100, 150)))]


def sample(**parameters):
    return run("sample", OUTPUT=parameters.pop("OUTPUT", "TEMPORARY_OUTPUT"), **parameters)


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
    algorithm = provider.algorithm("sample")

    assert (algorithm.groupId(), algorithm.tags()[:2]) == ("sampling", ["ee.Image.sample", "sample"])
    assert algorithm.shortHelpString().startswith("<p><b>Earth Engine: ee.Image.sample</b>")
    assert pinned(algorithm) == {
        "INPUT": None,
        "BANDS": None,
        "BAND_NAMES": None,
        "RESAMPLING": "nearest",
        "REGION": None,
        "FACTOR": None,
        "NUM_PIXELS": None,
        "MIN_DISTANCE": None,
        "DROP_NULLS": True,
        "GEOMETRIES": True,
        "SEED": 0,
        "PROJECTION": None,
        "SCALE": None,
        "THREADS": 0,
        "OUTPUT": None,
    }
    assert [item.name() for item in algorithm.outputDefinitions()] == ["OUTPUT", "COUNT", "DROPPED"]
    advanced = [item.name() for item in algorithm.parameterDefinitions() if item.flags() & item.Flag.FlagAdvanced]
    assert {"SEED", "THREADS", "SCALE", "PROJECTION"} <= set(advanced)


def test_every_pixel_has_a_row_index_then_bands(rasters):
    result = sample(INPUT=rasters)
    layer = result["OUTPUT"]
    expected = [value for value in ROW_COLUMN.ravel().tolist() if value != 12]

    assert [field.name() for field in layer.fields()] == ["system_index", "red", "nir"]
    assert [field.typeName() for field in layer.fields()][1:] == ["integer", "double"]
    assert column(layer, "system_index") == [str(number) for number in range(23)]
    assert column(layer, "red") == expected
    assert column(layer, "nir") == [value / 2 for value in expected]
    assert (result["COUNT"], result["DROPPED"]) == (23, 1)


def test_points_stand_on_pixel_centres_in_the_crs_of_the_image(rasters):
    layer = sample(INPUT=rasters)["OUTPUT"]
    places = [feature.geometry().asPoint() for feature in layer.getFeatures()]

    assert (places[0].x(), places[0].y()) == (LEFT + 5, TOP - 5)
    assert (places[-1].x(), places[-1].y()) == (LEFT + 55, TOP - 35)
    assert layer.crs().authid() == "EPSG:32633"


def test_geometries_can_be_left_out_and_masked_bands_be_null(rasters):
    result = sample(INPUT=rasters, GEOMETRIES=False, DROP_NULLS=False)
    layer = result["OUTPUT"]

    assert not layer.isSpatial()
    assert [row["red"] for row in rows_of(layer) if not isinstance(row["nir"], float)] == [12]
    assert (result["COUNT"], result["DROPPED"]) == (24, 0)


def test_share_and_number_give_about_that_many(noise):
    # 15,000 pixels: 1500 are expected, standard deviation 37
    for parameters in ({"FACTOR": 0.1}, {"NUM_PIXELS": 1500}):
        assert abs(sample(INPUT=noise, **parameters)["COUNT"] - 1500) < 4 * 37


def test_seed_repeats_for_any_number_of_threads_and_another_one_differs(noise):
    first, again, other = (
        rows_of(sample(INPUT=noise, NUM_PIXELS=200, SEED=seed, THREADS=threads)["OUTPUT"])
        for seed, threads in ((5, 1), (5, 3), (6, 1))
    )

    assert first == again
    assert not {row["noise_1"] for row in first} <= {row["noise_1"] for row in other}


def test_distance_is_kept(noise):
    layer = sample(INPUT=noise, MIN_DISTANCE=70)["OUTPUT"]
    points = np.array([[*feature.geometry().asPoint()] for feature in layer.getFeatures()])
    apart = np.hypot(*(points[:, None] - points[None]).transpose(2, 0, 1))[~np.eye(len(points), dtype=bool)]

    assert len(points) > 100
    assert apart.min() >= 70


@pytest.mark.parametrize("crs", ["EPSG:32633", "EPSG:4326", "EPSG:3857"])
def test_region_in_any_crs_is_transformed(rasters, memory_layer, crs):
    region = memory_layer("Polygon", [], [(box(2.6, 0.9, 5.1, 2.6, crs),), ("",), (box(4, 1, 6, 2, crs),)], crs)

    assert column(sample(INPUT=rasters, REGION=region)["OUTPUT"], "red") == [13, 14, 15, 23, 24]


def test_selected_features_alone_are_the_region_when_asked(rasters, memory_layer):
    region = memory_layer("Polygon", [], [(box(0, 0, 2, 1),), (box(3, 2, 5, 3),)])
    QgsProject.instance().addMapLayer(region, False)
    region.selectByIds([2])
    try:
        definition = QgsProcessingFeatureSourceDefinition(region.id(), selectedFeaturesOnly=True)
        assert column(sample(INPUT=rasters, REGION=definition)["OUTPUT"], "red") == [23, 24]
    finally:
        QgsProject.instance().removeMapLayer(region.id())


def test_region_without_a_crs_is_taken_as_it_is_with_a_warning(rasters, memory_layer):
    feedback = QgsProcessingFeedback()
    region = memory_layer("Polygon", [], [(box(3, 2, 5, 3),)], "")

    assert column(sample(INPUT=rasters, REGION=region, feedback=feedback)["OUTPUT"], "red") == [23, 24]
    assert "has no CRS" in feedback.textLog()


def test_bands_and_grid_can_be_chosen(rasters):
    layer = sample(INPUT=rasters, BAND_NAMES="b1, b2", BANDS="b1", SCALE=20, RESAMPLING="average")["OUTPUT"]

    assert [field.name() for field in layer.fields()] == ["system_index", "b1"]
    assert column(layer, "b1") == [5.5, 7.5, 9.5, 25.5, 27.5, 29.5]  # means of 2 x 2 pixels
    assert sample(INPUT=rasters, PROJECTION="EPSG:32634", SCALE=10)["OUTPUT"].crs().authid() == "EPSG:32634"


def test_large_integers_stay_whole(provider, write_raster):
    raster = write_raster("large.tif", [ROW_COLUMN + 2**30] * 2, gdal.GDT_Int32)

    assert column(sample(INPUT=[raster])["OUTPUT"], "large_2") == (ROW_COLUMN.ravel() + 2**30).tolist()


@pytest.mark.parametrize("name", ["samples.gpkg", "samples.geojson", "samples.csv", "samples.shp"])
def test_files_hold_rows_and_the_order_of_bands(rasters, tmp_path, name):
    path = str(tmp_path / name)
    result = sample(INPUT=rasters, OUTPUT=path, DROP_NULLS=False)
    layer = QgsVectorLayer(path, "", "ogr")

    assert (result["OUTPUT"], result["COUNT"], layer.featureCount()) == (path, 24, 24)
    assert [int(value) for value in column(layer, "red")] == ROW_COLUMN.ravel().tolist()
    assert [int(row["red"]) for row in rows_of(layer) if str(row["nir"]) in ("NULL", "None", "")] == [12]
    assert sidecar.read(path).bands == ("red", "nir")


def test_image_without_crs_gives_points_without_crs(provider, write_raster):
    raster = write_raster("plain.tif", [ROW_COLUMN] * 2, epsg=None)
    layer = sample(INPUT=[raster])["OUTPUT"]

    assert layer.featureCount() == 24
    assert not layer.crs().isValid()


# Refusals: one sentence, nothing written


@pytest.fixture
def refused(rasters, tmp_path):
    """A function that runs with wrong parameters, checks that nothing was written, and returns what the user reads."""

    def check(**parameters) -> str:
        text = refusal("sample", **{"INPUT": rasters, "OUTPUT": str(tmp_path / "samples.gpkg"), **parameters})
        assert not [file for file in tmp_path.iterdir() if "samples" in file.name]
        return text

    return check


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"FACTOR": 0.5, "NUM_PIXELS": 5}, "FACTOR and NUM_PIXELS are both given: choose one of them."),
        ({"FACTOR": 0}, "FACTOR is 0: give the share of the pixels wanted, above 0 and at most 1."),
        ({"FACTOR": 1.5}, "FACTOR is 1.5: give the share"),
        ({"NUM_PIXELS": 0}, "NUM_PIXELS is 0: ask for at least 1 pixel."),
        ({"NUM_PIXELS": -7}, "NUM_PIXELS is -7: ask for at least 1 pixel."),
        ({"MIN_DISTANCE": -1}, "MIN_DISTANCE is -1: give 0 or more"),
        ({"FACTOR": 1e-12}, "None of 24 pixels was drawn"),
        ({"BANDS": "green"}, "The image has no band green: it has red, nir."),
        ({"INPUT": ["nowhere.tif"]}, "INPUT nowhere.tif cannot be opened as a raster"),
        ({"REGION": "nowhere.gpkg"}, "REGION nowhere.gpkg cannot be read as a layer: check the path."),
        ({"OUTPUT": "/nowhere/samples.gpkg"}, "/nowhere"),
    ],
)
def test_bad_parameters_are_refused(refused, parameters, message):
    assert message in refused(**parameters)


def test_regions_that_give_nothing_are_refused(refused, memory_layer):
    def region(*texts):
        return memory_layer("Polygon", [], [(text,) for text in texts])

    assert "REGION 'regions' has no features: choose a layer with a polygon." in refused(REGION=region())
    assert "REGION has no polygon: choose a layer with at least one." in refused(REGION=region("", ""))
    assert "REGION does not lie on the image" in refused(REGION=region(box(60, 60, 70, 70)))
    assert "No pixel has its centre inside REGION" in refused(REGION=region(box(3.1, 2.1, 3.2, 2.2)))
    assert "All 1 pixels are masked: band nir has no data" in refused(REGION=region(box(2, 1, 3, 2)))
    points = memory_layer("Point", [], [(f"POINT ({LEFT} {TOP})",)])
    assert "REGION has no polygon" in refused(REGION=points)


def test_huge_number_takes_all_pixels_with_a_warning(rasters):
    feedback = QgsProcessingFeedback()

    assert sample(INPUT=rasters, NUM_PIXELS=10**12, feedback=feedback)["COUNT"] == 23
    assert "NUM_PIXELS is 1,000,000,000,000 but the extent has 24 pixels" in feedback.textLog()


def test_sample_beyond_memory_is_refused(refused, monkeypatch):
    monkeypatch.setattr("rasterml.engine.pixel_sampling.MOST_VALUES", 40)

    assert "The sample is too large: it has more than 20 pixels with 2 bands" in refused()


# Real data


def test_north_carolina_polygons_have_the_pixels_that_the_readme_counts(provider, shared):
    folder = shared / "data" / "nc_landsat7"
    rasters = [str(folder / f"lsat7_2000_{number}0.tif") for number in range(1, 6)]

    # the polygons' CRS is another one than the image's
    assert sample(INPUT=rasters, REGION=str(folder / "landsat96_polygons.shp"))["COUNT"] == 2121


def test_potsdam_bands_without_data_are_named(provider, shared):
    files = [str(shared / "data" / "enmap_potsdam" / f"enmap_potsdam_{part}.tif") for part in ("vnir", "swir")]
    text = refusal("sample", INPUT=files, NUM_PIXELS=100, OUTPUT="TEMPORARY_OUTPUT")

    assert (
        "pixels are masked: bands band_130__" in text
        and "band_135__" in text
        and "band_136__" not in text.split("are masked")[1].split("no data")[0]
    )


def test_meuse_and_modis_are_sampled(provider, shared):
    meuse = [str(shared / "data" / "meuse" / f"{name}.tif") for name in ("dem", "soil")]
    modis = [str(file) for file in sorted((shared / "data" / "modis_sinop").glob("*.jp2"))]

    assert sample(INPUT=meuse)["COUNT"] == 3103
    layer = sample(INPUT=modis, FACTOR=0.01)["OUTPUT"]
    assert len(layer.fields()) == 13 and abs(layer.featureCount() - 375) < 4 * 20
    assert "sinusoidal" in layer.crs().toWkt().lower()
