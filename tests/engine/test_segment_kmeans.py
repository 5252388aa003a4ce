"""k-means over pixels."""

from __future__ import annotations

import math

import numpy as np
import pytest
from osgeo import gdal
from raster_files import write_raster
from rasterml.engine import pixel_units as module
from rasterml.engine.errors import Canceled, SettingError, StorageError
from rasterml.engine.images import Image
from rasterml.engine.pixel_clusters import kmeans, lloyd, nearest, starts
from rasterml.engine.pixel_units import ArrayPixels, sample
from rasterml.engine.progress import Progress
from rasterml.engine.segment_areas import areas
from rasterml.engine.segment_kmeans import segment_kmeans
from rasterml.engine.tiles import Window

MASKED = -(2**31)
ROWS, COLUMNS = 37, 53


class Listener(Progress):
    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.messages: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def message(self, text: str) -> None:
        self.messages.append(text)


def picture(seed=3) -> np.ndarray:
    """Two bands with noise around three levels; the first band masks (-1) a row, the second a pixel."""
    generator = np.random.default_rng(seed)
    level = generator.integers(0, 3, (ROWS, COLUMNS))
    bands = np.stack([20.0 + 30 * level, 90.0 - 25 * level]) + generator.normal(0, 9, (2, ROWS, COLUMNS))
    bands[0, 5], bands[1, 20, 30] = -1, -1
    return bands


@pytest.fixture
def image(tmp_path):
    return Image([write_raster(tmp_path / "image.tif", picture(), nodata=-1)])


def labels(path) -> np.ndarray:
    return gdal.Open(str(path)).ReadAsArray()


def segmented(image, path, *arguments, **options) -> np.ndarray:
    segment_kmeans(image, str(path), *arguments, **options)
    return labels(path)


def test_lloyd_moves_centres_to_means_until_nothing_changes():
    # by hand: pass 1 from 0 and 3: {0, 1} {4, 11}; means 0.5, 7.5; pass 2: {0, 1, 4} (4 is 3.5 away from both: the
    # lower number) {11}; means 5/3, 11; pass 3 changes nothing
    found = lloyd(ArrayPixels(np.array([[0.0, 1, 4, 11]])), np.array([[0.0], [3.0]]), 10, Progress())

    assert found.centres.ravel().tolist() == pytest.approx([5 / 3, 11])
    assert (found.iterations, found.converged) == (3, True)


def test_lloyd_stops_after_the_passes_it_is_given():
    found = lloyd(ArrayPixels(np.array([[0.0, 1, 4, 11]])), np.array([[0.0], [3.0]]), 2, Progress())

    assert found.centres.ravel().tolist() == pytest.approx([5 / 3, 11])
    assert (found.iterations, found.converged) == (2, False)


def test_a_cluster_without_pixels_is_dropped():
    found = lloyd(ArrayPixels(np.array([[0.0, 1.0]])), np.array([[0.0], [50.0], [1.0]]), 10, Progress())

    assert found.centres.ravel().tolist() == [0, 1]


def test_starts_cut_the_widest_part_at_its_mean():
    # band 2 varies most: mean 25, parts {0, 10} and {30, 60}; then {30, 60} has the larger sum of squares
    values = np.array([[1.0, 2, 3, 4], [0, 10, 30, 60]])

    assert starts(values, 3).tolist() == [[1.5, 5], [3, 30], [4, 60]]


def test_starts_agree_with_scikit_learn_on_what_is_reached():
    """One run from our starts reaches an objective no worse than the median of scikit-learn's ten."""
    cluster = pytest.importorskip("sklearn.cluster")
    values = picture()[:, 6:].reshape(2, -1)

    found = kmeans(ArrayPixels(values), 6, 300, Progress()).centres
    squares = ((values.T - found[nearest(values, found)]) ** 2).sum()
    others = [cluster.KMeans(6, n_init=1, random_state=seed).fit(values.T).inertia_ for seed in range(10)]
    assert squares <= np.median(others) * 1.001


def test_scikit_learn_goes_on_from_our_clusters_without_a_change(image, tmp_path):
    cluster = pytest.importorskip("sklearn.cluster")
    found = segmented(image, tmp_path / "a.tif", 3, 500)
    known = found != MASKED
    rows = picture()[:, known].T

    centres = np.array([rows[found[known] == number].mean(axis=0) for number in range(3)])
    other = cluster.KMeans(3, init=centres, n_init=1).fit(rows)
    assert np.array_equal(other.labels_, found[known])


