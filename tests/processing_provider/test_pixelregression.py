"""Regressions of every pixel from the toolbox: parameters, times, and what reaches the engine."""

from __future__ import annotations

import numpy as np
import pytest
from qgis.core import Qgis, QgsDateTimeRange, QgsProcessingFeedback, QgsRasterLayer
from qgis.PyQt.QtCore import QDate, QDateTime, QTime
from rasterml.engine.reducers import REDUCERS
from small_world import COLUMNS, ROWS, pinned, read, refusal, run, write_image

pytestmark = pytest.mark.usefixtures("provider")

BLOCK = {
    "INPUT": None, "BANDS_ARE_IMAGES": False, "TIMES": None, "Y": None, "MIN_OBSERVATIONS": None, "BAND_NAMES": None,
    "RESAMPLING": "nearest", "THREADS": 0, "TILE_SIZE": 256, "MEMORY_LIMIT": 1024, "SCHEDULER": None, "RESUME": False,
    "OUTPUT": None,
}  # fmt: skip
OWN = {
    "linearfit": {"X": "time", "SIGNIFICANCE": False},
    "linearregression": {"X": "constant,time", "HARMONICS": None, "SIGNIFICANCE": False},
    "robustlinearregression": {"X": "constant,time", "HARMONICS": None, "BETA": None, "SIGNIFICANCE": False},
    "ridgeregression": {
        "X": "time", "HARMONICS": None, "LAMBDA": 0.1, "INTERCEPT": True, "STANDARDIZE": False, "SIGNIFICANCE": False,
    },
    "sensslope": {"X": "time", "SIGNIFICANCE": False},
    "pearsonscorrelation": {"X": "time"},
    "spearmanscorrelation": {"X": "time"},
    "kendallscorrelation": {"X": "time"},
}  # fmt: skip
each_reducer = pytest.mark.parametrize("reducer", REDUCERS, ids=lambda row: row.id)
YEARS = (3, 0, 1, 5, 2, 8)  # after 2010, not sorted


class Listening(QgsProcessingFeedback):
    def __init__(self):
        super().__init__()
        self.lines = []

    def pushInfo(self, text):  # noqa: N802
        self.lines.append(text)

    def pushWarning(self, text):  # noqa: N802
        self.lines.append(text)


def ground(year):
    """Two bands of the image of a year; ndvi rises by 4 a year, the first row of the third image is masked."""
    generator = np.random.default_rng(year)
    rain = generator.normal(50, 10, (ROWS, COLUMNS))
    ndvi = 100 + 4 * year + 0.5 * rain
    if year == YEARS[2]:
        ndvi[0] = -1
    return np.stack([rain, ndvi]).astype(np.float32)


@pytest.fixture
def images(tmp_path):
    """A file a year, with the date in its name."""
    return [write_image(tmp_path / f"s_{2010 + year}0101.tif", ("rain", "ndvi"), ground(year)) for year in YEARS]


@pytest.fixture
def stack(tmp_path):
    """The band ndvi of all years in one file, with the date in the description of each band."""
    bands = np.stack([ground(year)[1] for year in YEARS])
    return write_image(tmp_path / "ndvi.tif", [f"x_{2010 + year}-01-01" for year in YEARS], bands)


@each_reducer
def test_it_has_the_frozen_parameters_outputs_and_defaults(reducer, provider):
    algorithm = provider.algorithm(reducer.id)

    assert pinned(algorithm) == {**BLOCK, **OWN[reducer.id]}
    names = {output.name() for output in algorithm.outputDefinitions()}
    assert names == {"OUTPUT", "IMAGES", "PIXELS", "FITTED", "MASKED"}
    assert algorithm.groupId() == "regression"
    assert f"Earth Engine: {reducer.twin}" in algorithm.shortHelpString()
    assert reducer.word in algorithm.tags()


@each_reducer
def test_each_reducer_runs_with_its_defaults(reducer, stack, tmp_path):
    results = run(reducer.id, INPUT=[stack], BANDS_ARE_IMAGES=True, OUTPUT=str(tmp_path / "out.tif"))

    layer = QgsRasterLayer(results["OUTPUT"])
    names = [layer.dataProvider().generateBandName(band).split(": ")[1] for band in range(1, 1 + layer.bandCount())]
    settings = reducer.checked({})
    assert names == [*reducer.outputs(reducer.default_x, ["ndvi"], settings), "n"]
    assert results["IMAGES"] == 6
    assert results["PIXELS"] == results["FITTED"] == ROWS * COLUMNS
    assert results["MASKED"] == 0
    assert read(tmp_path / "out.tif")[-1, 0].tolist() == [5] * COLUMNS


