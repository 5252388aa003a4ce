"""Cancel in the desktop: an algorithm in a background task ends at once and leaves nothing."""

from __future__ import annotations

import time

import numpy as np
from osgeo import gdal
from qgis.core import (
    QgsApplication,
    QgsFeature,
    QgsProcessingAlgRunnerTask,
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsTask,
    QgsVectorLayer,
)
from qgis.PyQt.QtCore import QCoreApplication
from small_world import trained, write_image

SECONDS = 30


def cancel_after(algorithm: str, parameters: dict, provider, started, wait: float = 0.5) -> float:
    """Run in a task, cancel it *wait* seconds after *started*() holds; return the seconds until it has ended."""
    context, feedback = QgsProcessingContext(), QgsProcessingFeedback()
    task = QgsProcessingAlgRunnerTask(provider.algorithm(algorithm), parameters, context, feedback)
    ended = []
    task.executed.connect(lambda successful, results: ended.append(successful))
    QgsApplication.taskManager().addTask(task)
    end = time.monotonic() + SECONDS
    while not started(feedback) and time.monotonic() < end:
        QCoreApplication.processEvents()
        time.sleep(0.01)
    time.sleep(wait)
    assert not ended, "the run was over before it could be cancelled"
    task.cancel()
    start = time.monotonic()
    while task.status() == QgsTask.TaskStatus.Running and time.monotonic() < start + SECONDS:
        QCoreApplication.processEvents()
        time.sleep(0.01)
    seconds = time.monotonic() - start
    assert task.status() == QgsTask.TaskStatus.Terminated
    QCoreApplication.processEvents()
    assert ended in ([], [False])
    return seconds


def left_of(name: str, folder) -> list[str]:
    """Return the files of an output and its temporaries; QGIS itself puts statistics beside the inputs."""
    return sorted(path.name for path in folder.iterdir() if path.name.lstrip(".").startswith(name))


def test_classify_ends_within_a_second_and_leaves_nothing(provider, tmp_path):
    model = trained(tmp_path / "model.rasterml", NUMBER_OF_TREES=100)
    image = write_image(tmp_path / "small.tif")
    large = gdal.Translate(str(tmp_path / "large.vrt"), image, width=20_000, height=20_000)
    large.FlushCache()
    del large
    output = tmp_path / "map.tif"
    parameters = {"INPUT": [str(tmp_path / "large.vrt")], "MODEL": model, "OUTPUT": str(output)}

    seconds = cancel_after("classify", parameters, provider, lambda feedback: feedback.progress() > 0)

    print(f"ended {seconds:.2f} s after the cancel")
    assert seconds < 3  # 0.1 s on a quiet machine; a busy one must not fail
    assert left_of("map", tmp_path) == []


def test_long_fit_is_left_behind_within_a_second(provider, tmp_path):
    rows, bands = 60_000, 10
    fields = "&".join(f"field=b{band}:double" for band in range(bands))
    layer = QgsVectorLayer(f"None?field=landclass:integer&field=system_index:string&{fields}", "noise", "memory")
    values = np.random.default_rng(0).normal(size=(rows, bands))
    features = []
    for number, row in enumerate(values.tolist()):
        feature = QgsFeature(layer.fields())
        feature.setAttributes([number % 7, str(number), *row])
        features.append(feature)
    layer.dataProvider().addFeatures(features)
    parameters = {
        "TRAINING": [layer], "CLASS_PROPERTY": "landclass", "OUTPUT": str(tmp_path / "m.rasterml"),
        "VARIABLES_PER_SPLIT": bands, "BAG_FRACTION": 1,
    }  # fmt: skip

    seconds = cancel_after("trainrandomforest", parameters, provider, lambda feedback: feedback.progress() >= 20, 1)

    print(f"ended {seconds:.2f} s after the cancel")
    assert seconds < 3  # one tree alone takes longer
    assert list(tmp_path.iterdir()) == []


def test_full_disk_is_one_sentence_and_leaves_nothing(provider, tmp_path, limited_file_size):
    from small_world import refusal

    model = trained(tmp_path / "model.rasterml")
    image = write_image(tmp_path / "small.tif")
    large = gdal.Translate(str(tmp_path / "large.vrt"), image, width=900, height=900)
    large.FlushCache()
    del large

    with limited_file_size(10_000):
        said = refusal(
            "classify", INPUT=[str(tmp_path / "large.vrt")], MODEL=model, OUTPUT_MODE="PROBABILITY",
            OUTPUT=str(tmp_path / "map.tif"), TILE_SIZE=64,
        )  # fmt: skip

    assert "map.tif cannot be written" in said
    assert left_of("map", tmp_path) == []
