"""`rasterml:splitsamples` in a real QGIS."""

from __future__ import annotations

from collections import Counter

import numpy as np
import processing
import pytest
from qgis.core import (
    QgsCategorizedSymbolRenderer,
    QgsMarkerSymbol,
    QgsProcessingFeatureSourceDefinition,
    QgsProcessingFeedback,
    QgsProject,
    QgsRendererCategory,
)
from rasterml.engine import sidecar
from rasterml.engine.classes import LandClass
from small_world import pinned, refusal, rows_of, run, table

pytestmark = pytest.mark.usefixtures("provider")


def split(layer, feedback=None, **parameters) -> tuple[list[dict], list[dict], dict]:
    """Return the rows that train, those that validate, and the results."""
    fixed = {"INPUT": layer, "TRAINING": "TEMPORARY_OUTPUT", "VALIDATION": "TEMPORARY_OUTPUT"}
    results = run("splitsamples", feedback, **{**fixed, **parameters})
    return rows_of(results["TRAINING"]), rows_of(results["VALIDATION"]), results


def counts(rows, field="landclass") -> dict:
    return dict(Counter(row[field] for row in rows))


def indexes(rows) -> set[str]:
    return {row["system_index"] for row in rows}


def regions(rows) -> set[str]:
    return {row["system_index"].rpartition("_")[0] for row in rows}


@pytest.fixture
def samples(memory_layer):
    """A function that makes samples: (class, region, number of rows) each, ten metres apart to the east."""

    def make(*parts, kind="string", order=None):
        rows = [(label, f"{region}_{number}") for label, region, size in parts for number in range(size)]
        order = range(len(rows)) if order is None else order
        places = [(f"POINT ({10 * number} 0)", *rows[number], int(rows[number][1].split("_")[0])) for number in order]
        return memory_layer("Point", [f"landclass:{kind}", "system_index:string", "area:int"], places)

    return make


@pytest.fixture
def north_carolina(provider, shared):
    """The pixels of the North Carolina polygons, with their class and region."""
    folder = shared / "data" / "nc_landsat7"
    rasters = [str(folder / f"lsat7_2000_{number}0.tif") for number in range(1, 6)]
    polygons = str(folder / "landsat96_polygons.shp")
    return run("sampleregions", INPUT=rasters, COLLECTION=polygons, OUTPUT="TEMPORARY_OUTPUT")["OUTPUT"]


def test_it_has_the_agreed_parameters_outputs_and_defaults(provider):
    algorithm = provider.algorithm("splitsamples")

    assert pinned(algorithm) == {
        "INPUT": None, "CLASS_PROPERTY": None, "FRACTION": 0.7, "STRATEGY": "random", "GROUP": None,
        "BLOCK_SIZE": None, "SEED": 0, "TRAINING": None, "VALIDATION": None,
    }  # fmt: skip
    assert algorithm.groupId() == "sampling"
    assert [item.name() for item in algorithm.outputDefinitions()] == [
        "TRAINING", "VALIDATION", "COUNT_TRAINING", "COUNT_VALIDATION",
    ]  # fmt: skip


def test_every_row_goes_to_one_side_with_its_fields_and_its_place():
    layer = table(rows=45)

    training, validation, results = split(layer, FRACTION=0.6)

    key = str
    assert sorted(training + validation, key=key) == sorted(rows_of(layer), key=key)
    assert (len(training), len(validation)) == (results["COUNT_TRAINING"], results["COUNT_VALIDATION"]) == (27, 18)
    places = {feature["system_index"]: feature.geometry().asWkt() for feature in layer.getFeatures()}
    for side in ("TRAINING", "VALIDATION"):
        assert results[side].crs() == layer.crs()
        assert all(
            feature.geometry().asWkt() == places[feature["system_index"]] for feature in results[side].getFeatures()
        )


@pytest.mark.parametrize("strategy", ["random", "stratified", "bypolygon"])
def test_order_of_rows_does_not_matter(samples, strategy):
    parts = [("a", 0, 10), ("a", 1, 12), ("b", 2, 9), ("b", 3, 7), ("b", 4, 2)]
    shuffled = np.random.default_rng(0).permutation(40).tolist()
    parameters = {"CLASS_PROPERTY": "landclass", "STRATEGY": strategy, "FRACTION": 0.5}

    assert indexes(split(samples(*parts), **parameters)[0]) == indexes(
        split(samples(*parts, order=shuffled), **parameters)[0]
    )


