"""A GeoPackage filled by columns is one that SQLite and GDAL find whole."""

from __future__ import annotations

import sqlite3

import numpy as np
import pytest
from osgeo import ogr, osr
from rasterml.engine import packed_index
from rasterml.engine.errors import StorageError
from rasterml.engine.geopackage import TableFiller
from rasterml.engine.packed_index import boxes_around


def empty_table(path, kind=ogr.wkbPoint) -> str:
    reference = osr.SpatialReference()
    reference.ImportFromEPSG(32633)
    source = ogr.GetDriverByName("GPKG").CreateDataSource(str(path))
    layer = source.CreateLayer("table 'of' \"points\"", reference, kind)
    layer.CreateField(ogr.FieldDefn("number", ogr.OFTInteger))
    layer.CreateField(ogr.FieldDefn("text", ogr.OFTString))
    del layer, source
    return str(path)


def filled(path, places, step=1000) -> str:
    filler = TableFiller(empty_table(path))
    for start in range(0, len(places), step):
        numbers = np.arange(start, min(start + step, len(places)))
        filler.add([numbers, [f"ä{number}" for number in numbers.tolist()]], places[start : start + step])
    filler.close()
    return str(path)


def ask(path, sql, *values) -> list[tuple]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute(sql, values).fetchall()
    finally:
        connection.close()


TREE = "rtree_table 'of' \"points\"_geom"
QUOTED_TREE = '"' + TREE.replace('"', '""') + '"'


# 51 cells fill a node of 4096-byte pages: one leaf, two, a full second level, a third one
@pytest.mark.parametrize("points", [1, 2, 51, 52, 51 * 51, 51 * 51 + 1, 9000])
@pytest.mark.parametrize("chunk", [700, 2**20])
def test_index_is_whole_and_finds_what_a_search_without_it_finds(tmp_path, monkeypatch, points, chunk):
    monkeypatch.setattr(packed_index, "CHUNK", chunk)
    places = np.random.default_rng(points).uniform(0, 1e6, (points, 2)) + np.array([300_000, 5_000_000])
    path = filled(tmp_path / "a.gpkg", places)

    assert ask(path, "SELECT rtreecheck(?)", TREE) == [("ok",)]
    assert ask(path, "PRAGMA integrity_check") == [("ok",)]
    assert ask(path, f"SELECT id FROM {QUOTED_TREE} ORDER BY id") == [(row + 1,) for row in range(points)]
    low, high = (500_000, 5_200_000), (900_000, 5_700_000)
    within = f"SELECT id FROM {QUOTED_TREE} WHERE minx >= ? AND maxx <= ? AND miny >= ? AND maxy <= ? ORDER BY id"
    found = ask(path, within, low[0], high[0], low[1], high[1])
    assert [row for (row,) in found] == (np.flatnonzero(((places > low) & (places < high)).all(axis=1)) + 1).tolist()


def test_gdal_reads_what_was_written(tmp_path):
    places = np.array([[1.5, 2.25], [np.nan, np.nan], [-7, 1e6]])
    source = ogr.Open(filled(tmp_path / "a.gpkg", places))
    layer = source.GetLayer()
    rows = [(feature.GetFID(), feature["number"], feature["text"], feature.GetGeometryRef()) for feature in layer]

    assert [row[:3] for row in rows] == [(1, 0, "ä0"), (2, 1, "ä1"), (3, 2, "ä2")]
    assert layer.GetFeatureCount(force=0) == 3
    assert layer.GetExtent(force=0) == (-7, 1.5, 2.25, 1e6)
    layer.SetSpatialFilterRect(-10, 0, 0, 2e6)
    assert [(feature.GetFID(), feature.GetGeometryRef().ExportToWkt()) for feature in layer] == [
        (3, "POINT (-7 1000000)")
    ]


def test_gdal_goes_on_where_the_filling_ended(tmp_path):
    path = filled(tmp_path / "a.gpkg", np.random.default_rng(0).uniform(0, 100, (5000, 2)))
    source = ogr.Open(path, 1)
    layer = source.GetLayer()
    feature = ogr.Feature(layer.GetLayerDefn())
    feature.SetGeometry(ogr.CreateGeometryFromWkt("POINT (500 500)"))
    layer.CreateFeature(feature)
    layer.DeleteFeature(7)
    number = feature.GetFID()
    del feature, layer, source

    assert number == 5001
    assert ogr.Open(path).GetLayer().GetFeatureCount(force=0) == 5000
    assert ask(path, f"SELECT count(*) FROM {QUOTED_TREE} WHERE minx > 499") == [(1,)]
    assert ask(path, "SELECT rtreecheck(?)", TREE) == [("ok",)]


def test_table_without_geometry_is_filled(tmp_path):
    filler = TableFiller(empty_table(tmp_path / "a.gpkg", ogr.wkbNone))
    filler.add([[0, None, 7], ["", None, "c"]])
    filler.close()
    source = ogr.Open(str(tmp_path / "a.gpkg"))

    assert [(row["number"], row["text"]) for row in source.GetLayer()] == [(0, ""), (None, None), (7, "c")]


def test_empty_table_stays_whole(tmp_path):
    path = filled(tmp_path / "a.gpkg", np.empty((0, 2)))

    assert ogr.Open(path).GetLayer().GetFeatureCount() == 0
    assert ask(path, "SELECT rtreecheck(?)", TREE) == [("ok",)]


def test_boxes_hold_their_places_though_float32_is_coarse():
    places = np.random.default_rng(1).uniform(-1e7, 1e7, (1000, 2))
    boxes = boxes_around(places).astype(np.float64)

    assert (boxes[:, 0] <= places[:, 0]).all() and (places[:, 0] <= boxes[:, 1]).all()
    assert (boxes[:, 2] <= places[:, 1]).all() and (places[:, 1] <= boxes[:, 3]).all()
    assert (boxes[:, 1] - boxes[:, 0] <= 2).all()


def test_full_disk_is_said_in_one_sentence(tmp_path, limited_file_size):
    filler = TableFiller(empty_table(tmp_path / "a.gpkg"))
    places = np.zeros((200_000, 2))
    with limited_file_size(2**20), pytest.raises(StorageError, match=r"cannot be written .*: free some space"):
        filler.add([np.zeros(200_000, dtype=int), ["text"] * 200_000], places)
        filler.close()
    filler.abandon()
