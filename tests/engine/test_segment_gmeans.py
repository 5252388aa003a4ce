"""G-means over pixels."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from osgeo import gdal
from raster_files import write_raster
from rasterml.engine.errors import Canceled, MissingLibraryError, SettingError
from rasterml.engine.images import Image
from rasterml.engine.progress import Progress
from rasterml.engine.segment_gmeans import _probability, gmeans, normality, segment_gmeans

MASKED = -(2**31)


def clouds(*middles, pixels=400, seed=8) -> np.ndarray:
    """Round normal clouds around *middles*, (2, n)."""
    generator = np.random.default_rng(seed)
    return np.concatenate([generator.normal(middle, 1, (pixels, 2)) for middle in middles]).T


@pytest.fixture
def image(tmp_path):
    """Three clouds, 20 x 60 pixels, shuffled; the first row is masked in the second band."""
    values = clouds((0, 0), (20, 0), (0, 20))
    bands = values[:, np.random.default_rng(1).permutation(1200)].reshape(2, 20, 60)
    bands[1, 0] = -99
    return Image([write_raster(tmp_path / "image.tif", bands, nodata=-99)])


@pytest.mark.parametrize(
    ("statistic", "level"), [(0.631, 0.10), (0.752, 0.05), (0.873, 0.025), (1.035, 0.01), (1.159, 0.005)]
)
def test_p_values_are_those_of_the_published_percentage_points(statistic, level):
    """D'Agostino & Stephens (1986), Goodness-of-fit techniques, table 4.7, upper tail."""
    assert _probability(statistic) == pytest.approx(level, rel=0.02)


def test_p_values_fall_all_the_way():
    values = [_probability(statistic) for statistic in np.arange(0.0, 20, 0.01)]

    assert values[0] == pytest.approx(1, abs=1e-5)
    assert all(later <= earlier + 1e-3 for earlier, later in zip(values, values[1:]))  # the pieces meet to 1e-3
    assert values[-1] == 0


def test_the_statistic_is_scipys():
    stats = pytest.importorskip("scipy.stats")
    values = np.random.default_rng(4).gamma(20, size=150)

    squared = stats.anderson(values, "norm").statistic
    assert normality(values) == pytest.approx(_probability(squared * (1 + 0.75 / 150 + 2.25 / 150**2)), rel=1e-9)


@pytest.mark.parametrize("level", [0.01, 0.1, 0.5])
@pytest.mark.parametrize("length", [10, 300])
def test_normal_values_are_refused_as_often_as_the_level_says(length, level):
    generator = np.random.default_rng(0)
    refused = np.mean([normality(generator.normal(3, 2, length)) < level for _ in range(2000)])

    assert refused == pytest.approx(level, abs=4 * (level * (1 - level) / 2000) ** 0.5 + 0.02)


@pytest.mark.parametrize("middles", [[(0, 0)], [(0, 0), (20, 0)], [(0, 0), (20, 0), (0, 20), (20, 20), (60, 60)]])
def test_it_finds_the_clouds(middles):
    found = gmeans(clouds(*middles), 10, 0.01)

    assert found.converged
    assert sorted(map(tuple, found.centres.round().tolist())) == sorted(middles)


def test_each_round_cuts_a_cluster_in_two_at_most():
    values = clouds((0, 0), (20, 0), (200, 0), (220, 0))

    rounds = [gmeans(values, number, 0.01) for number in (1, 2, 3)]
    assert [len(found.centres) for found in rounds] == [2, 4, 4]
    assert [found.converged for found in rounds] == [False, False, True]


def test_a_higher_level_cuts_more():
    values = np.random.default_rng(6).standard_t(30, (2, 3000))
    counts = [len(gmeans(values, 5, level).centres) for level in (0, 1e-4, 100)]

    assert counts[0] == 1
    assert counts[0] <= counts[1] < counts[2]


def test_few_or_equal_pixels_are_one_cluster():
    assert gmeans(np.array([[0.0, 1, 100, 101, 5, 6, 7]]), 10, 50).centres.ravel().tolist() == [220 / 7]
    assert gmeans(np.full((2, 50), 3.0), 10, 50).centres.tolist() == [[3, 3]]
    assert gmeans(np.empty((2, 0)), 10, 50).centres.shape == (0, 2)


def test_a_segmented_image_has_the_clouds_as_clusters(image, tmp_path):
    path = str(tmp_path / "a.tif")

    assert segment_gmeans(image, path, p_value=0.01) == 3
    dataset = gdal.Open(path)
    found, values = dataset.ReadAsArray(), image.read(image.grid.window()).values
    assert dataset.GetRasterBand(1).GetDescription() == "clusters"
    assert (found[0] == MASKED).all()
    # in the order of the first band, then the second
    assert np.array_equal(found[1:] == 2, values[0, 1:] > 10)
    assert np.array_equal(found[1:] != MASKED, np.isfinite(values[1, 1:]))


@pytest.mark.parametrize("options", [{"threads": 1}, {"threads": 3, "tile_size": 16}, {"memory_limit": 512}])
def test_threads_tiles_and_memory_change_no_label(image, tmp_path, options):
    for settings in ({}, {"grid_size": 15, "unique_labels": False}):
        segment_gmeans(image, str(tmp_path / "a.tif"), 3, **settings)
        segment_gmeans(image, str(tmp_path / "b.tif"), 3, **settings, **options)
        first, second = (gdal.Open(str(tmp_path / name)) for name in ("a.tif", "b.tif"))
        assert np.array_equal(first.ReadAsArray(), second.ReadAsArray())


def test_cells_and_tiles_are_clustered_by_themselves(image, tmp_path):
    path = str(tmp_path / "a.tif")

    assert segment_gmeans(image, path, p_value=0.01, grid_size=20, unique_labels=False) == 3
    assert segment_gmeans(image, path, p_value=0.01, grid_size=20) == 9
    assert segment_gmeans(image, path, p_value=0.01, neighborhood_size=2, tile_size=30) == 6


def test_all_masked_is_empty(tmp_path):
    image = Image([write_raster(tmp_path / "image.tif", [np.ones((3, 4)), np.full((3, 4), -1)], nodata=-1)])

    assert segment_gmeans(image, str(tmp_path / "a.tif")) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_iterations": 0}, "NUM_ITERATIONS is 0"),
        ({"p_value": 101}, "P_VALUE is 101"),
        ({"p_value": float("nan")}, "P_VALUE is nan"),
        ({"grid_size": 5, "neighborhood_size": 5}, "exclude each other"),
    ],
)
def test_impossible_settings_are_refused(image, tmp_path, options, message):
    with pytest.raises(SettingError, match=message):
        segment_gmeans(image, str(tmp_path / "a.tif"), **options)


def test_without_scipy_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.special", None)
    with pytest.raises(MissingLibraryError, match="python3-scipy"):
        normality(np.arange(10.0))


def test_a_cancel_leaves_no_file(image, tmp_path):
    class Cancel(Progress):
        def share(self, share: float) -> None:
            if share > 0.3:
                raise Canceled()

    with pytest.raises(Canceled):
        segment_gmeans(image, str(tmp_path / "a.tif"), progress=Cancel())
    assert [path.name for path in tmp_path.iterdir()] == ["image.tif"]
