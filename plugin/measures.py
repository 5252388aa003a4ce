"""From a choice to the three gauges, and to the one thing to do next."""

from __future__ import annotations

import functools
from typing import NamedTuple

from qgis.PyQt.QtCore import QCoreApplication

from ..engine.errors import ModelFileError
from ..engine.limits import OVER, Gauge, bands_gauge, model_gauge, training_gauge
from ..engine.models import model_settings
from ..processing_provider.tables import default_predictors
from .choice import Choice, band_count, is_sampled, model_size


class Measure(NamedTuple):
    """A gauge and its details for a tool tip; without a gauge the text says what would fill it."""

    gauge: Gauge | None
    text: str


def training_measure(choice: Choice) -> Measure:
    """Return the fullest of the training tables, since each has the whole cap."""
    if not choice.tables:
        return Measure(None, _tr("Tick the table of samples to train on."))
    predictors = len(default_predictors(choice.tables[0].fields(), choice.class_field))  # all tables must have them
    gauges, unknown = [], []
    for table in choice.tables:
        rows = table.featureCount()
        if rows < 0:  # some data sources do not know
            unknown.append(table.name())
        else:
            gauges.append(training_gauge(rows, predictors, table.name() if len(choice.tables) > 1 else ""))
    if not gauges:
        return Measure(None, _tr("The data source does not tell the number of rows of {}.").format(", ".join(unknown)))
    fullest = max(gauges, key=lambda gauge: gauge.share)
    if not fullest.value:
        return Measure(None, _why_empty(choice))
    lines = [f"{gauge.title}: {gauge.figures}" for gauge in gauges]
    lines += [_tr("{}: number of rows unknown").format(name) for name in unknown]
    return Measure(fullest, "\n".join(lines))


def bands_measure(choice: Choice) -> Measure:
    if not choice.images:
        return Measure(None, _tr("Tick the image layers to classify."))
    counts = [band_count(image) for image in choice.images]
    lines = [_tr("{}: {} bands").format(image.name(), bands) for image, bands in zip(choice.images, counts)]
    return Measure(bands_gauge(sum(counts)), "\n".join(lines))


def model_measure(choice: Choice) -> Measure:
    if not choice.model:
        return Measure(None, _tr("Choose a model file, or train one."))
    size = model_size(choice.model)
    if size is None:
        return Measure(None, _tr("There is no file {}.").format(choice.model))
    gauge = model_gauge(size)
    if gauge.state == OVER:
        gauge = model_gauge(size, *_settings_of(choice.model, size))
    return Measure(gauge, choice.model)


def next_step(choice: Choice, empty_project: bool) -> str:
    """Return the one thing to do next."""
    if choice.model and choice.images:
        return _tr("Next: Classify, or Explain what the model has learnt.")
    if empty_project:
        return _tr("Start: add an image and training areas to the project. They will be listed here.")
    if not choice.images and not choice.tables:
        return _tr("Tick an image, and the areas or samples to train on.")
    if not choice.tables:
        return _tr("Tick the areas or samples to train on, or choose a model file.")
    if not choice.class_field:
        return _tr("Choose the field that holds the class.")
    if choice.images and not all(is_sampled(table) for table in choice.tables):
        return _tr("Next: Sample regions, to read the image under the training areas.")
    if not choice.model:
        return _tr("Next: Train random forest.")
    return _tr("Tick the image to classify.")


@functools.lru_cache(maxsize=8)
def _settings_of(path: str, size: int) -> tuple[dict, float | None]:
    """Return what advice on a model file needs, settings and leaves per tree; nothing of a file that is no model."""
    try:
        return model_settings(path)
    except ModelFileError:
        return {}, None


def _why_empty(choice: Choice) -> str:
    table = choice.tables[0]
    if not table.featureCount():
        return _tr("{} has no rows.").format(table.name())
    return _tr("{} has no predictor columns yet: Sample regions reads the image there.").format(table.name())


def _tr(text: str) -> str:
    return QCoreApplication.translate("RasterML", text)
