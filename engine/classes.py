"""The class table: value, name and colour of every class, which travels from the labels to the map."""

from __future__ import annotations

import colorsys
import re
from typing import Iterable, Mapping, NamedTuple, Sequence

# What maps have always used, so that a first map is readable; matched as parts of the lower-case name.
USUAL_COLOURS = (
    (("water", "lake", "river", "ocean", "sea"), "#3a76b8"),
    (("shrub", "bush", "scrub"), "#a8b058"),
    (("forest", "tree", "wood", "evergreen", "deciduous"), "#1f7a3a"),
    (("herb", "grass", "meadow", "pasture", "vegetation"), "#93c66a"),
    (("crop", "agricult", "farm", "field", "soy", "corn", "wheat"), "#e3b23c"),
    (("developed", "urban", "built", "roof", "settlement", "residential"), "#c8453b"),
    (("pavement", "road", "impervious", "asphalt"), "#8f8f8f"),
    (("sediment", "soil", "bare", "sand", "rock", "barren"), "#c7a27c"),
    (("wetland", "marsh", "swamp", "mangrove"), "#5aa7a0"),
    (("snow", "ice", "cloud"), "#e8eef2"),
)


class LandClass(NamedTuple):
    value: int
    name: str
    colour: str  # "#rrggbb"


ClassTable = tuple  # of LandClass, ascending by value


def class_table(
    values: Iterable[int], names: Mapping[int, str] | None = None, colours: Mapping[int, str] | None = None
) -> tuple[LandClass, ...]:
    """Return the class table of *values*, ascending; missing names are the value, missing colours are chosen.

    The same values and names always get the same colours.
    """
    names, colours = names or {}, colours or {}
    table: list[LandClass] = []
    taken = {colour.lower() for colour in colours.values()}
    for position, value in enumerate(sorted({int(value) for value in values})):
        name = names.get(value) or str(value)
        colour = colours.get(value) or _usual_colour(name, taken) or _colour_of(position)
        taken.add(colour)
        table.append(LandClass(value, name, colour.lower()))
    return tuple(table)


def cluster_table(clusters: int) -> tuple[LandClass, ...]:
    """Return a table of *clusters* without meaning, numbered from 0; a number always has the same colour."""
    return class_table(range(clusters), {number: f"cluster {number}" for number in range(clusters)})


def as_json(classes: Sequence[LandClass]) -> list[dict]:
    return [dict(item._asdict()) for item in classes]


def from_json(rows: Iterable[Mapping]) -> tuple[LandClass, ...]:
    """Return the table written by `as_json`; raises KeyError, TypeError or ValueError on anything else."""
    table = tuple(LandClass(int(row["value"]), str(row["name"]), _checked(str(row["colour"]))) for row in rows)
    values = [item.value for item in table]
    if values != sorted(set(values)):
        raise ValueError("class values must be ascending and different")
    return table


def rgb(colour: str) -> tuple[int, int, int]:
    """Return "#rrggbb" as three numbers 0 to 255."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _checked(colour: str) -> str:
    if not re.fullmatch("#[0-9a-fA-F]{6}", colour):
        raise ValueError(f"{colour!r} is not a colour like #1f7a3a")
    return colour


def _usual_colour(name: str, taken: set[str]) -> str | None:
    lower = name.lower()
    for words, colour in USUAL_COLOURS:
        if colour not in taken and any(word in lower for word in words):
            return colour
    return None


def _colour_of(position: int) -> str:
    """Colours far apart: the hue goes round by the golden angle, lightness and saturation alternate."""
    red, green, blue = colorsys.hls_to_rgb((0.61 + position * 0.381966) % 1, (0.45, 0.62, 0.34)[position % 3], 0.55)
    return f"#{round(red * 255):02x}{round(green * 255):02x}{round(blue * 255):02x}"
