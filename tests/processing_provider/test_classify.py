"""Maps from the toolbox."""

from __future__ import annotations

import numpy as np
import pytest
from osgeo import gdal
from qgis.core import (
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsProcessingOutputLayerDefinition,
    QgsProject,
    QgsRasterLayer,
    QgsReferencedRectangle,
)
from rasterml.engine.models import load_model
from rasterml.engine.prediction import predict_rows
from small_world import COLUMNS, GEOTRANSFORM, ROWS, pinned, read, refusal, run, table, trained, values, write_image

pytestmark = pytest.mark.usefixtures("provider")


@pytest.fixture
def model(provider, tmp_path):
    return trained(tmp_path / "model.rasterml")


@pytest.fixture
def image(tmp_path):
    return write_image(tmp_path / "image.tif")


def files_in(folder) -> list[str]:
    """Return the names of the files, without the statistics that QGIS puts beside an input when it likes to."""
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".aux.xml"))


def expected(model, mode=""):
    """The map by the engine's rows: (bands, rows, columns), first five rows nodata."""
    bands = values()
    rows = predict_rows(load_model(model), bands[:, 5:].reshape(2, -1).T.copy(), mode)
    return rows.reshape(len(rows), ROWS - 5, COLUMNS)


def test_it_has_the_frozen_parameters_outputs_and_defaults(provider):
    algorithm = provider.algorithm("classify")

    assert pinned(algorithm) == {
        "INPUT": None, "BANDS": None, "BAND_NAMES": None, "RESAMPLING": "nearest", "MODEL": None,
        "OUTPUT_MODE": None, "MASK": None, "EXTENT": None, "MATCH_BY_ORDER": False, "PROBABILITY_TYPE": "Float32",
        "NODATA": None, "OVERVIEWS": False, "COG": False, "COMPRESSION": "DEFLATE", "COMPRESSION_LEVEL": None,
        "LIMITS": "Warn",
        "THREADS": 0, "TILE_SIZE": 256, "MEMORY_LIMIT": 1024, "SCHEDULER": None, "RESUME": False, "OUTPUT": None,
    }  # fmt: skip
    assert {output.name() for output in algorithm.outputDefinitions()} == {"OUTPUT", "PIXELS", "PREDICTED", "MASKED"}
    assert algorithm.groupId() == "prediction"


@pytest.mark.parametrize("mode", [None, "CLASSIFICATION", "PROBABILITY", "MULTIPROBABILITY", "RAW"])
def test_each_mode_gives_what_the_engine_gives(mode, model, image, tmp_path):
    results = run("classify", INPUT=[image], MODEL=model, OUTPUT_MODE=mode, OUTPUT=str(tmp_path / "map.tif"))

    written = read(tmp_path / "map.tif")
    assert np.array_equal(written[:, 5:], expected(model, mode or ""))
    assert results["PIXELS"] == ROWS * COLUMNS
    assert results["MASKED"] == 5 * COLUMNS
    assert results["PREDICTED"] == (ROWS - 5) * COLUMNS


def test_options_that_change_no_pixel(model, image, tmp_path):
    run("classify", INPUT=[image], MODEL=model, OUTPUT=str(tmp_path / "a.tif"))
    run(
        "classify", INPUT=[image], MODEL=model, OUTPUT=str(tmp_path / "b.tif"),
        THREADS=3, TILE_SIZE=17, MEMORY_LIMIT=600, RESUME=True, LIMITS="Enforce",
    )  # fmt: skip

    assert np.array_equal(read(tmp_path / "a.tif"), read(tmp_path / "b.tif"))
    assert not list(tmp_path.glob(".*"))


def test_bands_and_names(model, tmp_path):
    bands = values()
    image = write_image(tmp_path / "odd.tif", ("b1", "b2", "b3"), [bands[1], bands[0] * 0, bands[0]])

    run("classify", INPUT=[image], BAND_NAMES="nir,zero,red", MODEL=model, OUTPUT=str(tmp_path / "by_name.tif"))
    run(
        "classify", INPUT=[image], BANDS="b3,b1", MATCH_BY_ORDER=True, MODEL=model, OUTPUT=str(tmp_path / "order.tif")
    )  # fmt: skip

    # the zero band has no masked pixels but is not asked for
    for name in ("by_name", "order"):
        assert np.array_equal(read(tmp_path / f"{name}.tif")[:, 5:], expected(model))


