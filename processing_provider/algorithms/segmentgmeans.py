"""The algorithm ``segmentgmeans``: k-means over the pixels of an image that finds the number of clusters itself."""

from __future__ import annotations

from typing import Any

from ...engine.settings import Number
from ..parameters import number
from .segmentkmeans import PLACES_HELP, ClusterPixels


class SegmentGMeans(ClusterPixels):
    """Cut clusters in two until they look normal, then label the pixels."""

    NAME, TITLE, TWIN = "segmentgmeans", "G-means segmentation", "ee.Algorithms.Image.Segmentation.GMeans"
    HELP = (
        "<p>Gives every pixel the number of the cluster that it belongs to by its band values, and finds the number of "
        "clusters itself: a cluster is cut in two across its longest axis as long as its pixels, projected on the line "
        "between the two halves, do not look normal (Anderson-Darling test).</p>"
        "<p>Each iteration tests every cluster once, so that n iterations make 2^n clusters at most. <i>Significance "
        "level</i> is in percent (Earth Engine gives its default 50 without a unit): a cluster is cut when the test's "
        "p-value is below it, so that a smaller level makes fewer clusters. With many pixels almost no cluster is "
        "exactly normal; then the number of iterations decides, and the default 10 makes hundreds of clusters: use 2 "
        "to 5, or a grid size. The test looks at up to 131,072 pixels of each piece, always the same ones; clusters "
        "of fewer than 8 are not cut.</p>" + PLACES_HELP
    )
    P_VALUE = "P_VALUE"

    def add_own(self) -> None:
        row = Number("num_iterations", "", 10, minimum=1, maximum=16, integer=True)
        self.addParameter(number(row, self.tr("Most iterations")))
        row = Number("p_value", "", 50.0, minimum=0, maximum=100)
        self.addParameter(number(row, self.tr("Significance level of the test of normality (percent)")))

    def segment(self, image, output: str, parameters: dict, context, common: dict[str, Any]) -> int:
        from ...engine.segment_gmeans import segment_gmeans

        level = self.parameterAsDouble(parameters, self.P_VALUE, context)
        return segment_gmeans(image, output, p_value=level, **common)
