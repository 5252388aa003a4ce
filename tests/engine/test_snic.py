"""SNIC: segments against a queue written out in plain Python, and what every segmentation must keep."""

from __future__ import annotations

import heapq

import numpy as np
import pytest
from osgeo import gdal
from raster_files import write_raster
from rasterml.engine import snic, snic_growth
from rasterml.engine.errors import Canceled, RasterError, SettingError, StorageError
from rasterml.engine.images import Image
from rasterml.engine.progress import Progress
from rasterml.engine.snic import Settings, segment_image
from rasterml.engine.snic_growth import grow
from rasterml.engine.snic_seeds import given_seeds, grid_seeds
from rasterml.engine.tiles import Window
from scipy import ndimage

SCENE = [f"data/nc_landsat7/lsat7_2000_{band}.tif" for band in (30, 40, 50)]
both = pytest.mark.parametrize("connectivity", [4, 8])


def plain_snic(bands, seeds, size, compactness, connectivity) -> np.ndarray:
    """Achanta & Süsstrunk's algorithm 1, word for word: *bands* (bands, rows, columns), NaN = masked; *seeds* from 1.

    Of equal distances, in single precision, the lower segment and then the first pixel in raster order comes first.
    """
    _, rows, columns = bands.shape
    labels = np.zeros((rows, columns), dtype=int)
    members: dict[int, list] = {}
    for row, column in zip(*np.nonzero(seeds)):
        labels[row, column] = seeds[row, column]
        members.setdefault(seeds[row, column], []).append([*bands[:, row, column].tolist(), row, column])
    sums = {segment: np.sum(found, axis=0, dtype=float) for segment, found in members.items()}
    counts = {segment: len(found) for segment, found in members.items()}
    near = [(-1, 0), (1, 0), (0, -1), (0, 1)]
    near += [(-1, -1), (-1, 1), (1, -1), (1, 1)] if connectivity == 8 else []
    queue: list = []

    def offer(segment, row, column):
        mean = sums[segment] / counts[segment]
        for down, right in near:
            r, c = row + down, column + right
            if 0 <= r < rows and 0 <= c < columns and not labels[r, c] and not np.isnan(bands[:, r, c]).any():
                colour = 0.0
                for value, middle in zip(bands[:, r, c].tolist(), mean):
                    colour += (value - middle) ** 2
                place = (r - mean[-2]) ** 2 + (c - mean[-1]) ** 2
                distance = np.sqrt(colour + (max(compactness, 1e-20) / size) ** 2 * place)
                heapq.heappush(queue, (float(np.float32(distance)), segment, r * columns + c))

    for row, column in zip(*np.nonzero(seeds)):
        offer(seeds[row, column], row, column)
    while queue:
        _, segment, place = heapq.heappop(queue)
        row, column = divmod(place, columns)
        if not labels[row, column]:
            labels[row, column] = segment
            sums[segment] = sums[segment] + np.array([*bands[:, row, column].tolist(), row, column])
            counts[segment] += 1
            offer(segment, row, column)
    return labels


def grown(bands, seeds, size, compactness, connectivity) -> np.ndarray:
    """The same by the engine."""
    padded = np.pad(np.moveaxis(bands, 0, -1), ((1, 1), (1, 1), (0, 0)), constant_values=np.nan)
    valid = ~np.isnan(padded).any(axis=2)
    seeds = np.pad(seeds, 1)
    places = np.flatnonzero(seeds)
    weight = (max(compactness, 1e-20) / size) ** 2
    values = np.where(valid[..., None], padded, 0)
    return grow(values, valid, places, seeds.ravel()[places] - 1, weight, connectivity, Progress())[1:-1, 1:-1]


def picture(kind, rows=31, columns=44) -> np.ndarray:
    """Two bands float32: noise, few values, one value, or ramps with steps."""
    noise = np.random.default_rng(3).normal(0, 20, (2, rows, columns)).astype(np.float32)
    pictures = {"noise": noise, "few": np.round(noise / 20), "flat": np.full_like(noise, 7)}
    return pictures[kind] if kind in pictures else np.cumsum(noise, axis=2)


