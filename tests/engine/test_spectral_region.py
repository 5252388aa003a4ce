"""Spectral regions: even–odd by hand and against a geometry library, edges, refused texts."""

from __future__ import annotations

import numpy as np
import pytest
from rasterml.engine.errors import ModelFileError, SettingError
from rasterml.engine.explanation import explain
from rasterml.engine.models import load_model, save_model
from rasterml.engine.prediction import predict_rows
from rasterml.engine.spectral_region import region_model

SQUARE = "[[0, 0, 4, 0, 4, 4, 0, 4]]"


def inside(coordinates, points):
    return predict_rows(region_model(coordinates, "u,v"), np.array(points, dtype=np.float32))[0].tolist()


def test_points_in_and_around_a_triangle():
    # below the line from (0, 0) to (4, 8), right of it: v < 2u
    assert inside("[[0, 0, 4, 0, 4, 8]]", [[3, 1], [3, 5.9], [3, 6.1], [-1, 0.5], [5, 1], [3, -1]]) == [
        1,
        1,
        0,
        0,
        0,
        0,
    ]


def test_a_ring_inside_another_is_a_hole_and_one_in_the_hole_an_island():
    rings = "[[0, 0, 9, 0, 9, 9, 0, 9], [2, 2, 7, 2, 7, 7, 2, 7], [4, 4, 5, 4, 5, 5, 4, 5]]"

    assert inside(rings, [[1, 1], [3, 3], [4.5, 4.5], [8, 4], [10, 4]]) == [1, 0, 1, 1, 0]


def test_separate_rings_both_count_in_any_direction():
    assert inside("[[0, 0, 1, 0, 1, 1], [5, 5, 5, 6, 6, 6]]", [[0.9, 0.5], [5.1, 5.5], [3, 3]]) == [1, 1, 0]


def test_left_and_lower_edges_belong_to_the_region():
    corners = [[0, 0], [4, 0], [0, 4], [4, 4]]

    assert inside(SQUARE, [[0, 2], [4, 2], [2, 0], [2, 4], *corners]) == [1, 0, 1, 0, 1, 0, 0, 0]


def test_of_two_regions_with_a_common_edge_one_has_each_point():
    generator = np.random.default_rng(3)
    a, b = [0.1, 0.7], [3.3, 2.9]
    share = generator.random((2000, 1))
    points = np.concatenate([a + share * np.subtract(b, a), [a, b]]).astype(np.float32)
    points = points[(points[:, 1] >= np.float32(0.71)) & (points[:, 1] <= np.float32(2.89))]

    below = inside(f"[[{a[0]}, {a[1]}, 9, {a[1]}, 9, {b[1]}, {b[0]}, {b[1]}]]", points)
    above = inside(f"[[{b[0]}, {b[1]}, -9, {b[1]}, -9, {a[1]}, {a[0]}, {a[1]}]]", points)

    assert np.add(below, above).tolist() == [1] * len(points)
    assert 0 < sum(below) < len(points)


def test_regions_are_those_of_a_geometry_library():
    from osgeo import ogr

    generator = np.random.default_rng(1)
    angles, radii = np.sort(generator.random(40)) * 2 * np.pi, 1 + generator.random(40)
    star = np.column_stack([np.cos(angles), np.sin(angles)]) * radii[:, None]
    points = generator.uniform(-2, 2, (3000, 2)).astype(np.float32)
    ring = ogr.Geometry(ogr.wkbLinearRing)
    for u, v in [*star, star[0]]:
        ring.AddPoint_2D(u, v)
    polygon = ogr.Geometry(ogr.wkbPolygon)
    polygon.AddGeometry(ring)

    expected = []
    for u, v in points.tolist():
        point = ogr.Geometry(ogr.wkbPoint)
        point.AddPoint_2D(u, v)
        expected.append(int(polygon.Contains(point)))

    assert inside(f"[{star.ravel().tolist()}]", points) == expected


