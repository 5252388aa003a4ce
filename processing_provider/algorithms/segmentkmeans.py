"""The algorithm ``segmentkmeans``: k-means over the pixels of an image, and what ``segmentgmeans`` shares with it."""

from __future__ import annotations

from typing import Any

from qgis.core import (
    QgsProcessingAlgorithm,
    QgsProcessingOutputNumber,
    QgsProcessingParameterBoolean,
    QgsProcessingParameterRasterDestination,
)

from ...engine.progress import Progress
from ...engine.settings import Number
from .. import settings
from ..base import RasterMlAlgorithm
from ..blocks import add_image, prepare_image, raster_paths, read_image
from ..parameters import number, set_advanced
from ..running import MEMORY_LIMIT, TILE_SIZE, add_threads, read_threads
from ..windows import check_raster_output, raster_extensions

OUTPUT, SEGMENTS = "OUTPUT", "SEGMENTS"
ITERATIONS, NEIGHBORHOOD, GRID = "NUM_ITERATIONS", "NEIGHBORHOOD_SIZE", "GRID_SIZE"
UNIQUE_LABELS = "UNIQUE_LABELS"
PLACES_HELP = (
    "<p>By default the whole image is one piece, so that there are no seams; it may be larger than memory, and "
    "threads, tiles and memory change no pixel. Earth Engine works tile by tile: with a <i>neighborhood size</i> above "
    "0 every tile of <i>Side of a tile</i> pixels is worked on by itself and looks that many pixels beyond its edges; "
    "with a <i>grid size</i> cells of that many pixels are worked on by themselves. The two exclude each other. Labels "
    "of different tiles or cells have nothing to do with each other; they are unique over the image or, on request, "
    "count from 0 in each.</p>"
    "<p>Band values are taken as they are: scale bands of other units before. A pixel that is masked in any band has "
    "no label. The labels are Int32, and a map of one piece has a style with a colour for each.</p>"
)


def add_run(algorithm: QgsProcessingAlgorithm, tiles: bool = True) -> None:
    """Add threads, tile size (when the run has tiles) and memory."""
    add_threads(algorithm)
    if tiles:
        row = Number("tile_size", "", settings.TILE_SIZE.value(), minimum=16, maximum=16_384, integer=True)
        algorithm.addParameter(set_advanced(number(row, algorithm.tr("Side of a tile in pixels"))))
    row = Number("memory_limit", "", settings.MEMORY_LIMIT.value(), minimum=512, integer=True)
    algorithm.addParameter(set_advanced(number(row, algorithm.tr("Memory for the whole run in MB"))))


def read_run(algorithm: QgsProcessingAlgorithm, parameters: dict, context, tiles: bool = True) -> dict[str, int]:
    """Return what `add_run` asks for by the engine's keywords."""
    run = {
        "threads": read_threads(algorithm, parameters, context),
        "memory_limit": algorithm.parameterAsInt(parameters, MEMORY_LIMIT, context),
    }
    return {**run, "tile_size": algorithm.parameterAsInt(parameters, TILE_SIZE, context)} if tiles else run


class ClusterPixels(RasterMlAlgorithm):
    """Cluster the pixels of an image, as a whole or piece by piece; a subclass says how."""

    GROUP = "segmentation"

    def initAlgorithm(self, configuration=None) -> None:
        add_image(self)
        self.add_own()
        row = Number("neighborhood_size", "", 0, minimum=0, maximum=16_384, integer=True)
        label = self.tr("Pixels that each tile looks beyond its edges (0 = the whole image at once)")
        self.addParameter(number(row, label))
        row = Number("grid_size", "", None, minimum=1, integer=True)
        self.addParameter(number(row, self.tr("Side of cells that are worked on by themselves (empty = none)")))
        label = self.tr("Labels unique over the image")
        self.addParameter(QgsProcessingParameterBoolean(UNIQUE_LABELS, label, defaultValue=True))
        add_run(self)
        self.addParameter(QgsProcessingParameterRasterDestination(OUTPUT, self.tr("Clusters")))
        self.addOutput(QgsProcessingOutputNumber(SEGMENTS, self.tr("Number of labels")))

    def add_own(self) -> None:
        """Add the parameters that only this algorithm has."""

    def segment(self, image, output: str, parameters: dict, context, common: dict[str, Any]) -> int:
        """Write the labels, return their number; *common* are the keywords that all have."""
        raise TypeError(f"{type(self).__name__} does not say how to segment")

    def check(self, parameters: dict, context) -> None:
        from ...engine.segment_areas import areas

        raster_paths(self, parameters, context)
        areas(1, 1, 1, *self._places(parameters, context).values())
        check_raster_output(parameters, OUTPUT, context)

    def prepare(self, parameters: dict, context, progress: Progress) -> None:
        prepare_image(self, parameters, context)

    def compute(self, parameters: dict, context, progress: Progress) -> dict[str, Any]:
        image = read_image(self, parameters, context, progress)
        output = self.parameterAsOutputLayer(parameters, OUTPUT, context)
        common = {
            "num_iterations": self.parameterAsInt(parameters, ITERATIONS, context),
            **self._places(parameters, context),
            "unique_labels": self.parameterAsBoolean(parameters, UNIQUE_LABELS, context),
            **read_run(self, parameters, context),
            "progress": progress,
        }
        found = self.segment(image, output, parameters, context, common)
        image.close()
        return {OUTPUT: output, SEGMENTS: found}

    def supportedOutputRasterLayerExtensions(self) -> list[str]:
        return raster_extensions()

    def _places(self, parameters: dict, context) -> dict[str, Any]:
        cells = None if parameters.get(GRID) is None else self.parameterAsInt(parameters, GRID, context)
        return {"neighborhood_size": self.parameterAsInt(parameters, NEIGHBORHOOD, context), "grid_size": cells}


class SegmentKMeans(ClusterPixels):
    """Find the centres in passes over the image, then label its pixels."""

    NAME, TITLE, TWIN = "segmentkmeans", "K-means segmentation", "ee.Algorithms.Image.Segmentation.KMeans"
    HELP = (
        "<p>Gives every pixel the number of the k-means cluster that it belongs to by its band values; pixels of a "
        "cluster need not touch. The number of clusters is given, or less where there are fewer different pixels.</p>"
        "<p>The start is the same every time: a part of the pixels (up to 131,072 of each piece) is cut again and "
        "again at the mean of its most variable band (Su and Dy 2007). Then centres move to the means of their pixels "
        "until none changes its cluster, but not more often than <i>Most iterations</i>; with <i>Force convergence</i> "
        "it is an error if that does not suffice.</p>" + PLACES_HELP
    )
    CLUSTERS, FORCE = "NUM_CLUSTERS", "FORCE_CONVERGENCE"

    def add_own(self) -> None:
        row = Number("num_clusters", "", 8, minimum=1, maximum=65_536, integer=True)
        self.addParameter(number(row, self.tr("Number of clusters")))
        row = Number("num_iterations", "", 20, minimum=1, integer=True)
        self.addParameter(number(row, self.tr("Most iterations")))
        label = self.tr("Force convergence: clusters that still change are an error")
        self.addParameter(set_advanced(QgsProcessingParameterBoolean(self.FORCE, label, defaultValue=False)))

    def segment(self, image, output: str, parameters: dict, context, common: dict[str, Any]) -> int:
        from ...engine.segment_kmeans import segment_kmeans

        return segment_kmeans(
            image,
            output,
            num_clusters=self.parameterAsInt(parameters, self.CLUSTERS, context),
            force_convergence=self.parameterAsBoolean(parameters, self.FORCE, context),
            **common,
        )
