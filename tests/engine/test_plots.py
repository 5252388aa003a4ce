from __future__ import annotations

import base64
import re
import xml.etree.ElementTree as ElementTree

from rasterml.engine.plots import Line, line_plot, scatter_plot

SVG = "{http://www.w3.org/2000/svg}"


def drawing(html: str) -> ElementTree.Element:
    address = re.search(r'src="data:image/svg\+xml;base64,([^"]+)"', html)
    return ElementTree.fromstring(base64.b64decode(address[1]))


def test_line_plot_has_a_line_for_each_series_and_leaves_gaps_out():
    lines = [Line("a", "#ff0000", [1.0, 3.0, 2.0]), Line("<b>", "#00ff00", [2.0, float("nan"), 4.0])]

    picture = drawing(line_plot(["red", "nir", "swir"], lines, "band", "value"))

    first, second = picture.findall(f"{SVG}polyline")
    assert len(first.get("points").split()) == 3 and len(second.get("points").split()) == 2
    heights = [float(point.split(",")[1]) for point in first.get("points").split()]
    assert heights[1] < heights[2] < heights[0]  # 3 stands above 2 above 1
    assert {"red", "nir", "swir", "a", "<b>", "band", "value"} <= {text.text for text in picture.findall(f"{SVG}text")}


def test_scatter_plot_has_both_axes_over_the_same_range():
    picture = drawing(scatter_plot([0.0, 10.0], [10.0, 0.0], "observed", "predicted"))

    first, second = picture.findall(f"{SVG}circle")
    line = next(item for item in picture.findall(f"{SVG}line") if item.get("stroke-dasharray"))
    ends = [float(line.get(name)) for name in ("x1", "y1", "x2", "y2")]
    assert ends[2] - ends[0] == ends[1] - ends[3]  # the line y = x stands at 45 degrees
    assert float(first.get("cx")) < float(second.get("cx")) and float(first.get("cy")) < float(second.get("cy"))


def test_plot_of_one_constant_value_can_be_drawn():
    assert drawing(line_plot(["x"], [Line("a", "#000000", [5.0])], "", "")).findall(f"{SVG}circle")
    assert drawing(scatter_plot([0.0, 0.0], [0.0, 0.0], "", "")).findall(f"{SVG}circle")


def test_of_many_points_every_nth_is_drawn():
    values = [float(number) for number in range(10_000)]

    assert len(drawing(scatter_plot(values, values, "", "")).findall(f"{SVG}circle")) == 2000
