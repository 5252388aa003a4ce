"""The algorithm ``sample``: pixels of an image, each with the same chance."""

from __future__ import annotations

from typing import Any

from qgis.core import QgsProcessingOutputNumber

from ...engine import sidecar
from ...engine.progress import Part, Progress
from ...engine.settings import Number
from ..base import RasterMlAlgorithm
from ..blocks import add_image, prepare_image, raster_paths, read_grid, read_image
from ..parameters import number
from ..pixel_tables import OUTPUT, add_drawing, optional_number, read_drawing, write_pixels
from ..regions import add_region, check_region, read_region
from ..sinks import check_table


class Sample(RasterMlAlgorithm):
    """Draw pixels, write a row for each."""

    NAME, TITLE, GROUP, TWIN = "sample", "Sample", "sampling", "ee.Image.sample"
    HELP = (
        "<p>Gives a row for pixels of the image, or of the polygons of a region: the value of each band. All pixels, a "
        "share of them (<i>FACTOR</i>, the chance of each pixel), or about a number of them (<i>NUM_PIXELS</i>).</p>"
        "<p>As in Earth Engine, NUM_PIXELS becomes a share of the region's rectangle first and masked pixels are left "
        "out after that and not replaced, so that fewer come than asked for; to get an exact number use Stratified "
        "sample. The same seed gives the same pixels for any number of threads, another seed an independent sample. "
        "With a <i>least distance</i>, pixels are left out until no two are nearer.</p>"
        "<p>Columns: <i>system_index</i> (running from 0 in raster order), then the bands. Unlike in Earth Engine, "
        "points at the pixel centres are written by default, because spatial validation needs places.</p>"
    )
    FACTOR, NUM_PIXELS = "FACTOR", "NUM_PIXELS"

    def initAlgorithm(self, configuration=None) -> None:
        add_image(self)
        add_region(self)
        share = Number("factor", "", None, minimum=0, maximum=1)
        self.addParameter(number(share, self.tr("Share of the pixels (empty = all)")))
        pixels = Number("num_pixels", "", None, minimum=1, integer=True)
        self.addParameter(number(pixels, self.tr("Approximate number of pixels (instead of a share)")))
        add_drawing(self)
        self.addOutput(QgsProcessingOutputNumber("COUNT", self.tr("Number of rows")))
        self.addOutput(QgsProcessingOutputNumber("DROPPED", self.tr("Number of masked pixels left out")))

    def check(self, parameters: dict, context) -> None:
        from ...engine.pixel_sampling import check_share
        from ...engine.thinning import check_distance

        raster_paths(self, parameters, context)
        check_region(self, parameters, context)
        check_share(*self._share(parameters, context))
        check_distance(read_drawing(self, parameters, context)["min_distance"])
        check_table(parameters, OUTPUT, context)

    def prepare(self, parameters: dict, context, progress: Progress) -> None:
        prepare_image(self, parameters, context)

    def compute(self, parameters: dict, context, progress: Progress) -> dict[str, Any]:
        from ...engine.pixel_sampling import sample

        image = read_image(self, parameters, context, progress, read_grid(self, parameters, context))
        region = read_region(self, parameters, context, image.grid, progress)
        drawing = read_drawing(self, parameters, context)
        factor, num_pixels = self._share(parameters, context)
        pixels = sample(image, region, factor, num_pixels, progress=Part(progress, 0, 0.7), **drawing)
        image.close()
        notes = sidecar.Notes(bands=image.band_names)
        output = write_pixels(self, parameters, context, image, pixels, notes, Part(progress, 0.7, 1))
        return {OUTPUT: output, "COUNT": len(pixels.row), "DROPPED": pixels.dropped}

    def _share(self, parameters: dict, context) -> tuple[float | None, int | None]:
        pixels = optional_number(self, parameters, self.NUM_PIXELS, context)
        return optional_number(self, parameters, self.FACTOR, context), None if pixels is None else int(pixels)