def test_several_x_and_y_by_name(images, tmp_path):
    run("linearregression", INPUT=images, X="constant, time, rain", Y="ndvi", OUTPUT=str(tmp_path / "out.tif"))

    constant, time, rain, residuals, count = read(tmp_path / "out.tif")
    np.testing.assert_allclose(time, 4, rtol=1e-5)
    np.testing.assert_allclose(rain, 0.5, rtol=1e-4)
    np.testing.assert_allclose(constant, 100 - 4 * 2010, rtol=1e-5)
    assert residuals.max() < 1e-4
    assert count[0].tolist() == [5] * COLUMNS
    assert (count[1:] == 6).all()


def test_harmonics_are_added_to_x(images, tmp_path):
    times = ",".join(str(2010 + number / 7) for number in range(6))
    run("linearregression", INPUT=images, HARMONICS=1, TIMES=times, OUTPUT=str(tmp_path / "out.tif"))

    layer = QgsRasterLayer(str(tmp_path / "out.tif"))
    names = [layer.dataProvider().generateBandName(band).split(": ")[1] for band in range(1, 1 + layer.bandCount())]
    assert names == ["constant_rain", "time_rain", "cos_1_rain", "sin_1_rain", "residuals", "n"]


def times_told(feedback):
    return [line for line in feedback.lines if line.startswith("image ")]


def test_the_log_shows_which_time_each_image_got_and_why(images, stack, tmp_path):
    by_file, by_band = Listening(), Listening()
    run("linearfit", by_file, INPUT=images, OUTPUT=str(tmp_path / "a.tif"))
    run("linearfit", by_band, INPUT=[stack], BANDS_ARE_IMAGES=True, OUTPUT=str(tmp_path / "b.tif"))

    assert times_told(by_file)[1] == "image 2 (s_20100101): time 2010 from layer name"
    assert times_told(by_band)[3] == "image 4 (x_2015-01-01): time 2015 from band description"
    assert len(times_told(by_file)) == len(times_told(by_band)) == 6


def test_given_times_go_before_all_others(stack, tmp_path):
    days = "2013-01-01,2010,2011.0,20150101,2012-01-01T00:00,2018"
    feedback = Listening()
    run("linearfit", feedback, INPUT=[stack], BANDS_ARE_IMAGES=True, TIMES=days, OUTPUT=str(tmp_path / "a.tif"))
    run("linearfit", INPUT=[stack], BANDS_ARE_IMAGES=True, OUTPUT=str(tmp_path / "b.tif"))

    assert np.array_equal(read(tmp_path / "a.tif"), read(tmp_path / "b.tif"))
    assert times_told(feedback)[0].endswith("time 2013 from TIMES")


def days(year, month, day):
    begin = QDateTime(QDate(year, month, day), QTime(12, 0))
    return QgsDateTimeRange(begin, begin.addDays(16))


def test_a_layers_temporal_range_counts_from_its_beginning(images, tmp_path):
    layers = [QgsRasterLayer(path) for path in images]
    layers[0].temporalProperties().setIsActive(True)
    layers[0].temporalProperties().setMode(Qgis.RasterTemporalMode.FixedTemporalRange)
    layers[0].temporalProperties().setFixedTemporalRange(days(1999, 1, 2))
    feedback = Listening()

    run("linearfit", feedback, INPUT=layers, OUTPUT=str(tmp_path / "out.tif"))

    assert times_told(feedback)[0].endswith(f"time {1999 + 1.5 / 365.25:.10g} from temporal range")
    assert times_told(feedback)[1] == "image 2 (s_20100101): time 2010 from file name"  # the layer has no name


def test_a_range_for_each_band_counts_where_the_bands_are_images(stack, tmp_path):
    layer = QgsRasterLayer(stack)
    layer.temporalProperties().setIsActive(True)
    layer.temporalProperties().setMode(Qgis.RasterTemporalMode.FixedRangePerBand)
    layer.temporalProperties().setFixedRangePerBand({band: days(2000 + band, 1, 1) for band in range(1, 7)})
    feedback = Listening()

    run("linearfit", feedback, INPUT=[layer], BANDS_ARE_IMAGES=True, OUTPUT=str(tmp_path / "out.tif"))

    assert times_told(feedback)[5].endswith(f"time {2006 + 0.5 / 365.25:.10g} from temporal range")


