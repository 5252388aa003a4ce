"""What the user has chosen in the panel, and what the Processing dialogs are filled with."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from qgis.core import Qgis, QgsFields, QgsRasterLayer, QgsVectorLayer

from ..processing_provider.tables import SYSTEM_INDEX


class Choice(NamedTuple):
    """Layers in the order of the panel, the class field and the model file ("" = not chosen)."""

    images: tuple[QgsRasterLayer, ...] = ()
    tables: tuple[QgsVectorLayer, ...] = ()
    class_field: str = ""
    model: str = ""


def parameters(algorithm: str, choice: Choice) -> dict[str, Any]:
    """Return the parameters of *algorithm* (its id without the provider) that *choice* settles.

    Layers are named by their ids, which stay when a layer is renamed.
    """
    images = [layer.id() for layer in choice.images]
    tables = [layer.id() for layer in choice.tables]
    regions = training_regions(choice.tables)
    filled = {
        "sampleregions": {
            "INPUT": images,
            "COLLECTION": regions.id() if regions else None,
            "PROPERTIES": [choice.class_field] if choice.class_field else None,
        },
        "trainrandomforest": {"TRAINING": tables, "CLASS_PROPERTY": choice.class_field},
        "classify": {"INPUT": images, "MODEL": choice.model},
        "explain": {"MODEL": choice.model},
        "checklimits": {
            "INPUT": images,
            "TRAINING": tables,
            "CLASS_PROPERTY": choice.class_field,
            "MODEL": choice.model,
        },
    }[algorithm]
    return {name: value for name, value in filled.items() if value}


def training_regions(tables: tuple[QgsVectorLayer, ...]) -> QgsVectorLayer | None:
    """Return the first of *tables* that has places to sample, rather not one that was sampled already."""
    spatial = [layer for layer in tables if layer.isSpatial()]
    return next((layer for layer in spatial if not is_sampled(layer)), spatial[0] if spatial else None)


def is_sampled(table: QgsVectorLayer) -> bool:
    """Tell whether a sampling algorithm made *table*."""
    return any(table.fields().lookupField(name) >= 0 for name in SYSTEM_INDEX)


def common_fields(tables: tuple[QgsVectorLayer, ...]) -> QgsFields:
    """Return the fields of the first table that every table has."""
    fields = QgsFields()
    for field in tables[0].fields() if tables else ():
        if all(table.fields().indexFromName(field.name()) >= 0 for table in tables):
            fields.append(field)
    return fields


def band_count(image: QgsRasterLayer) -> int:
    """Return the number of bands that can be predictors: an alpha band is a mask."""
    provider = image.dataProvider()
    if provider is None:
        return 0
    bands = range(1, image.bandCount() + 1)
    return sum(provider.colorInterpretation(band) != Qgis.RasterColorInterpretation.AlphaBand for band in bands)


def model_size(path: str) -> int | None:
    """Return the bytes of the model file at *path*, or None when there is no such file."""
    try:
        return Path(path).stat().st_size
    except (OSError, ValueError):
        return None
