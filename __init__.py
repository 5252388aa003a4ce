"""RasterML: Earth Engine's machine learning on the desktop, as QGIS Processing algorithms."""


def classFactory(iface):
    from .plugin.main import RasterMlPlugin

    return RasterMlPlugin(iface)
