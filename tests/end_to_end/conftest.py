"""The packed plugin in a scratch profile, and qgis_process to run it: nothing here imports RasterML or QGIS.

The scene is 30 rows × 41 columns in two files, `red` and `nir`.  West of column 20 lies class 0, east of it class 7,
and their values are far apart, so that any sound forest maps them without an error.  In the north-western corner,
4 rows × 5 columns of `nir` have no data.
"""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from osgeo import gdal, ogr, osr

ROOT = Path(__file__).resolve().parent.parent.parent


class Run(NamedTuple):
    """What came back from one process."""

    exit_code: int
    output: str
    errors: str

    @property
    def results(self) -> dict:
        """The results of a run that answered in JSON."""
        assert self.exit_code == 0, self.errors
        return json.loads(self.output)["results"]

    @property
    def complaint(self) -> str:
        """What stderr says, without what QGIS adds: repetition, a header, remarks on session, meshes and TIFF tags."""
        lines = [line.strip() for line in self.errors.splitlines()]
        noise = (
            "QStandardPaths:",
            "ERROR:\tAn error was encountered while checking parameter values",
            "ERROR: Status 3: Unable to load mesh",
            "Warning 1:",
        )
        return "\n".join(dict.fromkeys(line for line in lines if line and not line.startswith(noise)))


class Qgis(NamedTuple):
    """QGIS with the packed plugin, away from the user's own profile."""

    plugins: Path
    environment: dict

    def process(self, *arguments: str, text: str | None = None) -> Run:
        """Run qgis_process with *arguments*, with *text* on its standard input."""
        return self._run(["qgis_process", *arguments], text)

    def start(self, said: Path, *arguments: str) -> subprocess.Popen:
        """Start qgis_process and return at once; what it says is in the file *said*, line by line."""
        with said.open("w") as stdout:
            return subprocess.Popen(
                ["stdbuf", "-oL", "qgis_process", *arguments],  # its own way is to write all at its end
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=subprocess.PIPE,
                text=True,
            )

    def by_json(self, algorithm: str, **inputs) -> Run:
        """Run an algorithm with its parameters as JSON on standard input."""
        return self.process("run", f"rasterml:{algorithm}", "-", text=json.dumps({"inputs": inputs}))

    def by_flags(self, algorithm: str, **inputs) -> Run:
        """Run an algorithm with one flag per value, as one types it."""
        flags = [
            f"--{name}={value}"
            for name, given in inputs.items()
            for value in (given if isinstance(given, list) else [given])
        ]
        return self.process("--json", "run", f"rasterml:{algorithm}", *flags)

    def python(self, script: Path, *arguments: str) -> Run:
        """Run *script* in a fresh Python of QGIS's own."""
        return self._run(["/usr/bin/python3", str(script), *arguments], None)

    def _run(self, command: list[str], text: str | None) -> Run:
        given = {"stdin": subprocess.DEVNULL} if text is None else {"input": text}
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=240, check=False, **given
        )
        return Run(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="session")
def qgis(tmp_path_factory) -> Qgis:
    """The packed plugin, unpacked and enabled in a profile of its own."""
    folder = tmp_path_factory.mktemp("qgis")
    packed = runpy.run_path(str(ROOT / "tools" / "package.py"))["pack"](folder / "rasterml.zip")
    with zipfile.ZipFile(packed) as archive:
        archive.extractall(folder / "plugins")
    inherited = {name: value for name, value in os.environ.items() if name != "QGIS_OPTIONS_PATH"}
    environment = {
        **inherited,
        "PATH": f"/usr/bin:{os.environ['PATH']}",
        "LC_ALL": "C.UTF-8",
        "QT_QPA_PLATFORM": "offscreen",
        "QGIS_PLUGINPATH": str(folder / "plugins"),
        "QGIS_CUSTOM_CONFIG_PATH": str(folder / "profile"),
    }
    found = Qgis(folder / "plugins", environment)
    enabled = found.process("plugins", "enable", "rasterml")
    assert enabled.exit_code == 0, enabled.errors
    return found


