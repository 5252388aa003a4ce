"""The pieces of HTML reports: small pages that stand alone, readable by browsers and by Qt's rich text.

No script, nothing fetched.  Blocks take plain text and return HTML; every text is escaped where it enters.
"""

from __future__ import annotations

import math
from html import escape
from typing import Any, Iterable, NamedTuple, Sequence

from .files import PathLike, write_atomically
from .limits import percent, thousands

BAR_COLOUR, TRACK_COLOUR = "#3a76b8", "#e6e9ec"
BAR_WIDTH = 220  # pixels
UNDEFINED = "undefined"

STYLE = """
body { font-family: sans-serif; color: #20262c; background-color: #ffffff; margin: 24px; max-width: 1100px; }
h1 { font-size: 22px; margin-bottom: 4px; }
h2 { font-size: 16px; margin-top: 24px; margin-bottom: 6px; }
p { margin-top: 4px; margin-bottom: 8px; }
table { border-collapse: collapse; }
th { text-align: left; background-color: #f1f3f5; }
pre { font-family: monospace; font-size: 12px; background-color: #f6f7f8; padding: 8px; }
"""


def page(title: str, *blocks: str) -> str:
    """Return a whole page; *blocks* are HTML, *title* is text."""
    head = f'<meta charset="utf-8">\n<title>{escape(title)}</title>\n<style>{STYLE}</style>'
    body = "\n".join((f"<h1>{escape(title)}</h1>", *blocks))
    return f'<!DOCTYPE html>\n<html lang="en">\n<head>\n{head}\n</head>\n<body>\n{body}\n</body>\n</html>\n'


def heading(text: str) -> str:
    return f"<h2>{escape(text)}</h2>"


def paragraph(text: str) -> str:
    return f"<p>{escape(text)}</p>"


def preformatted(text: str) -> str:
    return f"<pre>{escape(text)}</pre>"


def key_values(rows: Iterable[tuple[str, Any]]) -> str:
    """Return a table of names and values."""
    return _table("".join(f"<tr>{_cell(name, 'th')}{_cell(_shown(value))}</tr>" for name, value in rows))


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a table; numbers and `Figure` stand right, `Html` goes in as it is, everything else is text."""
    first = "".join(_cell(text, "th") for text in header)
    return _table(
        f"<tr>{first}</tr>" + "".join("<tr>" + "".join(_value_cell(value) for value in row) + "</tr>" for row in rows)
    )


class Html(str):
    """Text that is HTML already, from a block of this module."""


class Figure(str):
    """Text that stands for a number."""


class Shaded(NamedTuple):
    """A table cell's value on a coloured ground."""

    value: Any
    colour: str


def swatch(colour: str) -> Html:
    """Return a small patch of *colour* ("#rrggbb")."""
    return Html(f'<span style="background-color: {escape(colour)};">&nbsp;&nbsp;&nbsp;&nbsp;&nbsp;</span>')


def bar(share: float, colour: str = BAR_COLOUR) -> Html:
    """Return a horizontal bar that is full at 1 (and stays full above)."""
    filled = round(BAR_WIDTH * min(max(share, 0), 1))
    cells = ((filled, colour), (BAR_WIDTH - filled, TRACK_COLOUR))
    inner = "".join(f'<td width="{width}" bgcolor="{escape(fill)}">&nbsp;</td>' for width, fill in cells if width)
    return Html(f'<table width="{BAR_WIDTH}" border="0" cellspacing="0" cellpadding="0"><tr>{inner}</tr></table>')


def bars(header: Sequence[str], rows: Iterable[tuple[str, float]]) -> str:
    """Return shares (of 1) as bars with their percentage; the longest bar is full."""
    rows = list(rows)
    longest = max((share for _, share in rows), default=0)
    return table(
        header, [(name, bar(share / longest if longest > 0 else 0), Figure(percent(share))) for name, share in rows]
    )


def ratio(number: float | None) -> Figure:
    """Return a ratio with four decimals, or "undefined" for NaN and None."""
    return Figure(UNDEFINED if number is None or math.isnan(number) else f"{number:.4f}")


def write_report(path: PathLike, html: str) -> None:
    """Write *html* under its final name only when it is complete; raises `StorageError`."""
    write_atomically(path, html.encode("utf-8"))


def _table(rows: str) -> str:
    return f'<table border="1" cellspacing="0" cellpadding="4" style="border-color: #cfd4d9;">{rows}</table>'


def _cell(text: str, tag: str = "td") -> str:
    return f"<{tag}>{escape(text)}</{tag}>"


def _value_cell(value: Any) -> str:
    fill = ""
    if isinstance(value, Shaded):
        value, fill = value.value, f' bgcolor="{escape(value.colour)}"'
    if isinstance(value, Html):
        return f"<td{fill}>{value}</td>"
    right = ' align="right"' if isinstance(value, (int, float, Figure)) else ""
    return f"<td{fill}{right}>{escape(_shown(value))}</td>"


def _shown(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    return thousands(value) if isinstance(value, int) else f"{value:.6g}"
