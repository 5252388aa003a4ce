"""`rasterml:randompoints` in a real QGIS."""

from __future__ import annotations

import math

import numpy as np
import pytest
from qgis.core import (
    QgsDistanceArea,
    QgsGeometry,
    QgsPointXY,
    QgsProcessingFeatureSourceDefinition,
    QgsProcessingFeedback,
    QgsProject,
    QgsVectorLayer,
)
from small_world import pinned, refusal, rows_of, run

pytestmark = pytest.mark.usefixtures("provider")

BOX = "POLYGON ((10 0, 10 60, 30 60, 30 0, 10 0))"


def points(layer, feedback=None, **parameters) -> np.ndarray:
    output = run("randompoints", feedback, REGION=layer, OUTPUT="TEMPORARY_OUTPUT", **parameters)["OUTPUT"]
    return np.array([[*feature.geometry().asPoint()] for feature in output.getFeatures()])


def disc(radius: float) -> str:
    angles = np.linspace(0, 2 * math.pi, 721)
    ring = ", ".join(f"{radius * math.cos(angle)} {radius * math.sin(angle)}" for angle in angles[:-1])
    return f"POLYGON (({ring}, {radius} 0))"


def test_it_has_the_frozen_parameters_outputs_and_defaults(provider):
    algorithm = provider.algorithm("randompoints")

    assert pinned(algorithm) == {"REGION": None, "POINTS": 1000, "MIN_DISTANCE": None, "SEED": 0, "OUTPUT": None}
    assert algorithm.groupId() == "sampling"
    assert "randomPoints" in algorithm.tags()
    assert [item.name() for item in algorithm.outputDefinitions()] == ["OUTPUT", "COUNT"]


def test_the_points_have_an_index_only_and_the_crs_of_the_region(memory_layer):
    result = run("randompoints", REGION=memory_layer("Polygon", ["a:int"], [(BOX, 1)], "EPSG:4326"), OUTPUT="memory:")

    assert rows_of(result["OUTPUT"]) == [{"system_index": str(number)} for number in range(1000)]
    assert result["OUTPUT"].crs().authid() == "EPSG:4326"
    assert result["COUNT"] == 1000


def test_polygons_are_filled_by_the_area_of_the_sphere(memory_layer):
    places = points(memory_layer("Polygon", [], [(BOX,)], "EPSG:4326"), POINTS=20_000)

    share = math.sin(math.radians(30)) / math.sin(math.radians(60))
    assert len(places) == 20_000
    assert (places[:, 1] < 30).mean() == pytest.approx(share, abs=0.012)  # 0.577; 3.3 standard errors
    assert places[:, 0].mean() == pytest.approx(20, abs=0.14)


def test_the_layers_projection_does_not_matter(memory_layer):
    # EPSG:3857 stretches the north: y of 30 and 60 degrees are 3503549.84 and 8399737.89
    wkt = "POLYGON ((0 0, 0 8399737.89, 2e6 8399737.89, 2e6 0, 0 0))"

    places = points(memory_layer("Polygon", [], [(wkt,)], "EPSG:3857"), POINTS=20_000)

    assert (places[:, 1] < 3503549.84).mean() == pytest.approx(0.57735, abs=0.012)
    assert places.max(axis=0) == pytest.approx([2e6, 8399737.89], rel=0.01)


def test_a_pole_lies_inside_as_any_other_place(memory_layer):
    places = points(memory_layer("Polygon", [], [(disc(4e6),)], "EPSG:3031"), POINTS=20_000)

    to_degrees = np.degrees(2 * np.arctan(np.hypot(*places.T) / 12_367_000))  # polar stereographic, 71 S, as a sphere
    assert np.hypot(*places.T).max() <= 4e6
    share = (1 - math.cos(math.radians(18))) / (1 - math.cos(2 * math.atan(4e6 / 12_367_000)))
    assert (to_degrees < 18).mean() == pytest.approx(share, abs=0.015)
    assert np.abs(places.mean(axis=0)).max() < 60_000


def test_a_region_across_the_date_line_is_one_region(memory_layer):
    wkt = "POLYGON ((2e6 -1e6, 5e6 -1e6, 5e6 1e6, 2e6 1e6, 2e6 -1e6))"  # from 168 E to 165 W

    places = points(memory_layer("Polygon", [], [(wkt,)], "EPSG:3832"), POINTS=5000)

    assert np.histogram(places[:, 0], bins=3, range=(2e6, 5e6))[0] / 5000 == pytest.approx(1 / 3, abs=0.023)


def test_holes_stay_empty_and_overlaps_count_once(memory_layer):
    ring = "POLYGON ((0 0, 0 30, 30 30, 30 0, 0 0), (10 10, 10 20, 20 20, 20 10, 10 10))"
    twice = "POLYGON ((0 0, 0 30, 10 30, 10 0, 0 0))"

    places = points(memory_layer("Polygon", [], [(ring,), (twice,), (twice,), (None,)], ""), POINTS=10_000)

    assert not ((places > 10) & (places < 20)).all(axis=1).any()
    assert (places[:, 0] < 10).mean() == pytest.approx(300 / 800, abs=0.016)