@pytest.mark.parametrize(
    "parameters",
    [{}, {"STRATEGY": "stratified"}, {"STRATEGY": "bypolygon"}, {"STRATEGY": "spatialblocks", "BLOCK_SIZE": 30}],
)
def test_a_seed_repeats_and_another_differs(samples, parameters):
    layer = samples(*(("ab"[number % 2], number, 5) for number in range(20)))
    parameters = {"CLASS_PROPERTY": "landclass", **parameters}

    first = indexes(split(layer, SEED=1, **parameters)[0])

    assert first == indexes(split(layer, SEED=1, **parameters)[0])
    assert first != indexes(split(layer, SEED=2, **parameters)[0])


def test_stratified_keeps_the_share_of_every_class_and_one_row_on_each_side(samples):
    layer = samples(("a", 0, 10), ("b", 1, 5), ("c", 2, 2), ("d", 3, 1))
    feedback = QgsProcessingFeedback()

    training, validation, _ = split(layer, feedback, STRATEGY="stratified", CLASS_PROPERTY="landclass", FRACTION=0.9)

    assert counts(training) == {"a": 9, "b": 4, "c": 1, "d": 1}
    assert counts(validation) == {"a": 1, "b": 1, "c": 1}
    assert "Class d is in TRAINING only: it has one row only." in feedback.textLog()
    assert "Class b: 4 of 5 rows train (80%)." in feedback.textLog()


def test_polygons_stay_whole_and_classes_near_their_share(samples):
    layer = samples(*((f"class {number % 3}", number, 3 + number % 7) for number in range(60)))

    training, validation, _ = split(layer, STRATEGY="bypolygon", CLASS_PROPERTY="landclass")

    assert not regions(training) & regions(validation)
    whole = counts(rows_of(layer))
    assert {name: counts(training)[name] / whole[name] for name in whole} == pytest.approx(
        dict.fromkeys(whole, 0.7), abs=0.03
    )


