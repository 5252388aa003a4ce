"""Seeds on a grid."""

from __future__ import annotations

import numpy as np
import pytest
from osgeo import gdal
from raster_files import write_raster
from rasterml.engine.errors import SettingError
from rasterml.engine.images import Image
from rasterml.engine.seed_grid import GRID_TYPES, seed_mask, seed_places, write_seeds
from rasterml.engine.tiles import Window, iter_tiles, within


def places(*arguments) -> list[tuple[int, int]]:
    return list(zip(*(numbers.tolist() for numbers in seed_places(*arguments))))


def test_square_seeds_are_the_middles_of_cells():
    assert places(7, 13, 5, "square") == [(2, 2), (2, 7), (2, 12)]
    assert places(8, 9, 4, "square") == [(2, 2), (2, 6), (6, 2), (6, 6)]


def test_every_other_line_of_hexagons_is_half_a_size_aside():
    # lines round(5 * sqrt(3) / 2) = 4 apart, from row 2
    assert places(11, 13, 5, "hex") == [(2, 2), (2, 7), (2, 12), (6, 0), (6, 5), (6, 10), (10, 2), (10, 7), (10, 12)]


@pytest.mark.parametrize("grid_type", GRID_TYPES)
def test_size_one_makes_every_pixel_a_seed(grid_type):
    assert len(places(4, 6, 1, grid_type)) == 24


@pytest.mark.parametrize("grid_type", GRID_TYPES)
def test_a_raster_smaller_than_a_cell_has_one_seed(grid_type):
    assert places(3, 2, 50, grid_type) == [(1, 1)]
    assert places(1, 1, 5, grid_type) == [(0, 0)]


@pytest.mark.parametrize("grid_type", GRID_TYPES)
@pytest.mark.parametrize("size", [1, 2, 5, 8])
def test_tiles_put_together_are_the_whole(grid_type, size):
    rows, columns = 23, 31
    whole = np.zeros((rows, columns), dtype=bool)
    whole[seed_places(rows, columns, size, grid_type)] = True
    tiled = np.zeros_like(whole)
    for tile in iter_tiles(rows, columns, (4, 7)):
        tiled[within(tile, Window(0, 0, rows, columns))] = seed_mask(tile, rows, columns, size, grid_type)

    assert np.array_equal(tiled, whole)


def test_seeds_come_in_raster_order():
    rows, columns = seed_places(40, 30, 7, "hex")

    assert (np.diff(rows * 30 + columns) > 0).all()


def test_impossible_settings_are_refused():
    with pytest.raises(SettingError, match="SIZE is 0"):
        seed_places(5, 5, 0)
    with pytest.raises(SettingError, match="GRID_TYPE is 'Hex'"):
        seed_places(5, 5, 5, "Hex")


@pytest.mark.parametrize("options", [{}, {"tile_size": 3, "threads": 2, "memory_limit": 512}])
def test_a_seed_on_a_masked_pixel_is_masked_and_not_counted(tmp_path, options):
    first, second = np.ones((7, 13)), np.ones((7, 13))
    first[2, 7], second[0] = -1, -1
    image = Image([write_raster(tmp_path / "image.tif", [first, second], nodata=-1)])

    found = write_seeds(image, str(tmp_path / "seeds.tif"), 5, "square", **options)

    dataset = gdal.Open(str(tmp_path / "seeds.tif"))
    band = dataset.GetRasterBand(1)
    expected = np.zeros((7, 13))
    expected[2, [2, 12]] = 1
    expected[0], expected[2, 7] = 255, 255
    assert found == 2
    assert (band.GetDescription(), band.GetNoDataValue()) == ("seeds", 255)
    assert np.array_equal(band.ReadAsArray(), expected)
