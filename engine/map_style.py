"""How a class map looks: names and colours inside the raster, to write and to read, and as a QGIS style beside it."""

from __future__ import annotations

from typing import Sequence
from xml.etree import ElementTree  # nosec B405: writes XML, reads none

from osgeo import gdal

from .classes import LandClass, class_table, rgb
from .rasters import ask_gdal

STYLE_VERSION = "3.40.0"  # of QGIS, whose style file this is


def category_names(classes: Sequence[LandClass]) -> list[str]:
    """Return GDAL's category names: one for each value from 0 to the largest label, "" where there is no class."""
    names = [""] * (classes[-1].value + 1)
    for item in classes:
        names[item.value] = item.name
    return names


def colour_table(classes: Sequence[LandClass]) -> gdal.ColorTable:
    table = gdal.ColorTable()
    for item in classes:
        table.SetColorEntry(item.value, (*rgb(item.colour), 255))
    return table


def stored_classes(path: str, number: int, values: Sequence[int]) -> tuple[LandClass, ...]:
    """Return the classes *values* as band *number* of a raster names and colours them, () when it does neither."""
    dataset, _ = ask_gdal(gdal.Open, path, gdal.GA_ReadOnly)
    if dataset is None:
        return ()
    band = dataset.GetRasterBand(number)
    table = band.GetColorTable()  # first: GDAL 3.6 knows no names of a GeoTIFF before it has looked for this
    texts = band.GetCategoryNames() or []
    if not texts and table is None:
        return ()
    names = {value: texts[value] for value in values if 0 <= value < len(texts) and texts[value]}
    shown = [] if table is None else [value for value in values if 0 <= value < table.GetCount()]
    colours = {value: "#{:02x}{:02x}{:02x}".format(*table.GetColorEntry(value)) for value in shown}
    return class_table(values, names, colours)


def paletted_style(classes: Sequence[LandClass]) -> bytes:
    """Return the ``.qml`` that QGIS applies by itself to a raster of the same base name."""
    root = ElementTree.Element("qgis", version=STYLE_VERSION, styleCategories="Symbology")
    renderer = ElementTree.SubElement(
        ElementTree.SubElement(root, "pipe"),
        "rasterrenderer",
        {"type": "paletted", "band": "1", "opacity": "1", "alphaBand": "-1", "nodataColor": ""},
    )
    ElementTree.SubElement(renderer, "rasterTransparency")
    palette = ElementTree.SubElement(renderer, "colorPalette")
    for item in classes:
        label = "".join(filter(str.isprintable, item.name))  # XML has no control characters
        attributes = {"value": str(item.value), "color": item.colour, "label": label, "alpha": "255"}
        ElementTree.SubElement(palette, "paletteEntry", attributes)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