class Scene(NamedTuple):
    """Files of the scene described atop."""

    folder: Path
    bands: list[str]
    training: str  # 80 pixels of class 0, 20 of them without data, and 40 of class 7
    held_out: str  # 30 pixels of each class
    classes: np.ndarray  # what the map must be, (rows, columns), with 255 where there is no data


ROWS, COLUMNS, BORDER, PIXEL_M = 30, 41, 20, 10
CORNER = (slice(0, 4), slice(0, 5))
WEST, NORTH = 300_000, 5_800_000
NO_DATA = -999


@pytest.fixture(scope="session")
def scene(tmp_path_factory) -> Scene:
    folder = tmp_path_factory.mktemp("scene")
    row, column = np.mgrid[:ROWS, :COLUMNS]
    east = column >= BORDER
    red = 10 + 50 * east + (row + column) % 5
    nir = 100 - 70 * east + (3 * row + column) % 7
    nir[CORNER] = NO_DATA
    bands = [write_raster(folder / f"{name}.tif", values) for name, values in (("red", red), ("nir", nir))]
    training = write_areas(folder / "training_areas.gpkg", [(0, 0, 0, 8, 10), (7, 10, 25, 5, 8)])
    held_out = write_areas(folder / "held_out_areas.gpkg", [(0, 15, 5, 6, 5), (7, 20, 30, 3, 10)])
    classes = np.where(east, 7, 0)
    classes[CORNER] = 255
    return Scene(folder, bands, training, held_out, classes)


@pytest.fixture(scope="session")
def samples(qgis, scene) -> str:
    """The samples of the training areas."""
    path = str(scene.folder / "samples.gpkg")
    assert qgis.by_json("sampleregions", INPUT=scene.bands, COLLECTION=scene.training, OUTPUT=path).exit_code == 0
    return path


@pytest.fixture(scope="session")
def forest(qgis, scene, samples) -> str:
    """A forest of three trees, trained on the samples."""
    path = str(scene.folder / "forest.rasterml")
    run = qgis.by_json("trainrandomforest", TRAINING=samples, CLASS_PROPERTY="cover", NUMBER_OF_TREES=3, OUTPUT=path)
    assert run.exit_code == 0, run.errors
    return path


def write_raster(path: Path, values: np.ndarray) -> str:
    dataset = gdal.GetDriverByName("GTiff").Create(str(path), COLUMNS, ROWS, 1, gdal.GDT_Int16)
    dataset.SetGeoTransform((WEST, PIXEL_M, 0, NORTH, 0, -PIXEL_M))
    dataset.SetProjection(utm().ExportToWkt())
    dataset.GetRasterBand(1).SetNoDataValue(NO_DATA)
    dataset.GetRasterBand(1).WriteArray(values)
    return str(path)


def write_areas(path: Path, areas: list[tuple[int, int, int, int, int]]) -> str:
    """Write rectangles of pixels, each given as class, first row, first column, rows and columns."""
    source = ogr.GetDriverByName("GPKG").CreateDataSource(str(path))
    layer = source.CreateLayer("areas", utm(), ogr.wkbPolygon)
    layer.CreateField(ogr.FieldDefn("cover", ogr.OFTInteger))
    for cover, row, column, rows, columns in areas:
        west, north = WEST + PIXEL_M * column, NORTH - PIXEL_M * row
        east, south = west + PIXEL_M * columns, north - PIXEL_M * rows
        feature = ogr.Feature(layer.GetLayerDefn())
        feature["cover"] = cover
        corners = f"{west} {north}, {east} {north}, {east} {south}, {west} {south}, {west} {north}"
        feature.SetGeometry(ogr.CreateGeometryFromWkt(f"POLYGON (({corners}))"))
        layer.CreateFeature(feature)
    return str(path)


def utm() -> osr.SpatialReference:
    reference = osr.SpatialReference()
    reference.ImportFromEPSG(32633)
    return reference
