"""Parameters that say where a map is made: mask, extent, and the file it goes to."""

from __future__ import annotations

from qgis.core import QgsCoordinateReferenceSystem, QgsProcessingAlgorithm

from ..engine.errors import RasterError
from ..engine.images import Image
from ..engine.outputs import EXTENSIONS, check_output
from ..engine.tiles import Window
from .blocks import raster_paths
from .parameters import destination


def raster_extensions() -> list[str]:
    """Return the extensions of rasters that RasterML writes, the usual one first."""
    return list(EXTENSIONS)


def check_raster_output(parameters: dict, name: str, context) -> None:
    """Raise a `StorageError` for a folder or format that cannot be written, before the work starts."""
    path = destination(parameters, name, context)
    if path:
        check_output(path)


def mask_path(algorithm: QgsProcessingAlgorithm, parameters: dict, name: str, context) -> str:
    """Return the path of the mask, "" when there is none; call it in the main thread."""
    return raster_paths(algorithm, parameters, context, name)[0] if parameters.get(name) else ""


def read_mask(path: str, image: Image) -> Image | None:
    """Return the first band of the mask at *path* on the grid of *image*, or None without a path."""
    if not path:
        return None
    mask = Image([path], grid=image.grid)
    return mask.select(mask.band_names[:1])


def read_window(algorithm: QgsProcessingAlgorithm, parameters: dict, name: str, context, image: Image) -> Window | None:
    """Return the pixels of *image* that the extent touches, or None when no extent is given."""
    if not parameters.get(name):
        return None
    crs = QgsCoordinateReferenceSystem.fromWkt(image.grid.crs_wkt)
    extent = algorithm.parameterAsExtent(parameters, name, context, crs)
    window = image.grid.window_for((extent.xMinimum(), extent.yMinimum(), extent.xMaximum(), extent.yMaximum()))
    if window is None:
        raise RasterError(f"{name} ({extent.toString(2)}) lies outside the image: check its coordinates and CRS.")
    return window