def test_min_observations_masks_pixels_with_fewer(stack, tmp_path):
    output = str(tmp_path / "out.tif")
    results = run("linearfit", INPUT=[stack], BANDS_ARE_IMAGES=True, MIN_OBSERVATIONS=6, OUTPUT=output)

    assert results["MASKED"] == COLUMNS
    assert np.isnan(read(output)[0, 0]).all()


def test_options_that_change_no_pixel(images, tmp_path):
    run("linearfit", INPUT=images, Y="ndvi", OUTPUT=str(tmp_path / "a.tif"))
    run(
        "linearfit", INPUT=images, Y="green", BAND_NAMES="red,green", RESAMPLING="cubic", THREADS=1, TILE_SIZE=16,
        MEMORY_LIMIT=600, RESUME=True, OUTPUT=str(tmp_path / "b.tif"),
    )  # fmt: skip

    assert read(tmp_path / "a.tif").tobytes() == read(tmp_path / "b.tif").tobytes()


@pytest.mark.parametrize(
    "reducer, settings, bands",
    [
        ("linearfit", {"SIGNIFICANCE": True}, 7),
        ("linearregression", {"SIGNIFICANCE": True}, 9),
        ("robustlinearregression", {"SIGNIFICANCE": True, "BETA": 3.0}, 6),
        ("ridgeregression", {"SIGNIFICANCE": True, "LAMBDA": 2.0, "STANDARDIZE": True}, 6),
        ("ridgeregression", {"INTERCEPT": False, "LAMBDA": 0.0}, 4),
        ("sensslope", {"SIGNIFICANCE": True}, 6),
    ],
)
def test_settings_reach_the_kernel(reducer, settings, bands, stack, tmp_path):
    run(reducer, INPUT=[stack], BANDS_ARE_IMAGES=True, OUTPUT=str(tmp_path / "a.tif"))
    run(reducer, INPUT=[stack], BANDS_ARE_IMAGES=True, **settings, OUTPUT=str(tmp_path / "b.tif"))

    plain, other = read(tmp_path / "a.tif"), read(tmp_path / "b.tif")
    assert len(other) == bands
    if set(settings) != {"SIGNIFICANCE"}:
        assert not np.array_equal(plain[:2], other[:2])


@pytest.mark.parametrize(
    "options, message",
    [
        ({"X": "time,rain"}, "X is time,rain: linearFit takes one variable there"),
        ({"Y": "evi"}, "has no band evi: it has rain, ndvi. Rename"),
        ({"TIMES": "1,2"}, "TIMES has 2 entries for 6 images"),
        ({"TIMES": "1,2,3,4,5,May"}, "TIMES has 'May' as entry 6"),
        ({"BANDS_ARE_IMAGES": True}, "BANDS_ARE_IMAGES takes one raster, not 6"),
        ({"SCHEDULER": "tcp://127.0.0.1:1"}, "tcp://127.0.0.1:1"),
        ({"OUTPUT": "/nowhere/out.tif"}, "/nowhere"),
    ],
)
def test_what_cannot_work_is_refused(options, message, images, tmp_path):
    parameters = {"INPUT": images, "OUTPUT": str(tmp_path / "out.tif"), **options}

    assert message in refusal("linearfit", **parameters)
    assert not (tmp_path / "out.tif").exists()


def test_an_image_without_a_date_among_dated_ones_is_named(images, tmp_path):
    undated = write_image(tmp_path / "late.tif", ("rain", "ndvi"), ground(4))

    message = refusal("linearfit", INPUT=[*images, undated], OUTPUT=str(tmp_path / "out.tif"))

    assert "Image 7 (late) has no date, but others have: give TIMES for all." in message


def test_the_tura_series_has_the_slopes_of_its_readme(shared, tmp_path):
    path = shared / "data" / "tura_ndvi" / "tura_landsat_ndvi.tif"
    run("linearfit", INPUT=[str(path)], BANDS_ARE_IMAGES=True, OUTPUT=str(tmp_path / "out.tif"))

    scale, _, count = read(tmp_path / "out.tif").astype(float)
    assert [f"{value:.2f}" for value in (scale.mean(), scale.min(), scale.max())] == ["25.47", "-49.30", "100.02"]
    assert [f"{scale[0, 0]:.3f}", f"{scale[74, 71]:.3f}"] == ["34.689", "28.168"]
    assert count[0, 0] == count[74, 71] == 115
    assert (count.min(), count.max()) == (101, 124)
