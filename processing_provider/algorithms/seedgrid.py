"""The algorithm ``seedgrid``: seeds for a segmentation, on a grid of squares or hexagons."""

from __future__ import annotations

from typing import Any

from qgis.core import QgsProcessingOutputNumber, QgsProcessingParameterRasterDestination

from ...engine.progress import Progress
from ...engine.settings import Number
from ..base import RasterMlAlgorithm
from ..blocks import add_image, prepare_image, raster_paths, read_image
from ..parameters import choice, number
from ..windows import check_raster_output, raster_extensions
from .segmentkmeans import OUTPUT, SEGMENTS, add_run, read_run


class SeedGrid(RasterMlAlgorithm):
    """Mark every so many pixels."""

    NAME, TITLE, GROUP = "seedgrid", "Seed grid", "segmentation"
    TWIN = "ee.Algorithms.Image.Segmentation.seedGrid"
    HELP = (
        "<p>Gives the pixels from which a segmentation starts: the band <i>seeds</i> is 1 at seeds and 0 elsewhere, as "
        "SNIC takes it. A pixel that is masked in any band is no seed, and masked here.</p>"
        "<p>Seeds of the grid type <i>square</i> are the middles of squares counted from the first pixel; those of "
        "<i>hex</i> stand in lines 0.87 times the size apart, every other line half a size aside.</p>"
    )
    SIZE, GRID_TYPE = "SIZE", "GRID_TYPE"

    def initAlgorithm(self, configuration=None) -> None:
        add_image(self)
        row = Number("size", "", 5, minimum=1, integer=True)
        self.addParameter(number(row, self.tr("Distance of seeds in pixels")))
        self.addParameter(choice(self.GRID_TYPE, self.tr("Grid type"), ["square", "hex"], "square"))
        add_run(self)
        self.addParameter(QgsProcessingParameterRasterDestination(OUTPUT, self.tr("Seeds")))
        self.addOutput(QgsProcessingOutputNumber(SEGMENTS, self.tr("Number of seeds")))

    def check(self, parameters: dict, context) -> None:
        raster_paths(self, parameters, context)
        check_raster_output(parameters, OUTPUT, context)

    def prepare(self, parameters: dict, context, progress: Progress) -> None:
        prepare_image(self, parameters, context)

    def compute(self, parameters: dict, context, progress: Progress) -> dict[str, Any]:
        from ...engine.seed_grid import write_seeds

        image = read_image(self, parameters, context, progress)
        output = self.parameterAsOutputLayer(parameters, OUTPUT, context)
        size = self.parameterAsInt(parameters, self.SIZE, context)
        kind = self.parameterAsEnumString(parameters, self.GRID_TYPE, context)
        run = read_run(self, parameters, context)
        found = write_seeds(image, output, size, kind, **run, progress=progress)
        image.close()
        if not found:
            progress.warn("There is no seed: every pixel where one would be is masked.")
        return {OUTPUT: output, SEGMENTS: found}

    def supportedOutputRasterLayerExtensions(self) -> list[str]:
        return raster_extensions()
