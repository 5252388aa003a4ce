"""Takes pictures of RasterML in a real QGIS, for looking at: ``/usr/bin/python3 tools/screenshots.py``.

Needs xvfb (tools/setup.sh brings it).  Pictures go to build/screenshots/: the dock empty, green, amber, red,
red in a dark theme and narrow; a dialog opened from it; the toolbox; and, when ``make demo`` has run, its
map with the legend.  The same file runs twice: from the shell it makes the layers and starts QGIS with an
own profile, and inside QGIS (``--code``) it builds each scene.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import traceback
from pathlib import Path

ROOT = Path(os.environ.get("RASTERML_CHECKOUT") or Path(__file__).resolve().parent.parent)
PICTURES = ROOT / "build" / "screenshots"
SCRATCH = PICTURES / "scratch"
PROFILE = SCRATCH / "profile"
DEMO = ROOT / "build" / "demo"
SCREEN = (1600, 1000)
PATIENCE = 300  # seconds until QGIS is given up
DARK = os.environ.get("RASTERML_THEME") == "Night Mapping"  # set when QGIS starts: later it changes half of it

# name of a state: bands, rows of the table, its predictors, bytes of the model
STATES = {
    "green": (6, 12_400, 6, 3_400_000),
    "amber": (330, 218_000, 100, 90_000_000),
    "red": (420, 300_000, 100, 131_000_000),
}


def main() -> int:
    for folder in (PICTURES, SCRATCH, PROFILE):
        folder.mkdir(parents=True, exist_ok=True)
    for name, (bands, rows, predictors, size) in STATES.items():
        make_image(SCRATCH / f"image_{name}.tif", bands)
        make_samples(SCRATCH / f"samples_{name}.gpkg", rows, predictors)
        with (SCRATCH / f"forest_{name}.rasterml").open("wb") as model:
            model.truncate(size)  # a gauge looks at the size only
    return photographs("default") or photographs("Night Mapping")


def photographs(theme: str) -> int:
    """Start QGIS with *theme* to take its pictures; return its exit code."""
    ini = PROFILE / "profiles" / "default" / "QGIS" / "QGIS3.ini"
    ini.parent.mkdir(parents=True, exist_ok=True)
    ini.write_text(f"[PythonPlugins]\nrasterml=true\nprocessing=true\n\n[UI]\nUITheme={theme}\n")
    environment = {
        **os.environ,
        "PATH": f"/usr/bin:{os.environ['PATH']}",
        "RASTERML_CHECKOUT": str(ROOT),
        "RASTERML_THEME": theme,
        "QGIS_PLUGINPATH": str(ROOT / "build" / "plugins"),
        "QGIS_CUSTOM_CONFIG_PATH": str(PROFILE),
        "LIBGL_ALWAYS_SOFTWARE": "1",
        "QT_SCALE_FACTOR_ROUNDING_POLICY": "Round",  # a factor of 1.01 makes thin lines disappear
    }
    environment.pop("QT_QPA_PLATFORM", None)
    screen = "-dpi 96 -screen 0 {}x{}x24".format(*SCREEN)
    command = ["xvfb-run", "-a", "-s", screen, "/usr/bin/qgis", "--nologo", "--noversioncheck"]
    command += ["--code", str(Path(__file__).resolve())]
    return subprocess.run(command, env=environment, timeout=PATIENCE, check=False).returncode


def make_image(path: Path, bands: int) -> None:
    """Write an image of soft hills, differently lit in every band."""
    import numpy as np
    from osgeo import gdal

    rows, columns = np.mgrid[:300, :400] / 40.0
    image = gdal.GetDriverByName("GTiff").Create(str(path), 400, 300, bands, gdal.GDT_Byte, ["COMPRESS=DEFLATE"])
    image.SetGeoTransform((630000, 30, 0, 228000, 0, -30))
    for band in range(1, bands + 1):
        hills = np.sin(rows + band) + np.cos(1.3 * columns - rows / band) + np.sin(columns / 2 + band) * 0.5
        image.GetRasterBand(band).WriteArray((120 + 45 * hills).astype(np.uint8))
    image.FlushCache()


def make_samples(path: Path, rows: int, predictors: int) -> None:
    """Write a sampled table with *rows* rows; SQLite does it in seconds, where a driver takes minutes."""
    from osgeo import gdal, ogr

    path.unlink(missing_ok=True)
    table = gdal.GetDriverByName("GPKG").Create(str(path), 0, 0, 0, gdal.GDT_Unknown)
    layer = table.CreateLayer(path.stem, None, ogr.wkbNone)
    layer.CreateField(ogr.FieldDefn("landclass", ogr.OFTInteger))
    layer.CreateField(ogr.FieldDefn("system_index", ogr.OFTString))
    for band in range(1, predictors + 1):
        layer.CreateField(ogr.FieldDefn(f"band_{band}", ogr.OFTReal))
    del layer, table
    with sqlite3.connect(path) as database:
        names = ", ".join(f"band_{band}" for band in range(1, predictors + 1))
        database.execute(
            f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows}) "
            f"INSERT INTO {path.stem} (landclass, system_index, {names}) "
            f"SELECT i % 7, i || '_0', {', '.join('0' * predictors)} FROM n"
        )
        database.execute("UPDATE gpkg_ogr_contents SET feature_count = ?", (rows,))


def scenes(iface):
    """Build one scene after the other; yields the name of each picture when its scene stands."""
    from qgis.core import QgsProject, QgsVectorLayer
    from qgis.PyQt.QtWidgets import QDialog, QDockWidget, QLineEdit, QTreeView

    window = iface.mainWindow()
    window.showNormal()
    window.setGeometry(0, 0, *SCREEN)
    panel = window.findChild(QDockWidget, "RasterMlPanel")
    yield ""
    panel.show()
    window.resizeDocks([panel], [380], Qt_horizontal())
    if not DARK:
        yield "dock-empty"
    project = QgsProject.instance()
    for name in ("red",) if DARK else STATES:
        title = f"synthetic image of {STATES[name][0]} bands"
        project.clear()
        image = iface.addRasterLayer(str(SCRATCH / f"image_{name}.tif"), title)
        samples = iface.addVectorLayer(str(SCRATCH / f"samples_{name}.gpkg"), "samples", "ogr")
        panel.images.tick([image])
        panel.tables.tick([samples])
        panel.class_field.setField("landclass")
        panel.model.setFilePath(str(SCRATCH / f"forest_{name}.rasterml"))
        yield f"dock-{name}-dark" if DARK else f"dock-{name}"
        if DARK:
            return
    window.resizeDocks([panel], [300], Qt_horizontal())
    yield "dock-narrow"
    window.resizeDocks([panel], [380], Qt_horizontal())
    panel.buttons["trainrandomforest"].click()
    yield "dialog"
    for dialog in window.findChildren(QDialog):
        if dialog.isVisible():
            dialog.close()
    panel.hide()
    toolbox = window.findChild(QDockWidget, "ProcessingToolbox")
    toolbox.show()
    toolbox.raise_()
    toolbox.findChild(QLineEdit).setText("")
    tree = toolbox.findChild(QTreeView)
    tree.collapseAll()
    expand(tree, "Raster ML")
    yield "toolbox"
    toolbox.hide()
    if not (DEMO / "landcover.tif").exists():
        return
    project.clear()
    scene = iface.addRasterLayer(str(next(DEMO.glob("scene/**/landsat_multiband.tif"))), "Landsat 7 of North Carolina")
    cover = iface.addRasterLayer(str(DEMO / "landcover.tif"), "Land cover")
    project.setCrs(cover.crs())
    samples = QgsVectorLayer(str(DEMO / "training.gpkg"), "samples of the training polygons")
    project.addMapLayer(samples, False)  # its points would cover the map
    panel.show()
    panel.images.tick([scene])
    panel.tables.tick([samples])
    panel.class_field.setField("label")
    panel.model.setFilePath(str(DEMO / "landcover.rasterml"))
    window.findChild(QDockWidget, "Browser").hide()
    iface.layerTreeView().expandAllNodes()
    iface.setActiveLayer(cover)
    iface.zoomToActiveLayer()
    yield "map"


def expand(tree, title: str) -> None:
    """Expand the top entry *title* of *tree* and what is in it."""
    model = tree.model()
    for row in range(model.rowCount()):
        index = model.index(row, 0)
        if model.data(index) == title:
            tree.expandRecursively(index)
            tree.scrollTo(index, tree.ScrollHint.PositionAtTop)


def Qt_horizontal():  # noqa: N802
    from qgis.PyQt.QtCore import Qt

    return Qt.Orientation.Horizontal


def photograph(iface) -> None:
    """Take a picture of the screen per scene, each a moment after it stands; then leave QGIS."""
    from qgis.core import QgsProject
    from qgis.PyQt.QtCore import QTimer
    from qgis.PyQt.QtGui import QGuiApplication

    running = scenes(iface)

    def step() -> None:
        try:
            name = next(running)
        except StopIteration:
            QgsProject.instance().setDirty(False)
            QTimer.singleShot(0, iface.actionExit().trigger)
            return
        except Exception:  # QGIS would open a window and wait for a click that never comes
            traceback.print_exc()
            os._exit(1)
        QTimer.singleShot(2500, lambda: take(name))

    def take(name: str) -> None:
        if name:
            iface.messageBar().clearWidgets()
            QGuiApplication.processEvents()
            QGuiApplication.primaryScreen().grabWindow(0).save(str(PICTURES / f"{name}.png"))
            print(f"screenshots: {PICTURES / name}.png", flush=True)
        step()

    QTimer.singleShot(3000, step)


if __name__ == "__main__" and "qgis.utils" not in sys.modules:
    raise SystemExit(main())

from qgis.utils import iface as _iface  # noqa: E402

if _iface is not None:
    photograph(_iface)
