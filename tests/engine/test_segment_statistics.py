"""Statistics and outlines of segments."""

from __future__ import annotations

import numpy as np
import pytest
from osgeo import gdal, ogr
from raster_files import LONGITUDE_LATITUDE, NORTH_UP, ROTATED, gdal_exceptions, write_raster
from rasterml.engine import pixel_units as units
from rasterml.engine.errors import Canceled, RasterError, SettingError
from rasterml.engine.images import Image
from rasterml.engine.progress import Progress
from rasterml.engine.segment_statistics import Segments

#  7 touches itself at a corner only; 0 has a hole with -3; 5 is one pixel; 9 is masked
LABELS = np.array(
    [
        [7, 0, 0, 0, 0],
        [0, 7, 0, -3, 0],
        [0, 7, 0, 0, 0],
        [5, 7, 9, 9, 0],
    ]
)


def bands() -> np.ndarray:
    values = np.arange(20, dtype=float).reshape(4, 5)
    return np.stack([values, 100 - values**2])


def made(tmp_path, labels=LABELS, values=None, nodata=-1, kind=gdal.GDT_Float32, **options) -> tuple[Image, Image]:
    segments = write_raster(tmp_path / "segments.tif", [labels], gdal.GDT_Int32, 9, **options)
    image = write_raster(tmp_path / "image.tif", bands() if values is None else values, kind, nodata, **options)
    return Image([segments]), Image([image])


def measured(segments, image, **options):
    with Segments(segments, image, **options) as found:
        return found.statistics(Progress()), list(found.outlines(Progress()))


def test_statistics_are_those_of_the_pixels(tmp_path):
    statistics, _ = measured(*made(tmp_path))

    assert statistics.values.tolist() == [-3, 0, 5, 7]
    assert statistics.counts.tolist() == [1, 12, 1, 4]
    for position, value in enumerate(statistics.values):
        inside = bands()[:, np.equal(LABELS, value)]
        assert statistics.means[:, position] == pytest.approx(inside.mean(axis=1))
        assert statistics.deviations[:, position] == pytest.approx(inside.std(axis=1))


def test_a_band_counts_where_it_is_not_masked(tmp_path):
    values = bands()
    values[0, 0, 0], values[1, 3, 0] = -1, -1  # a pixel of 7, and the only one of 5
    statistics, _ = measured(*made(tmp_path, values=values))

    assert statistics.counts.tolist() == [1, 12, 1, 4]
    assert statistics.means[0, 3] == pytest.approx((6 + 11 + 16) / 3)
    assert statistics.means[1, 3] == pytest.approx(100 - (0 + 36 + 121 + 256) / 4)
    assert np.isnan([statistics.means[1, 2], statistics.deviations[1, 2]]).all()


def test_deviations_survive_values_far_from_zero(tmp_path):
    generator = np.random.default_rng(2)
    noise = generator.integers(-5, 6, (4, 5)).astype(float)
    statistics, _ = measured(*made(tmp_path, values=[1e9 + noise, noise], nodata=None, kind=gdal.GDT_Float64))

    assert statistics.deviations[0] == pytest.approx(statistics.deviations[1], abs=1e-6)
    assert statistics.deviations[0, 1] == pytest.approx(noise[LABELS == 0].std())


def test_units_put_together_are_the_whole(tmp_path, monkeypatch):
    generator = np.random.default_rng(7)
    labels = np.repeat(np.repeat(generator.integers(0, 9, (9, 13)), 5, axis=0), 4, axis=1)
    values = np.stack([generator.normal(1000, 3, labels.shape), generator.normal(0, 1, labels.shape)])
    segments, image = made(tmp_path, labels, values, nodata=None)
    whole, outlines = measured(segments, image, threads=1)
    for options in ({"threads": 3}, {"threads": 2, "memory_limit": 512}):
        again, same = measured(segments, image, **options)
        assert all(np.array_equal(*pair, equal_nan=True) for pair in zip(whole, again))
        assert outlines == same
    monkeypatch.setattr(units, "LARGEST_UNIT", 16)
    monkeypatch.setattr(units, "MOST_PIECE_BYTES", 1)
    small, same = measured(segments, image)
    assert outlines == same
    assert small.deviations == pytest.approx(whole.deviations, rel=1e-12)  # sums of other units
    for position, value in enumerate(whole.values):
        inside = np.float32(values)[:, labels == value].astype(float)
        assert small.means[:, position] == pytest.approx(inside.mean(axis=1), rel=1e-12)
        assert small.deviations[:, position] == pytest.approx(inside.std(axis=1), rel=1e-9)