def test_mask_and_extent_in_another_crs(model, image, tmp_path):
    mask = np.ones((1, ROWS, COLUMNS))
    mask[:, :, :20] = 0
    write_image(tmp_path / "mask.tif", ("mask",), mask, nodata=9)
    x, y = GEOTRANSFORM[0], GEOTRANSFORM[3]
    from qgis.core import QgsCoordinateReferenceSystem, QgsCoordinateTransform, QgsProject, QgsRectangle

    here, there = QgsCoordinateReferenceSystem("EPSG:32617"), QgsCoordinateReferenceSystem("EPSG:4326")
    transform = QgsCoordinateTransform(here, there, QgsProject.instance())
    wanted = QgsRectangle(x + 105, y - 295, x + 395, y - 105)  # inside columns 10…39, rows 10…29
    extent = QgsReferencedRectangle(transform.transformBoundingBox(wanted), there)

    run(
        "classify", INPUT=[image], MODEL=model, MASK=str(tmp_path / "mask.tif"), EXTENT=extent,
        OUTPUT=str(tmp_path / "part.tif"),
    )  # fmt: skip

    dataset = gdal.Open(str(tmp_path / "part.tif"))
    column = round((dataset.GetGeoTransform()[0] - x) / 10)
    row = round((y - dataset.GetGeoTransform()[3]) / 10)
    part, whole = read(tmp_path / "part.tif")[0], expected(model)[0]
    assert 9 <= column <= 10 and 9 <= row <= 10
    assert part.shape[0] <= 22 and part.shape[1] <= 32  # a turned rectangle grows by a pixel at most
    assert (part[:, : 20 - column] == 255).all()
    inside = whole[row - 5 : row - 5 + part.shape[0], 20 : column + part.shape[1]]
    assert np.array_equal(part[:, 20 - column :], inside)


def test_map_opens_in_qgis_with_names_and_colours(model, image, tmp_path):
    run("classify", INPUT=[image], MODEL=model, OUTPUT=str(tmp_path / "map.tif"))

    layer = QgsRasterLayer(str(tmp_path / "map.tif"))
    renderer = layer.renderer()
    colours = {item.value: item.colour for item in load_model(model).classes}
    assert {int(entry.value): entry.color.name() for entry in renderer.classes()} == colours


def test_other_formats_and_temporary_outputs(model, image, tmp_path):
    run("classify", INPUT=[image], MODEL=model, OUTPUT=str(tmp_path / "map.img"))
    temporary = run("classify", INPUT=[image], MODEL=model, OUTPUT="TEMPORARY_OUTPUT")["OUTPUT"]

    assert np.array_equal(read(tmp_path / "map.img")[:, 5:], expected(model))
    assert np.array_equal(read(temporary)[:, 5:], expected(model))


def test_only_what_is_made_is_noted_for_loading(provider, model, image, tmp_path):
    """As the dialog runs it: a temporary output that the project takes."""
    for algorithm, parameters in (
        ("classify", {"INPUT": [image], "MODEL": model}),
        ("sampleregions", {"INPUT": [image], "COLLECTION": table(rows=9)}),
        ("classifytable", {"INPUT": table(), "MODEL": model}),
        ("confusionmatrix", {"MODEL": model}),
    ):
        context = QgsProcessingContext()
        context.setProject(QgsProject.instance())
        temporary = QgsProcessingOutputLayerDefinition("TEMPORARY_OUTPUT", QgsProject.instance())

        instance = provider.algorithm(algorithm).create()
        assert instance.checkParameterValues({**parameters, "OUTPUT": temporary}, context)[0]
        results, successful = instance.run({**parameters, "OUTPUT": temporary}, context, QgsProcessingFeedback())

        assert successful
        assert list(context.layersToLoadOnCompletion()) == [results["OUTPUT"]], algorithm