def test_a_pixel_masked_in_any_band_has_no_label(image, tmp_path):
    found = segmented(image, tmp_path / "a.tif", 3)

    masked = (picture() == -1).any(axis=0)
    assert np.array_equal(found == MASKED, masked)
    assert sorted(np.unique(found[~masked])) == [0, 1, 2]
    dataset = gdal.Open(str(tmp_path / "a.tif"))
    band = dataset.GetRasterBand(1)
    assert (band.GetDescription(), band.DataType) == ("clusters", gdal.GDT_Int32)


@pytest.mark.parametrize(
    "options",
    [{"threads": 1}, {"threads": 3, "tile_size": 16}, {"memory_limit": 512}],
    ids=lambda options: str(options),
)
@pytest.mark.parametrize("grid_size", [None, 11])
def test_threads_tiles_and_memory_change_no_label(image, tmp_path, options, grid_size):
    expected = segmented(image, tmp_path / "a.tif", 5, 3, grid_size=grid_size)

    assert np.array_equal(segmented(image, tmp_path / "b.tif", 5, 3, grid_size=grid_size, **options), expected)


def test_small_units_read_again_in_every_pass_give_what_whole_ones_do(image, tmp_path, monkeypatch):
    expected = segmented(image, tmp_path / "a.tif", 3, 500)
    monkeypatch.setattr(module, "LARGEST_UNIT", 16)
    monkeypatch.setattr(module, "MOST_PIECE_BYTES", 1)
    monkeypatch.setattr(module.ImagePixels, "_units", lambda self, piece: self._read(piece))  # nothing is kept

    assert np.array_equal(segmented(image, tmp_path / "b.tif", 3, 500), expected)


def test_image_pixels_stay_within_their_memory(image):
    pixels = module.ImagePixels(image, image.grid.window(), 0, 2)

    assert sum(pixels.each(lambda values, numbers: len(numbers), Progress())) == (picture() != -1).all(axis=0).sum()
    assert not pixels._kept


def test_a_sample_is_the_same_however_the_pixels_come(monkeypatch, image):
    monkeypatch.setattr(module, "SAMPLE_PIXELS", 100)
    whole = sample(module.ImagePixels(image, image.grid.window(), 2**24, 1), Progress())
    monkeypatch.setattr(module, "LARGEST_UNIT", 16)
    pieces = sample(module.ImagePixels(image, image.grid.window(), 0, 3), Progress())

    assert whole.shape == (2, 100)
    assert np.array_equal(whole, pieces)


def test_cells_are_clustered_by_themselves(image, tmp_path):
    found = segmented(image, tmp_path / "a.tif", 2, grid_size=20, unique_labels=False)

    dataset = gdal.Translate("", str(tmp_path / "image.tif"), format="MEM", srcWin=[20, 20, 20, 17])
    gdal.GetDriverByName("GTiff").CreateCopy(str(tmp_path / "cell.tif"), dataset)
    alone = segmented(Image([str(tmp_path / "cell.tif")]), tmp_path / "b.tif", 2)
    assert np.array_equal(found[20:37, 20:40], alone)


def test_unique_labels_count_on_from_cell_to_cell(image, tmp_path):
    repeated = segmented(image, tmp_path / "a.tif", 2, grid_size=20, unique_labels=False)
    unique = segmented(image, tmp_path / "b.tif", 2, grid_size=20)

    assert segment_kmeans(image, str(tmp_path / "a.tif"), 2, grid_size=20, unique_labels=False) == 2
    assert segment_kmeans(image, str(tmp_path / "b.tif"), 2, grid_size=20) == 12  # 2 rows of 3 cells
    for number, (row, column) in enumerate((row, column) for row in (0, 20) for column in (0, 20, 40)):
        cell = np.s_[row : row + 20, column : column + 20]
        known = repeated[cell] != MASKED
        assert np.array_equal(unique[cell][known], repeated[cell][known] + 2 * number)


def test_tiles_look_beyond_their_edges(tmp_path):
    """The left tile alone is constant; with one column more it sees two levels."""
    step = np.repeat([[0.0] * 16 + [9.0] * 16], 16, axis=0)
    image = Image([write_raster(tmp_path / "image.tif", [step, step])])

    assert areas(16, 32, 16, 1, None)[0] == (Window(0, 0, 16, 16), Window(0, 0, 16, 17))
    found = segmented(image, tmp_path / "a.tif", 2, neighborhood_size=1, tile_size=16, unique_labels=False)
    # both levels are seen in either tile and 9 is the second; of the left one's labels only the first is in its core
    assert (found[:, :16] == 0).all()
    assert segment_kmeans(image, str(tmp_path / "b.tif"), 2, neighborhood_size=1, tile_size=16) == 2


