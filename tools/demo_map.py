"""Writes demo.qgz and landcover.png beside the demo's map: `demo_map.py SCENE FOLDER`, with PyQGIS alone.

The picture is a print layout that the project keeps, so that it can be changed in QGIS.
"""

from __future__ import annotations

import sys
from pathlib import Path

from osgeo import gdal
from qgis.core import (
    Qgis,
    QgsApplication,
    QgsContrastEnhancement,
    QgsCoordinateTransform,
    QgsFillSymbol,
    QgsLayoutExporter,
    QgsLayoutItemLabel,
    QgsLayoutItemLegend,
    QgsLayoutItemMap,
    QgsLayoutItemScaleBar,
    QgsLayoutPoint,
    QgsLayoutSize,
    QgsLegendRenderer,
    QgsLegendStyle,
    QgsMapLayerLegendUtils,
    QgsMultiBandColorRenderer,
    QgsPrintLayout,
    QgsProject,
    QgsRasterLayer,
    QgsRasterMinMaxOrigin,
    QgsSingleSymbolRenderer,
    QgsTextFormat,
    QgsVectorLayer,
)
from qgis.PyQt.QtCore import QRectF
from qgis.PyQt.QtGui import QColor, QFont

PAGE_MM = (280, 200)
DOTS_PER_INCH = 127  # 1400 × 1000 pixels
INK, GREY, PAPER = QColor("#22303a"), QColor("#5c6b75"), QColor("#fbfaf7")
ATTRIBUTION = (
    "Landsat 7 ETM+ (public domain) and labelled polygons: North Carolina data set, "
    "Neteler & Mitasova, OSGeo, CC BY-SA 3.0. Map made with RasterML."
)


def draw(scene: Path, folder: Path) -> None:
    """Write demo.qgz and landcover.png in *folder*, which holds landcover.tif and the polygons."""
    project = QgsProject.instance()
    project.setTitle("RasterML demo: land cover of Wake County, North Carolina")
    land_cover = QgsRasterLayer(str(folder / "landcover.tif"), "Land cover")
    colours = str(folder / "true_colour.vrt")
    gdal.BuildVRT(colours, [str(scene / f"lsat7_2000_{number}0.tif") for number in (3, 2, 1)], separate=True)
    true_colour = QgsRasterLayer(colours, "Landsat 7 in true colour")
    training = QgsVectorLayer(str(folder / "training_polygons.gpkg"), "Training polygons")
    held_out = QgsVectorLayer(str(folder / "validation_polygons.gpkg"), "Held-out polygons")
    for layer in (training, held_out, land_cover, true_colour):  # from top to bottom
        if not layer.isValid():
            sys.exit(f"QGIS cannot open {layer.source()}")
        project.addMapLayer(layer, False)
        project.layerTreeRoot().addLayer(layer).setExpanded(layer is land_cover)
    project.setCrs(land_cover.crs())
    settle_transform(project, training.crs(), land_cover.crs())
    outline(training, "#111111")
    outline(held_out, "#d6006c")
    show_true_colour(true_colour)
    layout = composed(project, land_cover, true_colour, training, held_out)
    project.layoutManager().addLayout(layout)
    export(layout, folder / "landcover.png")
    if not project.write(str(folder / "demo.qgz")):
        sys.exit(f"QGIS could not write {folder / 'demo.qgz'}")


def settle_transform(project, source, destination) -> None:
    """Keep the operation that QGIS itself takes between two CRSs: else it asks whoever opens the project."""
    details = QgsCoordinateTransform(source, destination, project).instantiatedCoordinateOperationDetails()
    context = project.transformContext()
    context.addCoordinateOperation(source, destination, details.proj, True)
    project.setTransformContext(context)


def composed(project, land_cover, true_colour, training, held_out) -> QgsPrintLayout:
    """Return the page: the map on the left; the legend, the scene itself and a scale bar on the right."""
    layout = QgsPrintLayout(project)
    layout.initializeDefaults()
    layout.setName("Land cover")
    page = layout.pageCollection().page(0)
    page.setPageSize(QgsLayoutSize(*PAGE_MM))
    page.setPageStyleSymbol(QgsFillSymbol.createSimple({"color": PAPER.name(), "outline_style": "no"}))

    add_label(layout, "Land cover of Wake County, North Carolina", 21, (10, 6, 260, 11), bold=True)
    subtitle = "Random forest on Landsat 7, bands 1 to 5, of the year 2000, trained on 20 polygons"
    add_label(layout, subtitle, 11.5, (10, 16.5, 260, 7), colour=GREY)
    large_map = add_map(layout, (training, held_out, land_cover), land_cover.extent(), (10, 26, 182, 165))
    add_legend(layout, (land_cover, training, held_out), (199, 25))
    add_label(layout, "The scene in true colour", 10.5, (201, 113, 69, 6), bold=True)
    add_map(layout, (true_colour,), land_cover.extent(), (201, 119.5, 69, 62.5))
    add_scale_bar(layout, large_map, (200, 183.5))
    add_label(layout, ATTRIBUTION, 7.5, (10, 193, 260, 5), colour=GREY)
    return layout