def test_several_layers_are_one_stack(model, tmp_path):
    bands = values()
    paths = [write_image(tmp_path / f"{name}.tif", (), [band]) for name, band in zip(("nir", "red"), bands[::-1])]
    for path in paths:
        dataset = gdal.Open(path, gdal.GA_Update)
        dataset.GetRasterBand(1).SetNoDataValue(-1)
        dataset = None

    run("classify", INPUT=paths, MODEL=model, OUTPUT=str(tmp_path / "map.tif"))

    assert np.array_equal(read(tmp_path / "map.tif")[:, 5:], expected(model))


def test_regression_model(image, tmp_path):
    from small_world import table

    layer = table(labels=("-2.5", "40.25"), kind="double")
    model = trained(tmp_path / "r.rasterml", TRAINING=[layer], MODE="REGRESSION")

    for mode, bands in (("REGRESSION", 1), ("RAW_REGRESSION", 9)):
        run("classify", INPUT=[image], MODEL=model, OUTPUT_MODE=mode, OUTPUT=str(tmp_path / "map.tif"))
        written = read(tmp_path / "map.tif")
        assert len(written) == bands
        assert np.isnan(written[:, :5]).all()
        assert np.array_equal(written[:, 5:], expected(model, mode))


@pytest.mark.parametrize(
    ("storage", "layout", "compression"),
    [
        ({"OVERVIEWS": True, "COMPRESSION": "LZW"}, None, "LZW"),
        ({"COG": True, "COMPRESSION": "ZSTD", "COMPRESSION_LEVEL": 3}, "COG", "ZSTD"),
    ],
)
def test_ways_to_store_the_map_change_no_pixel(storage, layout, compression, model, tmp_path):
    small = write_image(tmp_path / "small.tif")
    image = str(tmp_path / "image.vrt")
    gdal.Translate(image, small, format="VRT", width=COLUMNS * 10, height=ROWS * 10).FlushCache()
    feedback = QgsProcessingFeedback()
    shares = []
    feedback.progressChanged.connect(shares.append)

    run("classify", INPUT=[image], MODEL=model, OUTPUT=str(tmp_path / "plain.tif"))
    run("classify", feedback=feedback, INPUT=[image], MODEL=model, OUTPUT=str(tmp_path / "map.tif"), **storage)

    dataset = gdal.Open(str(tmp_path / "map.tif"))
    band = dataset.GetRasterBand(1)
    assert np.array_equal(read(tmp_path / "map.tif"), read(tmp_path / "plain.tif"))
    assert band.GetOverviewCount() >= 1
    assert set(np.unique(band.GetOverview(0).ReadAsArray())) <= {0, 7, 255}
    assert dataset.GetMetadataItem("LAYOUT", "IMAGE_STRUCTURE") == layout
    assert dataset.GetMetadataItem("COMPRESSION", "IMAGE_STRUCTURE") == compression
    assert shares == sorted(shares) and shares[-1] == 100
    layer = QgsRasterLayer(str(tmp_path / "map.tif"))
    renderer = layer.renderer()
    assert [int(entry.value) for entry in renderer.classes()] == [0, 7]


@pytest.mark.parametrize(("kind", "nodata", "step"), [("UInt8", None, 0.01), ("UInt16", 20_000, 0.0001)])
def test_probabilities_as_whole_numbers_are_shown_from_0_to_1(kind, nodata, step, model, image, tmp_path):
    run(
        "classify", INPUT=[image], MODEL=model, OUTPUT_MODE="MULTIPROBABILITY", PROBABILITY_TYPE=kind, NODATA=nodata,
        OUTPUT=str(tmp_path / "map.tif"),
    )  # fmt: skip

    layer = QgsRasterLayer(str(tmp_path / "map.tif"))
    provider = layer.dataProvider()
    block = provider.block(1, provider.extent(), COLUMNS, ROWS)
    shown = np.array([[block.value(row, column) for column in range(COLUMNS)] for row in range(5, ROWS)])
    assert np.abs(shown - expected(model, "MULTIPROBABILITY")[0]).max() <= step / 2 + 1e-7
    assert all(block.isNoData(row, column) for row in range(5) for column in range(COLUMNS))
    dataset = gdal.Open(str(tmp_path / "map.tif"))
    assert dataset.GetRasterBand(1).GetNoDataValue() == (nodata or 255)