def test_a_crossing_ring_is_no_obstacle(memory_layer):
    places = points(memory_layer("Polygon", [], [("POLYGON ((0 0, 10 10, 10 0, 0 10, 0 0))",)]), POINTS=500)

    assert len(places) == 500
    assert not ((places[:, 0] > 4) & (places[:, 0] < 6) & (np.abs(places[:, 1] - 5) > 1)).any()


def test_lines_are_filled_by_their_length_on_the_ellipsoid(memory_layer):
    # the meridian from 0 to 60 N is 6654072.82 m long; the parallel by the radius of its circle
    layer = memory_layer("LineString", [], [("LINESTRING (0 0, 0 60, 30 60)",)], "EPSG:4326")
    parallel = math.radians(30) * 6378137 * 0.5 / math.sqrt(1 - 0.00669438 * 0.75)

    places = points(layer, POINTS=20_000)

    assert (places[:, 0] == 0).mean() == pytest.approx(6654072.82 / (6654072.82 + parallel), abs=0.01)
    assert np.median(places[places[:, 0] == 0, 1]) == pytest.approx(30, abs=0.7)


def test_a_long_line_is_filled_evenly_where_its_scale_changes(memory_layer):
    # half of the meridian's 6654073 m from the equator to 60 N lie south of 30.06 N, in EPSG:3857 y = 3511600
    layer = memory_layer("LineString", [], [("LINESTRING (0 0, 0 8399737.89)",)], "EPSG:3857")

    assert np.median(points(layer, POINTS=20_000)[:, 1]) == pytest.approx(3_511_600, rel=0.03)


def test_points_of_all_parts_are_drawn_alike(memory_layer):
    layer = memory_layer("MultiPoint", [], [("MULTIPOINT ((0 0), (1 1))",), ("MULTIPOINT ((5 5))",)])

    places = points(layer, POINTS=9000)

    assert {tuple(place) for place in places.tolist()} == {(0, 0), (1, 1), (5, 5)}
    assert np.unique(places[:, 0], return_counts=True)[1] / 9000 == pytest.approx(1 / 3, abs=0.017)


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ("POINT (99 99), LINESTRING (50 50, 60 60), POLYGON ((0 0, 0 1, 1 1, 1 0, 0 0))", (0, 1)),
        ("POINT (99 99), LINESTRING (50 50, 60 60)", (50, 60)),
        ("POINT (99 99)", (99, 99)),
    ],
)
def test_only_the_highest_dimension_counts(memory_layer, parts, expected):
    places = points(memory_layer("GeometryCollection", [], [(f"GEOMETRYCOLLECTION ({parts})",)]), POINTS=50)

    assert (places >= expected[0]).all()
    assert (places <= expected[1]).all()


def test_curves_and_heights_are_taken_as_seen_from_above(memory_layer):
    circle = "CURVEPOLYGON Z (CIRCULARSTRING Z (0 0 5, 10 0 5, 0 0 5))"

    places = points(memory_layer("CurvePolygonZ", [], [(circle,)]), POINTS=500)

    assert np.hypot(places[:, 0] - 5, places[:, 1]).max() <= 5
    assert len(places) == 500


def test_a_seed_repeats_another_differs_and_more_points_begin_with_the_same(memory_layer):
    layer = memory_layer("Polygon", [], [(BOX,)], "EPSG:4326")

    assert np.array_equal(points(layer, SEED=5, POINTS=300)[:100], points(layer, SEED=5, POINTS=100))
    assert not (points(layer, SEED=5, POINTS=100) == points(layer, SEED=6, POINTS=100)).any()


def test_points_keep_the_distance_on_the_ellipsoid(memory_layer):
    layer = memory_layer("Polygon", [], [("POLYGON ((10 59, 10 61, 14 61, 14 59, 10 59))",)], "EPSG:4326")
    ruler = QgsDistanceArea()
    ruler.setSourceCrs(layer.crs(), QgsProject.instance().transformContext())
    ruler.setEllipsoid("WGS84")

    places = [QgsPointXY(*place) for place in points(layer, POINTS=150, MIN_DISTANCE=10_000)]

    apart = [ruler.measureLine(a, b) for number, a in enumerate(places) for b in places[:number]]
    assert len(places) == 150
    assert 10_000 <= min(apart) < 10_500


def test_the_distance_is_one_of_the_ground_in_any_projection(memory_layer):
    # at 60 N a metre of the ground is two in EPSG:3857
    layer = memory_layer("LineString", [], [("LINESTRING (0 8399737.89, 100000 8399737.89)",)], "EPSG:3857")

    apart = np.diff(np.sort(points(layer, POINTS=20, MIN_DISTANCE=1000)[:, 0]))

    assert 1990 < apart.min() < 2700