@pytest.mark.parametrize("geotransform", [NORTH_UP, ROTATED])
@pytest.mark.parametrize("exceptions", [True, False])
def test_outlines_run_along_the_edges_of_pixels(tmp_path, geotransform, exceptions):
    with gdal_exceptions(exceptions):
        segments, image = made(tmp_path, geotransform=geotransform)
        statistics, outlines = measured(segments, image)

    assert [position for position, _ in outlines] == [0, 1, 2, 3]
    shapes = [ogr.CreateGeometryFromWkb(shape) for _, shape in outlines]
    assert all(shape.GetGeometryName() == "MULTIPOLYGON" for shape in shapes)
    assert all(shape.IsValid() for shape in shapes)
    assert [shape.Area() for shape in shapes] == pytest.approx((100 * statistics.counts).tolist())
    # 7 is a square and three in a row; one pixel of 0 is cut off by 7
    assert [shape.GetGeometryCount() for shape in shapes] == [1, 2, 1, 2]
    for shape, value in zip(shapes, statistics.values):
        rows, columns = np.indices(LABELS.shape)
        for row, column, x, y in zip(rows.ravel(), columns.ravel(), *map(np.ravel, image.grid.centres(rows, columns))):
            centre = ogr.Geometry(ogr.wkbPoint)
            centre.AddPoint_2D(x, y)
            assert shape.Contains(centre) == (LABELS[row, column] == value)


def test_the_edge_of_a_segment_with_hole_and_corner(tmp_path):
    _, outlines = measured(*made(tmp_path))

    shapes = [ogr.CreateGeometryFromWkb(shape) for _, shape in outlines]
    # by hand: one pixel has 4 edges, 7 has 4 and 8
    assert [round(shape.Boundary().Length()) // 10 for shape in shapes] == [4, _edges(LABELS == 0), 4, 12]


def _edges(inside: np.ndarray) -> int:
    padded = np.pad(inside, 1).astype(int)
    return int(np.abs(np.diff(padded, axis=0)).sum() + np.abs(np.diff(padded, axis=1)).sum())


def test_a_raster_without_crs_or_place_is_measured_in_pixels(tmp_path):
    _, outlines = measured(*made(tmp_path, geotransform=None, epsg=None))

    assert ogr.CreateGeometryFromWkb(outlines[1][1]).Area() == 12


def test_longitude_and_latitude_keep_their_order(tmp_path):
    geotransform = (10.0, 0.5, 0.0, 50.0, 0.0, -0.5)
    _, outlines = measured(*made(tmp_path, geotransform=geotransform, epsg=LONGITUDE_LATITUDE))

    assert ogr.CreateGeometryFromWkb(outlines[2][1]).GetEnvelope() == (10, 10.5, 48, 48.5)


def test_all_masked_has_no_segment(tmp_path):
    statistics, outlines = measured(*made(tmp_path, labels=np.full((4, 5), 9)))

    assert len(statistics.values) == 0
    assert statistics.means.shape == (2, 0)
    assert outlines == []


def test_numbers_that_are_not_whole_are_refused(tmp_path):
    _, image = made(tmp_path)
    with pytest.raises(RasterError, match=r"Band half_1 holds -2\.5"):
        measured(Image([write_raster(tmp_path / "half.tif", [LABELS + 0.5] * 2)]).select(["half_1"]), image)


def test_whole_numbers_of_a_float_band_are_segments(tmp_path):
    _, image = made(tmp_path)
    statistics, _ = measured(Image([write_raster(tmp_path / "float.tif", [LABELS], nodata=9)]), image)

    assert statistics.values.tolist() == [-3, 0, 5, 7]


def test_more_segments_than_memory_holds_are_refused(tmp_path, monkeypatch):
    labels = np.arange(20).reshape(4, 5)
    segments, image = made(tmp_path, labels=labels)
    found = Segments(segments, image, memory_limit=700)
    monkeypatch.setattr(found, "_most_bytes", 1000)
    with found, pytest.raises(SettingError, match="MEMORY_LIMIT is 700: 19 segments with 2 bands"):
        found.statistics(Progress())


def test_a_cancel_is_heard_while_outlines_are_made(tmp_path):
    class Cancel(Progress):
        def is_canceled(self) -> bool:
            return True

    with Segments(*made(tmp_path)) as found:
        found.statistics(Progress())
        with pytest.raises(Canceled):
            list(found.outlines(Cancel()))