def test_probability_type_of_a_class_map_is_warned_of(model, image, tmp_path):
    feedback = QgsProcessingFeedback()

    run(
        "classify", feedback=feedback, INPUT=[image], MODEL=model, PROBABILITY_TYPE="UInt16", NODATA=3,
        OUTPUT=str(tmp_path / "map.tif"),
    )  # fmt: skip

    assert "PROBABILITY_TYPE UInt16 changes nothing here" in feedback.textLog()
    written = read(tmp_path / "map.tif")
    assert written.dtype == np.uint8 and (written[:, :5] == 3).all()
    assert np.array_equal(written[:, 5:], expected(model))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"NODATA": 7}, "NODATA is 7, which is one of the map's classes"),
        ({"NODATA": 300}, "NODATA is 300, but the map's numbers are Byte"),
        ({"COMPRESSION": "NONE", "COMPRESSION_LEVEL": 5}, "COMPRESSION_LEVEL is 5, but NONE has no levels"),
        ({"OVERVIEWS": True, "OUTPUT": "map.img"}, "are for GeoTIFF"),
        ({"BAND_NAMES": "a,b"}, "The image has no band red, nir, which the model needs"),
        ({"OUTPUT_MODE": "REGRESSION"}, "OUTPUT_MODE REGRESSION is not possible for this classification model"),
        ({"MODEL": "image.tif"}, "is not a model file: choose one that ends in .rasterml"),
        ({"MODEL": "nothing.rasterml"}, "nothing.rasterml is refused: there is no such file"),
        ({"INPUT": ["nothing.tif"]}, "nothing.tif"),
        ({"MASK": "nothing.tif"}, "nothing.tif"),
        ({"OUTPUT": "nowhere/map.tif"}, "the folder"),
        ({"OUTPUT": "map.vrt"}, "map.vrt has the extension .vrt: give the raster one of .tif"),
        ({"OUTPUT": "image.tif"}, "is an input of this run"),
        ({"EXTENT": "0,1,0,1 [EPSG:32617]"}, "EXTENT"),
        ({"BANDS": "red,green"}, "green"),
        ({"SCHEDULER": "tcp://127.0.0.1:9"}, "SCHEDULER"),
    ],
)
def test_what_cannot_be_classified_is_said_in_a_sentence(change, sentence, model, image, tmp_path, monkeypatch):
    monkeypatch.setattr("rasterml.engine.cluster.CONNECT_SECONDS", 0.5)
    files = {"MODEL", "MASK", "OUTPUT"}
    change = {name: str(tmp_path / value) if name in files else value for name, value in change.items()}
    if "INPUT" in change:
        change["INPUT"] = [str(tmp_path / change["INPUT"][0])]
    before = files_in(tmp_path)

    said = refusal("classify", **{"INPUT": [image], "MODEL": model, "OUTPUT": str(tmp_path / "map.tif"), **change})

    assert sentence in said
    assert files_in(tmp_path) == before


def test_image_that_is_masked_everywhere_is_warned_of(model, tmp_path):
    image = write_image(tmp_path / "empty.tif", bands=np.full((2, ROWS, COLUMNS), -1))
    feedback = QgsProcessingFeedback()

    results = run("classify", feedback=feedback, INPUT=[image], MODEL=model, OUTPUT=str(tmp_path / "map.tif"))

    assert results["PREDICTED"] == 0
    assert "Every pixel is masked" in feedback.textLog()


def test_canceled_task_leaves_nothing(model, image, tmp_path):
    feedback = QgsProcessingFeedback()
    feedback.cancel()

    from qgis.core import QgsProcessingException

    with pytest.raises(QgsProcessingException):
        run("classify", feedback=feedback, INPUT=[image], MODEL=model, OUTPUT=str(tmp_path / "map.tif"))
    assert files_in(tmp_path) == ["image.tif", "model.rasterml"]