def test_a_closed_ring_is_the_same_as_an_open_one():
    model = region_model("[[0, 0, 4, 0, 4, 4, 0, 4, 0, 0]]", "u,v")

    assert model.arrays["vertex"].tolist() == [[0, 0], [4, 0], [4, 4], [0, 4]]


def test_schema_names_the_predictors_and_the_model_is_saved_and_explained(tmp_path):
    model = region_model("[[0, 0, 4, 0, 4.5, 4], [1, 1, 2, 1, 2, 2]]", " nir , red")
    save_model(model, tmp_path / "m.rasterml")
    loaded = load_model(tmp_path / "m.rasterml")
    points = np.random.default_rng(1).uniform(-1, 5, (500, 2)).astype(np.float32)
    explanation = explain(loaded)

    assert loaded.predictors == ("nir", "red")
    assert np.array_equal(predict_rows(loaded, points), predict_rows(model, points))
    assert explanation["classes"] == [0, 1] and explanation["classNames"] == ["outside", "inside"]
    assert explanation["coordinates"] == [[0, 0, 4, 0, 4.5, 4], [1, 1, 2, 1, 2, 2]]
    assert explanation["schema"] == ["nir", "red"]


REFUSED = {
    "no JSON": ("[[0, 0, 1", "COORDINATES is not JSON"),
    "empty": ("", "COORDINATES is not JSON"),
    "not a number": ("[[0, 0, 1, 0, NaN, 1]]", "NaN is no coordinate"),
    "flat list": ("[0, 0, 1, 0, 1, 1]", "not a list of rings"),
    "no ring": ("[]", "not a list of rings"),
    "object": ('{"type": "Polygon"}', "not a list of rings"),
    "nested pairs": ("[[[0, 0], [1, 0], [1, 1]]]", r"Ring 1 of COORDINATES has the entry \[0, 0\]"),
    "text": ('[[0, 0, 1, 0, 1, "1"]]', "has the entry '1'"),
    "truth": ("[[0, 0, 1, 0, 1, true]]", "has the entry True"),
    "infinite": ("[[0, 0, 1, 0, 1, 1e999]]", "has the entry inf"),
    "odd": ("[[0, 0, 1, 0, 1, 1], [0, 0, 1, 0, 1, 1, 5]]", "Ring 2 of COORDINATES has 7 numbers"),
    "two points": ("[[0, 0, 1, 1]]", "has 2 different points"),
    "closed line": ("[[0, 0, 1, 1, 0, 0]]", "has 2 different points"),
    "empty ring": ("[[]]", "has 0 different points"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_impossible_coordinates_are_a_sentence(what):
    text, message = REFUSED[what]
    with pytest.raises(SettingError, match=message):
        region_model(text, "u,v")


@pytest.mark.parametrize("schema", ["", "u", "u,v,w", "u,", "u,u"])
def test_a_schema_is_two_different_names(schema):
    with pytest.raises(SettingError, match="two different band names"):
        region_model(SQUARE, schema)


def test_a_whole_number_beyond_floats_is_refused():
    with pytest.raises(SettingError, match="finite numbers"):
        region_model(f"[[0, 0, 1, 0, 1, 1{'0' * 400}]]", "u,v")


DAMAGES = {
    "a vertex without a number": ("vertex", lambda array: array * np.nan),
    "three dimensions": ("vertex", lambda array: array.reshape(-1, 4)),
    "single precision": ("vertex", lambda array: array.astype(np.float32)),
    "rings beyond the vertices": ("ring_start", lambda array: array + array // 4),
    "a ring of nothing": ("ring_start", lambda array: np.array([0, 0, 4])),
    "rings that do not start": ("ring_start", lambda array: array + 1),
    "no ring": ("ring_start", lambda array: array[:1]),
    "rings of floats": ("ring_start", lambda array: array.astype(np.float64)),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_arrays_that_prediction_could_leave_are_refused(damage):
    model = region_model(SQUARE, "u,v")
    model.learner.check_model(model)
    name, damaged = DAMAGES[damage]
    model.arrays[name] = damaged(model.arrays[name])

    with pytest.raises(ModelFileError):
        model.learner.check_model(model)