def test_a_field_can_tell_the_polygons(samples):
    layer = samples(*((f"class {number % 2}", number // 4, 5) for number in range(40)))

    training, validation, _ = split(layer, STRATEGY="bypolygon", GROUP="area", CLASS_PROPERTY="landclass")

    assert not {row["area"] for row in training} & {row["area"] for row in validation}
    assert {row["area"] for row in training + validation} == set(range(10))
    assert set(counts(validation)) == {"class 0", "class 1"}


def test_blocks_begin_at_multiples_of_their_size(memory_layer):
    rows = [(f"POINT ({x} {y})", x) for x in range(-20, 20) for y in range(-20, 20)]
    layer = memory_layer("Point", ["number:int"], rows)

    _, _, results = split(layer, STRATEGY="spatialblocks", BLOCK_SIZE=8, FRACTION=0.5)

    sides = {}
    for side in ("TRAINING", "VALIDATION"):
        for feature in results[side].getFeatures():
            point = feature.geometry().asPoint()
            sides.setdefault((point.x() // 8, point.y() // 8), set()).add(side)
    assert len(sides) == 36  # from -20 to 19: blocks -3 to 2
    assert {len(side) for side in sides.values()} == {1}
    for axis in (0, 1):  # neither rows nor columns of blocks stay together
        assert any(
            len({side for place, found in sides.items() if place[axis] == line for side in found}) == 2
            for line in range(-3, 3)
        )
    assert results["COUNT_TRAINING"] == pytest.approx(800, abs=30)


def test_lines_and_polygons_count_where_their_centroid_is(memory_layer):
    rows = [(f"POLYGON (({x} 0, {x} 9, {x + 9} 9, {x} 0))", x) for x in range(50)]
    layer = memory_layer("Polygon", ["number:int"], rows)

    _, _, results = split(layer, STRATEGY="spatialblocks", BLOCK_SIZE=10)

    blocks = [
        {feature.geometry().centroid().asPoint().x() // 10 for feature in results[side].getFeatures()}
        for side in ("TRAINING", "VALIDATION")
    ]
    assert not blocks[0] & blocks[1]


def test_class_names_come_from_the_class_table_and_go_on(tmp_path):
    layer = table(rows=60)
    classes = (LandClass(0, "water", "#0000ff"), LandClass(7, "wood", "#00ff00"))
    notes = sidecar.Notes(bands=("red", "nir"), class_property="landclass", classes=classes)
    layer.setCustomProperty(sidecar.CUSTOM_PROPERTY, sidecar.as_text(notes))
    feedback = QgsProcessingFeedback()

    outputs = {side: str(tmp_path / f"{side.lower()}.gpkg") for side in ("TRAINING", "VALIDATION")}
    split(layer, feedback, CLASS_PROPERTY="landclass", STRATEGY="stratified", **outputs)

    for path in outputs.values():
        found = sidecar.read(path)
        assert (found.bands, found.class_property, found.classes) == (("red", "nir"), "landclass", classes)
    assert "Class wood: " in feedback.textLog()


def test_class_names_come_from_the_renderer_too(samples):
    layer = samples(("1", 0, 5), ("2", 1, 6), kind="int")
    categories = [
        QgsRendererCategory(1, QgsMarkerSymbol.createSimple({"color": "#0000ff"}), "water"),
        QgsRendererCategory(2, QgsMarkerSymbol.createSimple({"color": "#00ff00"}), "wood"),
    ]
    layer.setRenderer(QgsCategorizedSymbolRenderer("landclass", categories))

    _, _, results = split(layer, CLASS_PROPERTY="landclass")

    notes = sidecar.from_text(results["VALIDATION"].customProperty(sidecar.CUSTOM_PROPERTY))
    assert [(item.value, item.name, item.colour) for item in notes.classes] == [
        (1, "water", "#0000ff"), (2, "wood", "#00ff00"),
    ]  # fmt: skip


@pytest.mark.parametrize("extension", ["gpkg", "geojson", "shp", "csv"])
def test_a_table_in_any_format_is_split_alike(samples, tmp_path, extension):
    layer = samples(*((f"class {number % 3}", number, 4) for number in range(30)))
    path = str(tmp_path / f"samples.{extension}")
    processing.run("native:savefeatures", {"INPUT": layer, "OUTPUT": path})
    parameters = {"CLASS_PROPERTY": "landclass", "STRATEGY": "random"}

    stored, _, _ = split(path, **parameters)

    field = "system_ind" if extension == "shp" else "system_index"
    assert {row[field] for row in stored} == indexes(split(layer, **parameters)[0])


def test_only_selected_rows_are_split(samples):
    layer = samples(("a", 0, 10), ("b", 1, 10))
    layer.selectByExpression("landclass = 'b'")
    QgsProject.instance().addMapLayer(layer, False)
    try:
        chosen = QgsProcessingFeatureSourceDefinition(layer.id(), selectedFeaturesOnly=True)
        training, validation, _ = split(chosen)
    finally:
        QgsProject.instance().takeMapLayer(layer)

    assert (counts(training), counts(validation)) == ({"b": 7}, {"b": 3})


def test_a_setting_of_another_strategy_is_warned_of(samples):
    feedback = QgsProcessingFeedback()

    split(samples(("a", 0, 10)), feedback, GROUP="area")

    assert "STRATEGY random uses no GROUP" in feedback.textLog()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"INPUT": "nowhere.gpkg"}, "INPUT nowhere.gpkg cannot be read as a layer"),
        ({"FRACTION": 0}, "FRACTION is 0: choose a number between 0 and 1"),
        ({"FRACTION": 1}, "FRACTION is 1: choose"),
        ({"FRACTION": 1.5}, "FRACTION is 1.5: choose"),
        ({"FRACTION": 0.99}, "leaves VALIDATION empty (20 rows in all)"),
        ({"CLASS_PROPERTY": "cover"}, "has no field 'cover': it has landclass, system_index, area"),
        ({"GROUP": "field"}, "has no field 'field'"),
        ({"STRATEGY": "stratified"}, "STRATEGY stratified needs to know the classes: choose CLASS_PROPERTY"),
        ({"STRATEGY": "spatialblocks"}, "STRATEGY spatialblocks needs BLOCK_SIZE"),
        ({"STRATEGY": "spatialblocks", "BLOCK_SIZE": 0}, "BLOCK_SIZE is 0: give"),
        ({"STRATEGY": "spatialblocks", "BLOCK_SIZE": -10}, "BLOCK_SIZE is -10: give"),
        ({"STRATEGY": "spatialblocks", "BLOCK_SIZE": 1e9}, "leaves VALIDATION empty (1 block in all)"),
        (
            {"STRATEGY": "bypolygon", "CLASS_PROPERTY": "landclass"},
            "empty (2 polygons in all)",
        ),
    ],
)
def test_what_cannot_work_is_said_and_nothing_written(samples, tmp_path, changed, message):
    outputs = {side: str(tmp_path / f"{side}.gpkg") for side in ("TRAINING", "VALIDATION")}

    assert message in refusal("splitsamples", **{"INPUT": samples(("a", 0, 12), ("b", 1, 8)), **outputs, **changed})
    assert list(tmp_path.iterdir()) == []


A = ("POINT (0 0)", "a", 1)


@pytest.mark.parametrize(
    ("rows", "parameters", "message"),
    [
        ([], {}, "has 0 rows: two are needed"),
        ([A], {}, "has 1 rows: two are needed"),
        ([A, A], {"STRATEGY": "bypolygon"}, "no field system_index that tells the polygons"),
        ([A, ("POINT (0 0)", None, 1)], {"CLASS_PROPERTY": "cover"}, "feature '2' in 'regions' is missing"),
        ([A, ("POINT (0 0)", "b", None)], {"STRATEGY": "bypolygon", "GROUP": "area"}, "'area' of feature '2'"),
        ([A, (None, "b", 1)], {"STRATEGY": "spatialblocks", "BLOCK_SIZE": 1}, "Feature '2' in 'regions' has no place"),
    ],
)
def test_rows_that_cannot_be_split_are_named(memory_layer, tmp_path, rows, parameters, message):
    layer = memory_layer("Point", ["cover:string", "area:int"], rows)
    outputs = {side: str(tmp_path / f"{side}.gpkg") for side in ("TRAINING", "VALIDATION")}

    assert message in refusal("splitsamples", INPUT=layer, **outputs, **parameters)
    assert list(tmp_path.iterdir()) == []


def test_a_table_without_places_has_no_blocks(memory_layer):
    layer = memory_layer("NoGeometry", ["cover:string"], [(None, "a"), (None, "b")])

    assert "has no places for spatialblocks" in refusal(
        "splitsamples", INPUT=layer, STRATEGY="spatialblocks", BLOCK_SIZE=5, TRAINING="memory:", VALIDATION="memory:"
    )


def test_one_file_for_both_and_the_input_itself_are_refused(samples, tmp_path):
    path, other = str(tmp_path / "samples.gpkg"), str(tmp_path / "other.gpkg")
    processing.run("native:savefeatures", {"INPUT": samples(("a", 0, 5)), "OUTPUT": path})

    assert "TRAINING and VALIDATION are both" in refusal("splitsamples", INPUT=path, TRAINING=other, VALIDATION=other)
    assert "is an input of this run" in refusal("splitsamples", INPUT=path, TRAINING=other, VALIDATION=path)
    assert [file.name for file in tmp_path.iterdir()] == ["samples.gpkg"]


def test_canceled_run_leaves_no_file(samples, tmp_path):
    class CanceledWhileWriting(QgsProcessingFeedback):
        def setProgress(self, progress):  # noqa: N802
            if progress > 60:
                self.cancel()

    outputs = {"TRAINING": str(tmp_path / "training.csv"), "VALIDATION": str(tmp_path / "validation.gpkg")}
    message = refusal_with(CanceledWhileWriting(), INPUT=samples(("a", 0, 20_000)), **outputs)

    assert "Canceled" in message
    assert list(tmp_path.iterdir()) == []


def refusal_with(feedback, **parameters) -> str:
    with pytest.raises(Exception, match="Canceled") as raised:
        run("splitsamples", feedback, **parameters)
    return str(raised.value)


# Real data


def test_north_carolina_keeps_every_class_on_both_sides_but_the_one_of_a_single_polygon(north_carolina):
    feedback = QgsProcessingFeedback()

    training, validation, results = split(
        north_carolina, feedback, STRATEGY="bypolygon", CLASS_PROPERTY="label", FRACTION=0.7
    )

    assert not regions(training) & regions(validation)
    assert regions(training) | regions(validation) == regions(rows_of(north_carolina))
    everywhere = {"developed", "agriculture", "herbaceous", "shrubland", "forest", "water", "sediment"}
    assert set(counts(training, "label")) == everywhere
    assert set(counts(validation, "label")) == everywhere - {"agriculture"}
    assert "Class agriculture is in TRAINING only: it has one polygon only." in feedback.textLog()
    assert results["COUNT_TRAINING"] + results["COUNT_VALIDATION"] == 2121


@pytest.mark.parametrize("seed", range(3))
def test_north_carolina_comes_as_near_to_the_share_as_its_polygons_allow(north_carolina, seed):
    sizes = {}
    for row in rows_of(north_carolina):
        region = row["system_index"].rpartition("_")[0]
        sizes.setdefault(row["label"], Counter())[region] += 1

    training, _, _ = split(north_carolina, STRATEGY="bypolygon", CLASS_PROPERTY="label", SEED=seed)

    for name, found in counts(training, "label").items():
        whole, largest = sum(sizes[name].values()), max(sizes[name].values())
        assert abs(found / whole - 0.7) <= max(largest / whole / 2, 0.05) or len(sizes[name]) == 1, name