def test_the_neighborhood_changes_the_clusters_of_a_tile(image, tmp_path):
    near = segmented(image, tmp_path / "a.tif", 4, neighborhood_size=1, tile_size=16)
    far = segmented(image, tmp_path / "b.tif", 4, neighborhood_size=15, tile_size=16)

    assert not np.array_equal(near, far)


def test_force_convergence_refuses_clusters_that_still_change(image, tmp_path):
    with pytest.raises(SettingError, match="NUM_ITERATIONS 2"):
        segment_kmeans(image, str(tmp_path / "a.tif"), 6, 2, force_convergence=True)
    assert not list(tmp_path.glob("*a.tif*"))

    listener = Listener()
    segment_kmeans(image, str(tmp_path / "a.tif"), 6, 2, progress=listener)
    assert "before it had settled" in listener.messages[0]
    segment_kmeans(image, str(tmp_path / "a.tif"), 6, 500, force_convergence=True)


def test_more_clusters_than_distinct_pixels_give_a_cluster_for_each(tmp_path):
    first = np.array([[0, 0, 7, 7], [0, 3, 3, 7]])
    image = Image([write_raster(tmp_path / "image.tif", [first, first[::-1]], kind=gdal.GDT_Byte)])
    listener = Listener()

    # (0, 0) (0, 3) (7, 3) (7, 7) above, (0, 0) (3, 0) (3, 7) (7, 7) below; numbers ascend by the bands
    assert segment_kmeans(image, str(tmp_path / "a.tif"), 20, progress=listener) == 6
    assert labels(tmp_path / "a.tif").tolist() == [[0, 1, 4, 5], [0, 2, 3, 5]]
    assert "6 clusters instead of 20" in listener.warnings[0]


def test_constant_bands_are_one_cluster(tmp_path):
    image = Image([write_raster(tmp_path / "image.tif", [np.full((3, 4), 7.1), np.full((3, 4), 1e9 + 0.3)])])

    assert segment_kmeans(image, str(tmp_path / "a.tif")) == 1
    assert (labels(tmp_path / "a.tif") == 0).all()


@pytest.mark.parametrize("grid_size", [None, 2])
def test_an_image_without_pixels_gives_an_empty_raster_and_says_so(tmp_path, grid_size):
    image = Image([write_raster(tmp_path / "image.tif", [np.ones((3, 4)), np.full((3, 4), -1)], nodata=-1)])
    listener = Listener()

    assert segment_kmeans(image, str(tmp_path / "a.tif"), grid_size=grid_size, progress=listener) == 0
    assert (labels(tmp_path / "a.tif") == MASKED).all()
    assert "Every pixel is masked" in listener.warnings[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_clusters": 0}, "NUM_CLUSTERS is 0"),
        ({"num_iterations": 0}, "NUM_ITERATIONS 0"),
        ({"neighborhood_size": -1}, "NEIGHBORHOOD_SIZE is -1"),
        ({"grid_size": 0}, "GRID_SIZE 0"),
        ({"grid_size": 8, "neighborhood_size": 4}, "exclude each other"),
    ],
)
def test_impossible_settings_are_refused(image, tmp_path, options, message):
    with pytest.raises(SettingError, match=message):
        segment_kmeans(image, str(tmp_path / "a.tif"), **options)


def test_the_output_is_checked_before_the_work_starts(image, tmp_path):
    with pytest.raises(StorageError, match=r"\.foo"):
        segment_kmeans(image, str(tmp_path / "a.foo"))


def test_a_cancel_leaves_no_file(image, tmp_path):
    class Cancel(Progress):
        def share(self, share: float) -> None:
            if share > 0.95:
                raise Canceled()

    for grid_size in (None, 11):
        with pytest.raises(Canceled):
            segment_kmeans(image, str(tmp_path / "a.tif"), 3, grid_size=grid_size, progress=Cancel())
    assert [path.name for path in tmp_path.iterdir()] == ["image.tif"]


def test_integers_beyond_float32_are_kept_apart(tmp_path):
    values = np.array([[2**24, 2**24 + 1, 2**24]] * 2)
    image = Image([write_raster(tmp_path / "image.tif", [values, values], kind=gdal.GDT_Int32)])

    assert segment_kmeans(image, str(tmp_path / "a.tif"), 2) == 2
    assert labels(tmp_path / "a.tif").tolist() == [[0, 1, 0]] * 2


def test_many_bands_make_small_units():
    assert module.unit_side(6) == 256
    assert module.unit_side(400) == 64
    assert math.prod((module.unit_side(10**6),) * 2) >= 256
