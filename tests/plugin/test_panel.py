from __future__ import annotations

import numpy as np
import pytest
from qgis.core import (
    QgsCategorizedSymbolRenderer,
    QgsFeature,
    QgsField,
    QgsProject,
    QgsRasterLayer,
    QgsVectorLayer,
)
from qgis.PyQt.QtGui import QColor
from rasterml.plugin import measures
from rasterml.plugin.choice import Choice, parameters
from rasterml.plugin.gauge import STATE_COLOURS
from rasterml.processing_provider import settings


def add_rows(table: QgsVectorLayer, rows: int) -> None:
    table.dataProvider().addFeatures([QgsFeature(table.fields()) for _ in range(rows)])


def shown_colour(view) -> str:
    """The colour of the bar near its left end."""
    bar = view._bar.grab().toImage()
    return QColor(bar.pixel(bar.width() // 4, bar.height() // 2)).name()


def test_empty_project_says_what_to_do_first(panel):
    assert "add an image" in panel.next_step.text()
    assert [view.gauge for view in (panel.training_gauge, panel.bands_gauge, panel.model_gauge)] == [None] * 3


def test_training_gauge_follows_rows_added_through_the_provider(panel, add_memory_table, wait_until):
    table = add_memory_table()
    add_rows(table, 3)
    panel.tables.tick([table])
    panel.class_field.setField("landclass")
    assert panel.training_gauge.gauge.value == 3 * 2

    add_rows(table, 4)

    assert wait_until(lambda: panel.training_gauge.gauge.value == 7 * 2)


def test_training_gauge_follows_an_edit_that_is_not_yet_saved(panel, add_memory_table, wait_until):
    table = add_memory_table()
    add_rows(table, 1)
    panel.tables.tick([table])

    table.startEditing()
    table.addFeature(QgsFeature(table.fields()))

    assert wait_until(lambda: panel.training_gauge.gauge.value == 2 * 2)
    table.rollBack()


def test_training_gauge_follows_a_new_column(panel, add_memory_table, wait_until):
    table = add_memory_table()
    add_rows(table, 5)
    panel.tables.tick([table])

    table.dataProvider().addAttributes([QgsField("swir", table.fields().field("red").type())])
    table.updateFields()

    assert wait_until(lambda: panel.training_gauge.gauge.value == 5 * 3)


def test_class_field_right_of_system_index_is_no_predictor(panel, add_memory_table):
    table = add_memory_table()
    add_rows(table, 5)
    panel.tables.tick([table])

    panel.class_field.setField("nir")

    assert panel.training_gauge.gauge.value == 5 * 1


def test_removed_layers_leave_the_gauges_at_once(panel, add_memory_table, add_image):
    table, image = add_memory_table(), add_image(2)
    add_rows(table, 5)
    panel.tables.tick([table])
    panel.images.tick([image])
    assert panel.training_gauge.gauge and panel.bands_gauge.gauge

    QgsProject.instance().removeMapLayers([table.id(), image.id()])

    assert (panel.training_gauge.gauge, panel.bands_gauge.gauge) == (None, None)
    assert panel.choice() == Choice()


def test_fullest_of_several_tables_is_shown_and_the_others_are_in_the_tool_tip(panel, add_memory_table):
    few, many = add_memory_table("few"), add_memory_table("many")
    add_rows(few, 2)
    add_rows(many, 9)
    panel.tables.tick([few, many])

    assert panel.training_gauge.gauge.value == 9 * 2
    assert "many" in panel.training_gauge.gauge.title
    assert [line.split(":")[0] for line in panel.training_gauge.toolTip().splitlines()] == [
        "Training data (few)",
        "Training data (many)",
    ]


def test_unknown_number_of_rows_is_said(add_memory_table):
    class Endless(QgsVectorLayer):
        def featureCount(self):  # noqa: N802
            return -1

    source = add_memory_table()
    table = Endless(source.source(), "stream", "memory")

    measure = measures.training_measure(Choice(tables=(table,)))

    assert measure.gauge is None
    assert "stream" in measure.text


def test_areas_without_predictor_columns_point_to_sampling(panel, add_image):
    areas = QgsVectorLayer("Polygon?crs=EPSG:32119&field=name:string", "areas", "memory")
    QgsProject.instance().addMapLayer(areas)
    add_rows(areas, 2)
    panel.tables.tick([areas])
    panel.images.tick([add_image(2)])
    panel.class_field.setField("name")

    assert panel.training_gauge.gauge is None
    assert "Sample regions" in panel.training_gauge._figures.text()
    assert panel.next_step.text().startswith("Next: Sample regions")


# 20,971,520 values are 80 % of the 26,214,400 that Earth Engine trains on; so many are still allowed
@pytest.mark.parametrize(("rows", "state"), [(209_715, "ok"), (209_716, "near"), (262_144, "near"), (262_145, "over")])
def test_training_gauge_changes_colour_at_the_cap(panel, add_table_of, rows, state):
    panel.tables.tick([add_table_of(rows)])
    panel.class_field.setField("landclass")

    assert panel.training_gauge.gauge.state == state
    assert shown_colour(panel.training_gauge) == STATE_COLOURS[state][0]


# Earth Engine: fewer than 400 bands
@pytest.mark.parametrize(("bands", "state"), [(319, "ok"), (320, "near"), (399, "near"), (400, "over")])
def test_bands_gauge_changes_colour_at_the_cap(panel, add_image, bands, state):
    panel.images.tick([add_image(bands)])

    assert panel.bands_gauge.gauge.state == state
    assert shown_colour(panel.bands_gauge) == STATE_COLOURS[state][0]


# Earth Engine: below 100 MiB = 104,857,600 bytes
@pytest.mark.parametrize(
    ("size", "state", "word"),
    [
        (83_886_079, "ok", "OK"),
        (83_886_080, "near", "near the cap"),
        (104_857_599, "near", "near the cap"),
        (104_857_600, "over", "over the cap"),
    ],
)
def test_model_gauge_changes_colour_and_word_at_the_cap(panel, tmp_path, size, state, word):
    model = tmp_path / "forest.rasterml"
    with model.open("wb") as file:
        file.truncate(size)

    panel.model.setFilePath(str(model))

    assert panel.model_gauge.gauge.state == state
    assert panel.model_gauge._verdict.text() == word
    assert panel.model_gauge._advice.isVisible() == (state != "ok")
    assert shown_colour(panel.model_gauge) == STATE_COLOURS[state][0]


def test_model_over_the_cap_is_advised_from_its_own_settings(panel, tmp_path, monkeypatch):
    from rasterml.engine.classes import class_table
    from rasterml.engine.learners import BY_ID
    from rasterml.engine.models import Model, save_model

    arrays = {  # 40 trees of one leaf
        "tree_start": np.arange(41),
        "feature": np.full(40, -1, dtype=np.int16),
        "threshold": np.zeros(40),
        "right": np.zeros(40, dtype=np.int32),
        "leaf_counts": np.ones((40, 2), dtype=np.uint16),
        "tree_weight": np.ones(40),
    }
    settings = BY_ID["trainrandomforest"].checked({"number_of_trees": 40})
    model = Model("trainrandomforest", "CLASSIFICATION", settings, ("red",), class_table([0, 7]), "c", arrays)
    size = save_model(model, tmp_path / "forest.rasterml")
    monkeypatch.setattr("rasterml.engine.limits.MODEL_BYTES_CAP", size // 2)

    panel.model.setFilePath(str(tmp_path / "forest.rasterml"))

    assert panel.model_gauge.gauge.state == "over"
    assert (
        "NUMBER_OF_TREES=18" in panel.model_gauge.gauge.advice or "NUMBER_OF_TREES=19" in panel.model_gauge.gauge.advice
    )


def test_model_gauge_follows_the_file(panel, tmp_path, wait_until):
    model = tmp_path / "forest.rasterml"
    panel.model.setFilePath(str(model))
    assert panel.model_gauge.gauge is None

    model.write_bytes(b"x" * 10)
    assert wait_until(lambda: panel.model_gauge.gauge is not None)
    assert panel.model_gauge.gauge.value == 10

    model.unlink()
    assert wait_until(lambda: panel.model_gauge.gauge is None)


def test_bands_of_all_ticked_images_count_but_alpha_does_not(panel, add_image):
    panel.images.tick([add_image(2, "two"), add_image(4, "three_and_alpha", alpha=True)])

    assert panel.bands_gauge.gauge.value == 2 + 3


def test_hidden_panel_looks_at_nothing_until_it_is_shown_again(panel, add_memory_table, wait_until):
    table = add_memory_table()
    add_rows(table, 1)
    panel.tables.tick([table])
    panel.hide()
    assert not panel._timer.isActive()
    add_rows(table, 1)

    panel.show()

    assert wait_until(lambda: panel.training_gauge.gauge.value == 2 * 2)


def test_only_rasters_that_gdal_opens_are_offered(panel, add_image):
    image = add_image(2)
    online = QgsRasterLayer("type=xyz&url=file:///none/{z}/{x}/{y}.png", "tiles", "wms")
    QgsProject.instance().addMapLayer(online)

    assert panel.images.layers() == [image]


def test_class_field_is_taken_from_the_style_of_the_areas(panel, add_memory_table):
    table = add_memory_table()
    table.setRenderer(QgsCategorizedSymbolRenderer("landclass", []))

    panel.tables.tick([table])

    assert panel.class_field.currentField() == "landclass"


def test_chosen_class_field_stays_when_another_table_has_it_too(panel, add_memory_table):
    first, second = add_memory_table("first"), add_memory_table("second")
    panel.tables.tick([first])
    panel.class_field.setField("landclass")

    second.dataProvider().deleteAttributes([2])
    second.updateFields()
    panel.tables.tick([first, second])

    assert panel.class_field.currentField() == "landclass"
    assert panel.class_field.fields().names() == ["landclass", "system_index", "nir"]


def test_all_and_none_tick_every_layer(panel, add_image):
    images = [add_image(2, "a"), add_image(3, "b")]

    panel.images.tick_all()
    assert panel.images.ticked() == images

    panel.images.tick_none()
    assert panel.images.ticked() == []


def test_buttons_hand_over_what_is_chosen(panel, add_memory_table, add_image):
    image, table = add_image(2), add_memory_table()
    panel.images.tick([image])
    panel.tables.tick([table])
    panel.class_field.setField("landclass")
    panel.model.setFilePath("/models/forest.rasterml")
    requests = {}
    panel.algorithm_requested.connect(requests.__setitem__)

    for button in panel.buttons.values():
        button.click()

    assert requests == {
        "sampleregions": {"INPUT": [image.id()], "COLLECTION": table.id(), "PROPERTIES": ["landclass"]},
        "trainrandomforest": {"TRAINING": [table.id()], "CLASS_PROPERTY": "landclass"},
        "classify": {"INPUT": [image.id()], "MODEL": "/models/forest.rasterml"},
        "explain": {"MODEL": "/models/forest.rasterml"},
        "checklimits": {
            "INPUT": [image.id()],
            "TRAINING": [table.id()],
            "CLASS_PROPERTY": "landclass",
            "MODEL": "/models/forest.rasterml",
        },
    }


def test_every_parameter_handed_over_exists(panel, add_memory_table, add_image):
    from rasterml.processing_provider.provider import RasterMlProvider

    provider = RasterMlProvider()
    provider.refreshAlgorithms()
    choice = Choice((add_image(2),), (add_memory_table(),), "landclass", "forest.rasterml")

    for name in panel.buttons:
        algorithm = provider.algorithm(name)
        assert algorithm is not None, name
        for parameter in parameters(name, choice):
            assert algorithm.parameterDefinition(parameter) is not None, f"{name} {parameter}"


def test_nothing_chosen_hands_over_nothing(panel):
    assert not any(parameters(name, panel.choice()) for name in panel.buttons)


def test_areas_are_sampled_rather_than_samples(add_memory_table):
    samples, table = add_memory_table("samples"), add_memory_table("table", geometry="None")
    areas = QgsVectorLayer("Polygon?crs=EPSG:32119&field=landclass:integer", "areas", "memory")

    choice = Choice(tables=(table, samples, areas))

    assert parameters("sampleregions", choice)["COLLECTION"] == areas.id()


def test_finished_runs_are_taken_over(panel, add_memory_table, tmp_path):
    areas, samples = add_memory_table("areas"), add_memory_table("samples")
    panel.tables.tick([areas])
    model = tmp_path / "forest.rasterml"
    model.write_bytes(b"x")

    panel.take_over("sampleregions", {"OUTPUT": samples.id()})
    panel.take_over("trainrandomforest", {"OUTPUT": str(model)})
    panel.take_over("explain", {"OUTPUT": str(tmp_path / "explained.json")})

    assert panel.choice().tables == (samples,)
    assert panel.choice().model == str(model)


def test_policy_is_stored(panel):
    try:
        panel.limits.setCurrentIndex(1)
        panel.limits.activated.emit(1)

        assert settings.limits_policy() == "Enforce"
    finally:
        settings.LIMITS.remove()


def test_panel_fits_300_pixels(panel):
    assert panel.widget().widget().minimumSizeHint().width() <= 300


def test_everything_to_operate_has_an_accessible_name(panel):
    widgets = [panel.images, panel.tables, panel.class_field, panel.model, panel.limits]
    widgets += [panel.training_gauge, panel.bands_gauge, panel.model_gauge]

    assert all(widget.accessibleName() for widget in widgets)
    assert all(button.text() for button in panel.buttons.values())


@pytest.mark.parametrize("state", STATE_COLOURS)
def test_words_on_state_colours_are_readable(state):
    """WCAG 2.1, success criterion 1.4.3: a contrast of at least 4.5 : 1."""

    def luminance(name: str) -> float:
        parts = [
            part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in QColor(name).getRgbF()
        ]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    dark, light = sorted(luminance(name) for name in STATE_COLOURS[state])

    assert (light + 0.05) / (dark + 0.05) >= 4.5


def test_deleted_panel_does_not_hear_of_the_project_any_more(qgis_new_project, add_memory_table, settle):
    from rasterml.plugin.panel import RasterMlPanel

    panel = RasterMlPanel()
    table = add_memory_table()
    panel.tables.tick([table])
    panel.deleteLater()
    settle()

    table.setName("renamed")
    QgsProject.instance().removeMapLayer(table.id())
    settle()