def grid(rows, columns, size) -> np.ndarray:
    seeds = np.zeros((rows, columns), dtype=int)
    places = seeds[size // 2 :: size, size // 2 :: size]
    places[:] = np.arange(1, places.size + 1).reshape(places.shape)
    return seeds


def read(path) -> np.ndarray:
    dataset = gdal.Open(str(path))
    return dataset.ReadAsArray().reshape(dataset.RasterCount, dataset.RasterYSize, dataset.RasterXSize)


def written(tmp_path, bands, settings=Settings(), name="segments.tif", nodata=-1, **options):
    """Segment *bands* through files; return the counts and what is in the file."""
    image = Image([write_raster(tmp_path / "image.tif", bands, nodata=nodata, descriptions=("red", "nir"))])
    return segment_image(image, str(tmp_path / name), settings, **options), read(tmp_path / name)


def assert_connected(segments, connectivity):
    structure = np.ones((3, 3)) if connectivity == 8 else None
    for number, box in enumerate(ndimage.find_objects(segments.astype(int)), 1):
        assert ndimage.label(segments[box] == number, structure)[1] == 1, f"segment {number}"


@both
@pytest.mark.parametrize("compactness", [0, 0.01, 1, 30])
@pytest.mark.parametrize("kind", ["noise", "few", "flat", "ramps"])
def test_pixels_join_in_the_order_of_the_queue(kind, compactness, connectivity):
    bands, seeds = picture(kind), grid(31, 44, 5)

    expected = plain_snic(bands, seeds, 5, compactness, connectivity)

    assert np.array_equal(grown(bands, seeds, 5, compactness, connectivity), expected)


@both
@pytest.mark.parametrize("work", [0, 10**9])
@pytest.mark.parametrize("kind", ["noise", "few", "ramps"])
def test_rounds_and_queue_give_the_same(kind, work, connectivity, monkeypatch):
    """With masked pixels, segments of many seeds, and small windows; with conflicts, which noise has many of."""
    bands, seeds = picture(kind), grid(31, 44, 3)
    bands[0, np.random.default_rng(1).random((31, 44)) < 0.2] = np.nan
    seeds[2:5, 2:9] = 1
    seeds[np.isnan(bands[0])] = 0
    seeds = np.searchsorted(np.unique(seeds), seeds)
    expected = plain_snic(bands, seeds, 3, 0.1, connectivity)
    monkeypatch.setattr(snic_growth, "QUEUE_WORK", work)  # 0: rounds are always too slow; much: never
    monkeypatch.setattr(snic_growth, "PATIENT_ROUNDS", 2)

    for offers in (5, 60, 2000):
        monkeypatch.setattr(snic_growth, "LEAST_OFFERS", offers)
        assert np.array_equal(grown(bands, seeds, 3, 0.1, connectivity), expected)


def test_conflicts_are_undone(monkeypatch):
    """The case above does come to conflicts, else it would not test them."""
    undone = []
    undo = snic_growth._Growth._undo
    monkeypatch.setattr(snic_growth._Growth, "_undo", lambda self, change: (undone.append(1), undo(self, change)))
    monkeypatch.setattr(snic_growth, "QUEUE_WORK", 10**9)
    bands, seeds = picture("noise"), grid(31, 44, 5)

    assert np.array_equal(grown(bands, seeds, 5, 0.01, 8), plain_snic(bands, seeds, 5, 0.01, 8))
    assert undone


def test_a_flat_image_falls_into_squares(tmp_path):
    """By hand: with one value everywhere a pixel joins the nearest seed, here the middle of its own square of 5 × 5."""
    counts, bands = written(tmp_path, np.full((2, 15, 25), 4.0), Settings(5, 1, 4))

    rows, columns = np.indices((15, 25)) // 5
    assert np.array_equal(bands[0], rows * 5 + columns + 1)
    assert (bands[1:3] == 4).all()
    assert np.array_equal(np.argwhere(bands[3] == 1)[:3], [[2, 2], [2, 7], [2, 12]])
    assert counts == (15, 375, 0)


@pytest.mark.parametrize("compactness", [0, 1])
def test_values_decide_where_they_differ(compactness, tmp_path):
    """Two halves with a border at column 7, off the grid of seeds: no segment crosses it."""
    bands = np.where(np.arange(20) < 7, 0.0, 100.0) * np.ones((2, 15, 1))

    _, found = written(tmp_path, bands, Settings(5, compactness))

    assert not np.intersect1d(found[0][:, :7], found[0][:, 7:]).size
    assert set(np.unique(found[1:3])) == {0, 100}


@both
def test_segments_of_the_scene(shared, tmp_path, connectivity):
    image = Image([str(shared / path) for path in SCENE])
    output, numbers = tmp_path / "segments.tif", tmp_path / "numbers.tif"

    counts = segment_image(image, str(output), Settings(connectivity=connectivity), clusters=str(numbers))

    bands, segments = read(output), read(numbers)[0]
    block = image.read(image.grid.window(), np.float64)
    assert np.array_equal(segments > 0, block.valid)
    assert np.array_equal(np.nan_to_num(bands[0]), segments)
    assert np.isnan(bands[:, ~block.valid]).all()
    assert_connected(segments, connectivity)
    sizes = np.bincount(segments[block.valid])[1:]
    assert len(sizes) == counts.segments and sizes.min() >= 1
    assert counts.masked == np.count_nonzero(~block.valid)
    # Seeds stand 25 pixels each apart, so that is the mean; values decide at COMPACTNESS 1, so sizes scatter, many
    # small and few large: the middle one is below the mean, but not below a third of it.
    assert 20 <= sizes.mean() <= 27
    assert 25 / 3 <= np.median(sizes) <= 27
    for band, values in zip(bands[1:4], block.values):
        means = ndimage.mean(values, segments, np.arange(1, counts.segments + 1))
        assert np.array_equal(band[block.valid], means.astype(np.float32)[segments[block.valid] - 1])
    assert np.nansum(bands[4]) == counts.segments
    assert np.array_equal(np.sort(segments[bands[4] == 1]), np.arange(1, counts.segments + 1))

    again = tmp_path / "again.tif"
    segment_image(image, str(again), Settings(connectivity=connectivity))
    assert np.array_equal(read(again), bands, equal_nan=True)


def test_compact_segments_of_the_scene_have_the_size_asked_for(shared, tmp_path):
    image = Image([str(shared / path) for path in SCENE])

    segment_image(image, str(tmp_path / "segments.tif"), Settings(8, 1000))

    segments = np.nan_to_num(read(tmp_path / "segments.tif")[0]).astype(int)
    sizes = np.bincount(segments.ravel())[1:]
    assert np.median(sizes) == pytest.approx(64, rel=0.05)  # squares but for the edge


@both
def test_masked_pixels_stay_masked_and_cut_off_parts_get_seeds(tmp_path, connectivity):
    """A wall of masked pixels with a diagonal gap, an island of one pixel, and a seed's place that is masked."""
    bands = np.full((2, 12, 21), 5.0)
    bands[1, :, 10] = -1
    bands[0, 4:9, 14:19] = -1
    bands[:, 6, 16] = 5.0
    bands[1, 2, 2] = -1

    counts, found = written(tmp_path, bands, Settings(5, 1, connectivity))

    masked = (bands == -1).any(axis=0)
    assert np.array_equal(np.isnan(found), np.broadcast_to(masked, found.shape))
    assert_connected(np.nan_to_num(found[0]), connectivity)
    assert not np.intersect1d(found[0][:, :10], found[0][:, 11:]).size
    assert np.count_nonzero(found[0] == found[0][6, 16]) == 1
    assert found[3][1, 2] == 1  # the first of the four nearest to the masked middle
    assert np.nansum(found[3]) == counts.segments
    assert counts.masked == masked.sum()


def test_seeds_stand_in_the_middle_of_cells():
    """11 = 5 + 6 rows: one row more is no cell; 13 = 5 + 5 + 3 columns: three are."""
    seeds = grid_seeds(np.ones((11, 13), dtype=bool), Window(0, 0, 11, 13), (11, 13), 5, 8)

    assert [divmod(place, 13) for place in seeds.places.tolist()] == [
        (2, 2), (2, 7), (2, 11), (7, 2), (7, 7), (7, 11),
    ]  # fmt: skip
    assert seeds.segments.tolist() == [0, 1, 2, 3, 4, 5]


def test_seeds_of_a_window_are_those_of_the_image():
    whole = grid_seeds(np.ones((40, 60), dtype=bool), Window(0, 0, 40, 60), (40, 60), 4, 8)
    part = grid_seeds(np.ones((16, 20), dtype=bool), Window(8, 20, 16, 20), (40, 60), 4, 8)

    places = {(place // 60, place % 60) for place in whole.places.tolist()}
    inside = {(r, c) for r, c in places if 8 <= r < 24 and 20 <= c < 40}
    assert {(place // 20 + 8, place % 20 + 20) for place in part.places.tolist()} == inside


@both
def test_touching_given_seeds_are_one_segment(connectivity):
    given = np.zeros((6, 9), dtype=bool)
    given[1, 1] = given[2, 2] = given[2, 3] = given[5, 8] = True
    valid = np.ones((6, 9), dtype=bool)
    valid[5, 8] = False

    seeds = given_seeds(given, valid, Window(0, 0, 6, 9), (6, 9), 3, connectivity)

    assert seeds.places.tolist() == [10, 20, 21]
    assert seeds.segments.tolist() == ([0, 1, 1] if connectivity == 4 else [0, 0, 0])
    assert seeds.given == (2 if connectivity == 4 else 1)


def test_given_seeds_decide_the_segments(tmp_path):
    bands = picture("ramps")
    mask = np.zeros((31, 44))
    mask[3, 3], mask[20, 30:33], mask[28, 40] = 9, -2.5, np.nan
    bands[:, :, 10] = -1  # the left part has a seed; the right one too
    seeds = Image([write_raster(tmp_path / "seeds.tif", [mask])])

    counts, found = written(tmp_path, bands, Settings(5, 0.5, 4), seeds=seeds)

    expected = np.zeros((31, 44), dtype=int)
    expected[3, 3], expected[20, 30:33] = 1, 2
    holes = np.where((bands == -1).any(axis=0), np.nan, bands)
    assert np.array_equal(np.nan_to_num(found[0]), plain_snic(holes, expected, 5, 0.5, 4))
    assert counts.segments == 2
    assert len(found) == 3  # no band of seeds when they are given


def test_a_part_without_a_given_seed_gets_those_of_the_grid(tmp_path):
    bands = np.full((2, 10, 21), 5.0)
    bands[:, :, 10] = -1
    mask = np.zeros((10, 21))
    mask[4, 4] = 1
    seeds = Image([write_raster(tmp_path / "seeds.tif", [mask])])

    counts, found = written(tmp_path, bands, seeds=seeds)

    assert (found[0][:, :10] == 1).all()
    assert counts.segments == 1 + 2 * 2  # cells of rows 0–4 and 5–9, columns 10–14 and 15–20
    assert found[0][:, 11:].min() == 2


def test_seeds_on_no_pixel_are_refused(tmp_path):
    seeds = Image([write_raster(tmp_path / "seeds.tif", [np.zeros((31, 44))])])

    with pytest.raises(RasterError, match=r"seeds.tif has no seed on the image: give non-zero pixels inside it"):
        written(tmp_path, picture("noise"), seeds=seeds)
    assert not (tmp_path / "segments.tif").exists()


@both
@pytest.mark.parametrize("neighborhood_size", [None, 0, 3])
def test_tiles_have_numbers_of_their_own(tmp_path, connectivity, neighborhood_size):
    bands = picture("noise", 50, 70)
    bands[:, 20:24, 30:50] = -1
    settings = Settings(6, 3, connectivity, neighborhood_size)

    counts, found = written(tmp_path, bands, settings, tile_size=32)

    segments = np.nan_to_num(found[0]).astype(int)
    assert np.array_equal(np.unique(segments), np.arange(counts.segments + 1))
    assert np.array_equal(segments == 0, bands[0] == -1)
    assert_connected(segments, connectivity)
    assert not np.intersect1d(segments[:32], segments[32:])[1:].size  # 0 apart
    assert not np.intersect1d(segments[:, :32], segments[:, 32:64])[1:].size
    means = ndimage.mean(bands[1].astype(float), segments, np.arange(1, counts.segments + 1))
    assert np.array_equal(found[2][segments > 0], means.astype(np.float32)[segments[segments > 0] - 1])


def test_overlap_lets_a_tile_see_what_the_whole_sees(tmp_path):
    """With all there is to see, cuts at the edges of tiles are the only difference."""
    bands = picture("noise", 50, 70)
    _, whole = written(tmp_path, bands, Settings(6, 3), "whole.tif")
    _, tiled = written(tmp_path, bands, Settings(6, 3, 8, 100), "tiled.tif", tile_size=32)

    pairs = np.unique(np.stack([tiled[0].ravel(), whole[0].ravel()]), axis=1)
    assert len(np.unique(pairs[0])) == pairs.shape[1]  # every part of a tile lies in one segment of the whole
    assert np.array_equal(tiled[3], whole[3])  # seeds


def test_numbers_alone_have_a_mask(tmp_path):
    bands = picture("noise")
    bands[0, :3] = -1
    counts, found = written(tmp_path, bands, clusters=str(tmp_path / "numbers.tif"))

    dataset = gdal.Open(str(tmp_path / "numbers.tif"))
    band = dataset.GetRasterBand(1)
    assert (band.DataType, band.GetNoDataValue(), band.GetDescription()) == (gdal.GDT_Int32, 0, "clusters")
    assert np.array_equal(band.ReadAsArray(), np.nan_to_num(found[0]))
    assert counts.masked == 3 * 44
    dataset = gdal.Open(str(tmp_path / "segments.tif"))
    names = [dataset.GetRasterBand(number).GetDescription() for number in range(1, 5)]
    assert names == ["clusters", "red_mean", "nir_mean", "seeds"]
    assert dataset.GetRasterBand(1).DataType == gdal.GDT_Float32


def test_large_whole_numbers_are_averaged_in_float64(tmp_path):
    """2^30 + 1 is none of float32's numbers."""
    bands = np.full((2, 6, 8), 2**30 + 1)
    image = Image([write_raster(tmp_path / "image.tif", bands, gdal.GDT_Int32, descriptions=("a", "b"))])

    segment_image(image, str(tmp_path / "segments.tif"))

    dataset = gdal.Open(str(tmp_path / "segments.tif"))
    assert dataset.GetRasterBand(1).DataType == gdal.GDT_Float64
    assert (dataset.GetRasterBand(2).ReadAsArray() == 2**30 + 1).all()


def test_more_segments_than_float32_can_count_are_float64(tmp_path, monkeypatch):
    monkeypatch.setattr("rasterml.engine.segmentation.MOST_IN_FLOAT32", 10)
    written(tmp_path, picture("noise"))
    assert gdal.Open(str(tmp_path / "segments.tif")).GetRasterBand(1).DataType == gdal.GDT_Float64

    islands = np.full((2, 40, 40), -1.0)  # four of one pixel in each cell of 4, cut by tiles: more than foreseen
    islands[:, ::2, ::2] = 3
    monkeypatch.setattr("rasterml.engine.segmentation.MOST_IN_FLOAT32", 300)
    with pytest.raises(StorageError, match="more than 300 segments, which Float32 cannot tell apart: give a larger"):
        written(tmp_path, islands, Settings(5, 1, 4), "islands.tif", tile_size=16)
    assert not (tmp_path / "islands.tif").exists()


@pytest.mark.parametrize("tile_size", [None, 16])
def test_degenerate_images(tmp_path, tile_size):
    masked, found = written(tmp_path, np.full((2, 17, 3), -1.0), tile_size=tile_size)
    assert masked == (0, 51, 51)
    assert np.isnan(found).all()

    one, found = written(tmp_path, np.full((2, 1, 1), 3.5), tile_size=tile_size)
    assert one == (1, 1, 0)
    assert found.ravel().tolist() == [1, 3.5, 3.5, 1]

    large, found = written(tmp_path, picture("noise", 7, 9), Settings(1000), tile_size=tile_size)
    assert large == (1, 63, 0)
    assert (found[0] == 1).all()

    each, found = written(tmp_path, picture("noise", 7, 9), Settings(1), tile_size=tile_size)
    assert each.segments == 63
    assert np.array_equal(found[1:3], picture("noise", 7, 9))


@pytest.mark.parametrize(
    ("settings", "options", "sentence"),
    [
        (Settings(0), {}, "SIZE is 0: give a seed spacing of at least 1 pixel"),
        (Settings(compactness=-1), {}, "COMPACTNESS is -1: give a number from 0 up"),
        (Settings(compactness=float("nan")), {}, "COMPACTNESS is nan"),
        (Settings(connectivity=6), {}, "CONNECTIVITY is 6: choose 4 or 8"),
        (Settings(neighborhood_size=-3), {}, "NEIGHBORHOOD_SIZE is -3"),
        (Settings(), {"tile_size": 5}, "TILE_SIZE is 5: give at least 16 pixels, or none for no tiles"),
        (Settings(), {"memory_limit": 100}, r"MEMORY_LIMIT is 100 MB, but to segment 1,364 pixels with 2 bands at once "
         r"takes about 261 MB: give that much, or a TILE_SIZE"),
    ],
)  # fmt: skip
def test_impossible_settings_are_refused(settings, options, sentence, tmp_path):
    with pytest.raises(SettingError, match=sentence):
        written(tmp_path, picture("noise"), settings, **options)
    assert not (tmp_path / "segments.tif").exists()


def test_more_pixels_than_can_be_numbered_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(snic, "MOST_PIXELS", 1000)
    with pytest.raises(SettingError, match=r"1,364 pixels are too many at once \(most: 1,000\): give a TILE_SIZE"):
        written(tmp_path, picture("noise"))
    assert written(tmp_path, picture("noise"), Settings(5, 1, 8, 2), tile_size=16)[0].segments


@pytest.mark.parametrize(("size", "spacing"), [(1, 0), (3, 0), (5, 0), (5, 3)])
def test_memory_is_what_is_foreseen(size, spacing, tmp_path, peak_memory):
    """For many segments in noise, which is worse than pictures; *spacing* of given seeds, 0 = none."""
    side = 400
    bands = picture("noise", side, side)
    image = Image([write_raster(tmp_path / "image.tif", bands)])
    marks = np.zeros((side, side))
    marks[:: spacing or 1, :: spacing or 1] = 1
    seeds = Image([write_raster(tmp_path / "seeds.tif", [marks])]) if spacing else None

    peak = peak_memory(
        lambda: segment_image(image, str(tmp_path / "segments.tif"), Settings(size, 10), seeds=seeds)
    )  # fmt: skip

    foreseen = snic.BYTES_PER_PIXEL + 8 + snic.BYTES_PER_SEED / size**2 + (snic.BYTES_PER_GIVEN if seeds else 0)
    assert peak / side**2 < foreseen + 15  # a few MB do not grow with the image


def test_outputs_must_not_be_one_file_or_an_input(tmp_path):
    same = str(tmp_path / "segments.tif")
    with pytest.raises(SettingError, match="OUTPUT and CLUSTERS are both"):
        written(tmp_path, picture("noise"), clusters=same)
    seeds = Image([write_raster(tmp_path / "seeds.tif", [np.ones((31, 44))])])
    with pytest.raises(StorageError, match="is an input of this run"):
        written(tmp_path, picture("noise"), seeds=seeds, clusters=str(tmp_path / "seeds.tif"))


@pytest.mark.parametrize("work", [0, 10**9])
def test_growing_can_be_cancelled(tmp_path, work, monkeypatch):
    class Impatient(Progress):
        asked = 0

        def is_canceled(self):
            self.asked += 1
            return self.asked > 8

    monkeypatch.setattr(snic_growth, "QUEUE_WORK", work)
    monkeypatch.setattr(snic_growth, "PATIENT_ROUNDS", 2)
    monkeypatch.setattr(snic_growth, "STEPS_PER_CHECK", 50)
    with pytest.raises(Canceled):
        written(tmp_path, picture("noise"), progress=Impatient())
    assert not (tmp_path / "segments.tif").exists()


def test_progress_runs_from_nothing_to_one(tmp_path):
    class Listening(Progress):
        def __init__(self):
            self.shares = []

        def share(self, share):
            self.shares.append(share)

    for tile_size in (None, 16):
        listening = Listening()
        written(tmp_path, picture("noise"), tile_size=tile_size, progress=listening)
        assert listening.shares == sorted(listening.shares)
        assert listening.shares[-1] == pytest.approx(1)