def add_map(layout, layers, extent, place) -> QgsLayoutItemMap:
    item = QgsLayoutItemMap(layout)
    item.attemptSetSceneRect(QRectF(*place))
    item.setLayers(list(layers))
    item.setKeepLayerSet(True)
    item.zoomToExtent(extent)
    item.setBackgroundColor(PAPER)
    item.setFrameEnabled(False)
    layout.addLayoutItem(item)
    return item


def add_label(layout, text: str, points: float, place, bold: bool = False, colour: QColor = INK) -> None:
    item = QgsLayoutItemLabel(layout)
    item.setText(text)
    item.setTextFormat(text_format(points, bold, colour))
    item.setMarginX(0)
    item.attemptSetSceneRect(QRectF(*place))
    layout.addLayoutItem(item)


def add_legend(layout, layers, place) -> None:
    item = QgsLayoutItemLegend(layout)
    item.setAutoUpdateModel(False)
    root = item.model().rootGroup()
    root.clear()
    for layer in layers:
        root.addLayer(layer)
    raster = root.children()[0]
    QgsLegendRenderer.setNodeLegendStyle(raster, QgsLegendStyle.Style.Hidden)
    classes = range(1, len(layers[0].renderer().classes()) + 1)  # entry 0 says which band is drawn
    QgsMapLayerLegendUtils.setLegendNodeOrder(raster, list(classes))
    item.model().refreshLayerLegend(raster)
    style = item.style(QgsLegendStyle.Style.SymbolLabel)
    style.setTextFormat(text_format(11.5, False, INK))
    item.setStyle(QgsLegendStyle.Style.SymbolLabel, style)
    item.setDrawRasterStroke(False)
    item.setSymbolWidth(9)
    item.setSymbolHeight(6)
    item.setBackgroundEnabled(False)
    item.attemptMove(QgsLayoutPoint(*place))
    item.adjustBoxSize()
    layout.addLayoutItem(item)


def add_scale_bar(layout, linked_map: QgsLayoutItemMap, place) -> None:
    item = QgsLayoutItemScaleBar(layout)
    item.setLinkedMap(linked_map)
    item.setStyle("Single Box")
    item.setUnits(Qgis.DistanceUnit.Kilometers)
    item.setUnitLabel("km")
    item.setUnitsPerSegment(1)
    item.setNumberOfSegments(4)
    item.setNumberOfSegmentsLeft(0)
    item.setHeight(1.6)
    item.setTextFormat(text_format(9, False, INK))
    item.setFillSymbol(QgsFillSymbol.createSimple({"color": INK.name(), "outline_color": INK.name()}))
    item.attemptMove(QgsLayoutPoint(*place))
    layout.addLayoutItem(item)


def export(layout: QgsPrintLayout, picture: Path) -> None:
    settings = QgsLayoutExporter.ImageExportSettings()
    settings.dpi = DOTS_PER_INCH
    settings.generateWorldFile = False
    if QgsLayoutExporter(layout).exportToImage(str(picture), settings) != QgsLayoutExporter.ExportResult.Success:
        sys.exit(f"QGIS could not write {picture}")


def show_true_colour(layer: QgsRasterLayer) -> None:
    layer.setRenderer(QgsMultiBandColorRenderer(layer.dataProvider(), 1, 2, 3))
    layer.setContrastEnhancement(
        QgsContrastEnhancement.ContrastEnhancementAlgorithm.StretchToMinimumMaximum,
        QgsRasterMinMaxOrigin.Limits.CumulativeCut,
    )


def outline(layer: QgsVectorLayer, colour: str) -> None:
    symbol = QgsFillSymbol.createSimple({"style": "no", "outline_color": colour, "outline_width": "0.45"})
    layer.setRenderer(QgsSingleSymbolRenderer(symbol))


def font(points: float, bold: bool = False) -> QFont:
    chosen = QFont("DejaVu Sans")
    chosen.setPointSizeF(points)
    chosen.setBold(bold)
    return chosen


def text_format(points: float, bold: bool, colour: QColor) -> QgsTextFormat:
    chosen = QgsTextFormat()
    chosen.setFont(font(points, bold))
    chosen.setSize(points)
    chosen.setSizeUnit(Qgis.RenderUnit.Points)
    chosen.setColor(colour)
    return chosen


if __name__ == "__main__":
    application = QgsApplication([], False)
    application.initQgis()
    draw(Path(sys.argv[1]), Path(sys.argv[2]))
    QgsProject.instance().clear()
    application.exitQgis()
