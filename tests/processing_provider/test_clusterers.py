"""Training clusterers and applying them to images and tables."""

from __future__ import annotations

import numpy as np
import pytest
from osgeo import gdal
from qgis.core import QgsProcessingFeedback
from rasterml.engine.learners import CLUSTERERS
from rasterml.engine.settings import parameter_name
from small_world import COLUMNS, ROWS, pinned, read, refusal, rows_of, run, table, trained, write_image

pytestmark = pytest.mark.usefixtures("provider")

each_clusterer = pytest.mark.parametrize("clusterer", CLUSTERERS, ids=lambda row: row.id)
TRAINING = {"TRAINING": None, "INPUT_PROPERTIES": None, "SUBSAMPLING": 1.0, "SUBSAMPLING_SEED": 0}
BANDS = ["red", "nir"]


def clusterer(path, learner_id="trainkmeans", **parameters) -> dict:
    fixed = {"TRAINING": [table()], "OUTPUT": str(path)}
    if learner_id == "trainkmeans":
        fixed["N_CLUSTERS"] = 2
    return run(learner_id, **{**fixed, **parameters})


def halves(clusters: np.ndarray) -> float:
    """Return the share of valid pixels whose cluster is the usual one of their half."""
    valid = clusters[5:]
    left, right = valid[:, : COLUMNS // 2], valid[:, COLUMNS // 2 :]
    usual = np.bincount(left.ravel()).argmax(), np.bincount(right.ravel()).argmax()
    assert usual[0] != usual[1]
    return ((left == usual[0]).sum() + (right == usual[1]).sum()) / valid.size


@each_clusterer
def test_they_have_the_frozen_parameters_outputs_and_defaults(clusterer, provider):
    algorithm = provider.algorithm(clusterer.id)

    own = {parameter_name(setting.name): setting.default for setting in clusterer.settings}
    assert pinned(algorithm) == {
        **TRAINING, **own, "LIMITS": "Warn", "THREADS": 0, "OUTPUT": None, "OUTPUT_HTML_FILE": None,
    }  # fmt: skip
    assert algorithm.groupId() == "clusterers"
    assert {"EXAMPLES", "PREDICTORS", "CLUSTERS", "TRAINING_BYTES", "MODEL_BYTES"} <= {
        output.name() for output in algorithm.outputDefinitions()
    }


@each_clusterer
def test_every_clusterer_finds_the_two_halves_of_the_image(clusterer, tmp_path):
    settings = {"traincobweb": {"ACUITY": 5, "CUTOFF": 0.02}, "trainlvq": {"LEARNING_RATE": 0.05, "NUM_CLUSTERS": 2}}
    settings |= {"trainkmeans": {"N_CLUSTERS": 2}, "traincascadekmeans": {"MAX_CLUSTERS": 4}}
    model = str(tmp_path / "m.rasterml")
    limited = {"MAX_CLUSTERS": 2} if clusterer.id == "trainxmeans" else {}

    results = run(
        clusterer.id, TRAINING=[table()], INPUT_PROPERTIES=BANDS, OUTPUT=model,
        OUTPUT_HTML_FILE=str(tmp_path / "report.html"), **settings.get(clusterer.id, {}), **limited,
    )  # fmt: skip
    counts = run("cluster", INPUT=[write_image(tmp_path / "i.tif")], MODEL=model, OUTPUT=str(tmp_path / "c.tif"))

    assert results["EXAMPLES"] == 200 and results["PREDICTORS"] == 2 and results["TRAINING_BYTES"] == 200 * 2 * 4
    assert results["CLUSTERS"] >= 2 and results["MODEL_BYTES"] == (tmp_path / "m.rasterml").stat().st_size
    clusters = read(tmp_path / "c.tif")[0]
    assert (clusters[:5] == 255).all() and clusters[5:].max() < results["CLUSTERS"]
    assert halves(clusters) > 0.9
    assert (counts["PIXELS"], counts["PREDICTED"], counts["MASKED"]) == (2400, 2100, 300)
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Clusters" in text and ("data:image/svg+xml" in text or "Tree" in text)


def test_numeric_columns_right_of_system_index_are_the_predictors_and_no_class_is_asked_for(tmp_path):
    feedback = QgsProcessingFeedback()

    clusterer(tmp_path / "m.rasterml", feedback=feedback)

    assert "Predictors: red, nir" in feedback.textLog()


def test_map_has_names_and_a_stable_colour_for_each_cluster(tmp_path):
    clusterer(tmp_path / "m.rasterml")
    image = write_image(tmp_path / "i.tif")
    for name in ("a.tif", "b.tif"):
        run("cluster", INPUT=[image], MODEL=str(tmp_path / "m.rasterml"), OUTPUT=str(tmp_path / name))

    tables = []
    for name in ("a.tif", "b.tif"):
        dataset = gdal.Open(str(tmp_path / name))
        band = dataset.GetRasterBand(1)
        assert band.GetNoDataValue() == 255
        assert band.GetRasterCategoryNames()[:2] == ["cluster 0", "cluster 1"]
        tables.append([band.GetRasterColorTable().GetColorEntry(value) for value in (0, 1)])
        assert band.GetDescription() == "cluster"
    assert tables[0] == tables[1] and tables[0][0] != tables[0][1]
    assert (tmp_path / "a.qml").exists()


def test_mask_extent_and_order_work_as_in_classify(tmp_path):
    clusterer(tmp_path / "m.rasterml")
    mask = write_image(tmp_path / "mask.tif", ("m",), np.tile(np.arange(COLUMNS) % 2, (1, ROWS, 1)))
    image = write_image(tmp_path / "i.tif", ("one", "two"))

    masked = run(
        "cluster", INPUT=[image], MODEL=str(tmp_path / "m.rasterml"), MASK=mask, MATCH_BY_ORDER=True,
        EXTENT="500000,500300,4199600,4199900", OUTPUT=str(tmp_path / "c.tif"),
    )  # fmt: skip

    assert masked["PIXELS"] == 30 * 30 and masked["PREDICTED"] == 30 * 15
    assert "has no band red" in refusal(
        "cluster", INPUT=[image], MODEL=str(tmp_path / "m.rasterml"), OUTPUT=str(tmp_path / "d.tif")
    )


def test_map_of_clusters_can_be_stored_in_other_ways(tmp_path):
    clusterer(tmp_path / "m.rasterml")
    image = write_image(tmp_path / "i.tif")
    for name, options in (
        ("plain", {}),
        ("cog", {"COG": True, "COMPRESSION": "DEFLATE", "COMPRESSION_LEVEL": 9, "NODATA": 9}),
    ):
        run(
            "cluster",
            INPUT=[image],
            MODEL=str(tmp_path / "m.rasterml"),
            OUTPUT=str(tmp_path / f"{name}.tif"),
            **options,
        )

    plain, cog = read(tmp_path / "plain.tif"), read(tmp_path / "cog.tif")
    assert np.array_equal(np.where(plain == 255, 9, plain), cog) and (cog == 9).any()
    dataset = gdal.Open(str(tmp_path / "cog.tif"))
    assert dataset.GetMetadataItem("LAYOUT", "IMAGE_STRUCTURE") == "COG"
    band = dataset.GetRasterBand(1)
    assert band.GetNoDataValue() == 9  # GDAL 3.6 reads the .aux.xml only when asked for this
    assert band.GetCategoryNames()[:2] == ["cluster 0", "cluster 1"]
    assert (tmp_path / "cog.qml").exists()


def test_table_gets_the_number_of_the_cluster_and_no_name(tmp_path):
    clusterer(tmp_path / "m.rasterml")
    layer = table(seed=3, rows=50)

    results = run("clustertable", INPUT=layer, MODEL=str(tmp_path / "m.rasterml"), OUTPUT="TEMPORARY_OUTPUT")

    rows = rows_of(results["OUTPUT"])
    pairs = {(row["landclass"], row["cluster"]) for row in rows}
    assert len(rows) == 50 and "cluster_name" not in rows[0]
    assert {cluster for _, cluster in pairs} == {0, 1}
    named = run(
        "clustertable", INPUT=layer, MODEL=str(tmp_path / "m.rasterml"), OUTPUT_NAME="group", OUTPUT="TEMPORARY_OUTPUT"
    )
    assert [row["group"] for row in rows_of(named["OUTPUT"])] == [row["cluster"] for row in rows]


def test_a_classifier_cannot_cluster_and_a_clusterer_cannot_classify(tmp_path):
    forest, groups = trained(tmp_path / "forest.rasterml"), str(tmp_path / "m.rasterml")
    clusterer(groups)
    image = write_image(tmp_path / "i.tif")

    for algorithm, model, word in (("classify", groups, "use Cluster"), ("cluster", forest, "use Classify")):
        text = refusal(algorithm, INPUT=[image], MODEL=model, OUTPUT=str(tmp_path / "no.tif"))
        assert word in text and not (tmp_path / "no.tif").exists()
    for algorithm, model, word in (("classifytable", groups, "use Cluster"), ("clustertable", forest, "use Classify")):
        assert word in refusal(algorithm, INPUT=table(), MODEL=model, OUTPUT="TEMPORARY_OUTPUT")


def test_tables_accumulate_and_a_share_of_them_can_be_drawn(tmp_path):
    both = clusterer(tmp_path / "m.rasterml", TRAINING=[table(), table(seed=2)])
    some = clusterer(tmp_path / "s.rasterml", SUBSAMPLING=0.5, SUBSAMPLING_SEED=3)

    assert both["EXAMPLES"] == 400
    assert 70 < some["EXAMPLES"] < 130


def test_training_over_the_cap_is_refused_when_limits_are_enforced(tmp_path, monkeypatch):
    from rasterml.engine import limits

    monkeypatch.setattr(limits, "TRAINING_VALUES_CAP", 300)
    monkeypatch.setattr(limits, "TRAINING_BYTES_CAP", 1200)

    text = refusal(
        "trainkmeans", TRAINING=[table()], N_CLUSTERS=2, LIMITS="Enforce", OUTPUT=str(tmp_path / "m.rasterml")
    )

    assert "cap" in text and not (tmp_path / "m.rasterml").exists()


def test_empty_field_is_named_with_its_feature(tmp_path):
    layer = table(rows=20)
    layer.dataProvider().changeAttributeValues({7: {layer.fields().lookupField("nir"): None}})

    text = refusal("trainkmeans", TRAINING=[layer], N_CLUSTERS=2, OUTPUT=str(tmp_path / "m.rasterml"))

    assert "'nir' of feature '7'" in text


def test_explain_tells_of_the_clusters(tmp_path):
    import json

    clusterer(tmp_path / "m.rasterml")
    run(
        "explain", MODEL=str(tmp_path / "m.rasterml"), OUTPUT=str(tmp_path / "e.json"),
        OUTPUT_HTML_FILE=str(tmp_path / "e.html"),
    )  # fmt: skip

    explanation = json.loads((tmp_path / "e.json").read_text(encoding="utf-8"))
    assert explanation["clusterer"] == "ee.Clusterer.wekaKMeans" and explanation["clusters"] == 2
    assert sum(explanation["clusterSizes"]) == 200 and len(explanation["centres"]) == 2
    assert "data:image/svg+xml" in (tmp_path / "e.html").read_text(encoding="utf-8")