def test_distance_that_leaves_no_room_is_said(memory_layer, tmp_path):
    layer = memory_layer("Polygon", [], [("POLYGON ((0 0, 0 100, 100 100, 100 0, 0 0))",)], "EPSG:32633")
    target = tmp_path / "points.gpkg"

    message = refusal("randompoints", REGION=layer, POINTS=1000, MIN_DISTANCE=50, OUTPUT=str(target))

    assert "MIN_DISTANCE 50 leaves REGION room for about" in message
    assert "lower POINTS or MIN_DISTANCE" in message
    assert list(tmp_path.iterdir()) == []


def test_a_layer_without_crs_is_a_plane_and_a_warning_says_so(memory_layer):
    layer = memory_layer("Polygon", [], [("POLYGON ((0 0, 0 400, 100 400, 100 0, 0 0))",)], "")
    feedback = QgsProcessingFeedback()

    places = points(layer, feedback, POINTS=40, MIN_DISTANCE=10)

    assert "has no CRS" in feedback.textLog()
    apart = np.linalg.norm(places[:, None] - places[None], axis=2)[~np.eye(40, dtype=bool)]
    assert apart.min() >= 10
    assert points(layer, POINTS=10_000)[:, 1].mean() == pytest.approx(200, abs=4)


def test_only_selected_regions_are_taken(memory_layer):
    layer = memory_layer("Point", [], [("POINT (0 0)",), ("POINT (5 5)",)])
    layer.selectByIds([2])
    QgsProject.instance().addMapLayer(layer, False)
    try:
        places = points(QgsProcessingFeatureSourceDefinition(layer.id(), selectedFeaturesOnly=True), POINTS=20)
    finally:
        QgsProject.instance().takeMapLayer(layer)

    assert (places == 5).all()


@pytest.mark.parametrize(
    ("kind", "wkt", "message"),
    [
        ("Polygon", None, "REGION 'regions' has no geometry"),
        ("Polygon", "POLYGON EMPTY", "REGION 'regions' has no geometry"),
        ("Polygon", "POLYGON ((0 0, 1 1, 0 0, 0 0))", "have no area"),
        ("LineString", "LINESTRING (1 1, 1 1)", "have no length"),
    ],
)
def test_region_without_room_is_named(memory_layer, tmp_path, kind, wkt, message):
    layer = memory_layer(kind, [], [(wkt,)])

    assert message in refusal("randompoints", REGION=layer, OUTPUT=str(tmp_path / "points.gpkg"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["Point", "LineString"])
def test_region_that_is_not_on_the_earth_is_named(memory_layer, kind):
    wkt = "POINT (1e12 1e12)" if kind == "Point" else "LINESTRING (1e12 1e12, 2e12 2e12)"

    assert "cannot be placed on the Earth" in refusal(
        "randompoints", REGION=memory_layer(kind, [], [(wkt,)], "EPSG:32633"), OUTPUT="memory:"
    )


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"REGION": "nowhere.gpkg"}, "REGION nowhere.gpkg cannot be read as a layer"),
        ({"POINTS": 0}, "POINTS is 0: choose from 1 to 10,000,000"),
        ({"POINTS": -5}, "POINTS is -5: choose from 1 to 10,000,000"),
        ({"POINTS": 20_000_000}, "POINTS is 20000000: choose"),
        ({"POINTS": 10**12}, "POINTS is 1000000000000: choose"),
        ({"MIN_DISTANCE": -1}, "MIN_DISTANCE is -1: give 0 or more metres"),
        ({"MIN_DISTANCE": math.inf}, "MIN_DISTANCE is inf"),
    ],
)
def test_what_cannot_work_is_said_and_nothing_written(memory_layer, tmp_path, changed, message):
    layer = memory_layer("Polygon", [], [(BOX,)], "EPSG:4326")

    assert message in refusal("randompoints", **{"REGION": layer, "OUTPUT": str(tmp_path / "p.gpkg"), **changed})
    assert list(tmp_path.iterdir()) == []


def test_north_carolina_polygons_hold_all_points(shared):
    layer = QgsVectorLayer(str(shared / "data" / "nc_landsat7" / "landsat96_polygons.shp"))
    area = QgsGeometry.unaryUnion([feature.geometry() for feature in layer.getFeatures()])

    places = points(layer, POINTS=2000)

    assert all(area.contains(QgsPointXY(*place)) for place in places)
    classes = {feature.id(): feature.geometry() for feature in layer.getFeatures()}
    for shape in classes.values():
        inside = sum(shape.contains(QgsPointXY(*place)) for place in places)
        share = shape.area() / area.area()
        assert inside / 2000 == pytest.approx(share, abs=4 * math.sqrt(share / 2000))
