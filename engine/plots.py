"""Small plots for reports, as pictures inside the page: SVG, which browsers and Qt both draw."""

from __future__ import annotations

import base64
import math
from html import escape
from typing import NamedTuple, Sequence

from .html_blocks import Html

WIDTH, HEIGHT = 560, 300  # of a picture, in pixels
LEFT, RIGHT, TOP, BOTTOM = 70, 150, 12, 46  # margins; the legend stands on the right
LETTER, LONGEST = 6.5, 24  # about the width of a letter, in pixels; letters of a name that are shown
INK, GRID, FAINT = "#20262c", "#dfe3e7", "#3a76b8"
MOST_POINTS = 2000  # of a scatter plot: more only make the report heavy


class Line(NamedTuple):
    """One line: its name in the legend, its colour, and a value (or NaN) at every place of the x axis."""

    name: str
    colour: str
    values: Sequence[float]


def line_plot(places: Sequence[str], lines: Sequence[Line], x_title: str, y_title: str) -> Html:
    """Return *lines* over named *places*, evenly spaced, with a legend of up to 20 names."""
    values = [value for line in lines for value in line.values if math.isfinite(value)]
    axis = _Axis.over(values, HEIGHT - BOTTOM, TOP)
    step = (WIDTH - LEFT - RIGHT) / max(1, len(places) - 1)
    across = [LEFT + step * number for number in range(len(places))]
    widest = LETTER * min(LONGEST, max(map(len, places), default=0))
    every = max(1, math.ceil(widest / step))  # names below the axis do not overlap
    parts = _frame(axis, x_title, y_title)
    parts += [_text(x, HEIGHT - BOTTOM + 16, name, "middle") for x, name in list(zip(across, places))[::every]]
    for number, line in enumerate(lines):
        points = [(x, axis.place(value)) for x, value in zip(across, line.values) if math.isfinite(value)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{line.colour}" stroke-width="1.5"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2" fill="{line.colour}"/>' for x, y in points]
        if number < 20 and len(lines) > 1:
            y = TOP + 8 + 13 * number
            parts.append(f'<rect x="{WIDTH - RIGHT + 12}" y="{y - 8}" width="12" height="8" fill="{line.colour}"/>')
            parts.append(_text(WIDTH - RIGHT + 28, y, line.name, "start"))
    return _picture(parts, f"{y_title} over {x_title}")


def scatter_plot(x: Sequence[float], y: Sequence[float], x_title: str, y_title: str) -> Html:
    """Return the points (x, y) with the line y = x, both axes over the same range; of many points every n-th."""
    every = max(1, -(-len(x) // MOST_POINTS))
    pairs = [(a, b) for a, b in zip(x[::every], y[::every]) if math.isfinite(a) and math.isfinite(b)]
    everything = [value for pair in pairs for value in pair]
    up = _Axis.over(everything, HEIGHT - BOTTOM, TOP)
    right = up._replace(start=LEFT, end=LEFT + HEIGHT - BOTTOM - TOP)
    parts = _frame(up, x_title, y_title, right)
    ends = f'x1="{right.start}" y1="{up.start}" x2="{right.end}" y2="{up.end}"'
    parts.append(f'<line {ends} stroke="{INK}" stroke-dasharray="4 3"/>')
    parts += [
        f'<circle cx="{right.place(a):.1f}" cy="{up.place(b):.1f}" r="2" fill="{FAINT}" fill-opacity="0.5"/>'
        for a, b in pairs
    ]
    return _picture(parts, f"{y_title} over {x_title}")


class _Axis(NamedTuple):
    low: float
    high: float
    start: float  # pixel of *low*
    end: float  # pixel of *high*

    @classmethod
    def over(cls, values: Sequence[float], start: float, end: float) -> _Axis:
        low, high = min(values, default=0.0), max(values, default=1.0)
        margin = 0.04 * (high - low) or 0.5 * abs(low) or 0.5
        return cls(low - margin, high + margin, start, end)

    def place(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Return four to ten round numbers inside the axis."""
        span = self.high - self.low
        unit = 10.0 ** math.floor(math.log10(span))
        step = next(unit * share for share in (0.1, 0.2, 0.5, 1) if span / (unit * share) <= 10)
        first = math.ceil(self.low / step)
        return [step * number for number in range(first, math.floor(self.high / step) + 1)]


def _frame(up: _Axis, x_title: str, y_title: str, right: _Axis | None = None) -> list[str]:
    """Return the grid lines with their numbers and the titles of both axes."""
    far = right.end if right else WIDTH - RIGHT
    parts = []
    for tick in up.ticks():
        y = up.place(tick)
        parts.append(f'<line x1="{LEFT}" y1="{y:.1f}" x2="{far}" y2="{y:.1f}" stroke="{GRID}"/>')
        parts.append(_text(LEFT - 6, y + 4, f"{tick:.6g}", "end"))
    for tick in right.ticks()[::2] if right else ():
        x = right.place(tick) if right else 0.0
        parts.append(f'<line x1="{x:.1f}" y1="{up.start}" x2="{x:.1f}" y2="{up.end}" stroke="{GRID}"/>')
        parts.append(_text(x, up.start + 16, f"{tick:.6g}", "middle"))
    parts.append(_text((LEFT + far) / 2, HEIGHT - 8, x_title, "middle"))
    middle = (up.start + up.end) / 2
    return [*parts, _text(14, middle, y_title, "middle", f' transform="rotate(-90 14 {middle})"')]


def _text(x: float, y: float, text: str, anchor: str, more: str = "") -> str:
    shown = text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{more}>{escape(shown)}</text>'


def _picture(parts: Sequence[str], description: str) -> Html:
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif" '
        f'font-size="11" fill="{INK}"><rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>{"".join(parts)}</svg>'
    )
    address = "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()
    return Html(f'<p><img src="{address}" width="{WIDTH}" height="{HEIGHT}" alt="{escape(description)}"></p>')
