"""Parameters that say how a map is stored: overviews, compression, no data, probabilities as whole numbers."""

from __future__ import annotations

from qgis.core import QgsProcessingAlgorithm, QgsProcessingParameterBoolean

from ..engine.geotiff import COMPRESSIONS, Storage
from ..engine.map_values import PROBABILITIES, PROBABILITY_TYPES
from ..engine.progress import Progress
from ..engine.settings import Number
from .parameters import choice, destination, number, set_advanced

OVERVIEWS, COG, COMPRESSION, LEVEL = "OVERVIEWS", "COG", "COMPRESSION", "COMPRESSION_LEVEL"
PROBABILITY_TYPE, NODATA = "PROBABILITY_TYPE", "NODATA"


def add_probability_type(algorithm: QgsProcessingAlgorithm) -> None:
    label = algorithm.tr("Numbers of probabilities (UInt8 = percent, UInt16 = ten-thousandths)")
    algorithm.addParameter(set_advanced(choice(PROBABILITY_TYPE, label, list(PROBABILITY_TYPES), "Float32")))


def read_probability_type(
    algorithm: QgsProcessingAlgorithm, parameters: dict, context, mode: str, progress: Progress
) -> str:
    """Return the type; warn where *mode* has no probabilities to which it applies."""
    kind = algorithm.parameterAsEnumString(parameters, PROBABILITY_TYPE, context)
    if kind != "Float32" and mode not in PROBABILITIES:
        progress.warn(
            f"PROBABILITY_TYPE {kind} changes nothing here: it is for the output modes {' and '.join(PROBABILITIES)}, "
            f"and this map is {mode}."
        )
    return kind


def add_nodata(algorithm: QgsProcessingAlgorithm) -> None:
    label = algorithm.tr("Number for no data (empty = the largest, or the smallest, of whole numbers; NaN of others)")
    algorithm.addParameter(set_advanced(number(Number("nodata", "", None), label)))


def read_nodata(algorithm: QgsProcessingAlgorithm, parameters: dict, context) -> float | None:
    return None if parameters.get(NODATA) is None else algorithm.parameterAsDouble(parameters, NODATA, context)


def add_storage(algorithm: QgsProcessingAlgorithm) -> None:
    for name, label in (
        (OVERVIEWS, "Overviews: smaller copies inside the GeoTIFF, for quick drawing"),
        (COG, "Cloud-optimized GeoTIFF, with overviews"),
    ):
        algorithm.addParameter(
            set_advanced(QgsProcessingParameterBoolean(name, algorithm.tr(label), defaultValue=False))
        )
    label = algorithm.tr("Compression of the GeoTIFF")
    algorithm.addParameter(set_advanced(choice(COMPRESSION, label, list(COMPRESSIONS), COMPRESSIONS[0])))
    row = Number("compression_level", "", None, minimum=1, maximum=22, integer=True)
    label = algorithm.tr("Level of compression (DEFLATE 1 to 9, ZSTD 1 to 22; empty = GDAL's)")
    algorithm.addParameter(set_advanced(number(row, label)))


def read_storage(algorithm: QgsProcessingAlgorithm, parameters: dict, context) -> Storage:
    compression = algorithm.parameterAsEnumString(parameters, COMPRESSION, context)
    return Storage(
        algorithm.parameterAsBoolean(parameters, OVERVIEWS, context),
        algorithm.parameterAsBoolean(parameters, COG, context),
        compression or COMPRESSIONS[0],
        None if parameters.get(LEVEL) is None else algorithm.parameterAsInt(parameters, LEVEL, context),
    )


def check_storage(algorithm: QgsProcessingAlgorithm, parameters: dict, name: str, context) -> None:
    """Raise `SettingError` where the raster *name* cannot be stored so, before the work starts."""
    read_storage(algorithm, parameters, context).check(destination(parameters, name, context) or "map.tif")
