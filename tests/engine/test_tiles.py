"""Windows cover a raster exactly once."""

from __future__ import annotations

import numpy as np
import pytest
from rasterml.engine.tiles import Window, iter_tiles, overlap, within


@pytest.mark.parametrize("size", [1, 3, 5, 7, 100, (2, 5), (100, 1)])
def test_every_pixel_lies_in_exactly_one_tile(size):
    covered = np.zeros((5, 7), dtype=int)
    for tile in iter_tiles(5, 7, size):
        covered[tile.row : tile.row + tile.rows, tile.column : tile.column + tile.columns] += 1

    assert (covered == 1).all()


def test_tiles_come_row_by_row_and_the_last_ones_are_smaller():
    assert list(iter_tiles(3, 5, 2)) == [
        Window(0, 0, 2, 2),
        Window(0, 2, 2, 2),
        Window(0, 4, 2, 1),
        Window(2, 0, 1, 2),
        Window(2, 2, 1, 2),
        Window(2, 4, 1, 1),
    ]


def test_overlap_is_what_both_windows_hold():
    assert overlap(Window(0, 0, 4, 4), Window(2, 3, 9, 9)) == Window(2, 3, 2, 1)


def test_windows_that_only_touch_do_not_overlap():
    assert overlap(Window(0, 0, 4, 4), Window(4, 0, 4, 4)) is None


def test_within_finds_a_part_in_the_array_of_the_whole():
    whole = Window(10, 20, 3, 4)
    values = np.arange(24).reshape(2, 3, 4)

    assert values[within(Window(11, 22, 2, 1), whole)].tolist() == [[[6], [10]], [[18], [22]]]
