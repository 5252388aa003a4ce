"""The algorithm ``snic``: segments of pixels that are alike and lie together."""

from __future__ import annotations

from typing import Any

from qgis.core import (
    QgsProcessingOutputNumber,
    QgsProcessingParameterRasterDestination,
    QgsProcessingParameterRasterLayer,
)

from ...engine.progress import Progress
from ...engine.settings import Number
from .. import settings
from ..base import RasterMlAlgorithm
from ..blocks import add_image, prepare_image, raster_paths, read_image
from ..parameters import choice, number, set_advanced
from ..running import MEMORY_LIMIT, TILE_SIZE
from ..windows import check_raster_output, mask_path, raster_extensions, read_mask


class Snic(RasterMlAlgorithm):
    """Read, grow and write; the whole image at once unless tiles are asked for."""

    NAME, TITLE, GROUP, TWIN = "snic", "SNIC segmentation", "segmentation", "ee.Algorithms.Image.Segmentation.SNIC"
    HELP = (
        "<p>Cuts the image into segments (superpixels) of neighbouring pixels with similar values, by Simple "
        "Non-Iterative Clustering. From seeds <i>SIZE</i> pixels apart, segments grow pixel by pixel; a larger "
        "<i>COMPACTNESS</i> makes them squarer, and 0 lets only the values count.</p>"
        "<p>Bands of the output: <i>clusters</i> (numbers from 1), the mean of each band over the segment, and without "
        "given seeds <i>seeds</i> (1 where a segment began, else 0). They are Float32, in which segments up to number "
        "16,777,216 are exact; with more segments, or a band of type Float64, Int32 or UInt32, they are Float64. "
        "<i>Segment numbers alone</i> writes them as Int32, 0 = no data, ready to polygonise.</p>"
        "<p>All bands count as they are: bring them to one scale, or the widest decides. Pixels masked in any band "
        "belong to no segment, and segments grow around them. Where masks cut parts off, each part has a seed of its "
        "own in every cell of SIZE pixels that it reaches into.</p>"
        "<p><i>Seeds</i>: non-zero pixels of its first band are the seeds, and touching ones (by CONNECTIVITY) one "
        "seed; SIZE then only scales the distance. Seeds on masked pixels are left out. A part of the image that holds "
        "none of them is cut into segments from seeds of the usual grid.</p>"
        "<p>Unlike in Earth Engine the whole image is segmented at once, without seams; it must fit into memory, with "
        "some 50 bytes a pixel for three bands. With <i>TILE_SIZE</i> it is segmented in tiles that see "
        "NEIGHBORHOOD_SIZE pixels around them, as in Earth Engine; numbers are unique over all tiles, and segments end "
        "at their edges.</p>"
    )
    SIZE, COMPACTNESS, CONNECTIVITY = "SIZE", "COMPACTNESS", "CONNECTIVITY"
    NEIGHBORHOOD_SIZE, SEEDS, OUTPUT, CLUSTERS = "NEIGHBORHOOD_SIZE", "SEEDS", "OUTPUT", "CLUSTERS"

    def initAlgorithm(self, configuration=None) -> None:
        add_image(self)
        size = Number("size", "", 5, minimum=1, integer=True)
        self.addParameter(number(size, self.tr("Distance of seeds in pixels")))
        compactness = Number("compactness", "", 1.0, minimum=0)
        self.addParameter(number(compactness, self.tr("Compactness (0 = only values count)")))
        self.addParameter(choice(self.CONNECTIVITY, self.tr("Connectivity"), ["8", "4"], "8"))
        seeds = QgsProcessingParameterRasterLayer(self.SEEDS, self.tr("Seeds (not 0)"), optional=True)
        self.addParameter(seeds)
        tile = Number("tile_size", "", None, minimum=16, maximum=16_384, integer=True)
        self.addParameter(set_advanced(number(tile, self.tr("Side of a tile in pixels (empty = no tiles)"))))
        overlap = Number("neighborhood_size", "", None, minimum=0, integer=True)
        self.addParameter(set_advanced(number(overlap, self.tr("Overlap of tiles in pixels (empty = 2 · size)"))))
        memory = Number("memory_limit", "", settings.MEMORY_LIMIT.value(), minimum=512, integer=True)
        self.addParameter(set_advanced(number(memory, self.tr("Memory for the whole run in MB"))))
        self.addParameter(QgsProcessingParameterRasterDestination(self.OUTPUT, self.tr("Segments and band means")))
        alone = self.tr("Segment numbers alone")
        self.addParameter(
            QgsProcessingParameterRasterDestination(self.CLUSTERS, alone, optional=True, createByDefault=False)
        )
        self.addOutput(QgsProcessingOutputNumber("SEGMENTS", self.tr("Number of segments")))

    def check(self, parameters: dict, context) -> None:
        raster_paths(self, parameters, context)
        if parameters.get(self.SEEDS):
            raster_paths(self, parameters, context, self.SEEDS)
        for name in (self.OUTPUT, self.CLUSTERS):
            check_raster_output(parameters, name, context)

    def prepare(self, parameters: dict, context, progress: Progress) -> None:
        prepare_image(self, parameters, context)
        self.seeds_path = mask_path(self, parameters, self.SEEDS, context)

    def compute(self, parameters: dict, context, progress: Progress) -> dict[str, Any]:
        from ...engine.snic import Settings, segment_image

        image = read_image(self, parameters, context, progress)
        output = self.parameterAsOutputLayer(parameters, self.OUTPUT, context)
        given = parameters.get(self.CLUSTERS)
        clusters = self.parameterAsOutputLayer(parameters, self.CLUSTERS, context) if given else ""
        found = segment_image(
            image,
            output,
            Settings(
                self.parameterAsInt(parameters, self.SIZE, context),
                self.parameterAsDouble(parameters, self.COMPACTNESS, context),
                int(self.parameterAsEnumString(parameters, self.CONNECTIVITY, context)),
                self._optional(parameters, self.NEIGHBORHOOD_SIZE, context),
            ),
            seeds=read_mask(self.seeds_path, image),
            tile_size=self._optional(parameters, TILE_SIZE, context),
            memory_limit=self.parameterAsInt(parameters, MEMORY_LIMIT, context),
            clusters=clusters,
            progress=progress,
        )
        image.close()
        if not found.segments:
            progress.warn("Every pixel is masked: there is no segment. Do the bands overlap?")
        results = {self.OUTPUT: output, "SEGMENTS": found.segments}
        return {**results, self.CLUSTERS: clusters} if clusters else results

    def _optional(self, parameters: dict, name: str, context) -> int | None:
        return None if parameters.get(name) is None else self.parameterAsInt(parameters, name, context)

    def supportedOutputRasterLayerExtensions(self) -> list[str]:
        return raster_extensions()
