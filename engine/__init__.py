"""The numbers of RasterML: paths, arrays and settings in, paths, arrays and numbers out; QGIS is unknown here."""
