"""RasterML in the QGIS desktop: the dock panel, its settings, the menu entry."""
